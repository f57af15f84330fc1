"""Whether workers are locked down as they should be: what is demanded, what is said, and what is refused."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from typing import Literal

from harness.errors import UsageError
from harness.runtime import wire
from harness.runtime.adapter import WorkerGoneError, WorkerPool
from harness.runtime.layers import LAYERS, missing

__all__ = ["Hardening", "inspect_worker", "refuse_gaps", "say_once"]

Hardening = Literal["required", "best_effort"]

_log = logging.getLogger("harness")
_said_in: int | None = None


async def inspect_worker(pool: WorkerPool) -> dict[str, str]:
    """Start a worker, ask it something, and return what it says of itself: layer -> ``"active"`` or why not.

    Raises `WorkerGoneError` if it cannot serve for another reason than a missing layer, and `HarnessInternalError` if it
    cannot be started.
    """
    worker = await pool.acquire(None)
    clean = False
    try:
        await worker.exchange(wire.CHECK, json.dumps({"source": "0", "code": "0"}).encode())
        clean = True
    except WorkerGoneError:
        # One that may not serve without all of them says which it has.
        if not missing(worker.protections) or not worker.protections:
            raise
    finally:
        await pool.release(worker, clean=clean)
    return worker.protections


def refuse_gaps(report: Mapping[str, str]) -> None:
    """Raises `UsageError` if a worker lacks a layer; it names each, and says what to do."""
    gaps = missing(report)
    if gaps:
        what = "; ".join(f"{name} ({state}): {LAYERS[name].remedy}" for name, state in gaps.items())
        raise UsageError(
            f"hardening='required', but on this machine {_are_not_active(gaps)}. To have "
            f"{'it' if len(gaps) == 1 else 'them'}: {what}. Or accept less with hardening='best_effort'. "
            "`harness doctor` shows every layer."
        )


def say_once(report: Mapping[str, str]) -> None:
    """Log which layers a worker lacks, if any: one line in the life of a process."""
    global _said_in  # noqa: PLW0603 - it is the process that this is remembered for
    if _said_in == os.getpid():
        return
    gaps = missing(report)
    if gaps:
        _said_in = os.getpid()
        _log.warning(
            "Scripts run with less protection than there could be: on this machine %s. `harness doctor` says what to do; "
            "Harness(hardening='required') refuses to start like this.",
            _are_not_active(gaps),
        )


def _are_not_active(gaps: Mapping[str, str]) -> str:
    names = ", ".join(f"{name} ({state})" for name, state in gaps.items())
    return f"{names} {'is' if len(gaps) == 1 else 'are'} not active"
