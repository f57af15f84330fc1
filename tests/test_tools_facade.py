"""One execution's calls, step by step, on asyncio and trio."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from harness.approvals.bridge import ApprovalBridge
from harness.approvals.decision import Decision
from harness.errors import (
    ConcurrencyLimitError,
    ToolCancelledError,
    ToolError,
    ToolExecutionError,
    ToolTimeoutError,
    ToolValidationError,
)
from harness.executor import DEFAULT_EXECUTOR
from harness.model import ApprovalNote, ApprovalRequest, CallStatus
from harness.redaction import MASK, Redactor
from harness.testing import FakeTools, ScriptedApprover, call_tool, make_test_context
from harness.threads import Threads
from harness.tools.callbook import MAX_REFUSED_RECORDS
from harness.tools.calls import Settled, ToolCall
from harness.tools.facade import CallFacade
from harness.tools.registry import ToolRegistry, tool

pytestmark = pytest.mark.anyio


def facade_of(registry: ToolRegistry, *, limits: dict[str, Any] | None = None, **options: Any) -> CallFacade:
    return CallFacade(registry, make_test_context(limits=limits), **options)


async def settle(facade: CallFacade, name: str, *arguments: Any, number: int = 1, text: str | None = None) -> Settled:
    encoded = json.dumps(list(arguments)) if text is None else text
    return await facade.call(ToolCall(number, name, encoded, line=3))


@asynccontextmanager
async def running(facade: CallFacade, *calls: ToolCall) -> AsyncIterator[dict[int, Settled]]:
    """Starts each call in a task, as the runtime does; leaves when all are settled."""
    settled: dict[int, Settled] = {}

    async def one(call: ToolCall) -> None:
        settled[call.id] = await facade.call(call)

    async with anyio.create_task_group() as group:
        for call in calls:
            facade.admit(call)
            group.start_soon(one, call)
        await quiet()
        yield settled


async def quiet() -> None:
    """Until every task that can run has run."""
    for _ in range(20):
        await anyio.lowlevel.checkpoint()


async def until(condition: Callable[[], bool]) -> None:
    """Waits for a thread to get somewhere; the suite's own time limit ends it."""
    while not condition():  # noqa: ASYNC110 - a thread cannot set an event of the loop
        await anyio.sleep(0.001)


# ── the plain way ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("TOOL-072")
async def test_a_call_and_its_record():
    @tool
    async def add(a: int, token: str) -> int:
        return a + len(token)

    facade = facade_of(ToolRegistry([add]))
    settled = await settle(facade, "add", {"a": 1, "token": "xyz"}, number=7)
    assert settled.value_json == "4"
    assert (settled.call_id, settled.error, settled.made_up, settled.terminate_reason) == (7, None, False, None)
    record = settled.record
    assert (record.seq, record.tool, record.status, record.line) == (7, "add", CallStatus.OK, 3)
    assert record.args == {"a": 1, "token": MASK}
    assert record.duration_ms is not None
    assert record.error is None
    assert facade.records() == (record,)
    assert (facade.active, facade.approving) == (0, 0)


@pytest.mark.requirement("TOOL-013")
async def test_unknown_tool():
    settled = await settle(facade_of(FakeTools({"add": 1})), "ad\u200bd")
    assert settled.error is not None
    assert settled.error.type == "ToolNotFoundError"
    assert settled.error.details == {"tool": r"ad\u{200b}d", "suggestions": ["add"]}
    assert settled.record.tool == r"ad\u{200b}d"
    assert settled.record.status is CallStatus.ERROR
    for name in ("constructor", "__proto__", "then", ""):
        error = (await settle(facade_of(FakeTools()), name)).error
        assert error is not None
        assert error.type == "ToolNotFoundError"


@pytest.mark.requirement("TOOL-020")
async def test_arguments_are_one_object():
    tools = FakeTools({"free": 1})

    @tool
    def add(a: int, b: int = 0) -> int:
        return a + b

    @tool(positional="path")
    def read(path: str, size: int = 1) -> str:
        return path * size

    tools.extend([add, read])
    facade = facade_of(tools)
    assert (await settle(facade, "free")).value_json == "1"
    assert (await settle(facade, "free", {})).value_json == "1"
    assert [call.arguments for call in tools.calls] == [{}, {}]
    for wrong in ([1], [1, 2], [{"a": 1}, {}], [None], [[1]], ["x"]):
        error = (await settle(facade, "add", *wrong)).error
        assert error is not None
        assert error.type == "ToolValidationError"
        assert "tools.add({a, b?})" in error.message
        assert error.details["form"] == "tools.add({a, b?})"
    assert (await settle(facade, "read", "x")).value_json == '"x"'
    assert (await settle(facade, "read", {"path": "x", "size": 2})).value_json == '"xx"'
    error = (await settle(facade, "read", "x", 2)).error
    assert error is not None
    assert "not 2 arguments" in error.message


