"""Texts replaced throughout a recorded run, so that it can be shown."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from harness.testing.tape import TapedRun
from harness.testing.tapefile import dump_runs, line_text
from harness.testing.tapereader import load_runs

__all__ = ["Redact", "redacted", "redacted_run"]

Redact = Callable[[str], str]

_DATA = frozenset(
    ["args", "arguments", "arguments_json", "data", "details", "edits", "inputs", "metadata", "value", "value_json"]
)
"""Members that hold what scripts, tools and callers made up: names in it are theirs, too."""
_FIXED = frozenset(
    [
        *("budget", "category", "code", "decision", "execution_id", "items", "kind", "level", "library", "machine"),
        *("mode", "name", "scope", "severity", "sha256", "status", "tool", "tools", "type", "verdict"),
    ]
)
"""Members with words of the library and names of tools, without which nothing could be played."""


def redacted_run(run: TapedRun, redact: Redact) -> TapedRun:
    """A run in which everything that scripts, tools and people said went through a function."""
    lines = []
    for text in dump_runs([run]).rstrip("\n").split("\n"):
        line = json.loads(text)
        lines.append(text if line["kind"] == "contract" else line_text(redacted(line, redact)))
    return load_runs("\n".join(lines), "what was redacted")[0]


def redacted(value: Any, redact: Redact, *, data: bool = False) -> Any:
    """A copy of JSON data of a run. ``data``: whether the names in it are no words of the library."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {
            redact(name) if data else name: item
            if name in _FIXED and not data
            else redacted(item, redact, data=data or name in _DATA)
            for name, item in value.items()
        }
    return [redacted(item, redact, data=data) for item in value] if isinstance(value, (list, tuple)) else value
