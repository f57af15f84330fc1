"""The hardening itself: what it leaves reachable, that each of its steps is checked, and that it fails closed.

Most of this runs the VM in this process, without the parser in front of it: what the parser refuses must be harmless too.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import _quickjs
import pytest
import tree_sitter
import tree_sitter_javascript

import harness
from harness.limits import Limits
from harness.model import BlockAttributes, ExecutionMode, Script, Span
from harness.runtime import wire, worker
from harness.runtime.forkserver import ForkServer
from harness.runtime.job import Job
from harness.runtime.past import Frame
from harness.runtime.sources import SourceMap

STACK = 2 * 1024 * 1024
JS = Path(worker.__file__).with_name("js")
VECTORS = Path(__file__).parent / "vectors"
PRELUDE = worker._prelude()
_JAVASCRIPT = tree_sitter.Parser(tree_sitter.Language(tree_sitter_javascript.language()))


def run(source: str, vm: worker.VM | None = None) -> Any:
    """What a script returns that makes no calls that need an answer."""
    span = Span(start=0, end=len(source), line=1, column=1, end_line=1, end_column=1)
    script = Script(
        source=source,
        sha256="0" * 64,
        mode=ExecutionMode.RETURN,
        attributes=BlockAttributes(),
        span=span,
        source_span=span,
    )
    limits = Limits(result_bytes=1 << 20, max_pending_calls=100_000)
    job = Job(script=script, tools=("echo", "inspect"), context={}, seed=(1, 2, 3, 4), limits=limits)
    frame = json.loads(job.start_frame(Frame(0, "null"), SourceMap(source)))
    answer = json.loads((vm or worker.VM(stack_bytes=STACK)).start(frame))
    ending = answer["turn"]["ending"] if answer["turn"] else answer["worker"]
    assert ending["state"] == "ok", ending
    return json.loads(ending["value"])


def starts(prelude: str, monkeypatch: pytest.MonkeyPatch) -> worker.VM:
    """A VM with another prelude. Raises as a worker's does."""
    monkeypatch.setattr(worker, "_prelude", lambda: prelude)
    return worker.VM(stack_bytes=STACK)


# ── what can be reached ──────────────────────────────────────────────────────────────────────────────────────────


def walk(vectors: Path, vm: worker.VM | None = None) -> Any:
    return run((vectors / "walk.js").read_text(encoding="utf-8"), vm)


@pytest.mark.requirement("VM-004")
def test_everything_reachable_is_frozen_and_pinned(vectors):
    found = walk(vectors)
    assert found["open"] == []
    pinned = (vectors / "intrinsics.txt").read_text(encoding="utf-8").splitlines()
    assert sorted(set(found["lines"]) - set(pinned)) == [], (
        "new properties: review each, then put it into intrinsics.txt"
    )
    assert sorted(set(pinned) - set(found["lines"])) == [], "properties that are gone: see why, then take them out"
    assert len(pinned) >= 1000


