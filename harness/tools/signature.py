"""A function's signature as a pydantic model of its arguments and an adapter for its result."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import EllipsisType, NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model
from pydantic.errors import PydanticUserError
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaWarningKind

from harness.errors import UsageError
from harness.tools.context import CallContext
from harness.tools.deferred import Deferred
from harness.tools.docstrings import parse_docstring

__all__ = ["Signature", "check_kind", "context_parameter", "is_async", "is_method", "read_signature", "type_hints"]


class _Schema(GenerateJsonSchema):
    # A default that JSON has no form for is the function's own affair; the schema then shows none.
    ignored_warning_kinds: set[JsonSchemaWarningKind] = {  # noqa: RUF012 - read by pydantic, never changed
        "non-serializable-default",
        "skipped-choice",
    }


@dataclass(frozen=True, slots=True)
class Signature:
    """What `read_signature` finds out."""

    description: str
    arguments: type[BaseModel]
    """Its fields have neutral names; the parameters' names are their aliases, so that any name can be used."""
    fields: Mapping[str, str]
    """Field → parameter."""
    own_defaults: frozenset[str]
    """Fields whose default stands in the signature: left out of a call, the function fills them in itself."""
    parameters: dict[str, Any]
    """JSON Schema of the argument object."""
    result: TypeAdapter[Any] | None
    """None without an annotation, and for ``Any``."""
    result_schema: dict[str, Any] | None
    context: str | None
    """The parameter that takes a `CallContext`."""


def is_method(function: Callable[..., Any]) -> bool:
    """Whether ``function`` stands in the body of a class and waits for its object (``self``, ``cls``)."""
    outer, _, _ = getattr(function, "__qualname__", "").rpartition(".")
    if not inspect.isfunction(function) or not outer or outer.endswith("<locals>"):
        return False
    first = next(iter(inspect.signature(function).parameters.values()), None)
    return first is not None and first.name in ("self", "cls") and first.name not in function.__annotations__


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling ``function`` gives a coroutine."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004 - the method itself is looked at


def check_kind(function: Callable[..., Any], name: str) -> None:
    """Raises `UsageError` for a generator, which gives no value to return."""
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise UsageError(f"Tool {name!r} is a generator; a tool returns one value, so return a list.")


def context_parameter(function: Callable[..., Any], hints: Mapping[str, Any], name: str) -> str | None:
    """The parameter annotated `CallContext`, if there is one. Raises `UsageError` for two."""
    found = [parameter for parameter, hint in hints.items() if parameter != "return" and _is_context(hint)]
    if len(found) > 1:
        raise UsageError(f"Tool {name!r} takes the CallContext twice ({', '.join(found)}); once is enough.")
    if found and inspect.signature(function).parameters[found[0]].kind is inspect.Parameter.POSITIONAL_ONLY:
        raise UsageError(f"Parameter {found[0]!r} of tool {name!r} is positional-only; it is filled in by name.")
    return found[0] if found else None


def _is_context(hint: Any) -> bool:
    if get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    if get_origin(hint) in (Union, UnionType):
        return {*get_args(hint)} - {NoneType} == {CallContext}
    return hint is CallContext


def read_signature(function: Callable[..., Any], name: str, *, method: bool = False) -> Signature:
    """Raises `UsageError` for a function that cannot be called with one JSON object, and says what to change.

    Of a ``method`` the first parameter is the object, which is not a script's to give.
    """
    check_kind(function, name)
    hints = type_hints(function, name)
    description, texts = _documentation(function)
    try:
        listed = list(inspect.signature(function).parameters.values())
    except ValueError as error:
        raise UsageError(f"Tool {name!r} is built in and does not say what it takes; wrap it in a function.") from error
    context = context_parameter(function, hints, name)
    definitions: dict[str, Any] = {}
    fields: dict[str, str] = {}
    own_defaults: set[str] = set()
    for parameter in listed[method:]:
        if parameter.name == context:
            continue
        hint = hints.get(parameter.name, Any)
        _check_parameter(parameter, name, annotated=parameter.name in hints, first=not fields)
        field = f"p{len(fields)}"
        fields[field] = parameter.name
        default: Any = ... if parameter.default is inspect.Parameter.empty else parameter.default
        if default is not ... and not isinstance(default, FieldInfo):
            own_defaults.add(field)
        note = Field(alias=parameter.name, description=texts.get(parameter.name))
        # The note stands in front, so that a description the author wrote into Field(…) wins.
        definitions[field] = (
            Annotated[hint, note] if not hasattr(hint, "__metadata__") else _annotate(hint, note),
            default,
        )
    try:
        model = create_model("Arguments", __config__=ConfigDict(extra="forbid"), **definitions)
        parameters = model.model_json_schema(schema_generator=_Schema)
        given = _without_deferred(hints.get("return", Any))
        result = None if given is Any else TypeAdapter(given)
        result_schema = None if result is None else result.json_schema(mode="serialization", schema_generator=_Schema)
        _check_defaults(definitions, fields, name)
    except (PydanticUserError, TypeError) as error:
        raise UsageError(
            f"No JSON Schema can be made for the signature of tool {name!r}: {error}. Annotate its parameters and its "
            "result with types that have a JSON form."
        ) from error
    return Signature(
        description=description,
        arguments=model,
        fields=fields,
        own_defaults=frozenset(own_defaults),
        parameters=_without_titles(parameters),
        result=result,
        result_schema=result_schema,
        context=context,
    )


