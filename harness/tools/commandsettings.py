"""What a `SubprocessTool` is given, checked by type before anything is made of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import NoneType
from typing import Annotated, Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from harness.errors import UsageError
from harness.plain import MAX_SAFE_INTEGER
from harness.tools.process.settings import ProcessLimits, ProcessSandbox

__all__ = ["MAX_SEED", "check_seed_field", "check_settings", "without_required"]

MAX_SEED = 2**32 - 1
"""The largest seed that is derived from arguments."""


def check_settings(tool: str, settings: Mapping[str, Any]) -> None:
    """Raises `UsageError` that names the setting, what it is and what it must be."""
    for setting, value in settings.items():
        fits, what = _KINDS[setting]
        if not fits(value):
            raise UsageError(f"{setting} of tool {tool!r} is {value!r}; it is {what}.")


def check_seed_field(tool: str, seed_field: str | None, args: type[BaseModel] | None) -> None:
    """Raises `UsageError` if the arguments have no such member, or one that no seed fits."""
    if seed_field is None or args is None:
        return
    members = {
        field.validation_alias if isinstance(field.validation_alias, str) else name: field
        for name, field in args.model_fields.items()
    }
    field = members.get(seed_field)
    if field is None:
        if args.model_config.get("extra") == "allow":
            return
        raise UsageError(
            f"seed_field of tool {tool!r} is {seed_field!r}, and args has no such member, but "
            f"{', '.join(members) or 'none'}. Add one: `{seed_field}: int`."
        )
    # With one piece of metadata that says nothing, since there must be one.
    declared: Any = Annotated[field.annotation, "seed", *field.metadata]
    kind: TypeAdapter[Any] = TypeAdapter(declared)
    for seed in (0, MAX_SEED):
        try:
            kind.validate_json(str(seed), strict=True)
        except ValidationError:
            raise UsageError(
                f"seed_field of tool {tool!r} is {seed_field!r}, and that member of args does not take every seed: {seed} "
                f"does not fit. A seed is a whole number of 32 bits: `{seed_field}: int`."
            ) from None


def without_required(schema: dict[str, Any], member: str | None) -> dict[str, Any]:
    """The schema of an object in which this member can be left out."""
    if member is None or member not in schema.get("required", ()):
        return schema
    required = [name for name in schema["required"] if name != member]
    rest = {key: value for key, value in schema.items() if key != "required"}
    return {**rest, "required": required} if required else rest


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
