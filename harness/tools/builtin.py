"""`tools.$search` and `tools.$describe`: what a script can ask about the tools it was given.

They are calls like any other: recorded, and counted against `max_tool_calls`, since the host works for each. They read
nothing but the registry of their execution, so a tool that was not granted cannot be found, and they answer the same in
a dry run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field

from harness.tools.function import FunctionTool

__all__ = ["make_built_in_tools"]

Query = Annotated[str, Field(max_length=500)]
Limit = Annotated[int, Field(ge=1, le=50)]


def make_built_in_tools(
    search: Callable[[str, int], list[dict[str, str]]], describe: Callable[[str], dict[str, Any]]
) -> dict[str, FunctionTool[..., Any]]:
    """The built-in tools by name, made of what a registry knows about itself."""

    # Nothing in them waits, so they need no thread.
    async def find(query: Query, limit: Limit = 10) -> list[dict[str, str]]:
        return search(query, limit)

    async def tell(name: str) -> dict[str, Any]:
        return describe(name)

    return {
        "$search": _BuiltIn(find, "$search", positional="query"),
        "$describe": _BuiltIn(tell, "$describe", positional="name"),
    }


class _BuiltIn(FunctionTool[..., Any]):
    def __init__(self, function: Callable[..., Any], name: str, *, positional: str) -> None:
        super().__init__(function, name=name.removeprefix("$"), positional=positional, idempotent=True)
        # No other tool can have a name that begins with "$".
        self.name = name
