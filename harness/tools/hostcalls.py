"""Calls that host code makes by itself, through the steps of a script's call."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypedDict

from pydantic import JsonValue
from pydantic_core import to_json

from harness.approvals.bridge import ApprovalBridge
from harness.approvals.decision import Approver
from harness.context import ExecutionContext, merge_limits
from harness.errors import SerializationError, ToolValidationError, UsageError
from harness.limits import Limits
from harness.model import CallRecord
from harness.plain import to_plain
from harness.redaction import Redactor
from harness.tools.budget import Budget, CallBudget
from harness.tools.calls import ToolCall
from harness.tools.compensation import Ledger
from harness.tools.economy import Economy
from harness.tools.facade import CallFacade
from harness.tools.process.settings import ProcessLimits
from harness.tools.source import ToolSource
from harness.tools.tool import Tool

__all__ = ["Home", "HostCall", "HostOptions", "call_from_host"]


class HostOptions(TypedDict, total=False):
    """What can be said of a call from host code."""

    context: ExecutionContext | None
    """For whom the call is made, and under which limits; what it leaves out is as in the registry's harness."""
    limits: Limits | Mapping[str, Any] | None
    """The limits to change for this call."""
    approver: Approver | None
    """Who is asked if the tool needs approval; without one nobody is, since host code needs no permission."""
    budget: CallBudget | Budget | None
    """A `Budget` is for this call alone, in place of the harness's. A `CallBudget` can be shared by several calls: they
    then spend and line up as the calls of one execution do."""
    timeout: float | None
    """Seconds, in place of the tool's own."""
    idempotency_key: str | None
    """What the tool finds in its `CallContext`; by default no two calls have the same."""
    artifacts: Sequence[str] | None
    """Of a `SubprocessTool`: where its result names files, in place of its own setting."""
    process_limits: ProcessLimits | Mapping[str, Any] | None
    """Of a `SubprocessTool`: the limits of its processes to change."""
    seed: int | None
    """Of a `SubprocessTool` with ``seed_field``: the seed it is given, unless the arguments hold one."""


@dataclass(frozen=True, slots=True)
class HostCall:
    """A call that succeeded."""

    value: JsonValue
    """The result as plain JSON data."""
    record: CallRecord
    """What an outcome would say of it: cost, attempts, artifacts, duration."""


@dataclass(frozen=True)
class Home:
    """What the calls of one registry have in common: those of its harness, or its own."""

    economy: Economy = field(default_factory=Economy)
    limits: Limits = field(default_factory=Limits)
    redactor: Redactor = field(default_factory=Redactor)


async def call_from_host(
    source: ToolSource,
    home: Home,
    name: str,
    arguments: Mapping[str, Any] | None,
    *,
    context: ExecutionContext | None = None,
    limits: Limits | Mapping[str, Any] | None = None,
    approver: Approver | None = None,
    budget: CallBudget | Budget | None = None,
    timeout: float | None = None,  # noqa: ASYNC109 - the tool's own limit, not a deadline of this coroutine
    idempotency_key: str | None = None,
    artifacts: Sequence[str] | None = None,
    process_limits: ProcessLimits | Mapping[str, Any] | None = None,
    seed: int | None = None,
) -> HostCall:
    """One call; see `HostOptions`. Raises what a script would get: the tool's own error unchanged."""
    wanted: object = name
    if not isinstance(wanted, str):
        raise UsageError(f"A tool is called by its name, which is text, not {wanted!r}.")
    item = source.get(name).with_settings(timeout=timeout, artifacts=artifacts, limits=process_limits, seed=seed)
    if item.deterministic and not (artifacts is None and process_limits is None and seed is None):
        # A kept result is one of the tool as it is.
        item = item.replace(deterministic=False)
    if approver is None and item.approval:
        item = item.replace(approval=False)
    execution = _context(home.limits, context, limits)
    facade = CallFacade(
        _Single(source, item),
        execution,
        approvals=ApprovalBridge(approver),
        redactor=home.redactor,
        # Nobody knows the execution of a call without a context, so it cannot be rolled back, nor push out what can.
        economy=home.economy if context is not None else replace(home.economy, ledger=Ledger(home.redactor)),
        budget=_budget(budget, execution.limits),
        idempotency_key=_key(idempotency_key),
    )
    try:
        settled = await facade.call(ToolCall(0, name, _argument_text(arguments, item)))
    finally:
        facade.close()
    if settled.exception is not None:
        raise settled.exception
    return HostCall(json.loads(settled.value_json or "null"), settled.record)


def _context(
    default: Limits, context: ExecutionContext | None, limits: Limits | Mapping[str, Any] | None
) -> ExecutionContext:
    if not isinstance(context, ExecutionContext | None):
        raise UsageError(f"context is an ExecutionContext, not {context!r}.")
    given = context or ExecutionContext()
    own = given.limits if "limits" in given.model_fields_set else None
    return given.model_copy(update={"limits": merge_limits(merge_limits(default, own), limits)})


def _budget(budget: CallBudget | Budget | None, limits: Limits) -> CallBudget | None:
    if not isinstance(budget, CallBudget | Budget | None):
        raise UsageError(f"budget is a Budget, or a CallBudget that several calls share, not {budget!r}.")
    return CallBudget(limits, budget) if isinstance(budget, Budget) else budget


def _key(given: object) -> str:
    if given is None:
        return f"idem_{secrets.token_hex(20)}"
    if not isinstance(given, str) or not given:
        raise UsageError(f"idempotency_key is a text that is not empty, not {given!r}.")
    return given


def _argument_text(arguments: Mapping[str, Any] | None, item: Tool) -> str:
    if not isinstance(arguments, Mapping | None):
        raise UsageError(
            f"The arguments of {item.expression} are a dictionary of names and values, not {type(arguments).__name__}."
        )
    try:
        return to_json([to_plain(dict(arguments or {}))]).decode()
    except SerializationError as error:
        message = f"The arguments of {item.expression}: {error.message}"
        raise ToolValidationError(message, details=error.details) from None


@dataclass(frozen=True, slots=True)
class _Single:
    """One tool of a registry, with options of its own."""

    source: ToolSource
    tool: Tool

    def __iter__(self) -> Iterator[Tool]:
        return iter([self.tool])

    def __contains__(self, name: object) -> bool:
        return name in self.source

    def get(self, name: str) -> Tool:
        return self.tool if name == self.tool.name else self.source.get(name)

    def count(self, record: CallRecord) -> None:
        self.source.count(record)
