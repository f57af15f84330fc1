"""What stands beside the language: console, progress, timers, signals."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.anyio


async def returns(scripts: Any, table: dict[str, Any], **settings: Any) -> None:
    wanted = {source: scripts.returns(value) for source, value in table.items()}
    assert await scripts.mismatches(wanted, **settings) == []


# ── console ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("VM-011")
async def test_console_lines_have_level_and_line(scripts):
    execution = await scripts.one(
        "console.log('a')\nconsole.info('b', 1)\nconsole.warn({ c: [1, 'x'] })\n"
        "function f() { console.error('d') }\nf()\nconsole.debug('e');\n[6].forEach(console.log)"
    )
    assert [(entry.level, entry.text, entry.line) for entry in execution.logs] == [
        ("log", "a", 1),
        ("info", "b 1", 2),
        ("warn", '{ c: [ 1, "x" ] }', 3),
        ("error", "d", 4),
        ("debug", "e", 6),
        ("log", "6 0 [ 6 ]", 7),
    ]


@pytest.mark.requirement("VM-011")
async def test_console_shows_values_as_people_read_them(scripts):
    shown = {
        "'text'": "text",
        "['text', `it's`]": '[ "text", "it\'s" ]',
        "null, undefined, true": "null undefined true",
        "-0, 1n, NaN": "-0 1n NaN",
        "Symbol('s'), () => 1, class A {}": "Symbol(s) [a function] [function A]",
        "new Date(0), new Date(NaN), /a\\//gi": "1970-01-01T00:00:00.000Z Invalid Date /a\\//gi",
        "new Map([['k', { a: 1 }]]), new Set([1, 'x'])": 'Map(1) { "k" => { a: 1 } } Set(2) { 1, "x" }',
        "{}, [], new Map(), new Set()": "{} [] Map(0) {} Set(0) {}",
        "{ 'odd key': 1, plain: 2 }": '{ "odd key": 1, plain: 2 }',
        "[1, [2, [3, [4, [5]]]]]": "[ 1, [ 2, [ 3, [ 4, […] ] ] ] ]",
        "(() => { const o = { n: 1 }; o.self = o; return o })()": "{ n: 1, self: [circular] }",
        "Promise.resolve(1), new DOMException('m', 'AbortError')": "[a promise] AbortError: m",
        "[new Error('inner')], new Number(3), Object(2n)": "[ [Error: inner] ] [boxed 3] [boxed 2n]",
        "Array.from({ length: 102 }, () => 0).length, [...Array(102).keys()].slice(0, 2)": "102 [ 0, 1 ]",
        "'%s has %d of %i, %j %%', 'x', '4', 2.9, { a: 1 }, 'rest'": "x has 4 of 2, { a: 1 } % rest",
        "'100%', '%s'": "100% %s",
        "'%c styled', 'color: red'": " styled",
        "'half \\ud83d'": "half \ufffd",
    }
    executions = await scripts.run([f"console.log({source})" for source in shown])
    assert [e.logs[0].text if e.logs else e.error for e in executions] == list(shown.values())


@pytest.mark.requirement("VM-011")
async def test_other_methods_of_console(scripts):
    execution = await scripts.one(
        "console.assert(1 < 2, 'no'); console.assert(0, 'broken', 1); console.assert(false)\n"
        "console.count(); console.count('a'); console.count(); console.countReset(); console.count()\n"
        "console.group('outer'); console.log('in'); console.group(); console.log('deep'); console.groupEnd()\n"
        "console.groupEnd(); console.groupEnd(); console.log('out')\n"
        "console.time('t'); console.timeLog('t', 'x'); console.timeEnd('t')\n"
        "console.dir({ a: 1 }); console.table([{ a: 1 }]); function f() { console.trace('here') } f()"
    )
    assert [entry.text for entry in execution.logs] == [
        "Assertion failed: broken 1",
        "Assertion failed",
        *["default: 1", "a: 1", "default: 2", "default: 1"],
        *["outer", "  in", "    deep", "out"],
        *["t: 0 ms x", "t: 0 ms"],
        *["{ a: 1 }", "[ { a: 1 } ]"],
        "here\n    at f (<script>:6:74)\n    at <anonymous> (<script>:6:90)\n",
    ]


HOSTILE = [
    "new Proxy({}, { get() { throw 1 }, ownKeys() { throw null } })",
    "new Proxy([], { get() { throw new Error('x') } })",
    "new Proxy({}, { getPrototypeOf() { throw 1 } })",
    "(() => { const r = Proxy.revocable({}, {}); r.revoke(); return r.proxy })()",
    "{ get a() { throw { toString() { throw 1 } } } }",
    "{ get a() { return this } }",
    "{ toString() { throw 1 }, [Symbol.toPrimitive]() { throw 2 }, toJSON() { throw 3 } }",
    "Object.defineProperty(new Error('e'), 'message', { get() { throw 1 } })",
    "Object.defineProperty(new Error('e'), 'stack', { get() { throw 1 } })",
    "Object.defineProperty(() => 1, 'name', { get() { throw 1 } })",
    "Object.create(Date.prototype), Object.create(Map.prototype), Object.create(Promise.prototype)",
    "Object.create(RegExp.prototype), Object.create(Number.prototype), Object.create(DOMException.prototype)",
    "(() => { let o = {}; for (let i = 0; i < 100000; i++) o = { o }; return o })()",
    "(() => { let o = []; for (let i = 0; i < 5; i++) o = Array(100).fill(o); return o })()",
    "'x'.repeat(1e6), Array(1e7), new Float64Array(1e5)",
    "'%d%s%j%o', Symbol(), { toString() { throw 1 } }, 1n",
    "Symbol('\\ud800'), '\\u001b[2J\\u0000'",
    "tools, tools.echo, context, globalThis, console",
]


@pytest.mark.requirement("VM-011")
async def test_formatting_never_throws(scripts):
    executions = await scripts.run([f"console.log({value}); return 'went on'" for value in HOSTILE])
    assert [e.value if e.error is None else e.error for e in executions] == ["went on"] * len(HOSTILE)
    assert all(len(e.logs) == 1 for e in executions)


@pytest.mark.requirement("VM-011")
async def test_what_is_past_log_bytes_is_counted(scripts):
    limits = {"log_bytes": 100}
    execution = await scripts.one(
        "console.log('x'.repeat(60)); console.log('ä'.repeat(60)); console.log('after'); console.log(''); return 1",
        limits=limits,
    )
    assert [entry.text for entry in execution.logs] == ["x" * 60, "ä" * 6]
    [diagnostic] = execution.diagnostics
    assert diagnostic.code == "logs_cut"
    # 120 bytes less the 12 that were kept, and "after".
    assert "113" in diagnostic.message
    assert execution.value == 1


@pytest.mark.requirement("VM-011")
async def test_a_flood_of_lines_is_cut_and_not_a_defect(scripts):
    floods = {"''": 21_000, "'\\0'": 21_000, "'x'.repeat(1e5)": 50, "'\\0'.repeat(5000)": 50, "'€'.repeat(7000)": 20}
    limits = {"log_bytes": 20_000, "frame_bytes": 64 * 1024}
    executions = await scripts.run(
        [f"for (let i = 0; i < {count}; i++) console.log({text}); return 'ok'" for text, count in floods.items()],
        limits=limits,
    )
    for execution in executions:
        assert (execution.error, execution.value) == (None, "ok")
        assert [diagnostic.code for diagnostic in execution.diagnostics] == ["logs_cut"]
        assert sum(len(entry.text.encode()) + 16 for entry in execution.logs) <= 20_016


# ── progress ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("VM-012")
async def test_progress_becomes_events(scripts):
    execution = await scripts.one(
        "progress('one', { step: 1 }); progress(2); progress('x'.repeat(5000)); progress(); return typeof progress('z')",
        limits={"progress_interval": 0},
    )
    assert execution.value == "undefined"
    assert [(event.message[:3], event.data) for event in execution.progress] == [
        ("one", {"step": 1}),
        ("2", None),
        ("xxx", None),
        ("und", None),
        ("z", None),
    ]


@pytest.mark.requirement("VM-012")
async def test_a_flood_of_progress_is_counted(scripts):
    execution = await scripts.one("for (let i = 0; i < 3000; i++) progress('p' + i, 'y'.repeat(3000)); return 1")
    assert execution.value == 1
    assert len(execution.progress) == 1
    [diagnostic] = execution.diagnostics
    assert diagnostic.code == "progress_dropped"
    assert sum(diagnostic.details.values()) == 2999


@pytest.mark.requirement("VM-012")
async def test_progress_data_without_a_json_form_is_an_error_the_script_sees(scripts):
    source = "try { progress('m', { a: [() => 1] }) } catch (e) { return [e.name, e.message.includes('$.a[0]')] }"
    await returns(scripts, {source: ["SerializationError", True]})
    execution = await scripts.one("progress('m', { n: NaN })")
    assert execution.error.type == "SerializationError"


# ── timers ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("VM-013")
async def test_timers_fire_in_order_on_the_executions_clock(scripts):
    await returns(
        scripts,
        {
            """const log = []; const start = Date.now();
            await new Promise((done) => {
              setTimeout(() => log.push('late'), 8); setTimeout((...a) => log.push(a.join()), 1, 'x', 'y');
              setTimeout(() => { log.push('outer'); setTimeout(() => { log.push('inner'); done() }, 20) }, 3);
              clearTimeout(setTimeout(() => log.push('cleared'), 2)); clearTimeout(99); clearTimeout('x'); clearTimeout();
            });
            return [log, Date.now() - start >= 23]""": [["x,y", "outer", "late", "inner"], True],
            """const log = []; setTimeout(() => log.push(1), 5); setTimeout(() => log.push(2), 5);
            await new Promise((r) => setTimeout(r, 5)); return log""": [1, 2],
            "await new Promise((r) => setTimeout(r)); return 'no delay'": "no delay",
            "await new Promise((r) => setTimeout(r, -5)); return 'negative'": "negative",
            "await new Promise((r) => setTimeout(r, NaN)); return 'NaN'": "NaN",
            "await new Promise((r) => setTimeout(r, '2')); return 'text'": "text",
            "setTimeout(() => { throw new Error('too late') }, 60000); return 'ended'": "ended",
            "const t = setTimeout(() => {}, 1); return [typeof t, t]": ["number", 1],
            "let n = 0; await new Promise((r) => { const f = () => (++n < 50 ? setTimeout(f, 0) : r()); f() }); return n": 50,
        },
    )


@pytest.mark.requirement("VM-013")
async def test_an_exception_in_a_callback_ends_the_script(scripts):
    table = {
        "setTimeout(() => { throw new RangeError('in a timer') }, 1)\nawait new Promise(() => {})": "RangeError",
        "queueMicrotask(() => { throw new TypeError('queued') })\nawait new Promise(() => {})": "TypeError",
        "setTimeout(() => { throw 'text' }, 1)\nawait new Promise(() => {})": "ScriptRuntimeError",
        "const c = new AbortController(); c.signal.addEventListener('abort', () => { throw new EvalError('l') });\n"
        "c.abort(); await new Promise(() => {})": "EvalError",
    }
    assert await scripts.mismatches({source: scripts.fails(kind) for source, kind in table.items()}) == []


@pytest.mark.requirement("VM-013")
async def test_too_many_timers_are_refused(scripts):
    source = "try { for (;;) setTimeout(() => {}, 1e6) } catch (e) { return [e.name, e.retryable] }"
    await returns(scripts, {source: ["ConcurrencyLimitError", True]}, limits={"max_pending_calls": 50})


# ── signals ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("VM-016")
async def test_abort_controller_and_signal(scripts):
    await returns(
        scripts,
        {
            """const c = new AbortController(), s = c.signal; const log = [];
            s.addEventListener('abort', (e) => log.push(e.type, e.target === s));
            s.addEventListener('abort', { handleEvent: () => log.push('object') });
            const removed = () => log.push('removed'); s.addEventListener('abort', removed); s.removeEventListener('abort', removed);
            const twice = () => log.push('once'); s.addEventListener('abort', twice); s.addEventListener('abort', twice);
            s.addEventListener('other', () => log.push('other')); s.onabort = () => log.push('on');
            const before = [s.aborted, s.reason === undefined, s.throwIfAborted()];
            c.abort('why'); c.abort('again');
            let thrown; try { s.throwIfAborted() } catch (e) { thrown = e }
            return [before[0], before[1], s.aborted, s.reason, thrown, log]""": [
                *[False, True, True, "why", "why"],
                ["on", "abort", True, "object", "once"],
            ],
            "const c = new AbortController(); c.abort(); const r = c.signal.reason;\n"
            "return [r.name, r instanceof DOMException, r.code, typeof r.stack, r.message.length > 0]": [
                *["AbortError", True, 20, "string", True]
            ],
            "return [AbortSignal.abort('x').reason, AbortSignal.abort().reason.name]": ["x", "AbortError"],
            "const s = AbortSignal.timeout(1); await new Promise((r) => s.addEventListener('abort', r)); "
            "return s.reason.name": "TimeoutError",
            "return [-1, NaN, 'x', undefined].map((ms) => { try { AbortSignal.timeout(ms) } catch (e) { return e.name } })": [
                "TypeError"
            ]
            * 4,
            """const a = new AbortController(), b = new AbortController();
            const any = AbortSignal.any((function* () { yield a.signal; yield b.signal })());
            const log = []; any.addEventListener('abort', () => log.push(any.reason)); b.abort('b'); a.abort('a');
            return [any.aborted, any.reason, log]""": [True, "b", ["b"]],
            "const a = AbortSignal.abort(0); return [AbortSignal.any([a]).reason, AbortSignal.any([]).aborted]": [
                0,
                False,
            ],
            "return [[1], [{}], null, 5].map((x) => { try { AbortSignal.any(x) } catch (e) { return e.name } })": [
                "TypeError"
            ]
            * 4,
            "try { new AbortSignal() } catch (e) { return e.name }": "TypeError",
            "return [String(new AbortController()), String(AbortSignal.abort())]": [
                "[object AbortController]",
                "[object AbortSignal]",
            ],
            "try { AbortSignal.prototype.aborted } catch (e) { return e.name }": "TypeError",
            """const c = new AbortController(), end = new AbortController(); const log = [];
            c.signal.addEventListener('abort', () => log.push('heard'), { signal: end.signal }); end.abort(); c.abort();
            return log""": [],
        },
    )


@pytest.mark.requirement("VM-016")
async def test_dom_exceptions_are_errors(scripts):
    table = {
        "throw new DOMException('m', 'AbortError')": scripts.fails("DOMException", "AbortError: m"),
        "return new DOMException('m', 'AbortError')": scripts.returns({"name": "AbortError", "message": "m"}),
        "const e = new DOMException('m', 'DataCloneError'); return [e.name, e.message, e.code, `${e}`, e instanceof "
        "DOMException, e instanceof Error]": scripts.returns(
            ["DataCloneError", "m", 25, "DataCloneError: m", True, True]
        ),
        "try { DOMException('m') } catch (e) { return e.name }": scripts.returns("TypeError"),
        "class Mine extends DOMException {}; const e = new Mine('m', 'N'); return [e instanceof Mine, e.name]": (
            scripts.returns([True, "N"])
        ),
    }
    assert await scripts.mismatches(table) == []


@pytest.mark.requirement("VM-013")
async def test_a_flood_of_timers_is_refused(scripts):
    flood, few = await scripts.run(
        [
            "for (let i = 0; i < 50_000; i++) clearTimeout(setTimeout(() => {}, 0)); return 1",
            "for (let i = 0; i < 5_000; i++) clearTimeout(setTimeout(() => {}, 0)); return 1",
        ]
    )
    assert flood.error is not None
    assert flood.error.type == "ConcurrencyLimitError"
    assert few.value == 1
