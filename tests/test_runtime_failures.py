"""Processes that end when they should not: workers, fork servers, hosts, at every phase."""

from __future__ import annotations

import gc
import os
import select
import signal
import subprocess
import sys
import textwrap
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from harness import ExecutionStatus, Harness, HarnessInternalError, Outcome, UsageError, tool
from harness.limits import Limits
from harness.runtime.boot import worker_config
from harness.runtime.clock import ExecutionClock
from harness.runtime.forkserver import ForkedWorker, ForkServer
from harness.runtime.pool import ProcessPool

ONE = "<tool-calls>1</tool-calls>"


def block(script: str) -> str:
    return f"<tool-calls>{script}</tool-calls>"


def pool_of(harness: Harness) -> ProcessPool:
    runtime = harness._runtime
    assert runtime is not None
    pool = runtime._pool
    assert isinstance(pool, ProcessPool)
    return pool


def server_of(harness: Harness) -> ForkServer:
    server = pool_of(harness)._server
    assert isinstance(server, ForkServer)
    return server


def busy_pid(harness: Harness) -> int:
    worker = next(iter(pool_of(harness)._busy))
    return worker.pid


def zygote_pid(harness: Harness) -> int:
    process = server_of(harness)._process
    assert process is not None
    return process.pid


@contextmanager
def watching(*pids: int):
    """Opens handles to processes, so that nobody else can be meant; waits for their end on leaving."""
    handles = [os.pidfd_open(pid) for pid in pids]
    try:
        yield handles
        for handle in handles:
            assert select.select([handle], [], [], 20)[0], "a process did not end"
    finally:
        for handle in handles:
            os.close(handle)


def end(pid: int) -> None:
    """Kill a process and wait until it is over."""
    with watching(pid) as [handle]:
        signal.pidfd_send_signal(handle, signal.SIGKILL)


def crashed(outcome: Outcome, *, how: str = "SIGKILL", computing: bool | None = True) -> None:
    """``computing`` is whether it was at work then, so that words of it are lost; None if that is a matter of chance."""
    [execution] = outcome.executions
    assert execution.status is ExecutionStatus.ERROR
    assert execution.error is not None
    assert execution.error.type == "WorkerCrashedError", execution.error
    assert how in execution.error.message
    lost = "logs_lost" in [diagnostic.code for diagnostic in execution.diagnostics]
    assert computing in (lost, None)


async def works(harness: Harness) -> None:
    outcome = await harness.run(ONE)
    assert outcome.executions[0].value == 1, outcome.executions[0].error


@pytest.mark.anyio
@pytest.mark.requirement("RUN-012")
@pytest.mark.parametrize("isolation", ["process", pytest.param("shared", marks=pytest.mark.slow)])
async def test_a_worker_lost_with_its_fork_server_before_its_first_answer_is_replaced(isolation, monkeypatch):
    async with Harness(isolation=isolation) as harness:
        await works(harness)
        assert harness._runtime is not None
        pool = harness._runtime._pool
        acquire = pool.acquire
        servers: list[ForkServer] = []

        async def acquire_and_lose(trust_domain: str | None) -> Any:
            worker = await acquire(trust_domain)
            if not servers:
                servers.append(server_of(harness))
                end(zygote_pid(harness))
            return worker

        monkeypatch.setattr(pool, "acquire", acquire_and_lose)
        await works(harness)
        assert server_of(harness) is not servers[0]
        # Once is bad luck; twice is something to be told of.
        servers.clear()
        monkeypatch.setattr(pool, "acquire", acquire)

        async def acquire_and_lose_each(trust_domain: str | None) -> Any:
            worker = await acquire(trust_domain)
            end(zygote_pid(harness))
            return worker

        monkeypatch.setattr(pool, "acquire", acquire_and_lose_each)
        outcome = await harness.run(ONE)
        assert outcome.executions[0].error is not None
        assert outcome.executions[0].error.type == "WorkerCrashedError"


