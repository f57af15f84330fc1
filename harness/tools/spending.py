"""What one call takes before its tool is invoked, and gives back or pays after: a resource's slot, rate, money."""

from __future__ import annotations

from dataclasses import dataclass

import anyio

from harness.errors import HarnessError
from harness.limits import Limits
from harness.tools.budget import CallBudget, OnRateLimit, exceeded
from harness.tools.context import CostReport
from harness.tools.meters import Place, Purse, RateWindow, to_cents, to_units
from harness.tools.resource import Resource

__all__ = ["Spending"]


@dataclass(frozen=True, slots=True)
class _Account:
    """Whose money and rate a call draws on: its execution's, or a resource's."""

    whose: str
    purse: Purse
    rate: RateWindow | None
    money_budget: str
    rate_budget: str
    facts: dict[str, object]


class Spending:
    """Of one call. `begin` before its tool is invoked and `settle` after, both again for every retry; `end` at last,
    whatever happened.
    """

    def __init__(
        self,
        tool: str,
        report: CostReport,
        budget: CallBudget,
        resource: Resource | None,
        *,
        limits: Limits,
        on_rate_limit: OnRateLimit,
    ) -> None:
        self._tool = tool
        self._report = report
        self._longest_wait = limits.wall_time if on_rate_limit == "wait" else 0.0
        self._accounts = [
            _Account("this execution", budget.purse, budget.rate, "cost_cents", "rate_per_min", {}),
        ]
        self._line = None if resource is None else resource.line
        if resource is not None:
            name = resource.contract.resource_id
            whose = f"resource {name!r}"
            self._accounts.append(
                _Account(whose, resource.purse, resource.rate, "budget_cents", "rate_limit_per_min", {"resource": name})
            )
        self._place: Place | None = None
        self._price = 0
        self._held: list[Purse] = []
        self._booked: list[tuple[RateWindow, float]] = []
        self._charged = 0

    @property
    def charged_cents(self) -> float:
        """What was paid so far."""
        return to_cents(self._charged)

    async def begin(self, price_cents: float) -> None:
        """Wait for the resource's slot, then take money and rate for one invocation.

        Raises `ToolBudgetExceededError` if there is no money left, or no rate and no waiting for it. What it took by then
        is given back by `end`.
        """
        if self._line is not None and self._place is None:
            self._place = self._line.line_up()
            await self._place.reached()
        self._report.cents = None
        self._price = to_units(price_cents)
        for account in self._accounts:
            self._hold(account)
        wait = max(self._book(account) for account in self._accounts)
        if wait > 0:
            await anyio.sleep(wait)

    def _hold(self, account: _Account) -> None:
        if not account.purse.hold(self._price):
            raise self._no_money(account)
        self._held.append(account.purse)

    def _book(self, account: _Account) -> float:
        """Seconds until the account's rate allows another call, which is booked."""
        if account.rate is None:
            return 0.0
        at, wait = account.rate.book(most=self._longest_wait)
        if at is None:
            raise self._too_often(account, account.rate, wait)
        self._booked.append((account.rate, at))
        return wait

    def settle(self, *, invoked: bool) -> None:
        """Pay for one invocation: what the tool reported, else its price; nothing if it was not invoked."""
        cost = 0
        if invoked:
            cost = self._price if self._report.cents is None else to_units(self._report.cents)
        else:
            for rate, at in self._booked:
                rate.cancel(at)
        for purse in self._held:
            purse.settle(self._price, cost)
        self._charged += cost if self._held else 0
        self._held.clear()
        self._booked.clear()

    def end(self) -> None:
        """Give the resource's slot back. What was begun and not settled counts as never invoked."""
        self.settle(invoked=False)
        if self._place is not None and self._line is not None:
            self._line.leave(self._place)
            self._place = None

    def _no_money(self, account: _Account) -> HarnessError:
        limit, used, price = to_cents(account.purse.limit or 0), to_cents(account.purse.used), to_cents(self._price)
        return exceeded(
            self._tool,
            account.money_budget,
            limit,
            used,
            f"it costs {price:g} cents, and {account.whose} has {max(limit - used, 0):g} of {limit:g} cents left "
            f"({account.money_budget}). Do without it, or raise the budget.",
            needed=price,
            **account.facts,
        )

    def _too_often(self, account: _Account, rate: RateWindow, wait: float) -> HarnessError:
        # The message says no seconds: two runs of the same thing say the same.
        return exceeded(
            self._tool,
            account.rate_budget,
            rate.limit,
            rate.used,
            f"{account.whose} allows {rate.limit} calls a minute ({account.rate_budget}). Wait for "
            "error.details.retry_after_s seconds, or call it less often.",
            retry_after_s=round(wait, 3),
            **account.facts,
        )
