"""Tools with canned results, and what was asked of them."""

from __future__ import annotations

import difflib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import anyio
from pydantic import JsonValue

from harness.context import ExecutionContext, make_test_context
from harness.errors import UsageError
from harness.plain import to_plain
from harness.testing.matching import Pattern, fits, shown
from harness.tools.context import CallContext
from harness.tools.registry import ToolRegistry
from harness.tools.tool import Tool

__all__ = ["FakeCall", "FakeResult", "FakeTool", "FakeTools", "call_tool", "in_turn"]


@dataclass(frozen=True, slots=True)
class FakeCall:
    """One call that a fake tool received. Two are equal if tool and arguments are."""

    tool: str
    arguments: dict[str, Any]
    context: CallContext | None = field(default=None, compare=False, repr=False)
    """What the tool was told of its call: the caller, the idempotency key."""

    def __str__(self) -> str:
        return f"{self.tool}({shown(self.arguments)})"


@dataclass(frozen=True, slots=True)
class FakeResult:
    """A result that takes its time: what `FakeTool` says of ``result``, after ``delay`` seconds, and after ``hold`` is set."""

    result: Any = None
    delay: float = 0.0
    hold: anyio.Event | None = None


class InTurn:
    """Results for one call after another. Made by `in_turn`."""

    def __init__(self, results: tuple[Any, ...], *, last: bool) -> None:
        if not results:
            raise UsageError("in_turn() needs at least one result.")
        self._results = results
        self._last = last
        self._given = 0
        self._lock = threading.Lock()
        self.missing = 0
        """Calls for which no result was left."""

    @property
    def left(self) -> int:
        """Results that no call got."""
        return len(self._results) - self._given

    def next(self, tool: str) -> Any:
        """The next one. Raises `UsageError` if there is none."""
        with self._lock:
            if self._given < len(self._results):
                self._given += 1
            elif not self._last:
                self.missing += 1
                raise UsageError(
                    f"The fake tools.{tool} has no result left after {len(self._results)}; give in_turn() one more, or "
                    "last=True."
                )
            return self._results[self._given - 1]


def in_turn(*results: Any, last: bool = False) -> InTurn:
    """Results for one call after another: ``in_turn(1, ValueError("no"), FakeResult(2, delay=0.1))``.

    Each is what `FakeTool` says of ``result``. A call past the last one fails with `UsageError`, unless ``last`` says
    that the last one is given again and again.
    """
    return InTurn(results, last=last)


class FakeTool(Tool):
    """A tool with a canned result, that takes any arguments.

    ``result`` is the value to return, an exception to raise, a function of the argument object that does either, sync
    and without waiting, a `FakeResult` for one that takes its time, or `in_turn` for one after another. ``hold`` makes
    every call wait until the event is set.
    """

    def __init__(
        self, name: str, result: Any, *, calls: list[FakeCall], hold: anyio.Event | None = None, **options: Any
    ) -> None:
        anything = {"type": "object", "properties": {}, "additionalProperties": True}
        super().__init__(name, **{"description": f"A fake {name}.", "parameters": anything, **options})
        self.canned = result
        """The result it was made with."""
        self._calls = calls
        self._hold = hold

    def validate_arguments(self, arguments: dict[str, JsonValue]) -> dict[str, JsonValue]:
        """Any object will do."""
        return arguments

    async def invoke(self, arguments: dict[str, JsonValue], context: CallContext) -> Any:
        """Records the call, waits if it is to, and gives the canned result."""
        self._calls.append(FakeCall(context.tool, arguments, context))
        result = self.canned.next(self.name) if isinstance(self.canned, InTurn) else self.canned
        if self._hold is not None:
            await self._hold.wait()
        if isinstance(result, FakeResult):
            if result.hold is not None:
                await result.hold.wait()
            if result.delay > 0:
                await anyio.sleep(result.delay)
            result = result.result
        if callable(result) and not isinstance(result, type):
            result = result(arguments)
        if isinstance(result, BaseException):
            # Raised again and again, one exception would gather the traceback of every time.
            raise result.with_traceback(None)
        return result

    def validate_result(self, value: Any, *, max_depth: int = 200) -> JsonValue:
        """Any plain data will do."""
        return to_plain(value, max_depth=max_depth)


class FakeTools(ToolRegistry):
    """A registry of fake tools: ``FakeTools({"add": 3, "boom": ValueError("no")})``; `FakeTool` says what a result can be.

    ``calls`` lists what was called, in the order in which the tools were invoked.
    """

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

    def calls_of(self, tool: str) -> list[FakeCall]:
        """The calls of one tool. Raises `ToolNotFoundError` for a name that is none of these."""
        name = self.get(tool).name
        return [call for call in self.calls if call.tool == name]

    def assert_called(
        self,
        tool: str,
        arguments: Pattern = None,
        *,
        times: int | None = None,
    ) -> None:
        """Fails unless the tool was called, and if ``times`` is given, unless it was called that often.

        ``arguments`` narrows the calls that count: members they must have (others may be there), or a function of the
        argument object that says whether one counts.
        """
        __tracebackhide__ = True
        count = sum(fits(call.arguments, arguments) for call in self.calls_of(tool))
        if (count == 0) if times is None else (count != times):
            wanted = tool if arguments is None else f"{tool}({shown(arguments)})"
            often = "at least once" if times is None else _times(times)
            raise AssertionError(f"{wanted} was to be called {often}, and was called {_times(count)}.\n{self._list()}")

    def assert_not_called(self, tool: str, arguments: Pattern = None) -> None:
        """`assert_called` with ``times=0``."""
        __tracebackhide__ = True
        self.assert_called(tool, arguments, times=0)

    def assert_calls(self, *wanted: FakeCall | tuple[str, Mapping[str, Any]]) -> None:
        """Fails unless these calls were made, in this order, with exactly these arguments, and no others:
        ``tools.assert_calls(("find", {"id": 1}), ("pay", {"id": 1, "cents": 5}))``.
        """
        __tracebackhide__ = True
        calls = [call if isinstance(call, FakeCall) else FakeCall(call[0], to_dict(call[1])) for call in wanted]
        for call in calls:
            self.get(call.tool)
        if calls != self.calls:
            lines = difflib.unified_diff(
                _lines(calls), _lines(self.calls), fromfile="wanted calls", tofile="calls", lineterm="", n=5
            )
            raise AssertionError("The calls are not those that were to be made.\n" + "\n".join(lines))

    def assert_done(self) -> None:
        """Fails if a tool whose results come `in_turn` was called more often than it has results, or less often."""
        __tracebackhide__ = True
        problems = []
        for tool in self:
            canned = tool.canned if isinstance(tool, FakeTool) else None
            if isinstance(canned, InTurn) and (canned.missing or canned.left):
                wrong = f"{canned.missing} too often" if canned.missing else f"{canned.left} times too seldom"
                problems.append(f"{tool.name} was called {wrong} for the results it has.")
        if problems:
            raise AssertionError("\n".join([*problems, self._list()]))

    def _list(self) -> str:
        if not self.calls:
            return "No tool was called."
        return "All calls:\n" + "\n".join(f"  {line}" for line in _lines(self.calls))


def to_dict(arguments: Mapping[str, Any]) -> dict[str, JsonValue]:
    """Arguments as a tool gets them: plain data. Raises `SerializationError` for what has no JSON form."""
    plain = to_plain(dict(arguments))
    return plain if isinstance(plain, dict) else {}


def _times(count: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(count, f"{count} times")


def _lines(calls: list[FakeCall]) -> list[str]:
    return [str(call) for call in calls]


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
