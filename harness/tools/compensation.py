"""Taking back what an execution did: which of its calls can be reverted, and reverting them, the last one first."""

from __future__ import annotations

import inspect
import logging
import threading
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Literal

import anyio
from pydantic import BaseModel, ConfigDict
from pydantic_core import from_json

from harness.concurrency import cancellation_requested
from harness.errors import ErrorInfo, HarnessError, ToolExecutionError, ToolTimeoutError, UsageError, extract_error_info
from harness.executor import current_executor
from harness.limits import MIB
from harness.redaction import Redactor, scrub_text
from harness.tools.invoke import public_info
from harness.tools.signature import is_async
from harness.tools.tool import Tool

__all__ = ["Applied", "Ledger", "RollbackReport", "RollbackStep"]

_LOG = logging.getLogger("harness.tools")

MAX_EXECUTIONS = 100
"""Past executions that are kept; the oldest are forgotten first."""
MAX_UNCHANGED = 1_000
"""Past executions that changed nothing, of which the ids are kept."""
MAX_BYTES = 64 * MIB
"""Kept over all executions, most of it arguments and results as JSON; the newest execution is always kept."""
_OF_A_CALL = 256

StepStatus = Literal["reverted", "failed", "already_reverted", "in_doubt", "not_revertible"]


class RollbackStep(BaseModel):
    """What became of one applied call."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seq: int
    """Of the call in its execution."""
    tool: str
    status: StepStatus
    """``in_doubt``: nobody knows whether the call took effect, or what it gave, so it was left alone.
    ``not_revertible``: its tool has no ``revert``."""
    error: ErrorInfo | None = None
    """Why it failed; of a call in doubt, how that ended."""


class RollbackReport(BaseModel):
    """What became of every call that an execution had applied, in the order of the rollback."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    execution_id: str
    steps: tuple[RollbackStep, ...]

    @property
    def complete(self) -> bool:
        """Whether nothing is left of the execution's effects."""
        return not self.left

    @property
    def left(self) -> tuple[RollbackStep, ...]:
        """The steps whose calls have left something, or may have."""
        return tuple(step for step in self.steps if step.status not in ("reverted", "already_reverted"))


@dataclass(slots=True)
class Applied:
    """A call that took effect, or may have: its tool returned, or was left while it worked."""

    seq: int
    tool: Tool
    timeout: float
    """Seconds that reverting it may take."""
    arguments_json: str | None
    """None if its tool cannot be reverted: then nothing need be kept."""
    result_json: str | None
    """None if it is in doubt."""
    error: ErrorInfo | None = None
    """How a call in doubt ended."""
    threads: Collection[object] = ()
    """Empty as soon as no thread works for the call any more."""
    reverted: bool = False

    @property
    def size(self) -> int:
        """About as many bytes as are kept for it."""
        return _OF_A_CALL + len(self.arguments_json or "") + len(self.result_json or "")


@dataclass(slots=True)
class _Execution:
    calls: list[Applied] = field(default_factory=list)
    over: bool = False
    busy: bool = False
    size: int = 0


