"""What a command was given and nobody else should read: values under sensitive names, in its environment and arguments."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence

from harness.redaction import MASK, MIN_SECRET, Redactor, is_sensitive

__all__ = ["masked_arguments", "redactor_of"]

_OPTION = re.compile(r"(?P<name>--?[A-Za-z][\w.-]*)(?:=(?P<value>.*))?", re.DOTALL)


def masked_arguments(argv: Sequence[str]) -> list[str]:
    """The command with a mask for the value of each option whose name says that it is a credential."""
    hidden = {at: beginning for at, beginning, _ in _values(argv)}
    return [hidden[at] + MASK if at in hidden else word for at, word in enumerate(argv)]


def redactor_of(argv: Sequence[str], env: Mapping[str, str | None]) -> Redactor:
    """Removes these values from what a command wrote. Those too short to be told from ordinary text are left."""
    values = [value for _, _, value in _values(argv)]
    values += [
        os.environ.get(name, "") if value is None else value for name, value in env.items() if is_sensitive(name)
    ]
    return Redactor({value for value in values if len(value) >= MIN_SECRET})


def _values(argv: Sequence[str]) -> Iterator[tuple[int, str, str]]:
    """Position, what stands before the value there, and the value: of ``--token x``, ``--api-key=x``."""
    for at, word in enumerate(argv):
        found = _OPTION.fullmatch(word) if at else None
        if found is None or not is_sensitive(found["name"].lstrip("-")):
            continue
        if found["value"] is not None:
            yield at, f"{found['name']}=", found["value"]
        elif at + 1 < len(argv) and not argv[at + 1].startswith("-"):
            yield at + 1, "", argv[at + 1]
