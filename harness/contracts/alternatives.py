"""Unions in JSON Schema: ``anyOf``, lists of types, and ``oneOf`` where no value fits two of its schemas."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from harness.canonical import to_canonical_json
from harness.contracts.nodes import Node, Source, types_of

__all__ = ["alternatives", "label"]

_MOST = 100


def alternatives(node: Node, source: Source, *, split_types: bool = False) -> list[Any]:
    """Schemas of which a value has to fit one; a single one for what is no union. Unions in unions are laid open, and
    with ``split_types`` lists of types too.
    """
    found = _branches(node, source, set(), split_types=split_types)
    return found if len(found) <= _MOST else [_whole(node)]


def _whole(node: Node) -> Any:
    """A schema that says what a node says, under the name it has."""
    if node.at is not None:
        return {"$ref": node.at}
    return {**node.keywords, **({"allOf": list(node.also)} if node.also else {})}


def _branches(node: Node, source: Source, inside: set[str], *, split_types: bool) -> list[Any]:
    word = next(iter(node.keywords)) if len(node.keywords) == 1 else None
    if node.never:
        return [False]
    if node.also or (word in ("anyOf", "oneOf") and node.at in inside):
        return [_whole(node)]
    if word == "anyOf" or (word == "oneOf" and _all_differ([source.read(one) for one in node.keywords["oneOf"]])):
        deeper = inside | ({node.at} if node.at is not None else set())
        found: list[Any] = []
        for schema in node.keywords[word]:
            inner = source.read(schema)
            parts = [schema] if inner.broken is not None else _branches(inner, source, deeper, split_types=split_types)
            # What is no union itself stays as it was written, so that a reference keeps its name.
            found.extend(parts if len(parts) > 1 else [schema])
        return found
    types = node.keywords.get("type")
    if split_types and isinstance(types, list) and len(types) > 1:
        return [{**node.keywords, "type": one} for one in types]
    return [_whole(node)]


def _all_differ(nodes: list[Node]) -> bool:
    return all(_differ(one, other) for one, other in itertools.combinations(nodes, 2))


def _differ(one: Node, other: Node) -> bool:
    """Whether it is certain that no value fits both."""
    if one.never or other.never:
        return True
    if not types_of(one.keywords) & types_of(other.keywords):
        return True
    mine, theirs = _constants(one), _constants(other)
    return any(not mine[name] & theirs[name] for name in mine.keys() & theirs.keys())


def _constants(node: Node) -> dict[str, frozenset[str]]:
    """The required members of an object that have one of a few values, and these values."""
    if types_of(node.keywords) != {"object"}:
        return {}
    found = {}
    for name, schema in node.keywords.get("properties", {}).items():
        if name in node.keywords.get("required", ()) and isinstance(schema, Mapping):
            values = [schema["const"]] if "const" in schema else schema.get("enum")
            if values is not None:
                found[name] = frozenset(to_canonical_json(value) for value in values)
    return found


def label(node: Node) -> str:
    """What an alternative is called, to find its counterpart: by its reference, its constants, or its type."""
    if node.at is not None:
        return node.at
    kind = to_canonical_json(sorted(types_of(node.keywords)))
    constants = {name: sorted(values) for name, values in _constants(node).items()}
    return kind + (to_canonical_json(constants) if constants else "")
