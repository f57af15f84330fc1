"""Pieces of TypeScript types, and how they are put together without changing their meaning."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from harness.declarations.names import literal
from harness.plain import MAX_SAFE_INTEGER

__all__ = ["ANY", "EMPTY", "INTERSECTION", "NEVER", "Piece", "intersection", "join", "listed", "union", "value_type"]

_WIDTH = 100
_MAX_DEPTH = 20

PRIMARY, INTERSECTION, UNION = range(3)


@dataclass(frozen=True, slots=True)
class Piece:
    """A type, and how tightly its text holds together."""

    text: str
    level: int = PRIMARY

    def within(self, level: int) -> str:
        """The text, in brackets if it would fall apart next to an operator of this level."""
        return f"({self.text})" if self.level > level else self.text


ANY = Piece("any")
NEVER = Piece("never")
EMPTY = Piece("{ [key: string]: never }")
"""An object without members; ``{}`` would be anything but null."""


def union(pieces: Iterable[Piece]) -> Piece:
    """Any one of the types, each once, in order."""
    found = list(dict.fromkeys(piece for piece in pieces if piece != NEVER))
    if ANY in found:
        return ANY
    if len(found) <= 1:
        return found[0] if found else NEVER
    return Piece(join([piece.text for piece in found], " | "), UNION)


def intersection(pieces: Iterable[Piece]) -> Piece:
    """All of the types at once, in order."""
    found = list(dict.fromkeys(piece for piece in pieces if piece != ANY))
    if len(found) <= 1:
        return found[0] if found else ANY
    return Piece(" & ".join(piece.within(PRIMARY) for piece in found), INTERSECTION)


def listed(item: Piece) -> Piece:
    """An array of the type."""
    return Piece(f"{item.within(PRIMARY)}[]")


def join(texts: list[str], operator: str) -> str:
    """Texts with an operator between them, on several lines if they are long."""
    whole = operator.join(texts)
    if len(whole) <= _WIDTH or "\n" in whole:
        return whole
    lines = [texts[0]]
    for text in texts[1:]:
        if len(lines[-1]) + len(text) > _WIDTH:
            lines.append(f" {operator.strip()} {text}")
        else:
            lines[-1] += f"{operator}{text}"
    return "\n".join(lines)


def value_type(value: Any, depth: int = 0) -> Piece:  # noqa: PLR0911 - one for each kind of value
    """The type of exactly one JSON value; what is nested deeper than 20 levels is ``any``."""
    if depth > _MAX_DEPTH:
        return ANY
    if value is None:
        return Piece("null")
    if isinstance(value, bool):
        return Piece("true" if value else "false")
    if isinstance(value, str):
        return Piece(literal(value))
    if isinstance(value, int):
        # A larger one cannot be told from its neighbours in JavaScript.
        return Piece(str(value) if abs(value) <= MAX_SAFE_INTEGER else "number")
    if isinstance(value, float):
        whole = value.is_integer() and abs(value) <= MAX_SAFE_INTEGER
        return Piece(str(int(value)) if whole else repr(value) if abs(value) < float("inf") else "number")
    if isinstance(value, (list, tuple)):
        return Piece(f"[{', '.join(value_type(item, depth + 1).text for item in value)}]")
    if isinstance(value, dict) and not value:
        return EMPTY
    if isinstance(value, dict):
        return Piece(
            f"{{ {'; '.join(f'{literal(key)}: {value_type(item, depth + 1).text}' for key, item in value.items())} }}"
        )
    return ANY
