"""A journal as the pipeline sees it: executions are written event by event, and read back checked."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

import anyio
from pydantic import JsonValue
from pydantic_core import to_json

from harness.errors import JournalDamagedError, JournalFullError, JournalKeyError, UsageError
from harness.journal.events import Event, chained, verify_chain
from harness.journal.payloads import PAYLOADS, Payload
from harness.journal.sqlite import SqliteStore
from harness.journal.store import JournalStore, MemoryStore, StoredStream
from harness.journal.values import EncryptedValues, NoValues, PlainValues, ValuePolicy, new_key
from harness.limits import MIB
from harness.threads import Threads

__all__ = ["EventLog", "Journal", "Recorded"]

T = TypeVar("T")
_LEAST_KEY = 16
_THREADS = Threads()
"""Of all journals: a store may wait for a disk, and tools that keep their threads busy must not keep it from writing."""


@dataclass(frozen=True)
class Recorded:
    """One event, opened: its payload is None where the values were left out."""

    event: Event
    payload: Payload | None


class Journal:
    """Executions on record.

    ``store`` is a `JournalStore`, or the path of an SQLite file; without one everything is forgotten with the process.
    ``values`` says what becomes of arguments, results, scripts and logs: ``"plain"`` keeps them as they are, readable by
    whoever can read the store, ``"encrypted"`` needs ``key`` (see `new_key`), ``"omitted"`` keeps names and states only,
    so that nothing can be replayed. With ``signing_key`` every event is signed, and one that is not is refused.

    ``max_value_bytes`` bounds one event and ``max_bytes`` the store: past them nothing is taken any more. Of the runs that have
    ended in this process, the newest ``keep_runs``, and no more than about ``keep_bytes`` of them, are kept; by default
    all. Raises `UsageError`.
    """

    def __init__(
        self,
        store: JournalStore | str | Path | None = None,
        *,
        values: Literal["plain", "encrypted", "omitted"] = "plain",
        key: str | None = None,
        signing_key: bytes | str | None = None,
        max_value_bytes: int = 16 * MIB,
        max_bytes: int = 4096 * MIB,
        keep_runs: int | None = None,
        keep_bytes: int | None = None,
    ) -> None:
        self._policy = _policy(values, key)
        self._signing_key = _signing_key(signing_key)
        self._max_value_bytes = max_value_bytes
        self._max_bytes = max_bytes
        self._keep_runs = keep_runs
        self._keep_bytes = keep_bytes
        self._ended: deque[tuple[str, int]] = deque()
        self._unwritten: dict[str, EventLog] = {}
        self.store: JournalStore = _store(store)

    @staticmethod
    def new_key() -> str:
        """A fresh key for ``values="encrypted"``; good for signing, too."""
        return new_key()

    @property
    def values(self) -> str:
        """``plain``, ``encrypted`` or ``omitted``."""
        return self._policy.name

    @property
    def durable(self) -> bool:
        """Whether what is on record outlives this process."""
        return self.store.durable

    def begin(self, stream: str, *, run: str = "", patient: bool = False) -> EventLog:
        """A log for a stream that has no event yet, and belongs to a run. A ``patient`` one may wait, in a store that
        forgets everything with this process, until somebody reads: nothing is safer there for being written early.
        """
        return EventLog(self, stream, None, run=run, patient=patient and not self.durable)

    def go_on(self, last: Event, *, run: str = "", patient: bool = False) -> EventLog:
        """A log that continues behind an event that was read."""
        return EventLog(self, last.stream, last, run=run, patient=patient and not self.durable)

    def event(self, stream: str, previous: Event | None, payload: Payload) -> Event:
        """The event that follows ``previous``. Raises `JournalFullError` for values that are too large.

        Raises `JournalKeyError` for one without a signature that would follow one with a signature.
        """
        self.check_signable(previous)
        public, private = payload.split()
        seq = 1 if previous is None else previous.seq + 1
        values, sealed = self._policy.close(private, _bound_to(stream, seq, payload.kind)) if private else ({}, None)
        event = chained(
            previous,
            stream=stream,
            kind=payload.kind,
            at=time.time(),
            data=public,
            values=values,
            sealed=sealed,
            signing_key=self._signing_key,
        )
        size = len(event.to_json())
        if size > self._max_value_bytes:
            raise JournalFullError(
                f"An event of {size:,} bytes is larger than the journal keeps (max_value_bytes={self._max_value_bytes:,}).",
                details={"limit": self._max_value_bytes, "used": size},
            )
        return event

    def check_signable(self, event: Event | None) -> None:
        """Raises `JournalKeyError` if an event is signed and what is said next could not be: nobody with the key would
        take it, or anything after it.
        """
        if event is not None and event.mac is not None and self._signing_key is None:
            raise JournalKeyError(
                f"The record of {event.stream} is signed, and goes on only with its signing key; give the key "
                "(Harness(signing_key=…), --signing-key).",
                details={"stream": event.stream},
            )

    async def append(self, events: Sequence[Event]) -> None:
        """Add events; durable when it returns, whoever cancels meanwhile. Raises `JournalError`."""
        with anyio.CancelScope(shield=True):
            await _call(self.store, lambda: self._append(events))

    def _append(self, events: Sequence[Event]) -> None:
        size = self.store.size()
        if size > self._max_bytes:
            raise JournalFullError(
                f"The journal holds {size:,} bytes, more than it may (max_bytes={self._max_bytes:,}). Delete executions "
                "that are no longer needed, or raise the limit.",
                details={"limit": self._max_bytes, "used": size},
            )
        self.store.append(events)

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def read(self, stream: str) -> list[Recorded]:
        """Every event of a stream, checked and opened; empty for one that is not known.

        Raises `JournalDamagedError` and `JournalKeyError`.
        """
        return self.opened(await self.events(stream))

    async def events(self, stream: str) -> list[Event]:
        """Every event of a stream as it was written. Raises `JournalDamagedError` for those of another one."""
        self.write_out(stream)
        events = await _call(self.store, lambda: self.store.read(stream))
        for seq, event in enumerate(events, 1):
            if event.stream != stream:
                raise JournalDamagedError(
                    f"Event {seq} of {stream} cannot be used: one of {event.stream} stands in its place.",
                    details={"stream": stream, "seq": seq},
                )
        return events

    async def streams(self, kind: str | None = None) -> list[StoredStream]:
        """Every stream (of one kind) on record, oldest first."""
        self.write_out()
        return await _call(self.store, lambda: self.store.streams(kind))

    async def find(self, name: str) -> str | None:
        """The stream of which an event has this name (see `harness.journal.store.names_of`)."""
        self.write_out()
        return await _call(self.store, lambda: self.store.find(name))

    def verify(self, events: Sequence[Event]) -> None:
        """Check the chain of one stream, and its signatures if there is a key; values stay closed.

        Raises `JournalDamagedError`.
        """
        verify_chain(events, signing_key=self._signing_key)

    def opened(self, events: Sequence[Event]) -> list[Recorded]:
        """Events of one stream, checked and opened. Raises `JournalDamagedError` and `JournalKeyError`."""
        self.verify(events)
        return [Recorded(event, self._payload(event)) for event in events]

    def _payload(self, event: Event) -> Payload | None:
        kind = PAYLOADS.get(event.kind)
        if kind is None:
            raise _damaged(event, f"it is of the kind {event.kind!r}, which this library does not know")
        values = self._policy.open(event.values, event.sealed, _bound_to(event.stream, event.seq, event.kind))
        if values is None:
            return None
        try:
            return kind.model_validate_json(_joined(event, values))
        except ValueError:
            raise _damaged(event, "its content is not what an event of its kind holds") from None

    # ── a store in memory ────────────────────────────────────────────────────────────────────────────────────────

    def defer(self, log: EventLog) -> None:
        """Take note of a log whose events are written once somebody reads."""
        self._unwritten[log.stream] = log

    def write_out(self, stream: str | None = None) -> None:
        """Write what was put off, of one stream or of all."""
        for name in list(self._unwritten) if stream is None else [stream]:
            log = self._unwritten.pop(name, None)
            if log is not None:
                log.write_out()

    @property
    def forgetful(self) -> bool:
        """Whether it does not keep everything anyway."""
        return self._keep_runs is not None

    async def forget(self, some_id: str) -> None:
        """Delete a run and its executions, given the id of any of them."""
        known = await _call(self.store, self.store.streams)
        runs = {each.stream: each.run or each.stream for each in known}
        runs.update((log.stream, log.run or log.stream) for log in self._unwritten.values())
        run = runs.get(some_id, some_id)
        settled = tuple(f"settlement_dfr_{stream}_" for stream, of in runs.items() if of == run)
        for stream, of in runs.items():
            if of == run or stream.startswith(settled):
                self._unwritten.pop(stream, None)
                await _call(self.store, partial(self.store.delete, stream))

    async def retire(self, run: str, weight: int) -> None:
        """A run of about ``weight`` bytes has ended. The oldest of these are forgotten, if not all are kept."""
        if self._keep_runs is None and self._keep_bytes is None:
            return
        self._ended.append((run, weight))
        while self._too_many():
            await self.forget(self._ended.popleft()[0])

    def _too_many(self) -> bool:
        runs, size = len(self._ended), sum(weight for _, weight in self._ended)
        most = runs if self._keep_runs is None else self._keep_runs
        return runs > most or (self._keep_bytes is not None and size > self._keep_bytes and runs > 1)

    def close(self) -> None:
        """Close the store. Idempotent."""
        self.store.close()


class EventLog:
    """Writes the events of one stream, for as many tasks as have something to say. One writer for each stream."""

    def __init__(
        self, journal: Journal, stream: str, last: Event | None, *, run: str = "", patient: bool = False
    ) -> None:
        self._journal = journal
        self.run = run
        self._patient = patient
        self.stream = stream
        self._last = last
        self._waiting: list[Payload] = []
        self.weight = 0
        """Bytes that went in, about."""
        self._turn = anyio.Lock()
        self._written = 0
        self._asked = 0
        self._failure: Exception | None = None

    def note(self, payload: Payload) -> None:
        """An event that goes to the store together with the next one that is written."""
        self._waiting.append(payload)
        self.weight += payload.weight
        self._asked += 1

    async def write(self, *payloads: Payload) -> None:
        """Append events; when this returns they are durable. Raises `JournalError`, and once it has, does so for ever:
        what comes after an event that is missing could not be relied on.

        What several tasks have to say at the same time goes to the store together.
        """
        self._waiting.extend(payloads)
        self.weight += sum(payload.weight for payload in payloads)
        self._asked += len(payloads)
        mine = self._asked
        if self._patient and self._failure is None:
            self._journal.defer(self)
            return
        with anyio.CancelScope(shield=True):
            async with self._turn:
                if self._written < mine and self._failure is None:
                    await self._flush()
        if self._failure is not None:
            raise self._failure

    async def write_with(self, payload: Payload, other: EventLog, theirs: Payload) -> None:
        """Append an event here and one to another stream: both are there afterwards, or neither. Raises `JournalError`,
        and then both logs do so for ever.
        """
        if self._patient and other._patient and self._failure is None and other._failure is None:
            await self.write(payload)
            await other.write(theirs)
            return
        with anyio.CancelScope(shield=True):
            async with self._turn, other._turn:
                failure = self._failure or other._failure
                if failure is None:
                    try:
                        await self._journal.append([*self._taking(payload), *other._taking(theirs)])
                    except Exception as error:  # noqa: BLE001 - raised below
                        failure = error
        if failure is not None:
            self._failure = other._failure = failure
            raise failure

    def _taking(self, payload: Payload) -> list[Event]:
        self._waiting.append(payload)
        self.weight += payload.weight
        self._asked += 1
        return self._chained()

    def write_out(self) -> None:
        """Write what was put off; what fails is raised by the next `write`."""
        try:
            self._journal.store.append(self._chained())
        except Exception as error:  # noqa: BLE001 - every task that writes gets it
            self._failure = error

    def _chained(self) -> list[Event]:
        waiting, self._waiting = self._waiting, []
        last, events = self._last, []
        for payload in waiting:
            last = self._journal.event(self.stream, last, payload)
            events.append(last)
        self._last = last
        self._written += len(waiting)
        return events

    async def _flush(self) -> None:
        try:
            await self._journal.append(self._chained())
        except Exception as error:  # noqa: BLE001 - every task that waits here gets it
            self._failure = error


def _policy(values: str, key: str | None) -> ValuePolicy:
    if values == "encrypted":
        if key is None:
            raise UsageError('values="encrypted" needs a key; Journal.new_key() makes one. Keep it safe.')
        return EncryptedValues(key)
    if key is not None:
        raise UsageError(f'A key is for values="encrypted", not for values={values!r}.')
    if values == "plain":
        return PlainValues()
    if values == "omitted":
        return NoValues()
    raise UsageError(f'values is "plain", "encrypted" or "omitted", not {values!r}.')


def _signing_key(key: bytes | str | None) -> bytes | None:
    if key is None:
        return None
    raw = key.encode() if isinstance(key, str) else key
    if len(raw) < _LEAST_KEY:
        raise UsageError(f"A signing key has at least {_LEAST_KEY} bytes, so that nobody can guess it.")
    return raw


def _store(store: JournalStore | str | Path | None) -> JournalStore:
    if store is None:
        return MemoryStore()
    return SqliteStore(store) if isinstance(store, (str, Path)) else store


async def _call(store: JournalStore, function: Callable[[], T]) -> T:
    return await _THREADS.run(function) if store.blocking else function()


def _bound_to(stream: str, seq: int, kind: str) -> str:
    return f"{stream}/{seq}/{kind}"


def _joined(event: Event, values: dict[str, JsonValue]) -> bytes:
    return to_json({**event.data, **values})


def _damaged(event: Event, what: str) -> JournalDamagedError:
    return JournalDamagedError(
        f"Event {event.seq} of {event.stream} cannot be used: {what}.",
        details={"stream": event.stream, "seq": event.seq},
    )
