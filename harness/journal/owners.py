"""Who works on a run: which process of which machine, and whether it still does."""

from __future__ import annotations

import functools
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pydantic import JsonValue

from harness.errors import ResumeConflictError

__all__ = ["AFOOT", "Afoot", "owner", "owner_is_gone"]


@functools.cache
def _machine_id() -> str:
    """The machine, since it was started, and what numbers its processes: their ids mean nothing elsewhere."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        # Containers of one machine may have the same name, and number their processes each from 1.
        numbering = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - the target is no path
    except OSError:
        boot = numbering = ""
    return f"{socket.gethostname()}/{boot}/{numbering}"


def _process_start(pid: int) -> str:
    """When a process started, as the system counts; empty where it does not say, or for one that is dead already and
    was not yet taken note of by its parent.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return "" if stat[0] in "ZX" else stat[19]
    except (OSError, IndexError):
        return ""


class Afoot:
    """The runs that this process works on, whichever of its harnesses does: two of them may use one journal.

    For a run under way, the process that is named in its record is ours; this tells whether we still work on it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: set[str] = set()

    def __contains__(self, run_id: str) -> bool:
        return run_id in self._runs

    @contextmanager
    def working(self, run_id: str) -> Iterator[None]:
        """From before it is on record that we do. Raises `ResumeConflictError` if somebody else here does already."""
        with self._lock:
            if run_id in self._runs:
                raise ResumeConflictError(
                    f"{run_id} is being worked on by somebody else in this process.",
                    details={"outcome_id": run_id, "status": "running"},
                )
            self._runs.add(run_id)
        try:
            yield
        finally:
            self._runs.discard(run_id)


AFOOT = Afoot()
"""Those of this process."""


def owner() -> dict[str, JsonValue]:
    """The process we are in, as a run names the one that works on it."""
    return {"machine": _machine_id(), "pid": os.getpid(), "start": _process_start(os.getpid())}


def owner_is_gone(who: Mapping[str, JsonValue]) -> bool | None:
    """Whether the process that worked on a run has ended; None if that cannot be told from here."""
    pid = who.get("pid")
    if who.get("machine") != _machine_id() or not isinstance(pid, int):
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return who.get("start") not in ("", _process_start(pid))
