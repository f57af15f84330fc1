"""Errors about the record of executions."""

from __future__ import annotations

from harness.errors.base import ErrorCategory, HarnessError

__all__ = [
    "ContractChangedError",
    "IdempotencyKeyError",
    "JournalConflictError",
    "JournalDamagedError",
    "JournalError",
    "JournalFullError",
    "JournalKeyError",
    "JournalWriteError",
    "ReplayDivergenceError",
    "ResumeConflictError",
    "ResumeTokenError",
]


class JournalError(HarnessError):
    """Something about the record of executions."""


class JournalWriteError(JournalError):
    """The journal cannot be written: the disk is full, the file read-only, the database locked for too long."""

    category = ErrorCategory.TRANSIENT


class JournalConflictError(JournalError):
    """Another process or task has added to the same execution."""


class JournalDamagedError(JournalError):
    """An event is missing, changed, forged or of an unknown version; ``details["seq"]`` says which one."""


class JournalFullError(JournalError):
    """A value or the whole journal would be larger than it may be; ``details`` has the limit and the size."""

    category = ErrorCategory.RESOURCE


class ReplayDivergenceError(JournalError):
    """A replay did not do what is on record; ``details`` says at which event, what was recorded and what happened."""


class ResumeTokenError(JournalError):
    """The token is not one of this journal's, has expired, or is for another caller."""

    category = ErrorCategory.PERMISSION


class ResumeConflictError(JournalError):
    """Somebody else goes on with this run, or has ended it; ``details`` has its id and status."""


class ContractChangedError(JournalError):
    """A tool is missing, or its contract is no longer compatible with the one that an execution began with."""

    category = ErrorCategory.VALIDATION


class IdempotencyKeyError(JournalError):
    """An idempotency key was used before, for another text, by another caller or with other inputs."""

    category = ErrorCategory.VALIDATION


class JournalKeyError(JournalError):
    """A key is missing or another one, so that values cannot be had or a signed record cannot go on; or no values were kept."""

    category = ErrorCategory.PERMISSION