CALL_EVERYTHING = """
const reached = new Set([globalThis]);
const add = (value) => { if (Object(value) === value) reached.add(value); };
const samples = () => [
  undefined, 1, 'return 1', Symbol.iterator, 1n, {}, [1, 2], () => 2, function* () {}, new Map([[1, 2]]), new Set([1]), /a/g,
  new Date(0), new Error('x'), Promise.resolve(1), new ArrayBuffer(8), new Uint8Array(8), new DataView(new ArrayBuffer(8)),
  [1].values(), (function* () { yield 1; })(), (async function* () { yield 1; })(), new Proxy({}, {}), new WeakMap(), Object(1),
  new DisposableStack(), new AsyncDisposableStack(), new AbortController(), AbortSignal.abort(), new TextDecoder(),
  new Map().keys(), new Set().keys(), ''[Symbol.iterator](), Iterator.concat([]), Iterator.zip([]), Iterator.zipKeyed({}),
  Iterator.from({ next() { return { done: true }; } }), [1].values().map((x) => x), 'a'.matchAll(/a/g),
];
const own = new Set();
for (const sample of samples()) {
  add(sample);
  for (let o = Object(sample); o !== null; o = Object.getPrototypeOf(o)) { add(o); if (!Object.isFrozen(o)) own.add(o); }
}
for (const object of reached) {
  if (object === tools || object === context || own.has(object)) continue;
  add(Object.getPrototypeOf(object));
  for (const key of Reflect.ownKeys(object)) {
    const { value, get, set } = Object.getOwnPropertyDescriptor(object, key);
    add(value); add(get); add(set);
    if (get !== undefined) try { add(Reflect.apply(get, object, [])); } catch {}
  }
}
// Whatever a built-in returns or throws inherits from something frozen that was known, or from what was passed in.
const strangers = [];
let calls = 0;
let ran = 0;
const look = (value, how, passed) => {
  calls++;
  if (Object(value) !== value) return;
  // Text that was handed in has become code.
  if (typeof value === 'function') try { if (value() === 1 && !passed.includes(value)) ran++; } catch {}
  for (let o = Object.getPrototypeOf(value); o !== null; o = Object.getPrototypeOf(o)) {
    if (reached.has(o) && Object.isFrozen(o)) return;
    if (passed.includes(o)) return;
    const { constructor } = o;
    // A generator function has a prototype of its own.
    if (!Object.hasOwn(o, 'constructor') && Reflect.ownKeys(o).length === 0) continue;
    strangers.push(`${how}: ${Reflect.ownKeys(o).map(String)} ${constructor?.name}`);
    return;
  }
};
const left = /^(setTimeout|log|info|warn|error|debug|trace|dir|table|assert|group|groupCollapsed|progress|every|some|forEach|find|reduce|toArray|includes|join|queueMicrotask|time|count|timeLog|timeEnd)$/;
for (const target of [...reached]) {
  if (typeof target !== 'function' || own.has(target) || left.test(target.name)) continue;
  const passed = samples();
  for (let i = 0; i < passed.length; i++) {
    const list = [passed[i], passed[(i + 7) % passed.length]];
    for (const act of [() => Reflect.apply(target, passed[i], []), () => Reflect.apply(target, passed[i], list), () => Reflect.construct(target, list)]) {
      let result;
      try { result = act(); } catch (error) { result = error; }
      look(result, target.name, passed);
    }
  }
}
return { strangers: [...new Set(strangers)], calls, ran };
"""


@pytest.mark.requirement("VM-002", "VM-004")
def test_no_built_in_hands_out_anything_open_or_any_code():
    found = run(CALL_EVERYTHING)
    assert found["strangers"] == []
    assert found["ran"] == 0
    assert found["calls"] > 20_000


NO_CODE = [
    "globalThis.eval('1')",
    "(0, globalThis['eval'])('1')",
    "Function('return 1')()",
    "new Function('return 1')()",
    "(() => {}).constructor('return 1')()",
    "(async () => {}).constructor('return 1')()",
    "(function* () {}).constructor('yield 1')()",
    "(async function* () {}).constructor('yield 1')()",
    "Object.getPrototypeOf(async () => {}).constructor('return 1')",
    "class A {}; A.constructor('return 1')",
    "Reflect.construct(Function, ['return 1'])",
    "Reflect.construct(Object, ['return 1'], Function).call()",
    "Reflect.construct(Function, ['return 1'], Object)",
    "new (class extends Function {})('return 1')",
    "new (class extends (async () => {}).constructor {})('return 1')",
    "Object.getPrototypeOf((async () => {}).constructor).constructor('return 1')",
    "Function.bind(null, 'return 1')()",
    "Function.call(null, 'return 1')",
    "Function.prototype.constructor.constructor('return 1')",
    "Object.getOwnPropertyDescriptor(Map, Symbol.species).get.constructor('return 1')",
    "Object.getOwnPropertyDescriptor((function () { return arguments })(), 'callee').get.constructor('return 1')",
    "Proxy.revocable({}, {}).revoke.constructor('return 1')",
    "structuredClone.constructor('return 1')",
    "console.log.constructor('return 1')",
    "tools.echo.constructor('return 1')",
    "tools.nothing.constructor('return 1')",
    "context.budget.constructor('return 1')",
    "tools.echo({}).then.constructor('return 1')",
    "tools.echo({}).constructor[Symbol.species].constructor('return 1')",
    "let resolve; new Promise((r) => { resolve = r }); resolve.constructor('return 1')",
    "setTimeout('1')",
    "setTimeout({ toString: () => '1' }, 0)",
    "setTimeout(new String('1'), 0)",
    "queueMicrotask('1')",
    "new AbortController().signal.addEventListener.constructor('return 1')",
    "JSON.parse('1', 'return 1'.constructor.constructor('return 1'))",
    "'x'.replace(/x/, ''.constructor.constructor('return 1'))",
]


