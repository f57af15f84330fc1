"""What a tool may know of the call it serves, and what it may say while it works."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from harness.context import ExecutionContext
from harness.errors import ToolCancelledError, UsageError
from harness.tools.deferred import deferral_id
from harness.tools.names import expression
from harness.tools.resource import check_cents

__all__ = ["CallContext", "Caller", "CostReport"]


@dataclass(frozen=True, slots=True)
class Caller:
    """On whose behalf a call is made."""

    kind: Literal["script", "host"]
    """``host`` for `ToolRegistry.call`."""
    user_id: str | None
    conversation_id: str | None
    session_id: str | None
    metadata: Mapping[str, Any]
    """What the host gave the run, unredacted. Not for scripts: do not return it."""


class CostReport:
    """Where a tool's word on what a call cost arrives."""

    __slots__ = ("cents",)

    def __init__(self) -> None:
        self.cents: float | None = None


@dataclass(slots=True, kw_only=True)
class CallContext:
    """What a tool may know of the call it serves. A function gets it in a parameter annotated `CallContext`.

    Such a parameter is no part of the schema: a script can neither see nor set it.
    """

    tool: str
    call_id: int
    """From 1, in the order the script made its calls; 0 for a call from host code."""
    execution: ExecutionContext
    """Of the execution the call belongs to: its ids, limits, metadata and inputs."""
    key: str | None = None
    """The idempotency key, where whoever calls chose it."""
    report: Callable[[int, str, Any], bool] | None = field(default=None, repr=False)
    """Where progress goes, with the number of the call; None if nobody listens."""
    cancelled: bool = False
    """Whether nobody waits for the result any more: the call overran its time or was cancelled.

    For sync tools, which run on in their thread: an async tool is interrupted where it awaits.
    """
    threads: set[object] = field(default_factory=set, repr=False)
    """One member for each thread in which a sync tool works for this call now, nobody waiting for it or not."""
    costs: CostReport | None = field(default=None, repr=False)
    """None for a tool that is free."""

    @property
    def execution_id(self) -> str:
        """Of the execution the call belongs to."""
        return self.execution.execution_id

    @property
    def caller(self) -> Caller:
        """On whose behalf the call is made."""
        execution = self.execution
        return Caller(
            kind="script" if self.call_id else "host",
            user_id=execution.user_id,
            conversation_id=execution.conversation_id,
            session_id=execution.session_id,
            metadata=execution.metadata,
        )

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt at this call, and of no other call: what services call an idempotency key."""
        if self.key is not None:
            return self.key
        identity = f"{self.execution_id}/{self.call_id}/{self.tool}"
        return f"idem_{hashlib.sha256(identity.encode()).hexdigest()[:40]}"

    @property
    def deferral_id(self) -> str:
        """What `Harness.settle` is to be told, from any process, if the tool returns `Deferred`."""
        return deferral_id(self.execution_id, self.call_id)

    def raise_if_cancelled(self) -> None:
        """Raises `ToolCancelledError` if the call was cancelled. For loops in sync tools."""
        if self.cancelled:
            raise ToolCancelledError(f"{expression(self.tool)} stopped, since its call was cancelled.")

    def report_cost(self, cents: float) -> None:
        """Say what this call really cost, in place of the tool's declared ``cost``; the last word counts.

        More than was held back for the call is charged all the same, and the next call finds the budget used up.
        Raises `UsageError` for what is no sum of money, and for a tool that declares neither ``cost`` nor ``resource``.
        """
        check_cents(cents, f"The cost that tool {self.tool!r} reports")
        if self.costs is None:
            raise UsageError(
                f"Tool {self.tool!r} reports a cost and is declared to be free; give it cost=… (cents held back for a "
                "call until the real cost is known) or resource=…."
            )
        self.costs.cents = cents

    def progress(self, message: str, data: Any = None) -> bool:
        """Reports how far the tool has come, from any thread; False if the report was dropped.

        At most one report per call every ``progress_interval`` seconds is kept, ``max_progress_events`` in all. They
        stand in ``Execution.progress`` with the number of the call, redacted as scripts' own are. ``data`` is anything
        with a JSON form; else `SerializationError` is raised.
        """
        return self.report is not None and self.report(self.call_id, message, data)
