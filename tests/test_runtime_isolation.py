"""What separates scripts from the host and from each other: processes, what is taken from them, trust domains."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import anyio
import pytest
from pydantic import JsonValue

from harness import Harness, Outcome, tool
from harness.limits import Limits
from harness.runtime import wire
from harness.runtime.adapter import Worker
from harness.runtime.doctor import report
from harness.runtime.forkserver import ForkedWorker
from harness.runtime.layers import ACTIVE, LAYERS
from harness.runtime.pool import ProcessPool

ONE = "<tool-calls>1</tool-calls>"
CHECK = json.dumps({"source": "0", "code": "0"}).encode()


@tool
async def echo(value: JsonValue = None) -> JsonValue:
    """Give back what was given."""
    return value


def block(script: str) -> str:
    return f"<tool-calls>{script}</tool-calls>"


def value(outcome: Outcome) -> JsonValue:
    [execution] = outcome.executions
    assert execution.status == "ok", execution.error
    return execution.value


def runs(pid: int) -> bool:
    """Whether a process runs: one that is over and waits to be reaped does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in ("Z", "X")


class Watch:
    """Sees which processes have served, by asking inside a tool who is busy."""

    def __init__(self) -> None:
        self.pids: list[int] = []

    def pool(self, harness: Harness) -> ProcessPool:
        runtime = harness._runtime
        assert runtime is not None
        pool = runtime._pool
        assert isinstance(pool, ProcessPool)
        return pool

    async def serve(self, harness: Harness, script: str, domain: str | None = None) -> Outcome:
        pool = self.pool(harness)
        acquire = pool.acquire

        async def noted(trust_domain: str | None) -> Worker:
            worker = await acquire(trust_domain)
            assert isinstance(worker, ForkedWorker)
            self.pids.append(worker.pid)
            return worker

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pool, "acquire", noted)
            return await harness.run(block(script), trust_domain=domain)


@pytest.mark.anyio
@pytest.mark.requirement("RUN-001")
async def test_every_execution_has_a_process_of_its_own_that_is_gone_when_run_returns():
    watch = Watch()
    async with Harness() as harness:
        for number in range(5):
            assert value(await watch.serve(harness, str(number), "same")) == number
            assert not runs(watch.pids[-1])
    assert len(set(watch.pids)) == 5
    assert os.getpid() not in watch.pids


@pytest.mark.anyio
@pytest.mark.requirement("RUN-002")
async def test_shared_serves_one_trust_domain_from_one_process():
    watch = Watch()
    async with Harness(isolation="shared") as harness:
        for number in range(5):
            assert value(await watch.serve(harness, str(number), "a")) == number
        assert len(set(watch.pids)) == 1
        assert runs(watch.pids[0])
    assert not runs(watch.pids[0])


@pytest.mark.anyio
@pytest.mark.requirement("RUN-002")
@pytest.mark.parametrize("isolation", ["shared", "thread"])
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("try { globalThis.left = 1 } catch {}", "typeof left"),
        ("try { Object.prototype.left = 1 } catch {}", "typeof ({}).left"),
        ("try { Array.prototype.map = null } catch {}", "typeof [].map === 'function' ? 'undefined' : 'changed'"),
        ("try { tools.echo.left = 1 } catch {}", "typeof tools.echo.left"),
        ("try { console.left = 1 } catch {}", "typeof console.left"),
        ("try { context.left = 1 } catch {}", "typeof context.left"),
        ("try { Symbol.for('left').description; Math.left = 1 } catch {}", "typeof Math.left"),
        ("setTimeout(() => console.log('late'), 5); 1", "await tools.echo({value: 1}); typeof undefined"),
        ("for (let i = 0; i < 50; i++) console.log('x'.repeat(1000)); 1", "console.log('y'); typeof undefined"),
        (
            """class E extends Error { get name() { (async () => { await null; console.log('late') })(); return 'E' } }
            tools.echo({value: 1}).then(() => { throw new E() }); await tools.echo({value: 2}); 1""",
            "await tools.echo({value: 1}); typeof undefined",
        ),
    ],
    ids=["global", "prototype", "method", "tools", "console", "context", "math", "timer", "log", "report"],
)
async def test_what_one_script_did_another_does_not_see(isolation, first, second):
    async with Harness(tools=[echo], isolation=isolation) as harness:
        await harness.run(block(first), trust_domain="a")
        outcome = await harness.run(block(second), trust_domain="a")
    assert value(outcome) == "undefined"
    assert [line.text for line in outcome.executions[0].logs] in ([], ["y"])


