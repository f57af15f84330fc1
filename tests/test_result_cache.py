"""Results of deterministic tools, used again."""

from __future__ import annotations

import functools
import json
import sys
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from harness import (
    Budget,
    CallContext,
    Decision,
    Harness,
    ResourceContract,
    ResultCache,
    SubprocessTool,
    ToolOutput,
    UsageError,
    tool,
)
from harness.approvals.bridge import ApprovalBridge
from harness.context import ExecutionContext
from harness.model import Artifact, CallStatus
from harness.testing import FakeTool, FakeTools, make_test_context
from harness.tools.cache import Kept, result_key
from harness.tools.calls import Settled, ToolCall
from harness.tools.economy import Economy
from harness.tools.facade import CallFacade
from harness.tools.registry import ToolRegistry

pytestmark = pytest.mark.anyio


def facade_of(
    tools: ToolRegistry, economy: Economy, *, limits: dict[str, Any] | None = None, **options: Any
) -> CallFacade:
    return CallFacade(tools, make_test_context(limits=limits), economy=economy, **options)


async def settle(facade: CallFacade, name: str, arguments: Any = None, *, number: int = 1) -> Settled:
    return await facade.call(ToolCall(number, name, json.dumps([arguments or {}]), line=1))


async def quiet() -> None:
    """Until every task that can run has run."""
    for _ in range(20):
        await anyio.lowlevel.checkpoint()


def counted(result: Any = None, **options: Any) -> FakeTools:
    tools = FakeTools()
    numbers = iter(range(1, 1_000))
    tools.add(
        "f",
        (lambda _arguments: next(numbers)) if result is None else result,
        deterministic=True,
        uses_context=False,
        **options,
    )
    return tools


@pytest.mark.requirement("BUD-050", "BUD-054")
async def test_equal_calls_are_answered_by_one_result():
    tools, economy = counted(cost=2), Economy(budget=Budget(cost_cents=4))
    first, second = facade_of(tools, economy), facade_of(tools, economy)
    made = await settle(first, "f", {"a": 1, "b": [1.0]})
    kept = await settle(second, "f", {"b": [1], "a": 1})
    assert (made.value_json, kept.value_json) == ("1", "1")
    assert (made.record.cached, kept.record.cached) == (False, True)
    assert (kept.record.status, kept.record.duration_ms, kept.record.cost_cents) == (CallStatus.OK, None, 0)
    assert (second.budget.used, second.budget.purse.used) == (1, 0)
    assert (await settle(second, "f", {"a": 2}, number=2)).value_json == "2"
    assert len(tools.calls) == 2
    assert (economy.cache.statistics.hits, economy.cache.statistics.misses) == (1, 2)
    assert tools.statistics()["f"].cached == 1


@pytest.mark.requirement("BUD-050")
def test_what_a_result_is_kept_under():
    def key(arguments: dict[str, Any], context: ExecutionContext | None = None, **options: Any) -> str:
        made = FakeTools().add(options.pop("name", "f"), **{"uses_context": False, **options})
        return result_key(made, arguments, context or make_test_context())

    same = key({"a": 1, "b": 2})
    assert same == key({"b": 2, "a": 1}, make_test_context(user_id="other", execution_id="exec_other"))
    others = {
        key({"a": 1, "b": 3}),
        key({"a": 1, "b": 2}, name="g"),
        key({"a": 1, "b": 2}, version="1.1"),
        key({"a": 1, "b": 2}, resource=ResourceContract("r")),
        key({"a": 1, "b": 2}, resource=ResourceContract("r", schema_version="2")),
        key({"a": 1, "b": 2}, make_test_context(limits={"json_depth": 9})),
    }
    assert len(others - {same}) == 6


@pytest.mark.requirement("BUD-050")
async def test_a_tool_that_is_not_deterministic_is_always_called():
    tools = FakeTools({"f": 1})
    facade = facade_of(tools, Economy())
    for number in (1, 2):
        await settle(facade, "f", number=number)
    assert len(tools.calls) == 2


@pytest.mark.requirement("BUD-051")
async def test_a_failure_is_not_kept():
    results = iter([ValueError("no"), 5])

    def answer(_arguments: Any) -> Any:
        result = next(results)
        if isinstance(result, Exception):
            raise result
        return result

    facade = facade_of(counted(answer), Economy())
    assert (await settle(facade, "f", number=1)).error is not None
    assert (await settle(facade, "f", number=2)).value_json == "5"


