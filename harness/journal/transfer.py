"""A journal as JSON lines: one event a line, for backups, other machines and other programs."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from harness.errors import JournalDamagedError
from harness.journal.events import Event, parse_event
from harness.journal.journal import Journal

__all__ = ["Imported", "export_lines", "import_lines"]


@dataclass
class Imported:
    """What an import took in."""

    streams: int = 0
    """Executions, runs and what belongs to them."""
    events: int = 0
    torn: str | None = None
    """The last line, if it is only the beginning of one: whoever wrote it was interrupted."""
    known: list[str] = field(default_factory=list)
    """Streams that were there already, and were left as they are."""


def export_lines(journal: Journal, runs: Iterable[str] | None = None) -> Iterator[str]:
    """Every event of these runs and of their executions (of all there are, without ids), in order, without line ends."""
    journal.write_out()
    wanted = None if runs is None else set(runs)
    for known in journal.store.streams():
        if wanted is None or known.kind == "contracts" or wanted & {known.stream, known.run}:
            for event in journal.store.read(known.stream):
                yield event.to_json()


def import_lines(journal: Journal, lines: Iterable[str]) -> Imported:
    """Take in what was exported. Every event is checked before any is written; streams that are known are left alone.

    A last line that was cut off is reported and left out. Raises `JournalDamagedError` with the number of the line.
    """
    imported = Imported()
    by_stream: dict[str, list[Event]] = {}
    numbers: dict[str, list[int]] = {}
    pending: tuple[int, str] | None = None
    for number, line in enumerate(lines, 1):
        if pending is not None:
            event = _parsed(*pending)
            by_stream.setdefault(event.stream, []).append(event)
            numbers.setdefault(event.stream, []).append(pending[0])
        pending = (number, line) if line.strip() else None
    if pending is not None:
        number, line = pending
        try:
            event = _parsed(number, line)
        except JournalDamagedError:
            if line.endswith("\n"):
                raise
            imported.torn = line
        else:
            by_stream.setdefault(event.stream, []).append(event)
            numbers.setdefault(event.stream, []).append(number)
    known = {stream.stream for stream in journal.store.streams()}
    for stream, events in by_stream.items():
        _check(journal, events, numbers[stream])
    for stream, events in by_stream.items():
        if stream in known:
            imported.known.append(stream)
            continue
        journal.store.append(events)
        imported.streams += 1
        imported.events += len(events)
    return imported


def _check(journal: Journal, events: list[Event], numbers: list[int]) -> None:
    """Verify a stream; the error says in which line its first bad event stands."""
    try:
        journal.verify(events)
    except JournalDamagedError as error:
        number = numbers[bisect_left(range(len(events)), True, key=lambda index: _breaks(journal, events[: index + 1]))]
        message = f"Line {number}: {error.message}"
        raise JournalDamagedError(message, details={**error.details, "line": number}) from None


def _breaks(journal: Journal, events: list[Event]) -> bool:
    try:
        journal.verify(events)
    except JournalDamagedError:
        return True
    return False


def _parsed(number: int, line: str) -> Event:
    try:
        return parse_event(line)
    except JournalDamagedError as error:
        raise JournalDamagedError(f"Line {number}: {error.message}", details={"line": number}) from None
