"""A block from its opening tag on: reads its script up to the closing tag."""

from __future__ import annotations

from harness.detection.closing import may_end_in_comment, parses, surely_ends_in_code
from harness.detection.position import Cursor, Finding
from harness.detection.scanner import ClosingTag, Scanner
from harness.detection.tags import CDATA_START, unwrap
from harness.detection.window import Window
from harness.model import Block, Span, Unclosed

__all__ = ["OpenBlock", "emit_self_closed"]

_FREE_PARSING = 64 * 1024
_PARSING_PER_CHARACTER = 2


class OpenBlock:
    """The block whose opening tag stands at ``window.at`` and ends at ``tag_end``."""

    def __init__(self, window: Window, tag_end: int) -> None:
        window.flush()
        self._window = window
        self._start = window.cursor.offset
        self._tag_length = tag_end - window.at
        window.at = tag_end
        self._parts: list[str] = []
        self._scanner = Scanner()
        self._cdata_due = True
        self._parsed = 0

    def read(self, *, final: bool) -> bool:
        """Read on. True if the block closed and was given out; the window then stands behind it."""
        window, scanner = self._window, self._scanner
        if self._cdata_due and not self._pass_cdata_start(final=final):
            return False
        while True:
            window.at = scanner.scan(window.text, window.at, window.base, final=final)
            if scanner.found is None:
                return False
            self.keep()
            if self._ends_at(scanner.found):
                self._close(scanner.found)
                return True

    def keep(self) -> None:
        """Take what was read out of the window."""
        self._parts.append(self._window.cut())

    def leave_unclosed(self) -> None:
        """The text is over."""
        window = self._window
        window.at = len(window.text)
        self.keep()
        text = self._text()
        self._report_findings(text)
        window.notices.add("unclosed_block", window.cursor, {})
        window.emit(Unclosed(text=text, span=window.cursor.pass_over(text)))

    def _pass_cdata_start(self, *, final: bool) -> bool:
        """Move past ``<![CDATA[``, if it stands in front of the script. False if more text is needed to know."""
        window = self._window
        text = window.text
        while window.at < len(text) and text[window.at] in " \t\r\n":
            window.at += 1
        head = text[window.at : window.at + len(CDATA_START)]
        if len(head) < len(CDATA_START) and CDATA_START.startswith(head) and not final:
            return False
        if head == CDATA_START:
            window.at += len(CDATA_START)
        self._cdata_due = False
        return True

    def _text(self) -> str:
        """Everything since the opening tag's ``<``."""
        self._parts = ["".join(self._parts)]
        return self._parts[0]

    def _content(self, tag: ClosingTag) -> str:
        """What lies between the tags."""
        return self._text()[self._tag_length : tag.start - self._start]

    # ── whether it ends here ─────────────────────────────────────────────────────────────────────────────────────

    def _ends_at(self, tag: ClosingTag) -> bool:
        if not tag.in_comment:
            content = self._content(tag)
            if not may_end_in_comment(content) or (self._may_parse(tag) and surely_ends_in_code(content)):
                return True
            self._scanner.in_comment_after_all()
            return False
        # In this order: joining and parsing the text each time would cost the square of its length.
        if self._scanner.balanced and self._may_parse(tag) and parses(self._content(tag)):
            return True
        self._scanner.findings.append(Finding("closing_tag_in_comment", tag.start))
        return False

    def _may_parse(self, tag: ClosingTag) -> bool:
        """Whether parsing the script up to this tag keeps the work in proportion to the text."""
        length = tag.start - self._start
        self._parsed += length
        return self._parsed <= _FREE_PARSING + _PARSING_PER_CHARACTER * length

    # ── what comes out ───────────────────────────────────────────────────────────────────────────────────────────

    def _close(self, tag: ClosingTag) -> None:
        window, cursor = self._window, self._window.cursor
        content = self._content(tag)
        text = self._text()[: tag.end - self._start]
        # What was looked at behind the tag, the blank rest of a line, is prose again.
        window.put_back(self._text()[len(text) :])
        first, last = (self._tag_length + offset for offset in unwrap(content))
        self._report_findings(text)
        if not text[first:last].strip():
            window.notices.add("empty_block", cursor, {})
        start, line, column = cursor.offset, cursor.line, cursor.column
        cursor.advance(text[:first])
        source_span = cursor.pass_over(text[first:last])
        cursor.advance(text[last:])
        span = Span(
            start=start,
            end=cursor.offset,
            line=line,
            column=column,
            end_line=cursor.line,
            end_column=cursor.column,
        )
        window.emit(
            Block(
                text=text,
                span=span,
                opening_tag=text[: self._tag_length],
                source=text[first:last],
                source_span=source_span,
            )
        )

    def _report_findings(self, text: str) -> None:
        """Report what the scanner noticed in ``text``, the block that begins at the cursor."""
        cursor = self._window.cursor
        place = Cursor(cursor.offset, cursor.line, cursor.column)
        for finding in sorted(self._scanner.findings, key=lambda finding: finding.offset):
            place.advance(text[place.offset - self._start : finding.offset - self._start])
            self._window.notices.add(finding.code, place, {})


def emit_self_closed(window: Window, tag_end: int) -> None:
    """Give out the block ``<tool-calls/>`` that stands at ``window.at``."""
    window.report("self_closed_block")
    window.at = tag_end
    tag = window.cut()
    span = window.cursor.pass_over(tag)
    nothing = window.cursor.pass_over("")
    window.emit(Block(text=tag, span=span, opening_tag=tag, source="", source_span=nothing, self_closed=True))
