"""One call of a tool that is a command: one run of it, or two to verify that it is deterministic."""

from __future__ import annotations

import contextlib
import json
import logging
from typing import Protocol

from pydantic import JsonValue

from harness.canonical import content_hash
from harness.errors import ToolError
from harness.executor import current_executor
from harness.model import Artifact
from harness.tools.output import ToolOutput
from harness.tools.process.artifacts import WorkingDirectory
from harness.tools.process.command import Command
from harness.tools.process.confine import ACTIVE, ALLOWED
from harness.tools.process.document import DocumentError, first_difference, last_line, read_document
from harness.tools.process.failures import Failures
from harness.tools.process.host import Job, Running

__all__ = ["CommandCall"]

_LOG = logging.getLogger("harness.tools")


class _Check(Protocol):
    """`Tool.validate_result` of the tool."""

    def __call__(self, value: JsonValue, *, max_depth: int) -> JsonValue: ...


class CommandCall:
    """One call. ``check`` is the `validate_result` of the tool."""

    def __init__(self, command: Command, job: Job, failures: Failures, check: _Check, *, json_depth: int) -> None:
        self._command = command
        self._job = job
        self._failures = failures
        self._check = check
        self._json_depth = json_depth
        self.last: Running | None = None
        """The run that is under way, or the last one."""

    async def carry_out(self, name: str, arguments: dict[str, JsonValue]) -> ToolOutput:
        """Runs the command, twice to verify that it is deterministic. ``name`` is that of the tool.

        Raises `ToolExecutionError` or `ToolValidationError`.
        """
        data = _encoded(self._with_seed(name, arguments))
        first = await self._once(data)
        if not self._command.verify_determinism:
            return first
        try:
            second = await self._once(data)
        except ToolError as error:
            error.details["run"] = 2
            raise
        difference = first_difference(_comparable(first), _comparable(second))
        if difference is not None:
            raise self._failures.not_deterministic(*difference, seeded=self._command.seed_field is not None)
        return second

    def _with_seed(self, name: str, arguments: dict[str, JsonValue]) -> dict[str, JsonValue]:
        field, seed = self._command.seed_field, self._command.seed
        if field is None or (seed is None and arguments.get(field) is not None):
            return arguments
        if seed is None:
            rest = {key: value for key, value in arguments.items() if key != field}
            seed = int(content_hash({"tool": name, "arguments": rest})[:8], 16)
        return {**arguments, field: seed}

    async def _once(self, data: bytes) -> ToolOutput:
        self.last = run = Running(self._job)
        with contextlib.ExitStack() as opened:
            directory: WorkingDirectory | None = None
            if self._command.artifacts:
                directory = opened.enter_context(contextlib.closing(self._open()))
            try:
                await run.run(data)
            except OSError as error:
                raise self._failures.unusable(f"no process can be started ({error.strerror or error})") from error
            value = self._outcome(run)
            artifacts = () if directory is None else await self._artifacts(directory, value)
        if run.guard not in (ACTIVE, ALLOWED):
            _LOG.warning(
                "%s ran where nothing keeps it from killing its supervisor: %s.", self._failures.name, run.guard
            )
        missing = {layer: state for layer, state in run.protections.items() if state not in (ACTIVE, ALLOWED)}
        if missing:
            _LOG.warning("%s ran without these layers of its sandbox: %s.", self._failures.name, missing)
        return ToolOutput(value=value, artifacts=artifacts, logs=self._logs(run), protections=dict(run.protections))

    def _open(self) -> WorkingDirectory:
        try:
            return WorkingDirectory(self._command.cwd)
        except OSError as error:
            raise self._failures.unusable(f"its working directory cannot be read ({error.strerror})") from error

    def _outcome(self, run: Running) -> JsonValue:
        command = self._command
        failure = self._failures.of_run(run, command.limits, leftovers=command.leftovers == "fail")
        if failure is not None:
            raise failure
        try:
            document = read_document(run.stdout, command.stdout, max_depth=self._json_depth)
        except DocumentError as error:
            raise self._failures.invalid_output(run, str(error)) from None
        return self._check(document, max_depth=self._json_depth)

    async def _artifacts(self, directory: WorkingDirectory, value: JsonValue) -> tuple[Artifact, ...]:
        limits, patterns = self._command.limits, self._command.artifacts
        # Reading files may take long, and an event loop must not wait for a disk.
        findings = await current_executor().threads.run(
            lambda: directory.check(value, patterns, most=limits.artifacts, most_bytes=limits.artifact_bytes),
            exempt=True,
        )
        if findings.problems:
            raise self._failures.artifacts(findings.problems, value)
        return tuple(findings.artifacts)

    def _logs(self, run: Running) -> str:
        logs = run.stderr.decode("utf-8", errors="replace")
        if self._command.stdout == "last-line":
            text = run.stdout.decode("utf-8", errors="replace")
            logs = text[: text.rindex(last_line(text))] + logs
        return logs


def _encoded(payload: dict[str, JsonValue]) -> bytes:
    return json.dumps(payload, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def _comparable(output: ToolOutput) -> JsonValue:
    files: dict[str, JsonValue] = {item.path: item.sha256 for item in output.artifacts}
    return {"result": output.value, "artifacts": files} if files else output.value
