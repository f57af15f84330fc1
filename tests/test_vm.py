"""What a script finds, and what it cannot do with it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

pytestmark = pytest.mark.anyio


def programs(text: str) -> Iterator[tuple[str, str, object]]:
    for part in text.split("// ==== ")[1:]:
        name, _, body = part.partition("\n")
        code, _, wanted = body.rpartition("// => ")
        yield name, code, json.loads(wanted)


@pytest.mark.requirement("VM-005")
async def test_ordinary_programs_just_work(scripts, vectors):
    table = list(programs((vectors / "programs.js").read_text(encoding="utf-8")))
    executions = await scripts.run([code for _, code, _ in table])
    wrong = [
        (name, execution.error.message if execution.error else execution.value, wanted)
        for (name, _, wanted), execution in zip(table, executions, strict=True)
        if execution.error is not None or execution.value != wanted or execution.diagnostics
    ]
    assert len(table) > 60
    assert wrong == []


# ── the realm ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("VM-001", "VM-003")
async def test_the_global_object_has_the_pinned_names(scripts, vectors):
    execution = await scripts.one("return Reflect.ownKeys(globalThis).map(String).sort()")
    assert execution.value == json.loads((vectors / "globals.json").read_text())["script"]


@pytest.mark.requirement("VM-004", "VM-006")
async def test_nothing_can_be_redefined(scripts):
    attempts = [
        "Object.prototype.toJSON = () => ({ forged: 1 })",
        "JSON.stringify = () => 'forged'",
        "Array.prototype.push = () => 0",
        "Object.defineProperty(Array.prototype, '0', { set() {} })",
        "Promise.prototype.then = () => 1",
        "Object.defineProperty(Promise.prototype, 'constructor', { get() { throw 1 } })",
        "Object.prototype.then = (f) => f('hijacked')",
        "Object.prototype.get = () => 1",
        "Array.prototype[Symbol.iterator] = function* () { yield 'x' }",
        "Map.prototype.get = () => 1",
        "RegExp.prototype.exec = () => ['x']",
        "Object.defineProperty(Object.prototype, 'stack', { get() {} })",
        "Object.defineProperty(globalThis, 'result', { get() {} })",
        "Object.setPrototypeOf(Array.prototype, null)",
        "globalThis.newName = 1",
        "undeclared = 1",
        "tools = 1",
        "globalThis.tools = {}",
        "globalThis.context = {}",
        "delete globalThis.tools",
        "delete globalThis.context",
        "delete Array.prototype.map",
        "Math.random = () => 4",
        "Date.now = () => 4",
        "console.log = () => {}",
        "Object.getPrototypeOf(() => 1).call = () => 1",
        "Error.prepareStackTrace = () => 1",
        "Error.stackTraceLimit = 1e9",
        "Object.getPrototypeOf([].values()).next = () => 1",
        "Object.getPrototypeOf(async () => {}).x = 1",
        "tools.echo = 1",
        "tools.other = 1",
        "tools.echo.x = 1",
        "Object.defineProperty(tools, 'echo', { value: 1 })",
        "Object.setPrototypeOf(tools, {})",
        "delete tools.echo",
        "context.user_id = 'root'",
        "Object.getPrototypeOf(tools.echo({ value: 0 })).then = () => 1",
        "new AbortController().signal.aborted = true",
    ]
    # Each is tried, must throw a TypeError or ReferenceError, and then a call must carry what it was given.
    table = {
        f"let how = 'took'; try {{ {attempt} }} catch (e) {{ how = e.name }}\n"
        "return [how, await tools.echo({ value: { a: [1, 'b'] } })]": scripts.returns(
            ["ReferenceError" if attempt.startswith("undeclared") else "TypeError", {"a": [1, "b"]}]
        )
        for attempt in attempts
    }
    assert await scripts.mismatches(table) == []


@pytest.mark.requirement("VM-002")
async def test_no_code_comes_from_text(scripts):
    # Names are put together, since the parser already refuses the plain forms.
    makers = [
        "globalThis['ev' + 'al']('1')",
        "globalThis['Func' + 'tion']('return 1')()",
        "(() => {})['const' + 'ructor']('return 1')",
        "(async () => {})['const' + 'ructor']('return 1')",
        "(function* () {})['const' + 'ructor']('yield 1')",
        "(async function* () {})['const' + 'ructor']('yield 1')",
        "Math.max['const' + 'ructor']('return 1')",
        "tools.echo['const' + 'ructor']('return 1')",
        "Object.getOwnPropertyDescriptor(Array, Symbol.species).get['const' + 'ructor']('return 1')",
        "Reflect.construct((() => {})['const' + 'ructor'], ['return 1'])",
        "Reflect.construct(Object, ['return 1'], (() => {})['const' + 'ructor']).call()",
        "new (class extends (() => {})['const' + 'ructor'] {})('return 1')",
        "setTimeout('globalThis', 0)",
        "queueMicrotask('globalThis')",
    ]
    table = {
        f"try {{ const made = {maker}; return typeof made }} catch (e) {{ return e.name }}": scripts.returns(
            "TypeError"
        )
        for maker in makers
    }
    table["try { setTimeout?.call(null, { toString: () => '1' }, 0) } catch (e) { return e.name }"] = scripts.returns(
        "TypeError"
    )
    banned = ["eval('1')", "Function('return 1')()", "import('x')", "with ({}) {}", "require('fs')"]
    table |= {source: scripts.fails("BannedIdentifierError") for source in banned}
    assert await scripts.mismatches(table) == []


@pytest.mark.requirement("VM-018")
async def test_no_script_escapes_from_the_function_around_it(scripts):
    closers = [
        "}); tools.echo({ value: 1 }); (async () => {",
        "}})); tools.echo({ value: 1 }); (class { async m() {",
        "}, async () => {",
        "}, function () {",
        "} async n() {",
        "}} + class { async m() {",
        "return super.x",
        "return new.target",
        "yield 1",
    ]
    executions = await scripts.run(closers)
    assert [(e.error.type, e.calls) for e in executions if e.error] == [("ScriptSyntaxError", ())] * len(closers)


@pytest.mark.requirement("VM-018")
async def test_what_only_the_engine_refuses_has_its_place(scripts):
    execution = await scripts.one("const a = 1\nreturn [a, new.target]")
    assert (execution.error.type, execution.error.line) == ("ScriptSyntaxError", 2)
    assert execution.error.details["source_line"] == "return [a, new.target]"


@pytest.mark.requirement("VM-005")
async def test_a_frozen_object_says_no_to_an_assignment_that_built_ins_would_take(scripts):
    table = {
        "const o = Object.freeze({}); try { o.toString = 1; return 'took' } catch (e) { return e.name }": "TypeError",
        "const e = Object.freeze(new Error('a')); try { e.name = 'b'; return 'took' } catch (e) { return e.name }": (
            "TypeError"
        ),
        "'use strict'; try { 'abc'.toString = 1; return 'took' } catch (e) { return e.name }": "TypeError",
        "const o = Object.create(Object.prototype); o.valueOf = () => 4; return o + 1": 5,
    }
    assert await scripts.mismatches({source: scripts.returns(value) for source, value in table.items()}) == []


# ── tools, context, errors ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("VM-007")
async def test_looking_at_tools_calls_nothing(scripts):
    table = {
        "await tools; return 'fine'": "fine",
        "try { String(tools) } catch {}\nreturn JSON.stringify(tools)": "{}",
        "console.log(tools, tools.echo); return 1": 1,
        "return [typeof tools.then, typeof tools.toJSON, typeof tools.valueOf, typeof tools.__proto__]": ["undefined"]
        * 4,
        "return [tools[Symbol.iterator], tools[Symbol.toPrimitive]].every((x) => x === undefined)": True,
        "return [...Object.keys(tools)].sort()": ["add", "echo", "fail", "forever"],
        "return tools.add === tools.add && tools.add.name === 'add'": True,
    }
    executions = await scripts.run(table)
    assert [(e.value, len(e.calls)) for e in executions] == [(value, 0) for value in table.values()]


@pytest.mark.requirement("VM-007")
async def test_namespaces_are_trees(scripts):
    from harness import tool

    async def read(path: str) -> str:
        return f"read {path}"

    execution = await scripts.one(
        "const unknown = await tools.fs.raed({ path: 'x' }).catch((e) => [e.name, e.details.suggestions]);\n"
        "return [await tools.fs.read({ path: 'x' }), typeof tools.fs, unknown, Object.keys(tools.fs)]",
        tools=[tool(name="fs.read")(read)],
    )
    assert execution.value == ["read x", "object", ["ToolNotFoundError", ["fs.read"]], ["read"]]


@pytest.mark.requirement("VM-007")
async def test_unknown_names_are_refused_with_a_suggestion(scripts):
    names = ["ech0", "\\u0430dd", "add\\u200b", "\\ufb01le", "__defineGetter__", "hasOwnProperty", "a".rjust(3000, "a")]
    sources = [
        f"const name = '{name}'; return await tools[name]({{}}).catch((e) => [e.name, e.details.suggestions, e instanceof Error])"
        for name in names
    ]
    executions = await scripts.run(sources)
    assert [e.value and e.value[0] for e in executions] == ["ToolNotFoundError"] * len(names)
    assert executions[0].value == ["ToolNotFoundError", ["echo"], True]


@pytest.mark.requirement("VM-007")
async def test_a_namespace_that_is_not_there_is_refused_by_its_call(scripts):
    table = {
        "const n = 'fs'; return await tools[n].read({}).catch((e) => e.message)": "There is no tool 'fs.read'.",
        "const n = 'fs'; return await tools[n].a['b-c'].d().catch((e) => e.message)": "There is no tool 'fs.a.b-c.d'.",
        "const n = 'fs'; return [typeof (await tools[n]), typeof tools[n].then, typeof tools[n].call]": (
            ["function", "undefined", "function"]
        ),
        "const n = 'fs'; return [n in tools, JSON.stringify([tools[n]])]": [False, "[null]"],
        "let t = tools; const n = 'x'; for (let i = 0; i < 1e4 && t; i++) t = t[n]; return typeof t": "undefined",
    }
    executions = await scripts.run(table)
    for execution, value in zip(executions, table.values(), strict=True):
        if isinstance(value, str) and value.startswith("There"):
            assert str(execution.value).startswith(value)
        else:
            assert (execution.value, execution.calls) == (value, ())


@pytest.mark.requirement("VM-008")
async def test_errors_of_tools_tell_scripts_what_they_are(scripts):
    execution = await scripts.one(
        """
