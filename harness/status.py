"""What a harness is doing, as a value."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from harness.executor import Executor
from harness.runtime.adapter import PoolStatus
from harness.runtime.runtime import Isolation, Runtime
from harness.tools.metrics import ToolStatistics

__all__ = ["HarnessStatus", "harness_status"]


class HarnessStatus(BaseModel):
    """What a harness is doing right now."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    open: bool
    isolation: Isolation
    executions: tuple[str, ...]
    """Ids of the executions that run."""
    pending_approvals: int
    workers: PoolStatus | None
    """None while the harness is closed."""
    tools: dict[str, ToolStatistics]
    abandoned_threads: int = 0
    """Threads that are busy with sync tools, approvers and reverts for which nobody waits any more."""
    abandoned_tasks: tuple[str, ...] = ()
    """Async tools that were cancelled and run on."""


def harness_status(
    isolation: Isolation, runtime: Runtime | None, pending: int, tools: dict[str, ToolStatistics], executor: Executor
) -> HarnessStatus:
    """The status of a harness from its parts. ``runtime`` is None while it is closed."""
    return HarnessStatus(
        open=runtime is not None,
        isolation=isolation,
        executions=() if runtime is None else runtime.running(),
        pending_approvals=pending,
        workers=None if runtime is None else runtime.status(),
        tools=tools,
        abandoned_threads=executor.threads.abandoned,
        abandoned_tasks=executor.tasks.abandoned,
    )
