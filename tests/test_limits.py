from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import annotated_types
import pytest
from pydantic import ValidationError

from harness.errors import ErrorInfo
from harness.limits import KIB, MIB, Limits
from harness.model import Execution, Outcome, ScriptInfo, Span

SPEC = Path(__file__).parent.parent / "specs" / "limits.md"
UNITS = {"s": 1, "bytes": 1, "KiB": KIB, "MiB": MIB, "": 1}


@pytest.mark.requirement("LIM-001")
def test_the_defaults_are_those_of_the_specification():
    rows = re.findall(r"^\| `(\w+)` \| ([\d.,]+) ?(\w*) \|", SPEC.read_text(), re.MULTILINE)
    documented = {name: float(number.replace(",", "")) * UNITS[unit] for name, number, unit in rows}
    assert documented == Limits().model_dump()


@pytest.mark.requirement("LIM-002")
def test_limits_are_frozen():
    limits = Limits()
    with pytest.raises(ValidationError, match="frozen"):
        limits.wall_time = 5  # type: ignore[misc] # that is what must not work


@pytest.mark.requirement("LIM-003")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("wall_tme", 5),
        ("wall_time", 0),
        ("wall_time", -1),
        ("wall_time", float("inf")),
        ("wall_time", float("nan")),
        ("wall_time", "soon"),
        ("memory_bytes", 1),
        ("memory_bytes", 10**15),
        ("memory_bytes", 1e8),
        ("memory_bytes", "96MiB"),
        ("max_tool_calls", -1),
        ("max_tool_calls", 1.5),
        ("max_tool_calls", True),
        ("max_concurrent_tool_calls", 0),
        ("json_depth", 201),
    ],
)
def test_impossible_limits_are_refused_by_name(name, value):
    with pytest.raises(ValidationError) as caught:
        Limits(**{name: value})
    assert [error["loc"] for error in caught.value.errors()] == [(name,)]


@pytest.mark.requirement("LIM-003")
def test_a_whole_number_of_seconds_is_fine():
    assert Limits(wall_time=5).wall_time == 5.0


@pytest.mark.requirement("LIM-004")
def test_every_limit_is_bounded_on_both_sides():
    for name, field in Limits.model_fields.items():
        kinds = {type(item) for item in field.metadata}
        assert kinds & {annotated_types.Ge, annotated_types.Gt}, name
        assert annotated_types.Le in kinds, name


@pytest.mark.requirement("LIM-005")
@pytest.mark.parametrize("array", [True, False])
def test_the_deepest_values_survive_the_whole_way(array):
    (deepest,) = [
        item.le for item in Limits.model_fields["json_depth"].metadata if isinstance(item, annotated_types.Le)
    ]
    value: Any = None
    for _ in range(int(str(deepest))):
        value = [value] if array else {"x": value}
    span = Span(start=0, end=1, line=1, column=1, end_line=1, end_column=2)
    error = ErrorInfo(type="X", category="PERMANENT", retryable=False, message="m", details={"value": value})
    execution = Execution(
        id="1",
        script=ScriptInfo(sha256="", mode="", span=span),
        status="ok",
        value=value,
        error=error,
    )
    outcome = Outcome(id="1", executions=(execution,))
    assert outcome.to_text()
    assert outcome.content_hash()
    again = json.loads(outcome.to_json())
    assert again["executions"][0]["value"] == value
    assert Outcome.model_validate(again) == outcome
