"""Tools as Markdown, for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.declarations.names import call_form
from harness.declarations.notes import short_json
from harness.declarations.reading import description, mapping, sequence

__all__ = ["markdown"]


def markdown(described: Sequence[Mapping[str, Any]]) -> str:
    """Tools, given as `Tool.describe` describes them, in their order."""
    return "\n".join(line for tool in described for line in _tool(tool)) + "\n"


def _tool(tool: Mapping[str, Any]) -> Iterator[str]:
    parameters = tool["parameters"]
    properties = mapping(parameters.get("properties"))
    required = sequence(parameters.get("required"))
    definitions = mapping(parameters.get("$defs"))
    yield f"## {call_form(tool['name'], parameters)}"
    yield ""
    if tool["description"]:
        yield from (tool["description"].strip(), "")
    if notes := list(_notes(tool)):
        yield from (" ".join(notes), "")
    for name, schema in properties.items():
        text = description(schema)
        given = mapping(schema).get("default")
        default = "" if given is None else f", default {short_json(given)}"
        optional = "" if name in required else ", optional"
        kind = f"{_type(schema, definitions)}{optional}{default}"
        yield f"- `{name}` ({kind}){': ' + text if text else ''}"
    if properties:
        yield ""
    if tool["result"] is not None:
        yield f"Returns {_type(tool['result'], mapping(tool['result'].get('$defs')))}."
        yield ""


def _notes(tool: Mapping[str, Any]) -> Iterator[str]:
    if tool["approval"]:
        yield "Needs approval."
    if tool["timeout"] is not None:
        yield f"Takes at most {tool['timeout']:g} s."
    if tool["idempotent"]:
        yield "Can be repeated safely."
    yield from _terms(tool)
    if tool["tags"]:
        yield f"Tags: {', '.join(tool['tags'])}."


def _terms(tool: Mapping[str, Any]) -> Iterator[str]:
    cents = tool.get("cost_cents", 0)
    if cents != 0:
        yield "Costs as its arguments say." if cents is None else f"Costs {cents:g} cents."
    if tool.get("retry") is not None:
        yield f"Is tried up to {tool['retry']['attempts']} times."
    if tool.get("resource") is not None:
        yield f"Uses the resource {tool['resource']['resource_id']}."
    if tool.get("revert"):
        yield "Can be taken back."


def _type(schema: Any, definitions: Mapping[str, Any], depth: int = 6) -> str:  # noqa: PLR0911 - one for each form
    """A few words for a JSON Schema; what is nested deeper than a person would read is called ``object``."""
    if not isinstance(schema, Mapping):
        return "any value" if schema is not False else "nothing"
    if "$ref" in schema:
        name = str(schema["$ref"]).rsplit("/", 1)[-1]
        found = definitions.get(name)
        return name if found is None or depth == 0 else _type(found, definitions, depth - 1)
    if "const" in schema or "enum" in schema:
        return " | ".join(short_json(value) for value in sequence(schema.get("enum", [schema.get("const")])))
    if choices := sequence(schema.get("anyOf")) or sequence(schema.get("oneOf")):
        return " | ".join(_type(choice, definitions, depth - 1) for choice in choices) if depth else "one of several"
    kind = schema.get("type", "any value")
    if kind == "array" and "items" in schema and depth:
        return f"array of {_type(schema['items'], definitions, depth - 1)}"
    if kind == "object" and mapping(schema.get("properties")) and depth:
        members = (f"{name}: {_type(value, definitions, depth - 1)}" for name, value in schema["properties"].items())
        return "{" + ", ".join(members) + "}"
    words = " | ".join(map(str, kind)) if isinstance(kind, list) else str(kind)
    return f"{words} ({schema['format']})" if "format" in schema else words
