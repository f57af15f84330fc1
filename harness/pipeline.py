"""The harness: the one place that knows every stage."""

from __future__ import annotations

import inspect
import os
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from pydantic import JsonValue

from harness.approvals.bridge import ApprovalBridge
from harness.approvals.decision import SUSPEND, Approver
from harness.context import ExecutionContext, merge_limits
from harness.contracts.values import Gating
from harness.declarations.prompt import DEFAULT_CHARACTERS, prompt_section
from harness.durable import Durable, Order
from harness.errors import UsageError
from harness.given import (
    check_hardening,
    given_clock,
    given_context,
    given_flag,
    given_gating,
    given_journal,
    given_key,
    given_mode,
    given_registry,
    given_text,
)
from harness.inspection import inspect_text
from harness.journal.journal import Journal
from harness.limits import Limits
from harness.model import Diagnostic, Outcome
from harness.onrecord import OnRecord
from harness.parser import Parser
from harness.redaction import Redactor
from harness.run import Mode, Settings
from harness.runtime.runtime import Hardening, Isolation
from harness.status import HarnessStatus, harness_status
from harness.sync import in_event_loop
from harness.tools.budget import Budget, OnBudget, OnRateLimit
from harness.tools.cache import ResultCache
from harness.tools.compensation import Ledger, RollbackReport
from harness.tools.economy import Economy
from harness.tools.hostcalls import Home
from harness.tools.registry import ToolRegistry
from harness.tools.selection import Selection
from harness.tools.telemetry import Telemetry

__all__ = ["Harness", "HarnessStatus"]

ModeChoice = Mode | Callable[[ExecutionContext], Mode | Awaitable[Mode]]


