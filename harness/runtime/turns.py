"""What a worker says, as values. Every byte is taken for hostile: a script may have got hold of its worker."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, NoReturn, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.runtime.adapter import WorkerGoneError

__all__ = [
    "CallIssued",
    "Collected",
    "Ending",
    "Failed",
    "LeftBehind",
    "Note",
    "Problem",
    "Ready",
    "Thrown",
    "Turn",
    "Verdict",
]

_Model = TypeVar("_Model", bound=BaseModel)

# Text with a UTF-8 form, which half a surrogate pair has not: only for a bound does pydantic look at the characters.
Text = Annotated[str, Field(max_length=2**28)]
Id = Annotated[int, Field(ge=1, le=2**53)]
Position = Annotated[int, Field(ge=0, le=2**31)] | None


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class _Body(_Strict):
    """What a whole frame says."""

    @classmethod
    def read(cls, body: bytes) -> Self:
        """A frame's body. Raises `WorkerGoneError` (``violation``) for anything the contract does not allow."""
        return _validated(cls, body)


class Problem(_Strict):
    """Why the arguments of a call have no JSON form."""

    path: Text
    what: Text


class CallIssued(_Strict):
    id: Id
    tool: Annotated[str, Field(max_length=1_000)]
    args: Text | None
    line: Position
    problem: Problem | None
    aborted: bool


class TimerSet(_Strict):
    id: Id
    ms: Annotated[int, Field(ge=0, le=2**31)]


class Thrown(_Strict):
    """What the script threw; which fields are set depends on ``kind``."""

    kind: Literal["error", "thrown", "lost", "large", "memory", "stack"]
    class_: Annotated[Text, Field(alias="class")] = "Error"
    name: Text = ""
    message: Text = ""
    stack: Text = ""
    call: Id | None = None
    refused: Text | None = None
    what: Text = ""
    text: Text = ""
    path: Text = ""
    causes: list[Text] = []
    """The chain of ``cause``, in words."""
    errors: list[Text] = []
    """Of an AggregateError, in words."""


class Ending(_Strict):
    state: Literal["wait", "stuck", "ok", "error"]
    value: Text | None = None
    replaced: list[Text] = []
    error: Thrown | None = None


class Dropped(_Strict):
    log_lines: Annotated[int, Field(ge=0)]
    log_bytes: Annotated[int, Field(ge=0)]
    progress: Annotated[int, Field(ge=0)]
    calls: Annotated[int, Field(ge=0)] = 0


class LeftBehind(_Strict):
    """A call whose promise was still unsettled, or had been awaited by nobody, when the script ended."""

    call: Id
    awaited: bool
    rejection_lost: bool
    lost: Annotated[str, Field(max_length=1_000)] | None = None
    """What a promise derived from it was rejected with, when nobody listened."""


LogLine = tuple[Literal["debug", "log", "info", "warn", "error"], Text, Position]


class Collected(_Strict):
    """What the VM says of everything since the last frame."""

    ending: Ending
    calls: list[CallIssued]
    timers: list[TimerSet]
    cleared: list[Id]
    cancelled: list[Id]
    logs: list[Annotated[LogLine, Field(strict=False)]]
    progress: list[Annotated[tuple[Text, Text], Field(strict=False)]]
    dropped: Dropped
    looked_at: Annotated[int, Field(ge=0)]
    left_behind: list[LeftBehind]


class Note(_Strict):
    """What the worker around the VM says."""

    state: Literal["started", "syntax", "cpu", "memory", "engine", "overflow"]
    rewritten: bool = False
    message: Text = ""
    line: Position = None
    column: Position = None
    text: Text = ""
    bytes: int = 0


class Turn(_Body):
    cpu: Annotated[float, Field(ge=0)]
    heap: Annotated[int, Field(ge=0)] | None
    worker: Note | None
    turn: Collected | None


class SyntaxProblem(_Strict):
    message: Text
    line: Position
    column: Position


class Verdict(_Body):
    problem: SyntaxProblem | None


class Ready(_Body):
    protections: dict[Text, Text]


class Failed(_Body):
    reason: Annotated[str, Field(max_length=2_000)]


def _validated(model: type[_Model], body: bytes) -> _Model:
    try:
        data = _DECODER.decode(body.decode())
        return model.model_validate(data)
    except ValidationError as error:
        where = ".".join(str(part)[:50] for part in error.errors(include_url=False, include_input=False)[0]["loc"])
        raise WorkerGoneError(f"the worker sent a frame with a wrong {where or 'form'}", violation=True) from None
    except (ValueError, RecursionError) as error:
        raise WorkerGoneError(f"the worker sent a frame that is no JSON: {error}", violation=True) from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a name occurs twice")
    return result


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse_constant)