const kinds = {};
for (const [name, call] of Object.entries({
  failed: () => tools.fail({ message: 'no luck' }), unknown: () => tools[['nothing'][0]]({}), wrong: () => tools.add({ a: 'x' }),
})) {
  try { await call(); } catch (e) {
    kinds[name] = [e.name, e.retryable, e.category, typeof e.message, typeof e.details, e instanceof Error, Object.isFrozen(e.details)];
    e.message = 'changed';
  }
}
return kinds
"""
    )
    rest = ["string", "object", True, True]
    assert execution.value == {
        "failed": ["ToolExecutionError", False, "PERMANENT", *rest],
        "unknown": ["ToolNotFoundError", False, "VALIDATION", *rest],
        "wrong": ["ToolValidationError", False, "VALIDATION", *rest],
    }


@pytest.mark.requirement("VM-008")
async def test_an_error_that_is_thrown_on_is_the_tools_own(scripts):
    execution = await scripts.one(
        "try { await tools.fail({ message: 'no luck' }) } catch (e) { e.name = 'X'; throw e }"
    )
    assert execution.error.type == "ToolExecutionError"
    assert "no luck" in execution.error.message


@pytest.mark.requirement("VM-009")
async def test_results_and_context_are_frozen_data(scripts):
    table = {
        "const r = await tools.echo({ value: { a: [{ b: 1 }] } }); return [r, r.a, r.a[0]].every(Object.isFrozen)": True,
        "const seen = []; (function f(o) { seen.push(Object.isFrozen(o)); for (const v of Object.values(o)) "
        "if (v && typeof v === 'object') f(v) })(context); return seen.every(Boolean)": True,
        """const r = await tools.echo({ value: JSON.parse('{"__proto__":{"admin":1},"constructor":{"prototype":2}}') });
        return [Object.hasOwn(r, '__proto__'), r.admin === undefined, Object.getPrototypeOf(r) === Object.prototype, r]
        """: [True, True, True, {"__proto__": {"admin": 1}, "constructor": {"prototype": 2}}],
        "try { (await tools.echo({ value: [1] })).push(2) } catch (e) { return e.name }": "TypeError",
        """return JSON.parse('{"__proto__":{"x":1}}')""": {"__proto__": {"x": 1}},
        "const r = await tools.echo({ value: { then: 'data' } }); return r.then": "data",
    }
    assert await scripts.mismatches({source: scripts.returns(value) for source, value in table.items()}) == []


@pytest.mark.requirement("VM-017")
async def test_the_budget_counts_calls(scripts):
    execution = await scripts.one(
        "const before = context.budget(); await tools.echo({}); await tools.echo({});\n"
        "return [before, context.budget(), Object.isFrozen(before)]",
        limits={"max_tool_calls": 3},
    )
    assert execution.value == [
        {"tool_calls": {"limit": 3, "used": 0, "remaining": 3}},
        {"tool_calls": {"limit": 3, "used": 2, "remaining": 1}},
        True,
    ]
