"""Markdown code, line by line: fences, indented code and backticks.

Only as much of CommonMark as it takes to know whether a tag stands in code, and where that is open, the answer is that
it does. ``specs/detector.md`` has the rules.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from harness.detection.ahead import BlankLine, Runs
from harness.detection.openers import Openers

__all__ = ["Hidden", "Lines"]

# White space, quote markers and list markers; a list marker must have white space behind it.
_PREFIX = re.compile(r"\ufeff?[ \t]*(?:(?:>|(?:[-+*]|[0-9]{1,9}[.)])(?=[ \t]))[ \t]*)*")
_FENCE = re.compile(r"`{3,}|~{3,}")
_CLOSING_FENCE = re.compile(r"(?P<prefix>[ \t]*(?:>[ \t]*)*)(?P<run>`+|~+|)[ \t]*")
# What may still turn into a marker, a fence or a rule when more text comes.
_OPEN_END = re.compile(r"(?:[0-9]{1,9}[.)]?|#{1,6}|`+|~+|\+|[-=*_][-=*_ \t]*|)")
_RULE = re.compile(r"[ \t>]*[-=*_][-=*_ \t]*(?=[\r\n])")
# What ends a paragraph whatever stands before it; much of what looks like it goes on with the paragraph.
_SURE_BREAK = re.compile(
    r"\ufeff?[ \t>]*(?:#{1,6}[ \t\r\n]|(?:(?:\*[ \t]*){3,}|(?:_[ \t]*){3,}|(?:-[ \t]*){3,})?[\r\n])"
)
_MARKER = re.compile(r"[^ \t\ufeff]")
_MARKER_OF_A_LIST = re.compile(r"[^ \t>\ufeff]")
# Whole lines that begin with a letter, perhaps as an item of a list, and hold nothing of interest, and blank ones.
_PLAIN_LINES = re.compile(r"(?:(?: {0,3}(?:[-+*]|[0-9]{1,2}[.)]) )?[^\W\d_][^\r\n`<]*+\r?\n|\r?\n)++")
_PLAIN_CODE_LINES = re.compile(r"(?:[^ \t>`~\r\n<][^\r\n<]*+\r?\n|\r?\n)++")
_ITEM = re.compile(r"^ {0,3}(?:[-+*]|[0-9])", re.MULTILINE)
_BLANK = re.compile(r"(?:\A|\n)\r?\n")
_BLANK_AT_END = re.compile(r"(?:\A|\n)\r?\n\Z")
_DEEP = 4
"""Columns of indentation that make code."""
_MORE = 3
"""Columns that a closing fence may be indented further than its opening one."""
_TAB = 4


_Opened = tuple[int, int]
"""Lengths of the runs of backticks that are open, in two readings of backslashes; 0 for none."""
_CLOSED: _Opened = (0, 0)


class Hidden(enum.Enum):
    """How a tag at some place is hidden by Markdown, if it is."""

    NO = enum.auto()
    UNKNOWN = enum.auto()
    """More text must come before it can be said."""
    FENCE = enum.auto()
    INDENTED = enum.auto()
    SPAN = enum.auto()
    """Backticks around it, which close on its line."""
    OPEN_SPAN = enum.auto()
    """Backticks before it, which do not close on its line."""


@dataclass(frozen=True, slots=True)
class _Fence:
    character: str
    length: int
    column: int
    quotes: int


class Lines:
    """The state of Markdown at the current place of a text that is read from front to back.

    The owner calls ``begin`` at the start of each line, ``backticks`` for those it passes and ``end`` at each line end,
    for everything that stands outside blocks.
    """

    def __init__(self, held_text: int) -> None:
        self.at_start = True
        """``begin`` is due."""
        self._held = held_text
        self._fence: _Fence | None = None
        self._after_break = True
        """The line before may be no paragraph that an indented line could continue."""
        self._between = True
        """The line before is certainly no paragraph that this one could continue."""
        self._paragraph = Openers()
        """What may be open in this paragraph, lines before this one included."""
        self._in_markup = False
        """A line of it began with a tag, so that it may be no paragraph, and end with any line."""
        self._blank_line = BlankLine()
        self._paragraph_runs = Runs()
        self._reset_line()

    @property
    def fenced(self) -> bool:
        """A fence is open."""
        return self._fence is not None

    @property
    def in_code(self) -> bool:
        """As far as is known without looking ahead, this is code."""
        self._finish_run()
        return self.fenced or self._indented or self._deep or self._line != _CLOSED or self._tilde_line()

    def skip_plain(self, text: str, at: int) -> int:
        """Pass whole lines that cannot matter, from the start of a line, and return where they end.

        It changes nothing but the speed: such lines could as well be passed one by one.
        """
        found = (_PLAIN_LINES if self._fence is None else _PLAIN_CODE_LINES).match(text, at)
        if found is None:
            return at
        if self._fence is None:
            lines = found[0]
            if _BLANK.search(lines):
                self._paragraph.clear()
            elif self._paragraph and (self._in_markup or _ITEM.search(lines)):
                self._paragraph.restart()
            self._after_break = self._between = _BLANK_AT_END.search(lines) is not None
        return found.end()

    def begin(self, text: str, at: int, *, final: bool) -> bool:
        """Look at the beginning of the line at ``at``; False if it can only be judged with more text."""
        limit = at + self._held
        stop = min(len(text), limit)
        more = not final and stop < limit
        fence = self._fence
        known = self._outside(text, at, stop, more) if fence is None else self._inside(fence, text, at, stop, more)
        self.at_start = not known
        return known

    def backticks(self, count: int) -> None:
        """So many backticks were passed; the run may go on."""
        self._counting += count

    def escaped_backtick(self) -> None:
        """A backslash and a backtick were passed."""
        self._finish_run()
        self._counting = 1
        self._escaped = True

    def other(self) -> None:
        """Something else than backticks was passed."""
        self._finish_run()

    def end(self) -> None:
        """The line ends."""
        self._finish_run()
        opened = self._candidate
        if opened is not None and opened.character == "`" and self._runs != 1:
            opened = None  # a backtick fence has no other backtick on its line
        fenced = self._fence is not None or opened is not None
        self._between = self._ends or (fenced and (self._between or self._interrupts))
        self._after_break = self._closes or self._break or self._indented or (self._deep and opened is None)
        if self._closes:
            self._fence = None
        elif self._fence is None:
            self._fence = opened
        if self._between:
            self._paragraph.clear()
            self._in_markup = False
        elif self._doubtful:
            self._paragraph.restart()
        self._reset_line()
        self.at_start = True

    def hides(self, text: str, at: int, base: int, *, final: bool, accept_fenced: bool) -> Hidden:
        """Whether Markdown hides the tag at ``at``. ``base`` is the offset of ``text[0]`` in the whole text."""
        if self.fenced:
            return Hidden.NO if accept_fenced else Hidden.FENCE
        self._finish_run()
        if self._tilde_line():
            return Hidden.FENCE
        if self._indented:
            return Hidden.INDENTED
        stop = min(len(text), at + self._held)
        more = not final and stop < at + self._held
        if self._line != _CLOSED:
            return self._on_line(text, at, base, stop, more)
        if self._deep:
            return Hidden.INDENTED
        return self._in_paragraph(text, at, base, stop, more) if self._paragraph else Hidden.NO

    # ── one line ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _reset_line(self) -> None:
        self._candidate: _Fence | None = None
        self._closes = False
        self._break = False
        self._ends = False
        """It certainly ends the paragraph before it."""
        self._interrupts = False
        """If it opens a fence, that certainly ends the paragraph before it."""
        self._doubtful = False
        """It may end the paragraph before it, or be none itself."""
        self._indented = False
        self._deep = False
        """It is indented code, unless it opens a fence."""
        self._line = _CLOSED
        """What is open on this line."""
        self._line_runs = Runs()
        self._runs = 0
        self._counting = 0
        self._escaped = False

    def _tilde_line(self) -> bool:
        return self._candidate is not None and self._candidate.character == "~"

    def _finish_run(self) -> None:
        count, escaped = self._counting, self._escaped
        if not count:
            return
        self._counting, self._escaped = 0, False
        if self._fence is None:
            self._runs += 1
            self._line = _pair(self._line, count, escaped=escaped)
            if self._candidate is not None and self._candidate.character == "`":
                if self._runs == 1:
                    return  # it opens a fence, unless there is another on its line
                if self._runs == 2:
                    self._paragraph.take(self._candidate.length, escaped=False)
            self._paragraph.take(count, escaped=escaped)

    def _inside(self, fence: _Fence, text: str, at: int, stop: int, more: bool) -> bool:
        found = _CLOSING_FENCE.match(text, at, stop)
        assert found is not None  # noqa: S101 -- the pattern matches the empty text
        end = found.end()
        if end == stop:  # with nothing more to come, it is the end of the text or too long to be a closing fence
            return not more
        run = found["run"]
        self._closes = (
            text[end] in "\r\n"
            and run[:1] == fence.character
            and len(run) >= fence.length
            and found["prefix"].count(">") <= fence.quotes
            and _columns(found["prefix"])[0] <= fence.column + _MORE
        )
        return True

    def _outside(self, text: str, at: int, stop: int, more: bool) -> bool:
        prefix = _PREFIX.match(text, at, stop)
        assert prefix is not None  # noqa: S101 -- the pattern matches the empty text
        end = prefix.end()
        if more and _OPEN_END.fullmatch(text, end, stop):
            return False
        first = text[end] if end < stop else ""
        column, deep, deep_in_container = _columns(prefix[0])
        shallow = not deep and not deep_in_container
        blank = first in ("\r", "\n")
        marked = _MARKER.search(prefix[0]) is not None
        if blank:
            self._break = True
        elif fence := _FENCE.match(text, end, stop):
            self._candidate = _Fence(first, len(fence[0]), column, prefix[0].count(">"))
            self._interrupts = shallow and _MARKER_OF_A_LIST.search(prefix[0]) is None
            self._deep = deep_in_container or (deep and self._after_break)
        elif deep_in_container or (deep and self._after_break):
            self._indented = True
        else:
            self._break = first == "#" or any(_RULE.match(text, place, stop) for place in (at, end))
        self._ends = (shallow or (blank and not marked)) and _SURE_BREAK.match(text, at, stop) is not None
        self._in_markup = self._in_markup or first == "<"
        self._doubtful = marked or not shallow or self._break or self._candidate is not None or self._in_markup
        if self._doubtful:
            self._paragraph.restart()
        return True

    # ── backticks ────────────────────────────────────────────────────────────────────────────────────────────────

    def _on_line(self, text: str, at: int, base: int, stop: int, more: bool) -> Hidden:
        line_end = min((end for end in (text.find("\n", at, stop), text.find("\r", at, stop)) if end >= 0), default=-1)
        if line_end < 0 and more:
            return Hidden.UNKNOWN
        end = stop if line_end < 0 else line_end
        if line_end >= 0 and self._candidate and self._runs == 1 and text.find("`", at, end) < 0:
            return Hidden.FENCE  # the line that opens it
        cut = line_end < 0 and stop == at + self._held
        runs = self._line_runs
        closed = all(runs.has(length, text, base, at, end, cut=cut) for length in set(self._line) if length)
        return Hidden.SPAN if closed else Hidden.OPEN_SPAN

    def _in_paragraph(self, text: str, at: int, base: int, stop: int, more: bool) -> Hidden:
        blank_line = self._blank_line.find(text, base, at, stop)
        if blank_line < 0 and more:
            return Hidden.UNKNOWN
        if blank_line < 0 and stop == at + self._held:
            return Hidden.OPEN_SPAN  # it may close further on
        end = blank_line if blank_line >= 0 else stop
        runs = self._paragraph_runs
        closed = self._paragraph.closed(lambda length: runs.has(length, text, base, at, end, cut=False))
        return Hidden.OPEN_SPAN if closed else Hidden.NO


def _pair(opened: _Opened, count: int, *, escaped: bool) -> _Opened:
    """What is open behind a run of backticks, of which the first may have had a backslash before it.

    The backslash counts only outside of code, and which that is depends on how one reads the line; so both readings are
    kept, with and without it, and a tag that either of them hides is hidden.
    """
    plain, strict = opened
    return _pair_one(plain, count), _pair_one(strict, count - 1 if escaped and not strict else count)


def _pair_one(opened: int, count: int) -> int:
    """A run closes one of the same length; inside of it, others mean nothing."""
    if not opened:
        return count
    return 0 if count == opened else opened


def _columns(prefix: str) -> tuple[int, bool, bool]:
    """The column (from 0) behind white space and markers; whether the white space before the first marker, or behind
    any marker, is enough for indented code.
    """
    column = gap = 0
    deep = deep_in_container = marked = False
    for character in prefix:
        if character == "\ufeff":
            continue
        if character in " \t":
            width = _TAB - column % _TAB if character == "\t" else 1
            column += width
            gap += width
            if gap >= _DEEP + marked:
                deep, deep_in_container = deep or not marked, deep_in_container or marked
        else:
            column += 1
            gap = 0
            marked = True
    return column, deep, deep_in_container
