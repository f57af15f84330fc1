"""``harness run``."""

# ruff: noqa: PLC0415 -- what a command needs is imported when it runs

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.options import (
    AcceptFenced,
    Approve,
    AsJson,
    ChosenHardening,
    ChosenIsolation,
    File,
    Hardening,
    Isolation,
    JournalKey,
    Keys,
    LimitPairs,
    SigningKey,
    SuspendAfter,
    Tools,
    approver_of,
    limits_of,
    registry_of,
)

if TYPE_CHECKING:
    from harness.model import Outcome

__all__ = ["run_command"]


class Mode(enum.StrEnum):
    ENABLED = "enabled"
    DRY_RUN = "dry-run"
    DISABLED = "disabled"


def run_command(
    file: File,
    *,
    tools: Tools = None,
    approve: Annotated[
        Approve | None,
        typer.Option(
            help="Who answers when a tool needs approval: you, at the terminal, or always or never; or suspend: the script "
            "waits in the journal, and the command ends with status 3. Without this option you are asked, if there is a "
            "terminal.",
            show_default=False,
        ),
    ] = None,
    suspend_after: SuspendAfter = None,
    journal: Annotated[
        str | None,
        typer.Option(
            "--journal",
            "--record",
            metavar="PATH",
            help="Put everything on record in this SQLite file, to replay it, and to go on with it. It holds the real "
            "arguments and results in plain text, unless there is a --journal-key.",
            show_default=False,
        ),
    ] = None,
    journal_key: JournalKey = None,
    signing_key: SigningKey = None,
    omit_values: Annotated[
        bool,
        typer.Option("--omit-values", help="Keep names and states in the journal only; nothing can be replayed then."),
    ] = False,
    idempotency_key: Annotated[
        str | None,
        typer.Option(
            metavar="KEY",
            help="Run this text once for this key: again, and the outcome on record is shown. Needs --journal.",
            show_default=False,
        ),
    ] = None,
    mode: Annotated[
        Mode, typer.Option(help="dry-run shows which calls would be made and makes none; disabled runs nothing.")
    ] = Mode.ENABLED,
    isolation: ChosenIsolation = Isolation.PROCESS,
    hardening: ChosenHardening = Hardening.BEST_EFFORT,
    limit: LimitPairs = None,
    seed: Annotated[int | None, typer.Option(help="Seed of Math.random, for a run that can be repeated.")] = None,
    continue_on_error: Annotated[
        bool, typer.Option("--continue-on-error", help="Run later blocks although an earlier one failed.")
    ] = False,
    accept_fenced: AcceptFenced = False,
    as_json: AsJson = False,
) -> None:
    """Find the blocks of a text, run them, and show what became of each."""
    from harness.cli.output import ending_in_exit, exit_status, json_output, read_text

    with ending_in_exit(), json_output(as_json) as output:
        keys = Keys(journal_key, signing_key)
        if journal is None:
            _check_needs_no_journal(approve, suspend_after, idempotency_key, keys, omit_values=omit_values)
        elif omit_values and (approve is Approve.SUSPEND or suspend_after is not None):
            from harness.errors import UsageError

            raise UsageError("What is suspended is resumed from the values on record: leave out --omit-values.")
        text, limits, registry, approver = read_text(file), limits_of(limit), registry_of(tools), approver_of(approve)

        import anyio

        from harness.cli.ending import print_on_record, show_outcome, tools_again
        from harness.cli.opening import on_record, open_journal
        from harness.pipeline import Harness

        options = {
            "tools": registry,
            "limits": limits,
            "mode": mode.value,
            "approver": approver,
            "suspend_after": suspend_after,
            "isolation": isolation.value,
            "hardening": hardening.value,
            "seed": seed,
            "continue_on_error": continue_on_error,
            "accept_fenced": accept_fenced,
        }

        async def run() -> Outcome:
            if journal is None:
                return await Harness(**options).run(text)  # type: ignore[arg-type] # as in the signature
            async with on_record(open_journal(journal, keys, omit_values=omit_values), **options) as harness:
                return await harness.run(text, idempotency_key=idempotency_key)

        try:
            outcome = anyio.run(run)
        except KeyboardInterrupt:
            if journal is not None:
                print_on_record(journal, keys)
            raise
        show_outcome(outcome, output, journal, [*tools_again(tools), *keys.words()])
        raise typer.Exit(exit_status(outcome))


def _check_needs_no_journal(
    approve: Approve | None, suspend_after: float | None, key: str | None, keys: Keys, *, omit_values: bool
) -> None:
    from harness.errors import UsageError

    given = {
        "--approve suspend": approve is Approve.SUSPEND,
        "--suspend-after": suspend_after is not None,
        "--idempotency-key": key is not None,
        "--journal-key": keys.journal is not None,
        "--signing-key": keys.signing is not None,
        "--omit-values": omit_values,
    }
    for option, present in given.items():
        if present:
            raise UsageError(f"{option} needs a journal, in which the run is on record: add --journal runs.sqlite.")
