"""What two runs of the same thing have in common: an outcome, as plain JSON data, without ids, times and metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["stable_call", "stable_execution", "stable_form"]

_UNSTABLE: dict[str, frozenset[str]] = {
    "outcome": frozenset({"id", "resume_token"}),
    "execution": frozenset({"id", "metrics", "budget"}),
    "call": frozenset({"duration_ms", "cost_cents", "cached", "attempts"}),
    "approval": frozenset({"request_id", "waited_ms"}),
    "progress": frozenset({"at_ms", "call"}),
    "request": frozenset({"id", "execution_id", "expires_at"}),
    "details": frozenset({"request_id", "waited_s", "retry_after_s"}),
}


def stable_form(outcome: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of an outcome (``Outcome.to_dict()``) without what differs from run to run."""
    data = _without(outcome, "outcome")
    data["executions"] = [stable_execution(execution) for execution in data["executions"]]
    data["pending"] = [_without(request, "request") for request in data["pending"]]
    return data


def _without(data: Mapping[str, Any], kind: str) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key not in _UNSTABLE[kind]}


def _error(error: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if error is None else {**error, "details": _without(error["details"], "details")}


def stable_execution(execution: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of one execution of an outcome without what differs from run to run."""
    data = _without(execution, "execution")
    data["error"] = _error(data["error"])
    # What tools report, and how much of it was kept, is a matter of the host's clock.
    data["progress"] = [_without(event, "progress") for event in data["progress"] if event.get("call") is None]
    data["calls"] = [stable_call(call) for call in data["calls"]]
    return data


def stable_call(call: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of one call of an execution without what differs from run to run."""
    return _without(call, "call") | {
        "approval": call["approval"] and _without(call["approval"], "approval"),
        "error": _error(call["error"]),
    }
