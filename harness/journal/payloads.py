"""What each kind of event says. Together they are enough to run an execution again, byte for byte.

A payload has a public part (names, ids, states, hashes) and a private one: what came from or went to the model, the
tools and the people asked. A journal keeps the private part in plain text, encrypted, or not at all.
"""

from __future__ import annotations

import json
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, JsonValue

from harness.contracts.values import ContractSet
from harness.limits import Limits
from harness.model import ApprovalRequest, CallRecord, Execution, LogEntry, Outcome, ProgressEvent, Script

__all__ = [
    "PAYLOADS",
    "ApprovalAsked",
    "CallIssued",
    "CallSettled",
    "CallStarted",
    "Contracts",
    "Decided",
    "ExecutionBegun",
    "Finished",
    "FrameSent",
    "Logged",
    "Payload",
    "Resumed",
    "RunFinished",
    "RunResumed",
    "RunStarted",
    "RunSuspended",
    "Settlement",
    "Started",
    "Suspended",
]

Sha256 = str
_BYTES_ITSELF = 1_300
"""What an event takes up in memory besides its texts, measured."""


class Payload(BaseModel):
    """One kind of event. ``private`` names the fields that hold values."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: ClassVar[str]
    private: ClassVar[frozenset[str]] = frozenset()

    @property
    def weight(self) -> int:
        """Bytes that it takes up in memory, about: itself, and its texts."""
        return _BYTES_ITSELF + sum(len(value) for value in self.__dict__.values() if isinstance(value, str))

    def split(self) -> tuple[dict[str, JsonValue], dict[str, JsonValue]]:
        """The public and the private part, as plain JSON data."""
        data = self.model_dump(mode="json")
        return (
            {name: value for name, value in data.items() if name not in self.private},
            {name: value for name, value in data.items() if name in self.private},
        )


class Started(Payload):
    """An execution begins: everything it starts from."""

    kind = "started"
    private = frozenset({"script", "context"})

    outcome_id: str
    """Executions of one text have it in common."""
    index: int
    """Place among the executions of that text, from 0."""
    script: Script
    """As the parser left it."""
    script_sha256: Sha256
    dry_run: bool
    seed: tuple[int, int, int, int]
    limits: Limits
    context: dict[str, JsonValue]
    """What the script sees as ``context``."""
    tools: tuple[str, ...]
    """Names of the tools that the script could call, in their order."""
    machine: dict[str, str]
    """What the same frames may give other results on: engine, prelude, C library."""


class FrameSent(Payload):
    """A frame that the host gives to the worker: the clock, and the results and timers that it delivers, in order."""

    kind = "frame"

    number: int
    """From 0, which is the frame that starts the script and delivers nothing."""
    now_ms: int
    budget: str
    """What ``context.budget()`` says from then on, as JSON."""
    items: tuple[tuple[Literal["call", "timer"], int], ...] = ()


class CallIssued(Payload):
    """The script made a call."""

    kind = "call_issued"
    private = frozenset({"arguments_json"})

    call: int
    tool: str
    arguments_json: str
    line: int | None


class ApprovalAsked(Payload):
    """Something is asked about a call: whether it may be made, whether it happened, or what its late result is."""

    kind = "approval_asked"
    private = frozenset({"request"})

    call: int
    request_id: str
    about: Literal["approval", "in_doubt", "deferred"]
    arguments_hash: Sha256
    expires_at: float
    request: ApprovalRequest


class Decided(Payload):
    """What became of the question."""

    kind = "decision"
    private = frozenset({"edits", "value", "reason"})

    call: int
    request_id: str
    verdict: str
    """As in `ApprovalNote`."""
    decision: Literal["approve", "deny", "answer", "terminate"] | None
    """None where nobody decided."""
    scope: Literal["once", "execution", "session"] = "once"
    edits: dict[str, JsonValue] | None = None
    value: JsonValue = None
    reason: str | None = None


class CallStarted(Payload):
    """A tool is about to be invoked: from here on its effect may have happened."""

    kind = "call_started"

    call: int
    arguments_sha256: Sha256
    """Of the arguments it is really given, edits included, as JSON."""


class CallSettled(Payload):
    """A call has ended, with a value or with an error in its record."""

    kind = "call_settled"
    private = frozenset({"record", "value_json", "terminate_reason", "progress"})

    call: int
    status: str
    record: CallRecord
    value_json: str | None
    made_up: bool = False
    needs_approval: bool = False
    terminate_reason: str | None = None
    progress: tuple[ProgressEvent, ...] = ()


class Logged(Payload):
    """What the script logged since the frame before."""

    kind = "log"
    private = frozenset({"lines"})

    lines: tuple[LogEntry, ...]


class Finished(Payload):
    """An execution has ended."""

    kind = "finished"
    private = frozenset({"execution"})

    status: str
    execution: Execution
    """As the outcome has it."""
    answers: int
    """Frames that the worker answered."""
    reproducible: bool
    """False for an end that a VM cannot bring about again: time, memory, a kill, a cancellation."""


class Suspended(Payload):
    """An execution waits, in no process: nothing but these questions is left to wait for."""

    kind = "suspended"

    pending: tuple[str, ...]
    """Ids of the requests."""
    wall_s: float
    """Seconds of ``wall_time`` that it has used by now."""


class Resumed(Payload):
    """An execution goes on."""

    kind = "resumed"


class Settlement(Payload):
    """What a request has come to while its execution ran in no process, or in another: the only event of its stream."""

    kind = "settlement"
    private = frozenset({"value", "reason"})

    request_id: str
    decision: Literal["answer", "deny"]
    value: JsonValue = None
    reason: str | None = None


# ── a whole text ─────────────────────────────────────────────────────────────────────────────────────────────────────


class RunStarted(Payload):
    """A text is about to be run: everything that its executions have in common."""

    kind = "run_started"
    private = frozenset({"text_json", "context"})

    text_json: str
    """The text as JSON in ASCII: a text may hold half of a surrogate pair, which nothing else carries."""
    text_sha256: Sha256
    context: dict[str, JsonValue]
    """The caller's `ExecutionContext`."""
    own_id: bool
    """Whether the caller chose the id of the execution."""
    mode: Literal["enabled", "dry-run", "disabled"]
    trust_domain: str | None
    seed: int | None
    continue_on_error: bool
    accept_fenced: bool
    skip_thinking: bool
    contracts: Sha256
    """Names the stream that holds the contracts of its tools."""
    key: Sha256 | None = None
    """Of the idempotency key."""
    owner: dict[str, JsonValue]
    """The process that runs it."""
    library: str
    """Version of this library."""

    @property
    def text(self) -> str:
        """The text that was run."""
        return str(json.loads(self.text_json))


