"""A script that shows a model how these very tools are called."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from harness.declarations.names import access, member
from harness.declarations.reading import mapping, sequence
from harness.tools.samples import sample

__all__ = ["example_script"]

_MOST = 200
"""Characters of a call; a tool whose example would be longer is no good example."""


def example_script(tools: Sequence[Mapping[str, Any]]) -> str:
    """One call, or two that run together. The values are placeholders of the right type."""
    calls = [call for tool in tools if not tool["approval"] for call in [_call(tool)] if len(call) <= _MOST][:2]
    if not calls:
        return "return [3, 1, 2].toSorted();"
    if len(calls) == 1:
        return f"const result = await {calls[0]};\nreturn result;"
    lines = ["const [first, second] = await Promise.all([", *(f"  {call}," for call in calls), "]);"]
    return "\n".join([*lines, "return { first, second };"])


def _call(tool: Mapping[str, Any]) -> str:
    parameters = tool["parameters"]
    properties = mapping(parameters.get("properties"))
    required = [name for name in sequence(parameters.get("required")) if isinstance(name, str) and name in properties]
    given = ", ".join(f"{member(name)}: {_value(properties[name], parameters)}" for name in required)
    return f"{access(tool['name'])}({{ {given} }})" if given else f"{access(tool['name'])}()"


def _value(schema: Any, root: Mapping[str, Any]) -> str:
    whole = {**schema, "$defs": root.get("$defs", {})} if isinstance(schema, Mapping) else {}
    value = sample(whole)
    return json.dumps("…" if value == "" else value, ensure_ascii=False)
