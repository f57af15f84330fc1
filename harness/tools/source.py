"""Where calls find the tools they name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from harness.model import CallRecord
from harness.tools.tool import Tool

__all__ = ["ToolSource"]


class ToolSource(Protocol):
    """What carries out calls needs of a registry, and of a part of one."""

    def __iter__(self) -> Iterator[Tool]:
        """Every tool there is."""

    def __contains__(self, name: object) -> bool:
        """Whether there is a tool of this name."""

    def get(self, name: str) -> Tool:
        """The tool of exactly this name. Raises `ToolNotFoundError` with near misses."""

    def count(self, record: CallRecord) -> None:
        """Takes note of what became of a call."""
