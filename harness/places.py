"""What a JSON Schema says of one place in a value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["says_all", "schemas_at", "target", "types_at"]

_MAX_VISITS = 1_000
_SCALARS = frozenset({"string", "number", "integer", "boolean", "null"})


def schemas_at(schema: Any, parts: Sequence[str | int]) -> list[Mapping[str, Any]]:
    """Every subschema that speaks of the place ``parts`` lead to, alternatives one by one. Empty if none does."""
    here = list(_alternatives(schema, schema))
    for part in parts:
        found = [found for one in here for step in _steps(one, part) for found in _alternatives(step, schema)]
        # Recursive schemas come back to the same few subschemas by many ways.
        here = list({id(one): one for one in found}.values())[:_MAX_VISITS]
    return here


def types_at(schema: Any, parts: Sequence[str | int]) -> set[str]:
    """The JSON types that a schema names for a place; ``"any"`` for an alternative that names none."""
    found: set[str] = set()
    for one in schemas_at(schema, parts):
        kinds = one.get("type", "any")
        found |= set(kinds) if isinstance(kinds, list) else {str(kinds)}
    return found


def says_all(schema: Any) -> bool:
    """Whether the schema names the type of every place there can be, so that nothing unexpected fits it."""
    seen: set[str] = set()
    pending = [schema]
    while pending:
        here = pending.pop()
        if not isinstance(here, Mapping) or len(seen) > _MAX_VISITS:
            return False
        reference = here.get("$ref")
        if isinstance(reference, str):
            if reference not in seen:
                seen.add(reference)
                pending.append(target(schema, reference))
            continue
        branches = [branch for name in ("anyOf", "oneOf") for branch in here.get(name, ())]
        if branches:
            pending.extend(branches)
            continue
        kind = here.get("type")
        if kind == "array":
            pending.extend(here.get("prefixItems", ()))
            pending.append(here.get("items", {} if "prefixItems" not in here else {"type": "null"}))
        elif kind == "object":
            more = here.get("additionalProperties", "properties" not in here)
            pending.extend(here.get("properties", {}).values())
            if more is not False:
                pending.append(more)
        elif kind not in _SCALARS and "const" not in here and "enum" not in here:
            return False
    return True


def _alternatives(schema: Any, root: Any) -> Iterator[Mapping[str, Any]]:
    pending, seen = [schema], 0
    while pending and seen < _MAX_VISITS:
        here = pending.pop()
        seen += 1
        if not isinstance(here, Mapping):
            continue
        reference = here.get("$ref")
        if isinstance(reference, str):
            pending.append(target(root, reference))
        branches = [branch for name in ("anyOf", "oneOf", "allOf") for branch in here.get(name, ())]
        pending.extend(branches)
        if not branches and reference is None:
            yield here


def _steps(schema: Mapping[str, Any], part: str | int) -> list[Any]:
    if isinstance(part, int):
        first = schema.get("prefixItems", ())
        return [first[part]] if part < len(first) else [schema.get("items")]
    members = schema.get("properties", {})
    return [members[part]] if part in members else [schema.get("additionalProperties")]


def target(root: Any, reference: str) -> Any:
    """What a reference inside the schema (``#/$defs/Order``) points at; None for any other."""
    here = root
    if not reference.startswith("#"):
        return None
    for part in reference[1:].split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        here = here.get(name) if isinstance(here, Mapping) else None
    return here
