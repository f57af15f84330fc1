"""What the host sees of a worker from outside, whatever the worker says: its resident memory, and whether it moves.

Nobody need run for it: whoever waits for a worker looks at it now and then. Wall time is the driver's own clock, and
processor time the kernel's (see :mod:`harness.runtime.lockdown`).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

__all__ = ["FIRST_PERIOD_S", "LATER_PERIOD_S", "Overrun", "Watch", "can_watch"]

Overrun = Literal["memory", "silence"]
"""Why a worker was ended: it came to hold too much, or it neither computed nor answered."""

FIRST_PERIOD_S = 0.05
"""Seconds between two looks while the host waits for the first answer of an execution."""
LATER_PERIOD_S = 0.2
"""Seconds between two looks from then on, whether the worker computes or waits for the host."""

# Counted in looks, not by a clock: a host that was stopped itself must not take its worker for dead.
_ASLEEP_S = 3.0
# Sleeping or stopped, by a signal or a debugger. One that is swapped out or held back is in another state.
_ASLEEP = frozenset("STt")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


def can_watch() -> bool:
    """Whether this platform shows one process the memory of another of the same user."""
    return Path("/proc/self/stat").exists()


class Watch:
    """Looks at one process."""

    def __init__(self, pid: int, *, resident_bytes: int) -> None:
        self._path = f"/proc/{pid}/stat"
        self._most_pages = resident_bytes // _PAGE_BYTES
        self._asleep_s = 0.0
        self._cpu_ticks = ["", ""]

    def look(self, period: float, *, owes_answer: bool) -> Overrun | None:
        """One look, ``period`` seconds after the last; what is wrong with it, if anything. A process that has gone, or
        cannot be seen, is not judged.

        ``owes_answer`` says that it has been asked something, so that there is nothing it could be waiting for.
        """
        try:
            # One read is one moment. pathlib would cost as much again.
            with open(self._path, "rb") as file:  # noqa: PTH123
                text = file.read().decode("ascii", errors="replace")
        except OSError:
            return None
        # Fields 3, 14 and 15, and 24 of man 5 proc; the name before them may hold anything.
        fields = text.rpartition(")")[2].split()
        state, cpu_ticks, pages = fields[0], fields[11:13], int(fields[21])
        if pages > self._most_pages:
            return "memory"
        asleep = owes_answer and state in _ASLEEP and cpu_ticks == self._cpu_ticks
        self._asleep_s = self._asleep_s + period if asleep else 0.0
        self._cpu_ticks = cpu_ticks
        return "silence" if self._asleep_s > _ASLEEP_S else None
