"""Python values as plain JSON data, checked all the way down."""

from __future__ import annotations

import enum
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NoReturn

from pydantic import JsonValue, TypeAdapter
from pydantic.errors import PydanticUserError
from pydantic_core import PydanticSerializationError, SchemaSerializer, core_schema, to_json, to_jsonable_python

from harness.errors import SerializationError
from harness.places import types_at

__all__ = ["MAX_SAFE_INTEGER", "child_path", "dump_plain", "to_plain", "unique_members"]

MAX_SAFE_INTEGER = 2**53 - 1
"""The largest integer a JavaScript number holds exactly, and with its sign changed the smallest."""

_SHOWN_PATH = 120
_BYTES = "bytes; send them decoded, or as base64 text"
_ANY = SchemaSerializer(core_schema.any_schema())
_IDENTIFIER = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*\Z")


class _Refused(Exception):  # noqa: N818 - never leaves this module; a signal that gathers the path on its way up
    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what
        self.parts: list[str | int] = []


def child_path(path: str, part: str | int) -> str:
    """``$.rows`` and ``3`` give ``$.rows[3]``."""
    if isinstance(part, int):
        return f"{path}[{part}]"
    return f"{path}.{part}" if _IDENTIFIER.match(part) else f"{path}[{json.dumps(part)}]"


def unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object for ``json.loads(object_pairs_hook=…)``. Raises ``ValueError`` if it has a key twice."""
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("an object has the same key twice")
    return members


def to_plain(value: Any, *, path: str = "$", max_depth: int = 200) -> JsonValue:
    """A copy of ``value`` made of ``dict``, ``list``, ``str``, ``int``, ``float``, ``bool`` and ``None`` only.

    Models, dataclasses, dates, enums, UUIDs, decimals and the like take the JSON form pydantic gives them; tuples and
    sets become arrays (a set in the order of its members' JSON). Keys that are no strings are written as strings.

    Raises `SerializationError`, with ``details["path"]``, for what JSON or a JavaScript number cannot carry:
    functions, bytes, NaN and infinities, integers beyond ±(2⁵³−1), lone surrogates, keys that collide, cycles and
    nesting deeper than ``max_depth``. Nothing is dropped silently. Bytes pass only as the field of a model that
    declares them, in the form it declares.
    """
    return _run(lambda: _plain(value, max_depth), path, max_depth)


def dump_plain(
    serializer: SchemaSerializer, value: Any, *, schema: Mapping[str, Any] | None = None, max_depth: int = 200
) -> JsonValue:
    """As `to_plain`, for a value with a pydantic serializer of its own.

    ``schema`` is the JSON Schema of what the serializer writes. Where it does not ask for text, bytes are an error; it
    can be left out if it `says_all`, since then there are none where none are declared.
    """

    def declared(_value: Any) -> Mapping[str, Any]:
        return schema or {}

    def convert() -> JsonValue:
        try:
            return _plain(_dumped(serializer, value, None if schema is None else declared), max_depth)
        except _Refused as refused:
            if not refused.parts:
                _plain(value, max_depth)  # the serializer does not say where the trouble is; this walk does
            raise

    return _run(convert, "$", max_depth)


def _run(convert: Callable[[], JsonValue], path: str, max_depth: int) -> JsonValue:
    try:
        return convert()
    except _Refused as refused:
        what, parts = refused.what, refused.parts
    except RecursionError:
        what, parts = f"nested deeper than the {max_depth} levels that are allowed", []
    for part in reversed(parts):
        path = child_path(path, part)
    shown = path if len(path) <= _SHOWN_PATH else f"{path[:_SHOWN_PATH]}…"
    raise SerializationError(f"The value at {shown} cannot be sent: it is {what}.", details={"path": path})


def _plain(value: Any, depth: int) -> JsonValue:  # noqa: C901, PLR0911 - one branch for each JSON type, the common ones first
    kind = type(value)
    if kind is str:
        if not value.isascii():
            _check_text(value)
        return value  # type: ignore[no-any-return] # the exact type was just tested
    if value is None or kind is bool:
        return value  # type: ignore[no-any-return] # as above
    if kind is int:
        if not -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER:
            raise _Refused("an integer beyond ±(2^53−1), which JavaScript cannot hold exactly; send it as a string")
        return value  # type: ignore[no-any-return] # as above
    if kind is float:
        if not math.isfinite(value):
            raise _Refused(f"{value}, which JSON has no form for; send null or a string")
        return value  # type: ignore[no-any-return] # as above
    if kind is dict:
        return _plain_dict(value, depth)
    if kind is list or kind is tuple:
        if depth <= 0:
            _refuse_depth(value)
        items: list[JsonValue] = []
        for item in value:
            try:
                items.append(_plain(item, depth - 1))
            except _Refused as refused:
                refused.parts.append(len(items))
                raise
        return items
    return _plain_other(value, depth)


def _plain_dict(value: Mapping[Any, Any], depth: int) -> JsonValue:
    if depth <= 0:
        _refuse_depth(value)
    members: dict[str, JsonValue] = {}
    for key, item in value.items():
        name = key if type(key) is str else _key(key)
        if not name.isascii():
            _check_text(name)
        if name in members:
            raise _Refused(f"an object with two keys that are both written {json.dumps(name)}")
        try:
            members[name] = _plain(item, depth - 1)
        except _Refused as refused:
            refused.parts.append(name)
            raise
    return members


def _plain_other(value: Any, depth: int) -> JsonValue:
    if isinstance(value, (set, frozenset)):
        # The order of a set differs from process to process; the order of its JSON texts does not.
        items = _plain(list(value), depth)
        return sorted(items, key=to_json) if isinstance(items, list) else items
    if isinstance(value, tuple):
        return _plain(list(value), depth)
    if isinstance(value, Mapping):
        return _plain_dict(value, depth)
    if isinstance(value, (bytes, bytearray, memoryview)):
        raise _Refused(_BYTES)
    if callable(value):
        raise _Refused(f"a function or class ({type(value).__name__}); send what it returns")
    if isinstance(value, Iterator):
        raise _Refused(f"an iterator ({type(value).__name__}); send a list of what it yields")
    converted = _dumped(_ANY, value, _declared_by_type)
    if type(converted) is type(value):
        raise _Refused(f"of type {type(value).__name__}, which has no JSON form")
    return _plain(converted, depth)


def _declared_by_type(value: Any) -> Mapping[str, Any]:
    try:
        return TypeAdapter(type(value)).json_schema(mode="serialization")
    except PydanticUserError:  # it has no schema, and so declares nothing
        return {}


def _dumped(serializer: SchemaSerializer, value: Any, declared: Callable[[Any], Mapping[str, Any]] | None) -> Any:
    """``value`` as the serializer writes it; ``declared`` gives the schema of that, None if it need not be asked."""
    try:
        converted = serializer.to_python(value, mode="json", by_alias=True, fallback=_refuse_type)
        # Inside models and containers pydantic writes NaN as null and bytes as text, unless told otherwise. Neither
        # must go unnoticed.
        if (declared is not None and isinstance(converted, (dict, list, str))) or b"null" in to_json(converted):
            _Comparison(value, declared).look(serializer.to_python(value, mode="python", by_alias=True), converted, ())
    except (PydanticSerializationError, ValueError) as error:
        raise _Refused(f"of type {type(value).__name__}, which has no JSON form ({error})") from error
    return converted


class _Comparison:
    """Looks for what is lost between a value as Python data and the same as JSON data."""

    def __init__(self, value: Any, declared: Callable[[Any], Mapping[str, Any]] | None) -> None:
        self._value = value
        self._declared = declared
        self._schema: Mapping[str, Any] | None = None

    def look(self, value: Any, converted: Any, parts: tuple[str | int, ...]) -> None:
        """Raises `_Refused`, with the path, for NaN that became null and for bytes that nobody declared."""
        if isinstance(value, enum.Enum):
            value = value.value
        if isinstance(value, float) and converted is None:
            raise _refused_at(parts, f"{value}, which JSON has no form for; send null or a string")
        if isinstance(value, (bytes, bytearray, memoryview)) and not self._asks_for(parts, "string"):
            raise _refused_at(parts, _BYTES)
        if isinstance(value, Iterator) and not self._asks_for(parts, "array"):
            raise _refused_at(parts, f"an iterator ({type(value).__name__}); send a list of what it yields")
        pairs: Iterable[tuple[str | int, Any]] = ()
        if isinstance(value, dict) and isinstance(converted, dict):
            if any(isinstance(name, bytes) for name in value):
                raise _refused_at(parts, "an object with a key that is bytes, which is no text")
            pairs = ((str(name), item) for name, item in value.items() if str(name) in converted)
        elif isinstance(value, (list, tuple)) and isinstance(converted, list) and len(value) == len(converted):
            pairs = enumerate(value)
        elif isinstance(value, (set, frozenset)):
            pairs = enumerate(value)
            converted = list(value)
        for part, item in pairs:
            self.look(item, converted[part], (*parts, part))

    def _asks_for(self, parts: tuple[str | int, ...], kind: str) -> bool:
        if self._declared is None:
            return True
        if self._schema is None:
            self._schema = self._declared(self._value)
        return kind in types_at(self._schema, parts)


def _refused_at(parts: tuple[str | int, ...], what: str) -> _Refused:
    refused = _Refused(what)
    refused.parts.extend(reversed(parts))
    return refused


def _refuse_type(value: Any) -> NoReturn:
    raise _Refused(f"or holds a value of type {type(value).__name__}, which has no JSON form")


def _key(key: Any) -> str:
    if isinstance(key, (tuple, bytes)):
        raise _Refused(f"an object with a key of type {type(key).__name__}, which is no text")
    try:
        (name,) = to_jsonable_python({key: None})
    except (PydanticSerializationError, ValueError) as error:
        raise _Refused(f"an object with a key of type {type(key).__name__}, which is no text") from error
    return str(name)


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise _Refused(f"text with a lone surrogate at character {error.start}, which UTF-8 cannot carry") from error


def _refuse_depth(value: Any) -> NoReturn:
    raise _Refused("part of itself (a cycle)" if _is_cyclic(value) else "nested too deeply; make it flatter")


def _is_cyclic(root: Any) -> bool:
    """Whether a walk down from ``root`` meets one of its own ancestors. Each container is entered once."""
    on_path: set[int] = set()
    done: set[int] = set()
    stack: list[tuple[Any, bool]] = [(root, False)]
    while stack:
        value, leaving = stack.pop()
        if leaving:
            on_path.discard(id(value))
            done.add(id(value))
            continue
        if id(value) in on_path:
            return True
        if id(value) in done or not isinstance(value, (dict, list, tuple)):
            continue
        on_path.add(id(value))
        stack.append((value, True))
        stack.extend((item, False) for item in (value.values() if isinstance(value, dict) else value))
    return False
