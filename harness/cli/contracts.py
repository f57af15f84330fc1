"""``harness contracts``: what tools promise, as a file, and what changed between two of them."""

# ruff: noqa: PLC0415 -- what a command needs is imported inside it, as in app.py

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from harness.contracts.bumps import RequiredBump
    from harness.contracts.values import ContractSet, Difference

__all__ = ["contracts_app"]

contracts_app = typer.Typer(
    name="contracts",
    help="Keep what tools promise as a file, and see what changed between two states of it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_PLACE = "a file that `harness contracts export` made, or a tools module as --tools takes it"
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, to standard output.")]


@contracts_app.command("export")
def export_command(
    tools: Annotated[
        list[str],
        typer.Option(
            "--tools",
            metavar="MODULE_OR_FILE[:NAME]",
            help="Where the tools are, as for `harness run`. Can be repeated.",
            show_default=False,
        ),
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write to this file instead of standard output.", show_default=False
        ),
    ] = None,
) -> None:
    """Print the contracts of all versions of all tools, as canonical JSON: commit it, and compare with it later."""
    from harness.cli.output import ending_in_exit, json_output, print_json

    with ending_in_exit(), json_output(wanted=True) as stdout:
        from harness.cli.loading import load_registry
        from harness.errors import UsageError

        text = load_registry(tools).contracts().to_canonical_json()
        if output is not None:
            try:
                Path(output).write_text(f"{text}\n", encoding="utf-8")
            except OSError as error:
                raise UsageError(f"{output} cannot be written: {error.strerror or error}.") from error
        elif stdout is not None:
            print_json(text, stdout)


@contracts_app.command("diff")
def diff_command(
    old: Annotated[str, typer.Argument(metavar="OLD", help=f"The old state: {_PLACE}.", show_default=False)],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The new state, likewise.", show_default=False)],
    *,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Also end with 1 for additive differences, and for versions that are too low."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what changed between two states of some tools, and whom it breaks.

    Exit status: 0 if nothing that worked can fail, 1 if something may (a breaking difference); with --strict also for
    additive differences and for a version that did not rise as far as it had to; 2 usage.
    """
    from harness.cli.output import ending_in_exit, json_output, people, print_json

    with ending_in_exit(), json_output(as_json) as output:
        from harness.canonical import to_canonical_json
        from harness.contracts.bumps import bumps
        from harness.contracts.compare import compare, severity
        from harness.contracts.values import Impact

        before, after = _read(old), _read(new)
        differences, versions = compare(before, after), bumps(before, after)
        worst = severity(differences)
        if output is not None:
            report = {
                "severity": worst.value,
                "differences": [difference.to_dict() for difference in differences],
                "versions": [version.model_dump(mode="json") for version in versions],
            }
            print_json(to_canonical_json(report), output)
        else:
            with people() as console:
                _print(console, differences, versions)
        too_low = any(not version.sufficient for version in versions)
        raise typer.Exit(worst is Impact.BREAKING or (strict and (worst is Impact.ADDITIVE or too_low)))


@contracts_app.command("schemas")
def schemas_command(
    directory: Annotated[str, typer.Argument(metavar="[DIRECTORY]", help="Where the schemas are.")] = "specs/schemas",
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; end with 1 and say why if something is wrong with them.")
    ] = False,
    release: Annotated[
        bool, typer.Option("--release", help="Write nothing but the record of this version, which then never changes.")
    ] = False,
) -> None:
    """Write the JSON Schemas of this library's own values, or check those that are committed. For its maintainers.

    Exit status: 0, or 1 if the schemas are not those of the code, or changed without the version that the rules demand;
    2 usage.
    """
    from harness.cli.output import ending_in_exit, print_plain

    with ending_in_exit():
        from harness.errors import UsageError
        from harness.schemas import release as schemas

        place = Path(directory)
        if check and release:
            raise UsageError("--check and --release exclude each other.")
        if release:
            print_plain(f"{schemas.release(place)}\n")
            return
        changed = [] if check else schemas.write(place)
        found = schemas.problems(place)
        print_plain("".join(f"{line}\n" for line in [*changed, *found]) or "The schemas are as they should be.\n")
        raise typer.Exit(bool(found))


def _read(place: str) -> ContractSet:
    from harness.cli.output import read_text
    from harness.contracts.values import ContractSet

    if place == "-" or place.endswith(".json"):
        return ContractSet.read(read_text(place), "standard input" if place == "-" else place)
    from harness.cli.loading import load_registry

    return load_registry([place]).contracts()


_STYLES = {"breaking": "bold red", "additive": "yellow", "neutral": "dim"}


def _print(console: Console, differences: Sequence[Difference], versions: Sequence[RequiredBump]) -> None:
    from rich.table import Table
    from rich.text import Text

    from harness.redaction import visible

    if not differences:
        console.print("No differences.")
        return
    table = Table.grid(padding=(0, 2))
    for item in sorted(differences, key=lambda item: -item.severity.rank):
        style = _STYLES[item.severity.value]
        said = Text.assemble((visible(item.path), "bold"), "\n", visible(item.message))
        table.add_row(Text(item.severity.value, style=style), said)
    console.print(table)
    for version in versions:
        console.print(Text(visible(version.message), style="" if version.sufficient else "bold"))
    counts = {name: sum(item.severity.value == name for item in differences) for name in _STYLES}
    console.print(Text(", ".join(f"{count} {name}" for name, count in counts.items() if count)))
