"""What becomes of values on their way out of the VM: as results, and as arguments of calls."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.anyio

LOST = {
    "() => 1": "function",
    "class A {}": "function",
    "Symbol('s')": "symbol",
    "1n": "BigInt",
    "Object(1n)": "BigInt",
    "NaN": "NaN",
    "-Infinity": "Infinity",
    "new Number(NaN)": "NaN",
    "[1, undefined]": "undefined",
    "[, 1]": "undefined",
    "new Date(NaN)": "invalid Date",
    "Promise.resolve(1)": "a promise; await it first",
    "tools.echo()": "was not awaited",
    "new Map([[1, 2]])": "a Map with a key that is no string (number)",
    "new WeakMap()": "WeakMap",
    "new WeakSet()": "WeakSet",
    "new Uint8Array(2)": "typed array",
    "new BigInt64Array(2)": "typed array",
    "new ArrayBuffer(2)": "ArrayBuffer",
    "new DataView(new ArrayBuffer(2))": "DataView",
    "/a/g": "regular expression",
    "[].values()": "an iterator",
    "(function* () { yield 1 })()": "an iterator",
    "(async function* () { yield 1 })()": "an async iterator",
    "new Map().entries()": "an iterator",
    "AbortSignal.abort()": "AbortSignal",
    "tools": "function",
    "{ toJSON() {} }": "undefined (from toJSON)",
    "{ toJSON: () => () => 1 }": "function",
    "{ get a() { throw new RangeError('g') } }": "unreadable, reading it threw RangeError: g",
    "{ get a() { throw null } }": "unreadable, reading it threw null",
    "{ get a() { throw { toString() { throw 1 } } } }": "unreadable",
    "{ toJSON() { throw new Error('j') } }": "unreadable, reading it threw Error: j",
    "new Proxy({}, { ownKeys() { throw 1 } })": "unreadable, reading it threw 1",
    "new Proxy({ a: 1 }, { get() { throw new Error('trap') } })": "unreadable, reading it threw Error: trap",
    "(() => { const r = Proxy.revocable({}, {}); r.revoke(); return r.proxy })()": "unreadable",
    "(() => { const o = {}; o.o = o; return o })()": "a cycle",
    "(() => { const m = new Map(); m.set('m', [m]); return m })()": "a cycle",
    "(() => { const s = new Set(); s.add(s); return s })()": "a cycle",
    "(() => { let o = {}; for (let i = 0; i < 300; i++) o = { o }; return o })()": "nested deeper than 200",
    "(() => { let o = []; for (let i = 0; i < 200000; i++) o = [o]; return o })()": "nested deeper than 200",
    "{ ['\\ud800']: 1 }": "a property name with a lone surrogate",
}


@pytest.mark.requirement("VM-020", "VM-022")
async def test_what_a_result_would_lose_is_an_error_with_its_path(scripts):
    executions = await scripts.run([f"return {{ rows: [0, {{ 'odd key': {value} }}] }}" for value in LOST])
    wrong = []
    for (value, words), execution in zip(LOST.items(), executions, strict=True):
        error = execution.error
        if (
            error is None
            or error.type != "SerializationError"
            or not error.details["path"].startswith('$.rows[1]["odd key"]')
            or words not in error.details["found"]
            or error.details["path"] not in error.message
        ):
            wrong.append((value, error or execution.value))
    assert wrong == []


@pytest.mark.requirement("VM-020", "VM-022", "VM-023")
async def test_what_arguments_would_lose_is_an_error_the_script_can_catch(scripts):
    lost = {value: words for value, words in LOST.items() if value != "AbortSignal.abort()"}
    lost["'half \\ud83d'"] = "a string with a lone surrogate"
    executions = await scripts.run(
        [
            f"return await tools.echo({{ value: [{value}] }}).catch((e) => [e.name, e.details.path, e.details.found])"
            for value in lost
        ]
    )
    wrong = [
        (value, execution.error or execution.value)
        for (value, words), execution in zip(lost.items(), executions, strict=True)
        if execution.error
        or execution.value[0] != "ToolValidationError"
        or not execution.value[1].startswith("$.value[0]")
        or words not in execution.value[2]
    ]
    # A call inside the arguments is a call that nobody awaited, and that is worth its own word.
    assert [(value, error.type) for value, error in wrong if hasattr(error, "type")] == []
    assert wrong == []


@pytest.mark.requirement("VM-020")
async def test_the_error_of_a_lost_value_says_what_to_send_instead(scripts):
    advice = {
        "() => 1": "at $.a[0] is a function; call it and send what it returns, or leave it out.",
        "10n": "at $.a[0] is a BigInt; convert it with String(…), or Number(…) if no digit is lost.",
        "undefined": "at $.a[0] is undefined; send null.",
        "-1 / 0": "at $.a[0] is -Infinity; send null or a string.",
        "new Map([[1, 2]])": "a Map with a key that is no string (number); use string keys, or send [...map].",
        "new Uint8Array(1)": "at $.a[0] is a typed array; convert it with Array.from(…).",
    }
    results = await scripts.run([f"return {{ a: [{value}] }}" for value in advice])
    sent = await scripts.run([f"await tools.echo({{ a: [{value}] }})" for value in advice])
    for result, call, words in zip(results, sent, advice.values(), strict=True):
        assert result.error.message.startswith("The script's result has no JSON form: at $.a[0] is ")
        assert result.error.message.endswith(words)
        assert call.error.message.startswith("The arguments of tools.echo cannot be sent: at $.a[0] is ")
        assert f"{words} Call it as " in call.error.message


CARRIED = {
    "null": None,
    "undefined": None,
    "{ a: undefined, b: 1 }": {"b": 1},
    "-0": 0,
    "[0.1, 1e21, 1e-7, 5e-324]": [0.1, 1e21, 1e-7, 5e-324],
    "new Map([['b', 1], ['a', new Map([['x', [new Set([1])]]])]])": {"b": 1, "a": {"x": [[1]]}},
    "new Map([['__proto__', 1]])": {"__proto__": 1},
    "new Set(['x', { y: 1 }])": ["x", {"y": 1}],
    "new Date(0)": "1970-01-01T00:00:00.000Z",
    "[new Date(8.64e15)]": ["+275760-09-13T00:00:00.000Z"],
    "new RangeError('m')": {"name": "RangeError", "message": "m"},
    "Object.assign(new Error('m', { cause: 1 }), { code: 5, nested: new TypeError('n') })": {
        "name": "Error",
        "message": "m",
        "code": 5,
        "nested": {"name": "TypeError", "message": "n"},
    },
    "new AggregateError([new Error('x')], 'many')": {"name": "AggregateError", "message": "many"},
    "[new Number(5), new String('s'), new Boolean(false)]": [5, "s", False],
    "{ toJSON: (k) => ({ k }) }": {"k": ""},
    "[{ toJSON: (k) => k }, { a: { toJSON: (k) => k } }]": ["0", {"a": "a"}],
    "{ toJSON: () => new Date(0) }": "1970-01-01T00:00:00.000Z",
    "class_()": {"x": 1, "y": [2]},
    "Object.create(null, { a: { value: 1, enumerable: true }, b: { value: 2 } })": {"a": 1},
    "Object.create({ inherited: 1 }, { own: { value: 2, enumerable: true } })": {"own": 2},
    "{ [Symbol.toStringTag]: 'Promise', then: 1, length: 2 }": {"then": 1, "length": 2},
    "new Proxy({ a: 1 }, {})": {"a": 1},
    "new Proxy([1, 2], {})": [1, 2],
    "(() => { const o = { n: 1 }; return [o, o, { o }] })()": [{"n": 1}, {"n": 1}, {"o": {"n": 1}}],
    "(function () { return arguments })(1, 2)": {"0": 1, "1": 2},
    "'a'.repeat(9000) + 'b'.repeat(9000)": "a" * 9000 + "b" * 9000,
    "'\\u0000\\u2028\\\"\\\\\\n</script></tool-results>👋'": '\u0000\u2028"\\\n</script></tool-results>👋',
    'JSON.parse(\'{"__proto__":{"x":1},"constructor":2,"toString":3}\')': {
        "__proto__": {"x": 1},
        "constructor": 2,
        "toString": 3,
    },
    "(() => { const a = [1]; a.extra = 2; return a })()": [1],
    "{ '': 1, 'a b': 2, 0: 3 }": {"0": 3, "": 1, "a b": 2},
}
DEFINITIONS = "class C { x = 1; #p = 2; get y() { return [3] } static z = 4; constructor() { this.y2 = undefined; Object.defineProperty(this, 'y', { value: [2], enumerable: true }) } } const class_ = () => new C();\n"


@pytest.mark.requirement("VM-021")
async def test_documented_conversions(scripts):
    executions = await scripts.run([f"{DEFINITIONS}return {value}" for value in CARRIED])
    wrong = [
        (value, execution.error or execution.value)
        for (value, wanted), execution in zip(CARRIED.items(), executions, strict=True)
        if execution.error or execution.value != wanted or type(execution.value) is not type(wanted)
    ]
    assert wrong == []


@pytest.mark.requirement("VM-021")
async def test_to_json_is_asked_once(scripts):
    # As in JSON.stringify, what it returns is not asked again; its own `toJSON` is then a function among its data.
    execution = await scripts.one("return { toJSON: () => ({ toJSON: () => 1 }) }")
    assert execution.error.details == {"path": "$.toJSON", "found": "function"}


@pytest.mark.requirement("VM-021", "VM-006")
async def test_arguments_are_converted_alike(scripts):
    table = {value: wanted for value, wanted in CARRIED.items() if value != "undefined" and "toJSON" not in value}
    del table["[0.1, 1e21, 1e-7, 5e-324]"]  # whole numbers so large are refused, see below
    executions = await scripts.run([f"{DEFINITIONS}return await tools.echo({{ value: {value} }})" for value in table])
    wrong = [
        (value, execution.error or execution.value)
        for (value, wanted), execution in zip(table.items(), executions, strict=True)
        if execution.error or execution.value != wanted
    ]
    assert wrong == []


@pytest.mark.requirement("VM-022")
async def test_each_value_is_read_once(scripts):
    execution = await scripts.one(
        "let reads = 0, keys = 0; const o = { get value() { return ++reads } };\n"
        "const p = new Proxy({ value: 1 }, { get: (t, k) => (k === 'value' ? ++keys : undefined) });\n"
        "return [await tools.echo(o), reads, await tools.echo(p), keys, (await tools.echo({ value: { get a() { return ++reads } } })).a]"
    )
    assert execution.value == [1, 1, 1, 1, 2]


@pytest.mark.requirement("VM-023")
async def test_lone_surrogates_in_a_result_are_replaced_and_reported(scripts):
    execution = await scripts.one("return { ok: '👋', rows: ['fine', 'a\\ud800b', '\\udc00'] }")
    assert execution.value == {"ok": "👋", "rows": ["fine", "a\ufffdb", "\ufffd"]}
    [diagnostic] = execution.diagnostics
    assert diagnostic.code == "lone_surrogates_replaced"
    assert "$.rows[1], $.rows[2]" in diagnostic.message


@pytest.mark.requirement("VM-024")
async def test_whole_numbers_beyond_what_is_exact(scripts):
    execution = await scripts.one(
        "return [2 ** 53 - 1, 2 ** 60, await tools.echo({ value: { ids: [2 ** 53 + 2] } }).catch((e) => [e.name, e.details.path])]"
    )
    assert execution.value == [2**53 - 1, 2.0**60, ["ToolValidationError", "$.value.ids[0]"]]
    assert type(execution.value[1]) is float
    assert (await scripts.one("return await tools.echo({ value: [2 ** 53 - 1, -(2 ** 53 - 1)] })")).value == [
        2**53 - 1,
        1 - 2**53,
    ]


@pytest.mark.requirement("VM-022")
async def test_depth_is_bounded_by_json_depth(scripts):
    nested = "(() => {{ let o = 1; for (let i = 0; i < {depth}; i++) o = [o]; return o }})()"
    limits = {"json_depth": 20}
    sources = {
        f"return {nested.format(depth=20)}": None,
        f"return {nested.format(depth=21)}": "SerializationError",
        f"return await tools.echo({{ value: {nested.format(depth=19)} }})": None,
        f"return await tools.echo({{ value: {nested.format(depth=20)} }})": "ToolValidationError",
    }
    executions = await scripts.run(sources, limits=limits)
    assert [e.error and e.error.type for e in executions] == list(sources.values())


@pytest.mark.requirement("VM-006")
async def test_arguments_are_bounded_before_they_leave(scripts):
    table = {
        "return await tools.echo({ value: 'x'.repeat(2 ** 21) }).catch((e) => e.name)": "ToolValidationError",
        "return await tools.echo({ value: Array(200000).fill(1) }).catch((e) => e.name)": "ToolValidationError",
        "return await tools.echo({ value: new Proxy([], { get: (t, k) => (k === 'length' ? 2 ** 32 - 1 : 0) }) }).catch((e) => e.name)": (
            "ToolValidationError"
        ),
        "return (await tools.echo({ value: 'x'.repeat(200000) })).length": 200_000,
    }
    assert await scripts.mismatches({source: scripts.returns(value) for source, value in table.items()}) == []


@pytest.mark.requirement("VM-020")
async def test_what_is_thrown_is_reported_whatever_it_is(scripts):
    thrown = {
        "throw 'text'": ("ScriptRuntimeError", '"text"'),
        "throw null": ("ScriptRuntimeError", "null"),
        "throw undefined": ("ScriptRuntimeError", "undefined"),
        "throw 1n": ("ScriptRuntimeError", "1n"),
        "throw Symbol('s')": ("ScriptRuntimeError", "Symbol(s)"),
        "throw { a: [1] }": ("ScriptRuntimeError", "{ a: [ 1 ] }"),
        "throw () => 1": ("ScriptRuntimeError", "a function"),
        "throw { toString() { for (;;); } }": ("ScriptRuntimeError", "toString"),
        "throw new Proxy({}, { get() { throw 1 }, ownKeys() { throw 2 } })": ("ScriptRuntimeError", "unprintable: 2"),
        "throw Promise.resolve(1)": ("ScriptRuntimeError", "a promise"),
        "throw Object.defineProperty(new Error('m'), 'name', { get() { throw 1 } })": ("Error", "m"),
        "throw Object.defineProperty(new Error('m'), 'message', { get() { throw 1 } })": ("Error", ""),
        "throw Object.assign(new Error('m'), { name: 'ScriptMemoryError' })": ("Error", "ScriptMemoryError: m"),
        "class ToolTimeoutError extends Error {}; throw new ToolTimeoutError('fake')": ("Error", "fake"),
        "throw new Error('x'.repeat(1e6))": ("Error", "xxx"),
        "throw new Error('\\u001b[31mred\\nnext')": ("Error", "next"),
        "throw new RangeError('Maximum call stack size exceeded')": ("RangeError", "Maximum"),
        "throw new Error('out of memory')": ("Error", "out of memory"),
        "await Promise.reject(new SyntaxError('s'))": ("SyntaxError", "s"),
        "await Promise.any([])": ("AggregateError", ""),
        "const e = new Error('m'); e.stack = '    at fake (<script>:99:1)'; throw e": ("Error", "m"),
    }
    executions = await scripts.run(thrown)
    wrong = [
        (source, e.error or e.value)
        for (source, (kind, words)), e in zip(thrown.items(), executions, strict=True)
        if e.error is None or e.error.type != kind or words not in e.error.message or len(e.error.message) > 5000
    ]
    assert wrong == []
    assert executions[-1].error.line == 1


@pytest.mark.requirement("VM-020")
async def test_memory_that_is_used_up_bit_by_bit_is_no_thrown_null(scripts):
    # With no memory left for an error object, the engine throws null.
    table = {
        "let o = 0; for (;;) o = [o]": "ScriptMemoryError",
        "const m = new Map(); for (let i = 0; ; i++) m.set('k' + i, { i })": "ScriptMemoryError",
        "const s = []; for (;;) s.push(Symbol())": "ScriptMemoryError",
        "throw null": "ScriptRuntimeError",
        "await Promise.reject(null)": "ScriptRuntimeError",
    }
    wanted = {source: scripts.fails(kind) for source, kind in table.items()}
    assert await scripts.mismatches(wanted, limits={"memory_bytes": 32 * 1024 * 1024}) == []
