"""How the calls of one execution stand: those under way, and those that have ended."""

from __future__ import annotations

from harness.model import CallRecord
from harness.redaction import Redactor
from harness.tools.entry import Entry

__all__ = ["MAX_REFUSED_RECORDS", "CallBook"]

MAX_REFUSED_RECORDS = 1_000
"""Calls that were refused before they counted (unknown tool, bad arguments, no budget) and are still recorded one by
one. A script can make millions of these; what is past it is counted in `CallBook.unrecorded`."""


class CallBook:
    """Keeps a call open until it has ended, and its record from then on."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._refused = 0
        self.open: dict[int, Entry] = {}
        """By the id of the call."""
        self.ended: dict[int, CallRecord] = {}
        """By the id of the call."""
        self.unrecorded = 0
        """Calls that were refused and are not in `ended`, since there are too many of them."""

    def note(self, entry: Entry, record: CallRecord) -> None:
        """A call has ended."""
        self.open.pop(entry.call.id, None)
        self._refused += not entry.counted
        if entry.counted or self._refused <= MAX_REFUSED_RECORDS:
            self.ended[entry.call.id] = record
        else:
            self.unrecorded += 1

    def as_if_dropped(self, entry: Entry) -> CallRecord:
        """How a call under way would stand if it were dropped now."""
        return entry.record(entry.dropped_status(), entry.dropped_error(), self._redactor)

    def records(self, *, ended_only: bool) -> tuple[CallRecord, ...]:
        """How every call stands, by ``seq``. One that is under way is shown as it would be if it were dropped now."""
        under_way = {} if ended_only else {call_id: self.as_if_dropped(entry) for call_id, entry in self.open.items()}
        return tuple(record for _, record in sorted({**under_way, **self.ended}.items()))
