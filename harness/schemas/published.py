"""The JSON Schemas of the public values, as they are committed under ``specs/schemas/``."""

from __future__ import annotations

import dataclasses
import enum
import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from harness import model
from harness.approvals.decision import Decision
from harness.canonical import with_doubles
from harness.context import ExecutionContext
from harness.contracts.binding import Binding, Bound, Verdict
from harness.contracts.bumps import RequiredBump
from harness.contracts.values import Contract, ContractSet, Difference, Impact
from harness.durable.looking import ExecutionEntry
from harness.errors import ErrorCategory, ErrorInfo
from harness.journal.events import Event
from harness.journal.payloads import PAYLOADS
from harness.limits import Limits
from harness.runtime import turns
from harness.schemas import frames
from harness.tools.budget import Budget
from harness.tools.compensation import RollbackReport, RollbackStep
from harness.tools.process.settings import ProcessLimits, ProcessSandbox
from harness.tools.resource import ResourceContract
from harness.tools.retry import Retry

__all__ = ["NOT_PUBLISHED", "PUBLISHED", "SCHEMA_VERSION", "Published", "file_name", "schema_of"]

SCHEMA_VERSION = "0.1.0"
"""Of all schemas together. It rises as ``specs/compatibility.md`` says whenever one of them changes."""


@dataclass(frozen=True, slots=True)
class Published:
    """A value, and which way its JSON goes."""

    value: Any
    role: Literal["input", "output"] = "output"
    """``output``: the harness writes it, and others read it; they have to put up with members they do not know.
    ``input``: others, or earlier versions, wrote it, and the harness reads it."""


_WRITTEN = [
    *[model.Span, model.Text, model.Ignored, model.Block, model.Unclosed, model.Segment, model.Severity],
    *[model.Diagnostic, model.Script, model.ScriptInfo, model.ExecutionStatus, model.CallStatus],
    *[model.ApprovalRequest, model.ApprovalNote, model.CallRecord, model.LogEntry, model.ProgressEvent],
    *[model.PlanStep, model.Plan, model.Metrics, model.Execution, model.Outcome],
    *[model.Artifact, model.Attempt, model.BudgetLine, model.BudgetReport, model.ResourceReport],
    *[
        ErrorCategory,
        ErrorInfo,
        RollbackStep,
        RollbackReport,
        ExecutionEntry,
        Impact,
        Difference,
        RequiredBump,
        Verdict,
        Bound,
        Binding,
    ],
]
_READ = [
    *[Budget, Decision, ExecutionContext, Limits, ProcessLimits, ProcessSandbox, ResourceContract, Retry],
    *[Contract, ContractSet, frames.CheckFrame, frames.StartFrame, frames.DeliverFrame],
]
_FROM_WORKERS = {f"{kind.__name__}Frame": kind for kind in (turns.Ready, turns.Turn, turns.Verdict, turns.Failed)}


def _name(value: Any) -> str:
    return "Segment" if value is model.Segment else str(value.__name__)


_RECORDED = {"JournalEvent": Event, **{f"{kind.__name__}Event": kind for kind in PAYLOADS.values()}}
"""Events, and what those of each kind say: the public and the private part together."""

PUBLISHED: Mapping[str, Published] = {
    **{_name(value): Published(value) for value in _WRITTEN},
    **{_name(value): Published(value, "input") for value in _READ},
    **{name: Published(value, "input") for name, value in {**_FROM_WORKERS, **_RECORDED}.items()},
}
"""Every public value that travels as JSON, by name."""

NOT_PUBLISHED = {
    "CallContext": "what a running call can ask and say, no data",
    "Deferred": "what a tool hands over in the same process",
    "ExecutionMode": "in JSON it is text, of its names",
    "HarnessStatus": "a look into a running harness, with counters that go on counting",
    "HostCall": "what a call from host code gives in the same process; its record is a CallRecord",
    "ResultCache": "a place, no data",
    "Telemetry": "a setting that holds providers",
    "ToolOutput": "what a tool hands over in the same process, with any Python value",
    "ToolStatistics": "counters that go on counting",
}
"""Public classes that hold data and have no schema, and why."""


def file_name(name: str) -> str:
    """``CallRecord`` is described in ``call_record.json``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower() + ".json"


def schema_of(name: str) -> dict[str, Any]:
    """The JSON Schema of a published value, of draft 2020-12."""
    schema: dict[str, Any] = json.loads(_text_of(name))
    return schema


@functools.cache
def _text_of(name: str) -> str:
    published = PUBLISHED[name]
    generator = _Written if published.role == "output" else _Read
    mode: Literal["serialization", "validation"] = "serialization" if published.role == "output" else "validation"
    schema = TypeAdapter(published.value).json_schema(mode=mode, schema_generator=generator)
    if dataclasses.is_dataclass(published.value) and published.role == "input":
        schema["additionalProperties"] = False  # its constructor takes no other
    schema = {**schema, "$schema": GenerateJsonSchema.schema_dialect}
    schema["$id"] = f"urn:tool-calls-harness:{file_name(name).removesuffix('.json')}"
    return json.dumps(with_doubles(schema))


class _Read(GenerateJsonSchema):
    """Without titles, which only repeat names."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012 - so the base class has it

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - of a method that is overridden
        return False

    def enum_schema(self, schema: core_schema.EnumSchema) -> JsonSchemaValue:
        """A flag is any combination of its members."""
        if issubclass(schema["cls"], enum.Flag):
            return {"type": "integer", "minimum": 0, "maximum": sum(member.value for member in schema["cls"])}
        return super().enum_schema(schema)


class _Written(_Read):
    """What is written has every member, and whoever reads it puts up with more."""

    def field_is_required(self, field: Any, total: bool) -> bool:  # noqa: ARG002 - of a method that is overridden
        return True

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """A default says nothing where nothing is left out."""
        found = super().default_schema(schema)
        found.pop("default", None)
        return found

    def generate(self, schema: Any, mode: Literal["validation", "serialization"] = "validation") -> JsonSchemaValue:
        opened: JsonSchemaValue = _opened(super().generate(schema, mode))
        return opened


def _opened(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_opened(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        word: _opened(value)
        for word, value in schema.items()
        if not (word == "additionalProperties" and value is False)
    }
