"""What the tests of tools, approvers and transcripts need. No VM is started by anything here."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.lowlevel
from pydantic import JsonValue

from harness.approvals.decision import Decision
from harness.canonical import content_hash
from harness.context import ExecutionContext, make_test_context
from harness.errors import UsageError
from harness.model import ApprovalRequest
from harness.plain import to_plain
from harness.redaction import Redactor
from harness.testing.http import FakeHttp, FakeRequest, FakeResponse
from harness.testing.model import FakeModel
from harness.tools.context import CallContext
from harness.tools.registry import ToolRegistry
from harness.tools.tool import Tool

__all__ = [
    "FakeCall",
    "FakeHttp",
    "FakeModel",
    "FakeRequest",
    "FakeResponse",
    "FakeTool",
    "FakeTools",
    "ScriptedApprover",
    "call_tool",
    "chunks",
    "make_request",
    "make_test_context",
    "stream_chunks",
    "two_way_splits",
]


@dataclass(frozen=True, slots=True)
class FakeCall:
    """One call that a fake tool received."""

    tool: str
    arguments: dict[str, JsonValue]


class FakeTool(Tool):
    """A tool with a canned result, that takes any arguments.

    ``result`` is the value to return, an exception to raise, or a function of the argument object that does either.
    ``hold`` makes every call wait until the event is set.
    """

    def __init__(
        self, name: str, result: Any, *, calls: list[FakeCall], hold: anyio.Event | None = None, **options: Any
    ) -> None:
        anything = {"type": "object", "properties": {}, "additionalProperties": True}
        super().__init__(name, **{"description": f"A fake {name}.", "parameters": anything, **options})
        self._canned = result
        self._calls = calls
        self._hold = hold

    def validate_arguments(self, arguments: dict[str, JsonValue]) -> dict[str, JsonValue]:
        """Any object will do."""
        return arguments

    async def invoke(self, arguments: dict[str, JsonValue], context: CallContext) -> Any:
        """Records the call, waits if it is held, and gives the canned result."""
        self._calls.append(FakeCall(context.tool, arguments))
        if self._hold is not None:
            await self._hold.wait()
        result = self._canned
        if callable(result) and not isinstance(result, type):
            result = result(arguments)
        if isinstance(result, BaseException):
            raise result
        return result

    def validate_result(self, value: Any, *, max_depth: int = 200) -> JsonValue:
        """Any plain data will do."""
        return to_plain(value, max_depth=max_depth)


class FakeTools(ToolRegistry):
    """A registry of fake tools: ``FakeTools({"add": 3, "boom": ValueError("no")})``. ``calls`` lists what was called."""

    def __init__(self, results: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.calls: list[FakeCall] = []
        if not isinstance(results, Mapping | None):
            raise UsageError(f"FakeTools takes a dict of names and results, not {results!r}.")
        for name, result in (results or {}).items():
            self.add(name, result)

    def add(self, name: str, result: Any = None, *, hold: anyio.Event | None = None, **options: Any) -> FakeTool:
        """Adds one; ``options`` are those of `Tool`, such as ``approval=True``."""
        fake = FakeTool(name, result, calls=self.calls, hold=hold, **options)
        self.register(fake)
        return fake


class ScriptedApprover:
    """An approver that gives the decisions it was made with, in order, and keeps the requests it got.

    A decision may be a function of the request. Raises `UsageError` when it is asked more often than that.
    """

    def __init__(self, decisions: Iterable[Decision | Callable[[ApprovalRequest], Decision]]) -> None:
        if isinstance(decisions, (str, Decision)) or not isinstance(decisions, Iterable):
            raise UsageError(f"ScriptedApprover takes a list of decisions, not {decisions!r}.")
        self._left = list(decisions)
        self.requests: list[ApprovalRequest] = []

    @property
    def left(self) -> int:
        """Decisions nobody has asked for yet."""
        return len(self._left)

    async def decide(self, request: ApprovalRequest) -> Decision:
        """The next decision."""
        self.requests.append(request)
        if not self._left:
            raise UsageError(
                f"The ScriptedApprover was asked about tools.{request.tool} and has no decision left after "
                f"{len(self.requests) - 1}; give it one more."
            )
        decision = self._left.pop(0)
        return decision if isinstance(decision, Decision) else decision(request)


async def call_tool(
    tool: Tool | Callable[..., Any],
    arguments: Mapping[str, Any] | None = None,
    *,
    context: ExecutionContext | None = None,
) -> JsonValue:
    """What a script would get from a tool: arguments and result are checked, and errors are those a script sees."""
    registry = ToolRegistry()
    registered = registry.register(tool)
    return await registry.call(registered.name, arguments, context=context or make_test_context())


def make_request(
    tool: str = "refund",
    arguments: Mapping[str, Any] | None = None,
    *,
    execution_id: str = "exec_test",
    request_id: str = "apr_test",
    reason: str = "for a test",
    expires_at: float = 4_102_444_800.0,
) -> ApprovalRequest:
    """A request as an approver gets it, its arguments redacted."""
    plain = to_plain(dict(arguments or {}))
    return ApprovalRequest(
        id=request_id,
        execution_id=execution_id,
        tool=tool,
        arguments=Redactor().arguments(plain),
        arguments_hash=content_hash(plain),
        reason=reason,
        expires_at=expires_at,
    )


def chunks(text: str, *sizes: int) -> Iterator[str]:
    """``text`` in pieces of these sizes, again and again: ``chunks(text, 1)`` is one character at a time."""
    given: tuple[Any, ...] = sizes
    if not given or not all(isinstance(size, int) and size >= 1 for size in given):
        raise UsageError("chunks() needs at least one size, and sizes of at least 1 character.")
    start = 0
    for size in itertools.cycle(sizes):
        if start >= len(text):
            return
        yield text[start : start + size]
        start += size


async def stream_chunks(text: str, *sizes: int) -> AsyncIterator[str]:
    """As `chunks`, as a model's stream would bring them: other tasks run between two pieces."""
    for piece in chunks(text, *sizes):
        await anyio.lowlevel.checkpoint()
        yield piece


def two_way_splits(text: str) -> Iterator[tuple[str, str]]:
    """Every way to cut ``text`` in two, empty pieces included."""
    for at in range(len(text) + 1):
        yield text[:at], text[at:]
