"""What one execution may spend: calls in all, for each tool, at once and unsettled; calls a minute; money."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from harness.errors import ConcurrencyLimitError, ToolBudgetExceededError, UsageError
from harness.limits import Limits
from harness.model import BudgetReport
from harness.tools.meters import Line, Place, Purse, RateWindow, to_units
from harness.tools.names import suggest
from harness.tools.resource import Resource, check_cents, check_count, line_of, purse_line

__all__ = ["Budget", "CallBudget", "OnBudget", "OnRateLimit", "exceeded", "is_used_up"]

OnBudget = Literal["error", "terminate"]
OnRateLimit = Literal["error", "wait"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What each execution of a harness may spend, besides ``Limits.max_tool_calls`` and its neighbours.

    Raises `UsageError` for values that cannot be.
    """

    calls_per_tool: Mapping[str, int] = field(default_factory=dict)
    """Name of a tool → calls to it that one execution may make."""
    cost_cents: float | None = None
    """Money that the calls of one execution may cost; None for no limit."""
    rate_per_min: int | None = None
    """Calls of one execution that may start within any 60 seconds; None for no limit."""

    def __post_init__(self) -> None:
        if not isinstance(self.calls_per_tool, Mapping):
            raise UsageError(f"calls_per_tool is {self.calls_per_tool!r}; it must be a dict of tool names and counts.")
        for name, count in self.calls_per_tool.items():
            check_count(count, f"calls_per_tool[{name!r}]", least=0)
        if self.cost_cents is not None:
            check_cents(self.cost_cents, "cost_cents")
        if self.rate_per_min is not None:
            check_count(self.rate_per_min, "rate_per_min", least=1)
        object.__setattr__(self, "calls_per_tool", MappingProxyType(dict(self.calls_per_tool)))

    def check_names(self, tools: Collection[str]) -> None:
        """Raises `UsageError` for a tool that is not there: a slip of the pen would leave the real one without a limit."""
        for name in self.calls_per_tool:
            if name not in tools:
                near = suggest(name, tools, count=1)
                hint = f"; did you mean {near[0]!r}?" if near else "."
                raise UsageError(f"calls_per_tool names {name!r}, and there is no such tool{hint}")

    @property
    def unlimited(self) -> bool:
        """Whether it adds nothing to the limits."""
        return not self.calls_per_tool and self.cost_cents is None and self.rate_per_min is None


_UNLIMITED = Budget()


def exceeded(name: str, budget: str, limit: float, used: float, what: str, **more: object) -> ToolBudgetExceededError:
    """The error for a call to ``name`` that a budget does not allow. ``what`` says which and what to do, in words."""
    return ToolBudgetExceededError(
        f"tools.{name} was not called: {what}",
        details={"budget": budget, "limit": limit, "used": used, **more},
    )


def is_used_up(error: ToolBudgetExceededError) -> bool:
    """Whether a budget is used up for good, and not only a rate, which time renews."""
    return "retry_after_s" not in error.details


class CallBudget:
    """The calls of one execution, or of host code that lets several calls share it, from whichever threads.

    Counting and lining up are plain functions, so that calls are served in the order the script made them: the tasks
    that carry them out do not start in a reliable order on every event loop.
    """

    def __init__(self, limits: Limits, budget: Budget = _UNLIMITED) -> None:
        self._limits = limits
        self._plain = budget.unlimited
        self._per_tool = budget.calls_per_tool
        self._used_by: dict[str, int] = {}
        self.line = Line(limits.max_concurrent_tool_calls)
        self.rate = None if budget.rate_per_min is None else RateWindow(budget.rate_per_min)
        self.purse = Purse(None if budget.cost_cents is None else to_units(budget.cost_cents))
        self.used = 0
        """Calls counted so far."""
        self._lock = threading.Lock()

    @property
    def left(self) -> int:
        """Calls that may still be made."""
        return self._limits.max_tool_calls - self.used

    @property
    def waiting(self) -> int:
        """Calls that wait for a slot."""
        return self.line.waiting

    def spend(self, tool: str, pending: int) -> None:
        """Counts one call. ``pending`` is how many are unsettled, this one included.

        Raises `ToolBudgetExceededError` if none is left, in all or for this tool, and `ConcurrencyLimitError` past
        ``max_pending_calls``.
        """
        with self._lock:
            self._count(tool)
        limit = self._limits.max_pending_calls
        if pending > limit:
            raise ConcurrencyLimitError(
                f"tools.{tool} was not called: {pending} calls are unsettled at the same time, and max_pending_calls "
                f"allows {limit}. Await some of them first.",
                details={"limit": limit, "used": pending},
            )

    def _count(self, tool: str) -> None:
        limit = self._limits.max_tool_calls
        if self.used >= limit:
            raise exceeded(
                tool,
                "max_tool_calls",
                limit,
                self.used,
                f"this execution has used all of its {limit} tool calls (max_tool_calls). Make fewer calls, or raise "
                "the limit.",
            )
        if tool in self._per_tool:
            limit, used = self._per_tool[tool], self._used_by.get(tool, 0)
            if used >= limit:
                raise exceeded(
                    tool,
                    "calls_per_tool",
                    limit,
                    used,
                    f"this execution may call it {limit} times (calls_per_tool), and has. Call it less, or raise the "
                    "limit.",
                    tool=tool,
                )
            self._used_by[tool] = used + 1
        self.used += 1

    def line_up(self) -> Place:
        """A place at the end of the line, or a slot at once if one is free."""
        return self.line.line_up()

    def leave(self, place: Place) -> None:
        """Gives up a slot, to whoever has waited longest, or a place in the line."""
        self.line.leave(place)

    def report(self, resources: Iterable[Resource] = ()) -> BudgetReport:
        """How every budget stands now."""
        return BudgetReport.model_construct(
            tool_calls=line_of(self._limits.max_tool_calls, self.used),
            calls_per_tool={
                name: line_of(limit, self._used_by.get(name, 0)) for name, limit in sorted(self._per_tool.items())
            },
            cost_cents=purse_line(self.purse),
            rate_per_min=None if self.rate is None else line_of(self.rate.limit, self.rate.used),
            resources={resource.contract.resource_id: resource.report() for resource in resources},
        )

    def text(self, resources: Sequence[Resource] = ()) -> str:
        """`report` as JSON, for ``context.budget()``; quickly, where there is nothing but the limit of calls."""
        if resources or not self._plain:
            return self.report(resources).model_dump_json(exclude_none=True)
        limit, used = self._limits.max_tool_calls, self.used
        return f'{{"tool_calls":{{"limit":{limit},"used":{used},"remaining":{max(limit - used, 0)}}}}}'
