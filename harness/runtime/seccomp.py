"""The filter of a worker's system calls: which it may make, and the program that says so to the kernel.

Sources: ``man 2 seccomp``, ``linux/seccomp.h``, ``linux/audit.h``, the kernel's tables of system calls. Only the standard
library is imported here: the worker's process reads this file too.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from dataclasses import dataclass

__all__ = ["SeccompFilter"]

_SET_MODE_FILTER = 1
_KILL_PROCESS, _ALLOW = 0x80000000, 0x7FFF0000
# BPF: load a word of the call's data; jump if equal, if greater or equal, if a bit is set; mask; return.
_LD, _JEQ, _JGE, _JSET, _AND, _RET = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_OFFSET_NUMBER, _OFFSET_ARCH, _OFFSET_ARGUMENTS = 0, 4, 16
_STEP = struct.Struct("HBBI")
_X32_BIT = 0x40000000
_PROT_EXEC = 4
# FUTEX_WAIT, FUTEX_WAKE and the same with a bitset, which may be private and go by the real-time clock. The others are for
# many processes, and where the bugs were.
_FUTEX_MODIFIERS = 0x180
_FUTEX_OPERATIONS = (0, 1, 9, 10)
_Step = tuple[int, int, int, int]


@dataclass(frozen=True)
class _Machine:
    """Numbers that differ between architectures."""

    audit: int
    seccomp: int
    mmap: int
    mprotect: int
    tgkill: int
    sendto: int
    recvfrom: int
    futex: int
    allowed: dict[str, int]


# read and write serve a pipe, recvfrom and sendto a socket; setitimer arms the CPU timer; gettid, getpid and tgkill (of
# the worker itself) let an engine assert be seen as an abort.
_MACHINES = {
    "x86_64": _Machine(
        audit=0xC000003E,
        seccomp=317,
        mmap=9,
        mprotect=10,
        tgkill=234,
        sendto=44,
        recvfrom=45,
        futex=202,
        allowed={
            "read": 0, "write": 1, "munmap": 11, "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14,
            "rt_sigreturn": 15, "sched_yield": 24, "mremap": 25, "madvise": 28, "nanosleep": 35, "setitimer": 38,
            "getpid": 39, "exit": 60, "gettimeofday": 96, "gettid": 186, "getrusage": 98, "clock_gettime": 228, "exit_group": 231, "getrandom": 318,
        },
    ),
    "aarch64": _Machine(
        audit=0xC00000B7,
        seccomp=277,
        mmap=222,
        mprotect=226,
        tgkill=131,
        sendto=206,
        recvfrom=207,
        futex=98,
        allowed={
            "read": 63, "write": 64, "munmap": 215, "brk": 214, "rt_sigaction": 134, "rt_sigprocmask": 135,
            "rt_sigreturn": 139, "sched_yield": 124, "mremap": 216, "madvise": 233, "nanosleep": 101, "setitimer": 103,
            "getpid": 172, "exit": 93, "gettimeofday": 169, "gettid": 178, "getrusage": 165, "clock_gettime": 113, "exit_group": 94, "getrandom": 278,
        },
    ),
}  # fmt: skip


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


class SeccompFilter:
    """The filter for this machine, ready to be put on. Making it costs most of the time, so a zygote does that once.

    Raises ``OSError`` for a machine of which the system calls are not known here.
    """

    def __init__(self) -> None:
        machine = _MACHINES.get(platform.machine())
        if machine is None:
            raise OSError(f"no list of system calls for {platform.machine()}")
        steps, self._pid_step = _steps(machine)
        self._number = machine.seccomp
        self._code = ctypes.create_string_buffer(b"".join(_STEP.pack(*step) for step in steps))
        self._program = _Program(len(steps), ctypes.addressof(self._code))

    def put_on(self, libc: ctypes.CDLL) -> bool:
        """Let this process, which has one thread, make no other calls from now on. If not, ``errno`` says why."""
        code, jump, other, _ = _STEP.unpack_from(self._code, self._pid_step * _STEP.size)
        _STEP.pack_into(self._code, self._pid_step * _STEP.size, code, jump, other, os.getpid())
        done: int = libc.syscall(self._number, _SET_MODE_FILTER, 0, ctypes.byref(self._program))
        return done == 0


def _steps(machine: _Machine) -> tuple[list[_Step], int]:
    """The filter's steps, and the one of them that compares with the worker's own pid, which is not known yet."""
    steps = [
        (_LD, 0, 0, _OFFSET_ARCH),
        (_JEQ, 1, 0, machine.audit),
        (_RET, 0, 0, _KILL_PROCESS),
        (_LD, 0, 0, _OFFSET_NUMBER),
    ]
    if machine is _MACHINES["x86_64"]:
        # The same architecture has a second set of numbers.
        steps += [(_JGE, 0, 1, _X32_BIT), (_RET, 0, 0, _KILL_PROCESS)]
    for number in sorted(machine.allowed.values()):
        steps += [(_JEQ, 0, 1, number), (_RET, 0, 0, _ALLOW)]
    for number in (machine.mmap, machine.mprotect):
        # Memory, but never executable: the third argument's low word.
        steps += [
            (_JEQ, 0, 4, number),
            (_LD, 0, 0, _OFFSET_ARGUMENTS + 2 * 8),
            (_JSET, 0, 1, _PROT_EXEC),
            (_RET, 0, 0, _KILL_PROCESS),
            (_RET, 0, 0, _ALLOW),
        ]
    # No flags for what comes and goes: MSG_OOB above all, behind which kernels had bugs that led out of sandboxes.
    for number in (machine.sendto, machine.recvfrom):
        steps += [
            (_JEQ, 0, 4, number),
            (_LD, 0, 0, _OFFSET_ARGUMENTS + 3 * 8),
            (_JEQ, 0, 1, 0),
            (_RET, 0, 0, _ALLOW),
            (_RET, 0, 0, _KILL_PROCESS),
        ]
    steps += [
        (_JEQ, 0, 3 + 2 * len(_FUTEX_OPERATIONS), machine.futex),
        (_LD, 0, 0, _OFFSET_ARGUMENTS + 8),
        (_AND, 0, 0, 0xFFFFFFFF & ~_FUTEX_MODIFIERS),
    ]
    for operation in _FUTEX_OPERATIONS:
        steps += [(_JEQ, 0, 1, operation), (_RET, 0, 0, _ALLOW)]
    steps.append((_RET, 0, 0, _KILL_PROCESS))
    # A signal, but to no other process.
    steps += [(_JEQ, 0, 3, machine.tgkill), (_LD, 0, 0, _OFFSET_ARGUMENTS), (_JEQ, 0, 1, 0), (_RET, 0, 0, _ALLOW)]
    steps.append((_RET, 0, 0, _KILL_PROCESS))
    return steps, len(steps) - 3
