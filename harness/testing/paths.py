"""Paths to places in JSON data: the part of JSONPath (RFC 9535) that names members and elements."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from pydantic import JsonValue

__all__ = ["Path", "pruned", "read_path"]

Step = str | int | None
"""A member, an element, or None for all of them."""
Path = tuple[Step, ...]

_STEP = re.compile(
    r"""\.(?P<member>[A-Za-z_$\u0080-\U0010ffff][\w$]*) | (?P<every>\.\*|\[\*\]) | \[(?P<element>\d+)\]
    | \[(?P<quoted>"(?:[^"\\]|\\.)*")\]""",
    re.VERBOSE,
)


def read_path(text: str) -> Path:
    """The steps of ``$.executions[*].calls[0]["a b"]``. Raises ``ValueError`` for what is no such path."""
    at, steps = 1, list[Step]()
    if not text.startswith("$"):
        raise ValueError(f"{text!r} is no path; it begins with $, as in $.executions[*].value")
    while at < len(text):
        step = _STEP.match(text, at)
        if step is None:
            raise ValueError(f"{text!r} is no path from {text[at:]!r} on; write it as in $.executions[*].calls[0].tool")
        if step["member"] is not None:
            steps.append(step["member"])
        elif step["quoted"] is not None:
            steps.append(str(json.loads(step["quoted"])))
        else:
            steps.append(None if step["every"] else int(step["element"]))
        at = step.end()
    return tuple(steps)


def pruned(value: JsonValue, paths: Sequence[Path]) -> JsonValue:
    """A copy that holds only what the paths lead to, at its place. Elements that none of them leads to are null.

    Where a path goes on and the value does not, the value itself stays: a null in place of an object is a difference.
    """
    if any(not path for path in paths) or not isinstance(value, (dict, list)):
        return value
    if isinstance(value, dict):
        found = {name: [path[1:] for path in paths if path[0] in (None, name)] for name in value}
        return {name: pruned(value[name], rest) for name, rest in found.items() if rest}
    elements: list[JsonValue] = []
    for number, item in enumerate(value):
        rest = [path[1:] for path in paths if path[0] is None or path[0] == number]
        elements.append(pruned(item, rest) if rest else None)
    # How many elements there are is compared only if all of them are.
    if not any(path[0] is None for path in paths):
        last = max((path[0] for path in paths if isinstance(path[0], int)), default=-1)
        return elements[: last + 1]
    return elements
