"""Going on with a run that was suspended, or whose process ended in the middle of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from harness.approvals.decision import Decision
from harness.context import CALLER, ExecutionContext
from harness.contracts.binding import Binding, check_binding
from harness.durable.flights import Flights, is_gone, known_run, run_of, taken
from harness.durable.looking import Looking
from harness.durable.settlements import Settlements, checked, open_requests
from harness.errors import ContractChangedError, JournalConflictError, ResumeConflictError, ResumeTokenError
from harness.journal.contracts import ContractShelf
from harness.journal.owners import AFOOT, owner_is_gone
from harness.journal.replay import check_machine
from harness.journal.runs import RunBook, RunRecord, another_token, token_hash
from harness.model import Diagnostic, Outcome, Severity
from harness.run import Run, Settings

__all__ = ["Continuing"]


class Continuing:
    """Resumes and recovers runs: to the same point by replay, then for real."""

    def __init__(
        self, settings: Settings, flights: Flights, shelf: ContractShelf, settlements: Settlements, looking: Looking
    ) -> None:
        self._settings = settings
        self._journal = settings.journal
        self._flights = flights
        self._shelf = shelf
        self._settlements = settlements
        self._looking = looking

    async def resume(self, token: str, decisions: Mapping[str, Decision], context: ExecutionContext | None) -> Outcome:
        """See `Harness.resume`."""
        run_id = await self._journal.find(f"token:{token_hash(token)}") if token.startswith("rsm_") else None
        if run_id is None:
            raise ResumeTokenError(
                "This is no resume token of this journal. Tokens come with a suspended outcome (outcome.resume_token) and "
                "are good for one resumption."
            )
        record = await known_run(self._journal, run_id)
        if record.suspended is None or token_hash(token) not in record.tokens():
            raise taken(record)
        expires_at = record.suspended.expires_at
        if await self.expired(record):
            raise ResumeTokenError(
                "This resume token has expired, and its execution was ended (Limits.suspension_time says how long one can "
                "be resumed).",
                details={"outcome_id": run_id, "expires_at": expires_at},
            )
        if context is not None:
            _check_caller(context, record)
        return await self.go_on(record, decisions)

    async def recover(self, run_id: str, decisions: Mapping[str, Decision], *, force: bool) -> Outcome:
        """See `Harness.recover`."""
        run_id = await run_of(self._journal, run_id)
        record = await known_run(self._journal, run_id)
        if record.suspended is not None and not decisions and (force or owner_is_gone(record.owner) is True):
            # It may have ended before it handed out the token.
            return await self.suspended(record)
        if record.finished is not None or record.suspended is not None:
            raise taken(record)
        if run_id in AFOOT or not (force or is_gone(record)):
            raise ResumeConflictError(
                f"The process that runs {run_id} ({record.owner.get('pid')}) has not ended, or is one of another machine "
                f"({record.owner.get('machine')}). If you know that it has, insist: force=True, --force.",
                details={"outcome_id": run_id, "status": "running"},
            )
        return await self.go_on(record, decisions)

    async def expired(self, record: RunRecord) -> bool:
        """Whether a suspended run can no longer be resumed. It is ended then, unless somebody else has done so."""
        if not self._looking.is_expired(record):
            return False
        await self._looking.expire(record)
        return True

    async def suspended(self, record: RunRecord) -> Outcome:
        """The outcome of a run that is suspended, with a token of its own. Raises `ResumeConflictError` if it goes on."""
        outcome = record.outcome()
        assert outcome is not None  # noqa: S101 - the callers have looked
        try:
            token = await another_token(self._journal, record)
        except JournalConflictError:
            raise taken(await known_run(self._journal, record.run_id)) from None
        return outcome.model_copy(update={"resume_token": token})

    async def go_on(self, record: RunRecord, decisions: Mapping[str, Decision]) -> Outcome:
        """Go on with a run that is suspended or was interrupted."""
        started = record.started
        for execution in record.executions.values():
            if execution.finished is None:
                check_machine(execution.started.machine)
        binding = await self._bound(record)
        settings = replace(
            self._settings,
            registry=self._settings.registry.select(binding.selection),
            seed=started.seed,
            continue_on_error=started.continue_on_error,
            accept_fenced=started.accept_fenced,
            skip_thinking=started.skip_thinking,
        )
        settled = await self._settlements.of(record)
        given = {**settled, **checked(decisions, open_requests(record), settled)}
        own_context = {
            name: value for name, value in started.context.items() if name != "execution_id" or started.own_id
        }
        with AFOOT.working(record.run_id):
            try:
                book = await RunBook.resume(self._journal, record, tuple(given))
            except JournalConflictError:
                raise taken(await known_run(self._journal, record.run_id)) from None
            run = Run(
                settings,
                ExecutionContext.model_validate(own_context),
                started.mode,
                record.run_id,
                started.trust_domain,
                book=book,
                past=record,
                decisions=given,
                warnings=_warnings(binding),
            )
            return await self._flights.fly(run, record.run_id, started.text)

    async def _bound(self, record: RunRecord) -> Binding:
        """With which of the tools that are here a run goes on. Raises `ContractChangedError`, and the token stays good."""
        recorded = await self._shelf.read(record.started.contracts)
        binding = check_binding(recorded, self._settings.registry, self._settings.gating)
        if binding.accepted:
            return binding
        refused = {
            one.name: [each.to_dict() for each in one.differences] for one in binding.bound if one.verdict == "refused"
        }
        raise ContractChangedError(
            f"This run cannot go on with the tools that are here. {binding.reason}",
            details={"differences": refused},
        )


def _warnings(binding: Binding) -> list[Diagnostic]:
    return [
        Diagnostic(
            code="contract_changed",
            severity=Severity.WARNING,
            message=one.reason,
            details={"tool": one.name, "recorded": one.recorded, "served_by": one.served_by},
        )
        for one in binding.bound
        if one.verdict == "warned"
    ]


def _check_caller(context: ExecutionContext, record: RunRecord) -> None:
    """Raises `ResumeTokenError` if somebody else resumes than who began."""
    began = record.started.context
    other = [name for name in CALLER if getattr(context, name) != began.get(name)]
    if other:
        raise ResumeTokenError(
            f"This token belongs to another caller: {', '.join(other)} is not the one that this run began with.",
            details={"fields": [*other]},
        )
