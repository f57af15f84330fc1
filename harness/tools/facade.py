"""One execution's calls, each step by step: look up, validate, budget, approve, recall, wait, pay, invoke, check."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Literal, cast

import anyio

from harness.approvals.bridge import ApprovalBridge
from harness.approvals.decision import Decision, edited_arguments
from harness.concurrency import loop_clock
from harness.context import ExecutionContext
from harness.errors import (
    HarnessError,
    HarnessInternalError,
    JournalError,
    ToolBudgetExceededError,
    ToolNotFoundError,
)
from harness.model import ApprovalRequest, BudgetReport, CallRecord, CallStatus
from harness.redaction import Redactor, visible
from harness.tools.arguments import argument_object, shown_arguments, with_form
from harness.tools.budget import CallBudget
from harness.tools.callbook import CallBook
from harness.tools.calls import Settled, ToolCall
from harness.tools.carrier import Carrier
from harness.tools.context import CallContext
from harness.tools.economy import Economy
from harness.tools.entry import Entry
from harness.tools.history import NO_HISTORY, History
from harness.tools.invoke import Invocation
from harness.tools.meters import to_units
from harness.tools.names import BUILT_IN
from harness.tools.observer import CallObserver
from harness.tools.progress import ToolProgress
from harness.tools.questions import Questions
from harness.tools.source import ToolSource

__all__ = ["CallFacade"]

_LOG = logging.getLogger("harness.tools")


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
        self._context = context
        self._limits = context.limits
        self._approvals = approvals = approvals or ApprovalBridge()
        self._dry_run = mode == "dry-run"
        self._redactor = redactor = redactor or Redactor()
        self._observer = observer
        self._on_change = on_change
        self._clock: Callable[[], float] = anyio.current_time
        self._book = CallBook(redactor)
        self._cancelled_early: dict[int, str] = {}
        self._needed_approval: set[int] = set()
        self._economy = economy = economy or Economy()
        # Spans are for calls that are really made, and only for who looks at them.
        self._telemetry = economy.telemetry if economy.telemetry.active else None
        self._resources = tuple(
            {
                tool.resource.resource_id: economy.resources.of(tool.resource) for tool in registry if tool.resource
            }.values()
        )
        self._idempotency_key = idempotency_key
        self._suspended = False
        self._questions = Questions(
            approvals,
            context,
            redactor,
            observer,
            history=history,
            date=date,
            can_suspend=can_suspend,
            on_change=self._changed,
        )
        self.budget = budget or CallBudget(self._limits, economy.budget)
        self._carrier = Carrier(economy, self.budget, context, observer)
        self.progress = ToolProgress(self._limits, self._redactor)
        """What the tools report while they work."""

    @property
    def approving(self) -> int:
        """Calls that wait for a person, or for whatever else answers in its own time."""
        return self._questions.approving

    @property
    def active(self) -> int:
        """Unsettled calls that wait for something else than a person."""
        return len(self._book.open) - self._questions.approving

    @property
    def parked(self) -> int:
        """Those over which the execution can be suspended."""
        return self._questions.parked

    def pending(self) -> tuple[ApprovalRequest, ...]:
        """What parked calls wait for."""
        return self._questions.pending()

    def answer(self, request_id: str, decision: Decision) -> bool:
        """Answer what a parked call waits for; False if it was answered before."""
        return self._questions.answer(request_id, decision)

    def suspend(self) -> None:
        """Leave what is parked as it is on record."""
        self._suspended = True
        self._questions.freeze()

    def records(self) -> tuple[CallRecord, ...]:
        """How every call stands, by ``seq``. One that is under way is shown as it would be if it were dropped now; in a
        suspended execution it is left out.
        """
        return self._book.records(ended_only=self._suspended)

    @property
    def unrecorded(self) -> int:
        """Calls that were refused and are not in `records`, since there are too many of them."""
        return self._book.unrecorded

    def needed_approval(self, call_id: int) -> bool:
        """Whether a call is one that a person is asked about; in a dry run, that would be."""
        return call_id in self._needed_approval

    def cancel(self, call_id: int, reason: str = "its signal was aborted") -> None:
        """Cancels one call; its `call` returns a `ToolCancelledError`. Does nothing for one that is settled."""
        entry = self._book.open.get(call_id)
        if entry is not None:
            entry.cancel_reason = reason
            entry.scope.cancel()
        elif call_id not in self._book.ended:
            self._cancelled_early[call_id] = reason

    def cancel_all(self, reason: str) -> None:
        """Cancels every unsettled call."""
        for call_id in list(self._book.open):
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
        return self.budget.text(self._resources)

    def admit(self, call: ToolCall) -> None:
        """Looks a call up, validates it, counts it and gives it its place in line, all at once.

        Called for each call before the task that awaits `call` is started, this keeps the order of the script: not every
        event loop starts tasks in the order in which they were made.
        """
        if self._clock is anyio.current_time:
            self._clock = loop_clock()
        entry = Entry(call)
        self._questions.recall(entry)
        entry.cancel_reason = self._cancelled_early.pop(call.id, None)
        self._book.open[call.id] = entry
        try:
            self._prepare(entry)
        except HarnessError as error:
            entry.refusal = error
        except Exception as error:  # noqa: BLE001 - as in call
            entry.refusal = _defect(call, error)
        # What was started under an older contract of its tool may have taken effect, though it could not be made now.
        entry.doubted = entry.refusal is not None and entry.past is not None and entry.past.started
        self._changed()

    async def call(self, call: ToolCall) -> Settled:
        """Carries out one call and settles it; admits it first, if it was not.

        Raises nothing but the cancellation of the task it runs in.
        """
        if call.id not in self._book.open:
            self.admit(call)
        entry = self._book.open[call.id]
        if self._telemetry is None:
            return await self._finish(entry)
        with self._telemetry.call(call.tool, call.id, known=call.tool in self._registry) as ended:
            settled = await self._finish(entry)
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
        self._book.open[call.id] = entry
        self._questions.recall(entry)
        if entry.past is not None and entry.past.settled is not None:
            return self._adopt(entry, entry.past.settled)
        entry.arguments = shown_arguments(call.arguments_json, self._limits)
        return await self._settle(entry, None, with_form(error, call.tool, self._registry))

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
            self.budget.spend(tool.name, len(self._book.open))
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
            entry.made_up = True
            return invocation.encode(invocation.preview(entry.arguments))
        if entry.needs_approval:
            answer = await self._approved(entry, invocation)
            if answer is not None:
                return answer
        if past is not None and past.started:
            later = await self._questions.after_the_start(entry, invocation)
            if later is not None:
                return later
        text = await self._carrier.carry_out(entry, invocation)
        if invocation.deferred is None:
            return text
        self._carrier.rest(entry)
        return await self._questions.deferred(entry, invocation)

    async def _approved(self, entry: Entry, invocation: Invocation) -> str | None:
        """Make sure that a call may be made; None if it is to be, else the answer in its place. Raises `ApprovalError`."""
        entry.ruling = ruling = await self._questions.ask(entry, invocation.tool)
        if ruling.error is not None:
            raise ruling.error
        decision = ruling.decision
        if decision is not None and decision.kind == "answer":
            return invocation.encode(invocation.check(decision.value))
        if decision is not None and decision.edits:
            entry.arguments = edited_arguments(invocation.tool.name, entry.arguments, decision.edits)
            entry.prepared = invocation.validate(entry.arguments)
        return None

    def _is_planned(self, call: ToolCall) -> bool:
        """Whether the call is not made. What `tools` answers by itself is no plan: it is the same in the real run."""
        return self._dry_run and call.tool not in BUILT_IN

    def _changed(self) -> None:
        if self._on_change is not None:
            self._on_change()

    def _adopt(self, entry: Entry, settled: Settled) -> Settled:
        """A call that ended before the execution was suspended or interrupted, as it ended then."""
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
        except JournalError as failure:
            # What happened has happened, and the outcome must say so. The script does not hear of it: it is being ended.
            return replace(settled, value_json=None, error=failure.info(), exception=failure)
        except Exception as raised:  # noqa: BLE001 - as in call
            defect = _defect(entry.call, raised)
            record = entry.record(CallStatus.ERROR, defect, self._redactor)
            self._book.ended[entry.call.id] = record
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
            self._book.open.pop(entry.call.id, None)
        else:
            self._keep(entry, self._book.as_if_dropped(entry), None)

    def _keep(self, entry: Entry, record: CallRecord, value: str | None) -> None:
        if not self._dry_run:
            self._registry.count(record)
        self._carrier.note_applied(entry, record, value)
        self._note(entry, record)

    def _note(self, entry: Entry, record: CallRecord) -> None:
        self._book.note(entry, record)
        self._changed()


def _defect(call: ToolCall, error: Exception) -> HarnessInternalError:
    _LOG.error("The call to tools.%s failed inside the harness.", visible(call.tool[:80]), exc_info=error)
    return HarnessInternalError(f"The call failed inside the harness ({type(error).__name__}); please report it.")
