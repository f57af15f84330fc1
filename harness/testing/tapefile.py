"""Cassettes as they are written: JSON lines for people to read, review and commit.

A line is an event of the journal without what says nothing of what happened and changes from one recording to the next:
ids, hashes, the time and the process that wrote it, durations. What follows from the text (scripts, segments) is left
out as well, and so is every member that has its default. JSON texts (arguments, results, budgets) are written as JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from harness.journal.payloads import CallSettled, Finished, FrameSent, Payload
from harness.model import CallRecord, Execution
from harness.testing.tape import TapedRun

__all__ = ["JSON_TEXTS", "TAPE_VERSION", "Line", "compact", "dump_runs", "line_text"]

TAPE_VERSION = 1
"""Of the form of cassettes."""

Line = dict[str, Any]

_ESCAPED = re.compile("[\u0085\u2028\u2029\ud800-\udfff]")
"""What some programs take for the end of a line, and half of a surrogate pair, which UTF-8 cannot carry."""
_CALL_TIMES = {"duration_ms": True, "approval": {"request_id", "waited_ms"}}
_PROGRESS_TIMES = {"__all__": {"at_ms"}}
JSON_TEXTS = {"call_issued": ("arguments_json", "arguments"), "call_settled": ("value_json", "value")}
"""Members that hold JSON as text, and what they are called where it is written as JSON."""


def dump_runs(runs: Iterable[TapedRun]) -> str:
    """The text of a cassette: the same runs give the same text."""
    lines: list[Line] = [{"kind": "cassette", "version": TAPE_VERSION}]
    for number, run in enumerate(runs, 1):
        lines += ({"kind": line.pop("kind"), "run": number, **line} for line in _run_lines(run))
    return "".join(f"{line_text(line)}\n" for line in lines)


def line_text(line: Line) -> str:
    """One line, without its end."""
    text = json.dumps(line, ensure_ascii=False)
    return _ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _run_lines(run: TapedRun) -> Iterator[Line]:
    yield {
        "kind": "run_started",
        "text": run.text,
        "given": dict(run.given),
        "execution_id": run.execution_id,
        "tools": list(run.tools),
        "library": run.library,
        "machine": dict(run.machine),
    }
    for contract in run.contracts:
        yield {"kind": "contract", **contract.model_dump(mode="json", exclude_defaults=True)}
    for taped in run.executions:
        yield {"kind": "started", "block": taped.block, "seed": list(taped.seed)}
        settled = {each.call: each.record for each in taped.payloads if isinstance(each, CallSettled)}
        for payload in taped.payloads:
            line = _payload_line(payload, settled)
            yield {"kind": payload.kind, "block": taped.block, **line}
    ran = {taped.block for taped in run.executions}
    yield {
        "kind": "run_finished",
        "not_run": [
            {"block": place, **_execution_line(execution, {})}
            for place, execution in enumerate(run.outcome.executions, 1)
            if place not in ran
        ],
        "diagnostics": [each.model_dump(mode="json", exclude_defaults=True) for each in run.outcome.diagnostics],
    }


def _payload_line(payload: Payload, settled: Mapping[int, CallRecord]) -> Line:
    if isinstance(payload, Finished):
        line: Line = {"answers": payload.answers, "reproducible": payload.reproducible}
        return line | _execution_line(payload.execution, settled)
    hidden: Any = {"request_id": True, "record": _CALL_TIMES, "progress": _PROGRESS_TIMES}
    line = payload.model_dump(mode="json", exclude_defaults=True, exclude=hidden)
    if isinstance(payload, FrameSent):
        return {**line, "budget": json.loads(payload.budget)}
    text_name, name = JSON_TEXTS.get(payload.kind, ("", ""))
    text = line.pop(text_name, None)
    if text is not None:
        exact = _exact(text)
        line[name if exact else text_name] = json.loads(text) if exact else text
    return line


def _exact(text: str) -> bool:
    """Whether a JSON text can be had back, character for character, from what it says."""
    try:
        return compact(json.loads(text)) == text
    except (ValueError, RecursionError):
        # What a script calls with is not trusted to be JSON.
        return False


def compact(value: Any) -> str:
    """The JSON text of a value, without spaces, as an engine writes it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _execution_line(execution: Execution, settled: Mapping[int, CallRecord]) -> Line:
    """An execution; calls that are on other lines are named by their numbers."""
    hidden: Any = {"id": True, "metrics": True, "progress": _PROGRESS_TIMES, "calls": {"__all__": _CALL_TIMES}}
    line = execution.model_dump(mode="json", exclude_defaults=True, exclude=hidden)
    if execution.calls and all(settled.get(record.seq) == record for record in execution.calls):
        line["calls"] = [record.seq for record in execution.calls]
    return line
