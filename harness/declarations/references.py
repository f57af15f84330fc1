"""``$ref`` in a JSON Schema: what it points at, and whether two of them point at the same thing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

__all__ = ["Document"]

# Keywords whose values are data, where a `$ref` is none, and definitions, which count where something refers to them.
_NOT_FOLLOWED = frozenset({"const", "enum", "default", "examples", "$defs", "definitions"})
# Keywords whose values are schemas by names of the author's own, `default` among them.
_BY_NAME = ("properties", "patternProperties", "dependentSchemas")


class Document:
    """One whole schema, within which references are looked up. Other documents are never fetched."""

    def __init__(self, root: Mapping[str, Any], owner: str) -> None:
        self.root = root
        self._owner = owner
        self._prints: dict[str, str] = {}

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
        """A text that two references share exactly if they have one name and all that is behind them is equal."""
        known = self._prints.get(reference)
        if known is None:
            start = self.find(reference)
            closure: dict[str, Any] = {}
            pending = list(_references(start))
            while pending:
                at = pending.pop()
                if at not in closure:
                    found = self.find(at)
                    closure[at] = _without_definitions(found)
                    pending.extend(_references(found))
            try:
                known = json.dumps([self.name_of(reference), _without_definitions(start), closure], sort_keys=True)
            except RecursionError:
                known = f"{self._owner}{reference}"  # too deep to be compared: shared with no other tool
            self._prints[reference] = known
        return known


def _without_definitions(schema: Any) -> Any:
    # A whole schema and the same one among the definitions of another differ in nothing else.
    if not isinstance(schema, Mapping):
        return schema
    return {key: value for key, value in schema.items() if key not in ("$defs", "definitions")}


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
