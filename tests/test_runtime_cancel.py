"""Cancellation at every moment, by the caller's scope and by `Harness.cancel`, and what it leaves: nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from harness import ExecutionStatus, Harness, Outcome, tool
from harness.runtime.forkserver import ForkServer
from harness.runtime.pool import ProcessPool
from harness.runtime.threads import ThreadPool

pytestmark = pytest.mark.anyio

ONE = "<tool-calls>1</tool-calls>"
EVERY_ISOLATION = pytest.mark.parametrize("isolation", ["process", "shared", "thread"])
RUNNING: list[str] = []


@tool
async def quick(n: int = 0) -> int:
    """Return at once."""
    return n


@tool
async def endless() -> None:
    """Never return, and note when cancelled."""
    RUNNING.append("endless")
    try:
        await anyio.sleep_forever()
    finally:
        RUNNING.remove("endless")


@pytest.fixture(autouse=True)
def _no_tool_is_left():
    RUNNING.clear()
    yield
    assert RUNNING == []


def block(script: str) -> str:
    return f"<tool-calls>{script}</tool-calls>"


def pool_of(harness: Harness) -> ProcessPool | ThreadPool:
    assert harness._runtime is not None
    pool = harness._runtime._pool
    assert isinstance(pool, ProcessPool | ThreadPool)
    return pool


def left(harness: Harness) -> tuple[int, int, tuple[str, ...]]:
    """Workers that serve nobody any more but are not given back, executions, and the like."""
    status = harness.get_status()
    assert status.workers is not None
    return status.workers.busy, status.pending_approvals, status.executions


async def works(harness: Harness) -> None:
    outcome = await harness.run(ONE)
    assert outcome.executions[0].value == 1, outcome.executions[0].error


SCRIPTS = {
    "computes": "for (;;);",
    "native": "Array(4294967295).join('')",
    "jobs": "for (;;) await null",
    "calls": "for (let n = 0; ; n++) await tools.quick({n})",
    "many calls": "for (;;) await Promise.all([1, 2, 3, 4].map((n) => tools.quick({n})))",
    "waits": "await tools.endless()",
    "waits for many": "await Promise.all([tools.endless(), tools.endless(), tools.endless()])",
    "catches": "for (;;) { try { await tools.endless() } catch {} }",
    "timer": "await new Promise((done) => setTimeout(done, 3_600_000))",
    "ends": "1",
}


@pytest.mark.requirement("RUN-027")
@pytest.mark.parametrize("isolation", ["process", "shared"])
@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
async def test_the_caller_s_cancellation_at_any_moment_leaves_nothing(script, isolation):
    async with Harness(
        tools=[quick, endless], isolation=isolation, limits={"max_tool_calls": 100_000, "settle_grace": 0}
    ) as harness:
        await works(harness)
        descriptors = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 -- bare numbers are wanted
        # From before there is a worker to the middle of the script; which moment each one hits is the machine's affair.
        for seconds in (0, 0.0002, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.02, 0.05):
            with anyio.move_on_after(seconds):
                await harness.run(block(script), trust_domain="a")
            assert left(harness) == (0, 0, ())
            assert RUNNING == []
        await works(harness)
        # Idle workers hold two each, of which there may be one more or less than before.
        now = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 -- bare numbers are wanted
        assert now - descriptors <= 6


@pytest.mark.requirement("RUN-027")
@pytest.mark.parametrize("steps", range(0, 26, 2))
async def test_cancellation_at_every_step_of_the_event_loop(steps):
    """The caller's scope is cancelled after a number of turns of the event loop, not after a time."""
    async with Harness(tools=[quick]) as harness:
        await works(harness)
        ended = []

        async def run() -> None:
            with anyio.CancelScope() as scope:
                scopes.append(scope)
                await harness.run(block("await tools.quick(); await Promise.all([tools.quick(), tools.quick()])"))
            ended.append(True)

        scopes: list[anyio.CancelScope] = []
        async with anyio.create_task_group() as group:
            group.start_soon(run)
            for _ in range(steps):
                await anyio.lowlevel.checkpoint()
            for scope in scopes:
                scope.cancel()
            if not scopes:
                group.cancel_scope.cancel()
        assert left(harness) == (0, 0, ())
        await works(harness)


