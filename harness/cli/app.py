"""The commands: what each takes, and the exit status it ends with.

What a command needs is imported inside it, so that ``harness --help`` does not wait for what it does not use.
"""

# ruff: noqa: PLC0415 -- see above

from __future__ import annotations

import enum
import io
import sys
from typing import Annotated

import typer

from harness.cli.contracts import contracts_app
from harness.cli.journal import journal_app
from harness.cli.options import TOOLS, AcceptFenced, AsJson, File, LimitPairs, Tools, limits_of, registry_of
from harness.cli.records import approvals_command, executions_command
from harness.cli.replaying import replay_command
from harness.cli.resuming import resume_command
from harness.cli.running import run_command
from harness.cli.settling import settle_command

__all__ = ["run"]

app = typer.Typer(
    name="harness",
    help="Run the <tool-calls> blocks that a language model wrote, in a locked-down sandbox.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(contracts_app)


class ToolsFormat(enum.StrEnum):
    MARKDOWN = "markdown"
    JSON = "json"
    TS = "ts"
    PROMPT = "prompt"


app.command("run")(run_command)
app.command("resume")(resume_command)
app.command("settle")(settle_command)
app.command("replay")(replay_command)
app.command("executions")(executions_command)
app.command("approvals")(approvals_command)
app.add_typer(journal_app, name="journal")


def run() -> None:
    """Run the command line. Ends in ``SystemExit`` with the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what the encoding lacks is written as an escape
            stream.reconfigure(errors="backslashreplace")
    try:
        app(prog_name="harness")
    except OSError as error:  # of --help and --version; the commands deal with their own
        from harness.cli.output import FAILED, OutputError, give_up

        give_up(sys.stdout)
        typer.echo(f"harness: {OutputError(error)}", err=True)
        sys.exit(FAILED)


def _version(wanted: bool) -> None:
    if not wanted:
        return
    import platform
    from importlib.metadata import version

    engine = f"quickjs-ng {version('quickjs-ng')}"
    typer.echo(f"harness {version('tool-calls-harness')} ({engine}, Python {platform.python_version()})")
    raise typer.Exit


@app.callback(
    epilog="Exit status, the first that applies: 2 usage, 130 interrupted, 4 internal error, 3 suspended, "
    "1 something failed, was cancelled or terminated, or a block was never closed, 0 otherwise."
)
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


@app.command("check")
def check_command(
    file: File,
    *,
    tools: Tools = None,
    limit: LimitPairs = None,
    accept_fenced: AcceptFenced = False,
    as_json: AsJson = False,
) -> None:
    """Find and compile the blocks of a text without running them, and list what is wrong with them.

    Calls to tools that do not exist are found if --tools says which do.
    """
    from harness.cli.output import ending_in_exit, json_output, print_diagnostics, print_json, read_text

    with ending_in_exit(), json_output(as_json) as output:
        text, limits, registry = read_text(file), limits_of(limit), registry_of(tools)

        import anyio

        from harness.canonical import to_canonical_json
        from harness.model import Severity
        from harness.pipeline import Harness

        harness = Harness(tools=registry, limits=limits, accept_fenced=accept_fenced)
        diagnostics = anyio.run(harness.check, text)
        if output is not None:
            found = [diagnostic.model_dump(mode="json") for diagnostic in diagnostics]
            print_json(to_canonical_json(found), output)
        else:
            print_diagnostics("<stdin>" if file == "-" else file, diagnostics)
        raise typer.Exit(any(diagnostic.severity is Severity.ERROR for diagnostic in diagnostics))


@app.command("tools")
def tools_command(
    tools: Annotated[list[str], TOOLS],
    form: Annotated[
        ToolsFormat,
        typer.Option(
            "--format",
            help="markdown for people, json for programs, ts: TypeScript declarations of all a script finds, "
            "prompt: a section for a system prompt.",
        ),
    ] = ToolsFormat.MARKDOWN,
    *,
    limit: LimitPairs = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Show the tools of a module: for people, for programs, for a type checker, for a model."""
    from harness.cli.output import ending_in_exit, json_output, print_json, print_plain

    form = ToolsFormat.JSON if as_json else form
    # All but Markdown is read by programs, whatever the module prints while it is loaded.
    with ending_in_exit(), json_output(form is not ToolsFormat.MARKDOWN) as output:
        from harness.canonical import to_canonical_json, with_doubles
        from harness.declarations.prompt import prompt_section

        registry, limits = registry_of(tools), limits_of(limit)
        if output is None:
            print_plain(registry.describe("markdown"))
        elif form is ToolsFormat.JSON:
            print_json(to_canonical_json(with_doubles(registry.describe("json"))), output)
        elif form is ToolsFormat.TS:
            print_json(registry.describe("ts").rstrip("\n"), output)
        else:
            print_json(prompt_section(registry.describe("json"), limits).rstrip("\n"), output)


@app.command("doctor")
def doctor_command(as_json: AsJson = False) -> None:
    """Show which protections are active on this machine, and what to do about the others.

    Exit status: 0 if all are, 1 if one is missing.
    """
    from harness.cli.output import ending_in_exit, json_output, people, print_json

    with ending_in_exit(), json_output(as_json) as output:
        from harness.cli.doctor import doctor_table, protections, verdict

        found = protections()
        if output is not None:
            from harness.canonical import to_canonical_json

            print_json(to_canonical_json(found), output)
        else:
            with people() as console:
                console.print(doctor_table(found))
                console.print(verdict(found))
        raise typer.Exit(not all(protection["active"] for protection in found))
