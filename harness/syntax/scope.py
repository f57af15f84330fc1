"""Which declaration a name in a script means, as far as its text tells."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["Alias", "Reference", "Scope", "Use"]

# A name is followed through so many `const a = b` and such paths; tool names are shorter by far, and without a bound
# a long chain of aliases would cost the square of its length.
_MAX_HOPS = 8
_MAX_PATH = 40


class Use(enum.Enum):
    """What a script does with a name."""

    READ = enum.auto()
    CALL = enum.auto()
    OPTIONAL_CALL = enum.auto()
    """``f?.()``."""
    TEST = enum.auto()
    """Asks whether it is there: ``if (x)``, ``x && …``, ``"x" in o``."""
    TYPEOF = enum.auto()
    DASHED = enum.auto()
    """``tools.get-item(…)``: to the language a subtraction, but hardly to whoever wrote it."""


class Reference(NamedTuple):
    """A use of ``name.path[0].path[1]…``; the name itself is the key it is filed under."""

    path: tuple[str, ...]
    use: Use
    byte: int
    """Where it begins in the source."""
    hops: int = 0


class Alias(NamedTuple):
    """``const {x} = tools`` makes ``x`` an alias of ``tools`` and the path ``("x",)``."""

    root: str
    path: tuple[str, ...]


@dataclass(slots=True)
class Scope:
    """One block or function while it is walked.

    References wait in ``pending`` under their name until the scope ends, for a declaration may come after its uses;
    those that are not declared here go on to the scope outside. Only the smaller of two tables is ever copied, so the
    whole costs n log n however deep scopes are nested.
    """

    depth: int
    """Of its node in the syntax tree."""
    top_level: bool
    """Outside any function."""
    function: Scope | None = None
    """The scope that ``var`` declares in; None if that is this one."""
    declared: dict[str, Alias | None] = field(default_factory=dict)
    pending: dict[str, list[Reference]] = field(default_factory=dict)

    def declare(self, name: str, alias: Alias | None = None) -> None:
        # What is declared twice has no one meaning.
        self.declared[name] = None if name in self.declared else alias

    def declare_var(self, name: str) -> None:
        (self.function or self).declare(name)

    def refer(self, name: str, reference: Reference) -> None:
        self.pending.setdefault(name, []).append(reference)

    def end(self) -> dict[str, list[Reference]]:
        """The references that no declaration of this scope settles."""
        settled: set[str] = set()
        for name in reversed(self.declared):
            settled.add(name)
            references = self.pending.pop(name, None)
            alias = self.declared[name]
            # An alias of something declared after it is never usable.
            if references and alias and alias.root not in settled:
                for reference in _through(alias, references):
                    self.refer(alias.root, reference)
        return self.pending

    def adopt(self, references: dict[str, list[Reference]]) -> None:
        """Take over what an inner scope left."""
        small, large = sorted((references, self.pending), key=len)
        for name, found in small.items():
            known = large.get(name, [])
            shorter, longer = sorted((found, known), key=len)
            longer.extend(shorter)
            large[name] = longer
        self.pending = large


def _through(alias: Alias, references: list[Reference]) -> Iterator[Reference]:
    for reference in references:
        path = alias.path + reference.path
        if reference.hops < _MAX_HOPS and len(path) <= _MAX_PATH:
            yield Reference(path, reference.use, reference.byte, reference.hops + 1)
