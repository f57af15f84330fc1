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

__all__ = ["may_end_in_comment", "parses", "surely_ends_in_code"]

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


def _tree(content: str) -> tuple[bytes, tree_sitter.Tree | None]:
    """The script in what lies between the tags, and its syntax tree if it is correct as far as the grammar goes."""
    from harness.syntax.grammar import TooTangled, parse_javascript  # noqa: PLC0415 -- most texts never need it

    start, end = unwrap(content)
    # To tree-sitter a lone `\r` ends no statement, to the engine it does.
    data = content[start:end].encode("utf-8", "replace").replace(b"\r", b"\n")
    tree = parse_javascript(data)
    return data, None if isinstance(tree, TooTangled) or tree.root_node.has_error else tree


def parses(content: str) -> bool:
    """Whether what lies between the tags is a correct script, as far as the grammar goes."""
    return _tree(content)[1] is not None


def may_end_in_comment(content: str) -> bool:
    """Whether the last line holds anything that could begin a comment, in whatever way the text is read."""
    line = content[max(content.rfind(end) for end in "\n\r\u2028\u2029") + 1 :]
    return any(mark in line for mark in _MARKS)


def surely_ends_in_code(content: str) -> bool:
    """Whether all that could begin a comment on the last line stands, beyond doubt, in literals that closed.

    False for a script that does not parse or that the engine might read in another way.
    """
    if _UNUSUAL_LINE_END.search(content):
        return False  # whether one of them is a new line depends on what it ends
    data, tree = _tree(content)
    if tree is None:
        return False
    root = tree.root_node
    for mark in _MARK.finditer(data, data.rfind(b"\n") + 1):
        node = root.descendant_for_byte_range(mark.start(), mark.end())
        if node is None or node.type not in _LITERALS or (node.type == "comment" and not _closes(node, data)):
            return False
    return not any(_is_doubtful(slash, data) for slash in _slashes(tree))


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
