"""What single nodes of a syntax tree say by themselves: names, strings, paths of members, patterns."""

from __future__ import annotations

from collections.abc import Iterator

from tree_sitter import Node

from harness.syntax.grammar import unescaped
from harness.syntax.scope import Alias

__all__ = ["StaticReader"]

_MAX_PATTERN_PATH = 40


class StaticReader:
    """Reads nodes of the tree of one source in UTF-8."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def text(self, node: Node, at_most: int | None = None) -> bytes:
        """The node as written, or its first ``at_most`` bytes."""
        end = node.end_byte if at_most is None else min(node.end_byte, node.start_byte + at_most)
        return self._data[node.start_byte : end]

    def identifier(self, node: Node) -> str:
        text = self._data[node.start_byte : node.end_byte].decode()
        return unescaped(text) if "\\" in text else text

    def string(self, node: Node) -> str | None:
        """The value of a string literal, or of a template literal without substitutions; else None."""
        if node.type == "string" or (
            node.type == "template_string" and not any(c.type == "template_substitution" for c in node.named_children)
        ):
            return unescaped(self.text(node)[1:-1].decode())
        return None

    def member(self, node: Node) -> str | None:
        """The property that ``a.b`` or ``a["b"]`` reads, if the text tells; None for any other node."""
        member, index = node.child_by_field_name("property"), node.child_by_field_name("index")
        return self.identifier(member) if member else self.string(index) if index else None

    def chain(self, node: Node) -> Alias | None:
        """``a.b["c"]`` as a root and a path."""
        path: list[str] = []
        while node.type != "identifier":
            inner: Node | None
            if node.type == "parenthesized_expression" and node.named_child_count == 1:
                inner = node.named_children[0]
            elif node.type in {"member_expression", "subscript_expression"}:
                key = self.member(node)
                if key is None:
                    return None
                path.append(key)
                inner = node.child_by_field_name("object")
            else:
                return None
            if inner is None:
                return None
            node = inner
        return Alias(self.identifier(node), tuple(reversed(path)))

    def key(self, member: Node) -> str | None:
        """The property that a member of an object pattern reads, if the text tells."""
        target = member
        if member.type == "object_assignment_pattern":
            target = member.child_by_field_name("left") or member
        elif member.type == "pair_pattern":
            target = member.child_by_field_name("key") or member
        if target.type == "computed_property_name":
            return self.string(target.named_children[0]) if target.named_children else None
        if target.type in {"property_identifier", "shorthand_property_identifier_pattern"}:
            return self.identifier(target)
        return self.string(target)

    def pattern(self, node: Node) -> Iterator[tuple[str, tuple[str, ...] | None]]:
        """The names that a pattern binds, each with the path it is read from (None where that is not fixed)."""
        waiting: list[tuple[Node, tuple[str, ...] | None]] = [(node, ())]
        while waiting:
            node, path = waiting.pop()
            kind = node.type
            if kind in {"identifier", "shorthand_property_identifier_pattern"}:
                name = self.identifier(node)
                yield name, path if kind == "identifier" or path is None else (*path, name)
            elif kind == "pair_pattern":
                key, value = self.key(node), node.child_by_field_name("value")
                fixed = path is not None and key is not None and len(path) < _MAX_PATTERN_PATH
                if value is not None:
                    waiting.append((value, (*(path or ()), key or "") if fixed else None))
            elif kind in {"assignment_pattern", "object_assignment_pattern"}:
                left = node.child_by_field_name("left")
                if left is not None:
                    waiting.append((left, None))
            elif kind == "object_pattern":
                waiting += [(child, path) for child in reversed(node.named_children)]
            elif kind in {"array_pattern", "rest_pattern"}:
                waiting += [(child, None) for child in reversed(node.named_children)]
