"""Limits of commands, and the sandbox: each denial shown by the attempt, and that it would succeed without."""

from __future__ import annotations

import errno
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


DENIED = ("EPERM", errno.errorcode[errno.EOPNOTSUPP])
METADATA = """
HERE, MODE = -100, 0o666
def given(value):
    return str(value).encode()
def opened(path, flags=os.O_RDONLY):
    return os.open(path, flags)
pair = (ctypes.c_long * 4)(1, 0, 1, 0)
import mmap
two_pages = mmap.mmap(-1, 2 * mmap.PAGESIZE)
across = (ctypes.c_long * 4).from_buffer(two_pages, mmap.PAGESIZE - 16)  # where a stack may come to lie, too
across[:] = [1, 0, 1, 0]
old = (ctypes.c_long * 2)(1, 1)
machine = os.uname().machine == "x86_64"
def on(x86, arm, *arguments):
    number = x86 if machine else arm
    if number is None:
        raise OSError(errno.EPERM, "not on this machine")
    return call(number, *arguments)
"""


def changes(path: str) -> list[str]:
    """Every system call that changes the mode, owner, times or attributes of a file, in Python."""
    flags = "ctypes.byref(ctypes.c_int(0x80))"
    return [
        f"on(90, None, {path}, MODE)",
        f"on(91, 52, opened({path}), MODE)",
        f"on(268, 53, HERE, {path}, MODE)",
        f"on(452, 452, HERE, {path}, MODE, 0)",
        f"on(452, 452, opened({path}, os.O_PATH), b'', MODE, 0x1000)",
        f"on(92, None, {path}, os.getuid(), os.getgid())",
        f"on(93, 55, opened({path}), os.getuid(), os.getgid())",
        f"on(94, None, {path}, os.getuid(), os.getgid())",
        f"on(260, 54, HERE, {path}, os.getuid(), os.getgid(), 0)",
        f"on(132, None, {path}, old)",
        f"on(132, None, {path}, None)",
        f"on(235, None, {path}, pair)",
        f"on(261, None, HERE, {path}, pair)",
        f"on(261, None, opened({path}), None, pair)",
        f"on(280, 88, HERE, {path}, pair, 0)",
        f"on(280, 88, HERE, {path}, None, 0x100)",
        f"on(280, 88, opened({path}), None, pair, 0)",
        f"on(188, 5, {path}, b'user.a', b'1', 1, 0)",
        f"on(189, 6, {path}, b'user.a', b'1', 1, 0)",
        f"on(190, 7, opened({path}), b'user.a', b'1', 1, 0)",
        f"on(197, 14, {path}, b'user.b')",
        f"on(198, 15, {path}, b'user.b')",
        f"on(199, 16, opened({path}), b'user.b')",
        f"on(16, 29, opened({path}), 0x40086602, {flags})",
    ]


@pytest.mark.requirement("SUB-054")
async def test_modes_owners_and_times_outside_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "PRELUDE", PRELUDE.replace("attempts =", METADATA + "attempts =", 1))
    here, outside = tmp_path / "here", tmp_path / "outside"
    here.mkdir()
    outside.mkdir()
    file = outside / "file"
    file.write_text("1")
    file.chmod(0o640)
    os.setxattr(file, "user.b", b"1")
    os.utime(file, (5, 5))
    (here / "link").symlink_to(file)
    (here / "way").symlink_to(outside)
    texts = [
        text for path in (file, "link", "../outside/file", "way/file") for text in changes(repr(str(path).encode()))
    ]
    texts += [
        f"os.chmod('file', 0, dir_fd=opened({str(outside)!r}))",
        f"os.utime({str(outside)!r}, (1, 1))",
        "os.chmod('/dev/null', 0o666)",
        "os.utime('/dev/null')",
        f"os.chmod('/proc/self/fd/%d' % opened({str(file)!r}), 0)",
        "os.chmod('/proc/self/cwd/../outside/file', 0)",
        "on(29, 194, 0, 4096, 0o1600)",
        "on(240, 180, b'harness-test', 0o102, 0o600, None)",
    ]
    before, null = file.stat(), os.stat("/dev/null")  # noqa: PTH116 - as the one above
    found = await attempts(texts, here, sandbox=ProcessSandbox(read=(str(outside),)))
    # Two of the calls are about the link itself, which is its own.
    own = {text for text in found if "b'link'" in text and ("on(94" in text or "None, 0x100)" in text)}
    assert len(own) == 2
    assert {text: error for text, error in found.items() if error not in DENIED and text not in own} == {}
    after = file.stat()
    assert (after.st_mode, after.st_mtime, after.st_ctime_ns) == (before.st_mode, before.st_mtime, before.st_ctime_ns)
    assert os.listxattr(file) == ["user.b"]
    assert os.stat("/dev/null").st_mode == null.st_mode  # noqa: PTH116
    # Without the sandbox most of this is done: what is shown above is no accident.
    plain = await attempts(changes(repr(str(file).encode())), here)
    assert sum(state == "done" for state in plain.values()) >= 10
    assert (file.stat().st_mode & 0o777, file.stat().st_mtime) != (0o640, 5)


