"""Schemas that hold together (``allOf``, and what stands beside a choice), as one where that says the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.declarations.reading import sequence

__all__ = ["merged"]

_MERGED = frozenset({"type", "properties", "required", "additionalProperties"})
_SAID = frozenset({"title", "description", "$comment"})


def merged(schemas: Sequence[Any]) -> dict[str, Any] | None:
    """One object schema for several that must all fit; None if they are not of that simple kind.

    They are if none of them says anything but which members there are, and no two say what one member is.
    """
    properties: dict[str, Any] = {}
    required: dict[str, None] = {}
    rest: Any = None
    for schema in schemas:
        if not isinstance(schema, Mapping) or schema.keys() - _MERGED - _SAID:
            return None
        if schema.get("type", "object") != "object" or not isinstance(schema.get("properties", {}), Mapping):
            return None
        own = schema.get("properties", {})
        if own.keys() & properties.keys() or ("additionalProperties" in schema and rest is not None):
            return None
        properties.update(own)
        required.update({name: None for name in sequence(schema.get("required")) if isinstance(name, str)})
        rest = schema.get("additionalProperties", rest)
    found: dict[str, Any] = {"type": "object", "properties": properties, "required": list(required)}
    return found if rest is None else {**found, "additionalProperties": rest}
