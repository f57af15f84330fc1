"""What calls may use, alone and together."""

from __future__ import annotations

import functools
import json
import threading
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from harness import (
    Budget,
    CallContext,
    Decision,
    Harness,
    Outcome,
    ResourceContract,
    ToolExecutionError,
    UsageError,
    tool,
)
from harness.approvals.bridge import ApprovalBridge
from harness.model import CallStatus
from harness.testing import FakeTools, make_test_context
from harness.tools.calls import Settled, ToolCall
from harness.tools.economy import Economy
from harness.tools.facade import CallFacade
from harness.tools.meters import Line, Place, Purse, RateWindow, to_cents, to_units
from harness.tools.registry import ToolRegistry
from harness.tools.resource import Resources

pytestmark = pytest.mark.anyio


def facade_of(
    tools: Any, economy: Economy | None = None, *, limits: dict[str, Any] | None = None, **options: Any
) -> CallFacade:
    registry = tools if isinstance(tools, ToolRegistry) else ToolRegistry(tools)
    return CallFacade(registry, make_test_context(limits=limits), economy=economy, **options)


async def settle(facade: CallFacade, name: str, arguments: Any = None, *, number: int = 1) -> Settled:
    return await facade.call(ToolCall(number, name, json.dumps([arguments or {}]), line=1))


async def settle_all(facade: CallFacade, name: str, count: int) -> list[Settled]:
    """So many calls at the same time, as the runtime makes them."""
    settled: list[Settled] = []

    async def one(call: ToolCall) -> None:
        settled.append(await facade.call(call))

    async with anyio.create_task_group() as group:
        for number in range(1, count + 1):
            call = ToolCall(number, name, "[]")
            facade.admit(call)
            group.start_soon(one, call)
    return settled


async def quiet() -> None:
    """Until every task that can run has run."""
    for _ in range(20):
        await anyio.lowlevel.checkpoint()


def details_of(settled: Settled) -> dict[str, Any]:
    assert settled.error is not None
    assert settled.error.type == "ToolBudgetExceededError"
    assert settled.error.retryable
    return settled.error.details


async def run(harness: Harness, script: str, **options: Any) -> Outcome:
    return await harness.run(f"<tool-calls>{script}</tool-calls>", **options)


# ── budgets of one execution ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("BUD-001", "BUD-005")
async def test_calls_per_tool():
    tools = FakeTools({"search": 1, "add": 2})
    facade = facade_of(tools, Economy(budget=Budget(calls_per_tool={"search": 2})))
    assert (await settle(facade, "search", [1], number=9)).record.status is CallStatus.ERROR  # invalid: counts nothing
    for number in (1, 2):
        assert (await settle(facade, "search", number=number)).error is None
    refused = await settle(facade, "search", number=3)
    assert details_of(refused) == {"budget": "calls_per_tool", "limit": 2, "used": 2, "tool": "search"}
    assert (await settle(facade, "add", number=4)).error is None
    assert [call.tool for call in tools.calls] == ["search", "search", "add"]


@pytest.mark.requirement("BUD-004")
@pytest.mark.parametrize(
    ("limits", "budget", "options"),
    [
        ({"max_tool_calls": 50}, Budget(), {}),
        ({}, Budget(calls_per_tool={"f": 50}), {}),
        ({}, Budget(cost_cents=50), {"cost": 1}),
        ({}, Budget(rate_per_min=50), {}),
        ({}, Budget(), {"resource": ResourceContract("r", budget_cents=50, rate_limit_per_min=None), "cost": 1}),
        ({}, Budget(), {"resource": ResourceContract("r", rate_limit_per_min=50, max_concurrent=3)}),
    ],
    ids=["calls", "per tool", "money", "rate", "resource money", "resource rate"],
)
async def test_a_thousand_calls_at_once_on_a_budget_of_fifty(limits, budget, options):
    running = most = ran = 0

    async def f() -> None:
        nonlocal running, most, ran
        running += 1
        ran += 1
        most = max(most, running)
        await anyio.lowlevel.checkpoint()
        running -= 1

    facade = facade_of(
        [tool(**options)(f)],
        Economy(budget=budget),
        limits={"max_tool_calls": 1_000, "max_concurrent_tool_calls": 20, **limits},
    )
    settled = await settle_all(facade, "f", 1_000)
    refused = [item for item in settled if item.error is not None]
    assert (ran, len(refused), running) == (50, 950, 0)
    assert {details_of(item)["limit"] for item in refused} == {50}
    assert {details_of(item)["used"] for item in refused} == {50}
    assert most <= (options["resource"].max_concurrent if options.get("resource") else 20)


