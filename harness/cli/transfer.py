"""Files of JSON lines: read so that nothing in them is taken for more than it is, and written whole or not at all."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

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
    """Write lines to a file that takes the place of what is there once all are written; how many. Raises `UsageError`."""
    path = Path(file)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    count = 0
    try:
        try:
            with part.open("w", encoding="utf-8", newline="\n") as stream:
                for line in lines:
                    stream.write(f"{line}\n")
                    count += 1
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror or error}.") from error
    return count


def imported_lines(imported: Imported) -> Iterator[str]:
    """What an import took in, for people."""
    yield f"{imported.events:,} events of {imported.streams:,} streams were taken in."
    if imported.known:
        yield f"{len(imported.known):,} were known and are left as they are: {', '.join(map(visible, imported.known))}"
    if imported.torn is not None:
        yield f"The last line was cut off after {len(imported.torn):,} characters and is left out."
