"""How the tags of a block are written."""

from __future__ import annotations

import re

__all__ = ["CDATA_START", "CLOSING", "CLOSING_TAG", "NAME", "OPENING", "TAG_SPACE", "opening_end", "unwrap"]

NAME = "tool-calls"
OPENING = f"<{NAME}"
CLOSING = f"</{NAME}"
CDATA_START = "<![CDATA["
_CDATA_END = "]]>"
TAG_SPACE = r"[ \t\n\r\f\v]"
"""A pattern for white space in a tag. XML has no form feeds and vertical tabs, but a tag with one is still a tag: better
a block that is refused than a script that is taken for prose.
"""
CLOSING_TAG = re.compile(rf"{CLOSING}{TAG_SPACE}*>")
_SPACE = " \t\r\n"

# A quote counts where XML allows one: behind `=`.
_QUOTED_AWARE = re.compile(r"""(?:[^>=]++|=[ \t\r\n]*+(?:"[^"]*+"|'[^']*+'|(?!["'])))*+>""")


def opening_end(text: str, start: int, limit: int, *, more: bool) -> int | None:
    """Where the opening tag that begins at ``start`` ends: behind its ``>``.

    ``limit`` is where the search ends, ``more`` that text up to there is still to come. Returns None if that must be
    waited for, and -1 if there is no ``>``. A ``>`` in quotes does not count, unless the quotes never close: then the
    tag ends at its first ``>``, malformed as it is, so that what follows is still taken as its script and no part of
    that script for prose.
    """
    first = text.find(">", start, limit)
    if first < 0:
        return None if more else -1
    found = _QUOTED_AWARE.match(text, start, limit)
    if found is not None:
        return found.end()
    return None if more else first + 1


def unwrap(content: str) -> tuple[int, int]:
    """The range of the script in what lies between the tags: all of it, or the inside of a CDATA section that is all
    there is but white space.
    """
    inner = content.strip(_SPACE)
    if not (inner.startswith(CDATA_START) and inner.endswith(_CDATA_END)):
        return 0, len(content)
    start = len(content) - len(content.lstrip(_SPACE)) + len(CDATA_START)
    end = len(content.rstrip(_SPACE)) - len(_CDATA_END)
    return (start, end) if start <= end else (0, len(content))