async def spares_ready(harness: Harness) -> list[int]:
    """Waits until workers wait ahead of need; their pids."""
    server = server_of(harness)
    while server.waiting < 2:
        await server._wait()
        server.refresh()
    return [worker.pid for worker in server._ready]


async def busy(harness: Harness) -> int:
    """Waits until the script of one execution computes; the pid of its worker."""
    while not pool_of(harness)._busy:
        await anyio.lowlevel.checkpoint()
    pid = busy_pid(harness)
    # Its processor time in ticks of the kernel: more than starting takes.
    while sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13])) < 3:  # noqa: ASYNC240
        await anyio.lowlevel.checkpoint()
    return pid


# ── workers ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.anyio
@pytest.mark.requirement("RUN-012")
@pytest.mark.parametrize("isolation", ["process", pytest.param("shared", marks=pytest.mark.slow)])
async def test_a_worker_that_dies_before_it_has_a_script_is_replaced_unseen(isolation):
    async with Harness(isolation=isolation) as harness:
        for pid in await spares_ready(harness):
            end(pid)
        await works(harness)
        await works(harness)


@pytest.mark.anyio
@pytest.mark.requirement("RUN-012")
async def test_workers_that_are_being_killed_when_they_are_given_a_script_are_replaced_unseen():
    async with Harness() as harness:
        for _ in range(20):
            for pid in await spares_ready(harness):
                # Whether it is over by the time it is taken is left to chance.
                os.kill(pid, signal.SIGKILL)
            await works(harness)


@pytest.mark.anyio
@pytest.mark.requirement("RUN-007", "RUN-012", "RUN-029")
@pytest.mark.parametrize("isolation", ["process", pytest.param("shared", marks=pytest.mark.slow)])
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM, signal.SIGABRT])
async def test_a_worker_that_is_killed_while_it_computes(isolation, sent):
    outcomes = []

    async def run() -> None:
        outcomes.append(await harness.run(block("console.log('lost'); for (;;);")))

    async with Harness(isolation=isolation) as harness:
        async with anyio.create_task_group() as group:
            group.start_soon(run)
            pid = await busy(harness)
            with watching(pid) as [handle]:
                signal.pidfd_send_signal(handle, sent)
        crashed(outcomes[0], how=sent.name)
        await works(harness)
        status = harness.get_status().workers
        assert status is not None
        assert (status.busy, status.crashed) == (0, 1)


@pytest.mark.anyio
@pytest.mark.requirement("RUN-012")
@pytest.mark.parametrize("isolation", ["process", pytest.param("shared", marks=pytest.mark.slow)])
async def test_a_worker_that_is_killed_while_a_tool_runs(isolation):
    @tool
    async def kill_my_worker() -> int:
        """End the worker that waits for this."""
        end(busy_pid(harness))
        return 1

    async with Harness(tools=[kill_my_worker], isolation=isolation) as harness:
        outcome = await harness.run(block("console.log('kept'); await tools.kill_my_worker()"))
        crashed(outcome, computing=None)
        [execution] = outcome.executions
        assert [line.text for line in execution.logs] == ["kept"]
        # What was done before is not hidden.
        assert [(call.tool, call.status.value) for call in execution.calls] == [("kill_my_worker", "ok")]
        assert execution.error is not None
        assert execution.error.details["applied_calls"]
        await works(harness)


@pytest.mark.anyio
@pytest.mark.requirement("RUN-013")
async def test_a_tool_whose_script_is_dead_is_cancelled_at_once():
    cancelled: list[bool] = []

    @tool
    async def kill_my_worker_and_go_on() -> None:
        """End the worker that waits for this, and never return."""
        end(busy_pid(harness))
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.append(True)

    async with Harness(tools=[kill_my_worker_and_go_on]) as harness:
        outcome = await harness.run(block("await tools.kill_my_worker_and_go_on()"))
        assert cancelled == [True]
        error = outcome.executions[0].error
        assert error is not None
        assert error.type == "WorkerCrashedError"
        await works(harness)


