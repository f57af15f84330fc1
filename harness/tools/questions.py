"""What is asked about the calls of one execution, before they are made and after: a person, or whoever has a late result."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any, Literal

from harness.approvals.bridge import ApprovalBridge, Ruling
from harness.approvals.decision import Decision
from harness.canonical import content_hash
from harness.context import ExecutionContext
from harness.errors import ToolBudgetExceededError, ToolExecutionError, ToolTimeoutError
from harness.model import ApprovalRequest
from harness.redaction import Redactor
from harness.tools.deferred import deferral_id
from harness.tools.entry import Entry
from harness.tools.history import History, Question
from harness.tools.invoke import Invocation
from harness.tools.observer import CallObserver
from harness.tools.parking import Parking
from harness.tools.tool import Tool

__all__ = ["Questions"]


class Questions:
    """Asks, waits, and recalls what was answered before the execution was suspended or interrupted.

    ``on_change`` is told whenever a call begins or stops waiting. ``can_suspend``: an answer may come in another process,
    so that nothing limits the wait in this one.
    """

    def __init__(
        self,
        approvals: ApprovalBridge,
        context: ExecutionContext,
        redactor: Redactor,
        observer: CallObserver | None,
        *,
        history: History,
        date: Callable[[], float],
        can_suspend: bool,
        on_change: Callable[[], None],
    ) -> None:
        self._approvals = approvals
        self._context = context
        self._limits = context.limits
        self._session = context.session_id or context.conversation_id
        self._redactor = redactor
        self._observer = observer
        self._history = history
        self._date = date
        self._can_suspend = can_suspend
        self._on_change = on_change
        self._parking = Parking(on_change)
        self.approving = 0
        """Calls that wait for a person, or for whatever else answers in its own time."""

    @property
    def parked(self) -> int:
        """Those over which the execution can be suspended."""
        return self._parking.taken if self._can_suspend else 0

    def pending(self) -> tuple[ApprovalRequest, ...]:
        """What parked calls wait for."""
        return self._parking.requests()

    def answer(self, request_id: str, decision: Decision) -> bool:
        """Answer what a parked call waits for; False if it was answered before."""
        return self._parking.answer(request_id, decision)

    def freeze(self) -> None:
        """Leave what is parked as it is on record."""
        self._parking.freeze()

    # ── before a call is made ────────────────────────────────────────────────────────────────────────────────────

    def recall(self, entry: Entry) -> None:
        """What is on record of a call from an earlier life of the execution. What was decided about it then, or since,
        counts against ``max_approvals`` like an answer in this one, and calls that come later may be covered by it.

        Raises `ReplayDivergenceError` if it is another call that is on record.
        """
        entry.past = past = self._history.get(entry.call.id)
        if past is not None:
            past.check(entry.call)
        question = self._question(entry, "approval")
        if question is not None and question.decision is not None:
            entry.ruling = self._approvals.recall(question.request, question.decision, session=self._session)

    async def ask(self, entry: Entry, tool: Tool) -> Ruling:
        """Whether a call may be made. Raises `ToolBudgetExceededError` past ``max_approvals``."""
        question = self._question(entry, "approval")
        entry.request = request = (
            self._request(entry, f"tools.{tool.name} is declared with approval=True")
            if question is None
            else question.request
        )
        if question is not None and entry.ruling is not None:
            if self._observer is not None and not question.recorded:
                await self._observer.decided(entry.call, request, entry.ruling.note, question.decision)
            return entry.ruling

        async def on_ask() -> None:
            if self._observer is not None and question is None:
                await self._observer.asked(entry.call, request)

        self._wait(1)
        try:
            ruling = await self._approvals.ask(
                request,
                limits=self._limits,
                session=self._session,
                on_ask=on_ask,
                lasting=self._can_suspend and question is not None,
            )
            if ruling is None:
                decision = await self._parking.wait(entry.call.id, request)
                assert decision is not None  # noqa: S101 - without a time limit it waits until there is one
                ruling = self._approvals.rule(request, decision, session=self._session)
        except ToolBudgetExceededError:
            entry.exhausted = True
            raise
        finally:
            self._wait(-1)
        if self._observer is not None and ruling.note.request_id is not None:
            await self._observer.decided(entry.call, request, ruling.note, ruling.decision)
        return ruling

    # ── what comes later ─────────────────────────────────────────────────────────────────────────────────────────

    async def after_the_start(self, entry: Entry, invocation: Invocation) -> str | None:
        """What became of a call whose tool was started in an earlier process; None if it is to be made (again)."""
        past = entry.past
        if self._question(entry, "deferred") is not None or (past is not None and past.late is not None):
            return await self.deferred(entry, invocation)
        tool = invocation.tool
        if tool.idempotent:
            return None
        entry.doubted = True
        decision = await self._later(
            entry,
            "in_doubt",
            f"the process ended after {tool.expression} was started and before it had answered: it may have taken effect",
        )
        if decision is not None and decision.kind == "approve":
            entry.doubted = False
            return None
        if decision is not None and decision.kind == "answer":
            return invocation.encode(invocation.check(decision.value))
        said = "" if decision is None or decision.reason is None else f": {decision.reason.rstrip('.')}"
        raise ToolExecutionError(
            f"{tool.expression} was started before its process ended, and nobody knows whether it took effect{said}.",
            retryable=False,
        )

    async def deferred(self, entry: Entry, invocation: Invocation) -> str:
        """The result of a call whose tool said that it comes later."""
        note = "" if invocation.deferred is None else invocation.deferred.note
        decision = await self._later(entry, "deferred", note)
        name = invocation.tool.expression
        if decision is None:
            entry.doubted = True
            raise ToolTimeoutError(
                f"{name} said that its result comes later, and it did not come within {self._limits.approval_timeout:g} "
                "seconds (approval_timeout). With Harness(journal=…) such a call can wait for days.",
                details={"limit": self._limits.approval_timeout},
                retryable=False,
            )
        if decision.kind == "answer":
            return invocation.encode(invocation.check(decision.value))
        raise ToolExecutionError(f"{name} failed: {self._redactor.secrets(decision.reason or '')}")

    async def _later(self, entry: Entry, kind: Literal["in_doubt", "deferred"], reason: str) -> Decision | None:
        """What is decided about a call that was started, in this process or another; None if nobody can wait longer."""
        question, call = self._question(entry, kind), entry.call
        if question is None:
            own = {"id": deferral_id(self._context.execution_id, call.id)} if kind == "deferred" else {}
            request = self._request(entry, reason, kind=kind, **own)
            if self._observer is not None:
                await self._observer.asked(call, request)
        else:
            request = question.request
        decision = None if question is None else question.decision
        if question is None and entry.past is not None and kind == "deferred":
            decision = entry.past.late
        recorded = question is not None and question.recorded
        if decision is None:
            self._wait(1)
            try:
                most = None if self._can_suspend else self._limits.approval_timeout
                decision = await self._parking.wait(call.id, request, most=most)
            finally:
                self._wait(-1)
        if decision is None:
            return None
        if decision.kind == "terminate":
            entry.ruling = self._approvals.rule(request, decision)
        if self._observer is not None and not recorded:
            await self._observer.decided(call, request, self._approvals.rule(request, decision).note, decision)
        return decision

    def _request(self, entry: Entry, reason: str, **more: Any) -> ApprovalRequest:
        lasting = self._can_suspend and (self._approvals.suspend_after is not None or more)
        seconds = self._limits.suspension_time if lasting else self._limits.approval_timeout
        fields: dict[str, Any] = {"id": f"apr_{secrets.token_hex(8)}", **more}
        return ApprovalRequest(
            execution_id=self._context.execution_id,
            tool=entry.call.tool,
            arguments=self._redactor.arguments(dict(entry.arguments)),
            arguments_hash=content_hash(entry.arguments),
            reason=reason,
            expires_at=self._date() + seconds,
            **fields,
        )

    def _question(self, entry: Entry, kind: str) -> Question | None:
        return None if entry.past is None else entry.past.questions.get(kind)

    def _wait(self, change: Literal[1, -1]) -> None:
        self.approving += change
        self._on_change()
