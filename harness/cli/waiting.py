"""What waits for somebody, and the commands with which it goes on."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from harness.cli.output import moment
from harness.model import Outcome
from harness.redaction import visible

__all__ = ["arguments_text", "command_line", "print_how_to_go_on"]

_MAX_ARGUMENTS = 160
_ANSWERS = {
    "approval": "To decide an approval: --allow ID[=CHANGES], --deny ID[=REASON], --answer ID=JSON or --terminate ID.",
    "in_doubt": "To say what became of a call in doubt: --answer ID=JSON (it happened, and gave this), --allow ID (it did "
    "not happen: make it now), --deny ID (nobody knows) or --terminate ID.",
    "deferred": "To give a result that comes later: {settle}, or --answer ID=JSON.",
}


def arguments_text(arguments: object) -> str:
    """Arguments for a person, on one line."""
    if arguments == {}:
        return ""
    text = json.dumps(arguments, ensure_ascii=False)
    cut = len(text) - _MAX_ARGUMENTS
    return visible(f"{text[:_MAX_ARGUMENTS]}… ({cut:,} more characters)" if cut > 0 else text)


def command_line(*words: str) -> str:
    """A command as it is typed."""
    return shlex.join(["harness", *words])


def print_how_to_go_on(outcome: Outcome, console: Console, journal: str, options: Sequence[str]) -> None:
    """What waits, with its id and what can be said to it, and the command to go on. Nothing for what is not suspended.

    ``options`` are those that the command needs again: tools and keys.
    """
    if outcome.resume_token is None:
        return
    _say(console, "")
    for request in outcome.pending:
        call = f"tools.{visible(request.tool)}({arguments_text(request.arguments)})"
        kind = request.kind.replace("_", " ")
        _say(console, f"{request.id}  {kind}  {call}  until {moment(request.expires_at)}")
    _say(console, "")
    _say(console, "To go on; at a terminal you are asked about each approval, unless you decide some with the command:")
    _say(console, "")
    _say(console, f"    {command_line('resume', journal, outcome.resume_token, *options)}")
    _say(console, "")
    settle = command_line("settle", journal, "ID", "--value", "JSON")
    for kind, answers in _ANSWERS.items():
        if any(request.kind == kind for request in outcome.pending):
            _say(console, answers.format(settle=settle))
    _say(console, "Whoever has this token can go on, once; then the outcome comes with another, or is at its end.")
    _say(console, f"If it is lost, {outcome.id} serves in its place, with whoever can write to the journal.")


def _say(console: Console, text: str) -> None:
    console.print(Text(text), soft_wrap=True)
