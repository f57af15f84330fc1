"""What the design leans on in the engine, shown on the engine itself: no prelude, no harness.

When one of these fails after an upgrade, the engine has changed under the design. Read what leans on the fact (the test
says where), decide, and only then change the test.
"""

from __future__ import annotations

import importlib.metadata
import json
import signal
import subprocess
import sys
import time
from typing import Any

import _quickjs
import pytest

pytestmark = pytest.mark.requirement("VM-026")

PINNED = "0.17.0.2"
MIB = 1024 * 1024


def context(*, seconds: float = 0, memory: int = 0, stack: int = 2 * MIB) -> Any:
    made = _quickjs.Context()
    made.set_max_stack_size(stack)
    if memory:
        made.set_memory_limit(memory)
    if seconds:
        made.set_time_limit(seconds)
    return made


def drained(made: Any) -> Any:
    while made.execute_pending_job():
        pass
    return made


def test_this_is_the_engine_that_was_looked_at():
    assert importlib.metadata.version("quickjs-ng") == PINNED, (
        "another engine: run this file, tests/test_vm_hardening.py and `make test262`, review what differs, read its "
        "changes for memory-safety fixes, and then set PINNED"
    )


# ── the realm ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_its_global_names_are_the_pinned_ones(vectors):
    # js/7-harden.js keeps an explicit list of these and deletes all others.
    names = json.loads(context().eval("JSON.stringify(Reflect.ownKeys(globalThis).map(String).sort())"))
    assert names == json.loads((vectors / "globals.json").read_text())["engine"], "review what is new, then pin it"


def test_nothing_of_the_outside_is_in_it():
    names = "std os print console require process module exports setTimeout fetch WebAssembly Intl Temporal Worker gc navigator"
    assert context().eval(f"'{names}'.split(' ').filter((name) => name in globalThis).join()") == ""


def test_import_loads_nothing():
    # VM-002: there is no loader, so this one evaluator need not be taken away.
    made = context()
    made.eval("import('/etc/hostname').then(() => { globalThis.r = 'loaded' }, (e) => { globalThis.r = e.name }); 0")
    assert drained(made).eval("r") == "ReferenceError"


def test_prepare_stack_trace_would_hand_out_functions():
    # js/7-harden.js locks it.
    assert context().eval(
        "Error.prepareStackTrace = (error, sites) => sites; function secret() { return new Error().stack }\n"
        "secret()[0].getFunction() === secret"
    )


def test_the_stack_of_an_error_is_in_a_slot_that_scripts_cannot_write():
    # js/1-primordials.js reads it with the accessor of Error.prototype.
    assert context().eval(
        "const e = new Error('x'); const { get } = Object.getOwnPropertyDescriptor(Error.prototype, 'stack');\n"
        "const before = get.call(e); e.stack = 'forged'; before !== '' && get.call(e) === before && e.stack === 'forged'"
    )


def test_the_engine_notes_an_assignment_to_the_stack_limit():
    frames = "(function f(n) { return n ? f(n - 1) : new Error().stack.split('\\n').length - 1 })(40)"
    assert context().eval(f"Error.stackTraceLimit = 3; {frames}") == 3
    defined = "Object.defineProperty(Error, 'stackTraceLimit', { value: 3, writable: false, configurable: false })"
    # Which is why 7-harden.js assigns before it locks.
    assert context().eval(f"{defined}; {frames}") == 10


def test_a_frozen_prototype_forbids_assignments_to_what_inherits_from_it():
    # js/7-intrinsics.js: the override mistake.
    made = context()
    made.eval("Object.freeze(Error.prototype); Object.freeze(Object.prototype)")
    for code in ["new Error('a').message = 'b'", "({}).toString = 1"]:
        assert made.eval(f"'use strict'; try {{ {code}; 'taken' }} catch (e) {{ e.name }}") == (
            "taken" if "message" in code else "TypeError"
        )
    assert made.eval("'use strict'; try { new Error().name = 'b'; 'taken' } catch (e) { e.name }") == "TypeError"


