"""The file of a journal: opened, checked, and made if it is not there."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from harness.errors import UsageError
from harness.journal.events import JOURNAL_VERSION

__all__ = ["BROKEN", "open_file"]

BROKEN = (sqlite3.Error, UnicodeDecodeError)
"""What a file that was damaged makes the module raise: the second one if the message quotes what is no text."""

_APPLICATION_ID = 0x68726E73
_BUSY_SECONDS = 10.0
_SCHEMA = """
CREATE TABLE streams (
    stream TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    run TEXT NOT NULL,
    place INTEGER NOT NULL,
    started_at REAL NOT NULL,
    status TEXT NOT NULL,
    expires_at REAL,
    events INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE events (
    stream TEXT NOT NULL,
    seq INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (stream, seq)
) WITHOUT ROWID;
CREATE TABLE names (
    name TEXT PRIMARY KEY,
    stream TEXT NOT NULL
) WITHOUT ROWID;
"""


def open_file(path: Path, *, read_only: bool) -> sqlite3.Connection:
    """A connection to a journal. Raises `UsageError` if the path cannot be one: no such folder, no permission, another kind
    of file.
    """
    try:
        return _opened_to_read(path) if read_only else _opened(str(path), path)
    except BROKEN as error:
        raise UsageError(f"{path} cannot be used as a journal: {_why_not(path) or error}.") from error


def _opened_to_read(path: Path) -> sqlite3.Connection:
    return _opened(f"{path.absolute().as_uri()}?{_way_to_read(path)}", path, read_only=True)


def _way_to_read(path: Path) -> str:
    """How to open a journal so that it is as it was afterwards, with nothing beside it."""
    if os.access(path, os.W_OK) and os.access(path.parent, os.W_OK):
        return "mode=rw"  # SQLite takes away again what it put beside it
    if path.with_name(f"{path.name}-wal").exists():
        return "mode=ro"  # somebody is writing to it, and has put there what is needed
    # SQLite reads it only when told that nobody writes to it; or would leave files there that its owner cannot use.
    return "mode=ro&immutable=1"


def _opened(database: str, path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    connection = sqlite3.connect(
        database,
        uri=read_only,
        timeout=_BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=16,
    )
    try:
        # In this order: another process may make the journal between two of these.
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        (owner,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if tables or read_only:
            _check(path, owner, version)
        if not read_only:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            # What is deleted may be what nobody is to find in the file any more.
            connection.execute("PRAGMA secure_delete = ON")
            if not tables:
                _create(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _check(path: Path, owner: int, version: int) -> None:
    if (owner, version) == (_APPLICATION_ID, JOURNAL_VERSION):
        return
    if owner != _APPLICATION_ID:
        raise UsageError(f"{path} is no journal. Choose another file.")
    raise UsageError(
        f"{path} is a journal of version {version}; this library reads version {JOURNAL_VERSION}. Read it with the "
        "version of the library that wrote it, or choose another file."
    )


def _create(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    # Another process may have been quicker.
    if not tables:
        for statement in _SCHEMA.split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {JOURNAL_VERSION}")
    connection.execute("COMMIT")


def _why_not(path: Path) -> str | None:
    """What keeps a path from being opened, where SQLite does not say."""
    if path.is_dir():
        return "it is a folder; name a file in it"
    if not path.parent.is_dir():
        return f"there is no folder {path.parent}; make it first"
    place = path if path.exists() else path.parent
    if not os.access(place, os.R_OK if path.exists() else os.W_OK):
        return f"you have no permission on {place}"
    if path.exists() and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        folder = "" if os.access(path.parent, os.W_OK) else ", and so can its folder"
        return (
            f"it can only be read{folder}. To look at it take Journal(SqliteStore(path, read_only=True)), or the commands "
            "that only look"
        )
    return None
