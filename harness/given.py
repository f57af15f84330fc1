"""What callers hand to a `Harness`, checked: each function gives what is meant, or raises `UsageError`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from types import NoneType
from typing import Any, cast, get_args

from pydantic import ValidationError

from harness.approvals.decision import Decision
from harness.context import ExecutionContext, merge_limits
from harness.contracts.values import Gating
from harness.errors import UsageError, extract_error_info
from harness.journal.journal import Journal
from harness.limits import MIB, Limits
from harness.run import Mode
from harness.runtime.runtime import Isolation
from harness.tools.registry import Tool, ToolRegistry

__all__ = [
    "check_hardening",
    "given_clock",
    "given_context",
    "given_decisions",
    "given_flag",
    "given_gating",
    "given_journal",
    "given_key",
    "given_mode",
    "given_registry",
    "given_result",
    "given_text",
]

_KEPT_RUNS = 100
_KEPT_BYTES = 64 * MIB
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


def given_gating(gating: object) -> Gating:
    """How much contracts may change."""
    if gating not in get_args(Gating):
        raise UsageError(f"gating is 'default' or 'strict', not {gating!r}.")
    return cast("Gating", gating)


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


def given_flag(name: str, value: object) -> bool:
    """What is either so or not. The word "no" is true to Python, so that only the two values themselves will do."""
    if not isinstance(value, bool):
        raise UsageError(f"{name} is True or False, not {value!r}.")
    return value


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


def given_journal(journal: object, signing_key: bytes | str | None) -> tuple[Journal, bool]:
    """The journal of a harness, and whether it is the harness's own to close."""
    if isinstance(journal, Journal):
        if signing_key is not None:
            raise UsageError(
                "This journal was made without this harness: give the signing_key to it, Journal(signing_key=…)."
            )
        return journal, False
    if journal is None:
        return Journal(signing_key=signing_key, keep_runs=_KEPT_RUNS, keep_bytes=_KEPT_BYTES), True
    if isinstance(journal, (str, os.PathLike)):
        return Journal(os.fspath(journal), signing_key=signing_key), True
    raise UsageError(f"journal is a Journal, the path of a file, or None, not {journal!r}.")


def given_key(key: object) -> str | None:
    """An idempotency key."""
    if key is None or (isinstance(key, str) and 0 < len(key) <= 1_000):
        return key
    raise UsageError(f"idempotency_key is a string of 1 to 1,000 characters, not {key!r}.")


def given_decisions(decisions: object) -> dict[str, Decision]:
    """Decisions by the id of the request."""
    if decisions is None:
        return {}
    if not isinstance(decisions, Mapping):
        raise UsageError(f"decisions is a dict of request ids and Decisions, not {decisions!r}.")
    return dict(decisions)


def given_result(value: Any, error: object) -> Decision:
    """What a deferred call has come to."""
    if error is None:
        return Decision.answer(value)
    if value is not None:
        raise UsageError("A deferred call has either a value or an error, not both.")
    if isinstance(error, BaseException):
        return Decision.deny(extract_error_info(error).message)
    if not isinstance(error, str) or not error.strip():
        raise UsageError(f"error is an exception or a text that says what went wrong, not {error!r}.")
    return Decision.deny(error)