@pytest.mark.requirement("VM-002")
def test_nothing_makes_code_even_without_the_parser():
    vm = worker.VM(stack_bytes=STACK)
    made = {
        source: got
        for source in NO_CODE
        if not (got := run(f"try {{ {source}; return 'made' }} catch (e) {{ return e.name }}", vm)).endswith("Error")
    }
    assert made == {}


@pytest.mark.requirement("VM-002")
@pytest.mark.parametrize(
    "specifier",
    ["'x'", "'/etc/hostname'", "'std'", "'data:text/javascript,1'", "'./a.json', { with: { type: 'json' } }"],
)
def test_nothing_is_imported(specifier):
    assert run(f"return import({specifier}).then(() => 'imported', (e) => e instanceof Error)") is True


@pytest.mark.requirement("VM-002")
@pytest.mark.parametrize(
    "source", ["with ({}) {}", "import 'x'", "return import.meta", "arguments.callee = 1; eval = 1", "export default 1"]
)
def test_sloppy_and_module_code_does_not_compile(source):
    with pytest.raises(AssertionError, match="syntax"):
        run(source)


# ── ordinary code does not notice ────────────────────────────────────────────────────────────────────────────────

ORDINARY = {
    "const a = [1]; a.push = () => 'own'; return [a.push(), [].push(1)]": ["own", 1],
    "const a = [1]; a.map = a.map.bind([2]); return a.map((x) => x)": [2],
    "const a = [1]; a[Symbol.iterator] = function* () { yield 7 }; return [...a]": [7],
    "const a = [1]; a.constructor = Map; return [a.constructor === Map, [].constructor === Array]": [True, True],
    "const m = new Map([['k', 1]]); const get = m.get.bind(m); m.get = (k) => get(k) + 1; return m.get('k')": 2,
    "const s = new Set(); s.add = function (x) { return Set.prototype.add.call(this, x * 2) }; s.add(2); return [...s]": [
        4
    ],
    "const d = new Date(0); d.toISOString = () => 'x'; return JSON.stringify(d)": '"x"',
    "const r = /a/; r.exec = () => null; return r.test('a')": False,
    "const p = Promise.resolve(1); p.then = (f) => f(2); return await p.then((x) => x)": 2,
    "const g = (function* () { yield 1 })(); g.next = () => ({ done: true }); return [...g]": [],
    "function* g() {} g.prototype.extra = () => 3; g.prototype.next = () => 4; return [g().extra(), g().next()]": [
        3,
        4,
    ],
    "const e = new TypeError('a'); e.message = 'b'; e.name = 'N'; e.toString = () => 'c'; return [e.message, e.name, `${e}`]": [
        *["b", "N", "c"]
    ],
    "const e = new Error('a'); e.stack = 'mine'; e.constructor = 1; return [e.stack, e.constructor]": ["mine", 1],
    "const o = {}; for (const k of ['toString', 'constructor', 'hasOwnProperty', '__defineGetter__', 'valueOf']) o[k] = k; "
    "return Object.keys(o)": ["toString", "constructor", "hasOwnProperty", "__defineGetter__", "valueOf"],
    "const counts = {}; for (const w of ['a', 'constructor', 'toString', 'a']) "
    "counts[w] = (Object.hasOwn(counts, w) ? counts[w] : 0) + 1; return counts": {
        "a": 2,
        "constructor": 1,
        "toString": 1,
    },
    "const o = {}; o.toString = 1; return Object.getOwnPropertyDescriptor(o, 'toString')": {
        "value": 1,
        "writable": True,
        "enumerable": True,
        "configurable": True,
    },
    "function F() {} F.prototype = Object.create(Array.prototype); F.prototype.constructor = F; F.prototype.push = () => 5; "
    "return [new F().push(), new F().constructor === F]": [5, True],
    "function E(m) { this.message = m } E.prototype = Object.create(Error.prototype); E.prototype.constructor = E; "
    "E.prototype.name = 'E'; return [`${new E('x')}`, new E('') instanceof Error, new E('').constructor === E]": [
        *["E: x", True, True]
    ],
    "function f() {} f.call = () => 1; f.toString = () => 'f'; f.constructor = 2; return [f.call(), `${f}`, f.constructor]": [
        *[1, "f", 2]
    ],
    "class A { constructor() { this.constructor = 1; this.toString = () => 'a' } static name = 'B'; static call = 3 } "
    "return [new A().constructor, `${new A()}`, A.name, A.call]": [1, "a", "B", 3],
    "class A extends Map { constructor() { super(); this.get = () => 'field'; this.name = 'n' } } "
    "return [new A().get(), new A().name]": ["field", "n"],
    "class A extends Array { push = () => 'field'; ['concat'] = 1 } return [new A().push(), new A().concat]": [
        "field",
        1,
    ],
    "class A extends Error { message = 'm'; name = 'N'; code = 1 } return [`${new A('x')}`, new A().code]": ["N: m", 1],
    "class I extends Iterator { next() { return { done: true } } } const i = new I(); i[Symbol.toStringTag] = 'Mine'; "
    "i.map = 1; i.constructor = 2; return [`${i}`, i.map, i.constructor]": ["[object Mine]", 1, 2],
    "const o = {}; o[Symbol.toStringTag] = 'T'; return `${o}`": "[object T]",
    "const log = []; const c = Object.create(console); c.log = (x) => log.push(x); c.log(1); return log": [1],
    "const o = Object.create({ toString() { return 'p' } }); o.toString = () => 'o'; return `${o}`": "o",
    "const o = Object.assign(Object.create(null), { toString: 1, constructor: 2 }); return Object.keys(o).length": 2,
    "const o = Object.assign({}, { toString: 1, valueOf: 2 }, JSON.parse('{\"constructor\":3}')); return o": {
        "toString": 1,
        "valueOf": 2,
        "constructor": 3,
    },
    "const o = {}; Object.defineProperty(o, 'toString', { value: 1, writable: true, configurable: true }); o.toString = 2; "
    "return Object.getOwnPropertyDescriptor(o, 'toString').enumerable": False,
    "const r = Object.defineProperty({}, 'toString', { value: 1, writable: true }); Reflect.set({}, 'toString', 2, r); "
    "return Object.getOwnPropertyDescriptor(r, 'toString')": {
        "value": 2,
        "writable": True,
        "enumerable": False,
        "configurable": False,
    },
    "const seen = []; const p = new Proxy({}, { defineProperty(t, k, d) { seen.push(k); return Reflect.defineProperty(t, k, d) } }); "
    "p.toString = 1; return [seen, p.toString]": [["toString"], 1],
    "class P extends Promise {} P.all = () => 'own'; return [P.all(), P.all === Promise.all, typeof P.race]": [
        *["own", False, "function"]
    ],
    "class A extends Array {} A.from = function (x) { return [this === A, x] }; return [A.from(1), Array.from('ab')]": [
        *[[True, 1], ["a", "b"]]
    ],
    "const m = Object.create(Math); m.max = () => 'own'; m.PIE = 1; return [m.max(1), Math.max(1), m.min(2), m.PIE]": [
        *["own", 1, 2, 1]
    ],
    "const j = Object.create(JSON); j.parse = (x) => x; j.stringify = 0; return [j.parse('1'), JSON.parse('2')]": [
        "1",
        2,
    ],
    "const r = Object.create(Reflect); r.get = () => 'own'; return [r.get(), Reflect.get({ a: 1 }, 'a')]": ["own", 1],
    "function F() {} Object.setPrototypeOf(F, Map); F.groupBy = 1; return [F.groupBy, typeof Map.groupBy]": [
        1,
        "function",
    ],
    "class D extends Date { static now() { return 7 } } D.UTC = () => 8; return [D.now(), D.UTC(), typeof Date.UTC()]": [
        *[7, 8, "number"]
    ],
    "const o = {}; return [Reflect.set(o, 'toString', 1), Object.keys(o), Reflect.set([], 'push', 2), "
    "Reflect.set(Object.create(Math), 'max', 3), Reflect.set({}, 'a', 1), Reflect.set({ set a(x) {} }, 'a', 1)]": [
        *[True, ["toString"], True, True, True, True]
    ],
    "const seen = []; const p = new Proxy({}, { set(...list) { seen.push(list.length); return Reflect.set(...list) } }); "
    "p.toString = 1; return [seen, p.toString, Reflect.set.length, Reflect.set.name]": [[4], 1, 3, "set"],
    "return [[].constructor === Array, ({}).constructor === Object, (() => 1).constructor === Function, "
    "new Error().constructor === Error, Promise.resolve().constructor === Promise]": [True] * 5,
    "return [Object.keys([]), Object.keys({}), (() => { const k = []; for (const i in { a: 1 }) k.push(i); return k })()]": [
        *[[], [], ["a"]]
    ],
}


