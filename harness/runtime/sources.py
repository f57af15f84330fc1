"""The engine's places in a script (lines, columns in UTF-8 bytes) as places people mean."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Self

from harness.syntax.lines import engine_positions
from harness.syntax.positions import Positions

__all__ = ["SourceMap"]

_TEXT_LINE_END = re.compile("\r\n?|\n")


class SourceMap:
    """Places in one source, the lines being those that the engine counts."""

    def __init__(self, source: str) -> None:
        self._source = source

    @cached_property
    def _positions(self) -> Positions:
        return engine_positions(self._source)

    @property
    def _starts(self) -> list[int]:
        return self._positions.starts

    def _line(self, line: int) -> str:
        if not 1 <= line <= len(self._starts):
            return ""
        end = self._starts[line] if line < len(self._starts) else len(self._source)
        return self._source[self._starts[line - 1] : end].rstrip("\r\n\u2028\u2029")

    def character_column(self, line: int, byte_column: int) -> int:
        """A column in characters for one in UTF-8 bytes, both from 1."""
        text = self._line(line)
        if text.isascii():
            return byte_column
        return len(text.encode()[: max(0, byte_column - 1)].decode(errors="ignore")) + 1

    def ends_before(self, line: int) -> bool:
        """Whether the source has fewer lines."""
        return line > len(self._starts)

    def within(self, line: int, byte_column: int) -> tuple[int, int]:
        """A place in characters; one behind the end, where the engine sees the end of the function, is the end."""
        if line <= len(self._starts):
            return line, self.character_column(line, byte_column)
        return len(self._starts), len(self._source) - self._starts[-1] + 1

    def excerpt(self, line: int, column: int) -> dict[str, str | int]:
        """``source_line`` and ``source_line_column`` for an error's ``details``; empty for a line that is not there."""
        if not 1 <= line <= len(self._starts):
            return {}
        return self._positions.excerpt(min(self._starts[line - 1] + column - 1, len(self._source)))

    def engine_place(self, before: str) -> tuple[int, int]:
        """Line, and column in UTF-8 bytes, of the place right behind ``before``, which begins the source."""
        line, _ = self._positions.place(len(before))
        # In a block comment a carriage return does not end a line for the engine, but its columns begin anew there.
        start = max(self._starts[line - 1], before.rfind("\r") + 1)
        return line, len(before[start:].encode()) + 1

    @classmethod
    def of_block(cls, source: str) -> Self:
        """For places in the script of a block, which is without the byte order mark that its source may begin with."""
        return cls(source.removeprefix("\ufeff"))

    def text_place(self, line: int, column: int) -> tuple[int, int]:
        """Line ends of a text before a place of the script, and the column behind the last of them, from 1.

        A text has fewer kinds of line ends than a script: U+2028 and U+2029 are none.
        """
        if not 1 <= line <= len(self._starts):
            return 0, 1
        offset = min(self._starts[line - 1] + column - 1, len(self._source))
        ends = list(_TEXT_LINE_END.finditer(self._source, 0, offset))
        start = ends[-1].end() if ends else 0
        return len(ends), offset - start + 1
