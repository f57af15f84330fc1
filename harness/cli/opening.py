"""Journals as the command line names them: a file, and where its keys are."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from harness.cli.options import Keys
from harness.errors import UsageError
from harness.journal.journal import Journal
from harness.journal.sqlite import SqliteStore
from harness.pipeline import Harness

__all__ = ["existing_journal", "on_record", "open_journal", "secret_from"]


def secret_from(option: str, source: str) -> str:
    """The key that an environment variable or a file holds, without the line end behind it.

    Raises `UsageError`, which never shows the source if it may be the key itself.
    """
    kind, colon, name = source.partition(":")
    if not colon or not name or kind not in ("env", "file"):
        raise UsageError(
            f"{option}: say where the key is, {option} env:NAME (an environment variable) or {option} file:PATH. The key "
            "itself does not belong on a command line, where every process of the machine can read it."
        )
    if kind == "env":
        secret = os.environ.get(name, "")
        if not secret.strip():
            raise UsageError(f"{option} {source}: the environment variable {name} is not set.")
    else:
        try:
            secret = Path(name).read_text(encoding="utf-8")
        except OSError as error:
            raise UsageError(f"{option} {source}: the file cannot be read: {error.strerror or error}.") from None
        except UnicodeDecodeError:
            raise UsageError(f"{option} {source}: the file is not text in UTF-8.") from None
        if not secret.strip():
            raise UsageError(f"{option} {source}: the file is empty.")
    return secret.strip()


def open_journal(path: str, keys: Keys, *, omit_values: bool = False, read_only: bool = False) -> Journal:
    """The journal in a file, which is made if it is not there and may be written. Raises `UsageError`."""
    if not path:
        raise UsageError("The journal has no name: say in which file it is.")
    key = None if keys.journal is None else secret_from("--journal-key", keys.journal)
    signing_key = None if keys.signing is None else secret_from("--signing-key", keys.signing)
    if omit_values and key is not None:
        raise UsageError("--omit-values keeps no values, so there is nothing to encrypt: leave out --journal-key.")
    return Journal(
        SqliteStore(path, read_only=True) if read_only else path,
        values="omitted" if omit_values else "plain" if key is None else "encrypted",
        key=key,
        signing_key=signing_key,
    )


def existing_journal(path: str, keys: Keys, *, read_only: bool = False) -> Journal:
    """As `open_journal`, but a file that is not there is a `UsageError`. With ``read_only`` it may lie where nobody can write."""
    if not path or not Path(path).exists():
        raise UsageError(f"There is no journal {path!r}; `harness run FILE --journal PATH` begins one.")
    return open_journal(path, keys, read_only=read_only)


@asynccontextmanager
async def on_record(journal: Journal, **options: Any) -> AsyncIterator[Harness]:
    """A harness of its own for one command; it opens no worker before it needs one. The journal is closed with it."""
    try:
        harness = Harness(journal=journal, **options)
        try:
            yield harness
        finally:
            await harness.aclose()
    finally:
        journal.close()
