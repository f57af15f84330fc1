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
    byte_chunks,
    call_tool,
    chunks,
    every_cut,
    make_request,
    random_chunks,
    stream,
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


TEXT = "a\u00e9\u20ac\U0001f600b\ud800</tool-calls>\n" * 3


@pytest.mark.requirement("TST-006")
def test_the_pieces_of_every_chunker_joined_are_the_text():
    for text in (TEXT, "", "x"):
        ways = list(every_cut(text))
        assert all("".join(pieces) == text for pieces in ways)
        assert [text] in ways
        assert list(text) in ways
        assert all([text[:at], text[at:]] in ways for at in range(len(text) + 1))
        assert len(ways) == 2 + len(text) + 1 + 4 + 20
        assert len(list(every_cut(text, seeds=()))) == len(ways) - 20


@pytest.mark.requirement("TST-006")
def test_pieces_of_bytes_split_no_character():
    for size in (4, 5, 7, 100):
        pieces = list(byte_chunks(TEXT, size))
        lengths = [len(piece.encode("utf-8", "surrogatepass")) for piece in pieces]
        assert 0 < max(lengths) <= size
        # Each is as long as can be.
        firsts = [len(piece[0].encode("utf-8", "surrogatepass")) for piece in pieces[1:]]
        assert all(length + first > size for length, first in zip(lengths, firsts, strict=False))
    assert list(byte_chunks("", 4)) == []
    with pytest.raises(UsageError, match="at least 4 bytes, not 3"):
        list(byte_chunks(TEXT, 3))


@pytest.mark.requirement("TST-006")
def test_random_pieces_are_the_same_for_the_same_seed():
    ways = [random_chunks(TEXT, seed) for seed in range(50)]
    assert ways == [random_chunks(TEXT, seed) for seed in range(50)]
    assert len({len(way) for way in ways}) > 10
    assert any("" in way for way in ways)
    assert all("" not in random_chunks(TEXT, seed, empty=False) for seed in range(50))


@pytest.mark.requirement("TST-006")
async def test_a_stream_lets_others_run_between_two_pieces():
    turns: list[str] = []

    async def other() -> None:
        for _ in range(3):
            turns.append("other")
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as group:
        group.start_soon(other)
        async for piece in stream(["a", "", "b"]):
            turns += [piece]
    assert [turn for turn in turns if turn != "other"] == ["a", "", "b"]
    assert turns.index("other") < turns.index("b")


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
