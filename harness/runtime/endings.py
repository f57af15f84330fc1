"""What an ending means: from what the VM, the worker and the operating system say, to one error.

Which class it is follows from the host's own state (which limit was reached, what was killed, which call failed), never
from a message, since a script can throw any text.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping

from pydantic import JsonValue

from harness.errors import (
    ConcurrencyLimitError,
    ErrorCategory,
    ErrorInfo,
    HarnessError,
    HarnessInternalError,
    ReturnValueTooLargeError,
    ScriptDeadlockError,
    ScriptMemoryError,
    ScriptRuntimeError,
    ScriptStackError,
    ScriptSyntaxError,
    ScriptTimeoutError,
    SerializationError,
    ToolCancelledError,
    WorkerCrashedError,
)
from harness.limits import Limits
from harness.runtime.adapter import Death, WorkerGoneError
from harness.runtime.sources import SourceMap
from harness.runtime.turns import Evidence, Note, Thrown
from harness.syntax.absent import ABSENT_GLOBALS

__all__ = [
    "deadlock",
    "death",
    "note_error",
    "syntax_error",
    "thrown_error",
    "too_large",
    "wall_timeout",
]

_MOST_FRAMES = 16
"""Frames of a stack that the VM keeps."""
_FRAME = re.compile(r"^    at (.*) \(<script>:(\d{1,9}):(\d{1,9})\)$", re.ASCII)
_NOT_DEFINED = re.compile(r"^'?([A-Za-z_$][\w$]*)'? is not defined$")

_ENGINE_CLASSES = {
    "Error",
    "EvalError",
    "RangeError",
    "ReferenceError",
    "SyntaxError",
    "TypeError",
    "URIError",
    "AggregateError",
    "SuppressedError",
    "DOMException",
}
# What the prelude itself refuses, without asking the host.
_REFUSALS: dict[str, type[HarnessError]] = {
    "ConcurrencyLimitError": ConcurrencyLimitError,
    "SerializationError": SerializationError,
    "ToolCancelledError": ToolCancelledError,
}


def thrown_error(
    thrown: Thrown, evidence: Evidence, source: SourceMap, limits: Limits, calls: Mapping[int, ErrorInfo]
) -> ErrorInfo:
    """What a script threw and did not catch. ``calls`` holds the errors of the calls that failed, by id."""
    stack, line, column = _stack(thrown.stack, source)
    position = {"line": line, "column": column, "stack": stack or None}
    limit = _limit_error(thrown, evidence, limits)
    if limit is not None:
        return limit.info().model_copy(update=position)
    if thrown.call is not None and thrown.call in calls:
        # The host knows itself why this call failed.
        return calls[thrown.call].model_copy(update={**position, "line": line or calls[thrown.call].line})
    if thrown.refused in _REFUSALS:
        return _REFUSALS[thrown.refused](thrown.message).info().model_copy(update=position)
    kind = thrown.class_ if thrown.class_ in _ENGINE_CLASSES else "Error"
    named = thrown.name not in ("", kind)
    message = f"{thrown.name}: {thrown.message}" if named else thrown.message
    details: dict[str, JsonValue] = {"name": thrown.name[:200]} if named else {}
    if thrown.causes:
        details["causes"] = [*thrown.causes]
    if thrown.errors:
        details["errors"] = [*thrown.errors]
        message = message or "; ".join(thrown.errors)
    return ErrorInfo(
        type=kind,
        category=ErrorCategory.PERMANENT,
        retryable=False,
        message=_with_advice(kind, message) or kind,
        line=line,
        column=column,
        stack=stack or None,
        details=details,
    )


def _limit_error(thrown: Thrown, evidence: Evidence, limits: Limits) -> HarnessError | None:
    """The error for what is no ordinary exception of a script; None for one that is."""
    if thrown.kind == "memory" or (thrown.claims == "memory" and evidence.full):
        return _memory(limits)
    if thrown.claims == "stack" and (_has_many_frames(thrown) if evidence.deep is None else evidence.deep):
        return _stack_overflow(limits)
    match thrown.kind:
        case "lost":
            return SerializationError(
                f"The script's result has no JSON form: at {thrown.path} is {thrown.what}.",
                details={"path": thrown.path, "found": thrown.what},
            )
        case "large":
            return too_large(limits)
        case "thrown":
            return ScriptRuntimeError(
                f"The script threw {thrown.text}. Throw an Error instead, so that its place is known.",
                details={"thrown": thrown.what},
            )
    return None


def _with_advice(kind: str, message: str) -> str:
    absent = _NOT_DEFINED.match(message) if kind == "ReferenceError" else None
    if absent is None or absent[1] not in ABSENT_GLOBALS:
        return message
    return f"{message}: {ABSENT_GLOBALS[absent[1]]}"


def _stack(text: str, source: SourceMap) -> tuple[str, int | None, int | None]:
    """Frames with columns in characters, and the position of the innermost one."""
    frames = []
    line = column = None
    for raw in text.splitlines()[:20]:
        frame = _FRAME.match(raw)
        if frame is None:
            continue
        name = "".join(char if char.isprintable() else "\ufffd" for char in frame[1][:120])
        at_line, at_column = int(frame[2]), source.character_column(int(frame[2]), int(frame[3]))
        if line is None:
            line, column = at_line, at_column
        frames.append(f"    at {name} (<script>:{at_line}:{at_column})")
    return "\n".join(frames), line, column


def syntax_error(message: str, line: int | None, byte_column: int | None, source: SourceMap) -> ScriptSyntaxError:
    """The engine's refusal to compile."""
    column = None
    if line is not None:
        behind_end = source.ends_before(line)
        line, column = source.within(line, byte_column or 1)
        if behind_end and "'}'" in message:
            # The bracket is the one behind the script, not the script's.
            message = "it ends too early, in the middle of something"
    text = message.removeprefix("SyntaxError: ")
    details = {} if line is None else source.excerpt(line, column or 1)
    return ScriptSyntaxError(f"The script does not compile: {text}.", line=line, column=column, details=details)


