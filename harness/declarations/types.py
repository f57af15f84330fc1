"""JSON Schema (2020-12, as pydantic and others write it) as TypeScript types.

What a type cannot say is in a comment beside it; what TypeScript has no form for at all is ``any``. Three rules are
choices. An object's members are those it declares: one more is a type error, though many validators let it pass, unless
``additionalProperties`` invites more. ``integer`` is an alias of ``number``. And a value of unknown type is ``any``
rather than ``unknown``, so that scripts can use results of tools that declare none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.declarations.aliases import TypeNames
from harness.declarations.merging import merged
from harness.declarations.names import member
from harness.declarations.notes import comment, documented, indent, own_tags
from harness.declarations.pieces import ANY, EMPTY, INTERSECTION, NEVER, Piece, intersection, listed, union, value_type
from harness.declarations.reading import CHOICES, count, mapping, sequence, without_null
from harness.declarations.references import Document

__all__ = ["SchemaTypes"]

MAX_DEPTH = 40
MAX_SCHEMAS = 20_000
"""Schemas that one tool's declaration may take; merging can multiply them. What is past either bound is ``any``."""

_LINE = 100
_OBJECT = frozenset({"properties", "required", "additionalProperties", "patternProperties", "propertyNames"})
_ARRAY = frozenset({"items", "prefixItems"})
_SIMPLE = {
    "string": Piece("string"),
    "number": Piece("number"),
    "integer": Piece("integer"),
    "boolean": Piece("boolean"),
    "null": Piece("null"),
}
_INHERITED = frozenset(
    ["constructor", "hasOwnProperty", "isPrototypeOf", "propertyIsEnumerable", "toLocaleString", "toString", "valueOf"]
)
_MAKERS = frozenset({"const", "enum", "anyOf", "oneOf", "allOf", "$ref"})
_STRUCTURE = frozenset({"type"}) | _MAKERS | _OBJECT | _ARRAY


