"""Asking an approver, whatever form it has. What is not clearly a decision is a failure, and a failure never approves."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import Any

import anyio

from harness.approvals.decision import SUSPEND, Approver, Decision
from harness.concurrency import cancellation_requested
from harness.errors import HarnessError, UsageError
from harness.executor import current_executor
from harness.model import ApprovalRequest

__all__ = ["ApproverFailedError", "Decide", "consult", "decide_function"]

_LOG = logging.getLogger("harness.approvals")
# A library prints nothing by itself; whoever configures logging gets the tracebacks.
_LOG.addHandler(logging.NullHandler())

_GRACE = 1.0
"""Seconds that an approver which was cancelled is given to end, before it is left behind."""

Decide = Callable[[ApprovalRequest], Any]


class ApproverFailedError(Exception):
    """The approver raised, or returned no `Decision`. Its text may be shown to anybody."""


def decide_function(approver: Approver | None) -> Decide | None:
    """What to call; None if nobody is. Raises `UsageError` for what cannot be an approver."""
    if approver == SUSPEND:
        return None
    decide = getattr(approver, "decide", approver)
    if decide is None or callable(decide):
        return decide
    raise UsageError(
        f"{type(approver).__name__} is no approver; pass a function of an ApprovalRequest that returns a Decision, an "
        "object with such a method named decide, or 'suspend'."
    )


def _is_async(decide: Decide) -> bool:
    return inspect.iscoroutinefunction(decide) or inspect.iscoroutinefunction(getattr(decide, "__call__", None))  # noqa: B004 - the method itself is looked at


async def consult(decide: Decide, request: ApprovalRequest) -> Decision:
    """The approver's decision. Raises `ApproverFailedError`; the traceback goes to the log ``harness.approvals``."""
    try:
        executor = current_executor()
        if _is_async(decide):
            pending = decide(request)
        else:
            pending = await executor.threads.run(lambda: decide(request), exempt=True)
        answer = pending
        if inspect.isawaitable(pending):
            answer = await executor.tasks.start(lambda: pending, "The approver").outcome(_GRACE)
    except anyio.get_cancelled_exc_class() as error:
        if cancellation_requested():
            raise
        raise ApproverFailedError("it awaited something that was cancelled") from error
    except (Exception, SystemExit) as error:
        _LOG.warning("The approver failed, so tools.%s is not approved.", request.tool, exc_info=True)
        # The text of the host's own exceptions stays on the host.
        shown = (
            error.message if isinstance(error, HarnessError) else f"{type(error).__name__}; the host's log says more"
        )
        raise ApproverFailedError(shown) from error
    if isinstance(answer, Decision):
        return answer
    message = f"it returned {type(answer).__name__} instead of Decision.approve() or Decision.deny(reason)"
    _LOG.warning("The approver failed, so tools.%s is not approved: %s.", request.tool, message)
    raise ApproverFailedError(message)
