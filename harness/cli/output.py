"""Where the command line reads and writes, and how it ends."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO

import typer

from harness.errors import (
    ContractChangedError,
    HarnessInternalError,
    IdempotencyKeyError,
    JournalError,
    JournalKeyError,
    ResumeTokenError,
    ScriptError,
    UsageError,
)
from harness.model import Diagnostic, ExecutionStatus, Outcome, Severity
from harness.redaction import visible

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "FAILED",
    "INTERNAL",
    "INTERRUPTED",
    "SUSPENDED",
    "USAGE",
    "OutputError",
    "counted",
    "ending_in_exit",
    "exit_status",
    "give_up",
    "json_output",
    "moment",
    "people",
    "print_columns",
    "print_diagnostics",
    "print_json",
    "print_plain",
    "read_text",
]

FAILED, USAGE, SUSPENDED, INTERNAL, INTERRUPTED = 1, 2, 3, 4, 130

_PIPE_WIDTH = 120
"""Columns where there is no terminal to ask."""

_WRONGLY_CALLED = (UsageError, ContractChangedError, IdempotencyKeyError, JournalKeyError, ResumeTokenError)
"""Something on the command line is wrong, or does not belong to the journal; nothing ran."""

_FAILURES = frozenset({ExecutionStatus.ERROR, ExecutionStatus.TERMINATED, ExecutionStatus.CANCELLED})


def exit_status(outcome: Outcome) -> int:
    """0, or the first of 4, 3 and 1 that applies."""
    errors = [execution.error for execution in outcome.executions if execution.error is not None]
    if any(error.type == HarnessInternalError.__name__ for error in errors):
        return INTERNAL
    statuses = {execution.status for execution in outcome.executions}
    if outcome.pending or ExecutionStatus.SUSPENDED in statuses:
        return SUSPENDED
    unclosed = any(segment.kind == "unclosed" for segment in outcome.segments)
    wrong = any(diagnostic.severity is Severity.ERROR for diagnostic in outcome.diagnostics)
    return FAILED if statuses & _FAILURES or unclosed or wrong else 0


class OutputError(Exception):
    """Standard output takes nothing. What ran has run all the same."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"standard output cannot be written ({error.strerror or error}), so the report is lost.")


@contextlib.contextmanager
def ending_in_exit() -> Iterator[None]:
    """Turn every way a command can fail into a message on standard error and an exit status."""
    try:
        yield
    except typer.Exit:
        raise
    except _WRONGLY_CALLED as error:
        status, message = USAGE, error.message
    except (ScriptError, JournalError) as error:
        status, message = FAILED, error.message
    except OutputError as error:
        status, message = FAILED, str(error)
    except KeyboardInterrupt:
        status, message = INTERRUPTED, "interrupted"
    except Exception as error:  # noqa: BLE001 -- the last place where anything can be said about it
        traceback.print_exc()
        status, message = INTERNAL, f"internal error: {type(error).__name__}. Please report it with the lines above."
    else:
        return
    typer.echo(f"harness: {visible(message, keep=chr(10))}", err=True)
    raise typer.Exit(status)


def read_text(file: str) -> str:
    """The text of a file, or of standard input for ``-``. Raises ``UsageError``."""
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror or error}.") from error
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(
            f"{file} is not UTF-8: byte 0x{data[error.start]:02x} in line {line} (offset {error.start}). Convert it first."
        ) from error


@contextlib.contextmanager
def people() -> Iterator[Console]:
    """A console on standard output, without colours or escapes unless that is a terminal."""
    from rich.console import Console  # noqa: PLC0415 -- JSON does not need it

    width = None if sys.stdout.isatty() or os.environ.get("COLUMNS") else _PIPE_WIDTH
    with _whoever_still_reads(sys.stdout):
        yield Console(file=sys.stdout, width=width, markup=False, highlight=False, emoji=False)


@contextlib.contextmanager
def json_output(wanted: bool) -> Iterator[BinaryIO | None]:
    """Standard output for `print_json` alone, if ``wanted``.

    Whatever anybody else prints from here on, a tools module or a library written in C included, goes to standard
    error. It stays so afterwards: threads and exit handlers of the host's code may still print.
    """
    if not wanted:
        yield None
        return
    sys.stdout.flush()
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0) as output:
        sys.stdout = sys.stderr
        os.dup2(2, 1)
        yield output


def print_json(text: str, output: BinaryIO) -> None:
    """Exactly the text and a newline, in UTF-8 whatever the locale says."""
    rest = memoryview(text.encode() + b"\n")
    with _whoever_still_reads(output):
        while rest:
            rest = rest[output.write(rest) :]


def print_plain(text: str) -> None:
    with _whoever_still_reads(sys.stdout):
        sys.stdout.write(text)


def print_columns(rows: Sequence[Sequence[str]]) -> None:
    """A table of plain text for people and for ``awk``: nothing is cut, and only the last column may hold spaces."""
    shown = [[visible(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in shown)
    print_plain("".join(f"{line}\n" for line in lines))


def counted(number: int, what: str) -> str:
    """``1 event``, ``1,000 events``."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def moment(seconds: float | None) -> str:
    """A time as people read it, in their zone; empty for none."""
    if seconds is None:
        return ""
    try:
        return dt.datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%dT%H:%M:%S%z")
    except (ValueError, OverflowError, OSError):  # a clock, or somebody, wrote what is no time
        return f"{seconds:g}"


def print_diagnostics(name: str, diagnostics: Sequence[Diagnostic]) -> None:
    """One a line, in the form editors know: ``file:line:column: severity: message [code]``."""
    with _whoever_still_reads(sys.stdout):
        for item in diagnostics:
            place = ":".join(str(part) for part in (visible(name), item.line, item.column) if part is not None)
            message = visible(item.message)
            sys.stdout.write(f"{place}: {item.severity.value}: {message} [{item.code}]\n")
    if not diagnostics:
        typer.echo("no problems found", err=True)


@contextlib.contextmanager
def _whoever_still_reads(output: IO[Any]) -> Iterator[None]:
    """Writing to a reader that is gone (``harness run … | head``) is no error; to a full disk it is an `OutputError`."""
    try:
        yield
        output.flush()
    except OSError as error:
        give_up(output)
        if not isinstance(error, BrokenPipeError):
            raise OutputError(error) from error


def give_up(output: IO[Any]) -> None:
    """Let what is still to be written go nowhere: the interpreter flushes once more as it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, output.fileno())
    os.close(nowhere)
