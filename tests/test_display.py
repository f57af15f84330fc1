from __future__ import annotations

import io
import json
import re
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from harness.display import MAX_ARGUMENT_CHARACTERS, MAX_VALUE_LINES, duration, print_outcome
from harness.errors import ApprovalDeniedError, ScriptSyntaxError, ToolTimeoutError
from harness.model import (
    ApprovalNote,
    Block,
    CallRecord,
    CallStatus,
    Diagnostic,
    Execution,
    ExecutionStatus,
    LogEntry,
    Metrics,
    Outcome,
    Plan,
    PlanStep,
    ProgressEvent,
    ScriptInfo,
    Severity,
    Span,
)

SOURCE = "\nconst a = 1;\n\tconst b = await tools.slow();\nreturn b;\n"
TEXT = f"<tool-calls>{SOURCE}</tool-calls>"
SPAN = Span(start=0, end=len(TEXT), line=11, column=1, end_line=15, end_column=14)
BLOCK = Block(text=TEXT, span=SPAN, opening_tag="<tool-calls>", source=SOURCE, source_span=SPAN)
HOSTILE = "[bold]x[/bold] \x1b[31mred\x1b]0;pwn\x07\r\u202e\x9b2J"


def execution(**fields) -> Execution:
    base: dict[str, Any] = {
        "id": "e",
        "script": ScriptInfo(sha256="", mode="RETURN", span=SPAN),
        "status": ExecutionStatus.OK,
    }
    return Execution.model_validate(base | fields)


def call(**fields) -> CallRecord:
    return CallRecord.model_validate({"seq": 1, "tool": "pay", "args": {"n": 1}, "status": CallStatus.OK} | fields)


def shown(*executions: Execution, terminal: bool = False, **fields) -> str:
    out = io.StringIO()
    console = Console(file=out, width=120, force_terminal=terminal, color_system="truecolor" if terminal else None)
    outcome = Outcome.model_validate({"id": "o", "segments": (BLOCK,), "executions": executions} | fields)
    print_outcome(outcome, console)
    return out.getvalue()


@pytest.mark.requirement("CLI-014")
def test_a_block_that_went_well():
    metrics = Metrics(wall_ms=34, approval_ms=1_500)
    note = ApprovalNote(decision="approved", scope="execution", edited=True, waited_ms=1_500)
    text = shown(
        execution(
            value={"total": 3},
            metrics=metrics,
            calls=(call(duration_ms=12.4, line=3, approval=note),),
            logs=(LogEntry(level="warn", text="two\nlines"),),
            progress=(ProgressEvent(message="half way", at_ms=1),),
        )
    )
    assert "Block 1 · lines 11–15 · ok · 34 ms · 1.5 s waiting for approval" in text
    assert re.search(r"ok +pay\(\{\"n\": 1\}\) +line 13 +12 ms", text)
    assert "approval: approved for the execution with edited arguments after 1.5 s" in text
    assert re.search(r"warn +two\n +lines", text)
    assert "half way" in text
    assert '{"total": 3}' in text
    assert "1 block: 1 ok · 1 tool call · 34 ms" in text


@pytest.mark.requirement("CLI-014")
def test_an_error_shows_its_line_of_the_text_and_a_mark_under_the_column():
    error = ToolTimeoutError("tools.slow took too long.", line=3, column=18).info()
    lines = shown(execution(status="error", error=error)).splitlines()
    (at,) = [index for index, line in enumerate(lines) if "ToolTimeoutError: tools.slow took too long." in line]
    assert "[transient; trying again may help]" in lines[at]
    source, mark = lines[at + 1], lines[at + 2]
    assert re.match(r" +13 │ ", source)
    assert source.endswith(" const b = await tools.slow();")  # the tab was expanded, above the mark too
    assert source[mark.index("^") :].startswith("tools.slow")


@pytest.mark.requirement("CLI-014")
def test_lines_are_those_of_the_text_whatever_ends_a_line_to_the_engine():
    # To the engine this has four lines: U+2028 ends one, but not in a string. To the text it has three.
    source = "\ufeffconst s = '\u2028';\n1;\u2028pay({});\nfoo.bar"
    text = f"<tool-calls>{source}</tool-calls>"
    block = BLOCK.model_copy(update={"text": text, "source": source})
    error = ScriptSyntaxError("not defined", line=4, column=1).info()
    warning = Diagnostic(code="x", severity=Severity.WARNING, message="m", line=4, column=1)
    failed = execution(status=ExecutionStatus.ERROR, error=error, calls=(call(line=3),), diagnostics=(warning,))
    lines = shown(failed, segments=(block,)).splitlines()
    assert "    13 │ foo.bar" in [line.removeprefix("  ") for line in lines]
    assert any("pay(" in line and "line 12" in line for line in lines)
    assert any("line 13: m [x]" in line for line in lines)
    first = execution(status=ExecutionStatus.ERROR, error=ScriptSyntaxError("bad", line=1, column=7).info())
    assert "11 │ const s = '\\u{2028}';" in shown(
        first, segments=(block,)
    )  # the byte order mark is no part of the script


