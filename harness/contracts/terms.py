"""What a contract says besides its schemas: who is asked, what it costs, what may be done with a call."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from harness.contracts.values import Contract, Difference, Impact

__all__ = ["MEANINGFUL_TAGS", "compare_terms"]

MEANINGFUL_TAGS = frozenset({"read", "write", "destructive", "untrusted"})
"""Tags by which policies decide."""


def compare_terms(old: Contract, new: Contract, path: str) -> Iterator[Difference]:
    """What the terms of two contracts do differently."""
    yield from _texts(old, new, path)
    yield from _flags(old, new, path)
    yield from _tags(old, new, path)
    yield from _timeout(old, new, path)
    yield from _cost(old, new, path)
    yield from _names(old, new, path)


def _difference(path: str, kind: str, severity: Impact, values: tuple[Any, Any], message: str) -> Difference:
    before, after = (list(value) if isinstance(value, tuple) else value for value in values)
    return Difference(path=path, kind=kind, severity=severity, before=before, after=after, message=message)


def _texts(old: Contract, new: Contract, path: str) -> Iterator[Difference]:
    for name in ("version", "description"):
        values = getattr(old, name), getattr(new, name)
        if values[0] != values[1]:
            went = f" from {old.version} to {new.version}" if name == "version" else ""
            message = f"Its {name} changed{went}: what it does for scripts is said elsewhere."
            yield _difference(f"{path}.{name}", f"{name}_changed", Impact.NEUTRAL, values, message)


_FLAGS: dict[str, tuple[Impact, str, Impact, str]] = {
    # name: what it does to switch it on, and what comes of it; the same for switching it off
    "approval": (
        Impact.BREAKING,
        "A person is asked before each call now: scripts that ran by themselves wait, or are denied.",
        Impact.BREAKING,
        "Nobody is asked any more before a call: what a person was to decide now just happens.",
    ),
    "idempotent": (
        Impact.ADDITIVE,
        "A call that may have happened can now be made again.",
        Impact.BREAKING,
        "A call that may have happened can no longer be made again: after a crash it is in doubt.",
    ),
    "deterministic": (
        Impact.ADDITIVE,
        "Results are now kept for equal arguments.",
        Impact.BREAKING,
        "Equal arguments no longer promise equal results: those that were kept may be wrong.",
    ),
    "reversible": (
        Impact.ADDITIVE,
        "A call can now be taken back.",
        Impact.BREAKING,
        "A call can no longer be taken back.",
    ),
}


def _flags(old: Contract, new: Contract, path: str) -> Iterator[Difference]:
    for name, (on, on_words, off, off_words) in _FLAGS.items():
        values = getattr(old, name), getattr(new, name)
        if values[0] != values[1]:
            severity, message = (on, on_words) if values[1] else (off, off_words)
            yield _difference(f"{path}.{name}", f"{name}_{'on' if values[1] else 'off'}", severity, values, message)


def _tags(old: Contract, new: Contract, path: str) -> Iterator[Difference]:
    for tag in sorted({*old.tags} ^ {*new.tags}):
        gone = tag in old.tags
        if tag in MEANINGFUL_TAGS:
            severity, comes = Impact.BREAKING, "policies decide otherwise about its calls"
        elif gone:
            severity, comes = Impact.BREAKING, f"a selection of 'tag:{tag}' no longer has this tool"
        else:
            severity, comes = Impact.ADDITIVE, f"a selection of 'tag:{tag}' now has this tool"
        kind = "tag_removed" if gone else "tag_added"
        message = f"The tag {tag!r} {'is gone' if gone else 'is new'}: {comes}."
        yield _difference(f"{path}.tags", kind, severity, (old.tags, new.tags), message)


def _timeout(old: Contract, new: Contract, path: str) -> Iterator[Difference]:
    values = old.timeout, new.timeout
    if values[0] == values[1]:
        return
    if values[0] is None or values[1] is None:
        severity, comes = Impact.BREAKING, "whether that is longer or shorter depends on Limits.tool_timeout"
    elif values[1] > values[0]:
        severity, comes = Impact.ADDITIVE, "calls have more time"
    else:
        severity, comes = Impact.BREAKING, "a call that was in time may time out"
    said = ["the limit of the harness" if value is None else f"{value:g} s" for value in values]
    message = f"Its timeout went from {said[0]} to {said[1]}: {comes}."
    yield _difference(f"{path}.timeout", "timeout_changed", severity, values, message)


def _cost(old: Contract, new: Contract, path: str) -> Iterator[Difference]:
    values = old.cost, new.cost
    if values[0] == values[1]:
        return
    if values[0] is None or values[1] is None:
        severity, comes = Impact.BREAKING, "a function of the arguments can cost anything"
    elif values[1] < values[0]:
        severity, comes = Impact.ADDITIVE, "budgets last longer"
    else:
        severity, comes = Impact.BREAKING, "a budget that sufficed may not suffice"
    said = ["what a function says" if value is None else f"{value:g} cents" for value in values]
    message = f"A call went from {said[0]} to {said[1]}: {comes}."
    yield _difference(f"{path}.cost", "cost_changed", severity, values, message)


def _names(old: Contract, new: Contract, path: str) -> Iterator[Difference]:
    values = old.positional, new.positional
    if values[0] != values[1]:
        severity = Impact.ADDITIVE if values[0] is None else Impact.BREAKING
        comes = (
            f"a lone argument now means {values[1]!r}"
            if values[0] is None
            else f"a lone argument no longer means {values[0]!r}"
        )
        message = f"Its positional parameter changed: {comes}."
        yield _difference(f"{path}.positional", "positional_changed", severity, values, message)
    for name, comes in (
        ("resource", "its calls draw on another account, with other limits"),
        ("resource_version", "its results mean something else, and those that were kept are not used"),
    ):
        values = getattr(old, name), getattr(new, name)
        if values[0] != values[1]:
            message = f"Its {name.replace('_', ' ')} went from {values[0]} to {values[1]}: {comes}."
            yield _difference(f"{path}.{name}", f"{name}_changed", Impact.BREAKING, values, message)