@pytest.mark.requirement("TOOL-022")
@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "no valid JSON"),
        ("[", "no valid JSON"),
        ('{"a":1}', "did not arrive as one list"),
        ("[][]", "did not arrive as one list"),
        ('[{"value":NaN}]', "NaN is no JSON"),
        ('[{"value":Infinity}]', "no JSON"),
        ('[{"value":1,"value":2}]', "same key twice"),
        ('[{"value":"\\ud800"}]', "lone surrogate"),
        ('[{"value":"\ud800"}]', "lone surrogate"),
        ('[{"value":' + "[" * 210 + "]" * 210 + "}]", "nested"),
        ('[{"value":' + "[" * 100_000 + "]" * 100_000 + "}]", "nested"),
        ('[{"value":' + "1" * 5_000 + "}]", "2^53"),
        ('[{"value":"' + "x" * (256 * 1024) + '"}]', "argument_bytes allows 262,144"),
        ('[{"value":"' + "é" * (128 * 1024) + '"}]', "argument_bytes allows 262,144"),
    ],
)
async def test_hostile_argument_texts(text, part):
    tools = FakeTools({"echo": 1})
    settled = await settle(facade_of(tools), "echo", text=text)
    assert settled.error is not None
    assert settled.error.type == "ToolValidationError"
    assert part in settled.error.message
    assert len(settled.error.message) < 500
    assert tools.calls == []


@pytest.mark.requirement("TOOL-022")
async def test_nesting_up_to_the_limit_works():
    nested: Any = 1
    for _ in range(199):
        nested = [nested]
    tools = FakeTools({"echo": lambda arguments: arguments["value"]})
    assert (await settle(facade_of(tools), "echo", {"value": nested})).value_json == json.dumps(nested)


@pytest.mark.requirement("TOOL-023")
async def test_numbers_javascript_cannot_hold():
    @tool
    def measure(value: float, maybe: float | None = None, rows: list[dict[str, Any]] | None = None) -> float:
        return value

    registry = ToolRegistry([measure])
    registry.extend(FakeTools({"echo": lambda arguments: arguments["value"]}))
    facade = facade_of(registry)
    for text in ("9007199254740992", "-9007199254740992", "12345678901234567000", "1e17", "1.2345678901234568e+29"):
        error = (await settle(facade, "echo", text=f'[{{"value":[{text}]}}]')).error
        assert error is not None
        assert error.type == "ToolValidationError"
        assert error.details["path"] == "$.value[0]"
        assert "as a string" in error.message
    assert (await settle(facade, "echo", text='[{"value":9007199254740991}]')).value_json == "9007199254740991"
    assert (await settle(facade, "echo", text='[{"value":1.5e3}]')).value_json == "1500.0"
    assert (await settle(facade, "measure", text='[{"value":6.02e+23,"maybe":1e+30}]')).value_json == "6.02e+23"
    error = (await settle(facade, "measure", text='[{"value":1,"rows":[{"id":1e+20}]}]')).error
    assert error is not None
    assert error.details["path"] == "$.rows[0].id"


@pytest.mark.requirement("TOOL-024")
async def test_prototype_keys_are_data():
    tools = FakeTools({"echo": lambda arguments: arguments["value"]})
    text = '{"__proto__":{"admin":true},"constructor":{"prototype":{}},"toString":1}'
    settled = await settle(facade_of(tools), "echo", text=f'[{{"value":{text}}}]')
    assert settled.value_json == text
    assert tools.calls[0].arguments == {"value": json.loads(text)}


@pytest.mark.requirement("TOOL-031", "TOOL-033")
async def test_results_that_cannot_be_sent():
    tools = FakeTools({"f": {"rows": [1, print]}, "nan": [float("nan")], "id": {"id": 2**60}, "long": "x" * 100})
    facade = facade_of(tools, limits={"result_bytes": 64})
    for name, path in [("f", "$.rows[1]"), ("nan", "$[0]"), ("id", "$.id")]:
        settled = await settle(facade, name)
        assert settled.error is not None
        assert settled.error.details["path"] == path
        assert settled.value_json is None
        assert settled.record.status is CallStatus.ERROR
        assert settled.record.duration_ms is not None
    error = (await settle(facade, "long")).error
    assert error is not None
    assert error.type == "ToolValidationError"
    assert "102 bytes" in error.message
    assert error.details["limit"] == 64


