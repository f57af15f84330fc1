"""Options that several commands have, and what they mean."""

# ruff: noqa: PLC0415 -- what a command needs is imported when it runs

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from harness.approvals.decision import Approver
    from harness.limits import Limits
    from harness.model import ApprovalRequest
    from harness.tools.registry import ToolRegistry

__all__ = [
    "TOOLS",
    "AcceptFenced",
    "Approve",
    "AsJson",
    "ChosenHardening",
    "ChosenIsolation",
    "File",
    "Gating",
    "Hardening",
    "Isolation",
    "JournalFile",
    "JournalKey",
    "Keys",
    "LimitPairs",
    "SigningKey",
    "SuspendAfter",
    "Tools",
    "approver_of",
    "limits_of",
    "registry_of",
]


class Approve(enum.StrEnum):
    ASK = "ask"
    ALWAYS = "always"
    NEVER = "never"
    SUSPEND = "suspend"


class Isolation(enum.StrEnum):
    PROCESS = "process"
    SHARED = "shared"
    THREAD = "thread"


class Hardening(enum.StrEnum):
    BEST_EFFORT = "best_effort"
    REQUIRED = "required"


class Gating(enum.StrEnum):
    DEFAULT = "default"
    STRICT = "strict"


@dataclass(frozen=True)
class Keys:
    """Where the keys of a journal are: ``env:NAME`` or ``file:PATH``, never a key itself."""

    journal: str | None = None
    signing: str | None = None

    def words(self) -> list[str]:
        """As they stand on a command line."""
        options = (("--journal-key", self.journal), ("--signing-key", self.signing))
        return [word for option, source in options if source is not None for word in (option, source)]


File = Annotated[
    str, typer.Argument(metavar="FILE|-", help="A text in UTF-8; - reads standard input.", show_default=False)
]
JournalFile = Annotated[str, typer.Argument(metavar="JOURNAL", help="The file of a journal.", show_default=False)]
TOOLS = typer.Option(
    "--tools",
    metavar="MODULE_OR_FILE[:NAME]",
    help="Where the tools are: a module or a .py file, and optionally the name of a tool, a list of tools, a "
    "ToolRegistry or a function that returns one. Without NAME, every @tool of the module. Can be repeated.",
    show_default=False,
)
Tools = Annotated[list[str] | None, TOOLS]
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
JournalKey = Annotated[
    str | None,
    typer.Option(
        "--journal-key",
        metavar="env:NAME|file:PATH",
        help="Where the key is with which the journal's values are encrypted: an environment variable or a file. "
        "`harness journal new-key` makes one.",
        show_default=False,
    ),
]
SigningKey = Annotated[
    str | None,
    typer.Option(
        "--signing-key",
        metavar="env:NAME|file:PATH",
        help="Where the key is with which every event of the journal is signed, and without which none counts.",
        show_default=False,
    ),
]
SuspendAfter = Annotated[
    float | None,
    typer.Option(
        "--suspend-after",
        metavar="SECONDS",
        min=0.0,
        help="Suspend a script for which nobody has answered after so many seconds.",
        show_default=False,
    ),
]
ChosenIsolation = Annotated[
    Isolation,
    typer.Option(help="process: a fresh process for each block. shared: one for all. thread: trusted scripts only."),
]
ChosenHardening = Annotated[
    Hardening,
    typer.Option(
        help="Where the system cannot take everything away from those processes: best_effort says so and goes on, "
        "required runs nothing. `harness doctor` shows what is missing."
    ),
]


def registry_of(references: Sequence[str] | None) -> ToolRegistry:
    """What ``--tools`` names. Raises `UsageError`."""
    from harness.cli.loading import load_registry

    return load_registry(references or ())


def limits_of(pairs: Sequence[str] | None) -> Limits:
    """What ``--limit`` says. Raises `UsageError`."""
    from harness.cli.limits import parse_limits

    return parse_limits(pairs or ())


def approver_of(approve: Approve | None, otherwise: Approver | None = None) -> Approver | None:
    """What ``--approve`` says; ``otherwise`` if it says nothing and there is no terminal. Raises `UsageError`."""
    from harness.approvals.decision import Decision

    if approve is Approve.SUSPEND:
        return "suspend"
    if approve in (Approve.ASK, None):
        from harness.approvals.terminal import TerminalApprover
        from harness.errors import UsageError

        try:
            return TerminalApprover()
        except UsageError:
            if approve is Approve.ASK:
                raise
            return otherwise  # None: a call that needs approval then fails, with an error that says what to do
    always = approve is Approve.ALWAYS
    decision = Decision.approve() if always else Decision.deny("the command line said --approve never")

    def decide(_request: ApprovalRequest) -> Decision:
        return decision

    return decide
