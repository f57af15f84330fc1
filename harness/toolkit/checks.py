"""What the makers of tools check before they make one."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal

from harness.errors import UsageError

__all__ = ["Kind", "check_kinds", "check_whole", "require"]

Kind = Literal["flag", "function", "headers", "mapping", "path", "seconds", "text", "words"]

_LONGEST = 3600
_KINDS: Mapping[Kind, tuple[Callable[[Any], bool], str]] = {
    "flag": (lambda value: isinstance(value, bool), "True or False"),
    "function": (callable, "a function"),
    "headers": (
        lambda value: isinstance(value, Mapping) and all(isinstance(name, str) for name in value),
        "a dict of names of headers",
    ),
    "mapping": (lambda value: isinstance(value, Mapping), "a dict"),
    "path": (lambda value: isinstance(value, (str, os.PathLike)), "a path"),
    "seconds": (
        lambda value: isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= _LONGEST,
        "seconds above 0, an hour at most",
    ),
    "text": (lambda value: isinstance(value, str), "text"),
    "words": (
        lambda value: (
            isinstance(value, Collection)
            and not isinstance(value, (str, bytes, Mapping))
            and all(isinstance(one, str) for one in value)
        ),
        "a list of texts",
    ),
}


def require(module: str, *, extra: str, what: str) -> None:
    """Loads a library that only some tools need. Raises `UsageError` that names the extra if it is not installed."""
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise  # it is installed, and something that it needs itself is not
        raise UsageError(f"{what} needs {module}: pip install 'tool-calls-harness[{extra}]'.") from None


def check_kinds(tool: str, *optional: str, **settings: tuple[object, Kind]) -> None:
    """Raises `UsageError` for the first setting that is not of its kind. Those in ``optional`` may be None."""
    for setting, (value, kind) in settings.items():
        if value is None and setting in optional:
            continue
        fits, what = _KINDS[kind]
        if not fits(value):
            # The values of headers may be secrets.
            shown = type(value).__name__ if kind == "headers" else repr(value)
            raise UsageError(f"{setting} of tool {tool!r} is {shown}; it is {what}.")


def check_whole(value: object, setting: str, tool: str, *, least: int, most: int = 2**53 - 1) -> None:
    """Raises `UsageError` unless ``value`` is a whole number in its range."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise UsageError(
            f"{setting} of tool {tool!r} is {value!r}; it must be a whole number from {least:,} to {most:,}."
        )
