"""The values that travel between the stages, all frozen and all plain data."""

from __future__ import annotations

import enum
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, JsonValue, PlainSerializer

from harness.accounts import Artifact, Attempt, BudgetLine, BudgetReport, ResourceReport
from harness.canonical import Canonical, to_canonical_json
from harness.errors import ErrorInfo
from harness.segments import Block, Frozen, Ignored, Segment, Span, Text, Unclosed
from harness.serializer import results_text
from harness.stable import stable_call, stable_execution, stable_form

__all__ = [
    "ApprovalNote",
    "ApprovalRequest",
    "Artifact",
    "Attempt",
    "Block",
    "BlockAttributes",
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
    "ToolReference",
    "Unclosed",
]


class Severity(enum.StrEnum):
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Diagnostic(Frozen):
    """Something worth knowing that is not an error of an execution."""

    code: str
    """A stable name in ``snake_case``; ``specs/diagnostics.md`` lists them."""
    severity: Severity
    message: str
    line: int | None = None
    """1-based; in the text for a diagnostic of an outcome, in the block's own source for one of an execution."""
    column: int | None = None
    details: dict[str, JsonValue] = {}  # noqa: RUF012 - pydantic copies it for each value


# ── what the parser makes of a block ─────────────────────────────────────────────────────────────────────────────


class ExecutionMode(enum.Flag):
    """How a script gives its result, and what it uses. Members combine (``TOP_LEVEL_AWAIT|RETURN``).

    Exactly one of ``EXPRESSION``, ``RETURN`` (or both) and ``STATEMENTS`` says where the result comes from.
    """

    EXPRESSION = enum.auto()
    """The last statement is an expression; its value is the result."""
    RETURN = enum.auto()
    """A ``return`` at the top level gives the result."""
    STATEMENTS = enum.auto()
    """Neither; the result is ``null``."""
    TOP_LEVEL_AWAIT = enum.auto()
    """``await`` (or ``for await``) outside any function."""
    ASYNC_DEF = enum.auto()
    """Defines an ``async`` function of its own."""

    def __str__(self) -> str:
        return "|".join(member.name or "" for member in self)

    @classmethod
    def parse(cls, text: str) -> ExecutionMode:
        """The inverse of ``str``. Raises ``KeyError`` for an unknown name."""
        mode = cls(0)
        for name in text.split("|"):
            mode |= cls[name]
        return mode


Mode = Annotated[
    ExecutionMode,
    BeforeValidator(lambda mode: ExecutionMode.parse(mode) if isinstance(mode, str) else mode),
    PlainSerializer(str, return_type=str, when_used="json"),
]
"""In JSON by its name: ``TOP_LEVEL_AWAIT|RETURN``."""


class BlockAttributes(Frozen):
    """The attributes an opening tag may have."""

    id: str | None = Field(default=None, min_length=1, max_length=128)
    lang: Literal["js", "ts"] = "js"


class ToolReference(Frozen):
    """A place in a script that names a tool: ``tools.fs.read(…)``."""

    name: str
    line: int
    column: int


