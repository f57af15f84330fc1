"""How commands end, and that nothing of them is left: shown by processes that name themselves before they are ended."""

from __future__ import annotations

import errno
import gc
import os
import signal
import subprocess
import sys
import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import anyio
import pytest

from harness import CallStatus, Harness, SubprocessTool, ToolExecutionError, ToolTimeoutError, ToolValidationError
from harness.errors import ToolError
from harness.testing import call_tool
from harness.tools.process import host
from harness.tools.process.host import Running
from tests.processes import (
    BAD_TOOLS,
    ONE_LOOP,
    PATIENCE,
    Beacon,
    alive,
    beacon,
    descriptors,
    leaves_nothing,
    make,
    parent_of,
    runs,
    scratch_directories,
)

__all__ = ["beacon", "leaves_nothing"]  # fixtures

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform != "linux", reason="elsewhere only the command's process group can be ended"),
]


async def overrun(
    script: str, tmp_path: Path, beacon: Beacon, count: int
) -> tuple[ToolTimeoutError, list[tuple[int, str]]]:
    """Calls a tool that never ends, with more and more time until all its processes had named themselves."""
    seconds = 0.5
    while True:
        before = len(beacon.named())
        with pytest.raises(ToolTimeoutError) as caught:
            await call_tool(make(script, tmp_path, timeout=seconds, grace=0.1))
        found = beacon.named()
        if len(found) - before >= count:
            return caught.value, found
        assert seconds < PATIENCE, f"only {len(found) - before} of {count} processes came"
        seconds *= 3


# ── time ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("SUB-022", "SUB-028")
async def test_a_command_that_overruns_is_ended(tmp_path, beacon):
    error, processes = await overrun("timeout", tmp_path, beacon, 1)
    assert "timeout.py" in error.message
    assert error.details["command"][-1] == "timeout.py"
    assert error.details["limit"] >= 0.5
    assert f"{error.details['limit']:g} seconds" in error.message
    assert error.retryable
    assert not any(map(alive, processes))


@pytest.mark.requirement("SUB-023")
@pytest.mark.parametrize(("script", "count"), [("ignores_term", 1), ("forks", 4), ("daemonizes", 2)])
async def test_whatever_it_does_about_it(script, count, tmp_path, beacon):
    _, processes = await overrun(script, tmp_path, beacon, count)
    assert not any(map(alive, processes))


@ONE_LOOP
@pytest.mark.requirement("SUB-022")
async def test_the_limit_of_the_execution_holds_where_the_tool_has_none(tmp_path, beacon):
    async with Harness(tools=[make("timeout", tmp_path)], limits={"tool_timeout": 0.5}) as harness:
        [execution] = (await harness.run("<tool-calls>await tools.timeout()</tool-calls>")).executions
    assert execution.calls[0].status is CallStatus.TIMED_OUT
    assert execution.error is not None
    assert execution.error.details["limit"] == 0.5
    assert "timeout.py" in execution.error.message
    assert not any(map(alive, beacon.named()))


@ONE_LOOP
@pytest.mark.requirement("SUB-022")
async def test_a_call_without_a_facade_keeps_its_time_too(tmp_path):
    from harness.context import make_test_context
    from harness.tools.context import CallContext

    tool = make("timeout", tmp_path, timeout=0.01)
    context = CallContext(tool=tool.name, call_id=0, execution=make_test_context())
    with pytest.raises(ToolTimeoutError, match=r"0\.01 seconds"):
        await tool.invoke({}, context)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.requirement("SUB-028")
async def test_a_hundred_timeouts_later(tmp_path):
    slow = make("timeout", tmp_path, timeout=0.05)
    await _time_out(slow)
    before = descriptors()
    for _ in range(100):
        await _time_out(slow)
    assert descriptors() == before
    assert _children() == []
    assert await call_tool(make("good_tool", tmp_path), {"a": 1, "b": 2}) == {"sum": 3}


@pytest.mark.requirement("SUB-028")
async def test_a_few_timeouts_later(tmp_path):
    for _ in range(3):
        await _time_out(make("timeout", tmp_path, timeout=0.01))
    assert _children() == []
    assert await call_tool(make("good_tool", tmp_path), {"a": 1, "b": 2}) == {"sum": 3}


async def _time_out(tool: SubprocessTool) -> None:
    with pytest.raises(ToolTimeoutError):
        await call_tool(tool)


def _children() -> list[str]:
    """The supervisors below this process, zombies included."""
    pids = [pid for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()]
    return [pid for pid in pids if b"supervisor" in Path(f"/proc/{pid}/cmdline").read_bytes() or not _command(pid)]


def _command(pid: str) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


