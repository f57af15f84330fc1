"""What calls took, made and left: the parts of an outcome that tell of attempts, artifacts and budgets. Frozen plain data."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from harness.errors import ErrorInfo

__all__ = ["Artifact", "Attempt", "BudgetLine", "BudgetReport", "ResourceReport"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Attempt(_Frozen):
    """One of several times that a call's tool was invoked."""

    error: ErrorInfo | None = None
    duration_ms: float
    waited_ms: float = 0.0
    """Before it, since the attempt before."""


class Artifact(_Frozen):
    """A file that a tool made and that its result names."""

    path: str
    """As the result names it; below the tool's working directory."""
    bytes: int
    sha256: str
    """Of its content when the call ended, in hexadecimal."""


class BudgetLine(_Frozen):
    """How one budget stands. Counts, or cents."""

    limit: float
    used: float
    """Of money: spent, or held back for calls under way."""
    remaining: float


class ResourceReport(_Frozen):
    """How a resource stands, over all executions that share it."""

    cost_cents: BudgetLine | None = None
    """None without a limit, as below."""
    rate_per_min: BudgetLine | None = None
    """Calls started within the last 60 seconds."""
    concurrent: BudgetLine


class BudgetReport(_Frozen):
    """What an execution has used, and what it had left: in the outcome, and in ``context.budget()``."""

    tool_calls: BudgetLine
    calls_per_tool: dict[str, BudgetLine] = {}
    """Of the tools with a limit of their own."""
    cost_cents: BudgetLine | None = None
    """None without a limit, as below."""
    rate_per_min: BudgetLine | None = None
    resources: dict[str, ResourceReport] = {}
    """Of the tools it could call."""