@pytest.mark.requirement("BUD-052")
async def test_equal_calls_at_the_same_time_share_one():
    gate = anyio.Event()
    tools, economy = counted(hold=gate), Economy()
    # With one slot in each execution: those who wait for the result must not hold what the one that runs needs.
    facades = [facade_of(tools, economy, limits={"max_concurrent_tool_calls": 1}) for _ in range(2)]
    settled: list[Settled] = []

    async def one(facade: CallFacade, call: ToolCall) -> None:
        settled.append(await facade.call(call))

    async with anyio.create_task_group() as group:
        for facade in facades:
            for number in range(1, 11):
                call = ToolCall(number, "f", "[]")
                facade.admit(call)
                group.start_soon(one, facade, call)
        await quiet()
        assert len(tools.calls) == 1
        gate.set()
    assert len(tools.calls) == 1
    assert {item.value_json for item in settled} == {"1"}
    assert sum(item.record.cached for item in settled) == 19
    assert [facade.budget.used for facade in facades] == [10, 10]
    assert [facade.budget.line.busy for facade in facades] == [0, 0]


@pytest.mark.requirement("BUD-052")
@pytest.mark.parametrize("ending", ["fails", "is cancelled"])
async def test_without_a_result_each_call_is_made_on_its_own(ending):
    gate = anyio.Event()
    results = iter([ValueError("only the first"), 2, 3])

    def answer(_arguments: Any) -> Any:
        result = next(results)
        if isinstance(result, Exception):
            raise result
        return result

    tools, economy = counted(answer, hold=gate), Economy()
    leader, follower = facade_of(tools, economy), facade_of(tools, economy)
    settled: dict[int, Settled] = {}

    async def follow(number: int) -> None:
        settled[number] = await settle(follower, "f", number=number)

    async with anyio.create_task_group() as group:
        group.start_soon(functools.partial(settle, leader, "f", number=9))
        await quiet()
        group.start_soon(follow, 1)
        group.start_soon(follow, 2)
        await quiet()
        assert len(tools.calls) == 1
        if ending == "is cancelled":
            leader.cancel(9)
            next(results)
            await quiet()
            assert len(tools.calls) == 3  # nobody waits for another one again
        gate.set()
    assert leader.records()[0].error is not None
    assert {item.value_json for item in settled.values()} == {"2", "3"}
    assert not any(item.record.cached for item in settled.values())
    assert len(economy.cache) == 1


@pytest.mark.requirement("BUD-053")
def test_the_least_recently_used_goes_first():
    cache = ResultCache(max_entries=2)
    cache.put("a", Kept("1"))
    cache.put("b", Kept("2"))
    assert cache.get("a") == Kept("1")
    cache.put("c", Kept("3"))
    assert [cache.get(key) for key in "abc"] == [Kept("1"), None, Kept("3")]
    assert (len(cache), cache.statistics.evicted, cache.size) == (2, 1, 2)
    cache.clear()
    assert (len(cache), cache.size, cache.get("a")) == (0, 0, None)


@pytest.mark.requirement("BUD-053")
def test_the_bytes_are_bounded_too():
    cache = ResultCache(max_bytes=4 * 1024)
    for number in range(50):
        cache.put(str(number), Kept("é" * 500))
        assert cache.size <= 4 * 1024
    assert len(cache) == 4
    cache.put("large", Kept("x" * 5_000))
    assert cache.get("large") is None
    cache.put("same", Kept("x"))
    cache.put("same", Kept("xy"))
    assert cache.size == 2


@pytest.mark.requirement("BUD-053")
async def test_a_cache_that_keeps_nothing():
    tools = counted()
    facade = facade_of(tools, Economy(cache=ResultCache(max_entries=0)))
    for number in (1, 2):
        assert (await settle(facade, "f", number=number)).value_json == str(number)
    with pytest.raises(UsageError, match="max_entries"):
        ResultCache(max_entries=-1)


@pytest.mark.requirement("BUD-054")
async def test_a_kept_result_is_approved_like_any_other():
    asked: list[Any] = []

    def approver(request: Any) -> Decision:
        asked.append(request.arguments)
        return Decision.approve(edits={"n": 7})

    tools = counted(lambda arguments: arguments["n"], approval=True)
    facade = facade_of(tools, Economy(), approvals=ApprovalBridge(approver))
    assert (await settle(facade, "f", {"n": 1}, number=1)).value_json == "7"
    second = await settle(facade, "f", {"n": 2}, number=2)
    assert (second.value_json, second.record.cached) == ("7", True)
    assert asked == [{"n": 1}, {"n": 2}]


@pytest.mark.requirement("BUD-055")
async def test_nobody_is_given_what_was_meant_for_somebody_else():
    @tool(deterministic=True)
    async def mine(context: CallContext) -> Any:
        return [context.execution.user_id, context.execution.metadata.get("tenant"), context.execution.execution_id]

    @tool(deterministic=True)
    async def everyones() -> int:
        calls.append(1)
        return len(calls)

    calls: list[int] = []
    economy = Economy()
    registry = ToolRegistry([mine, everyones])

    async def ask(name: str, **who: Any) -> Any:
        facade = CallFacade(registry, ExecutionContext(**who), economy=economy)
        return json.loads((await settle(facade, name)).value_json or "null")

    ada = {"user_id": "ada", "metadata": {"tenant": "x"}}
    first = await ask("mine", **ada)
    assert await ask("mine", **ada) == first
    assert (await ask("mine", user_id="bob"))[0] == "bob"
    assert (await ask("mine", user_id="ada", metadata={"tenant": "y"}))[1] == "y"
    nobody = [await ask("mine"), await ask("mine")]
    assert nobody[0] != nobody[1]
    assert [await ask("everyones", user_id="ada"), await ask("everyones", user_id="bob")] == [1, 1]


