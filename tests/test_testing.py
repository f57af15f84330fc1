"""The helpers for the tests of others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from harness import Harness, ResultCache, SubprocessTool, ToolNotFoundError
from harness.approvals.decision import Decision
from harness.errors import ToolExecutionError, ToolValidationError, UsageError
from harness.redaction import MASK
from harness.testing import (
    FakeCall,
    FakeModel,
    FakeTools,
    ScriptedApprover,
    call_tool,
    chunks,
    make_request,
    stream_chunks,
    two_way_splits,
)
from harness.tools.registry import ToolRegistry, tool

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("TOOL-110")]


async def test_fake_tools_return_raise_compute_and_record():
    tools = FakeTools(
        {
            "three": 3,
            "boom": ValueError("no"),
            "double": lambda arguments: arguments["n"] * 2,
            "fs.read": {"a": [1]},
        }
    )
    assert await tools.call("three") == 3
    assert await tools.call("double", {"n": 4}) == 8
    assert await tools.call("fs.read", {"path": "x"}) == {"a": [1]}
    with pytest.raises(ToolExecutionError, match=r"tools\.boom failed: ValueError: no"):
        await tools.call("boom")
    assert tools.calls == [
        FakeCall("three", {}),
        FakeCall("double", {"n": 4}),
        FakeCall("fs.read", {"path": "x"}),
        FakeCall("boom", {}),
    ]


async def test_a_held_fake_waits():
    tools = FakeTools()
    gate = anyio.Event()
    fake = tools.add("slow", "done", hold=gate, approval=True, timeout=50)
    assert (fake.approval, fake.timeout) == (True, 50)
    results: list[object] = []

    async def call() -> None:
        results.append(await tools.call("slow"))

    async with anyio.create_task_group() as group:
        group.start_soon(call)
        for _ in range(10):
            await anyio.lowlevel.checkpoint()
        assert results == []
        assert len(tools.calls) == 1
        gate.set()
    assert results == ["done"]


async def test_call_tool_takes_functions_and_tools():
    def add(a: int, b: int) -> int:
        return a + b

    assert await call_tool(add, {"a": 1, "b": 2}) == 3
    assert await call_tool(tool(name="plus")(add), {"a": 1, "b": 2}) == 3
    with pytest.raises(ToolValidationError):
        await call_tool(add, {"a": 1})


async def test_scripted_approver():
    approver = ScriptedApprover([Decision.approve(), lambda request: Decision.deny(request.tool)])
    request = make_request("refund", {"token": "x", "cents": 1})
    assert request.arguments == {"token": MASK, "cents": 1}
    assert await approver.decide(request) == Decision.approve()
    assert approver.left == 1
    assert await approver.decide(request) == Decision.deny("refund")
    with pytest.raises(UsageError, match="has no decision left after 2"):
        await approver.decide(request)
    assert approver.requests == [request] * 3


async def test_chunkers():
    text = "abcdefg"
    assert list(chunks(text, 1)) == list(text)
    assert list(chunks(text, 2, 3)) == ["ab", "cde", "fg"]
    assert list(chunks("", 3)) == []
    assert [piece async for piece in stream_chunks(text, 4)] == ["abcd", "efg"]
    splits = list(two_way_splits("ab"))
    assert splits == [("", "ab"), ("a", "b"), ("ab", "")]
    for sizes in ((), (0,), (2, -1)):
        with pytest.raises(UsageError):
            list(chunks(text, *sizes))


@pytest.mark.requirement("TOOL-132")
def test_what_is_handed_in_is_checked_where_it_is_handed_in():
    def f() -> int:
        return 1

    registry = ToolRegistry([f])
    cases: list[tuple[Callable[[Any], Any], str, list[Any]]] = [
        (tool, "A tool is made of a function", [5, "name", [f], True]),
        (ToolRegistry, "tools is a list", [5, "f", f, True]),
        (lambda name: tool(f).renamed(name), "name of a tool is text", [5, ["f"], b"f", None]),
        (registry.search, r"search\(\) takes text", [5, ["f"], b"f"]),
        (lambda limit: registry.search("f", limit), r"limit of search\(\)", ["1", 0, True, 1.5]),
        (registry.declaration, "There is no tool", [5, None, b"f"]),
        (lambda most: ResultCache(max_bytes=most), "max_bytes of the cache", ["1", -1, True, 1.5]),
        (Harness(tools=registry).refill, "No tool of this harness names a resource", [5, ["f"]]),
        (FakeTools, "a dict of names and results", [5, "f", ["f"]]),
        (FakeModel, "a list of replies", [5, "Hello.", ValueError("no")]),
        (ScriptedApprover, "a list of decisions", [5, "yes", Decision.approve()]),
        (lambda size: list(chunks("abc", size)), "at least 1 character", ["1", 0, 1.5]),
        (lambda type_: SubprocessTool("x", ["true"], result=type_), "result of tool 'x'", [{"a": 1}, 5, object()]),
    ]
    for function, words, wrong in cases:
        for value in wrong:
            with pytest.raises((UsageError, ToolNotFoundError), match=words):
                function(value)
