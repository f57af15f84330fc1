"""Calls from host code: the same steps as a script's."""

from __future__ import annotations

import sys
import threading
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from harness import Budget, Harness, ResourceContract, SubprocessTool
from harness.approvals.decision import Decision
from harness.context import ExecutionContext
from harness.errors import (
    ApprovalDeniedError,
    ToolBudgetExceededError,
    ToolExecutionError,
    ToolNotFoundError,
    ToolTimeoutError,
    ToolValidationError,
    UsageError,
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
    with pytest.raises(ToolValidationError, match="expected a number of at least"):
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


@pytest.mark.requirement("TOOL-094")
async def test_the_registry_of_a_harness_shares_what_outlasts_an_execution():
    pool = ResourceContract("pool", budget_cents=10, rate_limit_per_min=None)
    tools = FakeTools()
    tools.add("pay", "paid", resource=pool, cost=4, revert=lambda *_: None)
    tools.add("look", lambda arguments: len(tools.calls), deterministic=True, uses_context=False)
    harness = Harness(tools=tools, budget=Budget(cost_cents=7), limits=Limits(result_bytes=50), isolation="thread")
    context = ExecutionContext(execution_id="exec_host")
    async with harness:
        script = "<tool-calls>await tools.pay(); return await tools.look()</tool-calls>"
        assert (await harness.run(script)).executions[0].value == 2
        assert await harness.tools.call("look") == 2  # kept
        assert await harness.tools.select(["look"]).call("look") == 2
        assert await harness.tools.call("pay", context=context) == "paid"
        with pytest.raises(ToolBudgetExceededError) as caught:
            await harness.tools.call("pay")
        assert caught.value.details["budget"] == "budget_cents"
        harness.refill("pool")
        # Each call is an execution of its own, unless calls share a budget.
        shared = CallBudget(harness.limits, Budget(cost_cents=7))
        assert await harness.tools.call("pay", budget=shared) == "paid"
        with pytest.raises(ToolBudgetExceededError) as caught:
            await harness.tools.call("pay", budget=shared)
        assert caught.value.details["budget"] == "cost_cents"
        tools.add("long", "x" * 60)
        with pytest.raises(ToolValidationError, match="result_bytes allows 50"):
            await harness.tools.call("long")
        assert await harness.tools.call("long", limits={"result_bytes": 100}) == "x" * 60
        assert await harness.tools.call("long", context=ExecutionContext(limits=Limits(result_bytes=100))) == "x" * 60
        tools.add("dear", cost=8)
        with pytest.raises(ToolBudgetExceededError, match="cost_cents"):
            await harness.tools.call("dear")
        assert await harness.tools.call("dear", budget=Budget(cost_cents=8)) is None
        report = await harness.rollback("exec_host")
        assert [(step.tool, step.status) for step in report.steps] == [("pay", "reverted")]
        assert harness.metrics()["resources"]["pool"]["cost_cents"]["used"] == 4  # type: ignore[index, call-overload] # plain data


@pytest.mark.requirement("TOOL-094")
async def test_the_mode_and_the_approver_of_a_harness_are_about_scripts():
    approver = ScriptedApprover([])
    tools = FakeTools()
    tools.add("f", 1, approval=True)
    harness = Harness(tools=tools, mode="dry-run", approver=approver)
    assert await harness.tools.call("f") == 1
    assert approver.requests == []


@pytest.mark.requirement("TOOL-094")
async def test_the_last_harness_that_was_made_with_a_registry_counts():
    tools = FakeTools()
    tools.add("f", 1, cost=5)
    Harness(tools=tools, budget=Budget(cost_cents=4))
    Harness(tools=tools, budget=Budget(cost_cents=5))
    assert await tools.call("f") == 1


@pytest.mark.requirement("TOOL-094")
async def test_calls_without_a_context_push_nothing_out_that_can_be_rolled_back():
    tools = FakeTools()
    tools.add("f", 1, revert=lambda *_: None)
    harness = Harness(tools=tools)
    await tools.call("f", context=ExecutionContext(execution_id="exec_first"))
    for _ in range(150):
        await tools.call("f")
    assert (await harness.rollback("exec_first")).complete


@pytest.mark.requirement("TOOL-095")
async def test_a_registry_without_a_harness_keeps_its_resources_and_results():
    tools = FakeTools()
    tools.add("f", lambda _arguments: len(tools.calls), resource=ResourceContract("r", rate_limit_per_min=2))
    tools.add("g", lambda _arguments: len(tools.calls), deterministic=True, uses_context=False)
    assert [await tools.call("g"), await tools.call("g")] == [1, 1]
    for _ in range(2):
        await tools.call("f")
    with pytest.raises(ToolBudgetExceededError, match="rate_limit_per_min"):
        await tools.call("f")


@pytest.mark.requirement("TOOL-093", "TOOL-096")
async def test_settings_of_one_call_of_a_command(tmp_path):
    (tmp_path / "made").write_text("12345")
    program = "import json, sys; print(json.dumps({'seed': json.load(sys.stdin)['seed'], 'file': 'made'}))"
    command = SubprocessTool(
        "draw", [sys.executable, "-S", "-c", program], seed_field="seed", cwd=tmp_path, deterministic=True, cost=2
    )
    registry = ToolRegistry([command, FakeTools({"f": 1}).get("f")])
    assert (await registry.call_recorded("draw", seed=7)).value == {"seed": 7, "file": "made"}
    made = await registry.call_recorded("draw", {"seed": 8}, artifacts=["file"], process_limits={"processes": 100})
    assert made.value == {"seed": 8, "file": "made"}
    assert ([artifact.bytes for artifact in made.record.artifacts], made.record.cost_cents) == ([5], 2)
    settings: list[dict[str, Any]] = [{"artifacts": ["a"]}, {"process_limits": {}}, {"seed": 0}]
    for wrong in settings:
        with pytest.raises(UsageError, match="no SubprocessTool"):
            await registry.call("f", **wrong)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"timeout": "5"}, "seconds above 0"),
        ({"seed": "x"}, "whole number"),
        ({"process_limits": {"files": -1}}, "files"),
        ({"process_limits": 5}, "ProcessLimits"),
        ({"artifacts": "file"}, "a list of paths"),
        ({"context": {}}, "ExecutionContext"),
        ({"limits": {"tool_timeout": -1}}, "tool_timeout"),
        ({"limits": 5}, "Limits or a dict"),
        ({"budget": 5}, "CallBudget"),
        ({"idempotency_key": ""}, "idempotency_key"),
        ({"approver": 5}, "is no approver"),
        ({"idempotency_key": 5}, "idempotency_key"),
        ({"arguments": [1]}, "a dictionary"),
    ]
    for wrong, words in cases:
        with pytest.raises(UsageError, match=words):
            await registry.call("draw", **wrong)
