"""A block from its opening tag on: reads its script up to the closing tag."""

from __future__ import annotations

from pydantic import JsonValue

from harness.detection.closing import Evidence, may_end_in_comment
from harness.detection.literals import LINE_ENDS
from harness.detection.position import Cursor, Finding
from harness.detection.scanner import ClosingTag, Scanner
from harness.detection.tags import CDATA_START, CLOSING_TAG, unwrap
from harness.detection.window import Window
from harness.model import Block, Span, Unclosed

__all__ = ["OpenBlock", "emit_self_closed"]


class OpenBlock:
    """The block whose opening tag stands at ``window.at`` and ends at ``tag_end``."""

    def __init__(self, window: Window, tag_end: int, evidence: Evidence) -> None:
        window.flush()
        self._window = window
        self._evidence = evidence
        self._start = window.cursor.offset
        window.at = tag_end
        self._opening_tag = window.cut()
        self._content_start = self._start + len(self._opening_tag)
        self._parts: list[str] = []
        """What was read behind the opening tag."""
        self._end = self._content_start
        """The offset behind the last of them."""
        self._earned = self._start
        self._scanner = Scanner()
        self._cdata_due = True
        self._script_start = self._content_start
        """Where the scanner began."""

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
        part = self._window.cut()
        self._parts.append(part)
        self._end += len(part)

    def leave_unclosed(self) -> None:
        """The text is over."""
        window = self._window
        window.at = len(window.text)
        self.keep()
        content = self._content()
        text = self._opening_tag + content
        self._explain(content)
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
        self._script_start = window.base + window.at
        return True

    def _content(self, end: int | None = None) -> str:
        """What lies behind the opening tag, up to the offset ``end`` if there is one."""
        self._parts = ["".join(self._parts)]
        return self._parts[0] if end is None else self._parts[0][: end - self._content_start]

    def _line_before(self, offset: int) -> str:
        """What lies before ``offset`` on its line, behind the opening tag. Only the last parts are looked at: joining
        all of them for each tag would cost the square of their length.
        """
        behind = self._end - offset
        found: list[str] = []
        for part in reversed(self._parts):
            size = len(part) - behind
            behind = max(0, -size)
            if size <= 0:
                continue
            line_start = max(part.rfind(end, 0, size) for end in LINE_ENDS) + 1
            found.append(part[line_start:size])
            if line_start:
                break
        return "".join(reversed(found))

    # ── whether it ends here ─────────────────────────────────────────────────────────────────────────────────────

    def _ends_at(self, tag: ClosingTag) -> bool:
        evidence, length = self._evidence, tag.start - self._content_start
        self._earn(tag.start)
        if not tag.in_comment:
            if not may_end_in_comment(self._line_before(tag.start)):
                return True
            if evidence.affords(length) and evidence.surely_ends_in_code(self._content(tag.start)):
                return True
            self._scanner.in_comment_after_all()
            return False
        if self._scanner.balanced and evidence.affords(length) and evidence.parses(self._content(tag.start)):
            return True
        self._scanner.findings.append(Finding("closing_tag_in_comment", tag.start))
        return False

    def _earn(self, offset: int) -> None:
        """The script was read up to ``offset``."""
        self._evidence.earn(offset - self._earned)
        self._earned = offset

    def _explain(self, content: str) -> None:
        """Note the first closing tag that a literal hides, since that is what the block was perhaps meant to end with."""
        reported = {finding.offset for finding in self._scanner.findings}
        places = (self._content_start + tag.start() for tag in CLOSING_TAG.finditer(content))
        offset = next((place for place in places if place not in reported), None)
        if offset is None:
            return
        scanner, before = Scanner(), content[: offset - self._content_start]
        at = self._script_start - self._content_start
        while at < len(before) and (now := scanner.scan(before, at, self._content_start, final=False)) > at:
            at = now
        if literal := scanner.literal():
            name, start = literal
            place = Cursor(self._window.cursor.offset, self._window.cursor.line, self._window.cursor.column)
            place.advance(self._opening_tag + content[: start - self._content_start])
            details: dict[str, JsonValue] = {"literal": name, "from_line": place.line, "from_column": place.column}
            self._scanner.findings.append(Finding("closing_tag_in_literal", offset, details))

    # ── what comes out ───────────────────────────────────────────────────────────────────────────────────────────

    def _close(self, tag: ClosingTag) -> None:
        window, cursor = self._window, self._window.cursor
        content = self._content(tag.start)
        read, end = self._content(), tag.end - self._content_start
        text = self._opening_tag + read[:end]
        # What was looked at behind the tag, the blank rest of a line, is prose again.
        window.put_back(read[end:])
        self._earn(tag.end)
        first, last = (len(self._opening_tag) + offset for offset in unwrap(content))
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
                opening_tag=self._opening_tag,
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
            self._window.notices.add(finding.code, place, finding.details)


def emit_self_closed(window: Window, tag_end: int) -> None:
    """Give out the block ``<tool-calls/>`` that stands at ``window.at``."""
    window.report("self_closed_block")
    window.at = tag_end
    tag = window.cut()
    span = window.cursor.pass_over(tag)
    nothing = window.cursor.pass_over("")
    window.emit(Block(text=tag, span=span, opening_tag=tag, source="", source_span=nothing, self_closed=True))
