"""Making tools: schemas, names, registration."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import functools
import json
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from harness.errors import ToolNotFoundError, ToolValidationError, UsageError
from harness.testing import call_tool
from harness.tools.context import CallContext
from harness.tools.function import FunctionTool
from harness.tools.names import RESERVED
from harness.tools.registry import ToolRegistry, tool
from harness.tools.samples import sample
from harness.tools.tool import Tool

pytestmark = pytest.mark.anyio


class Receipt(BaseModel):
    order: str
    cents: int
    at: dt.datetime


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


@tool
def add(a: int, b: int = 2) -> int:
    """Adds two numbers.

    Slowly.

    Args:
        a: the first
        b (int): the second,
            which may be left out
    """
    return a + b


@pytest.mark.requirement("TOOL-001")
async def test_a_tool_is_still_the_function_it_was():
    assert add(1) == 3
    assert vars(add)["__name__"] == "add"
    assert add.__doc__ is not None

    @tool(approval=True, name="fs.read", description="Reads.", timeout=3, idempotent=True, tags=["read"])
    async def read(path: str) -> str:
        return path

    assert await read("x") == "x"
    assert (read.name, read.description, read.approval, read.timeout) == ("fs.read", "Reads.", True, 3)
    assert (read.idempotent, read.tags) == (True, ("read",))


@pytest.mark.requirement("TOOL-002")
def test_schema_from_signature_and_google_docstring():
    assert add.describe() == {
        "name": "add",
        "description": "Adds two numbers.\n\nSlowly.",
        "parameters": {
            "type": "object",
            "properties": {
                "a": {"type": "integer", "description": "the first"},
                "b": {"type": "integer", "default": 2, "description": "the second, which may be left out"},
            },
            "required": ["a"],
            "additionalProperties": False,
        },
        "result": {"type": "integer"},
        "approval": False,
        "timeout": None,
        "idempotent": False,
        "deterministic": False,
        "tags": [],
        "positional": None,
        "version": "1.0",
        "cost_cents": 0,
        "retry": None,
        "resource": None,
        "revert": False,
    }


@pytest.mark.requirement("TOOL-002")
@pytest.mark.parametrize(
    "docstring",
    [
        "Does it.\n\nParameters\n----------\na : int\n    the first\nb\n    the second\n\nReturns\n-------\nint\n    x",
        "Does it.\n\n:param int a: the first\n:param b: the\n    second\n:returns: x",
        "Does it.\n\nArgs:\n    a: the first\n    b: the second\n\nReturns:\n    The sum: always.\n",
    ],
    ids=["numpy", "rest", "google"],
)
def test_docstring_styles(docstring):
    def f(a, b):
        return a + b

    f.__doc__ = docstring
    made = tool(f)
    assert made.description == "Does it."
    assert {name: schema["description"] for name, schema in made.parameters["properties"].items()} == {
        "a": "the first",
        "b": "the second",
    }


@pytest.mark.requirement("TOOL-002")
def test_a_docstring_in_no_style_is_all_description():
    def f() -> None:
        """Mind: this is prose.

        Note that a: is no parameter.
        """

    assert tool(f).description == "Mind: this is prose.\n\nNote that a: is no parameter."


@pytest.mark.requirement("TOOL-002", "TOOL-021")
async def test_annotated_constraints_and_field_defaults():
    @tool
    def f(a: Annotated[int, Field(ge=1, description="big")], b: int = Field(default=7, le=9)) -> list[int]:
        return [a, b]

    assert f.parameters["properties"]["a"] == {"type": "integer", "minimum": 1, "description": "big"}
    assert f.parameters["properties"]["b"] == {"type": "integer", "maximum": 9, "default": 7}
    assert await call_tool(f, {"a": 1}) == [1, 7]
    with pytest.raises(ToolValidationError, match="greater than or equal to 1"):
        await call_tool(f, {"a": 0})


@pytest.mark.requirement("TOOL-003")
@pytest.mark.parametrize(
    ("function", "part"),
    [
        (lambda *args: None, "name each parameter"),
        (lambda **kwargs: None, "name each parameter"),
        (lambda a, /: None, "positional-only"),
        (lambda self, a: None, "bound method"),
    ],
)
def test_functions_no_script_could_call(function, part):
    with pytest.raises(UsageError, match=part):
        tool(name="f")(function)


@pytest.mark.requirement("TOOL-003")
def test_generators_unknown_annotations_and_types_without_schema():
    def generator():
        yield 1

    async def async_generator():
        yield 1

    def unknown(a: Missing):  # type: ignore[name-defined] # noqa: F821 - what is under test
        return a

    class Strange:
        pass

    def strange(a):
        return a

    strange.__annotations__["a"] = Strange
    unusable: list[tuple[Callable[..., Any], str]] = [
        (generator, "generator"),
        (async_generator, "generator"),
        (unknown, "Missing"),
        (strange, "Annotate"),
    ]
    for function, part in unusable:
        with pytest.raises(UsageError, match=part):
            tool(function)
    with pytest.raises(UsageError, match="must be seconds above 0"):
        tool(timeout=0, name="f")(lambda: None)
    with pytest.raises(UsageError, match="no parameter 'zzz'"):
        tool(positional="zzz", name="f")(lambda a: None)


@pytest.mark.requirement("TOOL-004")
async def test_any_parameter_name_and_the_context():
    @tool
    def f(schema: int, copy: int, model_config: int, _private: int, json: int, ctx: CallContext) -> list[Any]:
        return [schema, copy, model_config, _private, json, ctx.tool, ctx.call_id, ctx.execution.user_id]

    assert set(f.parameters["properties"]) == {"schema", "copy", "model_config", "_private", "json"}
    given = {"schema": 1, "copy": 2, "model_config": 3, "_private": 4, "json": 5}
    assert await call_tool(f, given) == [1, 2, 3, 4, 5, "f", 0, "user_test"]


@pytest.mark.requirement("TOOL-001")
async def test_bound_methods_partials_and_callable_objects():
    class Shop:
        def price(self, item: str) -> str:
            return f"{item}!"

        async def __call__(self, item: str) -> str:
            return f"{item}?"

    assert await call_tool(tool(Shop().price), {"item": "a"}) == "a!"
    assert await call_tool(tool(name="shop")(Shop()), {"item": "a"}) == "a?"
    assert await call_tool(tool(name="late")(lambda item: Shop().__call__(item=item)), {"item": "a"}) == "a?"
    assert await call_tool(tool(name="half")(functools.partial(add.function, b=1)), {"a": 1}) == 2


@pytest.mark.requirement("TOOL-010")
@pytest.mark.parametrize(
    "name", ["a", "_x", "fs.read", "a.b.c", "A1", "delete", "a$b", "get-item", "1a", "a.1", "x/y", "ns:do", "x" * 128]
)
def test_good_names(name):
    registry = ToolRegistry([tool(name=name)(lambda: None)])
    assert registry.names() == [name]
    assert name in registry
    assert registry.get(name).name == name


@pytest.mark.requirement("TOOL-010")
@pytest.mark.parametrize(
    "name", ["", "-a", "a b", "a.", ".a", "a..b", "аdmin", "ﬁle", "a\n", "a\u200b", "x" * 129, 'a"b', "a\\b", "a'b"]
)
def test_bad_names(name):
    with pytest.raises(UsageError):
        FunctionTool(lambda: None, name=name)


@pytest.mark.requirement("TOOL-011")
@pytest.mark.parametrize("name", [*sorted(RESERVED), "fs.then", "toString.x"])
def test_names_that_would_break_the_proxy(name):
    with pytest.raises(UsageError, match="JavaScript itself looks up"):
        tool(name=name)(lambda: None)


@pytest.mark.requirement("TOOL-011")
def test_dollar_names_belong_to_the_harness():
    for name in ("$search", "fs.$x"):
        with pytest.raises(UsageError, match=r"belong to the harness"):
            tool(name=name)(lambda: None)


@pytest.mark.requirement("TOOL-012")
def test_duplicates_and_namespaces():
    def make(name: str) -> Tool:
        return tool(name=name)(lambda: None)

    registry = ToolRegistry([make("fs.dir.list")])
    with pytest.raises(UsageError, match="already is a tool"):
        registry.register(make("fs.dir.list"))
    for name in ("fs", "fs.dir"):
        with pytest.raises(UsageError, match=r"is the namespace of 'fs\.dir\.list'"):
            registry.register(make(name))
    with pytest.raises(UsageError, match=r"'fs\.dir\.list' is a tool"):
        registry.register(make("fs.dir.list.all"))
    registry.register(make("fs.read"))
    assert registry.names() == ["fs.dir.list", "fs.read"]
    assert len(registry) == 2
    assert [item.name for item in registry] == registry.names()
    with pytest.raises(UsageError, match="is no tool"):
        registry.register(3)  # type: ignore[arg-type] # what is under test


@pytest.mark.requirement("TOOL-012")
def test_registering_the_same_tool_twice_changes_nothing():
    registry = ToolRegistry([add])
    assert registry.register(add) is add
    assert len(registry) == 1


@pytest.mark.requirement("TOOL-013")
def test_not_found_with_suggestions():
    registry = ToolRegistry([add, tool(name="fs.read")(lambda: None)])
    with pytest.raises(ToolNotFoundError, match=r"Did you mean tools\.add") as caught:
        registry.get("Add")
    assert caught.value.details == {"tool": "Add", "suggestions": ["add"]}
    assert registry.suggest("fs.raed") == ["fs.read"]
    with pytest.raises(ToolNotFoundError, match=r"The tools are: add, fs\.read"):
        registry.get("zzzzzz")
    with pytest.raises(ToolNotFoundError, match="No tools are registered"):
        ToolRegistry().get("x")
    with pytest.raises(ToolNotFoundError, match=r"add\\u\{200b\}"):
        registry.get("add\u200b")
    with pytest.raises(ToolNotFoundError) as caught:
        registry.get("x" * 100_000)
    assert len(caught.value.message) < 300


@pytest.mark.requirement("TOOL-021")
async def test_strict_json_in():
    @tool
    def f(*, when: dt.datetime, id: uuid.UUID, amount: Decimal, colour: Colour, point: Point, n: float) -> str:  # noqa: A002 - a name scripts would choose
        assert isinstance(when, dt.datetime)
        assert isinstance(id, uuid.UUID)
        assert isinstance(point, Point)
        return f"{amount} {colour.name} {point.x} {n}"

    given: dict[str, Any] = {
        "when": "2024-01-02T03:04:05Z",
        "id": str(uuid.UUID(int=1)),
        "amount": "1.50",
        "colour": "red",
        "point": {"x": 1},
        "n": 2,
    }
    assert await call_tool(f, given) == "1.50 RED 1 2.0"
    for name, wrong in [("when", 5), ("n", "2"), ("colour", "blue"), ("point", {"x": "1"}), ("id", "zz")]:
        with pytest.raises(ToolValidationError) as caught:
            await call_tool(f, {**given, name: wrong})
        assert caught.value.details["errors"][0]["path"].startswith(f"$.{name}")


@pytest.mark.requirement("TOOL-021")
async def test_validation_errors_say_path_expected_and_received():
    @tool
    def f(rows: list[Point], password: int, kind: Literal["a", "b"] = "a") -> None:
        raise AssertionError

    with pytest.raises(ToolValidationError) as caught:
        await call_tool(f, {"rows": [{"x": 1}, {"x": "5"}], "password": "hunter2", "kimd": 1})
    assert caught.value.details["errors"] == [
        {"path": "$.rows[1].x", "expected": "expected a valid integer", "received": 'the string "5"'},
        {"path": "$.password", "expected": "expected a valid integer", "received": "[REDACTED]"},
        {"path": "$.kimd", "expected": "unknown argument; did you mean 'kind'?", "received": "the number 1"},
    ]
    assert "hunter2" not in caught.value.message
    assert "Call it as tools.f({rows, password, kind?})." in caught.value.message
    with pytest.raises(ToolValidationError, match=r"\$\.rows: a value is required, received nothing"):
        await call_tool(f, {"password": 1})


@pytest.mark.requirement("TOOL-021")
async def test_a_union_is_reported_where_it_stands():
    @tool
    def f(value: int | list[str]) -> None:
        raise AssertionError

    with pytest.raises(ToolValidationError) as caught:
        await call_tool(f, {"value": [1]})
    assert {item["path"] for item in caught.value.details["errors"]} == {"$.value", "$.value[0]"}


@pytest.mark.requirement("TOOL-030")
async def test_results_are_checked_against_the_annotation():
    at = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)

    def returning(value: Any, annotation: Any) -> FunctionTool[..., Any]:
        async def f():
            return value

        f.__annotations__["return"] = annotation
        return tool(f)

    receipt = {"order": "o", "cents": 1, "at": "2024-01-01T00:00:00Z"}
    assert await call_tool(returning(Receipt(order="o", cents=1, at=at), Receipt)) == receipt
    assert await call_tool(returning(receipt, Receipt)) == receipt
    assert await call_tool(returning((1, 2), list[int])) == [1, 2]
    assert await call_tool(returning(1, float)) == 1
    assert await call_tool(returning(None, None)) is None
    assert await call_tool(returning({"a": (1,)}, Any)) == {"a": [1]}
    for number in (float("nan"), {"x": [float("inf")]}):
        with pytest.raises(ToolValidationError, match="which JSON has no form for"):
            await call_tool(returning(number, type(number)))
    for value, annotation in [("5", int), ("yes", bool), (1, str), ({**receipt, "cents": "1"}, Receipt), (1, None)]:
        with pytest.raises(
            ToolValidationError, match=r"The result of tools\.f is not what the tool declares"
        ) as caught:
            await call_tool(returning(value, annotation))
        assert caught.value.details["errors"]


@pytest.mark.requirement("TOOL-080")
@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (None, None),
        ({}, None),
        ({"type": "integer", "minimum": 3}, 3),
        ({"type": "number", "maximum": -2}, -2),
        ({"type": "string"}, ""),
        ({"type": "string", "format": "date-time"}, "1970-01-01T00:00:00Z"),
        ({"type": "array", "items": {"type": "boolean"}, "minItems": 2}, [False, False]),
        ({"enum": ["x", "y"]}, "x"),
        ({"const": 5}, 5),
        ({"anyOf": [{"type": "null"}, {"type": "string"}]}, None),
        (Receipt.model_json_schema(), {"order": "", "cents": 0, "at": "1970-01-01T00:00:00Z"}),
        ({"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/A"}}}, None),
        ({"$ref": "#/definitions/a~1b", "definitions": {"a/b": {"type": "boolean"}}}, False),
        ({"$ref": "https://example.com/"}, None),
    ],
)
def test_minimal_samples(schema, expected):
    assert sample(schema) == expected


@pytest.mark.requirement("TOOL-080")
def test_a_sample_of_a_schema_that_demands_a_value_without_end_is_bounded():
    endless = {"type": "object", "required": ["a", "b"], "properties": {"a": {"$ref": "#"}, "b": {"$ref": "#"}}}
    assert len(json.dumps(sample(endless))) < 1_000_000
