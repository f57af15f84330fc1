"""Tools that are commands: one JSON object on standard input, one JSON document on standard output.

A command that does anything else fails loudly, whatever it does, and nothing of it is left over. What starts and ends
the processes is in `harness.tools.process`.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import inspect
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import anyio
from pydantic import BaseModel, ConfigDict, JsonValue, TypeAdapter, ValidationError
from pydantic_core import to_json

from harness.context import ExecutionContext
from harness.errors import HarnessError, UsageError
from harness.executor import current_executor
from harness.model import Artifact
from harness.plain import dump_plain, to_plain
from harness.tools.commandsettings import check_seed_field, check_settings, without_required
from harness.tools.context import CallContext
from harness.tools.invoke import Invocation
from harness.tools.output import ToolOutput
from harness.tools.process.artifacts import WorkingDirectory
from harness.tools.process.call import CommandCall
from harness.tools.process.command import Command
from harness.tools.process.document import StdoutMode
from harness.tools.process.failures import Failures
from harness.tools.process.host import Job
from harness.tools.process.settings import ProcessLimits, ProcessSandbox, merge_process_limits
from harness.tools.tool import Tool
from harness.tools.validation import call_form, invalid

__all__ = ["SubprocessTool"]

_DID_NOTHING = frozenset({"command", "start", "cwd", "limits", "sandbox", "exec", "exit"})
"""Reasons for which a command failed without an effect: it was not started, or says so by its exit code."""


class SubprocessTool(Tool):
    """A tool that is a command.

    The command gets one JSON object on standard input (UTF-8, keys sorted, a line feed behind it), writes exactly one
    JSON document to standard output and its logs to standard error, and ends with exit code 0. It is started afresh for
    each call, without a shell, in a session of its own; when the call ends, however it ends, everything the command
    started is killed and its temporary directory (``TMPDIR``) removed.

    - ``command``: the program and its arguments. A program without a slash is looked up on PATH.
    - ``args``: a pydantic model of the arguments; what it does not know is refused unless it sets ``extra`` itself.
      Without it any object is taken. ``result``: a model or any type pydantic knows; without it any JSON is taken.
    - ``timeout`` (seconds): replaces ``Limits.tool_timeout``. Then TERM, and KILL after ``grace`` seconds.
    - ``max_stdout``, ``max_stderr`` (bytes): a command that writes more is stopped there, and fails.
    - ``artifacts``: where the result names files: ``["report", "files[*]", "manifest.path"]``. They must be regular
      files below ``cwd``, reached through no symbolic link; size and SHA-256 go on record. One that is not there fails
      the call.
    - ``env``: variables beyond ``PATH, HOME, LANG, LC_ALL, LC_CTYPE, TZ`` and the temporary directory; None as a value
      passes on the host's own.
    - ``cwd``: where it runs; by default the directory that was current when the tool was made.
    - ``limits``: a `ProcessLimits`, or a dict of its fields.
    - ``sandbox``: True or a `ProcessSandbox`: no network, no files but the system's and its own; Linux only.
    - ``seed_field``: the member of the input that holds a seed (32 bits). If the arguments give none, it is derived
      from their hash, so that the same input has the same seed. With ``args`` it is one of its members, such as
      ``seed: int``, which scripts can leave out; a default of its own would be a seed that is given.
    - ``stdout="last-line"``: for commands that cannot be changed: only the last line that is not blank must be JSON.
    - ``verify_determinism``: runs the command twice and fails if the results or their files differ.
    - ``leftovers``: a command that ends before the processes it started fails; with ``"kill"`` they are only killed.
    - ``contained=False``: for commands that need a set-user-ID program (``sudo``) or send signals to processes outside.
      They can then kill what looks after them, and become somebody whose processes cannot be ended.
    - ``options``: those of every tool: ``approval``, ``idempotent``, ``tags``, ``preview`` …

    Raises `UsageError` for settings that cannot be.
    """

    ends_itself = True  # what it does then is ours, and takes `grace` and a few seconds at most

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        args: type[BaseModel] | None = None,
        result: Any = None,
        description: str = "",
        timeout: float | None = None,
        max_stdout: int = 1024 * 1024,
        max_stderr: int = 1024 * 1024,
        artifacts: Sequence[str] = (),
        env: Mapping[str, str | None] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        limits: ProcessLimits | Mapping[str, Any] | None = None,
        sandbox: bool | ProcessSandbox = False,
        seed_field: str | None = None,
        stdout: StdoutMode = "document",
        verify_determinism: bool = False,
        leftovers: Literal["fail", "kill"] = "fail",
        contained: bool = True,
        grace: float = 0.5,
        **options: Any,
    ) -> None:
        check_settings(
            name,
            {
                "command": command,
                "description": description,
                "max_stdout": max_stdout,
                "max_stderr": max_stderr,
                "artifacts": artifacts,
                "env": env,
                "cwd": cwd,
                "limits": limits,
                "sandbox": sandbox,
                "seed_field": seed_field,
                "verify_determinism": verify_determinism,
                "grace": grace,
            },
        )
        self._args = _arguments_model(name, args)
        self._result = _result_adapter(name, result)
        check_seed_field(name, seed_field, self._args)
        own: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": True}
        if self._args is not None:
            own = self._args.model_json_schema()
        self._seed_is_required = seed_field in own.get("required", ())
        super().__init__(
            name,
            description=description or inspect.cleandoc((args and args.__doc__) or ""),
            parameters=without_required(own, seed_field),
            result=None if self._result is None else self._result.json_schema(),
            timeout=timeout,
            uses_context=False,
            **options,
        )
        self._command = Command(
            argv=tuple(command),
            cwd=str(Path(cwd or ".").absolute()),
            env=dict(env or {}),
            limits=merge_process_limits(ProcessLimits(), limits),
            sandbox=ProcessSandbox() if sandbox is True else sandbox or None,
            artifacts=tuple(artifacts),
            max_stdout=max_stdout,
            max_stderr=max_stderr,
            stdout=stdout,
            seed_field=seed_field,
            seed=None,
            verify_determinism=verify_determinism,
            leftovers=leftovers,
            contained=contained,
            grace=grace,
        )
        self._command.check(name)

    def validate_arguments(self, arguments: dict[str, JsonValue]) -> dict[str, JsonValue]:
        """The object for the command's standard input. Also finds out whether there is a command to run at all.

        Raises `ToolValidationError` for the arguments, `ToolExecutionError` for the command.
        """
        prepared = arguments if self._args is None else self._validated(self._args, arguments)
        self._job()
        return prepared

    async def invoke(self, arguments: dict[str, JsonValue], context: CallContext) -> ToolOutput:
        """Runs the command, twice to verify determinism.

        Raises `ToolExecutionError`, `ToolValidationError` or `ToolTimeoutError`; see ``specs/subprocess.md``.
        """
        limits = context.execution.limits
        seconds = limits.tool_timeout if self.timeout is None else self.timeout
        call = CommandCall(
            self._command, self._job(), self._failures, self.validate_result, json_depth=limits.json_depth
        )
        deadline = anyio.current_time() + seconds
        try:
            with anyio.CancelScope(deadline=deadline):
                return await call.carry_out(self.name, arguments)
        except anyio.get_cancelled_exc_class():
            # Whoever called has a deadline of its own for the same moment. It passes on the error that says more.
            if anyio.current_time() < deadline:
                raise
        raise self._failures.overran(seconds, call.last)

    def validate_result(self, value: Any, *, max_depth: int = 200) -> JsonValue:
        """A result as the command wrote it, if it is what was declared; nothing is added to it and nothing dropped."""
        plain = to_plain(value, max_depth=max_depth)
        if self._result is None:
            return plain
        try:
            self._result.validate_json(to_json(plain), strict=True)
        except ValidationError as error:
            what = f"The result of {self.expression} is not what the tool declares"
            raise self._failures.wrong_shape(invalid(error, plain, what=what), plain) from None
        return plain

    async def still_has(self, result: JsonValue, artifacts: Sequence[Artifact]) -> bool:
        """Whether the files that a result names are those that were recorded, byte for byte."""
        command = self._command
        with contextlib.closing(WorkingDirectory(command.cwd)) as directory:
            limits = command.limits
            findings = await current_executor().threads.run(
                lambda: directory.check(
                    result, command.artifacts, most=limits.artifacts, most_bytes=limits.artifact_bytes
                ),
                exempt=True,
            )
        return not findings.problems and tuple(findings.artifacts) == tuple(artifacts)

    def is_in_doubt_after(self, error: BaseException) -> bool:
        """Whether the command ran and did not itself say, by its exit code, that it failed."""
        if not isinstance(error, HarnessError) or error.details.get("reason") not in _DID_NOTHING:
            return True
        return error.details.get("run") == 2  # of the two that verify determinism: the first one succeeded

    async def run(
        self,
        arguments: Mapping[str, Any] | None = None,
        *,
        context: ExecutionContext | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - a setting of the tool, as in the constructor
        artifacts: Sequence[str] | None = None,
        limits: ProcessLimits | Mapping[str, Any] | None = None,
        seed: int | None = None,
    ) -> ToolOutput:
        """One call from host code, with the checks of a script's call, and settings of its own where they are given.

        Nobody is asked and nothing is counted. Raises `ToolError` subclasses.
        """
        tool = self.with_settings(timeout=timeout, artifacts=artifacts, limits=limits, seed=seed)
        plain = to_plain(dict(arguments or {}))
        execution = context or ExecutionContext()
        call = CallContext(tool=self.name, call_id=0, execution=execution)
        invocation = Invocation(tool, call, execution.limits)
        prepared = invocation.validate(plain if isinstance(plain, dict) else {})
        with anyio.CancelScope() as scope:
            value = await invocation.run(prepared, scope)
            invocation.encode(value)
            output = invocation.output or ToolOutput(value=value)
            return dataclasses.replace(output, value=value)
        raise invocation.overran()

    def with_settings(
        self,
        *,
        timeout: float | None = None,
        artifacts: Sequence[str] | None = None,
        limits: ProcessLimits | Mapping[str, Any] | None = None,
        seed: int | None = None,
    ) -> Self:
        """The same tool with other settings where they are given; this one is left as it is."""
        check_settings(self.name, {"artifacts": () if artifacts is None else artifacts, "limits": limits, "seed": seed})
        other = copy.copy(self) if timeout is None else self.replace(timeout=timeout)
        command = self._command
        other._command = dataclasses.replace(  # noqa: SLF001 - of the same class
            command,
            artifacts=command.artifacts if artifacts is None else tuple(artifacts),
            limits=merge_process_limits(command.limits, limits),
            seed=command.seed if seed is None else seed,
        )
        other._command.check(self.name)  # noqa: SLF001 - as above
        return other

    def _validated(self, model: type[BaseModel], arguments: dict[str, JsonValue]) -> dict[str, JsonValue]:
        given, seed = arguments, self._command.seed_field
        if self._seed_is_required and seed is not None and seed not in arguments:
            # It is derived from the other arguments once these have been read; until then any will do.
            given = {**arguments, seed: 0}
        try:
            # Through JSON text: in its strict JSON mode pydantic takes "5" for no integer, yet reads a date.
            found = model.model_validate_json(to_json(given), strict=True)
        except ValidationError as error:
            raise invalid(
                error,
                arguments,
                what=f"The arguments of {self.expression} do not fit",
                hint=f"Call it as {call_form(self.name, self.parameters)}.",
                known=list(self.parameters.get("properties", {})),
            ) from None
        plain = dump_plain(model.__pydantic_serializer__, found)
        if not isinstance(plain, dict):
            return {}
        return {key: value for key, value in plain.items() if given is arguments or key != seed}

    @property
    def _failures(self) -> Failures:
        return Failures(self.name, self._command.argv, self._command.env)

    def _job(self) -> Job:
        try:
            return self._command.job()
        except OSError as error:
            raise self._failures.unusable(str(error)) from None


def _arguments_model(name: str, args: Any) -> type[BaseModel] | None:
    if args is None:
        return None
    if not (isinstance(args, type) and issubclass(args, BaseModel)):
        raise UsageError(f"args of tool {name!r} is a pydantic model of its arguments, a class, not {args!r}.")
    if args.model_config.get("extra") is not None:
        return args
    namespace = {"model_config": ConfigDict(extra="forbid"), "__module__": args.__module__, "__doc__": args.__doc__}
    kind: Any = type(args)
    strict: type[BaseModel] = kind(args.__name__, (args,), namespace)
    return strict


def _result_adapter(name: str, result: Any) -> TypeAdapter[Any] | None:
    if result is None or result is Any:
        return None
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(result)
        adapter.json_schema()
    except Exception as error:  # whatever pydantic makes of what is no type
        raise UsageError(f"result of tool {name!r} is a pydantic model or a type with a JSON form: {error}") from error
    return adapter
