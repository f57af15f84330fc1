"""What a tool may be called."""

from __future__ import annotations

import difflib
import functools
import json
import re
from collections.abc import Iterable

from harness.errors import ToolNotFoundError, UsageError
from harness.redaction import visible

__all__ = [
    "BUILT_IN",
    "MAX_NAME",
    "RESERVED",
    "check_name",
    "expression",
    "namespaces",
    "not_found",
    "snake_case",
    "suggest",
]

MAX_NAME = 128
BUILT_IN = frozenset({"$describe", "$search"})
"""What `tools` offers by itself: calls that answer from the registry and change nothing."""
_PART = r"[A-Za-z0-9_$][A-Za-z0-9_$@:/+-]*"
_NAME = re.compile(rf"{_PART}(?:\.{_PART})*\Z")
_IDENTIFIER = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*\Z")

RESERVED = frozenset(
    [
        "then",
        "toJSON",
        "toString",
        "toLocaleString",
        "valueOf",
        "constructor",
        "prototype",
        "hasOwnProperty",
        "isPrototypeOf",
        "propertyIsEnumerable",
        "__proto__",
        "__defineGetter__",
        "__defineSetter__",
        "__lookupGetter__",
        "__lookupSetter__",
    ]
)
"""JavaScript itself asks any object for these (``await tools``, printing it), so no tool can have such a name."""


def check_name(name: object) -> str:
    """``name``, if a tool may have it; `UsageError` with the reason if not."""
    if not isinstance(name, str):
        raise UsageError(f"The name of a tool is text, not {name!r}.")
    shown = visible(name[:80])
    if len(name) > MAX_NAME:
        raise UsageError(f"The tool name '{shown}'… is longer than {MAX_NAME} characters; choose a shorter one.")
    if name == "<lambda>":
        raise UsageError("A lambda has no name of its own; give its tool one: tool(name=…)(lambda …).")
    if not _NAME.match(name):
        raise UsageError(
            f"'{shown}' cannot be the name of a tool: use ASCII letters, digits and underscores, and dots between the "
            "parts of a namespace (fs.read). Within a part, - / : @ and + will do too (get-item)."
        )
    for part in name.split("."):
        if part in RESERVED:
            raise UsageError(
                f"'{shown}' cannot be the name of a tool: JavaScript itself looks up {part!r} on objects, so calling "
                "it could happen by accident. Give the tool another name, with @tool(name=…)."
            )
        if part.startswith("$"):
            raise UsageError(f"'{shown}' cannot be the name of a tool: names beginning with '$' belong to the harness.")
    return name


@functools.lru_cache(maxsize=1_024)
def expression(name: str) -> str:
    """What a script writes for a tool: ``tools.fs.read``, and ``tools["get-item"]`` where a dot cannot reach it."""
    parts = name.split(".")
    return "tools" + "".join(f".{part}" if _IDENTIFIER.match(part) else f"[{json.dumps(part)}]" for part in parts)


def snake_case(name: str) -> str:
    """``FileSystem`` gives ``file_system``, ``HTTPClient`` gives ``http_client``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def namespaces(name: str) -> list[str]:
    """``fs.dir.list`` lies in ``fs`` and ``fs.dir``."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def suggest(name: str, known: Iterable[str], *, count: int = 3) -> list[str]:
    """The known names that look most like ``name``, best first."""
    spelled = {_folded(other): other for other in sorted(known, reverse=True)}
    close = difflib.get_close_matches(_folded(name[:MAX_NAME]), spelled, n=count, cutoff=0.6)
    return [spelled[match] for match in close]


def _folded(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def not_found(name: str, known: Iterable[str]) -> ToolNotFoundError:
    """The error for a call to a tool that does not exist, with near misses."""
    names = sorted(known)
    near = suggest(name, names)
    if near:
        hint = "Did you mean " + " or ".join(expression(other) for other in near) + "?"
    elif names:
        listed = ", ".join(expression(other).removeprefix("tools.") for other in names[:10]) + (
            f" and {len(names) - 10} more" if len(names) > 10 else ""
        )
        hint = f"The tools are: {listed}."
    else:
        hint = "No tools are registered."
    shown = visible(name[:80]) + ("…" if len(name) > 80 else "")
    return ToolNotFoundError(f"There is no tool '{shown}'. {hint}", details={"tool": shown, "suggestions": near})
