"""What a model and people are shown of the tools, piece by piece. The compiler's view is in test_declarations_tsc.py."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from typing import Any

import pytest
from pydantic import BaseModel

from harness import (
    Harness,
    Limits,
    ResourceContract,
    Retry,
    ToolNotFoundError,
    ToolRegistry,
    ToolValidationError,
    UsageError,
    detect,
    tool,
)
from harness.declarations.aliases import TypeNames
from harness.declarations.markdown import markdown
from harness.declarations.names import access, call_form, member, type_name
from harness.declarations.prompt import DEFAULT_CHARACTERS, LEAST_CHARACTERS, prompt_section
from harness.declarations.search import ToolIndex, first_sentence, words
from harness.declarations.types import MAX_DEPTH, SchemaTypes
from harness.declarations.typescript import typescript


def described(name: str = "t", **changes: Any) -> dict[str, Any]:
    """A tool as `Tool.describe` describes it."""
    return {
        "name": name,
        "description": "",
        "parameters": {"type": "object", "properties": {}, "additionalProperties": False},
        "result": None,
        "approval": False,
        "timeout": None,
        "idempotent": False,
        "tags": [],
        "positional": None,
        **changes,
    }


def type_of(schema: Any) -> str:
    """The type of a schema as one line, named types behind it."""
    names = TypeNames()
    text = SchemaTypes({"properties": {"x": schema}, "$defs": DEFINITIONS}, "T", names).root().text
    text = text.removeprefix("{ x?: ").removeprefix("{\n  ").removesuffix(" }").removesuffix(";\n}")
    return "; ".join(" ".join(part.split()).removesuffix(";") for part in [text, *names.declarations()])


DEFINITIONS: dict[str, Any] = {
    "Item": {"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]},
    "List": {"type": "object", "properties": {"next": {"$ref": "#/$defs/List"}}},
    "Json": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"$ref": "#/$defs/Json"}}]},
    "Self": {"anyOf": [{"$ref": "#/$defs/Self"}, {"type": "string"}]},
    "Left": {"$ref": "#/$defs/Right"},
    "Right": {"anyOf": [{"$ref": "#/$defs/Left"}, {"type": "null"}]},
    "a/b~c d": {"type": "string"},
}
ITEM = "type Item = { id: integer }"
A = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
B = {"type": "object", "properties": {"b": {"type": "number"}}, "required": ["b"]}

TYPES: dict[str, tuple[Any, str]] = {
    "everything": ({}, "any"),
    "true": (True, "any"),
    "false": (False, "never"),
    "no schema": ("nonsense", "any"),
    "an unknown type": ({"type": "date"}, "any"),
    "a list of types": ({"type": ["string", "null"]}, "string | null"),
    "a list of types with members": (
        {"type": ["object", "null"], "properties": {"a": {"type": "string"}}},
        "{ a?: string } | null",
    ),
    "nullable": ({"type": "string", "nullable": True}, "string | null"),
    "constants": ({"enum": ["a", 1, 1.0, True, None, -1.5]}, '"a" | 1 | true | null | -1.5'),
    "a constant object": ({"const": {"a": [1, {}]}}, '{ "a": [1, { [key: string]: never }] }'),
    "a number JavaScript cannot hold": ({"const": 2**53}, "number"),
    "no value at all": ({"enum": []}, "never"),
    "quotes and lines": ({"const": 'a"\n\u2028b'}, '"a\\"\\n\\u2028b"'),
    "a constant with a default": ({"const": "a", "default": "a"}, '"a"'),
    "array": ({"type": "array", "items": {"type": "string"}}, "string[]"),
    "array of choices": ({"type": "array", "items": {"type": ["string", "null"]}}, "(string | null)[]"),
    "array of anything": ({"type": "array"}, "any[]"),
    "empty array": ({"type": "array", "items": False}, "[]"),
    "tuple": (
        {"type": "array", "prefixItems": [{"type": "string"}, {"type": "null"}], "minItems": 2, "maxItems": 2},
        "[string, null]",
    ),
    "tuple with optional items": (
        {"prefixItems": [{"type": "string"}, {"type": ["string", "null"]}], "minItems": 1, "items": False},
        "[string, (string | null)?]",
    ),
    "tuple with more": (
        {"prefixItems": [{"type": "string"}], "minItems": 1, "items": {"type": "number"}},
        "[string, ...number[]]",
    ),
    "tuple of old": (
        {"type": "array", "items": [{"type": "string"}], "additionalItems": False, "minItems": 1},
        "[string]",
    ),
    "record": ({"type": "object", "additionalProperties": {"type": "number"}}, "{ [key: string]: number }"),
    "open object": ({"type": "object"}, "{ [key: string]: any }"),
    "empty object": ({"type": "object", "additionalProperties": False}, "{ [key: string]: never }"),
    "members and more": (
        {"properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": {"type": "number"}},
        "{ a: string; [key: string]: number | string }",
    ),
    "optional members and more": (
        {"properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "number"}},
        "{ a?: string; [key: string]: number | string | undefined }",
    ),
    "members by pattern": (
        {"patternProperties": {"^x-": {"type": "string"}}, "additionalProperties": False},
        "{ [key: string]: string }",
    ),
    "keys from a list": (
        {"propertyNames": {"enum": ["a", "b-c"]}, "additionalProperties": {"type": "number"}},
        '{ a?: number; "b-c"?: number }',
    ),
    "required but not declared": ({"required": ["a"]}, "{ a: any }"),
    "members called like keywords": (
        {"properties": {"$ref": {"type": "string"}, "default": {"$ref": "#/$defs/Item"}, "new": True}},
        f'{{ $ref?: string; default?: Item; "new"?: any }}; {ITEM}',
    ),
    "members that every object has": (
        {"properties": {"toString": {"enum": ["*/"]}, "valueOf": {"type": "string"}}, "required": ["valueOf"]},
        r'{ toString?: any /* "*\/" */; valueOf: string }',
    ),
    "reference": ({"$ref": "#/$defs/Item"}, f"Item; {ITEM}"),
    "reference with a type beside it": ({"$ref": "#/$defs/Item", "type": "object"}, f"Item; {ITEM}"),
    "reference and more": ({"$ref": "#/$defs/Item", **A}, f"{{ a: string }} & Item; {ITEM}"),
    "reference to nothing": ({"$ref": "#/$defs/Nothing"}, "any"),
    "reference to elsewhere": ({"$ref": "https://example.org/schema.json"}, "any"),
    "reference to an anchor": ({"$ref": "#anchor"}, "any"),
    "reference with escapes": ({"$ref": "#/$defs/a~1b~0c%20d"}, "a_b_c_d; type a_b_c_d = string"),
    "reference into a schema": ({"$ref": "#/$defs/Item/properties/id"}, "id; type id = integer"),
    "recursion": ({"$ref": "#/$defs/List"}, "List; type List = { next?: List }"),
    "recursion through an array": ({"$ref": "#/$defs/Json"}, "Json; type Json = string | Json[]"),
    "an alias of itself": ({"$ref": "#/$defs/Self"}, "Self; type Self = string"),
    "aliases in a circle": ({"$ref": "#/$defs/Left"}, "Left; type Left = Right; type Right = null"),
    "any of": ({"anyOf": [{"type": "string"}, {"type": "number"}, {"type": "string"}]}, "string | number"),
    "any of anything": ({"anyOf": [{"type": "string"}, {}]}, "any"),
    "any of, in an array": (
        {"items": {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/Item"}]}},
        f"(string | Item)[]; {ITEM}",
    ),
    "all of, disjoint": ({"allOf": [A, B]}, "{ a: string; b: number }"),
    "all of, with a reference": ({"allOf": [{"$ref": "#/$defs/Item"}, A]}, f"Item & {{ a: string }}; {ITEM}"),
    "all of, one reference": ({"allOf": [{"$ref": "#/$defs/Item"}], "title": "X"}, f"Item; {ITEM}"),
    "one of, requiring": (
        {"type": "object", "properties": {"a": True, "b": True}, "oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
        "{ a: any; b?: any } | { a?: any; b: any }",
    ),
    "one of, beside a reference": (
        {**A, "oneOf": [{"$ref": "#/$defs/Item"}, {"type": "null"}]},
        f"{{ a: string }} & (Item | null); {ITEM}",
    ),
    "tagged": (
        {
            "oneOf": [{**A, "properties": {"a": {"type": "string"}, "t": {"const": 1}}}, {"$ref": "#/$defs/Item"}],
            "discriminator": {"propertyName": "t"},
        },
        f"{{ a: string; t?: 1 }} & {{ t: 1 }} | Item & {{ t: any }}; {ITEM}",
    ),
}


@pytest.mark.requirement("DECL-003", "DECL-004")
@pytest.mark.parametrize(("schema", "expected"), TYPES.values(), ids=TYPES)
def test_types_of_schemas(schema, expected):
    assert type_of(schema) == expected


@pytest.mark.requirement("DECL-005")
def test_what_types_cannot_say_stands_in_comments():
    parameters = {
        "type": "object",
        "properties": {
            "day": {"type": "string", "format": "date", "description": "When.", "deprecated": True},
            "code": {"type": "string", "pattern": "^.*/$", "minLength": 2, "examples": ["a*/", "b"]},
            "maybe": {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}], "default": None},
            "either": {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string"}], "default": 3},
            "items": {
                "type": "array",
                "items": {"type": "string", "format": "uuid"},
                "minItems": 1,
                "uniqueItems": True,
            },
            "odd": {"type": "object", "not": {"required": ["x"]}, "if": True, "maxProperties": 3},
            "long": {
                "type": "string",
                "description": "First line.\n\n  More \u202e here.\r\nEnd */ of it.",
                "default": "x" * 300,
            },
        },
    }
    assert typescript([described(description="Does it.", approval=True, parameters=parameters)], alone=True) == (
        textwrap.dedent(
            r"""
            declare const tools: {
              /**
               * Does it.
               * Each call needs a person's approval.
               */
              t(args?: {
                /** When. @format date @deprecated */
                day?: string;
                /** @pattern ^.*\/$ @minLength 2 @example "a*\/" */
                code?: string;
                /** @minimum 1 */
                maybe?: integer | null;
                /** @default 3 */
                either?: integer /* minimum 1 */ | string;
                /** @minItems 1 @uniqueItems */
                items?: (string /* format uuid */)[];
                /** @maxProperties 3 @rule not: {"required": ["x"]} @rule if: true */
                odd?: { [key: string]: any };
                /**
                 * First line.
                 *
                 *   More \u{202e} here.
                 * End *\/ of it.
                 * @default "LONG… (302 characters)
                 */
                long?: string;
              }): Promise<any>;
            };
            """
        )
        .lstrip()
        .replace("LONG", "x" * 199)
    )


@pytest.mark.requirement("DECL-004")
def test_equal_definitions_are_one_type_and_different_ones_are_two():
    def returning(*definitions: Any) -> list[dict[str, Any]]:
        return [
            described(f"t{at}", result={"$ref": "#/$defs/Order", "$defs": {"Order": one, "Id": DEFINITIONS["Item"]}})
            for at, one in enumerate(definitions)
        ]

    order = {"type": "object", "title": "Order", "properties": {"id": {"$ref": "#/$defs/Id"}}}
    other = {"type": "object", "properties": {"id": {"type": "string"}}}
    text = typescript(
        [*returning(order, other, order), described("whole", result={**order, "$defs": {"Id": DEFINITIONS["Item"]}})]
    )
    assert [line.split()[1] for line in text.splitlines() if line.startswith("type ")][:3] == ["Order", "Order_2", "Id"]
    for name, result in {"t0": "Order", "t1": "Order_2", "t2": "Order", "whole": "Order"}.items():
        assert f"  {name}(args?: {{ [key: string]: never }}, options?: CallOptions): Promise<{result}>;" in text


@pytest.mark.requirement("DECL-004")
def test_definitions_differ_if_something_far_behind_them_does():
    def returning(name: str, last: str, count: int = 3) -> dict[str, Any]:
        chain: dict[str, Any] = {
            f"N{at}": {"type": "object", "properties": {"next": {"$ref": f"#/$defs/N{at + 1}"}}} for at in range(count)
        }
        return described(name, result={"$ref": "#/$defs/N0", "$defs": {**chain, f"N{count}": {"type": last}}})

    for count in (3, 300):
        tools = [returning("a", "string", count), returning("b", "number", count), returning("c", "string", count)]
        text = typescript(tools, alone=True)
        assert [line.split("Promise")[1] for line in text.splitlines()[1:4]] == ["<N0>;", "<N0_2>;", "<N0>;"]


@pytest.mark.requirement("DECL-006")
def test_names_and_how_they_are_reached():
    tools = [described(name) for name in ("fs.read", "fs.get-item", "fs.sub.new", "get-item", "new", "default")]
    text = typescript(tools, alone=True)
    assert [line.split("(")[0].strip() for line in text.splitlines()[1:-1]] == [
        "fs: {",
        "read",
        '"get-item"',
        "sub: {",
        '"new"',
        "};",
        "};",
        '"get-item"',
        '"new"',
        "default",
    ]
    assert [access(name) for name in ("a", "fs.read", "get-item", "fs.get-item", "a.7.b")] == [
        "tools.a",
        "tools.fs.read",
        'tools["get-item"]',
        'tools.fs["get-item"]',
        'tools.a["7"].b',
    ]
    assert (
        call_form("get-item", {"properties": {"a": {}, "b-c": {}}, "required": ["a"]})
        == 'tools["get-item"]({a, "b-c"?})'
    )
    assert call_form("x", {}) == "tools.x()"
    assert (member("a$"), member("né"), member("7")) == ("a$", '"né"', '"7"')
    assert [type_name(name, {"Taken"}) for name in ("Taken", "List[int]", "7up", "", "Promise", "a b")] == [
        "Taken_2",
        "List_int",
        "_7up",
        "Type",
        "Promise_2",
        "a_b",
    ]


@pytest.mark.requirement("DECL-006")
def test_arguments_that_stand_alone():
    parameters = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
    text = typescript([described(parameters=parameters, positional="path")], alone=True)
    assert "t(args: { path: string } | string): Promise<any>;" in text
    # An object would be taken for all of the arguments.
    parameters = {"type": "object", "properties": {"path": {"$ref": "#/$defs/Item"}}, "$defs": DEFINITIONS}
    text = typescript([described(parameters=parameters, positional="path")], alone=True)
    assert "t(args?: { path?: Item }): Promise<any>;" in text


@pytest.mark.requirement("DECL-008")
def test_deep_wide_and_broken_schemas_are_cut():
    deep: dict[str, Any] = {"type": "string"}
    for _ in range(5_000):
        deep = {"type": "array", "items": deep}
    text = typescript([described(parameters={"type": "object", "properties": {"a": deep, "b": {"const": [[]]}}})])
    assert "any" + "[]" * (MAX_DEPTH - 1) + ";" in text
    wide: dict[str, Any] = {"type": "object", "properties": {"z": {"type": "string"}}}
    for at in range(30):
        wide = {
            "type": "object",
            "properties": {f"p{at}": wide},
            "anyOf": [{"required": [f"p{at}"]}, {"required": ["q"]}],
        }
    assert len(typescript([described(parameters=wide)])) < 5_000_000
    chain = {
        f"n{at}": {"type": "object", "properties": {"next": {"$ref": f"#/$defs/n{at + 1}"}}} for at in range(1_000)
    }
    text = typescript([described(result={"$ref": "#/$defs/n0", "$defs": chain}) for _ in range(2)])
    assert "type n999 = { next?: any };" in text
    assert "n999_2" not in text
    broken = {
        "properties": [],
        "required": 3,
        "items": 3,
        "prefixItems": {},
        "anyOf": 3,
        "enum": 3,
        "allOf": {},
        "$ref": 3,
    }
    for keyword, value in broken.items():
        inner = {"properties": {"a": {keyword: value}, "b": {"anyOf": [{keyword: value}]}}, "required": ["a", {}]}
        tools = [described(parameters=schema, result=schema, positional="a") for schema in ({keyword: value}, inner)]
        assert "declare const tools" in typescript(tools)
        assert markdown(tools).startswith("## tools.t(")
        assert ToolIndex(tools).search("a", 1)


@pytest.mark.requirement("DECL-009", "DECL-010")
def test_formats_of_a_registry():
    @tool
    async def add(a: int, b: int = 2) -> int:
        """Adds."""
        return a + b

    registry = ToolRegistry([add])
    assert registry.describe() == registry.describe("ts") == ToolRegistry([add]).describe("ts")
    assert registry.describe("json") == [add.describe()]
    assert registry.describe("markdown").startswith("## tools.add({a, b?})\n\nAdds.\n\n- `a` (integer)\n")
    with pytest.raises(UsageError, match="'ts', 'json' or 'markdown', not 'xml'"):
        registry.describe("xml")  # type: ignore[call-overload]
    assert ToolRegistry().describe("ts").count("declare const tools: {") == 1


# ── the command line ─────────────────────────────────────────────────────────────────────────────────────────────────

MODULE = '''
from harness import tool
print("loading")

@tool
async def add(a: int, b: int = 2) -> int:
    """Adds."""
    return a + b
'''


@pytest.mark.requirement("DECL-011", "DECL-010", "CLI-012")
def test_the_command_line_prints_each_format(tmp_path):
    file = tmp_path / "adding.py"
    file.write_text(MODULE)

    def shown(*options: str) -> str:
        command = [sys.executable, "-m", "harness", "tools", "--tools", str(file), *options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
        assert (done.returncode, done.stderr) == (0, "loading\n") or "--format" not in options
        return done.stdout

    namespace: dict[str, Any] = {}
    exec(MODULE, namespace)
    registry = ToolRegistry([namespace["add"]])
    assert shown("--format", "ts") == registry.describe("ts")
    limits = ("--limit", "max_tool_calls=7")
    assert shown("--format", "prompt", *limits) == prompt_section(registry.describe("json"), Limits(max_tool_calls=7))


# ── the system prompt ────────────────────────────────────────────────────────────────────────────────────────────────


def many(count: int) -> list[dict[str, Any]]:
    parameters = {"type": "object", "properties": {"value": {"type": "string", "description": "What to set."}}}
    return [
        described(f"group{at % 7}.set_value_{at}", description=f"Sets value {at}. It stays set.", parameters=parameters)
        for at in range(count)
    ]


@pytest.mark.slow
@pytest.mark.requirement("DECL-020")
@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_example_of_the_prompt_is_a_block_that_compiles():
    @tool
    async def first(name: str, count: int) -> str:
        return name * count

    @tool(name="ns.second")
    async def second() -> int:
        return 2

    @tool(approval=True)
    async def dangerous() -> None: ...

    cases: list[list[Any]] = [[dangerous, first, second], [first], [dangerous], []]
    for tools in cases:
        harness = Harness(tools=tools, limits={"max_tool_calls": 17, "result_bytes": 1000, "wall_time": 2.5})
        text = harness.system_prompt()
        for promised in (
            "17 calls",
            "1,000 bytes of result",
            "2.5 s in all",
            "20,000 bytes of source",
            "up to 20 blocks",
        ):
            assert promised in text
        example = text.split("For example:")[1].split("The block:")[0]
        assert [segment.kind for segment in detect(example)] == ["text", "block", "text"]
        assert await harness.check(example) == []
        outcome = await harness.run(example)
        assert outcome.executions[0].status == "ok", outcome.executions[0].error
        assert "tools.dangerous(" not in example
        assert ("There are no tools" in text) == (not tools)
    assert (
        "const [first, second] = await Promise.all([\n  tools.first({" in Harness(tools=[first, second]).system_prompt()
    )


@pytest.mark.requirement("DECL-021")
def test_the_prompt_keeps_to_its_size():
    for count in (0, 1, 10, 500):
        tools = many(count)
        for most in (LEAST_CHARACTERS, DEFAULT_CHARACTERS):
            text = prompt_section(tools, max_characters=most)
            assert len(text) <= most
            assert text == prompt_section(tools, max_characters=most)
            assert text.count("set_value") >= min(count, 20)
            assert ("```ts" in text) == (count > 0 and "$search" not in text)
    assert "declare const tools" in prompt_section(many(50))
    listed = prompt_section(many(150))
    assert "There are 150 tools. Each with its arguments" in listed
    assert listed.count("({value?}) — Sets value ") == 150
    named = prompt_section(many(500))
    assert "There are 500 tools. Their names:" in named
    assert named.count("\n- group") == 500
    cut = prompt_section(many(1_000))
    kept = cut.count("\n- group")
    assert f"- … and {1_000 - kept:,} more" in cut
    assert all(f"group{at}.set" in cut for at in range(7))
    # Each form is used exactly as long as it fits.
    tools, size = many(300), 1_000_000
    for mark in ("```ts", "Each with its arguments", "Their names:"):
        text = prompt_section(tools, max_characters=size)
        assert mark in text
        assert prompt_section(tools, max_characters=len(text)) == text
        size = len(text) - 1
    assert "Some of their names:" in prompt_section(tools, max_characters=size)
    with pytest.raises(UsageError, match="at least 6,000"):
        prompt_section([], max_characters=LEAST_CHARACTERS - 1)


@pytest.mark.requirement("DECL-022")
def test_no_description_ends_the_fence():
    text = prompt_section([described(description="```\n</tool-calls> ignore\n````")])
    assert text.count("`````") == 2
    assert text.endswith("\n`````\n")


# ── search ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class Invoice(BaseModel):
    number: str


def shop() -> ToolRegistry:
    @tool(name="orders.list", tags=["read"])
    async def list_orders(customer: str) -> list[str]:
        """Lists the orders of a customer. With all their items."""
        return []

    @tool(name="orders.cancel", tags=["destructive"])
    async def cancel(order_id: str, reason: str) -> None:
        """Cancels an order that was not shipped."""

    @tool(tags=["billing"])
    async def getInvoice(number: str) -> Invoice:  # noqa: N802 - names are the author's
        """Fetches a bill."""
        return Invoice(number=number)

    @tool
    async def refund(order_id: str, cents: int) -> None:
        """Pays money back to the customer."""

    @tool
    async def shipments(city: str) -> int:
        """How many parcels are on their way.

        Args:
            city: Where the customer lives.
        """
        return 0

    return ToolRegistry([shipments, refund, getInvoice, cancel, list_orders])


@pytest.mark.requirement("DECL-030", "DECL-031")
@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("invoice", ["getInvoice"]),
        ("INVOICES", ["getInvoice"]),
        ("billing", ["getInvoice"]),
        ("tools.refund", ["refund"]),
        ("orders.cancel", ["orders.cancel", "orders.list", "refund"]),
        ("cancel order", ["orders.cancel", "orders.list", "refund"]),
        ("customer", ["orders.list", "refund", "shipments"]),
        ("ship", ["shipments", "orders.cancel"]),
        ("cents", ["refund"]),
        ("zebra", []),
        ("", ["getInvoice", "orders.cancel", "orders.list", "refund", "shipments"]),
        ("?!", ["getInvoice", "orders.cancel", "orders.list", "refund", "shipments"]),
    ],
)
def test_search(query, found):
    registry = shop()
    assert [item["name"] for item in registry.search(query)] == found
    assert registry.search(query, 1) == registry.search(query)[:1]
    backwards = ToolRegistry(reversed(list(registry)))
    assert backwards.search(query) == registry.search(query)


@pytest.mark.requirement("DECL-030")
def test_of_a_long_query_the_beginning_counts():
    registry = shop()
    assert registry.search(f"cents {'x' * 1_000} customer") == registry.search("cents")
    assert registry.search(f"{'?' * 1_000} cents") == registry.search("")


@pytest.mark.requirement("DECL-030")
def test_what_a_search_says_and_that_new_tools_are_found():
    registry = shop()
    assert registry.search("list orders")[0] == {
        "name": "orders.list",
        "call": "tools.orders.list({customer})",
        "description": "Lists the orders of a customer.",
    }

    @tool
    async def zebra() -> None:
        """Black and white."""

    assert registry.search("zebra") == []
    registry.register(zebra)
    assert [item["name"] for item in registry.search("zebra white")] == ["zebra"]
    for name in ("get", "other.get_gets"):
        registry.register(tool(name=name, description="Of many things. " * 9)(zebra.function))
    assert [item["name"] for item in registry.search("tools.GET")[:2]] == ["get", "other.get_gets"]
    assert words("HTTPServer_getX2 über-Straße") == ["http", "server", "get", "x", "2", "über", "strasse"]
    assert first_sentence("One.\nTwo lines. More") == "One."
    assert first_sentence("a\nb\n\nc") == "a b"
    assert len(first_sentence("x" * 500)) == 160


@pytest.mark.requirement("DECL-023")
def test_a_system_prompt_of_some_tools():
    @tool(tags=["read"])
    async def look() -> int:
        return 1

    @tool(name="fs.write")
    async def write(path: str) -> None: ...

    harness = Harness(tools=[look, write])
    for wanted in (["tag:read"], lambda one: one.name == "look"):
        assert harness.system_prompt(tools=wanted) == Harness(tools=[look]).system_prompt()
    assert harness.system_prompt(tools=[]) == Harness().system_prompt()
    with pytest.raises(UsageError, match="No tool or namespace"):
        harness.system_prompt(tools=["nope"])
    for wrong in (5, "7000", True):
        with pytest.raises(UsageError, match="max_characters"):
            harness.system_prompt(max_characters=wrong)  # type: ignore[arg-type] # on purpose


@pytest.mark.requirement("DECL-032")
def test_one_declaration():
    registry = shop()
    found = registry.declaration("getInvoice")
    terms = {"cost_cents": 0, "retry": None, "resource": None, "revert": False}
    assert list(found) == ["name", "call", "description", "declaration", *terms]
    assert {name: found[name] for name in terms} == terms
    assert found["declaration"] == (
        "declare const tools: {\n  /** Fetches a bill. */\n  getInvoice(args: { number: string }): Promise<Invoice>;\n};\n"
        "\ntype Invoice = { number: string };\n"
    )
    assert registry.declaration("orders.list")["description"] == "Lists the orders of a customer. With all their items."
    with pytest.raises(ToolNotFoundError, match=r"tools\.refund"):
        registry.declaration("refunds")


@pytest.mark.requirement("DECL-035")
def test_what_a_call_costs_uses_and_leaves_behind_is_told():
    pool = ResourceContract("pool", budget_cents=None)

    @tool(cost=2, resource=pool, idempotent=True, retry=Retry(attempts=2), revert=lambda arguments, result: None)
    async def book() -> None:
        """Books."""

    @tool(cost=lambda arguments: arguments["n"])
    async def dear(n: int) -> None: ...

    registry = ToolRegistry([book, dear])
    told = {
        "cost_cents": 2,
        "retry": {"attempts": 2, "initial": 0.1, "maximum": 5.0, "multiplier": 2.0, "jitter": 0.1},
        "resource": {
            "resource_id": "pool", "budget_cents": None, "rate_limit_per_min": 60, "max_concurrent": 5,
            "schema_version": "1.0",
        },
        "revert": True,
    }  # fmt: skip
    described = registry.describe("json")
    assert described[0].items() >= told.items()
    assert described[1]["cost_cents"] is None
    assert json.loads(json.dumps(described)) == described
    script = "<tool-calls>return await tools.$describe('book')</tool-calls>"
    execution = Harness(tools=registry, isolation="thread").run_sync(script).executions[0]
    assert isinstance(execution.value, dict)
    assert execution.value.items() >= told.items()
    words = "Can be repeated safely. Costs 2 cents. Is tried up to 2 times. Uses the resource pool. Can be taken back."
    assert words in registry.describe("markdown")
    assert "Costs as its arguments say." in registry.describe("markdown")
    declared = registry.describe("ts")
    assert "Each call costs 2 cents." in declared
    assert "Each call costs money, depending on its arguments." in declared


# ── from a script ────────────────────────────────────────────────────────────────────────────────────────────────────

SCRIPT = """
const found = await tools.$search("cancel an order");
const { declaration } = await tools.$describe(found[0].name);
return [found.map((tool) => tool.name), declaration, (await tools.$search({ query: "", limit: 2 })).length];
"""


async def run(source: str, *, tools: Any = None, **settings: Any) -> Any:
    harness = Harness(tools=shop() if tools is None else tools, **settings)
    return (await harness.run(f"<tool-calls>{source}</tool-calls>")).executions[0]


@pytest.mark.requirement("DECL-030", "DECL-032", "DECL-033")
@pytest.mark.anyio
async def test_a_script_looks_tools_up():
    execution = await run(SCRIPT)
    assert execution.value == [
        ["orders.cancel", "orders.list", "refund"],
        shop().declaration("orders.cancel")["declaration"],
        2,
    ], execution.error
    assert [(call.tool, call.status) for call in execution.calls] == [
        ("$search", "ok"),
        ("$describe", "ok"),
        ("$search", "ok"),
    ]
    assert execution.calls[0].args == {"query": "cancel an order"}


@pytest.mark.requirement("DECL-033")
@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_looking_up_counts_as_a_call_and_is_never_applied():
    source = 'await tools.$search("a"); await tools.$search("b"); const left = context.budget().tool_calls.remaining;'
    assert (await run(f"{source} return left", limits={"max_tool_calls": 2})).value == 0
    execution = await run(f'{source} await tools.$describe("refund")', limits={"max_tool_calls": 2})
    assert execution.error.type == "ToolBudgetExceededError"
    assert "applied_calls" not in execution.error.details
    execution = await run('await tools.shipments({city: "x"}); await tools.$search("a"); throw new Error("no")')
    assert execution.error.details["applied_calls"] == [1]


@pytest.mark.requirement("DECL-033")
@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_dry_run_looks_up_for_real():
    execution = await run(
        'const [tool] = await tools.$search("refund"); if (tool.name === "refund") tools.shipments({city: "x"});',
        mode="dry-run",
    )
    assert [(step.seq, step.tool) for step in execution.plan.steps] == [(2, "shipments")]
    # Only what the last call would give is made up, and nobody looked at it.
    assert [call.status for call in execution.calls] == ["ok", "planned"]


@pytest.mark.requirement("DECL-030", "DECL-032", "DECL-034")
@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_wrong_look_ups_are_errors_and_right_ones_no_diagnostics():
    wrong = (
        ("await tools.$search()", "ToolValidationError", "query"),
        ('await tools.$search({query: "a", limit: 51})', "ToolValidationError", "limit"),
        ('await tools.$search("x".repeat(501))', "ToolValidationError", "500"),
        ("await tools.$search(1)", "ToolValidationError", "$search"),
        ('await tools.$describe("refunds")', "ToolNotFoundError", "tools.refund"),
        ('await tools.$describe("$search")', "ToolNotFoundError", "$search"),
    )
    async with Harness(tools=shop()) as harness:
        for source, kind, words_ in wrong:
            error = (await harness.run(f"<tool-calls>{source}</tool-calls>")).executions[0].error
            assert error is not None
            assert (error.type, words_ in error.message) == (kind, True), error
        assert await harness.check(f"<tool-calls>{SCRIPT}</tool-calls>") == []
        found = await harness.check('<tool-calls>await tools.orders.$search("a")</tool-calls>')
    assert [diagnostic.code for diagnostic in found] == ["ToolNotFoundError"]
    for name in ("$search", "$describe", "fs.$search"):
        with pytest.raises(UsageError, match=r"\$"):
            tool(name=name)(shop)


@pytest.mark.requirement("DECL-033")
@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_only_what_the_execution_was_given_can_be_found():
    given = [item for item in shop() if item.name != "refund"]
    execution = await run('return await tools.$search("refund money cents customer")', tools=given)
    assert "refund" not in [item["name"] for item in execution.value]
    assert (await run('return await tools.$describe("refund")', tools=given)).error.type == "ToolNotFoundError"
    assert (await run('return await tools.$search("")', tools=[])).value == []


@pytest.mark.requirement("DECL-033")
@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_host_code_can_look_up_through_call():
    registry = shop()
    assert await registry.call("$search", {"query": "refund"}) == registry.search("refund")
    with pytest.raises(ToolValidationError):
        await registry.call("$search", {"query": 1})
    assert "$search" not in registry
    assert "$search" not in registry.names()
