"""Everything that can be said of a script from its text alone, whatever block it stands in and whatever tools exist."""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from tree_sitter import Tree

from harness.errors import BannedIdentifierError, ScriptSyntaxError
from harness.model import BlockAttributes, Diagnostic, ExecutionMode, Severity, ToolReference
from harness.redaction import visible
from harness.syntax.absent import ABSENT_GLOBALS, BANNED_IDENTIFIERS, BANNED_SYNTAX
from harness.syntax.attributes import read_attributes
from harness.syntax.balance import find_imbalance
from harness.syntax.characters import BIDIRECTIONAL, CONTROLS, INVISIBLE, describe, lookalikes
from harness.syntax.grammar import TooTangled, first_error, parse_javascript
from harness.syntax.lines import uncounted_line_ends
from harness.syntax.modes import Statements, read_statements
from harness.syntax.positions import Positions
from harness.syntax.problem import Problem
from harness.syntax.references import Call, find_calls
from harness.syntax.scope import Reference, Use
from harness.syntax.walk import GLOBAL_OBJECTS, Syntax, read_syntax

__all__ = ["Analysis", "analyse"]

_DEFAULT_ATTRIBUTES = BlockAttributes()
# `n --> 0` in the middle of a line is arithmetic to everyone.
_HTML_COMMENT = re.compile(
    r"(?:(?<=\*/)|(?<![^\n\r\u2028\u2029]))[^\S\n\r\u2028\u2029]*(?P<dashes>-->)|(?P<opener><!--)"
)


