"""What is not code in JavaScript: strings, template literals, regular expressions and block comments."""

from __future__ import annotations

import enum
import re

from harness.detection.position import Finding
from harness.detection.slash import Grammar

__all__ = ["LINE_ENDS", "NAMES", "Literals", "Mode", "end_of"]

LINE_ENDS = "\n\r\u2028\u2029"

_IN_STRING = {"'": re.compile(r"[^'\\\n\r]*"), '"': re.compile(r'[^"\\\n\r]*')}
_IN_TEMPLATE = re.compile(r"[^`\\$]*")
_IN_PATTERN = re.compile(r"[^/\\\[\n\r\u2028\u2029]*")
_IN_CLASS = re.compile(r"[^\]\\\n\r\u2028\u2029]*")
_LINE_END = re.compile(f"[{LINE_ENDS}]")
_DEEPEST = 10_000
"""Brackets that may be open at a time. No engine compiles a script that is nested this deeply."""


class Mode(enum.Enum):
    """What the next character belongs to."""

    CODE = enum.auto()
    WORD = enum.auto()
    NUMBER = enum.auto()
    STRING = enum.auto()
    TEMPLATE = enum.auto()
    PATTERN = enum.auto()
    """A regular expression."""
    CLASS = enum.auto()
    """``[…]`` in a regular expression, where ``/`` is an ordinary character."""
    LINE = enum.auto()
    """A comment up to the end of its line."""
    BLOCK = enum.auto()
    """A ``/* … */`` comment."""
    TAG = enum.auto()
    """White space in ``</tool-calls   >``, in code."""
    LINE_TAG = enum.auto()
    """The same in a comment."""
    REST = enum.auto()
    """What follows a closing tag in a comment, up to the end of the line."""
    LOST = enum.auto()
    """Nested too deeply: nothing closes the script any more."""


NAMES = {
    Mode.STRING: "string",
    Mode.TEMPLATE: "template literal",
    Mode.PATTERN: "regular expression",
    Mode.CLASS: "regular expression",
    Mode.BLOCK: "comment",
}
"""What literals are called."""


def end_of(pattern: re.Pattern[str], text: str, at: int) -> int:
    """Where a match of ``pattern`` at ``at`` ends."""
    found = pattern.match(text, at)
    return at if found is None else found.end()


class Literals:
    """The state of a scan, and one method for each kind of literal.

    Each reads ``text`` from ``at`` and returns how far it got: ``at`` itself if it needs more text, which it never does
    when ``final``. ``base`` is the offset of ``text[0]``.
    """

    def __init__(self) -> None:
        self.grammar = Grammar()
        self.findings: list[Finding] = []
        """What looks like a mistake."""
        self._mode = Mode.CODE
        self._quote = ""
        self._literal_start = 0
        """Where the literal at hand begins or, if it is a template, goes on behind a substitution."""

    def _open(self, sign: str, offset: int) -> None:
        """A bracket opens, in code."""
        self.grammar.open(sign)
        self._mode = Mode.CODE
        if self.grammar.depth > _DEEPEST:
            self._mode = Mode.LOST
            self.findings.append(Finding("script_too_deep", offset))

    def _begin_literal(self, mode: Mode, offset: int) -> None:
        self._mode = mode
        self._literal_start = offset

    def _end_literal(self) -> None:
        self.grammar.literal()
        self._mode = Mode.CODE

    def _string(self, text: str, at: int, _base: int, final: bool) -> int:
        end = end_of(_IN_STRING[self._quote], text, at)
        if end == len(text):
            return end
        if text[end] == "\\":
            return _skip_escaped(text, end, final=final)
        self._end_literal()  # at the quote, or at a line end, where a string that was never closed ends
        return end + (text[end] == self._quote)

    def _template(self, text: str, at: int, base: int, final: bool) -> int:
        end = end_of(_IN_TEMPLATE, text, at)
        if end == len(text):
            return end
        sign = text[end]
        if sign == "\\":
            return _skip_escaped(text, end, final=final)
        if sign == "`":
            self.grammar.template()
            self._mode = Mode.CODE
            return end + 1
        if end + 1 == len(text) and not final:
            return end
        if not text.startswith("${", end):
            return end + 1
        self._open("${", base + end)
        return end + 2

    def _pattern(self, text: str, at: int, _base: int, final: bool) -> int:
        end = end_of(_IN_PATTERN, text, at)
        if end == len(text):
            return end
        sign = text[end]
        if sign == "[":
            self._mode = Mode.CLASS
            return end + 1
        if sign == "\\":
            return _skip_in_pattern(text, end, final=final)
        self._end_literal()
        return end + (sign == "/")

    def _class(self, text: str, at: int, _base: int, final: bool) -> int:
        end = end_of(_IN_CLASS, text, at)
        if end == len(text):
            return end
        sign = text[end]
        if sign == "]":
            self._mode = Mode.PATTERN
            return end + 1
        if sign == "\\":
            return _skip_in_pattern(text, end, final=final)
        self._end_literal()
        return end

    def _block(self, text: str, at: int, _base: int, final: bool) -> int:
        end = text.find("*/", at)
        stop = end if end >= 0 else len(text) - (text.endswith("*") and not final)
        if not self.grammar.newline and _LINE_END.search(text, at, stop):
            self.grammar.newline = True
        if end < 0:
            return max(at, stop)
        self._mode = Mode.CODE
        return end + 2

    def _lost(self, text: str, _at: int, _base: int, _final: bool) -> int:
        return len(text)


def _skip_escaped(text: str, at: int, *, final: bool) -> int:
    after = text[at + 1 : at + 3]
    if not final and after in ("", "\r"):
        return at
    return min(len(text), at + (3 if after == "\r\n" else 2))


def _skip_in_pattern(text: str, at: int, *, final: bool) -> int:
    if at + 1 == len(text):
        return at + 1 if final else at
    return at + (1 if text[at + 1] in LINE_ENDS else 2)
