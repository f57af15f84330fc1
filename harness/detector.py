"""Finds the blocks in a text that arrives in pieces: ``str`` chunks in, segments out, no input or output of its own.

However the text is cut, the segments (with adjacent ``Text`` merged) and the diagnostics are the same, and the
segments' texts, joined, are the input. One-shot detection is ``feed`` and ``finish``. ``specs/detector.md`` has the rules
and the reasons for them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from harness.detection.block import OpenBlock, emit_self_closed
from harness.detection.closing import Evidence
from harness.detection.markdown import Hidden, Lines
from harness.detection.scanner import Scanner
from harness.detection.tags import CLOSING, NAME, OPENING, TAG_SPACE, opening_end
from harness.detection.window import Reason, Window
from harness.errors import UsageError
from harness.limits import Limits
from harness.model import Block, Diagnostic, Segment, Text

__all__ = ["Detector", "TagProblem", "detect", "extract_scripts", "has_blocks", "merge_text", "validate"]

_THINK = "<think>"
_THINK_END = "</think>"
_PLAIN = re.compile(r"[^\r\n`<\\]*")
_BACKTICKS = re.compile(r"`+")
_OPENING_TAG = re.compile(rf"<{NAME}(?=[/>]|{TAG_SPACE})", re.ASCII | re.IGNORECASE)
_CLOSING_TAG = re.compile(rf"</{NAME}{TAG_SPACE}*(?P<end>>?)", re.ASCII | re.IGNORECASE)
_IN_THINKING = re.compile(rf"{_THINK_END}|{OPENING}(?=[/>]|{TAG_SPACE})")
_REASONS: dict[Hidden, Reason] = {
    Hidden.FENCE: "fenced_code",
    Hidden.INDENTED: "indented_code",
    Hidden.SPAN: "inline_code",
    Hidden.OPEN_SPAN: "inline_code",
}


class Detector:
    """Takes a text in any pieces and gives back its segments as they become certain.

    ``accept_fenced`` lets blocks in fenced code count. ``skip_thinking`` ignores tags between ``<think>`` and
    ``</think>``. Text that cannot be judged yet is held back, at most ``limits.held_text`` characters of it; a block is
    held back until it closes.
    """

    def __init__(
        self, *, limits: Limits | None = None, accept_fenced: bool = False, skip_thinking: bool = False
    ) -> None:
        self._limits = limits or Limits()
        self._accept_fenced = accept_fenced
        self._skip_thinking = skip_thinking
        self._bytes_left = self._limits.text_bytes
        self._finished = False
        self._window = Window(self._limits.held_text)
        self._lines = Lines(self._limits.held_text)
        self._after_return = False
        self._block: OpenBlock | None = None
        self._hidden = Scanner()
        self._evidence = Evidence()
        # What is being read. A step returns False when it needs more text.
        self._step: Callable[[bool], bool] = self._prose
        # What to do at the signs that prose stops at: move on, or stay to wait for more text, or change the step.
        self._signs: dict[str, Callable[[bool], None]] = {
            "\n": self._line_end,
            "\r": self._line_end,
            "`": self._backtick,
            "\\": self._backslash,
            "<": self._bracket,
        }

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """What was noticed so far."""
        return self._window.notices.all()

    def feed(self, chunk: str) -> list[Segment]:
        """Take the next piece of the text and return what has become certain.

        A ``Text`` may be a part of a longer stretch of prose; everything else comes whole and once.

        Raises ``UsageError`` behind ``finish``, and for a chunk with which the text would become longer than
        ``limits.text_bytes``. Nothing of that chunk is taken then, and what was fed before it is not lost: ``finish``
        still returns the rest of it.
        """
        if self._finished:
            raise UsageError("The detector is finished; make a new Detector for another text.")
        if not isinstance(chunk, str):
            raise UsageError(
                f"feed() takes str, not {type(chunk).__name__}; decode bytes with codecs.getincrementaldecoder first."
            )
        size = len(chunk) if chunk.isascii() else len(chunk.encode("utf-8", "surrogatepass"))
        if size > self._bytes_left:
            limit = self._limits.text_bytes
            raise UsageError(
                f"The text is longer than {limit:,} bytes. Cut it, or raise Limits.text_bytes.",
                details={"limit": "text_bytes", "limit_bytes": limit},
            )
        self._bytes_left -= size
        if not self._window.add(chunk):
            return []
        self._run(final=False)
        return self._window.take()

    def finish(self) -> list[Segment]:
        """The text is complete: return what was held back. Calling it again returns nothing."""
        if self._finished:
            return []
        self._finished = True
        self._run(final=True)
        if self._block is None:
            self._window.at = len(self._window.text)
            self._window.flush()
        else:
            self._block.leave_unclosed()
        self._window.notices.finish()
        return self._window.take()

    def _run(self, *, final: bool) -> None:
        self._window.look()
        while self._step(final):
            pass
        if self._block is None:
            self._window.flush()
        else:
            self._block.keep()

    # ── prose ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _prose(self, final: bool) -> bool:
        window, lines = self._window, self._lines
        text, length = window.text, len(window.text)
        while window.at < length:
            if lines.at_start and not self._begin_line(final):
                return False
            plain = _PLAIN.match(text, window.at)
            at = plain.end() if plain else window.at
            if at > window.at:
                lines.other()
                window.at = at
            if at == length:
                break
            step = self._step
            self._signs[text[at]](final)
            if self._step != step:
                return True
            if window.at == at:
                window.hold()
                return False
        return False

    def _begin_line(self, final: bool) -> bool:
        """Pass lines that cannot matter, and judge the beginning of the one after them. False if it is not there."""
        window = self._window
        if self._after_return and window.text[window.at] == "\n":  # the second half of a line end
            window.at += 1
        self._after_return = False
        window.at = self._lines.skip_plain(window.text, window.at)
        if window.at == len(window.text):
            return False
        if not self._lines.begin(window.text, window.at, final=final):
            window.hold()
            return False
        return True

    def _line_end(self, _final: bool) -> None:
        self._lines.end()
        self._after_return = self._window.text[self._window.at] == "\r"
        self._window.at += 1

    def _backtick(self, _final: bool) -> None:
        run = _BACKTICKS.match(self._window.text, self._window.at)
        length = len(run[0]) if run else 0
        self._lines.backticks(length)
        self._window.at += length

    def _backslash(self, final: bool) -> None:
        window = self._window
        second = window.text[window.at + 1 : window.at + 2]
        if not second and not final:
            return
        if second == "`":
            self._lines.escaped_backtick()
        else:
            self._lines.other()
        window.at += 2 if second in ("`", "\\") else 1

    def _bracket(self, final: bool) -> None:
        window = self._window
        text, at = window.text, window.at
        self._lines.other()
        second = text[at + 1 : at + 2]
        if second and second not in "tT/":
            window.at += 1
            return
        head = text[at : at + len(CLOSING) + 1].lower()
        if not final and self._may_become_tag(head):
            return
        if _OPENING_TAG.match(text, at):
            self._opening_tag(final)
        elif closing := _CLOSING_TAG.match(text, at):
            self._closing_tag(closing, final)
        elif self._skip_thinking and text.startswith(_THINK, at) and not self._lines.in_code:
            window.at += len(_THINK)
            self._step = self._thinking
        else:
            window.at += 1

    def _may_become_tag(self, head: str) -> bool:
        if self._skip_thinking and head != _THINK and _THINK.startswith(head):
            return True
        return OPENING.startswith(head) or CLOSING.startswith(head)

    def _closing_tag(self, closing: re.Match[str], final: bool) -> None:
        """A closing tag without a block: prose."""
        window = self._window
        within = closing.end() <= window.limit()
        if not closing["end"] and closing.end() == len(window.text) and within and window.incomplete(final=final):
            return
        if closing["end"] and within:
            self._report_prose("stray_closing_tag" if window.text.startswith(CLOSING, window.at) else "tag_case")
        window.at += 1

    def _report_prose(self, code: str) -> None:
        if not self._lines.in_code:
            self._window.report(code)

    # ── opening tags ─────────────────────────────────────────────────────────────────────────────────────────────

    def _opening_tag(self, final: bool) -> None:
        window = self._window
        if not window.text.startswith(OPENING, window.at):
            self._report_prose("tag_case")
            window.at += 1
            return
        hidden = self._lines.hides(window.text, window.at, window.base, final=final, accept_fenced=self._accept_fenced)
        if hidden in (Hidden.FENCE, Hidden.SPAN):
            self._ignore_on_line(_REASONS[hidden], final, stop_at_backtick=hidden is Hidden.SPAN)
        elif hidden is not Hidden.UNKNOWN:
            more = window.incomplete(final=final)
            end = opening_end(window.text, window.at, window.limit(), more=more)
            if end is not None:
                self._complete_tag(end, hidden, final)

    def _complete_tag(self, end: int, hidden: Hidden, final: bool) -> None:
        """An opening tag that ends at ``end``, or never if that is negative."""
        window = self._window
        if end < 0 and final and len(window.text) < window.limit() and hidden is Hidden.NO:
            self._begin_block(len(window.text))  # the text was cut off in the middle of the tag
        elif end < 0:
            window.report("opening_tag_too_long")
            window.at += len(OPENING)
        elif hidden is Hidden.NO and window.text[end - 2] == "/":
            emit_self_closed(window, end)
        elif hidden is Hidden.NO:
            self._begin_block(end)
        else:
            script_follows = window.text[end - 2] != "/"
            window.ignore(end, _REASONS[hidden])
            if script_follows:
                self._hidden = Scanner()
                self._step = self._hidden_script

    def _ignore_on_line(self, reason: Reason, final: bool, *, stop_at_backtick: bool = False) -> None:
        """Ignore the tag here as far as it lies on its line. Stays in place if that is not known yet."""
        window = self._window
        text, at = window.text, window.at
        stops = [stop for sign in "<>\r\n" if (stop := text.find(sign, at + 1, window.limit())) >= 0]
        if not stops and window.incomplete(final=final):
            return
        end = min(stops, default=at + len(OPENING))
        end += text.startswith(">", end)
        if stop_at_backtick and (tick := text.find("`", at, end)) >= 0:
            end = tick
        window.ignore(end, reason)

    # ── where prose stops ────────────────────────────────────────────────────────────────────────────────────────

    def _begin_block(self, tag_end: int) -> None:
        self._block = OpenBlock(self._window, tag_end, self._evidence)
        self._step = self._in_block

    def _in_block(self, final: bool) -> bool:
        if self._block is None or not self._block.read(final=final):
            return False
        self._block = None
        self._step = self._prose
        return True

    def _hidden_script(self, final: bool) -> bool:
        """Behind an opening tag that does not count, up to where its script ends."""
        window, scanner = self._window, self._hidden
        window.at = scanner.scan(window.text, window.at, window.base, final=final)
        if scanner.found is None:
            return False
        if not scanner.found.in_comment:
            self._step = self._prose
        return True

    def _thinking(self, final: bool) -> bool:
        window = self._window
        found = _IN_THINKING.search(window.text, window.at)
        if found is None:
            # Stay at what may be the beginning of either tag.
            tail = 0 if final else max(_overlap(window.text, window.at, tag) for tag in (OPENING, _THINK_END))
            window.at = len(window.text) - tail
            return False
        window.at = found.start()
        if found[0] == _THINK_END:
            window.at = found.end()
            self._lines = Lines(self._limits.held_text)  # the answer begins here, a text of its own
            self._step = self._prose
            return True
        self._ignore_on_line("thinking", final)
        if window.at == found.start():
            window.hold()
            return False
        return True


def _overlap(text: str, at: int, tag: str) -> int:
    """How many characters at the end of ``text`` are a beginning of ``tag``, all of it included."""
    most = min(len(tag), len(text) - at)
    return next((size for size in range(most, 0, -1) if text.endswith(tag[:size])), 0)


# ── helpers ──────────────────────────────────────────────────────────────────────────────────────────────────────────

TagProblem = Diagnostic
"""What ``validate`` returns: a diagnostic with its place."""


def detect(
    text: str, *, limits: Limits | None = None, accept_fenced: bool = False, skip_thinking: bool = False
) -> list[Segment]:
    """The segments of a whole text. Raises ``UsageError`` if it is longer than ``limits.text_bytes``."""
    detector = Detector(limits=limits, accept_fenced=accept_fenced, skip_thinking=skip_thinking)
    return merge_text([*detector.feed(text), *detector.finish()])


def merge_text(segments: Iterable[Segment]) -> list[Segment]:
    """The same segments with adjacent ``Text`` joined, which makes any way of cutting a text equal to any other."""
    merged: list[Segment] = []
    run: list[Text] = []
    for segment in segments:
        if isinstance(segment, Text):
            run.append(segment)
            continue
        merged.extend(_join(run))
        run = []
        merged.append(segment)
    merged.extend(_join(run))
    return merged


def _join(run: list[Text]) -> list[Text]:
    if len(run) < 2:
        return run
    first, last = run[0].span, run[-1].span
    span = first.model_copy(update={"end": last.end, "end_line": last.end_line, "end_column": last.end_column})
    return [Text(text="".join(text.text for text in run), span=span)]


def has_blocks(text: str) -> bool:
    """Whether the text has a closed block that counts, be its script correct or not."""
    return any(isinstance(segment, Block) for segment in detect(text))


def extract_scripts(text: str) -> list[str]:
    """The sources of the closed blocks that count, in order; those without any are left out."""
    return [segment.source for segment in detect(text) if isinstance(segment, Block) and segment.source.strip()]


def validate(
    text: str, *, limits: Limits | None = None, accept_fenced: bool = False, skip_thinking: bool = False
) -> list[TagProblem]:
    """What is wrong with the tags of a text: unclosed, stray, nested, self-closed, empty, overlong or wrongly written.

    Each has ``line`` and ``column`` and, in ``details``, the offset ``start``. Empty if all is well. Raises
    ``UsageError`` if the text is longer than ``limits.text_bytes``.
    """
    detector = Detector(limits=limits, accept_fenced=accept_fenced, skip_thinking=skip_thinking)
    detector.feed(text)
    detector.finish()
    return [notice for notice in detector.diagnostics if notice.code != "tag_in_code"]
