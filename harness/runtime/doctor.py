"""Which protections are active on this machine, found out by starting a worker and asking it."""

from __future__ import annotations

import importlib.metadata
import platform
from dataclasses import dataclass

from harness.errors import HarnessError
from harness.limits import Limits
from harness.runtime.adapter import WorkerGoneError
from harness.runtime.hardening import inspect_worker
from harness.runtime.layers import LAYERS, missing
from harness.runtime.pool import ProcessPool
from harness.runtime.watch import can_watch

__all__ = ["Protection", "report"]

_START = {
    "fork": "each worker is forked by a fork server, with a hardened VM in it",
    "spawn": "each worker is a process that was started ahead of need, since this system lacks fork or pidfd_open",
}


@dataclass(frozen=True)
class Protection:
    """One protection, and whether it is active here."""

    name: str
    active: bool
    detail: str
    """What it is for; or why it is not active, and what to do about that."""


async def report(limits: Limits | None = None) -> list[Protection]:
    """Start a worker, and tell what it says of itself. What does not work is in the list, not raised."""
    found = [_engine()]
    pool = ProcessPool("process", limits or Limits())
    try:
        await pool.open()
        said = await inspect_worker(pool)
    except (HarnessError, WorkerGoneError, OSError) as error:
        return [*found, Protection("worker", active=False, detail=f"no worker can be started: {error}")]
    finally:
        await pool.aclose()
    found.append(Protection("worker", active=True, detail=f"starts, its VM is hardened; {_START[pool.start]}"))
    gaps = missing(said)
    for name, layer in LAYERS.items():
        detail = f"{gaps[name]}. To have it, {layer.remedy}" if name in gaps else layer.purpose
        found.append(Protection(name, active=name not in gaps, detail=detail))
    found.append(_watch())
    return found


def _watch() -> Protection:
    if can_watch():
        detail = "the host ends a worker that holds too much memory, or sleeps when it should answer"
        return Protection("watch", active=True, detail=detail)
    detail = "the host cannot see what memory a worker holds. To have it, run on Linux with /proc mounted"
    return Protection("watch", active=False, detail=detail)


def _engine() -> Protection:
    version = importlib.metadata.version("quickjs-ng")
    where = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    return Protection("engine", active=True, detail=f"quickjs-ng {version} on {where}")
