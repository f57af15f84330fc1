"""``harness journal verify``: every event on record, checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.cli.options import Keys
from harness.cli.output import counted
from harness.errors import JournalDamagedError, JournalKeyError
from harness.journal.events import Event
from harness.journal.journal import Journal
from harness.journal.store import StoredStream, names_of
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
    journal.store.find("")  # raises if what leads from names to streams is gone
    known = {stream.stream: stream for stream in journal.store.streams()}
    for stream in known.values():
        found.streams += 1
        try:
            _check(journal, stream, known, found)
        except JournalDamagedError as error:
            found.damaged[stream.stream] = error.message
    return found


def _check(journal: Journal, stream: StoredStream, known: Mapping[str, StoredStream], found: Verified) -> None:
    events = journal.store.read(stream.stream)
    found.events += len(events)
    found.signed += sum(event.mac is not None for event in events)
    found.plain += sum(bool(event.values) for event in events)
    found.sealed += sum(event.sealed is not None for event in events)
    journal.verify(events)
    for problem in (*_missing(stream, events, known), *_unfindable(journal, events)):
        raise JournalDamagedError(f"The record of {stream.stream} {problem}.")
    try:
        journal.opened(events)
    except JournalKeyError:
        found.unopened += 1
    if stream.status in ("running", "suspended"):
        found.open_ends.append(stream.stream)


def _missing(stream: StoredStream, events: Sequence[Event], known: Mapping[str, StoredStream]) -> Iterator[str]:
    """What a record belongs to, or needs, and is not there."""
    needed = [(stream.run, "belongs to")] if stream.kind == "execution" else []
    for event in events:
        if event.kind == "run_started":
            needed.append((f"contracts_{event.data.get('contracts')}", "began with"))
        elif event.kind == "execution_begun":
            needed.append((str(event.data.get("execution_id")), "has begun"))
    return (f"{verb} {name}, and nothing is on record of that" for name, verb in needed if name not in known)


def _unfindable(journal: Journal, events: Sequence[Event]) -> Iterator[str]:
    """Idempotency keys and tokens by which it is not found any more."""
    for event in events:
        for name in names_of(event):
            if journal.store.find(name) != event.stream:
                yield f"cannot be found by the {name.partition(':')[0]} in event {event.seq}"


def verified_lines(found: Verified, keys: Keys) -> Iterator[str]:
    """The same for people."""
    yield f"{counted(found.events, 'event')} of {counted(found.streams, 'stream')}."
    for stream, message in found.damaged.items():
        yield f"damaged: {visible(stream)}: {visible(message)}"
    if not found.damaged:
        yield "Every event is as it was written, and none is missing before the last of its stream."
    if keys.signing is not None:
        yield "Signatures were checked." if not found.damaged else "Signatures were checked; see above."
    elif found.signed:
        yield f"Signed: {counted(found.signed, 'event')}; give --signing-key to check them."
    else:
        yield "No event is signed: somebody who can write to the file could have made them all."
    if found.plain:
        yield f"In plain text: the values of {counted(found.plain, 'event')}."
    if found.sealed:
        yield f"Encrypted: the values of {counted(found.sealed, 'event')}{_opened(found, keys)}"
    if found.open_ends:
        yield f"Without an end yet: {', '.join(map(visible, found.open_ends))}"


def _opened(found: Verified, keys: Keys) -> str:
    if not found.unopened:
        return ", and they open."
    if keys.journal is None:
        return "; give --journal-key to check that they open."
    return f"; those of {counted(found.unopened, 'stream')} do not open with this key: it is another one."
