"""An execution run again from its record: the same frames in, the same calls and the same outcome out, or an error."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.assembly import assemble
from harness.canonical import json_path, to_canonical_json
from harness.context import ProgressGate
from harness.errors import HarnessError, ReplayDivergenceError
from harness.journal.machine import machine
from harness.journal.payloads import CallIssued
from harness.journal.record import Record, settled_of
from harness.model import ApprovalRequest, BudgetReport, CallRecord, Execution, ProgressEvent
from harness.redaction import Redactor
from harness.runtime.job import Calls
from harness.runtime.past import diverged
from harness.runtime.runtime import Runtime
from harness.stable import stable_execution
from harness.tools.calls import Settled, ToolCall
from harness.tools.history import call_text

__all__ = ["RecordedCalls", "check_machine", "differences", "located", "replay", "rerun"]

_MOST_DIFFERENCES = 10


def differences(recorded: Any, happened: Any, path: str = "$") -> list[str]:
    """Where two values differ, as ``path: recorded then, happened now``; the first few."""
    if isinstance(recorded, dict) and isinstance(happened, dict):
        found = []
        for key in sorted({*recorded, *happened}):
            found += differences(recorded.get(key), happened.get(key), json_path(path, key))
        return found[:_MOST_DIFFERENCES]
    if isinstance(recorded, list) and isinstance(happened, list) and len(recorded) == len(happened):
        pairs = enumerate(zip(recorded, happened, strict=True))
        found = [item for index, (a, b) in pairs for item in differences(a, b, json_path(path, index))]
        return found[:_MOST_DIFFERENCES]
    if recorded == happened and type(recorded) is type(happened):
        return []
    return [f"{path}: {_short(recorded)} then, {_short(happened)} now"]


def _short(value: Any) -> str:
    text = to_canonical_json(value)
    return text if len(text) <= 200 else f"{text[:200]}… ({len(text):,} characters)"


async def replay(record: Record, runtime: Runtime, redactor: Redactor, *, force: bool = False) -> Execution:
    """Run an execution again. Its tools are not called and nobody is asked: results and decisions are those on record.

    Raises `ReplayDivergenceError` where the script does something else than what is on record, and, unless ``force``,
    where it would run on another build than it did.
    """
    execution = await rerun(record, runtime, redactor, force=force)
    recorded = execution if record.finished is None else record.finished.execution
    now, then = (stable_execution(item.model_dump(mode="json")) for item in (execution, recorded))
    found = differences(then, now)
    if found:
        raise ReplayDivergenceError(
            f"The replay of {record.execution_id} ended otherwise than what is on record: {'; '.join(found)}.",
            details={"seq": record.events[-1].event.seq, "differences": [*found]},
        )
    return execution


async def rerun(
    record: Record,
    runtime: Runtime,
    redactor: Redactor,
    *,
    force: bool = False,
    on_call: Callable[[ToolCall], None] | None = None,
    lines: bool = True,
) -> Execution:
    """As `replay`, but for the end: the execution is what it comes to now, and nobody has compared it with the record.

    ``on_call`` is told each call before it is compared; ``lines``: whether it must be in the recorded line. An end that a VM cannot bring about again is the recorded one.
    """
    finished = record.finished
    if finished is None:
        raise ReplayDivergenceError(
            f"The record of {record.execution_id} has no end: it is suspended, was interrupted, or lost its end on the way "
            "here. Resume or recover it first; replay_until (`harness replay --until`) compares what is there.",
            details={"happened": "no end", "recorded": "no end"},
        )
    if not force:
        check_machine(record.started.machine)
    recorded = finished.execution
    if not record.frames or finished.answers == 0:
        # It ended before it said anything.
        return recorded
    calls = RecordedCalls(record, on_call, lines=lines)
    gate = ProgressGate(record.limits, redactor)
    job = record.job(record.past(answers=finished.answers), f"replay of {record.execution_id}")
    try:
        result = await runtime.execute(f"replay of {record.execution_id}", job, lambda _: calls, gate)
        if result.frames != finished.answers:
            end = "" if result.error is None else f" with {result.error.type}: {result.error.message}"
            raise diverged(f"{finished.answers} frames were answered", f"the script ended after {result.frames}{end}")
        calls.check_complete()
    except ReplayDivergenceError as error:
        raise located(error, record) from None
    finally:
        await runtime.end_domain(f"replay of {record.execution_id}")
    if not finished.reproducible:
        return recorded
    return assemble(job.script, record.execution_id, result, calls=calls, gate=gate, dry_run=record.started.dry_run)


def check_machine(recorded: Mapping[str, str]) -> None:
    """Raises `ReplayDivergenceError` if what runs here is not the build that a record was made with."""
    now = machine()
    other = [f"{name} {recorded.get(name)} (here: {now[name]})" for name in now if recorded.get(name) != now[name]]
    if other:
        raise ReplayDivergenceError(
            f"This was recorded on another build: {'; '.join(other)}. Here it might go another way; replay it there, or "
            "insist (force=True, --force).",
            details={"recorded": dict(recorded), "happened": dict(now)},
        )


def located(error: ReplayDivergenceError, record: Record) -> ReplayDivergenceError:
    """With the number of the event, where the error knows the frame or the call."""
    for name, kinds in (("frame", ("frame",)), ("call", ("call_issued", "call_settled"))):
        number = error.details.get(name)
        for kind in kinds:
            seq = record.seq_of(kind, number) if isinstance(number, int) else None
            if seq is not None:
                return ReplayDivergenceError(f"At event {seq}: {error.message}", details={**error.details, "seq": seq})
    return error


def _issued_text(call: CallIssued) -> str:
    return call_text(ToolCall(id=call.call, tool=call.tool, arguments_json=call.arguments_json, line=call.line))


@dataclass(frozen=True)
class _Reports:
    """What the tools reported then."""

    events: tuple[ProgressEvent, ...]
    dropped: int = 0


class RecordedCalls(Calls):
    """Carries out calls by looking up how they ended."""

    def __init__(
        self, record: Record, on_call: Callable[[ToolCall], None] | None = None, *, lines: bool = True
    ) -> None:
        self._record = record
        self._on_call = on_call
        self._lines = lines
        self._seen: set[int] = set()
        self._listed = () if record.finished is None else record.finished.execution.calls
        self.progress = _Reports(tuple(event for settled in record.settled.values() for event in settled.progress))

    @property
    def approving(self) -> int:
        """None ever waits for anybody."""
        return 0

    @property
    def active(self) -> int:
        """None is ever under way."""
        return 0

    @property
    def parked(self) -> int:
        """None is ever parked."""
        return 0

    @property
    def unrecorded(self) -> int:
        """Calls that were refused and are not listed in the outcome."""
        return max(len({*self._record.issued, *self._record.settled}) - len(self._listed), 0)

    def admit(self, call: ToolCall) -> None:
        """Compare a call with the one on record."""
        self._seen.add(call.id)
        if self._on_call is not None:
            self._on_call(call)
        issued = self._record.issued.get(call.id)
        if issued is None and call.id not in self._record.settled:
            raise diverged(f"call {call.id} was not made", f"the script calls tools.{call.tool}", call=call.id)
        if issued is not None:
            self.compare(issued, call)

    def compare(self, issued: CallIssued, call: ToolCall) -> None:
        """Raises `ReplayDivergenceError` if a call is not the one on record."""
        recorded, now = _issued_text(issued), call_text(call)
        moved = (issued.tool, issued.arguments_json) == (call.tool, call.arguments_json) and not self._lines
        if recorded != now and not moved:
            raise diverged(f"call {call.id} was {recorded}", f"it is {now}", call=call.id)

    async def call(self, call: ToolCall) -> Settled:
        """How it ended."""
        return self._settled(call)

    async def refuse(self, call: ToolCall, error: HarnessError) -> Settled:
        """As it was refused then."""
        del error
        self.admit(call)
        return self._settled(call)

    def _settled(self, call: ToolCall) -> Settled:
        settled = self._record.settled.get(call.id)
        if settled is None:
            raise diverged(f"call {call.id} was never settled", "the script goes on", call=call.id)
        return settled_of(settled)

    def cancel(self, call_id: int, reason: str) -> None:
        """Nothing is under way."""

    def cancel_all(self, reason: str) -> None:
        """Nothing is under way."""

    def suspend(self) -> None:
        """Nothing is parked."""

    def pending(self) -> tuple[ApprovalRequest, ...]:
        """Nothing is parked."""
        return ()

    def records(self) -> tuple[CallRecord, ...]:
        """How every call ended, by ``seq``, as the outcome lists them."""
        return tuple(self._listed)

    def needed_approval(self, call_id: int) -> bool:
        """Whether somebody was asked about a call."""
        settled = self._record.settled.get(call_id)
        return settled is not None and settled.needs_approval

    def budget_report(self) -> BudgetReport | None:
        """How the budgets stood at the end."""
        finished = self._record.finished
        return None if finished is None else finished.execution.budget

    def budget_text(self) -> str:
        """Not asked: every frame on record says it."""
        return "null"

    def check_complete(self) -> None:
        """Raises `ReplayDivergenceError` if a call on record was not made again."""
        missing = sorted({*self._record.issued, *self._record.settled} - self._seen)
        if missing:
            call = missing[0]
            issued = self._record.issued.get(call)
            name = issued.tool if issued is not None else self._record.settled[call].record.tool
            raise diverged(f"call {call} was tools.{name}", "it is not made", call=call)
