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
from harness.journal.events import Event
from harness.journal.replay import differences
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


EVERYTHING = [
    *(f"execution {status}" for status in ("ok", "error", "skipped")),
    *(f"call {status}" for status in ("ok", "error", "denied", "cancelled")),
    *(f"tools.{name}" for name in ("get", "put", "sync", "bad", "flaky", "stubborn", "talk", "pay", "order")),
    *("logs", "progress", "settled", "suspended"),
]
"""What a thousand of them must have shown, so that they are worth something."""


@pytest.mark.requirement("JRN-012")
async def test_random_scripts_replay_to_the_same_bytes(anyio_backend_name):
    first = 0 if anyio_backend_name == "asyncio" else 10
    seen = await record_and_replay(range(first, first + 10), isolation="thread", journal=Journal())
    assert seen["call ok"] > 50
    assert seen["at the same time"] > 2


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.requirement("JRN-012", "JRN-021", "JRN-030")
async def test_a_thousand_random_scripts_replay_to_the_same_bytes(anyio_backend_name, tmp_path):
    first = 1_000 if anyio_backend_name == "asyncio" else 1_500
    seen = await record_and_replay(range(first, first + 490), isolation="shared", journal=Journal())
    # Fewer where each append waits for a disk.
    seen += await record_and_replay(
        range(first + 490, first + 500), isolation="process", journal=str(tmp_path / "runs.sqlite")
    )
    assert [what for what in EVERYTHING if not seen[what]] == []
    assert seen["at the same time"] > 10


# ── the same, whatever happens on the way ────────────────────────────────────────────────────────────────────────


async def however_it_goes(seeds: range, *, moments: int, **settings: Any) -> Counter[str]:
    """Each text decided at once, suspended over everything, decided one by one, and interrupted at some moments: what
    comes of it is the same, every end replays, and no effect happened twice.
    """
    seen: Counter[str] = Counter()
    store, chance = RecordingStore(), random.Random(seeds.start)
    async with contextlib.AsyncExitStack() as stack:

        async def opened(approver: Any, tools: Tools, journal: Journal) -> Harness:
            harness = Harness(tools.tools(), approver=approver, journal=journal, **{**SETTINGS, **settings})
            return await stack.enter_async_context(harness)

        at_once = await opened(ask, Tools(), Journal(store))
        suspended = await opened("suspend", Tools(), Journal())
        lives = [(tools := Tools(), await opened(ask, tools, Journal(RecordingStore()))) for _ in range(moments)]

        async def checked(harness: Harness, outcome: Outcome, wanted: list[Any]) -> None:
            found = differences(wanted, gist(outcome))
            assert not found, found
            assert (await harness.replay(outcome.id)).to_canonical_json() == outcome.to_canonical_json()

        async def trial(seed: int) -> None:
            text, key = random_text(seed, timeless=True), str(seed)
            straight = await to_the_end(at_once, await at_once.run(text, idempotency_key=key))
            wanted = gist(straight)
            note_outcome(seen, straight)
            for most in (10_000, 1):
                first = await suspended.run(text)
                seen["suspended"] += first.resume_token is not None
                await checked(suspended, await to_the_end(suspended, first, most=most), wanted)
            appends = store.appends_of(straight.id)
            for tools, harness in lives:
                await gone_on_with(tools, harness, text, key, appends[: chance.randrange(1, len(appends))], wanted)

        async def gone_on_with(  # noqa: PLR0917 - one trial
            tools: Tools, harness: Harness, text: str, key: str, appends: list[list[Event]], wanted: list[Any]
        ) -> None:
            """From where it stood after some of its appends, whether it was interrupted, suspended or over by then."""
            for events in [*store.contracts(harness.journal.store), *appends]:
                harness.journal.store.append(events)
            begun = {
                f"{event.stream}/{event.data['call']}"
                for events in appends
                for event in events
                if event.kind == "call_started"
            }
            outcome = await harness.run(text, idempotency_key=key)
            seen["interrupted"] += 1
            seen["in doubt"] += sum(request.kind == "in_doubt" for request in outcome.pending)
            await checked(harness, await to_the_end(harness, outcome), wanted)
            again = {call for name, call, _ in tools.effects if call in begun and name not in REPEATABLE}
            assert not again, f"after {len(appends)} appends these happened again: {again}"

        await for_each(seeds, trial)
    return seen


REPEATABLE = {"get", "stubborn", "talk"}


@pytest.mark.requirement("JRN-021", "JRN-050", "CRS-001")
async def test_suspended_or_interrupted_random_scripts_come_to_the_same(anyio_backend_name):
    first = 1 if anyio_backend_name == "asyncio" else 2
    seen = await however_it_goes(range(first, first + 1), moments=1, isolation="thread")
    assert seen["suspended"]
    assert seen["interrupted"]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.requirement("JRN-021", "JRN-050", "CRS-001")
async def test_many_suspended_or_interrupted_random_scripts_come_to_the_same(anyio_backend_name):
    first = 1_000 if anyio_backend_name == "asyncio" else 1_040
    seen = await however_it_goes(range(first, first + 40), moments=2, isolation="shared")
    assert [what for what in ("suspended", "interrupted", "in doubt", "call denied") if not seen[what]] == []
