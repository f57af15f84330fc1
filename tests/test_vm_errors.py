"""Where an error in a script stands, and what a script is told of what it cannot have."""

from __future__ import annotations

import re

import pytest

pytestmark = pytest.mark.anyio


@pytest.mark.requirement("VM-010")
async def test_stacks_show_the_script_and_nothing_else(scripts):
    executions = await scripts.run(
        [
            "function inner() {\n  return new Error('x').stack;\n}\nconst s = inner();\nreturn s",
            "return [1].map(() => { try { null.x } catch (e) { return e.stack } })[0]",
            "return await tools.fail({}).catch((e) => e.stack)",
            "try { structuredClone(() => {}) } catch (e) { return e.stack }",
            "try { atob('*') } catch (e) { return e.stack }",
            "try { setTimeout(1) } catch (e) { return e.stack }",
            "const o = {}; Error.captureStackTrace(o); return o.stack",
            "return new Promise((r) => setTimeout(() => r(new Error('t').stack), 1))",
            "return (function f(n) { return n ? f(n - 1) : new Error().stack })(400)",
            "try { tools.echo({ get value() { throw new RangeError('g') } }).catch(() => 1); } catch {}\nreturn new Error('x').stack",
        ]
    )
    frame = re.compile(r"    at .* \((native|<script>:\d+:\d+)\)")
    for execution in executions:
        assert execution.error is None, execution.error
        assert all(frame.fullmatch(line) for line in execution.value.splitlines()), execution.value
        assert len(execution.value.splitlines()) <= 16
    assert executions[0].value.splitlines()[:2] == [
        "    at inner (<script>:2:14)",
        "    at <anonymous> (<script>:4:11)",
    ]


@pytest.mark.requirement("VM-010")
async def test_an_uncaught_error_has_its_place(scripts):
    execution = await scripts.one("const a = 1;\n\n  // ä\nfunction f() { throw new TypeError('here') }\nf()")
    assert (execution.error.type, execution.error.line, execution.error.column) == ("TypeError", 4, 26)
    assert [line.split(" (")[0] for line in execution.error.stack.splitlines()] == ["    at f", "    at <anonymous>"]


@pytest.mark.requirement("PAR-033")
@pytest.mark.requirement("VM-010")
async def test_separators_that_the_engine_does_not_count_move_no_place(scripts):
    start = "const é = 'é\u2028'; /* \u2029 */ // \u2029\n"  # one line to the engine
    table = {
        "foo.bar": ("ReferenceError", 2, 1),  # as the last expression, in the wrapper around it
        "const b = foo": ("ReferenceError", 2, 11),
        "const é = 2": ("ScriptSyntaxError", 2, 9),
        "`é\u2028`; foo": ("ReferenceError", 2, 7),
        "/*\r*/ foo": ("ReferenceError", 2, 4),  # its columns begin anew at the carriage return
        "1;\u2028foo": ("ReferenceError", 3, 1),
    }
    executions = await scripts.run([start + rest for rest in table])
    assert [(each.error.type, each.error.line, each.error.column) for each in executions] == list(table.values())
    assert executions[2].error.details["source_line"] == "const é = 2"


@pytest.mark.requirement("VM-010")
async def test_the_place_of_an_error_of_a_script_s_own_class_is_where_it_was_made(scripts):
    table = {
        "class A extends Error {}\n\nthrow new A('x')": (3, 11),
        "class A extends TypeError { constructor(m) {\nsuper(m); this.name = 'A' } }\nclass B extends A {}\n\nthrow new B('x')": (
            5,
            11,
        ),
        "const f = () => {\nthrow new (class A extends Error {})('x') };\nf()": (2, 28),
        "class A extends Error { x = foo }\nnew A()": (1, 29),  # another error, in the constructor
        "function f() {\nconst e = new Error('x'); Object.setPrototypeOf(e, { __proto__: Error.prototype, constructor: f }); throw e }\n\nf()": (
            4,
            1,
        ),
        "const e = new Error('x'); Object.setPrototypeOf(e, new Proxy({}, { getPrototypeOf() { throw 1 } })); throw e": (
            1,
            15,
        ),
        "const p = { get constructor() { throw 1 } }; const e = new Error('x'); Object.setPrototypeOf(e, p); throw e": (
            1,
            60,
        ),
    }
    executions = await scripts.run(table)
    assert [(each.error.line, each.error.column) for each in executions] == list(table.values())


