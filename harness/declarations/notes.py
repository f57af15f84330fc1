"""What a schema says that a TypeScript type cannot: descriptions, bounds, formats, as comments."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.declarations.reading import CHOICES, count, description, sequence, without_null
from harness.redaction import visible

__all__ = ["comment", "documentation", "documented", "indent", "own_tags", "short_json"]

_WIDTH = 110
_SHOWN = 200
_MOST_CHOICES = 40
"""Choices with a single branch, one inside the other, whose tags are shown."""

_TAGS = (
    "format",
    "contentEncoding",
    "contentMediaType",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "exclusiveMinimum",
    "maximum",
    "exclusiveMaximum",
    "multipleOf",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
)
"""Keywords that are shown under their own names, in this order."""

_FLAGS = ("uniqueItems", "readOnly", "writeOnly", "deprecated")

_RULES = (
    "not",
    "if",
    "then",
    "else",
    "contains",
    "minContains",
    "maxContains",
    "dependentRequired",
    "dependentSchemas",
    "unevaluatedItems",
    "unevaluatedProperties",
    "propertyNames",
)
"""Keywords that are rules of their own; they are shown as they stand in the schema."""


def _tags(schema: Mapping[str, Any], *, hidden: Sequence[str] = ()) -> list[str]:
    """What the type itself does not show, each as ``@keyword value``; ``hidden`` names keywords that the type shows."""
    found = [
        f"@{key} {_plain(schema[key])}"
        for key in _TAGS
        if key in schema and schema[key] is not None and key not in hidden
    ]
    found += [f"@{key}" for key in _FLAGS if schema.get(key) is True]
    found += [f"@rule {key}: {short_json(schema[key])}" for key in _RULES if key in schema and key not in hidden]
    if schema.get("default") is not None:
        found.append(f"@default {short_json(schema['default'])}")
    examples = schema.get("examples")
    if isinstance(examples, list) and examples:
        found.append(f"@example {short_json(examples[0])}")
    return found


def own_tags(schema: Mapping[str, Any]) -> list[str]:
    """What is to be said of a schema itself, without what its type shows."""
    hidden: list[str] = []
    first = schema.get("prefixItems", schema.get("items"))
    if isinstance(first, list):
        # A tuple shows how many there are, up to its own length.
        hidden += [key for key in ("minItems", "maxItems") if count(schema.get(key), 0) <= len(first)]
    if isinstance(schema.get("propertyNames"), Mapping) and schema["propertyNames"].keys() & {"enum", "const", "$ref"}:
        hidden.append("propertyNames")
    if "const" in schema:
        # There is nothing else it could be.
        return _tags({key: value for key, value in schema.items() if key != "default"}, hidden=hidden)
    return _tags(schema, hidden=hidden)


def documented(schema: Any) -> str:
    """The documentation of a schema: its description, its tags, and those of an only branch beside null."""
    text = description(schema)
    found: list[str] = []
    for _ in range(_MOST_CHOICES):
        if not isinstance(schema, Mapping):
            break
        found = [*own_tags(schema), *found]
        choices = [without_null(sequence(schema[keyword])) for keyword in CHOICES if keyword in schema]
        schema = next((branches[0] for branches in choices if len(branches) == 1), None)
    return documentation(text, list(dict.fromkeys(found)))


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else short_json(value)


def short_json(value: Any) -> str:
    """A value as JSON on one line, cut if it is long."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return "(nested too deeply to be shown)"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text)} characters)"


def _safe(text: str) -> str:
    """Text that cannot end the comment it stands in, or look like something it is not."""
    return visible(text.expandtabs(4).replace("\r\n", "\n"), keep="\n").replace("*/", "*\\/")


def comment(notes: Sequence[str]) -> str:
    """Notes as a comment inside a type: ``/* format date */``."""
    return f"/* {_safe(', '.join(note.removeprefix('@') for note in notes)).replace(chr(10), ' ')} */"


def documentation(text: str, notes: Sequence[str] = ()) -> str:
    """A JSDoc comment with the line end behind it, or nothing if there is nothing to say."""
    lines = [line.rstrip() for line in _safe(text).strip().splitlines()]
    shown = [_safe(note).replace("\n", " ") for note in notes]
    if not lines and not shown:
        return ""
    single = " ".join([*lines, *shown])
    if len(lines) <= 1 and len(single) <= _WIDTH:
        return f"/** {single} */\n"
    return "".join(f"{line}\n" for line in _block([*lines, *shown]))


def _block(lines: Sequence[str]) -> Iterator[str]:
    yield "/**"
    for line in lines:
        yield f" * {line}".rstrip()
    yield " */"


def indent(text: str) -> str:
    """A text one level further in."""
    return "\n".join(f"  {line}" if line else line for line in text.split("\n"))
