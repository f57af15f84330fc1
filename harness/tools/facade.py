"""One execution's calls, each step by step: look up, validate, budget, approve, recall, wait, pay, invoke, check."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from typing import Any, Literal, cast

import anyio

from harness.approvals.bridge import ApprovalBridge, Ruling
from harness.approvals.decision import Decision, edited_arguments
from harness.canonical import content_hash
from harness.concurrency import loop_clock
from harness.context import ExecutionContext
from harness.errors import (
    HarnessError,
    HarnessInternalError,
    JournalError,
    ToolBudgetExceededError,
    ToolExecutionError,
    ToolNotFoundError,
    ToolTimeoutError,
)
from harness.model import ApprovalRequest, BudgetReport, CallRecord, CallStatus
from harness.redaction import Redactor, visible
from harness.tools.arguments import argument_object, shown_arguments
from harness.tools.budget import CallBudget
from harness.tools.calls import Settled, ToolCall
from harness.tools.carrier import Carrier
from harness.tools.context import CallContext
from harness.tools.deferred import deferral_id
from harness.tools.economy import Economy
from harness.tools.entry import Entry
from harness.tools.history import NO_HISTORY, History, PastCall, Question
from harness.tools.invoke import Invocation
from harness.tools.meters import to_units
from harness.tools.names import BUILT_IN
from harness.tools.observer import CallObserver
from harness.tools.parking import Parking
from harness.tools.progress import ToolProgress
from harness.tools.samples import sample
from harness.tools.source import ToolSource
from harness.tools.tool import Tool

__all__ = ["CallFacade"]

_LOG = logging.getLogger("harness.tools")

MAX_REFUSED_RECORDS = 1_000
"""Calls that were refused before they counted (unknown tool, bad arguments, no budget) and are still recorded one by
one. A script can make millions of these; what is past it is counted in `CallFacade.unrecorded`."""


class CallFacade:
    """Carries out the tool calls of one execution.

    The runtime admits the calls in the order the script made them, awaits each in a task of its own, and delivers how
    it settled.
    """

    def __init__(
        self,
        registry: ToolSource,
        context: ExecutionContext,
        *,
        approvals: ApprovalBridge | None = None,
        mode: Literal["enabled", "dry-run"] = "enabled",
        redactor: Redactor | None = None,
        observer: CallObserver | None = None,
        on_change: Callable[[], None] | None = None,
        economy: Economy | None = None,
        budget: CallBudget | None = None,
        idempotency_key: str | None = None,
        history: History = NO_HISTORY,
        can_suspend: bool = False,
        date: Callable[[], float] = time.time,
    ) -> None:
        self._registry = registry
        self._date = date
        self._context = context
        self._limits = context.limits
        self._approvals = approvals or ApprovalBridge()
        self._dry_run = mode == "dry-run"
        self._redactor = redactor or Redactor()
        self._observer = observer
        self._on_change = on_change
        self._clock: Callable[[], float] = anyio.current_time
        self._open: dict[int, Entry] = {}
        self._records: dict[int, CallRecord] = {}
        self._cancelled_early: dict[int, str] = {}
        self._refused = 0
        self._needed_approval: set[int] = set()
        self._economy = economy = economy or Economy()
        # Spans are for calls that are really made, and only for who looks at them.
        self._telemetry = economy.telemetry if economy.telemetry.active else None
        self._resources = tuple(
            {
                tool.resource.resource_id: economy.resources.of(tool.resource) for tool in registry if tool.resource
            }.values()
        )
        self._plain_budget = economy.budget.unlimited and not self._resources
        self._idempotency_key = idempotency_key
        self._history = history
        self._can_suspend = can_suspend
        self._suspended = False
        self._parking = Parking(self._changed)
        self.budget = budget or CallBudget(self._limits, economy.budget)
        self._carrier = Carrier(economy, self.budget, context, observer)
        self.progress = ToolProgress(self._limits, self._redactor)
        """What the tools report while they work."""
        self.approving = 0
        """Calls that wait for a person, or for whatever else answers in its own time."""
        self.unrecorded = 0
        """Calls that were refused and are not in `records`, since there are too many of them."""

    @property
    def active(self) -> int:
        """Unsettled calls that wait for something else than a person."""
        return len(self._open) - self.approving

    @property
    def parked(self) -> int:
        """Those over which the execution can be suspended."""
        return self._parking.taken if self._can_suspend else 0

    def pending(self) -> tuple[ApprovalRequest, ...]:
        """What parked calls wait for."""
        return self._parking.requests()

    def answer(self, request_id: str, decision: Decision) -> bool:
        """Answer what a parked call waits for; False if none waits for that."""
        return self._parking.answer(request_id, decision)

    def suspend(self) -> None:
        """Leave what is parked as it is on record."""
        self._suspended = True
        self._parking.freeze()

    def records(self) -> tuple[CallRecord, ...]:
        """How every call stands, by ``seq``. One that is under way is shown as it would be if it were dropped now; in a
        suspended execution it is left out.
        """
        if self._suspended:
            return tuple(record for _, record in sorted(self._records.items()))
        under_way = {
            entry.call.id: entry.record(entry.dropped_status(), entry.dropped_error(), self._redactor)
            for entry in self._open.values()
        }
        return tuple(record for _, record in sorted({**under_way, **self._records}.items()))

    def needed_approval(self, call_id: int) -> bool:
        """Whether a call is one that a person is asked about; in a dry run, that would be."""
        return call_id in self._needed_approval

    def cancel(self, call_id: int, reason: str = "its signal was aborted") -> None:
        """Cancels one call; its `call` returns a `ToolCancelledError`. Does nothing for one that is settled."""
        entry = self._open.get(call_id)
        if entry is not None:
            entry.cancel_reason = reason
            entry.scope.cancel()
        elif call_id not in self._records:
            self._cancelled_early[call_id] = reason

    def cancel_all(self, reason: str) -> None:
        """Cancels every unsettled call."""
        for call_id in list(self._open):
            self.cancel(call_id, reason)

    def close(self) -> None:
        """Forgets what was approved or denied for this execution. To be called once when it is over."""
        self.progress.close()
        self._approvals.end_execution(self._context.execution_id)
        self._economy.ledger.close(self._context.execution_id)

    def budget_report(self) -> BudgetReport:
        """How every budget of the execution stands."""
        return self.budget.report(self._resources)

    def budget_text(self) -> str:
        """The same as JSON, for ``context.budget()``."""
        if not self._plain_budget:
            return self.budget_report().model_dump_json(exclude_none=True)
        limit, used = self._limits.max_tool_calls, self.budget.used
        return f'{{"tool_calls":{{"limit":{limit},"used":{used},"remaining":{max(limit - used, 0)}}}}}'

    def admit(self, call: ToolCall) -> None:
        """Looks a call up, validates it, counts it and gives it its place in line, all at once.

        Called for each call before the task that awaits `call` is started, this keeps the order of the script: not every
        event loop starts tasks in the order in which they were made.
        """
        if self._clock is anyio.current_time:
            self._clock = loop_clock()
        entry = Entry(call)
        entry.past = self._recall(call)
        entry.cancel_reason = self._cancelled_early.pop(call.id, None)
        self._open[call.id] = entry
        try:
            self._prepare(entry)
        except HarnessError as error:
            entry.refusal = error
        except Exception as error:  # noqa: BLE001 - as in call
            entry.refusal = _defect(call, error)
        self._changed()

    async def call(self, call: ToolCall) -> Settled:
        """Carries out one call and settles it; admits it first, if it was not.

        Raises nothing but the cancellation of the task it runs in.
        """
        if call.id not in self._open:
            self.admit(call)
        if self._telemetry is None:
            return await self._finish(self._open[call.id])
        with self._telemetry.call(call.tool, call.id, known=call.tool in self._registry) as ended:
            settled = await self._finish(self._open[call.id])
            ended.append(settled.record)
            return settled

    async def _finish(self, entry: Entry) -> Settled:
        value: str | None = None
        error: HarnessError | None = None
        past = entry.past
        if past is not None and past.settled is not None:
            return self._adopt(entry, past.settled)
        try:
            if entry.cancel_reason is None:
                with entry.scope:
                    value = await self._carry_out(entry)
            # Without a value the scope was cancelled. A tool that ends in spite of that has ended: its result stands.
            if value is None:
                error = entry.interrupted_error()
        except HarnessError as raised:
            error = raised if entry.cancel_reason is None else entry.dropped_error()
        except Exception as raised:  # noqa: BLE001 - a defect of ours must settle the call too, not hang the script
            error = _defect(entry.call, raised)
        except BaseException:
            self._abandon(entry)
            raise
        finally:
            self._carrier.give_back(entry, value)
        return await self._settle(entry, value, error)

    async def refuse(self, call: ToolCall, error: HarnessError) -> Settled:
        """Records and settles a call that the runtime does not even try; it counts against no budget."""
        entry = Entry(call)
        self._open[call.id] = entry
        past = self._recall(call)
        if past is not None and past.settled is not None:
            return self._adopt(entry, past.settled)
        entry.arguments = shown_arguments(call.arguments_json, self._limits)
        return await self._settle(entry, None, error)

    def _prepare(self, entry: Entry) -> None:
        call, limits = entry.call, self._limits
        try:
            tool = self._registry.get(call.tool)
        except ToolNotFoundError:
            entry.arguments = shown_arguments(call.arguments_json, limits)
            raise
        entry.arguments = arguments = argument_object(call.arguments_json, tool, limits)
        context = CallContext(
            tool=tool.name,
            call_id=call.id,
            execution=self._context,
            key=self._idempotency_key,
            report=self.progress.report,
            costs=None if self._dry_run else self._carrier.open_account(entry, tool),
        )
        entry.invocation = invocation = Invocation(tool, context, limits, self._redactor, self._clock)
        entry.prepared = invocation.validate(arguments)
        entry.valid = True
        try:
            self.budget.spend(tool.name, len(self._open))
        except ToolBudgetExceededError:
            entry.exhausted = True
            raise
        entry.counted = True
        entry.needs_approval = tool.approval
        if entry.needs_approval:
            self._needed_approval.add(call.id)
        if not self._dry_run and not entry.needs_approval and entry.past is None:
            self._carrier.line_up(entry)

    async def _carry_out(self, entry: Entry) -> str:
        past = entry.past
        if entry.valid and self._observer is not None and (past is None or past.call is None):
            await self._observer.issued(entry.call)
        if entry.refusal is not None:
            raise entry.refusal
        invocation = cast("Invocation", entry.invocation)
        if self._is_planned(entry.call):
            return _made_up(entry, invocation)
        if entry.needs_approval:
            entry.ruling = ruling = await self._ask(entry, invocation.tool)
            if ruling.error is not None:
                raise ruling.error
            decision = ruling.decision
            if decision is not None and decision.kind == "answer":
                return invocation.encode(invocation.check(decision.value))
            if decision is not None and decision.edits:
                entry.arguments = edited_arguments(invocation.tool.name, entry.arguments, decision.edits)
                entry.prepared = invocation.validate(entry.arguments)
        if past is not None and past.started:
            later = await self._after_the_start(entry, invocation)
            if later is not None:
                return later
        text = await self._carrier.carry_out(entry, invocation)
        return text if invocation.deferred is None else await self._deferred(entry, invocation)

    def _is_planned(self, call: ToolCall) -> bool:
        """Whether the call is not made. What `tools` answers by itself is no plan: it is the same in the real run."""
        return self._dry_run and call.tool not in BUILT_IN

    async def _ask(self, entry: Entry, tool: Tool) -> Ruling:
        question = self._question(entry, "approval")
        entry.request = request = (
            self._request(entry, f"tools.{tool.name} is declared with approval=True")
            if question is None
            else question.request
        )
        session = self._context.session_id or self._context.conversation_id
        if question is not None and question.decision is not None:
            return await self._rule(entry, question, session)

        async def on_ask() -> None:
            if self._observer is not None and question is None:
                await self._observer.asked(entry.call, request)

        self._set_approving(approving=True)
        try:
            ruling = await self._approvals.ask(request, limits=self._limits, session=session, on_ask=on_ask)
            if ruling is None:
                decision = await self._parking.wait(entry.call.id, request)
                assert decision is not None  # noqa: S101 - without a time limit it waits until there is one
                ruling = self._approvals.rule(request, decision, session=session)
        except ToolBudgetExceededError:
            entry.exhausted = True
            raise
        finally:
            self._set_approving(approving=False)
        if self._observer is not None and ruling.note.request_id is not None:
            await self._observer.decided(entry.call, request, ruling.note, ruling.decision)
        return ruling

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

    async def _rule(self, entry: Entry, question: Question, session: str | None) -> Ruling:
        """What a decision means that was made while the execution was suspended."""
        decision = question.decision
        assert decision is not None  # noqa: S101 - asked by the caller
        ruling = self._approvals.rule(question.request, decision, session=session)
        if self._observer is not None and not question.recorded:
            await self._observer.decided(entry.call, question.request, ruling.note, decision)
        return ruling

    def _question(self, entry: Entry, kind: str) -> Question | None:
        return None if entry.past is None else entry.past.questions.get(kind)

    # ── what comes later ─────────────────────────────────────────────────────────────────────────────────────────

    async def _after_the_start(self, entry: Entry, invocation: Invocation) -> str | None:
        """What became of a call whose tool was started in an earlier process; None if it is to be made (again)."""
        if self._question(entry, "deferred") is not None:
            return await self._deferred(entry, invocation)
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

    async def _deferred(self, entry: Entry, invocation: Invocation) -> str:
        """The result of a call whose tool said that it comes later."""
        self._carrier.rest(entry)
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
        recorded = question is not None and question.recorded
        if decision is None:
            self._set_approving(approving=True)
            try:
                most = None if self._can_suspend else self._limits.approval_timeout
                decision = await self._parking.wait(call.id, request, most=most)
            finally:
                self._set_approving(approving=False)
        if decision is None:
            return None
        if decision.kind == "terminate":
            entry.ruling = self._approvals.rule(request, decision)
        if self._observer is not None and not recorded:
            await self._observer.decided(call, request, self._approvals.rule(request, decision).note, decision)
        return decision

    def _set_approving(self, *, approving: bool) -> None:
        self.approving += 1 if approving else -1
        self._changed()

    def _changed(self) -> None:
        if self._on_change is not None:
            self._on_change()

    def _recall(self, call: ToolCall) -> PastCall | None:
        """What is on record of a call. Raises `ReplayDivergenceError` if it is another one."""
        past = self._history.get(call.id)
        if past is not None:
            past.check(call)
        return past

    def _adopt(self, entry: Entry, settled: Settled) -> Settled:
        """A call that ended before the execution was suspended or interrupted, as it ended then."""
        question = self._question(entry, "approval")
        if question is not None and question.decision is not None:
            session = self._context.session_id or self._context.conversation_id
            self._approvals.rule(question.request, question.decision, session=session)
        self.budget.purse.settle(0, to_units(settled.record.cost_cents))
        self.progress.restore(settled.progress)
        entry.needs_approval = settled.needs_approval
        self._carrier.give_back(entry, None)
        self._note(entry, settled.record)
        return settled

    async def _settle(self, entry: Entry, value: str | None, error: HarnessError | None) -> Settled:
        if error is not None:
            status = entry.failed_status(error)
        else:
            status = CallStatus.PLANNED if self._is_planned(entry.call) else CallStatus.OK
        record = entry.record(status, error, self._redactor)
        settled = Settled(
            call_id=entry.call.id,
            record=record,
            value_json=value,
            error=record.error,
            exception=error,
            made_up=entry.made_up and error is None,
            needs_approval=entry.needs_approval,
            terminate_reason=self._reason_to_terminate(entry, error),
            progress=self.progress.of(entry.call.id),
        )
        self._keep(entry, record, value)
        if self._observer is None:
            return settled
        try:
            await self._observer.settled(settled)
        except JournalError:
            # The execution ends over it, and its outcome says what became of the call.
            return settled
        except Exception as raised:  # noqa: BLE001 - as in call
            defect = _defect(entry.call, raised)
            record = entry.record(CallStatus.ERROR, defect, self._redactor)
            self._records[entry.call.id] = record
            return Settled(call_id=entry.call.id, record=record, error=record.error, exception=defect)
        return settled

    def _reason_to_terminate(self, entry: Entry, error: HarnessError | None) -> str | None:
        note = entry.ruling.note if entry.ruling else None
        if note is not None and note.decision == "terminated":
            return note.reason
        if error is not None and entry.exhausted and self._economy.on_budget == "terminate":
            return self._redactor.secrets(error.message)
        return None

    def _abandon(self, entry: Entry) -> None:
        """Notes how a call stands whose task is being cancelled, since its execution ends or leaves this process.

        Nobody is told that it has settled: it has not, and whoever goes on with its execution must find it open.
        """
        if self._suspended:
            self._open.pop(entry.call.id, None)
        else:
            self._keep(entry, entry.record(entry.dropped_status(), entry.dropped_error(), self._redactor), None)

    def _keep(self, entry: Entry, record: CallRecord, value: str | None) -> None:
        if not self._dry_run:
            self._registry.count(record)
        self._carrier.note_applied(entry, record, value)
        self._note(entry, record)

    def _note(self, entry: Entry, record: CallRecord) -> None:
        self._open.pop(entry.call.id, None)
        self._refused += not entry.counted
        if entry.counted or self._refused <= MAX_REFUSED_RECORDS:
            self._records[entry.call.id] = record
        else:
            self.unrecorded += 1
        self._changed()


def _made_up(entry: Entry, invocation: Invocation) -> str:
    entry.made_up = True
    tool = invocation.tool
    return invocation.encode(
        sample(tool.result) if tool.preview is None else invocation.preview(tool.with_defaults(entry.arguments))
    )


def _defect(call: ToolCall, error: Exception) -> HarnessInternalError:
    _LOG.error("The call to tools.%s failed inside the harness.", visible(call.tool[:80]), exc_info=error)
    return HarnessInternalError(f"The call failed inside the harness ({type(error).__name__}); please report it.")
