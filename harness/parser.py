"""A block becomes a script: checked, hashed, its execution mode known, its calls of tools that do not exist refused.

What only the engine can know (``const`` twice, a stray ``break``) is left to its own compilation in a worker.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from harness.detection.position import Cursor
from harness.errors import ScriptError, ScriptSyntaxError, ScriptTooLargeError, ToolNotFoundError, UsageError
from harness.limits import Limits
from harness.model import Block, Diagnostic, Script, Severity, Span
from harness.syntax.analysis import Analysis, analyse
from harness.syntax.positions import Positions
from harness.syntax.problem import Problem
from harness.syntax.references import unknown_tools

__all__ = ["CacheInfo", "Parser"]

_BYTE_ORDER_MARK = "\ufeff"
_BARE_TAG = "<tool-calls>"


class CacheInfo(NamedTuple):
    """How the cache of a parser has fared."""

    hits: int
    misses: int
    maxsize: int | None
    currsize: int


class Parser:
    """Turns blocks into scripts.

    Results, failures included, are kept by opening tag and source; the least recently used of ``cache_size`` goes
    first. A parser may be used from several threads.
    """

    def __init__(self, *, limits: Limits | None = None, cache_size: int = 100) -> None:
        if cache_size < 0:
            raise UsageError(f"cache_size is {cache_size}: give the number of results to keep, or 0 to keep none.")
        self._limits = limits or Limits()
        self._analyse = lru_cache(maxsize=cache_size)(analyse)

    def parse(self, block: Block, *, tools: Collection[str] | None = None) -> Script:
        """The script in a block.

        ``tools`` are the names a script may call, dotted where they are in a namespace; without them no call is
        checked. Raises a ``ScriptError`` (``ScriptSyntaxError``, ``BannedIdentifierError``, ``BlockAttributeError``,
        ``ScriptTooLargeError``) or ``ToolNotFoundError``, the positions in it being those in ``Script.source``.
        """
        return _script(
            self._examine(block.opening_tag, block.source), block.span, block.source_span, block.source, tools
        )

    def parse_source(self, source: str | bytes, *, tools: Collection[str] | None = None) -> Script:
        """The script in a source that stands in no block; its spans are those of the source itself.

        Bytes must be UTF-8. Raises what ``parse`` raises.
        """
        text = _decoded(source) if isinstance(source, bytes) else source
        span = Cursor().pass_over(text)
        return _script(self._examine(_BARE_TAG, text), span, span, text, tools)

    def parse_many(
        self, blocks: Iterable[Block], *, tools: Collection[str] | None = None
    ) -> list[Script | ScriptError | ToolNotFoundError]:
        """Each block's script, or the error that ``parse`` raises for it."""
        results: list[Script | ScriptError | ToolNotFoundError] = []
        for block in blocks:
            try:
                results.append(self.parse(block, tools=tools))
            except (ScriptError, ToolNotFoundError) as error:
                results.append(error.with_traceback(None))
        return results

    def diagnose(self, block: Block, *, tools: Collection[str] | None = None) -> list[Diagnostic]:
        """Everything that is wrong with a block or worth knowing about it, in the order of its lines.

        What ``parse`` would raise has the severity ``error`` and the name of the error class as its code.
        """
        analysis = self._examine(block.opening_tag, block.source)
        found = [problem.diagnostic(analysis.positions) for problem in analysis.problems]
        found += analysis.diagnostics
        if tools is not None:
            found += [
                problem.diagnostic(analysis.positions) if warning is None else warning
                for problem, warning in _unknown(analysis, tools)
            ]
        return sorted(found, key=lambda diagnostic: (diagnostic.line or 0, diagnostic.column or 0))

    def cache_info(self) -> CacheInfo:
        """Hits, misses and size of the cache, as of ``functools.lru_cache``."""
        return CacheInfo(*self._analyse.cache_info())

    def _examine(self, opening_tag: str, source: str) -> Analysis:
        source = source.removeprefix(_BYTE_ORDER_MARK)
        limit = self._limits.script_bytes
        size = len(source) if source.isascii() else len(source.encode("utf-8", "surrogatepass"))
        if size <= limit:
            return self._analyse(opening_tag, source)
        message = (
            f"The script has {size:,} bytes and may have {limit:,}: split it into several blocks, or let a tool hold "
            "its data."
        )
        problem = Problem(ScriptTooLargeError, message, details={"bytes": size, "limit": limit})
        return Analysis(source="", sha256="", positions=Positions(""), problems=(problem,))


def _script(analysis: Analysis, span: Span, source_span: Span, source: str, tools: Collection[str] | None) -> Script:
    if analysis.problems:
        raise analysis.problems[0].error(analysis.positions)
    diagnostics = analysis.diagnostics
    for problem, warning in _unknown(analysis, tools) if tools is not None else ():
        if warning is None:
            raise problem.error(analysis.positions)
        diagnostics += (warning,)
    if source.startswith(_BYTE_ORDER_MARK):
        shift = {"start": source_span.start + 1, "column": source_span.column + 1}
        source_span = source_span.model_copy(update=shift)
    return Script(
        source=analysis.source,
        sha256=analysis.sha256,
        mode=analysis.mode,
        attributes=analysis.attributes,
        span=span,
        source_span=source_span,
        result_range=analysis.result_range,
        references=analysis.references,
        diagnostics=diagnostics,
    )


def _unknown(analysis: Analysis, tools: Collection[str]) -> Iterator[tuple[Problem, Diagnostic | None]]:
    """Calls of tools that do not exist; with a warning instead where the script asks first whether they do."""
    for call, problem in unknown_tools(analysis.calls, tools):
        placed = replace(problem, offset=analysis.positions.character(call.byte))
        if not call.guarded:
            yield placed, None
            continue
        error = placed.diagnostic(analysis.positions)
        yield placed, error.model_copy(update={"code": "unknown_tool", "severity": Severity.WARNING})


def _decoded(source: bytes) -> str:
    try:
        return source.decode()
    except UnicodeDecodeError as error:
        before = source[: error.start].decode().removeprefix(_BYTE_ORDER_MARK)
        rest = source[error.start :].decode(errors="replace")
        message = f"The script is not UTF-8: the byte 0x{source[error.start]:02x} cannot stand here."
        details = {"byte": source[error.start], "byte_offset": error.start}
        problem = Problem(ScriptSyntaxError, message, len(before), details)
        raise problem.error(Positions(before + rest)) from None
