"""``--allow``, ``--deny``, ``--answer`` and ``--terminate``: decisions as people write them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from harness.approvals.decision import Decision
from harness.errors import HarnessError, UsageError
from harness.redaction import visible

__all__ = ["parse_decisions", "parse_json"]


def parse_decisions(
    allow: Sequence[str], deny: Sequence[str], answer: Sequence[str], terminate: Sequence[str]
) -> dict[str, Decision]:
    """Decisions by the id of the request: ``ID``, ``ID=what``. Raises `UsageError`, also for an id that stands twice."""
    found: dict[str, Decision] = {}
    for option, items in (("--allow", allow), ("--deny", deny), ("--answer", answer), ("--terminate", terminate)):
        for item in items:
            request_id, equals, text = item.partition("=")
            if not request_id:
                raise UsageError(f"{option} {visible(item)}: name the request first: {option} apr_….")
            if request_id in found:
                raise UsageError(f"{visible(request_id)} was decided twice; decide it once.")
            found[request_id] = _decision(option, request_id, text if equals else None)
    return found


def _decision(option: str, request_id: str, text: str | None) -> Decision:
    match option:
        case "--allow":
            return _allowed(request_id, text)
        case "--deny":
            return Decision.deny(text or "denied on the command line")
        case "--terminate":
            return Decision.terminate(text or "ended on the command line")
        case _:
            if text is None:
                raise UsageError(f"--answer {visible(request_id)}: say what the answer is: --answer ID=JSON.")
            return _checked(option, Decision.answer, parse_json(option, text))


def _allowed(request_id: str, text: str | None) -> Decision:
    if text is None:
        return Decision.approve()
    changes = parse_json("--allow", text)
    if not isinstance(changes, dict):
        raise UsageError(f'--allow {visible(request_id)}: changes are a JSON object, such as {{"cents": 500}}.')
    return _checked("--allow", Decision.approve, changes)


def _checked(option: str, make: Any, value: Any) -> Decision:
    try:
        decision: Decision = make(value)
    except HarnessError as error:
        raise UsageError(f"{option}: {error.message}") from error
    return decision


def parse_json(option: str, text: str) -> Any:
    """A value that was given as JSON. Raises `UsageError`."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{option}: this is no JSON: {error}. A text needs its quotes: {option} '…\"text\"'."
        ) from None


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")
