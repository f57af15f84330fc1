"""What must hold for any two schemas: nothing that the rules call harmless ever refuses, or gives, what it did not."""

from __future__ import annotations

import copy
import functools
import random
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.contracts.compare import compare_schema, severity
from harness.contracts.containment import compare_schemas
from harness.contracts.values import Impact

SCALARS: list[Any] = [None, True, False, 0, 1, 2, 3, -1, 0.5, 1.5, 6, "", "a", "b", "ab", "aab", "2024-01-31"]
NAMES = ["a", "b", "ab", "c"]
TYPES = ["null", "boolean", "integer", "number", "string", "array", "object"]
REFERENCES = ["#/$defs/T", "#/$defs/U"]


def scalar(random: random.Random) -> Any:
    return random.choice(SCALARS)


def value(random: random.Random, depth: int = 3) -> Any:
    """Any small JSON value."""
    kind = random.random()
    if depth == 0 or kind < 0.45:
        return scalar(random)
    if kind < 0.7:
        return [value(random, depth - 1) for _ in range(random.randint(0, 3))]
    return {name: value(random, depth - 1) for name in random.sample(NAMES, random.randint(0, 3))}


def schema(random: random.Random, depth: int = 3) -> Any:
    """Any schema of these keywords, each with a value that it can have."""
    if random.random() < 0.06:
        return random.random() < 0.6
    found: dict[str, Any] = {}
    for _ in range(random.choice([1, 1, 2, 2, 3, 4])):
        random.choice(_PARTS if depth else _PARTS[:_FLAT])(random, found, depth - 1)
    return found


def _type(random: random.Random, found: dict[str, Any], depth: int) -> None:
    found["type"] = random.choice(TYPES) if random.random() < 0.7 else random.sample(TYPES, 2)


def _number(random: random.Random, found: dict[str, Any], depth: int) -> None:
    word = random.choice(["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"])
    found[word] = random.choice([0, 1, 2, 0.5, 3])


def _length(random: random.Random, found: dict[str, Any], depth: int) -> None:
    part = random.choice(["Length", "Items", "Properties"])
    found[f"{random.choice(['min', 'max'])}{part}"] = random.randint(0, 2)


def _word(random: random.Random, found: dict[str, Any], depth: int) -> None:
    words: list[tuple[str, list[Any]]] = [
        ("pattern", ["^a", "b$"]),
        ("format", ["date", "ipv4"]),
        ("multipleOf", [1, 2, 3, 6, 0.5]),
        ("uniqueItems", [True, False]),
        ("minContains", [0, 1, 2]),
        ("maxContains", [1, 2]),
        ("required", [["a"], ["b"], ["a", "b"], []]),
        ("dependentRequired", [{"a": ["b"]}, {"b": ["a", "c"]}, {}]),
        ("description", ["x", "y"]),
        ("default", [1, "a"]),
    ]
    word, values = random.choice(words)
    found[word] = copy.deepcopy(random.choice(values))


def _values(random: random.Random, found: dict[str, Any], depth: int) -> None:
    if random.random() < 0.4:
        found["const"] = scalar(random)
    else:
        found["enum"] = [scalar(random) for _ in range(random.randint(1, 4))]


def _reference(random: random.Random, found: dict[str, Any], depth: int) -> None:
    found["$ref"] = random.choice(REFERENCES)


def _one(random: random.Random, found: dict[str, Any], depth: int) -> None:
    words = [
        "items",
        "additionalProperties",
        "contains",
        "propertyNames",
        "not",
        "if",
        "then",
        "else",
        "additionalProperties",
    ]
    found[random.choice([*words, "unevaluatedProperties", "unevaluatedItems"])] = schema(random, depth)


def _some(random: random.Random, found: dict[str, Any], depth: int) -> None:
    word = random.choice(["anyOf", "anyOf", "oneOf", "allOf", "prefixItems"])
    found[word] = [schema(random, depth) for _ in range(random.randint(1, 3))]


def _members(random: random.Random, found: dict[str, Any], depth: int) -> None:
    names = random.sample(NAMES, random.randint(1, 3))
    found["properties"] = {name: schema(random, depth) for name in names}
    if random.random() < 0.5:
        found["type"] = "object"
    if random.random() < 0.4:
        found["additionalProperties"] = False
    if random.random() < 0.4:
        found["required"] = random.sample(NAMES, random.randint(0, 2))


def _tagged(random: random.Random, found: dict[str, Any], depth: int) -> None:
    """Alternatives that a constant tells apart."""
    found[random.choice(["oneOf", "anyOf"])] = [
        {"type": "object", "properties": {"a": {"const": tag}, "b": schema(random, depth)}, "required": ["a"]}
        for tag in random.sample(["a", "b", 1], 2)
    ]


def _named(random: random.Random, found: dict[str, Any], depth: int) -> None:
    word = random.choice(["patternProperties", "dependentSchemas"])
    names = ["^a", "b"] if word == "patternProperties" else NAMES
    found[word] = {name: schema(random, depth) for name in random.sample(names, random.randint(0, 2))}


