"""Places in a source: from offsets to the lines and columns that people and the engine mean."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Collection
from functools import cached_property
from itertools import accumulate

from harness.redaction import visible

__all__ = ["EXCERPT_CHARACTERS", "Positions"]

EXCERPT_CHARACTERS = 200
"""Most characters of a source line that an error shows."""

_LINE_END = re.compile("\r\n?|[\n\u2028\u2029]")
# 1 for a byte that begins a character in UTF-8, 0 for one that continues it.
_BEGINS_CHARACTER = bytes(0 if 0x80 <= byte < 0xC0 else 1 for byte in range(256))


class Positions:
    r"""Lines and columns of one source, from 1, in characters.

    A line ends at ``\n``, ``\r\n``, ``\r``, U+2028 and U+2029, except at the offsets in ``uncounted``: the engine
    skips some line ends inside comments and literals, and an error found here must name the line it would name.
    """

    def __init__(self, source: str, uncounted: Collection[int] = ()) -> None:
        self._source = source
        self._uncounted = uncounted

    @cached_property
    def starts(self) -> list[int]:
        """Where each line begins: offsets in characters."""
        ends = _LINE_END.finditer(self._source)
        return [0, *(end.end() for end in ends if end.start() not in self._uncounted)]

    @cached_property
    def _characters(self) -> list[int]:
        data = self._source.encode("utf-8", "surrogatepass")
        # Entry b counts the characters that begin before byte b.
        return list(accumulate(data.translate(_BEGINS_CHARACTER), initial=0))

    def character(self, byte: int) -> int:
        """The offset in characters of an offset in UTF-8 bytes."""
        return byte if self._source.isascii() else self._characters[byte]

    def place(self, offset: int) -> tuple[int, int]:
        """Line and column of an offset in characters."""
        line = bisect_right(self.starts, offset)
        return line, offset - self.starts[line - 1] + 1

    def excerpt(self, offset: int) -> dict[str, str | int]:
        """The line around an offset, for an error's ``details``.

        ``source_line`` is the line, cut to ``EXCERPT_CHARACTERS`` around the offset with a mark that says how much
        was cut, unseen characters escaped; ``source_line_column`` is the column of the offset in that, from 1.
        """
        line = bisect_right(self.starts, offset)
        start = self.starts[line - 1]
        end = self.starts[line] if line < len(self.starts) else len(self._source)
        end = start + len(self._source[start:end].rstrip("\r\n\u2028\u2029"))
        offset = min(offset, end)
        low, high = start, end
        if end - start > EXCERPT_CHARACTERS:
            low = max(start, min(offset - EXCERPT_CHARACTERS // 2, end - EXCERPT_CHARACTERS))
            high = low + EXCERPT_CHARACTERS
        before = f"[{low - start} characters cut]…" if low > start else ""
        after = f"…[{end - high} characters cut]" if high < end else ""
        head = before + visible(self._source[low:offset], keep="\t")
        return {
            "source_line": head + visible(self._source[offset:high], keep="\t") + after,
            "source_line_column": len(head) + 1,
        }