@pytest.mark.anyio
@pytest.mark.requirement("RUN-012")
async def test_a_worker_that_is_killed_while_two_tools_run_cancels_the_other():
    cancelled = []

    @tool
    async def kill_my_worker() -> None:
        """End the worker that waits for this."""
        end(busy_pid(harness))

    @tool
    async def slow() -> None:
        """Wait until cancelled."""
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.append(True)

    async with Harness(tools=[kill_my_worker, slow]) as harness:
        outcome = await harness.run(block("await Promise.all([tools.slow(), tools.kill_my_worker()])"))
        crashed(outcome, computing=None)
        assert cancelled == [True]
        assert [call.status.value for call in outcome.executions[0].calls] == ["cancelled", "ok"]


@pytest.mark.anyio
@pytest.mark.requirement("RUN-012")
async def test_a_worker_that_is_killed_after_a_result_was_delivered():
    outcomes = []
    delivered = anyio.Event()

    @tool
    async def first() -> int:
        """The result that is delivered."""
        delivered.set()
        return 1

    async def run() -> None:
        outcomes.append(await harness.run(block("await tools.first(); for (;;);")))

    async with Harness(tools=[first]) as harness:
        async with anyio.create_task_group() as group:
            group.start_soon(run)
            await delivered.wait()
            assert harness._runtime is not None
            [driver] = harness._runtime._running.values()
            while driver.result.frames < 1 or not driver._in_worker:
                await anyio.lowlevel.checkpoint()
            end(busy_pid(harness))
        crashed(outcomes[0])
        await works(harness)


@pytest.mark.anyio
@pytest.mark.requirement("RUN-012")
async def test_a_worker_that_is_killed_while_it_only_checks():
    from harness.runtime.adapter import WorkerGoneError

    async with Harness() as harness:
        pool = pool_of(harness)
        worker = await pool.acquire(None)
        assert isinstance(worker, ForkedWorker)
        end(worker.pid)
        with pytest.raises(WorkerGoneError):
            await worker.exchange(ord("C"), b'{"source":"1","code":"1"}')
        death = await pool.release(worker, clean=False)
        assert death is not None
        assert death.status == -signal.SIGKILL
        assert await harness.check(ONE) == []
        await works(harness)


@pytest.mark.anyio
@pytest.mark.requirement("RUN-028")
async def test_a_worker_that_dies_while_its_execution_is_cancelled_is_no_success():
    """The worker's end may be heard of before the cancellation is: from a tool, the next thing done is to read."""

    @tool
    async def cancel_and_kill() -> None:
        """Cancel the execution, and end its worker before it hears of it."""
        end(busy_pid(harness))
        harness.cancel()

    async with Harness(tools=[cancel_and_kill]) as harness:
        for _ in range(5):
            outcome = await harness.run(block("await tools.cancel_and_kill()"))
            assert outcome.executions[0].status is ExecutionStatus.CANCELLED
        await works(harness)


@pytest.mark.anyio
@pytest.mark.requirement("RUN-020")
async def test_a_stopped_worker_is_ended_by_the_wall_clock():
    @tool
    async def stop_my_worker() -> None:
        """Stop, with a signal, the worker that waits for this."""
        os.kill(busy_pid(harness), signal.SIGSTOP)

    async with Harness(tools=[stop_my_worker], limits={"wall_time": 0.3}) as harness:
        outcome = await harness.run(block("await tools.stop_my_worker()"))
        error = outcome.executions[0].error
        assert error is not None
        assert (error.type, error.details["clock"]) == ("ScriptTimeoutError", "wall")
        await works(harness)


# ── fork servers ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.anyio
@pytest.mark.requirement("RUN-008")
@pytest.mark.parametrize("isolation", ["process", pytest.param("shared", marks=pytest.mark.slow)])
async def test_a_fork_server_that_dies_while_idle_is_replaced(isolation):
    async with Harness(isolation=isolation) as harness:
        for _ in range(3):
            outcome = await harness.run(ONE, trust_domain="a")
            assert outcome.executions[0].value == 1, outcome.executions[0].error
            end(zygote_pid(harness))
        await works(harness)
        assert not pool_of(harness)._retired


