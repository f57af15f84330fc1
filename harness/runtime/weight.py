r"""How much memory a script's regular expressions can take to compile, before they are compiled.

Compiling has no limit on memory, since running out of it there is what the engine survives worst (see
:mod:`harness.runtime.worker`). Source takes less than 200 bytes for each of its own, but classes become tables of ranges:
75 KB for each ``\p{RGI_Emoji}``. So what may become such a table is counted in the text, wherever it stands: nothing else
spells it. What stands in a string or a comment is counted in vain.

Measured on quickjs-ng 0.17.0; a test measures it again. Only the standard library is imported here: the worker's process
reads this file too.
"""

from __future__ import annotations

import re

__all__ = ["MOST_FOR_TABLES", "too_heavy"]

MOST_FOR_TABLES = 32 * 1024 * 1024
"""Bytes that the tables of one script may take."""

_EACH = {
    "sequences": 120 * 1024,  # properties of strings
    "property": 24 * 1024,
    "range": 10 * 1024,  # one that leaves ASCII: with the flag `i` it becomes one for each letter that has two cases
}
_TABLES = re.compile(
    r"(?P<sequences>\\[pP]\{(?:RGI_|Basic_|Emoji_K))|(?P<property>\\[pP]\{)|(?P<range>-(?=\\|[^\x00-\x7f]))"
)
_LINE_END = re.compile("\r\n?|[\n\u2028\u2029]")


def too_heavy(source: str) -> tuple[int, int] | None:
    """Where a script's tables come to take more than `MOST_FOR_TABLES`: line and column in UTF-8 bytes, both from 1. None
    if they do not.
    """
    left = MOST_FOR_TABLES
    for found in _TABLES.finditer(source):
        left -= _EACH[found.lastgroup or ""]
        if left < 0:
            lines = _LINE_END.split(source[: found.start()])
            return len(lines), len(lines[-1].encode(errors="surrogatepass")) + 1
    return None
