from __future__ import annotations

import enum
import hashlib
import itertools
import json
import random
import struct
import sys
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from harness.canonical import (
    MAX_SAFE_INTEGER,
    content_hash,
    json_path,
    to_canonical_bytes,
    to_canonical_json,
    with_doubles,
)
from harness.errors import SerializationError
from harness.limits import Limits

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=5)
    ),
    max_leaves=20,
)


@pytest.fixture
def rfc(vectors: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((vectors / "rfc8785.json").read_text())
    return data


@pytest.mark.requirement("CAN-001")
def test_numbers_of_the_rfc(rfc):
    for bits, text in rfc["numbers"]:
        (number,) = struct.unpack(">d", bytes.fromhex(bits))
        assert to_canonical_json(number) == text, bits


@pytest.mark.requirement("CAN-001")
def test_texts_of_the_rfc(rfc):
    for vector in rfc["texts"]:
        assert to_canonical_json(json.loads(vector["input"])) == vector["output"]


@pytest.mark.requirement("CAN-001", "CAN-003")
def test_doubles_that_are_no_numbers_are_refused_as_the_rfc_says(rfc):
    for bits in rfc["no_numbers"]:
        with pytest.raises(SerializationError, match="JSON has no"):
            to_canonical_json(double(int(bits, 16)))


def double(bits: int) -> float:
    (number,) = struct.unpack(">d", bits.to_bytes(8, "big"))
    return float(number)


def published_numbers(data: dict[str, Any]) -> Iterator[int]:
    """The sequence of doubles, as bits: a list, a run of the smallest normal numbers, then what a chain of SHA-256 over
    32 zero bytes gives, four doubles of each hash, without zero and what is no number.
    """
    yield from (int(bits, 16) for bits in data["first"])
    start = int(data["then"]["from"], 16)
    yield from range(start, start + data["then"]["count"])
    block = bytes(32)
    while True:
        block = hashlib.sha256(block).digest()
        for (bits,) in struct.iter_unpack("<Q", block):
            exponent = bits >> 52 & 0x7FF
            if exponent != 0x7FF and bits << 1 & (1 << 64) - 1:
                yield bits


def check_published_numbers(vectors: Path, most: int) -> int:
    """Compares checksums up to ``most`` lines; how many there were."""
    data = json.loads((vectors / "json_canonicalization.json").read_text())["numbers"]
    wanted = {row["lines"]: row["sha256"] for row in data["checksums"] if row["lines"] <= most}
    seen = hashlib.sha256()
    for count, bits in enumerate(itertools.islice(published_numbers(data), max(wanted)), 1):
        seen.update(f"{bits:x},{to_canonical_json(double(bits))}\n".encode())
        if count in wanted:
            assert seen.hexdigest() == wanted[count], f"of the first {count} numbers"
    return len(wanted)


@pytest.mark.requirement("CAN-005")
def test_the_published_texts(vectors):
    texts = json.loads((vectors / "json_canonicalization.json").read_text())["texts"]
    assert len(texts) == 6
    for vector in texts:
        assert to_canonical_json(json.loads(vector["input"])) == vector["output"], vector["name"]


@pytest.mark.requirement("CAN-005")
def test_the_first_published_numbers(vectors):
    assert check_published_numbers(vectors, 10_000) == 2


@pytest.mark.slow
@pytest.mark.requirement("CAN-005")
def test_the_first_million_of_the_published_numbers(vectors):
    assert check_published_numbers(vectors, 1_000_000) == 4


@pytest.mark.requirement("CAN-006")
def test_doubles_of_every_size_are_written_as_the_library_writes_them():
    chance = random.Random(8785)
    numbers = [chance.uniform(-10, 10) * 10.0**exponent for exponent in range(-320, 308) for _ in range(4)]
    edges = [1e-4, 1e-5, 1e-6, 1e-7, 1e15, 1e16, 1e17, 1e20, 1e21, 1e22, 2.0**53, 5e-324, 0.1, 100.0, 0.0]
    for number in [*numbers, *edges]:
        assert to_canonical_bytes([number, -number]) == rfc8785.dumps([number, -number]), number


@pytest.mark.requirement("CAN-006")
def test_subclasses_are_written_as_what_they_are():
    class Name(enum.StrEnum):
        A = "a"

    class Level(enum.IntEnum):
        HIGH = 3

    class Ratio(float):
        def __repr__(self) -> str:
            return "no number"

    class Row(NamedTuple):
        a: int
        b: list[int]

    value = {Name.A: Name.A, "level": Level.HIGH, "ratio": Ratio(0.5), "row": Row(1, [2]), "d": OrderedDict(b=1, a=2)}
    assert to_canonical_json(value) == '{"a":"a","d":{"a":2,"b":1},"level":3,"ratio":0.5,"row":[1,[2]]}'


@pytest.mark.requirement("CAN-001")
def test_keys_are_ordered_by_utf16_units_and_not_by_code_points():
    assert to_canonical_json({"\ufb33": 1, "\U0001f600": 2}) == '{"\U0001f600":2,"\ufb33":1}'


@given(JSON)
@pytest.mark.requirement("CAN-002", "CAN-006")
def test_reading_it_back_gives_the_value_and_the_text_is_that_of_the_library(value):
    text = to_canonical_json(value)
    assert text.encode() == rfc8785.dumps(value)
    assert json.loads(text, parse_int=float) == value  # every number is a double
    assert to_canonical_json(json.loads(text)) == text


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.integers(-9, 9), min_size=2))
@pytest.mark.requirement("CAN-002")
def test_the_order_of_keys_makes_no_difference(value):
    backwards = dict(reversed(value.items()))
    assert to_canonical_json(value) == to_canonical_json(backwards)
    assert content_hash(value) == content_hash(backwards)


