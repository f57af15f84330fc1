"""Random texts, each recorded and replayed; suspended, interrupted and gone on with, which must change nothing."""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from harness import Decision, Harness, Journal, Outcome, ResumeConflictError
from harness.journal.payloads import CallStarted
from harness.model import ApprovalRequest
from tests.random_scripts import LIMITS, RecordingStore, Tools, decision, gist, random_text, to_the_end

pytestmark = pytest.mark.anyio

SETTINGS: dict[str, Any] = {"limits": LIMITS, "continue_on_error": True, "seed": 7}
AT_ONCE = 4


async def ask(request: ApprovalRequest) -> Decision:
    """Somebody who takes a while."""
    await anyio.sleep(random.random() * 0.002)
    return decision(request)


async def for_each(seeds: range, trial: Callable[[int], Awaitable[None]]) -> None:
    """A few at a time, since most of a trial is waiting. The first that fails is named."""
    todo = iter(seeds)

    async def work() -> None:
        for seed in todo:
            try:
                await trial(seed)
            except Exception as error:
                raise AssertionError(f"seed {seed}: {error}") from error

    async with anyio.create_task_group() as group:
        for _ in range(AT_ONCE):
            group.start_soon(work)


# ── recorded and replayed ────────────────────────────────────────────────────────────────────────────────────────


async def record_and_replay(seeds: range, **settings: Any) -> Counter[str]:
    """Each text with deferred calls that others settle, before or after their tools have answered; what was seen."""
    seen: Counter[str] = Counter()
    async with anyio.create_task_group() as group:

        async def settle(request_id: str, value: int) -> None:
            if random.random() < 0.5:
                await bring(request_id, value)
            else:
                group.start_soon(bring, request_id, value)

        async def bring(request_id: str, value: int) -> None:
            await anyio.sleep(random.random() * 0.004)
            with contextlib.suppress(ResumeConflictError):  # whoever resumed was quicker, or the execution is over
                seen["settled"] += await harness.settle(request_id, value)

        tools = Tools(settle=settle)
        async with Harness(tools.tools(), approver=ask, **{**SETTINGS, **settings}) as harness:

            async def trial(seed: int) -> None:
                first = await harness.run(random_text(seed))
                outcome = await to_the_end(harness, first)
                replayed = await harness.replay(outcome.id)
                assert replayed.to_canonical_json() == outcome.to_canonical_json()
                note_outcome(seen, outcome)
                seen["suspended"] += first.resume_token is not None

            await for_each(seeds, trial)
        seen["at the same time"] = tools.busiest
    return seen


def note_outcome(seen: Counter[str], outcome: Outcome) -> None:
    for execution in outcome.executions:
        seen[f"execution {execution.status}"] += 1
        seen.update(f"call {call.status}" for call in execution.calls)
        seen.update(f"tools.{call.tool}" for call in execution.calls)
        seen["logs"] += len(execution.logs)
        seen["progress"] += len(execution.progress)


@pytest.mark.requirement("JRN-012")
async def test_random_scripts_replay_to_the_same_bytes(tmp_path):
    seen = await record_and_replay(range(20), isolation="thread", journal=Journal())
    print(seen)
