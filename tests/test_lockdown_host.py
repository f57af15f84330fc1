"""What the host makes of the lockdown: what it demands, what it sees of a worker, what it hands down to one, and not."""

from __future__ import annotations

import json
import logging
import os
import platform
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import ErrorInfo, Harness, Limits, Outcome, UsageError, tool
from harness.runtime import boot, hardening
from harness.runtime.job import Job
from harness.runtime.layers import ACTIVE, LAYERS
from harness.runtime.pool import ProcessPool
from harness.runtime.rehearsal import rehearsal
from harness.runtime.watch import Watch
from harness.runtime.worker import VM, Rehearsal, serve

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
START = pytest.mark.parametrize("start", ["fork", "spawn"])


def block(script: str) -> str:
    return f"<tool-calls>{script}</tool-calls>"


def error_of(outcome: Outcome) -> ErrorInfo:
    error = outcome.executions[0].error
    assert error is not None, outcome.executions[0]
    return error


def pool_of(harness: Harness) -> ProcessPool:
    assert harness._runtime is not None
    pool = harness._runtime._pool
    assert isinstance(pool, ProcessPool)
    return pool


@pytest.fixture
def start(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How processes are made."""
    method: str = request.param
    monkeypatch.setattr("harness.runtime.pool.can_fork", lambda: method == "fork")
    return method


def program(text: str, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a host of its own."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(text), *arguments],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        **options,
    )


# ── workers that a script has got hold of ────────────────────────────────────────────────────────────────────────

# In place of the script, the worker does what the script's name says, in native code.
HOSTILE = """
import sys, json, os, ctypes, mmap, signal, socket, time
config = json.load(sys.stdin)
sys.path += config["path"]
from harness.runtime import solo, wire

libc = ctypes.CDLL(None, use_errno=True)
honest = solo.serve

def take_memory(channel):
    held = []
    while True:
        held.append(bytearray(os.urandom(1)) * (1 << 20))

def fall_asleep(channel):
    channel.recv(1)

def wait_then_take_memory(channel, vm, frame):
    frame["source"] = frame["code"] = "await tools.wait_for_ever()"
    channel.sendall(wire.pack_frame(wire.TURN, vm.start(frame)))
    take_memory(channel)

def lie(channel):
    channel.sendall(wire.pack_frame(wire.TURN, b"{}"))
    channel.recv(1)

ATTEMPTS = {
    "lie": lie,
    "take_memory": take_memory,
    "fall_asleep": fall_asleep,
    "open_a_file": lambda channel: os.open("/etc/hostname", os.O_RDONLY),
    "make_a_socket": lambda channel: socket.socket(),
    "fork": lambda channel: os.fork(),
    "execute": lambda channel: os.execv("/bin/true", ["true"]),
    "signal_its_parent": lambda channel: os.kill(os.getppid(), 0),
    "trace_its_parent": lambda channel: libc.ptrace(0x4206, os.getppid(), None, None),
}

def serve(channel, vm, *, protections, cpu_timer):
    if not cpu_timer:
        return honest(channel, vm, protections=protections, cpu_timer=False)
    channel.sendall(wire.pack_frame(wire.READY, json.dumps({"protections": protections}).encode()))
    stream = channel.makefile("rb")  # receiving with a flag would end the worker
    while header := stream.read(5):
        _, length = wire.unpack_header(header, limit=1 << 20)
        frame = json.loads(stream.read(length))
        if frame["source"] == "wait_then_take_memory":
            wait_then_take_memory(channel, vm, frame)
        if frame["source"] in ATTEMPTS:
            ATTEMPTS[frame["source"]](channel)
            os._exit(77)
        channel.sendall(wire.pack_frame(wire.TURN, vm.start(frame)))

solo.serve = serve
from harness.runtime.MODULE import main
main(int(sys.argv[1]), config)
"""


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch) -> None:
    text = HOSTILE.replace("{", "{{").replace("}", "}}").replace("MODULE", "{module}")
    monkeypatch.setattr(boot, "_BOOT", text)


@tool
async def wait_for_ever() -> None:
    """Never return."""
    import anyio

    await anyio.sleep_forever()


async def attempt(name: str, **limits: Any) -> ErrorInfo:
    async with Harness(tools=[wait_for_ever], limits={"cpu_time": 60, **limits}) as harness:
        return error_of(await harness.run(block(name)))


@LINUX
@pytest.mark.anyio
@pytest.mark.usefixtures("hostile")
@pytest.mark.requirement("SBX-003")
@pytest.mark.parametrize("start", ["fork", "spawn"], indirect=True)
@pytest.mark.parametrize(
    "name", ["open_a_file", "make_a_socket", "fork", "execute", "signal_its_parent", "trace_its_parent"]
)
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_worker_itself_is_locked_down(name, start):
    error = await attempt(name)
    assert error.type == "WorkerCrashedError"
    assert "SIGSYS" in error.message


@LINUX
@pytest.mark.anyio
@pytest.mark.usefixtures("hostile")
@pytest.mark.requirement("SBX-010")
@pytest.mark.parametrize("start", ["fork", "spawn"], indirect=True)
@pytest.mark.parametrize("name", ["take_memory", "wait_then_take_memory"])
async def test_a_worker_that_holds_too_much_memory_is_ended(name, start, monkeypatch):
    # The kernel's own limits, which would come first, are far away.
    monkeypatch.setattr(boot, "_ADDRESS_SPACE_HEADROOM", 4 << 30)
    monkeypatch.setattr(boot, "_DATA_HEADROOM", 4 << 30)
    error = await attempt(name, memory_bytes=8 << 20)
    assert error.type == "ScriptMemoryError"
    assert error.details["limit"] == 8 << 20


@LINUX
@pytest.mark.anyio
@pytest.mark.usefixtures("hostile")
@pytest.mark.requirement("SBX-011")
@pytest.mark.parametrize("start", ["fork", "spawn"], indirect=True)
async def test_a_worker_that_sleeps_instead_of_answering_is_ended(start, monkeypatch):
    monkeypatch.setattr("harness.runtime.watch._ASLEEP_S", 0.1)
    error = await attempt("fall_asleep")
    assert error.type == "WorkerCrashedError"
    assert "slept instead of answering" in error.message


@LINUX
@pytest.mark.anyio
@pytest.mark.usefixtures("hostile")
@pytest.mark.requirement("SBX-044")
@pytest.mark.parametrize(("isolation", "asked"), [("process", "to run"), ("shared", "to compile")])
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_after_a_lie_no_worker_of_the_same_fork_server_serves(isolation, asked):
    async with Harness(isolation=isolation) as harness:
        pool = pool_of(harness)
        assert (await harness.run(block("1"), trust_domain="bystander")).executions[0].value == 1
        first, kept = pool._server, dict(pool._idle)
        assert list(kept) == (["bystander"] if isolation == "shared" else [])
        if asked == "to run":
            error = error_of(await harness.run(block("lie"), trust_domain="liar"))
            assert error.details["violation"] is True
        else:
            [found] = await harness.check(block("lie"))
            assert "broke the protocol" in found.message
        # What is kept for others has the liar's memory layout, too.
        assert (await harness.run(block("2"), trust_domain="bystander")).executions[0].value == 2
        assert pool._server is not first
        assert first is not None
        assert first.failure is not None
        assert not any(worker.alive for worker in kept.values())
        assert pool._retired == []


@LINUX
@pytest.mark.requirement("SBX-011")
def test_a_worker_that_computes_or_waits_for_the_host_is_not_taken_for_dead():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        watch = Watch(process.pid, resident_bytes=1 << 40)
        assert {watch.look(1.0, owes_answer=False) for _ in range(200)} == {None}
        process.communicate(b"\n")
        # One that has gone is nobody's business.
        assert watch.look(1.0, owes_answer=True) is None
    busy = Watch(os.getpid(), resident_bytes=1 << 40)
    assert {busy.look(1.0, owes_answer=True) for _ in range(200)} == {None}
    assert Watch(os.getpid(), resident_bytes=1).look(1.0, owes_answer=False) == "memory"


# ── what is demanded ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def lacking(monkeypatch: pytest.MonkeyPatch) -> str:
    """A layer that every worker started from now on lacks."""
    config = boot.worker_config

    def without(*arguments: Any, **named: Any) -> dict[str, Any]:
        made = config(*arguments, **named)
        made["lockdown"]["without"] = ["limit_core"]
        return made

    monkeypatch.setattr("harness.runtime.pool.worker_config", without)
    monkeypatch.setattr(hardening, "_said_in", None)
    return "limit_core"


@pytest.mark.anyio
@pytest.mark.requirement("SBX-020")
@pytest.mark.parametrize("start", ["fork", "spawn"], indirect=True)
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_required_refuses_to_start_without_the_full_set(lacking, start):
    harness = Harness(hardening="required")
    for _ in range(2):
        with pytest.raises(UsageError, match=r"limit_core \(left out\) is not active.*setrlimit.*best_effort"):
            async with harness:
                pytest.fail("it started")
    with pytest.raises(UsageError, match="limit_core"):
        await harness.run(block("1"))


@pytest.mark.anyio
@pytest.mark.usefixtures("lacking")
@pytest.mark.requirement("SBX-020")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_with_required_a_worker_that_lacks_a_layer_never_sees_a_script(monkeypatch):
    async def unproven(_: object) -> None:
        """As if the first worker had been complete, and a later one is not."""

    monkeypatch.setattr("harness.runtime.runtime.Runtime._prove_hardening", unproven)
    async with Harness(hardening="required") as harness:
        error = error_of(await harness.run(block("console.log('seen')")))
    assert error.type == "WorkerCrashedError"
    assert "limit_core" in error.message


@LINUX
@pytest.mark.anyio
@pytest.mark.requirement("SBX-020")
@pytest.mark.parametrize("start", ["fork", "spawn"], indirect=True)
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_required_starts_where_everything_is_active(start):
    async with Harness() as harness:
        worker = await pool_of(harness).acquire(None)
        await worker.exchange(ord("C"), b'{"source":"0","code":"0"}')
        states = worker.protections
        await pool_of(harness).release(worker, clean=True)
    if set(states.values()) != {ACTIVE}:
        pytest.skip(f"not everything is, here: {states}")
    async with Harness(hardening="required") as harness:
        outcome = await harness.run(block("1"))
    assert outcome.executions[0].value == 1


@pytest.mark.requirement("SBX-020")
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"hardening": "strict"}, "'best_effort' or 'required'"),
        ({"hardening": "required", "isolation": "thread"}, "needs processes"),
    ],
)
def test_impossible_settings_are_refused(settings, words):
    with pytest.raises(UsageError, match=words):
        Harness(**settings)


@pytest.mark.anyio
@pytest.mark.requirement("SBX-021")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_best_effort_says_once_what_is_missing(lacking, caplog):
    with caplog.at_level(logging.INFO, logger="harness"):
        for _ in range(2):
            async with Harness() as harness:
                for _ in range(2):
                    outcome = await harness.run(block("1"))
                    assert outcome.executions[0].value == 1
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert lacking in record.getMessage()
    assert not any(layer in record.getMessage() for layer in set(LAYERS) - {lacking})


@pytest.mark.anyio
@pytest.mark.requirement("SBX-021")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_best_effort_says_nothing_where_nothing_is_missing(monkeypatch, caplog):
    monkeypatch.setattr(hardening, "_said_in", None)
    with caplog.at_level(logging.INFO, logger="harness"):
        hardening.say_once(dict.fromkeys(LAYERS, ACTIVE))
    assert caplog.records == []


# ── a machine that lacks something ───────────────────────────────────────────────────────────────────────────────

# A kernel without certain calls, as far as this process and its children can see: a filter says that there are none.
LESSENED = """
    import ctypes, os, struct, sys
    absent = [int(number) for number in sys.argv[1].split(",")]
    steps = [(0x20, 0, 0, 0)]
    for number in absent:
        steps += [(0x15, 0, 1, number), (0x06, 0, 0, 0x00050000 | 38)]
    steps.append((0x06, 0, 0, 0x7FFF0000))
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))
    program = Program(len(steps), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0
    if libc.prctl(22, 2, ctypes.byref(program), 0, 0) != 0:
        print("cannot", flush=True)
        sys.exit(0)
    os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""
SECCOMP = {"x86_64": 317, "aarch64": 277}.get(platform.machine(), 0)
CAPSET = {"x86_64": 126, "aarch64": 91}.get(platform.machine(), 0)
LANDLOCK, PIDFD_OPEN = 444, 434


def on_a_machine_without(calls: list[int], *arguments: str) -> subprocess.CompletedProcess[str]:
    if sys.platform != "linux" or not SECCOMP:
        pytest.skip("needs seccomp to take system calls away")
    done = program(LESSENED, ",".join(map(str, calls)), *arguments, stdin=subprocess.DEVNULL)
    if done.stdout == "cannot\n":
        pytest.skip("this kernel has no seccomp to take system calls away with")
    return done


@pytest.mark.slow
@pytest.mark.requirement("SBX-022", "CLI-013")
def test_the_doctor_on_a_machine_without_seccomp_and_landlock():
    done = on_a_machine_without([SECCOMP, LANDLOCK], "-m", "harness", "doctor", "--json")
    found = {protection["name"]: protection for protection in json.loads(done.stdout)}
    assert (done.returncode, done.stderr) == (1, "")
    assert {name for name, protection in found.items() if not protection["active"]} == {"seccomp", "landlock"}
    assert found["seccomp"]["detail"].startswith("failed: ENOSYS. To have it, use Linux on x86-64 or aarch64")
    assert found["landlock"]["detail"].startswith("not in this kernel")
    shown = on_a_machine_without([SECCOMP, LANDLOCK], "-m", "harness", "doctor")
    assert shown.returncode == 1
    assert "missing  seccomp" in shown.stdout
    assert "less protection" in shown.stdout


@pytest.mark.slow
@pytest.mark.requirement("SBX-022")
def test_the_doctor_where_capabilities_may_not_be_given_up():
    done = on_a_machine_without([CAPSET], "-m", "harness", "doctor", "--json")
    found = {protection["name"]: protection for protection in json.loads(done.stdout)}
    detail = found["capabilities"]["detail"]
    if has_capabilities():
        assert done.returncode == 1
        assert detail.startswith("failed: ENOSYS. To have it, use Linux, and a container runtime that allows capset(2)")
    else:
        assert (found["capabilities"]["active"], done.returncode) == (True, 0)


@pytest.mark.slow
@pytest.mark.requirement("SBX-005")
def test_who_has_no_capabilities_need_not_be_allowed_to_give_them_up():
    if not has_capabilities():
        pytest.skip("this user has none, so that the test above shows it")
    # Root gets its capabilities back with every program it starts, unless the secure bits say otherwise.
    keep = "import ctypes; assert ctypes.CDLL(None).prctl(28, 0x2F, 0, 0, 0) == 0; "
    run = "import os, sys; os.execv(sys.executable, [sys.executable, '-m', 'harness', 'doctor', '--json'])"
    done = on_a_machine_without([CAPSET], "-c", keep + run)
    found = {protection["name"]: protection for protection in json.loads(done.stdout)}
    assert found["capabilities"]["active"], found["capabilities"]


def has_capabilities() -> bool:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("CapPrm:")[2].split()[0], 16) != 0


