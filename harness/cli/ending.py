"""What ``harness run`` and ``harness resume`` say at their end."""

# ruff: noqa: PLC0415 -- JSON does not need what people do

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

import typer

from harness.cli.options import Keys
from harness.cli.output import people, print_json
from harness.model import Outcome

__all__ = ["print_on_record", "show_outcome", "tools_again"]


def tools_again(tools: Sequence[str] | None) -> list[str]:
    """``--tools``, as it stands on a command line."""
    return [word for reference in tools or () for word in ("--tools", reference)]


def show_outcome(outcome: Outcome, output: BinaryIO | None, journal: str | None, options: Sequence[str]) -> None:
    """Print an outcome, as JSON to ``output`` or else for people; if it is suspended, with the command to go on with it,
    which needs ``options`` again.
    """
    if output is not None:
        print_json(outcome.to_json(), output)
        return
    from harness.cli.waiting import print_how_to_go_on
    from harness.display import print_outcome

    with people() as console:
        print_outcome(outcome, console)
        if journal is not None:
            print_how_to_go_on(outcome, console, journal, options)


def print_on_record(journal: str, keys: Keys) -> None:
    """Say, after an interruption, where to look for what was under way."""
    from harness.cli.waiting import command_line

    hint = command_line("executions", journal, *keys.words())
    typer.echo(f"harness: what was under way is on record; {hint} shows it", err=True)