@dataclass(frozen=True, slots=True)
class Analysis:
    """What a script is, or what is wrong with it."""

    source: str
    sha256: str
    positions: Positions
    problems: tuple[Problem, ...]
    """Why it must not run, the most telling one first; empty if nothing is wrong."""
    attributes: BlockAttributes = _DEFAULT_ATTRIBUTES
    mode: ExecutionMode = ExecutionMode.STATEMENTS
    result_range: tuple[int, int] | None = None
    calls: tuple[Call, ...] = ()
    references: tuple[ToolReference, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()


def analyse(opening_tag: str, source: str) -> Analysis:
    """Check a script. ``source`` has no byte order mark and is no longer than it may be."""
    attributes = read_attributes(opening_tag)
    problems: tuple[Problem, ...] = ()
    if not isinstance(attributes, BlockAttributes):
        problems, attributes = attributes, _DEFAULT_ATTRIBUTES
    sha256 = hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()
    unusable = tuple(_unusable_characters(source))
    data = b"" if unusable else source.encode()
    tree = parse_javascript(data)
    positions = Positions(source)
    if unusable or isinstance(tree, TooTangled):
        problems += unusable or (_too_tangled(positions.character(tree.byte if isinstance(tree, TooTangled) else 0)),)
        return Analysis(source, sha256, positions, problems, attributes)
    syntax = read_syntax(tree.root_node, data)
    if uncounted := frozenset(uncounted_line_ends(source, syntax, positions)):
        positions = Positions(source, uncounted)
    script = _Script(source, data, tree, syntax, positions)
    mode, result_range = script.mode()
    calls = find_calls(syntax.free)
    return Analysis(
        source=source,
        sha256=sha256,
        positions=positions,
        problems=problems + tuple(script.problems()),
        attributes=attributes,
        mode=mode,
        result_range=result_range,
        calls=calls,
        references=tuple(_reference(call, positions) for call in calls if not call.dashed),
        diagnostics=tuple(script.diagnostics()),
    )


def _reference(call: Call, positions: Positions) -> ToolReference:
    line, column = positions.place(positions.character(call.byte))
    return ToolReference(name=visible(call.name), line=line, column=column)


def _unusable_characters(source: str) -> Iterator[Problem]:
    found: dict[str, int] = {}
    for match in CONTROLS.finditer(source):
        found.setdefault(match[0], match.start())
    for char, offset in found.items():
        what = "half of a surrogate pair" if "\ud800" <= char <= "\udfff" else "a control character"
        message = (
            f"The script holds {what}, U+{ord(char):04X}: write it as the escape `\\u{ord(char):04x}` in a string."
        )
        yield Problem(ScriptSyntaxError, message, offset, {"character": f"U+{ord(char):04X}"})


def _too_tangled(offset: int) -> Problem:
    message = "The script has so many syntax errors that it was not read to its end; the first is about here."
    return Problem(ScriptSyntaxError, message, offset)


class _Script:
    """One script whose tree could be built, while it is looked at."""

    def __init__(self, source: str, data: bytes, tree: Tree, syntax: Syntax, positions: Positions) -> None:
        self._source = source
        self._root = tree.root_node
        self._syntax = syntax
        self._positions = positions
        self._statements = read_statements(self._root, data) if not self._root.has_error else Statements()
        self._imbalance = find_imbalance(self._root) if self._root.has_error else None

    def mode(self) -> tuple[ExecutionMode, tuple[int, int] | None]:
        mode, result = self._syntax.uses, self._statements.result
        if result is None:
            return mode if ExecutionMode.RETURN in mode else mode | ExecutionMode.STATEMENTS, None
        start, end = result
        return mode | ExecutionMode.EXPRESSION, (self._positions.character(start), self._positions.character(end))

    # ── what forbids it to run ───────────────────────────────────────────────────────────────────────────────────

    def problems(self) -> Iterator[Problem]:
        yield from self._bidirectional_outside_literals()
        yield from self._html_comments()
        yield from self._hashbang()
        yield from self._unbalanced()
        banned = [*self._banned_syntax(), *self._banned_names()]
        yield from sorted(banned, key=lambda problem: problem.offset or 0)

    def _bidirectional_outside_literals(self) -> Iterator[Problem]:
        seen = set()
        for offset, char, in_literal in self._bidirectional():
            if not in_literal and char not in seen:
                seen.add(char)
                message = (
                    f"The script holds {describe(char)}, which makes it read differently from how it runs: remove it, "
                    f"or write it as the escape `\\u{ord(char):04x}` in a string."
                )
                yield Problem(ScriptSyntaxError, message, offset, {"character": f"U+{ord(char):04X}"})

    def _bidirectional(self) -> Iterator[tuple[int, str, bool]]:
        if self._source.isascii():
            return
        literals = [tuple(map(self._positions.character, literal)) for literal in self._syntax.literals]
        starts = [start for start, _ in literals]
        for match in BIDIRECTIONAL.finditer(self._source):
            literal = bisect_right(starts, match.start()) - 1
            yield match.start(), match[0], literal >= 0 and match.start() < literals[literal][1]

    def _html_comments(self) -> Iterator[Problem]:
        """``<!--`` and ``-->``: the engine takes them for comments where the grammar sees operators, or the other way."""
        if "<!--" not in self._source and "-->" not in self._source:
            return
        spared = sorted([*self._syntax.literals, *self._syntax.comments, *self._syntax.patterns])
        starts = [self._positions.character(start) for start, _ in spared]
        found = {self._positions.character(byte) for byte in self._syntax.html_comments}
        for match in _HTML_COMMENT.finditer(self._source):
            mark = match.start("dashes" if match["dashes"] else "opener")
            around = bisect_right(starts, mark) - 1
            if around < 0 or mark >= self._positions.character(spared[around][1]):
                found.add(mark)
        for offset in sorted(found):
            message = "HTML comments are not available in a script: write `// …`, or put spaces around the operators."
            yield Problem(ScriptSyntaxError, message, offset)

    def _hashbang(self) -> Iterator[Problem]:
        """``#!``, which the grammar takes for a comment, and the engine too, but for the wrapper around the script."""
        start = len(self._source) - len(self._source.lstrip())
        if self._source.startswith("#!", start):
            message = "A script has no `#!` line, since it is run where it stands: remove the line, or write `// …`."
            yield Problem(ScriptSyntaxError, message, start)

    def _unbalanced(self) -> Iterator[Problem]:
        if (found := self._imbalance) is None:
            return
        offset = self._positions.character(found.byte)
        if found.bracket not in {")", "]", "}"}:
            message = f"The `{found.bracket}` that opens here is never closed."
        elif found.opener is None:
            message = f"The `{found.bracket}` closes nothing: no bracket is open here."
        else:
            line, column = self._positions.place(self._positions.character(found.opener[1]))
            message = f"The `{found.bracket}` does not close the `{found.opener[0]}` of line {line}, column {column}."
        yield Problem(ScriptSyntaxError, message, offset)

    def _banned_syntax(self) -> Iterator[Problem]:
        for name, byte in self._syntax.banned:
            yield self._banned(name, BANNED_SYNTAX[name], byte)

    def _banned_names(self) -> Iterator[Problem]:
        for name, reference in self._global_names():
            if name in BANNED_IDENTIFIERS and reference.use is not Use.TYPEOF:
                yield self._banned(name, BANNED_IDENTIFIERS[name], reference.byte)

    def _banned(self, name: str, advice: str, byte: int) -> Problem:
        message = f"`{name}` is not available in a script. {advice}"
        return Problem(BannedIdentifierError, message, self._positions.character(byte), {"identifier": name})

    def _global_names(self) -> Iterator[tuple[str, Reference]]:
        """Names of global properties, whether written ``eval`` or ``globalThis.eval``, with their uses."""
        for root, references in self._syntax.free.items():
            for reference in references:
                yield root, reference
                if root in GLOBAL_OBJECTS:
                    name = next((name for name in reference.path if name not in GLOBAL_OBJECTS), None)
                    if name is not None:
                        yield name, reference

    # ── what is worth knowing ────────────────────────────────────────────────────────────────────────────────────

    def diagnostics(self) -> Iterator[Diagnostic]:
        if self._statements.empty:
            yield Diagnostic(code="empty_script", severity=Severity.INFO, message="The script is empty: nothing runs.")
        if self._statements.never_called is not None:
            message = "The script defines functions and calls none of them: end it with a call, such as `await main()`."
            yield self._warning("never_called", message, self._positions.character(self._statements.never_called))
        if self._root.has_error and self._imbalance is None:
            message = (
                "The script may not be correct here. It is tried all the same, but the value of its last expression "
                "is not its result: use `return`."
            )
            byte = first_error(self._root) or 0
            yield self._warning("grammar_objection", message, self._positions.character(byte))
        yield from self._absent()
        yield from self._misleading()

    def _absent(self) -> Iterator[Diagnostic]:
        first: dict[str, int] = {}
        for name, reference in self._global_names():
            asked = reference.use is Use.TYPEOF or (reference.use is Use.TEST and reference.path)
            if name in ABSENT_GLOBALS and name not in BANNED_IDENTIFIERS and not asked:
                first[name] = min(reference.byte, first.get(name, reference.byte))
        for name, byte in sorted(first.items(), key=lambda item: item[1]):
            message = f"`{name}` does not exist in a script. {ABSENT_GLOBALS[name]}"
            yield self._warning("absent_global", message, self._positions.character(byte), identifier=name)

    def _misleading(self) -> Iterator[Diagnostic]:
        in_literals = [(offset, char) for offset, char, in_literal in self._bidirectional() if in_literal]
        if in_literals:
            offset, char = in_literals[0]
            message = f"A string holds {describe(char)}, which changes how its line is shown: write it as an escape."
            yield self._warning("bidirectional_in_string", message, offset, count=len(in_literals))
        seen = set()
        for name, byte in self._syntax.foreign:
            if name in seen:
                continue
            seen.add(name)
            offset = self._positions.character(byte)
            if alike := lookalikes(name):
                letters = ", ".join(describe(char) for char in alike)
                message = f"The name `{visible(name)}` can be taken for another one. It holds {letters}."
                yield self._warning("lookalike_identifier", message, offset, identifier=visible(name))
            if hidden := INVISIBLE.search(name):
                message = f"The name `{visible(name)}` holds {describe(hidden[0])}, which cannot be seen."
                yield self._warning("invisible_in_identifier", message, offset, identifier=visible(name))

    def _warning(self, code: str, message: str, offset: int, **details: str | int) -> Diagnostic:
        line, column = self._positions.place(offset)
        return Diagnostic(
            code=code, severity=Severity.WARNING, message=message, line=line, column=column, details=dict(details)
        )
