"""Outcomes kept as files: what a text must give, and what of it is compared."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, field_validator, model_validator

from harness.errors import UsageError
from harness.model import Outcome
from harness.plain import child_path, to_plain
from harness.testing.paths import Path as Place
from harness.testing.paths import pruned, read_path

__all__ = ["Golden"]

_MOST_PLACES = 10
_SHOWN = 120
"""Characters of a value."""


class Golden(BaseModel):
    """What must come of one input: a JSON file that people read, and `check` compares with.

    ::

        golden = Golden.load("tests/golden/refund.json")
        golden.check(await harness.run(golden.input))

    ``Golden.record(outcome, …).save(path)`` writes one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: str = Field(min_length=1)
    """What the input is an example of."""
    input: str
    """The text that is run."""
    expected_output: JsonValue
    """`Outcome.canonical` of the outcome, or any other JSON that a test compares."""
    deterministic_fields: tuple[str, ...] = Field(default=("$",), min_length=1)
    """What of it is compared: paths such as ``$.executions[*].value``. ``[*]`` stands for every element of an array,
    ``.*`` for every member of an object, ``$`` for all of it.
    """
    notes: str = ""
    """For people: why it is as it is, what is left out and why."""

    @field_validator("deterministic_fields")
    @classmethod
    def _readable(cls, fields: tuple[str, ...]) -> tuple[str, ...]:
        for text in fields:
            read_path(text)
        return fields

    @model_validator(mode="after")
    def _fields_are_there(self) -> Self:
        for text in self.deterministic_fields:
            missing = _missing(self.expected_output, read_path(text))
            if missing is not None:
                raise ValueError(f"deterministic_fields has {text!r}, but expected_output has no {missing}")
        return self

    @classmethod
    def record(
        cls,
        outcome: Outcome | JsonValue,
        *,
        description: str,
        input: str | None = None,  # noqa: A002 - the name it has in the file
        deterministic_fields: Iterable[str] = ("$",),
        notes: str = "",
    ) -> Golden:
        """One that expects what is there. ``input`` is by default the outcome's own text.

        Raises `UsageError` for fields that name nothing in it, and without an input.
        """
        if input is None:
            if not isinstance(outcome, Outcome):
                raise UsageError("Golden.record() needs input=, the text that was run.")
            input = "".join(segment.text for segment in outcome.segments)  # noqa: A001 - as above
        given = {"description": description, "input": input, "expected_output": _plain(outcome), "notes": notes}
        return _made(given | {"deterministic_fields": tuple(deterministic_fields)}, "This golden")

    @classmethod
    def load(cls, path: str | Path) -> Golden:
        """One from a file. Raises `UsageError`, which says what is wrong with it, and ``OSError``."""
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
        except ValueError as error:
            raise UsageError(f"{path} is no JSON in UTF-8: {error}.") from error
        if not isinstance(data, dict):
            raise UsageError(f"{path} is no golden: it holds no JSON object.")
        return _made(data, str(path))

    def save(self, path: str | Path) -> None:
        """Writes `to_text` to a file."""
        Path(path).write_text(self.to_text(), encoding="utf-8")

    def to_text(self) -> str:
        """The file's text: the same golden gives the same, one line for each value, so that changes are easy to read."""
        data = self.model_dump(mode="json")
        data["expected_output"] = _in_order(data["expected_output"])
        return json.dumps(data, indent=2, ensure_ascii=False) + "\n"

    def compare(self, outcome: Outcome | JsonValue) -> str:
        """How an outcome differs in the deterministic fields, for people; the empty string if it does not.

        First where, then how: lines that begin with ``-`` were expected, lines with ``+`` came. Raises
        `SerializationError` for what has no JSON form.
        """
        fields = [read_path(text) for text in self.deterministic_fields]
        wanted, came = pruned(self.expected_output, fields), pruned(_plain(outcome), fields)
        places = list(_differences(wanted, came, "$"))
        if not places:
            return ""
        more = len(places) - _MOST_PLACES
        lines = difflib.unified_diff(_lines(wanted), _lines(came), "expected", "outcome", lineterm="")
        return "\n".join(
            [
                f"{self.description}: the outcome is another one.",
                *places[:_MOST_PLACES],
                *([f"… and {more} more"] if more > 0 else []),
                "",
                *lines,
            ]
        )

    def check(self, outcome: Outcome | JsonValue) -> None:
        """Raises ``AssertionError`` with `compare` as its text, if there is a difference."""
        __tracebackhide__ = True
        difference = self.compare(outcome)
        if difference:
            raise AssertionError(difference)


def _made(data: dict[str, Any], what: str) -> Golden:
    try:
        return Golden.model_validate(data)
    except ValidationError as error:
        problems = (
            f"{'.'.join(map(str, each['loc']))}: {each['msg']}" if each["loc"] else each["msg"]
            for each in error.errors(include_url=False)
        )
        raise UsageError(f"{what} is no golden. {'; '.join(problems).replace('Value error, ', '')}.") from error


def _plain(outcome: Outcome | JsonValue) -> JsonValue:
    return to_plain(outcome.canonical() if isinstance(outcome, Outcome) else outcome)


def _missing(value: JsonValue, path: Place) -> str | None:
    """The place, if an object on the way has no such member. What is null, empty or of another kind has no members."""
    todo = [("$", value, path)]
    while todo:
        at, item, rest = todo.pop()
        if not rest:
            continue
        step, *further = rest
        if isinstance(item, dict):
            names = list(item) if step is None else [step]
            for name in names:
                if not isinstance(name, str) or name not in item:
                    return child_path(at, name)
                todo.append((child_path(at, name), item[name], tuple(further)))
        elif isinstance(item, list):
            if isinstance(step, str) or (isinstance(step, int) and step >= len(item)):
                return child_path(at, step)
            numbers = range(len(item)) if step is None else [step]
            todo.extend((child_path(at, number), item[number], tuple(further)) for number in numbers)
    return None


def _in_order(value: JsonValue) -> JsonValue:
    if isinstance(value, dict):
        return {name: _in_order(value[name]) for name in sorted(value)}
    return [_in_order(item) for item in value] if isinstance(value, list) else value


def _lines(value: JsonValue) -> list[str]:
    return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True).splitlines()


def _differences(wanted: JsonValue, came: JsonValue, at: str) -> Iterator[str]:
    if isinstance(wanted, dict) and isinstance(came, dict):
        for name in sorted({*wanted, *came}):
            place = child_path(at, name)
            if name not in came:
                yield f"{place} is missing; expected was {_shown(wanted[name])}"
            elif name not in wanted:
                yield f"{place} is not expected: {_shown(came[name])}"
            else:
                yield from _differences(wanted[name], came[name], place)
    elif isinstance(wanted, list) and isinstance(came, list):
        if len(wanted) != len(came):
            yield f"{at} has {len(came)} elements; expected were {len(wanted)}"
        for number, (one, other) in enumerate(zip(wanted, came, strict=False)):
            yield from _differences(one, other, child_path(at, number))
    elif isinstance(wanted, bool) != isinstance(came, bool) or wanted != came:
        yield f"{at} is {_shown(came)}; expected was {_shown(wanted)}"


def _shown(value: JsonValue) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text) - _SHOWN:,} more characters)"
