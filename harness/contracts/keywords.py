"""The keywords of JSON Schema that say something of one value and hold no schemas themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from harness.canonical import to_canonical_json
from harness.contracts.effects import Change, Effect
from harness.contracts.nodes import types_of

__all__ = ["SIMPLE", "compare_simple", "shown"]

_COUNTS = {
    "minLength": "the least length",
    "minItems": "the least number of items",
    "minProperties": "the least number of members",
}
_CAPS = {
    "maxLength": "the greatest length",
    "maxItems": "the greatest number of items",
    "maxProperties": "the greatest number of members",
}
_BOUNDS = frozenset({"minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"})
_MISSING = object()

SIMPLE = (
    {"type", "enum", "const", "format", "pattern", "multipleOf", "uniqueItems", "dependentRequired"}
    | _COUNTS.keys()
    | _CAPS.keys()
    | _BOUNDS
)
"""The keywords that `compare_simple` knows."""

Words = Mapping[str, Any]


def shown(value: Any) -> str:
    """A value in a message."""
    text = to_canonical_json(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def compare_simple(old: Words, new: Words, path: str) -> Iterator[Change]:
    """What the simple keywords of two places do differently. Each one only ever takes values away, so that more of them
    narrow and fewer of them widen, whatever stands beside them.
    """
    yield from _types(old, new, path)
    yield from _values(old, new, path)
    for word, what in _COUNTS.items():
        yield from _ordered(old, new, path, word, what, default=0, higher_narrows=True)
    for word, what in _CAPS.items():
        yield from _ordered(old, new, path, word, what, default=None, higher_narrows=False)
    for end, higher_narrows in (("inimum", True), ("aximum", False)):
        yield from _bound(old, new, path, end, higher_narrows=higher_narrows)
    yield from _conjunct(old, new, path, "pattern", _cannot_tell)
    yield from _conjunct(old, new, path, "format", _cannot_tell)
    yield from _conjunct(old, new, path, "multipleOf", _steps)
    yield from _unique(old, new, path)
    yield from _dependencies(old, new, path)


def _types(old: Words, new: Words, path: str) -> Iterator[Change]:
    before, after = types_of(old), types_of(new)
    if before == after:
        return
    gone, come = before - after, after - before
    effect = Effect.of(narrows=bool(gone), widens=bool(come))
    kind = {Effect.NARROWED: "type_narrowed", Effect.WIDENED: "type_widened"}.get(effect, "type_changed")
    given = {word: words.get("type", _MISSING) for word, words in (("before", old), ("after", new))}
    names = {word: "anything" if value is _MISSING else shown(value) for word, value in given.items()}
    what = f"the type went from {names['before']} to {names['after']}"
    yield Change(f"{path}.type", kind, effect, old.get("type"), new.get("type"), what)


def _values(old: Words, new: Words, path: str) -> Iterator[Change]:
    """``enum`` and ``const``: the values that are allowed at all."""
    before, after = _allowed(old), _allowed(new)
    if before is None or after is None:
        if before is not None or after is not None:
            listed = before if after is None else after
            effect = Effect.WIDENED if after is None else Effect.NARROWED
            what = f"the values are {'no longer' if after is None else 'now'} limited to {shown(list((listed or {}).values()))}"
            kind = "enum_removed" if after is None else "enum_added"
            yield Change(f"{path}.enum", kind, effect, _members(before), _members(after), what)
        return
    for key in before.keys() - after.keys():
        what = f"{shown(before[key])} is no longer one of the values"
        yield Change(f"{path}.enum", "enum_value_removed", Effect.NARROWED, before[key], None, what)
    for key in after.keys() - before.keys():
        what = f"{shown(after[key])} is one of the values now"
        yield Change(f"{path}.enum", "enum_value_added", Effect.WIDENED, None, after[key], what)


def _members(allowed: dict[str, Any] | None) -> list[Any] | None:
    return None if allowed is None else list(allowed.values())


def _allowed(words: Words) -> dict[str, Any] | None:
    listed = None if "enum" not in words else {to_canonical_json(value): value for value in words["enum"]}
    if "const" not in words:
        return listed
    one = {to_canonical_json(words["const"]): words["const"]}
    return one if listed is None else {key: value for key, value in one.items() if key in listed}


def _ordered(
    old: Words, new: Words, path: str, word: str, what: str, *, default: int | None, higher_narrows: bool
) -> Iterator[Change]:
    before, after = old.get(word, default), new.get(word, default)
    if before == after:
        return
    if before is None or after is None:
        effect = Effect.NARROWED if before is None else Effect.WIDENED
    else:
        effect = Effect.NARROWED if (after > before) is higher_narrows else Effect.WIDENED
    yield _limit(f"{path}.{word}", effect, old.get(word), new.get(word), what)


def _limit(path: str, effect: Effect, before: Any, after: Any, what: str) -> Change:
    kind = "limit_tightened" if effect is Effect.NARROWED else "limit_loosened"
    if before is None:
        return Change(path, kind, effect, before, after, f"{what} is now {shown(after)}")
    if after is None:
        return Change(path, kind, effect, before, after, f"{what}, {shown(before)}, is gone")
    return Change(path, kind, effect, before, after, f"{what} went from {shown(before)} to {shown(after)}")


def _bound(old: Words, new: Words, path: str, end: str, *, higher_narrows: bool) -> Iterator[Change]:
    """``minimum`` and ``exclusiveMinimum`` together, or ``maximum`` and ``exclusiveMaximum``."""
    before, after = _end(old, end, lower=higher_narrows), _end(new, end, lower=higher_narrows)
    if before == after:
        return
    word = f"m{end}" if f"m{end}" in {**old, **new} else f"exclusiveM{end}"
    what = "the least value" if higher_narrows else "the greatest value"
    if before is None or after is None:
        effect = Effect.NARROWED if before is None else Effect.WIDENED
    else:
        # (5, True) is "above 5", which is tighter than (5, False), "5 or more"; downwards it is the other way round.
        sign = 1 if higher_narrows else -1
        tighter = (after[0] * sign, after[1]) > (before[0] * sign, before[1])
        effect = Effect.NARROWED if tighter else Effect.WIDENED
    values = [
        {key: words[key] for key in (f"m{end}", f"exclusiveM{end}") if key in words} or None for words in (old, new)
    ]
    said = [None if found is None or len(found) > 1 else next(iter(found.values())) for found in values]
    if before and after and before[1] != after[1]:
        what = f"{what}, which {'no longer counts' if after[1] else 'counts now'} itself,"
    yield _limit(f"{path}.{word}", effect, said[0], said[1], what)


def _end(words: Words, end: str, *, lower: bool) -> tuple[float, bool] | None:
    """The bound that counts, and whether it is itself left out. Of whole numbers, those above 4 are those from 5."""
    found = [(words[f"m{end}"], False)] if f"m{end}" in words else []
    if f"exclusiveM{end}" in words:
        found.append((words[f"exclusiveM{end}"], True))
    if not found:
        return None
    pick = max if lower else min
    value = pick(number for number, _ in found)
    left_out = (value, True) in found
    if left_out and types_of(words) == {"integer"} and isinstance(value, int):
        return (value + (1 if lower else -1), False)
    return (value, left_out)


def _cannot_tell(_before: Any, _after: Any) -> Effect:
    return Effect.UNKNOWN


def _steps(before: Any, after: Any) -> Effect:
    """Of ``multipleOf``: multiples of 6 are multiples of 3."""
    if not (isinstance(before, int) and isinstance(after, int) and before and after):
        return Effect.UNKNOWN  # what validators make of fractions differs in the last digit
    return Effect.WIDENED if before % after == 0 else Effect.NARROWED if after % before == 0 else Effect.UNKNOWN


def _conjunct(old: Words, new: Words, path: str, word: str, judge: Callable[[Any, Any], Effect]) -> Iterator[Change]:
    """A keyword that is either there, and takes values away, or is not."""
    kind = "step" if word == "multipleOf" else word
    before, after = old.get(word, _MISSING), new.get(word, _MISSING)
    if before is _MISSING and after is _MISSING:
        return
    if before is _MISSING:
        yield Change(
            f"{path}.{word}", f"{kind}_added", Effect.NARROWED, None, after, f"its {word} must now be {shown(after)}"
        )
    elif after is _MISSING:
        message = f"its {word} need no longer be {shown(before)}"
        yield Change(f"{path}.{word}", f"{kind}_removed", Effect.WIDENED, before, None, message)
    elif to_canonical_json(before) != to_canonical_json(after):
        message = f"its {word} went from {shown(before)} to {shown(after)}"
        yield Change(f"{path}.{word}", f"{kind}_changed", judge(before, after), before, after, message)


def _unique(old: Words, new: Words, path: str) -> Iterator[Change]:
    before, after = old.get("uniqueItems", False), new.get("uniqueItems", False)
    if before is not after:
        effect = Effect.NARROWED if after else Effect.WIDENED
        what = f"items {'must now differ' if after else 'may now be equal'}"
        yield Change(f"{path}.uniqueItems", "unique_changed", effect, before, after, what)


def _dependencies(old: Words, new: Words, path: str) -> Iterator[Change]:
    """``dependentRequired``: who gives one member has to give others."""
    before, after = old.get("dependentRequired", {}), new.get("dependentRequired", {})
    for name in sorted(before.keys() | after.keys()):
        was, now = set(before.get(name, ())), set(after.get(name, ()))
        if was != now:
            effect = Effect.of(narrows=bool(now - was), widens=bool(was - now))
            what = f"what must be given together with {shown(name)} went from {sorted(was)} to {sorted(now)}"
            yield Change(f"{path}.dependentRequired", "dependency_changed", effect, sorted(was), sorted(now), what)
