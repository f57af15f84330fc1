"""A directory, and what lies below it: reached step by step, through no symbolic link.

Nothing is looked up by a path as a whole. Each step is opened from the directory before it and follows no link, so that
no link leads out, however it came there and whoever exchanges what meanwhile.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.errors import UsageError

__all__ = ["Entry", "OutOfReachError", "Root"]

_FOLLOW_NOTHING = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_DIRECTORY = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | _FOLLOW_NOTHING
_STEP = getattr(os, "O_PATH", os.O_RDONLY) | getattr(os, "O_DIRECTORY", 0) | _FOLLOW_NOTHING
# A FIFO would keep whoever opens it waiting, a terminal would become the process's own.
_FILE = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | _FOLLOW_NOTHING
_PIECE = 256 * 1024
_MOST_PATH = 4096


class OutOfReachError(Exception):
    """What a path leads to cannot be had; the text says why, as a clause about the path."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a directory."""

    name: str
    kind: Literal["file", "directory", "other"]
    """``other``: symbolic links, devices, sockets, FIFOs, and names that are no text."""
    size: int
    """Bytes, of a file."""


class Root:
    """The directory at ``path``, wherever symbolic links in ``path`` itself lead when this is made.

    ``hidden`` says whether names that begin with a dot exist. Raises `UsageError` for what is no directory, and on
    systems that cannot open a file relative to a directory.
    """

    def __init__(self, path: str | os.PathLike[str], *, hidden: bool, tool: str) -> None:
        if os.open not in os.supports_dir_fd or not hasattr(os, "O_NOFOLLOW"):
            raise UsageError(
                f"Tool {tool!r} cannot be had here: the system cannot open a file relative to a directory."
            )
        self._path = os.path.realpath(path)
        self._hidden = hidden
        if not Path(self._path).is_dir():
            raise UsageError(f"The root of tool {tool!r} is no directory: {os.fspath(path)!r}.")

    def is_hidden(self, name: str) -> bool:
        """Whether a name is treated as if it did not exist."""
        return not self._hidden and name.startswith(".")

    def normal(self, path: str) -> str:
        """``./docs//guide/`` is ``docs/guide``. Raises `OutOfReachError` for what is no path below the root."""
        return "/".join(self._steps(path))

    def read(self, path: str, most: int) -> bytes:
        """The bytes of the regular file at ``path``. Raises `OutOfReachError`, also if there are more than ``most``."""
        steps = self._steps(path)
        if not steps:
            raise OutOfReachError("is a directory")
        with self._directory(steps[:-1]) as here, _reasons():
            _refuse_special(os.stat(steps[-1], dir_fd=here, follow_symlinks=False))
            file = os.open(steps[-1], _FILE, dir_fd=here)
            try:
                found = os.fstat(file)
                _refuse_special(found)
                if found.st_size > most:
                    raise OutOfReachError(f"is {found.st_size:,} bytes long; {most:,} may be read")
                return _read(file, most)
            finally:
                os.close(file)

    def entries(self, path: str) -> Iterator[Entry]:
        """What the directory at ``path`` holds, in no order. Raises `OutOfReachError`."""
        with self._directory(self._steps(path)) as there, _reasons():
            here = os.open(".", _DIRECTORY, dir_fd=there)
            try:
                with os.scandir(here) as found:
                    for entry in found:
                        yield _entry(entry)
            finally:
                os.close(here)

    def _steps(self, path: str) -> list[str]:
        if len(path) > _MOST_PATH or "\0" in path:
            raise OutOfReachError("is no path")
        if path.startswith("/"):
            raise OutOfReachError("is absolute; paths begin at the root of this tool, without a slash")
        steps = [step for step in path.split("/") if step not in ("", ".")]
        if ".." in steps:
            raise OutOfReachError("leads upwards with '..'")
        if any(self.is_hidden(step) for step in steps):
            raise OutOfReachError("does not exist")
        return steps

    @contextmanager
    def _directory(self, steps: list[str]) -> Iterator[int]:
        """A descriptor of the directory that these steps lead to."""
        with _reasons():
            here = os.open(self._path, _STEP)
        try:
            for step in steps:
                with _reasons():
                    found = os.stat(step, dir_fd=here, follow_symlinks=False)
                    if stat.S_ISLNK(found.st_mode):
                        raise OutOfReachError("leads through a symbolic link")
                    below = os.open(step, _STEP, dir_fd=here)
                os.close(here)
                here = below
            yield here
        finally:
            os.close(here)


@contextmanager
def _reasons() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise OutOfReachError("does not exist") from None
    except NotADirectoryError:
        raise OutOfReachError("leads through something that is no directory, or is none itself") from None
    except UnicodeEncodeError:
        raise OutOfReachError("is no path") from None
    except OSError as error:
        # The system's own words for the reason hold no path.
        reason = error.strerror or type(error).__name__
        raise OutOfReachError(f"cannot be read: {reason[:1].lower()}{reason[1:]}") from None


def _refuse_special(found: os.stat_result) -> None:
    if stat.S_ISLNK(found.st_mode):
        raise OutOfReachError("is a symbolic link")
    if stat.S_ISDIR(found.st_mode):
        raise OutOfReachError("is a directory")
    if not stat.S_ISREG(found.st_mode):
        raise OutOfReachError("is no regular file")


def _read(file: int, most: int) -> bytes:
    """To the end, wherever that is by now: the size above was that of a moment ago."""
    data = bytearray()
    while piece := os.read(file, min(_PIECE, most + 1 - len(data))):
        data += piece
        if len(data) > most:
            raise OutOfReachError(f"grew beyond {most:,} bytes while it was read, which is all that may be")
    return bytes(data)


def _entry(entry: os.DirEntry[str]) -> Entry:
    name = entry.name
    try:
        name.encode()
        found = entry.stat(follow_symlinks=False)
    except (UnicodeEncodeError, FileNotFoundError):  # a name that is no text; gone in the meantime
        return Entry(name, "other", 0)
    if stat.S_ISDIR(found.st_mode):
        return Entry(name, "directory", 0)
    return Entry(name, "file", found.st_size) if stat.S_ISREG(found.st_mode) else Entry(name, "other", 0)
