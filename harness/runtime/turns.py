"""What a worker says, as values. Every byte is taken for hostile: a script may have got hold of its worker."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from harness.limits import Limits
from harness.runtime.adapter import WorkerGoneError
from harness.runtime.jsontext import read_body

__all__ = [
    "LOG_LINE_COST",
    "CallIssued",
    "Collected",
    "Ending",
    "Evidence",
    "Failed",
    "LeftBehind",
    "Note",
    "Problem",
    "Ready",
    "Thrown",
    "Turn",
    "Verdict",
    "most_items",
]

_Model = TypeVar("_Model", bound=BaseModel)

_MOST_SHOWN = 400


def _cut(text: str) -> str:
    more = len(text) - _MOST_SHOWN
    return f"{text[:_MOST_SHOWN]}… ({more:,} characters cut)" if more > 0 else text


# Text with a UTF-8 form, which half a surrogate pair has not: only for a bound does pydantic look at the characters.
Text = Annotated[str, Field(max_length=2**28)]
Path = Annotated[Text, AfterValidator(_cut)]
"""Names of properties, which may be as long as a script likes, for messages."""
# The prelude cuts what a script throws, so that longer ones are not the prelude's.
Message = Annotated[str, Field(max_length=4_000)]
Name = Annotated[str, Field(max_length=1_000)]
_MOST_ERRORS = 100
_MOST_TIMERS = 10_000
"""Timers that one frame sets, or clears; ``js/4-globals.js`` has it too."""
_MOST_PROGRESS = 200
"""Progress events of one frame; ``js/6-console.js`` has it too."""
_MOST_LEFT_BEHIND = 5_000
LOG_LINE_COST = 16
"""Bytes that a logged line costs besides its text; ``js/6-console.js`` has it too."""
_FEW = 1_000
"""Values in a frame that lists nothing."""


def _most(length: int) -> Any:
    """A list of so many items at most, of which the first wrong one is enough: each error costs a thousand bytes."""
    return Field(max_length=length, fail_fast=True)


Words = Annotated[list[Annotated[str, Field(max_length=300)]], Field(max_length=5)]
Id = Annotated[int, Field(ge=1, le=2**53)]
# Up to what every reader of JSON takes exactly: these numbers are shown to people and written to records.
Count = Annotated[int, Field(ge=0, le=2**53 - 1)]
Seconds = Annotated[float, Field(ge=0, le=1e9)]
Position = Annotated[int, Field(ge=0, le=2**31)] | None


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class _Body(_Strict):
    """What a whole frame says."""

    @classmethod
    def read(cls, body: bytes, most_items: int = _FEW) -> Self:
        """A frame's body, of ``most_items`` values at most if it is long.

        Raises `WorkerGoneError` (``violation``) for anything the contract does not allow.
        """
        return _validated(cls, body, most_items)


class Problem(_Strict):
    """Why the arguments of a call have no JSON form."""

    path: Path
    what: Path


class CallIssued(_Strict):
    id: Id
    tool: Name
    args: Text | None
    line: Position
    problem: Problem | None
    aborted: bool


class TimerSet(_Strict):
    id: Id
    ms: Annotated[int, Field(ge=0, le=2**31)]


class Thrown(_Strict):
    """What the script threw; which fields are set depends on ``kind``."""

    kind: Literal["error", "thrown", "lost", "large", "memory"]
    claims: Literal["memory", "stack"] | None = None
    """The limit that the engine throws this for; a script can throw the same."""
    class_: Annotated[Name, Field(alias="class")] = "Error"
    name: Name = ""
    message: Message = ""
    stack: Text = ""
    call: Id | None = None
    refused: Name | None = None
    what: Path = ""
    text: Message = ""
    path: Path = ""
    causes: Words = []
    """The chain of ``cause``, in words."""
    errors: Words = []
    """Of an AggregateError, in words."""


class Ending(_Strict):
    state: Literal["wait", "stuck", "ok", "error"]
    value: Text | None = None
    replaced: Annotated[list[Path], Field(max_length=20)] = []
    error: Thrown | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.value is None) == (self.state == "ok") or (self.error is None) == (self.state == "error"):
            raise ValueError("a value belongs to the state ok, an error to the state error")
        return self


class Dropped(_Strict):
    log_lines: Count
    log_bytes: Count
    progress: Count
    calls: Count = 0


class LeftBehind(_Strict):
    """A call whose promise was still unsettled, or had been awaited by nobody, when the script ended."""

    call: Id
    awaited: bool
    rejection_lost: bool
    lost: Name | None = None
    """What a promise derived from it was rejected with, when nobody listened."""


LogLine = tuple[Literal["debug", "log", "info", "warn", "error"], Text, Position]


class Collected(_Strict):
    """What the VM says of everything since the last frame."""

    ending: Ending
    calls: Annotated[list[CallIssued], _most(100_000)]
    timers: Annotated[list[TimerSet], _most(_MOST_TIMERS)]
    cleared: Annotated[list[Id], _most(_MOST_TIMERS)]
    cancelled: Annotated[list[Id], _most(100_000)]
    logs: Annotated[list[Annotated[LogLine, Field(strict=False)]], _most(2_000_000)]
    progress: Annotated[list[Annotated[tuple[Text, Text], Field(strict=False)]], _most(_MOST_PROGRESS)]
    dropped: Dropped
    looked_at: Count
    left_behind: Annotated[list[LeftBehind], _most(_MOST_LEFT_BEHIND)]

    def names(self) -> set[int]:
        """Ids of calls that were issued in this frame or before it, if what it says is true."""
        named = {left.call for left in self.left_behind} | ({self.looked_at} - {0})
        return named | {self.ending.error.call} if self.ending.error and self.ending.error.call else named


class Note(_Strict):
    """What the worker around the VM says."""

    state: Literal["started", "syntax", "cpu", "memory", "engine", "overflow"]
    rewritten: bool = False
    message: Message = ""
    line: Position = None
    column: Position = None
    text: Message = ""
    bytes: Count = 0


class Evidence(_Strict):
    """What the worker found when the script had ended, whatever the script says."""

    deep: bool | None
    """Its stack was used almost as far as it may be; None where that cannot be told."""
    full: bool
    """Its process came to hold most of what the script may use."""


class Turn(_Body):
    cpu: Seconds
    heap: Count | None
    evidence: Evidence | None
    worker: Note | None
    turn: Collected | None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        runs = self.worker is None or self.worker.state == "started"
        if runs != (self.turn is not None):
            raise ValueError("the VM says something if and only if the worker has nothing to report")
        return self


def most_items(limits: Limits) -> int:
    """Commas and opening brackets that a TURN can have at most, outside of strings, under these limits."""
    calls, lines = limits.max_pending_calls, limits.log_bytes // LOG_LINE_COST + 2
    timers, progress, left_behind = 4 * _MOST_TIMERS, 3 * _MOST_PROGRESS, 5 * _MOST_LEFT_BEHIND
    # Of the calls that a frame cancels, as many may have been made in it as before it.
    return _FEW + 9 * calls + 2 * calls + timers + 4 * lines + progress + left_behind


class SyntaxProblem(_Strict):
    message: Message
    line: Position
    column: Position


class Verdict(_Body):
    problem: SyntaxProblem | None


class Ready(_Body):
    protections: dict[Text, Text]


class Failed(_Body):
    reason: Annotated[str, Field(max_length=2_000)]


def _validated(model: type[_Model], body: bytes, most_items: int) -> _Model:
    try:
        return model.model_validate(read_body(body, most_items))
    except ValidationError as error:
        # A frame can hold as many unknown fields as it likes, and each one is an error of its own.
        few = error.error_count() <= _MOST_ERRORS
        found = error.errors(include_url=False, include_input=False)[0]["loc"] if few else ()
        where = ".".join(str(part)[:50] for part in found)
        raise WorkerGoneError(f"the worker sent a frame with a wrong {where or 'form'}", violation=True) from None
    except (ValueError, RecursionError) as error:
        raise WorkerGoneError(f"the worker sent a frame that is no JSON: {error}", violation=True) from None