@pytest.mark.requirement("VM-005")
def test_assignments_to_what_inherits_from_built_ins_take_effect():
    vm = worker.VM(stack_bytes=STACK)
    found = {}
    for source in ORDINARY:
        found[source] = run(f"try {{ {source} }} catch (e) {{ return `${{e}}` }}", vm)
    assert found == ORDINARY


REFUSED = [
    "Object.freeze([]).push = 1",
    "Object.freeze(new Error()).name = 1",
    "Object.preventExtensions({}).toString = 1",
    "Object.defineProperty({}, 'toString', { value: 1 }).toString = 2",
    "Array.prototype.push = 1",
    "Object.getPrototypeOf([].values()).next = 1",
    "Object.prototype.toString.leak = 1",
    "Promise.all = 1",
    "Math.max = 1",
    "JSON.parse = 1",
    "Reflect.set = 1",
    "class P extends Promise {} P[Symbol.species] = 1",
    "Object.create(Math).PI = 3",
    "Object.defineProperty(Array.prototype.map, 'name', { value: 1 })",
    "Reflect.getOwnPropertyDescriptor(Array.prototype, 'push').set.call(Array.prototype, 1)",
    "Reflect.getOwnPropertyDescriptor(Array.prototype, 'push').set.leak = 1",
    "Reflect.getOwnPropertyDescriptor(Array.prototype, 'push').set.call(undefined, 1)",
    "Reflect.getOwnPropertyDescriptor(Array.prototype, 'push').set.call('text', 1)",
    "Reflect.getOwnPropertyDescriptor(Array.prototype, 'push').set.call(Map.prototype, 1)",
    "'text'.length = 1",
    "'text'.trim = 1",
    "(1).toFixed = 1",
]