UNCLEAN = {
    "cpu": ("for (;;);", {"cpu_time": 0.05}),
    "wall": ("await new Promise((done) => setTimeout(done, 60_000))", {"wall_time": 0.05}),
    "memory": ("const all = []; for (;;) all.push(new Array(1e5).fill(1.5))", {"memory_bytes": 16 * 1024 * 1024}),
    "stack": ("(function f() { f() })()", {}),
}


@pytest.mark.anyio
@pytest.mark.requirement("RUN-003")
@pytest.mark.parametrize(("script", "limits"), UNCLEAN.values(), ids=UNCLEAN)
async def test_after_an_unclean_end_a_shared_worker_is_dropped(script, limits):
    watch = Watch()
    async with Harness(isolation="shared", limits=limits) as harness:
        await watch.serve(harness, "1", "a")
        outcome = await watch.serve(harness, script, "a")
        assert outcome.executions[0].status == "error"
        assert value(await watch.serve(harness, "2", "a")) == 2
    first, failed, last = watch.pids
    assert first == failed
    assert last != failed


@pytest.mark.anyio
@pytest.mark.requirement("RUN-003")
async def test_a_script_that_only_throws_costs_no_worker():
    watch = Watch()
    async with Harness(isolation="shared") as harness:
        await watch.serve(harness, "throw new Error('no')", "a")
        await watch.serve(harness, "const const", "a")
        await watch.serve(harness, "1", "a")
    assert len(set(watch.pids)) == 1


@pytest.mark.anyio
@pytest.mark.requirement("RUN-003")
async def test_a_shared_worker_serves_a_limited_number_of_executions(monkeypatch):
    monkeypatch.setattr("harness.runtime.pool._RUNS_OF_A_WORKER", 3)
    watch = Watch()
    async with Harness(isolation="shared") as harness:
        for _ in range(7):
            await watch.serve(harness, "1", "a")
    assert [len({*watch.pids[:3]}), len({*watch.pids[3:6]}), len({*watch.pids})] == [1, 1, 3]


@pytest.mark.anyio
@pytest.mark.requirement("RUN-003")
async def test_a_shared_worker_that_died_while_it_was_idle_is_replaced_unseen():
    watch = Watch()
    async with Harness(isolation="shared") as harness:
        await watch.serve(harness, "1", "a")
        kill_and_wait(watch.pids[0])
        assert value(await watch.serve(harness, "2", "a")) == 2
    assert len(set(watch.pids)) == 2


def kill_and_wait(pid: int) -> None:
    """Kill a process that is no child of this one, and wait until it is over."""
    import select

    pidfd = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        select.select([pidfd], [], [], 10)
    finally:
        os.close(pidfd)


@pytest.mark.anyio
@pytest.mark.requirement("RUN-005")
async def test_two_trust_domains_never_share_a_worker():
    watch = Watch()
    async with Harness(isolation="shared") as harness:
        for domain in ("a", "b", "a", "b", None, None):
            await watch.serve(harness, "1", domain)
    a, b, again_a, again_b, nobody, nobody_else = watch.pids
    assert (a, b) == (again_a, again_b)
    assert len({a, b, nobody, nobody_else}) == 4


@pytest.mark.anyio
@pytest.mark.requirement("RUN-005")
async def test_two_executions_of_one_trust_domain_at_once_have_a_worker_each():
    watch = Watch()
    async with Harness(tools=[echo], isolation="shared") as harness:
        async with anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(watch.serve, harness, "await tools.echo({value: 1})", "a")
        assert len(set(watch.pids)) == 4
        status = harness.get_status().workers
        assert status is not None
        assert status.busy == 0


@pytest.mark.anyio
@pytest.mark.requirement("RUN-004")
@pytest.mark.parametrize(
    "script",
    [
        "await tools.echo({value: [1, 'two', null]})",
        "console.log('a', 1); progress('half'); return new Map([[1, 2]])",
        "throw new TypeError('no')",
        "await tools.echo({value: 10n})",
        "await new Promise(() => {})",
        "const a = 1; const a = 2",
        pytest.param("for (;;);", marks=pytest.mark.slow),
        "(function f() { f() })()",
        "'x'.repeat(300_000)",
        "({deep: () => 1})",
    ],
)
async def test_outcomes_are_the_same_in_every_isolation(script):
    outcomes = []
    for isolation in ("process", "shared", "thread"):
        async with Harness(tools=[echo], isolation=isolation, seed=1, limits={"cpu_time": 0.3}) as harness:
            outcomes.append((await harness.run(block(script))).canonical())
    assert outcomes[0] == outcomes[1] == outcomes[2]


