"""What the host says to a worker, as values: the bodies of its frames (``specs/protocol.md``).

The host builds these as text, since they are on the way of every call; here they are described, for the schemas and for
whoever reads a frame. What a worker says is in `harness.runtime.turns`.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, JsonValue

from harness.errors import ErrorCategory

__all__ = ["CheckFrame", "DeliverFrame", "StartFrame"]


class _Frame(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CheckFrame(_Frame):
    """``C``: compile a script and run nothing."""

    source: str
    code: str
    """The source with its last expression returned."""


class _Shift(_Frame):
    line: int
    column: int
    width: int


class _Job(_Frame):
    now: int
    """Milliseconds since the epoch."""
    seed: tuple[int, int, int, int]
    tools: JsonValue
    """The names that `tools` has."""
    context: JsonValue
    budget: JsonValue
    shift: _Shift | None
    limits: dict[str, int | float]


class StartFrame(_Frame):
    """``S``: compile and start a script."""

    source: str
    code: str
    cpu_time: float
    memory_bytes: int
    job: _Job


class _FrameError(_Frame):
    type: str
    category: ErrorCategory
    retryable: bool
    message: str
    details: dict[str, JsonValue]


class _Value(_Frame):
    call: int
    value: Any
    made_up: Literal[True] | None = None
    """In a dry run: nobody knows what the tool would have returned."""


class _Failure(_Frame):
    call: int
    error: _FrameError


class _Timer(_Frame):
    timer: int


class DeliverFrame(_Frame):
    """``D``: a clock value with the results and timers it brings, in order."""

    now: int
    budget: JsonValue
    items: list[_Value | _Failure | _Timer]