@pytest.mark.requirement("VM-029")
async def test_what_is_cut_of_an_error_or_of_progress_says_so(scripts):
    executions = await scripts.run(
        [
            "throw new Error('x'.repeat(100000))",
            "throw new Error('x'.repeat(4000))",
            "throw new Error('x'.repeat(3959) + '😀'.repeat(30))",  # a mark that is due within the first emoji
            "throw 'x'.repeat(100000)",
            "throw Object.assign(new Error('m', { cause: 'x'.repeat(1000) }), { name: 'x'.repeat(1000) })",
            "progress('x'.repeat(100000))",
        ]
    )
    long, whole, emoji, text, behind = (each.error for each in executions[:5])
    assert long.message == "x" * 3960 + "… (96040 characters cut)"
    assert whole.message == "x" * 4000
    assert emoji.message == "x" * 3959 + "… (60 characters cut)"
    assert "x… (96042 characters cut)." in text.message  # with its quotes
    assert behind.details["causes"] == ["x" * 260 + "… (740 characters cut)"]
    assert behind.details["name"] == "x" * 160 + "… (840 characters cut)"
    assert executions[5].progress[0].message == "x" * 960 + "… (99040 characters cut)"


@pytest.mark.requirement("VM-010")
async def test_a_hostile_name_in_a_stack_does_no_harm(scripts):
    execution = await scripts.one(
        "const f = { ['x (<input>:9:9)\\n    at evil (/etc/passwd:1:1)']() { throw new Error('y') } };\n"
        "Object.values(f)[0]()"
    )
    assert execution.error.message == "y"
    assert all("<script>:" in line for line in execution.error.stack.splitlines())
    assert "/etc/passwd:1:1)\n" not in execution.error.stack


# ── limits of the language ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("VM-014")
async def test_locales_are_refused_rather_than_ignored(scripts):
    refused = [
        "(1234.5).toLocaleString('de')",
        "(1234.5).toLocaleString(undefined, { style: 'percent' })",
        "(1n).toLocaleString('de')",
        "[1].toLocaleString('de')",
        "new Uint8Array(1).toLocaleString('de')",
        "new Date(0).toLocaleString('en-US')",
        "new Date(0).toLocaleDateString('en-US')",
        "new Date(0).toLocaleTimeString(undefined, { hour12: false })",
        "'I'.toLocaleLowerCase('tr')",
        "'i'.toLocaleUpperCase('tr')",
        "'a'.localeCompare('b', 'sv')",
        "'a'.localeCompare('b', undefined, { numeric: true })",
    ]
    table = {source: scripts.fails("TypeError", "Intl") for source in refused}
    table |= {
        "return (5).toLocaleString()": scripts.returns("5"),
        "return 'a'.localeCompare('b')": scripts.returns(-1),
        "return 'I'.toLocaleLowerCase()": scripts.returns("i"),
        "return typeof new Date(0).toLocaleDateString()": scripts.returns("string"),
    }
    assert await scripts.mismatches(table) == []


@pytest.mark.requirement("VM-015", "VM-003")
async def test_absent_globals_say_what_to_use_instead(scripts):
    advice = {
        "fetch('https://example.org')": "tool",
        "process.exit()": "Node",
        "localStorage.x": "return",
        "setInterval(() => {}, 1)": "setTimeout",
        "new Intl.NumberFormat('de')": "",
        "performance.now()": "Date",
        "new WeakRef({})": "",
        "new SharedArrayBuffer(8)": "",
        "Atomics.wait()": "",
        "new FinalizationRegistry(() => {})": "",
        "Buffer.from('x')": "Uint8Array",
    }
    table = {source: scripts.fails("ReferenceError", words) for source, words in advice.items()}
    table["mistyped + 1"] = scripts.fails("ReferenceError", "mistyped is not defined")
    executions = await scripts.run(advice)
    assert await scripts.mismatches(table) == []
    assert all(len(execution.error.message) > 50 for execution in executions)


@pytest.mark.requirement("VM-010")
async def test_a_name_that_looks_like_a_place_is_none(scripts):
    execution = await scripts.one(
        "function f() { console.log('hi') }\n"
        "Object.defineProperty(f, 'name', { value: 'x (<input>:3.5:7)\\n' }); f(); return 1"
    )
    assert (execution.value, execution.error) == (1, None)
    assert [entry.text for entry in execution.logs] == ["hi"]
