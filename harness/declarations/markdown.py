"""Tools as Markdown, for people."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.declarations.names import call_form

__all__ = ["markdown"]


def markdown(described: Sequence[Mapping[str, Any]]) -> str:
    """Tools, given as `Tool.describe` describes them, in their order."""
    return "\n".join(line for tool in described for line in _tool(tool)) + "\n"


def _tool(tool: Mapping[str, Any]) -> Iterator[str]:
    parameters = tool["parameters"]
    properties: Mapping[str, Any] = parameters.get("properties", {})
    required = parameters.get("required", [])
    definitions = parameters.get("$defs", {})
    yield f"## {call_form(tool['name'], parameters)}"
    yield ""
    if tool["description"]:
        yield from (tool["description"].strip(), "")
    if notes := list(_notes(tool)):
        yield from (" ".join(notes), "")
    for name, schema in properties.items():
        described = schema.get("description", "")
        default = f", default {json.dumps(schema['default'])}" if schema.get("default") is not None else ""
        optional = "" if name in required else ", optional"
        kind = f"{_type(schema, definitions)}{optional}{default}"
        yield f"- `{name}` ({kind}){': ' + described if described else ''}"
    if properties:
        yield ""
    if tool["result"] is not None:
        yield f"Returns {_type(tool['result'], tool['result'].get('$defs', {}))}."
        yield ""


def _notes(tool: Mapping[str, Any]) -> Iterator[str]:
    if tool["approval"]:
        yield "Needs approval."
    if tool["timeout"] is not None:
        yield f"Takes at most {tool['timeout']:g} s."
    if tool["idempotent"]:
        yield "Can be repeated safely."
    if tool["tags"]:
        yield f"Tags: {', '.join(tool['tags'])}."


def _type(schema: Mapping[str, Any], definitions: Mapping[str, Any], depth: int = 3) -> str:
    """A few words for a JSON Schema; what is nested deeper than a person would read is called ``object``."""
    if "$ref" in schema:
        name = str(schema["$ref"]).rsplit("/", 1)[-1]
        found = definitions.get(name)
        return name if found is None or depth == 0 else _type(found, definitions, depth - 1)
    if "const" in schema or "enum" in schema:
        return " | ".join(json.dumps(value) for value in schema.get("enum", [schema.get("const")]))
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        return " | ".join(_type(choice, definitions, depth) for choice in choices)
    kind = schema.get("type", "any value")
    if kind == "array" and "items" in schema:
        return f"array of {_type(schema['items'], definitions, depth)}"
    if kind == "object" and schema.get("properties") and depth:
        members = (f"{name}: {_type(value, definitions, depth - 1)}" for name, value in schema["properties"].items())
        return "{" + ", ".join(members) + "}"
    words = " | ".join(kind) if isinstance(kind, list) else str(kind)
    return f"{words} ({schema['format']})" if "format" in schema else words
