"""Errors about one tool call or its approval. The script can catch them."""

from __future__ import annotations

from harness.errors.base import ErrorCategory, HarnessError

__all__ = [
    "ApprovalDeniedError",
    "ApprovalError",
    "ApprovalTimeoutError",
    "ApprovalUnavailableError",
    "ConcurrencyLimitError",
    "ToolBudgetExceededError",
    "ToolCancelledError",
    "ToolError",
    "ToolExecutionError",
    "ToolNotFoundError",
    "ToolTimeoutError",
    "ToolValidationError",
]


class ToolError(HarnessError):
    """Something about one tool call. The script can catch it."""


class ToolNotFoundError(ToolError):
    """No tool of this name exists in this execution; ``details["suggestions"]`` holds near misses."""

    category = ErrorCategory.VALIDATION


class ToolValidationError(ToolError):
    """Arguments or result do not fit the tool's schema; ``details["errors"]`` lists path, expected, received."""

    category = ErrorCategory.VALIDATION


class ToolExecutionError(ToolError):
    """The tool failed. A tool raises this itself to choose the message and ``retryable``."""


class ToolTimeoutError(ToolError):
    """The tool overran its own time limit."""

    category = ErrorCategory.TRANSIENT


class ToolCancelledError(ToolError):
    """The call was cancelled: by an ``AbortSignal``, or because its execution ended."""


class ToolBudgetExceededError(ToolError):
    """A budget is used up; ``details`` has its name, the limit and what was used."""

    category = ErrorCategory.RESOURCE


class ConcurrencyLimitError(ToolError):
    """More calls are pending than ``Limits.max_pending_calls`` allows."""

    category = ErrorCategory.RESOURCE


class ApprovalError(HarnessError):
    """Something about one approval. ``details`` carries ``request_id`` and ``waited_s``."""

    category = ErrorCategory.PERMISSION


class ApprovalDeniedError(ApprovalError):
    """A person or a policy denied the call."""


class ApprovalTimeoutError(ApprovalError):
    """Nobody answered within the approval's time limit."""

    category = ErrorCategory.TRANSIENT


class ApprovalUnavailableError(ApprovalError):
    """The call needs approval, and no approver is configured or the one that is failed."""
