"""Reading a JSON Schema that nobody checked: what is not of the right kind counts as not there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["CHOICES", "count", "description", "mapping", "sequence", "without_null"]

CHOICES = ("anyOf", "oneOf")


def mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def sequence(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else ()


def count(value: Any, default: int) -> int:
    return int(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else default


def description(schema: Any) -> str:
    text = mapping(schema).get("description")
    return text if isinstance(text, str) else ""


def without_null(branches: Sequence[Any]) -> list[Any]:
    """The branches of a choice without the one that is null and nothing else."""
    return [branch for branch in branches if mapping(branch).get("type") != "null"]