@pytest.mark.requirement("BUD-004")
async def test_a_script_that_makes_a_thousand_calls_at_once_gets_fifty():
    tools = FakeTools()
    tools.add("f", 1, resource=ResourceContract("r", rate_limit_per_min=50))
    script = """
      const settled = await Promise.allSettled(Array.from({length: 1000}, () => tools.f()));
      const reasons = settled.filter(({status}) => status === 'rejected').map(({reason}) => reason.name);
      return [settled.length - reasons.length, [...new Set(reasons)]];
    """
    async with Harness(tools=tools, limits={"max_tool_calls": 1_000}) as harness:
        execution = (await run(harness, script)).executions[0]
    assert execution.value == [50, ["ToolBudgetExceededError"]]
    assert len(tools.calls) == 50


@pytest.mark.requirement("BUD-002", "BUD-005", "BUD-024")
async def test_money_of_an_execution():
    tools = FakeTools()
    tools.add("ask", 1, cost=0.1)
    tools.add("free", 1)
    facade = facade_of(tools, Economy(budget=Budget(cost_cents=0.3)))
    for number in (1, 2, 3):
        assert (await settle(facade, "ask", number=number)).record.cost_cents == 0.1
    refused = await settle(facade, "ask", number=4)
    assert details_of(refused) == {"budget": "cost_cents", "limit": 0.3, "used": 0.3, "needed": 0.1}
    assert refused.error is not None
    assert "costs 0.1 cents, and this execution has 0 of 0.3 cents left" in refused.error.message
    assert refused.record.cost_cents == 0
    assert (await settle(facade, "free", number=5)).error is None
    assert facade.budget_report().cost_cents is not None


@pytest.mark.requirement("BUD-024")
def test_sums_are_exact():
    purse = Purse(to_units(100))
    for _ in range(1_000):
        assert purse.hold(to_units(0.1))
        purse.settle(to_units(0.1), to_units(0.1))
    assert to_cents(purse.spent) == 100
    assert not purse.hold(1)


@pytest.mark.requirement("BUD-005")
async def test_a_script_can_catch_it():
    async with Harness(tools=FakeTools({"f": 1}), budget=Budget(calls_per_tool={"f": 1})) as harness:
        script = "await tools.f(); try { await tools.f() } catch (e) { return [e.name, e.retryable, e.details] }"
        execution = (await run(harness, script)).executions[0]
    wanted = {"budget": "calls_per_tool", "limit": 1, "used": 1, "tool": "f"}
    assert execution.value == ["ToolBudgetExceededError", True, wanted]
    assert execution.status == "ok"


@pytest.mark.requirement("BUD-006")
@pytest.mark.parametrize(
    ("limits", "options"),
    [
        ({"max_tool_calls": 1}, {}),
        ({}, {"budget": Budget(calls_per_tool={"f": 1})}),
        ({}, {"budget": Budget(cost_cents=1)}),
    ],
)
async def test_a_used_up_budget_can_end_the_execution(limits, options):
    tools = FakeTools()
    tools.add("f", 1, cost=1)
    script = "for (;;) { try { await tools.f() } catch (e) { console.log('caught') } finally { console.log('after') } }"
    async with Harness(tools=tools, limits=limits, on_budget="terminate", **options) as harness:
        execution = (await run(harness, script)).executions[0]
    assert execution.status == "terminated"
    assert execution.reason is not None
    assert "tools.f was not called" in execution.reason
    assert [entry.text for entry in execution.logs] == ["after"]
    assert [str(record.status) for record in execution.calls] == ["ok", "error"]


