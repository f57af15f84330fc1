"""Capabilities: what an execution is not given does not exist for it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from harness import Harness, ToolNotFoundError, ToolRegistry, UsageError, tool
from harness.tools.tool import Tool

pytestmark = pytest.mark.anyio


def make(name: str, *tags: str) -> Tool:
    return tool(name=name, tags=tags)(lambda: name)


def registry() -> ToolRegistry:
    return ToolRegistry(
        [make("add"), make("fs.read", "read"), make("fs.write", "write"), make("fs.deep.list", "read"), make("pay-out", "write", "money")]
    )  # fmt: skip


READ = make("other")


@pytest.mark.requirement("TOOL-120")
@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        ([], []),
        (["add"], ["add"]),
        (["pay-out", "add"], ["add", "pay-out"]),
        (["fs"], ["fs.read", "fs.write", "fs.deep.list"]),
        (["fs.*"], ["fs.read", "fs.write", "fs.deep.list"]),
        (["fs.deep"], ["fs.deep.list"]),
        (["fs.read"], ["fs.read"]),
        (["tag:read"], ["fs.read", "fs.deep.list"]),
        (["tag:money", "add"], ["add", "pay-out"]),
        (("tag:read", "tag:write"), ["fs.read", "fs.write", "fs.deep.list", "pay-out"]),
        ({"add"}, ["add"]),
        (lambda one: "write" in one.tags and one.name.startswith("fs."), ["fs.write"]),
        (lambda _: False, []),
    ],
)
def test_names_namespaces_tags_and_functions_select(wanted, names):
    assert registry().select(wanted).names() == names


@pytest.mark.requirement("TOOL-120")
@pytest.mark.parametrize(
    ("wanted", "part"),
    [
        ("fs", "is a list"),
        ({"names": ["fs"]}, "is a list"),
        (3, "is a list of names"),
        ([3], "selects no tool"),
        (["Fs"], "No tool or namespace is called 'Fs'; did you mean 'fs'"),
        (["f"], "No tool or namespace is called 'f'"),
        (["fs.rea"], "did you mean 'fs.read'"),
        (["add.*"], "No tool or namespace"),
        (["*"], "No tool or namespace"),
        ([""], "No tool or namespace"),
        (["tag:raed"], "No tool has the tag 'raed'; did you mean 'tag:read'"),
        (["read"], "No tool or namespace is called 'read'"),
        ([READ], "not one of this harness"),
        (READ, "is a list"),
    ],
)
def test_what_selects_nothing_is_an_error(wanted, part):
    with pytest.raises(UsageError, match=part):
        registry().select(wanted)


@pytest.mark.requirement("TOOL-120")
async def test_a_selection_counts_where_it_came_from_and_does_not_grow():
    whole = registry()
    part = whole.select([whole.get("add"), "fs"])
    whole.register(make("fs.new"))
    assert "fs.new" not in part
    await part.call("add")
    assert whole.statistics()["add"].calls == 1
    with pytest.raises(ToolNotFoundError) as caught:
        await part.call("pay-out")
    assert "pay-out" not in caught.value.message.replace("'pay-out'", "", 1)
    assert part.suggest("payout") == []
    assert [one["name"] for one in part.describe("json")] == part.names()


PROBE = """
const seen = [Object.keys(tools), 'add' in tools, Object.hasOwn(tools, 'add'), JSON.stringify(Reflect.ownKeys(tools))];
for (const name of ['add', 'pay-out', 'fs.write', 'payout', 'ad']) {
    try { await tools[name](); seen.push('called'); } catch (e) { seen.push([e.name, e.message, e.details]); }
}
try { await tools.fs[['write'][0]](); } catch (e) { seen.push([e.name, e.message]); }
return seen;
"""


@pytest.mark.requirement("TOOL-121")
@pytest.mark.parametrize("isolation", ["process", "shared"])
async def test_what_is_not_given_does_not_exist_in_the_vm(isolation):
    called: list[str] = []

    def spy(name: str) -> Tool:
        return tool(name=name)(lambda: called.append(name))

    tools = [spy(name) for name in ("add", "fs.read", "fs.write", "pay-out")]
    async with Harness(tools=tools, isolation=isolation) as harness:
        text = f"<tool-calls>{PROBE}</tool-calls>"
        await harness.run("<tool-calls>await tools.add()</tool-calls>")  # in a shared worker, before
        called.clear()
        outcome = await harness.run(text, tools=["fs.read"])
        after = await harness.run("<tool-calls>return Object.keys(tools)</tool-calls>")
        (execution,) = outcome.executions
    assert execution.error is None
    assert called == []
    value: Any = execution.value
    assert value[:4] == [["fs"], False, False, '["fs"]']
    assert [kind for kind, *_ in value[4:]] == ["ToolNotFoundError"] * 6
    text = json.dumps(value[4:])
    for name in ("add", "pay-out", "fs.write"):
        assert f"tools.{name}" not in text
        assert f'tools[\\"{name}' not in text
    assert "The tools are: fs.read" in text
    assert after.executions[0].value == ["add", "fs", "pay-out"]


@pytest.mark.requirement("TOOL-121")
async def test_nor_does_it_statically():
    text = "<tool-calls>await tools.ad()</tool-calls>"
    async with Harness(tools=registry(), isolation="thread") as harness:
        everything = await harness.run(text)
        little = await harness.run(text, tools=["fs"])
        nothing = await harness.run(text, tools=[])
        exact = await harness.run("<tool-calls>await tools.add()</tool-calls>", tools=["fs"])
        checked = await harness.check(text, tools=["fs"])
    errors = [outcome.executions[0].error for outcome in (everything, little, nothing, exact)]
    assert [error and error.type for error in errors] == ["ToolNotFoundError"] * 4
    assert [error and error.details["suggestions"] for error in errors] == [["add"], [], [], []]
    assert "`add`" not in str(errors[1])
    assert "no tool is registered" in str(errors[2])
    assert [found.details["suggestions"] for found in checked] == [[]]


@pytest.mark.requirement("TOOL-121")
async def test_each_run_has_its_own_selection_and_errors_come_before_anything_runs():
    text = "<tool-calls>return Object.keys(tools)</tool-calls>"
    async with Harness(tools=registry(), isolation="thread") as harness:
        with pytest.raises(UsageError, match="No tool or namespace is called 'nope'"):
            await harness.run(text, tools=["nope"])
        with pytest.raises(UsageError, match="No tool or namespace is called 'nope'"):
            await harness.check(text, tools=["nope"])
        values = [(await harness.run(text, tools=wanted)).executions[0].value for wanted in (["add"], ["fs"], None)]
    assert values == [["add"], ["fs"], ["add", "fs", "pay-out"]]


@pytest.mark.requirement("TOOL-121")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
def test_from_code_without_an_event_loop(anyio_backend):
    with Harness(tools=registry()) as harness:
        text = "<tool-calls>return Object.keys(tools)</tool-calls>"
        assert harness.run_sync(text, tools=["tag:money"]).executions[0].value == ["pay-out"]
        assert harness.check_sync("<tool-calls>tools.add()</tool-calls>", tools=["fs"])[0].code == "ToolNotFoundError"
