"""Calling Python functions: in this task or in a thread, by name or with one dictionary."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue

from harness.errors import UsageError
from harness.executor import current_executor
from harness.places import schemas_at
from harness.tools.context import CallContext
from harness.tools.docstrings import parse_docstring
from harness.tools.names import expression
from harness.tools.schema import COMPOSITE
from harness.tools.signature import check_kind, context_parameter, is_async, type_hints

__all__ = ["FunctionCall", "call_function", "read_call"]


async def call_function(call: Callable[[], Any], context: CallContext, *, in_thread: bool) -> Any:
    """What ``call`` returns, awaited if need be.

    In a thread it cannot be interrupted; `CallContext.cancelled` then tells it that nobody waits any more.
    """
    if in_thread:

        def work() -> Any:
            me = object()
            context.threads.add(me)
            try:
                return call()
            finally:
                context.threads.discard(me)

        try:
            result = await current_executor().threads.run(work)
            if inspect.isawaitable(result):
                errand = current_executor().tasks.start(lambda: result, expression(context.tool))
                result = await errand.outcome(context.execution.limits.settle_grace)
        except BaseException:
            context.cancelled = True
            raise
        return result
    result = call()
    return await result if inspect.isawaitable(result) else result


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """How a function without a signature of its own for pydantic is called with an argument object."""

    function: Callable[..., Any]
    schema: dict[str, Any]
    """Of the argument object; closed if the function takes no other names than it lists."""
    description: str
    interruptible: bool
    by_name: bool
    context: str | None

    async def call(self, arguments: dict[str, JsonValue], context: CallContext) -> Any:
        """What the function returns."""
        function = self.function
        extra = {} if self.context is None else {self.context: context}

        def call() -> Any:
            return function(**arguments, **extra) if self.by_name else function(arguments, **extra)

        return await call_function(call, context, in_thread=not self.interruptible)


def read_call(function: Callable[..., Any], schema: dict[str, Any], name: str) -> FunctionCall:
    """Raises `UsageError` for a function that cannot be called as the schema says."""
    if not callable(function):
        raise UsageError(f"Tool {name!r} needs a function to carry it out, not {function!r}.")
    check_kind(function, name)
    context = context_parameter(function, type_hints(function, name), name)
    try:
        parameters = [item for item in inspect.signature(function).parameters.values() if item.name != context]
    except ValueError:
        parameters = [inspect.Parameter("arguments", inspect.Parameter.VAR_KEYWORD)]
    by_name = _is_by_name(parameters, schema, context, name)
    return FunctionCall(
        function=function,
        schema=_closed(parameters, schema, name) if by_name else schema,
        description=parse_docstring(inspect.getdoc(function))[0],
        interruptible=is_async(function),
        by_name=by_name,
        context=context,
    )


def _names(schema: dict[str, Any]) -> set[str]:
    return {name for one in [schema, *schemas_at(schema, ())] for name in one.get("properties", {})}


def _is_by_name(parameters: list[inspect.Parameter], schema: dict[str, Any], context: str | None, tool: str) -> bool:
    names = _names(schema)
    if context in names:
        raise UsageError(
            f"The function of tool {tool!r} takes the CallContext in {context!r}, and its schema has a property of this "
            "name. Rename the parameter."
        )
    needed = [item for item in parameters if item.default is item.empty and item.kind not in _VARIABLE]
    named = {item.name for item in parameters if item.kind in _NAMED}
    takes_any = any(item.kind is item.VAR_KEYWORD for item in parameters)
    if (takes_any or names <= named) and {item.name for item in needed} <= names & named:
        _check_filled(needed, schema, tool)
        return True
    positional = [item for item in parameters if item.kind in _POSITIONAL]
    if positional and needed in ([], positional[:1]) and positional[0].name not in names:
        return False
    wanted = ", ".join(item.name for item in parameters if item.kind not in _VARIABLE) or "nothing"
    raise UsageError(
        f"The function of tool {tool!r} takes {wanted}, and its schema has the properties "
        f"{', '.join(sorted(names)) or '(none)'}. Give it a parameter for each property, **kwargs, or one parameter for "
        "the whole argument object."
    )


_VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_POSITIONAL = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.POSITIONAL_ONLY)


def _check_filled(needed: list[inspect.Parameter], schema: dict[str, Any], tool: str) -> None:
    if COMPOSITE & schema.keys():
        return  # what is required may stand in any of several places
    members, required = schema.get("properties", {}), schema.get("required", ())
    for item in needed:
        member = members.get(item.name)
        if item.name not in required and not (isinstance(member, dict) and "default" in member):
            raise UsageError(
                f"The function of tool {tool!r} needs {item.name!r}, and its schema lets scripts leave it out. List it "
                "under 'required', or give one of the two a default."
            )


def _closed(parameters: list[inspect.Parameter], schema: dict[str, Any], tool: str) -> dict[str, Any]:
    """The schema without room for names that the function does not take."""
    if any(item.kind is item.VAR_KEYWORD for item in parameters):
        return schema
    more = "patternProperties" if schema.get("patternProperties") else "additionalProperties"
    if schema.get(more) not in (None, False):
        raise UsageError(
            f"The schema of tool {tool!r} allows further properties ({more}), and its function has no place for them. "
            "Give it **kwargs, or one parameter for the whole argument object."
        )
    return {**schema, ("unevaluatedProperties" if COMPOSITE & schema.keys() else "additionalProperties"): False}
