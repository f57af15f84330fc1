"""Looking back at what is on record: replaying it, listing it, ending what nobody resumed in time."""

from __future__ import annotations

import time
from dataclasses import dataclass

from pydantic import ValidationError

from harness.context import ExecutionContext
from harness.durable.flights import Open, known_run
from harness.errors import JournalConflictError, JournalDamagedError, UsageError
from harness.journal.owners import AFOOT, owner, owner_is_gone
from harness.journal.partial import ReplayedPart, replay_until
from harness.journal.record import Record
from harness.journal.replay import replay
from harness.journal.runs import RunRecord, expire, is_expired
from harness.journal.store import StoredStream
from harness.journal.versions import with_version
from harness.model import ExecutionStatus, Outcome
from harness.run import Settings, find_blocks

__all__ = ["ExecutionEntry", "Looking"]


@dataclass(frozen=True, slots=True)
class ExecutionEntry:
    """One execution on record, as `Harness.executions` lists it."""

    execution_id: str
    outcome_id: str
    place: int
    """Among the executions of its text, from 0."""
    status: str
    """``running``, ``interrupted`` (its process has ended), ``damaged`` (its record cannot be read, or its end was cut
    off), or as in `Execution`."""
    outcome_status: str
    """How the whole text stands: ``running``, ``interrupted``, ``suspended``, ``finished``, ``expired`` or ``damaged``."""
    started_at: float
    """Seconds since the epoch."""
    expires_at: float | None
    """Until when it can be resumed, if it is suspended."""
    process: int | None
    """Id of the process that works on it, or did last, if that is of this machine."""
    events: int


def _entry(known: StoredStream, run: StoredStream | None, outcome_status: str, process: int | None) -> ExecutionEntry:
    return ExecutionEntry(
        execution_id=known.stream,
        outcome_id=known.run,
        place=known.place,
        status=_status(known, outcome_status),
        outcome_status=outcome_status,
        started_at=known.started_at,
        expires_at=None if run is None else run.expires_at,
        process=process,
        events=known.events,
    )


def _status(known: StoredStream, outcome_status: str) -> str:
    if known.status != "running":
        return known.status
    # An execution ends before its outcome does: the events that say how are missing.
    return "damaged" if outcome_status in ("finished", "expired") else outcome_status


class Looking:
    """Reads the journal of one harness."""

    def __init__(self, settings: Settings, open_runtime: Open) -> None:
        self._settings = settings
        self._journal = settings.journal
        self._open = open_runtime

    async def replay(self, some_id: str, *, force: bool) -> Outcome:
        """See `Harness.replay`."""
        try:
            return await self._replay(some_id, force=force)
        except (JournalDamagedError, ValidationError) as error:
            raise await with_version(self._journal, some_id, error) from error

    async def _replay(self, some_id: str, *, force: bool) -> Outcome:
        streams = {known.stream: known for known in await self._journal.streams()}
        known = streams.get(some_id)
        if known is None or known.kind not in ("run", "execution"):
            raise UsageError(f"The journal knows no outcome and no execution with the id {some_id!r}.")
        record = await known_run(self._journal, known.run)
        wanted = [item for _, item in sorted(record.executions.items()) if some_id in (known.run, item.execution_id)]
        async with self._open(True) as runtime:
            replayed = {
                item.execution_id: await replay(item, runtime, self._settings.redactor, force=force) for item in wanted
            }
        outcome = record.outcome()
        if known.kind == "run" and outcome is not None:
            executions = tuple(replayed.get(execution.id, execution) for execution in outcome.executions)
            return outcome.model_copy(update={"executions": executions})
        context = ExecutionContext.model_validate(record.started.context)
        segments, diagnostics = find_blocks(record.started.text, self._settings, context.limits)
        return Outcome(
            id=record.run_id,
            segments=tuple(segments),
            executions=tuple(replayed.values()),
            diagnostics=tuple(diagnostics),
        )

    async def replay_until(self, execution_id: str, seq: int | None, *, force: bool) -> ReplayedPart:
        """See `Harness.replay_until`."""
        known = next(
            (known for known in await self._journal.streams("execution") if known.stream == execution_id), None
        )
        if known is None:
            raise UsageError(f"The journal knows no execution with the id {execution_id!r}.")
        try:
            record = Record.of(await self._journal.read(execution_id))
            async with self._open(True) as runtime:
                return await replay_until(record, runtime, self._settings.redactor, seq, force=force)
        except (JournalDamagedError, ValidationError) as error:
            raise await with_version(self._journal, execution_id, error) from error

    async def executions(self) -> list[ExecutionEntry]:
        """See `Harness.executions`."""
        streams = await self._journal.streams()
        runs = {known.stream: known for known in streams if known.kind == "run"}
        standing: dict[str, tuple[str, int | None]] = {
            stream: (run.status, None) for stream, run in runs.items() if run.status != "running"
        }
        entries = []
        for known in streams:
            if known.kind == "execution":
                if known.run not in standing:
                    standing[known.run] = await self._who_works_on(known.run)
                entries.append(_entry(known, runs.get(known.run), *standing[known.run]))
        return entries

    async def _who_works_on(self, run_id: str) -> tuple[str, int | None]:
        """Whether a run without an end is ``running`` or ``interrupted``, and the id of its process, if that is of this
        machine. It takes no key; ``damaged`` is one whose record cannot be read.
        """
        try:
            events = await self._journal.events(run_id)
        except JournalDamagedError:
            return "damaged", None
        who = next((event.data["owner"] for event in reversed(events) if "owner" in event.data), None)
        if not isinstance(who, dict):
            return "damaged", None
        gone = run_id not in AFOOT if who == owner() else owner_is_gone(who)
        pid = who.get("pid")
        return "interrupted" if gone else "running", pid if isinstance(pid, int) and gone is not None else None

    # ── what nobody resumed in time ──────────────────────────────────────────────────────────────────────────────

    async def sweep(self) -> int:
        """See `Harness.sweep`."""
        swept = 0
        for known in await self._journal.streams("run"):
            if known.status == "suspended":
                record = await known_run(self._journal, known.stream)
                swept += self.is_expired(record) and await self.expire(record)
        return swept

    def is_expired(self, record: RunRecord) -> bool:
        """Whether a run is suspended and can no longer be resumed."""
        return record.suspended is not None and is_expired(record.suspended, (self._settings.clock or time.time)())

    async def expire(self, record: RunRecord) -> bool:
        """End a suspended run; False if somebody else did, or went on with it."""
        outcome, suspended = record.outcome(), record.suspended
        assert outcome is not None  # noqa: S101 - the callers have looked
        assert suspended is not None  # noqa: S101 - likewise
        reason = "nobody resumed it in time (suspension_time)"
        (waiting,) = (each for each in outcome.executions if each.id == suspended.execution_id)
        over = waiting.model_copy(update={"status": ExecutionStatus.CANCELLED, "reason": reason})
        executions = tuple(over if each is waiting else each for each in outcome.executions)
        ended = outcome.model_copy(update={"executions": executions, "pending": ()})
        try:
            await expire(self._journal, record, ended, over)
        except JournalConflictError:
            return False
        return True
