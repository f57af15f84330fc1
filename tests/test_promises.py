"""What becomes of the promises that calls return: awaited, forgotten, raced, aborted."""

from __future__ import annotations

import json

import anyio
import pytest

from harness import Harness
from harness.limits import Limits
from harness.runtime.job import _LIMITS_OF_THE_VM
from harness.runtime.worker import VM

pytestmark = pytest.mark.anyio

# Every usual way of waiting for a call, with what the script returns.
AWAITED = {
    "return (await tools.echo({ value: 1 })) + 1": 2,
    "return tools.echo({ value: 3 })": 3,
    "const f = async () => tools.echo({ value: 3 }); return await f()": 3,
    "const f = async () => { return await tools.echo({ value: 3 }) }; return f()": 3,
    "const call = (v) => tools.echo({ value: v }), pass = (p) => p; return await pass(call(4))": 4,
    "return (await Promise.all([tools.echo({ value: 1 }), tools.echo({ value: 2 })])).length": 2,
    "return await Promise.all([1, 2].map((value) => tools.echo({ value })))": [1, 2],
    "return await Promise.all([{ value: 5 }].map((o) => o).map(tools.echo)).catch((e) => e.name)": "ToolValidationError",
    "const [a, b] = await Promise.all(new Set([tools.echo({ value: 1 }), 2])); return [a, b]": [1, 2],
    "return await Promise.race([tools.echo({ value: 1 }), new Promise(() => {})])": 1,
    "return (await Promise.allSettled([tools.echo({ value: 1 }), tools.fail({})])).map((s) => s.status)": [
        "fulfilled",
        "rejected",
    ],
    "return await Promise.any([tools.fail({}), tools.echo({ value: 2 })])": 2,
    "return await Promise.any([tools.fail({}), tools.fail({})]).catch((e) => e.errors.length)": 2,
    "return tools.echo({ value: 1 }).then((v) => v + 1)": 2,
    "return tools.echo({ value: 1 }).then((v) => tools.echo({ value: v + 1 })).then((v) => v * 10)": 20,
    "return tools.fail({ message: 'm' }).catch((e) => e.name)": "ToolExecutionError",
    "return tools.fail({}).then(() => 'no', () => 'yes')": "yes",
    "let n = 0; const v = await tools.echo({ value: 5 }).finally(() => { n++ }); return [v, n]": [5, 1],
    "return tools.fail({}).finally(() => 1).catch(() => 'after finally')": "after finally",
    "const seen = []; for await (const v of [tools.echo({ value: 1 }), tools.echo({ value: 2 })]) seen.push(v); return seen": [
        *[1, 2]
    ],
    "async function* g() { yield tools.echo({ value: 1 }); yield* [tools.echo({ value: 2 })] }\n"
    "const seen = []; for await (const v of g()) seen.push(v); return seen": [1, 2],
    "return await Array.fromAsync([tools.echo({ value: 1 }), tools.echo({ value: 2 })])": [1, 2],
    "return await Promise.resolve(tools.echo({ value: 1 }))": 1,
    "return await new Promise((r) => r(tools.echo({ value: 1 })))": 1,
    "const { promise, resolve } = Promise.withResolvers(); resolve(tools.echo({ value: 1 })); return promise": 1,
    "return await Promise.try(() => tools.echo({ value: 1 }))": 1,
    "const p = tools.echo({ value: 1 }); await tools.echo({ value: 2 }); return await p": 1,
    "const p = tools.fail({ message: 'm' }); await tools.echo({}); try { await p } catch (e) { return e.name }": (
        "ToolExecutionError"
    ),
    "const p = tools.echo({ value: 1 }); return [await p, await p, await Promise.all([p, p])]": [1, 1, [1, 1]],
    "await using r = { [Symbol.asyncDispose]: async () => { await tools.echo({}) } }; return 1": 1,
    "const all = {}; for (const k of ['a', 'b']) all[k] = tools.echo({ value: k });\n"
    "for (const k in all) all[k] = await all[k]; return all": {"a": "a", "b": "b"},
    "const queue = [1, 2, 3]; const done = []; const work = async () => { for (let v; (v = queue.pop()); ) "
    "done.push(await tools.echo({ value: v })) }; await Promise.all([work(), work()]); return done.sort()": [1, 2, 3],
    "const thenable = { then: (r) => r(tools.echo({ value: 9 })) }; return await thenable": 9,
    "const p = tools.echo({ value: 1 }); return [p instanceof Promise, Object.prototype.toString.call(p), typeof p.then, "
    "await p]": [True, "[object Promise]", "function", 1],
    "class Lazy { get value() { return tools.echo({ value: 7 }) } }; return await new Lazy().value": 7,
    "return await tools.echo({ value: await tools.echo({ value: await tools.echo({ value: 1 }) }) })": 1,
    "return await (async () => { try { return await tools.fail({}) } catch { return 'inside' } finally { await tools.echo({}) } })()": (
        "inside"
    ),
}


