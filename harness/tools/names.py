"""What a tool may be called."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from harness.errors import ToolNotFoundError, UsageError
from harness.redaction import visible

__all__ = ["BUILT_IN", "MAX_NAME", "RESERVED", "check_name", "namespaces", "not_found", "suggest"]

MAX_NAME = 64
BUILT_IN = frozenset({"$describe", "$search"})
"""What `tools` offers by itself: calls that answer from the registry and change nothing."""
_NAME = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*(?:\.[A-Za-z_$][A-Za-z0-9_$]*)*\Z")

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


def check_name(name: str) -> str:
    """``name``, if a tool may have it; `UsageError` with the reason if not."""
    shown = visible(name[:80])
    if len(name) > MAX_NAME:
        raise UsageError(f"The tool name '{shown}'… is longer than {MAX_NAME} characters; choose a shorter one.")
    if not _NAME.match(name):
        raise UsageError(
            f"'{shown}' cannot be the name of a tool: use ASCII letters, digits and underscores, not beginning with a "
            "digit, and dots between the parts of a namespace (fs.read)."
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


def namespaces(name: str) -> list[str]:
    """``fs.dir.list`` lies in ``fs`` and ``fs.dir``."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def suggest(name: str, known: Iterable[str], *, count: int = 3) -> list[str]:
    """The known names that look most like ``name``, best first."""
    spelled = {other.lower().replace("_", ""): other for other in sorted(known, reverse=True)}
    close = difflib.get_close_matches(name[:MAX_NAME].lower().replace("_", ""), spelled, n=count, cutoff=0.6)
    return [spelled[match] for match in close]


def not_found(name: str, known: Iterable[str]) -> ToolNotFoundError:
    """The error for a call to a tool that does not exist, with near misses."""
    names = sorted(known)
    near = suggest(name, names)
    if near:
        hint = "Did you mean " + " or ".join(f"tools.{other}" for other in near) + "?"
    elif names:
        listed = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
        hint = f"The tools are: {listed}."
    else:
        hint = "No tools are registered."
    shown = visible(name[:80]) + ("…" if len(name) > 80 else "")
    return ToolNotFoundError(f"There is no tool '{shown}'. {hint}", details={"tool": shown, "suggestions": near})
