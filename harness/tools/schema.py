"""JSON Schemas that somebody wrote: checked when a tool is made, and what does not fit them named.

The validator is ``jsonschema_rs``, loaded when the first such tool is made. It never fetches anything, and its regular
expressions take linear time, or a bounded number of steps where they look around or back: the texts they are matched
against come from scripts.
"""

from __future__ import annotations

import copy
import functools
import itertools
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, JsonValue
from pydantic_core import to_json

from harness.errors import SerializationError, ToolValidationError, UsageError
from harness.places import target
from harness.plain import child_path, to_plain
from harness.tools.names import suggest
from harness.tools.validation import Finding, finding, misfit

if TYPE_CHECKING:
    import jsonschema_rs

__all__ = ["COMPOSITE", "JsonSchema", "Schema", "check_defaults", "defaults", "parameters_schema", "result_schema"]

Schema = Mapping[str, Any] | type[BaseModel]
"""A JSON Schema, or a pydantic model in place of the one it has."""

COMPOSITE = frozenset({"$ref", "$dynamicRef", "allOf", "anyOf", "oneOf", "if", "dependentSchemas", "not"})
"""Keywords that bring further schemas to bear on the same value."""

_AROUND = frozenset({"$schema", "$id", "$comment", "$defs", "definitions", "title", "description"})
"""Keywords beside a reference that add no condition to it."""
_MOST_REFERENCES = 20
_BACKTRACKS = 100_000
_MAX_FINDINGS = 100
_MAX_LISTED = 20
_SHOWN = 60
_VALUE = "the value"
_ELSEWHERE = re.compile(r"Resource ('.*?') is not present in a registry and retrieving it failed")
_ARTICLES = {"integer": "an integer", "array": "an array", "object": "an object", "null": "null"}


def parameters_schema(given: Any, tool: str) -> dict[str, Any]:
    """The schema of an argument object as plain data of its own. Raises `UsageError` if it describes anything else."""
    where = f"The parameters of tool {tool!r}"
    schema = {"type": "object", "properties": {}, "additionalProperties": False} if given is None else given
    schema = _unfolded(_plain_schema(schema, where))
    if not COMPOSITE & schema.keys():
        schema.setdefault("type", "object")
        schema.setdefault("properties", {})
    if schema.get("type", "object") != "object":
        raise UsageError(f"{where} must describe an object, since scripts pass one; its type is {schema['type']!r}.")
    return schema