@pytest.mark.requirement("RUN-040")
async def test_every_usual_way_of_waiting_counts(scripts):
    executions = await scripts.run(AWAITED)
    wrong = [
        (source, e.error.message if e.error else e.value, e.diagnostics)
        for (source, wanted), e in zip(AWAITED.items(), executions, strict=True)
        if e.error or e.value != wanted or e.diagnostics
    ]
    assert wrong == []


@pytest.mark.requirement("RUN-041")
async def test_a_forgotten_call_that_succeeds_is_a_diagnostic_with_tool_and_line(scripts):
    forgotten = {
        "const a = 1;\ntools.echo({ value: 1 });\nreturn a": [(2, "detached_call")],
        "const r = tools.echo({ value: 1 });\nreturn r.value ?? 'none'": [(1, "detached_call")],
        "[1, 2].map((value) =>\n  tools.echo({ value }));\nreturn 1": [(2, "detached_call")] * 2,
        "await [\n tools.echo({}),\n tools.add({ a: 1, b: 2 })];\nreturn 1": [
            (2, "detached_call"),
            (3, "detached_call"),
        ],
        "void tools.echo({});\nreturn 1": [(1, "detached_call")],
        "setTimeout(() => tools.echo({}), 1);\nawait new Promise((r) => setTimeout(r, 3));\nreturn 1": [
            (1, "detached_call")
        ],
    }
    executions = await scripts.run(forgotten)
    found = [[(d.line, d.code) for d in e.diagnostics] for e in executions]
    assert [e.error for e in executions] == [None] * len(forgotten)
    assert found == list(forgotten.values())
    assert "tools.echo" in executions[0].diagnostics[0].message
    assert [call.status for call in executions[0].calls] == ["ok"]


@pytest.mark.requirement("RUN-041")
async def test_a_call_inside_a_function_nobody_awaited_is_at_most_a_note(scripts):
    executions = await scripts.run(
        [
            "[1, 2].forEach(async (value) => { await tools.echo({ value }) });\nreturn 1",
            "(async () => { await tools.echo({}) })();\nreturn 1",
            "tools.echo({}).then((v) => console.log(v));\nreturn 1",
        ]
    )
    assert [e.error for e in executions] == [None] * 3
    assert {d.code for e in executions for d in e.diagnostics} == {"late_call"}


@pytest.mark.requirement("RUN-041")
async def test_a_forgotten_call_that_fails_fails_the_execution(scripts):
    sources = [
        "const a = 1;\ntools.fail({ message: 'boom' });\nreturn a",
        "const a = 1;\ntools.fail({ message: 'boom' });\nawait tools.echo({});\nreturn a",
        "const a = await [\ntools.fail({ message: 'boom' })];\nreturn 1",
    ]
    for execution in await scripts.run(sources):
        error = execution.error
        assert (error.type, error.line, execution.value) == ("DetachedPromiseError", 2, None)
        assert "tools.fail" in error.message
        assert "boom" in error.message
        assert error.details["calls"] == [{"seq": 1, "tool": "fail", "line": 2, "status": "error"}]


@pytest.mark.requirement("RUN-041")
async def test_a_forgotten_call_that_has_to_be_cancelled_fails_the_execution(scripts):
    execution = await scripts.one("tools.forever();\nreturn 1", limits={"settle_grace": 0.01})
    assert execution.error.type == "DetachedPromiseError"
    assert [call.status for call in execution.calls] == ["cancelled"]


