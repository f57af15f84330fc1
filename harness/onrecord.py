"""What a harness does with runs that are on record: go on with them, settle their calls, look back."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from harness.approvals.decision import Decision
from harness.context import ExecutionContext
from harness.durable import Durable
from harness.durable.looking import ExecutionEntry
from harness.errors import UsageError
from harness.given import given_context, given_decisions, given_result
from harness.journal.partial import ReplayedPart
from harness.lifecycle import Lifecycle
from harness.model import Outcome

__all__ = ["OnRecord"]


class OnRecord(Lifecycle):
    """The part of `Harness` that is about its journal."""

    _durable: Durable

    async def resume(
        self,
        token: str,
        decisions: Mapping[str, Decision] | None = None,
        *,
        context: ExecutionContext | Mapping[str, Any] | None = None,
    ) -> Outcome:
        """Go on with a suspended outcome, in this process or any that sees its journal; its blocks behind run as well.

        ``decisions`` says what was decided, by the id of the request (``outcome.pending``); what is left out goes on
        waiting, and the outcome is suspended again, with a new token, also without an approver here. With ``context``, the
        caller must be the one who began. Script, limits and context are those on record.

        Raises `ResumeTokenError` for a token that is unknown, expired or another caller's, `ResumeConflictError` if it was
        used, `ContractChangedError` if a tool is missing or changed more than ``Harness(gating=…)`` allows, and `UsageError`
        for decisions about what nobody asked.
        """
        self._check_process()
        if not isinstance(token, str):
            raise UsageError(f"A resume token is a string, not {token!r}.")
        given = None if context is None else given_context(self.limits, context, None, None)
        return await self._durable.continuing.resume(token, given_decisions(decisions), given)

    async def recover(
        self, outcome_id: str, decisions: Mapping[str, Decision] | None = None, *, force: bool = False
    ) -> Outcome:
        """Go on with a run whose process ended in the middle of it, or which was cancelled with its task.

        Nothing is done twice: what has ended is taken from the record, a call that was started and is not idempotent
        waits for somebody's word on what became of it (a pending request of the kind ``in_doubt``). For a run that was
        suspended by a process that has ended since, perhaps before anybody had its token, this is its outcome with
        another one. ``outcome_id`` may be the id of one of its executions.

        Raises `ResumeConflictError` if the run is not interrupted. Whether a process of another machine still runs it
        cannot be seen from here; ``force`` says that none does.
        """
        self._check_process()
        return await self._durable.continuing.recover(outcome_id, given_decisions(decisions), force=force)

    async def settle(self, deferral_id: str, value: Any = None, *, error: BaseException | str | None = None) -> bool:
        """Give the result of a call whose tool returned `Deferred`, or say why there is none; from any process.

        True if the call has it now; False if it will when its outcome is resumed. Raises `UsageError` for a call that is
        not there, and `ResumeConflictError` for one that has its result, or whose run has ended or expired.
        """
        self._check_process()
        if not isinstance(deferral_id, str):
            raise UsageError(
                f"settle takes the id of a deferred call (context.deferral_id, or that of the request), not {deferral_id!r}."
            )
        return await self._durable.settlements.settle(deferral_id, given_result(value, error))

    async def replay(self, some_id: str, *, force: bool = False) -> Outcome:
        """Run an execution, or all of an outcome, again from the record, without tools, and compare every call and the end.

        Raises `ReplayDivergenceError` that says at which event, what was recorded and what happened; it also refuses
        other builds of the engine or the C library than the recorded ones, unless ``force``.
        """
        self._check_process()
        return await self._durable.looking.replay(some_id, force=force)

    async def replay_until(self, execution_id: str, seq: int | None = None, *, force: bool = False) -> ReplayedPart:
        """Run an execution again up to event ``seq`` of its record, by default the last; what it had done by then.

        Also for one that is suspended or was interrupted. Raises as `replay` does, and `UsageError` for an event or an
        execution that is not there.
        """
        self._check_process()
        return await self._durable.looking.replay_until(execution_id, seq, force=force)

    async def executions(self) -> list[ExecutionEntry]:
        """Every execution on record, oldest first: how it stands, and which process works on it."""
        self._check_process()
        return await self._durable.looking.executions()

    async def sweep(self) -> int:
        """End the suspended runs that nobody resumed in time; how many there were."""
        self._check_process()
        return await self._durable.looking.sweep()

    def resume_sync(
        self,
        token: str,
        decisions: Mapping[str, Decision] | None = None,
        *,
        context: ExecutionContext | Mapping[str, Any] | None = None,
    ) -> Outcome:
        """`resume`, from code without an event loop."""
        return self._call_sync(partial(self.resume, context=context), token, decisions)

    def recover_sync(
        self, outcome_id: str, decisions: Mapping[str, Decision] | None = None, *, force: bool = False
    ) -> Outcome:
        """`recover`, from code without an event loop."""
        return self._call_sync(partial(self.recover, force=force), outcome_id, decisions)

    def settle_sync(self, deferral_id: str, value: Any = None, *, error: BaseException | str | None = None) -> bool:
        """`settle`, from code without an event loop."""
        return self._call_sync(partial(self.settle, error=error), deferral_id, value)

    def replay_sync(self, some_id: str, *, force: bool = False) -> Outcome:
        """`replay`, from code without an event loop."""
        return self._call_sync(partial(self.replay, force=force), some_id)
