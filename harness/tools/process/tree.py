"""The processes below one process, and how to end them all. Linux only; elsewhere there is no way to find them.

Only the standard library is used: a supervisor reads this file too.
"""

from __future__ import annotations

import errno
import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["children", "descendants", "kill_all", "kill_marked", "name_of"]


def children(pid: int) -> list[int]:
    """The children of a process, those that are over and not yet reaped included."""
    found: list[int] = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return found
    for thread in threads:
        try:
            with open(f"/proc/{pid}/task/{thread}/children") as file:
                found += map(int, file.read().split())
        except OSError:
            continue  # the thread is over
    return found


def descendants(root: int) -> list[int]:
    """Every process below ``root`` that runs, those nearest to it first. Empty where there is no ``/proc``."""
    found: dict[int, None] = {}
    pending = [root]
    while pending:
        below = [child for parent in pending for child in children(parent) if child not in found]
        found |= dict.fromkeys(below)
        pending = below
    return [pid for pid in found if _state(pid) not in ("", "Z", "X")]


def kill_all(root: int, number: int = signal.SIGKILL) -> int:
    """Sends a signal to every process below ``root``, and says how many there were.

    A process that was being forked meanwhile is missed, so this is repeated until nothing is left.
    """
    pids = descendants(root)
    family = {root, *pids}
    for pid in pids:
        _kill_if(pid, number, lambda pid=pid: _parent(pid) in family)  # type: ignore[misc] # its default binds it
    return len(pids)


def kill_marked(mark: int, text: bytes) -> list[int]:
    """Kills every process that bears ``mark`` (see `harness.tools.process.guard`) or has ``text`` in its environment.

    For when nobody knows any more below whom they are. Returns those that were there; one that was being forked
    meanwhile may be missed, so this is repeated until there are none, several times in a row.
    """
    found = [pid for pid in _everybody() if _bears(pid, mark, text)]
    for pid in found:
        _kill_if(pid, signal.SIGKILL, lambda pid=pid: _bears(pid, mark, text))  # type: ignore[misc] # its default binds it
    return found


def _everybody() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdecimal()] if os.path.isdir("/proc") else []


def _bears(pid: int, mark: int, text: bytes) -> bool:
    if b" %d " % mark in _read(pid, "limits") or text in _read(pid, "environ"):
        return _state(pid) not in ("", "Z", "X")
    return False


def _read(pid: int, name: str) -> bytes:
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:
            return file.read()
    except OSError:
        return b""


def name_of(pid: int) -> str:
    """The name a process goes by, at most 15 characters; empty if it is over."""
    try:
        with open(f"/proc/{pid}/comm", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def _kill_if(pid: int, number: int, same: Callable[[], bool]) -> None:
    # A number may belong to a stranger by now. A pidfd stays with the process it was opened for, so once that one is
    # known to be the right one, nobody else can be hit.
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return
    try:
        if same():
            signal.pidfd_send_signal(pidfd, number)
    except OSError as error:
        if error.errno == errno.ENOSYS and same():
            # This process is itself a command, and its filter leaves it `kill` alone.
            _kill(pid, number)
    finally:
        os.close(pidfd)


def _kill(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except OSError:
        return


def _stat(pid: int) -> list[str]:
    """The fields after the name, which may hold anything."""
    try:
        with open(f"/proc/{pid}/stat", errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return []


def _state(pid: int) -> str:
    fields = _stat(pid)
    return fields[0] if fields else ""


def _parent(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[1]) if fields else -1
