"""Cassettes read back: every line checked, and what the lines leave out put together again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from harness.contracts.values import Contract
from harness.errors import UsageError
from harness.journal.payloads import CallSettled, Decided, Finished, FrameSent, Payload
from harness.model import CallRecord, Diagnostic, Execution, Outcome
from harness.testing.tape import KEPT, TapedExecution, TapedRun, id_of, segments_of
from harness.testing.tapefile import JSON_TEXTS, TAPE_VERSION, Line, compact

__all__ = ["load_runs"]

_PAYLOADS = {payload.kind: payload for payload in KEPT}


def load_runs(text: str, name: str) -> list[TapedRun]:
    """The runs of a cassette; ``name`` is what errors call it.

    Raises `UsageError`, with the number of the line, for what is no cassette.
    """
    runs: dict[int, list[tuple[int, Line]]] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip() or number == 1:
            try:
                _sort_in(json.loads(line), number, runs)
            except (AttributeError, KeyError, TypeError, ValueError) as error:
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
    text_name, name = JSON_TEXTS.get(kind, ("", ""))
    if text_name:
        line.setdefault(text_name, compact(line.pop(name)) if name in line else None)
    if kind == FrameSent.kind:
        line["budget"] = compact(line["budget"])
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
