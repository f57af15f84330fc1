"""Objects as tools: methods marked with `@tool`, or ``__call__``."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from harness.errors import UsageError
from harness.tools.function import FunctionTool
from harness.tools.names import snake_case
from harness.tools.tool import Tool

__all__ = ["has_tools", "tools_of"]


def has_tools(item: object) -> bool:
    """Whether an object has methods marked with `@tool`."""
    return not isinstance(item, (Tool, type)) and any(True for _ in _marked(type(item)))


def tools_of(item: Any, namespace: str | None = None) -> list[Tool]:
    """The tools that an object offers.

    Its methods marked with `@tool` are one tool each, in the order of their definition, in the ``namespace``: by default
    what its class says in ``tool_namespace``, else the name of the class in snake case; ``""`` is none at all. An object
    without such methods but with ``__call__`` is one tool; so is a function. Of a class an object is made, without
    arguments.

    Raises `UsageError` for anything else.
    """
    if isinstance(item, Tool):
        tools = [_usable(item)]
        return tools if not namespace else [item.renamed(f"{namespace}.{item.name}")]
    if inspect.isclass(item):
        item = _made(item)
    methods = list(_methods(item))
    if methods:
        space = _namespace_of(type(item)) if namespace is None else namespace
        return [one.renamed(f"{space}.{one.name}") if space else one for one in methods]
    if not callable(item):
        raise UsageError(
            f"{item!r} is no tool; pass functions, what @tool made of them, or objects with methods marked with @tool."
        )
    made = FunctionTool(item)
    return [made.renamed(f"{namespace}.{made.name}") if namespace else made]


def _usable(item: Tool) -> Tool:
    if isinstance(item, FunctionTool) and item.is_method:
        owner = item.function.__qualname__.rpartition(".")[0].rpartition(".")[2]
        raise UsageError(
            f"Tool {item.name!r} is a method without its object; offer an object of its class: tools=[{owner}(…)]."
        )
    return item


def _made(kind: type) -> object:
    if not any(True for _ in _marked(kind)) and not inspect.isfunction(getattr(kind, "__call__", None)):  # noqa: B004 - the method itself is looked at
        raise UsageError(f"The class {kind.__name__} is no tool: it has no method marked with @tool and no __call__.")
    try:
        return kind()
    except TypeError as error:
        raise UsageError(
            f"The class {kind.__name__} cannot be made a tool without arguments ({error}); pass an object of it: "
            f"tools=[{kind.__name__}(…)]."
        ) from error


def _namespace_of(kind: type) -> str:
    named = getattr(kind, "tool_namespace", None)
    if named is not None and not isinstance(named, str):
        raise UsageError(
            f"{kind.__name__}.tool_namespace is {named!r}; it is the name of a namespace, or an empty text."
        )
    return snake_case(kind.__name__) if named is None else named


def _marked(kind: type) -> Iterator[tuple[str, Any]]:
    """The attributes that hold tools, base classes first. One that a subclass replaced with something else is none."""
    found: dict[str, Any] = {}
    for one in reversed(kind.__mro__):
        for name, value in vars(one).items():
            inner = getattr(value, "__func__", value) if isinstance(value, (staticmethod, classmethod)) else value
            if isinstance(inner, FunctionTool):
                found[name] = value
            else:
                found.pop(name, None)
    yield from found.items()


def _methods(item: object) -> Iterator[Tool]:
    for _, value in _marked(type(item)):
        marked: FunctionTool[..., Any] = getattr(value, "__func__", value)
        if isinstance(value, staticmethod) or not marked.is_method:
            yield marked
        else:
            yield marked.bound_to(type(item) if isinstance(value, classmethod) else item)
