"""``--limit key=value``: limits as people write them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from pydantic import ValidationError

from harness.errors import UsageError
from harness.limits import Limits

__all__ = ["parse_limits"]

_NUMBER_AND_UNIT = re.compile(r"([0-9][0-9_]*(?:\.[0-9]+)?) ?([A-Za-z]*)")
_SIZES = {
    "": 1,
    "b": 1,
    "kb": 1_000,
    "mb": 1_000_000,
    "gb": 1_000_000_000,
    "kib": 1024,
    "mib": 1024**2,
    "gib": 1024**3,
}
_TIMES = {"": 1.0, "s": 1.0, "ms": 0.001, "min": 60.0, "h": 3600.0}


def parse_limits(pairs: Iterable[str]) -> Limits:
    """``wall_time=5``, ``wall_time=500ms``, ``memory_bytes=64MiB``, ``max_tool_calls=10`` as ``Limits``.

    Times are seconds unless they name ``ms``, ``s``, ``min`` or ``h``; sizes are bytes unless they name ``KiB``, ``MiB``,
    ``GiB`` (or ``KB``, ``MB``, ``GB``, of 1,000). Raises ``UsageError``.
    """
    values: dict[str, int | float] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        name, text = name.strip(), text.strip()
        if not equals:
            raise UsageError(f"--limit {pair}: write it as name=value, such as --limit wall_time=5.")
        if name not in Limits.model_fields:
            raise UsageError(f"--limit {pair}: there is no limit {name!r}. {_hint(name)}")
        values[name] = _value(pair, name, text)
    try:
        return Limits.model_validate(values)
    except ValidationError as error:
        problem = error.errors()[0]
        name = str(problem["loc"][0])
        raise UsageError(f"--limit {name}={problem['input']}: {problem['msg']}.") from error


def _value(pair: str, name: str, text: str) -> int | float:
    is_time = Limits.model_fields[name].annotation is float
    is_size = isinstance(getattr(Limits(), name), int) and name.endswith("_bytes")
    units: dict[str, float] | dict[str, int] = _TIMES if is_time else _SIZES if is_size else {"": 1}
    match = _NUMBER_AND_UNIT.fullmatch(text)
    factor = units.get(match[2].lower()) if match else None
    if match is None or factor is None:
        raise UsageError(f"--limit {pair}: {_form(is_time=is_time, is_size=is_size)}")
    number = float(match[1]) * factor
    if is_time:
        return number
    if not number.is_integer():
        raise UsageError(f"--limit {pair}: {number:g} is no whole number.")
    return int(number)


def _form(*, is_time: bool, is_size: bool) -> str:
    if is_time:
        return "give a time as seconds (5, 0.5) or with a unit (500ms, 2min)."
    if is_size:
        return "give a size as bytes (65536) or with a unit (64KiB, 1MiB)."
    return "give a whole number."


def _hint(name: str) -> str:
    near = difflib.get_close_matches(name, Limits.model_fields, n=1)
    if near:
        return f"Did you mean {near[0]}?"
    return f"The limits are: {', '.join(Limits.model_fields)}."
