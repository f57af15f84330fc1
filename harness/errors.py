"""Every failure the harness can report.

::

    HarnessError
    ├── UsageError                    host code called the library in a way it does not allow
    ├── ScriptError                   about one script
    │   ├── ScriptSyntaxError         does not compile
    │   │   └── BannedIdentifierError uses a construct that is never available
    │   ├── BlockAttributeError       an attribute of the opening tag is unknown or wrong
    │   ├── ScriptTooLargeError       longer than ``script_bytes``
    │   ├── ScriptRuntimeError        threw an exception that nothing caught
    │   ├── ScriptTimeoutError        used up its wall-clock or CPU time
    │   ├── ScriptMemoryError         used up its memory
    │   ├── ScriptStackError          recursed too deeply
    │   ├── ScriptDeadlockError       waits for something that can never happen
    │   ├── ScriptCancelledError      the host cancelled it
    │   ├── DetachedPromiseError      a tool call nobody awaited failed or had to be cancelled
    │   ├── ReturnValueTooLargeError  its result is larger than ``result_bytes``
    │   └── SerializationError        a value has no JSON form
    ├── ToolError                     about one tool call; the script can catch it
    │   ├── ToolNotFoundError         no such tool in this execution
    │   ├── ToolValidationError       arguments or result do not fit the schema
    │   ├── ToolExecutionError        the tool itself failed
    │   ├── ToolTimeoutError          the tool overran its time
    │   ├── ToolCancelledError        the call was cancelled, by a signal or with its execution
    │   ├── ToolBudgetExceededError   a budget of calls is used up
    │   └── ConcurrencyLimitError     too many calls are pending
    ├── ApprovalError                 about one approval; the script can catch it
    │   ├── ApprovalDeniedError       a person or policy said no
    │   ├── ApprovalTimeoutError      nobody answered in time
    │   └── ApprovalUnavailableError  approval is needed and no approver is configured, or it failed
    ├── JournalError                  about the record of executions
    │   ├── JournalWriteError         it cannot be written, so nothing goes on
    │   ├── JournalConflictError      another process writes the same execution
    │   ├── JournalDamagedError       it was changed, forged, torn or written by a newer version
    │   ├── JournalFullError          a value or the whole journal is larger than it may be
    │   ├── ReplayDivergenceError     a script did something else than what is on record
    │   ├── ResumeTokenError          the token is unknown, expired or was used
    │   ├── ResumeConflictError       somebody else goes on with it, or it has ended
    │   ├── ContractChangedError      a tool is no longer what it was when the execution began
    │   ├── IdempotencyKeyError       the key was used for another text
    │   └── JournalKeyError           its values are encrypted with another key, or were left out
    ├── WorkerCrashedError            the process that ran the script died or broke the protocol
    └── HarnessInternalError          a defect in the harness

``specs/errors.md`` holds the table class → category → retryable. This module imports nothing of ours.
"""

from __future__ import annotations

import enum
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, JsonValue, model_validator

__all__ = [
    "ApprovalDeniedError",
    "ApprovalError",
    "ApprovalTimeoutError",
    "ApprovalUnavailableError",
    "BannedIdentifierError",
    "BlockAttributeError",
    "ConcurrencyLimitError",
    "ContractChangedError",
    "DetachedPromiseError",
    "ErrorCategory",
    "ErrorInfo",
    "HarnessError",
    "HarnessInternalError",
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
    "ReturnValueTooLargeError",
    "ScriptCancelledError",
    "ScriptDeadlockError",
    "ScriptError",
    "ScriptMemoryError",
    "ScriptRuntimeError",
    "ScriptStackError",
    "ScriptSyntaxError",
    "ScriptTimeoutError",
    "ScriptTooLargeError",
    "SerializationError",
    "ToolBudgetExceededError",
    "ToolCancelledError",
    "ToolError",
    "ToolExecutionError",
    "ToolNotFoundError",
    "ToolTimeoutError",
    "ToolValidationError",
    "UsageError",
    "WorkerCrashedError",
    "class_name",
    "extract_error_info",
    "is_retryable",
]