# ── failures ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("TOOL-040")
async def test_a_tools_own_errors_pass_unchanged():
    class QuotaError(ToolExecutionError):
        """A subclass of the host's."""

    tools = FakeTools(
        {
            "busy": ToolExecutionError("Come back later.", retryable=True, details={"after_s": 3}),
            "quota": QuotaError("No more."),
            "lies": ToolTimeoutError("my own"),
            "odd": ToolExecutionError("odd", details={"x": object()}),
        }
    )
    facade = facade_of(tools)
    busy = (await settle(facade, "busy")).error
    assert busy is not None
    assert busy.line == 3  # of the call, whatever the tool's own error says
    assert busy is not None
    assert (busy.type, busy.message, busy.retryable, busy.details) == (
        "ToolExecutionError", "Come back later.", True, {"after_s": 3},
    )  # fmt: skip
    quota = (await settle(facade, "quota")).error
    assert quota is not None
    assert quota.type == "QuotaError"
    lies = await settle(facade, "lies")
    assert lies.record.status is CallStatus.ERROR  # only the harness's own clock makes a call time out
    odd = (await settle(facade, "odd")).error
    assert odd is not None
    assert "no JSON form" in str(odd.details)


@pytest.mark.requirement("TOOL-040", "TOOL-041")
async def test_other_exceptions_are_named_and_scrubbed(caplog):
    class BrokenError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    tools = FakeTools(
        {
            "value": ValueError("bad /home/me/x.txt password=hunter2 s3cr3t"),
            "conn": ConnectionResetError("gone"),
            "empty": KeyError(),
            "long": RuntimeError("x" * 900),
            "broken": BrokenError(),
            "group": ExceptionGroup("several", [ValueError("a")]),
        }
    )
    facade = facade_of(tools, redactor=Redactor(["s3cr3t"]))
    with caplog.at_level(logging.WARNING, logger="harness.tools"):
        value = (await settle(facade, "value")).error
    assert value is not None
    assert value.type == "ToolExecutionError"
    assert value.message == f"tools.value failed: ValueError: bad [path] password={MASK} {MASK}"
    assert value.details == {"exception": "ValueError"}
    assert value.retryable is False
    assert caplog.records[0].exc_info is not None
    assert isinstance(caplog.records[0].exc_info[1], ValueError)
    messages = {}
    for name in ("conn", "empty", "long", "broken", "group"):
        error = (await settle(facade, name)).error
        assert error is not None
        messages[name] = (error.message, error.retryable)
    assert messages == {
        "conn": ("tools.conn failed: ConnectionResetError: gone", True),
        "empty": ("tools.empty failed: KeyError", False),
        "long": ("tools.long failed: RuntimeError: " + "x" * 500 + "… (400 characters cut)", False),
        "broken": ("tools.broken failed: BrokenError: (its text cannot be made)", False),
        "group": ("tools.group failed: ExceptionGroup: several (1 sub-exception)", False),
    }


@pytest.mark.requirement("TOOL-102")
async def test_registered_secrets_are_removed_from_a_tools_own_errors():
    tools = FakeTools({"f": ToolExecutionError("with s3cr3t", details={"at": ["s3cr3t"]})})
    error = (await settle(facade_of(tools, redactor=Redactor(["s3cr3t"])), "f")).error
    assert error is not None
    assert error.message == f"with {MASK}"
    assert error.details == {"at": [MASK]}


@pytest.mark.requirement("TOOL-042")
async def test_keyboard_interrupt_passes_through():
    class StopError(KeyboardInterrupt):
        pass

    facade = facade_of(FakeTools({"f": StopError()}))
    with pytest.raises(StopError):
        await settle(facade, "f")
    assert [record.status for record in facade.records()] == [CallStatus.CANCELLED]


@pytest.mark.requirement("TOOL-042")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_cancellation_nobody_asked_for_is_the_tools_failure():
    @tool
    async def stray() -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    settled = await settle(facade_of(ToolRegistry([stray])), "stray")
    assert settled.error is not None
    assert settled.error.type == "ToolExecutionError"
    assert "awaited something that was cancelled" in settled.error.message
    with pytest.raises(ToolExecutionError):
        await call_tool(stray)


