"""Starting a run, once for each idempotency key."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Protocol

import anyio

from harness.context import CALLER, ExecutionContext
from harness.durable.continuing import Continuing
from harness.durable.flights import Flights, is_gone, known_run
from harness.errors import IdempotencyKeyError, JournalConflictError, ResumeConflictError, UsageError
from harness.journal.contracts import ContractShelf
from harness.journal.machine import library_version
from harness.journal.owners import AFOOT, owner
from harness.journal.payloads import RunStarted
from harness.journal.runs import RunBook, RunRecord, key_hash
from harness.model import Outcome
from harness.run import Mode, Run, Settings

__all__ = ["Order", "Starter", "Starting"]

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


class Starter(Protocol):
    """Whoever runs a text that nobody has run yet."""

    async def run(self, order: Order, settings: Settings) -> Outcome:
        """Run it."""
        ...


class Starting:
    """Starts runs and puts them on record."""

    def __init__(self, settings: Settings, flights: Flights, shelf: ContractShelf, continuing: Continuing) -> None:
        self._journal = settings.journal
        self._flights = flights
        self._shelf = shelf
        self._continuing = continuing

    async def run(self, order: Order, settings: Settings) -> Outcome:
        """Run a text and put it on record; with a key that was used for it before, what became of it then.

        Raises `IdempotencyKeyError` for a key that was used for another text, caller or inputs, and `JournalError` if nothing
        can be put on record: then nothing has run.
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
                return await self._flights.fly(run, order.run_id, order.text)
        return await self.run(order, settings)

    async def _begin(self, order: Order, settings: Settings) -> RunBook | None:
        """None if somebody was quicker with the same key."""
        started = RunStarted(
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
            contracts=await self._shelf.keep(settings.registry),
            key=None if order.key is None else key_hash(order.key),
            owner=owner(),
            library=library_version(),
        )
        try:
            return await RunBook.begin(self._journal, order.run_id, started)
        except JournalConflictError:
            if order.key is None:
                raise
            return None

    async def _make_room(self, order: Order) -> None:
        """Let a caller use the id of an execution again, if what is on record under it may be forgotten."""
        execution_id = order.context.execution_id
        if "execution_id" not in order.context.model_fields_set:
            return
        if self._flights.uses(execution_id):
            raise UsageError(f"An execution with the id {execution_id!r} is running already; give each one its own.")
        if self._journal.forgetful:
            await self._journal.forget(execution_id)
        elif await self._journal.events(execution_id):
            raise UsageError(f"An execution with the id {execution_id!r} is on record already; give each one its own.")

    async def _again(self, order: Order, run_id: str) -> Outcome:
        """What became of a run that was started with the same key."""
        wait = _FIRST_LOOK_S
        while True:
            record = await known_run(self._journal, run_id)
            if record.started.text_sha256 != _text_hash(order.text):
                raise IdempotencyKeyError(
                    "This idempotency key was used before, for another text. A key belongs to one text; use a new one.",
                    details={"outcome_id": run_id},
                )
            others = _others(order.context, record)
            if others:
                raise IdempotencyKeyError(
                    f"This idempotency key was used before, with other values of the context: {', '.join(others)}. A key "
                    "belongs to one caller and one set of inputs; use a new one.",
                    details={"fields": [*others]},
                )
            outcome = record.outcome()
            if outcome is not None and record.suspended is None:
                return outcome
            try:
                if record.suspended is not None:
                    ended = await self._continuing.expired(record)
                    if not ended:
                        return await self._continuing.suspended(record)
                elif await self._flights.landed(run_id):
                    pass
                elif is_gone(record):
                    return await self._continuing.go_on(record, {})
                else:
                    await anyio.sleep(wait)
                    wait = min(wait * 2, _LAST_LOOK_S)
            except ResumeConflictError:
                # Somebody else was quicker to go on with it.
                continue


def _others(context: ExecutionContext, record: RunRecord) -> list[str]:
    """What of a context is not as the run began with, and makes it another run."""
    now, began = context.model_dump(mode="json"), record.started.context
    return [name for name in (*CALLER, "inputs") if now[name] != began.get(name)]


def _text_hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