@pytest.mark.requirement("BUD-006")
async def test_a_tools_own_error_and_a_used_up_rate_end_nothing():
    from harness import ToolBudgetExceededError

    tools = FakeTools({"f": ToolBudgetExceededError("The service says no."), "g": 1})
    tools.add("h", 1, resource=ResourceContract("r", rate_limit_per_min=1))
    facade = facade_of(tools, Economy(on_budget="terminate", budget=Budget(calls_per_tool={"g": 0})))
    assert (await settle(facade, "f", number=1)).terminate_reason is None
    assert (await settle(facade, "h", number=2)).error is None
    assert (await settle(facade, "h", number=3)).terminate_reason is None
    assert (await settle(facade, "g", number=4)).terminate_reason is not None


@pytest.mark.requirement("BUD-006")
async def test_too_many_questions_are_a_budget_too():
    tools = FakeTools()
    tools.add("f", 1, approval=True)
    facade = facade_of(
        tools,
        Economy(on_budget="terminate"),
        limits={"max_approvals": 1},
        approvals=ApprovalBridge(lambda _request: Decision.approve()),
    )
    assert (await settle(facade, "f", {"n": 1}, number=1)).terminate_reason is None
    assert "max_approvals" in str((await settle(facade, "f", {"n": 2}, number=2)).terminate_reason)


@pytest.mark.requirement("BUD-008")
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Budget(calls_per_tool={"f": -1}), "calls_per_tool"),
        (lambda: Budget(calls_per_tool=5), "calls_per_tool"),  # type: ignore[arg-type] # that is what is refused
        (lambda: Budget(cost_cents=float("nan")), "cost_cents"),
        (lambda: Budget(cost_cents=-1), "cost_cents"),
        (lambda: Budget(rate_per_min=0), "rate_per_min"),
        (lambda: Budget(rate_per_min=True), "rate_per_min"),
        (lambda: ResourceContract(""), "resource_id"),
        (lambda: ResourceContract("r", max_concurrent=0), "max_concurrent"),
        (lambda: ResourceContract("r", budget_cents=float("inf")), "budget_cents"),
        (lambda: ResourceContract("r", schema_version=1), "schema_version"),  # type: ignore[arg-type] # as above
        (lambda: FakeTools().add("f", cost=-1), "cost of tool 'f'"),
        (lambda: Harness(on_budget="stop"), "on_budget"),  # type: ignore[arg-type] # as above
        (lambda: Harness(on_rate_limit="queue"), "on_rate_limit"),  # type: ignore[arg-type] # as above
        (lambda: Harness(budget={"cost_cents": 1}), "Budget"),  # type: ignore[arg-type] # as above
    ],
)
async def test_settings_that_cannot_be(make, words):
    with pytest.raises(UsageError, match=words):
        make()


# ── rates ────────────────────────────────────────────────────────────────────────────────────────────────────────


class FakeClock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.requirement("BUD-003")
def test_a_window_allows_its_limit_within_any_sixty_seconds():
    clock = FakeClock()
    window = RateWindow(3, clock=clock)
    for offset in (0.0, 10.0, 20.0):
        clock.now = 1_000 + offset
        assert window.book() == (clock.now, 0.0)
    assert window.book() == (None, 40.0)
    clock.now = 1_059.9
    assert window.book()[0] is None
    clock.now = 1_060.0
    assert window.book() == (1_060.0, 0.0)
    assert window.used == 3
    clock.now = 1_200.0
    assert window.used == 0


@pytest.mark.requirement("BUD-003", "BUD-007")
def test_those_who_wait_are_booked_in_order():
    clock = FakeClock()
    window = RateWindow(2, clock=clock)
    waits = [window.book(most=600)[1] for _ in range(6)]
    assert waits == [0, 0, 60, 60, 120, 120]
    assert window.book(most=100) == (None, 180)
    window.cancel(1_120.0)
    clock.now = 1_070.0
    # One of the two at 1,120 was given up: that time is free again, and no sooner one.
    assert window.book(most=600) == (1_120.0, 50.0)
    assert window.book(most=600)[0] == 1_180.0


