"""Calls from host code: the same steps as a script's."""

from __future__ import annotations

import threading
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from harness.approvals.decision import Decision
from harness.context import ExecutionContext
from harness.errors import (
    ApprovalDeniedError,
    ToolBudgetExceededError,
    ToolExecutionError,
    ToolNotFoundError,
    ToolTimeoutError,
    ToolValidationError,
)
from harness.limits import Limits
from harness.testing import FakeTools, ScriptedApprover
from harness.tools.budget import CallBudget
from harness.tools.registry import ToolRegistry, tool
from harness.tools.tool import Tool

pytestmark = pytest.mark.anyio


class QuotaError(ToolExecutionError):
    """A subclass of the host's."""


@pytest.mark.requirement("TOOL-090")
async def test_validation_in_and_out_and_the_tools_own_errors():
    own = QuotaError("no more", retryable=True)
    tools = FakeTools({"echo": lambda arguments: arguments, "quota": own, "boom": ValueError("x"), "bad": [print]})
    tools.register(Tool.from_schema("n", lambda n: n, {"properties": {"n": {"minimum": 1}}, "required": ["n"]}))
    assert await tools.call("echo", {"a": (1, 2)}) == {"a": [1, 2]}
    assert await tools.call("n", {"n": 1}) == 1
    with pytest.raises(ToolNotFoundError, match=r"Did you mean tools\.echo"):
        await tools.call("ecko")
    with pytest.raises(ToolValidationError, match="less than the minimum"):
        await tools.call("n", {"n": 0})
    for unfit in ({"a": print}, {"a": 2**60}):
        with pytest.raises(
            ToolValidationError, match=r"The arguments of tools\.echo: The value at \$\.a cannot be sent"
        ):
            await tools.call("echo", unfit)
    with pytest.raises(ToolValidationError, match="no JSON form"):
        await tools.call("bad")
    with pytest.raises(QuotaError) as caught:
        await tools.call("quota")
    assert caught.value is own
    with pytest.raises(ToolExecutionError, match="boom failed: ValueError: x") as failed:
        await tools.call("boom")
    assert isinstance(failed.value.__cause__, ValueError)
    counted = tools.statistics()
    assert (counted["echo"].calls, counted["echo"].ok, counted["quota"].failed) == (1, 1, {"QuotaError": 1})


@pytest.mark.requirement("TOOL-091")
async def test_an_approver_is_asked_where_one_is_given():
    tools = FakeTools()
    tools.add("pay", lambda arguments: arguments, approval=True)
    assert await tools.call("pay", {"cents": 1}) == {"cents": 1}  # host code needs no permission
    approver = ScriptedApprover([Decision.approve(edits={"cents": 2}), Decision.deny("too much"), Decision.answer(7)])
    assert await tools.call("pay", {"cents": 5, "token": "x"}, approver=approver) == {"cents": 2, "token": "x"}
    with pytest.raises(ApprovalDeniedError, match="too much"):
        await tools.call("pay", {"cents": 9}, approver=approver)
    assert await tools.call("pay", {"cents": 9}, approver=approver) == 7
    assert [request.arguments for request in approver.requests] == [
        {"cents": 5, "token": "[REDACTED]"}, {"cents": 9}, {"cents": 9},
    ]  # fmt: skip
    assert [call.arguments["cents"] for call in tools.calls] == [1, 2]
    assert tools.get("pay").approval


@pytest.mark.requirement("TOOL-092")
async def test_calls_may_share_a_budget():
    context = ExecutionContext(limits=Limits(max_tool_calls=50, max_concurrent_tool_calls=3))
    running = most = 0

    @tool
    async def work() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await anyio.lowlevel.checkpoint()
        running -= 1

    registry = ToolRegistry([work])
    budget = CallBudget(context.limits)
    ended: list[str] = []

    async def one() -> None:
        try:
            await registry.call("work", context=context, budget=budget)
            ended.append("ok")
        except ToolBudgetExceededError as error:
            ended.append(error.details["budget"])

    async with anyio.create_task_group() as group:
        for _ in range(300):
            group.start_soon(one)
    assert ended.count("ok") == 50
    assert ended.count("max_tool_calls") == 250
    assert (most, running, budget.left, budget.waiting) == (3, 0, 0, 0)
    assert registry.statistics()["work"].ok == 50


@pytest.mark.requirement("TOOL-093")
async def test_time_limits():
    release = threading.Event()

    @tool(timeout=60)
    async def slow() -> None:
        await anyio.sleep_forever()

    @tool(timeout=60)
    def stuck() -> None:
        release.wait(60)

    registry = ToolRegistry([slow, stuck])
    for name in ("slow", "stuck"):
        with pytest.raises(ToolTimeoutError, match=r"did not end within 0\.01 seconds"):
            await registry.call(name, timeout=0.01)
    release.set()
    assert registry.get("slow").timeout == 60
    with anyio.CancelScope() as scope:
        scope.cancel()
        await registry.call("slow")
    assert scope.cancelled_caught


@pytest.mark.requirement("TOOL-092")
async def test_limits_of_the_context_hold():
    tools = FakeTools({"long": "x" * 200, "echo": 1})
    small = ExecutionContext(limits=Limits(result_bytes=100, argument_bytes=100))
    with pytest.raises(ToolValidationError, match="result_bytes allows 100"):
        await tools.call("long", context=small)
    with pytest.raises(ToolValidationError, match="argument_bytes allows 100"):
        await tools.call("echo", {"a": "x" * 200}, context=small)
    nested: Any = 1
    for _ in range(300):
        nested = [nested]
    with pytest.raises(ToolValidationError, match="nested"):
        await tools.call("echo", {"a": nested})
