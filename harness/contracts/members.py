"""The members of objects and the items of arrays, whose keywords only mean something together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from harness.canonical import json_path, to_canonical_json
from harness.contracts.effects import Change, Effect

__all__ = ["Comparer", "compare_items", "compare_members"]

Words = Mapping[str, Any]


class Comparer(Protocol):
    """Who compares what stands inside."""

    def compare(self, old: Any, new: Any, path: str) -> list[Change]:
        """What one place does differently from another."""
        ...

    def effect(self, old: Any, new: Any) -> Effect:
        """What becomes of the values that fit, in one word."""
        ...


def compare_members(inner: Comparer, old: Words, new: Words, path: str) -> Iterator[Change]:
    """``properties``, ``patternProperties``, ``additionalProperties`` and ``required``."""
    yield from _patterns(inner, old, new, path)
    before, after = old.get("properties", {}), new.get("properties", {})
    for name in [*before, *(name for name in after if name not in before)]:
        where = json_path(f"{path}.properties", name)
        if name not in after:
            yield _removed(name, before[name], where, closed=new.get("additionalProperties") is False)
        elif name not in before:
            yield _added(inner, name, old, after[name], where)
        else:
            yield from inner.compare(before[name], after[name], where)
            yield from _defaults(name, before[name], after[name], where, given=name in old.get("required", ()))
    yield from inner.compare(
        old.get("additionalProperties", True), new.get("additionalProperties", True), f"{path}.additionalProperties"
    )
    was, now = old.get("required", ()), new.get("required", ())
    for name in sorted(set(was) ^ set(now)):
        if name in now:
            what, kind, effect = f"{name!r} must be there now", "required_added", Effect.NARROWED
        else:
            what, kind, effect = f"{name!r} need not be there any more", "required_removed", Effect.WIDENED
        yield Change(f"{path}.required", kind, effect, sorted(was), sorted(now), what)


def _added(inner: Comparer, name: str, old: Words, schema: Any, where: str) -> Change:
    rest = old.get("additionalProperties", True)
    # Whether a pattern meant this name is for another regular expression engine to say.
    effect = Effect.UNKNOWN if old.get("patternProperties") else inner.effect(rest, schema)
    if effect is Effect.NOTE:  # whatever stood there was allowed, and still is, but now it means something
        effect = Effect.NEWS
    what = f"there is a new member {name!r}"
    if effect.narrows:
        what += ", and the object took any member of that name before"
    return Change(where, "property_added", effect, None, schema, what)


def _removed(name: str, schema: Any, where: str, *, closed: bool) -> Change:
    what = f"the member {name!r} is gone" + ("" if closed else ", though the object takes any other")
    return Change(where, "property_removed", Effect.LOST, schema, None, what)


def _defaults(name: str, old: Any, new: Any, where: str, *, given: bool) -> Iterator[Change]:
    before, after = (
        {"default": one["default"]} if isinstance(one, Mapping) and "default" in one else {} for one in (old, new)
    )
    if to_canonical_json(before) == to_canonical_json(after):
        return
    names = [to_canonical_json(one["default"]) if one else "none" for one in (before, after)]
    what = f"the default of {name!r} went from {names[0]} to {names[1]}"
    # Nobody was able to leave out what had to be given, unless a default was filled in before anyone looked.
    effect = Effect.NOTE if given and not before else Effect.MEANING
    yield Change(f"{where}.default", "default_changed", effect, before.get("default"), after.get("default"), what)


def _patterns(inner: Comparer, old: Words, new: Words, path: str) -> Iterator[Change]:
    before, after = old.get("patternProperties", {}), new.get("patternProperties", {})
    for pattern in sorted(before.keys() & after.keys()):
        yield from inner.compare(before[pattern], after[pattern], json_path(f"{path}.patternProperties", pattern))
    is_open = all(words.get("additionalProperties", True) is True for words in (old, new))
    for pattern in sorted(before.keys() ^ after.keys()):
        # A pattern also says which names additionalProperties is not about.
        effect = Effect.UNKNOWN
        if is_open:
            effect = Effect.NARROWED if pattern in after else Effect.WIDENED
        kind = "pattern_property_added" if pattern in after else "pattern_property_removed"
        what = f"members whose name matches {pattern!r} are {'now' if pattern in after else 'no longer'} special"
        where = json_path(f"{path}.patternProperties", pattern)
        yield Change(where, kind, effect, before.get(pattern), after.get(pattern), what)


def compare_items(inner: Comparer, old: Words, new: Words, path: str) -> Iterator[Change]:
    """``prefixItems`` and ``items``; the lists of ``items`` that drafts before 2020-12 knew are not understood."""
    lists = [words for words in (old, new) if isinstance(words.get("items"), Sequence) or "additionalItems" in words]
    if lists:
        parts = [
            {word: words[word] for word in ("items", "additionalItems", "prefixItems") if word in words}
            for words in (old, new)
        ]
        effect = inner.effect({"const": parts[0]}, {"const": parts[1]})
        if effect is not Effect.NOTE or "$ref" in to_canonical_json(parts):
            what = "its items changed, in the form of older drafts, which is not understood"
            yield Change(f"{path}.items", "not_understood", Effect.UNKNOWN, parts[0], parts[1], what)
        return
    before, after = old.get("prefixItems", ()), new.get("prefixItems", ())
    rest = old.get("items", True), new.get("items", True)
    for index in range(max(len(before), len(after))):
        first = before[index] if index < len(before) else rest[0]
        second = after[index] if index < len(after) else rest[1]
        yield from inner.compare(first, second, f"{path}.prefixItems[{index}]")
    yield from inner.compare(*rest, f"{path}.items")
