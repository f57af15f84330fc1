"""Tools described by JSON Schema: what is checked when they are made, and at each call."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field

from harness.errors import ToolValidationError, UsageError
from harness.testing import call_tool
from harness.tools.context import CallContext
from harness.tools.options import ToolOptions
from harness.tools.registry import ToolRegistry, tool
from harness.tools.resource import ResourceContract
from harness.tools.retry import Retry
from harness.tools.subprocess import SubprocessTool
from harness.tools.tool import SchemaTool, Tool

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """Schemas do not depend on the event loop."""
    return "asyncio"


async def endless(_arguments: dict[str, Any]) -> None: ...


def giving_an_integer() -> int:
    return 1


def whole(arguments: dict[str, Any]) -> dict[str, Any]:
    return arguments


def taking(properties: dict[str, Any], **more: Any) -> SchemaTool:
    return Tool.from_schema("f", whole, parameters={"type": "object", "properties": properties, **more})


async def error_of(made: Tool, arguments: dict[str, Any]) -> ToolValidationError:
    with pytest.raises(ToolValidationError) as caught:
        await call_tool(made, arguments)
    return caught.value


# ── how the function is called ───────────────────────────────────────────────────────────────────────────────────

ADD = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "integer", "default": 2}},
    "required": ["a"],
}


@pytest.mark.requirement("TOOL-005")
async def test_arguments_come_by_name_or_as_one_dictionary():
    def by_name(a, b):
        """Adds."""
        return [a, b]

    async def with_context(a, b, ctx: CallContext):
        return [a, b, ctx.tool]

    def anything(**arguments):
        return arguments

    def one(arguments: Any, *, ctx: CallContext | None = None):
        assert ctx is not None
        return [arguments, ctx.call_id]

    made = Tool.from_schema("add", by_name, parameters=ADD)
    assert made.description == "Adds."
    assert Tool.from_schema("add", by_name, ADD, None, "Sums.").description == "Sums."
    assert await call_tool(made, {"a": 1}) == [1, 2]
    assert await call_tool(Tool.from_schema("add", lambda **k: k, ADD), {"b": 5, "a": 1}) == {"b": 5, "a": 1}
    assert await call_tool(Tool.from_schema("add", with_context, ADD), {"a": 1}) == [1, 2, "add"]
    assert await call_tool(Tool.from_schema("add", anything, ADD), {"a": 1, "x": 3}) == {"a": 1, "x": 3, "b": 2}
    assert await call_tool(Tool.from_schema("add", one, ADD), {"a": 1, "x": 3}) == [{"a": 1, "x": 3, "b": 2}, 0]
    assert await call_tool(Tool.from_schema("now", lambda: "now")) == "now"
    dashed = {"properties": {"item-id": {"type": "string"}}, "required": ["item-id"]}
    assert await call_tool(Tool.from_schema("f", anything, dashed), {"item-id": "x"}) == {"item-id": "x"}
    assert await call_tool(Tool.from_schema("f", whole, dashed), {"item-id": "x"}) == {"item-id": "x"}


@pytest.mark.requirement("TOOL-005")
async def test_a_sync_function_runs_in_a_thread():
    made = Tool.from_schema("f", lambda: threading.current_thread() is threading.main_thread())
    assert not made.interruptible
    assert await call_tool(made) is False

    async def here() -> bool:
        return threading.current_thread() is threading.main_thread()

    assert Tool.from_schema("f", here).interruptible
    assert await call_tool(Tool.from_schema("f", here)) is True


@pytest.mark.requirement("TOOL-005")
async def test_what_the_function_has_no_place_for_is_no_argument():
    made = Tool.from_schema("add", lambda a, b: [a, b], ADD)
    assert made.parameters["additionalProperties"] is False
    assert "additionalProperties" not in ADD
    error = await error_of(made, {"a": 1, "c": 3})
    assert error.details["errors"] == [
        {"path": "$.c", "expected": "unknown argument", "received": "the number 3"},
    ]
    branches = {"anyOf": [{"properties": {"a": {"type": "integer"}}}, {"properties": {"b": {"type": "string"}}}]}
    either = Tool.from_schema("f", lambda a=0, b="": [a, b], branches)
    assert await call_tool(either, {"b": "x"}) == [0, "x"]
    assert (await error_of(either, {"c": 3})).details["path"] == "$.c"


@pytest.mark.requirement("TOOL-005")
@pytest.mark.parametrize(
    ("function", "schema", "part"),
    [
        (3, ADD, "needs a function"),
        (lambda x, y: 0, ADD, "takes x, y, and its schema has the properties a, b"),
        (lambda: 0, ADD, "takes nothing"),
        (lambda a, b, c: 0, ADD, "properties a, b"),
        (lambda a, /, b: 0, ADD, "properties a, b"),
        (lambda a: 0, {"properties": {"a": {}}}, "lets scripts leave it out"),
        (lambda a: 0, {"properties": {"a": {}}, "required": ["a"], "additionalProperties": True}, "no place for them"),
        (lambda a: 0, {"properties": {"a": {}}, "required": ["a"], "patternProperties": {"x": {}}}, "no place"),
    ],
)
def test_functions_that_cannot_be_called_as_the_schema_says(function, schema, part):
    with pytest.raises(UsageError, match=part):
        Tool.from_schema("f", function, schema)


@pytest.mark.requirement("TOOL-005")
def test_more_functions_that_cannot_be_called():
    def generator(a, b):
        yield a, b

    def clash(ctx: CallContext, **_more: Any) -> None:
        raise AssertionError

    with pytest.raises(UsageError, match="is a generator"):
        Tool.from_schema("f", generator, ADD)
    with pytest.raises(UsageError, match="a property of this name"):
        Tool.from_schema("f", clash, {"properties": {"ctx": {}}})


# ── the schema itself ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def listening() -> Iterator[tuple[str, socket.socket]]:
    """A server that would notice if anybody asked it for anything."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield f"http://127.0.0.1:{server.getsockname()[1]}/schema.json", server


