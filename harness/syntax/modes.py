"""Where a script's result comes from, read from its top-level statements."""

from __future__ import annotations

from dataclasses import dataclass

from tree_sitter import Node, Tree

from harness.syntax.grammar import TooTangled, parse_javascript

__all__ = ["Statements", "read_statements"]

_NOTHING = frozenset({"comment", "html_comment", "hash_bang_line", "empty_statement"})
_FUNCTIONS = frozenset({"function_expression", "generator_function", "arrow_function"})
_LITERALS = frozenset({"string", "number", "true", "false", "null", "undefined", "regex"})
_DECLARATIONS = frozenset({"lexical_declaration", "variable_declaration"})
_FUNCTION_DECLARATIONS = frozenset({"function_declaration", "generator_function_declaration"})
_DEFINITIONS = _DECLARATIONS | _FUNCTION_DECLARATIONS | {"class_declaration"}
# Words that open a statement where a name would open a method or a member: `{ if (a) { … } }`.
_STATEMENT_WORDS = frozenset(
    b"await break case catch class const continue debugger default delete do else enum export extends false finally for "
    b"function if import in instanceof new null return super switch this throw true try typeof var void while with "
    b"yield".split()
)


@dataclass(frozen=True, slots=True)
class Statements:
    """What the top level says; places are offsets in bytes."""

    result: tuple[int, int] | None = None
    """The last statement's expression."""
    empty: bool = False
    """There is nothing to run."""
    never_called: int | None = None
    """Where the last function begins, if the script only defines functions and calls none."""


def read_statements(root: Node, data: bytes) -> Statements:
    statements = [child for child in root.named_children if child.type not in _NOTHING]
    if not statements:
        return Statements(empty=all(child.type != "empty_statement" for child in root.named_children))
    result = _result(statements[-1], data)
    before = len(statements) - 2
    while result is not None and before >= 0 and _ends_in_await(statements[before], data):
        # The grammar ends a statement between `await` and a line break; the language does not.
        begins = _result(statements[before], data)
        result = None if begins is None else (begins[0], result[1])
        before -= 1
    return Statements(result=result, never_called=_never_called(statements))


def _ends_in_await(node: Node, data: bytes) -> bool:
    while children := [child for child in node.children[-3:] if child.type != "comment"]:
        node = children[-1]
    return node.type == "identifier" and data[node.start_byte : node.end_byte] == b"await"


def _result(last: Node, data: bytes) -> tuple[int, int] | None:
    if last.type == "statement_block":
        # `{a, b}`: people who end a script with it mean an object. So does this, if it can be one.
        text = b"(" + data[last.start_byte : last.end_byte] + b")"
        tree = parse_javascript(text)
        node = _only_expression(tree) if isinstance(tree, Tree) else None
        is_object = node is not None and node.type == "object" and _is_valid_object(node, text)
        return (last.start_byte, last.end_byte) if is_object else None
    if last.type != "expression_statement":
        return None
    expression = next((child for child in last.named_children if child.type != "comment"), None)
    if expression is None or (expression.type == "object" and not _is_valid_object(expression, data)):
        return None
    return expression.start_byte, expression.end_byte


def _only_expression(tree: Tree | TooTangled) -> Node | None:
    """``x`` of a source ``(x)`` without errors."""
    node = tree.root_node if isinstance(tree, Tree) else None
    for _ in range(3):  # program, expression statement, parentheses
        if node is None or node.has_error or node.named_child_count != 1:
            return None
        node = node.named_children[0]
    return node


def _is_valid_object(node: Node, data: bytes) -> bool:
    """Whether what the grammar took for an object literal is one to JavaScript too."""
    for member in node.named_children:
        name = member.child_by_field_name("name") if member.type == "method_definition" else member
        if name is not None and data[name.start_byte : name.end_byte] in _STATEMENT_WORDS:
            return False
    # `{a = 1}` is an object only in a pattern.
    waiting = [node]
    while waiting:
        node = waiting.pop()
        children = node.named_children
        if node.type == "object" and any(child.type == "object_assignment_pattern" for child in children):
            return False
        waiting += children
    return True


def _never_called(statements: list[Node]) -> int | None:
    last_function = None
    for statement in statements:
        if statement.type not in _DEFINITIONS:
            return None
        if statement.type in _FUNCTION_DECLARATIONS:
            last_function = statement.start_byte
        elif statement.type in _DECLARATIONS:
            for declarator in statement.named_children:
                value = declarator.child_by_field_name("value")
                if value is not None and value.type in _FUNCTIONS:
                    last_function = statement.start_byte
                elif value is not None and value.type not in _LITERALS:
                    return None
    return last_function
