"""JSONPath and templates: what they give, and that they end."""

from __future__ import annotations

from typing import Any

import pytest

from harness import Harness
from harness.errors import ToolCancelledError, ToolExecutionError, ToolValidationError, UsageError
from harness.testing import call_tool
from harness.toolkit import json_query, json_transform
from harness.toolkit.jsonpath import Document

pytestmark = pytest.mark.anyio

SHOP: dict[str, Any] = {
    "currency": "EUR",
    "limit": 10,
    "items": [
        {"name": "lamp", "price": 49, "tags": ["light", "home"], "size": {"w": 1}},
        {"name": "desk", "price": 329.5, "tags": [], "size": {"w": 2}},
        {"name": "pen", "price": 3, "tags": ["home"], "size": None},
    ],
}


async def query(text: str, data: Any = SHOP, **more: Any) -> Any:
    """What a query selects."""
    return await call_tool(json_query(), {"data": data, "query": text, **more})


async def transform(template: Any, data: Any = SHOP) -> Any:
    """What a template makes."""
    return await call_tool(json_transform(), {"data": data, "template": template})


@pytest.mark.requirement("KIT-003", "KIT-040", "KIT-042")
async def test_a_script_queries_and_transforms():
    script = """
        const data = {items: [{id: 1, ok: true}, {id: 2, ok: false}]};
        const ids = await tools.json_query({data, query: "$.items[?@.ok == true].id"});
        const made = await tools.json_transform({data, template: {first: {$path: "$.items[0].id"}, all: {$all: "$..ok"}}});
        return [ids, made];
    """
    async with Harness(tools=[json_query(), json_transform()]) as harness:
        execution = (await harness.run(f"<tool-calls>{script}</tool-calls>")).executions[0]
    assert execution.value == [[1], {"first": 1, "all": [True, False]}]


@pytest.mark.requirement("KIT-040")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_queries():
    table: dict[str, Any] = {
        "$": [SHOP],
        "$.items[*].name": ["lamp", "desk", "pen"],
        "$.items[-1].name": ["pen"],
        "$.items[0:2].price": [49, 329.5],
        "$.items[::-1].name": ["pen", "desk", "lamp"],
        "$..w": [1, 2],
        "$.items[?@.price > $.limit].name": ["lamp", "desk"],
        "$.items[?@.tags[?@ == 'home']].name": ["lamp", "pen"],
        "$.items[?@.size].name": ["lamp", "desk", "pen"],
        "$.items[?!@.size.w].name": ["pen"],
        "$.items[?length(@.tags) == 0].name": ["desk"],
        "$.items[?match(@.name, '[ld].*')].name": ["lamp", "desk"],
        "$.items[?search(@.name, 'e')].name": ["desk", "pen"],
        "$.items[?match(@.name, 'e')].name": [],
        "$.nothing": [],
        "$['items'][0]['na\\u006de', 'price']": ["lamp", 49],
    }
    for text, wanted in table.items():
        assert await query(text) == wanted, text
    assert await query("$..tags[0]", paths=True) == [
        {"path": "$['items'][0]['tags'][0]", "value": "light"},
        {"path": "$['items'][2]['tags'][0]", "value": "home"},
    ]


@pytest.mark.requirement("KIT-040")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_values_are_compared_as_json_has_it():
    data = {
        "one": 1,
        "list": [1],
        "object": {"a": 1},
        "rows": [1, True, [1], [True], {"a": 1}, {"a": True}, "1", 1.0, None],
    }
    assert await query("$.rows[?@ == $.one]", data) == [1, 1.0]
    assert await query("$.rows[?@ == true]", data) == [True]
    found = await query("$.rows[?@ == $.list]", data)
    assert (found, type(found[0][0])) == ([[1]], int)
    found = await query("$.rows[?@ == $.object]", data)
    assert (len(found), type(found[0]["a"])) == (1, int)
    assert len(await query("$.rows[?@ != $.object]", data)) == 8
    # The document is meant by $ in a filter inside another filter's query too.
    nested = {"k": 1, "l": [{"a": [{"x": 1}, {"x": 2}]}, {"a": [{"x": 3}]}]}
    assert await query("$.l[?@.a[?@.x == $.k]].a[*].x", nested) == [1, 2]


