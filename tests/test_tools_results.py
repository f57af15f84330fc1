"""Results: what crosses to a script, and what is an error instead of a quiet loss."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any

import pytest
from pydantic import Base64Bytes, BaseModel, ConfigDict

from harness.errors import SerializationError, ToolValidationError
from harness.places import says_all, schemas_at, types_at
from harness.plain import to_plain
from harness.testing import call_tool
from harness.tools.function import FunctionTool
from harness.tools.registry import tool

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """Nothing here depends on the event loop."""
    return "asyncio"


class Loose(BaseModel):
    value: Any = None


class Encoded(BaseModel):
    data: Base64Bytes
    raw: bytes = b"y"
    other: Any = None


class Base64Model(BaseModel):
    model_config = ConfigDict(ser_json_bytes="base64")
    raw: bytes


@dataclasses.dataclass
class Record:
    value: Any


class Kind(enum.Enum):
    A = b"x"


NO_ANNOTATION = object()


def returning(value: Any, annotation: Any) -> FunctionTool[..., Any]:
    def f():
        return value

    if annotation is not NO_ANNOTATION:
        f.__annotations__["return"] = annotation
    return tool(f)


@pytest.mark.requirement("TOOL-031")
@pytest.mark.parametrize(
    ("value", "annotation", "path"),
    [
        ({"a": b"x"}, dict[str, Any], "$.a"),
        ({"a": [{"b": bytearray(b"x")}]}, dict[str, Any], "$.a[0].b"),
        ({"a": memoryview(b"x")}, dict[str, Any], "$.a"),
        ({"a": None, "b": b"x"}, dict[str, Any], "$.b"),
        ({"a": {b"x"}}, dict[str, Any], "$.a[0]"),
        ({"a": Kind.A}, dict[str, Any], "$.a"),
        ({"a": b"x"}, dict, "$.a"),
        ([1, b"x"], list, "$[1]"),
        (b"x", object, "$"),
        (b"x", NO_ANNOTATION, "$"),
        ({b"k": 1}, dict, "$"),
        (Loose(value=b"x"), Loose, "$.value"),
        (Loose(value=[b"x"]), NO_ANNOTATION, "$.value[0]"),
        ([Record(value=(1, b"x"))], list[Any], "$[0].value[1]"),
        (Encoded(data=b"eA==", other=b"z"), Encoded, "$.other"),
        ({"rows": (n for n in [1])}, dict[str, Any], "$.rows"),
    ],
)
async def test_bytes_are_an_error_with_their_path_wherever_nobody_declared_them(value, annotation, path):
    with pytest.raises(ToolValidationError, match="cannot be sent") as caught:
        await call_tool(returning(value, annotation))
    assert caught.value.details["path"] == path


@pytest.mark.requirement("TOOL-031")
@pytest.mark.parametrize(
    ("value", "annotation", "expected"),
    [
        (Encoded(data=b"eA=="), Encoded, {"data": "eA==", "raw": "y", "other": None}),
        (Encoded(data=b"eA=="), NO_ANNOTATION, {"data": "eA==", "raw": "y", "other": None}),
        (Base64Model(raw=b"\xff"), Base64Model, {"raw": "_w=="}),
        ({"a": b"x", "b": None}, dict[str, bytes | None], {"a": "x", "b": None}),
    ],
)
async def test_bytes_take_the_form_their_own_declaration_gives_them(value, annotation, expected):
    assert await call_tool(returning(value, annotation)) == expected


@pytest.mark.requirement("TOOL-031")
def test_keys_that_are_bytes_are_no_text():
    with pytest.raises(SerializationError, match="key of type bytes"):
        to_plain({b"k": 1})


NESTED = {
    "$defs": {
        "Node": {
            "type": "object",
            "properties": {"next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]}, "n": {"type": "integer"}},
        }
    },
    "allOf": [{"$ref": "#/$defs/Node"}],
}


@pytest.mark.requirement("TOOL-023", "TOOL-031")
@pytest.mark.parametrize(
    ("schema", "parts", "types"),
    [
        ({"type": "string"}, (), {"string"}),
        ({}, (), {"any"}),
        ({"type": ["string", "null"]}, (), {"string", "null"}),
        ({"properties": {"a": {"type": "string"}}}, ("a",), {"string"}),
        ({"properties": {"a": {"type": "string"}}}, ("b",), set()),
        ({"additionalProperties": {"type": "number"}}, ("b",), {"number"}),
        ({"additionalProperties": True}, ("b",), set()),
        ({"prefixItems": [{"type": "string"}], "items": {"type": "number"}}, (0,), {"string"}),
        ({"prefixItems": [{"type": "string"}], "items": {"type": "number"}}, (1,), {"number"}),
        (NESTED, ("next", "next", "next", "n"), {"integer"}),
        ({"$ref": "https://example.com/"}, (), set()),
        ({"$ref": "#"}, (), set()),
    ],
)
def test_what_a_schema_says_of_a_place(schema, parts, types):
    assert types_at(schema, parts) == types


@pytest.mark.requirement("TOOL-031")
def test_looking_up_a_place_takes_bounded_time():
    doubling: dict[str, Any] = {"anyOf": [{"$ref": "#"}] * 2}
    assert schemas_at(doubling, ()) == []
    wide = {"anyOf": [{"additionalProperties": {"$ref": "#"}}] * 3}
    assert len(schemas_at(wide, ["x"] * 200)) <= 1_000


@pytest.mark.requirement("TOOL-031")
@pytest.mark.parametrize(
    ("schema", "closed"),
    [
        ({"type": "string"}, True),
        ({"enum": [1]}, True),
        ({}, False),
        (None, False),
        (True, False),
        ({"type": "array"}, False),
        ({"type": "array", "items": {"type": "string"}}, True),
        ({"type": "array", "prefixItems": [{}]}, False),
        ({"type": "array", "prefixItems": [{"type": "string"}]}, True),
        ({"type": "object"}, False),
        ({"type": "object", "properties": {"a": {}}}, False),
        ({"type": "object", "properties": {"a": {"type": "string"}}}, True),
        ({"type": "object", "properties": {}, "additionalProperties": True}, False),
        ({"type": "object", "additionalProperties": {"type": "string"}}, True),
        ({"anyOf": [{"type": "string"}, {}]}, False),
        ({"$ref": "#/$defs/A", "$defs": {"A": {"type": "array", "items": {"$ref": "#/$defs/A"}}}}, True),
        ({"$ref": "#/$defs/B"}, False),
    ],
)
def test_whether_a_schema_names_every_type(schema, closed):
    assert says_all(schema) is closed