@pytest.mark.slow
@pytest.mark.requirement("RUN-004")
def test_a_thread_that_cannot_be_ended_is_counted_and_keeps_nothing_from_ending():
    program = """
        import anyio
        from harness import Harness

        async def main():
            async with Harness(isolation="thread", limits={"cpu_time": 600}) as harness:
                await harness.run("<tool-calls>1</tool-calls>", trust_domain="a")  # its VM is there before the clock runs
                text = "<tool-calls>Array(4294967295).join('')</tool-calls>"
                outcome = await harness.run(text, trust_domain="a", limits={"wall_time": 0.3})
                print(outcome.executions[0].error.details["clock"], harness.get_status().workers.abandoned_threads)
                outcome = await harness.run("<tool-calls>2</tool-calls>")
                print(outcome.executions[0].value)

        anyio.run(main)
        print("over")
    """
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    # On a busy machine asyncio's debug mode remarks on anything that takes long.
    complaints = [line for line in done.stderr.splitlines() if not line.startswith("Executing <")]
    assert (done.returncode, done.stdout.split(), complaints) == (0, ["wall", "1", "2", "over"], [])


# ── what the operating system takes away ─────────────────────────────────────────────────────────────────────────


@pytest.mark.anyio
@pytest.mark.requirement("RUN-006")
async def test_a_worker_reports_every_layer_and_the_doctor_shows_it():
    found = {protection.name: protection for protection in await report()}
    assert set(LAYERS) <= set(found)
    assert found["worker"].active
    for layer in ("descriptors", "environment", "limit_files", "limit_core"):
        assert found[layer].active, found[layer].detail
    assert all(protection.detail for protection in found.values())


@pytest.mark.anyio
@pytest.mark.requirement("RUN-006")
async def test_a_worker_has_one_descriptor_no_environment_of_the_host_s_and_one_thread(monkeypatch):
    monkeypatch.setenv("API_TOKEN", "hunter2")
    pool = ProcessPool("process", Limits())
    # A host with many files open hands its fork server a high number.
    plenty = [os.open("/dev/null", os.O_RDONLY) for _ in range(20)]
    await pool.open()
    worker = await pool.acquire(None)
    assert isinstance(worker, ForkedWorker)
    try:
        await worker.exchange(wire.CHECK, CHECK)
        process = Path(f"/proc/{worker.pid}")
        descriptors = sorted((process / "fd").iterdir())
        assert len(descriptors) == 1
        assert str(descriptors[0].readlink()).startswith("socket:")
        environment = (process / "environ").read_bytes()
        assert set(environment) <= {0}
        status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines())
        assert status["Threads"].strip() == "1"
        assert status["NoNewPrivs"].strip() == "1"
        limits = (process / "limits").read_text()
        for name in ("Max open files", "Max processes", "Max file size", "Max core file size"):
            line = next(line for line in limits.splitlines() if line.startswith(name))
            assert line.split()[-3:-1] == ["0", "0"] or line.split()[3:5] == ["0", "0"], line
        if worker.protections["seccomp"] == ACTIVE:
            assert status["Seccomp"].strip() == "2"
    finally:
        await pool.release(worker, clean=True)
        await pool.aclose()
        for descriptor in plenty:
            os.close(descriptor)


@pytest.mark.anyio
@pytest.mark.requirement("RUN-006")
async def test_what_the_host_holds_of_a_worker_is_not_inherited_by_its_other_children():
    pool = ProcessPool("process", Limits())
    await pool.open()
    worker = await pool.acquire(None)
    assert isinstance(worker, ForkedWorker)
    try:
        assert worker.server._control is not None
        ours = {worker._pidfd, worker._link._socket.fileno(), worker.server._control.fileno()}
        assert not any(os.get_inheritable(descriptor) for descriptor in ours)
    finally:
        await pool.release(worker, clean=True)
        await pool.aclose()
