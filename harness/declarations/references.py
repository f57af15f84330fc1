"""``$ref`` in a JSON Schema: what it points at, and whether two of them point at the same thing."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

__all__ = ["Document"]

_TABLES = ("$defs", "definitions")
_MOST_BEHIND = 200
# Keywords whose values are data, where a `$ref` is none, and definitions, which count where something refers to them.
_NOT_FOLLOWED = frozenset({"const", "enum", "default", "examples", *_TABLES})
# Keywords whose values are schemas by names of the author's own, `default` among them.
_BY_NAME = ("properties", "patternProperties", "dependentSchemas")


class Document:
    """One whole schema, within which references are looked up. Other documents are never fetched."""

    def __init__(self, root: Mapping[str, Any], owner: str) -> None:
        self.root = root
        self._owner = owner
        self._prints: dict[str, str] = {}
        self._parts: dict[str, tuple[str, list[str]]] = {}

    def find(self, reference: object) -> Any:
        """The schema that a reference points at; None if it points nowhere in this document."""
        if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
            return None
        here: Any = self.root
        for step in _steps(reference):
            if isinstance(here, Mapping):
                here = here.get(step)
            elif isinstance(here, list) and step.isdecimal() and int(step) < len(here):
                here = here[int(step)]
            else:
                return None
        return here if isinstance(here, (Mapping, bool)) else None

    def name_of(self, reference: str) -> str:
        """What the schema behind a reference is to be called."""
        steps = _steps(reference)
        if not steps:
            title = self.root.get("title")
            return title if isinstance(title, str) else self._owner
        return steps[-1] if not steps[-1].isdecimal() else f"{self._owner}_{'_'.join(steps)}"

    def fingerprint(self, reference: str) -> str:
        """A text that two references share only if they have one name and all that is behind them is equal."""
        known = self._prints.get(reference)
        if known is None:
            closure: dict[str, str] = {}
            pending = list(self._part(reference)[1])
            while pending and len(closure) <= _MOST_BEHIND:
                at = pending.pop()
                if at not in closure:
                    closure[at], further = self._part(at)
                    pending.extend(further)
            behind: Any = sorted(closure.items())
            if pending:
                # Comparing each with all behind it would take too long: here only equal tables have equal members.
                behind = [reference, self._everything]
            self._prints[reference] = known = self._digest([self.name_of(reference), self._part(reference)[0], behind])
        return known

    def _part(self, reference: str) -> tuple[str, list[str]]:
        """What stands at a reference, as a digest, and the references in it."""
        known = self._parts.get(reference)
        if known is None:
            found = self.find(reference)
            # A whole schema and the same one among the definitions of another differ in nothing but those.
            own = (
                {key: value for key, value in found.items() if key not in _TABLES}
                if isinstance(found, Mapping)
                else found
            )
            self._parts[reference] = known = (self._digest(own), list(_references(found)))
        return known

    @functools.cached_property
    def _everything(self) -> str:
        return self._digest([self.root.get(table) for table in _TABLES])

    def _digest(self, value: Any) -> str:
        try:
            return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
        except RecursionError:
            return f"{self._owner} {id(value)}"  # too deep to be compared: equal to nothing else


def _steps(reference: str) -> list[str]:
    return [step.replace("~1", "/").replace("~0", "~") for step in unquote(reference[1:]).split("/")[1:]]


def _references(schema: Any) -> Iterator[str]:
    pending = [schema]
    while pending:
        here = pending.pop()
        if isinstance(here, list):
            pending.extend(here)
        elif isinstance(here, Mapping):
            if isinstance(here.get("$ref"), str):
                yield here["$ref"]
            for key, value in here.items():
                if key in _BY_NAME and isinstance(value, Mapping):
                    pending.extend(value.values())
                elif key not in _NOT_FOLLOWED:
                    pending.append(value)