@pytest.mark.requirement("RUN-027")
async def test_cancellation_while_a_worker_is_waited_for_loses_none():
    async with Harness() as harness:
        # The fork server is not even up yet.
        for _ in range(5):
            with anyio.CancelScope() as scope:
                scope.cancel()
                await harness.run(ONE)
            async with anyio.create_task_group() as group:
                for _ in range(3):
                    group.start_soon(harness.run, ONE)
                await anyio.lowlevel.checkpoint()
                group.cancel_scope.cancel()
        await works(harness)
        assert left(harness) == (0, 0, ())
        pool = pool_of(harness)
        assert isinstance(pool, ProcessPool)
        server = pool._server
        assert isinstance(server, ForkServer)
        assert server._process is not None
        zygote = server._process.pid
        children = Path(f"/proc/{zygote}/task/{zygote}/children").read_text().split()  # noqa: ASYNC240 -- procfs
        server.refresh()
        # Every process there is is a spare, or was given back and is about to be reaped.
        alive = {int(pid) for pid in children if Path(f"/proc/{pid}/exe").exists()}  # noqa: ASYNC240 -- procfs
        assert alive <= {worker.pid for worker in server._ready} | _starting(alive, server)


def _starting(alive: set[int], server: Any) -> set[int]:
    """Spares that were asked for, of which the host has not been told yet: at most as many as were asked for."""
    unknown = alive - {worker.pid for worker in server._ready}
    return unknown if len(unknown) <= server._requested else set()


@EVERY_ISOLATION
@pytest.mark.requirement("RUN-028")
@pytest.mark.parametrize(
    "script", ["for (;;) await null", "await tools.endless()", "try { await tools.endless() } catch {} for (;;);"]
)
async def test_cancel_ends_one_execution_with_a_status_of_its_own(script, isolation):
    outcomes: list[Outcome] = []

    async def run() -> None:
        outcomes.append(await harness.run(block(script) + ONE))

    # In a thread nothing can be killed: the clock on the CPU ends it.
    async with Harness(tools=[endless], isolation=isolation, limits={"cpu_time": 0.5}) as harness:
        async with anyio.create_task_group() as group:
            group.start_soon(run)
            while not harness.get_status().executions:
                await anyio.lowlevel.checkpoint()
            while "endless" in script and not RUNNING:
                await anyio.lowlevel.checkpoint()
            [execution_id] = harness.get_status().executions
            assert harness.cancel("another") == 0
            assert harness.cancel(execution_id) == 1
        assert left(harness) == (0, 0, ())
        await works(harness)
    cancelled, skipped = outcomes[0].executions
    assert (cancelled.id, cancelled.status) == (execution_id, ExecutionStatus.CANCELLED)
    assert cancelled.error is not None
    assert cancelled.error.type == "ScriptCancelledError"
    assert skipped.status is ExecutionStatus.SKIPPED


@EVERY_ISOLATION
@pytest.mark.requirement("RUN-028")
async def test_cancel_without_an_id_ends_them_all(isolation):
    outcomes: list[Outcome] = []

    async def run() -> None:
        outcomes.append(await harness.run(block("await tools.endless()")))

    async with Harness(tools=[endless], isolation=isolation) as harness:
        async with anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(run)
            while len(RUNNING) < 4:
                await anyio.lowlevel.checkpoint()
            assert harness.cancel() == 4
        assert harness.cancel() == 0
    assert [outcome.executions[0].status.value for outcome in outcomes] == ["cancelled"] * 4


@pytest.mark.requirement("RUN-028")
async def test_a_tool_that_cancels_its_own_execution_ends_it_before_the_script_hears_of_it():
    @tool
    async def stop() -> str:
        """Cancel whatever runs."""
        harness.cancel()
        return "told"

    async with Harness(tools=[stop, quick]) as harness:
        for _ in range(20):
            outcome = await harness.run(block("await tools.stop(); await tools.quick({n: 1})"))
            [execution] = outcome.executions
            assert execution.status is ExecutionStatus.CANCELLED
            assert [call.tool for call in execution.calls] == ["stop"]