@pytest.mark.requirement("VM-004", "VM-005")
def test_what_must_not_take_an_assignment_throws():
    vm = worker.VM(stack_bytes=STACK)
    found = {source: run(f"try {{ {source}; return 'taken' }} catch (e) {{ return e.name }}", vm) for source in REFUSED}
    assert found == dict.fromkeys(REFUSED, "TypeError")


@pytest.mark.requirement("VM-005")
def test_reflect_set_says_false_where_an_assignment_would_throw():
    vm = worker.VM(stack_bytes=STACK)
    table = {
        "Reflect.set(Object.prototype, 'toString', 1)": False,
        "Reflect.set(Math, 'max', 1)": False,
        "Reflect.set(Promise, 'all', 1)": False,
        "Reflect.set(Object.freeze([]), 'push', 1)": False,
        "Reflect.set({}, 'toString', 1, Map.prototype)": False,
        "Reflect.set({}, 'toString', 1, Object.defineProperty({}, 'toString', { get() {} }))": False,
        "Reflect.set({}, 'toString', 1, 'text')": False,
        "Reflect.set(1, 'a', 1)": "TypeError",
        "Reflect.set(new Proxy(Math, { get set() { Reflect.set({}, 'a', 1) } }), 'max', 1, Math)": False,
        # What a script's own code throws while it runs stays what it is.
        "Reflect.set({ set a(x) { throw new RangeError() } }, 'a', 1)": "RangeError",
        "Reflect.set({ set a(x) { Math.max = 1 } }, 'a', 1)": "TypeError",
        "Reflect.set({ set a(x) { try { this.b = 1; Math.max = 1 } catch {} } }, 'a', 1)": True,
    }
    found = {source: run(f"try {{ return {source} }} catch (e) {{ return e.name }}", vm) for source in table}
    assert found == table


