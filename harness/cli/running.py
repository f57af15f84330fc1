"""``harness run``, ``resume`` and ``settle``: what runs scripts, or lets one go on."""

# ruff: noqa: PLC0415 -- what a command needs is imported when it runs

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, BinaryIO

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
    JournalFile,
    JournalKey,
    Keys,
    LimitPairs,
    SigningKey,
    Tools,
    approver_of,
    limits_of,
    registry_of,
)

if TYPE_CHECKING:
    from harness.approvals.decision import Decision
    from harness.journal.journal import Journal
    from harness.model import Outcome
    from harness.pipeline import Harness

__all__ = ["resume_command", "run_command", "settle_command"]

SuspendAfter = Annotated[
    float | None,
    typer.Option(
        "--suspend-after",
        metavar="SECONDS",
        min=0.0,
        help="Suspend a script for which nobody has answered after so many seconds. Needs --journal.",
        show_default=False,
    ),
]


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
        text, limits, registry, approver = read_text(file), limits_of(limit), registry_of(tools), approver_of(approve)

        import anyio

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
                from harness.cli.waiting import command_line

                hint = command_line("executions", journal, *keys.words())
                typer.echo(f"harness: what was under way is on record; {hint} shows it", err=True)
            raise
        _show(outcome, output, journal, [*_again(tools), *keys.words()])
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


def _again(tools: Sequence[str] | None) -> list[str]:
    return [word for reference in tools or () for word in ("--tools", reference)]


def _show(outcome: Outcome, output: BinaryIO | None, journal: str | None, options: Sequence[str]) -> None:
    from harness.cli.output import people, print_json

    if output is not None:
        print_json(outcome.to_json(), output)
        return
    from harness.cli.waiting import print_how_to_go_on
    from harness.display import print_outcome

    with people() as console:
        print_outcome(outcome, console)
        if journal is not None:
            print_how_to_go_on(outcome, console, journal, options)


# ── going on ─────────────────────────────────────────────────────────────────────────────────────────────────────────

Allow = Annotated[
    list[str] | None,
    typer.Option(
        "--allow",
        metavar="ID[=CHANGES]",
        help="Approve a request; CHANGES is a JSON merge patch on the call's arguments. Of a call in doubt: it did not "
        "happen, make it now. Can be repeated.",
        show_default=False,
    ),
]
Deny = Annotated[
    list[str] | None,
    typer.Option(
        "--deny",
        metavar="ID[=REASON]",
        help="Deny a request; the script is told why. Of a deferred call: it failed. Can be repeated.",
        show_default=False,
    ),
]
Answer = Annotated[
    list[str] | None,
    typer.Option(
        "--answer",
        metavar="ID=JSON",
        help="Give a call's result instead of making the call. Of one in doubt: it happened, and this came of it. Can be "
        "repeated.",
        show_default=False,
    ),
]
Terminate = Annotated[
    list[str] | None,
    typer.Option(
        "--terminate",
        metavar="ID[=REASON]",
        help="Deny a request and end the whole script.",
        show_default=False,
    ),
]


