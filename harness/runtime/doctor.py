"""Which protections are active on this machine, found out by starting a worker and asking it."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from dataclasses import dataclass

from harness.errors import HarnessError
from harness.limits import Limits
from harness.runtime import wire
from harness.runtime.adapter import WorkerGoneError
from harness.runtime.lockdown import ACTIVE, LAYERS
from harness.runtime.pool import ProcessPool

__all__ = ["Protection", "report"]


@dataclass(frozen=True)
class Protection:
    """One protection, and whether it is active here."""

    name: str
    active: bool
    detail: str
    """What it is for, or why it is not active."""


async def report(limits: Limits | None = None) -> list[Protection]:
    """Start a worker, and tell what it says of itself. What does not work is in the list, not raised."""
    found = [_engine()]
    pool = ProcessPool("process", limits or Limits())
    try:
        await pool.open()
        worker = await pool.acquire(None)
        clean = False
        try:
            await worker.exchange(wire.CHECK, json.dumps({"source": "0", "code": "0"}).encode())
            clean = True
        finally:
            await pool.release(worker, clean=clean)
    except (HarnessError, WorkerGoneError, OSError) as error:
        return [*found, Protection("worker", active=False, detail=f"no worker can be started: {error}")]
    finally:
        await pool.aclose()
    found.append(Protection("worker", active=True, detail="starts, and the hardening of its VM took"))
    for layer, purpose in LAYERS.items():
        state = worker.protections.get(layer, "not reported")
        found.append(Protection(layer, active=state == ACTIVE, detail=purpose if state == ACTIVE else state))
    return found


def _engine() -> Protection:
    version = importlib.metadata.version("quickjs-ng")
    where = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    return Protection("engine", active=True, detail=f"quickjs-ng {version} on {where}")
