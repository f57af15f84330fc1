"""One text through the pipeline: its blocks in order, each to an execution."""

from __future__ import annotations

import hashlib
import re
import secrets
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.approvals.bridge import ApprovalBridge
from harness.approvals.decision import Decision
from harness.assembly import assemble
from harness.context import ExecutionContext, ProgressGate, new_execution_id
from harness.contracts.values import Gating
from harness.detector import Detector, merge_text
from harness.errors import HarnessError, HarnessInternalError, JournalError, ScriptSyntaxError
from harness.journal.journal import Journal
from harness.journal.record import Record
from harness.journal.recorder import Recorder
from harness.journal.runs import RunBook, RunRecord
from harness.limits import Limits
from harness.model import (
    ApprovalRequest,
    Block,
    BlockAttributes,
    Diagnostic,
    Execution,
    ExecutionStatus,
    Outcome,
    Script,
    ScriptInfo,
    Segment,
    Severity,
    Unclosed,
)
from harness.parser import Parser
from harness.redaction import Redactor
from harness.runtime.job import Calls, Job, Result
from harness.runtime.runtime import Runtime
from harness.syntax.attributes import read_attributes
from harness.tools.economy import Economy
from harness.tools.facade import CallFacade
from harness.tools.history import NO_HISTORY
from harness.tools.registry import ToolRegistry

__all__ = ["Mode", "Run", "Settings", "find_blocks", "too_many_blocks"]

Mode = Literal["enabled", "dry-run", "disabled"]

_SURROGATE = re.compile("[\ud800-\udfff]")
_EMPTY = "empty: there is no script in it"


@dataclass(frozen=True)
class Settings:
    """What all runs of one harness have in common."""

    registry: ToolRegistry
    limits: Limits
    parser: Parser
    approvals: ApprovalBridge
    redactor: Redactor
    seed: int | None
    continue_on_error: bool
    accept_fenced: bool
    skip_thinking: bool
    economy: Economy
    journal: Journal
    can_suspend: bool
    """Whether what waits for a person may leave this process."""
    clock: Callable[[], float] | None = None
    """In place of the system's time: seconds since the epoch."""
    gating: Gating = "default"
    """How much the contracts of tools may have changed when a run goes on."""


def find_blocks(text: str, settings: Settings, limits: Limits) -> tuple[list[Segment], list[Diagnostic]]:
    """The segments of a text, and what is worth saying of it as a whole."""
    detector = Detector(limits=limits, accept_fenced=settings.accept_fenced, skip_thinking=settings.skip_thinking)
    segments = merge_text([*detector.feed(text), *detector.finish()])
    diagnostics = list(detector.diagnostics)
    half = _SURROGATE.search(text)
    if half is not None:
        diagnostics.append(
            Diagnostic(
                code="lone_surrogate",
                severity=Severity.WARNING,
                message="The text holds half of a surrogate pair, which UTF-8 cannot carry; in JSON it becomes U+FFFD.",
                details={"start": half.start()},
            )
        )
    return segments, diagnostics


def too_many_blocks(first: Block, most: int) -> Diagnostic:
    """What is said of a text with more than ``most`` blocks that could run; ``first`` is the first one past them."""
    return Diagnostic(
        code="too_many_blocks",
        severity=Severity.ERROR,
        message=f"There are more blocks in this text than may run (max_blocks={most}); this one and those behind it do "
        "not. Put the work into fewer blocks, or raise the limit.",
        line=first.span.line,
        column=first.span.column,
        details={"limit": most},
    )