@pytest.mark.requirement("CLI-014")
def test_the_mark_stands_under_its_character_behind_wide_ones():
    source = "\t'日本語e\u0301\x07'; foo"
    block = BLOCK.model_copy(update={"text": f"<tool-calls>{source}</tool-calls>", "source": source})
    error = ScriptSyntaxError("not defined", line=1, column=len(source) - 2).info()
    lines = shown(execution(status=ExecutionStatus.ERROR, error=error), segments=(block,)).splitlines()
    at = next(number for number, line in enumerate(lines) if "日本語" in line)
    assert cell_len(lines[at].partition("foo")[0]) == cell_len(lines[at + 1].partition("^")[0])


@pytest.mark.requirement("CLI-014")
def test_calls_that_failed_say_why():
    denied = ApprovalDeniedError("Ada said no.").info()
    note = ApprovalNote(decision="denied", reason="too much")
    text = shown(execution(status="error", error=denied, calls=(call(status="denied", error=denied, approval=note),)))
    assert re.search(r"denied +pay", text)
    assert "approval: denied (too much)" in text
    assert text.count("ApprovalDeniedError: Ada said no.") == 2


@pytest.mark.requirement("CLI-014")
def test_what_does_not_fit_is_cut_with_a_count():
    rows = [{"row": number, "text": "some text to make it long"} for number in range(100)]
    text = shown(execution(value=rows, calls=(call(args={"x": "y" * 1_000}),)))
    assert f"… {100 * 4 + 2 - MAX_VALUE_LINES} more lines (--json shows all)" in text
    cut = len(json.dumps({"x": "y" * 1_000})) - MAX_ARGUMENT_CHARACTERS
    assert f"… ({cut:,} more characters)" in re.sub(r"\s+", " ", text)
    assert "more characters" in shown(execution(value="z" * 5_000))


@pytest.mark.requirement("CLI-014", "CLI-015")
def test_plans_reasons_and_diagnostics():
    step = PlanStep(seq=1, tool="pay", args={}, needs_approval=True)
    plan = Plan(steps=(step,), complete=False, incomplete_from=1)
    text = shown(
        execution(status="planned", plan=plan),
        execution(status="skipped", reason="block 1 failed"),
        execution(
            diagnostics=(Diagnostic(code="detached_call", severity=Severity.WARNING, message="A call.", line=3),)
        ),
        diagnostics=(Diagnostic(code="stray_tag", severity=Severity.WARNING, message="A tag.", line=4),),
    )
    assert re.search(r"1\. +pay\(\) +needs approval", text)
    assert "made-up value by call 1" in text
    assert "block 1 failed" in text
    assert "line 13: A call. [detached_call]" in text
    assert "line 4: A tag. [stray_tag]" in text


def test_no_block():
    assert shown(segments=()) == "No block ran.\n"


@pytest.mark.requirement("CLI-007")
@pytest.mark.parametrize("terminal", [True, False])
def test_nothing_that_a_script_says_steers_the_terminal(terminal):
    error = ScriptSyntaxError(HOSTILE, line=2, column=3).info()
    block = BLOCK.model_copy(update={"source": f"a\n{HOSTILE}\n"})
    note = ApprovalNote(decision="denied", reason=HOSTILE)
    text = shown(
        execution(
            value={HOSTILE: [HOSTILE]},
            reason=HOSTILE,
            logs=(LogEntry(level="log", text=HOSTILE),),
            progress=(ProgressEvent(message=HOSTILE, at_ms=1),),
            calls=(call(tool=HOSTILE, args={HOSTILE: HOSTILE}, approval=note, error=error),),
            diagnostics=(Diagnostic(code="x", severity=Severity.ERROR, message=HOSTILE),),
        ),
        execution(status="error", error=error),
        execution(
            status="planned", plan=Plan(steps=(PlanStep(seq=1, tool=HOSTILE, args=HOSTILE, needs_approval=False),))
        ),
        segments=(block,),
        terminal=terminal,
    )
    own_colours = re.compile(r"\x1b\[[0-9;]*m")
    assert bool(own_colours.search(text)) is terminal
    rest = own_colours.sub("", text)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", rest)
    assert "[31mred" in rest  # visible, not obeyed
    assert rest.count("[bold]x[/bold]") >= 8


@pytest.mark.parametrize(("milliseconds", "text"), [(0.44, "0.4 ms"), (12.4, "12 ms"), (1_250, "1.2 s")])
def test_durations(milliseconds, text):
    assert duration(milliseconds) == text
