"""Cassettes as files: JSON lines for people to read, review and commit.

A line is an event of the journal without what says nothing of what happened and changes from one recording to the next:
ids, hashes, the time and the process that wrote it, durations. What follows from the text (scripts, segments) is left
out as well, and so is every member that has its default. JSON texts (arguments, results, budgets) are written as JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from harness.contracts.values import Contract
from harness.errors import UsageError
from harness.journal.payloads import CallSettled, Decided, Finished, FrameSent, Payload
from harness.model import CallRecord, Diagnostic, Execution, Outcome
from harness.testing.tape import KEPT, TapedExecution, TapedRun, id_of, segments_of

__all__ = ["TAPE_VERSION", "dump_runs", "load_runs", "redacted", "redacted_run"]

TAPE_VERSION = 1
"""Of the form of cassettes."""

Line = dict[str, Any]

_SURROGATE = re.compile("[\ud800-\udfff]")
_CALL_TIMES = {"duration_ms": True, "approval": {"request_id", "waited_ms"}}
_PROGRESS_TIMES = {"__all__": {"at_ms"}}
_JSON_TEXTS = {"call_issued": ("arguments_json", "arguments"), "call_settled": ("value_json", "value")}
"""Members that hold JSON as text, and what they are called where it is written as JSON."""
_OF_THE_LINE = ("kind", "run", "block", "library", "machine", "execution_id", "reproducible")
_PAYLOADS = {payload.kind: payload for payload in KEPT}


# ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def dump_runs(runs: Iterable[TapedRun]) -> str:
    """The text of a cassette: the same runs give the same text."""
    lines: list[Line] = [{"kind": "cassette", "version": TAPE_VERSION}]
    for number, run in enumerate(runs, 1):
        lines += ({"kind": line.pop("kind"), "run": number, **line} for line in _run_lines(run))
    return "".join(f"{_line_text(line)}\n" for line in lines)


def _line_text(line: Line) -> str:
    text = json.dumps(line, ensure_ascii=False)
    # A text may hold half of a surrogate pair, which UTF-8 cannot carry.
    return _SURROGATE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


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
    text_name, name = _JSON_TEXTS.get(payload.kind, ("", ""))
    if text_name in line and _exact(line[text_name]):
        line[name] = json.loads(line.pop(text_name))
    return line


def _exact(text: str) -> bool:
    """Whether a JSON text can be had back, character for character, from what it says."""
    return _compact(json.loads(text)) == text


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _execution_line(execution: Execution, settled: Mapping[int, CallRecord]) -> Line:
    """An execution; calls that are on other lines are named by their numbers."""
    hidden: Any = {"id": True, "metrics": True, "progress": _PROGRESS_TIMES, "calls": {"__all__": _CALL_TIMES}}
    line = execution.model_dump(mode="json", exclude_defaults=True, exclude=hidden)
    if execution.calls and all(settled.get(record.seq) == record for record in execution.calls):
        line["calls"] = [record.seq for record in execution.calls]
    return line


def redacted_run(run: TapedRun, redact: Callable[[str], str]) -> TapedRun:
    """A run in which every string went through a function, but for those that say what the lines are."""
    first, *lines = dump_runs([run]).rstrip("\n").split("\n")
    changed = [
        _line_text({name: item if name in _OF_THE_LINE else redacted(item, redact) for name, item in line.items()})
        for line in map(json.loads, lines)
    ]
    return load_runs("\n".join([first, *changed]), "what was redacted")[0]


def redacted(value: Any, redact: Callable[[str], str]) -> Any:
    """A copy of JSON data in which every string, names included, went through a function."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {redact(name): redacted(item, redact) for name, item in value.items()}
    return [redacted(item, redact) for item in value] if isinstance(value, (list, tuple)) else value


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def load_runs(text: str, name: str) -> list[TapedRun]:
    """The runs of a cassette; ``name`` is what errors call it.

    Raises `UsageError`, with the number of the line, for what is no cassette.
    """
    runs: dict[int, list[tuple[int, Line]]] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip() or number == 1:
            try:
                _sort_in(json.loads(line), number, runs)
            except (KeyError, TypeError, ValueError) as error:
                raise _damaged(name, number, error) from error
    return [_read_run(name, number, lines) for number, lines in runs.items()]


