"""What an execution says of how it ended."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import anyio
import pytest

from harness import Execution, Harness, tool

pytestmark = pytest.mark.anyio


@tool
async def boom() -> int:
    """Fail."""
    raise ValueError("no")


@tool
async def echo(v: int) -> int:
    """Give back."""
    return v


async def run(script: str, **limits: float) -> Execution:
    async with Harness(tools=[boom, echo], limits=limits) as harness:
        return (await harness.run(f"<tool-calls>{script}</tool-calls>")).executions[0]


def codes(execution: Execution) -> list[str]:
    return [found.code for found in execution.diagnostics]


@pytest.mark.requirement("RUN-029")
@pytest.mark.parametrize("limits", [{"wall_time": 0.3}, {"cpu_time": 0.2}], ids=["wall", "cpu"])
async def test_words_that_died_with_the_worker_are_said_to_be_lost(limits):
    execution = await run("console.log('a'); progress('b'); while (true);", **limits)
    assert execution.error is not None
    assert execution.error.type == "ScriptTimeoutError"
    assert codes(execution) == ["logs_lost"]
    waited = await run("console.log('a'); await new Promise((r) => setTimeout(r, 60000))", wall_time=0.3)
    assert [log.text for log in waited.logs] == ["a"]
    assert codes(waited) == []


@pytest.mark.requirement("RUN-012", "RUN-013")
async def test_a_worker_that_dies_while_its_script_waits_is_noticed_at_once():
    waiting = anyio.Event()
    cancelled = anyio.Event()

    @tool
    async def forever() -> None:
        """Never end."""
        waiting.set()
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()

    executions: list[Execution] = []
    async with Harness(tools=[forever]) as harness:

        async def execute() -> None:
            outcome = await harness.run("<tool-calls>await tools.forever()</tool-calls>")
            executions.extend(outcome.executions)

        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                group.start_soon(execute)
                await waiting.wait()
                for pid in _workers():
                    os.kill(pid, signal.SIGKILL)
        assert cancelled.is_set()
        (execution,) = executions
        assert execution.error is not None
        assert execution.error.type == "WorkerCrashedError"
        assert "SIGKILL" in execution.error.message
        assert [call.status.value for call in execution.calls] == ["cancelled"]
        assert (await harness.run("<tool-calls>1</tool-calls>")).executions[0].value == 1


def _workers() -> list[int]:
    """Processes two generations below this one: the fork server's children."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        found = [grandchild for child in _children(os.getpid()) for grandchild in _children(child)]
        if found:
            return found
    return []


def _children(pid: int) -> list[int]:
    pids: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        pids += map(int, task.read_text().split())
    return pids


@pytest.mark.requirement("RUN-048")
async def test_calls_that_the_vm_refuses_are_counted():
    execution = await run(
        "(await Promise.allSettled([1, 2, 3].map((v) => tools.echo({v})))).length", max_pending_calls=1
    )
    assert execution.value == 3
    assert len(execution.calls) == 1
    (found,) = execution.diagnostics
    assert (found.code, found.details) == ("calls_refused", {"calls": 2})


@pytest.mark.requirement("RUN-048")
async def test_calls_that_are_aborted_at_once_come_in_frames_of_a_bounded_size():
    execution = await run(
        "const signal = AbortSignal.abort(); const all = [];"
        "for (let i = 0; i < 5; i++) all.push(tools.echo({v: i}, {signal}));"
        "(await Promise.allSettled(all)).map((one) => one.reason.name)",
        max_pending_calls=3,
    )
    assert execution.value == [*["AbortError"] * 3, *["ConcurrencyLimitError"] * 2]
    assert len(execution.calls) == 3
    assert [(found.code, found.details) for found in execution.diagnostics] == [("calls_refused", {"calls": 2})]


@pytest.mark.requirement("RUN-025")
async def test_a_deadlock_for_want_of_memory_says_so():
    execution = await run(
        "const all = []; new Promise(() => { for (;;) all.push(new Array(1e4).fill(1.5)) }).catch(() => {});"
        "await new Promise(() => {})",
        memory_bytes=16 * 1024 * 1024,
    )
    assert execution.error is not None
    assert execution.error.type == "ScriptDeadlockError"
    assert "used most of its memory (memory_bytes)" in execution.error.message


@pytest.mark.requirement("RUN-044")
async def test_finally_does_not_hide_a_rejection():
    execution = await run("tools.boom().finally(() => {}); return 1")
    assert execution.error is not None
    assert execution.error.type == "DetachedPromiseError"
    caught = await run("try { await tools.boom().finally(() => {}) } catch (e) { return e.name }")
    assert caught.value == "ToolExecutionError"


@pytest.mark.requirement("PIPE-021")
async def test_an_error_keeps_what_is_behind_it():
    chain = await run("throw new TypeError('outer', {cause: new RangeError('inner', {cause: 'root'})})")
    both = await run("await Promise.any([tools.boom(), tools.boom()])")
    hostile = await run("const e = new Error('x'); Object.defineProperty(e, 'cause', {get() { throw 1 }}); throw e")
    assert chain.error is not None
    assert chain.error.details["causes"] == ["RangeError: inner", "root"]
    assert both.error is not None
    assert both.error.type == "AggregateError"
    assert both.error.details["errors"] == ["ToolExecutionError: tools.boom failed: ValueError: no"] * 2
    assert "ValueError: no" in both.error.message
    assert hostile.error is not None
    assert (hostile.error.message, hostile.error.details) == ("x", {})


@pytest.mark.requirement("PIPE-021")
@pytest.mark.parametrize("script", ["1 +", "return 1 +", "if (true) {", "foo("])
async def test_a_script_that_stops_in_the_middle_is_told_so(script):
    execution = await run(script)
    assert execution.error is not None
    assert execution.error.type == "ScriptSyntaxError"
    assert "'}'" not in execution.error.message
    assert (execution.error.line, execution.error.column) == (1, len(script) + 1) or "(" in script or "{" in script


@pytest.mark.requirement("RUN-043")
async def test_an_abort_can_be_told_from_other_errors():
    execution = await run(
        "const c = new AbortController(); c.abort();"
        "try { await tools.echo({v: 1}, {signal: c.signal}) } catch (e) { return [e.name, e.retryable, e.category] }"
    )
    assert execution.value == ["AbortError", False, "PERMANENT"]
