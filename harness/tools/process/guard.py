"""What keeps a command below its supervisor: a mark it cannot rub off, and no way to end or stop the supervisor.

The mark is a resource limit: ``RLIMIT_LOCKS``, which no kernel enforces any more, which is inherited by every process
that the command starts, and whose hard value can be raised by nobody without privileges. A filter of system calls keeps
it from being changed at all, and denies what would reach the supervisor: a signal, a trace, another limit. Where the
kernel can (Linux 6.12), Landlock keeps all signals of the command among its own processes as well.

Only the standard library is used: a supervisor reads this file.
"""

from __future__ import annotations

import ctypes
import errno
import resource
import signal
import sys

from harness.tools.process.confine import ACTIVE, failure, keep_signals
from harness.tools.process.filters import Filter, argument, deny, install, this_machine

__all__ = ["guard", "put_mark"]

_RLIMIT_LOCKS = 10
_PR_SET_NO_NEW_PRIVS = 38
_F_SETSIG = 10


def put_mark(mark: int) -> bool:
    """Mark this process and all that come from it. Whether that worked: inside another call's mark it does not."""
    if sys.platform != "linux":
        return False
    try:
        resource.setrlimit(_RLIMIT_LOCKS, (mark, mark))
    except (OSError, ValueError):
        return False
    return True


def guard(supervisor: int) -> str:
    """In the process that becomes the command: put the filter on. ``"active"``, or why it is not.

    Afterwards no program gains rights by its set-user-ID bit: as another user it could not be ended.
    """
    machine = this_machine()
    if sys.platform != "linux" or machine is None:
        return "not on this platform"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return failure()
    scoped = keep_signals(libc) == ACTIVE
    filters = [Filter(each) for each in (machine, machine.compat) if each is not None]
    for each in filters:
        _protect(each, supervisor, scoped=scoped)
    return ACTIVE if install(libc, filters, others=deny(errno.ENOSYS)) >= 0 else failure()


def _protect(rules: Filter, supervisor: int, *, scoped: bool) -> None:
    refused = deny(errno.EPERM)
    # It leads a group of its own, and -1 is everybody.
    for target in (supervisor, -supervisor, -1):
        rules.on("kill", refused, argument(0, target))
    for name in ("tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_open", "process_vm_writev"):
        rules.on(name, refused, argument(0, supervisor))
    for name in ("tgkill", "rt_tgsigqueueinfo", "ptrace"):
        rules.on(name, refused, argument(1, supervisor))
    if not scoped:
        # There are further ways to such a descriptor, and a filter cannot see whose it is. Programs then use kill.
        rules.on("pidfd_send_signal", deny(errno.ENOSYS))
    # All other signals it ignores.
    for name in ("fcntl", "fcntl64"):
        for number in (signal.SIGKILL, signal.SIGSTOP):
            rules.on(name, refused, argument(1, _F_SETSIG), argument(2, number))
    # Its limits, and the mark.
    rules.on("prlimit64", refused, argument(0, supervisor))
    rules.on("setrlimit", refused, argument(0, _RLIMIT_LOCKS))
    for high in (False, True):
        rules.on("prlimit64", refused, argument(1, _RLIMIT_LOCKS), argument(2, 0, equal=False, high=high))
