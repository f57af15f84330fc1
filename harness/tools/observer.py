"""Who is told of each step of a call before the next one is taken."""

from __future__ import annotations

from typing import Protocol

from harness.approvals.decision import Decision
from harness.model import ApprovalNote, ApprovalRequest
from harness.tools.calls import Settled, ToolCall

__all__ = ["CallObserver"]


class CallObserver(Protocol):
    """Is told of each step that must be on record before the next one is taken.

    What it raises fails the call before its tool is invoked.
    """

    async def asked(self, call: ToolCall, request: ApprovalRequest) -> None:
        """Somebody is about to be asked, or will be found to be waited for."""

    async def decided(
        self, call: ToolCall, request: ApprovalRequest, note: ApprovalNote, decision: Decision | None
    ) -> None:
        """What became of that, before it has an effect. ``decision`` is None where nobody decided."""

    async def issued(self, call: ToolCall) -> None:
        """The script made a valid call."""

    async def started(self, call: ToolCall, arguments_json: str) -> None:
        """Its tool is about to be invoked with these arguments, an approver's edits included."""

    async def settled(self, settled: Settled) -> None:
        """It ended. Comes for every call, also for those that were never issued or started."""