@pytest.mark.requirement("VM-004")
def test_sloppy_code_that_no_script_can_write_changes_no_built_in_either():
    context = worker.VM(stack_bytes=STACK)._context
    for target in ["Object.prototype.toString", "Math.max", "Promise.all", "RegExp.prototype.exec", "globalThis.Array"]:
        code = f"(function () {{ const was = {target}; try {{ {target} = 1 }} catch {{}} return {target} === was }})()"
        assert context.eval(code) is True, target


SOURCES = """
const functions = [
  tools.echo, tools.unknown, tools.echo({}).then, console.log, setTimeout, structuredClone, context.budget, Function, Date,
  Math.random, AbortController, TextEncoder, DOMException, atob, progress, Reflect.set, Function.prototype.toString,
  Object.getOwnPropertyDescriptor(Array.prototype, 'push').get, Object.getOwnPropertyDescriptor(Array.prototype, 'push').set,
  Object.getOwnPropertyDescriptor(Error.prototype, 'stack').get, Object.getOwnPropertyDescriptor(globalThis, 'tools').get,
  tools.echo({}).constructor[Symbol.species],
];
let resolve; new Promise((r) => { resolve = r; });
const shown = [...functions, resolve].map((f) => `${f}` + Function.prototype.toString.call(f) + String(f) + ('' + f));
const own = function name(a, b) { return a + b; };
return { shown, own: String(own), named: String(setTimeout), accessor: String(functions[17]),
  proxy: String(new Proxy(setTimeout, {})), bound: String(setTimeout.bind(null)),
  object: (() => { try { Function.prototype.toString.call({}) } catch (e) { return e.name } })(),
  places: ['lineNumber', 'columnNumber', 'fileName'].map((key) => key in setTimeout) };
"""


@pytest.mark.requirement("VM-027")
def test_the_source_of_the_prelude_cannot_be_read():
    found = run(SOURCES)
    native = "() {\n    [native code]\n}"
    for text in found["shown"]:
        assert text.count(native) == 4, text
        assert len(text) < 400
    assert found["own"] == "function name(a, b) { return a + b; }"
    assert found["named"] == "function setTimeout" + native
    assert found["accessor"] == "function get push" + native
    assert found["proxy"].endswith(native)
    assert found["bound"].endswith(native)
    assert found["object"] == "TypeError"
    assert found["places"] == [False] * 3


@pytest.mark.requirement("VM-006")
def test_nothing_is_left_behind_for_the_next_script():
    vm = worker.VM(stack_bytes=STACK)
    run(
        "for (const o of [Object.prototype.toString, Array.prototype.push, Map, console.log, tools.echo]) "
        "try { o.mark = 1 } catch {}\n"
        "try { globalThis.mark = 1 } catch {}\n"
        "try { tools.echo({}).constructor.mark = 1 } catch {}\nreturn 1",
        vm,
    )
    assert (
        run(
            "return [Object.prototype.toString, Array.prototype.push, Map, console.log, tools.echo, globalThis, "
            "tools.echo({}).constructor].map((o) => 'mark' in o)",
            vm,
        )
        == [False] * 7
    )


@pytest.mark.requirement("VM-007")
def test_a_tool_may_be_called_inspect():
    assert run("return [typeof tools.inspect, typeof tools.then]") == ["function", "undefined"]


# ── what a script passes cannot change what the prelude does ─────────────────────────────────────────────────────


