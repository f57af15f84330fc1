"""A clock that stands still."""

from __future__ import annotations

from datetime import UTC, datetime

from harness.errors import UsageError

__all__ = ["FrozenClock"]


class FrozenClock:
    """For ``Harness(clock=…)``: the time is what it was set to, until it is moved.

    ``FrozenClock("2026-01-01T09:00:00Z")``; also a ``datetime`` with a time zone, or seconds since the epoch. A script's
    ``Date`` shows that time, and after a timer the time at which it was due, however long anything really took. Timers
    and limits are measured by real time all the same.

    Raises `UsageError` for what is no moment after 1970.
    """

    def __init__(self, at: str | datetime | float = "2026-01-01T00:00:00Z") -> None:
        self._now = _seconds(at)

    def __call__(self) -> float:
        """Seconds since the epoch."""
        return self._now

    def __repr__(self) -> str:
        return f"FrozenClock({self.now.isoformat(timespec='milliseconds').replace('+00:00', 'Z')!r})"

    @property
    def now(self) -> datetime:
        """The time it shows, in UTC."""
        return datetime.fromtimestamp(self._now, UTC)

    def advance(self, seconds: float) -> None:
        """Move it forward. Raises `UsageError` for a step back: an execution's clock never goes back."""
        if not seconds >= 0:
            raise UsageError(f"A FrozenClock moves forward only; advance({seconds!r}) is a step back.")
        self._now = _seconds(self._now + seconds)


def _seconds(at: object) -> float:
    if isinstance(at, str):
        try:
            at = datetime.fromisoformat(at)
        except ValueError:
            raise UsageError(f"{at!r} is no time; write one as in 2026-01-01T09:00:00Z.") from None
    if isinstance(at, datetime):
        if at.tzinfo is None:
            raise UsageError(
                f"{at.isoformat()} has no time zone; end it with Z for UTC, or give the datetime a tzinfo."
            )
        at = at.timestamp()
    # The last second that a datetime can show.
    if isinstance(at, bool) or not isinstance(at, (int, float)) or not 0 <= at < 253_402_300_800:
        raise UsageError(f"A FrozenClock shows a time from 1970 to 9999, not {at!r}.")
    return float(at)
