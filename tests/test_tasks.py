"""Async tools that do not let themselves be cancelled, and sync ones that go on: neither holds anything up for ever."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from harness import CallStatus, Harness, Limits, ToolExecutionError, tool
from harness.errors import ConcurrencyLimitError
from harness.executor import Executor
from harness.tasks import Tasks
from harness.threads import Threads

pytestmark = pytest.mark.anyio

GRACE = 0.02
LIMITS = Limits(tool_timeout=0.02, settle_grace=GRACE)
ONE_LOOP = pytest.mark.parametrize("anyio_backend", ["asyncio"])


class Stubborn:
    """A tool that swallows every cancellation until it is released."""

    def __init__(self, swallows: type[BaseException] | None = None) -> None:
        self.swallowed = 0
        self.started = False
        self.ended = False
        self._released = False
        self._swallows = swallows or anyio.get_cancelled_exc_class()
        self._wake = anyio.Event()

    @tool
    async def stubborn(self) -> str:
        self.started = True
        while not self._released:
            try:
                await self._wake.wait()
            except self._swallows:
                self.swallowed += 1
                if self.swallowed > 3 and self._swallows is BaseException:
                    raise  # the garbage collection also asks
        self.ended = True
        return "done"

    def release(self) -> None:
        self._released = True
        self._wake.set()


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(30):
        while not condition():  # noqa: ASYNC110 - threads and strangers set no event of this loop
            await anyio.sleep(0.001)


CALL = "<tool-calls>return await tools.stubborn()</tool-calls>"


@pytest.mark.requirement("TOOL-054")
async def test_a_tool_that_swallows_its_cancellation_is_left_behind(caplog):
    stubborn = Stubborn()
    async with Harness(tools=[stubborn.stubborn], limits=LIMITS) as harness:
        [execution] = (await harness.run(CALL)).executions
        [call] = execution.calls
        assert call.status is CallStatus.IN_DOUBT
        assert call.error is not None
        assert (call.error.type, call.error.retryable) == ("ToolTimeoutError", False)
        assert "cancelled and goes on all the same: it may still take effect" in call.error.message
        assert harness.get_status().abandoned_tasks == ("tools.stubborn",)
        [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
        assert "tools.stubborn was cancelled and did not end within 0.02 seconds" in record.getMessage()
        # It is not woken again and again: on trio, a cancelled scope does that.
        before = stubborn.swallowed
        for _ in range(20):
            await anyio.lowlevel.checkpoint()
        assert stubborn.swallowed == before
        # The next call works, and the stray is forgotten when it has ended.
        assert (await harness.run("<tool-calls>return 1</tool-calls>")).executions[0].value == 1
        stubborn.release()
        await until(lambda: stubborn.ended)
        await until(lambda: not harness.get_status().abandoned_tasks)


@pytest.mark.requirement("TOOL-054")
@pytest.mark.parametrize("way", ["host", "caller", "wall clock", "signal"])
async def test_no_way_to_end_a_run_waits_for_it(way):
    stubborn = Stubborn()
    limits = {"settle_grace": GRACE, "wall_time": 0.1 if way == "wall clock" else 30}
    script = (
        "const c = new AbortController(); const p = tools.stubborn({}, {signal: c.signal}); await tools.begun(); c.abort(); "
        "return await p"
    )
    text = f"<tool-calls>{script}</tool-calls>" if way == "signal" else CALL

    @tool
    async def begun() -> None:
        await until(lambda: stubborn.started)

    async with Harness(tools=[stubborn.stubborn, begun], limits=limits) as harness:
        outcomes: list[Any] = []

        async def run() -> None:
            outcomes.append(await harness.run(text))

        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                group.start_soon(run)
                if way in ("host", "caller"):
                    await until(lambda: bool(harness.get_status().executions) and stubborn.started)
                if way == "host":
                    harness.cancel()
                elif way == "caller":
                    group.cancel_scope.cancel()
        assert harness.get_status().abandoned_tasks == ("tools.stubborn",)
        if way != "caller":
            assert outcomes[0].executions[0].calls[0].status is CallStatus.IN_DOUBT
        stubborn.release()
        await until(lambda: stubborn.ended)


@pytest.mark.requirement("TOOL-050", "TOOL-054")
async def test_a_tool_may_clean_up_and_a_result_it_gives_all_the_same_is_discarded(caplog):
    cleaned: list[str] = []

    @tool
    async def tidy() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.001)
            cleaned.append("cleaned")

    async with Harness(tools=[tidy], limits=Limits(tool_timeout=0.02, settle_grace=10)) as harness:
        [execution] = (await harness.run("<tool-calls>await tools.tidy()</tool-calls>")).executions
        assert execution.calls[0].status is CallStatus.TIMED_OUT
        assert harness.get_status().abandoned_tasks == ()
    assert cleaned == ["cleaned"]
    assert not caplog.records


@ONE_LOOP
@pytest.mark.requirement("TOOL-055")
@pytest.mark.parametrize("swallows", [asyncio.CancelledError, BaseException])
async def test_when_the_harness_closes_it_is_ended_by_force(swallows, caplog):
    stubborn = Stubborn(swallows)
    async with Harness(tools=[stubborn.stubborn], limits=LIMITS) as harness:
        await harness.run(CALL)
    assert harness.get_status().abandoned_tasks == ()
    assert "tools.stubborn was ended by force" in caplog.text
    await until(lambda: "tools.stubborn" not in {task.get_name() for task in asyncio.all_tasks()})
    stubborn.release()
    for _ in range(5):
        await anyio.lowlevel.checkpoint()
    assert not stubborn.ended


@pytest.mark.parametrize("anyio_backend", ["trio"])
@pytest.mark.requirement("TOOL-055")
async def test_where_that_is_impossible_closing_says_so(caplog):
    stubborn, other = Stubborn(), Stubborn()
    with pytest.raises(
        ToolExecutionError, match=r"tools\.stubborn: cancelled again, and still running after"
    ) as caught:
        async with Harness(tools=[stubborn.stubborn], limits=LIMITS) as harness:
            await harness.run(CALL)
    assert caught.value.details == {"tools": ["tools.stubborn"]}
    assert "still running after the harness was closed" in caplog.text
    # What the block raises is not hidden by it.
    with pytest.raises(KeyError):  # noqa: PT012 - the end of the block is what is tested
        async with Harness(tools=[other.stubborn], limits=LIMITS) as harness:
            await harness.run(CALL)
            raise KeyError
    for one in (stubborn, other):
        one.release()
        await until(lambda one=one: one.ended)  # type: ignore[misc] # its default binds it


@pytest.mark.requirement("TOOL-055")
def test_nothing_of_it_holds_up_a_run_without_an_open_harness(caplog):
    seen: list[str] = []

    @tool
    async def stubborn() -> None:
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                seen.append("swallowed")

    harness = Harness(tools=[stubborn], limits=LIMITS)
    [execution] = harness.run_sync(CALL).executions
    assert execution.calls[0].status is CallStatus.IN_DOUBT
    assert harness.get_status().abandoned_tasks == ()
    assert seen
    assert "tools.stubborn was cancelled and did not end" in caplog.text


@pytest.mark.requirement("TOOL-054")
async def test_a_task_that_ends_in_any_way_gives_that():
    class Panic(BaseException):
        pass

    async def panics() -> None:
        raise Panic

    async def leaves() -> None:
        raise SystemExit(3)

    async def answers() -> int:
        await anyio.lowlevel.checkpoint()
        return 5

    tasks = Tasks()
    for function, kind in ((panics, Panic), (leaves, SystemExit)):
        with pytest.raises(kind):
            await tasks.start(function, "x").outcome(1)
    assert await tasks.start(answers, "x").outcome(1) == 5
    assert tasks.abandoned == ()
    await Executor().aclose(0)


# ── threads ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("TOOL-052")
async def test_abandoned_threads_never_exceed_their_bound():
    threads, release = Threads(max_threads=5), threading.Event()
    most, refused = 0, 0

    async def overrun() -> None:
        nonlocal most, refused
        try:
            with anyio.move_on_after(0.05):
                await threads.run(lambda: release.wait(30))
        except ConcurrencyLimitError:
            refused += 1
        most = max(most, threads.abandoned)

    async with anyio.create_task_group() as group:
        for _ in range(200):
            group.start_soon(overrun)
    assert (most, threads.abandoned) == (5, 5)
    with pytest.raises(ConcurrencyLimitError, match="5 threads of sync functions"):
        await threads.run(int)
    # A person's answer or a cleaning-up is not refused, and what is exempt takes nobody's place.
    assert await threads.run(lambda: 7, exempt=True) == 7
    release.set()
    await until(lambda: threads.abandoned == 0)
    assert await threads.run(lambda: 5) == 5


@pytest.mark.requirement("TOOL-052")
async def test_calls_wait_for_a_thread_in_turn():
    threads, running, most = Threads(max_threads=3), 0, 0
    lock = threading.Lock()
    gate = threading.Event()

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        gate.wait(30)
        with lock:
            running -= 1

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(threads.run, work)
        await until(lambda: running == 3)
        with anyio.CancelScope() as scope:
            # One that gives up waiting takes no turn.
            scope.cancel()
            await threads.run(work)
        gate.set()
    assert most == 3
    assert threads.abandoned == 0


@ONE_LOOP
@pytest.mark.requirement("TOOL-052")
async def test_each_harness_counts_its_own():
    release = threading.Event()

    @tool
    def slow() -> None:
        release.wait(30)

    async with Harness(tools=[slow], limits=LIMITS) as one, Harness(tools=[slow], limits=LIMITS) as other:
        await one.run("<tool-calls>await Promise.allSettled([tools.slow(), tools.slow()])</tool-calls>")
        assert (one.get_status().abandoned_threads, other.get_status().abandoned_threads) == (2, 0)
        release.set()
        await until(lambda: one.get_status().abandoned_threads == 0)
