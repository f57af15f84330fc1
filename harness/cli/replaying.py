"""``harness replay``: what is on record run again, and shown event by event."""

# ruff: noqa: PLC0415 -- what a command needs is imported when it runs

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.options import AsJson, JournalFile, JournalKey, Keys, SigningKey

if TYPE_CHECKING:
    from harness.durable.looking import ExecutionEntry
    from harness.errors import JournalError
    from harness.journal.journal import Recorded
    from harness.journal.partial import ReplayedPart
    from harness.model import Outcome
    from harness.pipeline import Harness

__all__ = ["replay_command"]


@dataclass
class Report:
    """What a replay came to."""

    id: str
    result: str
    """``same``; ``unfinished``: the same as far as the record goes; ``diverged``; ``refused``: it cannot be replayed."""
    outcome: Outcome | None = None
    error: JournalError | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {
            "id": self.id,
            "result": self.result,
            "outcome": None if self.outcome is None else self.outcome.to_dict(),
            "error": None if self.error is None else self.error.info().model_dump(mode="json"),
        }


def replay_command(
    journal: JournalFile,
    some_id: Annotated[
        str | None,
        typer.Argument(
            metavar="ID", help="An outcome or an execution; without it, all that is on record.", show_default=False
        ),
    ] = None,
    *,
    step: Annotated[
        bool, typer.Option("--step", help="Show it event by event; at a terminal, each after you have pressed Enter.")
    ] = False,
    until: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Run an execution up to event N of its record, and show what it had called and logged by then.",
            show_default=False,
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also if it was recorded on another build of the engine or the C library.")
    ] = False,
    journal_key: JournalKey = None,
    signing_key: SigningKey = None,
    as_json: AsJson = False,
) -> None:
    """Run what is on record again, without its tools, and compare every call and the end.

    Exit status: 0 if all is the same, 1 if one took another way or cannot be replayed.
    """
    from harness.cli.output import FAILED, ending_in_exit, json_output, print_json

    with ending_in_exit(), json_output(as_json) as output:
        import anyio

        from harness.canonical import to_canonical_json
        from harness.cli.opening import existing_journal, on_record

        keys = Keys(journal_key, signing_key)

        async def replay() -> bool:
            async with on_record(existing_journal(journal, keys, read_only=True)) as harness, harness:
                runs = _chosen(await harness.executions(), some_id)
                if until is not None:
                    part, events = await _part(harness, runs, until, force=force)
                    if output is not None:
                        print_json(to_canonical_json(_part_dict(part)), output)
                    else:
                        _show_part(part, events, step=step)
                    return True
                same = True
                for run, entries in runs.items():
                    report = await _replayed(harness, run, entries, some_id, force=force)
                    same = same and report.error is None
                    if output is not None:
                        print_json(to_canonical_json(report.to_dict()), output)
                    else:
                        await _show(harness, report, entries, step=step)
                if not runs and output is None:
                    typer.echo("nothing is on record", err=True)
                return same

        if not anyio.run(replay):
            raise typer.Exit(FAILED)


def _chosen(entries: list[ExecutionEntry], some_id: str | None) -> dict[str, list[ExecutionEntry]]:
    """The executions of each run, oldest first; those that ``some_id`` means. Raises `UsageError`."""
    from harness.errors import UsageError

    runs: dict[str, list[ExecutionEntry]] = {}
    for entry in entries:
        if some_id in (None, entry.execution_id, entry.outcome_id):
            runs.setdefault(entry.outcome_id, []).append(entry)
    if some_id is not None and not runs:
        raise UsageError(f"No execution on record belongs to {some_id!r}. `harness executions` lists them.")
    return runs


async def _replayed(
    harness: Harness, run: str, entries: list[ExecutionEntry], some_id: str | None, *, force: bool
) -> Report:
    from harness.errors import JournalError

    name = some_id or run
    try:
        open_ones = [entry for entry in entries if entry.status in ("running", "interrupted", "suspended")]
        if not open_ones:
            return Report(name, "same", await harness.replay(name, force=force))
        for entry in entries:
            if entry in open_ones:
                await harness.replay_until(entry.execution_id, force=force)
            else:
                await harness.replay(entry.execution_id, force=force)
    except JournalError as error:
        return Report(name, "diverged" if _is_divergence(error) else "refused", error=error)
    return Report(name, "unfinished")


def _is_divergence(error: JournalError) -> bool:
    """Whether the script took another way; else it was not even tried: on another build, or where the end is missing."""
    from harness.errors import ReplayDivergenceError

    recorded = error.details.get("recorded")
    no_end = recorded == error.details.get("happened") == "no end"
    return isinstance(error, ReplayDivergenceError) and not isinstance(recorded, Mapping) and not no_end


async def _part(
    harness: Harness, runs: dict[str, list[ExecutionEntry]], until: int, *, force: bool
) -> tuple[ReplayedPart, list[Recorded]]:
    from harness.errors import UsageError

    entries = [entry for each in runs.values() for entry in each]
    if len(runs) > 1:
        raise UsageError("--until is about one execution: name it. `harness executions` lists them.")
    if len(entries) != 1:
        names = ", ".join(entry.execution_id for entry in entries)
        raise UsageError(f"--until is about one execution; on record here: {names or 'none'}. Name one.")
    (entry,) = entries
    part = await harness.replay_until(entry.execution_id, until, force=force)
    return part, (await harness.journal.read(entry.execution_id))[:until]


def _part_dict(part: ReplayedPart) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        **asdict(part),
        "logs": [line.model_dump(mode="json") for line in part.logs],
        "progress": [event.model_dump(mode="json") for event in part.progress],
    }


# ── for people ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _show_part(part: ReplayedPart, events: list[Recorded], *, step: bool) -> None:
    from harness.cli.output import print_plain
    from harness.cli.steps import event_lines, part_lines

    if step:
        _step(lambda: iter([line for recorded in events for line in [event_lines(recorded)]]))
    print_plain("".join(f"{line}\n" for line in part_lines(part)))


async def _show(harness: Harness, report: Report, entries: list[ExecutionEntry], *, step: bool) -> None:
    from harness.cli.output import print_plain
    from harness.cli.steps import event_lines, report_lines
    from harness.errors import JournalError

    if step:
        for entry in entries:
            if report.error is not None and report.result == "refused":
                break
            try:
                events = await harness.journal.read(entry.execution_id)
            except JournalError:  # the report says it
                break
            last = _diverged_at(report, events)
            print_plain(f"{entry.execution_id}  block {entry.place + 1}\n")
            _step(lambda events=events, last=last: (event_lines(recorded) for recorded in events[:last]))  # type: ignore[misc]
    print_plain("".join(f"{line}\n" for line in report_lines(report.id, report.result, report.error)))


def _diverged_at(report: Report, events: list[Recorded]) -> int | None:
    """The event behind which nothing is the same any more, if it is one of these."""
    seq = None if report.error is None else report.error.details.get("seq")
    return seq if isinstance(seq, int) and seq <= len(events) else None


def _step(texts: Callable[[], Iterator[str]]) -> None:
    """Print one text after the other; at a terminal, wait for Enter before the next one."""
    import sys

    from harness.cli.output import print_plain

    waits = sys.stdin.isatty() and sys.stdout.isatty()
    for number, text in enumerate(texts()):
        if waits and number and not sys.stdin.readline():
            waits = False
        print_plain(text if waits else f"{text}\n")
    if waits:
        print_plain("\n")
