"""Canonical JSON (RFC 8785) and the content hashes built on it.

Two values that are equal as JSON have one canonical text, so texts and hashes can be compared in place of values.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from typing import Any

import rfc8785

from harness.errors import SerializationError

__all__ = ["MAX_SAFE_INTEGER", "content_hash", "json_path", "to_canonical_json"]

MAX_SAFE_INTEGER = 2**53 - 1
"""The largest integer that every JSON reader, JavaScript among them, takes exactly."""

_PLAIN_KEY = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")


def to_canonical_json(value: Any) -> str:
    """Plain JSON data (``dict``, ``list``, ``tuple``, ``str``, ``int``, ``float``, ``bool``, ``None``) in the one
    form that RFC 8785 gives it.

    Raises ``SerializationError`` for anything that has none; ``details["path"]`` says where it stands. An integer beyond
    ±(2^53−1) has one only if every digit of it is kept by readers that know nothing but doubles.
    """
    try:
        try:
            return rfc8785.dumps(value).decode()
        except rfc8785.IntegerDomainError:
            return rfc8785.dumps(_with_doubles(value)).decode()
    except RecursionError:
        raise SerializationError(
            "the value is nested too deeply to be written as JSON, or contains itself; flatten it",
            details={"path": "$"},
        ) from None
    except ValueError as error:  # the library's own errors are ValueErrors, as is a key that UTF-16 cannot hold
        raise _first_problem(value) from error


def content_hash(value: Any) -> str:
    """SHA-256 of the canonical JSON, in hexadecimal."""
    return hashlib.sha256(to_canonical_json(value).encode()).hexdigest()


def json_path(parent: str, key: str | int) -> str:
    """The path of a member: ``$.rows[3].id``, and ``$["a b"]`` for a key that is no identifier."""
    if isinstance(key, int):
        return f"{parent}[{key}]"
    if _PLAIN_KEY.fullmatch(key):
        return f"{parent}.{key}"
    return f"{parent}[{json.dumps(key)}]"  # ASCII only, so that it can be printed whatever the key holds


def _with_doubles(value: Any) -> Any:
    """A copy in which every integer that spells a double is that double.

    RFC 8785 writes the double 1.2e16 as ``12000000000000000``, which Python reads as an integer that the library refuses.
    """
    if isinstance(value, dict):
        return {key: _with_doubles(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_with_doubles(item) for item in value]
    return float(value) if isinstance(value, int) and _is_double(value) else value


def _is_double(number: int) -> bool:
    try:
        return not isinstance(number, bool) and rfc8785.dumps(float(number)) == str(number).encode()
    except OverflowError:
        return False


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
