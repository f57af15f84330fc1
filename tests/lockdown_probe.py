"""Native attempts from inside a worker's lockdown, with layers left out: a program that the tests start.

``python -I -S lockdown_probe.py`` reads a request as JSON from standard input and writes JSON to standard output:

    {"root": …, "scratch": …, "unprivileged": bool, "cells": [[name, without, attempts], …]}
    -> {"kernel": …, "cells": {name: {"report": …, "results": {attempt: result}}}}

For each cell it makes a `Lockdown` in a process that stands for the zygote, and for each attempt a child of that, which
finishes the lockdown and makes the attempt. A result is ``done``, the name of an errno, the name of the signal that ended
the child, ``exit N``, or ``error: …`` if the attempt could not be made.
"""

from __future__ import annotations

import _thread
import ctypes
import errno
import fcntl
import json
import mmap
import os
import platform
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.runtime.lockdown import Lockdown

NOBODY = 65534
MARK = b"hunter2-in-the-environment"
ORPHAN = "outlive its parent"
CORE = "leave a core file"
MIB = 1024 * 1024
ADDRESS_SPACE, DATA, CPU_SECONDS = 1024 * MIB, 512 * MIB, 1
MAP_PRIVATE_ANONYMOUS_NORESERVE = 0x4022
FUTEX_LOCK_PI, FUTEX_PRIVATE = 6, 0x80
X86 = platform.machine() == "x86_64"
NUMBERS = (
    {
        "seccomp": 317,
        "tgkill": 234,
        "sendto": 44,
        "recvfrom": 45,
        "futex": 202,
        "bpf": 321,
        "keyctl": 250,
        "userfaultfd": 323,
    }
    if X86
    else {
        "seccomp": 277,
        "tgkill": 131,
        "sendto": 206,
        "recvfrom": 207,
        "futex": 98,
        "bpf": 280,
        "keyctl": 219,
        "userfaultfd": 282,
    }
)
NUMBERS |= {"pidfd_open": 434, "io_uring_setup": 425, "landlock_create_ruleset": 444}

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p


def checked(result: int | None) -> int:
    if result in (None, -1, ctypes.c_void_p(-1).value):
        raise OSError(ctypes.get_errno(), "")
    assert result is not None
    return result


def system_call(name: str, *arguments: object) -> int:
    return checked(libc.syscall(NUMBERS[name], *arguments))


class World:
    """What there is outside, to be reached for."""

    def __init__(self, scratch: str) -> None:
        self.scratch = scratch
        self.file = f"{scratch}/file"
        self.setuid, self.secret = f"{scratch}/test", f"{scratch}/secret"
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.abstract = socket.socket(socket.AF_UNIX)
        self.abstract.bind(f"\0harness-probe-{os.getpid()}")
        self.abstract.listen()
        self.datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.datagrams.bind(("127.0.0.1", 0))
        # Asked for now: a worker has none of these descriptors.
        self.tcp, self.udp, self.unix = (each.getsockname() for each in (self.listener, self.datagrams, self.abstract))
        self.buffer = ctypes.create_string_buffer(b"in memory")
        fields = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
        self.environment = int(fields[47]), int(fields[48]) - int(fields[47])
        # i386: mov eax, 24 (getuid); int 0x80; ret. On x86-64 that number is sched_yield, which a worker may call.
        self.code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        self.code.write(b"\xb8\x18\x00\x00\x00\xcd\x80\xc3")
        self.victim = os.fork()
        if self.victim == 0:
            libc.prctl(0x59616D61, ctypes.c_ulong(-1), 0, 0, 0)  # where Yama restricts tracing: anybody may
            libc.prctl(1, 9, 0, 0, 0)
            while True:
                signal.pause()


