"""The values that pass between a runtime and the facade that carries out its calls."""

from __future__ import annotations

from dataclasses import dataclass

from harness.errors import ErrorInfo, HarnessError
from harness.model import CallRecord, ProgressEvent

__all__ = ["Settled", "ToolCall"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call as a script made it."""

    id: int
    """From 1, in the order the script made its calls. No two calls of an execution have the same."""
    tool: str
    """As the script wrote it; perhaps no tool at all."""
    arguments_json: str
    """The positional arguments as a JSON array: ``[]``, ``[{"a":1}]``. Not trusted."""
    line: int | None = None
    """Of the call in the block's own source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """How a call ended: with ``value_json`` or with ``error``, never with both."""

    call_id: int
    record: CallRecord
    value_json: str | None = None
    """The result as JSON text, ready for the VM."""
    error: ErrorInfo | None = None
    exception: HarnessError | None = None
    """The error itself, for host code."""
    made_up: bool = False
    """True for the result of a dry run: a preview or a sample, which nothing should be concluded from."""
    needs_approval: bool = False
    """Whether a real run would ask for this call."""
    terminate_reason: str | None = None
    """Not None if whoever was asked ended the whole execution."""
    progress: tuple[ProgressEvent, ...] = ()
    """What its tool reported."""