class Harness(OnRecord):
    """Runs the ``<tool-calls>`` blocks of a text.

    ::

        async with Harness(tools=[refund], approver=ask) as harness:
            outcome = await harness.run(text)

    As a context manager (``async with``, or ``with`` and `run_sync`) it keeps its workers from one run to the next.
    Without, every run starts and ends its own.

    tools
        Functions, what `tool` and `Tool.from_schema` make, objects with methods marked with `tool`; or a `ToolRegistry`.
    limits
        `Limits`, or a mapping of the ones to change.
    mode
        ``"enabled"``; ``"dry-run"`` plans the calls and makes none; ``"disabled"`` runs nothing. Or a function, sync or
        async, that gets the run's context and returns one of these.
    approver
        Who is asked for tools that need approval: a function of an `ApprovalRequest` that returns a `Decision`, sync or
        async, or an object with such a method ``decide``. Without one, such calls fail. ``"suspend"`` asks nobody: the
        execution waits on record until it is resumed.
    suspend_after
        Seconds to wait for the approver, after which the execution is suspended as well.
    journal
        Where everything is put on record: a `Journal`, or the path of an SQLite file. By default in memory, for the last
        100 runs: enough to replay them, not to suspend.
    signing_key
        At least 16 bytes, with which every event in the journal is signed; what was not signed with it is refused.
    gating
        What becomes of a run that is resumed when the contracts of its tools have changed. ``"default"``: it goes on, with
        a diagnostic that says what may fail; without one of its tools it does not. ``"strict"``: it goes on only if
        nothing changed but descriptions. ``specs/compatibility.md`` has the rules.
    isolation
        ``"process"``: a fresh process for every execution. ``"shared"``: one process for the executions of one trust
        domain, one after another. ``"thread"``: a thread of this process, for trusted scripts only, since a script
        there cannot be killed and is held back by the VM alone.
    hardening
        What to do where the operating system cannot take everything away from those processes: ``"best_effort"`` says
        once what is missing, in a line of the log ``harness``; ``"required"`` refuses to start. ``harness doctor``
        shows every layer.
    seed
        Makes ``Math.random`` of every run repeat. By default each execution is seeded at random.
    continue_on_error
        Whether the blocks behind one that failed at run time still run. One that does not parse always stops them.
    accept_fenced, skip_thinking
        Whether blocks inside fenced Markdown code count, and whether those inside ``<think>`` do not.
    secrets
        Strings that are masked wherever something is displayed.
    budget
        A `Budget`: what each execution may spend, besides its limits. What tools share over all executions of this
        harness is said by their `ResourceContract`.
    on_budget
        ``"error"``: a call past a budget fails with an error that the script can catch. ``"terminate"``: it ends the
        execution.
    on_rate_limit
        ``"error"``: a call past a rate fails, and ``error.details.retry_after_s`` says when it can be made. ``"wait"``:
        it waits, if that can help within ``wall_time``.
    cache
        A `ResultCache` for the results of deterministic tools; by default one of 1,000 entries and 16 MiB.
    telemetry
        A `Telemetry`; by default it exports spans and metrics if the process has imported OpenTelemetry.
    clock
        For tests: a function that returns seconds since the epoch, in place of the system's time. Scripts see it as
        ``Date``. No limit is measured by it.

    Raises `UsageError` for arguments that cannot be used.
    """

    def __init__(
        self,
        tools: ToolRegistry | Iterable[object] | None = None,
        *,
        limits: Limits | Mapping[str, Any] | None = None,
        mode: ModeChoice = "enabled",
        approver: Approver | None = None,
        suspend_after: float | None = None,
        journal: Journal | str | os.PathLike[str] | None = None,
        signing_key: bytes | str | None = None,
        gating: Gating = "default",
        isolation: Isolation = "process",
        hardening: Hardening = "best_effort",
        seed: int | None = None,
        continue_on_error: bool = False,
        accept_fenced: bool = False,
        skip_thinking: bool = False,
        secrets: Iterable[str] = (),
        budget: Budget | None = None,
        on_budget: OnBudget = "error",
        on_rate_limit: OnRateLimit = "error",
        cache: ResultCache | None = None,
        telemetry: Telemetry | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        if isolation not in ("process", "shared", "thread"):
            raise UsageError(f"isolation is 'process', 'shared' or 'thread', not {isolation!r}.")
        check_hardening(hardening, isolation)
        if not callable(mode):
            given_mode(mode)
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
            raise UsageError(f"seed is an integer or None, not {seed!r}.")
        self.tools = given_registry(tools)
        """The registry; its ``statistics()`` tell what was called."""
        chosen = merge_limits(Limits(), limits)
        record, own_journal = given_journal(journal, signing_key)
        resumable = journal is not None and record.values != "omitted"
        if not resumable and (approver == SUSPEND or suspend_after is not None):
            raise UsageError(
                'What is suspended is resumed from the values on record, and this journal leaves them out (values="omitted").'
                if journal is not None
                else 'What is suspended must be on record somewhere: Harness(journal="runs.sqlite"), or Journal() for as long as '
                "this process lives."
            )
        super().__init__(
            chosen,
            ApprovalBridge(approver, suspend_after=suspend_after),
            record,
            own_journal=own_journal,
            isolation=isolation,
            hardening=hardening,
        )
        self._mode = mode
        self._parser = Parser(limits=self.limits)
        redactor = Redactor(secrets=secrets)
        self._economy = Economy(
            budget=Budget() if budget is None else budget,
            on_budget=on_budget,
            on_rate_limit=on_rate_limit,
            cache=ResultCache() if cache is None else cache,
            ledger=Ledger(redactor),
            telemetry=Telemetry() if telemetry is None else telemetry,
        )
        self._economy.budget.check_names(self.tools.names())
        self._economy.resources.add_all(tool.resource for tool in self.tools if tool.resource is not None)
        self.tools.belongs_to(Home(self._economy, self.limits, redactor))
        self._settings = Settings(
            registry=self.tools,
            limits=self.limits,
            parser=self._parser,
            approvals=self.approvals,
            redactor=redactor,
            seed=seed,
            continue_on_error=given_flag("continue_on_error", continue_on_error),
            accept_fenced=given_flag("accept_fenced", accept_fenced),
            skip_thinking=given_flag("skip_thinking", skip_thinking),
            economy=self._economy,
            journal=self.journal,
            can_suspend=resumable,
            clock=given_clock(clock),
            gating=given_gating(gating),
        )
        self._durable = Durable(self._settings, self._open_runtime)

    # ── running ──────────────────────────────────────────────────────────────────────────────────────────────────

    def run(
        self,
        text: str,
        *,
        tools: Selection | None = None,
        context: ExecutionContext | Mapping[str, Any] | None = None,
        inputs: Mapping[str, Any] | None = None,
        limits: Limits | Mapping[str, Any] | None = None,
        trust_domain: str | None = None,
        idempotency_key: str | None = None,
    ) -> Coroutine[Any, Any, Outcome]:
        """Run the blocks of ``text``, one assistant message, in order; whatever becomes of them is in the outcome.

        ``tools`` says which of the harness's tools the scripts are given: a list of names (``"fs.read"``), namespaces
        (``"fs"``) and tags (``"tag:read"``), or a function that says it of each `Tool`; by default all. What is not
        given does not exist for them: it cannot be called, named, listed or guessed from suggestions.
        ``context`` says for whom (``conversation_id``, ``session_id``, ``user_id``, ``metadata``), ``inputs`` is what
        the scripts find as ``context.inputs``, ``limits`` changes some of the Harness's own for this run.
        ``trust_domain`` names those whose scripts may use one worker one after another; by default the session or
        conversation, else only the blocks of this text. ``idempotency_key`` names the run: where that key has run before
        with the same text, its recorded outcome is returned, or what is under way is awaited, and nothing runs twice.

        Raises `UsageError` for arguments that cannot be used, and outside an event loop; `SerializationError` for values in
        ``context`` and ``inputs`` that JSON cannot carry, with their path; `IdempotencyKeyError` for a key that was used
        with another text, by another caller or with other inputs; and `JournalError` if nothing can be put on record, in which case nothing ran.
        """
        if not in_event_loop():
            raise UsageError(
                "No event loop is running: call `harness.run_sync(text)` here, or `await` run in a coroutine."
            )
        return self._run(
            text,
            tools=tools,
            context=context,
            inputs=inputs,
            limits=limits,
            trust_domain=trust_domain,
            idempotency_key=idempotency_key,
        )

    def run_sync(
        self,
        text: str,
        *,
        tools: Selection | None = None,
        context: ExecutionContext | Mapping[str, Any] | None = None,
        inputs: Mapping[str, Any] | None = None,
        limits: Limits | Mapping[str, Any] | None = None,
        trust_domain: str | None = None,
        idempotency_key: str | None = None,
    ) -> Outcome:
        """`run`, from code without an event loop.

        Inside ``with Harness(…)`` it uses what that keeps open; alone it opens and closes everything.
        """
        run = partial(
            self._run,
            tools=tools,
            context=context,
            inputs=inputs,
            limits=limits,
            trust_domain=trust_domain,
            idempotency_key=idempotency_key,
        )
        return self._call_sync(run, text)

    async def _run(
        self,
        text: str,
        *,
        tools: Selection | None,
        context: ExecutionContext | Mapping[str, Any] | None,
        inputs: Mapping[str, Any] | None,
        limits: Limits | Mapping[str, Any] | None,
        trust_domain: str | None,
        idempotency_key: str | None,
    ) -> Outcome:
        self._check_process()
        given_text(text)
        if trust_domain is not None and not isinstance(trust_domain, str):
            raise UsageError(f"trust_domain is a string or None, not {trust_domain!r}.")
        settings = self._granting(tools)
        given = given_context(self.limits, context, inputs, limits)
        mode = self._mode
        if callable(mode):
            chosen = mode(given)
            mode = await chosen if inspect.isawaitable(chosen) else chosen
        order = Order(
            text=text,
            context=given,
            mode=given_mode(mode),
            run_id=f"out_{secrets.token_hex(10)}",
            trust_domain=trust_domain,
            key=given_key(idempotency_key),
        )
        return await self._durable.starting.run(order, settings)

    def _granting(self, tools: Selection | None) -> Settings:
        return self._settings if tools is None else replace(self._settings, registry=self.tools.select(tools))

    # ── checking, watching, cancelling ───────────────────────────────────────────────────────────────────────────

    async def check(self, text: str, *, tools: Selection | None = None) -> list[Diagnostic]:
        """Everything that is wrong with ``text`` and its scripts, found without running anything.

        The engine itself compiles each script, in a worker in which no tool is live. Lines and columns are those of
        ``text``. ``tools`` is as for `run`.
        """
        self._check_process()
        given_text(text)
        async with self._open_runtime() as runtime:
            return await inspect_text(text, self._granting(tools), runtime)

    def system_prompt(self, *, tools: Selection | None = None, max_characters: int = DEFAULT_CHARACTERS) -> str:
        """A section for a system prompt, in Markdown: how to write blocks, their limits, and the tools.

        The tools are declared in TypeScript if that fits into ``max_characters`` (of the whole section); else they are
        listed, and the section says how a script looks them up. Deterministic. ``tools`` is as for `run`.

        Raises `UsageError` for less than 6,000 characters.
        """
        given = self._granting(tools).registry
        return prompt_section(given.describe("json"), self.limits, max_characters=max_characters)

    def check_sync(self, text: str, *, tools: Selection | None = None) -> list[Diagnostic]:
        """`check`, from code without an event loop."""
        return self._call_sync(partial(self.check, tools=tools), text)

    def cancel(self, execution_id: str | None = None, reason: str = "the host asked for it") -> int:
        """Cancel one execution, or all that run; how many there were. They end at once, in a tight loop too.

        Belongs to the thread of the event loop; other threads go through ``loop.call_soon_threadsafe``.
        """
        return 0 if self._runtime is None else self._runtime.cancel(execution_id, reason)

    def get_status(self) -> HarnessStatus:
        """What it is doing right now."""
        return harness_status(
            self._isolation, self._runtime, len(self.approvals.pending()), self.tools.statistics(), self._executor
        )

    def metrics(self) -> dict[str, JsonValue]:
        """What was called and used so far, as plain data: ``tools`` (calls, failures by class, retries, cached results,
        cost, percentiles of the duration), ``resources`` and ``cache``.
        """
        tools: dict[str, JsonValue] = {name: each.report() for name, each in self.tools.statistics().items()}
        return {"tools": tools, **self._economy.report()}

    def refill(self, resource_id: str) -> None:
        """Give a resource its whole ``budget_cents`` again. Raises `UsageError` if no tool names it."""
        self._economy.resources.refill(resource_id)

    # ── taking back ──────────────────────────────────────────────────────────────────────────────────────────────

    async def rollback(self, execution_id: str) -> RollbackReport:
        """Call ``revert`` of every call an execution applied, the last one first, and report each.

        A revert that fails does not stop the others; another rollback tries it again. What is needed is kept in memory,
        for the last 100 executions that made such calls. Raises `UsageError` for an execution that is not kept, or runs
        still.
        """
        self._check_process()
        with self._executor.serving():
            return await self._economy.ledger.rollback(execution_id)

    def rollback_sync(self, execution_id: str) -> RollbackReport:
        """`rollback`, from code without an event loop."""
        return self._call_sync(self.rollback, execution_id)
