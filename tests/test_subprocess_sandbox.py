"""Limits of commands, and the sandbox: each denial shown by the attempt, and that it would succeed without."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from harness import ProcessSandbox, SubprocessTool, ToolExecutionError, UsageError
from harness.errors import ToolError
from harness.testing import call_tool

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize("anyio_backend", ["asyncio"]),
    pytest.mark.skipif(sys.platform != "linux", reason="the sandbox and the count of processes are those of Linux"),
]

BAD_TOOLS = Path(__file__).parent / "fixtures" / "bad_tools"


def make(script: str, **settings: Any) -> SubprocessTool:
    return SubprocessTool(script, [sys.executable, "-E", "-S", str(BAD_TOOLS / f"{script}.py")], **settings)


async def failure(tool: SubprocessTool, arguments: dict[str, Any] | None = None) -> ToolError:
    with pytest.raises(ToolExecutionError) as caught:
        await call_tool(tool, arguments)
    return caught.value


# ── limits ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("SUB-050")
@pytest.mark.parametrize(
    ("what", "limits", "words"),
    [
        ("cpu", {"cpu_time": 1}, "SIGXCPU, since it used up its 1 seconds"),
        ("memory", {"memory_bytes": 256 << 20}, "Cannot allocate memory"),
        ("file", {"file_bytes": 50_000}, "File too large"),
        ("open", {"open_files": 16}, "Too many open files"),
    ],
)
async def test_each_limit_ends_what_goes_past_it(what, limits, words, tmp_path):
    error = await failure(make("limits", cwd=tmp_path, limits=limits), {"what": what})
    assert words in error.message
    if what != "cpu":
        assert await call_tool(make("limits", cwd=tmp_path), {"what": what}) == {"done": what}


@pytest.mark.requirement("SUB-050")
async def test_no_command_leaves_a_core_dump(tmp_path):
    code = "import resource, json; print(json.dumps(resource.getrlimit(resource.RLIMIT_CORE)))"
    assert await call_tool(SubprocessTool("core", [sys.executable, "-c", code])) == [0, 0]


@pytest.mark.requirement("SUB-050")
async def test_a_file_limit_that_kills_is_named(tmp_path):
    # A shell does not ignore SIGXFSZ, as Python does.
    tool = SubprocessTool("fill", ["sh", "-c", "head -c 9000 /dev/zero > f; kill -XFSZ $$"], cwd=tmp_path)
    assert "SIGXFSZ" in (await failure(tool)).message
    tool = tool.with_settings(limits={"file_bytes": 4_096})
    assert "wrote a file of more than 4,096 bytes" in (await failure(tool)).message


@pytest.mark.requirement("SUB-051")
async def test_a_crowd_is_ended():
    error = await failure(make("crowd", limits={"processes": 10}))
    assert error.details["reason"] == "processes"
    assert error.details["limit"] == 10
    assert 10 < error.details["used"] <= 41
    assert "10 are allowed" in error.message


# ── sandbox ──────────────────────────────────────────────────────────────────────────────────────────────────────

PRELUDE = """
import ctypes, errno, json, os, signal, socket, subprocess, sys, threading
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    if libc.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return "done"
def attempt(text):
    try:
        eval(text)
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error.errno))
    except subprocess.SubprocessError:
        return "EPERM"  # what a child met before it could start anything
    return "done"
