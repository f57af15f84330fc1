"""What the stages say of one execution, put together."""

from __future__ import annotations

from typing import Protocol

from harness.context import ProgressGate
from harness.errors import ErrorInfo
from harness.model import (
    ApprovalRequest,
    BudgetReport,
    CallRecord,
    CallStatus,
    Diagnostic,
    Execution,
    ExecutionStatus,
    Metrics,
    Plan,
    PlanStep,
    ProgressEvent,
    Script,
    ScriptInfo,
    Severity,
)
from harness.runtime.job import Result
from harness.tools.names import BUILT_IN

__all__ = ["CallsReport", "assemble"]

_APPLIED = (CallStatus.OK, CallStatus.IN_DOUBT)


class ToolReports(Protocol):
    """What tools reported while they worked."""

    @property
    def events(self) -> tuple[ProgressEvent, ...]: ...
    @property
    def dropped(self) -> int: ...


class CallsReport(Protocol):
    """What whoever carried out the calls of an execution can say of them."""

    @property
    def progress(self) -> ToolReports: ...
    @property
    def unrecorded(self) -> int: ...
    def records(self) -> tuple[CallRecord, ...]: ...
    def pending(self) -> tuple[ApprovalRequest, ...]: ...
    def needed_approval(self, call_id: int, /) -> bool: ...
    def budget_report(self) -> BudgetReport | None: ...


def assemble(
    script: Script,
    execution_id: str,
    result: Result,
    *,
    calls: CallsReport | None,
    gate: ProgressGate,
    dry_run: bool,
) -> Execution:
    """The execution of a script that ran, or was planned. ``calls`` is None if it never came to any."""
    records = calls.records() if calls is not None else ()
    plan = _plan(result, records, calls) if dry_run else None
    error, reason = result.error, None
    if plan is not None and result.looked_at is not None and error is not None:
        # What a script does with a made-up value says nothing of what it would do with a real one.
        reason, error = f"plan incomplete: {error.message}", None
    status = ExecutionStatus.OK if plan is None else ExecutionStatus.PLANNED
    if result.terminated is not None:
        status, reason = ExecutionStatus.TERMINATED, result.terminated
    elif result.cancelled is not None and error is not None:
        status, reason = ExecutionStatus.CANCELLED, result.cancelled
    elif result.suspended:
        status, reason = ExecutionStatus.SUSPENDED, _waits_for(() if calls is None else calls.pending())
    elif error is not None:
        status = ExecutionStatus.ERROR
    return Execution(
        id=execution_id,
        script=ScriptInfo(id=script.attributes.id, sha256=script.sha256, mode=str(script.mode), span=script.span),
        status=status,
        reason=reason,
        value=result.value if status is ExecutionStatus.OK else None,
        error=None if error is None else _with_applied(error, records),
        logs=tuple(result.logs),
        progress=_progress(result, calls),
        calls=records,
        diagnostics=(*script.diagnostics, *result.diagnostics, *_dropped(result, calls, gate)),
        plan=plan,
        budget=None if calls is None else calls.budget_report(),
        metrics=Metrics(
            wall_ms=result.wall_ms,
            cpu_ms=result.cpu_ms,
            approval_ms=result.approval_ms,
            tool_ms=round(sum(record.duration_ms or 0.0 for record in records), 3),
            dropped_tool_progress=0 if calls is None else calls.progress.dropped,
            frames=result.frames,
            memory_bytes=result.heap_bytes,
        ),
    )


def _waits_for(pending: tuple[ApprovalRequest, ...]) -> str:
    kinds = [request.kind for request in pending]
    parts = [
        f"1 {one}" if kinds.count(kind) == 1 else f"{kinds.count(kind)} {more}"
        for kind, one, more in _WAITS
        if kind in kinds
    ]
    return f"waiting for {' and '.join(parts)}"


_WAITS = (
    ("approval", "approval", "approvals"),
    ("in_doubt", "answer on a call in doubt", "answers on calls in doubt"),
    ("deferred", "result that comes later", "results that come later"),
)


def _progress(result: Result, calls: CallsReport | None) -> tuple[ProgressEvent, ...]:
    """What the script and its tools reported, in the order of their times."""
    from_tools = () if calls is None else calls.progress.events
    return tuple(sorted((*result.progress, *from_tools), key=lambda event: event.at_ms))


def _plan(result: Result, records: tuple[CallRecord, ...], calls: CallsReport | None) -> Plan:
    steps = tuple(
        PlanStep(
            seq=record.seq,
            tool=record.tool,
            args=record.args,
            needs_approval=calls is not None and calls.needed_approval(record.seq),
            line=record.line,
        )
        for record in records
        if record.status is CallStatus.PLANNED
    )
    ended = result.error is None and result.cancelled is None and result.terminated is None
    return Plan(steps=steps, complete=ended and result.looked_at is None, incomplete_from=result.looked_at)


def _with_applied(error: ErrorInfo, records: tuple[CallRecord, ...]) -> ErrorInfo:
    """A script that failed says which of its calls took effect all the same, or may have."""
    applied: list[int] = [
        record.seq
        for record in records
        if record.status in _APPLIED and record.tool not in BUILT_IN and not _was_answered(record) and not record.cached
    ]
    if not applied:
        return error
    return error.model_copy(update={"details": {**error.details, "applied_calls": applied}})


def _was_answered(record: CallRecord) -> bool:
    """Whether a person gave the result, so that the tool was never called."""
    return record.approval is not None and record.approval.decision == "answered"


def _dropped(result: Result, calls: CallsReport | None, gate: ProgressGate) -> list[Diagnostic]:
    """What was cut or counted instead of kept."""
    found = []
    if result.dropped_log_lines:
        found.append(
            Diagnostic(
                code="logs_cut",
                severity=Severity.WARNING,
                message=f"The log was full (log_bytes): {result.dropped_log_lines} lines were cut or left out, "
                f"{result.dropped_log_bytes:,} bytes in all.",
                details={"lines": result.dropped_log_lines, "bytes": result.dropped_log_bytes},
            )
        )
    dropped = {**gate.dropped, **({"flood": result.dropped_progress} if result.dropped_progress else {})}
    if dropped:
        found.append(
            Diagnostic(
                code="progress_dropped",
                severity=Severity.INFO,
                message=f"{sum(dropped.values())} progress events were left out (progress_interval, "
                "max_progress_events).",
                details={**dropped},
            )
        )
    if result.refused_calls:
        found.append(
            Diagnostic(
                code="calls_refused",
                severity=Severity.WARNING,
                message=f"{result.refused_calls} calls were refused, since too many were unsettled at the same time "
                "(max_pending_calls, frame_bytes); they are not listed.",
                details={"calls": result.refused_calls},
            )
        )
    if calls is not None and calls.unrecorded:
        found.append(
            Diagnostic(
                code="calls_unrecorded",
                severity=Severity.WARNING,
                message=f"{calls.unrecorded} refused calls are counted, but not listed one by one.",
                details={"calls": calls.unrecorded},
            )
        )
    return found
