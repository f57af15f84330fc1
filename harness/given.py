"""What callers hand to a `Harness`, checked: each function gives what is meant, or raises `UsageError`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import NoneType
from typing import Any, cast

from pydantic import ValidationError

from harness.context import ExecutionContext, merge_limits
from harness.errors import UsageError
from harness.limits import Limits
from harness.run import Mode
from harness.runtime.runtime import Isolation
from harness.tools.registry import Tool, ToolRegistry

__all__ = ["check_hardening", "given_clock", "given_context", "given_mode", "given_registry", "given_text"]

_LAST_DATE_S = 8.64e12
"""The last moment that a ``Date`` can show."""


def given_registry(tools: object) -> ToolRegistry:
    """The tools of a harness."""
    if isinstance(tools, ToolRegistry):
        return tools
    if isinstance(tools, Tool) or callable(tools):
        raise UsageError("tools is a list, also of a single tool: tools=[…].")
    if tools is not None and (isinstance(tools, (str, bytes)) or not isinstance(tools, Iterable)):
        raise UsageError(f"tools is a list of tools or a ToolRegistry, not {tools!r}.")
    return ToolRegistry(tools or ())


def given_text(text: object) -> str:
    """One assistant message."""
    if not isinstance(text, str):
        raise UsageError(f"The text is a str, not {type(text).__name__}.")
    return text


def given_mode(mode: object) -> Mode:
    """What is done with blocks."""
    if mode not in ("enabled", "dry-run", "disabled"):
        raise UsageError(f"mode is 'enabled', 'dry-run' or 'disabled', or a function that returns one, not {mode!r}.")
    return mode


def check_hardening(hardening: object, isolation: Isolation) -> None:
    """Whether the layers of the lockdown are asked for, and can be had."""
    if hardening not in ("best_effort", "required"):
        raise UsageError(f"hardening is 'best_effort' or 'required', not {hardening!r}.")
    if hardening == "required" and isolation == "thread":
        raise UsageError(
            "hardening='required' needs processes, from which something can be taken away: use isolation='process' or "
            "'shared'."
        )


def given_clock(clock: object) -> Callable[[], float] | None:
    """What tells the time: it is read once, to see that it does."""
    if clock is None:
        return None
    now = clock() if callable(clock) else None
    if isinstance(now, bool) or not isinstance(now, (int, float)) or not 0 <= now <= _LAST_DATE_S:
        raise UsageError(
            f"clock is a function that returns seconds since the epoch, as time.time does; {clock!r} "
            + (f"returned {now!r}." if callable(clock) else "is none.")
        )
    return cast("Callable[[], float]", clock)


def given_context(
    default: Limits,
    context: ExecutionContext | Mapping[str, Any] | None,
    inputs: Mapping[str, Any] | None,
    limits: Limits | Mapping[str, Any] | None,
) -> ExecutionContext:
    """What one run is about. Of the limits, those of this run come before those of its context, and both before
    ``default``, field by field.
    """
    if not isinstance(context, (ExecutionContext, Mapping, NoneType)):
        raise UsageError(f"context is an ExecutionContext or a dict of its fields, not {context!r}.")
    given = dict(context.model_dump(exclude_unset=True) if isinstance(context, ExecutionContext) else context or {})
    own = given.pop("limits", None)
    given["limits"] = merge_limits(merge_limits(default, own), limits)
    if inputs is not None:
        given["inputs"] = inputs
    try:
        return ExecutionContext.model_validate(given)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, item['loc'])) or 'context'}: {item['msg']}"
            for item in error.errors(include_url=False, include_context=False, include_input=False)
        )
        raise UsageError(f"The context cannot be used: {problems}.") from None
