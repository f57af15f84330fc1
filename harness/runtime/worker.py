"""The child's end of the bridge: one VM, one loop. The only module that imports the engine.

It runs in a process of its own (or, for ``isolation="thread"``, in a thread), imports nothing but the standard
library, the engine and what it needs of this folder, and never lets a JavaScript value reach the binding's own
conversions: what crosses is one string made in the VM by a captured ``JSON.stringify``.
"""

from __future__ import annotations

import json
import re
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import _quickjs

from harness.runtime import wire
from harness.runtime.gauge import StackGauge
from harness.runtime.weight import MOST_FOR_TABLES, too_heavy

__all__ = ["PRELUDE_LINE", "VM", "Channel", "Rehearsal", "serve"]

PRELUDE_LINE = 1_200_000
"""Lines above the prelude, so that every position below this one is the script's. ``js/3-promises.js`` has it too."""

# The script becomes the body of an async arrow function. Before that it is compiled as the body of a method, behind a
# statement that throws: no text closes both kinds of body, so none can escape from the one that is called.
_PROBE = '"use strict";throw 0;(class{async m(){\n', "\n}})"
_BODY = '(async()=>{"use strict";\n', "\n})"

_TOO_HEAVY = (
    f"the classes of its regular expressions may take more than {MOST_FOR_TABLES // 1024**2} MiB, since those such as "
    "\\p{RGI_Emoji} are large; write each class once and use it again, or build the expression with new RegExp"
)
_JOBS_PER_CHECK = 32
# The kernel's timer is the second line: it comes a little after the engine's own limit, which ends more cleanly.
_KERNEL_CPU_SLACK = 0.05

_NO_LIMIT = 0
_WAITS = '{"ending":{"state":"wait"}'
_THREW = "!"
"""What the prelude answers in place of an exception. ``js/9-bridge.js`` has it too."""
_WENT_WELL = b'"ending":{"state":"ok"'
_OVERFLOW = "(function deeper(){deeper()})()"


class Channel(Protocol):
    """A blocking byte stream with the host at its other end."""

    def recv_into(self, buffer: memoryview, /) -> int: ...
    def sendall(self, data: bytes, /) -> None: ...


class Rehearsal:
    """A channel with nobody at its other end: its frames are known beforehand, and nobody reads the answers.

    ``bodies`` are those of a START frame and of the DELIVER frames behind it. What comes out the same for every worker
    need not be done in each, so a worker is led through it once, before it is forked.

    Raises ``RuntimeError`` if the script does not end as it should.
    """

    def __init__(self, bodies: list[str]) -> None:
        kinds = [wire.START, *[wire.DELIVER] * (len(bodies) - 1)]
        frames = (wire.pack_frame(kind, body.encode()) for kind, body in zip(kinds, bodies, strict=True))
        self._input = memoryview(b"".join(frames))
        self._answer = b""

    def recv_into(self, buffer: memoryview, /) -> int:
        """Take the next bytes. At the end of them, check how it went."""
        data = self._input[: len(buffer)]
        if not data and _WENT_WELL not in self._answer:
            raise RuntimeError(f"the rehearsal ended with {self._answer[:500].decode(errors='replace')}")
        buffer[: len(data)] = data
        self._input = self._input[len(data) :]
        return len(data)

    def sendall(self, data: bytes, /) -> None:
        """Keep the last answer."""
        self._answer = data


class _PreludeThrew(Exception):  # noqa: N818 - an ending, not an error
    """The engine gave up inside the prelude. What it threw stays there."""


class _OutOfTime(Exception):  # noqa: N818 - an ending, not an error
    """The script's CPU time is used up."""


