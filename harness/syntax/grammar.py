"""The JavaScript grammar: source to syntax tree, within a bounded amount of work."""

from __future__ import annotations

import re
from dataclasses import dataclass

import tree_sitter
import tree_sitter_javascript

__all__ = ["TooTangled", "first_error", "parse_javascript", "parse_within", "unescaped"]

_LANGUAGE = tree_sitter.Language(tree_sitter_javascript.language())

# Repairing errors costs tree-sitter the square of their number (20 KB of "!>" take a minute). It reports its progress
# in steps of equal work; correct sources need about 14 of them for each 1,000 bytes.
_STEPS = 500
_STEPS_PER_BYTE = 0.1
_CHUNK = 8_192
_BEGINNING = 256


@dataclass(frozen=True, slots=True)
class TooTangled:
    """The source has so many errors that its tree was not worth building."""

    byte: int
    """Where the first of them is, as far as is known."""


def parse_javascript(data: bytes) -> tree_sitter.Tree | TooTangled:
    """The syntax tree of a source in UTF-8."""
    tree, _ = parse_within(data, _STEPS + len(data) * _STEPS_PER_BYTE)
    if tree is not None:
        return tree
    # Such sources go wrong early, and the beginning alone is cheap.
    beginning = tree_sitter.Parser(_LANGUAGE).parse(data[:_BEGINNING])
    return TooTangled(first_error(beginning.root_node) or 0)


def parse_within(data: bytes, steps: float, *, correct: bool = False) -> tuple[tree_sitter.Tree | None, float]:
    """The syntax tree of a source in UTF-8, if it takes no more than so many steps, and how many are left (below zero
    if it would have taken more). With ``correct`` there is none for a source with an error either: nothing is repaired,
    which is what costs most.
    """
    parser = tree_sitter.Parser(_LANGUAGE)
    stopped = False

    def read(offset: int, _point: object) -> bytes:
        return data[offset : offset + _CHUNK]

    def stop(_offset: int, has_error: bool) -> bool:
        nonlocal steps, stopped
        steps -= 1
        stopped = steps < 0 or (correct and has_error)
        return stopped

    try:
        tree = parser.parse(read, progress_callback=stop)
    except ValueError:
        if not stopped:
            raise
        return None, steps
    return None if correct and tree.root_node.has_error else tree, steps


def first_error(root: tree_sitter.Node) -> int | None:
    """The byte where the tree first says that something is wrong or missing."""
    node, found = root, None
    while node.has_error or node.is_missing:
        if node.is_error or node.is_missing:
            found = node.start_byte
        inner = next((child for child in node.children if child.has_error or child.is_missing), None)
        if inner is None:
            break
        node = inner
    return found


_ESCAPE = re.compile(r"\\(?:u\{([0-9A-Fa-f]{1,8})\}|u([0-9A-Fa-f]{4})|x([0-9A-Fa-f]{2})|(\r\n|.))", re.DOTALL)
_SIMPLE = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v", "0": "\0"} | dict.fromkeys(
    ("\n", "\r", "\r\n", "\u2028", "\u2029"), ""
)


def unescaped(text: str) -> str:
    """An identifier or the inside of a string literal, with its escapes read."""
    return _ESCAPE.sub(_read_escape, text) if "\\" in text else text


def _read_escape(escape: re.Match[str]) -> str:
    digits = escape[1] or escape[2] or escape[3]
    if digits is None:
        return _SIMPLE.get(escape[4], escape[4])
    code = int(digits, 16)
    return chr(code) if code <= 0x10FFFF else escape[0]