attempts = json.load(sys.stdin)["attempts"]
print(json.dumps({text: attempt(text) for text in attempts}))
"""


async def attempts(texts: list[str], tmp_path: Path, **settings: Any) -> Any:
    tool = SubprocessTool("attempt", [sys.executable, "-S", "-c", PRELUDE], cwd=tmp_path, **settings)
    return await call_tool(tool, {"attempts": texts})


@pytest.mark.requirement("SUB-052")
async def test_what_the_sandbox_takes_away(tmp_path):
    here, outside = tmp_path / "here", tmp_path / "outside"
    here.mkdir()
    outside.mkdir()
    (outside / "secret").write_text("secret")
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        denied = [
            f"open({str(outside / 'secret')!r})",
            f"os.listdir({str(outside)!r})",
            f"open({str(outside / 'new')!r}, 'w')",
            f"os.truncate({str(outside / 'secret')!r}, 3)",
            f"os.rename('own', {str(outside / 'own')!r})",
            f"os.link({str(outside / 'secret')!r}, 'hard')",
            f"open('/proc/{os.getpid()}/environ', 'rb')",
            "open('/proc/self/environ', 'rb')",
            f"os.kill({os.getpid()}, 0)",
            f"os.kill({os.getpid()}, signal.SIGCONT)",
            "os.kill(os.getppid(), 0)",
            f"socket.create_connection(('127.0.0.1', {port}))",
            "socket.socket(socket.AF_UNIX)",
            "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
            "call(101, 16, os.getppid(), 0, 0) if os.uname().machine == 'x86_64' else call(117, 16, os.getppid(), 0, 0)",
            "call(425, 1, ctypes.create_string_buffer(200))",
            "call(272 if os.uname().machine == 'x86_64' else 97, 0x10000000)",
            "call(165 if os.uname().machine == 'x86_64' else 40, b'none', b'.', b'tmpfs', 0, 0)",
            f"__import__('resource').prlimit({os.getpid()}, 7)",
            "os.chroot('.')",
        ]
        allowed = [
            "open('own', 'w')",
            "os.mkdir('d')",
            "os.symlink('/etc/shadow', 'link')",
            "open(os.environ['TMPDIR'] + '/f', 'w')",
            "open('/dev/null', 'w')",
            "open('/usr/bin/env', 'rb')",
            "socket.socketpair()",
            "subprocess.run(['true'], check=True)",
            "os.kill(os.getpid(), 0)",
            "threading.Thread(target=print, kwargs={'file': sys.stderr}).start()",
            "__import__('resource').setrlimit(7, (64, 64))",
        ]
        found = await attempts(allowed + denied, here, sandbox=True)
        assert {text: found[text] for text in allowed if found[text] != "done"} == {}
        got_through = [text for text in denied if found[text] == "done"]
        # Signals are kept in by Linux 6.12 and later.
        scoped = await _layer("signals") == "active"
        assert [text for text in got_through if scoped or "os.kill" not in text] == []
        assert (outside / "secret").read_text() == "secret"
        assert os.listdir(outside) == ["secret"]  # noqa: PTH208 - no path is wanted
        # Nothing but the sandbox denies these: what any process of this user may do is done.
        plain = [text for text in denied if text.startswith(("open(", "os.listdir", "os.kill", "socket."))]
        found = await attempts(plain, here, contained=False)
        assert {text: found[text] for text in plain if found[text] != "done"} == {}


async def _layer(name: str) -> str:
    tool = SubprocessTool("one", ["cat"], sandbox=ProcessSandbox(required=()))
    return (await tool.run()).protections[name]


@pytest.mark.requirement("SUB-052")
async def test_what_can_be_given_back(tmp_path):
    here, outside = tmp_path / "here", tmp_path / "outside"
    here.mkdir()
    outside.mkdir()
    (outside / "file").write_text("1")
    read = f"open({str(outside / 'file')!r})"
    write = f"open({str(outside / 'file')!r}, 'a')"
    found = await attempts([read, write], here, sandbox=ProcessSandbox(read=(str(outside),)))
    assert (found[read], found[write]) == ("done", "EACCES")
    found = await attempts([read, write], here, sandbox=ProcessSandbox(write=(str(outside), "/no/such/place")))
    assert (found[read], found[write]) == ("done", "done")
    network = ["socket.socket()", "socket.socket(socket.AF_UNIX)"]
    found = await attempts(network, here, sandbox=ProcessSandbox(network=True))
    assert set(found.values()) == {"done"}
    processes = ["os.fork() or os._exit(0)", "subprocess.run(['true'])"]
    thread = ["threading.Thread(target=int).start()"]
    found = await attempts(processes + thread, here, sandbox=ProcessSandbox(new_processes=False))
    assert [found[text] for text in processes + thread] == ["EPERM", "EPERM", "done"]


@pytest.mark.requirement("SUB-052")
async def test_a_link_that_a_command_makes_leads_nowhere(tmp_path):
    here, secret = tmp_path / "here", tmp_path / "secret"
    here.mkdir()
    secret.write_text("secret")
    (here / "link").symlink_to(secret)
    found = await attempts(["open('link')", "open('../secret')"], here, sandbox=True)
    assert set(found.values()) == {"EACCES"}


@pytest.mark.requirement("SUB-052")
async def test_grandchildren_are_inside_too(tmp_path):
    here, secret = tmp_path / "here", tmp_path / "secret"
    here.mkdir()
    secret.write_text("secret")
    error = await failure(SubprocessTool("cat", ["sh", "-c", f"sh -c 'cat {secret}'"], cwd=here, sandbox=True))
    assert "Permission denied" in error.details["stderr"]


HOST = """
import anyio, json, logging, sys
from harness import ProcessSandbox, SubprocessTool, ToolExecutionError
from harness.tools.process.confine import sandbox
# The kernel allows sixteen layers of rules on files. With all of them used up, the next is refused.
for _ in range(16):
    sandbox({"read": [], "write": ["/"], "network": True, "new_processes": True})
logging.basicConfig(format="%(message)s", stream=sys.stderr)
async def main():
    try:
        await SubprocessTool("touch", ["touch", "started"], sandbox=True).run()
    except ToolExecutionError as error:
        first = [error.message, error.details["reason"]]
    output = await SubprocessTool("cat", ["cat"], sandbox=ProcessSandbox(required=())).run({"a": 1})
    print(json.dumps([first, output.value, output.protections]))
anyio.run(main)
"""


@pytest.mark.requirement("SUB-053")
async def test_a_required_layer_that_is_not_there(tmp_path):
    done = subprocess.run(  # noqa: ASYNC221 - nothing else runs
        [sys.executable, "-c", HOST], cwd=tmp_path, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr
    (message, reason), value, protections = json.loads(done.stdout)
    assert "its sandbox is not complete on this machine, so it was not started (files: failed: E2BIG)" in message
    assert reason == "sandbox"
    assert list(tmp_path.iterdir()) == []
    assert value == {"a": 1}
    assert protections["files"] == "failed: E2BIG"
    assert protections["system_calls"] == "active"
    assert "tools.cat ran without these layers of its sandbox" in done.stderr
    assert "failed: E2BIG" in done.stderr


@pytest.mark.requirement("SUB-053")
async def test_layers_are_reported(tmp_path):
    output = await SubprocessTool("cat", ["cat"], cwd=tmp_path, sandbox=True).run({"a": 1})
    assert output.value == {"a": 1}
    states = dict(output.protections)
    assert states.pop("signals") in ("active", "needs Linux 6.12")
    assert states == dict.fromkeys(("no_new_privileges", "files", "network", "system_calls"), "active")
    assert (await SubprocessTool("cat", ["cat"]).run({})).protections == {}
    with pytest.raises(UsageError):
        SubprocessTool("cat", ["cat"], sandbox="yes")  # type: ignore[arg-type] # what somebody might write
    with pytest.raises(ValidationError):
        ProcessSandbox(required=("no-such-layer",))
