"""What a harness is doing, as a value."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from harness.runtime.adapter import PoolStatus
from harness.runtime.runtime import Isolation
from harness.tools.metrics import ToolStatistics

__all__ = ["HarnessStatus"]


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
