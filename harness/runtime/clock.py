"""The clocks of one execution: wall time with pauses, the script's own time, and its timers."""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Callable

import anyio

from harness.concurrency import loop_clock

__all__ = ["ExecutionClock", "Timers"]

_SPARE = 100
"""Forgotten timers that may stay in the heap."""


class ExecutionClock:
    """Wall time since the start, without the stretches in which it was paused.

    ``scope.deadline`` follows it: the scope is cancelled once ``wall_time`` seconds have passed unpaused. ``date`` is what
    the script's ``Date`` shows in place of this time, in seconds since the epoch.
    """

    def __init__(
        self,
        wall_time: float,
        scope: anyio.CancelScope,
        *,
        epoch_ms: int | None = None,
        date: Callable[[], float] | None = None,
    ) -> None:
        self._wall_time = wall_time
        self._scope = scope
        self._clock = loop_clock()
        self._started = self._clock()
        self._paused_since: float | None = None
        self._paused = 0.0
        self._date = date
        self._epoch_ms = round((date or time.time)() * 1000) if epoch_ms is None else epoch_ms
        self._last_now = self._last_shown = self._epoch_ms
        self._shift_ms = 0
        scope.deadline = self._started + wall_time

    @property
    def elapsed(self) -> float:
        """Seconds since the start, pauses excluded."""
        until = self._clock() if self._paused_since is None else self._paused_since
        return until - self._started - self._paused

    @property
    def paused_for(self) -> float:
        """Seconds spent paused."""
        now = 0.0 if self._paused_since is None else self._clock() - self._paused_since
        return self._paused + now

    @property
    def paused(self) -> bool:
        """Whether it stands still now."""
        return self._paused_since is not None

    @property
    def epoch_ms(self) -> int:
        """The script's clock when it started: milliseconds since the epoch."""
        return self._epoch_ms

    def pause(self) -> None:
        """Stand still until `resume`."""
        if self._paused_since is None:
            self._paused_since = self._clock()
            self._scope.deadline = math.inf

    def resume(self) -> None:
        """Go on."""
        if self._paused_since is not None:
            self._paused += self._clock() - self._paused_since
            self._paused_since = None
            self._scope.deadline = self._started + self._paused + self._wall_time

    def stop(self) -> None:
        """Nothing is timed any more: what is done after the script does not count against it."""
        self.resume()
        self._scope.deadline = math.inf

    def now_ms(self) -> int:
        """Milliseconds since the epoch, by the time that has really passed since the start. It never goes back."""
        self._last_now = max(self._last_now, self._epoch_ms + self._shift_ms + int(self.elapsed * 1000))
        return self._last_now

    def shown_ms(self, now: int, at_least: int = 0) -> int:
        """What the script's ``Date.now()`` will say at ``now``, which is `now_ms`. It never goes back.

        With a ``date`` of the host's own it moves as that does, and to ``at_least``: a timer has not fired early.
        """
        if self._date is None:
            return now
        self._last_shown = max(self._last_shown, round(self._date() * 1000), at_least)
        return self._last_shown

    def follow(self, shown_ms: int) -> None:
        """Show the time of a record, and go on from there."""
        self._shift_ms = shown_ms - self._epoch_ms - int(self.elapsed * 1000)
        self._last_now = self._last_shown = shown_ms


class Timers:
    """The script's timers by the time at which they are due, on the execution's clock."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int]] = []
        self._set: set[int] = set()

    def __len__(self) -> int:
        return len(self._set)

    def add(self, timer: int, due_ms: int) -> None:
        self._set.add(timer)
        heapq.heappush(self._heap, (due_ms, timer))

    def discard(self, timer: int) -> bool:
        """Forget a timer; False if it is not set."""
        if timer not in self._set:
            return False
        self._set.discard(timer)
        # A script that sets and clears timers over and over must not make the heap grow with them.
        if len(self._heap) > 2 * len(self._set) + _SPARE:
            self._heap = [entry for entry in self._heap if entry[1] in self._set]
            heapq.heapify(self._heap)
        return True

    def next_due(self) -> int | None:
        """When the next one is due; None if none is set."""
        while self._heap and self._heap[0][1] not in self._set:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def take_due(self, now_ms: int) -> list[tuple[int, int]]:
        """Those due by now as (due, id), in order; they are not set any more."""
        due = []
        while (at := self.next_due()) is not None and at <= now_ms:
            _, timer = heapq.heappop(self._heap)
            self._set.discard(timer)
            due.append((at, timer))
        return due
