"""What the grammar says about the end of a script, where the scanner alone cannot know.

A script may end in code or in a line comment, nowhere else, so a text that was cut inside a string does not parse. Line
comments are what is left to be careful about: tree-sitter and the engine do not agree on every text, so its word is taken
only for a script in which there is nothing they could disagree about.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from harness.detection.tags import unwrap

if TYPE_CHECKING:
    import tree_sitter

__all__ = ["Evidence", "may_end_in_comment"]

# The work of parsing is counted in the grammar's steps, each of some 15 microseconds. A correct script takes 14 to 70 of
# them for each 1,000 characters.
_FREE_STEPS = 500
_FEW_STEPS = 10
_STEPS_PER_CHARACTER = 0.08
_LEAST_STEPS = 2
_LEAST_STEPS_PER_CHARACTER = 0.01
"""What a parse counts at least, for what it takes besides: joining and encoding the text."""
_ERROR_PRICE = 4
_STEPS_FOR_AN_ERROR = 80
"""A script that does not parse counts so many times its steps, and so many more: trying to repair it takes that long."""
_SLASHES_PER_STEP = 4
_MARK = re.compile(rb"//|<!--|-->")
_MARKS = ("//", "<!--", "-->")
_LITERALS = ("string", "string_fragment", "escape_sequence", "template_string", "regex", "regex_pattern", "comment")
_UNUSUAL_LINE_END = re.compile("[\u2028\u2029]")
# Where it depends on line ends, on what a brace closes or on the function around it whether a `/` divides: where the two
# could disagree.
_DOUBTFUL_BEFORE_SLASH = re.compile(
    rb"(?:\n|\}|\*/|[\x80-\xff]|\+\+|--|\b(?:accessor|async|await|get|let|of|set|static|using|yield))[ \t\v\f]*\Z"
)
_LOOK_BACK = 64
"""Bytes before a ``/`` that are looked at; where they are nothing but white space, there is doubt too."""


def may_end_in_comment(line: str) -> bool:
    """Whether a line, up to the tag, holds anything that could begin a comment, in whatever way the text is read."""
    return any(mark in line for mark in _MARKS)


class Evidence:
    """What the grammar says of the scripts of one text, within work in proportion to their length.

    Once that is used up nothing parses, and so nothing closes on its word, until more text has earned more of it.
    """

    def __init__(self) -> None:
        self._steps: float = _FREE_STEPS

    def earn(self, characters: int) -> None:
        """So many more characters of scripts were read."""
        self._steps += characters * _STEPS_PER_CHARACTER

    def affords(self, length: int) -> bool:
        """Whether a script of so many characters may still be parsed; without this not even its text is worth joining."""
        return self._steps >= _least(length)

    def parses(self, content: str) -> bool:
        """Whether what lies between the tags is a correct script, as far as the grammar goes."""
        return self._tree(content)[1] is not None

    def surely_ends_in_code(self, content: str) -> bool:
        """Whether all that could begin a comment on the last line stands, beyond doubt, in literals that closed.

        False for a script that does not parse or that the engine might read in another way.
        """
        data, tree = self._tree(content)
        if tree is None or _UNUSUAL_LINE_END.search(content):
            return False  # whether one of them is a new line depends on what it ends
        root = tree.root_node
        for mark in _MARK.finditer(data, data.rfind(b"\n") + 1):
            node = root.descendant_for_byte_range(mark.start(), mark.end())
            if node is None or node.type not in _LITERALS or (node.type == "comment" and not _closes(node, data)):
                return False
        slashes = _slashes(tree)
        self._steps -= len(slashes) / _SLASHES_PER_STEP
        return not any(_is_doubtful(slash, data) for slash in slashes)

    def _tree(self, content: str) -> tuple[bytes, tree_sitter.Tree | None]:
        """The script in what lies between the tags, and its syntax tree if it is correct as far as the grammar goes."""
        from harness.syntax.grammar import parse_within  # noqa: PLC0415 -- most texts never need it

        start, end = unwrap(content)
        # To tree-sitter a lone `\r` ends no statement, to the engine it does.
        data = content[start:end].encode("utf-8", "replace").replace(b"\r", b"\n")
        # No correct script takes more than it earned.
        most = min(self._steps, _FEW_STEPS + len(content) * _STEPS_PER_CHARACTER)
        tree, left = parse_within(data, most, correct=True)
        used = max(most - left, _least(len(content)))
        self._steps -= used if tree is not None else used * _ERROR_PRICE + _STEPS_FOR_AN_ERROR
        return data, tree


def _least(length: int) -> float:
    return _LEAST_STEPS + length * _LEAST_STEPS_PER_CHARACTER


def _closes(comment: tree_sitter.Node, data: bytes) -> bool:
    return data.startswith(b"/*", comment.start_byte) and data.endswith(b"*/", 0, comment.end_byte)


def _slashes(tree: tree_sitter.Tree) -> list[tree_sitter.Node]:
    """Each ``/`` that divides or begins a regular expression."""
    import tree_sitter  # noqa: PLC0415 -- most texts never need it

    found = tree_sitter.QueryCursor(_slash_query(tree.language)).captures(tree.root_node)
    return found.get("slash", [])


@cache
def _slash_query(language: tree_sitter.Language) -> tree_sitter.Query:
    import tree_sitter  # noqa: PLC0415 -- most texts never need it

    return tree_sitter.Query(
        language,
        """(binary_expression operator: "/" @slash) (augmented_assignment_expression operator: "/=" @slash)
        (regex) @slash""",
    )


def _is_doubtful(slash: tree_sitter.Node, data: bytes) -> bool:
    before = data[max(0, slash.start_byte - _LOOK_BACK) : slash.start_byte]
    if slash.start_byte > _LOOK_BACK and not before.strip():
        return True
    return _DOUBTFUL_BEFORE_SLASH.search(before) is not None
