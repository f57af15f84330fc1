"""JSON text of a worker as data: read more strictly than JSON asks for, and not at all if it holds more than it may."""

from __future__ import annotations

import json
import math
import re
from itertools import islice
from typing import Any, NoReturn

from pydantic import JsonValue
from pydantic_core import from_json

from harness.runtime.adapter import WorkerGoneError

__all__ = ["read_body", "read_value"]

_SMALL = 64 * 1024
"""Bytes of a body that is read without counting first: all it could hold is little."""

# One match for each comma and each opening bracket outside of strings. What is in no match is a string that does not
# end, and all behind it. Nothing is tried twice: the time is that of one look at each byte.
_ITEM = re.compile(rb'[^"\[{,]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^"\[{,]*+)*+(?:[\[{,]|.*+)', re.DOTALL)

_UNUSUAL_NUMBER = re.compile(r"[0-9]{16}|[0-9][eE]")
_MOST_EXACT = 2**53 - 1


def read_body(body: bytes, most_items: int) -> Any:
    """The body of a frame. Raises ``ValueError`` or ``RecursionError`` for what is no JSON, has a name twice, holds
    ``NaN`` or an infinity, and, before memory is taken for them, for more than ``most_items`` values: a megabyte of
    ``{},{},`` would become thirty, and keep the host busy for half a second.
    """
    if len(body) > _SMALL and _holds_more(body, most_items):
        raise ValueError(f"it holds more than the {most_items:,} values that it may")
    return _DECODER.decode(body.decode())


def _holds_more(body: bytes, most: int) -> bool:
    if sum(map(body.count, (b",", b"[", b"{"))) <= most:
        return False
    return next(islice(_ITEM.finditer(body), most, None), None) is not None


def read_value(text: str) -> JsonValue:
    """JSON text of the VM as data. Raises `WorkerGoneError` (``violation``) for what is none, is nested too deeply, or
    holds a number that JavaScript cannot: the prelude sends none of these.
    """
    try:
        value: JsonValue = from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise WorkerGoneError(f"the worker sent a value that is no JSON: {error}", violation=True) from None
    if _UNUSUAL_NUMBER.search(text) and not _has_exact_numbers(value):
        raise WorkerGoneError("the worker sent a number that a script cannot hold", violation=True)
    return value


def _has_exact_numbers(root: JsonValue) -> bool:
    todo: list[JsonValue] = [root]
    while todo:
        value = todo.pop()
        if isinstance(value, dict):
            todo.extend(value.values())
        elif isinstance(value, list):
            todo.extend(value)
        elif isinstance(value, float):
            if not math.isfinite(value):
                return False
        elif isinstance(value, int) and not -_MOST_EXACT <= value <= _MOST_EXACT:
            return False
    return True


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a name occurs twice")
    return result


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse_constant)