@pytest.mark.requirement("VM-006", "VM-016")
def test_properties_of_a_scripts_own_do_not_mislead_the_prelude():
    table = {
        "const u = new Uint8Array([104, 105]); for (const k of ['buffer', 'length', 'byteLength', 'byteOffset']) "
        "Object.defineProperty(u, k, { value: 99 }); return [new TextDecoder().decode(u), structuredClone(u).length]": [
            "hi",
            2,
        ],
        "const b = new ArrayBuffer(4); b.constructor = { [Symbol.species]: function () { throw 1 } }; "
        "return structuredClone(b).byteLength": 4,
        "const r = Object.defineProperty(/x/g, 'source', { value: '(' }); return structuredClone(r).source": "x",
        "const m = new Map([[1, 2]]); m.forEach = () => {}; m.size = 0; return [...structuredClone(m)]": [[1, 2]],
        "const d = new Date(0); d.getTime = d.toISOString = () => 9; return [structuredClone(d).getTime(), d]": [
            *[0, "1970-01-01T00:00:00.000Z"]
        ],
        "const c = new AbortController(), a = new AbortController(); let n = 0; const s = c.signal; let reads = 0;"
        "s.removeEventListener = () => { n += 10 }; const f = () => { n++ }; "
        "s.addEventListener('abort', f, { get signal() { reads++; return a.signal } }); a.abort(); c.abort(); return [n, reads]": [
            *[0, 1]
        ],
        "return [[], {}, 'x', null].map((x) => { try { new TextEncoder().encodeInto('a', x) } catch (e) { return e.name } })": [
            *["TypeError"] * 4
        ],
        "const r = new TextEncoder().encodeInto('€a', new Uint8Array(3)); return r": {"read": 1, "written": 3},
    }
    vm = worker.VM(stack_bytes=STACK)
    sources = [source.replace("m.size = 0;", "") for source in table]
    assert [run(source, vm) for source in sources] == list(table.values())


# Called in functions that run while a script does. Each is a method of an object that no script can reach or replace, or
# is the script's own business.
ALLOWED_CALLS = {
    "NativePromise.reject",  # a function of a frozen object
    "record.resolve",  # made by this prelude's own executor
    "record.reject",
    "listener.handleEvent",  # what a listener that is an object is for
    "timers.setTimeout",
    "consoleMethods.timeLog",
    "consoleMethods.group",
}
# These run before any script, on a realm nobody has touched.
BEFORE_ANY_SCRIPT = {"1-withdrawn.js", "7-intrinsics.js", "8-verify.js"}
_FUNCTIONS = {
    "function_declaration",
    "arrow_function",
    "method_definition",
    "function_expression",
    "generator_function",
}


def method_calls(node: tree_sitter.Node, *, inside: bool) -> Iterator[str]:
    if node.type == "call_expression":
        callee = node.child_by_field_name("function")
        assert callee is not None
        if inside and callee.type in {"member_expression", "subscript_expression"}:
            text = (callee.text or b"").decode()
            if not text.startswith("this.#"):  # private, so nobody else's
                yield text
    for child in node.children:
        yield from method_calls(child, inside=inside or node.type in _FUNCTIONS)


@pytest.mark.requirement("VM-006")
def test_the_prelude_looks_up_no_method_on_what_a_script_can_reach():
    found = {
        (path.name, call)
        for path in sorted(JS.glob("*.js"))
        if path.name not in BEFORE_ANY_SCRIPT
        for call in method_calls(_JAVASCRIPT.parse(path.read_bytes()).root_node, inside=False)
        if call not in ALLOWED_CALLS
    }
    assert found == set(), "capture the function in 1-primordials.js, as is said there"


# ── each step is checked ─────────────────────────────────────────────────────────────────────────────────────────

# Each row: what is taken away or changed in the prelude, and what the verification says of it.
SWITCHED_OFF = {
    row["step"]: (row["old"], row["new"], row["says"])
    for row in map(json.loads, (VECTORS / "switched_off.jsonl").read_text(encoding="utf-8").splitlines())
}
# What these changes need besides.
HELPERS = """
const maximum = Math.max;
const mapForEachItself = Map.prototype.forEach;
const objectNames = Object.getOwnPropertyNames;
"""


def changed(old: str, new: str) -> str:
    """The prelude with a change in one place, which may not be in the verification."""
    texts = [path.read_text(encoding="utf-8") for path in JS.glob("*.js") if path.name != "8-verify.js"]
    holders = [text for text in texts if old in text]
    assert [text.count(old) for text in holders] == [1], "the prelude has changed: adapt this change of it"
    assert PRELUDE.count(holders[0]) == 1
    prelude = PRELUDE.replace(holders[0], holders[0].replace(old, new))
    return prelude.replace("const isView =", HELPERS + "const isView =", 1)


