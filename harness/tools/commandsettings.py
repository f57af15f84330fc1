"""What a `SubprocessTool` is given, checked by type before anything is made of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import NoneType
from typing import Any

from pydantic import BaseModel

from harness.errors import UsageError
from harness.plain import MAX_SAFE_INTEGER
from harness.tools.process.settings import ProcessLimits, ProcessSandbox

__all__ = ["check_seed_field", "check_settings"]


def check_settings(tool: str, settings: Mapping[str, Any]) -> None:
    """Raises `UsageError` that names the setting, what it is and what it must be."""
    for setting, value in settings.items():
        fits, what = _KINDS[setting]
        if not fits(value):
            raise UsageError(f"{setting} of tool {tool!r} is {value!r}; it is {what}.")


def check_seed_field(
    tool: str, seed_field: str | None, args: type[BaseModel] | None, parameters: Mapping[str, Any]
) -> None:
    """Raises `UsageError` if the arguments have no such member, so that the command would not expect it either."""
    if seed_field is None or args is None or args.model_config.get("extra") == "allow":
        return
    members = parameters.get("properties", {})
    if seed_field not in members:
        raise UsageError(
            f"seed_field of tool {tool!r} is {seed_field!r}, and args has no such member, but {', '.join(members) or 'none'}. "
            f"Add one that can be left out: `{seed_field}: int | None = None`."
        )


def _words(value: Any) -> bool:
    return (
        isinstance(value, Sequence)
        and not isinstance(value, (str, bytes))
        and all(isinstance(one, str) for one in value)
    )


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _environment(value: Any) -> bool:
    return value is None or (
        isinstance(value, Mapping) and all(isinstance(key, str) and isinstance(value[key], str | None) for key in value)
    )


def _one_of(kinds: Iterable[type]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, tuple(kinds))


_KINDS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "command": (lambda value: _words(value) and bool(value), 'a list of strings, such as ["python3", "tool.py"]'),
    "description": (_one_of([str]), "text"),
    "max_stdout": (_whole, "a number of bytes"),
    "max_stderr": (_whole, "a number of bytes"),
    "artifacts": (_words, 'a list of paths into its result, such as ["report", "files[*]"]'),
    "env": (_environment, 'a dict of names and texts, such as {"MODE": "fast"}; None passes on the host\'s own'),
    "cwd": (_one_of([str, os.PathLike, NoneType]), "a path"),
    "limits": (_one_of([ProcessLimits, Mapping, NoneType]), "a ProcessLimits, or a dict of its fields"),
    "sandbox": (_one_of([bool, ProcessSandbox]), "True, False or a ProcessSandbox"),
    "seed_field": (_one_of([str, NoneType]), "the name of a member of its input"),
    "seed": (
        lambda value: value is None or (_whole(value) and abs(value) <= MAX_SAFE_INTEGER),
        "a whole number of at most 2^53−1",
    ),
    "verify_determinism": (_one_of([bool]), "True or False"),
    "grace": (lambda value: _whole(value) or isinstance(value, float), "a number of seconds"),
}
