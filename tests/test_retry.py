"""Trying again what failed and may succeed."""

from __future__ import annotations

import importlib.util
import json
import threading
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from harness import Attempt, Budget, Harness, Outcome, Retry, ToolExecutionError, UsageError, tool
from harness.executor import DEFAULT_EXECUTOR
from harness.model import CallStatus
from harness.testing import FakeTools, make_test_context
from harness.tools.calls import Settled, ToolCall
from harness.tools.economy import Economy
from harness.tools.facade import CallFacade
from harness.tools.registry import ToolRegistry

pytestmark = pytest.mark.anyio

AT_ONCE = Retry(attempts=3, initial=0, jitter=0)


def busy() -> ToolExecutionError:
    return ToolExecutionError("Busy.", retryable=True)


class Flaky:
    """Fails with each of its errors in turn, then gives its result."""

    def __init__(self, *errors: BaseException) -> None:
        self.calls = 0
        self._errors = errors

    def __call__(self, _arguments: Any = None) -> str:
        self.calls += 1
        if self.calls <= len(self._errors):
            raise self._errors[self.calls - 1]
        return "done"


def told(attempt: Attempt) -> str | None:
    return None if attempt.error is None else attempt.error.message


def facade_of(function: Any, economy: Economy | None = None, **options: Any) -> CallFacade:
    tools = FakeTools()
    tools.add("f", function, **{"idempotent": True, "retry": AT_ONCE, **options})
    return CallFacade(tools, make_test_context(limits={"max_concurrent_tool_calls": 1}), economy=economy)


async def settle(facade: CallFacade, arguments: Any = None, *, number: int = 1) -> Settled:
    return await facade.call(ToolCall(number, "f", json.dumps([arguments or {}]), line=2))


@pytest.mark.requirement("BUD-040", "BUD-042")
async def test_a_call_is_made_again_until_it_succeeds():
    flaky = Flaky(ConnectionResetError("gone"), busy())
    settled = await settle(facade_of(flaky))
    assert settled.value_json == '"done"'
    attempts = settled.record.attempts
    assert [attempt.error and attempt.error.type for attempt in attempts] == ["ToolExecutionError"] * 2 + [None]
    assert attempts[0].error is not None
    assert attempts[0].error.message == "tools.f failed: ConnectionResetError: gone"
    assert attempts[0].waited_ms == 0
    assert settled.record.duration_ms is not None
    # A call's duration is that of its tool, without the waits.
    assert settled.record.duration_ms <= sum(attempt.duration_ms for attempt in attempts)
    assert settled.record.error is None


@pytest.mark.requirement("BUD-040", "BUD-042")
async def test_the_last_error_stands():
    flaky = Flaky(*(busy() for _ in range(9)))
    settled = await settle(facade_of(flaky))
    assert settled.error is not None
    assert settled.error.message == "Busy."
    assert (flaky.calls, len(settled.record.attempts)) == (3, 3)


@pytest.mark.requirement("BUD-040", "BUD-042")
@pytest.mark.parametrize("error", [ValueError("wrong"), ToolExecutionError("No."), PermissionError("no")])
async def test_what_will_fail_again_is_not_tried_again(error):
    flaky = Flaky(error)
    settled = await settle(facade_of(flaky))
    assert settled.error is not None
    assert (flaky.calls, settled.record.attempts) == (1, ())


@pytest.mark.requirement("BUD-040")
async def test_a_result_that_does_not_fit_is_not_tried_again():
    calls = 0

    @tool(idempotent=True, retry=AT_ONCE)
    async def f() -> int:
        nonlocal calls
        calls += 1
        return "five"  # type: ignore[return-value] # that is what is refused

    facade = CallFacade(ToolRegistry([f]), make_test_context())
    settled = await settle(facade)
    assert settled.error is not None
    assert (settled.error.type, calls) == ("ToolValidationError", 1)


@pytest.mark.requirement("BUD-040")
async def test_waits_grow_up_to_their_bound(monkeypatch):
    waits: list[float] = []

    async def note(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(anyio, "sleep", note)
    plan = Retry(attempts=6, initial=0.5, multiplier=3, maximum=5, jitter=0)
    await settle(facade_of(Flaky(*(busy() for _ in range(9))), retry=plan))
    assert waits == [0.5, 1.5, 4.5, 5, 5]
    waits.clear()
    await settle(facade_of(Flaky(*(busy() for _ in range(9))), retry=Retry(attempts=6, initial=0, jitter=0.25)))
    assert all(0 <= wait <= 0.25 for wait in waits)
    assert len(set(waits)) == 5


@pytest.mark.requirement("BUD-041")
def test_only_what_can_be_repeated_is_retried():
    def f() -> None: ...

    with pytest.raises(UsageError, match="idempotent=True"):
        tool(retry=3)(f)
    made = tool(retry=4, idempotent=True)(f)
    assert made.retry == Retry(attempts=4)


@pytest.mark.requirement("BUD-041")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("attempts", 0),
        ("attempts", 1.5),
        ("attempts", True),
        ("initial", -1),
        ("maximum", float("inf")),
        ("jitter", "1"),
    ],
)
def test_retry_settings_that_cannot_be(name, value):
    with pytest.raises(UsageError, match=f"Retry.{name}"):
        Retry(**{name: value})


