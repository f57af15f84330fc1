"""Whether the brackets of a script balance."""

from __future__ import annotations

from dataclasses import dataclass

from tree_sitter import Node

__all__ = ["Imbalance", "find_imbalance"]

_CLOSES = {")": "(", "]": "[", "}": "{"}
_OPENS = {"(": "(", "[": "[", "{": "{", "${": "{"}


@dataclass(frozen=True, slots=True)
class Imbalance:
    """The first bracket without its partner."""

    byte: int
    bracket: str
    """As written: ``(``, ``}``, ``${`` …"""
    opener: tuple[str, int] | None = None
    """For a closing bracket: the open one that it does not fit, and where that is."""


def find_imbalance(root: Node) -> Imbalance | None:
    """The first closing bracket that fits nothing, else the last opening one that is never closed."""
    waiting: list[tuple[str, int]] = []
    cursor = root.walk()
    while True:
        node = cursor.node
        if node is not None and not node.is_missing and not node.is_named:
            kind = node.type
            if kind in _OPENS:
                waiting.append((kind, node.start_byte))
            elif kind in _CLOSES:
                if not waiting or _OPENS[waiting[-1][0]] != _CLOSES[kind]:
                    return Imbalance(node.start_byte, kind, waiting[-1] if waiting else None)
                waiting.pop()
        if cursor.goto_first_child():
            continue
        while not cursor.goto_next_sibling():
            if not cursor.goto_parent():
                return Imbalance(waiting[-1][1], waiting[-1][0]) if waiting else None