def _sort_in(line: Any, number: int, runs: dict[int, list[tuple[int, Line]]]) -> None:
    if number > 1:
        runs.setdefault(line.pop("run"), []).append((number, line))
    elif not isinstance(line, dict) or line.get("kind") != "cassette":
        raise ValueError('the first line is {"kind": "cassette", …}')
    elif line.get("version") != TAPE_VERSION:
        raise ValueError(f"it is of version {line.get('version')}, and this library knows {TAPE_VERSION}")


def _damaged(name: str, number: int, error: Exception) -> UsageError:
    what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        what = f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return UsageError(
        f"Line {number} of {name} cannot be used: {what}. Restore the file, or record it anew (--harness-record=all)."
    )


def _read_run(name: str, run: int, lines: list[tuple[int, Line]]) -> TapedRun:
    reader = _Reader(run)
    number = lines[0][0]
    try:
        for number, line in lines:  # noqa: B007 - the number tells where it failed
            reader.take(line)
        return reader.run()
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _damaged(name, number, error) from error


class _Reader:
    """Makes a run of its lines."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._head: Line = {}
        self._end: Line = {}
        self._contracts: list[Contract] = []
        self._taped: list[tuple[Line, list[Payload]]] = []
        self._executions: dict[int, Execution] = {}

    def take(self, line: Line) -> None:
        """One more line."""
        kind = line.pop("kind")
        if kind == "run_started":
            self._head = line
        elif not self._head or self._end:
            raise ValueError("a run begins with run_started and ends with run_finished")
        elif kind == "run_finished":
            self._end = line
            for each in line["not_run"]:
                place = each.pop("block")
                self._executions[place] = _execution(each, f"exec_{self._number}_{place}", {})
        elif kind == "contract":
            self._contracts.append(Contract.model_validate(line))
        elif kind == "started":
            self._taped.append((line, []))
        else:
            self._add(kind, line)

    def _add(self, kind: str, line: Line) -> None:
        head, payloads = self._taped[-1]
        if line.pop("block") != head["block"]:
            raise ValueError("the block that it belongs to has not begun")
        if kind != Finished.kind:
            payloads.append(_payload(kind, line))
            return
        settled = {each.call: each.record for each in payloads if isinstance(each, CallSettled)}
        answers, reproducible = line.pop("answers"), line.pop("reproducible")
        execution = _execution(line, id_of(self._head["execution_id"], len(self._taped) - 1), settled)
        payloads.append(
            Finished(status=execution.status, execution=execution, answers=answers, reproducible=reproducible)
        )
        self._executions[head["block"]] = execution

    def run(self) -> TapedRun:
        """The run, once all lines were taken."""
        if not self._end:
            raise ValueError("a run ends with run_finished")
        head, places = self._head, sorted(self._executions)
        if any(
            place not in places for place in [*range(1, len(places) + 1), *(line["block"] for line, _ in self._taped)]
        ):
            raise ValueError("a block has no end")
        return TapedRun(
            text=head["text"],
            given=head["given"],
            execution_id=head["execution_id"],
            outcome=Outcome(
                id=f"out_{self._number}",
                segments=segments_of(head["text"], head["given"]),
                executions=tuple(self._executions[place] for place in places),
                diagnostics=tuple(Diagnostic.model_validate(each) for each in self._end["diagnostics"]),
            ),
            executions=tuple(
                TapedExecution(line["block"], tuple(line["seed"]), tuple(payloads)) for line, payloads in self._taped
            ),
            tools=tuple(head["tools"]),
            contracts=tuple(self._contracts),
            machine=head["machine"],
            library=head["library"],
        )


def _payload(kind: str, line: Line) -> Payload:
    text_name, name = _JSON_TEXTS.get(kind, ("", ""))
    if name in line:
        line[text_name] = _compact(line.pop(name))
    if kind == FrameSent.kind:
        line["budget"] = _compact(line["budget"])
    elif kind == CallSettled.kind:
        _with_times(line.get("progress", ()))
    elif kind == Decided.kind:
        line["request_id"] = ""
    return _PAYLOADS[kind].model_validate_json(json.dumps(line))


def _execution(line: Line, execution_id: str, settled: Mapping[int, CallRecord]) -> Execution:
    calls = [settled[each].model_dump(mode="json") if isinstance(each, int) else each for each in line.get("calls", ())]
    _with_times(line.get("progress", ()))
    return Execution.model_validate_json(json.dumps({**line, "calls": calls, "id": execution_id}))


def _with_times(events: Iterable[Line]) -> None:
    for event in events:
        event["at_ms"] = 0
