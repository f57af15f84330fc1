"""What an execution is given, and progress."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from harness.context import ExecutionContext, ProgressGate, make_test_context, merge_limits
from harness.errors import SerializationError, UsageError
from harness.limits import Limits
from harness.redaction import MASK, Redactor


@pytest.mark.requirement("CTX-001")
def test_frozen_all_the_way_down():
    metadata: dict[str, Any] = {"a": {"b": [1, {"c": 2}]}}
    context = ExecutionContext(metadata=metadata, inputs={"rows": [1]}, user_id="u")
    metadata["a"]["b"].append(3)
    assert context.metadata["a"]["b"] == (1, {"c": 2})
    with pytest.raises(ValidationError):
        context.user_id = "other"  # type: ignore[misc] # what is under test
    changes: list[Callable[[], Any]] = [
        lambda: context.metadata.__setitem__("x", 1),  # type: ignore[index] # what is under test
        lambda: context.metadata["a"].update(x=1),
        lambda: context.metadata["a"]["b"][1].pop("c"),
    ]
    for change in changes:
        with pytest.raises(TypeError, match="cannot be changed"):
            change()
    assert context.model_dump()["metadata"] == {"a": {"b": [1, {"c": 2}]}}
    assert json.loads(context.model_dump_json())["inputs"] == {"rows": [1]}
    assert json.dumps(context.metadata) == '{"a": {"b": [1, {"c": 2}]}}'
    assert copy.deepcopy(context) == pickle.loads(pickle.dumps(context)) == context
    assert ExecutionContext.model_validate(context.model_dump()) == context


@pytest.mark.requirement("CTX-002")
def test_functions_are_errors_with_their_path():
    with pytest.raises(SerializationError) as caught:
        ExecutionContext(inputs={"rows": [{"f": print}]})
    assert caught.value.details == {"path": "inputs.rows[0].f"}
    with pytest.raises(SerializationError, match=r"metadata\.n"):
        ExecutionContext(metadata={"n": float("nan")})
    with pytest.raises(UsageError, match="inputs must be an object"):
        ExecutionContext(inputs=[1])  # what is under test


@pytest.mark.requirement("CTX-003")
def test_what_the_script_sees():
    context = make_test_context(
        inputs={"token": "real", "rows": list(range(20))},
        metadata={"api_key": "k", "tags": list(range(20)), "note": "has s3cr3t"},
        limits={"max_tool_calls": 7},
    )
    view = context.vm_view(Redactor(["s3cr3t"]))
    assert json.loads(json.dumps(view)) == view
    assert view["inputs"] == {"token": "real", "rows": list(range(20))}
    assert view["metadata"] == {"api_key": MASK, "tags": list(range(20)), "note": f"has {MASK}"}
    ids = [view[name] for name in ("execution_id", "conversation_id", "session_id", "user_id")]
    assert ids == ["exec_test", "conv_test", "sess_test", "user_test"]
    limits = view["limits"]
    assert isinstance(limits, dict)
    assert limits["max_tool_calls"] == 7
    assert set(limits) <= set(Limits.model_fields)
    assert context.metadata["api_key"] == "k"


@pytest.mark.requirement("CTX-004")
def test_merging_limits():
    default = Limits(wall_time=5, max_tool_calls=3)
    assert merge_limits(default, None) is default
    assert merge_limits(default, {}) is default
    assert merge_limits(default, {"wall_time": 9}) == Limits(wall_time=9, max_tool_calls=3)
    assert merge_limits(default, Limits(cpu_time=2)) == Limits(wall_time=5, max_tool_calls=3, cpu_time=2)
    assert merge_limits(default, Limits(wall_time=30)) == Limits(wall_time=30, max_tool_calls=3)
    assert merge_limits(default, Limits()) == default
    with pytest.raises(UsageError, match="there is no limit 'wall_tme'; did you mean 'wall_time'") as caught:
        merge_limits(default, {"wall_tme": 9, "max_blocks": -1})
    assert sorted(caught.value.details["fields"]) == ["max_blocks", "wall_tme"]
    assert "max_blocks: Input should be greater than or equal to 0, not -1" in caught.value.message


@pytest.mark.requirement("CTX-005")
def test_ids():
    assert ExecutionContext().execution_id != ExecutionContext().execution_id
    for wrong in ("", "x" * 257):
        with pytest.raises(ValidationError):
            ExecutionContext(user_id=wrong)


@pytest.mark.requirement("CTX-010")
def test_progress_is_limited_and_what_is_dropped_is_counted():
    gate = ProgressGate(Limits(progress_interval=0.5, max_progress_events=3, argument_bytes=100))
    passed = [now for now in range(0, 3_000, 100) if gate.offer("m", None, now)]
    assert passed == [0, 500, 1_000]
    assert gate.dropped == {"rate": 8, "count": 19}
    gate = ProgressGate(Limits(argument_bytes=100))
    assert gate.offer("m", "x" * 200, 0) is None
    assert gate.dropped == {"size": 1}
    assert gate.offer("m", "x", 1) is not None  # a dropped event does not hold up the next


@pytest.mark.requirement("CTX-011")
def test_progress_messages_are_cut_and_masked():
    gate = ProgressGate(Limits(progress_interval=0), Redactor(["s3cr3t"]))
    event = gate.offer("x" * 1_234, {"token": "t", "n": 1}, 5)
    assert event is not None
    assert event.message == "x" * 1_000 + "… (234 characters cut)"
    assert event.data == {"token": MASK, "n": 1}
    assert event.at_ms == 5
    exact = gate.offer("x" * 1_000, None, 6)
    assert exact is not None
    assert exact.message == "x" * 1_000
    secret = gate.offer("a s3cr3t", None, 7)
    assert secret is not None
    assert secret.message == f"a {MASK}"


@pytest.mark.requirement("CTX-012")
def test_the_same_offers_give_the_same_events():
    offers = [(f"m{n}", n, n * 137.0) for n in range(100)]
    runs = []
    for _ in range(2):
        gate = ProgressGate(Limits())
        runs.append(([gate.offer(*offer) for offer in offers], gate.dropped))
    assert runs[0] == runs[1]


@pytest.mark.requirement("CTX-020")
def test_a_context_for_tests():
    context = make_test_context(user_id=None, limits=Limits(wall_time=1))
    assert (context.execution_id, context.user_id, context.limits.wall_time) == ("exec_test", None, 1)
    assert make_test_context() == make_test_context()
