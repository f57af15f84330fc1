"""The tools a harness offers, by name, and what became of the calls to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import anyio
from pydantic import JsonValue

from harness.context import ExecutionContext
from harness.errors import UsageError
from harness.model import CallRecord
from harness.plain import to_plain
from harness.tools.function import FunctionTool, tool
from harness.tools.invoke import Invocation
from harness.tools.metrics import ToolStatistics
from harness.tools.names import namespaces, not_found, suggest
from harness.tools.tool import CostReport, Tool, ToolContext

__all__ = ["Tool", "ToolRegistry", "ToolStatistics", "tool"]


class ToolRegistry:
    """Tools by name. Takes `Tool` objects and plain functions, which become tools.

    Raises `UsageError` for a name that is taken, that no tool may have, or that is both a tool and a namespace.
    """

    def __init__(self, tools: Iterable[Tool | Callable[..., Any]] = ()) -> None:
        self._tools: dict[str, Tool] = {}
        self._namespaces: dict[str, str] = {}
        self._statistics: dict[str, ToolStatistics] = {}
        self.extend(tools)

    def __len__(self) -> int:
        return len(self._tools)

    def __iter__(self) -> Iterator[Tool]:
        return iter(list(self._tools.values()))

    def __contains__(self, name: object) -> bool:
        return name in self._tools

    def register(self, item: Tool | Callable[..., Any]) -> Tool:
        """Adds one tool and returns it."""
        if not isinstance(item, Tool):
            if not callable(item):
                raise UsageError(f"{item!r} is no tool; pass functions, or what @tool made of them.")
            item = FunctionTool(item)
        name = item.name
        if self._tools.get(name) is item:
            return item
        if name in self._tools:
            raise UsageError(f"There already is a tool {name!r}; give one of the two another name, with @tool(name=…).")
        if name in self._namespaces:
            raise UsageError(
                f"{name!r} cannot be a tool: it is the namespace of {self._namespaces[name]!r}. Rename one of the two."
            )
        for space in namespaces(name):
            if space in self._tools:
                raise UsageError(
                    f"{name!r} cannot be a tool: its namespace {space!r} is a tool. Rename one of the two."
                )
        for space in namespaces(name):
            self._namespaces.setdefault(space, name)
        self._tools[name] = item
        self._statistics[name] = ToolStatistics()
        return item

    def extend(self, tools: Iterable[Tool | Callable[..., Any]]) -> None:
        """Adds several tools, in order."""
        for item in tools:
            self.register(item)

    def names(self) -> list[str]:
        """The names of all tools, in the order they were registered."""
        return list(self._tools)

    def get(self, name: str) -> Tool:
        """The tool of exactly this name. Raises `ToolNotFoundError` with near misses."""
        found = self._tools.get(name)
        if found is None:
            raise not_found(name, self._tools)
        return found

    def suggest(self, name: str) -> list[str]:
        """The names that look most like ``name``, best first."""
        return suggest(name, self._tools)

    def describe(self) -> list[dict[str, Any]]:
        """Everything about the tools that can be told as JSON."""
        return [item.describe() for item in self._tools.values()]

    def statistics(self) -> dict[str, ToolStatistics]:
        """What became of the calls to each tool so far, by name. The values go on counting."""
        return dict(self._statistics)

    def count(self, record: CallRecord) -> None:
        """Adds a call to its tool's counters; a planned call counts for nothing."""
        counters = self._statistics.get(record.tool)
        if counters is not None:
            counters.count(record)

    async def call(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        context: ExecutionContext | None = None,
    ) -> JsonValue:
        """Calls a tool from host code, with the same checks of arguments, time and result as a script's call.

        Nobody is asked and nothing is counted: host code needs no permission. Raises `ToolError` subclasses.
        """
        item = self.get(name)
        plain = to_plain(dict(arguments or {}))
        execution = context or ExecutionContext()
        # What the tool says of its cost is heard and not charged.
        known = ToolContext(tool=name, call_id=0, execution=execution, costs=CostReport())
        invocation = Invocation(item, known, execution.limits)
        prepared = invocation.validate(plain if isinstance(plain, dict) else {})
        with anyio.CancelScope() as scope:
            value = await invocation.run(prepared, scope)
            invocation.encode(value)
            return value
        raise invocation.overran()
