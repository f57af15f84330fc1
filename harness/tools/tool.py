"""The contract every tool fulfils, whatever it is made of."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue

from harness.context import ExecutionContext
from harness.errors import UsageError
from harness.tools.names import check_name
from harness.tools.validation import call_form

__all__ = ["Tool", "ToolContext"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolContext:
    """What a tool may know of the call it serves. A function gets it in a parameter annotated `ToolContext`."""

    tool: str
    call_id: int
    """From 1, in the order the script made its calls; 0 for a call from host code."""
    execution: ExecutionContext
    """Of the execution the call belongs to."""


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