@pytest.mark.requirement("BUD-056")
async def test_a_kept_result_that_is_too_large_for_who_asks():
    tools, economy = counted("x" * 100), Economy()
    assert (await settle(facade_of(tools, economy), "f")).error is None
    settled = await settle(facade_of(tools, economy, limits={"result_bytes": 50}), "f")
    assert settled.error is not None
    assert (settled.error.type, settled.error.details["used"]) == ("ToolValidationError", 102)


@pytest.mark.requirement("BUD-050", "BUD-052")
async def test_from_scripts():
    tools = counted()
    script = "<tool-calls>return await Promise.all([1, 1, 2].map((n) => tools.f({n})))</tool-calls>"
    async with Harness(tools=tools) as harness:
        values = [(await harness.run(script)).executions[0].value for _ in range(2)]
        metrics: Any = harness.metrics()
        failed = await harness.run("<tool-calls>await tools.f({n: 1}); await tools.f({n: 3}); throw 1</tool-calls>")
    assert values[0] == values[1]
    assert len(tools.calls) == 3
    error = failed.executions[0].error
    assert error is not None
    assert error.details["applied_calls"] == [2]  # the first one did nothing
    cache = metrics["cache"]
    assert (cache["hits"] + cache["joined"], cache["misses"], cache["entries"]) == (4, 2, 2)


@pytest.mark.requirement("BUD-050")
async def test_the_result_of_a_command_answers_other_executions_too():
    command = [sys.executable, "-c", "import json, time; print(json.dumps(time.time_ns()))"]
    moment = SubprocessTool("moment", command, deterministic=True)
    async with Harness(tools=[moment]) as harness:
        values = [
            (await harness.run("<tool-calls>await tools.moment()</tool-calls>")).executions[0].value for _ in range(2)
        ]
    assert values[0] == values[1]


@pytest.mark.requirement("BUD-057")
async def test_files_are_kept_with_their_result_as_long_as_they_are_there(tmp_path):
    program = "import json; open('report', 'a').write('x'); print(json.dumps({'files': ['report']}))"
    command = [sys.executable, "-S", "-c", program]
    made = SubprocessTool("report", command, cwd=tmp_path, deterministic=True, artifacts=["files[*]"])
    registry = ToolRegistry([made])
    first = (await registry.call_recorded("report")).record
    kept = (await registry.call_recorded("report")).record
    assert (first.cached, kept.cached) == (False, True)
    assert kept.artifacts == first.artifacts
    assert [(artifact.path, artifact.bytes) for artifact in kept.artifacts] == [("report", 1)]
    (tmp_path / "report").write_text("y")  # of the same length, and not what was made
    again = (await registry.call_recorded("report")).record
    assert (again.cached, again.artifacts[0].bytes) == (False, 2)
    assert (await registry.call_recorded("report")).record.cached
    (tmp_path / "report").unlink()
    assert not (await registry.call_recorded("report")).record.cached


@pytest.mark.requirement("BUD-057")
@pytest.mark.parametrize("answer", [True, False, OSError("gone")])
async def test_the_tool_itself_says_whether_its_files_are_there(answer):
    artifact = Artifact(path="a", bytes=1, sha256="0" * 64)

    class Maker(FakeTool):
        async def still_has(self, result: Any, artifacts: Any) -> bool:
            assert (result, artifacts) == ({"file": "a"}, (artifact,))
            if isinstance(answer, Exception):
                raise answer
            return bool(answer)

    calls: list[Any] = []
    output = ToolOutput(value={"file": "a"}, artifacts=(artifact,))
    for kind, known in ((Maker, answer is True), (FakeTool, False)):  # by default nobody knows
        economy = Economy()
        tools = ToolRegistry(
            [kind("f", lambda _arguments: output, calls=calls, deterministic=True, uses_context=False)]
        )
        records = [(await settle(facade_of(tools, economy), "f")).record for _ in range(2)]
        assert [record.cached for record in records] == [False, known]
        assert all(record.artifacts == (artifact,) for record in records)
        assert (economy.cache.statistics.hits, economy.cache.statistics.misses) == ((1, 1) if known else (0, 2))


@pytest.mark.requirement("BUD-058")
async def test_what_is_left_out_is_what_its_default_says():
    @tool(deterministic=True)
    async def add(a: int, b: int = 2) -> int:
        return a + b

    registry = ToolRegistry([add])
    records = [(await registry.call_recorded("add", given)).record for given in ({"a": 1}, {"a": 1, "b": 2}, {"a": 2})]
    assert [record.cached for record in records] == [False, True, False]
