"""Tools and calls that go wrong in ways that must neither pass for success nor end anything but the call."""

from __future__ import annotations

import contextlib
import json
import threading
from typing import Annotated, Any

import pytest
from pydantic import AfterValidator

from harness import Harness, ToolBudgetExceededError, UsageError, tool
from harness.testing import make_test_context
from harness.threads import Threads
from harness.tools.budget import CallBudget
from harness.tools.calls import Settled, ToolCall
from harness.tools.facade import CallFacade
from harness.tools.registry import ToolRegistry

pytestmark = pytest.mark.anyio


async def settle(registry: ToolRegistry, name: str, *arguments: Any, mode: Any = "enabled") -> Settled:
    facade = CallFacade(registry, make_test_context(), mode=mode)
    return await facade.call(ToolCall(1, name, json.dumps(list(arguments)), line=3))


@pytest.mark.requirement("TOOL-045")
@pytest.mark.parametrize("sync", [True, False])
@pytest.mark.parametrize("kind", [GeneratorExit, StopIteration])
async def test_what_would_end_a_coroutine_is_the_tools_failure(kind, sync):
    def fails() -> None:
        raise kind

    async def fails_async() -> None:
        raise kind

    settled = await settle(ToolRegistry([tool(name="f")(fails if sync else fails_async)]), "f")
    assert settled.error is not None
    assert settled.value_json is None
    assert settled.error.type == "ToolExecutionError"
    if sync or kind is GeneratorExit:  # of an async function Python itself makes a RuntimeError of StopIteration
        assert settled.error.details["exception"] == kind.__name__
        assert settled.error.message.startswith(f"tools.f failed: {kind.__name__}")


def ends(_value: Any) -> Any:
    raise GeneratorExit


@pytest.mark.requirement("TOOL-045")
async def test_what_would_end_a_coroutine_fails_the_call_wherever_the_host_raises_it():
    @tool
    async def reads(word: Annotated[str, AfterValidator(ends)]) -> None: ...

    @tool
    async def gives() -> Annotated[str, AfterValidator(ends)]:
        return "word"

    @tool(cost=ends)
    async def costs() -> None: ...

    @tool(preview=ends)
    async def shows() -> None: ...

    registry = ToolRegistry([reads, gives, costs, shows])
    for settled in (
        await settle(registry, "reads", {"word": "a"}),
        await settle(registry, "gives"),
        await settle(registry, "costs"),
        await settle(registry, "shows", mode="dry-run"),
    ):
        assert settled.error is not None
        assert (settled.error.type, settled.error.details["exception"]) == ("ToolExecutionError", "GeneratorExit")
    with pytest.raises(RuntimeError, match="it raised GeneratorExit"):
        await Threads().run(lambda: ends(None))


@pytest.mark.requirement("TOOL-045")
def test_a_tool_that_raises_generator_exit_ends_its_call_alone():
    @tool
    def closes() -> None:
        raise GeneratorExit

    with Harness(tools=[closes]) as harness:
        for _ in range(2):
            script = "try { await tools.closes() } catch (error) { return error.name }"
            assert harness.run_sync(f"<tool-calls>{script}</tool-calls>").executions[0].value == "ToolExecutionError"


@tool
def add(a: int, b: int = 2) -> int:
    return a + b


@tool(name="get-item")
def get_item(id: str = "") -> str:  # noqa: A002
    return id


@pytest.mark.requirement("TOOL-026", "TOOL-014")
@pytest.mark.parametrize(
    ("call", "name", "message"),
    [
        (
            "add(undefined)",
            "ToolValidationError",
            "tools.add takes one object with named arguments, not undefined. Call it as tools.add({a, b?}).",
        ),
        (
            "add({a: [1n]})",
            "ToolValidationError",
            (
                "The arguments of tools.add cannot be sent: at $.a[0] is a BigInt; convert it with String(…), or Number(…) if no digit is "
                "lost. Call it as tools.add({a, b?})."
            ),
        ),
        (
            '["get-item"](() => 1)',
            "ToolValidationError",
            'tools["get-item"] takes one object with named arguments, not function. Call it as tools["get-item"]({id?}).',
        ),
        ("[`no${1}`](NaN)", "ToolNotFoundError", "There is no tool 'no1'. The tools are: add, tools[\"get-item\"]."),
    ],
)
def test_arguments_that_cannot_be_sent_say_how_to_call(call, name, message):
    dot = "" if call.startswith("[") else "."
    script = f"try {{ await tools{dot}{call} }} catch (error) {{ return [error.name, error.message] }}"
    execution = Harness(tools=[add, get_item]).run_sync(f"<tool-calls>{script}</tool-calls>").executions[0]
    assert execution.value == [name, message]
    assert [call.status.value for call in execution.calls] == ["error"]


@pytest.mark.requirement("TOOL-026")
def test_options_that_are_undefined_are_none():
    script = "<tool-calls>return await tools.add({a: 1}, undefined)</tool-calls>"
    assert Harness(tools=[add]).run_sync(script).executions[0].value == 3


@pytest.mark.requirement("BUD-004")
def test_a_budget_that_threads_share_is_counted_in_one_step():
    meeting = threading.Barrier(2)

    class Limit(int):
        """Whoever has compared with it waits for the other one to have done so, for a moment."""

        def __le__(self, used: int) -> bool:
            over = int(self) <= used
            with contextlib.suppress(threading.BrokenBarrierError):
                meeting.wait(0.05)
            return over

    budget = CallBudget(make_test_context().limits.model_copy(update={"max_tool_calls": Limit(1)}))
    failures: list[ToolBudgetExceededError] = []

    def spend() -> None:
        try:
            budget.spend("f", 1)
        except ToolBudgetExceededError as error:
            failures.append(error)

    threads = [threading.Thread(target=spend) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (budget.used, len(failures)) == (1, 1)


@pytest.mark.requirement("TOOL-132")
@pytest.mark.parametrize("name", [5, None, ["add"], b"add"])
async def test_a_tool_is_called_by_its_name(name):
    with pytest.raises(UsageError, match="A tool is called by its name, which is text, not"):
        await ToolRegistry([add]).call(name, {"a": 1})
