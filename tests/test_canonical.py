from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.canonical import MAX_SAFE_INTEGER, content_hash, json_path, to_canonical_json
from harness.errors import SerializationError

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


@pytest.mark.requirement("CAN-001")
def test_keys_are_ordered_by_utf16_units_and_not_by_code_points():
    assert to_canonical_json({"\ufb33": 1, "\U0001f600": 2}) == '{"\U0001f600":2,"\ufb33":1}'


@given(JSON)
@pytest.mark.requirement("CAN-002")
def test_reading_it_back_gives_the_value(value):
    text = to_canonical_json(value)
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


def test_json_path():
    assert json_path("$", "rows") == "$.rows"
    assert json_path("$.rows", 3) == "$.rows[3]"
    assert json_path("$", 'a"\n') == '$["a\\"\\n"]'