@pytest.mark.requirement("BUD-003", "BUD-007")
async def test_a_call_past_the_rate_is_told_when_to_come_again():
    tools = FakeTools({"f": 1})
    clock = FakeClock()
    facade = facade_of(tools, Economy(budget=Budget(rate_per_min=2)))
    facade.budget.rate = RateWindow(2, clock=clock)
    for number in (1, 2):
        assert (await settle(facade, "f", number=number)).error is None
        clock.now += 10
    refused = await settle(facade, "f", number=3)
    assert details_of(refused) == {"budget": "rate_per_min", "limit": 2, "used": 2, "retry_after_s": 40.0}
    assert refused.error is not None
    assert "40" not in refused.error.message  # two runs of the same thing say the same
    clock.now += 40
    assert (await settle(facade, "f", number=4)).error is None
    assert len(tools.calls) == 3


@pytest.mark.requirement("BUD-007")
async def test_a_call_can_wait_for_its_rate():
    tools = FakeTools({"f": 1})
    clock = FakeClock()
    facade = facade_of(tools, Economy(budget=Budget(rate_per_min=1), on_rate_limit="wait"), limits={"wall_time": 30})
    facade.budget.rate = RateWindow(1, clock=clock)
    assert (await settle(facade, "f", number=1)).error is None
    assert details_of(await settle(facade, "f", number=2))["retry_after_s"] == 60  # longer than the script may take
    clock.now += 59.99
    assert (await settle(facade, "f", number=3)).error is None
    assert len(tools.calls) == 2


@pytest.mark.requirement("BUD-007", "BUD-021")
async def test_a_call_that_is_cancelled_while_it_waits_gives_back_what_it_took():
    resource = ResourceContract("r", rate_limit_per_min=None, budget_cents=10)
    tools = FakeTools()
    tools.add("f", 1, resource=resource, cost=4)
    economy = Economy(budget=Budget(rate_per_min=1), on_rate_limit="wait")
    facade = facade_of(tools, economy, limits={"wall_time": 100})
    rate = facade.budget.rate
    assert rate is not None
    async with anyio.create_task_group() as group:
        assert (await settle(facade, "f", number=1)).error is None
        group.start_soon(functools.partial(settle, facade, "f", number=2))
        await quiet()
        shared = economy.resources.of(resource)
        assert (shared.line.busy, to_cents(shared.purse.used), rate.used) == (1, 8, 2)
        facade.cancel(2)
    assert (shared.line.busy, to_cents(shared.purse.used), rate.used) == (0, 4, 1)
    record = facade.records()[1]
    assert (record.status, record.cost_cents, record.duration_ms) == (CallStatus.CANCELLED, 0, None)


# ── resources ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("BUD-010", "BUD-013")
async def test_tools_and_executions_share_a_resource():
    contract = ResourceContract("crm", budget_cents=3, rate_limit_per_min=None)
    tools = FakeTools()
    tools.add("read", 1, resource=contract, cost=1)
    tools.add("write", 1, resource=ResourceContract("crm", budget_cents=3, rate_limit_per_min=None), cost=1)
    async with Harness(tools=tools) as harness:
        await run(harness, "await tools.read(); await tools.write()")
        execution = (await run(harness, "await tools.read(); await tools.write()")).executions[0]
        assert execution.error is not None
        wanted = {"budget": "budget_cents", "limit": 3, "used": 3, "needed": 1, "resource": "crm"}
        assert {name: execution.error.details[name] for name in wanted} == wanted
        harness.refill("crm")
        assert (await run(harness, "return await tools.read()")).executions[0].value == 1
        with pytest.raises(UsageError, match="there is: crm"):
            harness.refill("other")


@pytest.mark.requirement("BUD-012")
def test_two_contracts_for_one_resource_are_refused():
    tools = FakeTools()
    tools.add("a", 1, resource=ResourceContract("crm"))
    tools.add("b", 1, resource=ResourceContract("crm", max_concurrent=6))
    with pytest.raises(UsageError, match="two different contracts for resource 'crm'"):
        Harness(tools=tools)


