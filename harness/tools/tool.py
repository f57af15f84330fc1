"""The contract every tool fulfils, whatever it is made of."""

from __future__ import annotations

import abc
import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self, Unpack

from pydantic import JsonValue

from harness.canonical import Canonical
from harness.contracts.values import Contract
from harness.errors import HarnessError, ToolTimeoutError, UsageError
from harness.model import Artifact
from harness.plain import to_plain
from harness.tools.calling import FunctionCall, read_call
from harness.tools.context import CallContext
from harness.tools.formats import read_anthropic, read_openai
from harness.tools.names import check_name, expression
from harness.tools.options import OPTIONS, Cost, ToolOptions, checked_options
from harness.tools.resource import ResourceContract
from harness.tools.retry import Retry
from harness.tools.schema import JsonSchema, Schema, check_defaults, defaults, parameters_schema, result_schema
from harness.tools.validation import call_form

__all__ = ["SchemaTool", "Tool"]


class Tool(Canonical, abc.ABC):
    """Something a script can call: JSON data in, JSON data out.

    `@tool` makes one of a Python function, `Tool.from_schema` of a function and JSON Schemas. A subclass can make one of
    anything else that is described by JSON Schema; it fills in the attributes and implements the three methods.

    Raises `UsageError` for a name or an option that no tool can have.
    """

    ends_itself: ClassVar[bool] = False
    """Whether `invoke` sees to it that it ends soon after it is cancelled, and must be waited for until then."""

    def __init__(
        self,
        name: str,
        *,
        description: str = "",
        parameters: Mapping[str, Any] | None = None,
        result: Mapping[str, Any] | None = None,
        interruptible: bool = True,
        uses_context: bool = True,
        **options: Unpack[ToolOptions],
    ) -> None:
        self.name = check_name(name)
        given = checked_options(self.name, options)
        if not isinstance(description, str):
            raise UsageError(f"The description of tool {name!r} is {description!r}; it is text.")
        self.description = description
        self.parameters: dict[str, Any] = dict(parameters or {"type": "object", "properties": {}})
        """JSON Schema of the argument object."""
        self.result: dict[str, Any] | None = None if result is None else dict(result)
        """JSON Schema of the result; None if nothing is known about it."""
        self.approval: bool = given["approval"]
        """Whether a person is asked before each call."""
        self.timeout: float | None = given["timeout"]
        """Seconds a call may run; None for ``Limits.tool_timeout``."""
        self.idempotent: bool = given["idempotent"]
        """Whether a call that may have happened can safely be made again."""
        self.tags: tuple[str, ...] = given["tags"]
        self.preview: Any = given["preview"]
        """What a dry run gives the script: a value, or a function of the argument object that returns one."""
        self.interruptible = interruptible
        """False if a call that was started goes on by itself after it is cancelled: what it did is then in doubt."""
        self.positional: str | None = given["positional"]
        """The parameter that a single argument which is no object is meant for: ``tools.read("a.txt")``."""
        self.cost: Cost = given["cost"]
        """Cents a call costs: a number, or a function of the argument object that returns one."""
        self.resource: ResourceContract | None = given["resource"]
        """What it shares with other tools: money, rate and concurrency."""
        self.retry: Retry | None = given["retry"]
        """How a call is repeated that failed with a retryable error; None for never."""
        self.deterministic: bool = given["deterministic"]
        """Whether equal arguments always give an equal result, so that results are kept and used again."""
        self.revert: Callable[[dict[str, JsonValue], JsonValue], Any] | None = given["revert"]
        """Undoes a call: a function, sync or async, of the argument object and the result. See `Harness.rollback`."""
        self.revert_in_doubt: bool = given["revert_in_doubt"]
        """Whether ``revert`` is also right for a call that perhaps never took effect; its result is then None."""
        self.version: str = given["version"]
        """Of the contract (names, schemas, meaning): results kept of another version are not used."""
        self.uses_context = uses_context
        """Whether it looks at the call's context: then results are kept for each caller, else for all of them."""
        if self.positional is not None and self.positional not in self.parameters.get("properties", {}):
            raise UsageError(f"Tool {name!r} has no parameter {self.positional!r}; positional= must name one it has.")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {call_form(self.name, self.parameters)}>"

    @property
    def expression(self) -> str:
        """What a script writes for the tool: ``tools.fs.read``, ``tools["get-item"]``."""
        return expression(self.name)

    @staticmethod
    def from_schema(
        name: str,
        fn: Callable[..., Any],
        parameters: Schema | None = None,
        result: Schema | None = None,
        description: str | None = None,
        **options: Unpack[ToolOptions],
    ) -> SchemaTool:
        """A tool described by JSON Schema (2020-12, or the draft its ``$schema`` names) and carried out by ``fn``.

        ``fn``, sync or async, gets the arguments by name if it has parameters of these names (or ``**kwargs``), else
        as one dictionary; a parameter annotated `CallContext` is filled in. ``parameters`` describes the argument
        object, None says there are no arguments; ``result`` describes what ``fn`` returns, None says that it may be
        any JSON value. ``description`` is by default the docstring of ``fn``.

        Arguments and results are checked against every keyword, ``format`` included. The ``default`` of a property is
        filled in where a script leaves it out. ``$ref`` may point into the schema itself; nothing is ever fetched.

        Raises `UsageError` for a schema that is not valid, with the place in it, and for a function that cannot be
        called as the schema says.
        """
        return SchemaTool(name, fn, parameters=parameters, result=result, description=description, **options)

    @staticmethod
    def from_openai(
        definition: Mapping[str, Any],
        fn: Callable[..., Any],
        result: Schema | None = None,
        **options: Unpack[ToolOptions],
    ) -> SchemaTool:
        """As `from_schema`, with name, description and parameters from a function definition as OpenAI's API takes it.

        Both ``{"type": "function", "function": {"name": …, "parameters": …}}`` and the flat form
        ``{"type": "function", "name": …, "parameters": …}`` will do. Raises `UsageError` for anything else.
        """
        name, description, parameters = read_openai(definition)
        return SchemaTool(name, fn, parameters=parameters, result=result, description=description, **options)

    @staticmethod
    def from_anthropic(
        definition: Mapping[str, Any],
        fn: Callable[..., Any],
        result: Schema | None = None,
        **options: Unpack[ToolOptions],
    ) -> SchemaTool:
        """As `from_schema`, from ``{"name": …, "description": …, "input_schema": …}`` as Anthropic's API takes it.

        Raises `UsageError` for anything else.
        """
        name, description, parameters = read_anthropic(definition)
        return SchemaTool(name, fn, parameters=parameters, result=result, description=description, **options)

    @abc.abstractmethod
    def validate_arguments(self, arguments: dict[str, JsonValue]) -> Any:
        """What `invoke` takes, made of a script's argument object. Raises `ToolValidationError`."""

    @abc.abstractmethod
    async def invoke(self, arguments: Any, context: CallContext) -> Any:
        """Does the work. Any exception is the tool's failure."""

    @abc.abstractmethod
    def validate_result(self, value: Any, *, max_depth: int = 200) -> JsonValue:
        """What `invoke` returned, checked and as plain JSON data.

        Raises `ToolValidationError`, or `SerializationError` as `to_plain` does.
        """

    def with_defaults(self, arguments: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
        """A valid argument object with what was left out filled in, where the schema has a ``default`` for it."""
        return {**arguments, **defaults(self.parameters, arguments)}

    def is_in_doubt_after(self, error: BaseException) -> bool:
        """Whether a call may have taken effect although `invoke` raised ``error``.

        By default a failure says that nothing was done, unless it is a `ToolTimeoutError`, or an error of the library
        with ``details={"in_doubt": True}``.
        """
        if isinstance(error, ToolTimeoutError):
            return True
        return isinstance(error, HarnessError) and error.details.get("in_doubt") is True

    async def still_has(self, result: JsonValue, artifacts: Sequence[Artifact]) -> bool:  # noqa: ARG002 - for subclasses
        """Whether the files of an earlier result are there with the same content, so that it can be used again.

        Asked before a kept result that has files is used; by default it is not.
        """
        return False

    def check_preview(self) -> None:
        """Raises `UsageError` for a ``preview`` that is no result of this tool. One that is a function is not called."""
        if self.preview is None or callable(self.preview):
            return
        try:
            self.validate_result(self.preview)
        except HarnessError as error:
            raise UsageError(f"The preview of tool {self.name!r} is no result of it. {error.message}") from error

    @property
    def changes_nothing(self) -> bool:
        """Whether its author says that a call has no effect: it is deterministic, or only tagged ``read``."""
        return self.deterministic or ("read" in self.tags and not {"write", "destructive"} & set(self.tags))

    def renamed(self, name: str) -> Self:
        """The same tool under another name. Raises `UsageError` for a name no tool can have."""
        other = copy.copy(self)
        other.name = check_name(name)
        return other

    def replace(self, **options: Unpack[ToolOptions]) -> Self:
        """The same tool with other options, such as ``timeout=5``. Raises `UsageError` as the constructor does."""
        other = copy.copy(self)
        own = {option: getattr(self, option) for option in OPTIONS}
        if "cache" in options:
            del own["deterministic"]
        # What goes together is looked at as a whole: retry= for a tool that is idempotent already, for example.
        for option, value in checked_options(self.name, {**own, **options}).items():
            setattr(other, option, value)
        if other.positional is not None and other.positional not in other.parameters.get("properties", {}):
            raise UsageError(
                f"Tool {self.name!r} has no parameter {other.positional!r}; positional= must name one it has."
            )
        return other

    def with_settings(
        self,
        *,
        timeout: float | None = None,
        artifacts: Sequence[str] | None = None,
        limits: Any = None,
        seed: int | None = None,
    ) -> Self:
        """The same tool as one call is to find it, where these are given; all but ``timeout`` is for commands.

        Raises `UsageError` for what this tool cannot have.
        """
        if not (artifacts is None and limits is None and seed is None):
            raise UsageError(
                f"Tool {self.name!r} is no SubprocessTool: only that takes artifacts, process limits or a seed."
            )
        return self if timeout is None else self.replace(timeout=timeout)

    def describe(self) -> dict[str, Any]:
        """Everything about the tool that can be told as JSON."""
        return {
            "name": self.name,
            "description": self.description,
            "parameters": self.parameters,
            "result": self.result,
            "approval": self.approval,
            "timeout": self.timeout,
            "idempotent": self.idempotent,
            "deterministic": self.deterministic,
            "tags": list(self.tags),
            "positional": self.positional,
            "version": self.version,
            **self.terms(),
        }

    def terms(self) -> dict[str, Any]:
        """What a call costs, may use and leaves behind, as JSON: ``cost_cents`` (None if it depends on the arguments),
        ``retry``, ``resource``, and whether it can be taken back (``revert``).
        """
        return {
            "cost_cents": None if callable(self.cost) else self.cost,
            "retry": None if self.retry is None else dataclasses.asdict(self.retry),
            "resource": None if self.resource is None else dataclasses.asdict(self.resource),
            "revert": self.revert is not None,
        }

    def canonical(self) -> dict[str, Any]:
        """Its `Contract`: the function behind it is not looked at. Raises `UsageError` if its schemas have no JSON form."""
        return Contract.of(self).canonical()


class SchemaTool(Tool):
    """A function described by JSON Schema. Made by `Tool.from_schema`, which says how."""

    def __init__(
        self,
        name: str,
        fn: Callable[..., Any],
        *,
        parameters: Schema | None = None,
        result: Schema | None = None,
        description: str | None = None,
        **options: Unpack[ToolOptions],
    ) -> None:
        own_name = check_name(name)
        takes = parameters_schema(parameters, own_name)
        self._function: FunctionCall = read_call(fn, takes, own_name)
        takes = self._function.schema
        gives = None if result is None else result_schema(result, own_name)
        super().__init__(
            own_name,
            description=self._function.description if description is None else description,
            parameters=takes,
            result=gives,
            interruptible=self._function.interruptible,
            uses_context=self._function.context is not None,
            **options,
        )
        self._takes = JsonSchema(takes, f"The parameters of tool {own_name!r}")
        check_defaults(takes, own_name)
        self._gives = None if gives is None else JsonSchema(gives, f"The result of tool {own_name!r}")

    def validate_arguments(self, arguments: dict[str, JsonValue]) -> dict[str, JsonValue]:
        """The arguments with the schema's defaults filled in."""
        given = {**arguments, **defaults(self.parameters, arguments)}
        if not self._takes.fits(given):
            raise self._takes.misfit(
                given,
                what=f"The arguments of {self.expression} do not fit",
                hint=f"Call it as {call_form(self.name, self.parameters)}.",
            )
        return given

    async def invoke(self, arguments: dict[str, JsonValue], context: CallContext) -> Any:
        """Calls the function: an async one in this task, a sync one in a thread."""
        return await self._function.call(arguments, context)

    def validate_result(self, value: Any, *, max_depth: int = 200) -> JsonValue:
        """What the function returned, as plain JSON data that fits the schema."""
        plain = to_plain(value, max_depth=max_depth)
        if self._gives is not None and not self._gives.fits(plain):
            raise self._gives.misfit(plain, what=f"The result of {self.expression} is not what the tool declares")
        return plain
