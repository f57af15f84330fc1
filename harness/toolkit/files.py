"""`read_text` and `list_files`: what lies below one directory, and nothing else."""

from __future__ import annotations

import fnmatch
import operator
import os
import re
from collections.abc import Callable, Iterator
from typing import Any, Unpack

from harness.errors import ToolExecutionError
from harness.redaction import visible
from harness.toolkit.checks import check_kinds, check_whole
from harness.toolkit.root import Entry, OutOfReachError, Root
from harness.tools.context import CallContext
from harness.tools.options import ToolOptions
from harness.tools.tool import Tool

__all__ = ["list_files", "read_text"]

_PATH = {"type": "string", "maxLength": 4096, "description": "Below the root, with / between the parts."}
_SHOWN = 200
_READS: ToolOptions = {"tags": ("read",), "idempotent": True, "positional": "path"}


def read_text(
    root: str | os.PathLike[str],
    *,
    max_bytes: int = 128 * 1024,
    hidden: bool = False,
    name: str = "read_text",
    **options: Unpack[ToolOptions],
) -> Tool:
    """A tool that reads text files below ``root``: ``tools.read_text({path})`` gives the text, which must be UTF-8.

    Symbolic links are not followed, names that begin with a dot do not exist unless ``hidden`` is true, and only regular
    files are read. One of more than ``max_bytes`` is an error, with its size.

    By default the tool is tagged ``read`` and ``idempotent``. Raises `UsageError` for a root that is no directory.
    """
    check_kinds(name, root=(root, "path"), hidden=(hidden, "flag"))
    below = Root(root, hidden=hidden, tool=name)
    check_whole(max_bytes, "max_bytes", name, least=1)

    def read(path: str) -> str:
        try:
            data = below.read(path, max_bytes)
            return data.decode("utf-8-sig")
        except OutOfReachError as error:
            raise _failed(name, path, str(error)) from None
        except UnicodeDecodeError as error:
            raise _failed(name, path, f"is no UTF-8 text (at byte {error.start:,})") from None

    settings: ToolOptions = {**_READS, **options}
    return Tool.from_schema(
        name,
        read,
        parameters={"type": "object", "properties": {"path": _PATH}, "required": ["path"]},
        result={"type": "string"},
        description="Reads a text file.",
        **settings,
    )


def list_files(
    root: str | os.PathLike[str],
    *,
    max_entries: int = 1_000,
    max_visited: int = 20_000,
    max_depth: int = 20,
    hidden: bool = False,
    name: str = "list_files",
    **options: Unpack[ToolOptions],
) -> Tool:
    """A tool that lists what is below ``root``: ``tools.list_files({path?, pattern?, recursive?})``.

    The result has ``entries`` (``path``, ``kind`` of ``file`` or ``directory``, and of a file ``bytes``), ordered by path,
    and ``omitted``: how many symbolic links, special files and names that are no text were left out, since no tool of
    this kind can reach them. Names that begin with a dot do not exist unless ``hidden`` is true.

    ``pattern`` is a glob (``*``, ``?``, ``[…]``) for the name, or if it holds a ``/`` for the path, where ``*`` matches a
    ``/`` too. More than ``max_entries`` results, ``max_visited`` names looked at, or more than ``max_depth`` levels are
    errors: nothing is cut off silently.

    By default the tool is tagged ``read`` and ``idempotent``. Raises `UsageError` for a root that is no directory.
    """
    check_kinds(name, root=(root, "path"), hidden=(hidden, "flag"))
    below = Root(root, hidden=hidden, tool=name)
    for setting, value in (("max_entries", max_entries), ("max_visited", max_visited), ("max_depth", max_depth)):
        check_whole(value, setting, name, least=1)

    def listing(
        context: CallContext, path: str = "", pattern: str | None = None, recursive: bool = False
    ) -> dict[str, Any]:
        found = _Listing(_matcher(pattern), max_entries, max_visited)
        try:
            for where, entry in _walk(below, below.normal(path), max_depth if recursive else 1):
                context.raise_if_cancelled()
                found.add(where, entry)
        except OutOfReachError as error:
            raise _failed(name, path or ".", str(error)) from None
        return {"entries": sorted(found.entries, key=operator.itemgetter("path")), "omitted": found.omitted}

    settings: ToolOptions = {**_READS, **options}
    return Tool.from_schema(
        name,
        listing,
        parameters={
            "type": "object",
            "properties": {
                "path": {**_PATH, "default": ""},
                "pattern": {"type": "string", "maxLength": 200, "description": "A glob, such as *.md."},
                "recursive": {"type": "boolean", "default": False},
            },
        },
        result=_LISTING,
        description="Lists files and directories.",
        **settings,
    )


_LISTING: dict[str, Any] = {
    "type": "object",
    "properties": {
        "entries": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "path": {"type": "string"},
                    "kind": {"enum": ["file", "directory"]},
                    "bytes": {"type": "integer"},
                },
                "required": ["path", "kind"],
            },
        },
        "omitted": {"type": "integer", "description": "Links and special files, which cannot be reached."},
    },
    "required": ["entries", "omitted"],
}


class _Listing:
    """What is gathered of a walk. `add` raises `OutOfReachError` past a limit."""

    def __init__(self, fits: Callable[[str], bool], most: int, most_visited: int) -> None:
        self._fits = fits
        self._most = most
        self._left = self._most_visited = most_visited
        self.entries: list[dict[str, str | int]] = []
        self.omitted = 0

    def add(self, where: str, entry: Entry) -> None:
        self._left -= 1
        if self._left < 0:
            raise OutOfReachError(f"holds more than {self._most_visited:,} names; list a directory below it")
        if entry.kind == "other":
            self.omitted += 1
        elif self._fits(where):
            if len(self.entries) >= self._most:
                raise OutOfReachError(
                    f"holds more than {self._most:,} such entries; list a directory below it, or give a narrower pattern"
                )
            size = {"bytes": entry.size} if entry.kind == "file" else {}
            self.entries.append({"path": where, "kind": entry.kind, **size})


def _walk(root: Root, start: str, depth: int) -> Iterator[tuple[str, Entry]]:
    """Every entry down to ``depth`` levels, with its path. What lies deeper is an error, unless ``depth`` is 1."""
    pending = [(start, 1)]
    while pending:
        path, level = pending.pop()
        try:
            for entry in root.entries(path):
                if root.is_hidden(entry.name):
                    continue
                where = f"{path}/{entry.name}" if path else entry.name
                yield where, entry
                if entry.kind == "directory" and depth > 1:
                    pending.append((where, level + 1))
        except OutOfReachError as error:
            if path == start:
                raise
            raise OutOfReachError(f"holds '{visible(path[:_SHOWN])}', which {error}") from None
        if pending and pending[-1][1] > depth:
            raise OutOfReachError(f"is more than {depth} levels deep; list a directory below it")


def _matcher(pattern: str | None) -> Callable[[str], bool]:
    if pattern is None:
        return lambda _: True
    expression = re.compile(fnmatch.translate(pattern))
    whole = "/" in pattern
    return lambda path: expression.match(path if whole else path.rpartition("/")[2]) is not None


def _failed(tool: str, path: str, what: str) -> ToolExecutionError:
    shown = visible(path[:_SHOWN]) + ("…" if len(path) > _SHOWN else "")
    return ToolExecutionError(f"tools.{tool}: '{shown}' {what}.", retryable=False, details={"path": shown})