@pytest.mark.requirement("BUD-041")
def test_without_tenacity_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(UsageError, match=r"tool-calls-harness\[retry\]"):
        Retry()


@pytest.mark.requirement("BUD-043")
async def test_the_time_limit_holds_for_each_attempt():
    entered: list[int] = []

    @tool(idempotent=True, retry=AT_ONCE, timeout=0.02)
    async def f() -> str:
        entered.append(1)
        if len(entered) < 3:
            await anyio.sleep_forever()
        return "in time"

    facade = CallFacade(ToolRegistry([f]), make_test_context())
    settled = await settle(facade)
    assert settled.value_json == '"in time"'
    errors = [attempt.error and attempt.error.type for attempt in settled.record.attempts]
    assert errors == ["ToolTimeoutError", "ToolTimeoutError", None]
    assert settled.record.status is CallStatus.OK


@pytest.mark.requirement("BUD-043")
async def test_a_call_that_always_overruns_has_timed_out():
    @tool(idempotent=True, retry=AT_ONCE, timeout=0.01)
    async def f() -> None:
        await anyio.sleep_forever()

    settled = await settle(CallFacade(ToolRegistry([f]), make_test_context()))
    assert settled.record.status is CallStatus.TIMED_OUT
    assert len(settled.record.attempts) == 3


@pytest.mark.requirement("BUD-043")
async def test_an_attempt_that_overran_does_not_make_a_later_failure_a_time_out():
    calls = 0

    @tool(idempotent=True, retry=AT_ONCE, timeout=0.01)
    async def f() -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            await anyio.sleep_forever()
        raise ValueError("wrong")

    settled = await settle(CallFacade(ToolRegistry([f]), make_test_context()))
    assert (settled.record.status, len(settled.record.attempts)) == (CallStatus.ERROR, 2)


@pytest.mark.requirement("BUD-043")
async def test_a_sync_tool_that_overruns_is_tried_again():
    release = threading.Event()
    before = DEFAULT_EXECUTOR.threads.abandoned
    calls = 0

    @tool(idempotent=True, retry=Retry(attempts=2, initial=0, jitter=0), timeout=0.05)
    def f() -> int:
        nonlocal calls
        calls += 1
        if calls == 1:
            release.wait(30)
        return calls

    try:
        settled = await settle(CallFacade(ToolRegistry([f]), make_test_context(limits={"tool_timeout": 30})))
        first = settled.record.attempts[0].error
        assert first is not None
        assert first.type == "ToolTimeoutError"
        assert settled.value_json == "2"
    finally:
        release.set()
    while DEFAULT_EXECUTOR.threads.abandoned > before:  # noqa: ASYNC110 - a thread cannot set an event of the loop
        await anyio.sleep(0.001)


@pytest.mark.requirement("BUD-043", "BUD-045")
async def test_cancelling_ends_the_wait_for_the_next_attempt():
    flaky = Flaky(busy())
    facade = facade_of(flaky, retry=Retry(attempts=2, initial=3_000, maximum=3_000))
    settled: list[Settled] = []

    async def one() -> None:
        settled.append(await settle(facade))

    async with anyio.create_task_group() as group:
        group.start_soon(one)
        while flaky.calls == 0 or facade.active == 0:
            await anyio.lowlevel.checkpoint()
        for _ in range(20):
            await anyio.lowlevel.checkpoint()
        facade.cancel(1, "enough")
    assert settled[0].record.status is CallStatus.CANCELLED
    assert (flaky.calls, facade.budget.line.busy) == (1, 0)
    assert [told(attempt) for attempt in settled[0].record.attempts] == ["Busy."]
    error = settled[0].error
    assert error is not None
    assert error.message.endswith("It had started and was interrupted. Attempts so far: 1.")
    assert error.details["attempts"] == [{"type": "ToolExecutionError", "message": "Busy."}]


