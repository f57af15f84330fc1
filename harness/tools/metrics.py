"""Counters and timings of tools, in bounded memory."""

from __future__ import annotations

import math
import threading

from pydantic import JsonValue

from harness.model import CallRecord, CallStatus
from harness.tools.meters import to_cents, to_units

__all__ = ["Durations", "ToolStatistics"]

_STEPS_PER_OCTAVE = 8
_LEAST_MS = 0.001
_MOST_BUCKETS = 320
_MOST_CLASSES = 100


class Durations:
    """How long something took, as a histogram: each bucket ends 9 % higher than it begins, from 1 µs to 12 days."""

    def __init__(self) -> None:
        self._buckets: dict[int, int] = {}
        self.count = 0
        self.max_ms = 0.0

    def add(self, ms: float) -> None:
        """One more."""
        step = math.ceil(math.log2(max(ms, _LEAST_MS) / _LEAST_MS) * _STEPS_PER_OCTAVE)
        step = min(step, _MOST_BUCKETS)
        self._buckets[step] = self._buckets.get(step, 0) + 1
        self.count += 1
        self.max_ms = max(self.max_ms, ms)

    def percentile(self, percent: float) -> float | None:
        """Milliseconds that ``percent`` of all stayed within, at most 9 % too many; None if there were none."""
        if not self.count:
            return None
        wanted = max(math.ceil(self.count * percent / 100), 1)
        seen = 0
        for step, count in sorted(self._buckets.items()):
            seen += count
            if seen >= wanted:
                return min(_LEAST_MS * 2 ** (step / _STEPS_PER_OCTAVE), self.max_ms)
        return self.max_ms


class ToolStatistics:
    """Counters of one tool since its registry was made."""

    def __init__(self) -> None:
        self.calls = 0
        self.ok = 0
        self.failed: dict[str, int] = {}
        """Class of the error → calls that ended with it; ``other`` past 100 classes."""
        self.duration_ms = 0.0
        """Of the tool itself, all calls together."""
        self.durations = Durations()
        """Of the calls whose tool was invoked."""
        self.retries = 0
        """Attempts after the first of a call."""
        self.cached = 0
        """Calls that another call's result answered."""
        self._cost = 0
        self._lock = threading.Lock()

    @property
    def cost_cents(self) -> float:
        """What all calls were charged."""
        return to_cents(self._cost)

    def count(self, record: CallRecord) -> None:
        """Add a call; a planned one counts for nothing."""
        if record.status is CallStatus.PLANNED:
            return
        with self._lock:
            self.calls += 1
            if record.duration_ms is not None:
                self.duration_ms += record.duration_ms
                self.durations.add(record.duration_ms)
            if record.error is None:
                self.ok += 1
            else:
                kind = record.error.type
                kind = kind if kind in self.failed or len(self.failed) < _MOST_CLASSES else "other"
                self.failed[kind] = self.failed.get(kind, 0) + 1
            self.retries += max(len(record.attempts) - 1, 0)
            self.cached += record.cached
            self._cost += to_units(record.cost_cents) if record.cost_cents else 0

    def report(self) -> dict[str, JsonValue]:
        """The counters as plain data, with percentiles of the duration in milliseconds."""
        with self._lock:
            durations = self.durations
            return {
                "calls": self.calls,
                "ok": self.ok,
                "failed": dict(self.failed),
                "retries": self.retries,
                "cached": self.cached,
                "cost_cents": self.cost_cents,
                "duration_ms": {
                    "sum": self.duration_ms,
                    "p50": durations.percentile(50),
                    "p90": durations.percentile(90),
                    "p99": durations.percentile(99),
                    "max": durations.max_ms if durations.count else None,
                },
            }
