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
    │   ├── IdempotencyKeyError       the key was used for another text, caller or inputs
    │   └── JournalKeyError           its values are encrypted with another key, or were left out
    ├── WorkerCrashedError            the process that ran the script died or broke the protocol
    └── HarnessInternalError          a defect in the harness

``specs/errors.md`` holds the table class → category → retryable. This package imports nothing else of ours.
"""

from __future__ import annotations

from harness.errors.base import (
    ErrorCategory,
    ErrorInfo,
    HarnessError,
    HarnessInternalError,
    UsageError,
    WorkerCrashedError,
    class_name,
    extract_error_info,
    is_retryable,
)
from harness.errors.calls import (
    ApprovalDeniedError,
    ApprovalError,
    ApprovalTimeoutError,
    ApprovalUnavailableError,
    ConcurrencyLimitError,
    ToolBudgetExceededError,
    ToolCancelledError,
    ToolError,
    ToolExecutionError,
    ToolNotFoundError,
    ToolTimeoutError,
    ToolValidationError,
)
from harness.errors.journal import (
    ContractChangedError,
    IdempotencyKeyError,
    JournalConflictError,
    JournalDamagedError,
    JournalError,
    JournalFullError,
    JournalKeyError,
    JournalWriteError,
    ReplayDivergenceError,
    ResumeConflictError,
    ResumeTokenError,
)
from harness.errors.scripts import (
    BannedIdentifierError,
    BlockAttributeError,
    DetachedPromiseError,
    ReturnValueTooLargeError,
    ScriptCancelledError,
    ScriptDeadlockError,
    ScriptError,
    ScriptMemoryError,
    ScriptRuntimeError,
    ScriptStackError,
    ScriptSyntaxError,
    ScriptTimeoutError,
    ScriptTooLargeError,
    SerializationError,
)

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