def test_await_looks_up_then_of_a_subclass_only():
    # js/3-promises.js: how a call that was awaited is told from one that was not.
    made = context()
    made.eval(
        "let n = 0; Promise.prototype.then = new Proxy(Promise.prototype.then, { apply(t, self, list) { n++; "
        "return Reflect.apply(t, self, list) } });\nclass P extends Promise {}\n"
        "Object.defineProperty(P.prototype, 'constructor', { value: { __proto__: null, [Symbol.species]: P } });\n"
        "(async () => { await Promise.resolve(); globalThis.native = n; await P.resolve(); globalThis.ours = n })(); 0"
    )
    assert (drained(made).eval("native"), made.eval("ours")) == (0, 1)


def test_a_text_can_close_the_function_around_it():
    # VM-018: why a script is compiled as two kinds of function.
    made = context()
    made.eval("(function () {\n}), globalThis.hit = 1, (function () {\n})")
    assert made.eval("hit") == 1


def test_positions_are_lines_and_columns_of_utf8():
    for text, position in {"\n 'a'; nope()": "2:7", "\n 'ä'; nope()": "2:8"}.items():
        with pytest.raises(_quickjs.JSException, match=rf"<input>:{position}\)"):
            context().eval(text)


# ── values through the binding ───────────────────────────────────────────────────────────────────────────────────


def test_only_json_text_crosses_the_binding_whole():
    # Why everything is one string made by a captured JSON.stringify.
    assert context().eval("'a\\0b'") == "a"
    with pytest.raises(UnicodeDecodeError):
        context().eval("'\\ud800'")
    with pytest.raises(TypeError, match="Unknown quickjs tag"):
        context().eval("10n")
    with pytest.raises(TypeError, match="Unknown quickjs tag"):  # a rope: why texts end in Array.prototype.join
        context().eval("'a'.repeat(9000) + 'b'.repeat(9000)")
    assert context().eval("['a'.repeat(9000), 'b'.repeat(9000)].join('')") == "a" * 9000 + "b" * 9000
    assert context().eval("JSON.stringify(['a\\0b', '\\ud800'])") == '["a\\u0000b","\\ud800"]'


def test_an_ending_cannot_be_told_from_its_text():
    # Why the worker asks its clock and the heap.
    with pytest.raises(_quickjs.StackOverflow):
        context().eval("throw 'stack overflow'")
    with pytest.raises(_quickjs.JSException, match="InternalError: interrupted"):
        context().eval("throw new InternalError('interrupted')")


def test_python_cannot_be_called_under_a_time_limit():
    made = context(seconds=1)
    made.add_callable("f", lambda: 1)
    with pytest.raises(_quickjs.JSException, match="time limit"):
        made.eval("f()")


# ── time ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_time_limit_starts_again_at_every_entry():
    # Why the worker keeps its own account.
    limit = 0.1
    made = context(seconds=limit)
    began = time.process_time()
    while time.process_time() - began < 2 * limit:
        made.eval("for (let i = 0; i < 10_000; i++); 0")
    made.eval("let jobs = 0; (function f() { jobs++; for (let i = 0; i < 10_000; i++); Promise.resolve().then(f) })()")
    began = time.process_time()
    while time.process_time() - began < 2 * limit:
        assert made.execute_pending_job()


def test_plain_code_cannot_catch_the_interrupt():
    made = context(seconds=0.01)
    with pytest.raises(_quickjs.JSException, match="InternalError: interrupted"):
        made.eval("try { for (;;); } catch { globalThis.caught = 1 } finally { globalThis.ran = 1 }")
    made.set_time_limit(10)
    assert made.eval("typeof caught + typeof ran") == "undefinedundefined"


@pytest.mark.parametrize(
    "code",
    [
        "new Promise(() => { for (;;); })",
        "Promise.try(() => { for (;;); })",
        "Promise.all({ [Symbol.iterator]() { for (;;); } })",
    ],
)
def test_promises_can_catch_the_interrupt(code):
    # Why the kernel's timer and the host's clock stand behind the engine's limit.
    made = context(seconds=0.01)
    made.eval(f"{code}.catch((e) => {{ globalThis.why = String(e) }}); 0")
    assert drained(made).eval("why") == "InternalError: interrupted"


