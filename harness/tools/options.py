"""What can be said of a tool besides what it does. Every way of making tools takes the same options."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypedDict

from harness.errors import UsageError
from harness.redaction import visible
from harness.tools.resource import ResourceContract, check_cents
from harness.tools.retry import Retry

__all__ = ["OPTIONS", "Cost", "ToolOptions", "checked_options"]

Cost = float | Callable[[dict[str, Any]], float]
"""Cents: a number, or a function of the argument object that returns one."""

_WEEK_S = 7 * 24 * 3600
_MAX_WORD = 64


class ToolOptions(TypedDict, total=False):
    """The options of `tool`, `Tool.from_schema` and every other way of making tools."""

    approval: bool
    """Ask a person before each call."""
    timeout: float | None
    """Seconds a call may run, instead of ``Limits.tool_timeout``; up to a week."""
    idempotent: bool
    """Making a call again that may already have happened does no harm."""
    tags: Iterable[str]
    """Words to select tools by. ``read``, ``write``, ``destructive`` and ``untrusted`` have a meaning to policies."""
    positional: str | None
    """The parameter that a lone argument which is no object is meant for: ``tools.read("a.txt")``."""
    preview: Any
    """What a dry run gives the script: a value, or a function of the argument object that returns one."""
    cost: Cost
    """Cents that a call costs: a number, or a function of the argument object that returns one."""
    resource: ResourceContract | None
    """What it shares with other tools: money, rate and concurrency."""
    retry: Retry | int | None
    """How a call is made again that failed with a retryable error, or how many attempts; asks for ``idempotent=True``."""
    cache: bool
    """Another word for ``deterministic``."""
    deterministic: bool
    """Equal arguments always give an equal result, and a call has no effect: results are kept and used again."""
    revert: Callable[[dict[str, Any], Any], Any] | None
    """Undoes a call that took effect: a function, sync or async, of the argument object and the result."""
    revert_in_doubt: bool
    """``revert`` does no harm where the call never took effect: it is also called, with None as the result, where nobody
    knows whether it did."""
    version: str
    """Of the tool's contract, ``"1.0"`` unless it says otherwise. Results kept or recorded under another version are not
    used. Two versions of one tool can be registered side by side if both are numbers (``"1.2.0"``)."""


OPTIONS = frozenset(ToolOptions.__annotations__) - {"cache"}
"""What every tool has as an attribute."""


def checked_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """All options with their defaults. Raises `UsageError` for one that is unknown or cannot be used."""
    known = ToolOptions.__annotations__
    for option in options:
        if option not in known:
            raise UsageError(f"Tool {name!r} has an option {option!r}; the options are {', '.join(sorted(known))}.")
    given = {**_DEFAULTS, **_without_aliases(name, options)}
    _check_timeout(name, given["timeout"])
    if not isinstance(given["positional"], str | None):
        raise UsageError(f"The option positional of tool {name!r} is {given['positional']!r}; it names a parameter.")
    given["tags"] = _tags(name, given["tags"])
    for flag in ("approval", "idempotent", "deterministic", "revert_in_doubt"):
        if not isinstance(given[flag], bool):
            raise UsageError(f"The option {flag} of tool {name!r} is {given[flag]!r}; it is True or False.")
    _check_callbacks(name, given)
    version = given["version"]
    if not isinstance(version, str) or not 0 < len(version) <= _MAX_WORD:
        raise UsageError(f"The version of tool {name!r} is {version!r}; it is a text of 1 to {_MAX_WORD} characters.")
    given["retry"] = _retry(name, given["retry"], idempotent=given["idempotent"])
    if not isinstance(given["resource"], ResourceContract | None):
        raise UsageError(f"The resource of tool {name!r} is {given['resource']!r}; it is a ResourceContract.")
    return given


def _without_aliases(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(options)
    if "cache" in found:
        cache = found.pop("cache")
        if found.setdefault("deterministic", cache) is not cache:
            raise UsageError(
                f"Tool {name!r} declares cache={cache!r} and deterministic={found['deterministic']!r}; the two are one "
                "option: equal arguments always give an equal result, so results are kept."
            )
    return found


_DEFAULTS: dict[str, Any] = {
    "approval": False,
    "timeout": None,
    "idempotent": False,
    "tags": (),
    "positional": None,
    "preview": None,
    "cost": 0,
    "retry": None,
    "deterministic": False,
    "revert": None,
    "revert_in_doubt": False,
    "version": "1.0",
    "resource": None,
}


def _check_callbacks(name: str, given: Mapping[str, Any]) -> None:
    if not callable(given["cost"]):
        check_cents(given["cost"], f"The cost of tool {name!r}")
    _check_callback(name, "cost", given["cost"], "the argument object")
    _check_callback(name, "preview", given["preview"], "the argument object")
    if given["revert"] is not None and not callable(given["revert"]):
        raise UsageError(f"The option revert of tool {name!r} is {given['revert']!r}; it must be a function.")
    _check_callback(name, "revert", given["revert"], "the argument object", "the result", sync=False)
    if given["revert_in_doubt"] and given["revert"] is None:
        raise UsageError(f"Tool {name!r} declares revert_in_doubt and no revert; give it revert=….")


def _check_callback(name: str, option: str, given: Any, *takes: str, sync: bool = True) -> None:
    """A function that could not be called as it will be is refused at once, and not in the middle of a call."""
    if not callable(given):
        return
    if sync and inspect.iscoroutinefunction(given):
        raise UsageError(f"The option {option} of tool {name!r} is an async function; it must be a sync one.")
    try:
        inspect.signature(given).bind(*takes)
    except TypeError as error:
        raise UsageError(
            f"The option {option} of tool {name!r} cannot be called with {' and '.join(takes)} ({error})."
        ) from None
    except ValueError:
        return  # one that is built in and does not say what it takes


def _check_timeout(name: str, timeout: Any) -> None:
    if timeout is None:
        return
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 < timeout <= _WEEK_S:
        raise UsageError(f"The timeout of tool {name!r} is {timeout!r}; it must be seconds above 0, up to a week.")


def _retry(name: str, retry: Any, *, idempotent: bool) -> Retry | None:
    if retry is None:
        return None
    if isinstance(retry, int):
        retry = Retry(attempts=retry)
    if not isinstance(retry, Retry):
        raise UsageError(f"The option retry of tool {name!r} is {retry!r}; it is a Retry or a number of attempts.")
    if not idempotent:
        raise UsageError(
            f"Tool {name!r} declares retry and not idempotent=True; only what does no harm when it happens twice can be "
            "retried."
        )
    return retry


def _tags(name: str, tags: Any) -> tuple[str, ...]:
    words = None if isinstance(tags, str) or not isinstance(tags, Iterable) else tuple(tags)
    if words is None or not all(isinstance(word, str) for word in words):
        raise UsageError(f"The tags of tool {name!r} are {tags!r}; they are a list of words: tags=['read'].")
    for word in words:
        if not 0 < len(word) <= _MAX_WORD or word != visible(word) or word != word.strip():
            raise UsageError(
                f"The tag '{visible(word[:80])}' of tool {name!r} cannot be used: a tag is a word of 1 to {_MAX_WORD} "
                "visible characters."
            )
    return words
