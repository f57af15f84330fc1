"""Function definitions in the formats that providers of language models take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.errors import UsageError

__all__ = ["read_anthropic", "read_openai"]

Definition = tuple[str, str | None, Mapping[str, Any] | None]
"""Name, description, schema of the parameters."""


def read_openai(definition: Any) -> Definition:
    """From a definition for OpenAI's API, nested (chat completions) or flat (responses). Raises `UsageError`."""
    outer = _mapping(definition, "an OpenAI function definition")
    kind = outer.get("type", "function")
    if kind != "function":
        raise UsageError(
            f"An OpenAI tool of type {kind!r} is carried out by the provider; only type 'function' can be called here."
        )
    inner = _mapping(outer.get("function", outer), "the 'function' of an OpenAI function definition")
    return _read(inner, "parameters", "An OpenAI function definition")


def read_anthropic(definition: Any) -> Definition:
    """From a definition for Anthropic's API. Raises `UsageError`."""
    outer = _mapping(definition, "an Anthropic tool definition")
    kind = outer.get("type", "custom")
    if kind not in ("custom", None):
        raise UsageError(
            f"An Anthropic tool of type {kind!r} has a schema of the provider's; only tools with an input_schema of "
            "their own can be called here."
        )
    return _read(outer, "input_schema", "An Anthropic tool definition")


def _read(definition: Mapping[str, Any], schema: str, what: str) -> Definition:
    name, description = definition.get("name"), definition.get("description")
    if not isinstance(name, str):
        raise UsageError(f"{what} has a text 'name'; this one has {name!r}.")
    if description is not None and not isinstance(description, str):
        raise UsageError(f"{what} has a text 'description'; that of {name!r} is {type(description).__name__}.")
    other = {"parameters": "input_schema", "input_schema": "parameters"}[schema]
    if schema not in definition and other in definition:
        raise UsageError(
            f"{what} has its schema in {schema!r}; that of {name!r} has {other!r}, which is another's form."
        )
    parameters = definition.get(schema)
    if parameters is not None and not isinstance(parameters, Mapping):
        raise UsageError(f"The {schema!r} of {name!r} is a JSON Schema, which is a dict, not {parameters!r}.")
    return name, description, parameters


def _mapping(given: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise UsageError(f"{what[0].upper()}{what[1:]} is a dict, not {type(given).__name__}.")
    return given
