"""Which tools one execution is given: what it is not given does not exist for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from harness.errors import UsageError
from harness.redaction import visible
from harness.tools.names import namespaces, suggest
from harness.tools.tool import Tool
from harness.tools.versions import version_named

__all__ = ["TAG", "Selection", "selected"]

TAG = "tag:"

Selection = Iterable[str | Tool] | Callable[[Tool], bool]
"""Names (``"fs.read"``), namespaces (``"fs"`` or ``"fs.*"``), tags (``"tag:read"``), versions (``"fs.read@1"``) and tools,
of which each adds to the others; or a function that says of a tool whether it is given."""


def selected(tools: Mapping[str, Tool], wanted: Any, versions: Mapping[str, Mapping[str, Tool]]) -> list[Tool]:
    """The tools that are given, in the order they were registered.

    ``tools`` are the newest versions, which a name, a namespace, a tag and a function are about; what names another
    version, as text or as the `Tool` itself, has this one in its place. ``versions`` are all: name → version → tool.

    Raises `UsageError` for what is no tool, namespace or tag here: a slip of the pen must not go unnoticed, though it
    could only give less.
    """
    if isinstance(wanted, (str, bytes, Mapping, Tool)):
        raise UsageError("tools is a list, also of a single name, namespace or tag: tools=['fs.read'].")
    if callable(wanted):
        return [tool for tool in tools.values() if wanted(tool)]
    if not isinstance(wanted, Iterable):
        raise UsageError(f"tools is a list of names, namespaces and tags, or a function of a tool, not {wanted!r}.")
    given: set[str] = set()
    pinned: dict[str, Tool] = {}
    for one in wanted:
        version = (
            (None if one in tools else version_named(one, versions)) if isinstance(one, str) else _own(versions, one)
        )
        if version is None:
            given |= _named(tools, one)
        elif pinned.setdefault(version.name, version) is not version:
            both = f"{pinned[version.name].version} and {version.version}"
            raise UsageError(
                f"The selection names two versions of {version.name!r}, {both}; a script can call one only."
            )
    return [pinned.get(name, tool) for name, tool in tools.items() if name in given or name in pinned]


def _own(versions: Mapping[str, Mapping[str, Tool]], one: Any) -> Tool:
    if isinstance(one, Tool) and versions.get(one.name, {}).get(one.version) is one:
        return one
    if isinstance(one, Tool):
        raise UsageError(f"The tool {one.name!r} is not one of this harness; give it to Harness(tools=…) first.")
    raise UsageError(f"{one!r} selects no tool; give names, namespaces, tags ('tag:read') or tools.")


def _named(tools: Mapping[str, Tool], text: str) -> set[str]:
    if text.startswith(TAG):
        tag = text.removeprefix(TAG)
        found = {name for name, tool in tools.items() if tag in tool.tags}
        known = {f"{TAG}{word}" for tool in tools.values() for word in tool.tags}
        what = "tool has the tag"
    else:
        tag = text.removesuffix(".*")
        found = {name for name in tools if tag in namespaces(name)}
        if text in tools:
            found.add(text)
        known = {other for name in tools for other in (name, *namespaces(name))}
        what = "tool or namespace is called"
    if not found:
        near = suggest(text, known, count=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise UsageError(f"No {what} '{visible(tag[:80])}'{hint}")
    return found
