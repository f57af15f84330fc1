"""Runs of backticks in a paragraph that may have opened inline code."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Openers"]

_Lengths = tuple[int, ...]

_MOST_RUNS = 32
"""Runs of different lengths that are told apart."""
_MOST_READINGS = 8


class Openers:
    """The runs of a paragraph, up to some place in it, that one of the same length would close behind that place.

    Which of them is code cannot be said before the paragraph ends, since a run that nothing closes means nothing, and
    those behind it then count. Nor is it always clear where the paragraph began, or whether a backslash in front of a
    run stands in code, where it means nothing. So all readings are kept: as many as can differ, and no end of them.
    """

    def __init__(self) -> None:
        self.clear()

    def __bool__(self) -> bool:
        return self._too_many or any(self._plain) or any(self._strict)

    def clear(self) -> None:
        """The paragraph ends."""
        self._plain: set[_Lengths] = {()}
        """What is open in each reading, if backslashes mean nothing."""
        self._strict: set[_Lengths] = {()}
        """The same, if each of them makes the backtick behind it mean nothing, where that opens code."""
        self._too_many = False

    def restart(self) -> None:
        """Perhaps the paragraph ends, and another begins."""
        if self:
            self._keep({*self._plain, ()}, {*self._strict, ()})

    def take(self, count: int, *, escaped: bool) -> None:
        """A run of ``count`` backticks comes, the first of which may have a backslash before it."""
        self._keep(
            {_behind(reading, count, count) for reading in self._plain},
            {_behind(reading, count, count - escaped) for reading in self._strict},
        )

    def _keep(self, plain: set[_Lengths], strict: set[_Lengths]) -> None:
        if max(len(plain), len(strict)) > _MOST_READINGS or max(map(len, plain | strict)) > _MOST_RUNS:
            self._too_many = True
        if not self._too_many:
            self._plain, self._strict = plain, strict

    def closed(self, follows: Callable[[int], bool]) -> bool:
        """Whether one of them may be closed, where ``follows`` says whether a run of a length follows."""
        lengths = {length for reading in self._plain | self._strict for length in reading}
        return self._too_many or any(follows(length) for length in lengths)


def _behind(reading: _Lengths, as_closing: int, as_opening: int) -> _Lengths:
    if as_closing in reading:
        # What stands between the two is code, and no run there opens anything.
        return reading[: reading.index(as_closing)]
    if not as_opening or as_opening in reading:
        return reading
    return (*reading, as_opening)
