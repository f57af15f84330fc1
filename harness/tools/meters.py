"""What budgets are made of: a line for slots, a window for rates, a purse for money. Each is safe from any thread."""

from __future__ import annotations

import bisect
import threading
import time
from collections import deque
from collections.abc import Callable

import anyio

from harness.concurrency import loop_entrance

__all__ = ["UNITS_PER_CENT", "Line", "Place", "Purse", "RateWindow", "to_cents", "to_units"]

UNITS_PER_CENT = 1_000_000
"""Money is counted in whole millionths of a cent: sums of floats would drift."""

_WINDOW_S = 60.0


def to_units(cents: float) -> int:
    """Cents as whole units."""
    return round(cents * UNITS_PER_CENT)


def to_cents(units: int) -> float:
    """Whole units as cents: an integer where it is one."""
    whole, rest = divmod(units, UNITS_PER_CENT)
    return units / UNITS_PER_CENT if rest else whole


class Place:
    """A place in a `Line`: granted, or waiting for its turn."""

    __slots__ = ("_turn", "_wake", "granted")

    def __init__(self) -> None:
        self.granted = False
        # Without these it was granted at once.
        self._turn: anyio.Event | None = None
        self._wake: Callable[[], object] | None = None

    def wait_for_turn(self) -> None:
        """Be woken in this event loop, whichever thread gives up the slot."""
        turn = self._turn = anyio.Event()
        home, enter = threading.get_ident(), loop_entrance()
        self._wake = lambda: turn.set() if threading.get_ident() == home else enter(turn.set)

    def grant(self) -> bool:
        """Give it the slot. False if its event loop is over, so that nobody waits there any more."""
        if self._wake is not None:
            try:
                self._wake()
            except RuntimeError:
                return False
        self.granted = True
        return True

    async def reached(self) -> None:
        """Wait until it is granted."""
        if self._turn is not None:
            await self._turn.wait()


class Line:
    """A number of slots, and those who wait for one, served first come, first served."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._free = slots
        self._waiting: deque[Place] = deque()
        self._lock = threading.Lock()

    @property
    def busy(self) -> int:
        """Slots in use."""
        return self.slots - self._free

    @property
    def waiting(self) -> int:
        """Those who wait for a slot."""
        return len(self._waiting)

    def line_up(self) -> Place:
        """A slot at once if one is free, else a place at the end of the line. Belongs into an event loop."""
        place = Place()
        with self._lock:
            if self._free:
                self._free -= 1
                place.granted = True
            else:
                place.wait_for_turn()
                self._waiting.append(place)
        return place

    def leave(self, place: Place) -> None:
        """Give up a slot, to whoever has waited longest, or a place in the line. To be called once for each place."""
        with self._lock:
            if not place.granted:
                self._waiting.remove(place)
                return
            while self._waiting:
                if self._waiting.popleft().grant():
                    return
            self._free += 1


class RateWindow:
    """At most ``limit`` starts (one or more) within any 60 seconds.

    A start that has to wait is booked ahead, so that those who wait are served in order and never more than the limit
    wakes up at once.
    """

    def __init__(self, limit: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = limit
        self._clock = clock
        self._starts: list[float] = []  # ascending, some of them yet to come
        self._lock = threading.Lock()

    @property
    def used(self) -> int:
        """Starts within the last 60 seconds, those that are booked included."""
        with self._lock:
            self._forget(self._clock())
            return len(self._starts)

    def book(self, *, most: float = 0.0) -> tuple[float | None, float]:
        """The time of a new start, and the seconds until it comes. The time is None if they are more than ``most``."""
        with self._lock:
            now = self._clock()
            self._forget(now)
            starts = self._starts
            at = now
            if len(starts) >= self.limit:
                at = max(now, starts[-self.limit] + _WINDOW_S, starts[-1])
            wait = at - now
            if wait > most:
                return None, wait
            bisect.insort(starts, at)
            return at, wait

    def cancel(self, at: float) -> None:
        """Take back a booking that was not used."""
        with self._lock:
            if at in self._starts:
                self._starts.remove(at)

    def _forget(self, now: float) -> None:
        del self._starts[: bisect.bisect_right(self._starts, now - _WINDOW_S)]


class Purse:
    """A sum of money of which parts are held back for what is under way. In units (see `to_units`)."""

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        """None if there is none: then it only counts."""
        self.spent = 0
        self.held = 0
        self._lock = threading.Lock()

    @property
    def used(self) -> int:
        """Spent or held back."""
        return self.spent + self.held

    def hold(self, units: int) -> bool:
        """Hold ``units`` back. False if that is more than is left, or if more was spent than there was."""
        with self._lock:
            if self.limit is not None and self.spent + self.held + units > self.limit:
                return False
            self.held += units
            return True

    def settle(self, held: int, spent: int) -> None:
        """Turn what was held back into what it really cost."""
        with self._lock:
            self.held -= held
            self.spent += spent

    def refill(self) -> None:
        """Forget what was spent."""
        with self._lock:
            self.spent = 0