# While the kernel's timer runs, the clock of a process moves in ticks of some milliseconds; that of a thread does not.
_cpu_clock = time.thread_time


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _prelude() -> str:
    folder = Path(__file__).with_name("js")
    parts = [path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.js"))]
    return '(()=>{"use strict";' + "\n" * PRELUDE_LINE + "\n".join(parts) + "\n})()"


class VM:
    """A hardened VM that can run scripts one after another.

    Raises ``RuntimeError`` if the hardening did not take.
    """

    def __init__(self, *, stack_bytes: int) -> None:
        self._context = _quickjs.Context()
        self._context.set_max_stack_size(stack_bytes)
        self._call: Callable[..., str] = self._context.eval(_prelude())
        problems = json.loads(self._call("problems", "", None))
        if problems:
            raise RuntimeError("the VM's hardening did not take: " + "; ".join(problems[:10]))
        self._gauge = self._stack_gauge(stack_bytes)
        self._began = 0.0
        self._cpu_limit = 0.0
        self._engine_deadline = 0.0
        self._frame_bytes = 0
        self._memory_limit = 0
        self._peak_before = 0

    def _stack_gauge(self, stack_bytes: int) -> StackGauge | None:
        """None where this thread's stack cannot be looked at."""
        try:
            self._context.eval(_OVERFLOW)
        except _quickjs.JSException:
            pass
        else:
            raise RuntimeError("the engine has no limit on its stack")
        try:
            gauge = StackGauge(stack_bytes=stack_bytes)
            seen = gauge.deep
            gauge.reset()
        except OSError:
            return None
        return gauge if seen and not gauge.deep else None

    def settle_in(self) -> None:
        """Be told that this is the process to serve in: what was used before, by the one it was forked from, is past."""
        self._peak_before = _peak_bytes()

    def check(self, frame: dict[str, Any]) -> dict[str, Any] | None:
        """Compile a script and run nothing. None if it compiles, else the engine's message and position."""
        # As in `start`: whoever served before may have left a limit behind.
        self._context.set_memory_limit(_NO_LIMIT)
        return self._compiled(frame)[2]

    def _compiled(self, frame: dict[str, Any]) -> tuple[Any, bool, dict[str, Any] | None]:
        """The script as a function, whether it is ``code``, and what the engine objects to if it is neither.

        ``code`` is ``source`` with its last expression returned. That it is one rests on another grammar than the
        engine's, so ``source`` itself decides where the two disagree.
        """
        # Nothing else bounds what the next lines take.
        place = too_heavy(frame["source"])
        if place is not None:
            return None, False, {"message": _TOO_HEAVY, "line": place[0], "column": place[1]}
        problem = None
        for name in ("code", "source"):
            text = frame[name]
            try:
                self._probe(text)
                script = self._context.eval(_BODY[0] + text + _BODY[1])
            except _quickjs.JSException as error:
                problem = _syntax_error(str(error))
            else:
                return script, text != frame["source"], None
        return None, False, problem

    def _probe(self, text: str) -> None:
        """Raises what the engine raises if ``text`` is no function's body."""
        try:
            self._context.eval(_PROBE[0] + text + _PROBE[1])
        except _quickjs.JSException as error:
            if str(error).startswith("0\n"):
                return
            raise
        raise RuntimeError("a probe ran to its end")

    def start(self, frame: dict[str, Any]) -> bytes:
        """Compile and start a script; run it until it waits. Returns the body of a TURN frame."""
        self._frame_bytes = frame["job"]["limits"]["frame_bytes"]
        self._began = _cpu_clock()
        self._cpu_limit = frame["cpu_time"]
        self._context.set_time_limit(self._cpu_limit)
        # Running out of memory while compiling is what the engine survives worst, so the limit comes afterwards.
        self._context.set_memory_limit(_NO_LIMIT)
        script, rewritten, problem = self._compiled(frame)
        if problem is not None:
            return self._answer({"state": "syntax", **problem}, None)
        job = frame["job"] if rewritten else {**frame["job"], "shift": None}
        self._memory_limit = frame["memory_bytes"]
        self._context.set_memory_limit(self._memory_limit)
        if self._gauge is not None:
            self._gauge.reset()
        return self._turn("start", json.dumps(job), script, {"state": "started", "rewritten": rewritten})

    def deliver(self, body: str) -> bytes:
        """Hand results and timers to the script; run it until it waits. Returns the body of a TURN frame."""
        return self._turn("deliver", body, None, None)

    def _turn(self, operation: str, text: str, script: Any, note: dict[str, Any] | None) -> bytes:
        try:
            self._enter()
            self._operate(operation, text, script)
            self._drain()
            self._enter()
            collected = self._operate("collect", "", None)
        except _OutOfTime:
            return self._answer({"state": "cpu"}, None)
        except (_quickjs.JSException, _PreludeThrew) as error:
            # Why the engine stopped is judged by clock and heap, never by what the message says.
            if self._cpu_left() <= 0.001 or time.process_time() >= self._engine_deadline:
                return self._answer({"state": "cpu"}, None)
            memory = self._context.memory()
            if memory["malloc_size"] > 0.75 * memory["malloc_limit"]:
                return self._answer({"state": "memory"}, None)
            return self._answer({"state": "engine", "text": str(error)[:500]}, None)
        answer = self._answer(note, collected)
        if len(answer) > self._frame_bytes:
            return self._answer({"state": "overflow", "bytes": len(answer)}, None)
        return answer

    def _operate(self, operation: str, text: str, script: Any) -> str:
        said = self._call(operation, text, script)
        if said == _THREW:
            raise _PreludeThrew(f"{operation} threw")
        return said

    def _memory_ran_out(self) -> bool:
        """Whether the process ever held most of what the script may use."""
        grown = _peak_bytes() - self._peak_before
        return grown > 0.5 * self._memory_limit

    def _cpu_left(self) -> float:
        return self._began + self._cpu_limit - _cpu_clock()

    def _enter(self) -> None:
        left = self._cpu_left()
        if left <= 0:
            raise _OutOfTime
        self._context.set_time_limit(left)
        # The engine counts all threads of its process.
        self._engine_deadline = time.process_time() + left - 0.001

    def _drain(self) -> None:
        run_job = self._context.execute_pending_job
        while True:
            # The engine's limit restarts at every job, so a chain of short jobs would never reach it.
            self._enter()
            for _ in range(_JOBS_PER_CHECK):
                if not run_job():
                    return

    def _answer(self, note: dict[str, Any] | None, collected: str | None) -> bytes:
        cpu = round(_cpu_clock() - self._began, 6)
        waits = collected is not None and collected.startswith(_WAITS)
        # Measuring the heap walks all of it: once, at the end.
        heap = "null" if waits else self._context.memory()["malloc_size"]
        evidence = "null" if waits else json.dumps(self._evidence())
        worker = "null" if note is None else json.dumps(note)
        turn = collected or "null"
        return f'{{"cpu":{cpu},"heap":{heap},"evidence":{evidence},"worker":{worker},"turn":{turn}}}'.encode()

    def _evidence(self) -> dict[str, bool | None]:
        """What the process itself shows of how the script has fared. A script can say anything."""
        return {"deep": None if self._gauge is None else self._gauge.deep, "full": self._memory_ran_out()}


_POSITION = re.compile(r"<script>:(\d+):(\d+)")


def _syntax_error(text: str) -> dict[str, Any]:
    """The engine's message with its position: lines of the script from 1, columns in UTF-8 bytes from 1."""
    message, _, stack = text.partition("\n")
    at = _POSITION.search(stack)
    line, column = (int(at[1]), int(at[2])) if at else (None, None)
    return {"message": message, "line": line, "column": column}


def _read(channel: Channel, count: int) -> bytes | None:
    """Exactly ``count`` bytes, or None at the end of the stream."""
    buffer = bytearray(count)
    view = memoryview(buffer)
    done = 0
    while done < count:
        got = channel.recv_into(view[done:])
        if got == 0:
            return None
        done += got
    return bytes(buffer)


def serve(
    channel: Channel,
    vm: VM,
    *,
    protections: dict[str, str],
    cpu_timer: bool,
    frame_limit: int = 1 << 30,
) -> None:
    """Answer frames until the host closes its end.

    ``protections`` is told to the host as it is. With ``cpu_timer`` the kernel ends this process a little after the
    script's CPU time is used up, native loops included.
    """
    vm.settle_in()
    channel.sendall(wire.pack_frame(wire.READY, json.dumps({"protections": protections}).encode()))
    while True:
        header = _read(channel, wire.HEADER.size)
        if header is None:
            return
        kind, length = wire.unpack_header(header, limit=frame_limit)
        body = _read(channel, length)
        if body is None:
            return
        if kind == wire.DELIVER:
            answer = wire.pack_frame(wire.TURN, vm.deliver(body.decode()))
        elif kind == wire.START:
            frame = json.loads(body)
            if cpu_timer:
                signal.setitimer(signal.ITIMER_PROF, frame["cpu_time"] + _KERNEL_CPU_SLACK)
            answer = wire.pack_frame(wire.TURN, vm.start(frame))
        elif kind == wire.CHECK:
            problem = vm.check(json.loads(body))
            answer = wire.pack_frame(wire.VERDICT, json.dumps({"problem": problem}).encode())
        else:
            raise wire.FrameError(f"a frame of kind {kind} is not for a worker")
        channel.sendall(answer)
