"""Whether arguments are those that a test means, and how they are shown."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["Pattern", "fits", "shown"]

Pattern = Mapping[str, Any] | Callable[[Any], object] | None
"""Members that an argument object must have, or a function of it that says whether it is meant; None for any."""

_MISSING = object()
_SHOWN = 300
"""Characters."""


def fits(arguments: Any, pattern: Pattern) -> bool:
    """Whether arguments are meant. A member that is a mapping itself must have its members, and so on."""
    if pattern is None:
        return True
    if not isinstance(pattern, Mapping):
        return bool(pattern(arguments))
    if not isinstance(arguments, Mapping):
        return False
    return all(_same(arguments.get(name, _MISSING), wanted) for name, wanted in pattern.items())


def _same(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, Mapping):
        return fits(value, wanted)
    if isinstance(wanted, (list, tuple)):
        return isinstance(value, list) and len(value) == len(wanted) and all(map(_same, value, wanted))
    # True is no 1 in JSON.
    return bool(value == wanted) and isinstance(value, bool) == isinstance(wanted, bool)


def shown(arguments: Any) -> str:
    """Arguments, or a pattern of them, in one line that is not too long."""
    if callable(arguments):
        name = getattr(arguments, "__name__", type(arguments).__name__)
        try:
            source = inspect.getsource(arguments).strip().splitlines()[0]
        except (OSError, TypeError):
            return name
        return source if name == "<lambda>" else name
    text = json.dumps(arguments, ensure_ascii=False, default=repr)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text) - _SHOWN:,} more characters)"
