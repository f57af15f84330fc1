"""The tools a harness offers, by name, and what became of the calls to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, overload

import anyio
from pydantic import JsonValue

from harness.context import ExecutionContext
from harness.declarations.markdown import markdown
from harness.declarations.search import ToolIndex, summary
from harness.declarations.typescript import typescript
from harness.errors import UsageError
from harness.model import CallRecord, CallStatus
from harness.plain import to_plain
from harness.tools.builtin import make_built_in_tools
from harness.tools.function import FunctionTool, tool
from harness.tools.invoke import Invocation
from harness.tools.names import BUILT_IN, namespaces, not_found, suggest
from harness.tools.tool import Tool, ToolContext

__all__ = ["Tool", "ToolRegistry", "ToolStatistics", "tool"]


@dataclass(slots=True)
class ToolStatistics:
    """Counters of one tool since its registry was made."""

    calls: int = 0
    ok: int = 0
    failed: dict[str, int] = field(default_factory=dict)
    """Class of the error → calls that ended with it."""
    duration_ms: float = 0.0
    """Of the tool itself, all calls together."""


class ToolRegistry:
    """Tools by name. Takes `Tool` objects and plain functions, which become tools.

    Raises `UsageError` for a name that is taken, that no tool may have, or that is both a tool and a namespace.
    """

    def __init__(self, tools: Iterable[Tool | Callable[..., Any]] = ()) -> None:
        self._tools: dict[str, Tool] = {}
        self._namespaces: dict[str, str] = {}
        self._statistics: dict[str, ToolStatistics] = {}
        self._index: ToolIndex | None = None
        self._built_in: Mapping[str, Tool] | None = None
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
        self._index = None
        return item

    def extend(self, tools: Iterable[Tool | Callable[..., Any]]) -> None:
        """Adds several tools, in order."""
        for item in tools:
            self.register(item)

    def names(self) -> list[str]:
        """The names of all tools, in the order they were registered."""
        return list(self._tools)

    def get(self, name: str) -> Tool:
        """The tool of exactly this name, the built-in ones included. Raises `ToolNotFoundError` with near misses."""
        found = self._tools.get(name) or self._find_built_in(name)
        if found is None:
            raise not_found(name, self._tools)
        return found

    def suggest(self, name: str) -> list[str]:
        """The names that look most like ``name``, best first."""
        return suggest(name, self._tools)

    @overload
    def describe(self, format: Literal["ts", "markdown"] = "ts") -> str: ...
    @overload
    def describe(self, format: Literal["json"]) -> list[dict[str, Any]]: ...
    def describe(self, format: Literal["ts", "json", "markdown"] = "ts") -> str | list[dict[str, Any]]:  # noqa: A002
        """All tools, in the order they were registered.

        ``"ts"``: TypeScript declarations of the tools and of whatever else a script finds, which type-check by
        themselves. ``"json"``: everything that can be told as JSON, a dictionary for each tool. ``"markdown"``: for
        people. Raises `UsageError` for another format.
        """
        described = [item.describe() for item in self._tools.values()]
        if format == "json":
            return described
        if format == "ts":
            return typescript(described)
        if format == "markdown":
            return markdown(described)
        raise UsageError(f"describe() gives 'ts', 'json' or 'markdown', not {format!r}.")

    def search(self, query: str, limit: int = 10) -> list[dict[str, str]]:
        """The tools that fit the words of ``query`` best: ``{"name": …, "call": …, "description": …}``, best first.

        What `tools.$search` answers. A query without a word lists the tools by name.
        """
        if self._index is None:
            self._index = ToolIndex(item.describe() for item in self._tools.values())
        return self._index.search(query, limit)

    def declaration(self, name: str) -> dict[str, str]:
        """What `tools.$describe` answers: ``name``, ``call``, the whole ``description``, and ``declaration`` in TypeScript.

        Raises `ToolNotFoundError` with near misses.
        """
        if name not in self._tools:
            raise not_found(name, self._tools)
        described = self._tools[name].describe()
        text = typescript([described], alone=True)
        return {**summary(described), "description": described["description"], "declaration": text}

    def _find_built_in(self, name: str) -> Tool | None:
        if name not in BUILT_IN:
            return None
        if self._built_in is None:
            self._built_in = make_built_in_tools(self.search, self.declaration)
        return self._built_in[name]

    def statistics(self) -> dict[str, ToolStatistics]:
        """What became of the calls to each tool so far, by name. The values go on counting."""
        return dict(self._statistics)

    def count(self, record: CallRecord) -> None:
        """Adds a call to its tool's counters; a planned call counts for nothing."""
        counters = self._statistics.get(record.tool)
        if counters is None or record.status is CallStatus.PLANNED:
            return
        counters.calls += 1
        counters.duration_ms += record.duration_ms or 0.0
        if record.error is None:
            counters.ok += 1
        else:
            counters.failed[record.error.type] = counters.failed.get(record.error.type, 0) + 1

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
        invocation = Invocation(item, ToolContext(tool=name, call_id=0, execution=execution), execution.limits)
        prepared = invocation.validate(plain if isinstance(plain, dict) else {})
        with anyio.CancelScope() as scope:
            value = await invocation.run(prepared, scope)
            invocation.encode(value)
            return value
        raise invocation.overran()
