"""Data that counts how often it is looked at, so that work on it ends.

A query comes from a script and can be made to take any time (``$..*..*..*``). Whoever evaluates it sees only ``dict``
and ``list``; these are such, and every step through them, every comparison included, draws on one budget.
"""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterator
from typing import Any, SupportsIndex, overload

from pydantic import JsonValue

__all__ = ["Meter", "TooMuchWorkError", "metered", "unmetered"]

_LOOK_UP_EVERY = 1_000
_CHARACTERS = 32
"""Characters of a text that are worth one step."""


class TooMuchWorkError(Exception):
    """The budget of steps is used up."""


class Meter:
    """A budget of steps. ``check`` is called every thousand of them; it raises to stop."""

    def __init__(self, most: int, check: Callable[[], None]) -> None:
        self.most = most
        self._left = most
        self._next_check = most
        self._check = check

    def spend(self, steps: int) -> None:
        """Raises `TooMuchWorkError` if there are not as many left."""
        self._left -= steps
        if self._left < 0:
            raise TooMuchWorkError
        if self._left <= self._next_check:
            self._next_check = self._left - _LOOK_UP_EVERY
            self._check()

    def spend_text(self, text: str) -> None:
        """As `spend`, for a look at the whole of a text."""
        self.spend(1 + len(text) // _CHARACTERS)


class _Object(dict[str, Any]):
    __slots__ = ("meter",)
    meter: Meter

    def __getitem__(self, name: str) -> Any:
        self.meter.spend(1)
        return super().__getitem__(name)

    def items(self) -> ItemsView[str, Any]:  # type: ignore[override] # a dict's own view
        self.meter.spend(1 + len(self))
        return super().items()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Object) or len(self) != len(other):
            return False
        self.meter.spend(1 + len(self))
        return all(
            name in other and _equal(dict.__getitem__(other, name), item, self.meter) for name, item in super().items()
        )

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None  # as for every dict


class _Array(list[Any]):
    __slots__ = ("meter",)
    meter: Meter

    @overload
    def __getitem__(self, index: SupportsIndex) -> Any: ...
    @overload
    def __getitem__(self, index: slice[Any, Any, Any]) -> list[Any]: ...
    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        self.meter.spend(1 + len(found) if isinstance(index, slice) else 1)
        return found

    def __iter__(self) -> Iterator[Any]:
        self.meter.spend(1 + len(self))
        return super().__iter__()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Array) or len(self) != len(other):
            return False
        return all(_equal(left, right, self.meter) for left, right in zip(self, other, strict=True))

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None  # as for every list


def _equal(left: Any, right: Any, meter: Meter) -> bool:
    """As JSON has it: unlike in Python, true is not 1."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, str):
        meter.spend_text(left)
    return bool(left == right)


def metered(value: JsonValue, meter: Meter) -> Any:
    """A copy of plain JSON data that counts on ``meter``."""
    if isinstance(value, dict):
        an_object = _Object({name: metered(item, meter) for name, item in value.items()})
        an_object.meter = meter
        return an_object
    if isinstance(value, list):
        an_array = _Array([metered(item, meter) for item in value])
        an_array.meter = meter
        return an_array
    return value


def unmetered(value: Any, meter: Meter) -> JsonValue:
    """A plain copy of what `metered` gave, or of a part of it; each value in it and each piece of text is a step."""
    if isinstance(value, dict):
        meter.spend(1)
        plain: dict[str, JsonValue] = {}
        for name, item in value.items():
            meter.spend_text(name)
            plain[name] = unmetered(item, meter)
        return plain
    if isinstance(value, list):
        meter.spend(1)
        return [unmetered(item, meter) for item in value]
    if isinstance(value, str):
        meter.spend_text(value)
    else:
        meter.spend(1)
    plain_scalar: JsonValue = value
    return plain_scalar