class Ledger:
    """The applied calls of the last executions that applied any. In memory: it ends with its harness."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._executions: OrderedDict[str, _Execution] = OrderedDict()
        self._unchanged: OrderedDict[str, None] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def __contains__(self, execution_id: object) -> bool:
        return execution_id in self._executions

    def add(self, execution_id: str, call: Applied) -> None:
        """Note a call. Only where its tool can be reverted are its arguments and result kept."""
        if call.arguments_json is None and call.result_json is not None:
            call.result_json = ""
        with self._lock:
            self._unchanged.pop(execution_id, None)
            execution = self._executions.setdefault(execution_id, _Execution())
            execution.calls.append(call)
            execution.size += call.size
            self._size += call.size
            while len(self._executions) > MAX_EXECUTIONS or self._size > MAX_BYTES:
                oldest = next(iter(self._executions))
                if oldest == execution_id:
                    break
                self._size -= self._executions.pop(oldest).size

    def close(self, execution_id: str) -> None:
        """The execution is over: from now on it can be rolled back."""
        with self._lock:
            execution = self._executions.get(execution_id)
            if execution is not None:
                execution.over = True
                return
            self._unchanged[execution_id] = None
            while len(self._unchanged) > MAX_UNCHANGED:
                self._unchanged.popitem(last=False)

    async def rollback(self, execution_id: str) -> RollbackReport:
        """Revert what an execution applied, the last call first; a failure does not stop it.

        A call in doubt is reverted only if its tool says ``revert_in_doubt``. Doing it again tries again what failed. Raises `UsageError` for an execution that runs still, is being rolled
        back or is not kept any more.
        """
        execution = self._executions.get(execution_id)
        if execution is None and execution_id in self._unchanged:
            return RollbackReport(execution_id=execution_id, steps=())
        if execution is None:
            raise UsageError(
                f"Execution {execution_id!r} cannot be rolled back: it never ran here, or is not kept any more. Kept are "
                f"the last {MAX_EXECUTIONS} that changed something (fewer, if their data are more than "
                f"{MAX_BYTES // MIB} MiB), and the last {MAX_UNCHANGED:,} that did not."
            )
        if not execution.over:
            raise UsageError(f"Execution {execution_id!r} is still running; cancel it, or wait for its end.")
        if execution.busy:
            raise UsageError(f"Execution {execution_id!r} is being rolled back already.")
        execution.busy = True
        try:
            # Settled last is not issued last: what was applied last is undone first.
            steps = [await self._step(call) for call in reversed(execution.calls)]
        finally:
            execution.busy = False
        return RollbackReport(execution_id=execution_id, steps=tuple(steps))

    async def _step(self, call: Applied) -> RollbackStep:
        status: StepStatus
        error: ErrorInfo | None = None
        if call.reverted:
            status = "already_reverted"
        elif call.result_json is None and (call.threads or not call.tool.revert_in_doubt):
            # What still works in a thread could take effect after it was reverted.
            status, error = "in_doubt", call.error
        elif call.arguments_json is None:
            status = "not_revertible"
        else:
            try:
                await _revert(call)
            except HarnessError as raised:
                status, error = "failed", public_info(raised, self._redactor)
            except (Exception, SystemExit) as raised:  # noqa: BLE001 - the host's code may raise anything; all is reported
                status, error = "failed", self._named(call.tool, raised)
            except anyio.get_cancelled_exc_class() as raised:
                if cancellation_requested():
                    raise
                status, error = "failed", self._named(call.tool, raised)
            else:
                call.reverted = True
                status = "reverted"
        return RollbackStep(seq=call.seq, tool=call.tool.name, status=status, error=error)

    def _named(self, tool: Tool, error: BaseException) -> ErrorInfo:
        _LOG.warning("Reverting tools.%s raised %s.", tool.name, type(error).__name__, exc_info=error)
        try:
            text = scrub_text(str(error), self._redactor)
        except Exception:  # noqa: BLE001 - a broken __str__ must not hide the failure it belongs to
            text = "(its text cannot be made)"
        retryable = isinstance(error, Exception) and extract_error_info(error).retryable
        failure = ToolExecutionError(
            f"Reverting tools.{tool.name} failed: {type(error).__name__}: {text}",
            retryable=retryable,
            details={"exception": type(error).__name__},
        )
        return public_info(failure, self._redactor)


async def _revert(call: Applied) -> None:
    revert: Any = call.tool.revert
    arguments, result = from_json(call.arguments_json or "{}"), from_json(call.result_json or "null")
    with anyio.move_on_after(call.timeout) as scope:
        if is_async(revert):
            await revert(arguments, result)
        else:
            returned = await current_executor().threads.run(lambda: revert(arguments, result), exempt=True)
            if inspect.isawaitable(returned):
                await returned
    if scope.cancelled_caught:
        raise ToolTimeoutError(
            f"Reverting tools.{call.tool.name} did not end within {call.timeout:g} seconds; it may still take effect.",
            details={"limit": call.timeout},
        )
