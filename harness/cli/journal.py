"""``harness journal``: a journal as a file to move, check and clean up."""

# ruff: noqa: PLC0415 -- what a command needs is imported when it runs

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.options import AsJson, JournalFile, JournalKey, Keys, SigningKey

if TYPE_CHECKING:
    from harness.journal.journal import Journal

__all__ = ["journal_app"]

journal_app = typer.Typer(
    help="Move a journal, check it, and delete from it.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@journal_app.command("export")
def export_command(
    journal: JournalFile,
    outcomes: Annotated[
        list[str] | None,
        typer.Argument(metavar="OUTCOME_ID", help="Only these and their executions.", show_default=False),
    ] = None,
    *,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="FILE", help="By default standard output.", show_default=False),
    ] = None,
) -> None:
    """Write events as JSON lines, one a line, as they are: encrypted values stay so."""
    from harness.cli.output import ending_in_exit, json_output, print_json

    with ending_in_exit(), json_output(output is None) as standard:
        from harness.cli.opening import existing_journal
        from harness.cli.output import counted
        from harness.cli.transfer import write_lines
        from harness.errors import UsageError
        from harness.journal.transfer import export_lines
        from harness.redaction import visible

        opened = existing_journal(journal, Keys(), read_only=True)
        try:
            known = {stream.stream for stream in opened.store.streams("run")}
            missing = [name for name in outcomes or () if name not in known]
            if missing:
                raise UsageError(f"There is no outcome {missing[0]!r} on record. `harness executions` lists them.")
            lines = export_lines(opened, outcomes or None)
            if standard is not None:
                for line in lines:
                    print_json(line, standard)
            elif output is not None:
                count = write_lines(output, lines)
                typer.echo(f"{counted(count, 'event')} written to {visible(output)}", err=True)
        finally:
            opened.close()


@journal_app.command("import")
def import_command(
    journal: JournalFile,
    file: Annotated[
        str, typer.Argument(metavar="FILE|-", help="What was exported; - reads standard input.", show_default=False)
    ],
    *,
    signing_key: SigningKey = None,
    as_json: AsJson = False,
) -> None:
    """Take in what was exported; the journal is made if it is not there.

    Every event is checked before any is written. What is known already is left as it is, and a last line that was cut
    off is left out; both are said.
    """
    from harness.cli.output import ending_in_exit, json_output, print_json, print_plain

    with ending_in_exit(), json_output(as_json) as output:
        from harness.canonical import to_canonical_json
        from harness.cli.opening import open_journal
        from harness.cli.transfer import imported_lines, read_lines
        from harness.journal.transfer import import_lines

        lines = read_lines(file)
        opened = open_journal(journal, Keys(signing=signing_key))
        try:
            imported = import_lines(opened, lines)
        finally:
            opened.close()
        if output is not None:
            found = {
                "streams": imported.streams,
                "events": imported.events,
                "known": imported.known,
                "torn": imported.torn,
            }
            print_json(to_canonical_json(found), output)
        else:
            print_plain("".join(f"{line}\n" for line in imported_lines(imported)))


@journal_app.command("verify")
def verify_command(
    journal: JournalFile,
    *,
    journal_key: JournalKey = None,
    signing_key: SigningKey = None,
    as_json: AsJson = False,
) -> None:
    """Check every event on record: its hash, its place in its chain, and with keys its signature and its values.

    Exit status: 0 if all is well, 1 if something is damaged or does not open with the key that was given.
    """
    from harness.cli.output import FAILED, ending_in_exit, json_output, print_json, print_plain

    with ending_in_exit(), json_output(as_json) as output:
        from harness.canonical import to_canonical_json
        from harness.cli.opening import existing_journal
        from harness.cli.verifying import verified, verified_lines

        keys = Keys(journal_key, signing_key)
        opened = existing_journal(journal, keys, read_only=True)
        try:
            found = verified(opened)
        finally:
            opened.close()
        if output is not None:
            print_json(to_canonical_json(found.to_dict()), output)
        else:
            print_plain("".join(f"{line}\n" for line in verified_lines(found, keys)))
        if found.damaged or (journal_key is not None and found.unopened):
            raise typer.Exit(FAILED)


@journal_app.command("delete")
def delete_command(
    journal: JournalFile,
    outcomes: Annotated[
        list[str], typer.Argument(metavar="OUTCOME_ID", help="With all their executions.", show_default=False)
    ],
    *,
    force: Annotated[
        bool, typer.Option("--force", help="Also those that are suspended, running or interrupted.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Delete outcomes and their executions. They cannot be replayed any more, nor resumed."""
    from harness.cli.output import ending_in_exit, json_output, print_json, print_plain

    with ending_in_exit(), json_output(as_json) as output:
        import anyio

        from harness.canonical import to_canonical_json
        from harness.cli.opening import existing_journal

        opened = existing_journal(journal, Keys())
        try:
            anyio.run(_delete, opened, outcomes, force)
        finally:
            opened.close()
        if output is not None:
            found: dict[str, Any] = {"deleted": outcomes}
            print_json(to_canonical_json(found), output)
        else:
            print_plain("".join(f"{name} is deleted\n" for name in outcomes))


async def _delete(journal: Journal, outcomes: list[str], force: bool) -> None:
    """All of them, or none."""
    from harness.errors import UsageError

    runs = {known.stream: known.status for known in await journal.streams("run")}
    for name in outcomes:
        if name not in runs:
            raise UsageError(f"There is no outcome {name!r} on record. `harness executions` lists them.")
        if runs[name] in ("running", "suspended") and not force:
            raise UsageError(f"{name} has not ended, so it could still be resumed; --force deletes it all the same.")
    for name in outcomes:
        await journal.forget(name)


@journal_app.command("new-key")
def new_key_command() -> None:
    """Print a fresh key, to encrypt a journal's values or to sign its events with. Keep it where the journal is not."""
    from harness.cli.output import ending_in_exit, print_plain

    with ending_in_exit():
        from harness.journal.values import new_key

        print_plain(f"{new_key()}\n")