@pytest.mark.requirement("TOOL-006")
@pytest.mark.parametrize("keyword", ["$ref", "$dynamicRef"])
def test_schemas_are_never_fetched(listening, keyword, tmp_path):
    url, server = listening
    file = tmp_path / "schema.json"
    file.write_text("{}")
    for target in (url, file.as_uri(), "https://example.invalid/x.json"):
        for schema in ({keyword: target}, {"properties": {"a": {keyword: target}}}):
            with pytest.raises(UsageError, match="never fetched") as caught:
                Tool.from_schema("f", whole, schema)
            assert target in caught.value.message
    with pytest.raises(BlockingIOError):
        server.accept()


@pytest.mark.requirement("TOOL-006")
@pytest.mark.parametrize(
    ("schema", "part"),
    [
        ([], "which is a dict, not list"),
        ("x", "which is a dict, not str"),
        (True, "which is a dict, not bool"),
        ({"type": "array"}, "must describe an object"),
        ({"type": ["object", "null"]}, "must describe an object"),
        ({"type": "objekt"}, "must describe an object"),
        ({"properties": {"a": {"type": "objekt"}}}, r'at \$\.properties\.a\.type, expected one of .*, not "objekt"'),
        ({"properties": {"a": {"minimum": "3"}}}, r'at \$\.properties\.a\.minimum, expected a number, not "3"'),
        ({"required": "a"}, r"at \$\.required, expected an array"),
        ({"properties": {"a": {"pattern": "("}}}, "expected a valid regex"),
        ({"properties": {"a": {"$ref": "#/$defs/nope"}}}, "'/\\$defs/nope' does not exist"),
        ({"$schema": "https://example.com/mine"}, "Unknown meta-schema"),
        ({"default": print}, "is no JSON Schema"),
        ({"title": "\ud800"}, "lone surrogate"),
        ({"properties": {"a": {"default": float("nan")}}}, "is no JSON Schema"),
    ],
)
def test_what_is_no_usable_schema_is_refused_when_the_tool_is_made(schema, part):
    with pytest.raises(UsageError, match=part):
        Tool.from_schema("f", whole, schema)


