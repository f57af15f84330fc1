"""Which line ends of a script the engine counts: what its own errors and those found here must agree on."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator

from harness.syntax.grammar import TooTangled, parse_javascript
from harness.syntax.positions import Positions
from harness.syntax.walk import Syntax, read_syntax

__all__ = ["engine_positions", "uncounted_line_ends"]

_ODD_LINE_END = re.compile("\r(?!\n)|[\u2028\u2029]")


def engine_positions(source: str) -> Positions:
    """Places in ``source`` by the engine's count of lines. The source is parsed only if it has line ends of a rare kind."""
    positions = Positions(source)
    if _ODD_LINE_END.search(source) is None:
        return positions
    data = source.encode("utf-8", "surrogatepass")
    tree = parse_javascript(data)
    if isinstance(tree, TooTangled):
        return positions
    uncounted = frozenset(uncounted_line_ends(source, read_syntax(tree.root_node, data), positions))
    return Positions(source, uncounted) if uncounted else positions


def uncounted_line_ends(source: str, syntax: Syntax, positions: Positions) -> Iterator[int]:
    """Where the engine does not count a line end: in a block comment all but those with a line feed, and U+2028 and
    U+2029 also where they end a line comment or stand in a literal.
    """
    starts_comments = [positions.character(start) for start, _ in syntax.comments]
    starts_literals = [positions.character(start) for start, _ in syntax.literals]
    for match in _ODD_LINE_END.finditer(source):
        offset = match.start()
        comment = bisect_right(starts_comments, offset) - 1
        literal = bisect_right(starts_literals, offset) - 1
        if comment >= 0 and offset <= positions.character(syntax.comments[comment][1]):
            is_block = source.startswith("/*", starts_comments[comment])
            inside = offset < positions.character(syntax.comments[comment][1])
            if (is_block and inside) or (not is_block and match[0] != "\r"):
                yield offset
        elif literal >= 0 and offset < positions.character(syntax.literals[literal][1]) and match[0] != "\r":
            yield offset
