"""The files that a result names: there, regular, below the working directory, and recorded by size and hash.

Nothing is looked up by a path as a whole. Each step is opened from the directory before it and follows no link, so no
symbolic link, however it came there, leads anywhere else; the directory itself was opened before the command ran.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from pydantic import JsonValue

from harness.errors import UsageError
from harness.model import Artifact
from harness.plain import child_path

__all__ = ["Findings", "Problem", "WorkingDirectory", "claims", "parse_path"]

_PART = re.compile(r"(?P<name>[^.\[\]]+)|\[(?P<index>\*|[0-9]+)\]")
_PIECE = 1024 * 1024
_FOLLOW_NOTHING = os.O_NOFOLLOW | os.O_CLOEXEC
_STEP = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | _FOLLOW_NOTHING
# A FIFO would keep whoever opens it waiting, a terminal would become the process's own.
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | _FOLLOW_NOTHING

Part = str | int | None
"""A member's name, an item's index, or None for every item."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something a result claims and that is not so."""

    path: str
    """Where in the result: ``$.files[1]``."""
    claimed: str | None
    """What stands there, if it is the name of a file."""
    problem: str


@dataclass(slots=True)
class Findings:
    """What became of all the claims of one result."""

    artifacts: list[Artifact]
    problems: list[Problem]


def parse_path(text: str) -> tuple[Part, ...]:
    """``files[*].name`` -> ``("files", None, "name")``. Raises `UsageError`."""
    parts: list[Part] = []
    position = 0
    while position < len(text):
        if text[position] == "." and parts and position + 1 < len(text) and text[position + 1] not in ".[":
            position += 1
        elif parts and text[position] != "[":
            break
        found = _PART.match(text, position)
        if found is None:
            break
        index = found["index"]
        parts.append(found["name"] if index is None else None if index == "*" else int(index))
        position = found.end()
    if not parts or position != len(text):
        raise UsageError(
            f"artifacts: {text!r} is no path into a result. Write members and items like 'manifest.path', 'files[*]' or "
            "'files[0].name'."
        )
    return tuple(parts)


def claims(result: JsonValue, patterns: Sequence[str]) -> Iterator[tuple[str, str] | Problem]:
    """Each place in ``result`` that must name a file, with the name; or what is wrong with the place."""
    for pattern in patterns:
        yield from _claims(result, parse_path(pattern), "$")


def _claims(value: JsonValue, parts: tuple[Part, ...], path: str) -> Iterator[tuple[str, str] | Problem]:
    if not parts:
        if isinstance(value, str):
            yield path, value
        else:
            yield Problem(path, None, "is not the name of a file")
        return
    part, rest = parts[0], parts[1:]
    if part is None:
        if not isinstance(value, list):
            yield Problem(path, None, "is not a list of files")
            return
        for index, item in enumerate(value):
            yield from _claims(item, rest, child_path(path, index))
        return
    there = child_path(path, part)
    if not _has(value, part):
        yield Problem(there, None, "is missing from the result")
        return
    yield from _claims(value[part], rest, there)  # type: ignore[index] # just seen to be there


def _has(value: JsonValue, part: str | int) -> bool:
    if isinstance(part, str):
        return isinstance(value, dict) and part in value
    return isinstance(value, list) and part < len(value)


class WorkingDirectory:
    """A directory, opened: whatever takes its place later is not looked at."""

    def __init__(self, path: str) -> None:
        self._names = {PurePosixPath(path), PurePosixPath(os.path.realpath(path))}
        self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._lock = threading.Lock()
        self._users = 1
        self._stopped = False

    def close(self) -> None:
        """Let go of it. A `check` that is under way in another thread ends soon, and then it is closed."""
        self._stopped = True
        self._leave()

    def _leave(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                os.close(self._descriptor)

    def check(self, result: JsonValue, patterns: Sequence[str], *, most: int, most_bytes: int) -> Findings:
        """Every claim of a result, looked at. ``most`` files and ``most_bytes`` bytes of them together are allowed."""
        findings = Findings([], [])
        with self._lock:
            if self._stopped:
                return findings  # nobody waits for it
            self._users += 1
        try:
            names: dict[str, str] = {}
            for claim in claims(result, patterns):
                if isinstance(claim, Problem):
                    findings.problems.append(claim)
                else:
                    names.setdefault(claim[1], claim[0])
            if len(names) > most:
                findings.problems.append(Problem("$", None, f"names {len(names):,} files; {most:,} are allowed"))
                return findings
            left = most_bytes
            for name, path in names.items():
                try:
                    artifact = self._record(name, left)
                except (OSError, ValueError) as error:
                    text = (error.strerror if isinstance(error, OSError) else None) or str(error)
                    findings.problems.append(Problem(path, name, text[:1].lower() + text[1:]))
                else:
                    left -= artifact.bytes
                    findings.artifacts.append(artifact)
        finally:
            self._leave()
        return findings

    def _record(self, name: str, most: int) -> Artifact:
        """Raises ``ValueError`` or ``OSError`` with the reason."""
        *steps, last = self._steps(name)
        opened: list[int] = []
        try:
            here = self._descriptor
            for step in steps:
                _refuse_link(step, here)
                here = os.open(step, _STEP, dir_fd=here)
                opened.append(here)
            _refuse_special(os.stat(last, dir_fd=here, follow_symlinks=False))
            file = os.open(last, _FILE, dir_fd=here)
            opened.append(file)
            found = os.fstat(file)
            _refuse_special(found)
            if found.st_size > most:
                raise ValueError(f"is {found.st_size:,} bytes long; {most:,} are left of what all files may be")
            return Artifact(path=name, bytes=found.st_size, sha256=self._hash(file, found.st_size))
        finally:
            for descriptor in opened:
                os.close(descriptor)

    def _steps(self, name: str) -> list[str]:
        if "\0" in name:
            raise ValueError("has a NUL character in its name")
        path = PurePosixPath(name)
        if path.is_absolute():
            root = next((root for root in self._names if path.is_relative_to(root)), None)
            if root is None:
                raise ValueError("lies outside the working directory")
            path = path.relative_to(root)
        if name.endswith(("/", "/.")):
            raise ValueError("ends as the name of a directory does")
        if ".." in path.parts:
            raise ValueError("leads upwards with '..'")
        if not path.parts:
            raise ValueError("is the working directory itself" if name else "is an empty name")
        return list(path.parts)

    def _hash(self, file: int, size: int) -> str:
        digest = hashlib.sha256()
        read = 0
        while piece := os.read(file, _PIECE):
            if self._stopped:
                raise ValueError("was not read to its end")
            digest.update(piece)
            read += len(piece)
            if read > size:
                break
        if read != size:
            raise ValueError("changed while it was read")
        return digest.hexdigest()


def _refuse_link(name: str, directory: int) -> None:
    if stat.S_ISLNK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
        raise ValueError("leads through a symbolic link")


def _refuse_special(found: os.stat_result) -> None:
    mode = found.st_mode
    if stat.S_ISLNK(mode):
        raise ValueError("is a symbolic link")
    if stat.S_ISDIR(mode):
        raise ValueError("is a directory")
    if not stat.S_ISREG(mode):
        raise ValueError("is no regular file")
