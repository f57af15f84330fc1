"""One walk over a script's syntax tree: what it uses, where its result comes from, which names it leaves free."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tree_sitter import Node

from harness.model import ExecutionMode
from harness.syntax.absent import ABSENT_GLOBALS, BANNED_IDENTIFIERS
from harness.syntax.nodes import StaticReader
from harness.syntax.scope import Alias, Reference, Scope, Use

__all__ = ["GLOBAL_OBJECTS", "Syntax", "read_syntax"]

GLOBAL_OBJECTS = frozenset({"globalThis", "window", "self", "global", "this"})
"""Names of the global object; ``this`` is one outside functions and classes."""

_NO_MODE = ExecutionMode(0)
_NOTED = GLOBAL_OBJECTS | ABSENT_GLOBALS.keys() | BANNED_IDENTIFIERS.keys() | {"tools"}
_FUNCTION_LITERALS = frozenset({"function_expression", "generator_function", "arrow_function"})
_CONDITIONAL = frozenset({"if_statement", "while_statement", "do_statement"})
_MEMBERS = ("member_expression", "subscript_expression")
# What can stand directly around a name of which more is to be known than that it is read.
_CARRIERS = frozenset(
    {
        "member_expression",
        "subscript_expression",
        "parenthesized_expression",
        "call_expression",
        "new_expression",
        "binary_expression",
    }
)
_SHORT_CIRCUIT = frozenset({"&&", "||", "??"})
_UNARY = {"typeof": Use.TYPEOF, "!": Use.TEST}
_COMPARISON = frozenset({"==", "===", "!=", "!=="})
_GET_PROTOTYPE = frozenset({b"Object.getPrototypeOf", b"Reflect.getPrototypeOf"})
_LONGEST_GETTER = max(map(len, _GET_PROTOTYPE))


@dataclass(slots=True)
class Syntax:
    """What the walk found; places are offsets in bytes."""

    uses: ExecutionMode = _NO_MODE
    """``RETURN``, ``TOP_LEVEL_AWAIT`` and ``ASYNC_DEF``, where they apply."""
    free: dict[str, list[Reference]] = field(default_factory=dict)
    """Names that the script does not declare, with their uses."""
    banned: list[tuple[str, int]] = field(default_factory=list)
    """Constructs of ``BANNED_SYNTAX``."""
    foreign: list[tuple[str, int]] = field(default_factory=list)
    """Identifiers that are not ASCII."""
    literals: list[tuple[int, int]] = field(default_factory=list)
    """The insides of string and template literals, in order; like the next two only if the source needs them."""
    comments: list[tuple[int, int]] = field(default_factory=list)
    patterns: list[tuple[int, int]] = field(default_factory=list)
    """The insides of regular expressions."""
    html_comments: list[int] = field(default_factory=list)


def read_syntax(root: Node, data: bytes) -> Syntax:
    """Walk the tree of ``data`` once, without recursion, in time linear in its size (but for sorting)."""
    return _Walk(root, data).run()


class _Walk:
    def __init__(self, root: Node, data: bytes) -> None:
        self._root = root
        self._read = StaticReader(data)
        self._found = Syntax()
        self._above: list[Node] = []
        self._scopes = [Scope(depth=0, top_level=True)]
        # Most sources are spared the price of noting what is harmless only in text: they have nothing of the kind.
        plain = data.isascii() and b"\r" not in data and b"<!--" not in data and b"-->" not in data
        self._handlers = _HANDLERS if plain else _HANDLERS | _TEXT_HANDLERS
        if data.count(b"constructor") > 1:
            self._handlers = self._handlers | dict.fromkeys(_MEMBERS, _Walk._constructor)

    def run(self) -> Syntax:
        cursor = self._root.walk()
        handlers, above, scopes = self._handlers, self._above, self._scopes
        while True:
            node = cursor.node
            assert node is not None  # noqa: S101 - a cursor always has one; the binding's types do not say so
            handler = handlers.get(node.type)
            if handler is not None and node.is_named:
                handler(self, node)
            if cursor.goto_first_child():
                above.append(node)
                continue
            while not cursor.goto_next_sibling():
                if not cursor.goto_parent():
                    self._found.free = scopes[0].end()
                    return self._found
                above.pop()
                depth = len(above)
                while depth and scopes[-1].depth >= depth:
                    inner = scopes.pop()
                    scopes[-1].adopt(inner.end())

    # ── scopes and declarations ──────────────────────────────────────────────────────────────────────────────────

    @property
    def _scope(self) -> Scope:
        return self._scopes[-1]

    def _open(self, *, function: bool = False) -> Scope:
        outer = self._scope
        scope = Scope(
            depth=len(self._above),
            top_level=outer.top_level and not function,
            function=None if function else outer.function or outer,
        )
        self._scopes.append(scope)
        return scope

    def _block(self, _node: Node) -> None:
        self._open()

    def _initialiser(self, _node: Node) -> None:
        self._open(function=True).declare("this")

    def _function(self, node: Node) -> None:
        if any(child.type == "async" for child in node.children[:3]):
            self._found.uses |= ExecutionMode.ASYNC_DEF
        name = node.child_by_field_name("name")
        is_declaration = node.type.endswith("_declaration")
        if is_declaration and name is not None:
            self._scope.declare(self._read.identifier(name))
        if node.type in _FUNCTION_LITERALS:
            self._function_literal(node)
        scope = self._open(function=True)
        if node.type != "arrow_function":
            scope.declare("this")
            if not is_declaration and name is not None and name.type == "identifier":
                scope.declare(self._read.identifier(name))
        parameter = node.child_by_field_name("parameter")
        parameters = node.child_by_field_name("parameters")
        for pattern in [parameter] if parameter else parameters.named_children if parameters else []:
            for found, _ in self._read.pattern(pattern):
                scope.declare(found)

    def _function_literal(self, node: Node) -> None:
        """``(() => {}).constructor`` is the ``Function`` constructor, and so is that of its prototype."""
        path, _use = self._chain(node, len(self._above))
        if not path and len(self._above) > 1:
            call = self._above[-2]
            callee = call.child_by_field_name("function") if call.type == "call_expression" else None
            if callee is not None and self._read.text(callee, _LONGEST_GETTER + 1) in _GET_PROTOTYPE:
                path, _use = self._chain(call, len(self._above) - 2)
        if path and path[0] == "constructor":
            self._found.banned.append(("constructor", node.start_byte))

    def _constructor(self, node: Node) -> None:
        """``x.constructor.constructor`` is the ``Function`` constructor, whatever ``x`` is."""
        outer = next(above for above in reversed(self._above) if above.type != "parenthesized_expression")
        if self._read.member(node) == self._read.member(outer) == "constructor":
            self._found.banned.append(("constructor", node.start_byte))

    def _class(self, node: Node) -> None:
        name = node.child_by_field_name("name")
        if node.type == "class":
            self._open()
        if name is not None:
            self._scope.declare(self._read.identifier(name))

    def _catch(self, node: Node) -> None:
        scope = self._open()
        if (parameter := node.child_by_field_name("parameter")) is not None:
            for name, _ in self._read.pattern(parameter):
                scope.declare(name)

    def _for_in(self, node: Node) -> None:
        if any(child.type == "await" for child in node.children[:2]):
            self._await(node)
        scope = self._open()
        kind, left = node.child_by_field_name("kind"), node.child_by_field_name("left")
        if kind is not None and left is not None:
            for name, _ in self._read.pattern(left):
                (scope.declare_var if kind.type == "var" else scope.declare)(name)

    def _computed_name(self, _node: Node) -> None:
        """``{[await x]() {}}``: the name of a method or field is evaluated outside it."""
        member = self._above[-1]
        if self._scope.depth == len(self._above) - 1 and member.type in {"method_definition", "field_definition"}:
            outside = self._scopes[-2]
            self._open().top_level = outside.top_level

    def _declarator(self, node: Node) -> None:
        pattern, value = node.child_by_field_name("name"), node.child_by_field_name("value")
        if pattern is None:
            return
        kind = self._above[-1].children[0].type
        source = self._read.chain(value) if value is not None else None
        for name, path in self._read.pattern(pattern):
            if source is None or path is None or kind != "const":
                (self._scope.declare_var if kind == "var" else self._scope.declare)(name)
            else:
                self._scope.declare(name, Alias(source.root, source.path + path))
        self._destructure(pattern, source)

    def _assignment(self, node: Node) -> None:
        left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
        if left is not None and left.type == "object_pattern" and right is not None:
            self._destructure(left, self._read.chain(right))

    def _destructure(self, pattern: Node, source: Alias | None) -> None:
        """``{eval: e} = globalThis`` reads ``globalThis.eval``."""
        if source is None or pattern.type != "object_pattern":
            return
        for child in pattern.named_children:
            key = self._read.key(child)
            if key is not None:
                self._scope.refer(source.root, Reference((*source.path, key), Use.READ, child.start_byte))

    # ── names and what is done with them ─────────────────────────────────────────────────────────────────────────

    def _name(self, node: Node) -> None:
        name = self._read.identifier(node)
        if not name.isascii():
            self._found.foreign.append((name, node.start_byte))
        if name == "await":
            # `await (x)` reads as a call of a function `await` to the grammar.
            self._await(node)
        if name not in _NOTED and self._above[-1].type not in _CARRIERS:
            return
        path, use = self._chain(node, len(self._above))
        if path or use in {Use.CALL, Use.OPTIONAL_CALL} or name in _NOTED:
            self._scope.refer(name, Reference(path, use, node.start_byte))

    def _chain(self, node: Node, level: int) -> tuple[tuple[str, ...], Use]:
        """The static path of members taken from ``node``, ``level`` nodes below the root, and what becomes of it."""
        path: list[str] = []
        while level:
            parent = self._above[level - 1]
            kind = parent.type
            if kind == "member_expression":
                member = parent.child_by_field_name("property")
                path.append(self._read.identifier(member) if member is not None else "")
            elif kind == "subscript_expression" and parent.start_byte == node.start_byte:
                index = parent.child_by_field_name("index")
                key = self._read.string(index) if index is not None else None
                if key is None:
                    break
                path.append(key)
            elif kind != "parenthesized_expression":
                found = self._end_of_chain(tuple(path), node, parent, level)
                if found is not None:
                    return found
            node, level = parent, level - 1
        return tuple(path), Use.READ

    def _end_of_chain(
        self, path: tuple[str, ...], node: Node, parent: Node, level: int
    ) -> tuple[tuple[str, ...], Use] | None:
        """What ``parent`` makes of a chain; None if it goes on, as if ``parent`` were not there."""
        kind = parent.type
        if kind in ("call_expression", "new_expression"):
            optional = any(child.type == "optional_chain" for child in parent.children[1:2])
            return path, Use.OPTIONAL_CALL if optional else Use.CALL
        if path and kind in ("binary_expression", "await_expression"):
            outer, above = (node, level) if kind == "binary_expression" else (parent, level - 1)
            dashed = self._dashed(outer, above)
            if dashed is not None:
                return (*path[:-1], f"{path[-1]}-{dashed}"), Use.DASHED
        if kind == "binary_expression":
            asked, use = self._operand(node, parent)
            return (*path, *asked), use
        is_test = kind in _CONDITIONAL or (kind == "ternary_expression" and parent.start_byte == node.start_byte)
        return path, Use.TEST if is_test else self._operators(parent)

    def _dashed(self, node: Node, level: int) -> str | None:
        """``item-now`` for ``… - item - now(…)`` behind ``node``; None for any other expression."""
        words: list[str] = []
        while level:
            parent = self._above[level - 1]
            operator, right = parent.child_by_field_name("operator"), parent.child_by_field_name("right")
            if operator is None or right is None or operator.type != "-" or parent.start_byte != node.start_byte:
                return None
            called = right.child_by_field_name("function") if right.type == "call_expression" else None
            word = right if called is None else called
            if word.type != "identifier":
                return None
            words.append(self._read.identifier(word))
            if called is not None:
                return "-".join(words)
            node, level = parent, level - 1
        return None

    def _operators(self, parent: Node) -> Use:
        operator = parent.child(0) if parent.type == "unary_expression" else None
        return Use.READ if operator is None else _UNARY.get(operator.type, Use.READ)

    def _operand(self, node: Node, parent: Node) -> tuple[tuple[str, ...], Use]:
        """What a binary operator asks about ``node``, and the member in ``"x" in node``."""
        operator, left = parent.child_by_field_name("operator"), parent.child_by_field_name("left")
        if operator is None or left is None:
            return (), Use.READ
        symbol, is_left = operator.type, left.start_byte == node.start_byte
        key = self._read.string(left) if symbol == "in" and not is_left else None
        if key is not None:
            return (key,), Use.TEST
        return (), Use.TEST if symbol in _COMPARISON or (symbol in _SHORT_CIRCUIT and is_left) else Use.READ

    # ── the rest ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _return(self, _node: Node) -> None:
        if self._scope.top_level:
            self._found.uses |= ExecutionMode.RETURN

    def _await(self, _node: Node) -> None:
        if self._scope.top_level:
            self._found.uses |= ExecutionMode.TOP_LEVEL_AWAIT

    def _using(self, node: Node) -> None:
        if any(child.type == "await" for child in node.children[:1]):
            self._await(node)

    def _banned_syntax(self, node: Node) -> None:
        text = node.type.removesuffix("_statement")
        if text == "meta_property":
            if not self._read.text(node).startswith(b"import"):
                return
            text = "import"
        self._found.banned.append((text, node.start_byte))

    # ── noted only if the source needs it ────────────────────────────────────────────────────────────────────────

    def _property(self, node: Node) -> None:
        if not self._read.text(node).isascii():
            self._found.foreign.append((self._read.identifier(node), node.start_byte))

    def _literal(self, node: Node) -> None:
        self._found.literals.append((node.start_byte, node.end_byte))

    def _comment(self, node: Node) -> None:
        self._found.comments.append((node.start_byte, node.end_byte))

    def _regex(self, node: Node) -> None:
        self._found.patterns.append((node.start_byte, node.end_byte))

    def _html_comment(self, node: Node) -> None:
        self._found.html_comments.append(node.start_byte)

    @classmethod
    def handlers(cls) -> dict[str, Callable[[_Walk, Node], None]]:
        """What is done on coming to a node of each type."""
        return {
            "identifier": cls._name,
            "this": cls._name,
            "shorthand_property_identifier": cls._name,
            "shorthand_property_identifier_pattern": cls._name,
            "function_declaration": cls._function,
            "generator_function_declaration": cls._function,
            "function_expression": cls._function,
            "generator_function": cls._function,
            "arrow_function": cls._function,
            "method_definition": cls._function,
            "class_declaration": cls._class,
            "class": cls._class,
            "class_static_block": cls._initialiser,
            "field_definition": cls._initialiser,
            "computed_property_name": cls._computed_name,
            "statement_block": cls._block,
            "for_statement": cls._block,
            "switch_body": cls._block,
            "for_in_statement": cls._for_in,
            "catch_clause": cls._catch,
            "variable_declarator": cls._declarator,
            "using_declaration": cls._using,
            "assignment_expression": cls._assignment,
            "return_statement": cls._return,
            "await_expression": cls._await,
            "import": cls._banned_syntax,
            "import_statement": cls._banned_syntax,
            "export_statement": cls._banned_syntax,
            "with_statement": cls._banned_syntax,
            "debugger_statement": cls._banned_syntax,
            "meta_property": cls._banned_syntax,
        }

    @classmethod
    def text_handlers(cls) -> dict[str, Callable[[_Walk, Node], None]]:
        return {
            "property_identifier": cls._property,
            "private_property_identifier": cls._property,
            "string_fragment": cls._literal,
            "escape_sequence": cls._literal,
            "comment": cls._comment,
            "regex_pattern": cls._regex,
            "html_comment": cls._html_comment,
        }


_HANDLERS = _Walk.handlers()
_TEXT_HANDLERS = _Walk.text_handlers()
