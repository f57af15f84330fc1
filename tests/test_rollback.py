"""Taking back what an execution did."""

from __future__ import annotations

import sys
import threading
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from harness import (
    Decision,
    Harness,
    Outcome,
    Retry,
    RollbackReport,
    SubprocessTool,
    ToolExecutionError,
    ToolTimeoutError,
    UsageError,
    tool,
)
from harness.executor import DEFAULT_EXECUTOR
from harness.redaction import Redactor
from harness.tools import compensation
from harness.tools.compensation import Applied, Ledger

pytestmark = pytest.mark.anyio


AT_ONCE = Retry(attempts=2, initial=0, jitter=0)


class Shop:
    """Orders that can be made and unmade."""

    def __init__(self) -> None:
        self.log: list[tuple[str, Any, Any]] = []
        self.broken = False

    def tools(self, **options: Any) -> list[Any]:
        shop = self

        async def undo(arguments: dict[str, Any], result: Any) -> None:
            if shop.broken and arguments["item"] == "b":
                raise ConnectionResetError("no route to /srv/shop")
            shop.log.append(("undo", arguments, result))

        def undo_sync(arguments: dict[str, Any], result: Any) -> None:
            shop.log.append(("undo_sync", arguments, result))

        @tool(revert=undo, **options)
        async def order(item: str) -> dict[str, str]:
            return {"id": f"id-{item}"}

        @tool(revert=undo_sync)
        def reserve(item: str) -> str:
            return item * 2

        @tool
        async def look(item: str) -> str:
            return item

        return [order, reserve, look]


def block(script: str) -> str:
    return f"<tool-calls>{script}</tool-calls>"


def told(report: RollbackReport) -> list[tuple[int, str, str]]:
    return [(step.seq, step.tool, step.status) for step in report.steps]


def id_of(outcome: Outcome) -> str:
    return outcome.executions[0].id


@pytest.mark.requirement("BUD-070", "BUD-072")
async def test_the_last_call_is_reverted_first():
    shop = Shop()
    async with Harness(tools=shop.tools()) as harness:
        script = (
            "await tools.order({item: 'a'}); await tools.look({item: 'x'}); await tools.reserve({item: 'c'}); throw 1"
        )
        execution = await harness.run(block(script))
        report = await harness.rollback(id_of(execution))
    assert shop.log == [("undo_sync", {"item": "c"}, "cc"), ("undo", {"item": "a"}, {"id": "id-a"})]
    assert told(report) == [(3, "reserve", "reverted"), (2, "look", "not_revertible"), (1, "order", "reverted")]
    assert report.execution_id == id_of(execution)
    assert not report.complete


@pytest.mark.requirement("BUD-071")
async def test_a_revert_that_fails_does_not_stop_the_others_and_is_tried_again():
    shop = Shop()
    async with Harness(tools=shop.tools(), secrets=["s3cr3t"]) as harness:
        outcome = await harness.run(block("for (const item of ['a', 'b', 'c']) await tools.order({item})"))
        shop.broken = True
        first = await harness.rollback(id_of(outcome))
        shop.broken = False
        second = await harness.rollback(id_of(outcome))
    assert [status for *_, status in told(first)] == ["reverted", "failed", "reverted"]
    error = first.steps[1].error
    assert error is not None
    assert error.message == "Reverting tools.order failed: ConnectionResetError: no route to [path]"
    assert error.retryable
    assert [status for *_, status in told(second)] == ["already_reverted", "reverted", "already_reverted"]
    assert [arguments["item"] for _, arguments, _ in shop.log] == ["c", "a", "b"]
    assert (first.complete, second.complete) == (False, True)


@pytest.mark.requirement("BUD-071")
async def test_a_revert_that_overruns():
    async def never(_arguments: Any, _result: Any) -> None:
        await anyio.sleep_forever()

    @tool(revert=never, timeout=0.05)
    async def f() -> int:
        return 1

    async with Harness(tools=[f]) as harness:
        report = await harness.rollback(id_of(await harness.run(block("await tools.f()"))))
    assert report.steps[0].status == "failed"
    assert report.steps[0].error is not None
    assert report.steps[0].error.type == "ToolTimeoutError"


@pytest.mark.requirement("BUD-072")
async def test_a_call_in_doubt_is_left_alone():
    release = threading.Event()
    before = DEFAULT_EXECUTOR.threads.abandoned
    reverted: list[Any] = []

    @tool(revert=lambda *given: reverted.append(given), timeout=0.05)
    def slow() -> None:
        release.wait(30)

    async with Harness(tools=[slow]) as harness:
        report = await harness.rollback(id_of(await harness.run(block("await tools.slow()"))))
        release.set()
    assert (told(report), reverted) == ([(1, "slow", "in_doubt")], [])
    while DEFAULT_EXECUTOR.threads.abandoned > before:  # noqa: ASYNC110 - a thread cannot set an event of the loop
        await anyio.sleep(0.001)