# ── cancellation ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("SUB-025", "SUB-028")
async def test_a_cancelled_call_ends_its_command(tmp_path, beacon):
    async with anyio.create_task_group() as group:
        group.start_soon(call_tool, make("daemonizes", tmp_path, grace=0.05))
        processes = await beacon.wait(2)
        group.cancel_scope.cancel()
    assert not any(map(alive, processes))


@pytest.mark.requirement("SUB-025", "SUB-028")
async def test_a_call_that_is_cancelled_at_any_moment_leaves_nothing(tmp_path):
    # Each time a little later: before, while and after the supervisor is told what to do.
    tool = make("good_tool", tmp_path)
    for turns in range(12):
        async with anyio.create_task_group() as group:
            group.start_soon(call_tool, tool, {"a": 1, "b": 2})
            for _ in range(turns):
                await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
    assert _children() == []


@ONE_LOOP
@pytest.mark.requirement("SUB-025")
async def test_a_cancelled_execution_ends_its_commands(tmp_path, beacon):
    async with Harness(tools=[make("timeout", tmp_path)], limits={"wall_time": PATIENCE}) as harness:
        script = "await Promise.all([tools.timeout(), tools.timeout(), tools.timeout()])"
        async with anyio.create_task_group() as group:
            group.start_soon(harness.run, f"<tool-calls>{script}</tool-calls>")
            processes = await beacon.wait(3)
            group.cancel_scope.cancel()
    assert not any(map(alive, processes))


# ── what is left behind ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("SUB-024", "SUB-013")
@pytest.mark.parametrize("script", ["late_output", "leaves_daemon"])
async def test_a_command_that_ends_before_its_processes(script, tmp_path, beacon):
    with pytest.raises(ToolExecutionError, match="ended before 1 of the processes it had started") as caught:
        await call_tool(make(script, tmp_path))
    assert caught.value.details["reason"] == "leftovers"
    assert caught.value.details["count"] == 1
    assert len(caught.value.details["processes"]) == 1
    processes = beacon.named()
    assert len(processes) == 2
    assert not any(map(alive, processes))
    assert await call_tool(make(script, tmp_path, leftovers="kill")) == {"sum": 3}
    assert not any(map(alive, beacon.named()))


@ONE_LOOP
@pytest.mark.requirement("SUB-024")
async def test_helpers_that_end_by_themselves_are_no_failure():
    code = "import os,sys\nif os.fork() == 0: os.read(0, 1); os._exit(0)\nprint('{}'); sys.stdout.flush()"
    # The child ends when its parent has: its only companion at the other end of the pipe.
    pipe = "import os\nr, w = os.pipe()\nos.dup2(r, 0)\n"
    child = code.replace("os.read(0, 1)", "os.close(w); os.read(0, 1)")
    assert await call_tool(SubprocessTool("helper", [sys.executable, "-S", "-c", pipe + child])) == {}


@ONE_LOOP
@pytest.mark.requirement("SUB-024")
async def test_output_that_a_stranger_holds_open(tmp_path, beacon):
    # The command hands its standard output to a process that is not below it: this one.
    inbox = f"{tmp_path}/inbox"
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(inbox)
        code = (
            "import socket\ns = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
            f"s.connect({inbox!r})\nsocket.send_fds(s, [b'x'], [1])\nprint('{{}}')"
        )
        with pytest.raises(ToolExecutionError, match="a process outside the call holds its standard output open"):
            await call_tool(SubprocessTool("hands-over".replace("-", "_"), [sys.executable, "-c", code]))
        _, held, _, _ = socket.recv_fds(server, 16, 1)
        os.close(held[0])


@pytest.mark.requirement("SUB-027")
async def test_a_command_that_kills_its_supervisor(tmp_path, beacon):
    gate = tmp_path / "go"
    os.mkfifo(gate)
    errors: list[ToolError] = []

    async def call() -> None:
        with pytest.raises(ToolExecutionError) as caught:
            await call_tool(make("kills_supervisor", tmp_path, contained=False))
        errors.append(caught.value)

    async with anyio.create_task_group() as group:
        group.start_soon(call)
        processes = await beacon.wait(2)
        with open(gate, "w"):  # noqa: ASYNC230, PTH123 - its other end is open, or will be
            pass
    assert "lost its supervisor" in errors[0].message
    assert not any(runs(process) for process in processes)


HOST = """
import anyio, os, signal, sys
from harness import SubprocessTool
from harness.tools.process.host import Running
from tests.processes import (
    BAD_TOOLS,
    ONE_LOOP,
    PATIENCE,
    Beacon,
    alive,
    beacon,
    descriptors,
    leaves_nothing,
    make,
    parent_of,
    runs,
    scratch_directories,
)

__all__ = ["beacon", "leaves_nothing"]  # fixtures
instruct = Running._instruct
async def and_fork(self):
    # A child of the host that goes on without it, and holds all of its descriptors.
    if os.fork() == 0:
        from beacon import report
        report()
        signal.pause()
    await instruct(self)
if sys.argv.pop(1) == "fork":
    Running._instruct = and_fork
anyio.run(SubprocessTool("t", sys.argv[1:], grace=0.05).run)
"""


