"""A journal in one SQLite file: write-ahead log, synchronised to disk with every append."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path

from harness.errors import JournalDamagedError, JournalWriteError, UsageError
from harness.journal.events import Event, parse_event
from harness.journal.sqlite_file import BROKEN, open_file
from harness.journal.store import StoredStream, conflict, names_of, stored

__all__ = ["SqliteStore"]

_COLUMNS = "stream, kind, run, place, started_at, status, expires_at, events"
_TYPES: tuple[type | tuple[type, ...], ...] = (str, str, str, int, float, str, (float, type(None)), int)
"""Of these columns: SQLite itself takes anything."""


class SqliteStore:
    """Events in a file, which several processes of one machine may use at the same time.

    With ``read_only`` it stays as it is, and may lie where nobody can write. Raises `UsageError` if the path cannot be a
    journal: no such folder, no permission, another kind of file.
    """

    blocking = True
    durable = True

    def __init__(self, path: str | Path, *, read_only: bool = False) -> None:
        self.path = Path(path)
        self._read_only = read_only
        self._lock = threading.Lock()
        self._pid = os.getpid()
        """Of the process that opened the connection: SQLite does not survive a fork."""
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        """What the connection writes to."""
        # Opened again when it is used, so that a journal which nobody uses holds nothing.
        open_file(self.path, read_only=read_only).close()

    @contextmanager
    def _use(self) -> Iterator[sqlite3.Connection]:
        if self._connection is not None and self._pid != os.getpid():
            raise UsageError("This journal was opened before the process was forked; open it again in each process.")
        with self._lock:
            if self._connection is None:
                self._connection = open_file(self.path, read_only=self._read_only)
                self._pid, self._file = os.getpid(), self._at_path()
            yield self._connection

    def _at_path(self) -> tuple[int, int] | None:
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def append(self, events: Sequence[Event]) -> None:
        """See `harness.journal.store.JournalStore`."""
        with self._use() as connection, _writing(self.path):
            try:
                connection.execute("BEGIN IMMEDIATE")
                for event in events:
                    _insert(connection, event)
                connection.execute("COMMIT")
            except BaseException:
                # Of some failures (a full disk) SQLite has rolled back by itself.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            if self._at_path() != self._file:
                # SQLite goes on writing to a file that has no name any more.
                raise JournalWriteError(
                    f"The journal {self.path.name} was deleted, moved or replaced while it was in use: what is written now is "
                    "lost. Put it back, or choose another file."
                )

    def read(self, stream: str) -> list[Event]:
        """See `harness.journal.store.JournalStore`."""
        with self._use() as connection, _reading(self.path):
            # One moment: another process may add to it meanwhile.
            connection.execute("BEGIN")
            try:
                rows = connection.execute(
                    "SELECT seq, body FROM events WHERE stream = ? ORDER BY seq", (stream,)
                ).fetchall()
                known = connection.execute(f"SELECT {_COLUMNS} FROM streams WHERE stream = ?", (stream,)).fetchone()  # noqa: S608 - a constant
            finally:
                connection.execute("ROLLBACK")
        events = [_event(stream, seq, body) for seq, body in rows]
        after: StoredStream | None = None
        for event in events:
            after = stored(event, after)
        if after != (None if known is None else StoredStream(*known)):
            raise JournalDamagedError(
                f"{len(events)} events of {stream} are there, and the journal's own list says otherwise: some are missing, or "
                "it was changed by hand.",
                details={"stream": stream, "seq": len(events) + 1},
            )
        return events

    def streams(self, kind: str | None = None) -> list[StoredStream]:
        """See `harness.journal.store.JournalStore`."""
        query = f"SELECT {_COLUMNS} FROM streams WHERE ?1 IS NULL OR kind = ?1 ORDER BY started_at, place"  # noqa: S608 - a constant
        with self._use() as connection, _reading(self.path):
            rows = connection.execute(query, (kind,)).fetchall()
        for row in rows:
            if not all(isinstance(value, kinds) for value, kinds in zip(row, _TYPES, strict=True)):
                raise JournalDamagedError(
                    f"The journal {self.path.name} was changed by hand: {row!r} is no stream of it."
                )
        return [StoredStream(*row) for row in rows]

    def find(self, name: str) -> str | None:
        """See `harness.journal.store.JournalStore`."""
        with self._use() as connection, _reading(self.path):
            row = connection.execute("SELECT stream FROM names WHERE name = ?", (name,)).fetchone()
            return None if row is None else str(row[0])

    def delete(self, stream: str) -> None:
        """See `harness.journal.store.JournalStore`."""
        with self._use() as connection, _writing(self.path):
            connection.execute("BEGIN IMMEDIATE")
            for table in ("events", "names", "streams"):
                connection.execute(f"DELETE FROM {table} WHERE stream = ?", (stream,))  # noqa: S608 - a constant
            connection.execute("COMMIT")

    def size(self) -> int:
        """See `harness.journal.store.JournalStore`: pages in use."""
        with self._use() as connection, _reading(self.path):
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
            (free,) = connection.execute("PRAGMA freelist_count").fetchone()
            (size,) = connection.execute("PRAGMA page_size").fetchone()
            return int((pages - free) * size)

    def close(self) -> None:
        """See `harness.journal.store.JournalStore`."""
        if self._pid != os.getpid():
            return
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()


def _event(stream: str, seq: object, body: object) -> Event:
    """The event of a row. Raises `JournalDamagedError` that names it."""
    where = {"stream": stream, "seq": seq if isinstance(seq, int) else 0}
    if not isinstance(body, str):
        raise JournalDamagedError(f"Event {seq} of {stream} is no event: its row holds no text.", details=where)
    try:
        return parse_event(body)
    except JournalDamagedError as error:
        raise JournalDamagedError(
            f"Event {seq} of {stream} cannot be read: {error.message}", details={**error.details, **where}
        ) from None


def _insert(connection: sqlite3.Connection, event: Event) -> None:
    row = connection.execute(f"SELECT {_COLUMNS} FROM streams WHERE stream = ?", (event.stream,)).fetchone()  # noqa: S608 - a constant
    before = None if row is None else StoredStream(*row)
    if event.seq != (1 if before is None else before.events + 1):
        raise conflict(event)
    after = stored(event, before)
    try:
        connection.execute("INSERT INTO events VALUES (?, ?, ?)", (event.stream, event.seq, event.to_json()))
        for name in names_of(event):
            connection.execute("INSERT INTO names VALUES (?, ?)", (name, event.stream))
    except sqlite3.IntegrityError:
        raise conflict(event) from None
    connection.execute("INSERT OR REPLACE INTO streams VALUES (?, ?, ?, ?, ?, ?, ?, ?)", astuple(after))


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except BROKEN as error:
        raise JournalWriteError(
            f"The journal {path.name} cannot be written: {error}. Nothing goes on without it: make room, mend its "
            "permissions, or end what holds it, then run or resume again."
        ) from error


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except BROKEN as error:
        raise JournalDamagedError(f"The journal {path.name} cannot be read: {error}.") from error
