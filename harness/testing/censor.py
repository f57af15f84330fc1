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

_OF_THE_LINE = ("kind", "run", "block", "library", "machine", "execution_id", "reproducible")


def redacted_run(run: TapedRun, redact: Redact) -> TapedRun:
    """A run in which every string went through a function, but for those that say what the lines are."""
    first, *lines = dump_runs([run]).rstrip("\n").split("\n")
    changed = [
        line_text({name: item if name in _OF_THE_LINE else redacted(item, redact) for name, item in line.items()})
        for line in map(json.loads, lines)
    ]
    return load_runs("\n".join([first, *changed]), "what was redacted")[0]


def redacted(value: Any, redact: Redact) -> Any:
    """A copy of JSON data in which every string, names included, went through a function."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {redact(name): redacted(item, redact) for name, item in value.items()}
    return [redacted(item, redact) for item in value] if isinstance(value, (list, tuple)) else value
