"""Where JavaScript is code and where it is a string, template, regular expression or comment, read as it arrives.

The scanner looks for the one closing tag that ends a script. It is fed a growing text, never looks at a character twice
(but for a few at the end of a chunk), keeps its brackets on a list and not on Python's stack, and never fails: a script
that is wrong is scanned to its end like any other, and other stages say what is wrong with it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from harness.detection.literals import LINE_ENDS, NAMES, Literals, Mode, end_of
from harness.detection.position import Finding
from harness.detection.slash import TEMPLATE, VALUE
from harness.detection.tags import CLOSING, OPENING, TAG_SPACE

__all__ = ["ClosingTag", "Scanner"]

# Beyond ASCII every character but white space is taken as part of a name.
_NAME_PART = r"[^\0-#%-/:-@\[-^`{-\x7f\s\ufeff]"
# White space, then one token, if there is one.
_TOKEN = re.compile(
    rf"(?:[^\S{LINE_ENDS}]|\ufeff)*(?:((?![0-9]){_NAME_PART}+)|([{LINE_ENDS}]\s*)|([0-9][\w.$]*)|(.))?", re.DOTALL
)
_WORD, _NEWLINE, _NUMBER, _SIGN = 1, 2, 3, 4
_REST_OF_WORD = re.compile(f"{_NAME_PART}*")
_REST_OF_NUMBER = re.compile(r"[\w.$]*")
_ESCAPE = re.compile(r"\\(?:u(?:\{[0-9A-Fa-f]{0,64}\}?)?)?")
_IN_LINE = re.compile(f"[^<{LINE_ENDS}]*")
_TAG_SPACE = re.compile(f"{TAG_SPACE}*")
_BLANK = re.compile(rf"[^\S{LINE_ENDS}]*")
_NESTED = re.compile(f"{OPENING}(?:[/>]|{TAG_SPACE})")
_LONGEST_KEYWORD = 16


@dataclass(frozen=True, slots=True)
class ClosingTag:
    """A closing tag that may end the script: offsets in the text, end exclusive."""

    start: int
    end: int
    in_comment: bool
    """It stands in a line comment, and the rest of its line is blank."""


class Scanner(Literals):
    """One script, from behind its opening tag."""

    def __init__(self) -> None:
        super().__init__()
        self.found: ClosingTag | None = None
        self._start: int | None = None
        self._word = ""
        self._tag_start = 0
        self._tag_end = 0
        self._tag_crosses_line = False
        self._steps = {
            Mode.CODE: self._code,
            Mode.WORD: self._in_word,
            Mode.NUMBER: self._in_number,
            Mode.STRING: self._string,
            Mode.TEMPLATE: self._template,
            Mode.PATTERN: self._pattern,
            Mode.CLASS: self._class,
            Mode.LINE: self._line,
            Mode.BLOCK: self._block,
            Mode.TAG: self._in_tag,
            Mode.LINE_TAG: self._in_line_tag,
            Mode.REST: self._rest,
            Mode.LOST: self._lost,
        }
        self._long_signs = {
            "/": self._slash,
            "<": self._less_than,
            "+": self._plus_or_minus,
            "-": self._plus_or_minus,
            "=": self._equals,
            "?": self._question_mark,
            "!": self._exclamation_mark,
            "#": self._hash,
            "\\": self._escape,
        }

    @property
    def balanced(self) -> bool:
        """No bracket is open: without this no text parses."""
        return self.grammar.depth == 0

    def scan(self, text: str, at: int, base: int, *, final: bool) -> int:
        """Read ``text`` from ``at`` and return how far it got.

        Stops behind a closing tag that may end the script (then ``found`` is set; scanning on means it did not), or when
        what is left, a few characters at most, can only be read together with what comes next. ``base`` is the offset of
        ``text[0]`` in the whole text; ``final`` says that nothing comes next.
        """
        self._forget()
        if self._start is None:
            self._start = base + at
        while at < len(text):
            mode = self._mode
            now = self._steps[mode](text, at, base, final)
            if self.found is not None:
                return now
            if now == at and self._mode is mode:
                return at
            at = now
        if final and self._mode is Mode.REST:
            self._offer(in_comment=True)
        return at

    def literal(self) -> tuple[str, int] | None:
        """What the place reached belongs to, if it is a literal, and where that begins."""
        return (NAMES[self._mode], self._literal_start) if self._mode in NAMES else None

    def in_comment_after_all(self) -> None:
        """The closing tag just found in code stands in a line comment, on better evidence: judge it as one."""
        self._mode = Mode.REST

    def _forget(self) -> None:
        self.found = None

    def _offer(self, *, in_comment: bool) -> None:
        self.found = ClosingTag(self._tag_start, self._tag_end, in_comment)
        self._mode = Mode.LINE if in_comment else Mode.CODE

    # ── code ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _code(self, text: str, at: int, base: int, final: bool) -> int:
        grammar, length = self.grammar, len(text)
        while at < length:
            token = _TOKEN.match(text, at)
            kind = token and token.lastindex
            if token is None or kind is None:
                return length  # nothing but white space
            end = token.end()
            if kind == _WORD:
                if end == length and not final:
                    self._word = token[_WORD][:_LONGEST_KEYWORD]
                    self._mode = Mode.WORD
                    return end
                grammar.word(token[_WORD])
            elif kind == _SIGN:
                at = end - 1
                end = self._sign(text[at], text, at, base, final)
                if end == at or self._mode is not Mode.CODE:
                    return end
            elif kind == _NEWLINE:
                grammar.newline = True
            else:
                grammar.literal()
                if end == length:
                    self._mode = Mode.NUMBER
                    return end
            at = end
        return at

    def _in_word(self, text: str, at: int, _base: int, final: bool) -> int:
        end = end_of(_REST_OF_WORD, text, at)
        self._word = (self._word + text[at : min(end, at + _LONGEST_KEYWORD)])[:_LONGEST_KEYWORD]
        if end < len(text) or final:
            self.grammar.word(self._word)
            self._mode = Mode.CODE
        return end

    def _in_number(self, text: str, at: int, _base: int, _final: bool) -> int:
        end = end_of(_REST_OF_NUMBER, text, at)
        if end < len(text):
            self._mode = Mode.CODE
        return end

    def _sign(self, sign: str, text: str, at: int, base: int, final: bool) -> int:
        if sign in "([{":
            self._open(sign, base + at)
        elif sign in ")]":
            self.grammar.close(sign)
        elif sign == "}":
            if self.grammar.close_brace() == TEMPLATE:
                self._begin_literal(Mode.TEMPLATE, base + at)
        elif sign in "'\"":
            self._begin_literal(Mode.STRING, base + at)
            self._quote = sign
        elif sign == "`":
            self._begin_literal(Mode.TEMPLATE, base + at)
        elif (long := self._long_signs.get(sign)) is not None:
            return long(text, at, base, final)
        else:
            self.grammar.sign(sign)
        return at + 1

    # ── signs that only the characters behind them make clear ────────────────────────────────────────────────────

    def _slash(self, text: str, at: int, base: int, final: bool) -> int:
        if at + 1 == len(text) and not final:
            return at
        if text.startswith("//", at):
            self._mode = Mode.LINE
            return at + 2
        if text.startswith("/*", at):
            self._begin_literal(Mode.BLOCK, base + at)
            return at + 2
        if self.grammar.divides:
            self.grammar.sign("/")
        else:
            self._begin_literal(Mode.PATTERN, base + at)
        return at + 1

    def _plus_or_minus(self, text: str, at: int, _base: int, final: bool) -> int:
        if len(text) - at < 3 and not final:
            return at
        if text.startswith("-->", at) and self.grammar.newline:
            self._mode = Mode.LINE  # first on its line the engine reads it as a comment
            return at + 3
        if text.startswith(text[at], at + 1):
            self.grammar.double()
            return at + 2
        self.grammar.sign("+")
        return at + 1

    def _equals(self, text: str, at: int, _base: int, final: bool) -> int:
        if at + 1 == len(text) and not final:
            return at
        if text.startswith("=>", at):
            self.grammar.arrow()
            return at + 2
        self.grammar.sign("=")
        return at + 1

    def _question_mark(self, text: str, at: int, _base: int, final: bool) -> int:
        after = text[at + 1 : at + 3]
        if len(after) < 2 and not final:
            return at
        if after[:1] == "." and not after[1:].isdigit():  # `a?.5:1` is a conditional
            self.grammar.sign("?.")
            return at + 2
        if after[:1] == "?":
            self.grammar.sign("??")
            return at + 2
        self.grammar.sign("?")
        return at + 1

    def _exclamation_mark(self, text: str, at: int, _base: int, final: bool) -> int:
        if at + 1 == len(text) and not final:
            return at
        grammar = self.grammar
        # Behind a value it is TypeScript's `a!`, which leaves a value; in JavaScript it is nothing correct.
        if grammar.state != VALUE or grammar.newline or text.startswith("!=", at):
            grammar.sign("!")
        return at + 1

    def _hash(self, text: str, at: int, base: int, final: bool) -> int:
        if at + 1 == len(text) and not final:
            return at
        if text.startswith("#!", at) and base + at == self._start:
            self._mode = Mode.LINE
            return at + 2
        self.grammar.sign("#")
        return at + 1

    def _escape(self, text: str, at: int, _base: int, final: bool) -> int:
        r"""``\u{61}`` in a name: its brace is none, and the name is no keyword."""
        end = end_of(_ESCAPE, text, at)
        if end == len(text) and not final:
            return at
        self._word = "\\"
        self._mode = Mode.WORD
        return end

    def _less_than(self, text: str, at: int, base: int, final: bool) -> int:
        if text.startswith(CLOSING, at):
            self._tag_start = base + at
            self._tag_crosses_line = False
            self._mode = Mode.TAG
            return at + len(CLOSING)
        head = text[at : at + len(CLOSING)].lower()
        if len(head) < len(CLOSING) and not final and any(tag.startswith(head) for tag in (CLOSING, OPENING, "<!--")):
            return at
        if head.startswith("<!--"):
            self._mode = Mode.LINE
            return at + 4
        if head == CLOSING:
            self.findings.append(Finding("tag_case", base + at))
        elif _NESTED.match(text, at):
            self.findings.append(Finding("nested_opening_tag", base + at))
        self.grammar.sign("<")
        return at + 1

    # ── closing tags and line comments ───────────────────────────────────────────────────────────────────────────

    def _in_tag(self, text: str, at: int, base: int, _final: bool) -> int:
        end = self._tag_space(text, at)
        if end == len(text):
            return end
        self.grammar.sign("<")
        if text[end] == ">":
            self._tag_end = base + end + 1
            self._offer(in_comment=False)
            return end + 1
        # A comparison with a regular expression after all, or with nothing sensible.
        self._begin_literal(Mode.CODE if self._tag_crosses_line else Mode.PATTERN, self._tag_start + 1)
        return end

    def _in_line_tag(self, text: str, at: int, base: int, _final: bool) -> int:
        end = self._tag_space(text, at)
        if self._tag_crosses_line:  # the comment has ended, and the tag with it
            self._mode = Mode.CODE
            self.grammar.newline = True
        elif end < len(text) and text[end] == ">":
            self._tag_end = base + end + 1
            self._mode = Mode.REST
            return end + 1
        elif end < len(text):
            self._mode = Mode.LINE
        return end

    def _tag_space(self, text: str, at: int) -> int:
        end = end_of(_TAG_SPACE, text, at)
        if text.find("\n", at, end) >= 0 or text.find("\r", at, end) >= 0:
            self._tag_crosses_line = True
        return end

    def _line(self, text: str, at: int, base: int, final: bool) -> int:
        end = end_of(_IN_LINE, text, at)
        if end == len(text):
            return end
        if text[end] != "<":
            self._mode = Mode.CODE
            return end
        if text.startswith(CLOSING, end):
            self._tag_start = base + end
            self._tag_crosses_line = False
            self._mode = Mode.LINE_TAG
            return end + len(CLOSING)
        if not final and CLOSING.startswith(text[end : end + len(CLOSING)]):
            return end
        return end + 1

    def _rest(self, text: str, at: int, _base: int, _final: bool) -> int:
        end = end_of(_BLANK, text, at)
        if end == len(text):
            return end
        if text[end] in LINE_ENDS:
            self._offer(in_comment=True)
        else:
            self._mode = Mode.LINE
            self.findings.append(Finding("closing_tag_in_comment", self._tag_start))
        return end
