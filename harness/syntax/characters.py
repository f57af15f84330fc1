"""Characters that make a script read differently from how it runs."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["BIDIRECTIONAL", "CONTROLS", "INVISIBLE", "describe", "lookalikes"]

CONTROLS = re.compile("[\x00-\x08\x0e-\x1f\ud800-\udfff]")
"""What no source may hold: the C0 controls that are not white space, and halves of surrogate pairs."""

BIDIRECTIONAL = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Unicode's ``Bidi_Control``: they reorder what is shown, not what runs (CVE-2021-42574)."""

INVISIBLE = re.compile(
    "[\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200d\u2060-\u2064\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""What an identifier can hold without showing it: joiners, fillers, variation selectors."""

# Letters of other alphabets that look like a Latin letter in common fonts.
_TWINS = frozenset(
    "АВЕЅІЈКМНОРСТУХаеѕіјорсухһԁԛԝӏ"  # Cyrillic
    "ΑΒΕΖΗΙΚΜΝΟΡΤΥΧοαν"  # Greek
    "օոսցհ"  # Armenian
)


def describe(char: str) -> str:
    """``U+202E RIGHT-TO-LEFT OVERRIDE``."""
    return f"U+{ord(char):04X} {unicodedata.name(char, '')}".rstrip()


def lookalikes(name: str) -> str:
    """The characters because of which an identifier can be taken for another one.

    Empty if it is ASCII, or plainly in another alphabet: a word in Cyrillic counts only if each of its letters has a
    Latin twin, or if it has Latin letters beside one that has a twin.
    """
    if name.isascii():
        return ""
    twins = [char for char in name if char in _TWINS or _folds_to_latin(char)]
    others = [char for char in name if char not in twins and char.isalpha()]
    mixed = any(char.isascii() for char in others)
    return "".join(dict.fromkeys(twins)) if twins and (mixed or not others) else ""


def _folds_to_latin(char: str) -> bool:
    folded = unicodedata.normalize("NFKC", char)
    return not char.isascii() and folded.isascii() and folded.isalnum()
