"""``harness settle``."""

# ruff: noqa: PLC0415 -- what a command needs is imported when it runs

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli.options import AsJson, JournalFile, JournalKey, Keys, SigningKey

__all__ = ["settle_command"]


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
