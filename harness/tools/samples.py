"""The smallest value that fits a JSON Schema: what a dry run shows a script in place of a result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import JsonValue

from harness.places import target

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
_MAX_VALUES = 10_000


def sample(schema: Mapping[str, Any] | None) -> JsonValue:
    """A minimal value: required members only, shortest arrays and strings, smallest numbers; null if nothing is known."""
    return _Sampler(schema or {}).sample(schema, _MAX_DEPTH)


class _Sampler:
    """Follows one schema. What it makes is bounded, since a schema may demand a value without end."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._left = _MAX_VALUES

    def sample(self, schema: Any, depth: int) -> JsonValue:
        self._left -= 1
        if not isinstance(schema, Mapping) or depth == 0 or self._left < 0:
            return None
        for fixed in ("const", "default"):
            if fixed in schema:
                value: JsonValue = schema[fixed]
                return value
        for several in ("enum", "examples"):
            if schema.get(several):
                first: JsonValue = schema[several][0]
                return first
        other = self._in_place_of(schema)
        return self._of_type(schema, depth) if other is None else self.sample(other, depth - 1)

    def _in_place_of(self, schema: Mapping[str, Any]) -> Any:
        """The schema that one without a type of its own stands for; None if it is not of that kind."""
        if "$ref" in schema:
            return target(self._root, str(schema["$ref"])) or {}
        return next((schema[name][0] for name in ("anyOf", "oneOf", "allOf") if schema.get(name)), None)

    def _of_type(self, schema: Mapping[str, Any], depth: int) -> JsonValue:
        kind = schema.get("type")
        kind = kind[0] if isinstance(kind, list) and kind else kind
        if kind == "object":
            members = schema.get("properties", {})
            return {name: self.sample(members.get(name), depth - 1) for name in schema.get("required", ())}
        if kind == "array":
            items = [self.sample(item, depth - 1) for item in schema.get("prefixItems", ())]
            missing = min(int(schema.get("minItems", 0)), _MAX_ITEMS) - len(items)
            return items + [self.sample(schema.get("items"), depth - 1) for _ in range(missing)]
        make = _BY_TYPE.get(kind)
        return make(schema) if make else None


def _string(schema: Mapping[str, Any]) -> JsonValue:
    text = _BY_FORMAT.get(schema.get("format", ""), "")
    return text or " " * min(int(schema.get("minLength", 0)), 1_000)


def _number(schema: Mapping[str, Any]) -> JsonValue:
    least = schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1)
    most = schema.get("maximum", schema.get("exclusiveMaximum", 1) - 1)
    wanted: JsonValue = least if least > 0 else min(most, 0)
    return wanted


_BY_TYPE: Mapping[Any, Callable[[Mapping[str, Any]], JsonValue]] = {
    "string": _string,
    "integer": _number,
    "number": _number,
    "boolean": lambda _schema: False,
}