@pytest.mark.requirement("BUD-073")
async def test_what_changed_nothing_is_not_listed():
    shop = Shop()
    decisions = iter([Decision.deny("no"), Decision.answer({"id": "by hand"}), Decision.approve(edits={"item": "z"})])
    tools = shop.tools(approval=True, deterministic=True)
    async with Harness(tools=tools, approver=lambda _request: next(decisions)) as harness:
        script = """
          for (const item of ['a', 'b', 'c', 5]) await tools.order({item}).catch(() => 0);
          await tools['no' + 'pe']().catch(() => 0);
        """
        outcome = await harness.run(block(script))
        report = await harness.rollback(id_of(outcome))
    assert told(report) == [(3, "order", "reverted")]
    # What was really done counts: the arguments as they were approved.
    assert shop.log == [("undo", {"item": "z"}, {"id": "id-z"})]


@pytest.mark.requirement("BUD-073")
async def test_a_kept_result_and_a_dry_run_changed_nothing():
    shop = Shop()
    async with Harness(tools=shop.tools(deterministic=True)) as harness:
        outcome = await harness.run(block("await tools.order({item: 'a'}); await tools.order({item: 'a'})"))
        assert [record.cached for record in outcome.executions[0].calls] == [False, True]
        assert told(await harness.rollback(id_of(outcome))) == [(1, "order", "reverted")]
    async with Harness(tools=shop.tools(), mode="dry-run") as harness:
        outcome = await harness.run(block("await tools.order({item: 'a'})"))
        report = await harness.rollback(id_of(outcome))
        assert (report.steps, report.complete) == ((), True)


@pytest.mark.requirement("BUD-074")
async def test_an_execution_that_runs_or_is_being_rolled_back():
    entered, gate = anyio.Event(), anyio.Event()

    async def undo(_arguments: Any, _result: Any) -> None:
        entered.set()
        await gate.wait()

    @tool(revert=undo)
    async def done() -> int:
        return 1

    @tool
    async def wait() -> None:
        entered.set()
        await gate.wait()

    async with Harness(tools=[done, wait]) as harness, anyio.create_task_group() as group:
        group.start_soon(harness.run, block("await tools.done(); await tools.wait()"))
        await entered.wait()
        (running,) = harness.get_status().executions
        with pytest.raises(UsageError, match="still running"):
            await harness.rollback(running)
        harness.cancel(running)
        while harness.get_status().executions:
            await anyio.lowlevel.checkpoint()
        entered = anyio.Event()
        group.start_soon(harness.rollback, running)
        await entered.wait()
        with pytest.raises(UsageError, match="rolled back already"):
            await harness.rollback(running)
        gate.set()


@pytest.mark.requirement("BUD-074")
async def test_what_is_kept_is_bounded(monkeypatch):
    shop = Shop()
    order = shop.tools()[0]
    ledger = Ledger(Redactor())

    def add(execution: str, text: str = "") -> None:
        ledger.add(execution, Applied(1, order, 1.0, f'{{"item":"{text}"}}', "null"))
        ledger.close(execution)

    for number in range(compensation.MAX_EXECUTIONS + 5):
        add(f"exec_{number}")
    assert [f"exec_{number}" in ledger for number in (4, 5, 104)] == [False, True, True]
    with pytest.raises(UsageError, match="last 100"):
        await ledger.rollback("exec_4")
    monkeypatch.setattr(compensation, "MAX_UNCHANGED", 2)
    for number in range(3):
        ledger.close(f"exec_empty_{number}")
    assert [(await ledger.rollback(f"exec_empty_{number}")).steps for number in (1, 2)] == [(), ()]
    with pytest.raises(UsageError, match="the last 2 that did not"):
        await ledger.rollback("exec_empty_0")
    monkeypatch.setattr(compensation, "MAX_BYTES", 1_000)  # what one call takes, whatever it holds, is part of it
    add("exec_large", "x" * 990)
    assert "exec_104" not in ledger
    assert "exec_large" in ledger
    assert (await ledger.rollback("exec_large")).complete


@pytest.mark.requirement("BUD-070")
def test_from_code_without_an_event_loop():
    shop = Shop()
    with Harness(tools=shop.tools(), isolation="thread") as harness:
        outcome = harness.run_sync(block("await tools.order({item: 'a'})"))
        assert harness.rollback_sync(id_of(outcome)).complete
    assert shop.log == [("undo", {"item": "a"}, {"id": "id-a"})]