@pytest.mark.anyio
@pytest.mark.requirement("RUN-008")
async def test_a_fork_server_that_dies_takes_its_workers_with_it_and_is_replaced():
    @tool
    async def kill_the_fork_server() -> None:
        """End the process that forked the worker that waits for this."""
        with watching(busy_pid(harness)):
            end(zygote_pid(harness))

    async with Harness(tools=[kill_the_fork_server]) as harness:
        outcome = await harness.run(block("await tools.kill_the_fork_server()"))
        crashed(outcome, how="ended", computing=None)
        await works(harness)


@pytest.mark.anyio
@pytest.mark.slow
@pytest.mark.requirement("RUN-031")
async def test_a_worker_that_is_replaced_does_not_begin_the_clock_anew(monkeypatch):
    given: list[float] = []
    took: list[float] = []
    outcomes: list[Outcome] = []

    class NotedClock(ExecutionClock):
        def __init__(self, wall_time: float, scope: anyio.CancelScope, **more: Any) -> None:
            given.append(wall_time)
            super().__init__(wall_time, scope, **more)

        def stop(self) -> None:
            super().stop()
            took.append(self.elapsed)

    monkeypatch.setattr("harness.runtime.driver.ExecutionClock", NotedClock)

    async def run() -> None:
        outcomes.append(await harness.run(block("for (;;);")))

    async with Harness() as harness, anyio.create_task_group() as group:
        group.start_soon(run)
        lost = await busy(harness)
        with watching(lost):
            end(zygote_pid(harness))
        while lost in [worker.pid for worker in pool_of(harness)._busy]:
            await anyio.lowlevel.checkpoint()
        await busy(harness)
        harness.cancel()
    [execution] = outcomes[0].executions
    assert execution.status is ExecutionStatus.CANCELLED
    first, _ = took
    whole, rest = given
    assert whole == harness.limits.wall_time
    assert whole - rest >= first > 0
    assert execution.metrics is not None
    assert execution.metrics.wall_ms + 0.001 >= sum(took) * 1000


@pytest.mark.anyio
@pytest.mark.requirement("RUN-008")
async def test_a_fork_server_that_is_stopped_is_replaced(monkeypatch):
    monkeypatch.setattr("harness.runtime.forkserver._START_TIMEOUT", 1.0)
    monkeypatch.setattr("harness.runtime.forkserver._STOP_TIMEOUT", 0.1)
    async with Harness() as harness:
        await works(harness)
        pids = await spares_ready(harness)
        stopped = zygote_pid(harness)
        with watching(stopped, *pids) as [handle, *_]:
            signal.pidfd_send_signal(handle, signal.SIGSTOP)
            for _ in range(3):
                await works(harness)
        assert zygote_pid(harness) != stopped


@pytest.mark.anyio
@pytest.mark.requirement("RUN-008")
async def test_after_a_crash_the_next_worker_comes_from_another_fork_server():
    @tool
    async def crash_my_worker() -> None:
        """End the worker that waits for this as the engine's bugs would."""
        os.kill(busy_pid(harness), signal.SIGSEGV)

    async with Harness(tools=[crash_my_worker]) as harness:
        first = zygote_pid(harness)
        await harness.run(block("await tools.crash_my_worker()"))
        await works(harness)
        assert zygote_pid(harness) != first


@pytest.mark.anyio
@pytest.mark.requirement("RUN-008")
async def test_a_fork_server_that_cannot_start_says_why():
    config = worker_config(Limits(), runs=1, required=False)
    # Every worker's stack would be too small for the engine itself.
    server = ForkServer(Limits(), {**config, "stack_bytes": 1})
    server.start()
    try:
        with pytest.raises(HarnessInternalError, match="fork server says"):
            await server.take()
    finally:
        await server.aclose()


