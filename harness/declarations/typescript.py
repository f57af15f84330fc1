"""Tools as TypeScript declarations: what `tools` is in a script, and what else a script finds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any

from harness import errors
from harness.declarations.aliases import TypeNames
from harness.declarations.names import member
from harness.declarations.notes import documentation, indent
from harness.declarations.pieces import Piece, union
from harness.declarations.reading import mapping
from harness.declarations.types import SchemaTypes

__all__ = ["surroundings", "typescript"]

_HEADER = """\
// What a script in a <tool-calls> block can use besides the language itself.
// Check scripts against it with `lib: ["ES2023"]` and without the DOM.
"""
_BUILT_IN = """\
/** Finds tools by words of their names, descriptions and parameters, best first. Counts as a call. */
$search(query: string | { query: string; limit?: integer }): Promise<ToolSummary[]>;
/** How one tool is declared. Counts as a call. */
$describe(name: string | { name: string }): Promise<ToolDescription>;"""

Tree = dict[str, "Tree | Mapping[str, Any]"]


def typescript(tools: Sequence[Mapping[str, Any]], *, alone: bool = False) -> str:
    """Declarations of tools, given as `Tool.describe` describes them, in their order.

    The whole file type-checks by itself. ``alone`` leaves out all but the tools and the types that they name: what a
    model needs to see.
    """
    names = TypeNames()
    body = _members(_tree(tools), names, options=not alone)
    if not alone:
        body.append(_BUILT_IN)
    declared = ["declare const tools: {", *(indent(text) for text in body), "};"]
    parts = ["\n".join(declared) if body else "declare const tools: {};", *names.declarations()]
    if alone:
        return "\n\n".join(parts) + "\n"
    return "\n".join([_HEADER, "\n\n".join(parts), "", surroundings()])


def surroundings() -> str:
    """What a script finds besides the language and its tools."""
    text = files("harness.declarations").joinpath("surroundings.d.ts").read_text(encoding="utf-8")
    names = " | ".join(f'"{name}"' for name in _error_names())
    return f"{text}\n/** The errors that a call can fail with. */\ntype CallErrorName = {names};\n"


def _error_names() -> list[str]:
    found = (value for value in vars(errors).values() if isinstance(value, type))
    kinds = (errors.ToolError, errors.ApprovalError)
    return sorted(value.__name__ for value in found if issubclass(value, kinds))


def _tree(tools: Sequence[Mapping[str, Any]]) -> Tree:
    root: Tree = {}
    for tool in tools:
        node: Any = root
        *spaces, last = tool["name"].split(".")
        for space in spaces:
            node = node.setdefault(space, _Space())
        node[last] = tool
    return root


class _Space(dict[str, Any]):
    """A namespace, which is told from a tool by its class."""


def _members(tree: Mapping[str, Any], names: TypeNames, *, options: bool) -> list[str]:
    found = []
    for name, item in tree.items():
        if isinstance(item, _Space):
            inner = (indent(text) for text in _members(item, names, options=options))
            found.append("\n".join([f"{member(name)}: {{", *inner, "};"]))
        else:
            found.append(_method(name, item, names, options=options))
    return found


def _method(name: str, tool: Mapping[str, Any], names: TypeNames, *, options: bool) -> str:
    owner = "".join(part[:1].upper() + part[1:] for part in tool["name"].replace("-", "_").replace(".", "_").split("_"))
    parameters = SchemaTypes(tool["parameters"], f"{owner}Arguments", names)
    given = union([parameters.arguments(), *_lone(tool, parameters)])
    optional = "?" if _takes_nothing(tool["parameters"]) else ""
    result = Piece("any") if tool["result"] is None else SchemaTypes(tool["result"], f"{owner}Result", names).root()
    more = ", options?: CallOptions" if options else ""
    lines = [tool["description"].strip(), *_notes(tool)]
    text = "\n".join(line for line in lines if line)
    return f"{documentation(text)}{member(name)}(args{optional}: {given.text}{more}): Promise<{result.text}>;"


def _notes(tool: Mapping[str, Any]) -> Iterator[str]:
    if tool["approval"]:
        yield "Each call needs a person's approval."
    cents = tool.get("cost_cents", 0)
    if cents is None:
        yield "Each call costs money, depending on its arguments."
    elif cents:
        yield f"Each call costs {cents:g} cents."


def _lone(tool: Mapping[str, Any], types: SchemaTypes) -> list[Piece]:
    """The type of an argument that stands alone, for tools that take one. An object would be taken for all arguments."""
    name = tool["positional"]
    if name is None:
        return []
    piece = types.lone(mapping(tool["parameters"].get("properties")).get(name))
    return [] if piece is None else [piece]


def _takes_nothing(schema: Mapping[str, Any]) -> bool:
    """Whether a call without any argument fits."""
    decides = ("required", "minProperties", "anyOf", "oneOf", "allOf", "$ref", "const", "enum", "not", "if")
    return not any(schema.get(key) for key in decides)