@pytest.mark.requirement("TOOL-006")
def test_a_schema_nested_beyond_reason_is_refused():
    nested: dict[str, Any] = {}
    for _ in range(5_000):
        nested = {"items": nested}
    with pytest.raises(UsageError, match="nested"):
        taking({"a": nested})
    for _ in range(5_000):  # taken apart by hand: freeing it at once would recurse
        nested = nested["items"]


@pytest.mark.requirement("TOOL-006")
async def test_references_inside_the_schema_and_older_drafts():
    tree = {
        "$defs": {
            "Node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}, "n": {"type": "integer"}}}
        },
        "$ref": "#/$defs/Node",
    }
    made = Tool.from_schema("f", whole, tree)
    assert await call_tool(made, {"next": {"next": {"n": 1}}}) == {"next": {"next": {"n": 1}}}
    assert (await error_of(made, {"next": {"next": {"n": "1"}}})).details["path"] == "$.next.next.n"
    old = {
        "$schema": "http://json-schema.org/draft-04/schema#",
        "type": "object",
        "properties": {"n": {"type": "number", "minimum": 3, "exclusiveMinimum": True}},
    }
    assert (await error_of(Tool.from_schema("f", whole, old), {"n": 3})).details["path"] == "$.n"
    for circle in ({"$ref": "#"}, {"allOf": [{"$ref": "#"}]}):
        assert await call_tool(Tool.from_schema("f", whole, circle), {"a": 1}) == {"a": 1}


@pytest.mark.requirement("TOOL-006")
async def test_the_schema_is_the_tools_own():
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    made = Tool.from_schema("f", whole, schema)
    schema["properties"]["a"]["type"] = "string"  # type: ignore[index] # plain data
    assert await call_tool(made, {"a": 1}) == {"a": 1}
    assert made.parameters["properties"]["a"] == {"type": "integer"}


@pytest.mark.requirement("TOOL-006")
async def test_a_pydantic_model_will_do_for_a_schema():
    class Args(BaseModel):
        n: int

    made = Tool.from_schema("f", lambda n: {"n": n}, Args, Args)
    assert await call_tool(made, {"n": 1}) == {"n": 1}
    assert (await error_of(made, {"n": "1"})).details["path"] == "$.n"


