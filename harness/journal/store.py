"""Where events are kept: the protocol, and the store that forgets everything with its process."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from harness.errors import JournalConflictError
from harness.journal.events import Event

__all__ = ["JournalStore", "MemoryStore", "StoredStream", "conflict", "names_of", "stored"]


@dataclass(frozen=True, slots=True)
class StoredStream:
    """The events of one execution, run or the like, as a list of them shows it."""

    stream: str
    kind: str
    """``run``, ``execution``, ``contracts`` or ``settlement``."""
    run: str
    """Id of the outcome that it belongs to; empty if it belongs to none."""
    place: int
    """Of an execution among those of its run, from 0."""
    started_at: float
    """Seconds since the epoch."""
    status: str
    """How its last event leaves it: ``running`` until there is an end."""
    expires_at: float | None
    """Of a suspended run, in seconds since the epoch."""
    events: int


class JournalStore(Protocol):
    """Appends events and reads them back. Called from any thread, one call at a time for each stream."""

    blocking: bool
    """Whether a call may take long enough (a disk) to be made in a thread."""
    durable: bool
    """Whether what was appended outlives the process."""

    def append(self, events: Sequence[Event]) -> None:
        """Add events, all or none, and what they are found by. When it returns they are as durable as they will be.

        Raises `JournalConflictError` if another writer has added to a stream meanwhile or has taken a name, and
        `JournalWriteError` if the store takes nothing any more.
        """
        ...

    def read(self, stream: str) -> list[Event]:
        """Every event of a stream, in order; empty for one that is not known."""
        ...

    def streams(self, kind: str | None = None) -> list[StoredStream]:
        """Every stream (of one kind), oldest first."""
        ...

    def find(self, name: str) -> str | None:
        """The stream of which an event has this name (see `names_of`)."""
        ...

    def delete(self, stream: str) -> None:
        """Forget a stream. Nothing happens if it is not known."""
        ...

    def size(self) -> int:
        """Bytes that all events take up."""
        ...

    def close(self) -> None:
        """Give back what it holds. Idempotent."""
        ...


_KINDS = {"run_started": "run", "started": "execution", "contracts": "contracts", "settlement": "settlement"}
_STATUSES = {
    "suspended": "suspended",
    "resumed": "running",
    "run_suspended": "suspended",
    "run_resumed": "running",
}


def stored(event: Event, before: StoredStream | None) -> StoredStream:
    """How a stream stands after an event."""
    data = event.data
    if before is None:
        kind, place = _KINDS.get(event.kind, "execution"), data.get("index", 0)
        return StoredStream(
            stream=event.stream,
            kind=kind,
            run=event.stream if kind == "run" else str(data.get("outcome_id", "")),
            place=place if isinstance(place, int) else 0,
            started_at=event.at,
            status="running" if kind in ("run", "execution") else "finished",
            expires_at=None,
            events=1,
        )
    status = _STATUSES.get(event.kind, before.status)
    if event.kind in ("finished", "run_finished"):
        status = str(data.get("status", "finished"))
    expires = data.get("expires_at") if event.kind == "run_suspended" else None
    return replace(
        before,
        status=status,
        expires_at=expires
        if isinstance(expires, (int, float))
        else None
        if status != "suspended"
        else before.expires_at,
        events=event.seq,
    )


def names_of(event: Event) -> Iterator[str]:
    """What an event can be found by besides its stream, each given once: an idempotency key, a token."""
    for field in ("key", "token"):
        value = event.data.get(field)
        if event.kind in ("run_started", "run_suspended") and isinstance(value, str):
            yield f"{field}:{value}"


def conflict(event: Event) -> JournalConflictError:
    """The error for an event whose number or name is taken."""
    return JournalConflictError(
        f"Another writer has added to the record of {event.stream}.", details={"stream": event.stream, "seq": event.seq}
    )


class MemoryStore:
    """Keeps events in this process."""

    blocking = False
    durable = False

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._events: dict[str, list[Event]] = {}
        self._streams: dict[str, StoredStream] = {}
        self._names: dict[str, str] = {}
        self._size = 0

    def append(self, events: Sequence[Event]) -> None:
        """See `JournalStore`."""
        with self._lock:
            lengths = {event.stream: len(self._events.get(event.stream, ())) for event in events}
            for event in events:
                if event.seq != lengths[event.stream] + 1 or any(name in self._names for name in names_of(event)):
                    raise conflict(event)
                lengths[event.stream] = event.seq
            for event in events:
                self._events.setdefault(event.stream, []).append(event)
                self._streams[event.stream] = stored(event, self._streams.get(event.stream))
                self._names.update(dict.fromkeys(names_of(event), event.stream))
                self._size += len(event.to_json())

    def read(self, stream: str) -> list[Event]:
        """See `JournalStore`."""
        with self._lock:
            return list(self._events.get(stream, ()))

    def streams(self, kind: str | None = None) -> list[StoredStream]:
        """See `JournalStore`."""
        with self._lock:
            return [known for known in self._streams.values() if kind in (None, known.kind)]

    def find(self, name: str) -> str | None:
        """See `JournalStore`."""
        with self._lock:
            return self._names.get(name)

    def delete(self, stream: str) -> None:
        """See `JournalStore`."""
        with self._lock:
            self._streams.pop(stream, None)
            for event in self._events.pop(stream, ()):
                self._size -= len(event.to_json())
                for name in names_of(event):
                    self._names.pop(name, None)

    def size(self) -> int:
        """See `JournalStore`."""
        return self._size

    def close(self) -> None:
        """See `JournalStore`."""