def attempts(world: World, keep: int, file: str) -> dict[str, Callable[[], object]]:  # noqa: C901
    """Each raises ``OSError`` if it is denied. ``file`` is there for this cell alone."""

    def open_and(then: Callable[[int], object], flags: int = os.O_RDONLY) -> None:
        then(os.open(world.file, flags))

    def connect(family: int, address: object) -> None:
        socket.socket(family).connect(address)  # type: ignore[arg-type]

    def read_memory_of_another() -> None:
        vector = (ctypes.c_void_p * 2)(ctypes.addressof(world.buffer), 8)
        checked(libc.process_vm_readv(world.victim, ctypes.byref(vector), 1, ctypes.byref(vector), 1, 0))

    def make_executable() -> None:
        address = checked(libc.mmap(None, 4096, 3, 0x22, -1, 0))
        checked(libc.mprotect(ctypes.c_void_p(address), 4096, 5))

    def i386_call() -> None:
        if not X86:
            raise OSError(errno.ENOSYS, "")
        address = ctypes.addressof(ctypes.c_char.from_buffer(world.code))
        if ctypes.CFUNCTYPE(ctypes.c_int)(address)() < 0:
            raise OSError(errno.ENOSYS, "")

    def descriptors(numbers: range) -> None:
        for number in numbers:
            try:
                fcntl.fcntl(number, fcntl.F_GETFD)
            except OSError:
                continue
            return
        raise OSError(errno.EBADF, "")

    def environment() -> None:
        if MARK not in ctypes.string_at(*world.environment) and not libc.getenv(b"PROBE_MARK") and not os.environ:
            raise OSError(errno.ENOENT, "")

    def ask(name: str, *arguments: object) -> None:
        # There may be no such process, or the descriptor may be no socket: it is enough that the kernel was asked.
        with suppress(OSError):
            system_call(name, *arguments)

    def grow(size: int, protection: int) -> None:
        checked(libc.mmap(None, ctypes.c_size_t(size), protection, MAP_PRIVATE_ANONYMOUS_NORESERVE, -1, 0))

    def compute() -> None:
        while time.process_time() < CPU_SECONDS + 0.5:
            pass

    def compute_deaf_to_signals() -> None:
        signal.signal(signal.SIGXCPU, signal.SIG_IGN)
        while time.process_time() < CPU_SECONDS + 1.5:
            pass

    def exchange_to_be_read() -> None:
        os.write(keep, b"?")
        while True:  # sleeping would be a system call that a worker never makes
            pass

    return {
        "nothing": lambda: None,
        "use memory": lambda: bytearray(8 * MIB),
        "abort": libc.abort,
        "open a file": lambda: open_and(lambda _: None),
        "create a file": lambda: os.open(f"{file}-new", os.O_CREAT | os.O_WRONLY),
        "write to a file": lambda: open_and(lambda number: os.write(number, b"x"), os.O_WRONLY),
        "list a directory": lambda: os.open(world.scratch, os.O_RDONLY),
        "stat a file": lambda: Path(world.file).stat(),
        "remove a file": Path(file).unlink,
        "truncate a file": lambda: os.truncate(world.file, 0),
        "make a directory": Path(f"{file}-directory").mkdir,
        "make a socket": lambda: socket.socket(socket.AF_INET),
        "connect over TCP": lambda: connect(socket.AF_INET, world.tcp),
        "listen on TCP": lambda: socket.socket(socket.AF_INET).bind(("127.0.0.1", 0)),
        "send over UDP": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", world.udp),
        "connect to an abstract socket": lambda: connect(socket.AF_UNIX, world.unix),
        "fork": lambda: os.fork() or os._exit(0),
        "start a thread": lambda: _thread.start_new_thread(int, ()),
        "execute a program": lambda: os.execv("/bin/true", ["true"]),
        "execute a program that gains rights": lambda: os.execv(world.setuid, ["test", "-r", world.secret]),
        "signal another process": lambda: os.kill(world.victim, 0),
        "signal its parent": lambda: os.kill(os.getppid(), 0),
        "signal a thread of another": lambda: system_call("tgkill", world.victim, world.victim, 0),
        "signal a thread of a later process": lambda: ask("tgkill", os.getpid() + 1, os.getpid() + 1, 0),
        "send out of band": lambda: ask("sendto", keep, b"x", 1, socket.MSG_OOB, None, 0),
        "receive out of band": lambda: ask("recvfrom", keep, b"x", 1, socket.MSG_OOB, None, None),
        "lend priority through a futex": lambda: ask(
            "futex", world.buffer, FUTEX_LOCK_PI | FUTEX_PRIVATE, 0, None, None, 0
        ),
        "trace another process": lambda: checked(libc.ptrace(0x4206, world.victim, None, None)),
        "read the memory of another": read_memory_of_another,
        "get a handle to another": lambda: system_call("pidfd_open", world.victim, 0),
        "map executable memory": lambda: checked(libc.mmap(None, 4096, 7, 0x22, -1, 0)),
        "make memory executable": make_executable,
        "make an x32 call": lambda: checked(libc.syscall(0x40000000 + 39)),
        "make an i386 call": i386_call,
        "io_uring_setup": lambda: system_call("io_uring_setup", 4, ctypes.create_string_buffer(120)),
        "userfaultfd": lambda: system_call("userfaultfd", 1),
        "bpf": lambda: system_call("bpf", 0, ctypes.create_string_buffer(128), 128),
        "keyctl": lambda: system_call("keyctl", 0, -2, 1),
        "memfd_create": lambda: os.memfd_create("x"),
        "make a namespace": lambda: checked(libc.unshare(0x10000000)),
        "copy a descriptor": lambda: os.dup(keep),
        "raise a limit": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (10, 10)),
        "become dumpable": lambda: checked(libc.prctl(4, 1, 0, 0, 0)),
        "see descriptors below its own": lambda: descriptors(range(keep)),
        "see descriptors above its own": lambda: descriptors(range(keep + 1, keep + 64)),
        "find its environment": environment,
        "reserve much memory": lambda: grow(ADDRESS_SPACE, 0),
        "take much memory": lambda: grow(DATA, 3),
        "compute without end": compute,
        "compute without end, deaf to signals": compute_deaf_to_signals,
        CORE: libc.abort,
        "be read by its parent": exchange_to_be_read,
        ORPHAN: exchange_to_be_read,
        "leave its root": lambda: os.chroot(world.scratch),
        "read a file of another user": lambda: os.open(world.secret, os.O_RDONLY),
    }


