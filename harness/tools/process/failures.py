"""How a command failed, as the errors that scripts, models and hosts get: what happened, the command, its output."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import JsonValue
from pydantic_core import to_json

from harness.errors import ToolError, ToolExecutionError, ToolTimeoutError, ToolValidationError
from harness.redaction import Redactor, current_redactor, scrub_text, shorten
from harness.tools.names import expression
from harness.tools.process.artifacts import Problem
from harness.tools.process.host import Running
from harness.tools.process.secrets import masked_arguments, redactor_of
from harness.tools.process.settings import ProcessLimits

__all__ = ["STDERR_SHOWN", "STDOUT_SHOWN", "Failures", "shown_value"]

STDOUT_SHOWN = 500
"""Characters of standard output that an error holds."""
STDERR_SHOWN = 1_000
"""Characters of standard error that an error holds."""
VALUE_SHOWN = 10_000
"""Characters of JSON up to which an error holds a received value whole."""
_LISTED = 100
_COMMAND_SHOWN = 300
_UNLIMITED = 1 << 40


class Failures:
    """Makes the errors of one tool. ``argv`` is its command as the host wrote it.

    What goes into an error reaches scripts and models: of absolute paths in the command only the last part is kept, and
    of the outputs paths of the host and credentials are removed. So are, from both, what the command was given as the
    value of an option (``--token x``) or, in ``env``, of a variable whose name says that it is a credential.
    """

    def __init__(self, name: str, argv: Sequence[str], env: Mapping[str, str | None]) -> None:
        self.name = expression(name)
        self._argv = tuple(argv)
        self._env = env

    @property
    def _own(self) -> Redactor:
        return redactor_of(self._argv, self._env)

    @property
    def command(self) -> list[str]:
        """The command as it may be shown."""
        # The harness that runs it knows secrets that its maker does not.
        secrets = current_redactor().secrets
        own = self._own
        return [
            scrub_text(Path(secrets(part)).name if part.startswith("/") else part, own)
            for part in masked_arguments(self._argv)
        ]

    @property
    def _shown(self) -> str:
        return shorten(" ".join(" ".join(self.command).split()), _COMMAND_SHOWN)

    def unusable(self, problem: str) -> ToolExecutionError:
        """The command cannot be run at all; nothing was started."""
        problem = problem.removesuffix(".")
        return ToolExecutionError(
            f"{self.name} cannot be run: the command `{self._shown}`: {problem}.",
            details={"command": self.command, "reason": "command"},
        )

    def invalid_output(self, run: Running, problem: str) -> ToolValidationError:
        """Standard output is not what it must be. ``problem`` completes "its standard output …"."""
        details = self._details(run, "output")
        problem = problem.removesuffix(".")
        return ToolValidationError(
            f"{self.name}: its standard output {problem}. It must be exactly one JSON document. Command: `{self._shown}`. "
            f"{_quoted('Standard output', details['stdout'], details['stdout_length'])}",
            details=details,
        )

    def wrong_shape(self, error: ToolValidationError, received: JsonValue) -> ToolValidationError:
        """Adds what was received, and the command, to an error about the shape of a result."""
        error.details |= {"command": self.command, "reason": "shape", "received": shown_value(received)}
        return error

    def artifacts(self, problems: Sequence[Problem], result: JsonValue) -> ToolValidationError:
        """The result names files that are not there, or not what they must be."""
        listed = [{"path": item.path, "artifact": item.claimed, "problem": item.problem} for item in problems[:_LISTED]]
        text = "; ".join(
            f"{item.path}" + ("" if item.claimed is None else f" ({shorten(item.claimed, 200)!r})") + f" {item.problem}"
            for item in problems[:10]
        )
        more = f"; and {len(problems) - 10} more" if len(problems) > 10 else ""
        return ToolValidationError(
            f"{self.name} did not make all that its result names, so nothing of it counts: {text}{more}. Command: "
            f"`{self._shown}`.",
            details={
                "command": self.command,
                "reason": "artifacts",
                "problems": listed,
                "problem_count": len(problems),
                "missing": [item.claimed for item in problems[:_LISTED] if item.claimed is not None],
                "result": shown_value(result),
            },
        )

    def not_deterministic(self, path: str, first: JsonValue, second: JsonValue, *, seeded: bool) -> ToolValidationError:
        """Two runs with the same input differ."""
        advice = (
            "It must make everything random from the seed it is given."
            if seeded
            else "Give it a seed (seed_field=…) and make everything random from that."
        )
        return ToolValidationError(
            f"{self.name} gave two different results for the same input: at {path}, first {_brief(first)}, then "
            f"{_brief(second)}. {advice} Command: `{self._shown}`.",
            details={
                "command": self.command,
                "reason": "determinism",
                "path": path,
                "first": shown_value(first),
                "second": shown_value(second),
            },
        )

    def overran(self, seconds: float, run: Running | None) -> ToolTimeoutError:
        """The command did not end within its time, and was ended with all that it had started."""
        details = {"limit": seconds, "command": self.command} if run is None else self._details(run, "timeout")
        return ToolTimeoutError(
            f"{self.name} did not end within {seconds:g} seconds. Its command `{self._shown}` {_fate(run)}.",
            details={**details, "limit": seconds},
        )

    def of_run(self, run: Running, limits: ProcessLimits, *, leftovers: bool) -> ToolError | None:
        """What went wrong in a run, if anything did. ``leftovers``: whether processes left behind are a failure."""
        if run.failure is not None:
            return self._not_started(run, run.failure)
        if run.overflow is not None:
            return self._overflow(run, run.overflow)
        return self._supervision(run, limits, leftovers=leftovers) or self._status(run, limits)

    def _status(self, run: Running, limits: ProcessLimits) -> ToolError | None:
        status = run.status
        if status is None:
            return self._failed(run, "it is not known how it ended", "supervisor", {}, retryable=True)
        if status < 0:
            name = _signal_name(-status)
            return self._failed(run, f"was ended by {name}{_advice(-status, limits)}", "signal", {"signal": name})
        if status > 0:
            return self._failed(run, f"ended with exit code {status}", "exit", {"exit_code": status})
        if run.held:
            what = (
                "ended, but a process outside the call holds its standard output open, so it is not known to be whole"
            )
            return self._failed(run, what, "leftovers", {})
        return None

    def _supervision(self, run: Running, limits: ProcessLimits, *, leftovers: bool) -> ToolError | None:
        if run.immortal is not None:
            what = f"left processes that cannot be ended ({', '.join(run.immortal)})"
            return self._failed(run, what, "leftovers", {"processes": list(run.immortal)})
        if not run.supervised:
            what = f"lost its supervisor, which something killed, so it {_fate(run)}"
            return self._failed(run, what, "supervisor", {"processes": run.survivors or []}, retryable=run.ended)
        if run.crowd is not None:
            what = f"had {run.crowd:,} processes at once; {limits.processes:,} are allowed (limits: processes)"
            return self._failed(run, what, "processes", {"limit": limits.processes, "used": run.crowd})
        # What ended badly says so itself; that something was left is then its least problem.
        if leftovers and run.left is not None and run.status == 0:
            count, names = run.left
            what = f"ended before {count} of the processes it had started ({', '.join(names)}), which were then killed"
            details = {"processes": names, "count": count}
            advice = "A tool must wait for what it starts"
            return self._failed(run, f"{what}. {advice}", "leftovers", details)
        return None

    def _not_started(self, run: Running, failure: Mapping[str, Any]) -> ToolExecutionError:
        texts = {
            "cwd": "its working directory cannot be entered",
            "limits": "its limits cannot be set",
            "sandbox": "its sandbox is not complete on this machine, so it was not started",
            "exec": "it cannot be executed",
        }
        what = texts.get(failure["stage"], "it cannot be started")
        error = self.unusable(f"{what} ({scrub_text(str(failure['text']))})")
        error.details |= {"reason": failure["stage"]}
        error.details["stderr"] = _excerpt(run.stderr, STDERR_SHOWN, self._own)[0]
        return error

    def _overflow(self, run: Running, which: str) -> ToolValidationError:
        limit = len(run.stdout if which == "stdout" else run.stderr)
        name = "standard output" if which == "stdout" else "standard error"
        return ToolValidationError(
            f"{self.name} wrote more than {limit:,} bytes to {name} and was stopped there. Ask it for less, or raise "
            f"max_{which}. Command: `{self._shown}`.",
            details={**self._details(run, f"max_{which}"), "limit": limit},
        )

    def _failed(
        self, run: Running, what: str, reason: str, more: Mapping[str, Any], *, retryable: bool | None = None
    ) -> ToolExecutionError:
        details = {**self._details(run, reason), **more}
        return ToolExecutionError(
            f"{self.name}: the command `{self._shown}` {what}. "
            f"{_quoted('Standard error', details['stderr'], details['stderr_length'])}",
            details=details,
            retryable=retryable,
        )

    def _details(self, run: Running, reason: str) -> dict[str, Any]:
        own = self._own
        stdout, stdout_length = _excerpt(run.stdout, STDOUT_SHOWN, own)
        stderr, stderr_length = _excerpt(run.stderr, STDERR_SHOWN, own)
        return {
            "command": self.command,
            "reason": reason,
            "stdout": stdout,
            "stdout_length": stdout_length,
            "stderr": stderr,
            "stderr_length": stderr_length,
        }


def _fate(run: Running | None) -> str:
    """What became of a command that had to be ended, and of what it had started: no more than is known."""
    if run is None or not run.begun:
        return "had not been started"
    if run.ended:
        return "was killed, with every process it had started"
    left = run.immortal or run.survivors
    if left:
        return f"was killed, but processes that it had started could not be ended ({', '.join(left)})"
    return "was killed; whether processes that it had started are left is not known"


def shown_value(value: JsonValue) -> JsonValue:
    """A value for an error: whole, or as the beginning of its JSON with the length of it."""
    text = to_json(value).decode()
    if len(text) <= VALUE_SHOWN:
        return value
    return {"json": shorten(text, VALUE_SHOWN, ""), "length": len(text)}


def _excerpt(data: bytes, limit: int, own: Redactor) -> tuple[str, int]:
    """The beginning of an output, and how many characters it has in all."""
    text = data.decode("utf-8", errors="replace")
    # Cleaned before it is cut, so that no half of a credential is left at the end.
    return scrub_text(text[: limit * 4], own, limit=_UNLIMITED)[:limit], len(text)


def _quoted(name: str, text: str, length: int) -> str:
    if not text.strip():
        return f"{name} was empty."
    return f"{name} ({length:,} characters): {text.strip()}"


def _brief(value: JsonValue) -> str:
    return shorten(to_json(value).decode(), 80)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _advice(number: int, limits: ProcessLimits) -> str:
    if number == signal.SIGXCPU and limits.cpu_time is not None:
        return f", since it used up its {limits.cpu_time} seconds of processor time (limits: cpu_time)"
    if number == signal.SIGXFSZ and limits.file_bytes is not None:
        return f", since it wrote a file of more than {limits.file_bytes:,} bytes (limits: file_bytes)"
    if number in (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS) and limits.memory_bytes is not None:
        return f"; it may have needed more than its {limits.memory_bytes:,} bytes of memory (limits: memory_bytes)"
    return ""
