"""What a person sees of an outcome: each block with its calls, approvals, logs, value and error.

Text from scripts and tools is never taken as markup, and every control or invisible character in it is written out, so
that nothing a script says can steer the terminal it is shown on.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator

from pydantic import JsonValue
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from harness.errors import ErrorInfo
from harness.model import (
    ApprovalNote,
    Block,
    CallRecord,
    CallStatus,
    Diagnostic,
    Execution,
    ExecutionStatus,
    LogEntry,
    Outcome,
    Plan,
    Severity,
)
from harness.redaction import visible
from harness.runtime.sources import SourceMap

__all__ = ["MAX_ARGUMENT_CHARACTERS", "MAX_VALUE_LINES", "duration", "print_outcome"]

MAX_VALUE_LINES = 30
"""Lines of a value that are shown; how many more there are is said."""
MAX_LINE_CHARACTERS = 400
"""Characters of one such line that are shown."""
MAX_ARGUMENT_CHARACTERS = 160
"""Characters of a call's arguments that are shown."""

_STATUS_STYLE = {
    ExecutionStatus.OK: "green",
    ExecutionStatus.PLANNED: "cyan",
    ExecutionStatus.SKIPPED: "yellow",
    ExecutionStatus.SUSPENDED: "yellow",
}
_CALL_STYLE = {
    CallStatus.OK: "green",
    CallStatus.PLANNED: "cyan",
    CallStatus.CANCELLED: "yellow",
    CallStatus.IN_DOUBT: "yellow",
}
_SEVERITY_STYLE = {Severity.INFO: "dim", Severity.WARNING: "yellow", Severity.ERROR: "red"}
_LOG_STYLE = {"warn": "yellow", "error": "red", "debug": "dim"}
_WAITS = {
    "approval": "Waiting for approval of",
    "in_doubt": "Waiting to hear whether it happened:",
    "deferred": "Waiting for the result of",
}
_PADDING = re.compile(r" +$", re.MULTILINE)


def print_outcome(outcome: Outcome, console: Console) -> None:
    """Print all of an outcome that a person wants to know; nothing of it is interpreted as markup."""
    with console.capture() as capture:
        _print_all(outcome, console)
    # Tables and indents are padded to the full width, which is of no use to anybody who copies or pipes the text.
    console.file.write(_PADDING.sub("", capture.get()))


def _print_all(outcome: Outcome, console: Console) -> None:
    blocks = {(block.span.start, block.span.end): block for block in outcome.segments if isinstance(block, Block)}
    for number, execution in enumerate(outcome.executions, 1):
        span = execution.script.span
        _print(console, _execution(number, execution, blocks.get((span.start, span.end))))
    if outcome.diagnostics:
        _print(console, *map(_diagnostic, outcome.diagnostics), "")
    for request in outcome.pending:
        text = f"{_WAITS[request.kind]} tools.{visible(request.tool)}: {visible(request.reason)}"
        _print(console, Text(text, style="yellow"), "")
    _print(console, Text(_summary(outcome), style="bold"))


def duration(milliseconds: float) -> str:
    """``0.4 ms``, ``12 ms``, ``1.3 s``."""
    if milliseconds >= 1_000:
        return f"{milliseconds / 1_000:.1f} s"
    return f"{milliseconds:.0f} ms" if milliseconds >= 10 else f"{milliseconds:.1f} ms"


def _print(console: Console, *renderables: RenderableType) -> None:
    for renderable in renderables:
        console.print(renderable, markup=False, highlight=False, emoji=False, soft_wrap=isinstance(renderable, Text))


def _summary(outcome: Outcome) -> str:
    if not outcome.executions:
        return "No block ran."
    statuses = Counter(execution.status.value for execution in outcome.executions)
    calls = sum(len(execution.calls) for execution in outcome.executions)
    time = sum(execution.metrics.wall_ms for execution in outcome.executions)
    parts = [
        _count(len(outcome.executions), "block")
        + ": "
        + ", ".join(f"{count} {name}" for name, count in statuses.items()),
        _count(calls, "tool call"),
        duration(time),
    ]
    return " · ".join(parts)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _execution(number: int, execution: Execution, block: Block | None) -> RenderableType:
    status, metrics, span = execution.status, execution.metrics, execution.script.span
    style = _STATUS_STYLE.get(status, "red")
    lines = f"line {span.line}" if span.line == span.end_line else f"lines {span.line}–{span.end_line}"
    head = Text.assemble((f"Block {number}", "bold"), f" · {lines} · ", (status.value, f"bold {style}"))
    if metrics.wall_ms:
        head.append(f" · {duration(metrics.wall_ms)}")
    if metrics.approval_ms:
        head.append(f" · {duration(metrics.approval_ms)} waiting for approval")
    body = list(_body(execution, block))
    return Group(head, Padding(Group(*body), (0, 0, 1, 2)) if body else Text(""))


def _body(execution: Execution, block: Block | None) -> Iterator[RenderableType]:
    place = _Place(block)
    if execution.reason:
        yield Text(visible(execution.reason), style="yellow")
    if execution.plan is not None:
        yield _plan(execution.plan)
    elif execution.calls:
        yield _calls(execution.calls, place)
    for event in execution.progress:
        yield Text.assemble(("progress  ", "dim"), visible(event.message))
    for log in execution.logs:
        yield _log(log)
    if execution.status == ExecutionStatus.OK:
        yield from _value(execution.value)
    if execution.error is not None:
        yield from _error(execution.error, place)
    for diagnostic in execution.diagnostics:
        yield _diagnostic(diagnostic, place)