def too_large(limits: Limits) -> ReturnValueTooLargeError:
    """The result is larger than it may be."""
    return ReturnValueTooLargeError(
        f"The script's result is larger than {limits.result_bytes:,} bytes of JSON (result_bytes). Return less: a "
        "summary, a slice, only the fields that are needed.",
        details={"limit": limits.result_bytes},
    )


def _has_many_frames(thrown: Thrown) -> bool:
    return thrown.stack.count("\n") >= _MOST_FRAMES


def _stack_overflow(limits: Limits) -> ScriptStackError:
    return ScriptStackError(
        f"The script recursed deeper than its stack of {limits.stack_bytes:,} bytes allows (stack_bytes). Use a loop, "
        "or a smaller input.",
        details={"limit": limits.stack_bytes},
    )


def _memory(limits: Limits) -> ScriptMemoryError:
    return ScriptMemoryError(
        f"The script used up its memory of {limits.memory_bytes:,} bytes (memory_bytes), or made a string longer than "
        "the engine can hold. Process less at a time.",
        details={"limit": limits.memory_bytes},
    )


def _cpu(limits: Limits) -> ScriptTimeoutError:
    return ScriptTimeoutError(
        f"The script used up its CPU time of {limits.cpu_time:g} s (cpu_time). Look for a loop that does not end, or "
        "do less.",
        details={"clock": "cpu", "limit": limits.cpu_time},
    )


def wall_timeout(limits: Limits) -> ScriptTimeoutError:
    """The execution took too long."""
    return ScriptTimeoutError(
        f"The execution took longer than {limits.wall_time:g} s (wall_time), waiting for tools included.",
        details={"clock": "wall", "limit": limits.wall_time},
    )


def deadlock(evidence: Evidence) -> ScriptDeadlockError:
    """Nothing can wake the script any more."""
    # Inside a promise the engine swallows that memory ran out; nothing tells it from what a script caught itself.
    short = " The script had used most of its memory (memory_bytes): for want of it, too, a promise may never settle."
    return ScriptDeadlockError(
        "The script waits for a promise that can never settle: no tool call and no timer is left. Look for a promise "
        f"whose resolve is never called, or a returned object with a `then` method.{short if evidence.full else ''}"
    )


def note_error(note: Note, limits: Limits, source: SourceMap) -> HarnessError | None:
    """What the worker around the VM says went wrong; None if nothing did."""
    if note.state == "started":
        return None
    if note.state == "syntax":
        return syntax_error(note.message, note.line, note.column, source)
    if note.state == "cpu":
        return _cpu(limits)
    if note.state == "memory":
        return _memory(limits)
    if note.state == "overflow":
        return HarnessInternalError(
            f"A frame of {note.bytes:,} bytes would be larger than frame_bytes allows ({limits.frame_bytes:,})."
        )
    return WorkerCrashedError(f"The engine stopped without a reason it could name ({note.text[:200]!r}).")


def death(gone: WorkerGoneError, how: Death, limits: Limits) -> HarnessError:
    """The worker ended, or had to be ended, before the script did."""
    if gone.violation:
        return WorkerCrashedError(
            f"The worker broke the protocol and was ended: {gone}. This is what an attack on the engine looks like.",
            retryable=False,
            details={"violation": True},
        )
    if how.overrun == "memory":
        return _memory(limits)
    if how.status in (-signal.SIGPROF, -signal.SIGXCPU):
        return _cpu(limits)
    return WorkerCrashedError(
        f"The process that ran the script {how.describe()} ({gone}).",
        details={"exit_status": how.status},
    )
