"""One text through the pipeline: its blocks in order, each to an execution."""

from __future__ import annotations

import hashlib
import re
import secrets
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from harness.approvals.bridge import ApprovalBridge
from harness.assembly import assemble
from harness.context import ExecutionContext, ProgressGate, new_execution_id
from harness.detector import Detector, merge_text
from harness.errors import HarnessError, HarnessInternalError, ScriptSyntaxError
from harness.limits import Limits
from harness.model import (
    Block,
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
from harness.tools.economy import Economy
from harness.tools.facade import CallFacade
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
    clock: Callable[[], float] | None = None
    """In place of the system's time: seconds since the epoch."""


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
        self, settings: Settings, context: ExecutionContext, mode: Mode, run_id: str, trust_domain: str | None
    ) -> None:
        self._settings = settings
        self._context = context
        self._mode: Mode = mode
        self._id = run_id
        self._own_domain = trust_domain is None and context.session_id is None and context.conversation_id is None
        self._domain = trust_domain or context.session_id or context.conversation_id or run_id
        self._parsed = 0
        self._ran = 0
        self._stopped: str | None = None
        self._diagnostics: list[Diagnostic] = []

    @property
    def needs_runtime(self) -> bool:
        """Whether anything can run at all."""
        return self._mode != "disabled"

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
        return Outcome(
            id=self._id,
            segments=tuple(segments),
            executions=tuple(executions),
            diagnostics=(*diagnostics, *self._diagnostics),
        )

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
        settings = self._settings
        context = self._context.model_copy(update={"execution_id": self._execution_id(index)})
        with settings.economy.telemetry.execution(context.execution_id, script.sha256) as ended:
            execution = await self._carry_out(script, runtime, context, index)
            ended.append(execution)
        return execution

    async def _carry_out(self, script: Script, runtime: Runtime, context: ExecutionContext, index: int) -> Execution:
        settings = self._settings
        facades: list[CallFacade] = []

        def calls(on_change: Callable[[], None]) -> Calls:
            facade = CallFacade(
                settings.registry,
                context,
                approvals=settings.approvals,
                mode="dry-run" if self._mode == "dry-run" else "enabled",
                redactor=settings.redactor,
                on_change=on_change,
                economy=settings.economy,
                date=settings.clock or time.time,
            )
            facades.append(facade)
            return facade

        job = Job(
            script=script,
            tools=tuple(settings.registry.names()),
            context=context.vm_view(settings.redactor),
            seed=_seed(settings.seed, index),
            limits=context.limits,
            trust_domain=self._domain,
            date=settings.clock,
        )
        gate = ProgressGate(context.limits, settings.redactor)
        try:
            result = await runtime.execute(context.execution_id, job, calls, gate)
        except HarnessInternalError as error:
            # No worker can be had: nothing ran, and the outcome says so.
            result = Result(error=error.info())
        finally:
            for facade in facades:
                facade.close()
        return assemble(
            script,
            context.execution_id,
            result,
            calls=facades[0] if facades else None,
            gate=gate,
            dry_run=self._mode == "dry-run",
        )


def _seed(seed: int | None, index: int) -> tuple[int, int, int, int]:
    """128 bits for the generator of ``Math.random``: from the harness's seed and the block's place, or at random."""
    data = secrets.token_bytes(16) if seed is None else hashlib.sha256(f"{seed}/{index}".encode()).digest()[:16]
    first, second, third, fourth = struct.unpack(">4I", data)
    return first, second, third, fourth


def _bare_info(block: Block) -> ScriptInfo:
    digest = hashlib.sha256(block.source.encode("utf-8", "surrogatepass")).hexdigest()
    return ScriptInfo(sha256=digest, mode="", span=block.span)


def _unparsed(block: Block, error: HarnessError) -> Execution:
    return Execution(id=new_execution_id(), script=_bare_info(block), status=ExecutionStatus.ERROR, error=error.info())
