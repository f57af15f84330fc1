"""``harness resume``."""

# ruff: noqa: PLC0415 -- what a command needs is imported when it runs

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.options import (
    Approve,
    AsJson,
    ChosenHardening,
    ChosenIsolation,
    Gating,
    Hardening,
    Isolation,
    JournalFile,
    JournalKey,
    Keys,
    SigningKey,
    SuspendAfter,
    Tools,
    approver_of,
    registry_of,
)

if TYPE_CHECKING:
    from harness.approvals.decision import Decision
    from harness.model import Outcome
    from harness.pipeline import Harness

__all__ = ["resume_command"]

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
            help="The token of a suspended outcome; or the id of an outcome that is suspended or was interrupted.",
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
    gating: Annotated[
        Gating,
        typer.Option(
            help="If the contracts of the tools have changed since it began: default goes on and says what may fail, strict "
            "only if nothing but descriptions changed.",
        ),
    ] = Gating.DEFAULT,
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
        from harness.cli.ending import print_on_record, show_outcome, tools_again
        from harness.cli.opening import existing_journal, on_record
        from harness.errors import ContractChangedError, UsageError

        decisions = parse_decisions(allow or (), deny or (), answer or (), terminate or ())
        if force and token.startswith("rsm_"):
            raise UsageError("--force goes with the id of an outcome; a token is enough by itself.")
        registry = registry_of(tools)
        approver = "suspend" if approve is None and decisions else approver_of(approve, "suspend")
        keys = Keys(journal_key, signing_key)

        async def resume() -> Outcome:
            async with on_record(
                existing_journal(journal, keys),
                tools=registry,
                approver=approver,
                suspend_after=suspend_after,
                gating=gating.value,
                isolation=isolation.value,
                hardening=hardening.value,
            ) as harness:
                outcome = await _go_on(harness, token, decisions, force=force)
                return await _ask_about_doubts(harness, outcome, approver)

        try:
            outcome = anyio.run(resume)
        except KeyboardInterrupt:
            print_on_record(journal, keys)
            raise
        except ContractChangedError as error:
            hint = "" if tools else " Name the module they are in: --tools MODULE_OR_FILE."
            raise UsageError(f"{error.message}{hint}") from error
        show_outcome(outcome, output, journal, [*tools_again(tools), *keys.words()])
        raise typer.Exit(exit_status(outcome))


async def _go_on(harness: Harness, some_id: str, decisions: Mapping[str, Decision], *, force: bool) -> Outcome:
    """Go on with a run, given its token, or its id or that of one of its executions."""
    if some_id.startswith("rsm_"):
        return await harness.resume(some_id, decisions)
    known = {stream.stream: stream for stream in await harness.journal.streams()}
    run_id = known[some_id].run if some_id in known else some_id
    if run_id not in known or known[run_id].status != "suspended":
        return await harness.recover(run_id, decisions, force=force)
    # Its token is not at hand; whoever can read and write the journal can have another. Nobody works on it.
    waiting = await harness.recover(run_id, force=True)
    assert waiting.resume_token is not None  # noqa: S101 -- as for everything that is suspended
    return await harness.resume(waiting.resume_token, decisions)


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
