"""Tools made of Python functions: the schema comes from the signature and the docstring, through pydantic."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, Generic, ParamSpec, TypeVar, cast, overload

from pydantic import JsonValue, TypeAdapter, ValidationError
from pydantic_core import to_json

from harness.concurrency import THREADS
from harness.places import says_all
from harness.plain import dump_plain, to_plain
from harness.tools.names import check_name
from harness.tools.signature import is_async, read_signature
from harness.tools.tool import Tool, ToolContext
from harness.tools.validation import call_form, invalid

__all__ = ["FunctionTool", "tool"]

P = ParamSpec("P")
R = TypeVar("R")


class FunctionTool(Tool, Generic[P, R]):
    """A tool that is a Python function, sync or async. Calling it calls the function, unchecked, as before.

    A sync function runs in a thread, so it cannot be interrupted.
    """

    def __init__(
        self,
        function: Callable[P, R],
        *,
        name: str | None = None,
        description: str | None = None,
        approval: bool = False,
        timeout: float | None = None,
        idempotent: bool = False,
        tags: Iterable[str] = (),
        positional: str | None = None,
        preview: Any = None,
    ) -> None:
        own_name = check_name(str(getattr(function, "__name__", type(function).__name__)) if name is None else name)
        self.function = function
        self._signature = signature = read_signature(function, own_name)
        super().__init__(
            own_name,
            description=signature.description if description is None else description,
            parameters=signature.parameters,
            result=signature.result_schema,
            approval=approval,
            timeout=timeout,
            idempotent=idempotent,
            tags=tuple(tags),
            positional=positional,
            preview=preview,
            interruptible=is_async(function),
        )
        # A schema that names the type of every place leaves nothing unexpected to look for.
        self._open_result = None if says_all(self.result) else self.result
        functools.update_wrapper(self, function, updated=())

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.function(*args, **kwargs)

    def validate_arguments(self, arguments: dict[str, JsonValue]) -> dict[str, Any]:
        """The keyword arguments for the function. Raises `ToolValidationError`."""
        signature = self._signature
        try:
            # Through JSON text: in its strict JSON mode pydantic takes "5" for no integer, yet reads a date.
            model = signature.arguments.__pydantic_validator__.validate_json(to_json(arguments), strict=True)
        except ValidationError as error:
            raise invalid(
                error,
                arguments,
                what=f"The arguments of tools.{self.name} do not fit",
                hint=f"Call it as {call_form(self.name, self.parameters)}.",
                known=list(signature.fields.values()),
            ) from None
        given = model.__pydantic_fields_set__
        return {
            parameter: getattr(model, field)
            for field, parameter in signature.fields.items()
            if field in given or field not in signature.own_defaults
        }

    async def invoke(self, arguments: dict[str, Any], context: ToolContext) -> Any:
        """Calls the function: an async one in this task, a sync one in a thread."""
        if self._signature.context is not None:
            arguments = {**arguments, self._signature.context: context}
        call = cast("Callable[..., Any]", self.function)
        result = call(**arguments) if self.interruptible else await THREADS.run(lambda: call(**arguments))
        return await result if inspect.isawaitable(result) else result

    def validate_result(self, value: Any, *, max_depth: int = 200) -> JsonValue:
        """What the function returned, checked against its annotation, as plain JSON data."""
        adapter = self._signature.result
        if adapter is None:
            return to_plain(value, max_depth=max_depth)
        conforming = self._conforming(adapter, value)
        return dump_plain(adapter.serializer, conforming, schema=self._open_result, max_depth=max_depth)

    def _conforming(self, adapter: TypeAdapter[Any], value: Any) -> Any:
        try:
            return adapter.validate_python(value, strict=True)
        except ValidationError:
            plain = to_plain(value)
        try:
            # Plain data is welcome where the annotation names a model: it is read as the JSON it would become.
            return adapter.validate_json(to_json(plain), strict=True)
        except ValidationError as error:
            what = f"The result of tools.{self.name} is not what the tool declares"
            raise invalid(error, plain, what=what) from None


@overload
def tool(function: Callable[P, R], /) -> FunctionTool[P, R]: ...
@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    approval: bool = False,
    timeout: float | None = None,
    idempotent: bool = False,
    tags: Iterable[str] = (),
    positional: str | None = None,
    preview: Any = None,
) -> Callable[[Callable[P, R]], FunctionTool[P, R]]: ...
def tool(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Makes a tool of a function: ``@tool`` or ``@tool(approval=True)``.

    The name, the description and the schemas come from the function. ``approval`` asks a person before each call;
    ``timeout`` (seconds) replaces ``Limits.tool_timeout``; ``idempotent`` says that repeating a call does no harm;
    ``positional`` names the parameter that a lone argument is meant for; ``preview`` is the result that a dry run
    shows, or a function of the arguments that makes one.

    Raises `UsageError` for a function or a name that no script could call.
    """
    if function is not None:
        return FunctionTool(function, **options)
    return lambda function: FunctionTool(function, **options)
