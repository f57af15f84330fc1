"""What is done for a call once it may be made: recall a result, wait for a slot, pay, invoke, perhaps again, settle."""

from __future__ import annotations

import math

import anyio
from pydantic import JsonValue
from pydantic_core import to_json

from harness.context import ExecutionContext
from harness.errors import ToolBudgetExceededError
from harness.model import CallRecord, CallStatus
from harness.tools.budget import CallBudget, is_used_up
from harness.tools.cache import result_key
from harness.tools.compensation import Applied
from harness.tools.context import CostReport
from harness.tools.economy import Economy
from harness.tools.entry import Entry
from harness.tools.invoke import Invocation
from harness.tools.observer import CallObserver
from harness.tools.retry import Retry, keep_trying
from harness.tools.spending import Spending
from harness.tools.tool import Tool

__all__ = ["Carrier"]


class _CannotPayError(Exception):
    """There is no paying for another attempt."""


class Carrier:
    """Carries out the calls of one execution."""

    def __init__(
        self, economy: Economy, budget: CallBudget, context: ExecutionContext, observer: CallObserver | None
    ) -> None:
        self._economy = economy
        self._budget = budget
        self._context = context
        self._limits = context.limits
        self._observer = observer

    def open_account(self, entry: Entry, tool: Tool) -> CostReport | None:
        """Make ready to pay for a call. None for a tool that costs nothing and is not rationed."""
        if not tool.cost and tool.resource is None and self._budget.rate is None:
            return None
        report = CostReport()
        entry.spending = Spending(
            tool.name,
            report,
            self._budget,
            None if tool.resource is None else self._economy.resources.of(tool.resource),
            limits=self._limits,
            on_rate_limit=self._economy.on_rate_limit,
        )
        return report

    def line_up(self, entry: Entry) -> None:
        """Give a call its place in line, or a slot if one is free."""
        entry.place = self._budget.line_up()

    async def carry_out(self, entry: Entry, invocation: Invocation) -> str:
        """The result as JSON text. Raises what the tool's failure or a used-up budget is called."""
        if invocation.tool.deterministic:
            found = await self._recall(entry, invocation)
            if found is not None:
                return found
        if entry.place is None:
            self.line_up(entry)
        if entry.place is not None and not entry.place.granted:
            await entry.place.reached()
        price = 0.0 if entry.spending is None else await self._pay(entry, entry.spending, invocation)
        if self._observer is not None:
            await self._observer.started(entry.call, to_json(entry.arguments).decode())
        tool = invocation.tool
        if tool.revert is not None:
            entry.invoked_with = to_json(entry.arguments).decode()
        if tool.retry is not None:
            return invocation.encode(await _again_and_again(entry, invocation, tool.retry, price))
        try:
            value = await invocation.run(entry.prepared, entry.scope)
        finally:
            if entry.spending is not None:
                entry.spending.settle(invoked=True)
        return invocation.encode(value)

    async def _recall(self, entry: Entry, invocation: Invocation) -> str | None:
        """The result of an equal call, made before or under way; None if this call is to be made."""
        cache = self._economy.cache
        entry.key = key = result_key(invocation.tool, entry.arguments, self._context)
        found = cache.get(key)
        if found is None:
            flight = cache.join(key)
            if flight is None:
                cache.take_off(key)
                entry.leads = True
                return None
            # Whoever waits for another call's result needs no slot; that call may be waiting for this very one.
            self._leave_line(entry)
            found = await flight.landed()
        if found is None:
            return None
        entry.cached = True
        return invocation.take(found)

    async def _pay(self, entry: Entry, spending: Spending, invocation: Invocation) -> float:
        price = invocation.price(entry.arguments)
        try:
            await spending.begin(price)
        except ToolBudgetExceededError as error:
            entry.exhausted = is_used_up(error)
            raise
        return price

    def give_back(self, entry: Entry, value: str | None) -> None:
        """Whatever others wait for. To be called once for every call, however it ended."""
        if entry.key is not None and not entry.cached:
            if entry.leads:
                self._economy.cache.land(entry.key, value)
            elif value is not None:
                self._economy.cache.put(entry.key, value)
        if entry.spending is not None:
            entry.spending.end()
        self._leave_line(entry)

    def rest(self, entry: Entry) -> None:
        """A tool that was invoked gives its result later: nothing is kept from others meanwhile, and no clock runs."""
        entry.scope.deadline = math.inf
        if entry.spending is not None:
            entry.spending.end()
        self._leave_line(entry)

    def _leave_line(self, entry: Entry) -> None:
        if entry.place is not None:
            self._budget.leave(entry.place)
            entry.place = None

    def note_applied(self, entry: Entry, record: CallRecord, value: str | None) -> None:
        """Remember a call that took effect, or may have, so that it can be reverted."""
        if entry.invocation is None or not entry.started or record.status not in (CallStatus.OK, CallStatus.IN_DOUBT):
            return
        tool = entry.invocation.tool
        seconds = self._limits.tool_timeout if tool.timeout is None else tool.timeout
        self._economy.ledger.add(
            self._context.execution_id, Applied(record.seq, tool, seconds, entry.invoked_with, value)
        )


async def _again_and_again(entry: Entry, invocation: Invocation, retry: Retry, price: float) -> JsonValue:
    """The result of a call that is paid for, tried again as ``retry`` says. Every further attempt is paid for likewise.

    Where that is impossible, the error of the last attempt stands.
    """
    spending = entry.spending

    async def once() -> JsonValue:
        if spending is not None and entry.tried:
            try:
                await spending.begin(price)
            except ToolBudgetExceededError as error:
                raise _CannotPayError from error
        try:
            # A scope of its own: the deadline of one attempt must not end the next.
            with anyio.CancelScope() as scope:
                return await invocation.run(entry.prepared, scope)
            raise invocation.overran()
        finally:
            if spending is not None:
                spending.settle(invoked=True)

    try:
        return await keep_trying(retry, once, tried=entry.tried)
    except _CannotPayError:
        last = entry.tried[-1].error
        assert last is not None  # noqa: S101 - only what failed is tried again
        raise last from None
