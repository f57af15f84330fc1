"""Python values as plain JSON data."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import enum
import json
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter

from harness.errors import SerializationError
from harness.plain import dump_plain, to_plain


class Model(BaseModel):
    value: Any


@dataclasses.dataclass
class Data:
    value: Any


class Pair(NamedTuple):
    a: int
    b: int


class Kind(enum.IntEnum):
    A = 1


@pytest.mark.requirement("TOOL-032")
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ((1, [2, (3,)]), [1, [2, [3]]]),
        ({"b", "a", "c"}, ["a", "b", "c"]),
        (frozenset({3, 1}), [1, 3]),
        (Model(value=Data(value=(1,))), {"value": {"value": [1]}}),
        (dt.datetime(2024, 1, 1, tzinfo=dt.UTC), "2024-01-01T00:00:00Z"),
        (dt.date(2024, 1, 1), "2024-01-01"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Decimal("1.50"), "1.50"),
        (Kind.A, 1),
        (Path("/a"), "/a"),
        (collections.OrderedDict(a=1), {"a": 1}),
        ({1: "x", None: "y", False: "z"}, {"1": "x", "None": "y", "false": "z"}),
        (Pair(1, 2), [1, 2]),
        ({"__proto__": {"x": 1}}, {"__proto__": {"x": 1}}),
        (2**53 - 1, 2**53 - 1),
        ("é🙂", "é🙂"),
    ],
)
def test_json_forms(value, expected):
    assert to_plain(value) == expected
    assert json.loads(json.dumps(to_plain(value))) == expected


def cyclic() -> list[Any]:
    items: list[Any] = [1]
    items.append({"again": items})
    return items


@pytest.mark.requirement("TOOL-031")
@pytest.mark.parametrize(
    ("value", "path", "part"),
    [
        ({"rows": [1, {"f": print}]}, "$.rows[1].f", "function"),
        ({"a b": lambda: 1}, '$["a b"]', "function"),
        ([float("nan")], "$[0]", "nan"),
        ([float("-inf")], "$[0]", "-inf"),
        ({"id": 2**53}, "$.id", "as a string"),
        ({"id": -(2**53)}, "$.id", "as a string"),
        (["ok", "\ud800"], "$[1]", "lone surrogate"),
        ({"\udc00": 1}, "$", "lone surrogate"),
        ([b"x"], "$[0]", "base64"),
        ({"1": "a", 1: "b"}, "$", "two keys"),
        ([object()], "$[0]", "object"),
        (Model(value=object()), "$", "object"),
        (Model(value=float("nan")), "$.value", "nan"),
        ([Data(value=[{"x": float("inf")}])], "$[0].value[0].x", "inf"),
        (Model(value=print), "$", "function"),
        ({(1, 2): 3}, "$", "key"),
        ([int], "$[0]", "class"),
        ((n for n in [1]), "$", "generator"),
    ],
)
def test_what_has_no_json_form_is_an_error_with_its_path(value, path, part):
    with pytest.raises(SerializationError) as caught:
        to_plain(value)
    assert caught.value.details["path"] == path
    assert part in caught.value.message
    assert path in caught.value.message


@pytest.mark.requirement("TOOL-031")
def test_cycles_and_depth():
    with pytest.raises(SerializationError, match="cycle"):
        to_plain(cyclic())
    nested: Any = 1
    for _ in range(5):
        nested = [nested]
    assert to_plain(nested, max_depth=5) == nested
    with pytest.raises(SerializationError, match="too deeply") as caught:
        to_plain(nested, max_depth=4)
    assert caught.value.details["path"] == "$[0][0][0][0]"
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(SerializationError):
        to_plain(nested)
    shared = [1]
    assert to_plain([shared, shared]) == [[1], [1]]
    while isinstance(nested, list):  # taken apart by hand: freeing it at once would recurse 100,000 deep
        (nested,) = nested


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_plain_data_comes_out_as_it_went_in(value):
    result = to_plain(value)
    assert result == value
    assert json.dumps(result) == json.dumps(value)
    if isinstance(value, (list, dict)):
        assert result is not value


@pytest.mark.requirement("TOOL-031")
def test_a_serializer_of_its_own_names_the_path_too():
    for annotation, value in (
        (dict, {"a": [print]}),
        (dict[str, Any], {"a": [print]}),
        (list, [{"a": 1}, {"b": print}]),
    ):
        with pytest.raises(SerializationError) as caught:
            dump_plain(TypeAdapter(annotation).serializer, value)
        assert caught.value.details["path"] == ("$[1].b" if annotation is list else "$.a[0]")
