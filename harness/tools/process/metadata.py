"""Modes, owners and times of files, for a command in the sandbox: changed for it where it may write, and nowhere else.

Landlock has no right for these, and a filter of system calls cannot see which file a call is about. So the kernel asks the
supervisor (``SECCOMP_RET_USER_NOTIF``), which opens the file itself, looks where it lies, and makes the change through
what it opened: nothing the command does meanwhile can put another file in its place.

Only the standard library is used: a supervisor reads this file. Sources: ``man 2 seccomp_unotify``, ``linux/seccomp.h``.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct

from harness.tools.process.filters import this_machine

__all__ = ["ASKED", "Metadata"]

ASKED = (
    "chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "fchown", "lchown", "fchownat", "utime", "utimes", "futimesat",
    "utimensat",
)  # fmt: skip
"""The calls that are carried out here."""

_RECEIVE, _SEND, _IS_VALID = 0xC0502100, 0xC0182101, 0x40082102
_QUESTION = struct.Struct("QIIiIQ6Q")
_ANSWER = struct.Struct("QqiI")
_HERE = -100
_NO_FOLLOW, _EMPTY_PATH = 0x100, 0x1000
_LONGEST = 4096
_FDS = "/proc/self/fd/"


class _Question:
    """One call that waits for an answer."""

    def __init__(self, listener: int) -> None:
        text = bytearray(_QUESTION.size)
        fcntl.ioctl(listener, _RECEIVE, text)
        self.id, self.pid, _, self.number, _, _, *arguments = _QUESTION.unpack(text)
        self.arguments = arguments
        self._listener = listener

    def integer(self, index: int) -> int:
        """An argument that is an ``int``."""
        value = self.arguments[index] & 0xFFFFFFFF
        return int(value - (1 << 32) if value >> 31 else value)

    def memory(self, address: int, size: int, *, text: bool = False) -> bytes:
        """Up to ``size`` bytes of the caller's memory, of a ``text`` as many pages as it has. Raises ``OSError``."""
        with open(f"/proc/{self.pid}/mem", "rb", buffering=0) as file:
            # Had it ended before, its number might be somebody else's by now.
            fcntl.ioctl(self._listener, _IS_VALID, struct.pack("Q", self.id))
            # Not across the end of a page, behind which there may be nothing.
            found = os.pread(file.fileno(), min(size, 4096 - address % 4096), address)
            if len(found) < size and not (text and b"\0" in found):
                found += os.pread(file.fileno(), size - len(found), address + len(found))
            return found

    def path(self, index: int) -> bytes | None:
        """An argument that is a path; None for a null pointer."""
        address = self.arguments[index]
        if address == 0:
            return None
        text, end, _ = self.memory(address, _LONGEST, text=True).partition(b"\0")
        if not end:
            raise OSError(errno.ENAMETOOLONG, "")
        return text

    def answer(self, error: int) -> None:
        """Let the call return: 0, or minus the ``errno``."""
        try:
            fcntl.ioctl(self._listener, _SEND, _ANSWER.pack(self.id, 0, -error, 0))
        except OSError:
            return  # its caller was ended meanwhile


class Metadata:
    """Answers the questions of ``listener``. ``roots``: the files and directories in which changes are allowed."""

    def __init__(self, listener: int, roots: list[str]) -> None:
        self._listener = listener
        self._roots = [os.path.realpath(root).encode() for root in roots]
        machine = this_machine()
        numbers = {} if machine is None else machine.number
        self._names = {numbers[name]: name for name in ASKED if name in numbers}
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._rights = _rights("self")

    def answer_one(self) -> None:
        """Take in one question and answer it."""
        try:
            question = _Question(self._listener)
        except OSError:
            return  # whoever asked was ended
        try:
            self._carry_out(self._names[question.number], question)
        except OSError as error:
            question.answer(error.errno or errno.EPERM)
        except Exception:  # noqa: BLE001 - what is not understood is denied; the caller must not wait for ever
            question.answer(errno.EPERM)
        else:
            question.answer(0)

    def _carry_out(self, name: str, question: _Question) -> None:
        by_descriptor = name in ("fchmod", "fchown")
        with_directory = name in ("fchmodat", "fchmodat2", "fchownat", "futimesat", "utimensat")
        first = 2 if with_directory else 1  # of what comes behind the path
        flags = {"fchmodat2": 3, "fchownat": 4, "utimensat": 3}
        options = question.integer(flags[name]) if name in flags else _NO_FOLLOW if name == "lchown" else 0
        file = self._open(
            question,
            question.integer(0) if by_descriptor or with_directory else _HERE,
            None if by_descriptor else question.path(1 if with_directory else 0),
            options,
        )
        try:
            self._check(question, file)
            place = f"{_FDS}{file}"
            if "chmod" in name:
                os.chmod(place, question.arguments[first] & 0o7777)
            elif "chown" in name:
                os.chown(place, question.integer(first), question.integer(first + 1))
            else:
                self._set_times(place, name, question, question.arguments[first])
        finally:
            os.close(file)

    def _open(self, question: _Question, directory: int, path: bytes | None, options: int) -> int:
        base = f"/proc/{question.pid}/" + ("cwd" if directory == _HERE else f"fd/{directory}")
        if path is None or (path == b"" and options & _EMPTY_PATH):
            return os.open(base, os.O_PATH | os.O_CLOEXEC)
        for own in (b"/proc/self/", b"/proc/thread-self/"):
            if path.startswith(own):
                path = b"/proc/%d/" % question.pid + path[len(own) :]
        start = os.open(base, os.O_PATH | os.O_CLOEXEC)
        try:
            how = os.O_NOFOLLOW if options & _NO_FOLLOW else 0
            return os.open(path, os.O_PATH | os.O_CLOEXEC | how, dir_fd=start)
        finally:
            os.close(start)

    def _check(self, question: _Question, file: int) -> None:
        """Raises ``PermissionError`` unless the file lies where changes are allowed."""
        place = os.readlink(f"{_FDS}{file}".encode())
        if not any(place == root or place.startswith(root.rstrip(b"/") + b"/") for root in self._roots):
            raise PermissionError(errno.EPERM, "")
        # Whoever gave up rights does not get them back this way.
        if _rights(str(question.pid)) != self._rights:
            raise PermissionError(errno.EPERM, "")

    def _set_times(self, place: str, name: str, question: _Question, address: int) -> None:
        times = None
        if address:
            size = 16 if name == "utime" else 32
            numbers = struct.unpack(f"{size // 8}q", question.memory(address, size))
            if name == "utime":
                numbers = (numbers[0], 0, numbers[1], 0)
            elif name != "utimensat":
                numbers = (numbers[0], numbers[1] * 1000, numbers[2], numbers[3] * 1000)
            times = struct.pack("4q", *numbers)
        if self._libc.utimensat(_HERE, place.encode(), times, 0) != 0:
            raise OSError(ctypes.get_errno(), "")


def _rights(pid: str) -> list[bytes]:
    """Users, groups and capabilities of a process, as the kernel shows them."""
    with open(f"/proc/{pid}/status", "rb") as file:
        return [line for line in file if line.startswith((b"Uid:", b"Gid:", b"CapEff:"))]
