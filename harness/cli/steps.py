"""Events of a journal, and what a replay came to, as a person reads them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from harness.cli.output import counted
from harness.cli.waiting import arguments_text
from harness.errors import JournalError
from harness.journal.journal import Recorded
from harness.journal.partial import ReplayedPart
from harness.journal.payloads import (
    ApprovalAsked,
    CallIssued,
    CallSettled,
    CallStarted,
    Decided,
    Finished,
    FrameSent,
    Logged,
    Payload,
    Resumed,
    Started,
    Suspended,
)
from harness.redaction import Redactor, visible

__all__ = ["event_lines", "part_lines", "report_lines"]

_REDACTOR = Redactor()
_MAX_CHARACTERS = 200


def event_lines(recorded: Recorded) -> str:
    """One event: its number, its kind, and what it says, redacted."""
    event = recorded.event
    says = "(its values were left out)" if recorded.payload is None else _says(recorded.payload)
    return f"{event.seq:>5}  {event.kind:<14}  {says}"


def _says(payload: Payload) -> str:  # noqa: C901, PLR0911 -- a line for each kind of event
    match payload:
        case Started():
            return f"{payload.script.mode} script {payload.script_sha256[:12]}, {payload.machine.get('engine')}"
        case FrameSent():
            given = ", ".join(f"{kind} {number}" for kind, number in payload.items) or "starts the script"
            return f"frame {payload.number}, clock {payload.now_ms}: {given}"
        case CallIssued():
            line = "" if payload.line is None else f" in line {payload.line} of the script"
            return f"call {payload.call}: tools.{visible(payload.tool)}({_arguments(payload.arguments_json)}){line}"
        case ApprovalAsked():
            return f"call {payload.call}: {payload.about.replace('_', ' ')} {payload.request_id}: {_cut(payload.request.reason)}"
        case Decided():
            edits = "" if payload.edits is None else f" with {arguments_text(_REDACTOR.arguments(payload.edits))}"
            reason = "" if payload.reason is None else f": {_cut(payload.reason)}"
            return f"call {payload.call}: {payload.request_id} {payload.verdict}{edits}{reason}"
        case CallStarted():
            return f"call {payload.call}: its tool is invoked"
        case CallSettled():
            return f"call {payload.call}: {payload.status}{_result(payload)}"
        case Logged():
            return "; ".join(f"{line.level}: {_cut(line.text)}" for line in payload.lines)
        case Suspended():
            return f"waits for {', '.join(payload.pending)}"
        case Resumed():
            return "goes on"
        case Finished():
            return f"{payload.status}, after {counted(payload.answers, 'frame')}"
        case _:
            return ""


def _arguments(text: str) -> str:
    try:
        given: Any = json.loads(text)
    except (ValueError, RecursionError):
        return "…"
    return ", ".join(arguments_text(_REDACTOR.arguments(item)) for item in given)


def _result(settled: CallSettled) -> str:
    error = settled.record.error
    if error is not None:
        return f", {visible(error.type)}: {_cut(error.message)}"
    if settled.value_json is None:
        return ""
    try:
        return f", {_cut(json.dumps(_REDACTOR.arguments(json.loads(settled.value_json)), ensure_ascii=False))}"
    except (ValueError, RecursionError):
        return ", …"


def _cut(text: str) -> str:
    shown, cut = visible(text[:_MAX_CHARACTERS]), len(text) - _MAX_CHARACTERS
    return f"{shown}… ({cut:,} more characters)" if cut > 0 else shown


def part_lines(part: ReplayedPart) -> Iterator[str]:
    """Where an execution stood at an event."""
    yield f"{part.execution_id}  replayed to event {part.seq} of {part.events}, {counted(part.frames, 'frame')} given"
    for call in part.calls:
        line = "" if call.line is None else f"  in line {call.line} of the script"
        yield f"  call {call.seq}  {call.state}  tools.{visible(call.tool)}({arguments_text(call.args)}){line}"
    for log in part.logs:
        yield f"  {log.level}  {_cut(log.text)}"
    for event in part.progress:
        yield f"  progress  {_cut(event.message)}"


def report_lines(name: str, result: str, error: JournalError | None) -> Iterator[str]:
    """What a replay came to; of a divergence, at which event, what was recorded and what happened."""
    said = {
        "same": "the same",
        "unfinished": "the same as far as the record goes: it has no end yet",
        "diverged": "took another way",
        "refused": "cannot be replayed",
    }
    yield f"{name}  {said[result]}"
    if error is None:
        return
    details = error.details
    if "seq" in details:
        yield f"  event     {details['seq']}"
    if result == "diverged" and "recorded" in details:
        yield f"  recorded  {visible(str(details['recorded']))}"
        yield f"  happened  {visible(str(details['happened']))}"
    elif result == "diverged" and "differences" in details:
        for difference in details["differences"]:
            yield f"  {visible(str(difference))}"
    else:
        yield f"  {visible(error.message)}"