@pytest.mark.requirement("BUD-011")
async def test_a_resource_bounds_what_runs_at_once_over_all_executions():
    gate = anyio.Event()
    tools = FakeTools()
    contract = ResourceContract("r", max_concurrent=2, rate_limit_per_min=None)
    tools.add("f", 1, hold=gate, resource=contract)
    economy = Economy()
    facades = [facade_of(tools, economy) for _ in range(3)]
    async with anyio.create_task_group() as group:
        for facade in facades:
            for number in (1, 2):
                group.start_soon(functools.partial(settle, facade, "f", number=number))
        await quiet()
        line = economy.resources.of(contract).line
        assert (len(tools.calls), line.busy, line.waiting) == (2, 2, 4)
        gate.set()
    assert (len(tools.calls), line.busy, line.waiting) == (6, 0, 0)


@pytest.mark.requirement("BUD-011")
async def test_a_slot_is_free_again_however_a_call_ends():
    contract = ResourceContract("r", max_concurrent=1, rate_limit_per_min=None)

    async def interrupted() -> None:
        await anyio.sleep_forever()

    tools = FakeTools()
    tools.add("fails", ValueError("no"), resource=contract)
    tools.add("unaffordable", 1, resource=contract, cost=10_000)
    tools.register(tool(name="slow", timeout=0.01, resource=contract)(interrupted))
    tools.register(tool(name="forever", resource=contract)(interrupted))
    economy = Economy()
    line = economy.resources.of(contract).line
    facade = facade_of(tools, economy)
    for number, name in enumerate(["fails", "unaffordable", "slow"], 1):
        assert (await settle(facade, name, number=number)).error is not None
        assert line.busy == 0
    async with anyio.create_task_group() as group:
        for number in (4, 5):
            group.start_soon(functools.partial(settle, facade, "forever", number=number))
        await quiet()
        assert (line.busy, line.waiting) == (1, 1)
        group.cancel_scope.cancel()
    assert (line.busy, line.waiting) == (0, 0)


