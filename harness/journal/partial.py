"""An execution run again up to one event of its record: what it had called and logged by then."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from harness.context import ProgressGate
from harness.errors import HarnessError, ReplayDivergenceError, UsageError
from harness.journal.payloads import ApprovalAsked, CallIssued, CallSettled, CallStarted, Decided, FrameSent, Logged
from harness.journal.record import Record, settled_of
from harness.journal.replay import RecordedCalls, check_machine, located
from harness.model import CallRecord, CallStatus, LogEntry, ProgressEvent
from harness.redaction import Redactor
from harness.runtime.past import Frame, Past, diverged
from harness.runtime.runtime import Runtime
from harness.tools.calls import Settled, ToolCall

__all__ = ["CallSoFar", "ReplayedPart", "replay_until"]

_STATES = {CallIssued: "issued", ApprovalAsked: "asked", Decided: "decided", CallStarted: "started"}


@dataclass(frozen=True, slots=True)
class CallSoFar:
    """One call, as it stood."""

    seq: int
    """From 1, in the order the script made the calls."""
    tool: str
    args: JsonValue
    """Redacted."""
    line: int | None
    state: str
    """``made`` (not on record yet), ``issued``, ``asked``, ``decided``, ``started``, or as in `CallRecord`."""


@dataclass(frozen=True, slots=True)
class ReplayedPart:
    """What an execution had done when an event was recorded, found out by running it again up to there."""

    execution_id: str
    seq: int
    """The number of that event."""
    events: int
    """How many the record has."""
    frames: int
    """How many the script has been given; it has done all that follows from them."""
    calls: tuple[CallSoFar, ...]
    logs: tuple[LogEntry, ...]
    progress: tuple[ProgressEvent, ...]


async def replay_until(
    record: Record, runtime: Runtime, redactor: Redactor, seq: int | None = None, *, force: bool = False
) -> ReplayedPart:
    """Run an execution again up to event ``seq``, by default the last one, and compare every call on the way.

    It need not have an end. Raises `ReplayDivergenceError` as `replay` does, and `UsageError` for an event that is not
    there.
    """
    seq = len(record.events) if seq is None else seq
    if seq not in range(1, len(record.events) + 1):
        raise UsageError(f"The record of {record.execution_id} has the events 1 to {len(record.events)}, not {seq!r}.")
    if not force:
        check_machine(record.started.machine)
    payloads = [recorded.payload for recorded in record.events[:seq]]
    sent = [payload for payload in payloads if isinstance(payload, FrameSent)]
    # An execution that was ended from outside may have been given a frame that nobody answered any more.
    answered = len(sent) if record.finished is None else min(len(sent), record.finished.answers)
    calls, gate, name = (
        PartialCalls(record, seq),
        ProgressGate(record.limits, redactor),
        f"replay of {record.execution_id}",
    )
    logs: list[LogEntry] = []
    progress: list[ProgressEvent] = []
    if answered:
        frames = tuple(Frame(frame.now_ms, frame.budget, frame.items) for frame in sent[:answered])
        job = record.job(Past(frames, answers=answered), name)
        try:
            result = await runtime.execute(name, job, lambda _: calls, gate)
            if result.frames != answered:
                raise diverged(f"{answered} frames were answered", f"the script ended after {result.frames}")
            logs, progress = result.logs, result.progress
            _check_logs(payloads, logs)
        except ReplayDivergenceError as error:
            raise located(error, record) from None
        finally:
            await runtime.end_domain(name)
    return ReplayedPart(
        execution_id=record.execution_id,
        seq=seq,
        events=len(record.events),
        frames=answered,
        calls=calls.so_far(redactor),
        logs=tuple(logs),
        progress=tuple(progress),
    )


def _check_logs(payloads: Sequence[object], happened: list[LogEntry]) -> None:
    """Raises `ReplayDivergenceError` if what was logged is not what is on record by now."""
    recorded = [line for payload in payloads if isinstance(payload, Logged) for line in payload.lines]
    for number, line in enumerate(recorded, 1):
        now = happened[number - 1] if number <= len(happened) else None
        if now != line:
            said = "nothing" if now is None else repr(now.text)
            raise diverged(f"line {number} of the log was {line.text!r}", f"it is {said}")


class PartialCalls(RecordedCalls):
    """Carries out calls as `RecordedCalls` does, but knows nothing that is on record behind one event."""

    def __init__(self, record: Record, seq: int) -> None:
        super().__init__(record)
        self._whole = record
        self._made: dict[int, ToolCall] = {}
        self._states: dict[int, str] = {}
        self._ended: dict[int, CallSettled] = {}
        for recorded in record.events[:seq]:
            payload = recorded.payload
            if isinstance(payload, CallSettled):
                self._states[payload.call] = payload.record.status.value
                self._ended[payload.call] = payload
            elif isinstance(payload, (CallIssued, ApprovalAsked, Decided, CallStarted)):
                self._states[payload.call] = _STATES[type(payload)]

    def admit(self, call: ToolCall) -> None:
        """Compare a call with the one on record. Where the record breaks off, the last ones may be missing."""
        self._made[call.id] = call
        whole = self._whole
        if whole.finished is not None or call.id in whole.settled:
            super().admit(call)
        elif call.id in whole.issued:
            self.compare(whole.issued[call.id], call)

    async def call(self, call: ToolCall) -> Settled:
        """How it ended, if it had by then; else something that the script is never given."""
        settled = self._ended.get(call.id)
        if settled is not None:
            return settled_of(settled)
        record = CallRecord(seq=call.id, tool=call.tool, args=None, status=CallStatus.CANCELLED)
        return Settled(call_id=call.id, record=record, value_json=None)

    async def refuse(self, call: ToolCall, error: HarnessError) -> Settled:
        """As it was refused then."""
        del error
        self.admit(call)
        return await self.call(call)

    def so_far(self, redactor: Redactor) -> tuple[CallSoFar, ...]:
        """Every call that the script has made."""
        return tuple(self._so_far(number, call, redactor) for number, call in sorted(self._made.items()))

    def _so_far(self, number: int, call: ToolCall, redactor: Redactor) -> CallSoFar:
        settled = self._ended.get(number)
        args = _argument(call) if settled is None else settled.record.args
        return CallSoFar(
            seq=number,
            tool=call.tool,
            args=redactor.arguments(args),
            line=call.line,
            state=self._states.get(number, "made"),
        )


def _argument(call: ToolCall) -> JsonValue:
    try:
        given = json.loads(call.arguments_json)
    except (ValueError, RecursionError):
        return None  # what came from the worker need not be JSON
    return given[0] if isinstance(given, list) and given else {}