_PARTS = [
    *[_type, _type, _number, _length, _word, _values, _reference],
    *[_one, _some, _members, _members, _tagged, _named],
]
_FLAT = 6


def root(random: random.Random) -> dict[str, Any]:
    found = schema(random)
    found = {"allOf": [found]} if isinstance(found, bool) else found
    found["$defs"] = {"T": schema(random, 2), "U": schema(random, 1)}
    return found


def changed(random: random.Random, given: Any) -> Any:
    """A copy in which one or two places are otherwise: that is what happens to schemas."""
    found = copy.deepcopy(given)
    for _ in range(random.choice([1, 1, 2])):
        places = [place for place in _places(found) if place]
        if not places:
            return schema(random)
        place = random.choice(places)
        deed = random.random()
        word = random.choice(sorted(place))
        if deed < 0.3 and word != "$defs":
            del place[word]
        elif deed < 0.6:
            _tweak(random, place, word)
        else:
            random.choice(_PARTS)(random, place, 1)
    return found


def _tweak(random: random.Random, place: dict[str, Any], word: str) -> None:
    value = place[word]
    if isinstance(value, bool):
        place[word] = not value
    elif isinstance(value, int) and word != "const":
        place[word] = max(value + random.choice([-1, 1]), 1 if word == "multipleOf" else 0)
    elif isinstance(value, list) and len(value) > 1:
        value.pop(random.randrange(len(value)))
    elif isinstance(value, dict) and word in ("properties", "patternProperties", "dependentSchemas"):
        if value and random.random() < 0.5:
            del value[random.choice(sorted(value))]
        else:
            value[random.choice(NAMES)] = schema(random, 1)


def _places(found: Any) -> list[dict[str, Any]]:
    """All schemas in a schema, itself included."""
    if isinstance(found, list):
        return [place for item in found for place in _places(item)]
    if not isinstance(found, dict):
        return []
    places = [found]
    for word, value in found.items():
        if word in ("properties", "patternProperties", "dependentSchemas", "$defs"):
            places += [place for item in value.values() for place in _places(item)]
        elif word not in ("enum", "const", "default", "required", "dependentRequired"):
            places += _places(value)
    return places


def _terminates(given: Any) -> bool:
    """Whether no reference leads back to itself without going into the value."""

    @functools.cache
    def ends(name: str, seen: frozenset[str]) -> bool:
        target = given["$defs"].get(name.rpartition("/")[2])
        return name not in seen and all(ends(other, seen | {name}) for other in _beside(target))

    return all(
        ends(name, frozenset()) for name in _beside({key: value for key, value in given.items() if key != "$defs"})
    )


def _beside(found: Any) -> list[str]:
    """References that apply to the same value."""
    if not isinstance(found, dict):
        return []
    names = [found["$ref"]] if "$ref" in found else []
    for word in ("allOf", "anyOf", "oneOf"):
        names += [name for item in found.get(word, ()) for name in _beside(item)]
    for word in ("not", "if", "then", "else"):
        names += _beside(found.get(word))
    for item in found.get("dependentSchemas", {}).values():
        names += _beside(item)
    return names


def check(seed: int) -> str:
    """Makes a pair of schemas and many values of one seed, and holds them to the promise. Returns what was judged."""
    dice = random.Random(seed)
    old = root(dice)
    new = changed(dice, old) if dice.random() < 0.9 else root(dice)
    if not (isinstance(new, dict) and "$defs" in new and _terminates(old) and _terminates(new)):
        return "unusable"
    try:
        before, after = (jsonschema_rs.validator_for(one, validate_formats=True) for one in (old, new))
    except ValueError:
        return "unusable"
    found = compare_schemas(old, new)
    narrows, widens = any(one.effect.narrows for one in found), any(one.effect.widens for one in found)
    harmless_input = severity(compare_schema(old, new, "input")) is not Impact.BREAKING
    harmless_output = severity(compare_schema(old, new, "output")) is not Impact.BREAKING
    assert not (harmless_input and narrows)
    assert not (harmless_output and widens)
    if narrows and widens:
        return "breaking"
    for _ in range(60):
        instance = value(dice)
        fitted, fits = before.is_valid(instance), after.is_valid(instance)
        if not narrows:
            assert fits or not fitted, f"{instance!r} fitted {old} and does not fit {new}: {found}"
        if not widens:
            assert fitted or not fits, f"{instance!r} did not fit {old} and fits {new}: {found}"
    return "equal" if not narrows and not widens else "widened" if widens else "narrowed"


@pytest.mark.requirement("CMP-010")
@given(seed=st.integers(min_value=0, max_value=2**48))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_what_is_called_harmless_is(seed):
    check(seed)


@pytest.mark.slow
@pytest.mark.requirement("CMP-010")
def test_what_is_called_harmless_is_for_many_schemas():
    verdicts = [check(seed) for seed in range(6_000)]
    # The promise would be kept by calling everything breaking, too.
    for verdict in ("equal", "widened", "narrowed"):
        assert verdicts.count(verdict) > 200, f"{verdict}: {verdicts.count(verdict)}"
