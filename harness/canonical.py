"""Canonical JSON (RFC 8785) and the content hashes built on it.

Two values that are equal as JSON have one canonical text, so texts and hashes can be compared in place of values.
``specs/canonical-json.md`` says what each value's text holds.
"""

from __future__ import annotations

import abc
import hashlib
import json
import math
import re
import sys
from collections.abc import Callable, Mapping
from json.encoder import encode_basestring
from typing import Any

import rfc8785

from harness.errors import SerializationError

__all__ = [
    "MAX_SAFE_INTEGER",
    "Canonical",
    "content_hash",
    "json_path",
    "to_canonical_bytes",
    "to_canonical_json",
    "with_doubles",
]

MAX_SAFE_INTEGER = 2**53 - 1
"""The largest integer that every JSON reader, JavaScript among them, takes exactly."""

_GREATEST = int(sys.float_info.max)

_PLAIN_KEY = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")


class Canonical(abc.ABC):
    """What is hashed and compared by its content: two that mean the same have one canonical text, and one hash."""

    __slots__ = ()

    @abc.abstractmethod
    def canonical(self) -> dict[str, Any]:
        """What makes it what it is, as plain JSON data. ``specs/canonical-json.md`` lists it for every value."""

    def to_canonical_json(self) -> str:
        """``canonical()`` as canonical JSON (RFC 8785). Raises `SerializationError` if something in it has no JSON form."""
        return to_canonical_json(self.canonical())

    def content_hash(self) -> str:
        """SHA-256 of `to_canonical_json` in UTF-8: 64 hexadecimal digits. Raises as that does."""
        return content_hash(self.canonical())


def to_canonical_json(value: Any) -> str:
    """Plain JSON data (``dict``, ``list``, ``tuple``, ``str``, ``int``, ``float``, ``bool``, ``None``) in the one
    form that RFC 8785 gives it.

    Raises ``SerializationError`` for anything that has none; ``details["path"]`` says where it stands. An integer beyond
    ±(2^53−1) has one only if every digit of it is kept by readers that know nothing but doubles.
    """
    try:
        text = _WRITERS[type(value)](value)
        if not text.isascii():
            text.encode()  # refuses half of a surrogate pair
    except RecursionError:
        raise SerializationError(
            "the value is nested too deeply to be written as JSON, or contains itself; flatten it",
            details={"path": "$"},
        ) from None
    except (TypeError, ValueError) as error:  # whoever refused it, which may be the standard library's encoder
        raise _first_problem(value) from error
    return text


def to_canonical_bytes(value: Any) -> bytes:
    """`to_canonical_json` in UTF-8: what is hashed and signed."""
    return to_canonical_json(value).encode()


def content_hash(value: Any) -> str:
    """SHA-256 of the canonical JSON in UTF-8: 64 hexadecimal digits, without a name of the algorithm before them."""
    return hashlib.sha256(to_canonical_bytes(value)).hexdigest()


