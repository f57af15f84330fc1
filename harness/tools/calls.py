"""The values that pass between a runtime and the facade that carries out its calls."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from harness.canonical import Canonical
from harness.errors import ErrorInfo, HarnessError, SerializationError
from harness.model import CallRecord, ProgressEvent
from harness.plain import unique_members

__all__ = ["Settled", "ToolCall"]


@dataclass(frozen=True, slots=True)
class ToolCall(Canonical):
    """A call as a script made it."""

    id: int
    """From 1, in the order the script made its calls. No two calls of an execution have the same."""
    tool: str
    """As the script wrote it; perhaps no tool at all."""
    arguments_json: str
    """The positional arguments as a JSON array: ``[]``, ``[{"a":1}]``. Not trusted."""
    line: int | None = None
    """Of the call in the block's own source."""

    def canonical(self) -> dict[str, Any]:
        """Which tool is called with what; two calls that ask the same have one hash, wherever they were made.

        Raises `SerializationError` for arguments that are no JSON.
        """
        try:
            arguments = json.loads(self.arguments_json, object_pairs_hook=unique_members)
        except (ValueError, RecursionError) as error:
            raise SerializationError(
                f"the arguments of the call {self.id} are no JSON that can be read: {error}",
                details={"path": "$.arguments"},
            ) from error
        return {"tool": self.tool, "arguments": arguments}


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
