"""Tools made of Python functions: the schema comes from the signature and the docstring, through pydantic."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar, Unpack, cast, overload

from pydantic import JsonValue, TypeAdapter, ValidationError
from pydantic_core import to_json

from harness.errors import UsageError
from harness.places import says_all
from harness.plain import dump_plain, to_plain
from harness.tools.calling import call_function
from harness.tools.context import CallContext
from harness.tools.names import check_name, snake_case
from harness.tools.options import ToolOptions
from harness.tools.signature import is_async, is_method, read_signature
from harness.tools.tool import Tool
from harness.tools.validation import call_form, invalid

__all__ = ["FunctionTool", "tool"]

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
Owner = TypeVar("Owner")


class FunctionTool(Tool, Generic[P, R]):
    """A tool that is a Python function, sync or async. Calling it calls the function, unchecked, as before.

    A sync function runs in a thread, so it cannot be interrupted. In the body of a class it is a method, and each
    object of the class has a tool of its own (see `tools_of`).
    """

    def __init__(
        self,
        function: Callable[P, R],
        *,
        name: str | None = None,
        description: str | None = None,
        **options: Unpack[ToolOptions],
    ) -> None:
        if not callable(function):
            raise UsageError(
                f"A tool is made of a function, and {function!r} is none. Options have names: @tool(name=…, approval=True)."
            )
        if inspect.isclass(function):
            raise UsageError(
                f"{function.__name__} is a class: mark its methods with @tool, and offer an object of it: "
                f"tools=[{function.__name__}(…)]."
            )
        own_name = check_name(_name_of(function) if name is None else name)
        self.function = function
        self.is_method = is_method(function)
        """Whether this is a method without its object, which nobody can call yet."""
        self._signature = signature = read_signature(function, own_name, method=self.is_method)
        super().__init__(
            own_name,
            description=signature.description if description is None else description,
            parameters=signature.parameters,
            result=signature.result_schema,
            interruptible=is_async(function),
            uses_context=signature.context is not None,
            **options,
        )
        # A schema that names the type of every place leaves nothing unexpected to look for.
        self._open_result = None if says_all(self.result) else self.result
        functools.update_wrapper(self, function, updated=())

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.function(*args, **kwargs)

    @property
    def __isabstractmethod__(self) -> bool:
        """As of the function: an abstract class that has it is none to make objects of."""
        return getattr(self.function, "__isabstractmethod__", False)

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Self: ...
    @overload
    def __get__(
        self: FunctionTool[Concatenate[Owner, Q], R], instance: Owner, owner: type | None = None
    ) -> FunctionTool[Q, R]: ...
    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None or not self.is_method else self.bound_to(instance)

    def bound_to(self, instance: object) -> FunctionTool[..., R]:
        """The tool that this method is of one object."""
        bound = cast("FunctionTool[..., R]", copy.copy(self))
        bound.function = cast("Any", self.function).__get__(instance)
        bound.is_method = False
        return bound

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
                what=f"The arguments of {self.expression} do not fit",
                hint=f"Call it as {call_form(self.name, self.parameters)}.",
                known=list(signature.fields.values()),
            ) from None
        given = model.__pydantic_fields_set__
        return {
            parameter: getattr(model, field)
            for field, parameter in signature.fields.items()
            if field in given or field not in signature.own_defaults
        }

    async def invoke(self, arguments: dict[str, Any], context: CallContext) -> Any:
        """Calls the function: an async one in this task, a sync one in a thread."""
        if self._signature.context is not None:
            arguments = {**arguments, self._signature.context: context}
        call = functools.partial(cast("Callable[..., Any]", self.function), **arguments)
        return await call_function(call, context, in_thread=not self.interruptible)

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
            what = f"The result of {self.expression} is not what the tool declares"
            raise invalid(error, plain, what=what) from None


def _name_of(function: Callable[..., Any]) -> str:
    name = getattr(function, "__name__", None)
    return snake_case(type(function).__name__) if name is None else str(name)


@overload
def tool(function: Callable[P, R], /) -> FunctionTool[P, R]: ...
@overload
def tool(
    *, name: str | None = None, description: str | None = None, **options: Unpack[ToolOptions]
) -> Callable[[Callable[P, R]], FunctionTool[P, R]]: ...
def tool(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Makes a tool of a function: ``@tool`` or ``@tool(approval=True)``.

    The name, the description and the schemas come from the function; `ToolOptions` lists what else can be said of it.
    On the methods of a class it makes tools of each of its objects.

    ``cost`` is what a call costs in cents, or a function of the argument object; ``resource`` is a `ResourceContract`
    that it shares with other tools; ``retry`` (`Retry`, or a number of attempts) repeats what failed and may succeed,
    and asks for ``idempotent=True``; ``deterministic`` keeps results and uses them again for equal arguments, under the
    same ``version``; ``revert`` undoes a call, given its argument object and its result.

    Raises `UsageError` for a function or a name that no script could call.
    """
    if function is not None:
        return FunctionTool(function, **options)
    return lambda function: FunctionTool(function, **options)
