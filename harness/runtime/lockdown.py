"""What the operating system takes away from a worker.

A zygote makes one `Lockdown`: that puts on what its children inherit, and prepares the rest, so that each child has
little left to do. `Lockdown.finish` runs in the child, which has one thread, before any script does. Each layer reports
``"active"`` or why it is not; nothing is assumed. Only the standard library is used.

Sources: ``man 2 prctl``, ``man 2 setrlimit``, ``man 2 capget``, ``man 5 proc``, ``man 7 landlock`` (Linux 6.x),
``linux/landlock.h``.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import struct
import sys
from collections.abc import Callable, Collection
from pathlib import Path

from harness.runtime.layers import ACTIVE, LAYERS
from harness.runtime.seccomp import SeccompFilter

__all__ = ["Lockdown"]

_SIGKILL = 9
_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38
_CAPABILITY_VERSION_3 = 0x20080522

_LANDLOCK_CREATE, _LANDLOCK_RESTRICT = 444, 446
_LANDLOCK_VERSION_FLAG = 1
# Rights the kernel knows, by version of its interface: file system rights, then TCP (4), then scopes (6).
_LANDLOCK_FS_BITS = {1: 13, 2: 14, 3: 15, 4: 15}

# More descriptors than a zygote ever has: with a limit on them, a child knows where to stop closing.
_MOST_DESCRIPTORS = 4096


class Lockdown:
    """Takes from this process, for good, what no worker of it needs, and prepares what a worker does for itself.

    ``address_space`` and ``data`` are limits on memory in bytes, here and in the workers; ``cpu_seconds`` is the
    processor time of one worker. ``parent`` is the pid of the process whose children call `finish`. ``without`` names
    layers to leave out, so that tests can show what each of them does. Nothing can be imported or opened any more.
    """

    def __init__(
        self, *, address_space: int, data: int, cpu_seconds: int, parent: int, without: Collection[str] = ()
    ) -> None:
        self._parent = parent
        self._cpu_seconds = cpu_seconds
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._without = without
        self._report = dict.fromkeys(LAYERS, "not on this platform")
        self._seccomp: SeccompFilter | None = None
        linux = sys.platform == "linux"
        resource.setrlimit(resource.RLIMIT_NOFILE, _at_most(resource.RLIMIT_NOFILE, _MOST_DESCRIPTORS))
        self._put_on("environment", self._clear_environment)
        self._put_on("limit_address_space", lambda: _limit("AS", address_space))
        self._put_on("limit_data", lambda: _limit("DATA", data))
        self._put_on("limit_core", lambda: _limit("CORE", 0))
        self._put_on("limit_file_size", lambda: _limit("FSIZE", 0))
        self._put_on("no_new_privileges", lambda: self._prctl(_PR_SET_NO_NEW_PRIVS, 1), linux)
        self._put_on("not_dumpable", lambda: self._prctl(_PR_SET_DUMPABLE, 0), linux)
        self._put_on("landlock", self._restrict_files, linux)
        self._put_on("capabilities", self._drop_capabilities, linux)
        self._put_on("seccomp", self._prepare_filter, linux)

    def finish(self, *, keep: int) -> dict[str, str]:
        """In a child of ``parent``: take the rest. ``keep`` is the one descriptor that stays open.

        Returns layer -> ``"active"`` or why not.
        """
        linux = sys.platform == "linux"
        self._put_on("ends_with_parent", lambda: self._prctl(_PR_SET_PDEATHSIG, _SIGKILL), linux)
        # Had it gone before that, nothing would come any more.
        if os.getppid() != self._parent:
            os._exit(0)
        self._put_on("descriptors", lambda: _close_all_but(keep))
        self._put_on("limit_cpu", lambda: _limit("CPU", self._cpu_seconds, self._cpu_seconds + 1))
        self._put_on("limit_files", lambda: _limit("NOFILE", 0))
        self._put_on("limit_processes", lambda: _limit("NPROC", 0))
        self._put_on("seccomp", self._filter_calls, self._seccomp is not None)
        return self._report

    def _put_on(self, layer: str, take: Callable[[], None], possible: bool = True) -> None:
        """Put on one layer, and note how that went."""
        if layer in self._without:
            self._report[layer] = "left out"
        elif possible:
            try:
                take()
            except (OSError, ValueError) as error:
                number = getattr(error, "errno", None)
                self._report[layer] = str(error) if number is None else f"failed: {errno.errorcode.get(number, number)}"
            else:
                self._report[layer] = ACTIVE

    def _check(self, result: int) -> int:
        """Raises ``OSError`` for what a call into the C library returns when it fails."""
        if result < 0:
            raise OSError(ctypes.get_errno(), "")
        return result

    def _prctl(self, option: int, value: int) -> None:
        self._check(self._libc.prctl(option, value, 0, 0, 0))

    def _clear_environment(self) -> None:
        """Forget the variables, and overwrite where the kernel wrote them: what /proc shows, and what memory holds."""
        os.environ.clear()  # takes them from the C library, too
        if sys.platform == "linux":
            # Where the first stack holds them (fields 50 and 51).
            fields = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
            start, end = int(fields[50 - 3]), int(fields[51 - 3])
            ctypes.memset(start, 0, end - start)

    def _drop_capabilities(self) -> None:
        header = struct.pack("Ii", _CAPABILITY_VERSION_3, 0)
        try:
            self._check(self._libc.capset(header, bytes(24)))
        except OSError:
            # Some container runtimes refuse it even to those who have nothing to give up.
            held = ctypes.create_string_buffer(24)
            if self._libc.capget(header, held) < 0 or held.raw != bytes(24):
                raise

    def _restrict_files(self) -> None:
        """Landlock: a set of rules that names every right the kernel knows, and grants none."""
        syscall = self._libc.syscall
        version = syscall(_LANDLOCK_CREATE, None, 0, _LANDLOCK_VERSION_FLAG)
        if version < 1:
            raise OSError("not in this kernel, or not allowed here")
        attributes = struct.pack("Q", (1 << _LANDLOCK_FS_BITS.get(version, 16)) - 1)
        if version >= 4:
            attributes += struct.pack("Q", 0b11)
        if version >= 6:
            attributes += struct.pack("Q", 0b11)
        ruleset = self._check(syscall(_LANDLOCK_CREATE, attributes, len(attributes), 0))
        try:
            self._check(syscall(_LANDLOCK_RESTRICT, ruleset, 0))
        finally:
            os.close(ruleset)

    def _prepare_filter(self) -> None:
        self._seccomp = SeccompFilter()

    def _filter_calls(self) -> None:
        if self._seccomp is not None and not self._seccomp.put_on(self._libc):
            raise OSError(ctypes.get_errno(), "")


def _close_all_but(keep: int) -> None:
    os.closerange(0, keep)
    os.closerange(keep + 1, _MOST_DESCRIPTORS)


def _at_most(number: int, value: int) -> tuple[int, int]:
    _, hard = resource.getrlimit(number)
    most = value if hard == resource.RLIM_INFINITY else min(value, hard)
    return most, most


def _limit(name: str, soft: int, hard: int | None = None) -> None:
    """Lower a resource limit, the hard one too. Raises ``OSError`` or ``ValueError`` where that cannot be done."""
    number = getattr(resource, f"RLIMIT_{name}", None)
    if number is None:
        raise OSError("not on this platform")
    most, _ = _at_most(number, soft if hard is None else hard)
    resource.setrlimit(number, (min(soft, most), most))