@pytest.mark.requirement("BUD-043", "BUD-045")
async def test_cancelling_the_task_ends_the_wait_too():
    flaky = Flaky(busy())
    facade = facade_of(flaky, retry=Retry(attempts=2, initial=3_000, maximum=3_000))
    async with anyio.create_task_group() as group:
        group.start_soon(settle, facade)
        for _ in range(50):
            await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    (record,) = facade.records()
    assert record.status is CallStatus.CANCELLED
    assert facade.budget.line.busy == 0
    assert [told(attempt) for attempt in record.attempts] == ["Busy."]


@pytest.mark.requirement("BUD-045")
async def test_an_attempt_that_is_cut_off_is_listed():
    entered = anyio.Event()

    @tool(idempotent=True, retry=AT_ONCE)
    async def f() -> None:
        if not entered.is_set():
            entered.set()
            raise busy()
        await anyio.sleep_forever()

    facade = CallFacade(ToolRegistry([f]), make_test_context())
    settled: list[Settled] = []

    async def one() -> None:
        settled.append(await settle(facade))

    async with anyio.create_task_group() as group:
        group.start_soon(one)
        await entered.wait()
        for _ in range(20):
            await anyio.lowlevel.checkpoint()
        facade.cancel(1, "enough")
    assert [told(attempt) for attempt in settled[0].record.attempts] == ["Busy.", "This attempt was cut off."]


@pytest.mark.requirement("BUD-045")
async def test_a_script_that_ends_while_a_call_waits_to_be_tried_again():
    tools, flaky = FakeTools(), Flaky(busy())
    tools.add("f", flaky, idempotent=True, retry=Retry(attempts=2, initial=3_000, maximum=3_000))
    outcomes: list[Outcome] = []
    async with Harness(tools=tools, isolation="thread") as harness:

        async def run() -> None:
            outcomes.append(await harness.run("<tool-calls>await tools.f()</tool-calls>"))

        async with anyio.create_task_group() as group:
            group.start_soon(run)
            while not flaky.calls:
                await anyio.lowlevel.checkpoint()
            for _ in range(20):
                await anyio.lowlevel.checkpoint()
            harness.cancel()
    (record,) = outcomes[0].executions[0].calls
    assert record.status is CallStatus.CANCELLED
    assert [told(attempt) for attempt in record.attempts] == ["Busy."]


@pytest.mark.requirement("BUD-045")
async def test_a_first_attempt_that_is_cut_off_is_the_call_itself():
    @tool(idempotent=True, retry=AT_ONCE)
    async def f() -> None:
        await anyio.sleep_forever()

    facade = CallFacade(ToolRegistry([f]), make_test_context())
    async with anyio.create_task_group() as group:
        group.start_soon(settle, facade)
        for _ in range(20):
            await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    (record,) = facade.records()
    assert record.attempts == ()


@pytest.mark.requirement("BUD-044")
async def test_every_attempt_is_paid_for():
    flaky = Flaky(busy(), busy())
    facade = facade_of(flaky, Economy(budget=Budget(cost_cents=100)), cost=4)
    settled = await settle(facade)
    assert (settled.value_json, settled.record.cost_cents) == ('"done"', 12)


@pytest.mark.requirement("BUD-044")
@pytest.mark.parametrize("budget", [Budget(cost_cents=9), Budget(rate_per_min=2)])
async def test_where_there_is_no_paying_for_another_attempt_the_last_error_stands(budget):
    flaky = Flaky(busy(), busy(), busy())
    settled = await settle(facade_of(flaky, Economy(budget=budget, on_budget="terminate"), cost=4))
    assert settled.error is not None
    assert (settled.error.message, settled.terminate_reason) == ("Busy.", None)
    assert (flaky.calls, len(settled.record.attempts), settled.record.cost_cents) == (2, 2, 8)
    assert "not_retried" in settled.error.details


@pytest.mark.requirement("BUD-044", "BUD-045")
async def test_a_single_attempt_that_could_not_be_repeated_is_listed():
    own = busy()
    settled = await settle(facade_of(Flaky(own), Economy(budget=Budget(cost_cents=5)), cost=4))
    assert [told(attempt) for attempt in settled.record.attempts] == ["Busy."]
    assert settled.error is not None
    assert settled.error.details == {"not_retried": {"budget": "cost_cents", "limit": 5, "used": 4, "needed": 4}}
    assert settled.exception is own
    assert own.details == {}


@pytest.mark.requirement("BUD-040", "BUD-042")
async def test_from_a_script():
    flaky = Flaky(busy())
    tools = FakeTools()
    tools.add("f", flaky, idempotent=True, retry=AT_ONCE)
    async with Harness(tools=tools) as harness:
        execution = (await harness.run("<tool-calls>return await tools.f()</tool-calls>")).executions[0]
    assert execution.value == "done"
    assert len(execution.calls[0].attempts) == 2
    assert tools.statistics()["f"].retries == 1