def test_a_module_hides_the_interrupt():
    # Why no module is ever evaluated.
    assert isinstance(context(seconds=0.01).module("while (1);"), _quickjs.Object)


@pytest.mark.parametrize(
    "code",
    [
        "for (;;);",
        "/(a+)+$/.test('a'.repeat(40) + 'b')",
        "[].indexOf.call({ length: 2 ** 53 - 1 }, 1)",
        "JSON.parse('[' + '1,'.repeat(1000) + '1]', () => { for (;;); })",
        "[2, 1].sort(() => { for (;;); })",
    ],
)
def test_these_loops_are_interrupted(code):
    with pytest.raises(_quickjs.JSException, match="interrupted"):
        context(seconds=0.02).eval(code)


NOT_INTERRUPTED = [
    "Array(4294967295).join('')",
    "[].reverse.call({ length: 2 ** 53 - 1 })",
    "[].copyWithin.call({ length: 2 ** 53 - 1 }, 0, 1)",
    "[].unshift.call({ length: 2 ** 53 - 2 }, 1)",
]


@pytest.mark.slow
@pytest.mark.parametrize("code", NOT_INTERRUPTED)
def test_these_are_not_interrupted_but_the_kernels_timer_ends_them(code):
    program = (
        "import _quickjs, signal, sys\n"
        "c = _quickjs.Context(); c.set_time_limit(0.05)\n"
        "signal.setitimer(signal.ITIMER_PROF, 0.3)\n"
        "try: c.eval(sys.argv[1])\n"
        "except _quickjs.JSException as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program, code], capture_output=True, text=True, timeout=50, check=False
    )
    assert (done.returncode, done.stdout) == (-signal.SIGPROF, "")


# ── memory and stack ─────────────────────────────────────────────────────────────────────────────────────────────


def test_memory_is_limited_and_running_out_is_an_exception():
    for code in ["Array(1e9).fill(0)", "'x'.repeat(2 ** 29)", "new Uint8Array(2 ** 30)"]:
        with pytest.raises(_quickjs.JSException, match="out of memory"):
            context(memory=32 * MIB).eval(code)


def test_running_out_bit_by_bit_throws_null():
    # Why the worker looks at the heap when null is thrown.
    made = context(memory=16 * MIB)
    with pytest.raises(_quickjs.JSException, match=r"^null"):
        made.eval("let o = 0; for (;;) o = [o]")


def test_the_memory_limit_can_be_lowered_after_compiling():
    # Running out while compiling is what the engine survives worst, so the worker limits afterwards.
    made = context()
    script = made.eval("(n) => Array(n).fill(0).length")
    made.set_memory_limit(made.memory()["malloc_size"] + 4 * MIB)
    assert script(1000) == 1000
    with pytest.raises(_quickjs.JSException, match="out of memory"):
        script(10_000_000)


@pytest.mark.parametrize("stack", [256 * 1024, 4 * MIB])
@pytest.mark.parametrize(
    "code",
    [
        "(function f() { f() })()",
        "JSON.parse('['.repeat(1e6))",
        "eval('['.repeat(1e6))",
        "new RegExp('(?:'.repeat(1e6))",
        "JSON.stringify((() => { let o = 0; for (let i = 0; i < 1e5; i++) o = [o]; return o })())",
    ],
)
def test_depth_ends_in_an_exception(stack, code):
    with pytest.raises(_quickjs.JSException):
        context(stack=stack, seconds=5).eval(code)


def test_the_binding_alone_starts_no_thread():
    # A filter for system calls then covers the whole worker. The package around it starts one.
    program = "import os, _quickjs; _quickjs.Context().eval('1'); print(len(os.listdir('/proc/self/task')))"
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, timeout=50, check=True)
    assert done.stdout == "1\n"
