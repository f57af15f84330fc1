"""Lists of system calls that are denied: their numbers on each machine, and the program that the kernel reads.

Only the standard library is used: a supervisor reads this file. Sources: ``man 2 seccomp``, ``linux/filter.h``,
``linux/audit.h``, ``asm/unistd.h``.
"""

from __future__ import annotations

import ctypes
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

__all__ = [
    "ALLOW",
    "ASK",
    "KILL",
    "Condition",
    "Filter",
    "Machine",
    "argument",
    "deny",
    "has_bits",
    "install",
    "this_machine",
]

KILL, ALLOW, ASK = 0x80000000, 0x7FFF0000, 0x7FC00000
_RET_ERRNO = 0x00050000
_LD, _JA, _JEQ, _JGE, _JSET, _RET = 0x20, 0x05, 0x15, 0x35, 0x45, 0x06
_OFFSET_NUMBER, _OFFSET_ARCH, _OFFSET_ARGUMENTS = 0, 4, 16
_STEP = struct.Struct("HBBI")
_X32_BIT = 0x40000000
_SECCOMP_SET_MODE_FILTER = 1
_NEW_LISTENER = 8

Condition = tuple[int, int, int, bool]
"""Instruction, offset of what it looks at, the value it looks for, and whether it must be found."""
Step = tuple[int, int, int, int]


class Machine:
    """A machine's system calls by name. ``compat`` is the older machine whose programs it also runs."""

    def __init__(self, audit: int, numbers: str, compat: Machine | None = None) -> None:
        self.audit = audit
        pairs = (item.split("=") for item in numbers.split())
        self.number = {name: int(number) for name, number in pairs}
        self.compat = compat


_I386 = Machine(
    0x40000003,
    "kill=37 tkill=238 tgkill=270 rt_sigqueueinfo=178 rt_tgsigqueueinfo=335 pidfd_open=434 pidfd_send_signal=424 "
    "ptrace=26 process_vm_writev=348 setrlimit=75 prlimit64=340 fcntl=55 fcntl64=221",
)
_ARM = Machine(
    0x40000028,
    "kill=37 tkill=238 tgkill=268 rt_sigqueueinfo=178 rt_tgsigqueueinfo=363 pidfd_open=434 pidfd_send_signal=424 "
    "ptrace=26 process_vm_writev=377 setrlimit=75 prlimit64=369 fcntl=55 fcntl64=221",
)
_SAME_EVERYWHERE = (
    "pidfd_open=434 pidfd_send_signal=424 pidfd_getfd=438 move_mount=429 open_tree=428 fsopen=430 fsconfig=431 "
    "fsmount=432 fspick=433 mount_setattr=442 io_uring_setup=425 io_uring_enter=426 io_uring_register=427 "
    "quotactl_fd=443 clone3=435 fchmodat2=452 setxattrat=463 removexattrat=466 file_setattr=469 "
)
_MACHINES = {
    "x86_64": Machine(
        0xC000003E,
        _SAME_EVERYWHERE
        + "seccomp=317 socket=41 clone=56 fork=57 vfork=58 kill=62 tkill=200 tgkill=234 rt_sigqueueinfo=129 "
        "rt_tgsigqueueinfo=297 setrlimit=160 prlimit64=302 fcntl=72 ioctl=16 "
        "ptrace=101 process_vm_readv=310 process_vm_writev=311 kcmp=312 mount=165 umount2=166 pivot_root=155 chroot=161 "
        "unshare=272 setns=308 open_by_handle_at=304 fanotify_init=300 bpf=321 perf_event_open=298 userfaultfd=323 "
        "keyctl=250 add_key=248 request_key=249 personality=135 modify_ldt=154 init_module=175 finit_module=313 "
        "delete_module=176 kexec_load=246 kexec_file_load=320 reboot=169 swapon=167 swapoff=168 acct=163 quotactl=179 "
        "sethostname=170 setdomainname=171 settimeofday=164 clock_settime=227 clock_adjtime=305 adjtimex=159 syslog=103 "
        "iopl=172 ioperm=173 vhangup=153 "
        "shmget=29 shmat=30 shmctl=31 semget=64 semop=65 semctl=66 msgget=68 msgsnd=69 msgrcv=70 msgctl=71 mq_open=240 "
        "mq_unlink=241 "
        "chmod=90 fchmod=91 fchmodat=268 chown=92 fchown=93 lchown=94 fchownat=260 utime=132 utimes=235 futimesat=261 "
        "utimensat=280 setxattr=188 lsetxattr=189 fsetxattr=190 removexattr=197 lremovexattr=198 fremovexattr=199",
        _I386,
    ),
    "aarch64": Machine(
        0xC00000B7,
        _SAME_EVERYWHERE
        + "seccomp=277 socket=198 clone=220 kill=129 tkill=130 tgkill=131 rt_sigqueueinfo=138 rt_tgsigqueueinfo=240 "
        "setrlimit=164 prlimit64=261 fcntl=25 ioctl=29 "
        "ptrace=117 process_vm_readv=270 process_vm_writev=271 kcmp=272 mount=40 umount2=39 pivot_root=41 chroot=51 "
        "unshare=97 setns=268 open_by_handle_at=265 fanotify_init=262 bpf=280 perf_event_open=241 userfaultfd=282 "
        "keyctl=219 add_key=217 request_key=218 personality=92 init_module=105 finit_module=273 delete_module=106 "
        "kexec_load=104 kexec_file_load=294 reboot=142 swapon=224 swapoff=225 acct=89 quotactl=60 sethostname=161 "
        "setdomainname=162 settimeofday=170 clock_settime=112 clock_adjtime=266 adjtimex=171 syslog=116 vhangup=58 "
        "mq_open=180 mq_unlink=181 msgget=186 msgctl=187 msgrcv=188 msgsnd=189 semget=190 semctl=191 semop=193 shmget=194 "
        "shmctl=195 shmat=196 "
        "fchmod=52 fchmodat=53 fchown=55 fchownat=54 utimensat=88 setxattr=5 lsetxattr=6 fsetxattr=7 removexattr=14 "
        "lremovexattr=15 fremovexattr=16",
        _ARM,
    ),
}  # fmt: skip