@pytest.mark.requirement("TOOL-042")
async def test_a_cancellation_inside_the_tool_stays_inside():
    @tool
    async def inner() -> str:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await anyio.sleep_forever()
        return "went on"

    assert (await settle(facade_of(ToolRegistry([inner])), "inner")).value_json == '"went on"'


# ── time ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("TOOL-050")
async def test_an_async_tool_that_overruns_is_cancelled():
    seen: list[str] = []

    @tool(timeout=0.01)
    async def slow() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            seen.append("cancelled")

    @tool(timeout=0.01)
    async def stubborn() -> str:
        with contextlib.suppress(BaseException):  # what a badly behaved tool does
            await anyio.sleep_forever()
        return "as if nothing had happened"

    @tool(timeout=0.01)
    async def angry() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise ValueError("instead")

    facade = facade_of(ToolRegistry([slow, stubborn, angry]))
    for number, name in enumerate(["slow", "stubborn", "angry"], 1):
        settled = await settle(facade, name, number=number)
        assert settled.error is not None
        assert settled.error.type == "ToolTimeoutError"
        assert settled.error.retryable
        assert settled.error.details == {"limit": 0.01}
        assert settled.record.status is CallStatus.TIMED_OUT
        assert settled.record.duration_ms is not None
    assert seen == ["cancelled"]


@pytest.mark.requirement("TOOL-050")
async def test_the_limits_time_holds_where_the_tool_has_none():
    tools = FakeTools()
    tools.add("slow", hold=anyio.Event())
    settled = await settle(facade_of(tools, limits={"tool_timeout": 0.01}), "slow")
    assert settled.record.status is CallStatus.TIMED_OUT


@pytest.mark.requirement("TOOL-050")
async def test_a_tools_own_timeout_error_is_its_failure():
    settled = await settle(facade_of(FakeTools({"f": TimeoutError("upstream")})), "f")
    assert settled.error is not None
    assert (settled.error.type, settled.error.retryable) == ("ToolExecutionError", True)
    assert settled.record.status is CallStatus.ERROR


@pytest.mark.requirement("TOOL-051")
async def test_a_sync_tool_that_overruns_is_abandoned_and_in_doubt():
    release = threading.Event()
    before = DEFAULT_EXECUTOR.threads.abandoned
    ended = threading.Event()

    @tool(timeout=0.01)
    def slow() -> None:
        release.wait(30)
        ended.set()

    settled = await settle(facade_of(ToolRegistry([slow])), "slow")
    assert settled.error is not None
    assert settled.error.type == "ToolTimeoutError"
    assert settled.error.retryable is False
    assert settled.record.status is CallStatus.IN_DOUBT
    assert DEFAULT_EXECUTOR.threads.abandoned == before + 1
    release.set()
    await until(lambda: DEFAULT_EXECUTOR.threads.abandoned == before)
    assert ended.is_set()


@pytest.mark.requirement("TOOL-052")
async def test_abandoned_threads_are_bounded():
    threads = Threads(max_threads=1)
    release = threading.Event()
    with anyio.move_on_after(0.01):
        await threads.run(lambda: release.wait(30))
    assert threads.abandoned == 1
    with pytest.raises(ConcurrencyLimitError, match="still busy"):
        await threads.run(lambda: True)
    release.set()
    await until(lambda: threads.abandoned == 0)
    assert await threads.run(lambda: 5) == 5


@pytest.mark.requirement("TOOL-001")
async def test_a_sync_tool_runs_in_a_thread_with_the_callers_context():
    @tool
    def where() -> bool:
        return threading.current_thread() is threading.main_thread()

    assert (await settle(facade_of(ToolRegistry([where])), "where")).value_json == "false"


# ── budgets ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("TOOL-060")
async def test_the_call_budget_holds_under_concurrency():
    tools = FakeTools({"f": 1})
    facade = facade_of(tools, limits={"max_tool_calls": 3})
    assert (await settle(facade, "f", 5, number=99)).error is not None  # invalid: costs nothing
    async with running(facade, *(ToolCall(number, "f", "[]") for number in range(1, 11))) as settled:
        pass
    failed = [item.error for item in settled.values() if item.error is not None]
    assert len(failed) == 7
    assert {error.type for error in failed} == {"ToolBudgetExceededError"}
    assert failed[0].details == {"budget": "max_tool_calls", "limit": 3, "used": 3}
    assert len(tools.calls) == 3
    assert facade.budget.left == 0