@pytest.mark.requirement("KIT-040")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_regular_expressions_are_those_of_the_rfc():
    texts = ["a\nc", "a\rc", "abc", "a.c", "äc", "a\u2028c", "abcd"]
    assert await query("$[?match(@, 'a.c')]", texts) == ["abc", "a.c", "a\u2028c"]
    assert await query("$[?match(@, 'a[.]c|ä.')]", texts) == ["a.c", "äc"]
    assert await query(r"$[?match(@, 'a\\.c')]", texts) == ["a.c"]
    assert await query(r"$[?search(@, '\\p{Ll}c')]", texts) == ["abc", "äc", "abcd"]
    assert await query("$[?match(@, '[0-9]{10}') || match(@, '\\\\d{2}')]", ["0123456789", "012", "01"]) == [
        "0123456789",
        "01",
    ]
    for no_pattern in ("(?=a)", "(", r"(a)\\1", "a{2,1}"):
        with pytest.raises(ToolValidationError, match="the regular expression"):
            await query(f"$[?search(@, '{no_pattern}')]", texts)
    assert await query("$[?match(@, 'x')]", [1, None, ["x"]]) == []


@pytest.mark.requirement("KIT-040")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_queries_that_are_none():
    for text in ("", "items", "$.", "$[", "$.items[?@.price >]", "$[?unknown(@)]", "$[?length(@)]", "$[99999999999999999999]",
                 "$[?" + "(" * 900 + "@.a" + ")" * 900 + "]"):  # fmt: skip
        with pytest.raises(ToolValidationError, match=r"\$\.query") as caught:
            await query(text)
        assert len(caught.value.message) < 2500
    with pytest.raises(ToolValidationError):
        await query("$" + ".a" * 2000)


EVIL: dict[str, tuple[str, Any]] = {
    "descents": ("$..*..*..*..*", [[[[[[1] * 4] * 4] * 4] * 4] * 4] * 4),
    "filters": ("$..[?$..[?$..[?$..*]]]", [[1] * 30] * 30),
    "nothing selected": ("$..[?count($..*) == 0]", [[1] * 50] * 50),
    "equal arrays": ("$.a[?$.b == $.c]", {"a": [0] * 5000, "b": [1] * 5000, "c": [1] * 5000}),
    "equal texts": ("$.a[?$.b == $.c]", {"a": [0] * 5000, "b": ["x" * 50_000], "c": ["x" * 50_000]}),
    "matched texts": ("$.a[?match($.b, '(a|a)*(b|bb)*c')]", {"a": [0] * 5000, "b": "ab" * 50_000}),
    "many patterns": ("$[?match('a', @)]", ["a" * count for count in range(1, 600)]),
    "long paths": ("$.*[*]", {"k" * 100_000: [0] * 5000}),
    "many selectors": ("$[" + ",".join(["*"] * 900) + "]", [0] * 5000),
}


@pytest.mark.requirement("KIT-041")
@pytest.mark.parametrize("name", EVIL)
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_evil_queries_end(name):
    text, data = EVIL[name]
    with pytest.raises(ToolExecutionError, match="takes more than 200,000 steps"):
        await query(text, data, paths=True)


@pytest.mark.requirement("KIT-041")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_catastrophic_regular_expressions_take_no_time():
    assert await query("$[?match(@, '(a+)+b')]", ["a" * 100_000]) == []
    for too_large in ("((\\\\p{L}{99}){99}){99}", "a{2,1}"):
        with pytest.raises(ToolValidationError, match="is none, too large"):
            await query(f"$[?match(@, '{too_large}')]", ["a"])