def this_machine() -> Machine | None:
    """What this process runs on; None if its system calls are not listed here."""
    return _MACHINES.get(os.uname().machine)


def deny(code: int) -> int:
    """The answer to a call that fails with this ``errno``."""
    return _RET_ERRNO | code


def argument(index: int, value: int, *, equal: bool = True, high: bool = False) -> Condition:
    """That the lower (or ``high``) 32 bits of an argument are, or are not, ``value``."""
    return _JEQ, _OFFSET_ARGUMENTS + 8 * index + 4 * high, value & 0xFFFFFFFF, equal


def has_bits(index: int, bits: int, *, present: bool = True) -> Condition:
    """That at least one of ``bits`` is set in an argument, or none."""
    return _JSET, _OFFSET_ARGUMENTS + 8 * index, bits, present


class Filter:
    """What becomes of the system calls of one machine; what is not named is allowed."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._steps: list[Step] = []

    def on(self, name: str, answer: int, *conditions: Condition) -> None:
        """Answer a call for which all ``conditions`` hold. Nothing, on a machine that has no such call."""
        number = self.machine.number.get(name)
        if number is None:
            return
        after = 2 * len(conditions) + 1 + bool(conditions)
        self._steps.append((_JEQ, 0, after, number))
        for instruction, offset, value, wanted in conditions:
            after -= 2
            self._steps += [
                (_LD, 0, 0, offset),
                (instruction, 0 if wanted else after - 1, after - 1 if wanted else 0, value),
            ]
        self._steps.append((_RET, 0, 0, answer))
        if conditions:
            self._steps.append((_LD, 0, 0, _OFFSET_NUMBER))

    def block(self, x32: int | None) -> list[Step]:
        """The steps for this machine. ``x32``: the answer to calls of an interface whose numbers are not listed here."""
        head: list[Step] = [(_LD, 0, 0, _OFFSET_NUMBER)]
        if x32 is not None and self.machine.audit == _MACHINES["x86_64"].audit:
            head += [(_JGE, 0, 1, _X32_BIT), (_RET, 0, 0, x32)]
        return [*head, *self._steps, (_RET, 0, 0, ALLOW)]


def install(libc: Any, filters: Iterable[Filter], *, others: int, listen: bool = False) -> int:
    """Put filters on this process, for good. ``others``: the answer to calls of other machines.

    Returns a descriptor for the questions of ``ASK`` if ``listen``, else 0; -1 with ``errno`` set if it failed.
    """
    steps: list[Step] = [(_LD, 0, 0, _OFFSET_ARCH)]
    for one in filters:
        block = one.block(others)
        # Only the step that always jumps can jump so far.
        steps += [(_JEQ, 1, 0, one.machine.audit), (_JA, 0, 0, len(block)), *block]
    steps.append((_RET, 0, 0, others))
    code = ctypes.create_string_buffer(b"".join(_STEP.pack(*step) for step in steps))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code)))
    number = _MACHINES[os.uname().machine].number["seccomp"]
    return int(libc.syscall(number, _SECCOMP_SET_MODE_FILTER, _NEW_LISTENER if listen else 0, program))
