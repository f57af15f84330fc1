"""The processes below one process, and how to end them all. Linux only; elsewhere there is no way to find them.

Only the standard library is used: a supervisor reads this file too.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable

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
        _send(pid, number, family)
    return len(pids)


def kill_marked(mark: bytes) -> int:
    """Kills every process in whose environment ``mark`` stands, and says how many there were.

    For when nobody knows any more below whom they are. Only processes of the same user can be seen.
    """
    count = 0
    for entry in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if not entry.isdecimal() or mark not in _environment(int(entry)):
            continue
        count += 1
        try:
            pidfd = os.pidfd_open(int(entry))
        except OSError:
            continue
        try:
            if mark in _environment(int(entry)):  # still the same process
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        except OSError:
            continue
        finally:
            os.close(pidfd)
    return count


def _environment(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
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


def _send(pid: int, number: int, family: Iterable[int]) -> None:
    # A number may belong to a stranger by now. A pidfd stays with the process it was opened for, so once that one's
    # parent is known to be of the family, nobody else can be hit.
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return
    try:
        if _parent(pid) in family:
            signal.pidfd_send_signal(pidfd, number)
    except OSError:
        return
    finally:
        os.close(pidfd)


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
