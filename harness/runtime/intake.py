"""What a script says in a turn besides making calls: its log, its progress, and what it gives as its result."""

from __future__ import annotations

from pydantic import JsonValue

from harness.context import ProgressGate
from harness.errors import HarnessError, ToolCancelledError, ToolValidationError
from harness.limits import Limits
from harness.model import LogEntry
from harness.runtime.adapter import WorkerGoneError
from harness.runtime.job import Result
from harness.runtime.jsontext import read_value
from harness.runtime.turns import LOG_LINE_COST, CallIssued, Collected

__all__ = ["Intake", "refusal"]

_SHARE_OF_A_FRAME = 6
"""UTF-16 units in it for each that the prelude puts into one; ``js/3-promises.js`` has it too."""


class Intake:
    """Checks what a worker says before any of it is believed, and notes it in the result."""

    def __init__(self, result: Result, gate: ProgressGate, limits: Limits) -> None:
        self._result = result
        self._gate = gate
        self._limits = limits
        self._log_bytes = 0

    def checked(self, said: Collected) -> tuple[JsonValue, list[tuple[str, JsonValue]]]:
        """The script's result and the progress it reports, as data. Raises for what the prelude would not have sent."""
        # As the prelude counts. What the last line costs besides its text may be past the limit, since it is cut to fit.
        self._log_bytes += sum(len(text.encode()) + LOG_LINE_COST for _, text, _ in said.logs)
        if self._log_bytes > self._limits.log_bytes + LOG_LINE_COST:
            raise WorkerGoneError("the worker logged more than log_bytes", violation=True)
        if sum(len(data) for _, data in said.progress) > self._limits.frame_bytes // _SHARE_OF_A_FRAME:
            raise WorkerGoneError("the worker reported more progress than a frame may hold", violation=True)
        progress = [(message, read_value(data)) for message, data in said.progress]
        ending, value = said.ending, None
        if ending.state in ("ok", "error") and (ending.value is None) == (ending.error is None):
            raise WorkerGoneError("the worker did not end a script with either a value or an error", violation=True)
        if ending.value is not None and len(ending.value.encode()) <= self._limits.result_bytes:
            value = read_value(ending.value)
        return value, progress

    def note(self, said: Collected, progress: list[tuple[str, JsonValue]], at_ms: float) -> list[LogEntry]:
        """Keep what was logged, reported and counted; the new lines of the log. ``at_ms`` is the script's own time."""
        result = self._result
        result.looked_at = said.looked_at or None
        result.dropped_log_lines = said.dropped.log_lines
        result.dropped_log_bytes = said.dropped.log_bytes
        result.dropped_progress = said.dropped.progress
        result.refused_calls = said.dropped.calls
        lines = [LogEntry(level=level, text=text, line=line) for level, text, line in said.logs]
        result.logs += lines
        for message, data in progress:
            event = self._gate.offer(message, data, at_ms)
            if event is not None:
                result.progress.append(event)
        return lines


def refusal(issued: CallIssued, *, over: bool) -> HarnessError | None:
    """Why a call is not even tried; None if it is. ``over``: the script has failed in the same turn."""
    name = f"tools.{issued.tool}"
    if issued.problem is not None:
        return ToolValidationError(
            f"{name}: the arguments cannot be sent: at {issued.problem.path} is {issued.problem.what}.",
            details={"path": issued.problem.path, "found": issued.problem.what},
        )
    if issued.aborted:
        return ToolCancelledError(f"{name} was not started: its signal had been aborted before.")
    if over:
        return ToolCancelledError(f"{name} was not started: the script had failed by then.")
    return None
