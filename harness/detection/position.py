"""Where in a text something stands."""

from __future__ import annotations

from dataclasses import dataclass, field

from pydantic import JsonValue

from harness.model import Span

__all__ = ["Cursor", "Finding"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something worth reporting: what, and at which offset."""

    code: str
    offset: int
    details: dict[str, JsonValue] = field(default_factory=dict)


class Cursor:
    r"""A place that moves forward through a text.

    A line ends at ``\n``, ``\r\n`` or a lone ``\r``. A column is one more than the number of code points since then;
    the ``\n`` of a ``\r\n`` stands in column 1 of the line it begins.
    """

    __slots__ = ("_after_return", "column", "line", "offset")

    def __init__(self, offset: int = 0, line: int = 1, column: int = 1) -> None:
        self.offset = offset
        self.line = line
        self.column = column
        self._after_return = False

    def advance(self, text: str) -> None:
        """Move past ``text``."""
        if not text:
            return
        self.offset += len(text)
        start = 1 if self._after_return and text[0] == "\n" else 0
        ends = text.count("\n", start) + text.count("\r", start) - text.count("\r\n", start)
        if ends:
            self.line += ends
            self.column = len(text) - max(text.rfind("\n"), text.rfind("\r"))
        else:
            self.column += len(text) - start
        self._after_return = text[-1] == "\r"

    def pass_over(self, text: str) -> Span:
        """Move past ``text`` and say where it stood."""
        start, line, column = self.offset, self.line, self.column
        self.advance(text)
        return Span(start=start, end=self.offset, line=line, column=column, end_line=self.line, end_column=self.column)