def _calls(calls: Iterable[CallRecord], place: _Place) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_column(justify="right", no_wrap=True, style="dim")
    table.add_column(justify="right", no_wrap=True)
    for call in calls:
        line = f"line {place.line(call.line)}" if call.line is not None else ""
        took = duration(call.duration_ms) if call.duration_ms is not None else ""
        status = Text(call.status.value, style=_CALL_STYLE.get(call.status, "red"))
        table.add_row(status, _call_text(call.tool, call.args), line, took)
        for note in _call_notes(call):
            table.add_row("", note, "", "")
    return table


def _call_text(tool: str, args: JsonValue) -> Text:
    shown = "" if args == {} else _json(args)
    cut = len(shown) - MAX_ARGUMENT_CHARACTERS
    if cut > 0:
        shown = f"{shown[:MAX_ARGUMENT_CHARACTERS]}… ({cut:,} more characters)"
    return Text.assemble((visible(tool), "bold"), f"({shown})")


def _call_notes(call: CallRecord) -> Iterator[Text]:
    if call.approval is not None:
        yield Text(_approval(call.approval), style="magenta")
    if call.error is not None:
        yield Text(f"{visible(call.error.type)}: {visible(call.error.message)}", style="red")


def _approval(note: ApprovalNote) -> str:
    words = [f"approval: {note.decision.replace('_', ' ')}"]
    if note.scope != "once":
        words.append(f"for the {note.scope}")
    if note.edited:
        words.append("with edited arguments")
    if note.waited_ms >= 1:
        words.append(f"after {duration(note.waited_ms)}")
    text = " ".join(words)
    return f"{text} ({visible(note.reason)})" if note.reason else text


def _plan(plan: Plan) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, style="cyan")
    table.add_column(overflow="fold")
    table.add_column(no_wrap=True, style="dim")
    for step in plan.steps:
        note = "needs approval" if step.needs_approval else ""
        table.add_row(f"{step.seq}.", _call_text(step.tool, step.args), note)
    if plan.complete:
        return table
    if plan.incomplete_from is None:
        note = "The plan ends here because the script did not come to its end; what it would have called then is not known."
    else:
        note = f"The plan may go another way from here: the script was given a made-up value by call {plan.incomplete_from}."
    return Group(table, Text(note, style="yellow"))


def _log(log: LogEntry) -> Text:
    level = f"{log.level:<9} "
    text = visible(log.text, keep="\n\t").replace("\n", "\n" + " " * len(level))
    return Text.assemble((level, _LOG_STYLE.get(log.level, "dim")), text)


def _value(value: JsonValue) -> Iterator[Text]:
    if value is None:
        return
    text = _json(value)
    if len(text) > MAX_ARGUMENT_CHARACTERS:
        text = _json(value, indent=2)
    lines = text.split("\n")
    for index, line in enumerate(lines[:MAX_VALUE_LINES]):
        cut = len(line) - MAX_LINE_CHARACTERS
        shown = f"{line[:MAX_LINE_CHARACTERS]}… ({cut:,} more characters)" if cut > 0 else line
        yield Text.assemble(("result    " if index == 0 else " " * 10, "dim"), shown)
    if len(lines) > MAX_VALUE_LINES:
        rest = _count(len(lines) - MAX_VALUE_LINES, "more line")
        yield Text(f"          … {rest} (--json shows all)", style="dim")


def _json(value: JsonValue, indent: int | None = None) -> str:
    return visible(json.dumps(value, ensure_ascii=False, indent=indent), keep="\n")


def _error(error: ErrorInfo, place: _Place) -> Iterator[Text]:
    advice = "trying again may help" if error.retryable else "trying again will not help"
    kind = error.category.value.lower()
    message = visible(error.message, keep="\n")
    yield Text.assemble(
        (visible(error.type), "bold red"),
        (f": {message}", "red"),
        (f"  [{kind}; {advice}]", "dim"),
    )
    excerpt = {} if error.line is None else place.excerpt(error.line, error.column or 1)
    if error.line is None or not excerpt:
        return
    source = str(excerpt["source_line"])
    yield Text.assemble((f"{place.line(error.line, error.column or 1):>6} │ ", "dim"), source)
    if error.column:
        # Tabs are kept, so that the mark stands under its character whatever the terminal makes of them.
        before = source[: int(excerpt["source_line_column"]) - 1]
        pad = "".join(char if char == "\t" else " " * cell_len(char) for char in before)
        yield Text.assemble((" " * 7 + "│ ", "dim"), pad, ("^", "bold red"))


def _diagnostic(diagnostic: Diagnostic, place: _Place | None = None) -> Text:
    line = diagnostic.line
    if line is not None and place is not None:
        line = place.line(line, diagnostic.column or 1)
    where = "" if line is None else f"line {line}: "
    return Text.assemble(
        (f"{diagnostic.severity.value:<9} ", _SEVERITY_STYLE[diagnostic.severity]),
        f"{where}{visible(diagnostic.message)} ",
        (f"[{visible(diagnostic.code)}]", "dim"),
    )


class _Place:
    """Where in the text things of one block are: a person reads the text, so all lines that are shown are its lines."""

    def __init__(self, block: Block | None) -> None:
        self._first = 1 if block is None else block.source_span.line
        self._map = None if block is None else SourceMap.of_block(block.source)

    def line(self, line: int, column: int = 1) -> int:
        """A line of the text for a place in the script."""
        return line if self._map is None else self._first + self._map.text_place(line, column)[0]

    def excerpt(self, line: int, column: int) -> dict[str, str | int]:
        """The script's line as it can be shown; empty if it is not there."""
        return {} if self._map is None else self._map.excerpt(line, column)