class ExecutionBegun(Payload):
    """An execution of the text starts: written together with the first event of its own stream, so that neither can be
    there, or be lost, without the other.
    """

    kind = "execution_begun"

    execution_id: str
    index: int
    """Place among the executions of that text, from 0."""


class RunSuspended(Payload):
    """A text waits for its suspended execution; whoever has the token can go on with it."""

    kind = "run_suspended"
    private = frozenset({"outcome"})

    token: Sha256
    """Hash of the token, so that the journal does not give it away."""
    expires_at: float
    execution_id: str
    outcome: Outcome
    """Without the executions that have ended: those are on record themselves."""
    executions: tuple[str, ...]
    """Ids of all of them, in order."""


class RunResumed(Payload):
    """Somebody goes on with it. Only one can: the event has a number, and a number is given once."""

    kind = "run_resumed"

    owner: dict[str, JsonValue]
    decided: tuple[str, ...] = ()
    """Ids of the requests that were decided with it."""


class RunFinished(Payload):
    """A text has come to its end."""

    kind = "run_finished"
    private = frozenset({"outcome"})

    status: Literal["finished", "expired"]
    outcome: Outcome
    """Without the executions that are on record themselves."""
    executions: tuple[str, ...]
    """Ids of all of them, in order."""


class Contracts(Payload):
    """The contracts of the tools of a run, under their hash: the only event of its stream."""

    kind = "contracts"

    contracts: ContractSet


PAYLOADS: dict[str, type[Payload]] = {
    payload.kind: payload
    for payload in (
        Started,
        FrameSent,
        CallIssued,
        ApprovalAsked,
        Decided,
        CallStarted,
        CallSettled,
        Logged,
        Finished,
        Suspended,
        Resumed,
        Settlement,
        RunStarted,
        ExecutionBegun,
        RunSuspended,
        RunResumed,
        RunFinished,
        Contracts,
    )
}
"""Kind -> class."""
