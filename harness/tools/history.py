"""What is on record of the calls of an execution that goes on after it was suspended or interrupted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from harness.approvals.decision import Decision
from harness.errors import ReplayDivergenceError
from harness.model import ApprovalRequest
from harness.tools.calls import Settled, ToolCall

__all__ = ["NO_HISTORY", "History", "PastCall", "Question", "call_text"]


@dataclass(frozen=True, slots=True)
class Question:
    """Something that was asked about a call."""

    request: ApprovalRequest
    decision: Decision | None = None
    """None while nobody has answered."""
    recorded: bool = False
    """Whether the decision is on record; else it was made just now."""


@dataclass(frozen=True, slots=True)
class PastCall:
    """What is on record of one call."""

    call: ToolCall | None = None
    """As the script made it; None for one that was refused before anything else."""
    questions: Mapping[str, Question] = field(default_factory=dict)
    """By the kind of the request."""
    started: bool = False
    """Whether its tool was about to be invoked, so that it may have had its effect."""
    settled: Settled | None = None
    late: Decision | None = None
    """What its result has come to by `Harness.settle`, perhaps before anybody knew that it would come later."""

    def check(self, call: ToolCall) -> None:
        """Raises `ReplayDivergenceError` if a call is not the one on record."""
        if self.call is not None and self.call != call:
            then, now = call_text(self.call), call_text(call)
            raise ReplayDivergenceError(
                f"The script took another way than the one on record: call {call.id} was {then} then, but now it is {now}.",
                details={"recorded": then, "happened": now, "call": call.id},
            )


def call_text(call: ToolCall) -> str:
    """A call in words."""
    return f"tools.{call.tool} with {call.arguments_json} in line {call.line}"


History = Mapping[int, PastCall]
"""By the id of the call."""

NO_HISTORY: History = MappingProxyType({})