class ErrorCategory(enum.StrEnum):
    """What kind of failure this is, and so what to do about it."""

    TRANSIENT = "TRANSIENT"
    """May go away by itself: try the same thing again."""
    PERMANENT = "PERMANENT"
    """Will fail again in the same way: change the script."""
    RESOURCE = "RESOURCE"
    """A limit was reached: do less, or raise the limit, and try again."""
    PERMISSION = "PERMISSION"
    """Somebody or something said no."""
    VALIDATION = "VALIDATION"
    """The input is not of the form that is asked for: correct it."""

    def is_retryable(self) -> bool:
        """True for ``TRANSIENT`` and ``RESOURCE``."""
        return self in (ErrorCategory.TRANSIENT, ErrorCategory.RESOURCE)


class ErrorInfo(BaseModel):
    """A failure as plain data: what an outcome carries, and what reaches the script and the model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: str
    """Name of a class of this module, or of the JavaScript error (``TypeError``) an uncaught exception was."""
    category: ErrorCategory
    retryable: bool
    """As `ErrorCategory.is_retryable` says of the category; anything else is refused."""
    message: str
    """What happened and what to do about it."""
    line: int | None = None
    """1-based, in the block's own source."""
    column: int | None = None
    """1-based, in characters."""
    stack: str | None = None
    """JavaScript frames (``at f (<script>:3:7)``); never a path of the host."""
    details: dict[str, JsonValue] = {}
    """Facts for programs: limits, names, paths inside values, request ids."""

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.retryable != self.category.is_retryable():
            raise ValueError(f"retryable={self.retryable} does not go with the category {self.category.value}")
        return self