@pytest.mark.requirement("CAN-002")
def test_the_hash_is_the_sha256_of_the_text():
    assert content_hash({}) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    assert content_hash({"a": 1}) != content_hash({"a": 2})


@pytest.mark.requirement("CAN-003")
@pytest.mark.parametrize(
    ("value", "path", "says"),
    [
        ({"rows": [{}, {"id": 2**53 + 1}]}, "$.rows[1].id", "send it as a string"),
        ({"rows": [-(2**60)]}, "$.rows[0]", "send it as a string"),
        ({"a b": float("nan")}, '$["a b"]', "JSON has no nan"),
        ([1.0, float("-inf")], "$[1]", "JSON has no -inf"),
        ({"x": ["ok", "bad \ud800"]}, "$.x[1]", "surrogate"),
        ({"x": {"\udfff": 1}}, '$.x["\\udfff"]', "the key holds half of a surrogate"),
        ({"x": {3: 1}}, "$.x", "the key 3 is no string"),
        ({"f": len}, "$.f", "builtin_function_or_method has no JSON form"),
        ({"b": (1, b"x")}, "$.b[1]", "bytes has no JSON form"),
    ],
)
def test_what_has_no_json_form_is_an_error_with_its_path(value, path, says):
    with pytest.raises(SerializationError) as caught:
        to_canonical_json(value)
    assert caught.value.details["path"] == path
    assert says in caught.value.message
    assert caught.value.message.startswith(path)
    caught.value.message.encode()  # can be printed, whatever the value held


@pytest.mark.requirement("CAN-003")
def test_of_several_problems_the_first_is_named():
    with pytest.raises(SerializationError) as caught:
        to_canonical_json({"a": [1, 10**400], "b": float("nan")})
    assert caught.value.details["path"] == "$.a[1]"


@pytest.mark.requirement("CAN-003")
def test_a_value_that_contains_itself_or_is_nested_too_deeply_is_an_error():
    cycle: list[Any] = []
    cycle.append(cycle)
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    for value in (cycle, deep):
        with pytest.raises(SerializationError, match="nested too deeply"):
            to_canonical_json(value)


@pytest.mark.requirement("CAN-003")
def test_the_largest_integers_and_any_float_are_fine():
    assert to_canonical_json([MAX_SAFE_INTEGER, -MAX_SAFE_INTEGER, 1e300, -0.0]) == (
        "[9007199254740991,-9007199254740991,1e+300,0]"
    )


@pytest.mark.requirement("CAN-004")
def test_a_large_integer_is_written_only_if_no_digit_is_lost():
    # 2**60 is a double, but JavaScript spells that double 1152921504606847000; this is what a script's JSON holds.
    assert to_canonical_json({"n": [1152921504606847000, True]}) == '{"n":[1152921504606847000,true]}'
    for number in (2**60, 1152921504606847001, 10**21, -(10**400)):
        with pytest.raises(SerializationError, match="loses digits"):
            to_canonical_json(number)


@pytest.mark.requirement("CAN-008")
def test_with_doubles_changes_only_what_no_reader_of_doubles_can_take():
    value = {"a": [2**63 - 1, -(2**60), 2**53 - 1, True, 1.5, "x"], "b": 10**400}
    changed = with_doubles(value)
    assert changed == {"a": [float(2**63), -float(2**60), 2**53 - 1, True, 1.5, "x"], "b": sys.float_info.max}
    assert to_canonical_json(changed["a"]) == '[9223372036854776000,-1152921504606847000,9007199254740991,true,1.5,"x"]'
    assert to_canonical_json(changed["b"]) == "1.7976931348623157e+308"


@pytest.mark.requirement("CAN-003")
def test_the_deepest_values_a_script_can_have_fit():
    value: Any = {}
    for _ in range(Limits().json_depth):
        value = [value]
    assert to_canonical_json({"executions": [{"value": value}]}).count("[") == Limits().json_depth + 1


def test_json_path():
    assert json_path("$", "rows") == "$.rows"
    assert json_path("$.rows", 3) == "$.rows[3]"
    assert json_path("$", 'a"\n') == '$["a\\"\\n"]'
