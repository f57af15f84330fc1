"""What requests have come to: decisions about a suspended run, and results that a tool said would come later."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from harness.approvals.decision import Decision
from harness.durable.flights import Flights
from harness.errors import JournalConflictError, ResumeConflictError, UsageError
from harness.journal.journal import Journal
from harness.journal.payloads import Settlement
from harness.journal.runs import RunRecord
from harness.model import ApprovalRequest

__all__ = ["Settlements", "checked", "open_requests"]


class Settlements:
    """Puts late results on record, from whatever process, and finds them there."""

    def __init__(self, journal: Journal, flights: Flights, clock: Callable[[], float]) -> None:
        self._journal = journal
        self._clock = clock
        self._flights = flights

    async def settle(self, request_id: str, decision: Decision) -> bool:
        """See `Harness.settle`: True if the call has heard of it, False if it will when its run is resumed."""
        execution_id, _, call = request_id.removeprefix("dfr_").rpartition("_")
        events = await self._journal.events(execution_id) if request_id.startswith("dfr_") else []
        self._journal.verify(events)
        if not any(event.kind == "call_started" and str(event.data["call"]) == call for event in events):
            raise UsageError(
                f"No call of this journal waits for {request_id!r}. A tool that returns Deferred() finds the id in "
                "context.deferral_id."
            )
        if any(event.kind == "call_settled" and str(event.data["call"]) == call for event in events):
            raise ResumeConflictError(
                f"The call of {request_id} has ended already.", details={"request_id": request_id}
            )
        self._journal.check_signable(events[-1])
        run_id = str(next(event.data["outcome_id"] for event in events if event.kind == "started"))
        await self._check_time(run_id, request_id)
        settlement = Settlement(
            request_id=request_id,
            decision="answer" if decision.kind == "answer" else "deny",
            value=decision.value,
            reason=decision.reason,
        )
        try:
            await self._journal.begin(_stream(request_id)).write(settlement)
        except JournalConflictError:
            raise ResumeConflictError(
                f"{request_id} was settled before; the first result counts.", details={"request_id": request_id}
            ) from None
        return self._flights.answer(run_id, execution_id, request_id, decision)

    async def _check_time(self, run_id: str, request_id: str) -> None:
        """Raises `ResumeConflictError` if nobody would ever hear of a result, since its run can no longer be resumed."""
        for known in await self._journal.streams("run"):
            over = known.status in ("finished", "expired") or (
                known.status == "suspended" and known.expires_at is not None and known.expires_at < self._clock()
            )
            if known.stream == run_id and over:
                raise ResumeConflictError(
                    f"The result of {request_id} comes too late: {run_id} has ended, or can no longer be resumed "
                    "(Limits.suspension_time).",
                    details={"request_id": request_id, "outcome_id": run_id},
                )

    async def of(self, record: RunRecord) -> dict[str, Decision]:
        """What requests have come to while their run was in no process."""
        found = {}
        unsettled = [name for item in record.executions.values() if item.finished is None for name in item.unsettled()]
        for request_id in dict.fromkeys((*open_requests(record), *unsettled)):
            for recorded in await self._journal.read(_stream(request_id)):
                payload = recorded.payload
                if isinstance(payload, Settlement) and payload.request_id == request_id:
                    answered = payload.decision == "answer"
                    found[request_id] = (
                        Decision.answer(payload.value) if answered else Decision.deny(payload.reason or "")
                    )
        return found


def _stream(request_id: str) -> str:
    return f"settlement_{request_id}"


def open_requests(record: RunRecord) -> dict[str, ApprovalRequest]:
    """What a run waits for, by the id of the request."""
    found: dict[str, ApprovalRequest] = {}
    for execution in record.executions.values():
        if execution.finished is None:
            found.update(execution.open_requests())
    return found


def checked(
    decisions: Mapping[str, Decision], pending: Mapping[str, ApprovalRequest], settled: Mapping[str, Decision]
) -> dict[str, Decision]:
    """Decisions that can be made. Raises `UsageError` for any other, `ResumeConflictError` where `settle` was quicker."""
    for request_id, decision in decisions.items():
        if not isinstance(decision, Decision):
            raise UsageError(
                f"A decision is made with Decision.approve() and the like; for {request_id!r} came {decision!r}."
            )
        request = pending.get(request_id)
        if request is None:
            known = ", ".join(pending) or "nothing"
            raise UsageError(f"Nothing waits for {request_id!r}; what waits: {known}.")
        if request_id in settled:
            raise ResumeConflictError(
                f"{request_id} was settled before; the first result counts. Resume without a decision about it.",
                details={"request_id": request_id},
            )
        if request.kind == "deferred" and decision.kind == "approve":
            raise UsageError(
                f"tools.{request.tool} was called already and its result comes later: Decision.answer(value) gives it, "
                "Decision.deny(reason) says that it failed."
            )
        if request.kind == "in_doubt" and decision.edits:
            raise UsageError(f"tools.{request.tool} was called already, so its arguments cannot be edited.")
    return dict(decisions)
