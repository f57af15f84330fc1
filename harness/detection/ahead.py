"""What stands ahead of a tag in its line or paragraph. Each character is looked at once, however many tags ask."""

from __future__ import annotations

import re

__all__ = ["BlankLine", "Runs"]

_RUN = re.compile(r"`+")
_BLANK_LINE = re.compile(r"(?>\r\n|\r|\n)(?:[ \t]*| {0,3}>[ \t>]*)[\r\n]")
_MAY_BE_BLANK = " \t>\r\n"


class Runs:
    """The runs of backticks between the last place asked about and the farthest end asked about.

    Places are offsets in the whole text, of which ``text[0]`` is the one at ``base``; they never go back.
    """

    def __init__(self) -> None:
        self._seen = 0
        self._last: dict[int, int] = {}
        """Length -> where the last such run begins."""

    def has(self, length: int, text: str, base: int, start: int, end: int, *, cut: bool) -> bool:
        """Whether a run of so many backticks stands in ``text[start:end]``.

        ``cut`` says that the text goes on there. A run that reaches up to there does not count then: how long it is, is
        not known.
        """
        at = max(self._seen - base, start)
        if at < end:
            for run in _RUN.finditer(text, at, end):
                if cut and run.end() == end:
                    end = run.start()
                    break
                self._last[run.end() - run.start()] = base + run.start()
            self._seen = base + end
        return self._last.get(length, -1) >= base + start


class BlankLine:
    """The next blank line, which ends a paragraph. Places are as in `Runs`."""

    def __init__(self) -> None:
        self._seen = 0
        self._found = -1

    def find(self, text: str, base: int, start: int, end: int) -> int:
        """Where the line end in front of a blank line in ``text[start:end]`` begins, or -1."""
        if self._found < base + start:
            at = max(self._seen - base, start)
            found = _BLANK_LINE.search(text, at, end)
            if found is None:
                # A line end that only white space follows may still turn out to have a blank line behind it.
                self._seen = base + max(start, len(text[at:end].rstrip(_MAY_BE_BLANK)) + at)
                return -1
            self._found = base + found.start()
        return self._found - base
