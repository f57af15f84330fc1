"""What does not fit, as errors a script, a model and a person can act on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from pydantic import JsonValue, ValidationError
from pydantic_core import to_json

from harness.errors import ToolValidationError
from harness.plain import child_path
from harness.redaction import MASK, is_sensitive, scrub_text, shorten
from harness.tools.names import expression, suggest

__all__ = ["Finding", "call_form", "finding", "invalid", "json_type", "misfit"]

_LISTED = 10
_SHOWN = 60
_SHOWN_PATH = 200


class Finding(TypedDict):
    """One place where a value does not fit."""

    path: str
    expected: str
    received: str


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
    """How a tool is called: ``tools.add({a, b?})``, ``tools["get-item"]({"item-id"})``."""
    properties = schema.get("properties", {})
    required = schema.get("required", ())
    shown = {member: member if member.isidentifier() else to_json(member).decode() for member in properties}
    members = ", ".join(text if member in required else f"{text}?" for member, text in shown.items())
    return f"{expression(name)}({{{members}}})" if members else f"{expression(name)}()"


def misfit(findings: Sequence[Finding], *, what: str, hint: str = "") -> ToolValidationError:
    """The error that lists places where a value does not fit, the first ones one by one."""
    listed = "; ".join(
        f"{item['path']}: {item['expected']}, received {item['received']}" for item in findings[:_LISTED]
    )
    more = f"; and {len(findings) - _LISTED} more" if len(findings) > _LISTED else ""
    return ToolValidationError(
        f"{what}: {listed}{more}.{' ' if hint else ''}{hint}",
        details={"path": findings[0]["path"], "errors": [dict(item) for item in findings[:_LISTED]]},
    )


def finding(value: JsonValue, parts: Sequence[str | int], expected: str) -> Finding:
    """What is at a place of ``value``, and what was expected there. Masked under sensitive names."""
    path, received, hidden = "$", value, False
    present = True
    for part in parts:
        path = child_path(path, part)
        hidden = hidden or (isinstance(part, str) and is_sensitive(part))
        if isinstance(received, dict) and part in received:
            received = received[str(part)]
        elif isinstance(received, list) and isinstance(part, int) and part < len(received):
            received = received[part]
        else:
            present = False
            break
    shown = shorten(path, _SHOWN_PATH, "…")
    if not present:
        return {"path": shown, "expected": expected, "received": "nothing"}
    return {"path": shown, "expected": expected, "received": MASK if hidden else _received(received)}


def invalid(
    error: ValidationError, value: JsonValue, *, what: str, hint: str = "", known: Sequence[str] = ()
) -> ToolValidationError:
    """What pydantic found, as a `ToolValidationError`: every place where ``value`` does not fit."""
    found = [
        finding(value, _parts(item, value), _expected(item, known))
        for item in error.errors(include_url=False, include_context=False)
    ]
    return misfit(found, what=what, hint=hint)


def _parts(item: Any, value: JsonValue) -> list[str | int]:
    """Pydantic's location without the branches of unions in it, which are no place in the value."""
    parts: list[str | int] = []
    here = value
    for part in item["loc"]:
        if (isinstance(here, dict) and part in here) or (
            isinstance(here, list) and isinstance(part, int) and part < len(here)
        ):
            here = here[part]
        elif not (item["type"] == "missing" and part == item["loc"][-1]):
            continue
        parts.append(part)
    return parts


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
    return f"the {kind} {shorten(to_json(value).decode(), _SHOWN, '… ({length} characters)')}"
