"""Many executions, in a row and at once: what one leaves behind shows only then."""

from __future__ import annotations

import gc
import os
import threading
from pathlib import Path
from typing import Any

import anyio
import pytest

from harness import Harness, Outcome, tool
from harness.runtime.forkserver import ForkServer
from harness.runtime.pool import ProcessPool

pytestmark = pytest.mark.anyio

SCRIPTS = [
    "1 + 1",
    "await tools.add({a: 1, b: 2})",
    "throw new Error('no')",
    "(await Promise.all([1, 2, 3].map((n) => tools.add({a: n, b: n})))).length",
    "console.log('x'); await new Promise((done) => setTimeout(done, 0))",
]


@tool
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def block(script: str) -> str:
    return f"<tool-calls>{script}</tool-calls>"


def tasks() -> int:
    try:
        import asyncio

        return len(asyncio.all_tasks())
    except RuntimeError:
        import trio

        return trio.lowlevel.current_statistics().tasks_living


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 -- bare numbers are wanted


def resident_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024 / 1024


def processes_of(harness: Harness) -> list[str]:
    """Workers that exist."""
    assert harness._runtime is not None
    pool = harness._runtime._pool
    assert isinstance(pool, ProcessPool)
    assert isinstance(pool._server, ForkServer)
    assert pool._server._process is not None
    zygote = pool._server._process.pid
    return Path(f"/proc/{zygote}/task/{zygote}/children").read_text().split()


def own_threads() -> int:
    """Threads of the harness; those that an event loop keeps for later come and go."""
    return sum(thread.name.startswith("harness") for thread in threading.enumerate())


async def settled(harness: Harness) -> None:
    """The last execution, and then nothing more that is on its way."""
    await harness.run(block("1"))
    assert harness._runtime is not None
    pool = harness._runtime._pool
    if isinstance(pool, ProcessPool):
        server = pool._server
        assert isinstance(server, ForkServer)
        while server._requested:
            await server._wait()
            server.refresh()


async def soak(isolation: Any, rounds: int) -> None:
    async with Harness(tools=[add], isolation=isolation, limits={"settle_grace": 0}) as harness:
        for _ in range(20):
            await harness.run(block("await tools.add({a: 1, b: 1})"), trust_domain="a")
        await settled(harness)
        gc.collect()
        before = (tasks(), own_threads(), descriptors())
        memory = resident_mib()
        for number in range(rounds):
            outcome = await harness.run(block(SCRIPTS[number % len(SCRIPTS)]), trust_domain="a")
            assert outcome.executions[0].status == ("error" if number % len(SCRIPTS) == 2 else "ok")
        await settled(harness)
        gc.collect()
        after = (tasks(), own_threads(), descriptors())
        # Fewer than before is fine: a thread that an earlier test abandoned may have ended by now.
        assert all(now <= then for now, then in zip(after, before, strict=True)), (after, before)
        assert resident_mib() - memory < 32
        status = harness.get_status().workers
        assert status is not None
        assert (status.busy, status.crashed) == (0, 0)
        if isolation != "thread":
            assert len(processes_of(harness)) <= 4  # the spares, the one that is kept, and one not yet reaped


@pytest.mark.requirement("RUN-010", "RUN-001")
@pytest.mark.parametrize(
    ("isolation", "rounds"),
    [
        ("process", 100),
        pytest.param("shared", 300, marks=pytest.mark.slow),
        pytest.param("process", 1_000, marks=pytest.mark.slow),
    ],
)
async def test_a_thousand_executions_in_a_row_leave_nothing(isolation, rounds):
    await soak(isolation, rounds)


@pytest.mark.requirement("RUN-010", "RUN-004")
async def test_executions_in_one_thread_leave_nothing():
    await soak("thread", 100)


@pytest.mark.requirement("RUN-011")
@pytest.mark.parametrize("isolation", ["process", "shared"])
async def test_a_hundred_executions_at_once(isolation):
    values: list[Any] = []

    async def run(number: int) -> None:
        outcome: Outcome = await harness.run(
            block(f"const n = await tools.add({{a: {number}, b: 0}}); await tools.add({{a: n, b: n}})")
        )
        values.append((number, outcome.executions[0].value))

    async with Harness(tools=[add], isolation=isolation) as harness:
        async with anyio.create_task_group() as group:
            for number in range(100):
                group.start_soon(run, number)
        assert sorted(values) == [(number, 2 * number) for number in range(100)]
        status = harness.get_status().workers
        assert status is not None
        assert status.busy == 0


@pytest.mark.requirement("RUN-011")
async def test_harnesses_side_by_side_do_not_meet():
    values: list[Any] = []

    async def run(number: int) -> None:
        @tool
        def who() -> int:
            """Tell which harness this is."""
            return number

        async with Harness(tools=[who]) as harness, anyio.create_task_group() as group:

            async def once() -> None:
                [execution] = (await harness.run(block("await tools.who()"))).executions
                assert execution.error is None
                values.append((number, execution.value))

            for _ in range(5):
                group.start_soon(once)

    async with anyio.create_task_group() as group:
        for number in range(4):
            group.start_soon(run, number)
    assert len(values) == 20
    assert all(number == value for number, value in values)
