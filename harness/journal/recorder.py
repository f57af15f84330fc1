"""Puts an execution on record while it runs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from harness.approvals.decision import Decision
from harness.errors import HarnessError, JournalError, JournalWriteError
from harness.journal.journal import EventLog
from harness.journal.machine import machine
from harness.journal.payloads import (
    ApprovalAsked,
    CallIssued,
    CallSettled,
    CallStarted,
    Decided,
    ExecutionBegun,
    Finished,
    FrameSent,
    Logged,
    Payload,
    Resumed,
    Started,
    Suspended,
)
from harness.model import ApprovalNote, ApprovalRequest, Execution, ExecutionStatus, LogEntry
from harness.runtime.job import Job
from harness.runtime.past import Frame
from harness.tools.calls import Settled, ToolCall

__all__ = ["Recorder", "finished", "reproducible"]

_STATUSES = (ExecutionStatus.OK, ExecutionStatus.ERROR, ExecutionStatus.PLANNED)
_IRREPRODUCIBLE = {
    "HarnessInternalError",
    "JournalConflictError",
    "JournalFullError",
    "JournalWriteError",
    "ScriptMemoryError",
    "ScriptStackError",
    "ScriptTimeoutError",
    "WorkerCrashedError",
}


def reproducible(execution: Execution) -> bool:
    """Whether the same frames bring about the same end. Time, a kill and a cancellation come from elsewhere."""
    if execution.error is not None and execution.error.type in _IRREPRODUCIBLE:
        return False
    return execution.status in _STATUSES


def finished(execution: Execution) -> Finished:
    """The last event of an execution."""
    return Finished(
        status=execution.status,
        execution=execution,
        answers=execution.metrics.frames,
        reproducible=reproducible(execution),
    )


class Recorder:
    """Tells an `EventLog` what happens, as the observer of both the runtime and the calls.

    What has an effect outside waits until it is on record; frames and log lines go along with what comes next. If
    something cannot be put on record, ``on_failure`` is told: the execution must end, since no script may go on, or
    catch it, and do what nobody will know of.
    """

    def __init__(self, log: EventLog, run: EventLog, on_failure: Callable[[HarnessError], None]) -> None:
        self._log = log
        self._run = run
        self._on_failure = on_failure

    async def begin(self, outcome_id: str, index: int, job: Job, *, dry_run: bool) -> None:
        """The execution is about to start."""
        started = Started(
            outcome_id=outcome_id,
            index=index,
            script=job.script,
            script_sha256=job.script.sha256,
            dry_run=dry_run,
            seed=job.seed,
            limits=job.limits,
            context=job.context,
            tools=job.tools,
            machine=machine(),
        )
        begun = ExecutionBegun(execution_id=self._log.stream, index=index)
        await self._run.write_with(begun, self._log, started)

    async def resume(self) -> None:
        """The execution is about to go on."""
        await self._log.write(Resumed())

    def frame(self, number: int, frame: Frame) -> None:
        """See `harness.runtime.past.Observer`."""
        self._log.note(FrameSent(number=number, now_ms=frame.now_ms, budget=frame.budget, items=frame.items))

    def logged(self, lines: list[LogEntry]) -> None:
        """See `harness.runtime.past.Observer`."""
        self._log.note(Logged(lines=tuple(lines)))

    async def issued(self, call: ToolCall) -> None:
        """See `harness.tools.observer.CallObserver`. It goes along with what is done about the call."""
        self._log.note(
            CallIssued(call=call.id, tool=call.tool, arguments_json=call.arguments_json, line=call.line),
        )

    async def asked(self, call: ToolCall, request: ApprovalRequest) -> None:
        """See `harness.tools.observer.CallObserver`."""
        await self._write(
            ApprovalAsked(
                call=call.id,
                request_id=request.id,
                about=request.kind,
                arguments_hash=request.arguments_hash,
                expires_at=request.expires_at,
                request=request,
            )
        )

    async def decided(
        self, call: ToolCall, request: ApprovalRequest, note: ApprovalNote, decision: Decision | None
    ) -> None:
        """See `harness.tools.observer.CallObserver`."""
        made = {} if decision is None else {"edits": decision.edits, "value": decision.value}
        await self._write(
            Decided(
                call=call.id,
                request_id=request.id,
                verdict=note.decision,
                decision=None if decision is None else decision.kind,
                scope=note.scope,
                reason=note.reason,
                **made,
            )
        )

    async def started(self, call: ToolCall, arguments_json: str) -> None:
        """See `harness.tools.observer.CallObserver`."""
        digest = hashlib.sha256(arguments_json.encode()).hexdigest()
        await self._write(CallStarted(call=call.id, arguments_sha256=digest))

    async def settled(self, settled: Settled) -> None:
        """See `harness.tools.observer.CallObserver`."""
        await self._write(
            CallSettled(
                call=settled.call_id,
                status=settled.record.status,
                record=settled.record,
                value_json=settled.value_json,
                made_up=settled.made_up,
                needs_approval=settled.needs_approval,
                terminate_reason=settled.terminate_reason,
                progress=settled.progress,
            )
        )

    async def suspend(self, pending: tuple[ApprovalRequest, ...], wall_s: float) -> None:
        """The execution leaves this process."""
        await self._log.write(Suspended(pending=tuple(request.id for request in pending), wall_s=wall_s))

    async def end(self, execution: Execution) -> None:
        """The execution is over, and nobody has heard of it yet."""
        await self._log.write(finished(execution))

    async def _write(self, payload: Payload) -> None:
        try:
            await self._log.write(payload)
        except JournalError as error:
            self._on_failure(error)
            raise
        except Exception as error:
            failure = JournalWriteError(f"What happened cannot be put on record ({type(error).__name__}: {error}).")
            self._on_failure(failure)
            raise failure from error