@pytest.mark.requirement("TOOL-061")
async def test_concurrency_is_bounded_and_in_order():
    order: list[int] = []
    active = most = 0
    gate = anyio.Event()

    @tool
    async def work(n: int) -> None:
        nonlocal active, most
        order.append(n)
        active += 1
        most = max(most, active)
        await gate.wait()
        active -= 1

    facade = facade_of(ToolRegistry([work]), limits={"max_concurrent_tool_calls": 3})
    calls = [ToolCall(number, "work", json.dumps([{"n": number}])) for number in range(1, 11)]
    async with running(facade, *calls):
        assert sorted(order) == [1, 2, 3]  # trio starts tasks in an order of its own
        assert facade.budget.waiting == 7
        assert facade.active == 10
        gate.set()
    assert sorted(order) == list(range(1, 11))
    assert most == 3
    assert facade.budget.waiting == 0


@pytest.mark.requirement("TOOL-061")
async def test_waiting_calls_start_first_come_first_served():
    order: list[int] = []
    gates = {number: anyio.Event() for number in range(1, 6)}

    @tool
    async def work(n: int) -> None:
        order.append(n)
        await gates[n].wait()

    facade = facade_of(ToolRegistry([work]), limits={"max_concurrent_tool_calls": 1})
    async with running(facade, *(ToolCall(n, "work", json.dumps([{"n": n}])) for n in gates)):
        facade.cancel(3)
        for gate in gates.values():
            gate.set()
            await quiet()
    assert order == [1, 2, 4, 5]


@pytest.mark.requirement("TOOL-062")
async def test_too_many_unsettled_calls():
    tools = FakeTools()
    gate = anyio.Event()
    tools.add("slow", hold=gate)
    facade = facade_of(tools, limits={"max_pending_calls": 4, "max_concurrent_tool_calls": 2})
    async with running(facade, *(ToolCall(number, "slow", "[]") for number in range(1, 7))) as settled:
        errors = {number: item.error.type for number, item in settled.items() if item.error}
        assert errors == {5: "ConcurrencyLimitError", 6: "ConcurrencyLimitError"}
        gate.set()
    assert sum(item.error is None for item in settled.values()) == 4


@pytest.mark.requirement("TOOL-063")
async def test_records_of_refused_calls_are_bounded():
    facade = facade_of(FakeTools({"f": 1}))
    for number in range(1, MAX_REFUSED_RECORDS + 11):
        await settle(facade, "nope", number=number)
    await settle(facade, "f", number=5_000)
    assert len(facade.records()) == MAX_REFUSED_RECORDS + 1
    assert facade.records()[-1].seq == 5_000
    assert facade.unrecorded == 10


# ── cancellation ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("TOOL-070")
async def test_cancelling_single_calls():
    tools = FakeTools()
    tools.add("slow", hold=anyio.Event())
    facade = facade_of(tools, limits={"max_concurrent_tool_calls": 1})
    facade.cancel(3, "already aborted")
    calls = [ToolCall(number, "slow", "[]") for number in (1, 2, 3)]
    async with running(facade, *calls) as settled:
        assert set(settled) == {3}
        facade.cancel(2)
        await quiet()
        assert set(settled) == {2, 3}
        facade.cancel(1, "enough")
    assert {item.record.status for item in settled.values()} == {CallStatus.CANCELLED}
    errors = {number: item.error for number, item in settled.items()}
    assert {error.type for error in errors.values() if error} == {"ToolCancelledError"}
    assert errors[1] is not None
    assert "enough" in errors[1].message
    assert [number for number, error in errors.items() if error and error.details["started"]] == [1]
    assert len(tools.calls) == 1
    facade.cancel(1)  # settled: nothing happens


@pytest.mark.requirement("TOOL-070")
async def test_cancelling_a_started_sync_tool_leaves_it_in_doubt():
    started, release = threading.Event(), threading.Event()
    before = DEFAULT_EXECUTOR.threads.abandoned

    @tool
    def slow() -> None:
        started.set()
        release.wait(30)

    facade = facade_of(ToolRegistry([slow]))
    async with running(facade, ToolCall(1, "slow", "[]")) as settled:
        await until(started.is_set)
        facade.cancel_all("the script ended")
    assert settled[1].record.status is CallStatus.IN_DOUBT
    assert settled[1].error is not None
    assert "may still take effect" in settled[1].error.message
    release.set()
    await until(lambda: DEFAULT_EXECUTOR.threads.abandoned == before)