class Script(Canonical, Frozen):
    """A block that passed every check that needs no engine."""

    source: str
    sha256: str
    """Of ``source`` in UTF-8, in hexadecimal."""
    mode: Mode
    attributes: BlockAttributes
    span: Span
    """Of the whole block in its text."""
    source_span: Span
    """Of ``source`` in the text."""
    result_range: tuple[int, int] | None = None
    """Offsets in ``source`` of the expression whose value is the result, if the mode has ``EXPRESSION``."""
    references: tuple[ToolReference, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()

    def canonical(self) -> dict[str, Any]:
        """Its language and its source. Where it stood in a text is left out, and so is what follows from the source."""
        return {"lang": self.attributes.lang, "source": self.source}


class ScriptInfo(Frozen):
    """What an outcome says of the script that ran."""

    id: str | None = None
    """The ``id`` that the block's opening tag gave it; None if it gave none, or is itself what is wrong."""
    sha256: str
    mode: str
    """``str(ExecutionMode)``, such as ``TOP_LEVEL_AWAIT|RETURN``; empty for a block that did not parse."""
    span: Span


# ── what an execution gives ──────────────────────────────────────────────────────────────────────────────────────


class ExecutionStatus(enum.StrEnum):
    OK = "ok"
    ERROR = "error"
    SUSPENDED = "suspended"
    SKIPPED = "skipped"
    PLANNED = "planned"
    CANCELLED = "cancelled"
    TERMINATED = "terminated"


class CallStatus(enum.StrEnum):
    OK = "ok"
    ERROR = "error"
    DENIED = "denied"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    IN_DOUBT = "in_doubt"
    PLANNED = "planned"


class ApprovalRequest(Frozen):
    """What an approver is asked, or whoever resumes a suspended execution."""

    id: str
    kind: Literal["approval", "in_doubt", "deferred"] = "approval"
    """``approval``: may the call be made? ``in_doubt``: it was started when its process ended, and is not idempotent; did
    it happen? ``deferred``: its tool said that the result comes later; what is it? See `Decision` for the answers."""
    execution_id: str
    tool: str
    arguments: JsonValue
    """Redacted: for display only."""
    arguments_hash: str
    """Content hash of the real arguments: what a decision is about."""
    reason: str
    """Why approval is needed."""
    expires_at: float
    """Seconds since the epoch."""


class ApprovalNote(Frozen):
    """What became of the approval of one call."""

    request_id: str | None = None
    """None where an earlier decision with a wider scope answered."""
    decision: Literal["approved", "denied", "answered", "terminated", "timed_out", "cancelled", "unavailable"]
    scope: Literal["once", "execution", "session"] = "once"
    edited: bool = False
    reason: str | None = None
    waited_ms: float = 0.0


class CallRecord(Canonical, Frozen):
    """One tool call, as it ended."""

    seq: int
    """From 1, in the order the script made the calls."""
    tool: str
    args: JsonValue
    """Redacted."""
    status: CallStatus
    error: ErrorInfo | None = None
    approval: ApprovalNote | None = None
    duration_ms: float | None = None
    """Of the tool itself, all attempts together; None if it was never invoked."""
    line: int | None = None
    """Of the call in the block's own source."""
    artifacts: tuple[Artifact, ...] = ()
    """Files that the tool made, if it declares any."""
    cost_cents: float = 0
    """What it was charged."""
    cached: bool = False
    """Whether the result is one of an earlier or a concurrent call, so that the tool was not invoked for this one."""
    attempts: tuple[Attempt, ...] = ()
    """Each time the tool was invoked, if it was retried; else empty."""

    def canonical(self) -> dict[str, Any]:
        """Its plain JSON data without ids, times, cost, retries and whether the result was a kept one."""
        return stable_call(self.model_dump(mode="json"))


class LogEntry(Frozen):
    level: Literal["debug", "log", "info", "warn", "error"]
    text: str
    line: int | None = None


class ProgressEvent(Frozen):
    message: str
    data: JsonValue = None
    at_ms: float
    """Milliseconds since the execution began, on its own clock."""
    call: int | None = None
    """``seq`` of the call whose tool reported this; None for what the script itself reported."""


class PlanStep(Frozen):
    """A call that a dry run would have made."""

    seq: int
    tool: str
    args: JsonValue
    """Redacted."""
    needs_approval: bool
    line: int | None = None


class Plan(Canonical, Frozen):
    """What a dry run found out."""

    steps: tuple[PlanStep, ...] = ()
    complete: bool = True
    """False if the script looked into a made-up value, since from there on it may really go another way; and if it did not
    come to its own end.
    """
    incomplete_from: int | None = None
    """``seq`` of the call that gave the first made-up value."""

    def canonical(self) -> dict[str, Any]:
        """All of it as plain JSON data."""
        return self.model_dump(mode="json")


class Metrics(Frozen):
    """The clocks of an execution, in milliseconds, and what it used."""

    wall_ms: float = 0.0
    """Start to end, without the time spent waiting for approvals only."""
    cpu_ms: float | None = None
    """Processor time of the VM; None if the worker died before it could say."""
    approval_ms: float = 0.0
    """Time spent waiting for approvals only."""
    tool_ms: float = 0.0
    """Sum over all calls."""
    dropped_tool_progress: int = 0
    """Reports of tools that the limits did not allow."""
    frames: int = 0
    memory_bytes: int | None = None
    """Heap of the VM at the end; None if the worker died before it could say."""


class Execution(Canonical, Frozen):
    """What became of one block."""

    id: str
    script: ScriptInfo
    status: ExecutionStatus
    reason: str | None = None
    """Why it was skipped, cancelled or terminated."""
    value: JsonValue = None
    error: ErrorInfo | None = None
    logs: tuple[LogEntry, ...] = ()
    progress: tuple[ProgressEvent, ...] = ()
    calls: tuple[CallRecord, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    plan: Plan | None = None
    budget: BudgetReport | None = None
    """None for a block that did not run."""
    metrics: Metrics = Metrics()

    def canonical(self) -> dict[str, Any]:
        """Its plain JSON data without ids, times and metrics, as in `Outcome.canonical`."""
        return stable_execution(self.model_dump(mode="json"))


class Outcome(Canonical, Frozen):
    """What became of one text."""

    id: str
    segments: tuple[Segment, ...] = ()
    """Their texts, joined, are the input, character for character."""
    executions: tuple[Execution, ...] = ()
    """One for each block, in order."""
    diagnostics: tuple[Diagnostic, ...] = ()
    pending: tuple[ApprovalRequest, ...] = ()
    resume_token: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data; ``Outcome.model_json_schema()`` describes it."""
        return self.model_dump(mode="json")

    def to_json(self) -> str:
        """Canonical JSON (RFC 8785) of ``to_dict()``: all of it, which `to_canonical_json` is not."""
        return to_canonical_json(self.to_dict())

    def to_text(self) -> str:
        """``<tool-results>…</tool-results>`` for the model; empty if the text had no block."""
        return results_text(self.to_dict())

    def canonical(self) -> dict[str, Any]:
        """``to_dict()`` without ids, times and metrics: what two runs of the same thing have in common."""
        return stable_form(self.to_dict())
