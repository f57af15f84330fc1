"""Counters, percentiles and OpenTelemetry."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from harness import Budget, Harness, ResourceContract, Retry, Telemetry, ToolExecutionError, tool
from harness.model import CallRecord, CallStatus
from harness.testing import FakeTools
from harness.tools.metrics import Durations, ToolStatistics

pytestmark = pytest.mark.anyio


def block(script: str) -> str:
    return f"<tool-calls>{script}</tool-calls>"


# ── counters ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("BUD-061")
def test_percentiles_are_close_and_their_memory_is_bounded():
    chance = random.Random(7)
    values = [chance.lognormvariate(1, 2) for _ in range(20_000)]
    durations = Durations()
    for value in values:
        durations.add(value)
    values.sort()
    for percent in (1, 50, 90, 99, 100):
        exact = values[max(-(-len(values) * percent // 100), 1) - 1]
        found = durations.percentile(percent)
        assert found is not None
        assert exact <= found <= exact * 1.0906, percent
    for value in (0.0, 1e-9, 1e30):
        durations.add(value)
    assert len(durations._buckets) < 330
    assert Durations().percentile(50) is None


@pytest.mark.requirement("BUD-061")
def test_counting_is_exact_from_several_threads():
    statistics = ToolStatistics()
    record = CallRecord(seq=1, tool="f", args={}, status=CallStatus.OK, duration_ms=1.0, cost_cents=0.1)

    def count() -> None:
        for _ in range(500):
            statistics.count(record)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (statistics.calls, statistics.durations.count, statistics.cost_cents) == (2_000, 2_000, 200)


@pytest.mark.requirement("BUD-060")
async def test_what_a_harness_counts():
    tools = FakeTools({"unused": 1})
    answers = iter([ToolExecutionError("busy", retryable=True), 1, ValueError("no")])

    def answer(_arguments: Any) -> Any:
        found = next(answers)
        if isinstance(found, Exception):
            raise found
        return found

    contract = ResourceContract("crm", budget_cents=None, rate_limit_per_min=9)
    tools.add("f", answer, idempotent=True, retry=Retry(initial=0, jitter=0), cost=2, resource=contract)
    async with Harness(tools=tools) as harness:
        await harness.run(block("await tools.f(); await tools.f()"))
        metrics: Any = harness.metrics()
        assert harness.get_status().tools["f"].calls == 2
    assert json.loads(json.dumps(metrics)) == metrics
    f = metrics["tools"]["f"]
    duration = f.pop("duration_ms")
    assert f == {
        "calls": 2, "ok": 1, "failed": {"ToolExecutionError": 1}, "retries": 1, "cached": 0, "cost_cents": 6,
    }  # fmt: skip
    assert 0 < duration["p50"] <= duration["p90"] <= duration["p99"] <= duration["max"] <= duration["sum"]
    assert metrics["tools"]["unused"]["duration_ms"]["p50"] is None
    assert metrics["resources"] == {
        "crm": {
            "cost_cents": None,
            "rate_per_min": {"limit": 9, "used": 3, "remaining": 6},
            "concurrent": {"limit": 5, "used": 0, "remaining": 5},
        }
    }
    assert metrics["cache"] == {"entries": 0, "bytes": 0, "hits": 0, "joined": 0, "misses": 0, "evicted": 0}


# ── OpenTelemetry ────────────────────────────────────────────────────────────────────────────────────────────────


class Collector:
    """The real SDK, with its exporters in memory."""

    def __init__(self) -> None:
        self._spans = InMemorySpanExporter()
        self._metrics = InMemoryMetricReader()
        self.tracer_provider = TracerProvider(shutdown_on_exit=False)
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._spans))
        self._meter_provider = MeterProvider([self._metrics], shutdown_on_exit=False)
        self.telemetry = Telemetry(
            enabled=True, tracer_provider=self.tracer_provider, meter_provider=self._meter_provider
        )

    def spans(self) -> list[ReadableSpan]:
        return list(self._spans.get_finished_spans())

    def points(self) -> dict[str, list[Any]]:
        data = self._metrics.get_metrics_data()
        assert data is not None
        return {
            metric.name: list(metric.data.data_points)
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def shutdown(self) -> None:
        self.tracer_provider.shutdown()
        self._meter_provider.shutdown()


@pytest.fixture
def collector():
    made = Collector()
    yield made
    made.shutdown()


@pytest.mark.requirement("BUD-062")
async def test_spans_of_executions_calls_and_what_tools_do_inside(collector):
    @tool(cost=3)
    async def inner(word: str) -> str:
        with collector.tracer_provider.get_tracer("user").start_as_current_span("the tool's own"):
            return word

    @tool
    async def fails() -> None:
        raise ValueError("confidential")

    script = """
      await Promise.all([tools.inner({word: 'confidential'}), tools.inner({word: 'x'})]);
      await tools.fails().catch(() => 0);
      await tools['nope_' + 'confidential']().catch(() => 0);
    """
    async with Harness(tools=[inner, fails], telemetry=collector.telemetry) as harness:
        outcome = await harness.run(block(script))
        await harness.run(block("throw new Error('confidential')"))
    spans = collector.spans()
    executions = [span for span in spans if span.name == "harness.execution"]
    assert [span.attributes and span.attributes["harness.status"] for span in executions] == ["ok", "error"]
    assert executions[0].attributes is not None
    assert executions[0].attributes["harness.execution.id"] == outcome.executions[0].id
    assert executions[1].status.status_code is trace.StatusCode.ERROR
    calls = [span for span in spans if span.name.startswith("execute_tool ")]
    names = sorted(span.name.removeprefix("execute_tool ") for span in calls)
    assert names == ["(unknown)", "fails", "inner", "inner"]
    root = executions[0].context
    assert root is not None
    assert {span.parent and span.parent.span_id for span in calls} == {root.span_id}
    by_id = {span.context.span_id: span for span in spans if span.context}
    own = [span for span in spans if span.name == "the tool's own"]
    assert [by_id[span.parent.span_id].name for span in own if span.parent] == ["execute_tool inner"] * 2
    failed = next(span for span in calls if span.name == "execute_tool fails")
    assert failed.attributes is not None
    assert failed.attributes["error.type"] == "ToolExecutionError"
    assert [span.events for span in spans] == [()] * len(spans)
    told = [span.to_json() for span in spans if "(unknown)" not in span.name]
    assert not any("confidential" in text for text in told)


@pytest.mark.requirement("BUD-062")
def test_what_passes_through_a_span_is_not_told(collector):
    with pytest.raises(KeyboardInterrupt), collector.telemetry.call("f", 1, known=True):
        raise KeyboardInterrupt("confidential")
    with pytest.raises(KeyboardInterrupt), collector.telemetry.execution("exec_1", "0" * 64):
        raise KeyboardInterrupt("confidential")
    assert [(span.events, span.status.description) for span in collector.spans()] == [((), None)] * 2


@pytest.mark.requirement("BUD-062")
async def test_counters_and_histograms(collector):
    answers = iter([ToolExecutionError("busy", retryable=True), 1])

    def answer(_arguments: Any) -> Any:
        found = next(answers)
        if isinstance(found, Exception):
            raise found
        return found

    tools = FakeTools()
    retry = Retry(initial=0, jitter=0)
    tools.add("f", answer, idempotent=True, retry=retry, cost=2, deterministic=True, uses_context=False)
    async with Harness(tools=tools, telemetry=collector.telemetry, budget=Budget(cost_cents=9)) as harness:
        unknown = "for (let n = 0; n < 20; n++) await tools['no' + n]().catch(() => 0)"
        await harness.run(block(f"await tools.f(); await tools.f(); {unknown}"))
        await harness.run(block("throw 1"))
    points = collector.points()

    def values(name: str) -> dict[tuple[Any, ...], float]:
        return {
            tuple(point.attributes.values()): getattr(point, "value", None) or point.count for point in points[name]
        }

    assert values("harness.executions") == {("ok",): 1, ("error",): 1}
    # Names that a script made up are one series.
    assert values("harness.tool.calls") == {
        ("f", "ok"): 2,
        ("(unknown)", "error", "ToolNotFoundError"): 20,
    }
    assert values("harness.tool.duration") == {("f",): 1}
    assert values("harness.tool.retries") == {("f",): 1}
    assert values("harness.tool.cache_hits") == {("f",): 1}
    assert values("harness.tool.cost") == {("f",): 4}


@pytest.mark.requirement("BUD-063")
async def test_it_can_be_switched_off():
    assert Telemetry().active  # this process has imported it
    assert not Telemetry(enabled=False).active


@pytest.mark.slow
@pytest.mark.requirement("BUD-063")
def test_it_costs_no_import_where_nobody_uses_it():
    code = (
        "import sys\n"
        "from harness import Harness, Telemetry\n"
        "out = Harness(isolation='thread').run_sync('<tool-calls>return 1</tool-calls>')\n"
        "print(out.executions[0].value, Telemetry().active, [name for name in sys.modules if 'opentelemetry' in name])\n"
        "sys.modules['opentelemetry'] = None\n"
        "try:\n"
        "    Telemetry(enabled=True)\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, 'tool-calls-harness[otel]' in str(error))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=True)
    assert done.stdout.splitlines() == ["1 False []", "UsageError True"]
