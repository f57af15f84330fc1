"""What one execution may spend: how many calls in all, how many at once, how many unsettled."""

from __future__ import annotations

from collections import deque

import anyio

from harness.errors import ConcurrencyLimitError, ToolBudgetExceededError
from harness.limits import Limits

__all__ = ["CallBudget", "Place"]


class Place:
    """A call's place in the line for a slot."""

    __slots__ = ("granted", "turn")

    def __init__(self) -> None:
        self.granted = False
        self.turn: anyio.Event | None = None

    async def reached(self) -> None:
        """Waits until the call may run."""
        if not self.granted and self.turn is not None:
            await self.turn.wait()


class CallBudget:
    """The calls of one execution.

    Counting and lining up are plain functions, so that calls are served in the order the script made them: the tasks
    that carry them out do not start in a reliable order on every event loop.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._free = limits.max_concurrent_tool_calls
        self._line: deque[Place] = deque()
        self.used = 0
        """Calls counted so far."""

    @property
    def left(self) -> int:
        """Calls that may still be made."""
        return self._limits.max_tool_calls - self.used

    @property
    def waiting(self) -> int:
        """Calls that wait for a slot."""
        return len(self._line)

    def spend(self, tool: str, pending: int) -> None:
        """Counts one call. ``pending`` is how many are unsettled, this one included.

        Raises `ToolBudgetExceededError` if none is left, and `ConcurrencyLimitError` past ``max_pending_calls``.
        """
        limit = self._limits.max_tool_calls
        if self.used >= limit:
            raise ToolBudgetExceededError(
                f"tools.{tool} was not called: this execution has used all of its {limit} tool calls "
                "(max_tool_calls). Make fewer calls, or raise the limit.",
                details={"budget": "max_tool_calls", "limit": limit, "used": self.used},
            )
        self.used += 1
        limit = self._limits.max_pending_calls
        if pending > limit:
            raise ConcurrencyLimitError(
                f"tools.{tool} was not called: {pending} calls are unsettled at the same time, and max_pending_calls "
                f"allows {limit}. Await some of them first.",
                details={"limit": limit, "used": pending},
            )

    def line_up(self) -> Place:
        """A place at the end of the line, or a slot at once if one is free."""
        place = Place()
        if self._free:
            self._free -= 1
            place.granted = True
        else:
            place.turn = anyio.Event()
            self._line.append(place)
        return place

    def leave(self, place: Place) -> None:
        """Gives up a slot, to whoever has waited longest, or a place in the line."""
        if not place.granted:
            self._line.remove(place)
        elif self._line:
            following = self._line.popleft()
            following.granted = True
            if following.turn is not None:
                following.turn.set()
        else:
            self._free += 1