def _without_deferred(hint: Any) -> Any:
    """What a tool gives in the end: `Deferred`, which says that it comes later, is none of it."""
    if hint is Deferred:
        return Any
    if get_origin(hint) not in (Union, UnionType) or Deferred not in get_args(hint):
        return hint
    return Union[tuple(each for each in get_args(hint) if each is not Deferred)]  # noqa: UP007 - made of a list


def _check_defaults(definitions: Mapping[str, tuple[Any, Any]], fields: Mapping[str, str], name: str) -> None:
    """Raises `UsageError` for a default in a ``Field(…)`` that does not fit: pydantic would pass it on as it is.

    A plain default is the function's own affair, and often None where the annotation does not say so.
    """
    for field, (hint, default) in definitions.items():
        given = default if isinstance(default, FieldInfo) else FieldInfo.from_annotation(hint)
        if (
            given.is_required()
            or given.default_factory is not None
            or not isinstance(default, FieldInfo | EllipsisType)
        ):
            continue
        try:
            create_model("One", __config__=ConfigDict(validate_default=True), only=(hint, default))()
        except ValidationError as error:
            problem = error.errors(include_url=False, include_context=False)[0]["msg"]
            raise UsageError(
                f"The default of parameter {fields[field]!r} of tool {name!r} does not fit: {problem}."
            ) from None


def _annotate(hint: Any, note: FieldInfo) -> Any:
    return Annotated[(hint.__origin__, note, *hint.__metadata__)]


def _documentation(function: Callable[..., Any]) -> tuple[str, dict[str, str]]:
    description, texts = parse_docstring(inspect.getdoc(function))
    if not inspect.isroutine(function) and not inspect.isroutine(inspect.unwrap(function)):
        # An object with __call__: its class says what it is, the method what it takes.
        own, more = parse_docstring(type(function).__call__.__doc__)
        return description or own, {**texts, **more}
    return description, texts


def type_hints(function: Callable[..., Any], name: str) -> dict[str, Any]:
    """The annotations of a function, read. Raises `UsageError` for one that names something unknown."""
    target = inspect.unwrap(function)
    if not inspect.isroutine(target):
        target = getattr(target, "func", None) or type(target).__call__
    try:
        return get_type_hints(target, include_extras=True)
    except NameError as error:
        raise UsageError(
            f"An annotation of tool {name!r} names something that is not defined at module level ({error}). Define it "
            "there, before the function."
        ) from error


def _check_parameter(parameter: inspect.Parameter, name: str, *, annotated: bool, first: bool) -> None:
    if parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
        raise UsageError(f"Tool {name!r} takes {parameter}; name each parameter, since scripts pass one object.")
    if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
        raise UsageError(f"Parameter {parameter.name!r} of tool {name!r} is positional-only; scripts pass names.")
    if first and parameter.name in ("self", "cls") and not annotated:
        raise UsageError(
            f"Tool {name!r} is a method without its object; make a tool of the bound method: tool(obj.{name})."
        )


def _without_titles(schema: dict[str, Any]) -> dict[str, Any]:
    """Without the titles pydantic derives from names: they say nothing, and a model pays for them."""
    members = schema.get("properties", {})
    cleaned = {name: {key: item for key, item in member.items() if key != "title"} for name, member in members.items()}
    return {key: item for key, item in schema.items() if key != "title"} | ({"properties": cleaned} if members else {})