def attempt_named(name: str, named: dict[str, Callable[[], object]]) -> Callable[[], object]:
    """One of the table, or ``call N``: the system call of that number, which may fail, with nothing but zeros."""
    if not name.startswith("call "):
        return named[name]
    return partial(libc.syscall, int(name.removeprefix("call ")), 0, 0, 0, 0, 0, 0)


def name_of(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        return signal.Signals(-code).name
    return f"exit {code}"


def make_attempt(attempt: Callable[[], object], keep: int) -> None:
    try:
        attempt()
    except (OSError, ValueError) as error:
        said = errno.errorcode.get(getattr(error, "errno", None) or 0, "EPERM")
    except _thread.error:
        said = "EAGAIN"
    except BaseException as error:  # noqa: BLE001 -- the test must hear of it
        said = f"error: {type(error).__name__}: {error}"
    else:
        said = "done"
    os.write(keep, said.encode())


def read_of(pid: int, address: int) -> str:
    """What comes of it if this process reads the memory of a child."""
    buffer = ctypes.create_string_buffer(8)
    ours, theirs = (ctypes.c_void_p * 2)(ctypes.addressof(buffer), 8), (ctypes.c_void_p * 2)(address, 8)
    done = libc.process_vm_readv(pid, ctypes.byref(ours), 1, ctypes.byref(theirs), 1, 0)
    return "done" if done == 8 else errno.errorcode[ctypes.get_errno()]


def one(world: World, lockdown: Lockdown, name: str, file: str, reports: list[dict[str, str]]) -> str:
    """In the zygote: make one attempt in a child, and find out how it went."""
    reading, writing = os.pipe()
    another = os.dup(writing)
    worker = os.fork()
    if worker == 0:
        if name == ORPHAN:
            os.close(1)  # or whoever reads there would wait for this process
        if name == CORE:
            most = resource.getrlimit(resource.RLIMIT_CORE)[1]
            resource.setrlimit(resource.RLIMIT_CORE, (most, most))
        os.write(writing, json.dumps(lockdown.finish(keep=writing)).encode() + b"\n")
        make_attempt(attempt_named(name, attempts(world, writing, file)), writing)
        os._exit(0)
    os.close(writing)
    os.close(another)
    if name == ORPHAN:
        # Its parent is this process, which ends now. Whether it lives, the process above finds out.
        while not os.read(reading, 4096).endswith(b"?"):
            pass
        os.write(1, str(worker).encode())
        os._exit(0)
    said = b""
    while chunk := os.read(reading, 4096):
        said += chunk
        if said.endswith(b"?"):
            result = read_of(worker, ctypes.addressof(world.buffer))
            os.kill(worker, signal.SIGKILL)
            os.waitpid(worker, 0)
            os.close(reading)
            return result
    os.close(reading)
    _, status = os.waitpid(worker, 0)
    report, _, result_said = said.partition(b"\n")
    reports.append(json.loads(report) if report else {})
    if name == CORE:
        return "done" if os.WCOREDUMP(status) else "ENOSPC"
    if result_said:
        return result_said.decode()
    return "done" if status == 0 else name_of(status)


def cell(world: World, without: list[str], names: list[str], file: str) -> dict[str, object]:
    """In the process that stands for the zygote."""
    from harness.runtime.lockdown import Lockdown

    lockdown = Lockdown(
        address_space=ADDRESS_SPACE, data=DATA, cpu_seconds=CPU_SECONDS, parent=os.getpid(), without=without
    )
    reports: list[dict[str, str]] = []
    results = {name: one(world, lockdown, name, file, reports) for name in names}
    return {"report": reports[0] if reports else {}, "results": results}


def outlives(printed: str) -> str:
    """Whether the process of that number, whose parent has ended, was left alone by the kernel."""
    # The kernel has sent its signal before a parent is seen to have ended, and this process is the next parent.
    worker = int(printed)
    os.kill(worker, signal.SIGTERM)
    _, status = os.waitpid(worker, 0)
    return "done" if name_of(status) == "SIGTERM" else name_of(status)


def in_child(work: Callable[[], object]) -> str:
    """What a child process prints."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(writing, 1)
        os.close(writing)
        os.close(reading)
        try:
            said = work()
        except BaseException as error:  # noqa: BLE001 -- the test must hear of it
            said = {"failed": f"{type(error).__name__}: {error}"}
        with os.fdopen(1, "w") as pipe:
            json.dump(said, pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        printed = pipe.read()
    os.waitpid(child, 0)
    return printed


def main() -> None:
    request = json.load(sys.stdin)
    sys.path.append(request["root"])
    import harness.runtime.lockdown  # noqa: F401 -- before this process loses the right to read it

    if request["unprivileged"] and os.getuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        libc.prctl(4, 1, 0, 0, 0)
    libc.prctl(36, 1, 0, 0, 0)  # orphans become children of this process
    os.chdir(request["scratch"])
    # Every end by the filter would leave a core file; one attempt is about that.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    world = World(request["scratch"])
    kill_process = ctypes.c_uint32(0x80000000)
    kernel = {
        "landlock": libc.syscall(NUMBERS["landlock_create_ruleset"], None, 0, 1),
        "seccomp": libc.syscall(NUMBERS["seccomp"], 2, 0, ctypes.byref(kill_process)) == 0,
    }
    cells: dict[str, object] = {}
    for number, (name, without, names) in enumerate(request["cells"]):
        file = f"{world.scratch}/own-{os.getpid()}-{number}"
        Path(file).touch()
        others = [each for each in names if each != ORPHAN]
        found = json.loads(in_child(partial(cell, world, without, others, file)))
        if ORPHAN in names:
            found["results"][ORPHAN] = outlives(in_child(partial(cell, world, without, [ORPHAN], file)))
        cells[name] = found
    os.kill(world.victim, signal.SIGKILL)
    os.waitpid(world.victim, 0)
    json.dump({"kernel": kernel, "cells": cells}, sys.stdout)


if __name__ == "__main__":
    main()
