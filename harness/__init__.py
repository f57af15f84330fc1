"""Find the ``<tool-calls>`` blocks a language model wrote, run them in a sandbox, and carry their tool calls.

::

    from harness import Harness, tool

    @tool
    async def add(a: int, b: int) -> int:
        return a + b

    async with Harness(tools=[add]) as harness:
        outcome = await harness.run("<tool-calls>await tools.add({a: 1, b: 2})</tool-calls>")

The names below are the public ones. They are loaded when first used, so that importing this package costs next to
nothing, and so that the process that forks workers can import its own few modules and nothing else.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # type checkers know better; `typing` would cost every supervised command several milliseconds
if TYPE_CHECKING:
    from typing import Any

    from harness.approvals.bridge import ApprovalBridge
    from harness.approvals.decision import Approver, Decision
    from harness.approvals.terminal import TerminalApprover
    from harness.context import ExecutionContext
    from harness.contracts.binding import Binding, check_binding
    from harness.contracts.values import Contract, ContractSet, Difference
    from harness.detector import Detector, detect, extract_scripts, has_blocks, validate
    from harness.durable.looking import ExecutionEntry
    from harness.errors import (
        ApprovalDeniedError,
        ApprovalError,
        ApprovalTimeoutError,
        ApprovalUnavailableError,
        BannedIdentifierError,
        BlockAttributeError,
        ConcurrencyLimitError,
        ContractChangedError,
        DetachedPromiseError,
        ErrorCategory,
        ErrorInfo,
        HarnessError,
        HarnessInternalError,
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
        ToolBudgetExceededError,
        ToolCancelledError,
        ToolError,
        ToolExecutionError,
        ToolNotFoundError,
        ToolTimeoutError,
        ToolValidationError,
        UsageError,
        WorkerCrashedError,
        extract_error_info,
        is_retryable,
    )
    from harness.journal.journal import Journal
    from harness.limits import Limits
    from harness.model import (
        ApprovalNote,
        ApprovalRequest,
        Artifact,
        Attempt,
        Block,
        BudgetLine,
        BudgetReport,
        CallRecord,
        CallStatus,
        Diagnostic,
        Execution,
        ExecutionMode,
        ExecutionStatus,
        Ignored,
        LogEntry,
        Metrics,
        Outcome,
        Plan,
        PlanStep,
        ProgressEvent,
        ResourceReport,
        Script,
        ScriptInfo,
        Segment,
        Severity,
        Span,
        Text,
        Unclosed,
    )
    from harness.parser import Parser
    from harness.pipeline import Harness
    from harness.status import HarnessStatus
    from harness.tools.budget import Budget
    from harness.tools.cache import ResultCache
    from harness.tools.classes import tools_of
    from harness.tools.compensation import RollbackReport, RollbackStep
    from harness.tools.context import CallContext
    from harness.tools.deferred import Deferred
    from harness.tools.function import FunctionTool
    from harness.tools.hostcalls import HostCall
    from harness.tools.metrics import ToolStatistics
    from harness.tools.output import ToolOutput
    from harness.tools.process.settings import ProcessLimits, ProcessSandbox
    from harness.tools.registry import Tool, ToolRegistry, tool
    from harness.tools.resource import ResourceContract
    from harness.tools.retry import Retry
    from harness.tools.subprocess import SubprocessTool
    from harness.tools.telemetry import Telemetry

_MODULES = {
    "harness.approvals.bridge": ["ApprovalBridge"],
    "harness.approvals.decision": ["Approver", "Decision"],
    "harness.approvals.terminal": ["TerminalApprover"],
    "harness.context": ["ExecutionContext"],
    "harness.contracts.binding": ["Binding", "check_binding"],
    "harness.contracts.values": ["Contract", "ContractSet", "Difference"],
    "harness.detector": ["Detector", "detect", "extract_scripts", "has_blocks", "validate"],
    "harness.durable.looking": ["ExecutionEntry"],
    "harness.errors": [
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
        "extract_error_info",
        "is_retryable",
    ],
    "harness.journal.journal": ["Journal"],
    "harness.limits": ["Limits"],
    "harness.model": [
        "ApprovalNote",
        "ApprovalRequest",
        "Artifact",
        "Attempt",
        "Block",
        "BudgetLine",
        "BudgetReport",
        "CallRecord",
        "CallStatus",
        "Diagnostic",
        "Execution",
        "ExecutionMode",
        "ExecutionStatus",
        "Ignored",
        "LogEntry",
        "Metrics",
        "Outcome",
        "Plan",
        "PlanStep",
        "ProgressEvent",
        "ResourceReport",
        "Script",
        "ScriptInfo",
        "Segment",
        "Severity",
        "Span",
        "Text",
        "Unclosed",
    ],
    "harness.parser": ["Parser"],
    "harness.pipeline": ["Harness"],
    "harness.status": ["HarnessStatus"],
    "harness.tools.budget": ["Budget"],
    "harness.tools.cache": ["ResultCache"],
    "harness.tools.classes": ["tools_of"],
    "harness.tools.compensation": ["RollbackReport", "RollbackStep"],
    "harness.tools.context": ["CallContext"],
    "harness.tools.deferred": ["Deferred"],
    "harness.tools.function": ["FunctionTool"],
    "harness.tools.hostcalls": ["HostCall"],
    "harness.tools.metrics": ["ToolStatistics"],
    "harness.tools.output": ["ToolOutput"],
    "harness.tools.process.settings": ["ProcessLimits", "ProcessSandbox"],
    "harness.tools.registry": ["Tool", "ToolRegistry", "tool"],
    "harness.tools.resource": ["ResourceContract"],
    "harness.tools.retry": ["Retry"],
    "harness.tools.subprocess": ["SubprocessTool"],
    "harness.tools.telemetry": ["Telemetry"],
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "ApprovalBridge",
    "ApprovalDeniedError",
    "ApprovalError",
    "ApprovalNote",
    "ApprovalRequest",
    "ApprovalTimeoutError",
    "ApprovalUnavailableError",
    "Approver",
    "Artifact",
    "Attempt",
    "BannedIdentifierError",
    "Binding",
    "Block",
    "BlockAttributeError",
    "Budget",
    "BudgetLine",
    "BudgetReport",
    "CallContext",
    "CallRecord",
    "CallStatus",
    "ConcurrencyLimitError",
    "Contract",
    "ContractChangedError",
    "ContractSet",
    "Decision",
    "Deferred",
    "DetachedPromiseError",
    "Detector",
    "Diagnostic",
    "Difference",
    "ErrorCategory",
    "ErrorInfo",
    "Execution",
    "ExecutionContext",
    "ExecutionEntry",
    "ExecutionMode",
    "ExecutionStatus",
    "FunctionTool",
    "Harness",
    "HarnessError",
    "HarnessInternalError",
    "HarnessStatus",
    "HostCall",
    "IdempotencyKeyError",
    "Ignored",
    "Journal",
    "JournalConflictError",
    "JournalDamagedError",
    "JournalError",
    "JournalFullError",
    "JournalKeyError",
    "JournalWriteError",
    "Limits",
    "LogEntry",
    "Metrics",
    "Outcome",
    "Parser",
    "Plan",
    "PlanStep",
    "ProcessLimits",
    "ProcessSandbox",
    "ProgressEvent",
    "ReplayDivergenceError",
    "ResourceContract",
    "ResourceReport",
    "ResultCache",
    "ResumeConflictError",
    "ResumeTokenError",
    "Retry",
    "ReturnValueTooLargeError",
    "RollbackReport",
    "RollbackStep",
    "Script",
    "ScriptCancelledError",
    "ScriptDeadlockError",
    "ScriptError",
    "ScriptInfo",
    "ScriptMemoryError",
    "ScriptRuntimeError",
    "ScriptStackError",
    "ScriptSyntaxError",
    "ScriptTimeoutError",
    "ScriptTooLargeError",
    "Segment",
    "SerializationError",
    "Severity",
    "Span",
    "SubprocessTool",
    "Telemetry",
    "TerminalApprover",
    "Text",
    "Tool",
    "ToolBudgetExceededError",
    "ToolCancelledError",
    "ToolError",
    "ToolExecutionError",
    "ToolNotFoundError",
    "ToolOutput",
    "ToolRegistry",
    "ToolStatistics",
    "ToolTimeoutError",
    "ToolValidationError",
    "Unclosed",
    "UsageError",
    "WorkerCrashedError",
    "check_binding",
    "detect",
    "extract_error_info",
    "extract_scripts",
    "has_blocks",
    "is_retryable",
    "tool",
    "tools_of",
    "validate",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
