"""Processes that do the same thing at the same moment: one of them does it, the others are told, and a ledger outside
counts what was really done.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from harness import Decision, Harness, Outcome, tool
from harness.errors import HarnessError, ResumeConflictError
from harness.tools.context import CallContext
from harness.tools.deferred import Deferred

ROOT = Path(__file__).parent.parent
RACERS = 3


# ── a racer ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def done(ledger: Path) -> Counter[str]:
    """How often each tool has had its effect."""
    return Counter(line.split()[0] for line in ledger.read_text().splitlines())


def tools(ledger: Path) -> list[Any]:
    """Tools whose effect is a line in a ledger."""

    def note(line: str) -> None:
        with ledger.open("a") as file:
            file.write(f"{line}\n")

    @tool(approval=True)
    async def pay(cents: int) -> int:
        await anyio.lowlevel.checkpoint()
        note(f"pay {cents}")
        return cents

    @tool
    async def charge(cents: int) -> int:
        note(f"charge {cents}")
        await anyio.sleep(0.02)
        return cents

    @tool
    async def order(context: CallContext) -> int:
        await anyio.lowlevel.checkpoint()
        note(f"order {context.deferral_id}")
        return Deferred()  # type: ignore[return-value] # what stands for a result that comes later

    @tool
    async def die() -> None:
        """Ends its process the first time."""
        await anyio.lowlevel.checkpoint()
        if done(ledger)["die"] == 0:
            note("die")
            os._exit(7)

    return [pay, charge, order, die]


async def race(journal: str, ledger: str, what: str, about: str, mine: int) -> dict[str, Any]:
    """What came of it for this process."""
    async with Harness(tools(Path(ledger)), approver="suspend", journal=journal, isolation="thread") as harness:
        await harness.executions()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await anyio.to_thread.run_sync(sys.stdin.readline)
        try:
            if what == "settle":
                await harness.settle(about, mine)
                return {"won": mine}
            outcome = await _outcome(harness, what, json.loads(about), mine)
        except HarnessError as error:
            return {"error": type(error).__name__, "details": error.details}
        return {
            "id": outcome.id,
            "values": [execution.value for execution in outcome.executions],
            "statuses": [execution.status for execution in outcome.executions],
        }


async def _outcome(harness: Harness, what: str, about: Any, mine: int) -> Outcome:
    if what == "resume":
        token, requests = about
        return await harness.resume(token, {request: Decision.approve({"cents": 10 + mine}) for request in requests})
    if what == "recover":
        return await harness.recover(about)
    return await harness.run(about, idempotency_key="the key")


def main() -> None:
    """The command line of a racer."""
    journal, ledger, what, about, mine = sys.argv[1:]
    sys.stdout.write(json.dumps(anyio.run(race, journal, ledger, what, about, int(mine))) + "\n")


# ── the races ────────────────────────────────────────────────────────────────────────────────────────────────────────


class Track:
    """A journal, a ledger, and who races about them."""

    def __init__(self, directory: Path) -> None:
        self.journal = directory / "runs.sqlite"
        self.ledger = directory / "ledger"
        self.ledger.touch()

    def harness(self) -> Harness:
        return Harness(tools(self.ledger), approver="suspend", journal=str(self.journal), isolation="thread")

    def done(self) -> Counter[str]:
        return done(self.ledger)

    @contextmanager
    def racer(self, what: str, about: str, mine: int) -> Iterator[subprocess.Popen[str]]:
        command = [
            sys.executable,
            "-m",
            "tests.test_races",
            str(self.journal),
            str(self.ledger),
            what,
            about,
            str(mine),
        ]
        with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            try:
                yield process
            finally:
                process.kill()

    def race(self, what: str, about: str, racers: int = RACERS) -> list[dict[str, Any]]:
        """Each racer's answer. All are ready before the first one is let go."""
        with ExitStack() as stack:
            processes = [stack.enter_context(self.racer(what, about, number)) for number in range(racers)]
            for process in processes:
                assert process.stdout is not None
                assert process.stdout.readline() == "ready\n"
            for process in processes:
                assert process.stdin is not None
                process.stdin.write("go\n")
                process.stdin.flush()
            answers = [process.communicate(timeout=50)[0] for process in processes]
        return [json.loads(answer) for answer in answers]


@pytest.fixture
def track(tmp_path: Path) -> Track:
    return Track(tmp_path)


def block(script: str) -> str:
    return f"<tool-calls>{script}</tool-calls>"


def told(answers: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Those who did it, and those who were told that somebody else did."""
    errors = [answer for answer in answers if "error" in answer]
    assert {error["error"] for error in errors} <= {ResumeConflictError.__name__}, answers
    return [answer for answer in answers if "error" not in answer], errors


@pytest.mark.slow
@pytest.mark.requirement("JRN-022")
def test_one_of_those_who_resume_goes_on(track):
    outcome = track.harness().run_sync(block("[await tools.pay({cents: 1}), await tools.charge({cents: 2})]"))
    about = json.dumps([outcome.resume_token, [request.id for request in outcome.pending]])
    (winner,), others = told(track.race("resume", about))
    assert len(others) == RACERS - 1
    assert {other["details"]["outcome_id"] for other in others} == {outcome.id}
    assert track.done() == {"pay": 1, "charge": 1}
    replayed = track.harness().replay_sync(outcome.id)
    assert [execution.value for execution in replayed.executions] == winner["values"]
    assert f"pay {winner['values'][0][0]}" in track.ledger.read_text()


@pytest.mark.slow
@pytest.mark.requirement("JRN-051", "JRN-050")
def test_one_of_those_who_recover_goes_on(track):
    text = block(
        "[await tools.charge({cents: 1}), await tools.die({}).catch((e) => e.name), await tools.charge({cents: 2})]"
    )
    with track.racer("key", json.dumps(text), 0) as process:
        process.communicate("go\n", timeout=50)
        assert process.returncode == 7
    (entry,) = anyio.run(track.harness().executions)
    (winner,), others = told(track.race("recover", json.dumps(entry.outcome_id)))
    assert len(others) == RACERS - 1
    # What was under way when the first process ended is in doubt, and was asked about once.
    assert winner["statuses"] == ["suspended"]
    harness = track.harness()
    outcome = harness.run_sync(text, idempotency_key="the key")
    assert [request.kind for request in outcome.pending] == ["in_doubt"]
    done = harness.resume_sync(outcome.resume_token or "", {outcome.pending[0].id: Decision.answer(None)})
    assert done.executions[0].value == [1, None, 2]
    assert track.done() == {"charge": 2, "die": 1}


@pytest.mark.slow
@pytest.mark.requirement("JRN-031")
def test_one_of_those_who_settle_counts(track):
    outcome = track.harness().run_sync(block("await tools.order({})"))
    (request,) = outcome.pending
    (winner,), others = told(track.race("settle", request.id))
    assert [other["details"] for other in others] == [{"request_id": request.id}] * (RACERS - 1)
    assert track.harness().resume_sync(outcome.resume_token or "").executions[0].value == winner["won"]
    assert track.done() == {"order": 1}


@pytest.mark.slow
@pytest.mark.requirement("JRN-040", "JRN-041")
def test_those_who_run_one_key_run_it_once(track):
    text = block("[await tools.charge({cents: 1}), await tools.charge({cents: 2}), Math.random()]")
    answers = track.race("key", json.dumps(text))
    assert len({json.dumps(answer) for answer in answers}) == 1
    assert answers[0]["statuses"] == ["ok"]
    assert track.done() == {"charge": 2}


if __name__ == "__main__":
    main()
