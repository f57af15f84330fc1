"""The clocks and the limits: what ends a script, and what it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from harness import ApprovalRequest, Decision, ErrorInfo, Harness, Limits, Outcome, tool

pytestmark = pytest.mark.anyio

ISOLATIONS = pytest.mark.parametrize("isolation", ["process", pytest.param("shared", marks=pytest.mark.slow)])


@tool
async def echo(n: int = 0) -> int:
    """Give back what was given."""
    return n


@tool(approval=True)
async def refund(n: int = 0) -> int:
    """Give money back."""
    return n


@tool
async def sleep_for_ever() -> None:
    """Never return."""
    await anyio.sleep_forever()


async def run(script: str, isolation: Any = "process", approver: Any = None, **limits: Any) -> Outcome:
    tools: list[Any] = [echo, refund, sleep_for_ever]
    async with Harness(tools=tools, isolation=isolation, approver=approver, limits=limits) as harness:
        outcome = await harness.run(f"<tool-calls>{script}</tool-calls>")
        # Whatever it was, the next one is served.
        after = await harness.run("<tool-calls>1</tool-calls>")
        assert after.executions[0].value == 1, after.executions[0].error
        return outcome


def error_of(outcome: Outcome) -> ErrorInfo:
    error = outcome.executions[0].error
    assert error is not None, outcome.executions[0]
    return error


def resident_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1024 / 1024


# ── wall time ────────────────────────────────────────────────────────────────────────────────────────────────────


@ISOLATIONS
@pytest.mark.requirement("RUN-020")
@pytest.mark.parametrize(
    "script",
    [
        "for (;;);",
        "await tools.sleep_for_ever()",
        "await new Promise((done) => setTimeout(done, 3_600_000))",
        "Array(4294967295).join('')",
        "try { await tools.sleep_for_ever() } catch {} finally { for (;;); }",
        "for (;;) await tools.echo()",
        "for (;;) await new Promise((done) => setTimeout(done, 1))",
    ],
    ids=["loop", "tool", "timer", "native", "caught", "calls", "timers"],
)
async def test_wall_time_ends_whatever_the_script_does(script, isolation):
    error = error_of(await run(script, isolation, wall_time=0.1, cpu_time=60, max_tool_calls=100_000))
    assert error.type == "ScriptTimeoutError"
    assert error.details["clock"] == "wall"
    assert error.details["limit"] == 0.1


@pytest.mark.requirement("RUN-020")
async def test_the_worker_s_start_does_not_count():
    # The first worker takes longer to come than this.
    outcome = await run("1", wall_time=0.05)
    assert outcome.executions[0].status == "ok"


# ── CPU time ─────────────────────────────────────────────────────────────────────────────────────────────────────

CPU = {
    "loop": "for (;;);",
    "jobs without end": "(function next() { Promise.resolve().then(next) })(); await new Promise(() => {})",
    "jobs awaited": "for (;;) await null",
    "short bursts": "for (;;) { for (let i = 0; i < 2e5; i++); await tools.echo() }",
    "bursts between timers": "for (;;) { for (let i = 0; i < 2e5; i++); await new Promise((f) => setTimeout(f, 0)) }",
    "hidden from the interrupt": "for (;;) new Promise(() => { for (;;); })",
    "caught": "for (;;) { try { for (;;); } catch {} finally { for (;;); } }",
    "regular expression": "/^(a+)+$/.test('a'.repeat(64) + 'b')",
}
NATIVE = {
    "join": "Array(4294967295).join('')",
    "reverse": "Array.prototype.reverse.call({length: 2 ** 53 - 1})",
    "copyWithin": "Array.prototype.copyWithin.call({length: 2 ** 53 - 1}, 0, 1)",
    "unshift": "Array.prototype.unshift.call({length: 2 ** 53 - 2}, 1)",
    "BigInt": "(7n ** 300000n).toString().length + (3n ** 4000000n / 7n).toString().length",
}


@pytest.mark.requirement("RUN-021")
@pytest.mark.parametrize("script", CPU.values(), ids=CPU)
async def test_cpu_time_is_cumulative_and_cannot_be_hidden_from(script):
    error = error_of(await run(script, cpu_time=0.1, max_tool_calls=100_000))
    assert error.type == "ScriptTimeoutError"
    assert error.details["clock"] == "cpu"


@pytest.mark.requirement("RUN-021")
async def test_waiting_costs_no_cpu_time():
    outcome = await run("await new Promise((f) => setTimeout(f, 400)); 1", cpu_time=0.3)
    assert outcome.executions[0].value == 1
    cpu = outcome.executions[0].metrics.cpu_ms
    assert cpu is not None
    assert 0 < cpu < 300


@pytest.mark.slow
@pytest.mark.requirement("RUN-021")
async def test_the_account_begins_anew_with_every_execution():
    script = "<tool-calls>const end = 6e6; let n = 0; while (n < end) n++; n</tool-calls>"
    async with Harness(isolation="shared") as harness:
        once = (await harness.run(script, trust_domain="a")).executions[0].metrics.cpu_ms
        assert once
        # Room for one and a half of it, whatever this machine takes for one.
        limits = {"cpu_time": once * 1.9 / 1000}
        ended = [
            (await harness.run(script, trust_domain="b", limits=limits)).executions[0].status.value for _ in range(3)
        ]
    assert ended.count("ok") >= 2, ended


@ISOLATIONS
@pytest.mark.requirement("RUN-022")
@pytest.mark.parametrize("script", NATIVE.values(), ids=NATIVE)
async def test_loops_that_the_engine_cannot_interrupt_end_at_cpu_time_as_well(script, isolation):
    error = error_of(await run(script, isolation, cpu_time=0.1))
    assert error.type == "ScriptTimeoutError"
    assert error.details["clock"] == "cpu"


# ── memory and stack ─────────────────────────────────────────────────────────────────────────────────────────────

BOMBS = {
    "arrays": "const all = []; for (;;) all.push(new Array(1e5).fill(1.5))",
    "one array": "Array(1e9).fill(0)",
    "one string": "'x'.repeat(2 ** 29)",
    "strings": "let s = 'x'; for (;;) { s += s; s.indexOf('y') }",
    "objects": "const all = []; for (;;) all.push({ a: {}, b: [] })",
    "buffers": "const all = []; for (;;) all.push(new Uint8Array(1 << 22).fill(1))",
    "closures": "let f = () => 0; for (;;) { const g = f; f = () => g }",
    "map": "const m = new Map(); for (let i = 0; ; i++) m.set(i, [i])",
    "promises": "const all = []; for (;;) all.push(new Promise(() => {}))",
    "caught": "const all = []; for (;;) { try { for (;;) all.push(new Array(1e5).fill(1)) } catch {} }",
}


@pytest.mark.requirement("RUN-023")
@pytest.mark.parametrize("script", BOMBS.values(), ids=BOMBS)
async def test_memory_that_runs_out_ends_the_script_and_not_the_host(script):
    before = resident_mib()
    error = error_of(await run(script, memory_bytes=32 * 1024 * 1024, cpu_time=1))
    # What catches the end of its memory for ever is ended by its time.
    allowed = {"ScriptMemoryError", "ScriptTimeoutError"} if script == BOMBS["caught"] else {"ScriptMemoryError"}
    assert error.type in allowed, error
    assert resident_mib() - before < 16


@ISOLATIONS
@pytest.mark.requirement("RUN-023")
@pytest.mark.parametrize(
    "script",
    [
        "(function f() { f() })()",
        "const f = (n) => [n].map(f); f(1)",
        "class A { get a() { return this.a } } new A().a",
        "const f = async () => { await f() }; await f()",
        "let p = {}; for (let i = 0; i < 1e5; i++) p = new Proxy(p, {}); p.x",
        "JSON.parse('['.repeat(1e6))",
        "try { (function f() { f() })() } catch (error) { throw error }",
    ],
    ids=["calls", "natives", "getters", "async", "proxies", "JSON", "thrown again"],
)
async def test_recursion_that_is_too_deep(script, isolation):
    error = error_of(await run(script, isolation))
    assert error.type == "ScriptStackError"


@pytest.mark.requirement("RUN-023")
async def test_what_a_script_sends_out_does_not_fill_the_host():
    before = resident_mib()
    script = (
        "for (let i = 0; ; i++) { console.log('x'.repeat(1e5)); progress('y'.repeat(1e5)); "
        "try { await tools.echo({n: i}) } catch {} }"
    )
    outcome = await run(script, cpu_time=1, progress_interval=0)
    assert error_of(outcome).details["clock"] == "cpu"
    execution = outcome.executions[0]
    assert sum(len(line.text.encode()) for line in execution.logs) <= 64 * 1024
    assert len(execution.progress) <= 50
    assert resident_mib() - before < 48


@pytest.mark.requirement("RUN-030")
async def test_a_result_that_is_too_large():
    error = error_of(await run("'x'.repeat(300 * 1024)"))
    assert error.type == "ReturnValueTooLargeError"
    fits = await run("'x'.repeat(255 * 1024)")
    assert fits.executions[0].status == "ok"


@pytest.mark.requirement("RUN-003")
async def test_a_shared_worker_whose_script_survived_the_end_of_its_memory_is_dropped():
    bomb = "<tool-calls>let all = []; try { for (;;) all.push(new Array(1e4).fill(1.5)) } catch { all = null } 1</tool-calls>"
    async with Harness(isolation="shared", limits=Limits(memory_bytes=16 * 1024 * 1024)) as harness:
        one = "<tool-calls>1</tool-calls>"
        for script, started in [(one, 1), (one, 1), (bomb, 1), (one, 2)]:
            outcome = await harness.run(script, trust_domain="a")
            assert outcome.executions[0].value == 1, outcome.executions[0].error
            workers = harness.get_status().workers
            assert workers is not None
            assert workers.started == started


@pytest.mark.requirement("RUN-024")
async def test_an_overflow_that_was_caught_does_not_lend_its_name_to_the_next_script():
    async with Harness(isolation="shared") as harness:
        caught = "<tool-calls>try { (function f() { f() })() } catch {} 1</tool-calls>"
        assert (await harness.run(caught, trust_domain="a")).executions[0].value == 1
        said = "<tool-calls>throw new RangeError('Maximum call stack size exceeded')</tool-calls>"
        assert error_of(await harness.run(said, trust_domain="a")).type == "RangeError"
        workers = harness.get_status().workers
        assert workers is not None
        assert workers.started == 1


# ── which error it is ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
@pytest.mark.requirement("RUN-024")
@pytest.mark.parametrize(
    "script",
    [
        "throw 'stack overflow'",
        "throw new Error('interrupted')",
        "throw new RangeError('Maximum call stack size exceeded')",
        "throw new Error('out of memory')",
        "throw null",
        "throw Object.assign(new Error('x'), { name: 'InternalError' })",
        "class ScriptMemoryError extends Error {} throw new ScriptMemoryError('x')",
        "class ScriptTimeoutError extends Error { clock = 'wall' } throw new ScriptTimeoutError('x')",
        "const e = new Error('x'); e.category = 'RESOURCE'; e.name = 'WorkerCrashedError'; throw e",
        "throw { name: 'ToolTimeoutError', message: 'x', retryable: true }",
        "(function f(n) { if (n) f(n - 1); else throw new RangeError('Maximum call stack size exceeded') })(40)",
        "try { 'x'.repeat(-1) } catch (e) { e.message = 'Maximum call stack size exceeded'; throw e }",
        "try { null.x } catch (e) { e.message = 'out of memory'; throw e }",
        "await Promise.reject(null)",
    ],
)
async def test_a_script_cannot_pass_its_own_error_off_as_a_limit_s(script):
    error = error_of(await run(script))
    assert error.type in ("Error", "RangeError", "TypeError", "ScriptRuntimeError"), error
    assert not error.retryable


@pytest.mark.requirement("RUN-025")
@pytest.mark.parametrize(
    "script",
    [
        "await new Promise(() => {})",
        "await Promise.race([])",
        "await { then() {} }",
        "let go; await new Promise((f) => { go = f })",
        "await tools.echo(); await new Promise(() => {})",
        "const b = new Promise(() => {}); const a = (async () => await b)(); await a",
    ],
)
async def test_what_can_never_happen_is_reported_at_once(script):
    # No limit is near: it is not time that ends it.
    outcome = await run(script, wall_time=3_000, cpu_time=3_000)
    assert error_of(outcome).type == "ScriptDeadlockError"


# ── waiting for people ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("RUN-026")
async def test_the_clocks_stand_still_while_only_people_are_waited_for():
    async def slow(_: ApprovalRequest) -> Decision:
        await anyio.sleep(0.5)  # longer than the execution may take: this is what is under test
        return Decision.approve()

    script = (
        "const before = Date.now(); let fired = false; setTimeout(() => { fired = true }, 250); "
        "await tools.refund({n: 1}); const passed = Date.now() - before; const early = fired; "
        "await new Promise((done) => setTimeout(done, 260)); [passed < 200, early, fired]"
    )
    outcome = await run(script, approver=slow, wall_time=0.45)
    [execution] = outcome.executions
    assert execution.value == [True, False, True], execution.error
    assert execution.metrics.approval_ms >= 500 * 0.99
    assert execution.metrics.wall_ms < 450


@pytest.mark.requirement("RUN-026")
async def test_the_clocks_go_on_while_something_else_runs_as_well():
    async def never(_: ApprovalRequest) -> Decision:
        await anyio.sleep_forever()
        raise AssertionError("unreachable")

    outcome = await run("await Promise.all([tools.refund(), tools.sleep_for_ever()])", approver=never, wall_time=0.2)
    assert error_of(outcome).details["clock"] == "wall"


@pytest.mark.requirement("RUN-026")
async def test_a_script_that_computes_does_not_pause_its_clock_by_asking():
    outcome = await run("tools.refund(); for (;;);", approver=lambda _: Decision.approve(), wall_time=0.1, cpu_time=60)
    assert error_of(outcome).details["clock"] == "wall"
