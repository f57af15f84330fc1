"""Two JSON Schemas compared place by place.

The rules are sound rather than complete: a schema is the conjunction of what its keywords say, so if no keyword takes a
value away, the whole takes none away. What the rules do not understand they call `Effect.UNKNOWN`, never harmless.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness.canonical import json_path, to_canonical_json
from harness.contracts.alternatives import alternatives, label
from harness.contracts.effects import Change, Effect
from harness.contracts.keywords import SIMPLE, compare_simple, shown
from harness.contracts.members import compare_items, compare_members
from harness.contracts.nodes import Node, Source, dialect, is_beyond, types_of
from harness.errors import SerializationError

__all__ = ["compare_schemas"]

_MOST_PLACES = 5_000
_DEEPEST = 64
_MEMBERS = frozenset({"properties", "patternProperties", "additionalProperties", "required"})
_ITEMS = frozenset({"items", "prefixItems", "additionalItems"})
_CONDITION = frozenset({"if", "then", "else"})
_CONTAINS = frozenset({"contains", "minContains", "maxContains"})
_UNEVALUATED = frozenset({"unevaluatedProperties", "unevaluatedItems"})
_KNOWN = (
    SIMPLE | _MEMBERS | _ITEMS | _CONDITION | _CONTAINS | _UNEVALUATED
    | {"anyOf", "oneOf", "not", "propertyNames", "dependentSchemas"}
)  # fmt: skip


def compare_schemas(old: Any, new: Any, path: str = "$") -> list[Change]:
    """What ``new`` does differently from ``old``; empty if they are equal. Neither is changed, nothing is fetched."""
    try:
        sources = Source(old), Source(new)
    except SerializationError as error:
        return [_unknown(path, "not_a_schema", None, None, f"one of the two cannot be read ({error.message})")]
    if sources[0].text == sources[1].text:
        return []
    obstacle = _obstacle(old, new, path)
    if obstacle is not None:
        return [obstacle]
    try:
        found = _Comparison(*sources).compare(old, new, path)
    except _TooLarge:
        return [_unknown(path, "too_large", None, None, "the two differ in too many places to be compared")]
    return list(
        {(one.path, one.kind, one.what, to_canonical_json([one.before, one.after])): one for one in found}.values()
    )


def _obstacle(old: Any, new: Any, path: str) -> Change | None:
    """Why two schemas cannot be compared place by place; None if they can."""
    import jsonschema_rs  # noqa: PLC0415 - most programs compare nothing, and importing it takes a while

    if dialect(old) is None or dialect(old) != dialect(new):
        before, after = (root.get("$schema") if isinstance(root, Mapping) else None for root in (old, new))
        what = "the two are not of one dialect that is understood"
        return _unknown(f"{path}.$schema", "dialect_unknown", before, after, what)
    if not (jsonschema_rs.meta.is_valid(old) and jsonschema_rs.meta.is_valid(new)):
        return _unknown(path, "not_a_schema", None, None, "one of the two is no valid JSON Schema")
    if is_beyond(old) or is_beyond(new):
        what = "one of the two uses anchors, dynamic references or an inner $id, which are not understood"
        return _unknown(path, "not_understood", None, None, what)
    return None


def _unknown(path: str, kind: str, before: Any, after: Any, what: str) -> Change:
    return Change(path, kind, Effect.UNKNOWN, before, after, what)


class _TooLarge(Exception):  # noqa: N818 - it ends a search, and nobody else sees it
    """There are more places than are looked at."""


class _Comparison:
    """Of two whole schemas. ``old`` and ``new`` below are parts of them."""

    def __init__(self, old: Source, new: Source) -> None:
        self._old, self._new = old, new
        self._places = 0
        self._depth = 0
        self._upside_down = False
        # Pairs of definitions that are being compared, further up. Inside them they are taken to be as good as they turn
        # out to be: values are finite, so what goes wrong shows at some level, and is found there.
        self._open: dict[tuple[str, str], bool] = {}

    def compare(self, old: Any, new: Any, path: str) -> list[Change]:
        """What one place does differently from another."""
        if self._same(old, new):
            return []
        self._places += 1
        if self._places > _MOST_PLACES:
            raise _TooLarge
        if self._depth >= _DEEPEST:
            return [_unknown(path, "too_large", None, None, "this is nested too deeply to be compared")]
        before, after = self._old.read(old), self._new.read(new)
        if before.broken is not None or after.broken is not None:
            reference = before.broken if before.broken is not None else after.broken
            return [
                _unknown(path, "reference_broken", None, reference, f"the reference {shown(reference)} leads nowhere")
            ]
        pair = None if before.at is None or after.at is None else (before.at, after.at)
        if pair is not None and pair in self._open:
            if self._open[pair] is self._upside_down:
                return []
            return [_unknown(path, "not_understood", None, None, "a definition uses itself inside a not")]
        self._depth += 1
        if pair is not None:
            self._open[pair] = self._upside_down
        try:
            return [*_notes(before, after, path), *self._nodes(before, after, path)]
        finally:
            self._depth -= 1
            if pair is not None:
                del self._open[pair]

    def effect(self, old: Any, new: Any) -> Effect:
        """What becomes of the values that fit, in one word."""
        found = self.compare(old, new, "$")
        if any(change.effect is Effect.MEANING for change in found):
            return Effect.UNKNOWN
        return Effect.of(
            narrows=any(change.effect.narrows for change in found),
            widens=any(change.effect.widens for change in found),
        )

    def _same(self, old: Any, new: Any) -> bool:
        text = self._old.text_of(old)
        if text != self._new.text_of(new):
            return False
        return '"$ref"' not in text or self._old.behind(old) == self._new.behind(new)

    def _nodes(self, old: Node, new: Node, path: str) -> Iterator[Change]:
        if old.never or new.never:
            if old.never is not new.never:
                what = "nothing fits here any more" if new.never else "something fits here now, where nothing did"
                effect = Effect.NARROWED if new.never else Effect.WIDENED
                yield Change(path, "closed" if new.never else "opened", effect, not old.never, not new.never, what)
            return
        olds, news = self._alternatives(old, new)
        if len(olds) > 1 or len(news) > 1:
            yield from self._choices(olds, news, path)
            return
        if not types_of(old.keywords) & types_of(new.keywords):
            yield next(iter(compare_simple(old.keywords, new.keywords, path)))
            return  # nothing else that could be said of it matters
        yield from compare_simple(old.keywords, new.keywords, path)
        yield from compare_members(self, old.keywords, new.keywords, path)
        yield from compare_items(self, old.keywords, new.keywords, path)
        yield from self._conditions(old.keywords, new.keywords, path)
        yield from self._inner(old.keywords, new.keywords, path)
        yield from self._all_of(old.also, new.also, path)
        yield from self._unevaluated(old, new, path)
        for word in sorted((old.keywords.keys() | new.keywords.keys()) - _KNOWN):
            yield from self._opaque(old.keywords, new.keywords, frozenset({word}), path, exact=True)

    def _alternatives(self, old: Node, new: Node) -> tuple[list[Any], list[Any]]:
        olds, news = alternatives(old, self._old), alternatives(new, self._new)
        if len(olds) == len(news) == 1:
            return olds, news
        # Beside a union of schemas, a list of types is one as well.
        return alternatives(old, self._old, split_types=True), alternatives(new, self._new, split_types=True)

    def _choices(self, olds: list[Any], news: list[Any], path: str) -> Iterator[Change]:
        """Alternatives: what is equal goes together first, then what is called the same; the rest is looked for everywhere."""
        left = list(enumerate(news))
        lost = []
        for old in olds:
            equal = next((entry for entry in left if self._same(old, entry[1])), None)
            if equal is None:
                lost.append(old)
            else:
                left.remove(equal)
        for old in list(lost):
            name = label(self._old.read(old))
            mine = [other for other in lost if label(self._old.read(other)) == name]
            theirs = [entry for entry in left if label(self._new.read(entry[1])) == name]
            if len(mine) == len(theirs) == 1:
                lost.remove(old)
                left.remove(theirs[0])
                yield from self.compare(old, theirs[0][1], f"{path}.anyOf[{theirs[0][0]}]")
        for old in lost:
            if all(self.effect(old, new).narrows for new in news):
                what = f"the alternative {shown(old)} is gone"
                yield Change(f"{path}.anyOf", "alternative_removed", Effect.NARROWED, old, None, what)
        for index, new in left:
            if all(self.effect(old, new).widens for old in olds):
                what = f"the alternative {shown(new)} is new"
                yield Change(f"{path}.anyOf[{index}]", "alternative_added", Effect.WIDENED, None, new, what)

    def _all_of(self, olds: tuple[Any, ...], news: tuple[Any, ...], path: str) -> Iterator[Change]:
        """Further schemas that a value has to fit as well."""
        left = list(news)
        lost = []
        for old in olds:
            equal = next((new for new in left if self._same(old, new)), None)
            if equal is None:
                lost.append(old)
            else:
                left.remove(equal)
        if len(lost) == len(left):
            for old, new in zip(lost, left, strict=True):
                yield from self.compare(old, new, path)
            return
        for old in lost:
            what = f"a value need no longer fit {shown(old)} as well"
            yield Change(f"{path}.allOf", "condition_removed", Effect.WIDENED, old, None, what)
        for new in left:
            what = f"a value must now fit {shown(new)} as well"
            yield Change(f"{path}.allOf", "condition_added", Effect.NARROWED, None, new, what)

    def _inner(self, old: Mapping[str, Any], new: Mapping[str, Any], path: str) -> Iterator[Change]:
        """Keywords with schemas inside, each of which only ever takes values away."""
        for word in ("anyOf", "oneOf"):
            if word in old and word in new:
                olds, news = self._alternatives(*(Node({word: words[word]}, (), {}, None) for words in (old, new)))
                if len(olds) > 1 and len(news) > 1:
                    yield from self._choices(olds, news, path)
                    continue
            yield from self._opaque(old, new, frozenset({word}), path)
        names = old.get("propertyNames", True), new.get("propertyNames", True)
        yield from self.compare(*names, f"{path}.propertyNames")
        before, after = old.get("dependentSchemas", {}), new.get("dependentSchemas", {})
        for name in sorted(before.keys() | after.keys()):
            where = json_path(f"{path}.dependentSchemas", name)
            yield from self.compare(before.get(name, True), after.get(name, True), where)
        if "not" in old and "not" in new:
            self._upside_down = not self._upside_down
            try:
                found = self.compare(old["not"], new["not"], f"{path}.not")
            finally:
                self._upside_down = not self._upside_down
            yield from (change.flipped() for change in found)
        else:
            yield from self._opaque(old, new, frozenset({"not"}), path)

    def _conditions(self, old: Mapping[str, Any], new: Mapping[str, Any], path: str) -> Iterator[Change]:
        if "if" in old and "if" in new and self._same(old["if"], new["if"]):
            for word in ("then", "else"):
                yield from self.compare(old.get(word, True), new.get(word, True), f"{path}.{word}")
        elif "if" in old or "if" in new:
            yield from self._opaque(old, new, _CONDITION, path)
        yield from self._opaque(old, new, _CONTAINS, path)

    def _opaque(
        self, old: Mapping[str, Any], new: Mapping[str, Any], words: frozenset[str], path: str, *, exact: bool = False
    ) -> Iterator[Change]:
        """Keywords that are only known to take values away, together; with ``exact`` not even that."""
        before, after = ({word: given[word] for word in sorted(words) if word in given} for given in (old, new))
        if (not before and not after) or (before and after and self._same(before, after)):
            return
        name = "/".join(sorted(before.keys() | after.keys()))
        if before and after:
            kind, effect, what = "not_understood", Effect.UNKNOWN, f"{name} changed, in a way that is not understood"
        elif after:
            kind, effect, what = "condition_added", Effect.NARROWED, f"a condition was added ({name})"
        else:
            kind, effect, what = "condition_removed", Effect.WIDENED, f"a condition is gone ({name})"
        if exact:
            kind, effect, what = "not_understood", Effect.UNKNOWN, f"the keyword {name} changed, and is not understood"
        yield Change(f"{path}.{name}", kind, effect, before or None, after or None, what)

    def _unevaluated(self, old: Node, new: Node, path: str) -> Iterator[Change]:
        """What these say depends on everything beside them and behind it."""
        if not _UNEVALUATED & (old.keywords.keys() | new.keywords.keys()):
            return
        parts = [{**node.keywords, "allOf": list(node.also)} for node in (old, new)]
        if not self._same(*parts):
            words = sorted(_UNEVALUATED & (old.keywords.keys() | new.keywords.keys()))
            what = f"something changed beside {' and '.join(words)}, which depend on it"
            before, after = (
                {word: node.keywords[word] for word in words if word in node.keywords} or None for node in (old, new)
            )
            yield _unknown(f"{path}.{words[0]}", "not_understood", before, after, what)


def _notes(old: Node, new: Node, path: str) -> Iterator[Change]:
    """What asserts nothing. A default is a matter of the object that the place is a member of."""
    for word in sorted((old.notes.keys() | new.notes.keys()) - {"default", "title", "$comment", "discriminator"}):
        before, after = old.notes.get(word), new.notes.get(word)
        if to_canonical_json(before) != to_canonical_json(after):
            yield Change(f"{path}.{word}", "note_changed", Effect.NOTE, before, after, f"its {word} changed")
