"""One tool, run once: under its time limit, its failure named, its result checked."""

from __future__ import annotations

import logging
import time
from typing import Any, NoReturn

import anyio
from pydantic import JsonValue
from pydantic_core import to_json

from harness.concurrency import cancellation_requested
from harness.errors import (
    ErrorInfo,
    HarnessError,
    SerializationError,
    ToolError,
    ToolExecutionError,
    ToolTimeoutError,
    ToolValidationError,
    extract_error_info,
)
from harness.limits import Limits
from harness.plain import to_plain
from harness.redaction import Redactor, scrub_text
from harness.tools.output import ToolOutput
from harness.tools.tool import Tool, ToolContext

__all__ = ["Invocation", "public_info"]

_LOG = logging.getLogger("harness.tools")
# A library prints nothing by itself; whoever configures logging gets the tracebacks.
_LOG.addHandler(logging.NullHandler())


class Invocation:
    """A call to a tool, from valid arguments to a valid result."""

    def __init__(self, tool: Tool, context: ToolContext, limits: Limits, redactor: Redactor | None = None) -> None:
        self.tool = tool
        self._context = context
        self._limits = limits
        self._redactor = redactor or Redactor()
        self._seconds = limits.tool_timeout if tool.timeout is None else tool.timeout
        self._started: float | None = None
        self.duration_ms: float | None = None
        """Of the tool itself; None until it was invoked."""
        self.timed_out = False
        self.output: ToolOutput | None = None
        """What the tool returned beside its value, if it did."""

    @property
    def started(self) -> bool:
        """Whether the tool was invoked, so that it may have had its effect."""
        return self._started is not None

    def validate(self, arguments: dict[str, JsonValue]) -> Any:
        """What `run` takes. Raises `ToolError` subclasses, as a rule `ToolValidationError`."""
        try:
            return self.tool.validate_arguments(arguments)
        except ToolError:
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001 - validators are the host's code and may raise anything
            self._fail(error)

    async def run(self, arguments: Any, scope: anyio.CancelScope) -> JsonValue:
        """The result as plain JSON data. ``scope`` is the caller's, around this call: it gets the deadline.

        One scope serves both for the deadline and for whoever else may cancel the call, since each costs as much as the
        rest of a call. So a tool that overran its time ends that scope silently, and the caller raises `overran`.

        Raises `ToolValidationError` for a result that is not what was declared, and for what the tool raises
        `ToolExecutionError`, or the tool's own `ToolError`.
        """
        self._started = time.perf_counter()
        scope.deadline = deadline = anyio.current_time() + self._seconds
        failure: BaseException | None = None
        value: Any = None
        try:
            value = await self.tool.invoke(arguments, self._context)
        except anyio.get_cancelled_exc_class() as error:
            if cancellation_requested():
                raise
            failure = error
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a tool may raise anything; all of it is named below
            failure = error
        finally:
            self.duration_ms = (time.perf_counter() - self._started) * 1000
        if scope.cancel_called and anyio.current_time() >= deadline:
            # Whatever a tool makes of its cancellation, it did not end within its time.
            if isinstance(failure, ToolTimeoutError):
                self.timed_out = True
                raise failure
            raise self.overran() from failure
        if failure is not None:
            self._fail(failure)
        if isinstance(value, ToolOutput):
            self.output, value = value, value.value
        return self.check(value)

    def check(self, value: Any) -> JsonValue:
        """A result, checked and as plain JSON data. Raises `ToolValidationError`."""
        try:
            return self.tool.validate_result(value, max_depth=self._limits.json_depth)
        except ToolError:
            raise
        except SerializationError as error:
            message = f"The result of tools.{self.tool.name} has no JSON form. {error.message}"
            raise ToolValidationError(message, details=error.details) from None
        except (Exception, SystemExit) as error:  # noqa: BLE001 - serializers are the host's code and may raise anything
            self._fail(error)

    def preview(self, arguments: dict[str, JsonValue]) -> JsonValue:
        """What a dry run shows as the result: the tool's own preview. Raises what `run` raises for a failure."""
        preview = self.tool.preview
        try:
            return self.check(preview(arguments) if callable(preview) else preview)
        except ToolError:
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a preview is the host's code and may raise anything
            self._fail(error)

    def encode(self, value: JsonValue) -> str:
        """A checked result as JSON text. Raises `ToolValidationError` if it is larger than ``result_bytes``."""
        encoded = to_json(value)
        if len(encoded) > self._limits.result_bytes:
            raise ToolValidationError(
                f"The result of tools.{self.tool.name} is {len(encoded):,} bytes of JSON; result_bytes allows "
                f"{self._limits.result_bytes:,}. Ask the tool for less.",
                details={"path": "$", "limit": self._limits.result_bytes, "used": len(encoded)},
            )
        return encoded.decode()

    def overran(self) -> ToolTimeoutError:
        """The error for a call that did not end within its time."""
        self.timed_out = True
        after = (
            "It was cancelled."
            if self.tool.interruptible
            else "It cannot be interrupted: it may still take effect, and its result is discarded."
        )
        return ToolTimeoutError(
            f"tools.{self.tool.name} did not end within {self._seconds:g} seconds. {after}",
            details={"limit": self._seconds},
            # What may still take effect must not be repeated lightly.
            retryable=None if self.tool.interruptible or self.tool.idempotent else False,
        )

    def _fail(self, error: BaseException) -> NoReturn:
        """Raises what the tool's failure is called outside: its own `ToolError`, or a `ToolExecutionError`."""
        if isinstance(error, ToolError):
            raise error
        name = f"tools.{self.tool.name}"
        if isinstance(error, anyio.get_cancelled_exc_class()):
            message, kind, retryable = f"{name} failed: it awaited something that was cancelled.", "Cancelled", False
        else:
            info = extract_error_info(error)
            text = error.message if isinstance(error, HarnessError) else _text(error)
            shown = scrub_text(text, self._redactor).strip()
            message = f"{name} failed: {info.type}" + (f": {shown}" if shown else "")
            kind, retryable = info.type, info.retryable
        # The traceback is for the host alone.
        _LOG.warning("%s raised %s.", name, type(error).__name__, exc_info=error)
        raise ToolExecutionError(message, retryable=retryable, details={"exception": kind}) from error


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - a broken __str__ must not hide the failure it belongs to
        return "(its text cannot be made)"


def public_info(error: HarnessError, redactor: Redactor, line: int | None = None) -> ErrorInfo:
    """An error as what scripts, models and people are shown: registered secrets removed, details plain JSON data.

    ``line`` is that of the call. What a tool's own error says of lines and stacks is about something else.
    """
    try:
        plain = to_plain(error.details)
    except SerializationError as problem:
        plain = {"omitted": f"The details have no JSON form: {problem.message}"}
    details = redactor.masked(plain)
    return ErrorInfo(
        type=type(error).__name__,
        category=error.category,
        retryable=error.retryable,
        message=redactor.secrets(error.message),
        line=line,
        details=details if isinstance(details, dict) else {},
    )
