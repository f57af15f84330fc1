"""Several versions of one tool side by side: scripts call the newest, the host can give them another."""

from __future__ import annotations

from collections.abc import Mapping

from harness.contracts.versions import newest, parse_version
from harness.errors import UsageError
from harness.redaction import visible
from harness.tools.tool import Tool

__all__ = ["MARK", "check_beside", "current", "in_order", "version_named"]

MARK = "@"
"""Between a name and a version, where the host names one: ``refund@1``."""

Versions = Mapping[str, Mapping[str, Tool]]
"""Name → version → tool."""


def check_beside(item: Tool, versions: Versions) -> None:
    """Raises `UsageError` if a tool cannot stand beside those that are there already."""
    known = versions.get(item.name, {})
    for other in known:
        mine, theirs = parse_version(item.version), parse_version(other)
        if item.version == other or (mine is not None and mine == theirs):
            raise UsageError(
                f"There already is a tool {item.name!r} of version {other}; give one of the two another name, with "
                "@tool(name=…), or another version, with @tool(version=…)."
            )
        if mine is None or theirs is None:
            wrong = item.version if mine is None else other
            raise UsageError(
                f"There are two versions of tool {item.name!r}, and '{visible(wrong)}' says nothing of which is the newer "
                "one; write versions as numbers: version='1.2.0'."
            )
    base, _, version = item.name.rpartition(MARK)
    if version in versions.get(base, ()) or f"{item.name}{MARK}{item.version}" in versions:
        raise UsageError(
            f"The tool {item.name!r} cannot be told from a version of another, {base or item.name!r}: a selection writes "
            "both alike. Rename one of the two."
        )


def in_order(tools: Mapping[str, Tool]) -> list[Tool]:
    """All versions of one tool, the oldest first."""
    if len(tools) == 1:
        return list(tools.values())
    ordered = {version: parsed for version in tools if (parsed := parse_version(version)) is not None}
    return [tools[version] for version in sorted(ordered, key=ordered.__getitem__)]


def current(tools: Mapping[str, Tool]) -> Tool:
    """The version that scripts call: the newest; a pre-release only where there is nothing else."""
    return tools[newest(tools)]


def version_named(text: str, versions: Versions) -> Tool | None:
    """The tool that ``name@1.2.0`` means, or ``name@1``: the newest of the versions 1.…; None if it names no version.

    Raises `UsageError`, with those there are, for a version that is not there.
    """
    name, mark, wanted = text.rpartition(MARK)
    if not mark or name not in versions:
        return None
    known = versions[name]
    if wanted in known:
        return known[wanted]
    found = [version for version in known if _begins(version, wanted)]
    if not found:
        there = ", ".join(tool.version for tool in in_order(known))
        raise UsageError(f"There is no version '{visible(wanted[:80])}' of tool {name!r}; there is: {there}.")
    return current({version: known[version] for version in found})


def _begins(version: str, wanted: str) -> bool:
    """``1.2.0`` begins with ``1`` and ``1.2``; ``1.0`` is ``1.0.0``."""
    whole, part = parse_version(version), parse_version(wanted)
    if whole is None or part is None:
        return False
    if part.prerelease or whole.prerelease:
        return whole == part
    parts = wanted.partition("+")[0].count(".") + 1
    return (whole.major, whole.minor, whole.patch)[:parts] == (part.major, part.minor, part.patch)[:parts]
