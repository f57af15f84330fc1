"""What the operating system takes from a command before it runs. Called in the process that becomes the command.

It must still be able to load an interpreter and to work, so the filter is a list of what is denied, not of what is
allowed, and files are allowed by their place. Each layer reports ``"active"`` or why it is not; nothing is assumed.

Only the standard library is used: a supervisor reads this file. Sources: ``man 7 landlock`` (Linux 6.12),
``linux/landlock.h``.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import struct
import sys

from harness.tools.process.filters import ASK, KILL, Filter, Machine, argument, deny, has_bits, install, this_machine
from harness.tools.process.metadata import ASKED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["ACTIVE", "ALLOWED", "failure", "keep_signals", "limit", "sandbox"]

ACTIVE = "active"
ALLOWED = "allowed"
"""How the layer of something stands that the rules do not take away."""

_PR_SET_NO_NEW_PRIVS = 38
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_LANDLOCK_VERSION_FLAG = 1
_LANDLOCK_PATH = 1
_SCOPES = 3  # abstract sockets and signals
_SCOPE_SIGNALS = 2
# Rights on files by version of the interface. Devices can be made nowhere: the rights 6 and 11 are never given.
_FILE_BITS = {1: 13, 2: 14, 3: 15, 4: 15}
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _TRUNCATE = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 14
_MAKE_CHAR, _MAKE_BLOCK = 1 << 6, 1 << 11
_IOCTL_DEVICE = 1 << 15
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_ON_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEVICE

_NEW_NAMESPACES = 0x7E020000
_CLONE_THREAD = 0x00010000
_SET_FLAGS = (0x40086602, 0x40046602, 0x40087602, 0x401C5820)
"""Commands of ioctl that change attributes: FS_IOC_SETFLAGS, the same of 32 bits, FS_IOC_SETVERSION, FS_IOC_FSSETXATTR."""

_DENIED = (
    # into other processes
    "ptrace process_vm_readv process_vm_writev kcmp pidfd_getfd "
    # around the rules on files
    "mount umount2 pivot_root chroot move_mount open_tree fsopen fsconfig fsmount fspick mount_setattr unshare setns "
    "open_by_handle_at fanotify_init "
    # what outlives the command and is shared with every process of the user
    "shmget shmat shmctl semget semop semctl msgget msgsnd msgrcv msgctl mq_open mq_unlink "
    # around this filter, and large parts of the kernel that a tool has no use for
    "io_uring_setup io_uring_enter io_uring_register bpf perf_event_open userfaultfd keyctl add_key request_key "
    "personality modify_ldt "
    # the machine itself
    "init_module finit_module delete_module kexec_load kexec_file_load reboot swapon swapoff acct quotactl quotactl_fd "
    "sethostname setdomainname settimeofday clock_settime clock_adjtime adjtimex syslog iopl ioperm vhangup"
)

# As on a file system that has none: programs that copy files then go on without.
_UNSUPPORTED = (
    "setxattr lsetxattr fsetxattr setxattrat removexattr lremovexattr fremovexattr removexattrat file_setattr"
)


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


def sandbox(rules: dict[str, Any]) -> tuple[dict[str, str], int]:
    """Takes from this process, and from all that come from it, what ``rules`` does not give. Layer -> how it stands.

    ``rules``: ``read`` and ``write`` (lists of paths; one that does not exist gives nothing), ``network`` and
    ``new_processes`` (whether they are allowed). With it comes the descriptor on which the kernel asks whether a mode, an
    owner or a time may be changed (see `harness.tools.process.metadata`); 0 if these are denied everywhere.
    """
    names = ("no_new_privileges", "files", "signals", "network", "system_calls")
    report = dict.fromkeys(names, "not on this platform")
    if sys.platform != "linux":
        return report, 0
    libc = ctypes.CDLL(None, use_errno=True)
    done = libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    report["no_new_privileges"] = ACTIVE if done == 0 else failure()
    report["files"], report["signals"] = _landlock(libc, rules)
    report["system_calls"], listener = _seccomp(libc, rules)
    report["network"] = ALLOWED if rules["network"] else report["system_calls"]
    return report, listener


def _landlock(libc: Any, rules: dict[str, Any]) -> tuple[str, str]:
    version = libc.syscall(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), _LANDLOCK_VERSION_FLAG)
    if version < 1:
        missing = f"the kernel has no Landlock ({failure()})"
        return missing, missing
    handled = (1 << _FILE_BITS.get(version, 16)) - 1
    scoped = version >= 6
    attributes = struct.pack("QQQ", handled, 0, _SCOPES if scoped else 0)
    # An older kernel refuses fields it does not know unless they are left out.
    size = 24 if scoped else 8
    ruleset = libc.syscall(_LANDLOCK_CREATE, attributes, ctypes.c_size_t(size), 0)
    if ruleset < 0:
        return failure(), failure()
    write = handled & ~(_MAKE_CHAR | _MAKE_BLOCK)
    for paths, rights in ((rules["read"], _READ), (rules["write"], write)):
        for path in paths:
            _allow(libc, ruleset, path, rights)
    done = libc.syscall(_LANDLOCK_RESTRICT, ruleset, 0)
    state = ACTIVE if done == 0 else failure()
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


def _seccomp(libc: Any, rules: dict[str, Any]) -> tuple[str, int]:
    machine = this_machine()
    if machine is None:
        return f"no list of system calls for {os.uname().machine}", 0
    listener = install(libc, [_filter(machine, rules, ASK)], others=KILL, listen=True)
    if listener > 0:
        return ACTIVE, listener
    # A process can have one listener. Within another sandbox, or on an old kernel, nobody is asked.
    done = install(libc, [_filter(machine, rules, deny(errno.EPERM))], others=KILL)
    return ACTIVE if done >= 0 else failure(), 0


def _filter(machine: Machine, rules: dict[str, Any], metadata: int) -> Filter:
    calls = Filter(machine)
    refused = deny(errno.EPERM)
    for name in _DENIED.split():
        calls.on(name, refused)
    for name in _UNSUPPORTED.split():
        calls.on(name, deny(errno.EOPNOTSUPP))
    for name in ASKED:
        calls.on(name, metadata)
    for command in _SET_FLAGS:
        calls.on("ioctl", refused, argument(1, command))
    # What clone3 is asked for lies in memory, where a filter cannot look. Without it, C libraries use clone.
    calls.on("clone3", deny(errno.ENOSYS))
    calls.on("clone", refused, has_bits(0, _NEW_NAMESPACES))
    if not rules["network"]:
        calls.on("socket", deny(errno.EACCES))
    if not rules["new_processes"]:
        calls.on("fork", refused)
        calls.on("vfork", refused)
        calls.on("clone", refused, has_bits(0, _CLONE_THREAD, present=False))
    # Limits of no other process.
    calls.on("prlimit64", refused, argument(0, 0, equal=False))
    return calls


def keep_signals(libc: Any) -> str:
    """Landlock alone for signals: none to a process that this one does not start. ``"active"``, or why not.

    With it comes that no other process can be traced or looked into.
    """
    if libc.syscall(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), _LANDLOCK_VERSION_FLAG) < 6:
        return "needs Linux 6.12"
    attributes = struct.pack("QQQ", 0, 0, _SCOPE_SIGNALS)
    ruleset = libc.syscall(_LANDLOCK_CREATE, attributes, ctypes.c_size_t(len(attributes)), 0)
    if ruleset < 0:
        return failure()
    done = libc.syscall(_LANDLOCK_RESTRICT, ruleset, 0)
    state = ACTIVE if done == 0 else failure()
    os.close(ruleset)
    return state


def failure() -> str:
    """The last error of the C library, as the state of a layer."""
    number = ctypes.get_errno()
    return f"failed: {errno.errorcode.get(number, number)}"
