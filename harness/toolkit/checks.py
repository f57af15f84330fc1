"""What the makers of tools check before they make one."""

from __future__ import annotations

import importlib

from harness.errors import UsageError

__all__ = ["check_whole", "require"]


def require(module: str, *, extra: str, what: str) -> None:
    """Loads a library that only some tools need. Raises `UsageError` that names the extra if it is not installed."""
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise  # it is installed, and something that it needs itself is not
        raise UsageError(f"{what} needs {module}: pip install 'tool-calls-harness[{extra}]'.") from None


def check_whole(value: object, setting: str, tool: str, *, least: int, most: int = 2**53 - 1) -> None:
    """Raises `UsageError` unless ``value`` is a whole number in its range."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise UsageError(
            f"{setting} of tool {tool!r} is {value!r}; it must be a whole number from {least:,} to {most:,}."
        )
