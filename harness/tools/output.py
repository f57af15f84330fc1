"""What a tool may return from `invoke` in place of a bare value: the value, and the files it made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.model import Artifact

__all__ = ["ToolOutput"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolOutput:
    """A result, and what belongs to it but is no part of it."""

    value: Any
    artifacts: tuple[Artifact, ...] = ()
    """Files that the value names. They go on record with the call; the script sees the value alone."""
    logs: str = ""
    """What the tool logged (standard error of a command), whole."""
    protections: Mapping[str, str] = field(default_factory=dict)
    """Layer of the sandbox the tool ran in -> ``"active"`` or why not; empty without one."""
