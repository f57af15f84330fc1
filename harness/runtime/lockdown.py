"""What the operating system takes away from a worker.

A zygote makes one `Lockdown`: that puts on what its children inherit, and prepares the rest, so that each child has
little left to do. `Lockdown.finish` runs in the child, which has one thread, before any script does. Each layer reports
``"active"`` or why it is not; nothing is assumed. Only the standard library is used.

Sources: ``man 2 seccomp``, ``man 2 prctl``, ``man 7 landlock`` (Linux 6.x), ``linux/seccomp.h``, ``linux/landlock.h``.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import struct
import sys

__all__ = ["ACTIVE", "LAYERS", "Lockdown"]

ACTIVE = "active"

LAYERS = {
    "no_new_privileges": "no program it starts could gain privileges",
    "not_dumpable": "no other process of the same user can read its memory",
    "descriptors": "every file descriptor but the bridge is closed",
    "resource_limits": "address space, files, processes, core dumps are limited",
    "landlock": "no file can be opened and no socket connected",
    "seccomp": "every system call outside a short list ends it",
}
"""The layers, with what each one is for."""

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38

_SECCOMP_SET_MODE_FILTER = 1
_RET_KILL_PROCESS, _RET_ALLOW = 0x80000000, 0x7FFF0000
# BPF: load a word of the call's data; jump if equal, if greater or equal, if a bit is set; return.
_LD, _JEQ, _JGE, _JSET, _RET = 0x20, 0x15, 0x35, 0x45, 0x06
_OFFSET_NUMBER, _OFFSET_ARCH, _OFFSET_ARGUMENTS = 0, 4, 16
_STEP = struct.Struct("HBBI")
_X32_BIT = 0x40000000
_PROT_EXEC = 4


class _Machine:
    """Numbers that differ between architectures."""

    def __init__(
        self, audit: int, seccomp: int, protect: tuple[int, int], tgkill: int, allowed: dict[str, int]
    ) -> None:
        self.audit = audit
        self.seccomp = seccomp
        self.mmap, self.mprotect = protect
        self.tgkill = tgkill
        self.allowed = allowed


# read and write serve a pipe, recvfrom and sendto a socket; setitimer arms the CPU timer; gettid, getpid and tgkill (of
# the worker itself) let an engine assert be seen as an abort.
_MACHINES = {
    "x86_64": _Machine(
        0xC000003E,
        317,
        (9, 10),
        234,
        {
            "read": 0, "write": 1, "munmap": 11, "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14,
            "rt_sigreturn": 15, "sched_yield": 24, "mremap": 25, "madvise": 28, "nanosleep": 35, "setitimer": 38,
            "getpid": 39, "sendto": 44, "recvfrom": 45, "exit": 60, "gettimeofday": 96, "gettid": 186, "futex": 202,
            "getrusage": 98, "clock_gettime": 228, "exit_group": 231, "getrandom": 318,
        },
    ),
    "aarch64": _Machine(
        0xC00000B7,
        277,
        (222, 226),
        131,
        {
            "read": 63, "write": 64, "munmap": 215, "brk": 214, "rt_sigaction": 134, "rt_sigprocmask": 135,
            "rt_sigreturn": 139, "sched_yield": 124, "mremap": 216, "madvise": 233, "nanosleep": 101, "setitimer": 103,
            "getpid": 172, "sendto": 206, "recvfrom": 207, "exit": 93, "gettimeofday": 169, "gettid": 178, "futex": 98,
            "getrusage": 165, "clock_gettime": 113, "exit_group": 94, "getrandom": 278,
        },
    ),
}  # fmt: skip

_LANDLOCK_CREATE, _LANDLOCK_RESTRICT = 444, 446
_LANDLOCK_VERSION_FLAG = 1
# Rights the kernel knows, by version of its interface: file system rights, then TCP (4), then scopes (6).
_LANDLOCK_FS_BITS = {1: 13, 2: 14, 3: 15, 4: 15}


# More descriptors than a zygote ever has: with a limit on them, a child knows where to stop closing.
_MOST_DESCRIPTORS = 4096


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


class Lockdown:
    """Takes from this process, for good, what no worker of it needs, and prepares what a worker does for itself.

    ``address_space`` is the limit on virtual memory in bytes, here and in the workers. Nothing can be imported any more.
    """

    def __init__(self, *, address_space: int) -> None:
        self._parent = os.getpid()
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._report = dict.fromkeys(LAYERS, "not on this platform")
        self._missing = _limit({"NOFILE": _MOST_DESCRIPTORS, "AS": address_space, "CORE": 0, "FSIZE": 0})
        self._linux = sys.platform == "linux"
        if not self._linux:
            return
        self._report["no_new_privileges"] = self._prctl(_PR_SET_NO_NEW_PRIVS, 1)
        self._report["not_dumpable"] = self._prctl(_PR_SET_DUMPABLE, 0)
        self._report["landlock"] = self._landlock()
        self._prepare_filter()

    def finish(self, *, keep: int) -> dict[str, str]:
        """In a child of the process that made this: take the rest. ``keep`` is the one descriptor that stays open.

        Returns layer -> ``"active"`` or why not.
        """
        report = self._report
        if self._linux:
            # Comes when the *thread* that forked this process ends; a zygote has only one.
            self._libc.prctl(_PR_SET_PDEATHSIG, 9, 0, 0, 0)
        if os.getppid() != self._parent:
            os._exit(0)
        os.closerange(0, keep)
        os.closerange(keep + 1, _MOST_DESCRIPTORS)
        report["descriptors"] = ACTIVE
        missing = self._missing + _limit({"NOFILE": 0, "NPROC": 0})
        report["resource_limits"] = f"without {', '.join(missing)}" if missing else ACTIVE
        if self._linux:
            report["seccomp"] = self._seccomp()
        return report

    def _prctl(self, option: int, value: int) -> str:
        return ACTIVE if self._libc.prctl(option, value, 0, 0, 0) == 0 else _failure()

    def _landlock(self) -> str:
        syscall = self._libc.syscall
        version = syscall(_LANDLOCK_CREATE, None, 0, _LANDLOCK_VERSION_FLAG)
        if version < 1:
            return "not in this kernel"
        file_rights = (1 << _LANDLOCK_FS_BITS.get(version, 16)) - 1
        attributes = struct.pack("Q", file_rights)
        if version >= 4:
            attributes += struct.pack("Q", 0b11)
        if version >= 6:
            attributes += struct.pack("Q", 0b11)
        ruleset = syscall(_LANDLOCK_CREATE, attributes, len(attributes), 0)
        if ruleset < 0:
            return _failure()
        done = syscall(_LANDLOCK_RESTRICT, ruleset, 0)
        os.close(ruleset)
        return ACTIVE if done == 0 else _failure()

    def _prepare_filter(self) -> None:
        self._machine = _MACHINES.get(platform.machine())
        if self._machine is None:
            self._report["seccomp"] = f"no list of system calls for {platform.machine()}"
            return
        steps, self._pid_step = _filter(self._machine)
        self._code = ctypes.create_string_buffer(b"".join(_STEP.pack(*step) for step in steps))
        self._program = _Program(len(steps), ctypes.addressof(self._code))

    def _seccomp(self) -> str:
        if self._machine is None:
            return self._report["seccomp"]
        code, jump, other, _ = _STEP.unpack_from(self._code, self._pid_step * _STEP.size)
        _STEP.pack_into(self._code, self._pid_step * _STEP.size, code, jump, other, os.getpid())
        # A filter covers the calling thread; a worker has no other.
        done = self._libc.syscall(self._machine.seccomp, _SECCOMP_SET_MODE_FILTER, 0, ctypes.byref(self._program))
        return ACTIVE if done == 0 else _failure()


def _failure() -> str:
    number = ctypes.get_errno()
    return f"failed: {errno.errorcode.get(number, number)}"


def _limit(limits: dict[str, int]) -> list[str]:
    """Lower resource limits; the names of those that could not be."""
    missing = []
    for name, value in limits.items():
        number = getattr(resource, f"RLIMIT_{name}", None)
        if number is None:
            missing.append(name)
            continue
        try:
            _, hard = resource.getrlimit(number)
            most = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(number, (most, most))
        except (OSError, ValueError):
            missing.append(name)
    return missing


def _filter(machine: _Machine) -> tuple[list[tuple[int, int, int, int]], int]:
    """The filter's steps, and the one of them that compares with the worker's own pid, which is not known yet."""
    steps = [
        (_LD, 0, 0, _OFFSET_ARCH),
        (_JEQ, 1, 0, machine.audit),
        (_RET, 0, 0, _RET_KILL_PROCESS),
        (_LD, 0, 0, _OFFSET_NUMBER),
    ]
    if machine.audit == _MACHINES["x86_64"].audit:
        steps += [(_JGE, 0, 1, _X32_BIT), (_RET, 0, 0, _RET_KILL_PROCESS)]
    for number in sorted(machine.allowed.values()):
        steps += [(_JEQ, 0, 1, number), (_RET, 0, 0, _RET_ALLOW)]
    for number in (machine.mmap, machine.mprotect):
        # Memory, but never executable: the third argument's low word.
        steps += [
            (_JEQ, 0, 4, number),
            (_LD, 0, 0, _OFFSET_ARGUMENTS + 2 * 8),
            (_JSET, 0, 1, _PROT_EXEC),
            (_RET, 0, 0, _RET_KILL_PROCESS),
            (_RET, 0, 0, _RET_ALLOW),
        ]
    # A signal, but to no other process.
    steps += [(_JEQ, 0, 3, machine.tgkill), (_LD, 0, 0, _OFFSET_ARGUMENTS), (_JEQ, 0, 1, 0), (_RET, 0, 0, _RET_ALLOW)]
    steps.append((_RET, 0, 0, _RET_KILL_PROCESS))
    return steps, len(steps) - 3