@pytest.mark.requirement("BUD-071")
async def test_whoever_cancels_a_rollback_can_go_on_later():
    gate, entered = anyio.Event(), anyio.Event()
    calls: list[int] = []

    async def undo(arguments: Any, _result: Any) -> None:
        calls.append(arguments["n"])
        if arguments["n"] == 1 and not gate.is_set():
            entered.set()
            await anyio.sleep_forever()

    @tool(revert=undo)
    async def f(n: int) -> int:
        return n

    async with Harness(tools=[f]) as harness:
        outcome = await harness.run(block("for (const n of [0, 1, 2]) await tools.f({n})"))
        async with anyio.create_task_group() as group:
            group.start_soon(harness.rollback, id_of(outcome))
            await entered.wait()
            group.cancel_scope.cancel()
        gate.set()
        report = await harness.rollback(id_of(outcome))
    assert calls == [2, 1, 1, 0]
    assert [step.status for step in report.steps] == ["already_reverted", "reverted", "reverted"]


def acting(*outcomes: Any, **options: Any) -> tuple[Any, list[Any]]:
    """A tool ``f`` that does, call by call, what ``outcomes`` say, and what was reverted of it."""
    reverted: list[Any] = []
    left = list(outcomes)

    async def undo(arguments: dict[str, Any], result: Any) -> None:
        reverted.append((arguments, result))

    @tool(revert=undo, **options)
    async def f() -> int:
        outcome = left.pop(0)
        if outcome == "forever":
            await anyio.sleep_forever()
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome  # type: ignore[no-any-return] # or not: that is what is tried

    return f, reverted


async def rolled_back(made: Any, script: str = "await tools.f().catch(() => 0)", **options: Any) -> RollbackReport:
    async with Harness(tools=[made], **options) as harness:
        return await harness.rollback(id_of(await harness.run(block(script))))


@pytest.mark.requirement("BUD-075", "BUD-077")
@pytest.mark.parametrize(
    ("outcome", "options", "type_"),
    [
        ("five", {}, "ToolValidationError"),
        (object(), {}, "ToolValidationError"),
        (10**300, {}, "ToolValidationError"),
        ("forever", {"timeout": 0.01}, "ToolTimeoutError"),
        (ToolTimeoutError("The service did not answer."), {}, "ToolTimeoutError"),
        (ToolExecutionError("Who knows.", details={"in_doubt": True}), {}, "ToolExecutionError"),
    ],
)
async def test_what_was_started_and_gave_no_result_is_in_doubt(outcome, options, type_):
    made, reverted = acting(outcome, **options)
    report = await rolled_back(made)
    assert (told(report), reverted, report.complete) == ([(1, "f", "in_doubt")], [], False)
    assert report.left == report.steps
    assert report.steps[0].error is not None
    assert report.steps[0].error.type == type_


@pytest.mark.requirement("BUD-075")
async def test_a_result_that_is_too_large_leaves_its_call_in_doubt():
    reverted: list[Any] = []

    @tool(revert=lambda *given: reverted.append(given))
    async def f() -> str:
        return "x" * 10_000

    report = await rolled_back(f, limits={"result_bytes": 5_000})
    assert (told(report), reverted) == ([(1, "f", "in_doubt")], [])


@pytest.mark.requirement("BUD-075")
@pytest.mark.parametrize("how", ["abort", "cancel"])
async def test_a_call_that_was_cancelled_while_it_ran_is_in_doubt(how):
    made, _ = acting("forever")
    started = anyio.Event()
    running = made.function

    async def noted() -> int:
        started.set()
        return await running()  # type: ignore[no-any-return]

    made.function = noted

    @tool(tags=["read"])
    async def under_way() -> None:
        await started.wait()

    script = {
        "abort": "const c = new AbortController(); const p = tools.f({}, {signal: c.signal}); await tools.under_way(); c.abort();"
        " await p.catch(() => 0)",
        "cancel": "await tools.f()",
    }[how]
    async with Harness(tools=[made, under_way]) as harness, anyio.create_task_group() as group:
        found: list[Outcome] = []

        async def run() -> None:
            found.append(await harness.run(block(script)))

        group.start_soon(run)
        await started.wait()
        if how == "cancel":
            harness.cancel()
        while not found:
            await anyio.lowlevel.checkpoint()
        report = await harness.rollback(id_of(found[0]))
    assert told(report) == [(1, "f", "in_doubt")]
    assert report.steps[0].error is not None
    assert report.steps[0].error.type == "ToolCancelledError"


