"""What several tools draw on together: a service, an account, a database. Its contract, and how much of it is used."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass

from harness.errors import UsageError
from harness.model import BudgetLine, ResourceReport
from harness.tools.meters import Line, Purse, RateWindow, to_cents, to_units

__all__ = [
    "MAX_CENTS",
    "Resource",
    "ResourceContract",
    "Resources",
    "check_cents",
    "check_count",
    "line_of",
    "purse_line",
]

MAX_CENTS = 1_000_000_000
"""The largest sum that a budget or a price can be."""
_MAX_COUNT = 1_000_000


def check_cents(value: object, what: str) -> None:
    """Raises `UsageError` unless ``value`` is a sum of money."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= MAX_CENTS:
        raise UsageError(f"{what} is {value!r}; it must be a number of cents from 0 to {MAX_CENTS:,}.")


def check_count(value: object, what: str, *, least: int, most: int = _MAX_COUNT) -> None:
    """Raises `UsageError` unless ``value`` is a whole number in its range."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise UsageError(f"{what} is {value!r}; it must be a whole number from {least} to {most:,}.")


@dataclass(frozen=True, slots=True)
class ResourceContract:
    """What all tools that name one resource may use of it together, over all executions of one `Harness`.

    Raises `UsageError` for values that cannot be.
    """

    resource_id: str
    """Tools that name the same id share one contract; the contracts given for it must be equal."""
    budget_cents: float | None = 1000
    """Money that may be spent over the life of the harness, or until `Harness.refill`; None for no limit."""
    rate_limit_per_min: int | None = 60
    """Calls that may start within any 60 seconds; None for no limit."""
    max_concurrent: int = 5
    """Calls that may run at the same time; more of them wait in line."""
    schema_version: str = "1.0"
    """Of what the tools' results mean: results cached under another version are not used."""

    def __post_init__(self) -> None:
        for name in ("resource_id", "schema_version"):
            text: object = getattr(self, name)
            if not isinstance(text, str) or not 1 <= len(text) <= 128:
                raise UsageError(f"{name} of a resource is {text!r}; it must be text of 1 to 128 characters.")
        name = f"of resource {self.resource_id!r}"
        if self.budget_cents is not None:
            check_cents(self.budget_cents, f"budget_cents {name}")
        if self.rate_limit_per_min is not None:
            check_count(self.rate_limit_per_min, f"rate_limit_per_min {name}", least=1)
        check_count(self.max_concurrent, f"max_concurrent {name}", least=1)


class Resource:
    """One resource in use."""

    def __init__(self, contract: ResourceContract) -> None:
        self.contract = contract
        self.line = Line(contract.max_concurrent)
        self.rate = None if contract.rate_limit_per_min is None else RateWindow(contract.rate_limit_per_min)
        self.purse = Purse(None if contract.budget_cents is None else to_units(contract.budget_cents))

    def report(self) -> ResourceReport:
        """How much of it is used and left now."""
        return ResourceReport(
            cost_cents=purse_line(self.purse),
            rate_per_min=None if self.rate is None else line_of(self.rate.limit, self.rate.used),
            concurrent=line_of(self.line.slots, self.line.busy),
        )


def line_of(limit: float, used: float) -> BudgetLine:
    """A line of a report; what is left is never below zero."""
    return BudgetLine.model_construct(limit=limit, used=used, remaining=max(limit - used, 0))


def purse_line(purse: Purse) -> BudgetLine | None:
    """The line of a purse; None if it has no limit."""
    if purse.limit is None:
        return None
    left = max(purse.limit - purse.used, 0)
    return BudgetLine.model_construct(limit=to_cents(purse.limit), used=to_cents(purse.used), remaining=to_cents(left))


class Resources:
    """The resources of one harness, by id."""

    def __init__(self) -> None:
        self._resources: dict[str, Resource] = {}
        self._lock = threading.Lock()

    def of(self, contract: ResourceContract) -> Resource:
        """The resource that a contract is about. Raises `UsageError` if it is known under other terms."""
        found = self._resources.get(contract.resource_id)
        if found is None:
            with self._lock:
                found = self._resources.setdefault(contract.resource_id, Resource(contract))
        if found.contract is not contract and found.contract != contract:
            raise UsageError(
                f"There are two different contracts for resource {contract.resource_id!r}: {found.contract} and "
                f"{contract}. Give one ResourceContract to all tools that share it."
            )
        return found

    def add_all(self, contracts: Iterable[ResourceContract]) -> None:
        """Make contracts known before they are needed. Raises `UsageError` as `of` does."""
        for contract in contracts:
            self.of(contract)

    def report(self) -> dict[str, ResourceReport]:
        """How much of each is used and left now."""
        return {name: resource.report() for name, resource in sorted(self._resources.items())}

    def refill(self, resource_id: object) -> None:
        """Forget what was spent on one. Raises `UsageError` if there is none of this id."""
        if not isinstance(resource_id, str) or resource_id not in self._resources:
            known = ", ".join(sorted(self._resources)) or "none"
            raise UsageError(f"No tool of this harness names a resource {resource_id!r}; there is: {known}.")
        self._resources[resource_id].purse.refill()
