"""Versions of contracts: their order, and how far one must rise for what changed."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import total_ordering

__all__ = ["Bump", "Version", "newest", "parse_version"]

_VERSION = re.compile(
    r"(0|[1-9][0-9]{0,8})(?:\.(0|[1-9][0-9]{0,8}))?(?:\.(0|[1-9][0-9]{0,8}))?"
    r"(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+[0-9A-Za-z.-]+)?",
    re.ASCII,
)


class Bump(enum.IntEnum):
    """The part of a version that has to rise."""

    NONE = 0
    PATCH = 1
    MINOR = 2
    MAJOR = 3

    @property
    def word(self) -> str:
        """``none``, ``patch``, ``minor``, ``major``."""
        return self.name.lower()


@total_ordering
@dataclass(frozen=True, slots=True)
class Version:
    """``MAJOR.MINOR.PATCH-PRERELEASE`` in the order of SemVer 2.0; parts that were left out are 0."""

    major: int
    minor: int
    patch: int
    prerelease: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = f"{self.major}.{self.minor}.{self.patch}"
        return f"{text}-{'.'.join(self.prerelease)}" if self.prerelease else text

    def __lt__(self, other: Version) -> bool:
        return self._key() < other._key()

    def _key(self) -> tuple[object, ...]:
        # Numbers before words, and a version before which nothing is left to come behind its own pre-releases.
        words = tuple((0, int(word), "") if word.isdecimal() else (1, 0, word) for word in self.prerelease)
        return (self.major, self.minor, self.patch, not self.prerelease, words)

    def bumped(self, bump: Bump) -> Version:
        """The lowest version that is higher by ``bump``."""
        if bump is Bump.MAJOR:
            return Version(self.major + 1, 0, 0)
        if bump is Bump.MINOR:
            return Version(self.major, self.minor + 1, 0)
        if bump is Bump.PATCH:
            return Version(self.major, self.minor, self.patch + (not self.prerelease))
        return self


def parse_version(text: str) -> Version | None:
    """``1``, ``1.2``, ``1.2.0``, ``2.0.0-rc.1``; None for any other text. Build metadata (``+…``) orders nothing."""
    match = _VERSION.fullmatch(text)
    if match is None:
        return None
    prerelease = tuple(match[4].split(".")) if match[4] else ()
    return Version(int(match[1]), int(match[2] or 0), int(match[3] or 0), prerelease)


def newest(texts: Iterable[str]) -> str:
    """The newest of one or more versions. A pre-release only if there is nothing else; of those without order, the last."""
    found = [(parse_version(text), text) for text in texts]
    ordered = [(version, text) for version, text in found if version is not None]
    finished = [(version, text) for version, text in ordered if not version.prerelease]
    if ordered:
        return max(finished or ordered, key=lambda pair: pair[0])[1]
    return found[-1][1]
