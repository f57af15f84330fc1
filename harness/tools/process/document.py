"""What a command wrote to standard output, as the one JSON document it must be."""

from __future__ import annotations

import json
import re
from typing import Any, Literal, NoReturn

from pydantic import JsonValue

from harness.canonical import to_canonical_json
from harness.errors import SerializationError
from harness.plain import child_path, to_plain
from harness.redaction import shorten

__all__ = ["DocumentError", "StdoutMode", "first_difference", "last_line", "read_document"]

StdoutMode = Literal["document", "last-line"]

_SPACE = re.compile(r"[ \t\r\n]*")


class DocumentError(Exception):
    """Why an output is not exactly one JSON document."""


def read_document(data: bytes, mode: StdoutMode = "document", *, max_depth: int = 200) -> JsonValue:
    """The document. With ``"last-line"`` it is the last line that is not blank, and what stands before it is ignored.

    Raises `DocumentError`, whose text completes "its standard output …".
    """
    text = _text(data)
    if mode == "last-line":
        text = last_line(text)
    start = _end_of_space(text, 0)
    if start == len(text):
        raise DocumentError("is empty")
    try:
        value, end = _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        raise DocumentError(f"is no JSON: {error.msg} at {_place(text, error.pos)}{_hint(text)}") from None
    except RecursionError:
        raise DocumentError("is nested too deeply; make it flatter") from None
    rest = _end_of_space(text, end)
    if rest != len(text):
        raise DocumentError(f"goes on after the document, at {_place(text, rest)}{_hint(text)}")
    try:
        return to_plain(value, max_depth=max_depth)
    except SerializationError as error:
        raise DocumentError(f"holds what no script can be given. {error.message}") from None


def last_line(text: str) -> str:
    """The last line that is not blank, or nothing."""
    return next((line for line in reversed(text.split("\n")) if line.strip()), "")


def first_difference(  # noqa: PLR0911 - one for each way to differ
    left: JsonValue, right: JsonValue, path: str = "$"
) -> tuple[str, JsonValue, JsonValue] | None:
    """Where two documents first differ, and what stands there in each. What one of them lacks is shown as null."""
    if isinstance(left, dict) and isinstance(right, dict):
        for name in sorted({*left, *right}):
            if (name in left) != (name in right):
                return child_path(path, name), left.get(name), right.get(name)
            found = first_difference(left[name], right[name], child_path(path, name))
            if found is not None:
                return found
        return None
    if isinstance(left, list) and isinstance(right, list):
        for index, (one, other) in enumerate(zip(left, right, strict=False)):
            found = first_difference(one, other, child_path(path, index))
            if found is not None:
                return found
        if len(left) != len(right):
            at = min(len(left), len(right))
            return child_path(path, at), left[at] if at < len(left) else None, right[at] if at < len(right) else None
        return None
    # Text tells true from 1, and holds 1 and 1.0 for the same number, as JSON does.
    return None if to_canonical_json(left) == to_canonical_json(right) else (path, left, right)


def _text(data: bytes) -> str:
    zero = data.find(b"\0")
    if zero >= 0:
        raise DocumentError(f"holds a NUL byte at offset {zero:,}; write UTF-8 text")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DocumentError(f"is no UTF-8: byte 0x{data[error.start]:02x} at offset {error.start:,}") from None
    if text.startswith("\ufeff"):
        raise DocumentError("begins with a byte order mark; write UTF-8 without one")
    return text


def _end_of_space(text: str, start: int) -> int:
    found = _SPACE.match(text, start)
    return start if found is None else found.end()


def _place(text: str, position: int) -> str:
    line = text.count("\n", 0, position) + 1
    return f"line {line}, column {position - text.rfind(chr(10), 0, position)}"


def _hint(text: str) -> str:
    try:
        json.loads(last_line(text))
    except (ValueError, RecursionError):
        return ""
    if "\n" not in text.strip():
        return ""
    return '. Logs belong on standard error; for a tool that cannot be changed there is stdout="last-line"'


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value] # the value of add is what makes `or` go on
        raise DocumentError(f"has the key {json.dumps(shorten(twice, 80, '…'))} twice in one object")
    return members


def _no_constant(name: str) -> NoReturn:
    raise DocumentError(f"holds {name}, which is no JSON; write null or a string")


def _integer(digits: str) -> int:
    # Twenty digits are enough to be refused for their size, with the path; Python refuses thousands without it.
    return int(digits[:20])


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant, parse_int=_integer)
