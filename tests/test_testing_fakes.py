"""Fake tools and the scripted approver: what they give, what they note, and how they complain."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from harness import Harness
from harness.approvals.decision import Decision
from harness.errors import ToolExecutionError, ToolNotFoundError, UsageError
from harness.testing import (
    FakeCall,
    FakeResult,
    FakeTools,
    Rule,
    ScriptedApprover,
    in_turn,
    make_request,
    make_test_context,
)

pytestmark = pytest.mark.anyio


# ── tools ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("TST-001")
async def test_results_in_turn():
    tools = FakeTools({"next": in_turn(1, ValueError("no"), lambda arguments: arguments["n"], FakeResult("late"))})
    assert await tools.call("next") == 1
    with pytest.raises(ToolExecutionError, match="ValueError: no"):
        await tools.call("next")
    assert await tools.call("next", {"n": 7}) == 7
    assert await tools.call("next") == "late"
    with pytest.raises(ToolExecutionError, match=r"no result left after 4; give in_turn\(\) one more, or last=True"):
        await tools.call("next")
    again = FakeTools({"next": in_turn(1, 2, last=True)})
    assert [await again.call("next") for _ in range(4)] == [1, 2, 2, 2]
    with pytest.raises(UsageError, match="at least one result"):
        in_turn()


@pytest.mark.requirement("TST-001")
async def test_a_result_that_takes_its_time_comes_after_one_that_does_not():
    gate = anyio.Event()
    tools = FakeTools({"slow": FakeResult("slow", hold=gate), "quick": "quick"})
    came: list[object] = []

    async def call(name: str) -> None:
        came.append(await tools.call(name))

    async with anyio.create_task_group() as group:
        group.start_soon(call, "slow")
        while not tools.calls:
            await anyio.lowlevel.checkpoint()
        await call("quick")
        assert came == ["quick"]
        gate.set()
    assert came == ["quick", "slow"]


@pytest.mark.requirement("TST-001")
async def test_a_delay_is_waited_for(monkeypatch):
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(anyio, "sleep", sleep)
    assert await FakeTools({"slow": FakeResult(1, delay=30)}).call("slow") == 1
    assert slept == [30]


@pytest.mark.requirement("TST-001")
async def test_one_exception_raised_again_and_again_keeps_one_traceback():
    error = ValueError("no")
    tools = FakeTools({"boom": error})
    depths = set()
    for _ in range(3):
        with pytest.raises(ToolExecutionError):
            await tools.call("boom")
        trace, depth = error.__traceback__, 0
        while trace is not None:
            trace, depth = trace.tb_next, depth + 1
        depths.add(depth)
    assert len(depths) == 1


@pytest.mark.requirement("TST-001")
async def test_a_call_knows_whom_it_was_for():
    tools = FakeTools({"who": None})
    await tools.call("who", {"a": 1}, context=make_test_context(user_id="u-1"))
    (call,) = tools.calls
    assert call == FakeCall("who", {"a": 1})
    assert call.context is not None
    assert call.context.caller.user_id == "u-1"
    assert str(call) == 'who({"a": 1})'


async def called() -> FakeTools:
    tools = FakeTools({"find": 1, "pay": 2, "idle": 3})
    await tools.call("find", {"id": 1, "deep": {"a": 1, "b": [1, {"c": 2}]}})
    await tools.call("pay", {"id": 1, "cents": 5, "express": True})
    await tools.call("find", {"id": 2})
    return tools


@pytest.mark.requirement("TST-002")
async def test_assertions_that_hold():
    tools = await called()
    tools.assert_called("find")
    tools.assert_called("find", times=2)
    tools.assert_called("find", {"id": 2}, times=1)
    tools.assert_called("find", {"deep": {"b": [1, {}]}})
    tools.assert_called("pay", lambda arguments: arguments["cents"] > 4)
    tools.assert_not_called("idle")
    tools.assert_not_called("pay", {"cents": 6})
    tools.assert_not_called("pay", {"express": 1})
    tools.assert_calls(
        ("find", {"id": 1, "deep": {"b": (1, {"c": 2}), "a": 1}}),
        ("pay", {"id": 1, "cents": 5, "express": True}),
        FakeCall("find", {"id": 2}),
    )
    assert [call.arguments["id"] for call in tools.calls_of("find")] == [1, 2]


@pytest.mark.requirement("TST-002")
async def test_assertions_that_fail_say_what_was_called():
    tools = await called()
    with pytest.raises(AssertionError) as caught:
        tools.assert_called("pay", {"cents": 6})
    assert str(caught.value) == (
        'pay({"cents": 6}) was to be called at least once, and was called never.\n'
        "All calls:\n"
        '  find({"id": 1, "deep": {"a": 1, "b": [1, {"c": 2}]}})\n'
        '  pay({"id": 1, "cents": 5, "express": true})\n'
        '  find({"id": 2})'
    )
    with pytest.raises(AssertionError, match="find was to be called 3 times, and was called twice"):
        tools.assert_called("find", times=3)
    with pytest.raises(AssertionError, match="find was to be called never, and was called twice"):
        tools.assert_not_called("find")
    with pytest.raises(AssertionError, match='arguments\\["cents"\\] > 9'):
        tools.assert_called("pay", lambda arguments: arguments["cents"] > 9)
    with pytest.raises(AssertionError, match="No tool was called"):
        FakeTools({"find": 1}).assert_called("find")
    with pytest.raises(AssertionError) as caught:
        tools.assert_calls(("find", {"id": 1}), ("find", {"id": 2}))
    assert '-find({"id": 1})\n+find({"id": 1, "deep"' in str(caught.value)
    assert '+pay({"id": 1, "cents": 5, "express": true})\n find({"id": 2})' in str(caught.value)
    long = FakeTools({"find": 1})
    await long.call("find", {"text": "x" * 1_000})
    with pytest.raises(AssertionError, match="… \\(712 more characters\\)"):
        long.assert_not_called("find")


@pytest.mark.requirement("TST-002")
async def test_a_name_that_is_no_tool_is_no_call_that_was_not_made():
    tools = await called()
    for ask in (
        tools.assert_not_called,
        tools.assert_called,
        tools.calls_of,
        lambda name: tools.assert_calls((name, {})),
    ):
        with pytest.raises(ToolNotFoundError, match="finde"):
            ask("finde")


@pytest.mark.requirement("TST-002")
async def test_results_that_nobody_took_or_that_were_missing():
    tools = FakeTools({"a": in_turn(1, 2), "b": in_turn(1), "c": in_turn(1, last=True), "d": 1})
    await tools.call("a")
    for _ in range(2):
        await tools.call("c")
    with pytest.raises(AssertionError) as caught:
        tools.assert_done()
    assert "a was called 1 times too seldom" in str(caught.value)
    assert "b was called 1 times too seldom" in str(caught.value)
    await tools.call("a")
    await tools.call("b")
    tools.assert_done()
    with pytest.raises(ToolExecutionError):
        await tools.call("b")
    with pytest.raises(AssertionError, match="b was called 1 too often"):
        tools.assert_done()


# ── the approver ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("TST-003")
async def test_rules_answer_the_calls_they_fit_in_any_order():
    approver = ScriptedApprover(
        [
            Rule("refund", Decision.deny("too much"), lambda arguments: arguments["cents"] > 100),
            Rule("refund", Decision.approve(), {"order": {"id": 1}}, times=2),
            Rule("send", lambda request: Decision.deny(request.reason), times=None),
            Decision.answer(5),
        ]
    )
    assert approver.left == 4
    order = {"order": {"id": 1, "open": True}, "cents": 5}
    assert await approver.decide(make_request("refund", order)) == Decision.approve()
    assert await approver.decide(make_request("refund", order | {"cents": 500})) == Decision.deny("too much")
    assert await approver.decide(make_request("send", reason="r")) == Decision.deny("r")
    assert await approver.decide(make_request("send", reason="s")) == Decision.deny("s")
    assert await approver.decide(make_request("refund", order)) == Decision.approve()
    with pytest.raises(AssertionError, match="It was not asked for the decision 'answer'"):
        approver.assert_done()
    assert await approver.decide(make_request("refund", order)) == Decision.answer(5)
    assert approver.left == 0
    approver.assert_done()


@pytest.mark.requirement("TST-003")
async def test_what_nobody_expected_is_named_at_once_and_at_the_end():
    approver = ScriptedApprover(
        [Rule("refund", Decision.approve(), {"cents": 1}), Rule("send", Decision.approve(), times=3)]
    )
    with pytest.raises(UsageError) as caught:
        await approver.decide(make_request("refund", {"cents": 2, "token": "secret"}))
    message = str(caught.value)
    assert 'asked about tools.refund({"cents": 2, "token": "[REDACTED]"})' in message
    assert 'It has decisions for tools.refund({"cents": 1}), tools.send(…) only' in message
    assert "secret" not in message
    with pytest.raises(AssertionError) as failed, approver:
        pass
    assert 'It was asked about tools.refund({"cents": 2' in str(failed.value)
    assert 'It was not asked for tools.refund({"cents": 1}).' in str(failed.value)
    assert "It was not asked for tools.send(…), 3 times." in str(failed.value)
    with pytest.raises(ZeroDivisionError), approver:  # the test's own failure is the one to show
        raise ZeroDivisionError


@pytest.mark.requirement("TST-003")
async def test_a_script_that_catches_the_refusal_does_not_hide_it():
    tools = FakeTools()
    tools.add("pay", "paid", approval=True)
    script = "<tool-calls>try { return await tools.pay({ cents: 2 }) } catch { return 'caught' }</tool-calls>"
    approver = ScriptedApprover([])
    async with Harness(tools, approver=approver) as harness:
        outcome = await harness.run(script)
    assert outcome.executions[0].value == "caught"
    tools.assert_not_called("pay")
    with pytest.raises(AssertionError, match=r'It was asked about tools\.pay\(\{"cents": 2\}\)'):
        approver.assert_done()
    with ScriptedApprover([Rule("pay", Decision.approve({"cents": 1}), {"cents": 2})]) as approver:
        async with Harness(tools, approver=approver) as harness:
            outcome = await harness.run(script)
    assert outcome.executions[0].value == "paid"
    tools.assert_calls(("pay", {"cents": 1}))
