"""Runs on record: started once for each key, resumed, recovered, settled, replayed and swept."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, field, replace

import anyio
from pydantic import ValidationError

from harness.approvals.decision import Decision
from harness.canonical import content_hash
from harness.context import ExecutionContext
from harness.errors import (
    ContractChangedError,
    IdempotencyKeyError,
    JournalConflictError,
    JournalDamagedError,
    ResumeConflictError,
    ResumeTokenError,
    UsageError,
)
from harness.journal.contracts import ContractShelf
from harness.journal.journal import Journal
from harness.journal.machine import library_version
from harness.journal.owners import AFOOT, owner, owner_is_gone
from harness.journal.partial import ReplayedPart, replay_until
from harness.journal.payloads import RunStarted, Settlement
from harness.journal.record import Record
from harness.journal.replay import check_machine, replay
from harness.journal.runs import (
    RunBook,
    RunRecord,
    another_token,
    expire,
    is_expired,
    key_hash,
    read_run,
    token_hash,
)
from harness.journal.versions import with_version
from harness.model import ApprovalRequest, ExecutionStatus, Outcome
from harness.run import Mode, Run, Settings, find_blocks
from harness.runtime.runtime import Runtime
from harness.tools.registry import ToolRegistry

__all__ = ["Durable", "ExecutionEntry", "Order"]

Open = Callable[[bool], AbstractAsyncContextManager[Runtime]]
"""Opens a runtime, or only makes one if no script is going to run."""

_FIRST_LOOK_S = 0.02
_LAST_LOOK_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Order:
    """A text to be run, and everything that its run is given."""

    text: str
    context: ExecutionContext
    mode: Mode
    run_id: str
    trust_domain: str | None
    key: str | None = None
    """The idempotency key."""


@dataclass(frozen=True, slots=True)
class ExecutionEntry:
    """One execution on record, as `Harness.executions` lists it."""

    execution_id: str
    outcome_id: str
    place: int
    """Among the executions of its text, from 0."""
    status: str
    """``running``, ``interrupted`` (its process has ended), or as in `Execution`."""
    started_at: float
    """Seconds since the epoch."""
    expires_at: float | None
    """Until when it can be resumed, if it is suspended."""
    process: int | None
    """Id of the process that works on it, or did last, if that is of this machine."""
    events: int


@dataclass
class _Flight:
    """A run under way in this process."""

    run: Run
    done: anyio.Event = field(default_factory=anyio.Event)


class Durable:
    """The runs of one harness and its journal."""

    def __init__(self, journal: Journal, settings: Settings, open_runtime: Open) -> None:
        self._journal = journal
        self._settings = settings
        self._open = open_runtime
        self._flights: dict[str, _Flight] = {}
        self._contracts = ContractShelf(journal)

    # ── running ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def run(self, order: Order, settings: Settings) -> Outcome:
        """Run a text and put it on record; with a key that was used for it before, what became of it then.

        Raises `IdempotencyKeyError` for a key that was used for another text, and `JournalError` if nothing can be put on
        record: then nothing has run.
        """
        if order.key is not None:
            stream = await self._journal.find(f"key:{key_hash(order.key)}")
            if stream is not None:
                return await self._again(order, stream)
        await self._make_room(order)
        with AFOOT.working(order.run_id):
            book = await self._begin(order, settings)
            if book is not None:
                run = Run(settings, order.context, order.mode, order.run_id, order.trust_domain, book=book)
                return await self._fly(run, order.run_id, order.text)
        return await self.run(order, settings)

    async def _begin(self, order: Order, settings: Settings) -> RunBook | None:
        """None if somebody was quicker with the same key."""
        try:
            return await RunBook.begin(self._journal, order.run_id, await self._start(order, settings))
        except JournalConflictError:
            if order.key is None:
                raise
            return None

    async def _make_room(self, order: Order) -> None:
        """Let a caller use the id of an execution again, if what is on record under it may be forgotten."""
        execution_id = order.context.execution_id
        if "execution_id" not in order.context.model_fields_set:
            return
        if any(flight.run.execution_id == execution_id for flight in self._flights.values()):
            raise UsageError(f"An execution with the id {execution_id!r} is running already; give each one its own.")
        if self._journal.forgetful:
            await self._journal.forget(execution_id)
        elif await self._journal.events(execution_id):
            raise UsageError(f"An execution with the id {execution_id!r} is on record already; give each one its own.")

    async def _start(self, order: Order, settings: Settings) -> RunStarted:
        digest = await self._contracts.keep(settings.registry)
        return RunStarted(
            text_json=json.dumps(order.text),
            text_sha256=_text_hash(order.text),
            context=order.context.model_dump(mode="json"),
            own_id="execution_id" in order.context.model_fields_set,
            mode=order.mode,
            trust_domain=order.trust_domain,
            seed=settings.seed,
            continue_on_error=settings.continue_on_error,
            accept_fenced=settings.accept_fenced,
            skip_thinking=settings.skip_thinking,
            contracts=digest,
            key=None if order.key is None else key_hash(order.key),
            owner=owner(),
            library=library_version(),
        )

    async def _fly(self, run: Run, run_id: str, text: str) -> Outcome:
        with self._flight(run, run_id):
            async with self._open(run.needs_runtime) as runtime:
                return await run.outcome(text, runtime)

    @contextmanager
    def _flight(self, run: Run, run_id: str) -> Iterator[None]:
        flight = self._flights[run_id] = _Flight(run)
        try:
            yield
        finally:
            del self._flights[run_id]
            flight.done.set()

    async def _again(self, order: Order, run_id: str) -> Outcome:
        """What became of a run that was started with the same key."""
        wait = _FIRST_LOOK_S
        while True:
            record = await self._read(run_id)
            if record.started.text_sha256 != _text_hash(order.text):
                raise IdempotencyKeyError(
                    "This idempotency key was used before, for another text. A key belongs to one text; use a new one.",
                    details={"outcome_id": run_id},
                )
            outcome = record.outcome()
            if outcome is not None and record.suspended is None:
                return outcome
            flight = self._flights.get(run_id)
            try:
                if record.suspended is not None and is_expired(record.suspended, self._now()):
                    await self._expire(record)
                elif record.suspended is not None:
                    return await self._suspended(record)
                elif flight is not None:
                    await flight.done.wait()
                elif self._is_gone(record):
                    return await self._go_on(record, {})
                else:
                    await anyio.sleep(wait)
                    wait = min(wait * 2, _LAST_LOOK_S)
            except ResumeConflictError:
                # Somebody else was quicker to go on with it.
                continue

    async def _suspended(self, record: RunRecord) -> Outcome:
        """The outcome of a run that is suspended, with a token of its own. Raises `ResumeConflictError` if it goes on."""
        outcome = record.outcome()
        assert outcome is not None  # noqa: S101 - the callers have looked
        try:
            token = await another_token(self._journal, record)
        except JournalConflictError:
            raise _taken(await self._read(record.run_id)) from None
        return outcome.model_copy(update={"resume_token": token})

    # ── going on ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def resume(self, token: str, decisions: Mapping[str, Decision], context: ExecutionContext | None) -> Outcome:
        """See `Harness.resume`."""
        unknown = ResumeTokenError(
            "This is no resume token of this journal. Tokens come with a suspended outcome (outcome.resume_token) and "
            "are good for one resumption."
        )
        if not token.startswith("rsm_"):
            raise unknown
        run_id = await self._journal.find(f"token:{token_hash(token)}")
        if run_id is None:
            raise unknown
        record = await self._read(run_id)
        if record.suspended is None or token_hash(token) not in record.tokens():
            raise _taken(record)
        if is_expired(record.suspended, self._now()):
            await self._expire(record)
            raise ResumeTokenError(
                "This resume token has expired, and its execution was ended (Limits.suspension_time says how long one can "
                "be resumed).",
                details={"outcome_id": run_id, "expires_at": record.suspended.expires_at},
            )
        if context is not None:
            _check_caller(context, record)
        return await self._go_on(record, decisions)

    async def recover(self, run_id: str, decisions: Mapping[str, Decision], *, force: bool) -> Outcome:
        """See `Harness.recover`."""
        record = await self._read(run_id)
        if record.suspended is not None and not decisions and owner_is_gone(record.owner) is True:
            # It may have ended before it handed out the token.
            return await self._suspended(record)
        if record.finished is not None or record.suspended is not None:
            raise _taken(record)
        if run_id in AFOOT or not (force or self._is_gone(record)):
            raise ResumeConflictError(
                f"The process that runs {run_id} has not ended, or is one of another machine ({record.owner}). If you know "
                "that it has, insist: force=True, --force.",
                details={"outcome_id": run_id, "status": "running"},
            )
        return await self._go_on(record, decisions)

    def _is_gone(self, record: RunRecord) -> bool:
        """Whether nobody works on a run that has no end. This process knows what it works on itself."""
        who = record.owner
        return record.run_id not in AFOOT if who == owner() else owner_is_gone(who) is True

    async def _go_on(self, record: RunRecord, decisions: Mapping[str, Decision]) -> Outcome:
        """Go on with a run that is suspended or was interrupted."""
        started = record.started
        for execution in record.executions.values():
            if execution.finished is None:
                check_machine(execution.started.machine)
        settings = replace(
            self._settings,
            registry=await self._bound_registry(started),
            seed=started.seed,
            continue_on_error=started.continue_on_error,
            accept_fenced=started.accept_fenced,
            skip_thinking=started.skip_thinking,
        )
        settled = await self._settlements(record)
        given = {**settled, **_checked(decisions, _open_requests(record), settled)}
        with AFOOT.working(record.run_id):
            try:
                book = await RunBook.resume(self._journal, record, tuple(given))
            except JournalConflictError:
                raise _taken(await self._read(record.run_id)) from None
            return await self._run_on(record, settings, book, given)

    async def _run_on(
        self, record: RunRecord, settings: Settings, book: RunBook, given: Mapping[str, Decision]
    ) -> Outcome:
        started = record.started
        given_context = {
            name: value for name, value in started.context.items() if name != "execution_id" or started.own_id
        }
        context = ExecutionContext.model_validate(given_context)
        run = Run(
            settings,
            context,
            started.mode,
            record.run_id,
            started.trust_domain,
            book=book,
            past=record,
            decisions=given,
        )
        return await self._fly(run, record.run_id, started.text)

    async def _bound_registry(self, started: RunStarted) -> ToolRegistry:
        """The tools that a run began with, as they are now. Raises `ContractChangedError`."""
        recorded = await self._contracts.read(started.contracts)
        missing = [name for name in recorded if name not in self._settings.registry]
        if missing:
            raise ContractChangedError(
                f"This run began with tools that are not here: {', '.join(sorted(missing))}. Register them again.",
                details={"missing": sorted(missing)},
            )
        registry = self._settings.registry.select(list(recorded))
        changed = [tool.name for tool in registry if content_hash(tool.describe()) != content_hash(recorded[tool.name])]
        if changed:
            raise ContractChangedError(
                f"The contracts of these tools are not those that this run began with: {', '.join(sorted(changed))}.",
                details={"changed": sorted(changed)},
            )
        return registry

    async def _settlements(self, record: RunRecord) -> dict[str, Decision]:
        """What requests have come to while the run was in no process."""
        found = {}
        unsettled = [name for item in record.executions.values() if item.finished is None for name in item.unsettled()]
        for request_id in dict.fromkeys((*_open_requests(record), *unsettled)):
            for recorded in await self._journal.read(_settlement_stream(request_id)):
                payload = recorded.payload
                if isinstance(payload, Settlement) and payload.request_id == request_id:
                    answered = payload.decision == "answer"
                    found[request_id] = (
                        Decision.answer(payload.value) if answered else Decision.deny(payload.reason or "")
                    )
        return found

    async def settle(self, request_id: str, decision: Decision) -> bool:
        """See `Harness.settle`: True if the call has heard of it, False if it will when its run is resumed."""
        execution_id, _, call = request_id.removeprefix("dfr_").rpartition("_")
        events = await self._journal.events(execution_id) if request_id.startswith("dfr_") else []
        self._journal.verify(events)
        if not any(event.kind == "call_started" and str(event.data["call"]) == call for event in events):
            raise UsageError(
                f"No call of this journal waits for {request_id!r}. A tool that returns Deferred() finds the id in "
                "context.deferral_id."
            )
        if any(event.kind == "call_settled" and str(event.data["call"]) == call for event in events):
            raise ResumeConflictError(
                f"The call of {request_id} has ended already.", details={"request_id": request_id}
            )
        settlement = Settlement(
            request_id=request_id,
            decision="answer" if decision.kind == "answer" else "deny",
            value=decision.value,
            reason=decision.reason,
        )
        try:
            await self._journal.begin(_settlement_stream(request_id)).write(settlement)
        except JournalConflictError:
            raise ResumeConflictError(
                f"{request_id} was settled before; the first result counts.", details={"request_id": request_id}
            ) from None
        run_id = next(event.data["outcome_id"] for event in events if event.kind == "started")
        flight = self._flights.get(str(run_id))
        return flight is not None and flight.run.answer(execution_id, request_id, decision)

    # ── looking back ─────────────────────────────────────────────────────────────────────────────────────────────

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
        record = await self._read(known.run)
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
        entries = []
        for known in streams:
            if known.kind != "execution":
                continue
            run, status, process = runs.get(known.run), known.status, None
            if status == "running" and run is not None:
                record = await self._read(known.run)
                status = "interrupted" if self._is_gone(record) else "running"
                pid = record.owner.get("pid")
                process = pid if isinstance(pid, int) and owner_is_gone(record.owner) is not None else None
            entries.append(
                ExecutionEntry(
                    execution_id=known.stream,
                    outcome_id=known.run,
                    place=known.place,
                    status=status,
                    started_at=known.started_at,
                    expires_at=None if run is None else run.expires_at,
                    process=process,
                    events=known.events,
                )
            )
        return entries

    async def sweep(self) -> int:
        """See `Harness.sweep`."""
        swept = 0
        for known in await self._journal.streams("run"):
            if known.status == "suspended":
                record = await self._read(known.stream)
                if record.suspended is not None and is_expired(record.suspended, self._now()):
                    swept += await self._expire(record)
        return swept

    async def _expire(self, record: RunRecord) -> bool:
        """End a run that nobody resumed in time; False if somebody else did."""
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

    def _now(self) -> float:
        return (self._settings.clock or time.time)()

    async def _read(self, run_id: str) -> RunRecord:
        record = await read_run(self._journal, run_id)
        if record is None:
            raise UsageError(f"The journal knows no outcome with the id {run_id!r}.")
        return record


_CALLER = ("conversation_id", "session_id", "user_id")


def _text_hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _settlement_stream(request_id: str) -> str:
    return f"settlement_{request_id}"


def _open_requests(record: RunRecord) -> dict[str, ApprovalRequest]:
    found: dict[str, ApprovalRequest] = {}
    for execution in record.executions.values():
        if execution.finished is None:
            found.update(execution.open_requests())
    return found


def _checked(
    decisions: Mapping[str, Decision], pending: Mapping[str, ApprovalRequest], settled: Mapping[str, Decision]
) -> dict[str, Decision]:
    """Decisions that can be made. Raises `UsageError` for any other, `ResumeConflictError` where `settle` was quicker."""
    for request_id, decision in decisions.items():
        if not isinstance(decision, Decision):
            raise UsageError(
                f"A decision is made with Decision.approve() and the like; for {request_id!r} came {decision!r}."
            )
        request = pending.get(request_id)
        if request is None:
            known = ", ".join(pending) or "nothing"
            raise UsageError(f"Nothing waits for {request_id!r}; what waits: {known}.")
        if request_id in settled:
            raise ResumeConflictError(
                f"{request_id} was settled before; the first result counts. Resume without a decision about it.",
                details={"request_id": request_id},
            )
        if request.kind == "deferred" and decision.kind == "approve":
            raise UsageError(
                f"tools.{request.tool} was called already and its result comes later: Decision.answer(value) gives it, "
                "Decision.deny(reason) says that it failed."
            )
        if request.kind == "in_doubt" and decision.edits:
            raise UsageError(f"tools.{request.tool} was called already, so its arguments cannot be edited.")
    return dict(decisions)


def _check_caller(context: ExecutionContext, record: RunRecord) -> None:
    """Raises `ResumeTokenError` if somebody else resumes than who began."""
    began = record.started.context
    other = [name for name in _CALLER if getattr(context, name) != began.get(name)]
    if other:
        raise ResumeTokenError(
            f"This token belongs to another caller: {', '.join(other)} is not the one that this run began with.",
            details={"fields": [*other]},
        )


def _taken(record: RunRecord) -> ResumeConflictError:
    """The error for whoever comes too late."""
    status: str
    if record.finished is not None:
        status, what = record.finished.status, "has come to its end"
    elif record.suspended is not None:
        status, what = "suspended", "is suspended, and its newest outcome has a token of its own"
    else:
        status, what = "running", "is being resumed by somebody else"
    return ResumeConflictError(f"{record.run_id} {what}.", details={"outcome_id": record.run_id, "status": status})
