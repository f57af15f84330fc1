"""The search for texts that cost the detector most: processor time for each character is the fitness.

A text is a beginning, then lines of repeated pieces, then an end. The costliest of a generation are changed and tried
again. Whatever grows faster than its text shows up by its cost, too, since the texts are long.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import NamedTuple

from harness.detector import Detector

__all__ = ["Pattern", "cost", "search"]

_PIECES = (
    *("<tool-calls>", "</tool-calls>", "<tool-calls", "</tool-calls", "<tool-calls/>", "<tool-calls ", "<Tool-Calls>"),
    *("`", "``", "```", "~~~", "\\`", "\\", "<", ">", "/", "//", "/*", "*/", "<!--", "-->", "<think>", "</think>"),
    *("\n", "\r", "\r\n", "\n\n", " ", "    ", "\t", "> ", "- ", "1. ", "# ", "a", "é", "😀", "\u2028", "\ufeff"),
    *(
        "'",
        '"',
        "=",
        "='",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "${",
        "!",
        "?",
        "?.",
        "+",
        "++",
        "=>",
        ".",
        ",",
        ";",
        ":",
        "#",
    ),
    *("if(a)", "function", "class", "async", "await ", "0", "1.5", "x", "<![CDATA[", "]]>", "\\u{", "*", "-", "*/ "),
    *(
        "/a/",
        "`a`",
        "'a'",
        "{a}",
        "(a)",
        "a\n",
        "x=1;\n",
        "// </tool-calls>\n",
        "// </tool-calls>x\n",
        "'</tool-calls>'",
    ),
)
_TIMES = (1, 1, 2, 7, 60, 270, 1_000)


class Pattern(NamedTuple):
    """What a text is made of, and how it is fed."""

    start: tuple[str, ...]
    lines: tuple[tuple[str, int], ...]
    """Pieces and how often each stands there; all of it again and again."""
    end: tuple[str, ...]
    step: int
    """Characters of a chunk; 0 for all at once."""
    fenced: bool
    thinking: bool

    def text(self, length: int) -> str:
        """About so many characters."""
        unit = "".join(piece * times for piece, times in self.lines)
        return "".join(self.start) + unit * max(1, length // max(1, len(unit))) + "".join(self.end)


def cost(pattern: Pattern, length: int, *, runs: int = 1) -> float:
    """Microseconds of processor time for each character of the text, or for each chunk of it if those are more."""
    text = pattern.text(length)
    step = pattern.step or len(text)
    chunks = [text[at : at + step] for at in range(0, len(text), step)]
    best = float("inf")
    for _ in range(runs):
        detector = Detector(accept_fenced=pattern.fenced, skip_thinking=pattern.thinking)
        before = time.process_time()
        for chunk in chunks:
            detector.feed(chunk)
        detector.finish()
        best = min(best, time.process_time() - before)
    return best * 1e6 / len(text)


def search(seconds: float, *, seed: int = 0, length: int = 20_000, step: int = 0) -> Iterator[tuple[float, Pattern]]:
    """The costliest patterns of a search of so many seconds, the worst first."""
    pick = random.Random(seed)
    kept: dict[Pattern, float] = {}
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        new = len(kept) < 40 or pick.random() < 0.2
        pattern = _new(pick, step) if new else _changed(pick, pick.choice(list(kept)))
        if pattern in kept:
            continue
        measured = cost(pattern, length)
        if measured > min(kept.values(), default=0) or len(kept) < 40:
            kept[pattern] = cost(pattern, length, runs=2)
        if len(kept) > 60:
            kept = dict(sorted(kept.items(), key=lambda item: -item[1])[:40])
    yield from sorted(((measured, pattern) for pattern, measured in kept.items()), key=lambda item: -item[0])


def _new(pick: random.Random, step: int) -> Pattern:
    return Pattern(
        start=tuple(pick.choices(_PIECES, k=pick.randrange(3))),
        lines=tuple(_line(pick) for _ in range(pick.randrange(1, 5))),
        end=tuple(pick.choices(_PIECES, k=pick.randrange(2))),
        step=step,
        fenced=pick.random() < 0.2,
        thinking=pick.random() < 0.2,
    )


def _line(pick: random.Random) -> tuple[str, int]:
    return "".join(pick.choices(_PIECES, k=pick.randrange(1, 4))), pick.choice(_TIMES)


def _changed(pick: random.Random, pattern: Pattern) -> Pattern:
    lines = list(pattern.lines)
    at = pick.randrange(len(lines))
    match pick.randrange(7):
        case 0:
            lines[at] = _line(pick)
        case 1:
            lines.insert(at, _line(pick))
        case 2 if len(lines) > 1:
            del lines[at]
        case 3:
            lines[at] = (lines[at][0], pick.choice(_TIMES))
        case 4:
            lines[at] = (lines[at][0] + pick.choice(_PIECES), lines[at][1])
        case 5:
            return pattern._replace(start=tuple(pick.choices(_PIECES, k=pick.randrange(4))))
        case _:
            return (
                pattern._replace(fenced=not pattern.fenced)
                if pick.random() < 0.3
                else pattern._replace(end=tuple(pick.choices(_PIECES, k=pick.randrange(3))))
            )
    return pattern._replace(lines=tuple(lines))
