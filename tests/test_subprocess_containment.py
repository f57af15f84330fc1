"""That a command cannot rid itself of its supervisor; and what is said and done where it could."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from harness import Harness, SubprocessTool, ToolExecutionError
from harness.testing import call_tool
from harness.tools.process import host
from harness.tools.process.tree import name_of
from tests.processes import BAD_TOOLS, ONE_LOOP, Beacon, beacon, leaves_nothing, make, runs

__all__ = ["beacon", "leaves_nothing"]  # fixtures

pytestmark = [
    pytest.mark.anyio,
    ONE_LOOP,
    pytest.mark.skipif(sys.platform != "linux", reason="elsewhere only the command's process group can be ended"),
]


Process = tuple[int, str]


async def when_all_are_there(
    call: Callable[[], Awaitable[Any]], beacon: Beacon, gate: Path
) -> tuple[Any, list[Process]]:
    """What a call of the tool gives or raises, which does its worst when all its processes are there; and those."""
    os.mkfifo(gate)
    results: list[Any] = []

    async def carry_out() -> None:
        try:
            results.append(await call())
        except ToolExecutionError as error:
            results.append(error)

    async with anyio.create_task_group() as group:
        group.start_soon(carry_out)
        processes = await beacon.wait(2)
        with open(gate, "w"):  # noqa: ASYNC230, PTH123 - its other end is open, or will be
            pass
    return results[0], processes


@pytest.mark.requirement("SUB-029")
async def test_a_command_cannot_turn_on_its_supervisor(tmp_path, beacon):
    tool = make("turns_on_supervisor", tmp_path, leftovers="kill")
    result, processes = await when_all_are_there(lambda: call_tool(tool), beacon, tmp_path / "go")
    assert result == {"done": []}
    assert not any(map(runs, processes))


HOST = """
import ctypes, json, sys
import anyio
from harness import SubprocessTool
from harness.tools.process.confine import keep_signals
# The kernel allows sixteen layers of rules. With all of them used up, there is no Landlock for the command.
for _ in range(16):
    keep_signals(ctypes.CDLL(None))
tool = SubprocessTool("turns", sys.argv[1:], leftovers="kill")
print(json.dumps(anyio.run(tool.run).value))
"""


@pytest.mark.requirement("SUB-029")
async def test_nor_where_the_kernel_has_no_landlock_for_it(tmp_path, beacon):
    command = [sys.executable, "-c", HOST, sys.executable, "-E", "-S", str(BAD_TOOLS / "turns_on_supervisor.py")]
    done, processes = await when_all_are_there(
        lambda: anyio.run_process(command, cwd=tmp_path, check=False), beacon, tmp_path / "go"
    )
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout) == {"done": []}
    assert not any(map(runs, processes))


@pytest.mark.requirement("SUB-027")
async def test_what_sheds_its_environment_is_found_by_its_mark(tmp_path, beacon):
    # Nothing keeps this one from killing its supervisor, which is the first thing it tries.
    tool = make("turns_on_supervisor", tmp_path, contained=False)
    error, processes = await when_all_are_there(lambda: call_tool(tool), beacon, tmp_path / "go")
    assert not any(map(runs, processes))
    assert "lost its supervisor" in error.message
    # It could have changed its mark, so more is not known.
    assert "whether processes that it had started are left is not known" in error.message
    assert error.details["reason"] == "supervisor"
    assert not error.retryable


@pytest.mark.requirement("SUB-027")
async def test_a_supervisor_that_somebody_else_kills(tmp_path, beacon):
    async def call() -> None:
        with pytest.raises(ToolExecutionError, match="killed, so it was killed, with every process") as caught:
            await call_tool(make("daemonizes", tmp_path))
        assert caught.value.retryable

    async with anyio.create_task_group() as group:
        group.start_soon(call)
        processes = await beacon.wait(2)
        [supervisor] = [pid for pid, command in _below(os.getpid()) if b"supervisor" in command]
        os.kill(supervisor, signal.SIGKILL)
    assert not any(map(runs, processes))


def _below(pid: int) -> list[tuple[int, bytes]]:
    pids = [
        int(found) for task in Path(f"/proc/{pid}/task").iterdir() for found in (task / "children").read_text().split()
    ]
    return [(found, Path(f"/proc/{found}/cmdline").read_bytes()) for found in pids]


@pytest.mark.requirement("SUB-027")
async def test_what_cannot_be_ended_is_named_and_not_called_ended(tmp_path, beacon, monkeypatch, caplog):
    monkeypatch.setattr(host, "_SEARCHES", 5)
    monkeypatch.setattr(host, "kill_marked", lambda _mark, _text: [os.getpid()])
    async with Harness(tools=[make("turns_on_supervisor", tmp_path, contained=False)]) as harness:
        outcome, processes = await when_all_are_there(
            lambda: harness.run("<tool-calls>await tools.turns_on_supervisor()</tool-calls>"), beacon, tmp_path / "go"
        )
    monkeypatch.undo()
    error = outcome.executions[0].error
    own_name = name_of(os.getpid())
    assert f"processes that it had started could not be ended ({own_name})" in error.message
    assert error.details["processes"] == [own_name]
    assert "left processes" in caplog.text
    for pid, _ in filter(runs, processes):
        os.kill(pid, signal.SIGKILL)


@pytest.mark.requirement("SUB-029")
async def test_what_containment_leaves_alone(tmp_path):
    # What a filter or a set of rules could break by the way: threads, groups, limits, moving files, signals inside.
    code = """
import json, os, resource, signal, subprocess, threading
os.mkdir("a"); open("a/f", "w").close(); os.mkdir("b"); os.rename("a/f", "b/f"); os.link("b/f", "a/g")
child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
signal.pidfd_send_signal(os.pidfd_open(child.pid), signal.SIGTERM)
thread = threading.Thread(target=int); thread.start(); thread.join()
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
other = subprocess.Popen(["sleep", "1000"], start_new_session=True)
os.killpg(other.pid, signal.SIGKILL)
listed = subprocess.run(["bash", "-c", "ulimit -a"], capture_output=True, text=True)
print(json.dumps([child.wait(), other.wait(), os.listdir("b"), listed.returncode, listed.stderr]))
"""
    tool = SubprocessTool("plain", [sys.executable, "-c", code], cwd=tmp_path)
    assert await call_tool(tool) == [-15, -9, ["f"], 0, ""]