@pytest.mark.requirement("TOOL-070")
async def test_a_tool_that_ends_in_spite_of_the_cancellation_has_ended():
    entered = anyio.Event()

    @tool
    async def careful() -> str:
        with anyio.CancelScope(shield=True):
            entered.set()
            await quiet()
        return "written"

    facade = facade_of(ToolRegistry([careful]))
    async with running(facade, ToolCall(1, "careful", "[]")) as settled:
        await entered.wait()
        facade.cancel(1)
    assert settled[1].value_json == '"written"'
    assert settled[1].record.status is CallStatus.OK


@pytest.mark.requirement("TOOL-070", "TOOL-072")
async def test_calls_the_runtime_refuses_are_recorded():
    tools = FakeTools({"f": 1})
    facade = facade_of(tools)
    aborted = await facade.refuse(ToolCall(1, "f", "[]", line=4), ToolCancelledError("Its signal was aborted."))
    assert (aborted.record.status, aborted.record.line) == (CallStatus.CANCELLED, 4)
    bad = await facade.refuse(
        ToolCall(2, "f", ""), ToolValidationError("", details={"path": "$.x", "found": "function"})
    )
    assert bad.error is not None
    assert bad.record.status is CallStatus.ERROR
    assert bad.error.details == {"path": "$.x", "found": "function", "form": "tools.f()"}
    assert [record.seq for record in facade.records()] == [1, 2]
    assert (facade.active, facade.budget.used, tools.calls) == (0, 0, [])


@pytest.mark.requirement("TOOL-072")
async def test_the_record_of_a_refused_call_shows_what_it_was_called_with():
    facade = facade_of(FakeTools({"f": 1}))
    text = '[{"sku": "A-1", "password": "x"}]'
    late = await facade.refuse(ToolCall(1, "f", text), ToolCancelledError("The script had failed."))
    unknown = await facade.call(ToolCall(2, "g", text))
    assert late.record.args == unknown.record.args == {"sku": "A-1", "password": MASK}
    others = [
        await facade.refuse(ToolCall(number, "f", other), ToolCancelledError("The script had failed."))
        for number, other in enumerate(["[1, 2]", '["a"]', "[]", '[{"a": 1e400}]', "no JSON"], 3)
    ]
    assert [each.record.args for each in others] == [{}] * 5


@pytest.mark.requirement("TOOL-061", "TOOL-060")
async def test_order_is_that_of_the_calls_not_of_the_tasks():
    tools = FakeTools({"f": 1})
    facade = facade_of(tools, limits={"max_tool_calls": 2})
    calls = [ToolCall(number, "f", "[]") for number in (1, 2, 3)]
    for call in calls:
        facade.admit(call)
    assert facade.active == 3
    errors = [(await facade.call(call)).error for call in reversed(calls)]
    assert [None if error is None else error.type for error in errors] == ["ToolBudgetExceededError", None, None]


@pytest.mark.requirement("TOOL-071")
async def test_records_after_the_execution_was_cancelled():
    release = threading.Event()
    started = threading.Event()
    before = DEFAULT_EXECUTOR.threads.abandoned

    @tool
    def thread() -> None:
        started.set()
        release.wait(30)

    tools = FakeTools({"done": 1})
    tools.add("slow", hold=anyio.Event())
    tools.register(thread)
    facade = facade_of(tools, limits={"max_concurrent_tool_calls": 3})
    names = ["done", "slow", "thread", "slow", "slow"]
    async with anyio.create_task_group() as group:
        for number, name in enumerate(names, 1):
            call = ToolCall(number, name, "[]")
            facade.admit(call)
            group.start_soon(facade.call, call)
        await until(started.is_set)
        await quiet()
        expected = [
            CallStatus.OK,
            CallStatus.CANCELLED,
            CallStatus.IN_DOUBT,
            CallStatus.CANCELLED,
            CallStatus.CANCELLED,
        ]
        assert [record.status for record in facade.records()] == expected
        group.cancel_scope.cancel()
    assert [record.status for record in facade.records()] == expected
    assert [record.tool for record in facade.records()] == names
    errors = [record.error.type for record in facade.records() if record.error]
    assert errors == ["ToolCancelledError"] * 4
    assert facade.active == 0
    release.set()
    await until(lambda: DEFAULT_EXECUTOR.threads.abandoned == before)


