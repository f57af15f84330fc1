"""Every cap there is. Times are seconds, sizes are bytes (of UTF-8 where text is meant), the rest are counts."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["KIB", "MIB", "Limits"]

KIB = 1024
MIB = 1024 * 1024

Seconds = Annotated[float, Field(gt=0, le=7 * 24 * 3600, allow_inf_nan=False)]
Count = Annotated[int, Field(strict=True, ge=0, le=10_000_000)]


def _bytes(default: int, least: int, most: int) -> int:
    value: int = Field(default=default, ge=least, le=most, strict=True)
    return value


class Limits(BaseModel):
    """The limits of an execution and of the text it comes from. Frozen; an unknown or impossible value is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    wall_time: Seconds = 30.0
    """Seconds an execution may take from start to end, waiting for tools included, for approvals excluded."""
    cpu_time: Seconds = 10.0
    """Seconds of processor time the script may use in all."""
    memory_bytes: int = _bytes(96 * MIB, 8 * MIB, 4096 * MIB)
    """Heap of the VM."""
    stack_bytes: int = _bytes(4 * MIB, 256 * KIB, 6 * MIB)
    """Stack of the VM. The process's own stack (8 MiB as a rule) must stay larger."""
    script_bytes: int = _bytes(20_000, 1, 1 * MIB)
    """Length of one script."""
    result_bytes: int = _bytes(256 * KIB, 2, 64 * MIB)
    """Size of one script's result, and of one tool's result, as JSON."""
    argument_bytes: int = _bytes(256 * KIB, 2, 64 * MIB)
    """Size of one call's arguments as JSON."""
    log_bytes: int = _bytes(64 * KIB, 0, 16 * MIB)
    """Size of everything one script logs; what is past it is counted, not kept."""
    max_tool_calls: Count = 100
    """Tool calls one execution may make."""
    max_concurrent_tool_calls: Annotated[int, Field(strict=True, ge=1, le=10_000)] = 10
    """Tool calls of one execution that run at the same time; more of them queue in order."""
    max_pending_calls: Annotated[int, Field(strict=True, ge=1, le=100_000)] = 1_000
    """Tool calls and timers of one execution that may be unsettled at the same time."""
    max_approvals: Count = 20
    """Times one execution may ask a person."""
    tool_timeout: Seconds = 30.0
    """Seconds one tool call may run, from the moment it is invoked."""
    approval_timeout: Seconds = 60.0
    """Seconds to wait for a person's answer."""
    suspension_time: Annotated[float, Field(gt=0, le=366 * 86_400, allow_inf_nan=False)] = 7 * 86_400.0
    """Seconds for which a suspended execution can be resumed."""
    settle_grace: Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)] = 0.25
    """Seconds that calls still running when the script ends are given before they are cancelled, and that an async tool
    which was cancelled is given to end."""
    max_progress_events: Count = 50
    """Progress events one execution may emit; what is past it is counted."""
    progress_interval: Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)] = 0.5
    """Least seconds between two progress events; what comes sooner is counted."""
    max_blocks: Count = 20
    """Blocks of one text that may run; the ones after them are skipped."""
    text_bytes: int = _bytes(10 * MIB, 1, 1024 * MIB)
    """Size of one text."""
    held_text: Annotated[int, Field(strict=True, ge=256, le=1 * MIB)] = 4 * KIB
    """Characters of an opening tag or a line that the detector holds back while it cannot decide."""
    frame_bytes: int = _bytes(8 * MIB, 64 * KIB, 256 * MIB)
    """Size of one frame between host and worker."""
    max_forks: Annotated[int, Field(strict=True, ge=1, le=10_000_000)] = 10_000
    """Workers that one fork server starts, before another with another memory layout takes its place."""
    json_depth: Annotated[int, Field(strict=True, ge=1, le=200)] = 200
    """Nesting of arguments, results and context. No more than 200, since pydantic carries no more than 250."""
