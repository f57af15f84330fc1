"""Spans and metrics through OpenTelemetry, for a process that uses it. Values of arguments and results never leave."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from harness.errors import UsageError
from harness.model import CallRecord, CallStatus, Execution, ExecutionStatus
from harness.redaction import visible

__all__ = ["Telemetry"]

_SCOPE = "harness"
UNKNOWN = "(unknown)"
"""Stands in metrics for every name that is no tool: scripts choose such names, and each would be a series of its own."""


class _Instruments:
    def __init__(self, tracer_provider: Any, meter_provider: Any) -> None:
        from opentelemetry import metrics, trace  # noqa: PLC0415 - an extra

        self.trace = trace
        self.tracer = trace.get_tracer(_SCOPE, tracer_provider=tracer_provider)
        meter = metrics.get_meter(_SCOPE, meter_provider=meter_provider)
        self.executions = meter.create_counter("harness.executions", unit="{execution}")
        self.execution_seconds = meter.create_histogram("harness.execution.duration", unit="s")
        self.calls = meter.create_counter("harness.tool.calls", unit="{call}")
        self.call_seconds = meter.create_histogram("harness.tool.duration", unit="s")
        self.retries = meter.create_counter("harness.tool.retries", unit="{attempt}")
        self.cached = meter.create_counter("harness.tool.cache_hits", unit="{call}")
        self.cost = meter.create_counter("harness.tool.cost", unit="{cent}")

    def span(self, name: str, attributes: dict[str, str | int]) -> Any:
        # The text of an exception is the host's own affair; what may be told of it stands in records.
        return self.tracer.start_as_current_span(
            name, attributes=attributes, record_exception=False, set_status_on_exception=False
        )


class Telemetry:
    """What is exported, and to whom.

    With ``enabled=None`` it exports if the process has imported ``opentelemetry`` by the time of an execution: whoever
    configures it does, and nobody else pays for it. The providers are the process's own unless others are given.
    Raises `UsageError` if it is enabled and ``opentelemetry-api`` is not installed.
    """

    def __init__(self, *, enabled: bool | None = None, tracer_provider: Any = None, meter_provider: Any = None) -> None:
        self._enabled = enabled
        self._providers = (tracer_provider, meter_provider)
        self._made: _Instruments | None = None
        if enabled:
            try:
                self._made = _Instruments(*self._providers)
            except ImportError as error:
                raise UsageError(
                    "Telemetry needs opentelemetry-api: pip install 'tool-calls-harness[otel]'."
                ) from error

    @property
    def active(self) -> bool:
        """Whether anything is exported."""
        return self._instruments() is not None

    def _instruments(self) -> _Instruments | None:
        if self._made is None and self._enabled is None and "opentelemetry.trace" in sys.modules:
            self._made = _Instruments(*self._providers)
        return self._made

    @contextmanager
    def execution(self, execution_id: str, script_sha256: str) -> Iterator[list[Execution]]:
        """A span around an execution, current in everything that is started within. The caller puts the execution into
        the list that it gets, once there is one.
        """
        ended: list[Execution] = []
        made = self._instruments()
        if made is None:
            yield ended
            return
        attributes: dict[str, str | int] = {
            "harness.execution.id": execution_id,
            "harness.script.sha256": script_sha256,
        }
        with made.span("harness.execution", attributes) as span:
            yield ended
            if ended:
                self._note_execution(made, span, ended[-1])

    def _note_execution(self, made: _Instruments, span: Any, execution: Execution) -> None:
        facts = {"harness.status": str(execution.status)}
        if execution.error is not None:
            facts["error.type"] = execution.error.type
        span.set_attributes({**facts, "harness.calls": len(execution.calls)})
        if execution.status in (ExecutionStatus.ERROR, ExecutionStatus.TERMINATED):
            span.set_status(made.trace.StatusCode.ERROR)
        # The class of a script's own error is the script's choice, and so no label of a series.
        made.executions.add(1, {"harness.status": str(execution.status)})
        made.execution_seconds.record(execution.metrics.wall_ms / 1000, {"harness.status": str(execution.status)})

    @contextmanager
    def call(self, tool: str, seq: int, *, known: bool) -> Iterator[list[CallRecord]]:
        """A span around a call, as `execution`. ``known`` says that the name is a tool's."""
        ended: list[CallRecord] = []
        made = self._instruments()
        if made is None:
            yield ended
            return
        name = tool if known else UNKNOWN
        attributes: dict[str, str | int] = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": visible(tool[:200]),
            "harness.call.seq": seq,
        }
        with made.span(f"execute_tool {name}", attributes) as span:
            yield ended
            if ended:
                self._note_call(made, span, name, ended[-1])

    def _note_call(self, made: _Instruments, span: Any, name: str, record: CallRecord) -> None:
        facts = {"harness.call.status": str(record.status)}
        if record.error is not None:
            facts["error.type"] = record.error.type
            span.set_status(made.trace.StatusCode.ERROR)
        retries = max(len(record.attempts) - 1, 0)
        span.set_attributes(
            {
                **facts,
                "harness.call.cached": record.cached,
                "harness.call.retries": retries,
                "harness.call.cost_cents": record.cost_cents,
            }
        )
        if record.status is CallStatus.PLANNED:
            return
        tool = {"gen_ai.tool.name": name}
        made.calls.add(1, {**tool, **facts})
        if record.duration_ms is not None:
            made.call_seconds.record(record.duration_ms / 1000, tool)
        if retries:
            made.retries.add(retries, tool)
        if record.cached:
            made.cached.add(1, tool)
        if record.cost_cents:
            made.cost.add(record.cost_cents, tool)