@pytest.mark.requirement("BUD-075")
async def test_a_tool_that_says_that_it_failed_left_nothing():
    made, _ = acting(ValueError("no"))
    assert (await rolled_back(made)).steps == ()


@pytest.mark.requirement("BUD-075")
async def test_an_earlier_attempt_that_overran_leaves_the_call_in_doubt():
    made, _ = acting("forever", ValueError("no"), idempotent=True, retry=AT_ONCE, timeout=0.01)
    report = await rolled_back(made)
    assert told(report) == [(1, "f", "in_doubt")]
    made, reverted = acting("forever", 5, idempotent=True, retry=AT_ONCE, timeout=0.01)
    assert (await rolled_back(made)).complete
    assert reverted == [({}, 5)]


@pytest.mark.requirement("BUD-075")
@pytest.mark.parametrize(
    ("program", "status"),
    [
        ("print('done')", "in_doubt"),
        ("import sys; sys.exit(3)", None),
        ("import os; os.kill(os.getpid(), 9)", "in_doubt"),
    ],
)
async def test_a_command_says_by_its_exit_code_alone_that_it_did_nothing(program, status):
    made = SubprocessTool("f", [sys.executable, "-S", "-c", program], revert=lambda *_: None)
    assert told(await rolled_back(made)) == ([] if status is None else [(1, "f", status)])


@pytest.mark.requirement("BUD-076")
async def test_a_revert_that_can_do_so_reverts_calls_in_doubt():
    made, reverted = acting("five", "forever", 5, timeout=0.01, revert_in_doubt=True)
    report = await rolled_back(made, "for (let n = 0; n < 3; n++) await tools.f().catch(() => 0)")
    assert reverted == [({}, 5), ({}, None), ({}, None)]
    assert report.complete
    assert report.left == ()
    with pytest.raises(UsageError, match="revert_in_doubt and no revert"):
        made.replace(revert_in_doubt=True, revert=None)


@pytest.mark.requirement("BUD-076")
async def test_nothing_is_reverted_while_a_thread_still_works_for_it():
    release = threading.Event()
    reverted: list[Any] = []

    @tool(revert=lambda *given: reverted.append(given), revert_in_doubt=True, timeout=0.05)
    def slow() -> None:
        release.wait(30)

    async with Harness(tools=[slow]) as harness:
        execution = id_of(await harness.run(block("await tools.slow()")))
        first = await harness.rollback(execution)
        assert (told(first), reverted) == ([(1, "slow", "in_doubt")], [])
        release.set()
        while harness.get_status().abandoned_threads:  # noqa: ASYNC110 - a thread cannot set an event of the loop
            await anyio.sleep(0.001)
        assert told(await harness.rollback(execution)) == [(1, "slow", "reverted")]
    assert reverted == [({}, None)]


@pytest.mark.requirement("BUD-073", "BUD-077")
async def test_what_is_declared_to_change_nothing_is_not_listed():
    shop = Shop()

    @tool(tags=["read"])
    async def look() -> int:
        return 1

    @tool(deterministic=True)
    async def compute() -> int:
        return 1

    @tool(tags=["read", "write"])
    async def touch() -> int:
        return 1

    async with Harness(tools=[*shop.tools()[:1], look, compute, touch]) as harness:
        script = "await tools.look(); await tools.compute(); await tools.$search('x'); await tools.order({item: 'a'})"
        report = await harness.rollback(id_of(await harness.run(block(script))))
        assert (told(report), report.complete) == ([(4, "order", "reverted")], True)
        report = await harness.rollback(id_of(await harness.run(block("await tools.touch()"))))
        assert [step.status for step in report.left] == ["not_revertible"]


@pytest.mark.requirement("BUD-058")
async def test_callbacks_get_the_defaults_too():
    reverted: list[Any] = []

    @tool(
        cost=lambda arguments: arguments["n"],
        preview=lambda arguments: arguments["n"],
        revert=lambda *given: reverted.append(given),
    )
    async def f(n: int = 3) -> int:
        return n

    async with Harness(tools=[f]) as harness:
        outcome = await harness.run(block("await tools.f()"))
        assert outcome.executions[0].calls[0].cost_cents == 3
        assert outcome.executions[0].calls[0].args == {}
        assert (await harness.rollback(id_of(outcome))).complete
    assert reverted == [({"n": 3}, 3)]
    async with Harness(tools=[f], mode="dry-run") as harness:
        (line,) = (await harness.run(block("console.log(await tools.f())"))).executions[0].logs
        assert line.text == "3"
