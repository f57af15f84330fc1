from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from pydantic import ValidationError

from harness.errors import ApprovalTimeoutError, ErrorInfo
from harness.model import (
    ApprovalNote,
    ApprovalRequest,
    Block,
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
    ScriptInfo,
    Severity,
    Span,
    Text,
    Unclosed,
)

SPAN = Span(start=0, end=9, line=1, column=1, end_line=1, end_column=10)


def full_outcome(number: int = 1) -> Outcome:
    """An outcome in which every field that is there is set; ids, times and metrics depend on ``number``."""
    error = ApprovalTimeoutError(
        "Nobody answered.",
        line=2,
        column=3,
        stack="at <script>:2:3",
        details={"request_id": f"r{number}", "waited_s": number},
    ).info()
    note = ApprovalNote(
        request_id=f"r{number}", decision="timed_out", scope="execution", edited=True, reason="late", waited_ms=number
    )
    request = ApprovalRequest(
        id=f"r{number}",
        execution_id=f"e{number}",
        tool="pay",
        arguments={"key": "[REDACTED]"},
        arguments_hash="ab",
        reason="it costs money",
        expires_at=1e9 + number,
    )
    call = CallRecord(
        seq=1,
        tool="pay",
        args={"n": 1.5},
        status=CallStatus.TIMED_OUT,
        error=error,
        approval=note,
        duration_ms=number,
        line=2,
    )
    execution = Execution(
        id=f"e{number}",
        script=ScriptInfo(id="own", sha256="00", mode="RETURN", span=SPAN),
        status=ExecutionStatus.ERROR,
        reason="why",
        value={"é": [None, True, 1, 2.5, "x"]},
        error=error,
        logs=(LogEntry(level="warn", text="careful", line=1),),
        progress=(ProgressEvent(message="half", data={"n": 1}, at_ms=number),),
        calls=(call, CallRecord(seq=2, tool="x", args={}, status=CallStatus.OK)),
        diagnostics=(
            Diagnostic(code="a_b", severity=Severity.WARNING, message="m", line=1, column=1, details={"x": 1}),
        ),
        plan=Plan(
            steps=(PlanStep(seq=1, tool="pay", args={}, needs_approval=True, line=1),),
            complete=False,
            incomplete_from=1,
        ),
        metrics=Metrics(
            wall_ms=number, cpu_ms=number, approval_ms=number, tool_ms=number, frames=number, memory_bytes=number
        ),
    )
    block = Block(text="<t>1</t>", span=SPAN, opening_tag="<t>", source="1", source_span=SPAN)
    return Outcome(
        id=f"o{number}",
        segments=(
            Text(text="a", span=SPAN),
            block,
            Ignored(text="b", span=SPAN, reason="fenced_code"),
            Unclosed(text="c", span=SPAN),
        ),
        executions=(execution,),
        diagnostics=(Diagnostic(code="c_d", severity=Severity.INFO, message="m"),),
        pending=(request,),
        resume_token=f"t{number}",
    )


@pytest.mark.requirement("OUT-001")
@pytest.mark.parametrize("mode", ["serialization", "validation"])
@pytest.mark.parametrize("outcome", [full_outcome(), Outcome(id="empty")], ids=["full", "empty"])
def test_json_validates_against_the_schema(outcome, mode):
    schema = Outcome.model_json_schema(mode=mode)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(outcome.to_json()), schema, jsonschema.Draft202012Validator)


@pytest.mark.requirement("OUT-001")
def test_the_schema_would_notice():
    schema = Outcome.model_json_schema()
    changes: tuple[dict[str, Any], ...] = ({"id": 1}, {"extra": 1}, {"executions": [{}]})
    for change in changes:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(full_outcome().to_dict() | change, schema)


@pytest.mark.requirement("OUT-001")
def test_json_makes_an_equal_outcome_again():
    outcome = full_outcome()
    assert Outcome.model_validate_json(outcome.to_json()) == outcome
    assert Outcome.model_validate(outcome.to_dict()) == outcome
    assert json.loads(outcome.to_json()) == outcome.to_dict()


def leaves(data: Any, path: str = "$") -> dict[str, Any]:
    if isinstance(data, dict):
        return {place: leaf for key, item in data.items() for place, leaf in leaves(item, f"{path}.{key}").items()}
    if isinstance(data, list):
        return {place: leaf for item in data for place, leaf in leaves(item, f"{path}[]").items()}
    return {path: data}


@pytest.mark.requirement("OUT-002")
def test_the_canonical_form_leaves_out_ids_times_and_metrics_and_nothing_else():
    outcome = full_outcome()
    left_out = set(leaves(outcome.to_dict())) - set(leaves(outcome.canonical()))
    metrics = {f"$.executions[].metrics.{name}" for name in Metrics.model_fields}
    assert left_out == metrics | {
        "$.id",
        "$.resume_token",
        "$.executions[].id",
        "$.executions[].budget",
        "$.executions[].error.details.request_id",
        "$.executions[].error.details.waited_s",
        "$.executions[].progress[].at_ms",
        "$.executions[].progress[].call",
        "$.executions[].calls[].duration_ms",
        "$.executions[].calls[].cost_cents",
        "$.executions[].calls[].cached",
        "$.executions[].calls[].approval.request_id",
        "$.executions[].calls[].approval.waited_ms",
        "$.executions[].calls[].error.details.request_id",
        "$.executions[].calls[].error.details.waited_s",
        "$.pending[].id",
        "$.pending[].execution_id",
        "$.pending[].expires_at",
    }


@pytest.mark.requirement("OUT-002")
def test_two_runs_of_the_same_thing_have_the_same_hash():
    one, two = full_outcome(1), full_outcome(2)
    assert one.to_json() != two.to_json()
    assert one.canonical() == two.canonical()
    assert one.content_hash() == two.content_hash()
    other = one.model_copy(update={"diagnostics": ()})
    assert other.content_hash() != one.content_hash()


@pytest.mark.requirement("OUT-003")
def test_values_are_frozen_and_closed():
    outcome = full_outcome()
    for value, field in (
        (outcome, "id"),
        (outcome.executions[0], "status"),
        (outcome.segments[0], "text"),
        (SPAN, "end"),
    ):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(value, field, None)
    with pytest.raises(ValidationError, match="Extra inputs"):
        Outcome.model_validate({"id": "x", "surprise": 1})
    with pytest.raises(ValidationError, match="Extra inputs"):
        ErrorInfo.model_validate(
            {"type": "X", "category": "PERMANENT", "retryable": False, "message": "m", "path": "/"}
        )


@pytest.mark.requirement("OUT-004")
def test_the_names_of_states():
    assert [status.value for status in ExecutionStatus] == [
        *("ok", "error", "suspended", "skipped", "planned", "cancelled", "terminated")
    ]
    assert [status.value for status in CallStatus] == [
        *("ok", "error", "denied", "timed_out", "cancelled", "in_doubt", "planned")
    ]


@pytest.mark.requirement("OUT-005")
def test_execution_modes_are_written_and_read():
    both = ExecutionMode.TOP_LEVEL_AWAIT | ExecutionMode.RETURN
    assert str(both) == "RETURN|TOP_LEVEL_AWAIT"
    for mode in (*ExecutionMode, both):
        assert ExecutionMode.parse(str(mode)) == mode
    with pytest.raises(KeyError):
        ExecutionMode.parse("SIDEWAYS")


def test_segments_are_told_apart_by_their_kind():
    kinds = [segment.kind for segment in Outcome.model_validate(full_outcome().to_dict()).segments]
    assert kinds == ["text", "block", "ignored", "unclosed"]