class SchemaTypes:
    """The types of one schema and everything in it. Raises nothing, whatever the schema holds."""

    def __init__(self, schema: Mapping[str, Any], owner: str, names: TypeNames) -> None:
        self._document = Document(schema, owner)
        self._names = names
        self._depth = 0
        self._schemas = 0

    def root(self) -> Piece:
        """The type of the whole schema; an object that has a title is named by it."""
        root = self._document.root
        if isinstance(root.get("title"), str) and root.get("properties") and not _MAKERS & root.keys():
            return self._reference("#", None)
        return self._type(root, None)

    def arguments(self) -> Piece:
        """The type of the whole schema, without a name and without comments about it as a whole."""
        return self._type(self._document.root, None, bare=True)

    def lone(self, schema: Any) -> Piece | None:
        """The type of one member of the root by itself; None if it can only be an object."""
        piece = self._type(schema, None, bare=True)
        seen = self._document.find(schema.get("$ref")) if isinstance(schema, Mapping) and "$ref" in schema else schema
        return None if isinstance(seen, Mapping) and seen.get("type") == "object" else piece

    def declare(self, name: str, reference: str) -> str:
        """``type name = …;`` with its documentation."""
        schema = self._document.find(reference)
        body = self._type(schema, name, bare=True)
        return f"{documented(schema)}type {name} = {body.text};"

    # ── one schema ───────────────────────────────────────────────────────────────────────────────────────────────

    def _type(self, schema: Any, alias: str | None, *, bare: bool = False) -> Piece:
        """``alias`` names the type that this one would be another name of; ``bare`` leaves comments to the caller."""
        if schema is False:
            return NEVER
        self._schemas += 1
        if not isinstance(schema, Mapping) or self._depth >= MAX_DEPTH or self._schemas > MAX_SCHEMAS:
            return ANY
        self._depth += 1
        piece = self._dispatch(schema, alias, bare=bare)
        self._depth -= 1
        if schema.get("nullable") is True:
            piece = union([piece, _SIMPLE["null"]])
        notes = [] if bare else own_tags(schema)
        return Piece(f"{piece.text} {comment(notes)}", max(piece.level, INTERSECTION)) if notes else piece

    def _dispatch(self, schema: Mapping[str, Any], alias: str | None, *, bare: bool) -> Piece:
        if "const" in schema or isinstance(schema.get("enum"), list):
            return union(value_type(value) for value in ([schema["const"]] if "const" in schema else schema["enum"]))
        for keyword in ("$ref", "allOf", *CHOICES):
            if keyword in schema:
                rest = {key: value for key, value in schema.items() if key not in (keyword, "discriminator")}
                return self._combined(keyword, schema, rest, alias, bare=bare)
        kind = schema.get("type")
        if isinstance(kind, list):
            return union(self._type({**schema, "type": one}, alias, bare=True) for one in kind)
        if kind == "object" or (kind is None and _OBJECT & schema.keys()):
            return self._object(schema)
        if kind == "array" or (kind is None and _ARRAY & schema.keys()):
            return self._array(schema)
        return _SIMPLE.get(kind, ANY) if isinstance(kind, str) else ANY

    def _combined(
        self, keyword: str, schema: Mapping[str, Any], rest: Mapping[str, Any], alias: str | None, *, bare: bool
    ) -> Piece:
        """A keyword that brings other schemas in, together with what stands beside it."""
        beside = {key: value for key, value in rest.items() if key in _STRUCTURE}
        if beside == {"type": "object"}:
            # It says nothing that the others do not; as a type it would let everything pass.
            beside = {}
        if keyword == "$ref":
            return self._all([self._reference(schema["$ref"], alias)], beside, alias)
        branches = schema[keyword] if isinstance(schema[keyword], list) else []
        if keyword == "allOf":
            one = merged([beside, *branches])
            if one is not None:
                return self._type(one, alias, bare=True)
            return self._all([self._type(branch, alias) for branch in branches], beside, alias)
        # Branches that only require members of the object beside them make sense together with it alone.
        joint = [merged([beside, branch]) for branch in branches] if beside else branches
        if beside and None in joint:
            return self._all([self._choice(schema, branches, alias, bare=bare)], beside, alias)
        return self._choice(schema, joint, alias, bare=bare)

    def _all(self, pieces: list[Piece], beside: Mapping[str, Any], alias: str | None) -> Piece:
        own = self._type(beside, alias, bare=True) if beside else ANY
        return intersection([own, *pieces])

    def _choice(self, schema: Mapping[str, Any], branches: Sequence[Any], alias: str | None, *, bare: bool) -> Piece:
        # The notes of an only branch beside null are the caller's to show.
        single = bare and len(without_null(branches)) == 1
        pieces = [self._type(branch, alias, bare=single) for branch in branches]
        discriminator = schema.get("discriminator")
        tag = discriminator.get("propertyName") if isinstance(discriminator, Mapping) else None
        if isinstance(tag, str):
            pieces = [self._tagged(piece, branch, tag) for piece, branch in zip(pieces, branches, strict=True)]
        return union(pieces) if pieces else ANY

    def _tagged(self, piece: Piece, branch: Any, tag: str) -> Piece:
        """A branch of a union that is told from the others by one member, which is required whatever its schema says."""
        found = self._document.find(branch["$ref"]) if isinstance(branch, Mapping) and "$ref" in branch else branch
        if not isinstance(found, Mapping) or tag in sequence(found.get("required")):
            return piece
        own = mapping(found.get("properties")).get(tag)
        value = self._type(own, None, bare=True) if isinstance(own, Mapping) else ANY
        return intersection([piece, Piece(f"{{ {member(tag)}: {value.text} }}")])

    def _reference(self, reference: Any, alias: str | None) -> Piece:
        found = self._document.find(reference)
        if found is None:
            return ANY
        if isinstance(found, bool):
            return ANY if found else NEVER
        name = self._names.refer(self._document, reference, alias, self.declare)
        return NEVER if name is None else Piece(name)

    # ── arrays and objects ───────────────────────────────────────────────────────────────────────────────────────

    def _array(self, schema: Mapping[str, Any]) -> Piece:
        first, items = schema.get("prefixItems"), schema.get("items", True)
        if isinstance(items, list):
            # How tuples were written before 2020-12.
            first, items = items, schema.get("additionalItems", True)
        if not isinstance(first, list) or not first:
            return Piece("[]") if items is False or schema.get("maxItems") == 0 else listed(self._type(items, None))
        least = count(schema.get("minItems"), 0)
        pieces = [self._type(item, None) for item in first]
        most = count(schema.get("maxItems"), len(pieces) + 1)
        texts = [piece.text if at < least else f"{piece.within(0)}?" for at, piece in enumerate(pieces) if at < most]
        if most > len(pieces) and items is not False:
            texts.append(f"...{listed(self._type(items, None)).text}")
        return Piece(f"[{', '.join(texts)}]")

    def _object(self, schema: Mapping[str, Any]) -> Piece:
        properties = dict(mapping(schema.get("properties")))
        required = [name for name in sequence(schema.get("required")) if isinstance(name, str)]
        properties.update({name: True for name in required if name not in properties})
        more = self._more(schema, closed=bool(properties))
        named = self._key_names(schema)
        if named is not None:
            properties.update({name: more[0] for name in named if name not in properties and more})
            more = []
        members: list[str] = []
        known: list[Piece] = []
        for name, inner in properties.items():
            piece = inner if isinstance(inner, Piece) else self._type(inner, None, bare=True)
            optional = "" if name in required else "?"
            if optional and name in _INHERITED:
                # Every object has such a member, and TypeScript compares it with what is declared here.
                piece = Piece(f"any {comment([piece.text])}", INTERSECTION)
            doc = "" if isinstance(inner, Piece) else documented(inner)
            members.append(f"{doc}{member(name)}{optional}: {piece.text};")
            known += [piece] if name in required else [piece, Piece("undefined")]
        if more:
            members.append(f"[key: string]: {union([*more, *known]).text};")
        return _braces(members)

    def _more(self, schema: Mapping[str, Any], *, closed: bool) -> list[Piece]:
        """The types of members that are not declared by name."""
        patterns = mapping(schema.get("patternProperties"))
        found = [self._type(inner, None) for inner in patterns.values()]
        rest = schema.get("additionalProperties", not closed and not patterns)
        if rest is not False:
            found.append(self._type(rest, None))
        return found

    def _key_names(self, schema: Mapping[str, Any]) -> list[str] | None:
        """The names that a dictionary's keys can have, if the schema lists them."""
        names = schema.get("propertyNames")
        if isinstance(names, Mapping) and "$ref" in names:
            names = self._document.find(names["$ref"])
        if not isinstance(names, Mapping):
            return None
        listed_names = names.get("enum", [names["const"]] if "const" in names else None)
        if not isinstance(listed_names, list) or not all(isinstance(name, str) for name in listed_names):
            return None
        return listed_names


def _braces(members: list[str]) -> Piece:
    if not members:
        return EMPTY
    line = f"{{ {' '.join(members).removesuffix(';')} }}"
    if len(line) <= _LINE and "\n" not in line:
        return Piece(line)
    return Piece("\n".join(["{", *(indent(text) for text in members), "}"]))
