"""Whether a ``/`` divides or begins a regular expression: as much of JavaScript's grammar as that takes.

The answer depends on what stands before it. Behind a value (a name, a literal, ``)``, ``]``) it divides; where an operand
is due it begins a regular expression. What a closing bracket leaves behind depends on what the bracket was: the ``)`` of
``if (…)`` and of ``f(…)``, the ``}`` of a block and of an object. So each open bracket remembers what follows it.
"""

from __future__ import annotations

from typing import Final

__all__ = ["OPERAND", "STATEMENT", "TEMPLATE", "VALUE", "Grammar"]

# What may come next.
STATEMENT: Final = 0
OPERAND: Final = 1
VALUE: Final = 2
"""Nothing but an operator, or a bracket that continues the value, or (behind a line end) a new statement."""
MEMBER: Final = 3
"""The next member of a class."""

# What is open.
BLOCK: Final = 0
OBJECT: Final = 1
CLASS: Final = 2
PAREN: Final = 3
FOR: Final = 4
BRACKET: Final = 5
TEMPLATE: Final = 6
FUNCTION_HEAD: Final = 7
CLASS_HEAD: Final = 8
_HEADS = (FUNCTION_HEAD, CLASS_HEAD)
_BRACES = (BLOCK, OBJECT, CLASS, TEMPLATE)

_BEFORE_OPERAND = frozenset(
    ("return", "typeof", "in", "delete", "void", "throw", "new", "instanceof", "case", "extends", "var", "const")
)
_BEFORE_STATEMENT = frozenset(
    ("do", "else", "try", "finally", "if", "while", "for", "with", "switch", "catch", "break", "continue", "debugger")
)
_BEFORE_HEAD = frozenset(("if", "while", "with", "switch", "catch", "for"))
_DECLARES = frozenset(("var", "let", "const"))
_NO_NAME = _BEFORE_OPERAND | _BEFORE_STATEMENT | {"await", "yield", "function", "class", "default"}
_SPECIAL = frozenset(("await", "yield", "of", "function", "class", "default", "async"))


class _Open:
    """An open bracket, or the head of a function or class whose body is still to come."""

    __slots__ = (
        "after",
        "arrow_paren",
        "asynchronous",
        "awaits",
        "declares",
        "generator",
        "key",
        "kind",
        "ternaries",
        "yields",
    )

    def __init__(self, kind: int, after: int, *, awaits: bool, yields: bool) -> None:
        self.kind = kind
        self.after = after
        self.awaits = awaits
        self.yields = yields
        self.key = kind in (OBJECT, CLASS)
        """In an object or class: a member's name is due."""
        self.asynchronous = False
        self.generator = False
        """Of the member or function at hand."""
        self.declares = False
        """Behind ``var``, ``let`` or ``const``: a comma may lead to another name."""
        self.ternaries = 0
        """``?`` that wait for their ``:``."""
        self.arrow_paren = False
        """Behind ``async``: if this turns out to hold parameters, they are an asynchronous arrow's."""


