"""The smallest value that fits a JSON Schema: what a dry run shows a script in place of a result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import JsonValue

__all__ = ["sample"]

_BY_FORMAT: dict[str, JsonValue] = {
    "date-time": "1970-01-01T00:00:00Z",
    "date": "1970-01-01",
    "time": "00:00:00",
    "duration": "PT0S",
    "uuid": "00000000-0000-0000-0000-000000000000",
    "uri": "https://example.invalid/",
    "email": "nobody@example.invalid",
}
_MAX_DEPTH = 20
_MAX_ITEMS = 100


def sample(schema: Mapping[str, Any] | None) -> JsonValue:
    """A minimal value: required members only, shortest arrays and strings, smallest numbers; null if nothing is known."""
    return _sample(schema or {}, (schema or {}).get("$defs", {}), _MAX_DEPTH)


def _sample(schema: Any, definitions: Mapping[str, Any], depth: int) -> JsonValue:
    if not isinstance(schema, Mapping) or depth == 0:
        return None
    if "$ref" in schema:
        return _sample(definitions.get(str(schema["$ref"]).rpartition("/")[2]), definitions, depth - 1)
    for fixed in ("const", "default"):
        if fixed in schema:
            value: JsonValue = schema[fixed]
            return value
    for several in ("enum", "examples"):
        if schema.get(several):
            first: JsonValue = schema[several][0]
            return first
    for branches in ("anyOf", "oneOf", "allOf"):
        if schema.get(branches):
            return _sample(schema[branches][0], definitions, depth - 1)
    kind = schema.get("type")
    make = _BY_TYPE.get(kind[0] if isinstance(kind, list) and kind else kind)
    return make(schema, definitions, depth) if make else None


def _object(schema: Mapping[str, Any], definitions: Mapping[str, Any], depth: int) -> JsonValue:
    members = schema.get("properties", {})
    return {name: _sample(members.get(name), definitions, depth - 1) for name in schema.get("required", ())}


def _array(schema: Mapping[str, Any], definitions: Mapping[str, Any], depth: int) -> JsonValue:
    first = schema.get("prefixItems", [])
    items = [_sample(item, definitions, depth - 1) for item in first]
    missing = min(int(schema.get("minItems", 0)), _MAX_ITEMS) - len(items)
    return items + [_sample(schema.get("items"), definitions, depth - 1) for _ in range(missing)]


def _string(schema: Mapping[str, Any], _definitions: Mapping[str, Any], _depth: int) -> JsonValue:
    text = _BY_FORMAT.get(schema.get("format", ""), "")
    return text or " " * min(int(schema.get("minLength", 0)), 1_000)


def _number(schema: Mapping[str, Any], _definitions: Mapping[str, Any], _depth: int) -> JsonValue:
    least = schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1)
    most = schema.get("maximum", schema.get("exclusiveMaximum", 1) - 1)
    wanted: JsonValue = least if least > 0 else min(most, 0)
    return wanted


_Maker = Callable[[Mapping[str, Any], Mapping[str, Any], int], JsonValue]
_BY_TYPE: Mapping[Any, _Maker] = {
    "object": _object,
    "array": _array,
    "string": _string,
    "integer": _number,
    "number": _number,
    "boolean": lambda _schema, _definitions, _depth: False,
}
