"""The commands: what each takes, and the exit status it ends with.

What a command needs is imported inside it, so that ``harness --help`` does not wait for what it does not use.
"""

# ruff: noqa: PLC0415 -- see above

from __future__ import annotations

import enum
import io
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.contracts import contracts_app

if TYPE_CHECKING:
    from harness.approvals.decision import Approver
    from harness.limits import Limits
    from harness.model import ApprovalRequest
    from harness.tools.registry import ToolRegistry

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


class Approve(enum.StrEnum):
    ASK = "ask"
    ALWAYS = "always"
    NEVER = "never"


class Mode(enum.StrEnum):
    ENABLED = "enabled"
    DRY_RUN = "dry-run"
    DISABLED = "disabled"


class Isolation(enum.StrEnum):
    PROCESS = "process"
    SHARED = "shared"
    THREAD = "thread"


class Hardening(enum.StrEnum):
    BEST_EFFORT = "best_effort"
    REQUIRED = "required"


class ToolsFormat(enum.StrEnum):
    MARKDOWN = "markdown"
    JSON = "json"
    TS = "ts"
    PROMPT = "prompt"


File = Annotated[
    str, typer.Argument(metavar="FILE|-", help="A text in UTF-8; - reads standard input.", show_default=False)
]
_TOOLS = typer.Option(
    "--tools",
    metavar="MODULE_OR_FILE[:NAME]",
    help="Where the tools are: a module or a .py file, and optionally the name of a tool, a list of tools, a "
    "ToolRegistry or a function that returns one. Without NAME, every @tool of the module. Can be repeated.",
    show_default=False,
)
Tools = Annotated[list[str] | None, _TOOLS]
LimitPairs = Annotated[
    list[str] | None,
    typer.Option(
        "--limit",
        metavar="NAME=VALUE",
        help="Change a limit: wall_time=5, cpu_time=500ms, memory_bytes=64MiB, max_tool_calls=10. Can be repeated.",
        show_default=False,
    ),
]
AcceptFenced = Annotated[bool, typer.Option("--accept-fenced", help="Also take blocks inside Markdown code fences.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, to standard output.")]


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


@app.command("run")
def run_command(
    file: File,
    *,
    tools: Tools = None,
    approve: Annotated[
        Approve | None,
        typer.Option(
            help="Who answers when a tool needs approval: you, at the terminal, or always or never. "
            "Without this option you are asked, if there is a terminal.",
            show_default=False,
        ),
    ] = None,
    mode: Annotated[
        Mode, typer.Option(help="dry-run shows which calls would be made and makes none; disabled runs nothing.")
    ] = Mode.ENABLED,
    isolation: Annotated[
        Isolation,
        typer.Option(
            help="process: a fresh process for each block. shared: one for all. thread: trusted scripts only."
        ),
    ] = Isolation.PROCESS,
    hardening: Annotated[
        Hardening,
        typer.Option(
            help="Where the system cannot take everything away from those processes: best_effort says so and goes on, "
            "required runs nothing. `harness doctor` shows what is missing."
        ),
    ] = Hardening.BEST_EFFORT,
    limit: LimitPairs = None,
    seed: Annotated[int | None, typer.Option(help="Seed of Math.random, for a run that can be repeated.")] = None,
    continue_on_error: Annotated[
        bool, typer.Option("--continue-on-error", help="Run later blocks although an earlier one failed.")
    ] = False,
    accept_fenced: AcceptFenced = False,
    as_json: AsJson = False,
) -> None:
    """Find the blocks of a text, run them, and show what became of each."""
    from harness.cli.output import ending_in_exit, exit_status, json_output, print_json, read_text

    with ending_in_exit(), json_output(as_json) as output:
        text, limits, registry, approver = read_text(file), _limits(limit), _registry(tools), _approver(approve)

        import anyio

        from harness.pipeline import Harness

        harness = Harness(
            tools=registry,
            limits=limits,
            mode=mode.value,
            approver=approver,
            isolation=isolation.value,
            hardening=hardening.value,
            seed=seed,
            continue_on_error=continue_on_error,
            accept_fenced=accept_fenced,
        )
        outcome = anyio.run(harness.run, text)
        if output is not None:
            print_json(outcome.to_json(), output)
        else:
            from harness.cli.output import people
            from harness.display import print_outcome

            with people() as console:
                print_outcome(outcome, console)
        raise typer.Exit(exit_status(outcome))


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
        text, limits, registry = read_text(file), _limits(limit), _registry(tools)

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
    tools: Annotated[list[str], _TOOLS],
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

        registry, limits = _registry(tools), _limits(limit)
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


def _registry(references: list[str] | None) -> ToolRegistry:
    from harness.cli.loading import load_registry

    return load_registry(references or ())


def _limits(pairs: list[str] | None) -> Limits:
    from harness.cli.limits import parse_limits

    return parse_limits(pairs or ())


def _approver(approve: Approve | None) -> Approver | None:
    from harness.approvals.decision import Decision

    if approve in (Approve.ASK, None):
        from harness.approvals.terminal import TerminalApprover
        from harness.errors import UsageError

        try:
            return TerminalApprover()
        except UsageError:
            if approve is Approve.ASK:
                raise
            return None  # a call that needs approval then fails, with an error that says what to do
    always = approve is Approve.ALWAYS
    decision = Decision.approve() if always else Decision.deny("the command line said --approve never")

    def decide(_request: ApprovalRequest) -> Decision:
        return decision

    return decide