@pytest.mark.requirement("SBX-020", "SBX-021")
def test_scripts_on_a_machine_without_seccomp():
    text = """
        from harness import Harness, UsageError
        with Harness() as harness:
            print(harness.run_sync("<tool-calls>1</tool-calls>").executions[0].value)
        try:
            Harness(hardening="required").run_sync("<tool-calls>1</tool-calls>")
        except UsageError as error:
            print(error)
    """
    done = on_a_machine_without([SECCOMP], "-c", textwrap.dedent(text))
    said, refused = done.stdout.splitlines()
    assert said == "1"
    assert refused.startswith("hardening='required', but on this machine seccomp (failed: ENOSYS) is not active")
    # Without any logging set up, warnings go to standard error.
    assert done.stderr.count("seccomp (failed: ENOSYS)") == 1


@pytest.mark.slow
@pytest.mark.requirement("SBX-020", "CLI-002")
def test_the_command_line_can_demand_the_full_set(tmp_path):
    (tmp_path / "text").write_text(block("console.log('ran')"))
    done = on_a_machine_without(
        [LANDLOCK], "-m", "harness", "run", str(tmp_path / "text"), "--hardening", "required", "--json"
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "landlock" in done.stderr


@pytest.mark.requirement("SBX-030")
def test_a_machine_without_handles_to_processes_spawns_its_workers():
    done = on_a_machine_without([PIDFD_OPEN], "-m", "harness", "doctor", "--json")
    found = {protection["name"]: protection for protection in json.loads(done.stdout)}
    assert "started ahead of need" in found["worker"]["detail"]
    assert done.returncode == 0, found


# ── workers without a fork server ────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def spawned(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Workers are spawned; their pids."""
    monkeypatch.setattr("harness.runtime.pool.can_fork", lambda: False)
    pids: list[int] = []
    spawn = boot.spawn

    def noted(*arguments: Any) -> subprocess.Popen[bytes]:
        process = spawn(*arguments)
        pids.append(process.pid)
        return process

    monkeypatch.setattr("harness.runtime.spawnserver.spawn", noted)
    yield pids
    # Nobody waits for them any more, and they are no zombies either.
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@tool
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@pytest.mark.anyio
@pytest.mark.requirement("SBX-030")
async def test_spawned_workers_serve_once_each_and_leave_nothing(spawned):
    async with Harness(tools=[add], limits={"wall_time": 1.0, "cpu_time": 60}) as harness:
        for number in range(2):
            outcome = await harness.run(block(f"await tools.add({{a: {number}, b: 1}})"), trust_domain="a")
            assert outcome.executions[0].value == number + 1
        # A worker is ready, or on its way, for each that is to come.
        assert len(set(spawned)) == len(spawned) == 4
        error = error_of(await harness.run(block("for (;;);")))
        assert (error.type, error.details["clock"]) == ("ScriptTimeoutError", "wall")


@pytest.mark.anyio
@pytest.mark.requirement("SBX-030")
async def test_the_end_of_a_spawned_worker_is_told_as_it_was(spawned):
    @tool
    async def kill_my_worker() -> None:
        """End the worker that waits for this, and never return."""
        import anyio

        [worker] = pool_of(harness)._busy
        os.kill(worker.pid, signal.SIGSEGV)
        await anyio.sleep_forever()

    async with Harness(tools=[kill_my_worker], isolation="shared", limits={"cpu_time": 0.2}) as harness:
        error = error_of(await harness.run(block("await tools.kill_my_worker()")))
        assert error.type == "WorkerCrashedError"
        assert "SIGSEGV" in error.message
        before = len(spawned)
        for number in range(2):
            outcome = await harness.run(block(str(number)), trust_domain="a")
            assert outcome.executions[0].value == number
        error = error_of(await harness.run(block("Array(4294967295).join('')"), trust_domain="a"))
        assert (error.type, error.details["clock"]) == ("ScriptTimeoutError", "cpu")
        # All three from one process, which took the place of the one that was killed.
        assert len(spawned) - before <= 2


@pytest.mark.anyio
@pytest.mark.requirement("SBX-030")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_spawned_worker_that_cannot_start_says_why(monkeypatch, spawned):
    monkeypatch.setattr(boot, "_BOOT", boot._BOOT.replace("main(", "c.update(stack_bytes=1);main("))
    async with Harness() as harness:
        error = error_of(await harness.run(block("1")))
    assert error.type == "HarnessInternalError"
    assert "No worker process can be started: the worker gave up" in error.message
    assert spawned


# ── what is handed down, and what is not ─────────────────────────────────────────────────────────────────────────


@LINUX
@pytest.mark.requirement("SBX-040")
def test_nothing_of_the_host_is_in_the_fork_server_or_its_workers(tmp_path):
    tokens = {name: f"{name}-{os.urandom(8).hex()}" for name in ("environment", "argument", "memory", "file")}
    (tmp_path / "file").write_text(tokens["file"])
    text = """
        import os, re, sys
        from pathlib import Path
        from harness import Harness, tool

        held = open(sys.argv[2])
        os.set_inheritable(held.fileno(), True)
        tokens = [os.environ["SECRET"], sys.argv[1], sys.argv[3][::-1], held.read()]

        def memory(pid):
            with open(f"/proc/{pid}/mem", "rb", 0) as file:
                for line in open(f"/proc/{pid}/maps"):
                    start, end, rights = re.match("([0-9a-f]+)-([0-9a-f]+) (....)", line).groups()
                    if rights.startswith("rw"):
                        file.seek(int(start, 16))
                        yield file.read(int(end, 16) - int(start, 16))

        def found_in(pid):
            parts = [b"".join(memory(pid))]
            assert len(parts[0]) > 1_000_000 and b"harness.runtime.lockdown" in parts[0]
            parts += [Path(f"/proc/{pid}/{name}").read_bytes() for name in ("environ", "cmdline")]
            assert set(parts[1]) <= {0}, parts[1]
            return [token for token in tokens if any(token.encode() in part for part in parts)]

        @tool
        async def look() -> list[str]:
            '''What is found.'''
            pool = harness._runtime._pool
            zygote, [worker] = pool._server._process.pid, pool._busy
            links = [os.readlink(f"/proc/{zygote}/fd/{name}") for name in os.listdir(f"/proc/{zygote}/fd")]
            kinds = {re.sub(r"\\\\[.*|:.*", "", link) for link in links}
            assert kinds <= {"socket", "pipe", "anon_inode", "/dev/null"}, links
            assert len(os.listdir(f"/proc/{worker.pid}/fd")) == 1
            return found_in(zygote) + found_in(worker.pid)

        with Harness(tools=[look]) as harness:
            assert all(token.encode() in b"".join(memory(os.getpid())) for token in tokens)
            execution = harness.run_sync("<tool-calls>await tools.look()</tool-calls>").executions[0]
            print(execution.value if execution.error is None else execution.error.message)
    """
    done = program(
        text.replace("\\\\", "\\"),
        tokens["argument"],
        str(tmp_path / "file"),
        tokens["memory"][::-1],
        env={**os.environ, "SECRET": tokens["environment"]},
        close_fds=True,
    )
    if "Permission denied" in done.stdout:
        pytest.skip("this user may not look into a process that is not dumpable")
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")


@pytest.mark.requirement("SBX-040")
def test_no_variable_of_the_host_s_reaches_a_process_it_starts(monkeypatch):
    monkeypatch.setenv("API_TOKEN", "hunter2")
    tell = "import os, sys, socket; json = sys.stdin.read();"
    tell += "socket.socket(fileno=int(sys.argv[1])).sendall((json + repr(sorted(os.environ))).encode())"
    monkeypatch.setattr(boot, "_BOOT", tell)
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            process = boot.spawn("zygote", theirs.fileno(), {"known": 1})
        with ours.makefile("rb") as said:
            # What it has to know, and what it finds: neither is on its command line.
            assert said.read().decode() == '{"known": 1}' + repr(sorted(boot.ENVIRONMENT))
    process.wait()
    assert "hunter2" not in repr(process.args)


@LINUX
@pytest.mark.requirement("SBX-041")
def test_signals_that_the_host_blocks_or_ignores_still_end_a_worker():
    text = """
        import signal
        from harness import Harness

        signal.signal(signal.SIGPROF, signal.SIG_IGN)
        signal.signal(signal.SIGXCPU, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
        with Harness(limits={"cpu_time": 0.1, "wall_time": 20}) as harness:
            # Only the kernel's timer ends this.
            outcome = harness.run_sync("<tool-calls>Array(4294967295).join('')</tool-calls>")
            print(outcome.executions[0].error.details["clock"])
    """
    done = program(text)
    assert (done.returncode, done.stdout, done.stderr) == (0, "cpu\n", "")


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.requirement("SBX-042")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_fork_server_is_replaced_after_max_forks():
    servers = []
    async with Harness(limits={"max_forks": 3}) as harness:
        for number in range(7):
            outcome = await harness.run(block(str(number)))
            assert outcome.executions[0].value == number
            pool = pool_of(harness)
            assert pool._server is not None
            servers.append(pool._server)
            assert not pool._retired
    assert len(set(map(id, servers))) >= 3


@pytest.mark.requirement("SBX-043")
@pytest.mark.parametrize("rehearsed", [False, True])
def test_what_a_script_draws_follows_from_its_first_frame_alone(rehearsed):
    vm = VM(stack_bytes=1 << 20)
    if rehearsed:
        serve(Rehearsal(rehearsal()), vm, protections={}, cpu_timer=False)
    drawn = []
    for seed in [(1, 2, 3, 4), (5, 6, 7, 8), (1, 2, 3, 4)]:
        start = json.loads(rehearsal()[0])
        start["source"] = start["code"] = "return [Math.random(), Math.random()]"
        start["job"] |= {"seed": seed, "shift": None}
        turn = json.loads(vm.start(start))["turn"]
        drawn.append(json.loads(turn["ending"]["value"]))
    assert drawn[0] == drawn[2] == [0.09715683220717619, drawn[0][1]]
    assert drawn[0] != drawn[1]


@pytest.mark.anyio
@pytest.mark.requirement("SBX-043")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_each_execution_has_a_seed_of_its_own(monkeypatch):
    seeds: list[tuple[int, ...]] = []
    start_frame = Job.start_frame

    def noted(job: Job, *arguments: Any) -> bytes:
        seeds.append(job.seed)
        return start_frame(job, *arguments)

    monkeypatch.setattr(Job, "start_frame", noted)
    async with Harness(isolation="thread") as harness:
        for _ in range(5):
            await harness.run(block("1") + block("2"))
    words = [word for seed in seeds for word in seed]
    assert len(seeds) == 10
    assert len(set(words)) == 40
    assert max(words) > 2**28


@pytest.mark.anyio
@pytest.mark.requirement("SBX-043")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_workers_of_one_fork_server_draw_nothing_in_common():
    script = "[Math.random(), Math.random()].map((n) => n * 2 ** 32 | 0)"
    async with Harness() as harness:
        drawn: list[Any] = []
        for _ in range(12):
            drawn += (await harness.run(block(script))).executions[0].value  # type: ignore[arg-type]
        assert pool_of(harness)._server is not None
    assert len(set(drawn)) == len(drawn)


@pytest.mark.anyio
@pytest.mark.requirement("SBX-006")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_one_run_may_not_outgrow_what_the_kernel_allows_its_worker():
    async with Harness(limits={"cpu_time": 1, "wall_time": 2}) as harness:
        assert (await harness.run(block("1"), limits={"cpu_time": 50})).executions[0].value == 1
        with pytest.raises(UsageError, match="cpu_time and wall_time"):
            await harness.run(block("1"), limits={"cpu_time": 50, "wall_time": 50})


@pytest.mark.requirement("SBX-006")
def test_the_kernel_s_limits_leave_room_for_what_the_limits_allow():
    small = boot.worker_config(Limits(), runs=1, required=False)["lockdown"]
    large = boot.worker_config(Limits(memory_bytes=512 << 20, frame_bytes=64 << 20), runs=1, required=False)["lockdown"]
    for name in ("address_space", "data"):
        assert large[name] - small[name] >= (512 - 96 + 4 * (64 - 8)) << 20
    assert small["data"] < small["address_space"]
    assert boot.worker_config(Limits(cpu_time=7, wall_time=3), runs=10, required=False)["lockdown"]["cpu_seconds"] >= 80
