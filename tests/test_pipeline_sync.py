"""Opening, closing, and the library from code without an event loop."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading

import anyio
import anyio.to_thread
import pytest

from harness import Harness, UsageError, tool


@tool
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


TEXT = "<tool-calls>await tools.add({a: 2, b: 3})</tool-calls>"


@pytest.mark.requirement("PIPE-009")
def test_a_with_block_keeps_one_thread_and_its_workers():
    before = threading.active_count()
    with Harness(tools=[add]) as harness:
        values = [harness.run_sync(TEXT).executions[0].value for _ in range(3)]
        during = threading.active_count()
        status = harness.get_status()
    assert values == [5, 5, 5]
    assert during == before + 1
    assert status.open
    assert status.workers is not None
    assert status.workers.started == 3
    assert threading.active_count() == before


@pytest.mark.requirement("PIPE-009")
def test_a_bare_run_sync_opens_and_closes_everything():
    harness = Harness(tools=[add])
    before = threading.active_count()
    assert harness.run_sync(TEXT).executions[0].value == 5
    assert harness.check_sync("<tool-calls>let</tool-calls>")[0].code == "ScriptSyntaxError"
    assert threading.active_count() == before
    assert not harness.get_status().open


@pytest.mark.anyio
@pytest.mark.requirement("PIPE-009")
async def test_a_bare_run_opens_and_closes_everything():
    harness = Harness(tools=[add])
    outcomes = []

    async def one() -> None:
        outcomes.append(await harness.run(TEXT))

    async with anyio.create_task_group() as group:
        group.start_soon(one)
        group.start_soon(one)
    assert [outcome.executions[0].value for outcome in outcomes] == [5, 5]
    assert not harness.get_status().open


@pytest.mark.requirement("PIPE-008")
def test_run_outside_an_event_loop_names_run_sync():
    coroutine = None
    with pytest.raises(UsageError, match="run_sync"):
        coroutine = Harness().run(TEXT)
    assert coroutine is None


@pytest.mark.anyio
@pytest.mark.requirement("PIPE-008")
async def test_run_sync_and_with_inside_an_event_loop_name_the_other():
    harness = Harness()
    with pytest.raises(UsageError, match=r"await harness\.run"):
        harness.run_sync(TEXT)
    with pytest.raises(UsageError, match="async with"), harness:
        pass
    async with Harness() as opened:

        def elsewhere() -> None:
            with pytest.raises(UsageError, match="async with"):
                opened.run_sync(TEXT)

        await anyio.to_thread.run_sync(elsewhere)


@pytest.mark.anyio
@pytest.mark.requirement("PIPE-010")
async def test_closing_twice_is_fine_and_a_later_run_opens_its_own_workers():
    harness = Harness(tools=[add])
    async with harness:
        with pytest.raises(UsageError, match="open already"):
            await harness.__aenter__()
    await harness.aclose()
    assert (await harness.run(TEXT)).executions[0].value == 5
    async with harness:
        assert (await harness.run(TEXT)).executions[0].value == 5
    with pytest.raises(UsageError, match="isolation"):
        Harness(isolation="container")  # type: ignore[arg-type]  # the mistake under test


@pytest.mark.requirement("PIPE-011")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_a_harness_used_after_its_process_forked_says_so():
    program = """
        import os, sys
        from harness import Harness, UsageError
        def in_a_child(harness):
            pid = os.fork()
            if pid == 0:
                try:
                    harness.run_sync("<tool-calls>1</tool-calls>")
                except UsageError as error:
                    print(error)
                harness.close()
                sys.stdout.flush()
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0
        harness = Harness()
        in_a_child(harness)
        with harness:
            in_a_child(harness)
            print(harness.run_sync("<tool-calls>1</tool-calls>").executions[0].value)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=30, check=True
    )
    closed, opened, value = done.stdout.splitlines()
    assert "one Harness in each process" in closed.replace("Make one", "one")
    assert opened == closed
    assert value == "1"


@pytest.mark.anyio
@pytest.mark.requirement("RUN-011")
async def test_a_tool_can_use_a_harness_itself():
    inner = Harness(tools=[add])

    @tool
    async def nested(depth: int) -> int:
        """Run a script from within a tool."""
        outcome = await inner.run(TEXT) if depth == 0 else await outer.run(again(depth - 1))
        value = outcome.executions[0].value
        assert isinstance(value, int)
        return value

    def again(depth: int) -> str:
        return f"<tool-calls>1 + await tools.nested({{depth: {depth}}})</tool-calls>"

    async with Harness(tools=[nested]) as outer:
        outcome = await outer.run(again(3))
    assert outcome.executions[0].value == 9, outcome.executions[0].error


@pytest.mark.requirement("RUN-011")
def test_a_sync_tool_can_use_a_harness_itself():
    inner = Harness(tools=[add])

    @tool
    def nested() -> int:
        """Run a script from a tool's thread."""
        value = inner.run_sync(TEXT).executions[0].value
        assert isinstance(value, int)
        return value

    outcome = Harness(tools=[nested]).run_sync("<tool-calls>await tools.nested()</tool-calls>")
    assert outcome.executions[0].value == 5, outcome.executions[0].error


@tool
async def interrupt() -> None:
    """Does what Ctrl-C does."""
    raise KeyboardInterrupt


INTERRUPTED = [
    "await tools.interrupt()",
    "await Promise.all([tools.add({a: 1, b: 1}), tools.interrupt()])",
]


@pytest.mark.requirement("PIPE-022")
@pytest.mark.parametrize(
    ("backend", "script"),
    # Out of a task that is not the first one, asyncio lets an interrupt stop the event loop itself.
    [("asyncio", INTERRUPTED[0]), ("trio", INTERRUPTED[0]), ("trio", INTERRUPTED[1])],
)
def test_an_interrupt_comes_out_as_it_is(backend, script):
    harness = Harness(tools=[add, interrupt])

    async def run() -> None:
        async with harness:
            await harness.run(f"<tool-calls>{script}</tool-calls>")

    with pytest.raises(KeyboardInterrupt):
        anyio.run(run, backend=backend)
    assert not harness.get_status().open


@pytest.mark.requirement("PIPE-022")
def test_a_with_block_is_closed_behind_an_interrupt():
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt), Harness(tools=[interrupt]) as harness:
        harness.run_sync(f"<tool-calls>{INTERRUPTED[0]}</tool-calls>")
    assert threading.active_count() == before
    assert not harness.get_status().open
    with harness:
        assert harness.run_sync("<tool-calls>1</tool-calls>").executions[0].value == 1