def with_doubles(value: Any) -> Any:
    """A copy of plain JSON data in which every integer beyond ±(2^53−1) is the double nearest to it.

    For data that others made, such as a schema with ``"maximum": 9223372036854775807``: it is what a reader of JSON that
    knows only doubles takes it for; one past all doubles is the greatest of them.
    """
    if isinstance(value, Mapping):
        return {key: with_doubles(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [with_doubles(item) for item in value]
    if isinstance(value, int) and not -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER:
        return float(min(max(value, -_GREATEST), _GREATEST))
    return value


# ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────
#
# The library writes the numbers that are hard to write. What is easy is written here, with the standard library's
# encoder of strings: `make bench-canonical` shows how many times faster that is.


def _object(value: dict[str, Any]) -> str:
    if not value:
        return "{}"
    names = "".join(value)
    # Code points and UTF-16 units give another order only where one of them is past the surrogates.
    plain = names.isascii() or max(names) < "\ud800"
    keys = sorted(value) if plain else sorted(value, key=_utf16)
    members = [f"{encode_basestring(key)}:{_WRITERS[type(item := value[key])](item)}" for key in keys]
    return f"{{{','.join(members)}}}"


def _utf16(key: str) -> bytes:
    return key.encode("utf-16be")


def _array(value: list[Any] | tuple[Any, ...]) -> str:
    return f"[{','.join([_WRITERS[type(item)](item) for item in value])}]"


def _integer(value: int) -> str:
    if -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER or _is_double(value):
        return int.__repr__(value)
    raise ValueError("not a double")


def _number(value: float) -> str:
    if 1e-4 <= value < 1e16 or -1e16 < value <= -1e-4:
        # Python and ECMAScript write these alike, except that Python has a fraction of zero.
        text = float.__repr__(value)
        return text.removesuffix(".0")
    return "0" if value == 0 else rfc8785.dumps(value).decode()


class _Writers(dict[type, Callable[[Any], str]]):
    """The function that writes a value, by the value's type."""

    def __missing__(self, kind: type) -> Callable[[Any], str]:
        for base in kind.__mro__[1:]:
            if base in self:
                return self[base]
        raise TypeError(f"{kind.__name__} has no JSON form")


_WRITERS = _Writers(
    {
        dict: _object,
        list: _array,
        tuple: _array,
        str: encode_basestring,
        int: _integer,
        float: _number,
        bool: {True: "true", False: "false"}.__getitem__,
        type(None): {None: "null"}.__getitem__,
    }
)


def _is_double(number: int) -> bool:
    """Whether an integer is written as RFC 8785 writes a double: the double 1.2e16 is ``12000000000000000``."""
    try:
        return rfc8785.dumps(float(number)) == int.__repr__(number).encode()
    except OverflowError:
        return False


# ── paths and problems ───────────────────────────────────────────────────────────────────────────────────────────


def json_path(parent: str, key: str | int) -> str:
    """The path of a member: ``$.rows[3].id``, and ``$["a b"]`` for a key that is no identifier."""
    if isinstance(key, int):
        return f"{parent}[{key}]"
    if _PLAIN_KEY.fullmatch(key):
        return f"{parent}.{key}"
    return f"{parent}[{json.dumps(key)}]"  # ASCII only, so that it can be printed whatever the key holds


def _first_problem(value: Any) -> SerializationError:
    """Why ``value`` was refused. The library says what but not where, so look only once something is wrong."""
    todo: list[tuple[str, Any]] = [("$", value)]
    while todo:
        path, item = todo.pop()
        problem = _problem(item)
        if problem is not None:
            return SerializationError(f"{path}: {problem}", details={"path": path})
        if isinstance(item, dict):
            for key in item:
                if not isinstance(key, str):
                    message = f"{path}: the key {key!r} is no string; JSON objects have string keys only"
                    return SerializationError(message, details={"path": path})
                if _has_surrogate(key):
                    where = json_path(path, key)
                    return SerializationError(f"{where}: the key {_SURROGATE}", details={"path": where})
            todo.extend((json_path(path, key), item[key]) for key in reversed(item))
        elif isinstance(item, (list, tuple)):
            todo.extend((json_path(path, index), item[index]) for index in reversed(range(len(item))))
    return SerializationError("the value has no canonical JSON form", details={"path": "$"})


_SURROGATE = "holds half of a surrogate pair, which UTF-8 cannot carry; replace it before it gets here"


def _problem(item: Any) -> str | None:
    match item:
        case None | bool() | dict() | list() | tuple():
            return None
        case str():
            return f"the text {_SURROGATE}" if _has_surrogate(item) else None
        case int():
            if -MAX_SAFE_INTEGER <= item <= MAX_SAFE_INTEGER or _is_double(item):
                return None
            return "an integer beyond ±(2^53−1) loses digits in JSON; send it as a string"
        case float():
            return None if math.isfinite(item) else f"JSON has no {item}; use null or a string"
        case _:
            return f"a {type(item).__name__} has no JSON form; convert it to plain data first"


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)
