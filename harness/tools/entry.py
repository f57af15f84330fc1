"""What is known of one call while it is under way, and how it stands when something ends it."""

from __future__ import annotations

from typing import Any

import anyio
from pydantic import JsonValue

from harness.approvals.bridge import Ruling
from harness.errors import (
    ApprovalDeniedError,
    ApprovalTimeoutError,
    ErrorInfo,
    HarnessError,
    ToolBudgetExceededError,
    ToolCancelledError,
    class_name,
)
from harness.model import ApprovalRequest, Attempt, CallRecord, CallStatus
from harness.redaction import Redactor, visible
from harness.tools.calls import ToolCall
from harness.tools.history import PastCall
from harness.tools.invoke import Invocation, public_info
from harness.tools.meters import Place
from harness.tools.names import expression
from harness.tools.retry import Tried
from harness.tools.spending import Spending

__all__ = ["Entry"]

_STATUS_OF_UNSTARTED = (
    (ToolCancelledError, CallStatus.CANCELLED),
    (ApprovalDeniedError, CallStatus.DENIED),
    (ApprovalTimeoutError, CallStatus.TIMED_OUT),
)


class Entry:
    """One call under way."""

    __slots__ = (
        "arguments",
        "cached",
        "call",
        "cancel_reason",
        "counted",
        "doubted",
        "exhausted",
        "invocation",
        "invoked_with",
        "key",
        "leads",
        "made_up",
        "needs_approval",
        "not_retried",
        "past",
        "place",
        "prepared",
        "refusal",
        "request",
        "ruling",
        "scope",
        "spending",
        "tried",
        "valid",
    )

    def __init__(self, call: ToolCall) -> None:
        self.call = call
        self.scope = anyio.CancelScope()
        """Around everything that is done for the call; it is cancelled with a reason, or by the tool's deadline."""
        self.cancel_reason: str | None = None
        self.arguments: dict[str, JsonValue] = {}
        self.prepared: Any = None
        """The arguments as the tool takes them."""
        self.valid = False
        self.refusal: HarnessError | None = None
        self.counted = False
        self.place: Place | None = None
        self.needs_approval = False
        self.request: ApprovalRequest | None = None
        self.ruling: Ruling | None = None
        self.invocation: Invocation | None = None
        self.made_up = False
        self.cached = False
        """Another call's result is its own."""
        self.key: str | None = None
        """What its result is kept under, if its tool is deterministic."""
        self.leads = False
        """Whether equal calls wait for its result."""
        self.spending: Spending | None = None
        """None for a tool that costs nothing and is not rationed."""
        self.invoked_with: str | None = None
        """The arguments as JSON, for a tool that can be reverted."""
        self.tried: list[Tried] = []
        """Attempts that ended, of a tool that is retried."""
        self.not_retried: ToolBudgetExceededError | None = None
        """Why there was no further attempt, if a budget kept it from being made."""
        self.past: PastCall | None = None
        """What is on record of it from before its execution was suspended or interrupted."""
        self.doubted = False
        """Whether it was started in an earlier process, and nobody said what came of it."""
        self.exhausted = False
        """Whether a budget kept its tool from being invoked."""

    @property
    def started(self) -> bool:
        """Whether the tool was invoked."""
        return self.invocation is not None and self.invocation.started

    @property
    def in_doubt(self) -> bool:
        """Whether the tool goes on by itself, or may have, if the call is dropped now."""
        return self.doubted or (self.invocation is not None and self.started and self.invocation.goes_on)

    def record(self, status: CallStatus, error: HarnessError | None, redactor: Redactor) -> CallRecord:
        """The call as the outcome reports it."""
        note = self.ruling.note if self.ruling else None
        if note is not None and note.reason is not None:
            note = note.model_copy(update={"reason": redactor.secrets(note.reason)})
        # Few calls have more to tell; what has a default costs time to pass.
        more: dict[str, Any] = {}
        if self.spending is not None:
            more["cost_cents"] = self.spending.charged_cents
        if self.cached:
            more["cached"] = True
        # The only attempt says no more than the call, unless there was to be another one.
        if len(self.tried) > 1 or (self.tried and (self.not_retried or error is not self.tried[0].error)):
            more["attempts"] = self._attempts(redactor)
        if self.invocation is not None and self.invocation.output is not None:
            more["artifacts"] = self.invocation.output.artifacts
        return CallRecord(
            seq=self.call.id,
            tool=visible(self.call.tool[:200]),
            args=redactor.arguments(self.arguments),
            status=status,
            error=None if error is None else self._shown(error, redactor),
            approval=note,
            duration_ms=None if self.invocation is None else self.invocation.duration_ms,
            line=self.call.line,
            **more,
        )

    def _shown(self, error: HarnessError, redactor: Redactor) -> ErrorInfo:
        shown = public_info(error, redactor, self.call.line)
        if self.not_retried is None:
            return shown
        # The tool's own error stays as it is; what scripts and people are shown of it also says why it was the last.
        return shown.model_copy(update={"details": {**shown.details, "not_retried": dict(self.not_retried.details)}})

    def _attempts(self, redactor: Redactor) -> tuple[Attempt, ...]:
        return tuple(
            Attempt(
                error=None if one.error is None else public_info(one.error, redactor, self.call.line),
                duration_ms=one.duration_ms,
                waited_ms=one.waited_ms,
            )
            for one in self.tried
        )

    def failed_status(self, error: HarnessError) -> CallStatus:
        """What became of a call that ended with this error."""
        if self.cancel_reason is not None:
            return self.dropped_status()
        if self.doubted:
            return CallStatus.IN_DOUBT
        if self.started:
            # A tool may itself raise errors of the classes below; only its own clock makes the call time out.
            timed_out = self.invocation is not None and self.invocation.timed_out
            late = CallStatus.IN_DOUBT if self.in_doubt else CallStatus.TIMED_OUT
            return late if timed_out else CallStatus.ERROR
        if self.ruling is not None and self.ruling.note.decision == "cancelled":
            return CallStatus.CANCELLED
        return next((status for kind, status in _STATUS_OF_UNSTARTED if isinstance(error, kind)), CallStatus.ERROR)

    def interrupted_error(self) -> HarnessError:
        """The error for a call whose scope was cancelled."""
        if self.cancel_reason is None and self.invocation is not None:
            # Nobody cancels the scope without a reason, so it was the deadline.
            return self.invocation.overran()
        return self.dropped_error()

    def dropped_status(self) -> CallStatus:
        """How the call stands if nobody waits for it any more."""
        return CallStatus.IN_DOUBT if self.in_doubt else CallStatus.CANCELLED

    def dropped_error(self) -> ToolCancelledError:
        """The error that goes with `dropped_status`."""
        name = expression(visible(self.call.tool[:80]))
        reason = self.cancel_reason or "its execution ended"
        if self.in_doubt:
            after = "It had started and goes on all the same, so it may still take effect."
        elif self.started:
            after = "It had started and was interrupted."
        else:
            after = "It had not started."
        details: dict[str, Any] = {"started": self.started}
        if self.tried:
            after += f" Attempts so far: {len(self.tried)}."
            details["attempts"] = [
                {"type": class_name(one.error), "message": one.error.message}
                for one in self.tried
                if one.error is not None
            ]
        return ToolCancelledError(f"{name} was cancelled: {reason}. {after}", details=details)
