"""``harness journal verify``: every event on record, checked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from harness.cli.options import Keys
from harness.errors import JournalDamagedError, JournalKeyError
from harness.journal.journal import Journal
from harness.journal.store import StoredStream
from harness.redaction import visible

__all__ = ["Verified", "verified", "verified_lines"]


@dataclass
class Verified:
    """What was found."""

    streams: int = 0
    events: int = 0
    signed: int = 0
    """Events with a signature, checked or not."""
    plain: int = 0
    """Events whose values anybody can read."""
    sealed: int = 0
    unopened: int = 0
    """Streams whose values could not be looked at: no key was given, or another one."""
    open_ends: list[str] = field(default_factory=list)
    """Streams without an end: if the last events of one of them were cut off, nothing shows it."""
    damaged: dict[str, str] = field(default_factory=dict)
    """What is wrong, by stream."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return dict(vars(self))


def verified(journal: Journal) -> Verified:
    """Check all that a journal holds. Raises `JournalDamagedError` if not even its list of streams can be read."""
    found = Verified()
    for known in journal.store.streams():
        found.streams += 1
        try:
            _check(journal, known, found)
        except JournalDamagedError as error:
            found.damaged[known.stream] = error.message
    return found


def _check(journal: Journal, known: StoredStream, found: Verified) -> None:
    events = journal.store.read(known.stream)
    found.events += len(events)
    found.signed += sum(event.mac is not None for event in events)
    found.plain += sum(event.values is not None for event in events)
    found.sealed += sum(event.sealed is not None for event in events)
    journal.verify(events)
    if len(events) != known.events:
        raise JournalDamagedError(
            f"{known.stream} has {len(events)} events, but the list of streams says {known.events}."
        )
    try:
        journal.opened(events)
    except JournalKeyError:
        found.unopened += 1
    if known.status in ("running", "suspended"):
        found.open_ends.append(known.stream)


def verified_lines(found: Verified, keys: Keys) -> Iterator[str]:
    """The same for people."""
    yield f"{found.events:,} events of {found.streams:,} streams."
    for stream, message in found.damaged.items():
        yield f"damaged: {visible(stream)}: {visible(message)}"
    if not found.damaged:
        yield "Every event is as it was written, and none is missing before the last of its stream."
    if keys.signing is not None:
        yield "Signatures were checked." if not found.damaged else "Signatures were checked; see above."
    elif found.signed:
        yield f"{found.signed:,} events are signed; give --signing-key to check it."
    else:
        yield "No event is signed: somebody who can write to the file could have made them all."
    if found.plain:
        yield f"{found.plain:,} events hold real values in plain text."
    if found.sealed:
        yield f"{found.sealed:,} events hold encrypted values" + (
            "; give --journal-key to check that they open." if found.unopened else ", and they open."
        )
    if found.open_ends:
        yield f"{len(found.open_ends):,} streams have no end yet: {', '.join(map(visible, found.open_ends))}"
