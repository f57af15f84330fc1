"""The named types of a file of declarations."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from harness.declarations.names import type_name
from harness.declarations.references import Document

__all__ = ["TypeNames"]


class TypeNames:
    """The named types of one file: each ``$ref`` is one, shared by all tools that mean the same by it."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}
        self._waiting: deque[tuple[str, Callable[[str, str], str], str]] = deque()
        self._leads_to: dict[str, set[str]] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._leads_to

    def declarations(self) -> Iterator[str]:
        """Every named type, in the order in which they are first needed; those that others need come last."""
        while self._waiting:
            name, declare, reference = self._waiting.popleft()
            yield declare(name, reference)

    def refer(
        self, document: Document, reference: str, user: str | None, declare: Callable[[str, str], str]
    ) -> str | None:
        """The name for a reference. ``user`` is the named type that would be an alias of it, with nothing between;
        ``declare`` makes the declaration of a name that stands for a reference, later.

        None if that would be a circle (``type A = A | string``), which TypeScript refuses.
        """
        key = document.fingerprint(reference)
        name = self._known.get(key)
        if name is None:
            self._known[key] = name = type_name(document.name_of(reference), self)
            self._leads_to[name] = set()
            self._waiting.append((name, declare, reference))
        if user is not None:
            if self._reaches(name, user):
                return None
            self._leads_to[user].add(name)
        return name

    def _reaches(self, start: str, end: str) -> bool:
        seen: set[str] = set()
        pending = [start]
        while pending:
            name = pending.pop()
            if name == end:
                return True
            if name not in seen:
                seen.add(name)
                pending.extend(self._leads_to[name])
        return False
