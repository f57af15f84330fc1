"""The runs that one harness works on right now, and whether anybody works on a run at all."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

import anyio

from harness.approvals.decision import Decision
from harness.errors import ResumeConflictError, UsageError
from harness.journal.journal import Journal
from harness.journal.owners import AFOOT, owner, owner_is_gone
from harness.journal.runs import RunRecord, read_run
from harness.model import Outcome
from harness.run import Run
from harness.runtime.runtime import Runtime

__all__ = ["Flights", "Open", "is_gone", "known_run", "run_of", "taken"]

Open = Callable[[bool], AbstractAsyncContextManager[Runtime]]
"""Opens a runtime, or only makes one if no script is going to run."""


@dataclass
class _Flight:
    run: Run
    done: anyio.Event = field(default_factory=anyio.Event)


class Flights:
    """Runs texts, and knows which are under way."""

    def __init__(self, open_runtime: Open) -> None:
        self._open = open_runtime
        self._under_way: dict[str, _Flight] = {}

    async def fly(self, run: Run, run_id: str, text: str) -> Outcome:
        """Run it to its end, or until it is suspended."""
        flight = self._under_way[run_id] = _Flight(run)
        try:
            async with self._open(run.needs_runtime) as runtime:
                return await run.outcome(text, runtime)
        finally:
            del self._under_way[run_id]
            flight.done.set()

    async def landed(self, run_id: str) -> bool:
        """Wait for the end of a run; False at once if it is not under way here."""
        flight = self._under_way.get(run_id)
        if flight is None:
            return False
        await flight.done.wait()
        return True

    def answer(self, run_id: str, execution_id: str, request_id: str, decision: Decision) -> bool:
        """Answer what a call waits for right now; False if none waits for that here."""
        flight = self._under_way.get(run_id)
        return flight is not None and flight.run.answer(execution_id, request_id, decision)

    def uses(self, execution_id: str) -> bool:
        """Whether a run under way was given this id for its first execution."""
        return any(flight.run.execution_id == execution_id for flight in self._under_way.values())


async def known_run(journal: Journal, run_id: str) -> RunRecord:
    """What is on record of a run. Raises `UsageError` if nothing is."""
    record = await read_run(journal, run_id)
    if record is None:
        raise UsageError(f"The journal knows no outcome with the id {run_id!r}.")
    return record


async def run_of(journal: Journal, some_id: str) -> str:
    """The id of the run that an execution belongs to; any other id as it is."""
    known = (each for each in await journal.streams("execution") if each.stream == some_id)
    return next((each.run for each in known), some_id)


def is_gone(record: RunRecord) -> bool:
    """Whether nobody works on a run that has no end. This process knows what it works on itself."""
    who = record.owner
    return record.run_id not in AFOOT if who == owner() else owner_is_gone(who) is True


def taken(record: RunRecord) -> ResumeConflictError:
    """The error for whoever comes too late to go on with a run."""
    status: str
    if record.finished is not None:
        status, what = record.finished.status, "has come to its end"
    elif record.suspended is not None:
        status, what = (
            "suspended",
            (
                "is suspended, and its newest outcome has a token of its own; where that is lost, recover(…, force=True) and "
                "`harness resume JOURNAL OUTCOME_ID` give another"
            ),
        )
    else:
        status, what = "running", "is being resumed by somebody else"
    return ResumeConflictError(f"{record.run_id} {what}.", details={"outcome_id": record.run_id, "status": status})