@pytest.mark.requirement("KIT-041")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_evil_templates_end():
    big = {"text": "x" * 100_000, "items": [0] * 5000}
    for template in (
        {"$each": "$.items[*]", "$to": {"$path": "$.text", "$in": "document"}},
        {"$each": "$.items[*]", "$to": {"$all": "$.items[*]", "$in": "document"}},
        {"$each": "$.items[*]", "$to": {"$literal": ["x"] * 1000}},
        {"$each": "$.items[*]", "$to": {"k" * 5000: 1}},
        [{"$path": f"$.items[{index}]"} for index in range(1000)],
    ):
        with pytest.raises(ToolExecutionError, match="takes more than 200,000 steps"):
            await transform(template, big)
    with pytest.raises(ToolExecutionError, match="takes more than 5 steps"):
        await call_tool(json_query(max_steps=5), {"data": [1, 2, 3, 4, 5, 6], "query": "$[*]"})


@pytest.mark.requirement("KIT-041")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_work_stops_when_nobody_waits():
    asked = 0

    def check() -> None:
        nonlocal asked
        asked += 1
        if asked == 3:
            raise ToolCancelledError("stop")

    document = Document([0] * 2000, 10**9, check)
    with pytest.raises(ToolCancelledError):
        list(document.find("$[?count($[*]) == 0]", document.root))
    assert asked == 3


@pytest.mark.requirement("KIT-042")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_templates():
    assert await transform({"a": [1, "x", None, {"b": True}], "": 2.5}) == {"a": [1, "x", None, {"b": True}], "": 2.5}
    template = {
        "title": {"$path": "$.items[0].name"},
        "missing": {"$path": "$.nothing", "$default": {"$path": "$.currency"}},
        "null": {"$path": "$.items[2].size"},
        "names": {"$all": "$.items[*].name"},
        "none": {"$all": "$.nothing"},
        "rows": {
            "$each": "$.items[?@.price > 10]",
            "$to": {
                "label": {"$path": "$.name"},
                "currency": {"$path": "$.currency", "$in": "document"},
                "tags": {"$each": "$.tags[*]", "$to": [{"$path": "$"}]},
            },
        },
        "as it is": {"$literal": {"$path": "$.x"}},
    }
    assert await transform(template) == {
        "title": "lamp",
        "missing": "EUR",
        "null": None,
        "names": ["lamp", "desk", "pen"],
        "none": [],
        "rows": [
            {"label": "lamp", "currency": "EUR", "tags": [["light"], ["home"]]},
            {"label": "desk", "currency": "EUR", "tags": []},
        ],
        "as it is": {"$path": "$.x"},
    }


@pytest.mark.requirement("KIT-042")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_templates_that_are_none():
    wrong: list[tuple[Any, str]] = [
        ({"a": [{"$path": "$.nothing"}]}, r"\$\.template\.a\[0\]: \$\.nothing selects nothing"),
        ({"$path": "$.items[*]"}, r"\$\.template: \$\.items\[\*\] selects 3 values"),
        ({"$path": 5}, r"\$\.template\.\$path: a query is text"),
        ({"$path": "items"}, "the query cannot be used"),
        ({"$path": "$." + "a" * 3000}, "longer than 2,000 characters"),
        ({"$each": "$.items[*]"}, r"has no \$to"),
        ({"$all": "$", "$default": 1}, "do not go together"),
        ({"$path": "$", "name": 1}, "do not go together"),
        ({"$unknown": "$"}, "do not go together"),
        ({"$literal": 1, "$in": "document"}, "do not go together"),
        ({"$path": "$", "$in": "item"}, "only 'document'"),
    ]
    for template, words in wrong:
        with pytest.raises(ToolValidationError, match=words):
            await transform(template)


@pytest.mark.requirement("KIT-002")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_settings():
    for make in (json_query, json_transform):
        with pytest.raises(UsageError, match="max_steps"):
            make(max_steps=0)
        tool = make(name="data.do", timeout=3)
        assert (tool.name, tool.timeout, tool.tags, tool.idempotent) == ("data.do", 3, ("read",), True)
