"""A call's arguments, from the JSON text a worker sent. The text is read as if the worker were hostile."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from pydantic import JsonValue

from harness.errors import HarnessError, SerializationError, ToolNotFoundError, ToolValidationError
from harness.limits import Limits
from harness.places import types_at
from harness.plain import MAX_SAFE_INTEGER, child_path, to_plain, unique_members
from harness.tools.source import ToolSource
from harness.tools.tool import Tool
from harness.tools.validation import call_form, json_type

__all__ = ["argument_object", "read_argument_list", "shown_arguments", "with_form"]

_NO_OBJECT = frozenset({"undefined", "function", "symbol", "BigInt", "NaN", "Infinity", "-Infinity"})
"""What the prelude calls that which is no object and has no JSON form."""
# Only text that holds such a number needs the walk that finds where it stands.
_LARGE_NUMBER = re.compile(r"[0-9]{16}|[0-9][eE]\+?[0-9]")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _integer(digits: str) -> int:
    # Twenty digits are enough to be refused for their size, with the path; Python refuses thousands without it.
    return int(digits[:20])


_DECODER = json.JSONDecoder(object_pairs_hook=unique_members, parse_constant=_no_constant, parse_int=_integer)


def read_argument_list(text: str, tool: str, limits: Limits) -> list[JsonValue]:
    """The positional arguments of a call to ``tool`` (as messages name it), from a JSON array. Raises `ToolValidationError`."""
    size = len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))
    if size > limits.argument_bytes:
        raise ToolValidationError(
            f"The arguments of {tool} are {size:,} bytes of JSON; argument_bytes allows {limits.argument_bytes:,}. "
            "Pass less, or a reference to the data.",
            details={"limit": limits.argument_bytes, "used": size},
        )
    try:
        # The list itself is one level of nesting that is not the script's.
        value, end = _DECODER.raw_decode(text)
        plain = to_plain(value, max_depth=limits.json_depth + 1)
    except SerializationError as error:
        path = error.details["path"].replace("$[0]", "$", 1)
        message = error.message.replace("$[0]", "$", 1)
        raise ToolValidationError(f"The arguments of {tool}: {message}", details={"path": path}) from None
    except RecursionError:
        message = f"The arguments of {tool} are nested deeper than {limits.json_depth} levels; make them flatter."
        raise ToolValidationError(message, details={"path": "$"}) from None
    except ValueError as error:
        raise ToolValidationError(f"The arguments of {tool} are no valid JSON: {error}.") from None
    if not isinstance(plain, list) or end != len(text):
        raise ToolValidationError(f"The arguments of {tool} did not arrive as one list.")
    return plain


def argument_object(text: str, tool: Tool, limits: Limits) -> dict[str, JsonValue]:
    """The one object that a call's arguments are. Raises `ToolValidationError`, which shows the right form."""
    given = read_argument_list(text, tool.expression, limits)
    if not given:
        return {}
    if len(given) == 1:
        only = given[0]
        if tool.positional is not None and not isinstance(only, dict):
            only = {tool.positional: only}
        if isinstance(only, dict):
            if _LARGE_NUMBER.search(text):
                _check_numbers(only, tool)
            return only
    form = call_form(tool.name, tool.parameters)
    got = json_type(given[0]) if len(given) == 1 else f"{len(given)} arguments"
    raise ToolValidationError(
        f"{tool.expression} takes one object with named arguments, not {got}. Call it as {form}.",
        details={"path": "$", "form": form},
    )


def shown_arguments(text: str, limits: Limits) -> dict[str, JsonValue]:
    """What the record shows of a call that is refused before its tool is looked at; nothing if it is not one object."""
    try:
        given = read_argument_list(text, "the tool", limits)
    except ToolValidationError:
        return {}
    return given[0] if len(given) == 1 and isinstance(given[0], dict) else {}


def with_form(error: HarnessError, name: str, tools: ToolSource) -> HarnessError:
    """Why a call is not tried, and how it is made. The runtime finds the first out, and does not know the tools."""
    if not isinstance(error, ToolValidationError):
        return error
    try:
        tool = tools.get(name)
    except ToolNotFoundError as missing:
        return missing
    path, found = error.details["path"], error.details["found"]
    text = error.message
    if path == "$" and found in _NO_OBJECT:
        text = f"{tool.expression} takes one object with named arguments, not {found}."
    form = call_form(tool.name, tool.parameters)
    return ToolValidationError(f"{text} Call it as {form}.", details={**error.details, "form": form})


def _check_numbers(arguments: dict[str, JsonValue], tool: Tool) -> None:
    """Refuses numbers that have already lost digits in JavaScript, unless the tool asks for a floating-point number."""
    for parts, number in _numbers(arguments):
        if abs(number) > MAX_SAFE_INTEGER and not _takes_float(tool.parameters, parts):
            path = "$"
            for part in parts:
                path = child_path(path, part)
            raise ToolValidationError(
                f"The arguments of {tool.expression}: the number at {path} is beyond ±(2^53−1), where JavaScript loses "
                "digits. Pass it as a string.",
                details={"path": path},
            )


def _numbers(root: JsonValue) -> Iterator[tuple[tuple[str | int, ...], float]]:
    pending: list[tuple[tuple[str | int, ...], JsonValue]] = [((), root)]
    while pending:
        parts, value = pending.pop()
        if isinstance(value, dict):
            pending.extend(((*parts, name), item) for name, item in value.items())
        elif isinstance(value, list):
            pending.extend(((*parts, index), item) for index, item in enumerate(value))
        elif isinstance(value, float):
            yield parts, value


def _takes_float(schema: Mapping[str, Any], parts: tuple[str | int, ...]) -> bool:
    """Whether the schema asks for a ``number``, and for nothing that could be an id, at this place."""
    kinds = types_at(schema, parts)
    return "number" in kinds and kinds <= {"number", "null"}
