"""What a run that is played does otherwise than it did when it was recorded, in words for whoever changed it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import JsonValue

from harness.errors import ReplayDivergenceError
from harness.journal.machine import machine
from harness.journal.payloads import CallIssued
from harness.journal.replay import differences
from harness.model import Block, Outcome
from harness.testing.golden import Golden
from harness.testing.tape import TapedRun, segments_of
from harness.tools.calls import ToolCall

__all__ = ["Playback", "mismatch"]

_SHOWN = 300
"""Characters of the arguments of a call."""


@dataclass
class Playback:
    """What came of a run that was played."""

    tape: TapedRun
    text: str = ""
    given: Mapping[str, JsonValue] = field(default_factory=dict)
    contracts: list[str] = field(default_factory=list)
    """What is wrong with the tools that there are now."""
    calls: dict[int, list[ToolCall]] = field(default_factory=dict)
    """What each block called, by its place from 1, as far as it came."""
    changed: set[int] = field(default_factory=set)
    """Blocks whose scripts are not the recorded ones, so that their calls may stand in other lines."""
    stopped: tuple[int, ReplayDivergenceError] | None = None
    """The block that took another way, and how."""
    outcome: Outcome | None = None
    """None if it was stopped."""


def mismatch(playback: Playback) -> str:
    """How it differs from what is on record, section by section; empty if it does not."""
    sections = [section for section in _sections(playback) if section]
    if sections and dict(playback.tape.machine) != machine():
        sections.append(
            "This was recorded on another build: "
            + "; ".join(differences(dict(playback.tape.machine), machine()))
            + ". Where nothing else was changed, that may be why."
        )
    return "\n\n".join(sections)


def _sections(playback: Playback) -> Iterator[str]:
    tape = playback.tape
    given = differences(dict(tape.given), dict(playback.given))
    if given:
        yield _list("It is given something else:", given)
    if playback.contracts:
        yield _list("Its tools are not what they were:", playback.contracts)
    changed = playback.text != tape.text
    if changed:
        yield from _texts(playback)
    if playback.stopped is not None:
        yield _stopped(playback, *playback.stopped)
    elif playback.outcome is not None:
        yield _outcomes(tape, playback.outcome, scripts=not changed)


def _list(title: str, lines: Iterable[str]) -> str:
    return "\n".join([title, *(f"  {line}" for line in lines)])


def _diff(then: str, now: str) -> str:
    return (
        "\n".join(difflib.unified_diff(then.splitlines(), now.splitlines(), "recorded", "now", lineterm="", n=2))
        or f"--- recorded\n+++ now\n-{then!r}\n+{now!r}"
    )


def _texts(playback: Playback) -> Iterator[str]:
    then, given = playback.tape.sources, playback.given
    now = [each.source for each in segments_of(playback.text, given) if isinstance(each, Block)]
    if len(then) != len(now):
        yield f"The text has {len(now)} blocks; it had {len(then)}.\n{_diff(playback.tape.text, playback.text)}"
        return
    scripts = [(place, *pair) for place, pair in enumerate(zip(then, now, strict=True), 1) if pair[0] != pair[1]]
    for place, before, after in scripts:
        yield f"The script of block {place} has changed:\n{_diff(before, after)}"
    if not scripts:
        yield f"The text around the blocks has changed:\n{_diff(playback.tape.text, playback.text)}"


def _stopped(playback: Playback, place: int, error: ReplayDivergenceError) -> str:
    taped = next((each for each in playback.tape.executions if each.block == place), None)
    then = {call.call: call for call in ([] if taped is None else taped.calls)}
    now = {call.id: call for call in playback.calls.get(place, ())}
    lines_count = place not in playback.changed
    number = next(
        (
            call
            for call in sorted({*then, *now})
            if _key(then.get(call), lines=lines_count) != _key(now.get(call), lines=lines_count)
        ),
        None,
    )
    if number is None:
        return f"Block {place} took another way: {error.message}"
    if number in now:
        # It was stopped there, and nobody knows what it would have called next.
        then = {call: each for call, each in then.items() if call <= number}
        what = "is another one" if number in then else "was not made then"
    else:
        what = "is not made any more"
    lines = []
    for call in sorted({*then, *now}):
        if call in now and call != number:
            lines.append(f"  {call}. {_text(now[call])}")
        else:
            sides = (("-", then.get(call)), ("+", now.get(call)))
            lines += [f"{sign} {call}. {_text(each)}" for sign, each in sides if each is not None]
    told = _list(f"Call {number} of block {place} {what} (- recorded, + now):", lines)
    return told if number in now else f"{told}\n{error.message}"


def _key(call: CallIssued | ToolCall | None, *, lines: bool) -> tuple[str, str, int | None] | None:
    return None if call is None else (call.tool, call.arguments_json, call.line if lines else None)


def _text(call: CallIssued | ToolCall) -> str:
    arguments = call.arguments_json.removeprefix("[").removesuffix("]")
    shown = arguments if len(arguments) <= _SHOWN else f"{arguments[:_SHOWN]}… ({len(arguments):,} characters)"
    return f"tools.{call.tool}({shown})" + ("" if call.line is None else f" in line {call.line}")


def _outcomes(tape: TapedRun, outcome: Outcome, *, scripts: bool) -> str:
    then, now = tape.outcome.canonical(), outcome.canonical()
    if not scripts:
        then, now = _without_scripts(then), _without_scripts(now)
    found = Golden(description="It", input="", expected_output=then).compare(now)
    if not found:
        return "" if scripts else "Every call and the outcome are as they were."
    _, found = found.split("\n", 1)
    return "The outcome is another one:\n" + found.replace("--- expected\n+++ outcome", "--- recorded\n+++ now", 1)


def _without_scripts(outcome: dict[str, Any]) -> dict[str, Any]:
    """Without what follows from the text, and the places in it: it was told already that this has changed."""
    executions = [
        {name: item for name, item in each.items() if name != "script"}
        | {"logs": [_elsewhere(entry) for entry in each["logs"]], "error": each["error"] and _elsewhere(each["error"])}
        for each in outcome["executions"]
    ]
    return {name: item for name, item in outcome.items() if name != "segments"} | {"executions": executions}


def _elsewhere(item: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name not in ("line", "column", "stack")}
