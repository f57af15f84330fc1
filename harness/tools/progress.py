"""How far the tools of one execution say they have come."""

from __future__ import annotations

import threading
import time
from typing import Any

from harness.context import ProgressGate
from harness.limits import Limits
from harness.model import ProgressEvent
from harness.plain import to_plain
from harness.redaction import Redactor

__all__ = ["ToolProgress"]


class ToolProgress:
    """Keeps the reports of tools that the limits allow.

    They are timed by the host's clock, so another run may keep others: they are no part of what a replay compares.
    Sync tools report from their threads.
    """

    def __init__(self, limits: Limits, redactor: Redactor) -> None:
        self._limits = limits
        self._redactor = redactor
        self._began = time.monotonic()
        self._gates: dict[int, ProgressGate] = {}
        self._lock = threading.Lock()
        self._closed = False
        self._events: list[ProgressEvent] = []
        self.dropped = 0
        """Reports that were not kept."""

    @property
    def events(self) -> tuple[ProgressEvent, ...]:
        """What was kept, in the order it was reported."""
        return tuple(self._events)

    def of(self, call_id: int) -> tuple[ProgressEvent, ...]:
        """What one call's tool reported."""
        return tuple(event for event in self._events if event.call == call_id) if call_id in self._gates else ()

    def restore(self, events: tuple[ProgressEvent, ...]) -> None:
        """Takes in what was kept in an earlier life of the execution."""
        self._events.extend(events)

    def close(self) -> None:
        """Drops what is reported from now on: threads that nobody waits for may go on talking."""
        self._closed = True

    def report(self, call_id: int, message: str, data: Any) -> bool:
        """Takes one report; False if it is dropped. Raises `SerializationError` for data without a JSON form."""
        plain = to_plain(data, path="data")
        with self._lock:
            event = None
            if not self._closed and len(self._events) < self._limits.max_progress_events:
                gate = self._gates.setdefault(call_id, ProgressGate(self._limits, self._redactor))
                event = gate.offer(str(message), plain, (time.monotonic() - self._began) * 1000)
            if event is None:
                self.dropped += 1
                return False
            self._events.append(event.model_copy(update={"call": call_id}))
            return True
