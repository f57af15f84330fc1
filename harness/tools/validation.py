"""pydantic's findings as errors a script, a model and a person can act on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import JsonValue, ValidationError
from pydantic_core import to_json

from harness.errors import ToolValidationError
from harness.plain import child_path
from harness.redaction import MASK, is_sensitive, scrub_text
from harness.tools.names import suggest

__all__ = ["call_form", "invalid", "json_type"]

_LISTED = 10
_SHOWN = 60


def json_type(value: Any) -> str:
    """What JSON calls the type of a value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, (list, tuple)) else "object"


def call_form(name: str, schema: Mapping[str, Any]) -> str:
    """How a tool is called: ``tools.add({a, b?})``."""
    properties = schema.get("properties", {})
    required = schema.get("required", ())
    members = ", ".join(member if member in required else f"{member}?" for member in properties)
    return f"tools.{name}({{{members}}})" if members else f"tools.{name}()"


def invalid(
    error: ValidationError, value: JsonValue, *, what: str, hint: str = "", known: Sequence[str] = ()
) -> ToolValidationError:
    """A `ToolValidationError` that lists every place where ``value`` does not fit: path, expected, received."""
    found = [_finding(item, value, known) for item in error.errors(include_url=False, include_context=False)]
    listed = "; ".join(f"{item['path']}: {item['expected']}, received {item['received']}" for item in found[:_LISTED])
    more = f"; and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    return ToolValidationError(
        f"{what}: {listed}{more}.{' ' if hint else ''}{hint}",
        details={"path": found[0]["path"], "errors": [dict(item) for item in found[:_LISTED]]},
    )


def _finding(item: Any, value: JsonValue, known: Sequence[str]) -> dict[str, str]:
    path, received, hidden = "$", value, False
    present = True
    for part in item["loc"]:
        # pydantic's location also names branches of unions, which are no place in the value.
        if (isinstance(received, dict) and part in received) or (
            isinstance(received, list) and isinstance(part, int) and part < len(received)
        ):
            received = received[part]
        elif item["type"] == "missing" and part == item["loc"][-1]:
            present = False
        else:
            continue
        path = child_path(path, part)
        hidden = hidden or (isinstance(part, str) and is_sensitive(part))
    expected = _expected(item, known)
    if not present:
        return {"path": path, "expected": expected, "received": "nothing"}
    return {"path": path, "expected": expected, "received": MASK if hidden else _received(received)}


def _expected(item: Any, known: Sequence[str]) -> str:
    if item["type"] == "missing":
        return "a value is required"
    if item["type"] == "extra_forbidden":
        near = suggest(str(item["loc"][-1]), known, count=1) if len(item["loc"]) == 1 else []
        return f"unknown argument; did you mean {near[0]!r}?" if near else "unknown argument"
    text = scrub_text(item["msg"], limit=300)
    return text.removeprefix("Value error, ").replace("Input should be", "expected", 1)


def _received(value: JsonValue) -> str:
    kind = json_type(value)
    if kind in ("object", "array", "null"):
        return {"object": "an object", "array": "an array", "null": "null"}[kind]
    text = to_json(value).decode()
    return f"the {kind} {text if len(text) <= _SHOWN else f'{text[:_SHOWN]}… ({len(text)} characters)'}"
