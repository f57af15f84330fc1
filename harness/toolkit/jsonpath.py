"""JSONPath (RFC 9535) over one document, in bounded time.

The query language is that of ``jsonpath_rfc9535``. Three things are done here in its place: regular expressions are
matched in linear time, by the engine that checks JSON Schemas; ``$`` inside a nested filter is the document; and every
step counts (see `harness.toolkit.metered`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jsonschema_rs
from jsonpath_rfc9535 import JSONPathEnvironment, JSONPathError, JSONPathNode, JSONPathQuery
from jsonpath_rfc9535.filter_expressions import Expression, FilterContext, RootFilterQuery
from jsonpath_rfc9535.function_extensions import ExpressionType, FilterFunction
from jsonpath_rfc9535.parse import Parser
from jsonpath_rfc9535.tokens import TokenStream
from pydantic import JsonValue

from harness.toolkit.metered import Meter, metered

__all__ = ["Document", "QueryError"]

_MOST_DEPTH = 250
_LONGEST_QUERY = 2_000
_SHOWN = 100
_COMPILING = 500
"""Steps that a query or a regular expression costs when it is first met."""
_PROGRAM_BYTES = 1024 * 1024


class QueryError(Exception):
    """A query that is none, or takes too much; the text says which."""


class Document:
    """Plain JSON data to be asked, under one budget of ``most_steps`` for all questions.

    ``check`` is called now and then while it works, and raises to stop.
    """

    def __init__(self, data: JsonValue, most_steps: int, check: Callable[[], None]) -> None:
        self.meter = Meter(most_steps, check)
        self.root: Any = metered(data, self.meter)
        self._matcher = _Matcher(self.meter)
        self._compiled: dict[str, JSONPathQuery] = {}
        self._environment = _Environment(self._matcher)

    def find(self, query: str, start: Any) -> Iterator[JSONPathNode]:
        """The nodes of ``start`` (the root, or a value that a query gave) that a query selects, in order.

        Raises `QueryError` and `TooMuchWorkError`.
        """
        try:
            compiled = self._compiled.get(query)
            if compiled is None:
                if len(query) > _LONGEST_QUERY:
                    raise QueryError(f"it is longer than {_LONGEST_QUERY:,} characters")
                self.meter.spend(_COMPILING + len(query))
                compiled = self._compiled[query] = self._environment.compile(query)
            self._environment.document = start
            yield from compiled.finditer(start)
        except JSONPathError as error:
            raise QueryError(f"{error} (JSONPath as in RFC 9535: $.items[?@.price < 10].name)") from None
        except RecursionError:
            raise QueryError("it is nested too deeply") from None

    def values(self, query: str, start: Any) -> list[Any]:
        """The values of these nodes."""
        return [node.value for node in self.find(query, start)]


class _Environment(JSONPathEnvironment):
    max_recursion_depth = _MOST_DEPTH

    def __init__(self, matcher: _Matcher) -> None:
        self.parser_class = _Parser
        self.document: Any = None
        super().__init__()
        self.function_extensions["match"] = _Regex(matcher, whole=True)
        self.function_extensions["search"] = _Regex(matcher, whole=False)


class _Parser(Parser):
    def parse_root_query(self, stream: TokenStream) -> Expression:
        found = super().parse_root_query(stream)
        return _FromTheRoot(token=found.token, query=found.query) if isinstance(found, RootFilterQuery) else found


class _FromTheRoot(RootFilterQuery):
    """``$`` in a filter: the document, also where a filter stands inside another's query."""

    def evaluate(self, context: FilterContext) -> object:
        inner = FilterContext(env=context.env, current=context.current, root=getattr(context.env, "document"))  # noqa: B009 - its type does not know it
        return super().evaluate(inner)


class _Regex(FilterFunction):
    """``match`` and ``search``."""

    arg_types = [ExpressionType.VALUE, ExpressionType.VALUE]  # noqa: RUF012 - as the base class has it
    return_type = ExpressionType.LOGICAL

    def __init__(self, matcher: _Matcher, *, whole: bool) -> None:
        self._matcher = matcher
        self._whole = whole

    def __call__(self, text: object, pattern: object) -> bool:
        """False for what is no text. A pattern that is none raises `QueryError`: never to match would be a silent answer."""
        if not isinstance(text, str) or not isinstance(pattern, str):
            return False
        return self._matcher.matches(text, pattern, whole=self._whole)


class _Matcher:
    """I-Regexps (RFC 9485), and what else the engine takes in linear time. Each is compiled once."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._compiled: dict[tuple[str, bool], jsonschema_rs.Validator] = {}

    def matches(self, text: str, pattern: str, *, whole: bool) -> bool:
        self._meter.spend_text(text)
        key = (pattern, whole)
        if key not in self._compiled:
            self._meter.spend(_COMPILING)
            self._meter.spend_text(pattern)
            self._compiled[key] = _compiled(pattern, whole=whole)
        return self._compiled[key].is_valid(text)


def _compiled(pattern: str, *, whole: bool) -> jsonschema_rs.Validator:
    source = f"(?:{_without_dots(pattern)})"
    try:
        return jsonschema_rs.validator_for(
            {"pattern": f"^{source}$" if whole else source},
            pattern_options=jsonschema_rs.RegexOptions(size_limit=_PROGRAM_BYTES, dfa_size_limit=_PROGRAM_BYTES),
            offline=True,
        )
    except jsonschema_rs.ValidationError:
        raise QueryError(
            f"the regular expression {pattern[:_SHOWN]!r} is none, too large, or looks around or back"
        ) from None


def _without_dots(pattern: str) -> str:
    """``.`` is any character but two in an I-Regexp, and any but four elsewhere."""
    parts: list[str] = []
    escaped = in_class = False
    for character in pattern:
        if character == "." and not escaped and not in_class:
            parts.append(r"[^\n\r]")
            continue
        if not escaped and character in "[]":
            in_class = character == "["
        escaped = character == "\\" and not escaped
        parts.append(character)
    return "".join(parts)
