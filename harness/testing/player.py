"""One run put on a tape, and one that is played from it: the same scripts, and calls that end as recorded."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import JsonValue

from harness.context import ExecutionContext
from harness.contracts.binding import Verdict, check_binding
from harness.contracts.values import ContractSet
from harness.durable.flights import Open
from harness.durable.starting import Order, Starter
from harness.errors import ReplayDivergenceError, UsageError
from harness.journal.machine import machine
from harness.journal.payloads import Started
from harness.journal.record import Record
from harness.journal.replay import check_machine, rerun
from harness.journal.runs import read_run
from harness.model import Block, Execution, Outcome, Script
from harness.pipeline import Harness
from harness.run import Mode, Run, Settings
from harness.runtime.runtime import Runtime
from harness.testing.censor import Redact, redacted
from harness.testing.mismatch import Playback
from harness.testing.tape import TapedRun
from harness.tools.tool import Tool

__all__ = ["Request", "play", "record_run"]


@dataclass(frozen=True)
class Request:
    """A text to run, and everything that it is given."""

    text: str
    tools: Any
    context: ExecutionContext | Mapping[str, Any] | None
    inputs: Mapping[str, Any] | None
    options: Mapping[str, Any]
    """Of `Harness`."""

    async def run(self, harness: Harness) -> Outcome:
        """In a harness."""
        async with harness:
            return await harness.run(self.text, context=self.context, inputs=self.inputs)


async def record_run(request: Request, execution_id: str) -> tuple[Outcome, TapedRun | None]:
    """Run a text with its real tools; None if what is on record of it is not whole."""
    harness = _RecordingHarness(request.tools, execution_id, request.options)
    outcome = await request.run(harness)
    return outcome, harness.recorder.tape


async def play(request: Request, tape: TapedRun, *, redact: Redact | None = None, force: bool = False) -> Playback:
    """Run a text against a tape: its tools and its approver are not asked. Without tools, the recorded names will do.

    ``redact`` goes over everything that the run is given. Raises `ReplayDivergenceError` for a tape of another build,
    unless ``force``.
    """
    if not force:
        check_machine(tape.machine)
    harness = _PlayingHarness(request.tools, tape, redact, request.options)
    # Where it stopped is in the playback.
    with contextlib.suppress(_StoppedError):
        await request.run(harness)
    return harness.playback


def _given_to(order: Order, settings: Settings, *, own_id: bool) -> dict[str, JsonValue]:
    """What a run is given besides its text, as far as it is not what every run is given.

    ``own_id``: whether the caller chose the id of the execution.
    """
    context = order.context.model_dump(mode="json", exclude_defaults=True)
    if not own_id:
        context.pop("execution_id", None)
    options: dict[str, JsonValue] = {
        "mode": None if order.mode == "enabled" else order.mode,
        "seed": settings.seed,
        "continue_on_error": settings.continue_on_error or None,
        "accept_fenced": settings.accept_fenced or None,
        "skip_thinking": settings.skip_thinking or None,
        "limits": context.pop("limits", None),
        "context": context or None,
    }
    return {name: value for name, value in options.items() if value is not None}


def _stand_ins(names: Iterable[str]) -> list[Tool]:
    """Tools that only have a name: for a run that is played, where none is called."""

    def never(**_: Any) -> None:
        raise UsageError("This stands for a tool whose calls are on record, and cannot be called.")

    return [Tool.from_schema(name, never, {"type": "object"}, description="On record.") for name in names]


class _RecordingHarness(Harness):
    """Has its journal read before it forgets."""

    def __init__(self, tools: Any, execution_id: str, options: Mapping[str, Any]) -> None:
        super().__init__(tools, **options)
        self._durable.starting = self.recorder = _Recorder(self._durable.starting, execution_id)


class _Recorder:
    """Knows what came of a run before the journal forgets it."""

    def __init__(self, starter: Starter, execution_id: str) -> None:
        self._starter = starter
        self._execution_id = execution_id
        self.tape: TapedRun | None = None

    async def run(self, order: Order, settings: Settings) -> Outcome:
        """As usual, and keep the record of it."""
        own_id = "execution_id" in order.context.model_fields_set
        if not own_id:
            order = replace(order, context=order.context.model_copy(update={"execution_id": self._execution_id}))
        outcome = await self._starter.run(order, settings)
        if any(diagnostic.code == "journal_incomplete" for diagnostic in outcome.diagnostics):
            return outcome
        record = await read_run(settings.journal, order.run_id)
        assert record is not None  # noqa: S101 - it has just been written
        registry = settings.registry
        self.tape = TapedRun.of(
            record,
            _given_to(order, settings, own_id=own_id),
            registry.names(),
            ContractSet.of(registry).contracts,
        )
        return outcome


class _PlayingHarness(Harness):
    """Runs its texts against a tape."""

    def __init__(self, tools: Any, tape: TapedRun, redact: Redact | None, options: Mapping[str, Any]) -> None:
        super().__init__(_stand_ins(tape.tools) if tools is None else tools, **options)
        self.playback = Playback(tape)
        self._durable.starting = _Player(self._open_runtime, self.playback, redact)
        if tools is not None:
            bound = check_binding(ContractSet(contracts=tape.contracts), self.tools).bound
            self.playback.contracts += (one.reason for one in bound if one.verdict in (Verdict.REFUSED, Verdict.WARNED))


class _StoppedError(Exception):
    """A script took another way. Ends a run that is played."""


class _Player:
    """Plays a run instead of putting it on record."""

    def __init__(self, open_runtime: Open, playback: Playback, redact: Redact | None) -> None:
        self._open = open_runtime
        self._playback = playback
        self._redact = redact

    async def run(self, order: Order, settings: Settings) -> Outcome:
        """Against the tape."""
        own_id = "execution_id" in order.context.model_fields_set
        if self._redact is not None:
            context = redacted(order.context.model_dump(mode="json"), self._redact)
            order = replace(order, text=self._redact(order.text), context=ExecutionContext.model_validate(context))
        playback = self._playback
        playback.text, playback.given = order.text, _given_to(order, settings, own_id=own_id)
        context = order.context.model_copy(update={"execution_id": playback.tape.execution_id})
        run = _PlayedRun(settings, context, order.mode, order.run_id, order.trust_domain, playback=playback)
        async with self._open(run.needs_runtime) as runtime:
            playback.outcome = await run.outcome(order.text, runtime)
        return playback.outcome


class _PlayedRun(Run):
    """A run whose scripts are given what is on record."""

    def __init__(
        self,
        settings: Settings,
        context: ExecutionContext,
        mode: Mode,
        run_id: str,
        trust_domain: str | None,
        *,
        playback: Playback,
    ) -> None:
        super().__init__(settings, context, mode, run_id, trust_domain)
        self._playback = playback
        self._place = 0

    async def _block(self, block: Block, runtime: Runtime) -> Execution:
        self._place += 1
        return await super()._block(block, runtime)

    async def _execute(self, script: Script, runtime: Runtime) -> Execution:
        index, self._ran = self._ran, self._ran + 1
        calls = self._playback.calls[self._place] = []
        if self._playback.tape.sources[self._place - 1 : self._place] != [script.source]:
            self._playback.changed.add(self._place)
        try:
            record = self._record(script, index)
            return await rerun(
                record,
                runtime,
                self._settings.redactor,
                force=True,  # the whole tape was looked at before
                on_call=calls.append,
                lines=self._place not in self._playback.changed,
            )
        except ReplayDivergenceError as error:
            self._playback.stopped = self._place, error
            raise _StoppedError from error

    def _record(self, script: Script, index: int) -> Record:
        """What is on record of a block, with the script and the context that it has now."""
        taped = next((each for each in self._playback.tape.executions if each.block == self._place), None)
        if taped is None:
            raise ReplayDivergenceError("it runs, which it did not when this was recorded.")
        context = self._context.model_copy(update={"execution_id": self._execution_id(index)})
        job = self._job(script, context, index)
        started = Started(
            outcome_id=self._id,
            index=index,
            script=script,
            script_sha256=script.sha256,
            dry_run=self._mode == "dry-run",
            seed=taped.seed if self._settings.seed is None else job.seed,
            limits=job.limits,
            context=job.context,
            tools=job.tools,
            machine=machine(),
        )
        return Record.from_payloads(context.execution_id, started, taped.payloads)
