"""A whole text on record: what all its executions have in common, and how it was suspended, resumed and ended."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import JsonValue

from harness.errors import HarnessError, JournalDamagedError
from harness.journal.journal import EventLog, Journal, Recorded
from harness.journal.owners import owner
from harness.journal.payloads import ExecutionBegun, RunFinished, RunResumed, RunStarted, RunSuspended
from harness.journal.record import Record, payloads_of
from harness.journal.recorder import Recorder, finished
from harness.model import Execution, Outcome

__all__ = [
    "RunBook",
    "RunRecord",
    "another_token",
    "expire",
    "is_expired",
    "key_hash",
    "read_run",
    "token_hash",
]


def key_hash(key: str) -> str:
    """What an idempotency key is kept as."""
    return hashlib.sha256(f"key {key}".encode()).hexdigest()


def token_hash(token: str) -> str:
    """What a resume token is kept as: whoever reads the journal cannot resume with it."""
    return hashlib.sha256(f"token {token}".encode()).hexdigest()


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class RunRecord:
    """What is on record of a run."""

    started: RunStarted
    events: Sequence[Recorded]
    executions: Mapping[int, Record]
    """By their place in the text."""

    @property
    def run_id(self) -> str:
        """The id of its outcome."""
        return self.events[0].event.stream

    @property
    def owner(self) -> dict[str, JsonValue]:
        """The process that works on it, or did last."""
        resumed = [item.payload for item in self.events if isinstance(item.payload, RunResumed)]
        return resumed[-1].owner if resumed else self.started.owner

    @property
    def finished(self) -> RunFinished | None:
        """Its end, if it has one."""
        last = self.events[-1].payload
        return last if isinstance(last, RunFinished) else None

    def outcome(self) -> Outcome | None:
        """What became of it; None if it has neither come to an end nor been suspended."""
        last = self.events[-1].payload
        if not isinstance(last, (RunFinished, RunSuspended)):
            return None
        known = {execution.id: execution for execution in last.outcome.executions}
        for record in self.executions.values():
            if record.finished is not None:
                known[record.execution_id] = record.finished.execution
        return last.outcome.model_copy(update={"executions": tuple(known[name] for name in last.executions)})

    @property
    def suspended(self) -> RunSuspended | None:
        """How it was suspended, if it is."""
        last = self.events[-1].payload
        return last if isinstance(last, RunSuspended) else None

    def tokens(self) -> set[str]:
        """Hashes of the tokens with which it can be resumed now."""
        found: set[str] = set()
        for recorded in self.events:
            if isinstance(recorded.payload, RunSuspended):
                found.add(recorded.payload.token)
            elif isinstance(recorded.payload, RunResumed):
                found.clear()
        return found


async def read_run(journal: Journal, run_id: str) -> RunRecord | None:
    """What is on record of a run; None if it is not known. Raises `JournalDamagedError` and `JournalKeyError`."""
    events = await journal.read(run_id)
    if not events:
        return None
    payloads = payloads_of(events)
    first = payloads[0]
    if not isinstance(first, RunStarted):
        raise JournalDamagedError(f"The record of {run_id} does not begin with its start.")
    begun = [payload for payload in payloads if isinstance(payload, ExecutionBegun)]
    return RunRecord(first, events, {each.index: await _execution(journal, run_id, each) for each in begun})


async def _execution(journal: Journal, run_id: str, begun: ExecutionBegun) -> Record:
    """What is on record of an execution. Raises `JournalDamagedError` if it is gone: to begin it anew would do again what
    it has done.
    """
    events = await journal.read(begun.execution_id)
    if not events:
        raise JournalDamagedError(
            f"{run_id} has begun {begun.execution_id}, and nothing is on record of that any more.",
            details={"stream": begun.execution_id, "seq": 1},
        )
    record = Record.of(events)
    if (record.started.outcome_id, record.started.index) != (run_id, begun.index):
        raise JournalDamagedError(
            f"The record of {begun.execution_id} is that of another run than {run_id}, or of another block.",
            details={"stream": begun.execution_id, "seq": 1},
        )
    return record


# ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class RunBook:
    """Puts one run on record."""

    def __init__(self, journal: Journal, log: EventLog, run_id: str) -> None:
        self._journal = journal
        self._log = log
        self._logs = [log]
        self._ended: set[str] = set()
        self.run_id = run_id

    @classmethod
    async def begin(cls, journal: Journal, run_id: str, started: RunStarted) -> RunBook:
        """A run that starts. Raises `JournalConflictError` if its idempotency key was used before."""
        # Of those who use one key at the same time, one must be first.
        log = journal.begin(run_id, run=run_id, patient=started.key is None)
        await log.write(started)
        return cls(journal, log, run_id)

    @classmethod
    async def resume(cls, journal: Journal, record: RunRecord, decided: Sequence[str]) -> RunBook:
        """A run that goes on. Raises `JournalConflictError` if somebody else was quicker."""
        log = journal.go_on(record.events[-1].event)
        await log.write(RunResumed(owner=owner(), decided=tuple(decided)))
        return cls(journal, log, record.run_id)

    def recorder(
        self, execution_id: str, record: Record | None, on_failure: Callable[[HarnessError], None]
    ) -> Recorder:
        """What puts one of its executions on record; ``record`` is what there is of it already."""
        journal = self._journal
        log = (
            journal.begin(execution_id, run=self.run_id, patient=True)
            if record is None
            else journal.go_on(record.events[-1].event, run=self.run_id, patient=True)
        )
        self._logs.append(log)
        return Recorder(log, self._log, on_failure)

    def note_ended(self, execution_id: str) -> None:
        """One of its executions is on record with its end, so that it need not be there twice."""
        self._ended.add(execution_id)

    async def suspend(self, outcome: Outcome, execution_id: str, expires_at: float) -> str:
        """The run waits from now on; the token to go on with it."""
        token = f"rsm_{secrets.token_urlsafe(32)}"
        await self._log.write(
            RunSuspended(
                token=token_hash(token),
                expires_at=expires_at,
                execution_id=execution_id,
                **_without(self._ended, outcome),
            )
        )
        return token

    async def finish(self, outcome: Outcome) -> None:
        """The run is over, and nobody has heard of it yet."""
        await self._log.write(_end("finished", outcome, self._ended))
        await self._journal.retire(self.run_id, sum(log.weight for log in self._logs))


def _without(recorded: AbstractSet[str], outcome: Outcome) -> dict[str, Any]:
    """An outcome as a run keeps it: its executions that are on record themselves are not there twice."""
    rest = tuple(execution for execution in outcome.executions if execution.id not in recorded)
    return {
        "outcome": outcome.model_copy(update={"executions": rest, "resume_token": None}),
        "executions": tuple(execution.id for execution in outcome.executions),
    }


def _end(status: Literal["finished", "expired"], outcome: Outcome, recorded: AbstractSet[str]) -> RunFinished:
    return RunFinished(status=status, **_without(recorded, outcome))


async def expire(journal: Journal, record: RunRecord, outcome: Outcome, execution: Execution) -> None:
    """Put on record that a suspended run and its execution are over, both at once.

    Raises `JournalConflictError` if somebody went on with it.
    """
    (item,) = (item for item in record.executions.values() if item.execution_id == execution.id)
    run, log = journal.go_on(record.events[-1].event), journal.go_on(item.events[-1].event)
    recorded = {each.execution_id for each in record.executions.values()}
    await run.write_with(_end("expired", outcome, recorded), log, finished(execution))


async def another_token(journal: Journal, record: RunRecord) -> str:
    """One more token for a run that is suspended."""
    suspended = record.suspended
    assert suspended is not None  # noqa: S101 - asked by the caller
    token = f"rsm_{secrets.token_urlsafe(32)}"
    log = journal.go_on(record.events[-1].event)
    await log.write(suspended.model_copy(update={"token": token_hash(token)}))
    return token


def is_expired(suspended: RunSuspended, now: float) -> bool:
    """Whether it can no longer be resumed, at a time in seconds since the epoch."""
    return suspended.expires_at < now