def resume_command(
    journal: JournalFile,
    token: Annotated[
        str,
        typer.Argument(
            metavar="TOKEN|ID",
            help="The token of a suspended outcome, or the id of an outcome whose process was interrupted.",
            show_default=False,
        ),
    ],
    *,
    tools: Tools = None,
    allow: Allow = None,
    deny: Deny = None,
    answer: Answer = None,
    terminate: Terminate = None,
    approve: Annotated[
        Approve | None,
        typer.Option(
            help="Who answers what was not decided with the options above, and what is asked from here on. Without this "
            "option you are asked, if there is a terminal and nothing was decided; else it goes on waiting.",
            show_default=False,
        ),
    ] = None,
    suspend_after: SuspendAfter = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="With an ID: the process that ran it has ended, although that cannot be seen here."
        ),
    ] = False,
    journal_key: JournalKey = None,
    signing_key: SigningKey = None,
    isolation: ChosenIsolation = Isolation.PROCESS,
    hardening: ChosenHardening = Hardening.BEST_EFFORT,
    as_json: AsJson = False,
) -> None:
    """Go on with a text that is suspended, or whose process was interrupted; decide what it waits for.

    Script, limits and context are those on record, and so is everything that happened before.
    """
    from harness.cli.output import ending_in_exit, exit_status, json_output

    with ending_in_exit(), json_output(as_json) as output:
        import anyio

        from harness.cli.decisions import parse_decisions
        from harness.cli.opening import existing_journal, on_record
        from harness.errors import UsageError

        decisions = parse_decisions(allow or (), deny or (), answer or (), terminate or ())
        with_token = token.startswith("rsm_")
        if force and with_token:
            raise UsageError("--force is for an outcome whose process was interrupted; a token needs none.")
        registry = registry_of(tools)
        approver = "suspend" if approve is None and decisions else approver_of(approve, "suspend")
        keys = Keys(journal_key, signing_key)

        async def resume() -> Outcome:
            record = existing_journal(journal, keys)
            async with on_record(
                record,
                tools=registry,
                approver=approver,
                suspend_after=suspend_after,
                isolation=isolation.value,
                hardening=hardening.value,
            ) as harness:
                if with_token:
                    outcome = await harness.resume(token, decisions)
                else:
                    run = await _run_of(record, token)
                    outcome = await harness.recover(run, decisions, force=force)
                return await _ask_about_doubts(harness, outcome, approver)

        outcome = anyio.run(resume)
        _show(outcome, output, journal, [*_again(tools), *keys.words()])
        raise typer.Exit(exit_status(outcome))


async def _run_of(journal: Journal, some_id: str) -> str:
    """The outcome that an execution belongs to; another id as it is."""
    return next((known.run for known in await journal.streams("execution") if known.stream == some_id), some_id)


async def _ask_about_doubts(harness: Harness, outcome: Outcome, approver: object) -> Outcome:
    """Ask a person, if there is one, what became of the calls in doubt, until none is left or they do not want to say."""
    from harness.approvals.terminal import TerminalApprover

    if not isinstance(approver, TerminalApprover):
        return outcome
    while outcome.resume_token is not None:
        decisions: dict[str, Decision] = {}
        for request in outcome.pending:
            decision = await approver.ask_what_happened(request) if request.kind == "in_doubt" else None
            if decision is not None:
                decisions[request.id] = decision
        if not decisions:
            return outcome
        outcome = await harness.resume(outcome.resume_token, decisions)
    return outcome


def settle_command(
    journal: JournalFile,
    deferral_id: Annotated[
        str,
        typer.Argument(
            metavar="DEFERRAL_ID",
            help="The id of the open call, which its tool found as context.deferral_id.",
            show_default=False,
        ),
    ],
    *,
    value: Annotated[
        str | None,
        typer.Option(metavar="JSON|-", help="The call's result; - reads it from standard input.", show_default=False),
    ] = None,
    error: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Why there is no result.", show_default=False)
    ] = None,
    journal_key: JournalKey = None,
    signing_key: SigningKey = None,
    as_json: AsJson = False,
) -> None:
    """Give the result of a call whose tool said that it comes later, or say why there is none.

    The script hears of it when its outcome is resumed.
    """
    from harness.cli.output import ending_in_exit, json_output, print_json, print_plain, read_text

    with ending_in_exit(), json_output(as_json) as output:
        import anyio

        from harness.canonical import to_canonical_json
        from harness.cli.decisions import parse_json
        from harness.cli.opening import existing_journal, on_record
        from harness.errors import UsageError

        if (value is None) == (error is None):
            raise UsageError("Say either what the result is (--value JSON) or why there is none (--error TEXT).")
        text = read_text("-") if value == "-" else value
        result = None if text is None else parse_json("--value", text)

        async def settle() -> bool:
            async with on_record(existing_journal(journal, Keys(journal_key, signing_key))) as harness:
                return await harness.settle(deferral_id, result, error=error)

        heard = anyio.run(settle)
        if output is not None:
            print_json(to_canonical_json({"deferral_id": deferral_id, "heard": heard}), output)
        else:
            when = "its script has it" if heard else "its script gets it when its outcome is resumed"
            print_plain(f"{deferral_id} is settled; {when}.\n")