@pytest.mark.requirement("RUN-044")
async def test_a_rejection_that_a_chain_lost_fails_the_execution(scripts):
    lost = [
        "tools.fail({}).then((v) => v);\nawait tools.echo({});\nreturn 1",
        "tools.fail({}).finally(() => {});\nawait tools.echo({});\nreturn 1",
        "tools.echo({}).then(() => { throw new Error('in then') });\nawait tools.echo({});\nreturn 1",
        "tools.fail({}).then((v) => v).then((v) => v).finally(() => 1);\nawait tools.echo({});\nreturn 1",
    ]
    executions = await scripts.run(lost)
    assert [(e.error and e.error.type, e.error and e.error.line) for e in executions] == [
        ("DetachedPromiseError", 1)
    ] * len(lost)
    assert "Error: in then" in executions[2].error.message
    kept = [
        "tools.fail({}).then((v) => v).catch(() => 1);\nawait tools.echo({});\nreturn 1",
        "const p = tools.fail({}).finally(() => {});\nawait tools.echo({});\nawait p.catch(() => 1);\nreturn 1",
    ]
    assert [(e.error, e.value) for e in await scripts.run(kept)] == [(None, 1)] * len(kept)


@pytest.mark.requirement("RUN-042")
async def test_the_losers_of_a_race_are_cancelled_and_harmless(scripts):
    sources = [
        "return await Promise.race([tools.forever(), tools.echo({ value: 1 })])",
        "return await Promise.any([tools.forever(), tools.echo({ value: 1 })])",
        "return await Promise.race([tools.forever(), new Promise((r) => setTimeout(r, 1, 1))])",
    ]
    for execution in await scripts.run(sources, limits={"settle_grace": 0.01}):
        assert (execution.error, execution.value) == (None, 1)
        assert [call.status for call in execution.calls if call.tool == "forever"] == ["cancelled"]


@pytest.mark.requirement("RUN-042", "RUN-047")
async def test_a_race_that_was_lost_by_throwing(scripts):
    execution = await scripts.one(
        "await tools.echo({});\nawait Promise.race([tools.forever(), Promise.reject(new RangeError('first'))])",
        limits={"settle_grace": 0.01},
    )
    assert (execution.error.type, execution.error.line) == ("RangeError", 2)
    assert [(call.tool, call.status) for call in execution.calls] == [("echo", "ok"), ("forever", "cancelled")]


# ── signals ──────────────────────────────────────────────────────────────────────────────────────────────────────