class Grammar:
    """Fed one token at a time; ``state`` says what may come next, ``newline`` is to be set at each line end."""

    def __init__(self) -> None:
        self.state = STATEMENT
        self.newline = True
        self._previous = ""
        self._open = [_Open(BLOCK, STATEMENT, awaits=True, yields=False)]
        self._before_async = STATEMENT
        self._arrow_is_async = False

    @property
    def depth(self) -> int:
        """How many brackets are open."""
        return len(self._open) - 1

    @property
    def divides(self) -> bool:
        """Whether a ``/`` would divide. A name that was declared without a value cannot be divided."""
        return self.state == VALUE and not (self.newline and self._previous == "declared name")

    def literal(self) -> None:
        """A string, number or regular expression."""
        self._begin_member()
        self._begin_statement()
        self._set(VALUE, "literal")

    def template(self) -> None:
        """The end of a template literal, which even on a new line may continue the value before it."""
        self._set(VALUE, "literal")

    def word(self, word: str) -> None:
        previous, top = self._previous, self._open[-1]
        if self._is_name(word, previous, top):
            return
        if word not in ("in", "instanceof", "of"):
            self._begin_statement()
        if word in _DECLARES:
            top.declares = True
        if word not in _NO_NAME and (previous in _DECLARES or (previous == "," and top.declares)):
            self._set(VALUE, "declared name")
        elif word in _BEFORE_OPERAND:
            self._set(OPERAND, word)
        elif word in _BEFORE_STATEMENT:
            self._set(STATEMENT, word)
        elif word in _SPECIAL:
            self._special(word, previous, top)
        elif previous in ("break", "continue") and not self.newline:
            self._set(STATEMENT, "name")  # a label; a `/` on the next line begins a statement
        else:
            self._arrow_is_async = previous == "async" and not self.newline
            self._set(VALUE, word)

    def _is_name(self, word: str, previous: str, top: _Open) -> bool:
        """Take a word that stands where any is a name: of a property, a member, a function or a class."""
        if previous in (".", "?.", "#"):
            self._set(VALUE, "name")
            return True
        if top.kind == CLASS and word not in ("in", "instanceof"):
            self._begin_member()
        if top.key:
            if word == "async":
                top.asynchronous = True
            self._set(VALUE, word)
            return True
        if top.kind in _HEADS and word != "extends" and previous in ("function", "class", "*"):
            self._set(VALUE, "name")
            return True
        return False

    def _special(self, word: str, previous: str, top: _Open) -> None:
        if word == "await":
            if previous == "for":
                self._set(STATEMENT, "for")
            else:
                self._set(OPERAND if top.awaits else VALUE, word)
        elif word == "yield":
            self._set(OPERAND if top.yields else VALUE, word)
        elif word == "of":
            between = top.kind == FOR and self.state == VALUE and previous != "let"
            self._set(OPERAND if between else VALUE, word)
        elif word == "default":
            self._set(OPERAND, "export default" if previous == "export" else word)
        elif word == "async":
            self._before_async = STATEMENT if self.state == VALUE or previous == "export default" else self.state
            self._set(VALUE, word)
        else:
            self._head(word, previous, top)

    def _head(self, word: str, previous: str, top: _Open) -> None:
        """``function`` or ``class``: a declaration leaves a statement behind, an expression a value."""
        is_async = word == "function" and previous == "async" and not self.newline
        state = self._before_async if is_async else self.state
        # Behind a value only the end of a line can stand, so that a new statement begins.
        declares = state in (STATEMENT, VALUE) or previous == "export default"
        kind = FUNCTION_HEAD if word == "function" else CLASS_HEAD
        head = _Open(kind, STATEMENT if declares else VALUE, awaits=top.awaits, yields=top.yields)
        head.asynchronous = is_async
        self._open.append(head)
        self._set(OPERAND, word)

    def sign(self, sign: str) -> None:
        """Punctuation that opens and closes nothing."""
        match sign:
            case ".":
                self._dot()
            case ";":
                self._semicolon()
            case ":":
                self._colon(self._open[-1])
            case _:
                self._note(sign, self._open[-1])
                self._set(OPERAND, sign)

    def _note(self, sign: str, top: _Open) -> None:
        """What punctuation says about the bracket around it."""
        if sign == ",":
            if top.kind == OBJECT:
                self._next_member(top)
        elif sign == "*":
            if top.key or (top.kind == FUNCTION_HEAD and self._previous == "function"):
                top.generator = True
        elif sign == "?":
            top.ternaries += 1
        elif sign == "=":
            top.key = False
        elif sign in "#@":
            self._begin_member()

    def _dot(self) -> None:
        spread = self._previous in (".", "...")
        if spread:
            self._open[-1].key = False
        self._set(OPERAND, "..." if spread else ".")

    def _semicolon(self) -> None:
        self._drop_heads()
        top = self._open[-1]
        top.ternaries = 0
        top.declares = False
        if top.kind == CLASS:
            self._next_member(top)
        self._set(STATEMENT if top.kind in (BLOCK, CLASS) else OPERAND, ";")

    def _colon(self, top: _Open) -> None:
        if top.ternaries:
            top.ternaries -= 1
            state = OPERAND
        elif top.kind == BLOCK:
            state = STATEMENT  # behind a label or a case
        else:
            top.key = False
            state = OPERAND
        self._set(state, ":")

    def double(self) -> None:
        """``++`` or ``--``."""
        if self.state == VALUE and not self.newline:
            return
        self._begin_statement()
        self._set(OPERAND, "++")

    def arrow(self) -> None:
        # An expression body has no bracket of its own, so the bracket around it takes over what the arrow allows.
        if self._arrow_is_async:
            self._open[-1].awaits = True
        self._set(OPERAND, "=>")

    # ── brackets ─────────────────────────────────────────────────────────────────────────────────────────────────

    def open(self, sign: str) -> None:
        """``(``, ``[``, ``{`` or ``${``."""
        top = self._open[-1]
        if sign == "(":
            self._open_paren(top)
        elif sign == "[":
            self._push(BRACKET, VALUE)
            self._set(OPERAND, sign)
        elif sign == "{":
            self._open_brace(top)
        else:
            self._push(TEMPLATE, VALUE)
            self._set(OPERAND, sign)

    def _open_paren(self, top: _Open) -> None:
        previous = self._previous
        if top.key:  # of a method
            after = MEMBER if top.kind == CLASS else VALUE
            head = _Open(FUNCTION_HEAD, after, awaits=top.awaits, yields=top.yields)
            head.asynchronous, head.generator = top.asynchronous, top.generator
            self._open.append(head)
            self._push(PAREN, VALUE)
        elif previous in _BEFORE_HEAD:
            self._push(FOR if previous == "for" else PAREN, STATEMENT)
        else:
            self._push(PAREN, VALUE)
            self._open[-1].arrow_paren = previous == "async" and not self.newline
        self._set(OPERAND, "(")

    def _open_brace(self, top: _Open) -> None:
        previous, state = self._previous, self.state
        if top.kind == FUNCTION_HEAD:
            self._open.pop()
            self._push_body(top.after, awaits=top.asynchronous, yields=top.generator)
        elif top.kind == CLASS_HEAD and (state == VALUE or previous == "class"):
            self._open.pop()
            self._push(CLASS, top.after)
        elif previous == "=>":
            # An arrow's body is no operand: behind it only the end of a line can stand.
            self._push_body(STATEMENT, awaits=self._arrow_is_async, yields=False)
        elif top.key and previous == "static":
            self._push_body(MEMBER, awaits=False, yields=False)
        elif state == OPERAND and not (previous == "return" and self.newline):
            self._push(OBJECT, VALUE)
            self._set(OPERAND, "{")
            return
        else:
            self._push(BLOCK, STATEMENT)
        self._set(STATEMENT, "{")

    def close(self, sign: str) -> None:
        """``)`` or ``]``. One that closes nothing changes nothing: such a script does not parse."""
        self._drop_heads()
        top = self._open[-1]
        if top.kind not in ((PAREN, FOR) if sign == ")" else (BRACKET,)):
            self._set(VALUE, sign)
            return
        self._open.pop()
        self._arrow_is_async = top.arrow_paren
        self._set(top.after, sign)

    def close_brace(self) -> int:
        """``}``; returns what it closed. ``TEMPLATE`` means that the template goes on."""
        while len(self._open) > 1 and self._open[-1].kind not in _BRACES:
            self._open.pop()
        if len(self._open) == 1:
            self._set(STATEMENT, "}")
            return BLOCK
        closed = self._open.pop()
        if closed.after == MEMBER:
            self._next_member(self._open[-1])
        self._set(STATEMENT if closed.after == MEMBER else closed.after, "}")
        return closed.kind

    # ── helpers ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _set(self, state: int, previous: str) -> None:
        self.state = state
        self._previous = previous
        self.newline = False

    def _push(self, kind: int, after: int) -> None:
        top = self._open[-1]
        self._open.append(_Open(kind, after, awaits=top.awaits, yields=top.yields))

    def _push_body(self, after: int, *, awaits: bool, yields: bool) -> None:
        self._open.append(_Open(BLOCK, after, awaits=awaits, yields=yields))

    def _drop_heads(self) -> None:
        while self._open[-1].kind in _HEADS:
            self._open.pop()

    def _begin_statement(self) -> None:
        """Something stands here that cannot continue a value: behind one, on a new line, it begins a statement."""
        if self.state == STATEMENT or (self.state == VALUE and self.newline):
            self._open[-1].declares = False

    def _begin_member(self) -> None:
        """Behind a class field, a name on the next line begins the next member."""
        top = self._open[-1]
        if top.kind == CLASS and not top.key and self.newline and self.state != OPERAND:
            self._next_member(top)

    @staticmethod
    def _next_member(top: _Open) -> None:
        top.key = True
        top.asynchronous = top.generator = False
        top.ternaries = 0