@pytest.mark.requirement("SUB-054")
async def test_modes_and_times_of_its_own_files_change(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "PRELUDE", PRELUDE.replace("attempts =", METADATA + "attempts =", 1))
    own = tmp_path / "own"
    own.write_text("1")
    (tmp_path / "dangling").symlink_to("nowhere")
    texts = [text for text in changes("b'own'") if "user." not in text and "0x4008" not in text]
    found = await attempts(
        [
            *texts,
            "os.chmod('/proc/self/fd/%d' % opened('own'), 0o600)",
            "on(280, 88, HERE, b'own', across, 0)",
            "os.utime('dangling', (7, 7), follow_symlinks=False)",
            "os.lchown('dangling', os.getuid(), os.getgid())",
            "os.chmod(os.environ['TMPDIR'], 0o711)",
            "subprocess.run(['touch', 'new'], check=True)",
            "subprocess.run(['cp', '-p', 'own', 'copy'], check=True)",
            "subprocess.run(['chmod', '755', 'new'], check=True)",
            "subprocess.run(['tar', 'cf', 'all.tar', 'own', 'dangling'], check=True)",
            "os.mkdir('d') or subprocess.run(['tar', 'xpf', '../all.tar'], check=True, cwd='d')",
            "threading.Thread(target=os.chmod, args=('own', 0o612)).start()",
        ],
        tmp_path,
        sandbox=True,
    )
    only_elsewhere = {"EPERM"} if os.uname().machine != "x86_64" else set()
    assert {text: error for text, error in found.items() if error != "done" and error not in only_elsewhere} == {}
    assert own.stat().st_mode & 0o777 == 0o612
    assert (tmp_path / "dangling").lstat().st_mtime == 7
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "d" / "own").stat().st_mtime == (tmp_path / "copy").stat().st_mtime
    missing = await attempts(
        ["os.chmod('nowhere', 0)", "os.chmod('dangling', 0)", "os.chmod('', 0)"], tmp_path, sandbox=True
    )
    assert set(missing.values()) == {"ENOENT"}


@pytest.mark.requirement("SUB-054")
async def test_within_another_sandbox_nothing_of_the_kind_changes(tmp_path):
    # A process can have one supervisor who is asked; the commands of a command are then denied all of it.
    code = (
        "import anyio, json, os\nfrom harness import SubprocessTool\n"
        "tool = SubprocessTool('inner', ['chmod', '600', 'own'], sandbox=True)\n"
        "open('own', 'w').close()\nos.chmod('own', 0o640)\n"
        "try:\n    anyio.run(tool.run)\nexcept Exception as error:\n    print(json.dumps(error.details['stderr']))"
    )
    repository = str(Path(__file__).parents[1])
    tool = SubprocessTool(
        "outer",
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": repository},
        sandbox=ProcessSandbox(read=(repository, sys.base_prefix, sys.prefix, "/proc"), network=True),
    )
    assert "not permitted" in str(await call_tool(tool))
    assert (tmp_path / "own").stat().st_mode & 0o777 == 0o640


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
import anyio, ctypes, json, logging, sys
from harness import ProcessSandbox, SubprocessTool, ToolExecutionError
from harness.tools.process.confine import keep_signals
# The kernel allows sixteen layers of rules. With all of them used up, the next is refused.
for _ in range(16):
    keep_signals(ctypes.CDLL(None))
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