class Watched:
    """A tool that waits and notes what becomes of it, and one that returns when it has started."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self._started = anyio.Event()

    async def watched(self) -> None:
        self.events.append("started")
        self._started.set()
        try:
            await anyio.sleep_forever()
        finally:
            self.events.append("cancelled")

    async def started(self) -> None:
        await self._started.wait()


@pytest.mark.requirement("RUN-043")
@pytest.mark.parametrize(
    "arguments", ["{ signal: c.signal }", "{}, { signal: c.signal }", "{}, { signal: AbortSignal.any([c.signal]) }"]
)
async def test_an_aborted_call_is_cancelled(scripts, arguments):
    watched = Watched()
    execution = await scripts.one(
        "const c = new AbortController(); tools.started().then(() => c.abort('enough'));\n"
        f"return await tools.watched({arguments}).catch((reason) => ({{ reason }}))",
        tools=[watched.watched, watched.started],
    )
    assert execution.value == {"reason": "enough"}
    assert watched.events == ["started", "cancelled"]
    assert [(call.status, call.error and call.error.type) for call in execution.calls] == [
        ("ok", None),
        ("cancelled", "ToolCancelledError"),
    ]


@pytest.mark.requirement("RUN-043")
async def test_a_call_with_a_signal_that_was_aborted_is_not_started(scripts):
    watched = Watched()
    execution = await scripts.one(
        "const r = await tools.watched({ signal: AbortSignal.abort('before') }).catch((e) => e);\n"
        "const s = await tools.watched({}, { signal: AbortSignal.abort() }).catch((e) => e.name); return [r, s]",
        tools=[watched.watched],
    )
    assert execution.value == ["before", "AbortError"]
    assert watched.events == []
    assert [call.status for call in execution.calls] == ["cancelled", "cancelled"]


@pytest.mark.requirement("RUN-043")
async def test_a_signal_stops_only_the_calls_it_was_given_to(scripts):
    execution = await scripts.one(
        "const c = new AbortController();\n"
        "const [a, b] = await Promise.allSettled([tools.forever({ signal: c.signal }), "
        "tools.echo({ value: 1 }).then((v) => { c.abort(); return v })]);\n"
        "const after = await tools.echo({ value: 2, signal: new AbortController().signal });\n"
        "return [a.status, a.reason.name, b.value, after]"
    )
    assert execution.value == ["rejected", "AbortError", 1, 2]
    assert [call.args for call in execution.calls] == [{}, {"value": 1}, {"value": 2}]


@pytest.mark.requirement("RUN-043")
async def test_a_timeout_signal_cancels_a_call(scripts):
    execution = await scripts.one("return await tools.forever({ signal: AbortSignal.timeout(1) }).catch((e) => e.name)")
    assert execution.value == "TimeoutError"
    assert [call.status for call in execution.calls] == ["cancelled"]


@pytest.mark.requirement("RUN-043")
async def test_an_abort_in_the_frame_that_brings_the_result(scripts):
    # The timer comes first, so the script sees the abort; the host has settled the call and must hear nothing of it.
    executions = await scripts.run(
        [
            (
                "const c = new AbortController(); setTimeout(() => c.abort('late'), 0);\n"
                "return await tools.echo({ value: 1, signal: c.signal }).catch((reason) => reason)"
            )
        ]
        * 20
    )
    assert [e.error for e in executions] == [None] * 20
    assert all(e.value in (1, "late") for e in executions)


@pytest.mark.requirement("RUN-043")
def test_the_vm_says_nothing_of_an_abort_that_came_with_the_result():
    vm = VM(stack_bytes=1 << 20)
    source = (
        "const c = new AbortController(); setTimeout(() => c.abort('late'), 0);\n"
        "const calls = [1, 2].map((value) => tools.echo({ value, signal: c.signal }).catch((reason) => [value, reason]));\n"
        "return await Promise.all(calls)"
    )
    limits = {name: getattr(Limits(), name) for name in _LIMITS_OF_THE_VM}
    job = {"now": 0, "seed": [1, 2, 3, 4], "tools": ["echo"], "context": {}, "shift": None, "limits": limits}
    vm.start({"source": source, "code": source, "cpu_time": 60.0, "memory_bytes": 1 << 26, "job": job})
    turn = json.loads(vm.deliver('{"now":1,"items":[{"timer":1},{"call":1,"value":"result"}]}'))["turn"]
    # Of the second call the host must hear, since its result is not there yet.
    assert turn["cancelled"] == [2]
    assert json.loads(turn["ending"]["value"]) == [[1, "late"], [2, "late"]]


# ── the end of a script ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("RUN-045")
async def test_nothing_is_started_after_the_script_has_failed(scripts):
    started = []

    async def note(what: str) -> None:
        started.append(what)

    sources = {
        "tools.note({ what: 'same frame' }).catch(() => 1); throw new Error('x')": [],
        "const e = new Error('x'); Object.defineProperty(e, 'name', { get() { tools.note({ what: 'getter' }) } }); throw e": [],
        "const f = async () => { await null; await null; await tools.note({ what: 'later' }) }; f(); throw new Error('x')": [],
        "setTimeout(() => tools.note({ what: 'timer' }), 0); throw new Error('x')": [],
        "tools.echo({}).then(() => tools.note({ what: 'chained' })); throw new Error('x')": [],
        "tools.note({ what: 'last moment' }); return 1": ["last moment"],
        "setTimeout(() => tools.note({ what: 'timer' }), 0); return 1": [],
        "tools.echo({}).then(() => tools.note({ what: 'chained' })); return 1": [],
        "return { get a() { tools.note({ what: 'getter of a result' }); return 1 } }": ["getter of a result"],
        "return { get a() { tools.note({ what: 'getter' }); throw 1 } }": [],
    }
    found = {}
    async with Harness(tools=[note, *scripts.tools()]) as harness:
        for source in sources:
            started.clear()
            await harness.run(f"<tool-calls>{source}</tool-calls>")
            found[source] = list(started)
    assert found == sources


@pytest.mark.requirement("RUN-046")
async def test_a_promise_in_the_place_of_its_value_names_tool_and_line(scripts):
    misused = {
        "const r = tools.echo({ value: 1 });\nreturn { r }": ("SerializationError", "$.r"),
        "const r = tools.echo({ value: 1 });\nreturn [[r]]": ("SerializationError", "$[0][0]"),
        "const r = tools.echo({ value: 1 });\nreturn `${r}`": ("TypeError", ""),
        "const r = tools.echo({ value: 1 });\nreturn '' + r": ("TypeError", ""),
        "const r = tools.echo({ value: 1 });\nreturn String(r)": ("TypeError", ""),
        "const r = tools.echo({ value: 1 });\nreturn JSON.stringify({ r })": ("TypeError", ""),
        "const r = tools.echo({ value: 1 });\nreturn [r].join()": ("TypeError", ""),
        "const r = tools.echo({ value: 1 });\nreturn await tools.add({ a: r, b: 1 })": ("ToolValidationError", "$.a"),
        "const r = tools.echo({ value: 1 });\nreturn structuredClone({ r })": ("DOMException", ""),
    }
    wrong = []
    for (source, (kind, path)), execution in zip(misused.items(), await scripts.run(misused), strict=True):
        error = execution.error
        message_fits = "tools.echo(…) at line 1 was not awaited" in error.message
        if error.type != kind or not message_fits or (path and error.details["path"] != path):
            wrong.append((source, error))
    assert wrong == []
    shown = await scripts.one("const r = tools.echo({ value: 1 });\nconsole.log(r, [r]); await r")
    assert shown.logs[0].text.count("tools.echo(…) at line 1 was not awaited") == 2


@pytest.mark.requirement("RUN-047")
async def test_a_script_that_fails_reports_what_had_been_applied(scripts):
    sources = {
        "await tools.echo({}); await tools.fail({}).catch(() => 1); await tools.add({ a: 1, b: 2 }); throw new Error('x')": (
            "Error"
        ),
        "await tools.echo({}); await tools.add({ a: 1, b: 2 }); return [undefined]": "SerializationError",
        "await tools.echo({}); await tools.add({ a: 1, b: 2 }); tools.fail({}); return 1": "DetachedPromiseError",
        "await tools.echo({}); await tools.add({ a: 1, b: 2 }); await new Promise(() => {})": "ScriptDeadlockError",
        "await tools.echo({}); await tools.add({ a: 1, b: 2 }); for (;;);": "ScriptTimeoutError",
    }
    executions = await scripts.run(sources, limits={"cpu_time": 0.3})
    for kind, execution in zip(sources.values(), executions, strict=True):
        assert execution.error.type == kind
        tools = {call.seq: call.tool for call in execution.calls}
        assert [tools[seq] for seq in execution.error.details["applied_calls"]] == ["echo", "add"]


@pytest.mark.requirement("RUN-040")
async def test_the_class_of_a_promise_gives_no_power(scripts):
    execution = await scripts.one(
        "const p = tools.echo({ value: 'real' });\n"
        "const Species = Object.getPrototypeOf(p).constructor[Symbol.species];\n"
        "const forged = new Species((r) => r('forged'));\n"
        "return [await p, await forged, Reflect.ownKeys(Species).map(String).sort(), Object.keys(p)]"
    )
    assert execution.value == ["real", "forged", ["length", "name", "prototype"], []]
    assert len(execution.calls) == 1


@pytest.mark.requirement("RUN-042")
async def test_a_result_does_not_wait_for_a_call_that_is_made_alone(scripts):
    """The result comes while the script computes, and the call that the script makes then never ends."""

    async def soon() -> str:
        await anyio.sleep(0.005)
        return "soon"

    (execution,) = await scripts.run(
        [
            """
            const p = tools.soon({}); await tools.echo({}); for (let i = 0; i < 3e6; i++);
            return await Promise.race([p, tools.forever({})])
            """
        ],
        tools=[soon],
        limits={"wall_time": 5},
    )
    assert (execution.value, [call.status for call in execution.calls]) == ("soon", ["ok", "ok", "cancelled"])