@pytest.mark.anyio
@pytest.mark.requirement("RUN-008")
async def test_a_host_without_descriptors_left_says_so_and_recovers():
    import resource

    async with Harness() as harness:
        await works(harness)
        await spares_ready(harness)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        used = max(int(name) for name in os.listdir("/proc/self/fd")) + 1  # noqa: PTH208 -- bare numbers are wanted
        resource.setrlimit(resource.RLIMIT_NOFILE, (used, hard))
        try:
            outcomes = [(await harness.run(ONE)).executions[0] for _ in range(4)]
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert {each.error.type for each in outcomes if each.error is not None} <= {"HarnessInternalError"}
        for _ in range(3):
            await works(harness)


# ── hosts ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("RUN-009")
@pytest.mark.parametrize(
    "sent", [signal.SIGKILL, *(pytest.param(sent, marks=pytest.mark.slow) for sent in (signal.SIGTERM, signal.SIGSEGV))]
)
@pytest.mark.parametrize("heir", [False, True], ids=["alone", "with-a-child-that-lives-on"])
def test_workers_end_when_the_host_does(sent, heir):
    program = """
        import os, sys, anyio
        from pathlib import Path
        from harness import Harness, tool

        @tool
        async def tell() -> None:
            '''Tell the test which processes there are.'''
            zygote = harness._runtime._pool._server._process.pid
            workers = Path(f"/proc/{zygote}/task/{zygote}/children").read_text().split()
            heir = []
            if sys.argv[1] == "True":
                # It inherits the control socket, and so keeps it open.
                pid = os.fork()
                if pid == 0:
                    os.close(1)
                    os.read(0, 1)
                    os._exit(0)
            print(zygote, *workers, flush=True)
            await anyio.sleep_forever()

        async def main():
            global harness
            async with Harness(tools=[tell]) as harness:
                await harness.run("<tool-calls>await tools.tell()</tool-calls>")

        anyio.run(main)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), str(heir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as host:
        assert host.stdin is not None
        assert host.stdout is not None
        pids = [int(pid) for pid in host.stdout.readline().split()]
        assert len(pids) >= 2
        with watching(*pids):
            host.send_signal(sent)
            host.wait()
        host.stdin.close()


# ── opening and closing ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.anyio
@pytest.mark.requirement("RUN-001")
async def test_closing_leaves_no_process_even_if_workers_are_on_their_way():
    for round_ in range(5):
        async with Harness() as harness:
            if round_ % 2:
                await works(harness)
            server_of(harness).request(5)
            zygote = zygote_pid(harness)
            children = Path(f"/proc/{zygote}/task/{zygote}/children").read_text().split()  # noqa: ASYNC240 -- procfs
        assert not Path(f"/proc/{zygote}").exists()  # noqa: ASYNC240 -- procfs
        assert not [pid for pid in children if Path(f"/proc/{pid}/exe").exists()]  # noqa: ASYNC240 -- procfs


@pytest.mark.anyio
@pytest.mark.requirement("RUN-001")
async def test_closing_while_executions_wait_for_a_worker_or_run():
    outcomes: list[ExecutionStatus | None] = []

    async def run(harness: Harness) -> None:
        try:
            outcomes.append((await harness.run(block("for (;;);"))).executions[0].status)
        except UsageError:
            outcomes.append(None)

    async with anyio.create_task_group() as group, Harness() as harness:
        for _ in range(6):
            group.start_soon(run, harness)
        await busy(harness)
    assert len(outcomes) == 6
    assert set(outcomes) <= {ExecutionStatus.CANCELLED, None}
    gc.collect()


@pytest.mark.anyio
@pytest.mark.requirement("RUN-001")
async def test_a_pool_is_closed_twice_and_serves_nobody_afterwards():
    pool = ProcessPool("process", Limits())
    await pool.open()
    worker = await pool.acquire(None)
    await pool.aclose()
    await pool.aclose()
    with pytest.raises(UsageError, match="closed"):
        await pool.acquire(None)
    death = await pool.release(worker, clean=False)
    assert death is not None
    assert pool.status().busy == 0