def _unfolded(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema that is only a reference to one of its own definitions, as that definition: what it says of the arguments
    is then to be found where everybody looks for it. Recursive models of pydantic are written like that.
    """
    for _ in range(_MOST_REFERENCES):
        reference = schema.get("$ref")
        around = {key: value for key, value in schema.items() if key != "$ref"}
        found = target(schema, reference) if isinstance(reference, str) and around.keys() <= _AROUND else None
        if not isinstance(found, dict) or "$id" in found:
            break
        schema = {**found, **around}
    return schema


def result_schema(given: Any, tool: str) -> dict[str, Any]:
    """The schema of a result as plain data of its own. Raises `UsageError` if it is no schema."""
    return _plain_schema(given, f"The result of tool {tool!r}")


def _plain_schema(given: Any, where: str) -> dict[str, Any]:
    if isinstance(given, type) and issubclass(given, BaseModel):
        given = given.model_json_schema()
    if not isinstance(given, Mapping):
        raise UsageError(f"{where} must be a JSON Schema, which is a dict, not {type(given).__name__}.")
    try:
        plain = to_plain(given)
    except SerializationError as error:
        raise UsageError(f"{where} is no JSON Schema. {error.message}", details=error.details) from None
    return dict(plain) if isinstance(plain, dict) else {}


class JsonSchema:
    """A schema to check values against. Raises `UsageError` for one that is not valid, with the place in it."""

    def __init__(self, schema: dict[str, Any], where: str) -> None:
        self._schema = schema
        self._validator = _validator(schema, where)

    def fits(self, value: JsonValue) -> bool:
        """Whether plain ``value`` fits."""
        return self._validator.is_valid(value)

    def misfit(self, value: JsonValue, *, what: str, hint: str = "") -> ToolValidationError:
        """The error that lists every place where ``value`` does not fit."""
        return misfit(self._findings(value), what=what, hint=hint)

    def _findings(self, value: JsonValue) -> list[Finding]:
        errors = itertools.islice(self._validator.iter_errors(value), _MAX_FINDINGS)
        return [found for error in errors for found in _explained(error, value, self._schema)]


def defaults(schema: Mapping[str, Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The ``default`` of each property that is left out: copies, which may be changed."""
    return {
        name: copy.deepcopy(member["default"])
        for name, member in schema.get("properties", {}).items()
        if name not in arguments and isinstance(member, Mapping) and "default" in member
    }


def check_defaults(schema: dict[str, Any], tool: str) -> None:
    """Raises `UsageError` for a property's ``default`` that the property itself does not allow: scripts would get it."""
    members = schema.get("properties", {})
    if not isinstance(members, dict):
        return
    # A default is looked at by itself: what the object needs besides, and its alternatives, are another matter.
    where = f"The parameters of tool {tool!r}"
    around = {key: schema[key] for key in schema if key.startswith("$") or key == "definitions"}
    for name, member in members.items():
        if not isinstance(member, dict) or "default" not in member:
            continue
        alone = JsonSchema({**around, "properties": {name: member}}, where)
        given = {name: member["default"]}
        if not alone.fits(given):
            raise UsageError(
                alone.misfit(given, what=f"{where}: a default does not fit").message,
                details={"path": child_path("$.properties", name)},
            )


def _validator(schema: dict[str, Any], where: str) -> jsonschema_rs.Validator:
    import jsonschema_rs  # noqa: PLC0415 - most programs make no such tool, and importing it takes a while

    try:
        return jsonschema_rs.validator_for(
            schema,
            validate_formats=True,
            # Values must not turn up in what is said of them; they are shown with care, or not at all.
            mask=_VALUE,
            pattern_options=jsonschema_rs.FancyRegexOptions(backtrack_limit=_BACKTRACKS),
            offline=True,
        )
    except jsonschema_rs.ValidationError as error:
        path = functools.reduce(child_path, error.instance_path, "$")
        if error.kind.name != "$ref":
            what = f"at {path}, {_expectation(error)}, not {to_json(error.instance).decode()[:_SHOWN]}"
        elif (elsewhere := _ELSEWHERE.match(error.message)) is not None:
            what = (
                f"it refers to {elsewhere[1]}, and schemas are never fetched. Put the definition under $defs and refer to "
                "it as #/$defs/…"
            )
        else:
            what = error.message
        raise UsageError(f"{where}: the JSON Schema is not valid: {what}.", details={"path": path}) from None
    except ValueError as error:
        raise UsageError(f"{where}: the JSON Schema cannot be used: {error}.") from None


# Findings of the validator are Any: what their ``kind`` holds depends on its name, which its types do not say.


def _explained(error: Any, value: Any, schema: Mapping[str, Any]) -> Iterator[Finding]:
    parts = error.instance_path
    match error.kind.name:
        case "required":
            yield finding(value, [*parts, error.kind.property], "a value is required")
        case "additionalProperties" | "unevaluatedProperties":
            known = schema.get("properties", {}) if not parts else {}
            for name in error.kind.unexpected:
                near = suggest(name, known, count=1)
                expected = "unknown argument" if not parts else "unknown member"
                yield finding(value, [*parts, name], expected + (f"; did you mean {near[0]!r}?" if near else ""))
        case "falseSchema" if error.schema_path[-1] == "additionalProperties":
            # So the validator says it where no property is allowed at all.
            for name in functools.reduce(operator.getitem, parts, value):
                yield finding(value, [*parts, name], "unknown member")
        case "anyOf" | "oneOf" if nearest := _nearest(error):
            for inner in nearest:
                yield from _explained(inner, value, schema)
        case _:
            yield finding(value, parts, _expectation(error))


def _nearest(error: Any) -> Sequence[Any]:
    """The findings of the alternative that the value was most likely meant for; none if that is anybody's guess."""
    depth = len(error.instance_path)
    branches = [branch for branch in error.kind.context if branch]
    # A value that has not even the alternative's type, or another constant where alternatives are told apart by one,
    # is not meant for it.
    meant = [
        branch
        for branch in branches
        if not any(
            (len(inner.instance_path) == depth and inner.kind.name == "type")
            or (inner.kind.name in ("const", "enum") and _is_member(inner.instance_path[depth:]))
            for inner in branch
        )
    ]
    return meant[0] if len(meant) == 1 else ()


def _is_member(parts: Sequence[str | int]) -> bool:
    return len(parts) == 1 and isinstance(parts[0], str)


def _types(kinds: Sequence[str]) -> str:
    return " or ".join(_ARTICLES.get(kind, f"a {kind}") for kind in sorted(kinds))


def _listed(options: Sequence[Any]) -> str:
    shown = [to_json(option).decode()[:_SHOWN] for option in options[:_MAX_LISTED]]
    return ", ".join(shown) + (f" and {len(options) - _MAX_LISTED} more" if len(options) > _MAX_LISTED else "")


def _one_of(error: Any) -> str:
    branches = [branch for branch in error.kind.context if branch]
    simple = branches and all(
        len(branch) == 1 and list(branch[0].instance_path) == list(error.instance_path) for branch in branches
    )
    if not simple:
        return "expected a value that fits one of the alternatives"
    if all(branch[0].kind.name == "type" for branch in branches):
        return f"expected {_types([kind for branch in branches for kind in branch[0].kind.types])}"
    return "expected " + " or ".join(_expectation(branch[0]).removeprefix("expected ") for branch in branches)


def _bound(error: Any) -> str:
    return to_json(error.kind.limit).decode()


def _count(error: Any, what: str) -> str:
    limit = error.kind.limit
    return f"{limit:,} {what}" + ("" if limit == 1 else "s")


_EXPECTATIONS: Mapping[str, Callable[[Any], str]] = {
    "type": lambda error: f"expected {_types(error.kind.types)}",
    "anyOf": _one_of,
    "oneOf": lambda error: (
        "expected a value that fits only one of the alternatives" if not any(error.kind.context) else _one_of(error)
    ),
    "enum": lambda error: f"expected one of {_listed(error.kind.options)}",
    "const": lambda error: f"expected {_listed([error.kind.expected_value])}",
    "format": lambda error: f"expected a valid {error.kind.format}",
    "pattern": lambda error: (
        f"expected text that matches {getattr(error.kind, 'pattern', 'its pattern within reason')}"
    ),
    "minimum": lambda error: f"expected a number of at least {_bound(error)}",
    "maximum": lambda error: f"expected a number of at most {_bound(error)}",
    "exclusiveMinimum": lambda error: f"expected a number greater than {_bound(error)}",
    "exclusiveMaximum": lambda error: f"expected a number less than {_bound(error)}",
    "multipleOf": lambda error: f"expected a multiple of {to_json(error.kind.multiple_of).decode()}",
    "minLength": lambda error: f"expected at least {_count(error, 'character')}",
    "maxLength": lambda error: f"expected at most {_count(error, 'character')}",
    "minItems": lambda error: f"expected at least {_count(error, 'item')}",
    "maxItems": lambda error: f"expected at most {_count(error, 'item')}",
    "additionalItems": lambda error: f"expected at most {_count(error, 'item')}",
    "uniqueItems": lambda _: "expected items that all differ",
    "minProperties": lambda error: f"expected at least {_count(error, 'member')}",
    "maxProperties": lambda error: f"expected at most {_count(error, 'member')}",
    "not": lambda error: f"expected a value that does not fit {to_json(error.kind.schema).decode()[:_SHOWN]}",
    "propertyNames": lambda error: f"expected member names that fit: {error.message}",
    "contains": lambda _: "expected more items that fit what it must contain",
    "falseSchema": lambda _: "expected nothing here",
}


def _expectation(error: Any) -> str:
    special = _EXPECTATIONS.get(error.kind.name)
    text = error.message if special is None else special(error)
    return text[:300]
