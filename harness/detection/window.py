"""The stretch of the text that the detector has in hand, and what it has made of the text before it."""

from __future__ import annotations

from typing import Literal

from harness.detection.notices import Notices
from harness.detection.position import Cursor
from harness.model import Ignored, Segment, Text

__all__ = ["Reason", "Window"]

Reason = Literal["fenced_code", "indented_code", "inline_code", "thinking"]

_SMALL = 64
"""Held text up to this length is looked at again with each chunk, more of it only when it has doubled."""


class Window:
    """``text[:given]`` has been given out, ``text[given:at]`` is judged, ``text[at:]`` is not.

    ``text[0]`` has the offset ``base`` in the whole text; the cursor stands where ``given`` does.
    """

    def __init__(self, held_text: int) -> None:
        self.text = ""
        self.base = 0
        self.given = 0
        self.at = 0
        self.cursor = Cursor()
        self.notices = Notices()
        self._held_text = held_text
        self._wait = 0
        self._out: list[Segment] = []

    def add(self, chunk: str) -> bool:
        """Take a chunk; False if it is too little to be worth another look."""
        self.text += chunk
        return len(self.text) - self.at >= self._wait

    def hold(self) -> None:
        """Nothing can be said about what is left before there is more of it.

        How much more is chosen so that the looks at held text add up to no more than a multiple of its length.
        """
        held = len(self.text) - self.at
        self._wait = held + 1 if held < _SMALL else max(held + 1, min(2 * held, self._held_text))

    def limit(self) -> int:
        """How far ahead of ``at`` anything may be looked at."""
        return self.at + self._held_text

    def incomplete(self, *, final: bool) -> bool:
        """Whether text that may be looked at is still to come."""
        return not final and len(self.text) < self.limit()

    def flush(self) -> None:
        """Give out everything that is judged, as prose."""
        if self.at > self.given:
            text = self.cut()
            self.emit(Text(text=text, span=self.cursor.pass_over(text)))

    def cut(self) -> str:
        """Take everything that is judged out of the window. The cursor stays."""
        text = self.text[self.given : self.at]
        self.given = self.at
        return text

    def emit(self, segment: Segment) -> None:
        self._out.append(segment)

    def report(self, code: str, **details: str) -> None:
        """Report something at ``at``."""
        self.flush()
        self.notices.add(code, self.cursor, details)

    def ignore(self, end: int, reason: Reason) -> None:
        """Give out ``text[at:end]``, an opening tag that does not count."""
        self.report("tag_in_code", reason=reason)
        self.at = end
        text = self.cut()
        self.emit(Ignored(text=text, span=self.cursor.pass_over(text), reason=reason))

    def put_back(self, text: str) -> None:
        """``text`` came just before ``at``, and what was made of it no longer holds."""
        if len(text) <= self.at:
            self.at -= len(text)
        else:
            rest = self.text[self.at :]
            self.base += self.at - len(text)
            self.text = text + rest
            self.at = 0
        self.given = self.at

    def take(self) -> list[Segment]:
        """What came out since the last time."""
        self.base += self.at
        self.text = self.text[self.at :]
        self.given = self.at = 0
        out, self._out = self._out, []
        return out

    def look(self) -> None:
        """Begin to look at the text again."""
        self._wait = 0