@ONE_LOOP
@pytest.mark.requirement("SUB-026")
@pytest.mark.parametrize("way", ["alone", "fork"])
async def test_when_the_host_dies_everything_below_it_does(way, tmp_path, beacon):
    command = [sys.executable, "-E", "-S", str(BAD_TOOLS / "daemonizes.py")]
    environment = {**os.environ, "TMPDIR": tempfile.gettempdir(), "PYTHONPATH": str(BAD_TOOLS)}
    process = subprocess.Popen(  # noqa: ASYNC220 - it is a host
        [sys.executable, "-c", HOST, way, *command], cwd=tmp_path, env=environment
    )
    strangers: list[tuple[int, str]] = []
    try:
        named = await beacon.wait(2 if way == "alone" else 3)
        strangers = [one for one in named if parent_of(one[0]) == process.pid]
        processes = [one for one in named if one not in strangers]
        assert len(strangers) == len(named) - 2
    finally:
        process.kill()
        process.wait()
    try:
        with anyio.fail_after(PATIENCE):
            # Nobody tells this process when those of another are over.
            while any(map(runs, processes)) or scratch_directories():  # noqa: ASYNC110
                await anyio.sleep(0.01)
    finally:
        for pid, _ in filter(runs, strangers):
            os.kill(pid, signal.SIGKILL)


@ONE_LOOP
@pytest.mark.requirement("SUB-028")
async def test_a_supervisor_that_was_stopped_goes_on(tmp_path, beacon):
    async with anyio.create_task_group() as group:
        group.start_soon(call_tool, make("timeout", tmp_path))
        [(pid, started)] = await beacon.wait(1)
        os.kill(parent_of(pid), signal.SIGSTOP)
        group.cancel_scope.cancel()
    assert not alive((pid, started))


@ONE_LOOP
@pytest.mark.requirement("SUB-028")
async def test_a_supervisor_that_does_not_answer_is_ended(tmp_path, beacon, monkeypatch):
    monkeypatch.setattr(host, "_MARGIN", 0.05)
    # Neither the letter that says so nor the signal that lets it go on arrives.
    monkeypatch.setattr(Running, "_tell", lambda _self, _letter: None)
    async with anyio.create_task_group() as group:
        group.start_soon(call_tool, make("forks", tmp_path))
        processes = await beacon.wait(4)
        group.cancel_scope.cancel()
    assert not any(map(runs, processes))


@ONE_LOOP
@pytest.mark.requirement("SUB-063")
async def test_a_temporary_directory_that_cannot_be_made(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(ToolExecutionError, match=r"cannot be started \(No such file or directory\)"):
        await call_tool(make("good_tool", tmp_path), {"a": 1, "b": 2})


@ONE_LOOP
@pytest.mark.requirement("SUB-063", "SUB-028")
async def test_a_start_that_fails_half_way_leaves_no_descriptor(monkeypatch):
    def refuse(*_args: Any, **_kwargs: Any) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("socket.socketpair", refuse)
    before = descriptors()
    run = Running(SubprocessTool("x", ["true"])._command.job())
    with pytest.raises(OSError, match="Too many"):
        await run.run(b"")
    assert descriptors() == before


# ── size ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@ONE_LOOP
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.requirement("SUB-014")
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
async def test_the_memory_of_the_host_stays_flat(stream, tmp_path):
    tool = make("huge_output", tmp_path, max_stdout=200_000, max_stderr=200_000)
    arguments = {"stream": stream, "bytes": 1 << 30}
    with pytest.raises(ToolValidationError):
        await call_tool(tool, arguments)
    tracemalloc.start()
    try:
        with pytest.raises(ToolValidationError):
            await call_tool(tool, arguments)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10 * 200_000


@ONE_LOOP
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.requirement("SUB-028")
async def test_hundreds_of_calls_leave_nothing(tmp_path):
    tool = make("good_tool", tmp_path)

    async def calls() -> None:
        for _ in range(50):
            assert await call_tool(tool, {"a": 1, "b": 2}) == {"sum": 3}

    await call_tool(tool, {"a": 1, "b": 2})
    gc.collect()
    before = descriptors()
    tracemalloc.start()
    try:
        await calls()
        gc.collect()
        first, _ = tracemalloc.get_traced_memory()
        for _ in range(3):
            await calls()
        gc.collect()
        last, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert descriptors() == before
    # An event loop keeps the timers of calls that are over for a while; 3 kB a call is less than a call holds.
    assert last - first < 450_000
    assert _children() == []
