"""What the operating system takes from a command before it runs. Called in the process that becomes the command.

It must still be able to load an interpreter and to work, so the filter is a list of what is denied, not of what is
allowed, and files are allowed by their place. Each layer reports ``"active"`` or why it is not; nothing is assumed.

Only the standard library is used: a supervisor reads this file. Sources: ``man 2 seccomp``, ``man 7 landlock``
(Linux 6.12), ``linux/landlock.h``, ``asm/unistd.h``.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import struct
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["ACTIVE", "ALLOWED", "limit", "sandbox"]

ACTIVE = "active"
ALLOWED = "allowed"
"""How the layer of something stands that the rules do not take away."""

_PR_SET_NO_NEW_PRIVS = 38
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_LANDLOCK_VERSION_FLAG = 1
_LANDLOCK_PATH = 1
_SCOPES = 3  # abstract sockets and signals
# Rights on files by version of the interface. Devices can be made nowhere: the rights 6 and 11 are never given.
_FILE_BITS = {1: 13, 2: 14, 3: 15, 4: 15}
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _TRUNCATE = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 14
_MAKE_CHAR, _MAKE_BLOCK = 1 << 6, 1 << 11
_IOCTL_DEVICE = 1 << 15
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_ON_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEVICE

_SECCOMP_SET_MODE_FILTER = 1
_RET_KILL_PROCESS, _RET_ERRNO, _RET_ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_LD, _JEQ, _JGE, _JSET, _RET = 0x20, 0x15, 0x35, 0x45, 0x06
_OFFSET_NUMBER, _OFFSET_ARCH, _OFFSET_ARGUMENT = 0, 4, 16
_STEP = struct.Struct("HBBI")
_X32_BIT = 0x40000000
_NEW_NAMESPACES = 0x7E020000
_CLONE_THREAD = 0x00010000

# name: x86-64, aarch64; None where there is no such call.
_DENIED: dict[str, tuple[int, int | None]] = {
    # into other processes
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    # around the rules on files
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "move_mount": (429, 429),
    "open_tree": (428, 428), "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432),
    "fspick": (433, 433), "mount_setattr": (442, 442), "unshare": (272, 97), "setns": (308, 268),
    "open_by_handle_at": (304, 265), "fanotify_init": (300, 262),
    # around this filter, and large parts of the kernel that a tool has no use for
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "keyctl": (250, 219), "add_key": (248, 217),
    "request_key": (249, 218), "personality": (135, 92), "modify_ldt": (154, None),
    # the machine itself
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106), "kexec_load": (246, 104),
    "kexec_file_load": (320, 294), "reboot": (169, 142), "swapon": (167, 224), "swapoff": (168, 225),
    "acct": (163, 89), "quotactl": (179, 60), "quotactl_fd": (443, 443), "sethostname": (170, 161),
    "setdomainname": (171, 162), "settimeofday": (164, 170), "clock_settime": (227, 112),
    "clock_adjtime": (305, 266), "adjtimex": (159, 171), "syslog": (103, 116), "iopl": (172, None),
    "ioperm": (173, None), "vhangup": (153, 58),
}  # fmt: skip


class _Machine:
    def __init__(self, column: int, audit: int, **numbers: int | None) -> None:
        self.audit = audit
        self.denied = [row[column] for row in _DENIED.values() if row[column] is not None]
        self.number = numbers


_MACHINES = {
    "x86_64": _Machine(0, 0xC000003E, seccomp=317, socket=41, clone=56, fork=57, vfork=58, clone3=435, prlimit64=302),
    "aarch64": _Machine(
        1, 0xC00000B7, seccomp=277, socket=198, clone=220, fork=None, vfork=None, clone3=435, prlimit64=261
    ),
}


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def limit(limits: dict[str, int]) -> None:
    """Lowers resource limits, by their names without ``RLIMIT_``. One that is lower already stays.

    Raises ``OSError`` with the limit's name for one that the system does not have or that cannot be set.
    """
    for name, value in limits.items():
        number = getattr(resource, f"RLIMIT_{name}", None)
        if number is None:
            raise OSError(errno.ENOTSUP, f"this system has no limit RLIMIT_{name}")
        _, hard = resource.getrlimit(number)
        most = value if hard == resource.RLIM_INFINITY else min(value, hard)
        # With one second between the two, the kernel sends SIGXCPU, which says what happened, before SIGKILL.
        room = 1 if name == "CPU" and (hard == resource.RLIM_INFINITY or most < hard) else 0
        try:
            resource.setrlimit(number, (most, most + room))
        except (OSError, ValueError) as error:
            raise OSError(errno.EINVAL, f"RLIMIT_{name} cannot be set to {most} ({error})") from None


def sandbox(rules: dict[str, Any]) -> dict[str, str]:
    """Takes from this process, and from all that come from it, what ``rules`` does not give. Layer -> how it stands.

    ``rules``: ``read`` and ``write`` (lists of paths; one that does not exist gives nothing), ``network`` and
    ``new_processes`` (whether they are allowed).
    """
    names = ("no_new_privileges", "files", "signals", "network", "system_calls")
    report = dict.fromkeys(names, "not on this platform")
    if sys.platform != "linux":
        return report
    libc = ctypes.CDLL(None, use_errno=True)
    done = libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    report["no_new_privileges"] = ACTIVE if done == 0 else _failure()
    report["files"], report["signals"] = _landlock(libc, rules)
    report["system_calls"] = state = _seccomp(libc, rules)
    report["network"] = ALLOWED if rules["network"] else state
    return report


def _landlock(libc: Any, rules: dict[str, Any]) -> tuple[str, str]:
    version = libc.syscall(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), _LANDLOCK_VERSION_FLAG)
    if version < 1:
        missing = f"the kernel has no Landlock ({_failure()})"
        return missing, missing
    handled = (1 << _FILE_BITS.get(version, 16)) - 1
    scoped = version >= 6
    attributes = struct.pack("QQQ", handled, 0, _SCOPES if scoped else 0)
    # An older kernel refuses fields it does not know unless they are left out.
    size = 24 if scoped else 8
    ruleset = libc.syscall(_LANDLOCK_CREATE, attributes, ctypes.c_size_t(size), 0)
    if ruleset < 0:
        return _failure(), _failure()
    write = handled & ~(_MAKE_CHAR | _MAKE_BLOCK)
    for paths, rights in ((rules["read"], _READ), (rules["write"], write)):
        for path in paths:
            _allow(libc, ruleset, path, rights)
    done = libc.syscall(_LANDLOCK_RESTRICT, ruleset, 0)
    state = ACTIVE if done == 0 else _failure()
    os.close(ruleset)
    return state, state if scoped else "needs Linux 6.12"


def _allow(libc: Any, ruleset: int, path: str, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # what is not there cannot be given
    if not os.path.isdir(path):
        rights &= _ON_FILES
    # A rule that is refused gives less, not more.
    libc.syscall(_LANDLOCK_ADD, ruleset, _LANDLOCK_PATH, struct.pack("=Qi", rights, place), 0)
    os.close(place)


def _seccomp(libc: Any, rules: dict[str, Any]) -> str:
    name = os.uname().machine
    machine = _MACHINES.get(name)
    if machine is None:
        return f"no list of system calls for {name}"
    steps = _filter(machine, network=rules["network"], new_processes=rules["new_processes"])
    code = ctypes.create_string_buffer(b"".join(_STEP.pack(*step) for step in steps))
    program = _Program(len(steps), ctypes.addressof(code))
    done = libc.syscall(machine.number["seccomp"], _SECCOMP_SET_MODE_FILTER, 0, ctypes.byref(program))
    return ACTIVE if done == 0 else _failure()


def _filter(machine: _Machine, *, network: bool, new_processes: bool) -> list[tuple[int, int, int, int]]:
    denied = [(number, errno.EPERM) for number in machine.denied]
    # What clone3 is asked for lies in memory, where a filter cannot look. Without it, C libraries use clone.
    denied.append((machine.number["clone3"], errno.ENOSYS))
    if not network:
        denied.append((machine.number["socket"], errno.EACCES))
    if not new_processes:
        denied += [(machine.number[name], errno.EPERM) for name in ("fork", "vfork")]
    steps = [
        (_LD, 0, 0, _OFFSET_ARCH),
        (_JEQ, 1, 0, machine.audit),
        (_RET, 0, 0, _RET_KILL_PROCESS),
        (_LD, 0, 0, _OFFSET_NUMBER),
    ]
    if machine.audit == _MACHINES["x86_64"].audit:
        steps += [(_JGE, 0, 1, _X32_BIT), (_RET, 0, 0, _RET_KILL_PROCESS)]
    for number, code in denied:
        if number is not None:
            steps += [(_JEQ, 0, 1, number), (_RET, 0, 0, _RET_ERRNO | code)]
    clone = machine.number["clone"] or 0
    # clone: into no new namespace, and where new processes are not allowed, only as a thread.
    steps += [(_JEQ, 0, 6 if not new_processes else 4, clone), (_LD, 0, 0, _OFFSET_ARGUMENT)]
    steps += [(_JSET, 0, 1, _NEW_NAMESPACES), (_RET, 0, 0, _RET_ERRNO | errno.EPERM)]
    if not new_processes:
        steps += [(_JSET, 1, 0, _CLONE_THREAD), (_RET, 0, 0, _RET_ERRNO | errno.EPERM)]
    steps.append((_RET, 0, 0, _RET_ALLOW))
    # prlimit64: of no other process.
    steps += [
        (_JEQ, 0, 3, machine.number["prlimit64"] or 0),
        (_LD, 0, 0, _OFFSET_ARGUMENT),
        (_JEQ, 1, 0, 0),
        (_RET, 0, 0, _RET_ERRNO | errno.EPERM),
        (_RET, 0, 0, _RET_ALLOW),
    ]
    return steps


def _failure() -> str:
    number = ctypes.get_errno()
    return f"failed: {errno.errorcode.get(number, number)}"
