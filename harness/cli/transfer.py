"""Files of JSON lines: read so that nothing in them is taken for more than it is, and written whole or not at all."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from harness.cli.output import counted
from harness.errors import JournalDamagedError, UsageError
from harness.journal.transfer import Imported
from harness.redaction import visible

__all__ = ["imported_lines", "read_lines", "write_lines"]


def read_lines(file: str) -> Iterator[str]:
    """The lines of a file, or of standard input for ``-``, each with the end it has.

    Raises `UsageError` if it cannot be read, and `JournalDamagedError` for a whole line that is no UTF-8; the last one may
    have been cut off within a character.
    """
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror or error}.") from error
    return _decoded(data)


def _decoded(data: bytes) -> Iterator[str]:
    start = number = 0
    while start < len(data):
        number += 1
        end = data.find(b"\n", start) + 1 or len(data)
        line = data[start:end]
        try:
            yield line.decode()
        except UnicodeDecodeError:
            if line.endswith(b"\n"):
                raise JournalDamagedError(f"Line {number}: it is not UTF-8.", details={"line": number}) from None
            yield line.decode(errors="replace")
        start = end


def write_lines(file: str, lines: Iterable[str]) -> int:
    """Write lines to a file that takes the place of what is there once all are written; how many. Raises `UsageError`.

    What is there and is no file (a pipe, ``/dev/stdout``) is written to as it is, and so is what a link leads to.
    """
    path = Path(file)
    count = 0
    try:
        with _in_place(path) as stream:
            for line in lines:
                stream.write(f"{line}\n")
                count += 1
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror or error}.") from error
    return count


@contextmanager
def _in_place(path: Path) -> Iterator[TextIO]:
    if path.exists() and not path.is_file():
        with path.open("w", encoding="utf-8", newline="\n") as stream:
            yield stream
        return
    path = path.resolve()
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with part.open("w", encoding="utf-8", newline="\n") as stream:
            yield stream
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def imported_lines(imported: Imported) -> Iterator[str]:
    """What an import took in, for people."""
    yield f"{counted(imported.events, 'event')} of {counted(imported.streams, 'stream')} {'was' if imported.events == 1 else 'were'} taken in."
    if imported.known:
        yield f"What is known is left as it is: {', '.join(map(visible, imported.known))}"
    if imported.torn is not None:
        yield f"The last line was cut off after {counted(len(imported.torn), 'character')} and is left out."