# ── statistics and observers ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("TOOL-073")
async def test_statistics():
    tools = FakeTools({"f": lambda arguments: 1 / arguments["n"], "unused": 1})
    facade = facade_of(tools)
    for number, n in enumerate([1, 2, 0], 1):
        await settle(facade, "f", {"n": n}, number=number)
    await settle(facade, "nope", number=4)
    statistics = tools.statistics()
    assert set(statistics) == {"f", "unused"}
    counters = statistics["f"]
    assert (counters.calls, counters.ok, counters.failed) == (3, 2, {"ToolExecutionError": 1})
    assert counters.duration_ms > 0
    assert statistics["unused"].calls == 0


class Observer:
    def __init__(self, fail_at: str = "") -> None:
        self.seen: list[str] = []
        self._fail_at = fail_at

    def _note(self, step: str, number: int) -> None:
        self.seen.append(f"{step} {number}")
        if self._fail_at and step.startswith(self._fail_at):
            raise OSError("disk full")

    async def issued(self, call: ToolCall) -> None:
        self._note("issued", call.id)

    async def asked(self, call: ToolCall, request: ApprovalRequest) -> None:
        self._note(f"asked {request.kind}", call.id)

    async def decided(
        self, call: ToolCall, request: ApprovalRequest, note: ApprovalNote, decision: Decision | None
    ) -> None:
        self._note(f"decided {note.decision}", call.id)

    async def started(self, call: ToolCall, arguments_json: str) -> None:
        self._note(f"started {arguments_json}", call.id)

    async def settled(self, settled: Settled) -> None:
        self._note(f"settled {settled.record.status}", settled.call_id)


@pytest.mark.requirement("TOOL-074")
async def test_an_observer_sees_each_step_in_order():
    tools = FakeTools({"f": 1})
    tools.add("ask", approval=True)
    observer = Observer()
    bridge = ApprovalBridge(ScriptedApprover([Decision.approve(), Decision.deny("no")]))
    facade = facade_of(tools, observer=observer, approvals=bridge)
    for number, name in enumerate(["f", "nope", "ask", "ask"], 1):
        await settle(facade, name, {"n": number}, number=number)
    assert observer.seen == [
        "issued 1", 'started {"n":1} 1', "settled ok 1",
        "settled error 2",
        "issued 3", "asked approval 3", "decided approved 3", 'started {"n":3} 3', "settled ok 3",
        "issued 4", "asked approval 4", "decided denied 4", "settled denied 4",
    ]  # fmt: skip


@pytest.mark.requirement("TOOL-074", "TOOL-043")
@pytest.mark.parametrize("step", ["issued", "started"])
async def test_an_observer_that_fails_keeps_the_tool_from_running(step):
    tools = FakeTools({"f": 1})
    settled = await settle(facade_of(tools, observer=Observer(step)), "f")
    assert settled.error is not None
    assert settled.error.type == "HarnessInternalError"
    assert "disk full" not in settled.error.message
    assert tools.calls == []


@pytest.mark.requirement("TOOL-074", "TOOL-043")
async def test_an_observer_that_fails_at_the_end_does_not_leave_the_call_unsettled():
    tools = FakeTools({"f": 1})
    observer = Observer("settled ok")
    facade = facade_of(tools, observer=observer)
    settled = await settle(facade, "f")
    assert settled.error is not None
    assert settled.error.type == "HarnessInternalError"
    assert settled.value_json is None
    assert len(tools.calls) == 1
    assert facade.active == 0


@pytest.mark.requirement("TOOL-074", "TOOL-071")
async def test_a_call_that_is_dropped_with_its_execution_has_not_settled():
    tools = FakeTools()
    tools.add("slow", hold=anyio.Event())
    observer = Observer()
    facade = facade_of(tools, observer=observer)
    async with anyio.create_task_group() as group:
        group.start_soon(facade.call, ToolCall(1, "slow", "[]"))
        await quiet()
        group.cancel_scope.cancel()
    assert observer.seen == ["issued 1", "started {} 1"]
    assert [record.status for record in facade.records()] == ["cancelled"]


