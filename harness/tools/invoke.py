"""One tool, run once: under its time limit, its failure named, its result checked."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, NoReturn

import anyio
from pydantic import JsonValue
from pydantic_core import to_json

from harness.concurrency import EscapedError, cancellation_requested
from harness.errors import (
    ErrorInfo,
    HarnessError,
    SerializationError,
    ToolError,
    ToolExecutionError,
    ToolTimeoutError,
    ToolValidationError,
    UsageError,
    class_name,
    extract_error_info,
)
from harness.executor import current_executor
from harness.limits import Limits
from harness.plain import to_plain
from harness.redaction import Redactor, scrub_text
from harness.tools.context import CallContext
from harness.tools.deferred import Deferred
from harness.tools.output import ToolOutput
from harness.tools.resource import check_cents
from harness.tools.samples import sample
from harness.tools.tool import Tool

__all__ = ["Invocation", "public_info"]

_LOG = logging.getLogger("harness.tools")
# A library prints nothing by itself; whoever configures logging gets the tracebacks.
_LOG.addHandler(logging.NullHandler())


class Invocation:
    """A call to a tool, from valid arguments to a valid result."""

    def __init__(
        self,
        tool: Tool,
        context: CallContext,
        limits: Limits,
        redactor: Redactor | None = None,
        clock: Callable[[], float] = anyio.current_time,
    ) -> None:
        self.tool = tool
        self.context = context
        self._limits = limits
        self._redactor = redactor or Redactor()
        self._clock = clock
        self._seconds = limits.tool_timeout if tool.timeout is None else tool.timeout
        self._started: float | None = None
        self.duration_ms: float | None = None
        """Of the tool itself, all attempts together; None until it was invoked."""
        self.timed_out = False
        self.may_have_acted = False
        """Whether the tool returned, or was left while it worked. Not if it said itself that it failed."""
        self.left_behind = False
        """Whether the tool was cancelled and goes on all the same."""
        self.output: ToolOutput | None = None
        """What the tool returned beside its value, if it did."""
        self.deferred: Deferred | None = None
        """The tool's word that the result comes later, in place of one."""

    @property
    def started(self) -> bool:
        """Whether the tool was invoked, so that it may have had its effect."""
        return self._started is not None

    @property
    def goes_on(self) -> bool:
        """Whether the tool goes on by itself if nobody waits for it any more."""
        return self.left_behind or not self.tool.interruptible

    def validate(self, arguments: dict[str, JsonValue]) -> Any:
        """What `run` takes. Raises `ToolError` subclasses, as a rule `ToolValidationError`."""
        try:
            with self._redactor.serving():
                return self.tool.validate_arguments(arguments)
        except BaseException as error:  # noqa: BLE001 - validators are the host's code and may raise anything
            self._fail(error)

    async def run(self, arguments: Any, scope: anyio.CancelScope) -> JsonValue:
        """The result as plain JSON data. ``scope`` is the caller's, around this call: it gets the deadline.

        One scope serves both for the deadline and for whoever else may cancel the call, since each costs as much as the
        rest of a call. So a tool that overran its time ends that scope silently, and the caller raises `overran`.

        Raises `ToolValidationError` for a result that is not what was declared, and for what the tool raises
        `ToolExecutionError`, or the tool's own `ToolError`. An async tool that is cancelled and has not ended
        ``settle_grace`` later is left behind.
        """
        # An attempt after the first is timed anew, and the durations add up.
        before, acted_before = self.duration_ms or 0.0, self.may_have_acted
        self.timed_out, self.may_have_acted = False, True
        self._started = time.perf_counter()
        scope.deadline = deadline = self._clock() + self._seconds
        failure: BaseException | None = None
        value: Any = None
        try:
            with self._redactor.serving():
                value = await self._invoke(arguments)
        except anyio.get_cancelled_exc_class() as error:
            if cancellation_requested():
                raise
            failure = error
        except (KeyboardInterrupt, GeneratorExit):
            # Not the tool's: somebody ends the program, or closes this coroutine.
            raise
        except BaseException as error:  # noqa: BLE001 - a tool may raise anything; all of it is named below
            failure = error
        finally:
            self.duration_ms = before + (time.perf_counter() - self._started) * 1000
        if scope.cancel_called and self._clock() >= deadline:
            # Whatever a tool makes of its cancellation, it did not end within its time.
            if isinstance(failure, ToolTimeoutError):
                self.timed_out = True
                raise failure
            raise self.overran() from failure
        if failure is not None:
            self.may_have_acted = acted_before or self.tool.is_in_doubt_after(failure)
            self._fail(failure)
        if isinstance(value, Deferred):
            self.deferred = value
            return None
        if isinstance(value, ToolOutput):
            self.output, value = value, value.value
        return self.check(value)

    async def _invoke(self, arguments: Any) -> Any:
        tool, context = self.tool, self.context
        if tool.ends_itself or not tool.interruptible:
            return await tool.invoke(arguments, context)
        errand = current_executor().tasks.start(lambda: tool.invoke(arguments, context), tool.expression)
        try:
            return await errand.outcome(self._limits.settle_grace)
        finally:
            if errand.left:
                self.left_behind = context.cancelled = True

    def check(self, value: Any) -> JsonValue:
        """A result, checked and as plain JSON data. Raises `ToolValidationError`."""
        try:
            with self._redactor.serving():
                return self.tool.validate_result(value, max_depth=self._limits.json_depth)
        except SerializationError as error:
            message = f"The result of {self.tool.expression} has no JSON form. {error.message}"
            raise ToolValidationError(message, details=error.details) from None
        except BaseException as error:  # noqa: BLE001 - serializers are the host's code and may raise anything
            self._fail(error)

    def preview(self, arguments: dict[str, JsonValue]) -> JsonValue:
        """What a dry run shows as the result: the tool's own preview, or a sample of what it declares to return.

        Raises what `run` raises for a failure.
        """
        preview = self.tool.preview
        if preview is None:
            return sample(self.tool.result)
        try:
            return self.check(preview(self.tool.with_defaults(arguments)) if callable(preview) else preview)
        except BaseException as error:  # noqa: BLE001 - a preview is the host's code and may raise anything
            self._fail(error)

    def encode(self, value: JsonValue) -> str:
        """A checked result as JSON text. Raises `ToolValidationError` if it is larger than ``result_bytes``."""
        encoded = to_json(value)
        self._check_size(len(encoded))
        return encoded.decode()

    def take(self, encoded: str) -> str:
        """A result that another call's `encode` gave, checked against this call's own limit. Raises as that does."""
        self._check_size(len(encoded) if encoded.isascii() else len(encoded.encode()))
        return encoded

    def _check_size(self, size: int) -> None:
        if size > self._limits.result_bytes:
            raise ToolValidationError(
                f"The result of tools.{self.tool.name} is {size:,} bytes of JSON; result_bytes allows "
                f"{self._limits.result_bytes:,}. Ask the tool for less.",
                details={"path": "$", "limit": self._limits.result_bytes, "used": size},
            )

    def price(self, arguments: dict[str, JsonValue]) -> float:
        """Cents that a call is expected to cost. Raises `ToolExecutionError` if the tool's own function cannot say."""
        cost = self.tool.cost
        if not callable(cost):
            return cost
        try:
            cents = cost(arguments)
        except BaseException as error:  # noqa: BLE001 - the function is the host's code and may raise anything
            self._fail(error)
        try:
            check_cents(cents, f"The cost of tools.{self.tool.name} for these arguments")
        except UsageError as error:
            raise ToolExecutionError(f"{error.message} Mend the tool's cost function.") from None
        return cents

    def overran(self) -> ToolTimeoutError:
        """The error for a call that did not end within its time."""
        self.timed_out = True
        if self.left_behind:
            after = "It was cancelled and goes on all the same: it may still take effect, and its result is discarded."
        elif self.tool.interruptible:
            after = "It was cancelled."
        else:
            after = "It cannot be interrupted: it may still take effect, and its result is discarded."
        return ToolTimeoutError(
            f"{self.tool.expression} did not end within {self._seconds:g} seconds. {after}",
            details={"limit": self._seconds},
            # What may still take effect must not be repeated lightly.
            retryable=None if not self.goes_on or self.tool.idempotent else False,
        )

    def _fail(self, error: BaseException) -> NoReturn:
        """Raises what the tool's failure is called outside: its own `ToolError`, or a `ToolExecutionError`."""
        if isinstance(error, (ToolError, KeyboardInterrupt)):
            raise error
        if isinstance(error, EscapedError) and error.__cause__ is not None:
            error = error.__cause__
        name = f"{self.tool.expression}"
        if isinstance(error, anyio.get_cancelled_exc_class()):
            message, kind, category = f"{name} failed: it awaited something that was cancelled.", "Cancelled", None
        else:
            info = extract_error_info(error)
            text = error.message if isinstance(error, HarnessError) else _text(error)
            shown = scrub_text(text, self._redactor).strip()
            message = f"{name} failed: {info.type}" + (f": {shown}" if shown else "")
            kind, category = info.type, info.category if info.retryable else None
        # The traceback is for the host alone.
        _LOG.warning("%s raised %s.", name, class_name(error), exc_info=error)
        raise ToolExecutionError(message, category=category, details={"exception": kind}) from error


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except (Exception, SystemExit, GeneratorExit):  # noqa: BLE001 - a broken __str__ must not hide the failure it belongs to
        return "(its text cannot be made)"


def public_info(error: HarnessError, redactor: Redactor, line: int | None = None) -> ErrorInfo:
    """An error as what scripts, models and people are shown: no secrets or credentials, details plain JSON data.

    ``line`` is that of the call. What a tool's own error says of lines and stacks is about something else.
    """
    try:
        plain = to_plain(error.details)
    except SerializationError as problem:
        plain = {"omitted": f"The details have no JSON form: {problem.message}"}
    details = redactor.details(plain)
    return ErrorInfo(
        type=class_name(error),
        category=error.category,
        retryable=error.retryable,
        message=redactor.message(error.message),
        line=line,
        details=details if isinstance(details, dict) else {},
    )