class HarnessError(Exception):
    """Base of every error of the harness.

    The class says which ``category`` an error has; one instance can have another: by ``category``, or by ``retryable``,
    which makes it ``TRANSIENT`` or ``PERMANENT`` if its category says otherwise. Whether an error is retryable follows
    from its category and from nothing else.
    """

    category: ErrorCategory = ErrorCategory.PERMANENT

    def __init_subclass__(cls, **given: Any) -> None:
        if "retryable" in vars(cls):
            raise TypeError(f"{cls.__name__}: set `category`, from which `retryable` follows")
        super().__init_subclass__(**given)

    def __init__(
        self,
        message: str,
        *,
        line: int | None = None,
        column: int | None = None,
        stack: str | None = None,
        category: ErrorCategory | None = None,
        retryable: bool | None = None,
        details: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.column = column
        self.stack = stack
        self.category = category or type(self).category
        if retryable is not None and retryable != self.retryable:
            self.category = ErrorCategory.TRANSIENT if retryable else ErrorCategory.PERMANENT
        self.details: dict[str, Any] = details or {}

    @property
    def retryable(self) -> bool:
        """Whether trying the same thing again may succeed."""
        return self.category.is_retryable()

    def __reduce__(self) -> tuple[Any, ...]:
        # The keyword-only arguments live in __dict__, which pickle restores after calling the class.
        return (type(self), (self.message,), self.__dict__)

    def info(self) -> ErrorInfo:
        """The error as plain data."""
        return ErrorInfo(
            type=class_name(self),
            category=self.category,
            retryable=self.retryable,
            message=self.message,
            line=self.line,
            column=self.column,
            stack=self.stack,
            details=self.details,
        )


class UsageError(HarnessError):
    """Host code used the library in a way it does not allow; the message says which way it does."""

    category = ErrorCategory.VALIDATION


class ScriptError(HarnessError):
    """Something about one script."""


class ScriptSyntaxError(ScriptError):
    """The script does not compile; ``line`` and ``column`` say where, ``details["source_line"]`` shows it."""

    category = ErrorCategory.VALIDATION


class BannedIdentifierError(ScriptSyntaxError):
    """The script uses ``eval``, ``require``, ``import`` or another construct that is never available."""


class BlockAttributeError(ScriptError):
    """The opening tag has an attribute that is unknown, repeated or malformed."""

    category = ErrorCategory.VALIDATION


class ScriptTooLargeError(ScriptError):
    """The script is longer than ``Limits.script_bytes`` (UTF-8)."""

    category = ErrorCategory.VALIDATION


class ScriptRuntimeError(ScriptError):
    """The script threw and nothing caught it; ``ErrorInfo.type`` is then the JavaScript class's name."""


class ScriptTimeoutError(ScriptError):
    """The script used up a clock; ``details["clock"]`` is ``"wall"`` or ``"cpu"``."""

    category = ErrorCategory.RESOURCE


class ScriptMemoryError(ScriptError):
    """The script used up ``Limits.memory_bytes``."""

    category = ErrorCategory.RESOURCE


class ScriptStackError(ScriptError):
    """The script recursed deeper than ``Limits.stack_bytes`` allows."""

    category = ErrorCategory.RESOURCE


class ScriptDeadlockError(ScriptError):
    """The script waits, and no call, timer or approval is left that could wake it."""


class ScriptCancelledError(ScriptError):
    """The host cancelled the execution."""


class DetachedPromiseError(ScriptError):
    """A tool call that nobody awaited failed, or had to be cancelled when the script ended."""


class ReturnValueTooLargeError(ScriptError):
    """The script's result is larger than ``Limits.result_bytes`` (as JSON, UTF-8)."""

    category = ErrorCategory.VALIDATION


class SerializationError(ScriptError):
    """A value has no JSON form; ``details["path"]`` says where (``$.rows[3].id``)."""

    category = ErrorCategory.VALIDATION


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
    """An idempotency key was used before, for another text."""

    category = ErrorCategory.VALIDATION


class JournalKeyError(JournalError):
    """The values of a journal cannot be had: another key, none, or they were never kept."""

    category = ErrorCategory.PERMISSION


class WorkerCrashedError(HarnessError):
    """The process that ran the script died, or sent something the protocol does not allow."""

    category = ErrorCategory.TRANSIENT


class HarnessInternalError(HarnessError):
    """A defect in the harness. Please report it."""


_BY_BUILTIN: tuple[tuple[type[BaseException], ErrorCategory], ...] = (
    (PermissionError, ErrorCategory.PERMISSION),
    (TimeoutError, ErrorCategory.TRANSIENT),
    (ConnectionError, ErrorCategory.TRANSIENT),
    (InterruptedError, ErrorCategory.TRANSIENT),
    (MemoryError, ErrorCategory.RESOURCE),
    (RecursionError, ErrorCategory.RESOURCE),
    (ValueError, ErrorCategory.VALIDATION),
    (TypeError, ErrorCategory.VALIDATION),
)


def class_name(error: BaseException) -> str:
    """The name of an exception's class, or of its nearest base whose name is one: anything may be called anything."""
    names = (kind.__name__ for kind in type(error).__mro__)
    return next((name for name in names if name.isascii() and name.isidentifier() and len(name) <= 100), "Exception")


def extract_error_info(error: BaseException) -> ErrorInfo:
    """Any exception as plain data.

    An error of the harness gives its own fields. Of any other exception the class name and a category by its
    built-in base are kept; its text is not, since it may hold paths or secrets of the host.
    """
    if isinstance(error, HarnessError):
        return error.info()
    category = next((c for base, c in _BY_BUILTIN if isinstance(error, base)), ErrorCategory.PERMANENT)
    name = class_name(error)
    return ErrorInfo(
        type=name,
        category=category,
        retryable=category.is_retryable(),
        message=f"{name} (its text stays on the host)",
    )


def is_retryable(error: BaseException | ErrorInfo) -> bool:
    """Whether trying the same thing again may succeed."""
    if isinstance(error, ErrorInfo):
        return error.retryable
    return extract_error_info(error).retryable