@pytest.mark.requirement("TOOL-006")
def test_the_validator_is_loaded_when_it_is_needed():
    program = (
        "import sys\n"
        "from harness import Tool, tool\n"
        "made = tool(name='f')(lambda: 1)\n"
        "print('jsonschema_rs' in sys.modules)\n"
        "Tool.from_schema('f', lambda: 1)\n"
        "print('jsonschema_rs' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["False", "True"]


# ── arguments ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("TOOL-025")
@pytest.mark.parametrize(
    ("member", "right", "wrong", "path", "expected"),
    [
        ({"type": "integer"}, 1, "1", "$.v", "expected an integer"),
        ({"type": "integer"}, 1, True, "$.v", "expected an integer"),
        ({"type": "integer"}, 1, 1.5, "$.v", "expected an integer"),
        ({"type": ["string", "null"]}, None, 1, "$.v", "expected null or a string"),
        ({"pattern": "^[a-z]+$"}, "ab", "ab\n", "$.v", "expected text that matches ^[a-z]+$"),
        ({"enum": ["x", 1]}, 1, "y", "$.v", 'expected one of "x", 1'),
        ({"const": None}, None, 0, "$.v", "expected null"),
        ({"minimum": 3}, 3, 2, "$.v", "expected a number of at least 3"),
        ({"multipleOf": 0.1}, 0.3, 0.35, "$.v", "expected a multiple of 0.1"),
        ({"maxLength": 2}, "éé", "ééé", "$.v", "expected at most 2 characters"),
        ({"minItems": 1}, [1], [], "$.v", "expected at least 1 item"),
        ({"uniqueItems": True}, [1, 2], [1, 1], "$.v", "expected items that all differ"),
        ({"items": {"type": "string"}}, ["a"], ["a", 1], "$.v[1]", "expected a string"),
        ({"format": "date"}, "2024-02-29", "2023-02-29", "$.v", "expected a valid date"),
        ({"format": "email"}, "a@example.org", "nobody", "$.v", "expected a valid email"),
        ({"format": "uuid"}, "00000000-0000-0000-0000-000000000000", "1", "$.v", "expected a valid uuid"),
        ({"not": {"type": "string"}}, 1, "x", "$.v", 'expected a value that does not fit {"type":"string"}'),
        ({"properties": {"n": False}}, {}, {"n": 1}, "$.v.n", "expected nothing here"),
        ({"maximum": 3}, 3, 4, "$.v", "expected a number of at most 3"),
        ({"exclusiveMinimum": 3}, 4, 3, "$.v", "expected a number greater than 3"),
        ({"exclusiveMaximum": 3}, 2, 3, "$.v", "expected a number less than 3"),
        ({"maxItems": 0}, [], [1], "$.v", "expected at most 0 items"),
        ({"minProperties": 1}, {"a": 1}, {}, "$.v", "expected at least 1 member"),
        ({"maxProperties": 1}, {}, {"a": 1, "b": 1}, "$.v", "expected at most 1 member"),
        ({"propertyNames": {"pattern": "^a"}}, {"a": 1}, {"b": 1}, "$.v", 'expected member names that fit: "b" does not match "^a"'),
        ({"additionalProperties": False}, {}, {"n": 1}, "$.v.n", "unknown member"),
        ({"required": ["n"]}, {"n": 1}, {}, "$.v.n", "a value is required"),
        ({"dependentRequired": {"a": ["b"]}}, {"b": 1}, {"a": 1}, "$.v.b", "a value is required"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "x", 1, "$.v", "expected null or a string"),
        ({"oneOf": [{"minimum": 3}, {"maximum": 5}]}, 2, 4, "$.v", "expected a value that fits only one of the alternatives"),
        ({"anyOf": [{"const": 1}, {"minLength": 3}]}, 1, "x", "$.v", "expected 1 or at least 3 characters"),
    ],
)  # fmt: skip
async def test_every_keyword_is_checked_and_explained(member, right, wrong, path, expected):
    made = taking({"v": member})
    assert await call_tool(made, {"v": right}) == {"v": right}
    error = await error_of(made, {"v": wrong})
    assert error.message.startswith("The arguments of tools.f do not fit: ")
    assert error.message.endswith(" Call it as tools.f({v?}).")
    (found,) = error.details["errors"]
    assert (found["path"], found["expected"]) == (path, expected)


SHAPE = {
    "oneOf": [
        {
            "properties": {"kind": {"const": "circle"}, "r": {"type": "number"}},
            "required": ["kind", "r"],
            "additionalProperties": False,
        },
        {
            "properties": {"kind": {"const": "box"}, "w": {"type": "number"}, "h": {"type": "number"}},
            "required": ["kind", "w", "h"],
        },
        {"type": "string", "pattern": "^#"},
    ]
}


@pytest.mark.requirement("TOOL-025")
@pytest.mark.parametrize(
    ("value", "found"),
    [
        ({"kind": "circle", "r": "1"}, [("$.v.r", "expected a number", 'the string "1"')]),
        ({"kind": "box", "w": 1}, [("$.v.h", "a value is required", "nothing")]),
        ({"kind": "circle", "r": 1, "x": 2}, [("$.v.x", "unknown member", "the number 2")]),
        ({"kind": "star"}, [("$.v", "expected a value that fits one of the alternatives", "an object")]),
    ],
)
async def test_of_several_alternatives_the_one_that_was_meant_is_explained(value, found):
    error = await error_of(taking({"v": SHAPE}), {"v": value})
    assert [(item["path"], item["expected"], item["received"]) for item in error.details["errors"]] == found


@pytest.mark.requirement("TOOL-021", "TOOL-025")
async def test_sensitive_values_are_not_repeated():
    made = taking({"api_key": {"type": "string", "pattern": "^k"}, "rows": {"items": {"enum": ["a"]}}})
    error = await error_of(made, {"api_key": "hunter2", "rows": ["x" * 500]})
    text = error.message + str(error.details)
    assert "hunter2" not in text
    assert "x" * 100 not in text
    assert "(502 characters)" in text


@pytest.mark.requirement("TOOL-025")
async def test_many_findings_are_counted():
    made = taking({"v": {"items": {"type": "string"}}})
    error = await error_of(made, {"v": list(range(500))})
    assert len(error.details["errors"]) == 10
    assert "; and 90 more" in error.message


@pytest.mark.requirement("TOOL-025")
async def test_unknown_arguments_have_suggestions():
    made = taking({"order_id": {}}, additionalProperties=False)
    error = await error_of(made, {"orderId": 1})
    assert "$.orderId: unknown argument; did you mean 'order_id'?, received the number 1" in error.message


@pytest.mark.requirement("TOOL-006")
@pytest.mark.parametrize("pattern", ["^(a+)+$", "^(?=(a+)+$)", r"^(a|a)*\1$", "^(([a-z])+.)+[A-Z]([a-z])+$"])
async def test_no_pattern_can_keep_the_host_busy(pattern):
    """The suite's own time limit would end this test: tried naively, each of these takes longer than the universe."""
    made = taking({"v": {"type": "string", "pattern": pattern}})
    assert (await error_of(made, {"v": "a" * 50_000 + "!"})).details["path"] == "$.v"


# ── results ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("TOOL-030")
async def test_results_are_checked_against_their_schema():
    result = {
        "type": "object",
        "properties": {"n": {"type": "integer"}},
        "required": ["n"],
        "additionalProperties": False,
    }

    def returning(value: Any) -> SchemaTool:
        return Tool.from_schema("f", lambda: value, result=result)

    class Row(BaseModel):
        n: int

    assert await call_tool(returning({"n": 1})) == {"n": 1}
    assert await call_tool(returning(Row(n=1))) == {"n": 1}
    with pytest.raises(
        ToolValidationError, match=r"The result of tools\.f is not what the tool declares: \$\.n: expected an integer"
    ):
        await call_tool(returning({"n": "1"}))
    with pytest.raises(ToolValidationError, match="no JSON form"):
        await call_tool(returning({"n": print}))
    assert await call_tool(Tool.from_schema("f", lambda: [1, None])) == [1, None]
    with pytest.raises(UsageError, match="The result of tool 'f': the JSON Schema is not valid"):
        Tool.from_schema("f", lambda: 1, result={"type": "nope"})
    with pytest.raises(UsageError, match="which is a dict"):
        Tool.from_schema("f", lambda: 1, result=[])  # type: ignore[arg-type] # what is under test


# ── the formats of providers ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("TOOL-007")
@pytest.mark.parametrize(
    ("make", "definition"),
    [
        (Tool.from_openai, {"type": "function", "function": {"name": "get-sum", "description": "Adds.", "parameters": ADD, "strict": True}}),
        (Tool.from_openai, {"type": "function", "name": "get-sum", "description": "Adds.", "parameters": ADD}),
        (Tool.from_openai, {"name": "get-sum", "description": "Adds.", "parameters": ADD}),
        (Tool.from_anthropic, {"name": "get-sum", "description": "Adds.", "input_schema": ADD}),
        (Tool.from_anthropic, {"type": "custom", "name": "get-sum", "description": "Adds.", "input_schema": ADD, "cache_control": {}}),
    ],
)  # fmt: skip
async def test_function_definitions(make: Callable[..., SchemaTool], definition: dict[str, Any]):
    made = make(definition, lambda a, b: a + b, result={"type": "integer"}, approval=True, tags=["math"])
    assert (made.name, made.description, made.approval, made.tags) == ("get-sum", "Adds.", True, ("math",))
    assert made.result == {"type": "integer"}
    assert await call_tool(made, {"a": 1}) == 3


@pytest.mark.requirement("TOOL-007")
@pytest.mark.parametrize(
    ("make", "definition", "part"),
    [
        (Tool.from_openai, [], "is a dict, not list"),
        (Tool.from_openai, {"type": "web_search"}, "carried out by the provider"),
        (Tool.from_openai, {"type": "function", "function": "f"}, "is a dict, not str"),
        (Tool.from_openai, {"type": "function"}, "text 'name'"),
        (Tool.from_openai, {"name": "f", "input_schema": ADD}, "has its schema in 'parameters'"),
        (Tool.from_openai, {"name": "f", "parameters": "x"}, "which is a dict"),
        (Tool.from_openai, {"name": "f", "description": 3}, "text 'description'"),
        (Tool.from_anthropic, {"type": "bash_20250124", "name": "bash"}, "input_schema of their own"),
        (Tool.from_anthropic, {"name": "f", "parameters": ADD}, "has its schema in 'input_schema'"),
        (Tool.from_anthropic, {"name": "then", "input_schema": {}}, "JavaScript itself looks up"),
    ],
)
def test_what_is_no_function_definition(make, definition, part):
    with pytest.raises(UsageError, match=part):
        make(definition, lambda **_: None)


# ── options ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("TOOL-009")
def test_options_are_plain_data_on_every_tool():
    options: ToolOptions = {
        "approval": True,
        "timeout": 2.5,
        "idempotent": True,
        "tags": ["read"],
        "positional": "a",
        "preview": 0,
        "cost": 1.5,
        "retry": Retry(attempts=3),
        "deterministic": True,
        "revert": print,
        "revert_in_doubt": True,
        "version": "2.1",
        "resource": ResourceContract("pool"),
    }
    names = ToolOptions.__annotations__.keys() - {"cache"}
    made: list[Tool] = [
        Tool.from_schema("f", lambda a, b: a + b, ADD, **options),
        tool(name="f", **options)(lambda a, b=2: a + b),
    ]
    for one in made:
        found = {name: getattr(one, name) for name in names}
        assert found == {**options, "tags": ("read",)}
        assert one.describe()["version"] == "2.1"
    plain = tool(name="f")(lambda: None)
    assert {name: getattr(plain, name) for name in names} == {
        "approval": False, "timeout": None, "idempotent": False, "tags": (), "positional": None, "preview": None,
        "cost": 0, "retry": None, "deterministic": False, "revert": None, "revert_in_doubt": False, "version": "1.0",
        "resource": None,
    }  # fmt: skip


@pytest.mark.requirement("TOOL-009")
@pytest.mark.parametrize(
    ("option", "value", "part"),
    [
        ("aproval", True, "has an option 'aproval'; the options are approval,"),
        ("approval", "no", "it is True or False"),
        ("timeout", 0, "seconds above 0"),
        ("timeout", True, "seconds above 0"),
        ("timeout", "5", "seconds above 0"),
        ("timeout", float("nan"), "seconds above 0"),
        ("tags", "read", r"tags=\['read'\]"),
        ("tags", [1], "a list of words"),
        ("tags", [""], "cannot be used"),
        ("tags", ["a\u200b"], "cannot be used"),
        ("cost", -1, "number of cents from 0"),
        ("cost", float("inf"), "number of cents from 0"),
        ("cost", "5", "number of cents from 0"),
        ("revert", 5, "must be a function"),
        ("revert_in_doubt", 1, "it is True or False"),
        ("revert_in_doubt", True, "revert_in_doubt and no revert"),
        ("version", "", "a text of 1 to 64"),
        ("version", 2, "a text of 1 to 64"),
        ("retry", "yes", "a Retry or a number of attempts"),
        ("retry", 2, "idempotent=True"),
        ("resource", "pool", "ResourceContract"),
        ("positional", "zzz", "no parameter 'zzz'"),
        ("positional", ["a"], "it names a parameter"),
        ("description", 5, "it is text"),
        ("cache", 5, "it is True or False"),
        ("cost", lambda: 1, "cost of tool 'f' cannot be called with the argument object"),
        ("cost", endless, "is an async function"),
        ("preview", lambda a, b: 1, "preview of tool 'f' cannot be called"),
        ("preview", endless, "is an async function"),
        ("revert", lambda a: 1, "cannot be called with the argument object and the result"),
    ],
)
def test_options_that_cannot_be_used(option, value, part):
    with pytest.raises(UsageError, match=part):
        Tool.from_schema("f", whole, **{option: value})
    with pytest.raises(UsageError, match=part):
        tool(name="f", **{option: value})(lambda: None)
    if option != "description":
        with pytest.raises(UsageError, match=part):
            tool(name="f")(lambda: None).replace(**{option: value})


@pytest.mark.requirement("TOOL-009")
def test_another_word_for_deterministic():
    made = tool(cache=True)(whole)
    assert made.deterministic
    assert not made.replace(cache=False).deterministic
    assert made.replace(timeout=1).deterministic
    assert not tool(whole).deterministic
    with pytest.raises(UsageError, match="cache=True and deterministic=False; the two are one option"):
        tool(cache=True, deterministic=False)(whole)


@pytest.mark.requirement("TOOL-130")
@pytest.mark.parametrize("preview", ["five", 5.5, {"a": 1}, print, 10**300, [object()]])
def test_a_preview_that_is_no_result_is_refused_when_it_is_registered(preview):
    made: list[Tool] = [
        tool(name="f", preview=preview)(giving_an_integer),
        Tool.from_schema("f", lambda: 1, result={"type": "integer"}, preview=preview),
        SubprocessTool("f", ["true"], result=int, preview=preview),
    ]
    for one in made:
        if callable(preview):
            ToolRegistry([one])  # what it gives is checked when it is asked
        else:
            with pytest.raises(UsageError, match="The preview of tool 'f' is no result of it"):
                ToolRegistry([one])
        assert "f" in ToolRegistry([one.replace(preview=3)])


@pytest.mark.requirement("TOOL-131")
@pytest.mark.parametrize(
    ("member", "part"),
    [
        ({"type": "integer", "default": "five"}, "expected an integer, received the string"),
        ({"type": "integer", "default": None}, "expected an integer, received null"),
        ({"enum": ["x"], "default": "y"}, 'expected one of "x"'),
        ({"$ref": "#/$defs/Size", "default": 0}, "expected a number of at least 1"),
        ({"type": "object", "required": ["b"], "default": {}}, r"\.b: a value is required"),
    ],
)
def test_a_default_that_does_not_fit_is_refused(member, part):
    schema = {"$defs": {"Size": {"minimum": 1}}, "properties": {"a": member, "c": {}}, "required": ["c"]}
    with pytest.raises(UsageError, match=rf"The parameters of tool 'f': a default does not fit: \$\.a.*{part}"):
        Tool.from_schema("f", lambda **given: given, schema)
    # What the object must be besides is no matter of one default.
    fits = {"properties": {"a": {"$ref": "#/$defs/Size", "default": 1}, "c": {}}, "$defs": schema["$defs"]}
    Tool.from_schema("f", lambda **given: given, {**fits, "required": ["c"], "minProperties": 2})


@pytest.mark.requirement("TOOL-131")
def test_a_default_that_pydantic_fills_in_is_checked_too():
    def unfit(n: Annotated[int, Field(ge=1)] = Field("x")) -> int:  # type: ignore[assignment] # on purpose
        return n

    def fine(n: int = None) -> int:  # type: ignore[assignment] # noqa: RUF013 - what people write
        return n

    with pytest.raises(UsageError, match="The default of parameter 'n' of tool 'unfit' does not fit"):
        tool(unfit)
    assert tool(fine).parameters["properties"]["n"]["default"] is None


@pytest.mark.requirement("TOOL-009")
async def test_a_tool_with_other_options_or_another_name_is_another_tool():
    made = Tool.from_schema("add", lambda a, b: a + b, ADD, approval=True)
    other = made.replace(timeout=5, deterministic=True).renamed("math.add")
    assert (other.name, other.timeout, other.approval, other.deterministic) == ("math.add", 5, True, True)
    assert (made.name, made.timeout, made.deterministic) == ("add", None, False)
    assert await call_tool(other, {"a": 1}) == 3
    assert (await error_of(other, {})).message.startswith("The arguments of tools.math.add")
    with pytest.raises(UsageError, match="looks up"):
        made.renamed("then")
    # What goes together is checked together, whichever of it was there before.
    again = made.replace(idempotent=True).replace(retry=2)
    assert again.retry == Retry(attempts=2)
    with pytest.raises(UsageError, match="idempotent=True"):
        again.replace(idempotent=False)


@pytest.mark.requirement("TOOL-005")
async def test_a_default_is_not_changed_by_whoever_gets_it():
    def add(words: list[str]) -> list[str]:
        words.append("x")
        return words

    made = Tool.from_schema("add", add, {"properties": {"words": {"type": "array", "default": []}}})
    assert [await call_tool(made) for _ in range(2)] == [["x"], ["x"]]
    assert made.parameters["properties"]["words"]["default"] == []


@pytest.mark.requirement("TOOL-003")
def test_what_is_built_in_and_says_nothing_is_refused():
    with pytest.raises(UsageError, match="does not say what it takes"):
        tool(max)
    with pytest.raises(UsageError, match=r"give its tool one: tool\(name=…\)"):
        tool(lambda: 1)


class Node(BaseModel):
    name: str
    limit: int = 3
    below: list[Node] = []


@pytest.mark.requirement("TOOL-006", "TOOL-021")
@pytest.mark.parametrize(
    "schema",
    [
        Node,
        {
            "$ref": "#/$defs/Alias",
            "$defs": {
                "Alias": {"$ref": "#/$defs/Node"},
                "Node": {
                    "type": "object",
                    "properties": {
                        "name": {"type": "string"},
                        "limit": {"type": "integer", "default": 3},
                        "below": {"type": "array", "items": {"$ref": "#/$defs/Node"}, "default": []},
                    },
                    "required": ["name"],
                },
            },
        },
    ],
)
async def test_a_schema_that_is_a_reference_counts_as_what_it_refers_to(schema):
    made = Tool.from_schema("walk", lambda name, limit, below: [name, limit, below], parameters=schema)
    assert await call_tool(made, {"name": "a"}) == ["a", 3, []]
    for arguments, path in (({}, "$.name"), ({"name": "a", "more": 1}, "$.more")):
        error = await error_of(made, arguments)
        assert error.details["path"] == path
        assert error.message.endswith(" Call it as tools.walk({name, limit?, below?}).")
    below = {"name": "b", "below": [{"name": 1}]}
    assert (await error_of(made, {"name": "a", "below": [below]})).details["path"] == "$.below[0].below[0].name"
    registry = ToolRegistry([made])
    assert "- `limit` (integer, optional, default 3)" in registry.describe("markdown")
    loose = Tool.from_schema("all", lambda: None, parameters={"$ref": "#/$defs/A", "$defs": {"A": {"type": "object"}}})
    assert "  all(args?: " in ToolRegistry([loose]).describe()
