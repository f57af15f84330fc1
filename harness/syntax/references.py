"""The tools a script calls by name, and those of them that do not exist."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from harness.errors import ToolNotFoundError
from harness.syntax.problem import Problem
from harness.syntax.scope import Reference, Use
from harness.syntax.walk import GLOBAL_OBJECTS
from harness.tools.names import BUILT_IN, expression

__all__ = ["Call", "find_calls", "unknown_tools"]

_CALLS = frozenset({Use.CALL, Use.OPTIONAL_CALL, Use.DASHED})
_ASKS = frozenset({Use.TEST, Use.TYPEOF, Use.OPTIONAL_CALL})
_FUNCTION_METHODS = frozenset({"call", "apply", "bind"})
_FUNCTION_MEMBERS = frozenset({"name", "length", "toString"})
_MAX_SUGGESTIONS = 3
_MAX_SHOWN = 80
_MAX_LISTED = 10


@dataclass(frozen=True, slots=True)
class Call:
    """``tools.fs.read(…)``."""

    path: tuple[str, ...]
    byte: int
    guarded: bool
    """The script itself asks whether this tool is there: ``tools.x?.()``, ``if (tools.x) …``."""
    dashed: bool = False
    """Written ``tools.get-item(…)``, which is no call of ``get-item``."""

    @property
    def name(self) -> str:
        """The tool's name: ``tools.x.bind(null)`` is about ``x``."""
        path = self.path[:-1] if len(self.path) > 1 and self.path[-1] in _FUNCTION_METHODS else self.path
        return ".".join(path)


def find_calls(free: Mapping[str, Iterable[Reference]]) -> tuple[Call, ...]:
    """Calls of members of the free name ``tools``, in the order of their places."""
    uses = list(_of_tools(free))
    asked = {path for path, reference in uses if reference.use in _ASKS}
    calls = [
        Call(
            path,
            reference.byte,
            guarded=any(path[:length] in asked for length in range(1, len(path) + 1)),
            dashed=reference.use is Use.DASHED,
        )
        for path, reference in uses
        if reference.use in _CALLS and path
    ]
    return tuple(sorted(calls, key=lambda call: call.byte))


def _of_tools(free: Mapping[str, Iterable[Reference]]) -> Iterator[tuple[tuple[str, ...], Reference]]:
    for reference in free.get("tools", ()):
        yield reference.path, reference
    for name in GLOBAL_OBJECTS & free.keys():
        for reference in free[name]:
            if reference.path[:1] == ("tools",):
                yield reference.path[1:], reference


def unknown_tools(calls: Iterable[Call], tools: Collection[str]) -> Iterator[tuple[Call, Problem]]:
    """The calls of tools that do not exist, each with the problem it is (its offset is still to be set)."""
    known = frozenset(tools)
    callable_names = known | BUILT_IN
    suggested: dict[str, list[str]] = {}
    for call in calls:
        if call.dashed:
            if call.name in known:
                yield call, _subtraction(call.name)
            continue
        if call.name in callable_names or ".".join(call.path) in callable_names or _is_about(call, known):
            continue
        if call.name not in suggested:
            suggested[call.name] = _suggest(call.name, known)
        yield call, _problem(call.name, suggested[call.name], known)


def _is_about(call: Call, known: frozenset[str]) -> bool:
    """Whether the call is of something that any function has: ``tools.x.name.trim()``."""
    return any(
        part in _FUNCTION_MEMBERS and ".".join(call.path[:at]) in known for at, part in enumerate(call.path) if at
    )


def _subtraction(name: str) -> Problem:
    written, right = f"tools.{name}", expression(name)
    return Problem(
        ToolNotFoundError,
        f"`{written}(…)` is a subtraction to JavaScript: write `{right}(…)`.",
        details={"tool": name, "suggestions": [name]},
    )


def _suggest(name: str, known: frozenset[str]) -> list[str]:
    if len(name) > _MAX_SHOWN:
        return []
    inside = sorted(tool for tool in known if tool.startswith(f"{name}."))
    last = name.rpartition(".")[2]
    elsewhere = sorted(tool for tool in known if tool.rpartition(".")[2] == last)
    near = difflib.get_close_matches(name, sorted(known), n=_MAX_SUGGESTIONS)
    return list(dict.fromkeys([*near, *inside, *elsewhere]))[:_MAX_SUGGESTIONS]


def _problem(name: str, suggestions: list[str], known: frozenset[str]) -> Problem:
    shown = _shown(name)
    if suggestions:
        hint = "did you mean " + " or ".join(f"`{_written(name)}`" for name in suggestions) + "?"
    elif known:
        listed = ", ".join(f"`{_written(tool)}`" for tool in sorted(known)[:_MAX_LISTED])
        more = f" and {len(known) - _MAX_LISTED} more" if len(known) > _MAX_LISTED else ""
        hint = f"there are {listed}{more}."
    else:
        hint = "no tool is registered."
    return Problem(
        ToolNotFoundError, f"There is no tool `{shown}`: {hint}", details={"tool": shown, "suggestions": suggestions}
    )


def _written(name: str) -> str:
    """The name, or how a script writes the tool if a dot does not reach it."""
    plain = f"tools.{name}"
    return name if expression(name) == plain else expression(name)


def _shown(name: str) -> str:
    # Names of tools are ASCII, so a letter of another alphabet is what makes the difference: show it as its escape.
    shown = "".join(c if c.isascii() and c.isprintable() else f"\\u{{{ord(c):x}}}" for c in name[:_MAX_SHOWN])
    cut = len(name) - _MAX_SHOWN
    return f"{shown}…[{cut} characters cut]" if cut > 0 else shown
