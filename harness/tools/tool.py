"""The contract every tool fulfils, whatever it is made of."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import JsonValue

from harness.context import ExecutionContext
from harness.errors import UsageError
from harness.tools.names import check_name
from harness.tools.resource import ResourceContract, check_cents
from harness.tools.retry import Retry
from harness.tools.validation import call_form

__all__ = ["CostReport", "Tool", "ToolContext"]


class CostReport:
    """Where a tool's word on what a call cost arrives."""

    __slots__ = ("cents",)

    def __init__(self) -> None:
        self.cents: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolContext:
    """What a tool may know of the call it serves. A function gets it in a parameter annotated `ToolContext`."""

    tool: str
    call_id: int
    """From 1, in the order the script made its calls; 0 for a call from host code."""
    execution: ExecutionContext
    """Of the execution the call belongs to."""
    costs: CostReport | None = field(default=None, repr=False)
    """None for a tool that is free."""

    def report_cost(self, cents: float) -> None:
        """Say what this call really cost, in place of the tool's declared ``cost``; the last word counts.

        More than was held back for the call is charged all the same, and the next call finds the budget used up.
        Raises `UsageError` for what is no sum of money, and for a tool that declares neither ``cost`` nor ``resource``.
        """
        check_cents(cents, f"The cost that tool {self.tool!r} reports")
        if self.costs is None:
            raise UsageError(
                f"Tool {self.tool!r} reports a cost and is declared to be free; give it cost=… (cents held back for a "
                "call until the real cost is known) or resource=…."
            )
        self.costs.cents = cents


class Tool(abc.ABC):
    """Something a script can call: JSON data in, JSON data out.

    `@tool` makes one of a Python function. A subclass can make one of anything else that is described by JSON Schema;
    it fills in the attributes and implements the three methods.
    """

    def __init__(
        self,
        name: str,
        *,
        description: str = "",
        parameters: Mapping[str, Any] | None = None,
        result: Mapping[str, Any] | None = None,
        approval: bool = False,
        timeout: float | None = None,
        idempotent: bool = False,
        tags: tuple[str, ...] = (),
        positional: str | None = None,
        preview: Any = None,
        interruptible: bool = True,
        cost: float | Callable[[dict[str, JsonValue]], float] = 0,
        resource: ResourceContract | None = None,
        retry: Retry | int | None = None,
        deterministic: bool = False,
        revert: Callable[[dict[str, JsonValue], JsonValue], Any] | None = None,
        version: str = "1.0",
        uses_context: bool = True,
    ) -> None:
        if timeout is not None and not 0 < timeout <= 7 * 24 * 3600:
            raise UsageError(f"The timeout of tool {name!r} is {timeout!r}; it must be seconds above 0, up to a week.")
        self.name = check_name(name)
        self.description = description
        self.parameters: dict[str, Any] = dict(parameters or {"type": "object", "properties": {}})
        """JSON Schema of the argument object."""
        self.result: dict[str, Any] | None = None if result is None else dict(result)
        """JSON Schema of the result; None if nothing is known about it."""
        self.approval = approval
        """Whether a person is asked before each call."""
        self.timeout = timeout
        """Seconds a call may run; None for ``Limits.tool_timeout``."""
        self.idempotent = idempotent
        """Whether a call that may have happened can safely be made again."""
        self.tags = tags
        self.preview = preview
        """What a dry run gives the script: a value, or a function of the argument object that returns one."""
        self.interruptible = interruptible
        """False if a call that was started goes on by itself after it is cancelled: what it did is then in doubt."""
        self.positional = positional
        """The parameter that a single argument which is no object is meant for: ``tools.read("a.txt")``."""
        if positional is not None and positional not in self.parameters.get("properties", {}):
            raise UsageError(f"Tool {name!r} has no parameter {positional!r}; positional= must name one it has.")
        if not callable(cost):
            check_cents(cost, f"The cost of tool {name!r}")
        self.cost = cost
        """Cents that a call costs, or a function of the argument object that says how many."""
        self.resource = resource
        """What it shares with other tools: money, rate and concurrency."""
        self.retry = Retry(attempts=retry) if isinstance(retry, int) else retry
        """How a call is repeated that failed with a retryable error."""
        if self.retry is not None and not idempotent:
            raise UsageError(
                f"Tool {name!r} declares retry and not idempotent=True; only what does no harm when it happens twice can "
                "be retried."
            )
        self.deterministic = deterministic
        """Whether equal arguments always give an equal result, so that results are kept and used again."""
        self.revert = revert
        """Undoes a call: a function, sync or async, of the argument object and the result. See `Harness.rollback`."""
        self.version = version
        """Of the tool's contract: results kept of another version are not used."""
        self.uses_context = uses_context
        """Whether it looks at the call's context: then results are kept for each caller, else for all of them."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {call_form(self.name, self.parameters)}>"

    @abc.abstractmethod
    def validate_arguments(self, arguments: dict[str, JsonValue]) -> Any:
        """What `invoke` takes, made of a script's argument object. Raises `ToolValidationError`."""

    @abc.abstractmethod
    async def invoke(self, arguments: Any, context: ToolContext) -> Any:
        """Does the work. Any exception is the tool's failure."""

    @abc.abstractmethod
    def validate_result(self, value: Any, *, max_depth: int = 200) -> JsonValue:
        """What `invoke` returned, checked and as plain JSON data.

        Raises `ToolValidationError`, or `SerializationError` as `to_plain` does.
        """

    def describe(self) -> dict[str, Any]:
        """Everything about the tool that can be told as JSON."""
        return {
            "name": self.name,
            "description": self.description,
            "parameters": self.parameters,
            "result": self.result,
            "approval": self.approval,
            "timeout": self.timeout,
            "idempotent": self.idempotent,
            "tags": list(self.tags),
            "positional": self.positional,
        }