@pytest.mark.requirement("BUD-014")
def test_a_slot_passes_from_thread_to_thread():
    line = Line(1)
    most = running = total = 0

    async def use() -> None:
        nonlocal most, running, total
        for _ in range(50):
            place = line.line_up()
            try:
                await place.reached()
                running += 1
                most = max(most, running)
                await anyio.lowlevel.checkpoint()
                total += 1
                running -= 1
            finally:
                line.leave(place)

    async def several() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(use)

    threads = [
        threading.Thread(target=anyio.run, args=(several,), kwargs={"backend": backend}, daemon=True)
        for backend in ("asyncio", "trio")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [thread.is_alive() for thread in threads] == [False, False]
    assert (total, most, line.busy, line.waiting) == (400, 1, 0, 0)


@pytest.mark.requirement("BUD-014")
def test_a_slot_is_not_lost_to_a_loop_that_is_over():
    line = Line(1)
    held: list[Place] = []

    async def wait_in_vain() -> None:
        held.append(line.line_up())
        line.line_up()  # and never leaves the line, as in a loop that was torn down

    thread = threading.Thread(target=anyio.run, args=(wait_in_vain,))
    thread.start()
    thread.join(30)

    async def leave() -> None:
        place = line.line_up()
        assert not place.granted
        line.leave(held[0])
        with anyio.fail_after(10):
            await place.reached()
        line.leave(place)

    anyio.run(leave)
    assert (line.busy, line.waiting) == (0, 0)


def test_resources_of_one_harness_are_made_once():
    contract = ResourceContract("r")
    resources = Resources()
    assert resources.of(contract) is resources.of(ResourceContract("r"))


# ── money ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("BUD-020")
async def test_a_tool_reports_what_it_really_cost():
    @tool(cost=10)
    async def llm(cents: float, context: CallContext, fail: bool = False) -> None:
        context.report_cost(cents)
        if fail:
            raise ToolExecutionError("no")

    facade = facade_of([llm], Economy(budget=Budget(cost_cents=30)))
    assert (await settle(facade, "llm", {"cents": 2.5}, number=1)).record.cost_cents == 2.5
    assert (await settle(facade, "llm", {"cents": 0, "fail": True}, number=2)).record.cost_cents == 0
    # More than was held back is charged too, and closes the budget.
    assert (await settle(facade, "llm", {"cents": 40}, number=3)).record.cost_cents == 40
    assert details_of(await settle(facade, "llm", {"cents": 0}, number=4))["used"] == 42.5


@pytest.mark.requirement("BUD-020")
async def test_money_is_held_back_while_a_call_runs():
    gate = anyio.Event()
    tools = FakeTools()
    tools.add("f", ValueError("fails, and is paid for"), hold=gate, cost=6)
    facade = facade_of(tools, Economy(budget=Budget(cost_cents=10)))
    async with anyio.create_task_group() as group:
        group.start_soon(functools.partial(settle, facade, "f", number=1))
        await quiet()
        assert details_of(await settle(facade, "f", number=2))["used"] == 6
        gate.set()
    assert [record.cost_cents for record in facade.records()] == [6, 0]


@pytest.mark.requirement("BUD-021")
async def test_what_is_not_invoked_costs_nothing():
    contract = ResourceContract("r", rate_limit_per_min=1)
    tools = FakeTools()
    tools.add("f", 1, cost=5, approval=True, resource=contract)
    economy = Economy()
    decisions = iter([Decision.deny("no"), Decision.answer(7), Decision.approve()])
    facade = facade_of(tools, economy, approvals=ApprovalBridge(lambda _request: next(decisions)))
    for number in (1, 2):
        assert (await settle(facade, "f", {"n": number}, number=number)).record.cost_cents == 0
    resource = economy.resources.of(contract)
    assert (resource.purse.used, resource.rate and resource.rate.used) == (0, 0)
    assert (await settle(facade, "f", {"n": 3}, number=3)).record.cost_cents == 5


@pytest.mark.requirement("BUD-022")
@pytest.mark.parametrize(
    "cost", [lambda _arguments: 1 / 0, lambda _arguments: -1, lambda _arguments: "5", lambda _arguments: float("nan")]
)
async def test_a_cost_function_that_fails(cost):
    tools = FakeTools()
    tools.add("f", 1, cost=cost)
    facade = facade_of(tools)
    settled = await settle(facade, "f")
    assert settled.error is not None
    assert settled.error.type == "ToolExecutionError"
    assert tools.calls == []
    assert settled.record.cost_cents == 0


@pytest.mark.requirement("BUD-023")
async def test_a_free_tool_cannot_report_a_cost():
    @tool
    async def free(context: CallContext) -> None:
        context.report_cost(1)

    settled = await settle(facade_of([free]), "free")
    assert settled.error is not None
    assert "declared to be free" in settled.error.message
    assert settled.record.cost_cents == 0


@pytest.mark.requirement("BUD-025")
async def test_waiting_for_a_person_holds_nothing():
    contract = ResourceContract("r", max_concurrent=1, rate_limit_per_min=None, budget_cents=10)
    tools = FakeTools()
    tools.add("ask", 1, approval=True, resource=contract, cost=lambda arguments: arguments["cents"])
    tools.add("quick", 1, resource=contract, cost=9)
    asked, answer = anyio.Event(), anyio.Event()

    async def approver(_request: Any) -> Decision:
        asked.set()
        await answer.wait()
        return Decision.approve(edits={"cents": 1})

    economy = Economy()
    facade = facade_of(tools, economy, approvals=ApprovalBridge(approver), limits={"max_concurrent_tool_calls": 1})
    async with anyio.create_task_group() as group:
        group.start_soon(functools.partial(settle, facade, "ask", {"cents": 10}, number=1))
        await asked.wait()
        assert (await settle(facade, "quick", number=2)).record.cost_cents == 9
        answer.set()
    assert [record.cost_cents for record in facade.records()] == [1, 9]


# ── what is left ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("BUD-030", "BUD-031")
async def test_what_is_left_is_seen_by_the_script_and_in_the_outcome():
    tools = FakeTools({"plain": 1})
    tools.add("paid", 1, cost=2.5, resource=ResourceContract("crm", budget_cents=100, rate_limit_per_min=60))
    budget = Budget(calls_per_tool={"paid": 2}, cost_cents=20, rate_per_min=30)
    script = """
      const before = context.budget();
      await tools.paid();
      const pending = [tools.plain(), tools.plain()];
      const between = context.budget();
      await Promise.all(pending);
      try { context.budget().tool_calls.used = 0 } catch {}
      return {before, between, after: context.budget(), frozen: Object.isFrozen(context.budget().resources.crm)}
    """
    async with Harness(tools=tools, budget=budget, limits={"max_tool_calls": 9}) as harness:
        execution = (await run(harness, script)).executions[0]
    assert execution.error is None
    value: Any = execution.value

    def line(limit: float, used: float) -> dict[str, float]:
        return {"limit": limit, "used": used, "remaining": limit - used}

    assert value["before"] == {
        "tool_calls": line(9, 0),
        "calls_per_tool": {"paid": line(2, 0)},
        "cost_cents": line(20, 0),
        "rate_per_min": line(30, 0),
        "resources": {
            "crm": {"cost_cents": line(100, 0), "rate_per_min": line(60, 0), "concurrent": line(5, 0)},
        },
    }
    assert value["between"]["tool_calls"] == line(9, 3)
    assert value["between"]["cost_cents"] == line(20, 2.5)
    assert value["after"]["tool_calls"] == line(9, 3)
    assert value["after"]["rate_per_min"] == line(30, 3)
    assert value["after"]["resources"]["crm"]["cost_cents"] == line(100, 2.5)
    assert value["frozen"] is True
    assert execution.budget is not None
    assert execution.budget.model_dump(exclude_none=True) == value["after"]
    assert [record.cost_cents for record in execution.calls] == [2.5, 0, 0]


@pytest.mark.requirement("BUD-031")
async def test_what_is_left_is_no_part_of_the_canonical_form():
    tools = FakeTools()
    tools.add("paid", 1, cost=1, resource=ResourceContract("crm", rate_limit_per_min=1))
    script = "try { await tools.paid() } catch (e) { return e.name }"
    async with Harness(tools=tools, seed=1) as harness:
        first, second, third = [await run(harness, script) for _ in range(3)]
    assert first.executions[0].value is None
    assert second.executions[0].value == "ToolBudgetExceededError"
    # How long to wait differs from run to run.
    assert second.content_hash() == third.content_hash()
    tools.add("cheap", 1, cost=1, resource=ResourceContract("bank"))
    async with Harness(tools=tools, seed=1) as harness:
        first, second = [await run(harness, "await tools.cheap()") for _ in range(2)]
    assert first.executions[0].budget != second.executions[0].budget
    assert first.content_hash() == second.content_hash()


@pytest.mark.requirement("BUD-030")
async def test_a_dry_run_charges_nothing():
    tools = FakeTools()
    tools.add("paid", 1, cost=1, resource=ResourceContract("crm", rate_limit_per_min=1))
    async with Harness(tools=tools, mode="dry-run") as harness:
        execution = (await run(harness, "await tools.paid(); await tools.paid()")).executions[0]
        resources: Any = harness.metrics()["resources"]
    assert [str(record.status) for record in execution.calls] == ["planned", "planned"]
    assert resources["crm"]["cost_cents"]["used"] == 0
    assert resources["crm"]["rate_per_min"]["used"] == 0


@pytest.mark.requirement("BUD-008")
def test_a_budget_for_a_tool_that_is_not_there_is_a_usage_error():
    @tool
    def send() -> None: ...

    with pytest.raises(UsageError, match="'snd', and there is no such tool; did you mean 'send'"):
        Harness(tools=[send], budget=Budget(calls_per_tool={"snd": 1}))