# ── dry run and host code ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("TOOL-080")
async def test_a_dry_run_invokes_and_asks_nothing():
    tools = FakeTools()

    @tool(approval=True)
    def refund(order: str, cents: int) -> dict[str, int]:
        raise AssertionError

    @tool(preview={"rows": [1]})
    def rows() -> dict[str, list[int]]:
        raise AssertionError

    @tool(preview=lambda arguments: arguments["n"] + 1)
    def computed(n: int) -> int:
        raise AssertionError

    @tool(preview=lambda _arguments: 1 / 0)
    def broken() -> int:
        raise AssertionError

    tools.extend([refund, rows, computed, broken])
    tools.add("unknown", AssertionError())
    approver = ScriptedApprover([])
    facade = facade_of(tools, mode="dry-run", approvals=ApprovalBridge(approver), limits={"max_tool_calls": 5})
    planned = await settle(facade, "refund", {"order": "o", "cents": 1}, number=1)
    assert (planned.value_json, planned.made_up, planned.needs_approval) == ("{}", True, True)
    assert planned.record.status is CallStatus.PLANNED
    assert planned.record.duration_ms is None
    assert [facade.needed_approval(number) for number in (1, 2)] == [True, False]
    assert (await settle(facade, "rows", number=2)).value_json == '{"rows":[1]}'
    assert (await settle(facade, "computed", {"n": 1}, number=3)).value_json == "2"
    assert (await settle(facade, "unknown", number=4)).value_json == "null"
    failed = await settle(facade, "broken", number=5)
    assert failed.error is not None
    assert (failed.error.type, failed.record.status) == ("ToolExecutionError", CallStatus.ERROR)
    invalid = await settle(facade, "refund", {"order": "o"}, number=6)
    assert invalid.error is not None
    assert (invalid.error.type, invalid.made_up) == ("ToolValidationError", False)
    over = await settle(facade, "rows", number=7)
    assert over.error is not None
    assert over.error.type == "ToolBudgetExceededError"
    assert approver.requests == []
    assert tools.calls == []
    assert tools.statistics()["refund"].calls == 0


@pytest.mark.requirement("TOOL-090")
async def test_calls_from_host_code():
    @tool(approval=True, timeout=0.01)
    async def add(a: int, wait: bool = False) -> int:
        if wait:
            await anyio.sleep_forever()
        return a + 1

    registry = ToolRegistry([add])
    assert await registry.call("add", {"a": 1}) == 2
    with pytest.raises(ToolTimeoutError):
        await registry.call("add", {"a": 1, "wait": True})
    with pytest.raises(ToolValidationError):
        await registry.call("add", {"a": "1"})
    with pytest.raises(ToolError, match="Did you mean"):
        await registry.call("ad")
    small = make_test_context(limits={"result_bytes": 2})
    with pytest.raises(ToolValidationError, match="bytes of JSON"):
        await registry.call("add", {"a": 100}, context=small)
    with anyio.move_on_after(5) as scope:
        scope.cancel()
        await registry.call("add", {"a": 1, "wait": True})
    assert scope.cancelled_caught


@pytest.mark.requirement("TOOL-042", "TOOL-040")
@pytest.mark.parametrize("sync", [True, False])
async def test_a_tool_that_ends_the_interpreter_only_failed(sync):
    def ends() -> None:
        sys.exit("no more")

    async def ends_async() -> None:
        sys.exit("no more")

    settled = await settle(facade_of(ToolRegistry([tool(name="f")(ends if sync else ends_async)])), "f")
    assert settled.error is not None
    assert settled.error.type == "ToolExecutionError"
    assert settled.error.message == "tools.f failed: SystemExit: no more"


@pytest.mark.requirement("TOOL-042")
async def test_a_keyboard_interrupt_in_a_thread_reaches_the_caller():
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await Threads().run(interrupted)


@pytest.mark.requirement("TOOL-052")
async def test_a_function_in_a_thread_can_run_an_event_loop_of_its_own():
    async def inner() -> bool:
        await anyio.lowlevel.checkpoint()
        return threading.current_thread().daemon

    assert await Threads().run(lambda: anyio.run(inner))
    trio = await Threads().run(lambda: anyio.run(inner, backend="trio"))
    assert trio


@pytest.mark.requirement("TOOL-052")
async def test_a_call_that_is_cancelled_before_it_starts_leaves_no_thread():
    threads = Threads()
    started: list[bool] = []
    with anyio.CancelScope() as scope:
        scope.cancel()
        await threads.run(lambda: started.append(True))
    assert (started, threads.abandoned) == ([], 0)


@pytest.mark.requirement("TOOL-042")
async def test_an_exception_of_any_kind_is_the_tools_failure():
    class Panic(BaseException):
        pass

    settled = await settle(facade_of(FakeTools({"f": Panic("at the disco")})), "f")
    assert settled.error is not None
    assert (settled.error.type, settled.error.details["exception"]) == ("ToolExecutionError", "Panic")
