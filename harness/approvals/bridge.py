"""Between a call that needs approval and whoever decides: ask, wait, time out, cancel."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

import anyio

from harness.approvals.approver import ApproverFailedError, Decide, consult, decide_function
from harness.approvals.decision import SUSPEND, Approver, Decision, Scope
from harness.approvals.memory import Memory
from harness.errors import (
    ApprovalDeniedError,
    ApprovalError,
    ApprovalTimeoutError,
    ApprovalUnavailableError,
    ToolBudgetExceededError,
    UsageError,
)
from harness.limits import Limits
from harness.model import ApprovalNote, ApprovalRequest

__all__ = ["ApprovalBridge", "ApprovalStatistics", "Ruling"]

Verdict = Literal["approved", "denied", "answered", "terminated", "timed_out", "cancelled", "unavailable"]


@dataclass(frozen=True, slots=True)
class Ruling:
    """How an approval ended. ``error`` is None if the call may be made or was answered."""

    note: ApprovalNote
    decision: Decision | None = None
    error: ApprovalError | None = None


@dataclass(slots=True)
class ApprovalStatistics:
    """Counters since the bridge was made."""

    asked: int = 0
    approved: int = 0
    denied: int = 0
    answered: int = 0
    terminated: int = 0
    timed_out: int = 0
    cancelled: int = 0
    """Withdrawn, or their execution ended."""
    unavailable: int = 0
    """No approver is configured, or it failed."""
    edited: int = 0
    """Of the approved ones."""
    remembered: int = 0
    """Calls that an answer to another request decided."""
    waited_s: float = 0.0

    @property
    def mean_wait_s(self) -> float:
        """Seconds from question to end, on average over all that was asked."""
        return self.waited_s / self.asked if self.asked else 0.0


@dataclass(slots=True)
class _Pending:
    request: ApprovalRequest
    session: str | None
    scope: anyio.CancelScope
    withdrawn: str | None = None
    covered_by: Ruling | None = None
    """The ruling on another request, which decides this one too."""


class ApprovalBridge:
    """Asks one approver for all executions of a harness, and remembers answers for as long as they hold.

    Its methods belong to the thread of the event loop that uses it.
    """

    def __init__(self, approver: Approver | None = None, *, suspend_after: float | None = None) -> None:
        self._decide = decide_function(approver)
        number = isinstance(suspend_after, (int, float)) and not isinstance(suspend_after, bool)
        if suspend_after is not None and not (number and 0 <= suspend_after < math.inf):
            raise UsageError(f"suspend_after is a number of seconds, or None, not {suspend_after!r}.")
        self.suspend_after = 0.0 if approver == SUSPEND else suspend_after
        """Seconds after which nobody in this process waits for an answer any more, so that the execution can be suspended;
        None if it cannot."""
        self._pending: dict[str, _Pending] = {}
        self._memory = Memory()
        self.statistics = ApprovalStatistics()

    def pending(self) -> list[ApprovalRequest]:
        """The requests that wait for an answer, oldest first."""
        return [entry.request for entry in self._pending.values()]

    def cancel(self, request_id: str, reason: str = "the request was withdrawn") -> bool:
        """Withdraws one request: its call fails with `ApprovalDeniedError`. False if it is not pending (any more)."""
        entry = self._pending.get(request_id)
        if entry is None or entry.withdrawn is not None:
            return False
        entry.withdrawn = reason
        entry.scope.cancel()
        return True

    def cancel_all(self, reason: str = "all requests were withdrawn") -> int:
        """Withdraws every pending request, and says how many there were."""
        return sum(self.cancel(request_id, reason) for request_id in list(self._pending))

    def end_execution(self, execution_id: str) -> None:
        """Forgets what was approved and denied in an execution that is over."""
        self._memory.end_execution(execution_id)

    def end_session(self, session: str) -> None:
        """Forgets what was approved for a session."""
        self._memory.end_session(session)

    async def ask(
        self,
        request: ApprovalRequest,
        *,
        limits: Limits,
        session: str | None = None,
        on_ask: Callable[[], Awaitable[None]] | None = None,
        lasting: bool = False,
    ) -> Ruling | None:
        """The ruling on a call, from memory if an earlier answer covers it; nothing an approver does makes it raise.

        None means that nobody has answered yet and nobody waits any longer: `rule` says what an answer means that comes
        later. ``on_ask`` is awaited before anybody is asked. ``lasting``: it was asked in an earlier life of the execution
        and can be answered in a later one, so that without an approver it goes on waiting.
        ``session`` is what an approval with that scope is remembered under; without it, it holds for the execution.
        Raises `ToolBudgetExceededError` past ``max_approvals`` questions in one execution.
        """
        known = self._remembered(request, session)
        if known is not None:
            self.statistics.remembered += 1
            return known
        if self._decide is None and self.suspend_after is None and not lasting:
            why = "no approver is configured. Pass Harness(approver=…), or run with --approve ask"
            return self._ended(request, "unavailable", 0.0, reason=why)
        asked = self._memory.asked(request.execution_id)
        if asked >= limits.max_approvals:
            raise ToolBudgetExceededError(
                f"tools.{request.tool} needs approval, and this execution has already asked {asked} times "
                f"(max_approvals={limits.max_approvals}). Ask for less, or raise the limit.",
                details={"budget": "max_approvals", "limit": limits.max_approvals, "used": asked},
            )
        self._memory.count(request.execution_id)
        self.statistics.asked += 1
        if on_ask is not None:
            await on_ask()
        if self._decide is None:
            return None
        return await self._wait(self._decide, request, limits, session)

    def rule(self, request: ApprovalRequest, decision: Decision, *, session: str | None = None) -> Ruling:
        """What a decision means that was made elsewhere, or in an earlier life of the execution; it is remembered for as
        long as it holds, if it is about an approval.
        """
        if request.kind == "approval":
            return self._decided(request, decision, 0.0, session)
        verdict: Verdict = _VERDICTS[decision.kind]
        return _ruling(request, verdict, 0.0, reason=decision.reason, decision=decision, request_id=request.id)

    def recall(self, request: ApprovalRequest, decision: Decision, *, session: str | None = None) -> Ruling:
        """The same for an approval that was asked for in an earlier life of the execution: it counts as asked."""
        self._memory.count(request.execution_id)
        return self.rule(request, decision, session=session)

    async def _wait(
        self, decide: Decide, request: ApprovalRequest, limits: Limits, session: str | None
    ) -> Ruling | None:
        entry = self._pending[request.id] = _Pending(request, session, anyio.CancelScope())
        decision: Decision | None = None
        failure: str | None = None
        started = time.monotonic()
        try:
            with (
                entry.scope,
                anyio.move_on_after(self.suspend_after) as patience,
                anyio.move_on_after(limits.approval_timeout) as clock,
            ):
                decision = await consult(decide, request)
        except ApproverFailedError as error:
            failure = f"the approver failed: {error}"
        except BaseException:
            # The execution itself is being cancelled; nobody is left who could use an answer.
            self.statistics.cancelled += 1
            raise
        finally:
            del self._pending[request.id]
            waited = time.monotonic() - started
            self.statistics.waited_s += waited
        if entry.covered_by is not None:
            self.statistics.remembered += 1
            ruling = entry.covered_by
            return Ruling(ruling.note.model_copy(update={"waited_ms": waited * 1000}), ruling.decision, ruling.error)
        if entry.withdrawn is not None:
            return self._ended(request, "cancelled", waited, reason=entry.withdrawn)
        if clock.cancel_called:
            # The limit, not the time that went by: two runs of the same thing say the same.
            why = f"nobody answered within {limits.approval_timeout:g} seconds"
            return self._ended(request, "timed_out", waited, reason=why)
        if decision is None and failure is None and patience.cancel_called:
            return None
        if decision is None:
            return self._ended(request, "unavailable", waited, reason=failure)
        return self._decided(request, decision, waited, session)

    def _decided(self, request: ApprovalRequest, decision: Decision, waited: float, session: str | None) -> Ruling:
        if decision.kind == "answer":
            return self._ended(request, "answered", waited, decision=decision)
        if decision.kind == "approve":
            self.statistics.edited += bool(decision.edits)
            scope = self._memory.grant(request, decision.scope, session)
            ruling = self._ended(request, "approved", waited, decision=decision, scope=scope)
        else:
            verdict: Verdict = "denied" if decision.kind == "deny" else "terminated"
            self._memory.deny(request, decision.reason)
            ruling = self._ended(request, verdict, waited, reason=decision.reason, decision=decision)
        self._settle_covered(request.tool)
        return ruling

    def _settle_covered(self, tool: str) -> None:
        """Ends the other pending requests that what is remembered now decides, so that nobody is asked in vain."""
        for entry in self._pending.values():
            if entry.request.tool == tool and entry.covered_by is None and entry.withdrawn is None:
                entry.covered_by = self._remembered(entry.request, entry.session)
                if entry.covered_by is not None:
                    entry.scope.cancel()

    def _remembered(self, request: ApprovalRequest, session: str | None) -> Ruling | None:
        denied, reason = self._memory.denied(request)
        if denied:
            return _ruling(request, "denied", 0.0, reason=reason, request_id=None)
        scope = self._memory.granted(request, session)
        if scope is None:
            return None
        return _ruling(request, "approved", 0.0, scope=scope, decision=Decision.approve(), request_id=None)

    def _ended(
        self,
        request: ApprovalRequest,
        verdict: Verdict,
        waited: float,
        *,
        reason: str | None = None,
        scope: Scope = "once",
        decision: Decision | None = None,
    ) -> Ruling:
        setattr(self.statistics, verdict, getattr(self.statistics, verdict) + 1)
        return _ruling(request, verdict, waited, reason=reason, scope=scope, decision=decision, request_id=request.id)


_VERDICTS: dict[str, Verdict] = {
    "approve": "approved",
    "answer": "answered",
    "deny": "denied",
    "terminate": "terminated",
}


def _ruling(
    request: ApprovalRequest,
    verdict: Verdict,
    waited: float,
    *,
    request_id: str | None,
    reason: str | None = None,
    scope: Scope = "once",
    decision: Decision | None = None,
) -> Ruling:
    note = ApprovalNote(
        request_id=request_id,
        decision=verdict,
        scope=scope,
        edited=bool(decision and decision.edits),
        reason=reason,
        waited_ms=waited * 1000,
    )
    return Ruling(note, decision, _error(request, note, {"request_id": request_id, "waited_s": round(waited, 3)}))


def _error(request: ApprovalRequest, note: ApprovalNote, facts: dict[str, object]) -> ApprovalError | None:
    name, reason = f"tools.{request.tool}", (note.reason or "").rstrip(".")
    match note.decision:
        case "denied":
            again = "" if note.request_id else " The same call was denied before in this execution; do not repeat it."
            return ApprovalDeniedError(f"{name} was denied: {reason}.{again}", details=facts)
        case "terminated":
            return ApprovalDeniedError(f"{name} was denied and the execution ended: {reason}.", details=facts)
        case "cancelled":
            return ApprovalDeniedError(f"The request to approve {name} was cancelled: {reason}.", details=facts)
        case "timed_out":
            return ApprovalTimeoutError(f"{name} was not approved: {reason}.", details=facts)
        case "unavailable":
            return ApprovalUnavailableError(f"{name} needs approval, and {reason}.", details=facts)
        case _:
            return None