class Run:
    """One text, one context, one mode."""

    def __init__(
        self,
        settings: Settings,
        context: ExecutionContext,
        mode: Mode,
        run_id: str,
        trust_domain: str | None,
        *,
        book: RunBook | None = None,
        past: RunRecord | None = None,
        decisions: Mapping[str, Decision] | None = None,
        warnings: Sequence[Diagnostic] = (),
    ) -> None:
        self._settings = settings
        self._book = book
        self._past: Mapping[int, Record] = {} if past is None else past.executions
        self._decisions = decisions or {}
        self._facades: dict[str, CallFacade] = {}
        self._waits: tuple[str, tuple[ApprovalRequest, ...]] | None = None
        self._context = context
        self._mode: Mode = mode
        self._id = run_id
        self._own_domain = trust_domain is None and context.session_id is None and context.conversation_id is None
        self._domain = trust_domain or context.session_id or context.conversation_id or run_id
        self._parsed = 0
        self._ran = 0
        self._stopped: str | None = None
        self._diagnostics = list(warnings)

    @property
    def needs_runtime(self) -> bool:
        """Whether anything can run at all."""
        return self._mode != "disabled"

    @property
    def execution_id(self) -> str:
        """Of the first block that runs, if the caller chose it."""
        return self._context.execution_id

    def answer(self, execution_id: str, request_id: str, decision: Decision) -> bool:
        """Answer what a call waits for right now; False if none waits for that here."""
        facade = self._facades.get(execution_id)
        return facade is not None and facade.answer(request_id, decision)

    async def outcome(self, text: str, runtime: Runtime) -> Outcome:
        """Run every block. Raises `UsageError` if the text itself cannot be used, and on the caller's cancellation."""
        segments, diagnostics = find_blocks(text, self._settings, self._context.limits)
        executions = []
        try:
            for segment in segments:
                if isinstance(segment, Block):
                    executions.append(await self._block(segment, runtime))
                elif isinstance(segment, Unclosed):
                    self._stopped = self._stopped or "a block before it is not closed"
        finally:
            if self._own_domain:
                await runtime.end_domain(self._domain)
        outcome = Outcome(
            id=self._id,
            segments=tuple(segments),
            executions=tuple(executions),
            diagnostics=(*diagnostics, *self._diagnostics),
        )
        return outcome if self._book is None else await self._on_record(outcome, self._book)

    async def _on_record(self, outcome: Outcome, book: RunBook) -> Outcome:
        """The outcome, once the journal has it."""
        try:
            if self._waits is None:
                await book.finish(outcome)
                return outcome
            execution_id, pending = self._waits
            outcome = outcome.model_copy(update={"pending": pending})
            expires_at = min(request.expires_at for request in pending)
            return outcome.model_copy(update={"resume_token": await book.suspend(outcome, execution_id, expires_at)})
        except JournalError as error:
            return outcome.model_copy(update={"diagnostics": (*outcome.diagnostics, _incomplete(error))})

    async def _block(self, block: Block, runtime: Runtime) -> Execution:
        """One block to its execution; what stops the ones behind it is noted."""
        reason = self._reason_to_skip(block)
        if reason is not None:
            return self._skipped(block, reason)
        try:
            script = self._settings.parser.parse(block, tools=self._settings.registry.names())
        except HarnessError as error:
            self._stopped = "an earlier block could not be run as it is written"
            return _unparsed(block, error)
        if any(diagnostic.code == "empty_script" for diagnostic in script.diagnostics):
            return self._skipped(block, _EMPTY)
        execution = await self._execute(script, runtime)
        self._stopped = self._reason_to_stop(execution)
        return execution

    def _reason_to_skip(self, block: Block) -> str | None:
        if self._mode == "disabled":
            return "disabled: this harness runs nothing"
        if self._stopped is not None:
            return self._stopped
        if block.self_closed or not block.source.strip():
            return _EMPTY
        most = self._context.limits.max_blocks
        if self._ran >= most:
            self._stopped = f"there are more blocks in this text than may run (max_blocks={most})"
            self._diagnostics.append(too_many_blocks(block, most))
        return self._stopped

    def _reason_to_stop(self, execution: Execution) -> str | None:
        if execution.status in (ExecutionStatus.CANCELLED, ExecutionStatus.TERMINATED):
            return f"an earlier block was {execution.status}"
        if execution.status is ExecutionStatus.SUSPENDED:
            return "waiting: an earlier block is suspended"
        if execution.error is None:
            return None
        if execution.error.type == ScriptSyntaxError.__name__:
            return "an earlier block could not be run as it is written"
        return None if self._settings.continue_on_error else "an earlier block failed"

    def _skipped(self, block: Block, reason: str) -> Execution:
        return Execution(id=new_execution_id(), script=_bare_info(block), status=ExecutionStatus.SKIPPED, reason=reason)

    def _execution_id(self, index: int) -> str:
        """The caller's id belongs to the first block that runs; those behind it are told apart by their place."""
        if "execution_id" not in self._context.model_fields_set:
            return new_execution_id()
        given = self._context.execution_id
        return given if index == 0 else f"{given}-{index + 1}"

    async def _execute(self, script: Script, runtime: Runtime) -> Execution:
        index, self._ran = self._ran, self._ran + 1
        settings, past = self._settings, self._past.get(index)
        if past is not None and past.finished is not None:
            if self._book is not None:
                self._book.note_ended(past.execution_id)
            return past.finished.execution
        execution_id = self._execution_id(index) if past is None else past.execution_id
        context = self._context.model_copy(update={"execution_id": execution_id})
        with settings.economy.telemetry.execution(context.execution_id, script.sha256) as ended:
            execution = await self._carry_out(script, runtime, context, index)
            ended.append(execution)
        return execution

    async def _carry_out(self, script: Script, runtime: Runtime, context: ExecutionContext, index: int) -> Execution:
        settings, past, execution_id = self._settings, self._past.get(index), context.execution_id
        recorder: Recorder | None = None
        if self._book is not None:
            recorder = self._book.recorder(execution_id, past, lambda error: runtime.abort(execution_id, error))

        def calls(on_change: Callable[[], None]) -> Calls:
            self._facades[execution_id] = facade = CallFacade(
                settings.registry,
                context,
                approvals=settings.approvals,
                mode="dry-run" if self._mode == "dry-run" else "enabled",
                redactor=settings.redactor,
                observer=recorder,
                on_change=on_change,
                economy=settings.economy,
                history=NO_HISTORY if past is None else past.history(self._decisions),
                can_suspend=settings.can_suspend and recorder is not None,
                date=settings.clock or time.time,
            )
            return facade

        job = self._job(script, context, index) if past is None else past.job(past.past(), self._domain)
        gate = ProgressGate(context.limits, settings.redactor)
        try:
            if recorder is not None:
                if past is None:
                    await recorder.begin(self._id, index, job, dry_run=self._mode == "dry-run")
                else:
                    await recorder.resume()
            result = await runtime.execute(execution_id, job, calls, gate, recorder)
        except (HarnessInternalError, JournalError) as error:
            # No worker can be had, or nothing can be put on record: nothing ran, and the outcome says so.
            result = Result(error=error.info())
        finally:
            facade = self._facades.pop(execution_id, None)
            if facade is not None:
                facade.close()
        execution = assemble(script, execution_id, result, calls=facade, gate=gate, dry_run=self._mode == "dry-run")
        if recorder is None or self._book is None:
            return execution
        return await self._recorded(execution, recorder, self._book, facade)

    def _job(self, script: Script, context: ExecutionContext, index: int) -> Job:
        return Job(
            script=script,
            tools=tuple(self._settings.registry.names()),
            context=context.vm_view(self._settings.redactor),
            seed=_seed(self._settings.seed, index),
            limits=context.limits,
            trust_domain=self._domain,
            date=self._settings.clock,
        )

    async def _recorded(
        self, execution: Execution, recorder: Recorder, book: RunBook, facade: CallFacade | None
    ) -> Execution:
        """The execution, once the journal has its end or knows what it waits for."""
        try:
            if execution.status is ExecutionStatus.SUSPENDED and facade is not None:
                self._waits = execution.id, facade.pending()
                await recorder.suspend(facade.pending(), execution.metrics.wall_ms / 1000)
            else:
                await recorder.end(execution)
                book.note_ended(execution.id)
        except JournalError as error:
            return execution.model_copy(update={"diagnostics": (*execution.diagnostics, _incomplete(error))})
        return execution


def _incomplete(error: HarnessError) -> Diagnostic:
    return Diagnostic(
        code="journal_incomplete",
        severity=Severity.ERROR,
        message=f"This is not on record as it ended: {error.message}",
        details={"error": error.info().model_dump(mode="json", include={"type", "message"})},
    )


def _seed(seed: int | None, index: int) -> tuple[int, int, int, int]:
    """128 bits for the generator of ``Math.random``: from the harness's seed and the block's place, or at random."""
    data = secrets.token_bytes(16) if seed is None else hashlib.sha256(f"{seed}/{index}".encode()).digest()[:16]
    first, second, third, fourth = struct.unpack(">4I", data)
    return first, second, third, fourth


def _bare_info(block: Block) -> ScriptInfo:
    source = block.source.removeprefix("\ufeff")  # as of a script that runs
    digest = hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()
    attributes = read_attributes(block.opening_tag)
    block_id = attributes.id if isinstance(attributes, BlockAttributes) else None
    return ScriptInfo(id=block_id, sha256=digest, mode="", span=block.span)


def _unparsed(block: Block, error: HarnessError) -> Execution:
    return Execution(id=new_execution_id(), script=_bare_info(block), status=ExecutionStatus.ERROR, error=error.info())