@pytest.mark.requirement("VM-025")
@pytest.mark.parametrize("step", sorted(SWITCHED_OFF))
def test_a_step_that_is_switched_off_keeps_a_vm_from_starting(step, monkeypatch):
    old, new, words = SWITCHED_OFF[step]
    prelude = changed(old, new)
    with pytest.raises(RuntimeError, match="the VM's hardening did not take") as raised:
        starts(prelude, monkeypatch)
    assert words in str(raised.value)


def statements(node: tree_sitter.Node) -> Iterator[tree_sitter.Node]:
    if node.type in {"expression_statement", "for_in_statement", "if_statement"}:
        yield node
    for child in node.children:
        yield from statements(child)


# Statements whose absence another test notices: they say something clearer than the engine would (test_vm_globals.py),
# show scripts their own functions, or keep apart what threw within Reflect.set (above).
SEEN_ELSEWHERE = (
    "throw new NativeTypeError",
    "if (new.target === undefined) throw",
    "if (typeof this !== 'object' || this === null) throw",
    "if (typeof this !== 'function' || !(functionLine(this)",
    "underWay = before;",
)


@pytest.mark.requirement("VM-025")
@pytest.mark.slow
@pytest.mark.parametrize("name", ["7-harden.js", "7-intrinsics.js"])
def test_no_statement_of_the_hardening_can_go_unnoticed(name, vectors, monkeypatch):
    """Takes away each in turn: either the VM does not start, or the walk finds another realm than the pinned one."""
    text = (JS / name).read_bytes()
    pinned = (vectors / "intrinsics.txt").read_text(encoding="utf-8").splitlines()
    unnoticed = []
    count = 0
    for node in statements(_JAVASCRIPT.parse(text).root_node):
        if (node.text or b"").startswith((b"setAdd(seen", b"if (setHas(seen")):
            continue  # without it the search never ends
        without = (text[: node.start_byte] + b";" + text[node.end_byte :]).decode()
        count += 1
        try:
            vm = starts(PRELUDE.replace(text.decode(), without), monkeypatch)
        except (RuntimeError, _quickjs.JSException):
            continue
        if walk(vectors, vm) == {"lines": pinned, "open": []}:
            unnoticed.append((node.text or b"").decode().split("\n")[0])
    assert count > 15
    assert [line for line in unnoticed if not line.startswith(SEEN_ELSEWHERE)] == []


@pytest.mark.requirement("VM-025")
@pytest.mark.parametrize(
    ("isolation", "error"), [("process", "HarnessInternalError"), ("thread", "WorkerCrashedError")]
)
def test_a_harness_whose_vm_is_not_hardened_runs_nothing(isolation, error, tmp_path):
    shutil.copytree(Path(harness.__file__).parent, tmp_path / "harness", ignore=shutil.ignore_patterns("__pycache__"))
    harden = tmp_path / "harness/runtime/js/7-harden.js"
    text = harden.read_text(encoding="utf-8")
    broken = text.replace("global('DOMException', DOMExceptionHere);", "")
    assert broken != text
    harden.write_text(broken, encoding="utf-8")
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from harness import Harness\n"
        "with Harness(isolation=sys.argv[2]) as harness:\n"
        "    print(harness.run_sync('<tool-calls>return 1</tool-calls>').to_json())\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path), isolation]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    [execution] = json.loads(done.stdout)["executions"]
    assert (execution["value"], execution["error"]["type"]) == (None, error)
    assert "hardening did not take" in execution["error"]["message"]
    assert "DOMException can be reached" in execution["error"]["message"]


@pytest.mark.requirement("VM-025")
def test_what_a_fork_server_says_before_it_ends_is_heard():
    # With a request unread, the end of the other side is an error that comes before what it said.
    server = ForkServer(Limits(), {})
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        ours.setblocking(False)
        server._control = ours
        server.request(1)
        theirs.send(wire.FAILURE + b"the reason")
        theirs.close()
        server.refresh()
        assert server.failure == "the reason"
