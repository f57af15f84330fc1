"""``harness executions`` and ``harness approvals``: what is on record, and what of it waits for somebody."""

# ruff: noqa: PLC0415 -- what a command needs is imported when it runs

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.options import AsJson, JournalFile, JournalKey, Keys, SigningKey

if TYPE_CHECKING:
    from harness.durable.looking import ExecutionEntry
    from harness.errors import JournalError

__all__ = ["approvals_command", "executions_command"]

_OPEN = ("running", "suspended", "interrupted", "damaged")


def executions_command(
    journal: JournalFile,
    *,
    status: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STATUS",
            help="Only those that stand so: running, interrupted, damaged, suspended, ok, error, cancelled, terminated, planned. Can "
            "be repeated.",
            show_default=False,
        ),
    ] = None,
    sweep: Annotated[
        bool, typer.Option("--sweep", help="First end the suspended ones that nobody resumed in time.")
    ] = False,
    journal_key: JournalKey = None,
    signing_key: SigningKey = None,
    as_json: AsJson = False,
) -> None:
    """List every execution on record: how it and its outcome stand, and which process works on them.

    An outcome that stands interrupted is gone on with by `harness resume JOURNAL OUTCOME`.
    """
    from harness.cli.output import ending_in_exit, json_output, moment, print_columns, print_json

    with ending_in_exit(), json_output(as_json) as output:
        import anyio

        from harness.canonical import to_canonical_json
        from harness.cli.opening import existing_journal, on_record
        from harness.redaction import visible

        wanted = _statuses(status or [])

        keys = Keys(journal_key, signing_key)

        async def look() -> tuple[int | None, list[ExecutionEntry], set[str]]:
            async with on_record(existing_journal(journal, keys, read_only=not sweep)) as harness:
                swept = await harness.sweep() if sweep else None
                runs = {known.stream for known in await harness.journal.streams("run") if known.status == "running"}
                return swept, await harness.executions(), runs

        swept, entries, runs = anyio.run(look)
        unbegun = sorted(runs - {entry.outcome_id for entry in entries})
        entries = [entry for entry in entries if not wanted or entry.status in wanted]
        if swept is not None:
            typer.echo(f"{swept} suspended {'run was' if swept == 1 else 'runs were'} ended", err=True)
        if output is not None:
            print_json(to_canonical_json([asdict(entry) for entry in entries]), output)
        elif entries:
            rows = [("EXECUTION", "BLOCK", "STATUS", "OUTCOME", "STANDS", "PROCESS", "STARTED", "UNTIL", "EVENTS")]
            rows += [
                (
                    entry.execution_id,
                    str(entry.place + 1),
                    entry.status,
                    entry.outcome_id,
                    entry.outcome_status,
                    "-" if entry.process is None else str(entry.process),
                    moment(entry.started_at),
                    moment(entry.expires_at) or "-",
                    str(entry.events),
                )
                for entry in entries
            ]
            print_columns(rows)
        elif wanted or not unbegun:
            typer.echo("nothing is on record" if not wanted else "nothing on record stands so", err=True)
        if unbegun and not wanted:
            typer.echo(f"begun, without any block yet: {', '.join(map(visible, unbegun))}", err=True)


def _statuses(given: list[str]) -> set[str]:
    from harness.errors import UsageError
    from harness.model import ExecutionStatus

    known = {"running", "interrupted", "damaged", *(status.value for status in ExecutionStatus)}
    unknown = [name for name in given if name not in known]
    if unknown:
        raise UsageError(f"--status {unknown[0]}: the statuses are {', '.join(sorted(known))}.")
    return set(given)


def approvals_command(
    journal: JournalFile,
    *,
    journal_key: JournalKey = None,
    signing_key: SigningKey = None,
    as_json: AsJson = False,
) -> None:
    """List what waits for somebody: approvals, calls in doubt, results that come later.

    It is answered with `harness resume` and the token that the suspended outcome came with, or its id.

    Exit status: 0, or 1 if of an execution it cannot be told: it is damaged, or its values were left out.
    """
    from harness.cli.output import FAILED, ending_in_exit, json_output, moment, print_columns, print_json

    with ending_in_exit(), json_output(as_json) as output:
        import anyio

        from harness.canonical import to_canonical_json
        from harness.redaction import visible

        found, unreadable = anyio.run(_waiting, journal, Keys(journal_key, signing_key))
        if output is not None:
            print_json(to_canonical_json(found), output)
        elif found:
            from harness.cli.waiting import arguments_text

            rows = [("REQUEST", "KIND", "OUTCOME", "STATUS", "UNTIL", "CALL")]
            rows += [
                (
                    item["request"]["id"],
                    item["request"]["kind"],
                    item["outcome_id"],
                    "settled" if item["settled"] else item["status"],
                    moment(item["request"]["expires_at"]),
                    f"tools.{visible(item['request']['tool'])}({arguments_text(item['request']['arguments'])})",
                )
                for item in found
            ]
            print_columns(rows)
        elif not unreadable:
            typer.echo("nothing waits", err=True)
        for name, error in unreadable.items():
            typer.echo(f"harness: what {visible(name)} waits for cannot be told: {visible(error.message)}", err=True)
        if unreadable:
            raise typer.Exit(FAILED)


async def _waiting(path: str, keys: Keys) -> tuple[list[dict[str, Any]], dict[str, JournalError]]:
    """Every open request, with the outcome and the execution it belongs to, oldest first; and what cannot be read."""
    from harness.cli.opening import existing_journal, on_record
    from harness.errors import JournalError
    from harness.journal.record import Record

    found: list[dict[str, Any]] = []
    unreadable: dict[str, JournalError] = {}
    journal = existing_journal(path, keys, read_only=True)
    async with on_record(journal) as harness:
        settled = {known.stream for known in await journal.streams("settlement")}
        for entry in await harness.executions():
            if entry.status not in _OPEN:
                continue
            try:
                record = Record.of(await journal.read(entry.execution_id))
            except JournalError as error:
                unreadable[entry.execution_id] = error
                continue
            found += [
                {
                    "outcome_id": entry.outcome_id,
                    "status": entry.status,
                    "settled": f"settlement_{request_id}" in settled,
                    "request": request.model_dump(mode="json"),
                }
                for request_id, request in record.open_requests().items()
            ]
    return found, unreadable
