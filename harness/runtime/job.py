"""What an execution starts from, who carries out its calls, and how its script ended."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from pydantic import JsonValue

from harness.errors import ErrorInfo, HarnessError
from harness.limits import Limits
from harness.model import CallRecord, Diagnostic, LogEntry, ProgressEvent, Script
from harness.runtime.past import NO_PAST, Frame, Past
from harness.runtime.sources import SourceMap
from harness.tools.calls import Settled, ToolCall

__all__ = ["Calls", "Job", "Result", "check_frame"]

# The prelude knows these limits; the others are the host's business.
_LIMITS_OF_THE_VM = (
    "argument_bytes",
    "frame_bytes",
    "json_depth",
    "log_bytes",
    "max_pending_calls",
    "max_tool_calls",
    "result_bytes",
)
_RESULT_WRAPPER = "return("


def check_frame(script: Script) -> bytes:
    """The body of a CHECK frame."""
    return json.dumps(_texts(script)).encode()


def _texts(script: Script) -> dict[str, str]:
    """The script as it stands, and with its last expression returned."""
    source, code = script.source, script.source
    if script.result_range is not None:
        start, end = script.result_range
        code = f"{source[:start]}{_RESULT_WRAPPER}{source[start:end]}){source[end:]}"
    return {"source": source, "code": code}


class Calls(Protocol):
    """Who carries out the calls (see `harness.tools.facade.CallFacade`)."""

    @property
    def approving(self) -> int:
        """Calls that wait for a person, or for whatever else answers in its own time."""
        ...

    @property
    def parked(self) -> int:
        """Those of them for which nothing in this process waits: the execution can be suspended over them."""
        ...

    @property
    def active(self) -> int:
        """Unsettled calls that wait for something else."""

    def admit(self, call: ToolCall) -> None:
        """Take a call in, in the order of the script's calls, before the task that carries it out begins."""

    async def call(self, call: ToolCall) -> Settled:
        """Carry out one call. Raises nothing but the cancellation of the task it runs in."""
        ...

    async def refuse(self, call: ToolCall, error: HarnessError) -> Settled:
        """Record a call that is not even tried."""
        ...

    def cancel(self, call_id: int, reason: str) -> None:
        """Cancel one call; nothing happens to one that is settled."""

    def cancel_all(self, reason: str) -> None:
        """Cancel every unsettled call."""

    def suspend(self) -> None:
        """What is parked stays as it is on record; cancelling the tasks of its calls settles nothing from now on."""

    def records(self) -> tuple[CallRecord, ...]:
        """How every call stands."""

    def budget_text(self) -> str:
        """What the script finds as ``context.budget()``, as JSON."""
        ...


@dataclass(frozen=True)
class Job:
    """Everything an execution starts from. Two executions of equal jobs that are given equal frames are equal."""

    script: Script
    tools: tuple[str, ...]
    context: dict[str, JsonValue]
    """What the script sees as ``context``."""
    seed: tuple[int, int, int, int]
    limits: Limits
    trust_domain: str | None = None
    past: Past = NO_PAST
    date: Callable[[], float] | None = None
    """What the script's ``Date`` shows, in seconds since the epoch; None for the system's time."""

    def start_frame(self, frame: Frame, source_map: SourceMap) -> bytes:
        """The body of the START frame."""
        limits, shift = self.limits, None
        if self.script.result_range is not None:
            line, column = source_map.engine_place(self.script.source[: self.script.result_range[0]])
            # One line further down, behind the wrapper around the script; see js/3-promises.js.
            shift = {"line": line + 1, "column": column, "width": len(_RESULT_WRAPPER)}
        body = {
            **_texts(self.script),
            "cpu_time": limits.cpu_time,
            "memory_bytes": limits.memory_bytes,
            "job": {
                "now": frame.now_ms,
                "seed": self.seed,
                "tools": self.tools,
                "context": self.context,
                "budget": json.loads(frame.budget),
                "shift": shift,
                "limits": {name: getattr(limits, name) for name in _LIMITS_OF_THE_VM},
            },
        }
        return json.dumps(body).encode()


@dataclass
class Result:
    """How the script itself ended. Of ``value`` and ``error`` at most one is set."""

    value: JsonValue = None
    error: ErrorInfo | None = None
    cancelled: str | None = None
    terminated: str | None = None
    suspended: bool = False
    """Nothing but parked calls was left to wait for."""
    logs: list[LogEntry] = field(default_factory=list)
    progress: list[ProgressEvent] = field(default_factory=list)
    diagnostics: list[Diagnostic] = field(default_factory=list)
    dropped_log_lines: int = 0
    dropped_log_bytes: int = 0
    dropped_progress: int = 0
    refused_calls: int = 0
    """Calls that the VM refused by itself, since too many were unsettled."""
    looked_at: int | None = None
    """Id of the first call whose made-up result the script looked into."""
    cpu_ms: float | None = None
    heap_bytes: int | None = None
    wall_ms: float = 0.0
    approval_ms: float = 0.0
    frames: int = 0
    clean: bool = False
    """The worker can serve again."""
