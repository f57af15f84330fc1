"""Reading one place of a JSON Schema: what it asserts, what it only says, and what it refers to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from harness.canonical import to_canonical_json
from harness.declarations.references import Document

__all__ = ["NOTES", "TYPES", "Node", "Source", "dialect", "is_beyond", "types_of"]

NOTES = frozenset(
    {"title", "description", "examples", "$comment", "readOnly", "writeOnly", "deprecated", "default", "discriminator"}
)
"""Keywords that assert nothing (``discriminator`` is OpenAPI's)."""
_SILENT = frozenset({"$schema", "$defs", "definitions", "$id"})
"""Keywords that take effect elsewhere, if anywhere."""
_BEYOND = frozenset({"$dynamicRef", "$recursiveRef", "$anchor", "$dynamicAnchor", "$recursiveAnchor", "$vocabulary"})
"""Keywords by which one place changes what another means."""
_DIALECTS = {
    "http://json-schema.org/draft-07/schema": 7,
    "https://json-schema.org/draft/2019-09/schema": 2019,
    "https://json-schema.org/draft/2020-12/schema": 2020,
}

TYPES = frozenset({"null", "boolean", "integer", "fraction", "string", "array", "object"})
"""What a value can be; a ``number`` is an ``integer`` or a ``fraction``."""


def types_of(schema: Mapping[str, Any]) -> frozenset[str]:
    """The types that ``type`` allows."""
    given = schema.get("type")
    if given is None:
        return TYPES
    names = set([given] if isinstance(given, str) else given)
    return frozenset(names - {"number"} | ({"integer", "fraction"} if "number" in names else set()))


def dialect(root: Any) -> int | None:
    """7, 2019 or 2020; None for another one. Without ``$schema`` it is 2020."""
    named = root.get("$schema") if isinstance(root, Mapping) else None
    return 2020 if named is None else _DIALECTS.get(str(named).removesuffix("#"))


def is_beyond(root: Any) -> bool:
    """Whether a schema uses something by which its parts cannot be compared one by one."""
    return any(_BEYOND & place.keys() or (not top and "$id" in place) for top, place in _places(root))


def _places(root: Any) -> Iterator[tuple[bool, Mapping[str, Any]]]:
    todo = [(True, root)]
    while todo:
        top, here = todo.pop()
        if isinstance(here, Mapping):
            yield top, here
            todo.extend((False, item) for item in here.values())
        elif isinstance(here, list):
            todo.extend((False, item) for item in here)


@dataclass(frozen=True, slots=True)
class Node:
    """One place of a schema. A value fits it if it fits ``keywords`` and all that stands in ``also``."""

    keywords: Mapping[str, Any]
    also: tuple[Any, ...]
    """Schemas of ``allOf``, and what ``$ref`` names where it has company."""
    notes: Mapping[str, Any]
    at: str | None
    """The reference by which it was reached; None if it stands where it is used."""
    never: bool = False
    """Nothing fits."""
    broken: str | None = None
    """A reference that leads nowhere, or round in a circle."""


class Source:
    """One whole schema, whose places are read."""

    def __init__(self, root: Any) -> None:
        self.root = root
        self.text = to_canonical_json(root)
        self._document = Document(root if isinstance(root, Mapping) else {}, "schema")
        self._lone_references = dialect(root) == 7
        self._texts: dict[int, tuple[Any, str]] = {}

    def text_of(self, schema: Any) -> str:
        """Canonical JSON of a part, so that parts can be compared: in Python, true equals 1."""
        known = self._texts.get(id(schema))
        if known is None or known[0] is not schema:
            known = self._texts[id(schema)] = (schema, to_canonical_json(schema))
        return known[1]

    def behind(self, schema: Any) -> frozenset[str]:
        """What all the references in a part lead to, in a form that can be compared."""
        found = {str(place["$ref"]) for _, place in _places(schema) if isinstance(place.get("$ref"), str)}
        return frozenset(self._document.fingerprint(reference) for reference in found)

    def read(self, schema: Any) -> Node:
        """The place at which ``schema`` stands; references that stand alone are followed."""
        notes: dict[str, Any] = {}
        seen: set[str] = set()
        at: str | None = None
        while True:
            if isinstance(schema, bool):
                return Node({}, (), notes, at, never=not schema)
            for word in NOTES & schema.keys():
                notes.setdefault(word, schema[word])
            rest = {word: value for word, value in schema.items() if word not in NOTES | _SILENT}
            reference = rest.pop("$ref", None)
            if reference is not None and self._lone_references:
                rest = {}
            also = list(rest.pop("allOf", ()))
            if reference is None:
                if not (len(also) == 1 and not rest):
                    return Node(rest, tuple(also), notes, at)
                schema = also[0]
                continue
            target = self._document.find(reference)
            if target is None or reference in seen:
                return Node(rest, tuple(also), notes, at, broken=str(reference))
            if rest or also:
                return Node(rest, (*also, {"$ref": reference}), notes, at)
            seen.add(reference)
            schema, at = target, reference
