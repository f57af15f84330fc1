"""The tools a harness offers, by name, and what became of the calls to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Unpack, overload

from pydantic import JsonValue

from harness.canonical import Canonical
from harness.contracts.values import ContractSet
from harness.declarations.markdown import markdown
from harness.declarations.search import ToolIndex, summary
from harness.declarations.typescript import typescript
from harness.errors import UsageError
from harness.model import CallRecord
from harness.tools.builtin import make_built_in_tools
from harness.tools.classes import tools_of
from harness.tools.function import tool
from harness.tools.hostcalls import Home, HostCall, HostOptions, call_from_host
from harness.tools.metrics import ToolStatistics
from harness.tools.names import BUILT_IN, namespaces, not_found, suggest
from harness.tools.resource import check_count
from harness.tools.selection import Selection, selected
from harness.tools.tool import Tool
from harness.tools.versions import check_beside, current, in_order

__all__ = ["Namespace", "Tool", "ToolRegistry", "ToolStatistics", "tool"]


class ToolRegistry(Canonical):
    """Tools by name. Takes `Tool` objects, plain functions, and objects with methods marked with `@tool`.

    Tools of one name must differ in their ``version``. Scripts call the newest, which is what the registry is about
    wherever it does not say otherwise; `select` gives them another.

    Raises `UsageError` for a name that is taken, that no tool may have, or that is both a tool and a namespace.
    """

    def __init__(self, tools: Iterable[object] = ()) -> None:
        self._tools: dict[str, Tool] = {}
        self._versions: dict[str, dict[str, Tool]] = {}
        self._namespaces: dict[str, str] = {}
        self._statistics: dict[str, ToolStatistics] = {}
        self._index: ToolIndex | None = None
        self._built_in: Mapping[str, Tool] | None = None
        self._home = Home()
        self.extend(tools)

    def __len__(self) -> int:
        return len(self._tools)

    def __iter__(self) -> Iterator[Tool]:
        return iter(list(self._tools.values()))

    def __contains__(self, name: object) -> bool:
        return name in self._tools

    def register(self, item: Tool | Callable[..., Any]) -> Tool:
        """Adds one tool and returns it. For an object with several, there is `extend`."""
        found = tools_of(item)
        if len(found) != 1:
            raise UsageError(f"{item!r} offers {len(found)} tools; add them with extend([…]).")
        return self._add(found[0])

    def extend(self, tools: Iterable[object]) -> None:
        """Adds several tools, in order: all that each of these offers (see `tools_of`)."""
        if isinstance(tools, (str, bytes)) or not isinstance(tools, Iterable):
            raise UsageError(f"tools is a list, also of a single tool, not {tools!r}.")
        for item in tools:
            for found in tools_of(item):
                self._add(found)

    def namespace(self, name: str) -> Namespace:
        """A part of the registry: what is added to it is called ``name.….``"""
        return Namespace(self, name)

    def _add(self, item: Tool) -> Tool:
        name = item.name
        if self._versions.get(name, {}).get(item.version) is item:
            return item
        check_beside(item, self._versions)
        if name in self._namespaces:
            raise UsageError(
                f"{name!r} cannot be a tool: it is the namespace of {self._namespaces[name]!r}. Rename one of the two."
            )
        for space in namespaces(name):
            if space in self._tools:
                raise UsageError(
                    f"{name!r} cannot be a tool: its namespace {space!r} is a tool. Rename one of the two."
                )
        item.check_preview()
        for space in namespaces(name):
            self._namespaces.setdefault(space, name)
        versions = self._versions.setdefault(name, {})
        versions[item.version] = item
        self._tools[name] = current(versions)
        self._statistics.setdefault(name, ToolStatistics())
        self._index = None
        return item

    def select(self, wanted: Selection) -> ToolRegistry:
        """The tools that ``wanted`` gives, as a registry of their own that counts into this one's statistics.

        ``wanted`` is a list of names (``"fs.read"``), namespaces (``"fs"``), tags (``"tag:read"``) and versions
        (``"fs.read@1.2.0"``; ``"fs.read@1"`` is the newest of the versions 1), or a function that says of a `Tool`
        whether it is given. Scripts call what it gives by the bare name. Tools registered later are not in it. Raises
        `UsageError` for a name that is none.
        """
        part = ToolRegistry(selected(self._tools, wanted, self._versions))
        part._statistics = {name: self._statistics[name] for name in part._tools}
        part._home = self._home
        return part

    def versions(self, name: str) -> list[Tool]:
        """All versions of a tool, the oldest first; empty if there is none."""
        return in_order(self._versions[name]) if name in self._versions else []

    def all_versions(self) -> list[Tool]:
        """All versions of all tools."""
        return [tool for name in self._tools for tool in self.versions(name)]

    def contracts(self) -> ContractSet:
        """What all versions of all tools promise; ``ContractSet.of(registry)`` is what scripts can call."""
        return ContractSet.of(self.all_versions())

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

    def canonical(self) -> dict[str, Any]:
        """The `ContractSet` of what scripts can call, in whatever order it was registered."""
        return ContractSet.of(self).canonical()

    def search(self, query: str, limit: int = 10) -> list[dict[str, str]]:
        """The tools that fit the words of ``query`` best: ``{"name": …, "call": …, "description": …}``, best first.

        What `tools.$search` answers. A query without a word lists the tools by name.
        """
        check_count(limit, "limit of search()", least=1)
        words: object = query
        if not isinstance(words, str):
            raise UsageError(f"search() takes text, not {query!r}.")
        if self._index is None:
            self._index = ToolIndex(item.describe() for item in self._tools.values())
        return self._index.search(query, limit)

    def declaration(self, name: str) -> dict[str, Any]:
        """What `tools.$describe` answers: ``name``, ``call``, the whole ``description``, ``declaration`` in TypeScript, and
        what `Tool.terms` tells.

        Raises `ToolNotFoundError` with near misses.
        """
        if name not in self.names():
            raise not_found(str(name), self._tools)
        item = self._tools[name]
        described = item.describe()
        text = typescript([described], alone=True)
        return {**summary(described), "description": described["description"], "declaration": text, **item.terms()}

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
        if counters is not None:
            counters.count(record)

    def belongs_to(self, home: Home) -> None:
        """Let `call` share what ``home`` has. Each `Harness` says so of its registry when it is made; the last word counts."""
        self._home = home

    async def call(
        self, name: str, arguments: Mapping[str, Any] | None = None, **options: Unpack[HostOptions]
    ) -> JsonValue:
        """Calls a tool from host code, through the same steps as a script's call; see `HostOptions` for ``options``.

        The registry of a `Harness` shares with its scripts whatever outlasts an execution: resources, kept results,
        counters, telemetry. Its limits, secrets and ``budget`` hold too, the call being an execution of its own; its
        mode and its approver do not. A registry that no harness was made with keeps all that by itself.

        Returns the result as plain JSON data. Raises what a script would get: `ToolError` and `ApprovalError`
        subclasses, the tool's own error unchanged; and `UsageError` for options that cannot be.
        """
        return (await self.call_recorded(name, arguments, **options)).value

    async def call_recorded(
        self, name: str, arguments: Mapping[str, Any] | None = None, **options: Unpack[HostOptions]
    ) -> HostCall:
        """`call`, with the record of the call beside its value: cost, attempts, artifacts, duration."""
        return await call_from_host(self, self._home, name, arguments, **options)


@dataclass(frozen=True, slots=True)
class Namespace:
    """A part of a registry (see `ToolRegistry.namespace`)."""

    registry: ToolRegistry
    name: str

    def register(self, item: Tool | Callable[..., Any]) -> Tool:
        """Adds one tool under this namespace and returns it, renamed."""
        found = tools_of(item, self.name)
        if len(found) != 1:
            raise UsageError(f"{item!r} offers {len(found)} tools; add them with extend([…]).")
        return self.registry.register(found[0])

    def extend(self, tools: Iterable[object]) -> None:
        """Adds all that each of these offers under this namespace."""
        for item in tools:
            self.registry.extend(tools_of(item, self.name))

    def namespace(self, name: str) -> Namespace:
        """A namespace inside this one."""
        return Namespace(self.registry, f"{self.name}.{name}")
