"""The command line, called as a program calls it: arguments in, bytes and an exit status out."""

from __future__ import annotations

import io
import json
import os
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from harness.cli import main
from harness.cli.output import exit_status
from harness.errors import HarnessInternalError, ScriptRuntimeError
from harness.model import Diagnostic, Execution, Outcome, ScriptInfo, Severity, Span, Unclosed

EXAMPLES = Path(__file__).parent.parent / "examples"
TOOLS = """
    from harness import tool

    @tool
    async def add(a: int, b: int) -> int:
        "Add two numbers."
        return a + b

    @tool(approval=True)
    async def pay(cents: int) -> str:
        return f"paid {cents}"

    @tool
    def fail() -> None:
        raise ValueError("no luck")
"""


@dataclass(frozen=True)
class Result:
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Cli = Callable[..., Result]


@pytest.fixture
def cli(monkeypatch, capfdbinary) -> Iterator[Cli]:
    """Calls the command line in this process. Whatever it imports for ``--tools`` is forgotten afterwards."""

    def call(*arguments: object, stdin: str | bytes = b"") -> Result:
        data = stdin if isinstance(stdin, bytes) else stdin.encode()
        monkeypatch.setattr(sys, "argv", ["harness", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        descriptor = os.dup(1)
        try:
            with monkeypatch.context() as patch:
                patch.setattr(sys, "stdout", sys.stdout)  # with JSON asked for it is taken away for good
                with pytest.raises(SystemExit) as ended:
                    main()
        finally:
            os.dup2(descriptor, 1)
            os.close(descriptor)
        out, err = capfdbinary.readouterr()
        assert isinstance(ended.value.code, int)
        return Result(ended.value.code, out.decode(), err.decode())

    path, modules = list(sys.path), dict(sys.modules)
    yield call
    sys.path[:] = path
    for name in set(sys.modules) - set(modules):
        if not name.startswith(("harness", "typer", "rich")):
            del sys.modules[name]


@pytest.fixture
def tools(tmp_path) -> Path:
    path: Path = tmp_path / "desk_tools.py"
    path.write_text(textwrap.dedent(TOOLS))
    return path


def block(script: str) -> str:
    return f"Here:\n\n<tool-calls>\n{script}\n</tool-calls>\n"


# ── run ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("CLI-001")
def test_json_is_exactly_the_outcome(cli, tools):
    text = block("console.log('hi'); return await tools.add({a: 20, b: 22})")
    result = cli("run", "-", "--tools", tools, "--json", stdin=text)
    assert (result.status, result.err) == (0, "")
    outcome = Outcome.model_validate_json(result.out)
    assert result.out == outcome.to_json() + "\n"
    jsonschema.validate(result.json, Outcome.model_json_schema())
    (execution,) = outcome.executions
    assert (execution.status, execution.value) == ("ok", 42)
    assert [(call.tool, call.args, call.status) for call in execution.calls] == [("add", {"a": 20, "b": 22}, "ok")]
    assert "".join(segment.text for segment in outcome.segments) == text


@pytest.mark.requirement("CLI-002")
@pytest.mark.parametrize(
    ("script", "options", "status"),
    [
        ("return 1", [], 0),
        ("throw new Error('no')", [], 1),
        ("const = 1", [], 1),
        ("await tools.fail()", [], 1),
        ("try { await tools.fail() } catch {}", [], 0),
        ("for (;;);", ["--limit", "cpu_time=200ms"], 1),
        ("await tools.pay({cents: 1})", ["--approve", "never"], 1),
        ("await tools.pay({cents: 1})", ["--approve", "always"], 0),
        ("await tools.pay({cents: 1})", ["--mode", "dry-run"], 0),
        ("throw 1", ["--mode", "disabled"], 0),
    ],
)
def test_the_exit_status_of_a_run(cli, tools, script, options, status):
    result = cli("run", "-", "--tools", tools, *options, stdin=block(script))
    assert result.status == status, result.out + result.err


@pytest.mark.slow
@pytest.mark.requirement("CLI-002")
def test_the_exit_status_of_texts_without_a_whole_block(cli):
    assert cli("run", "-", stdin="just words").status == 0
    assert cli("run", "-", stdin="").status == 0
    assert cli("run", "-", stdin="<tool-calls>\nreturn 1").status == 1
    fenced = "```\n<tool-calls>throw 1</tool-calls>\n```\n"
    assert cli("run", "-", stdin=fenced).status == 0
    assert cli("run", "-", "--accept-fenced", stdin=fenced).status == 1


SPAN = Span(start=0, end=0, line=1, column=1, end_line=1, end_column=1)


def ended(status: str, error: type[ScriptRuntimeError | HarnessInternalError] | None = None) -> Execution:
    script = ScriptInfo(sha256="", mode="", span=SPAN)
    return Execution.model_validate(
        {"id": "e", "script": script, "status": status, "error": None if error is None else error("x").info()}
    )


@pytest.mark.requirement("CLI-002")
@pytest.mark.parametrize(
    ("executions", "status"),
    [
        ([ended("ok"), ended("planned"), ended("skipped")], 0),
        ([ended("ok"), ended("error", ScriptRuntimeError)], 1),
        ([ended("terminated")], 1),
        ([ended("cancelled")], 1),
        ([ended("error", ScriptRuntimeError), ended("suspended")], 3),
        ([ended("suspended"), ended("error", HarnessInternalError)], 4),
    ],
)
def test_of_several_states_the_gravest_decides(executions, status):
    assert exit_status(Outcome(id="o", executions=tuple(executions))) == status


@pytest.mark.requirement("CLI-002")
def test_unclosed_blocks_and_errors_of_the_text_count_as_failures():
    assert exit_status(Outcome(id="o", segments=(Unclosed(text="", span=SPAN),))) == 1
    for severity, status in ((Severity.ERROR, 1), (Severity.WARNING, 0)):
        assert (
            exit_status(Outcome(id="o", diagnostics=(Diagnostic(code="x", severity=severity, message="m"),))) == status
        )


@pytest.mark.requirement("CLI-002")
def test_a_defect_is_told_apart_from_a_failure(cli, monkeypatch):
    def broken(_outcome: Outcome) -> str:
        raise ZeroDivisionError

    monkeypatch.setattr(Outcome, "to_json", broken)
    result = cli("run", "-", "--json", stdin="")
    assert result.status == 4
    assert "Traceback" in result.err
    assert "internal error: ZeroDivisionError" in result.err
    assert result.out == ""


@pytest.mark.requirement("CLI-014")
def test_what_a_person_sees_of_a_run(cli, tools):
    script = "const sum = await tools.add({a: 1, b: 2});\nconsole.warn('careful');\nawait tools.fail();"
    result = cli("run", "-", "--tools", tools, stdin=block(script))
    assert result.status == 1
    assert re.search(r"Block 1 · lines 3–7 · error", result.out)
    assert re.search(r"ok +add\(\{\"a\": 1, \"b\": 2\}\)", result.out)
    assert re.search(r"warn +careful", result.out)
    assert "ToolExecutionError" in result.out
    assert re.search(r"^ +6 │ await tools\.fail\(\);$", result.out, re.MULTILINE)
    assert result.err == ""


@pytest.mark.requirement("CLI-007")
def test_control_characters_of_a_script_are_written_out(cli):
    result = cli("run", "-", stdin=block(r"console.log('\u001b[31mred\u0007\u202e'); return '\u001b]0;x\u0007'"))
    assert "\x1b" not in result.out
    assert "\u202e" not in result.out
    assert r"\u{1b}[31mred\u{7}\u{202e}" in result.out


@pytest.mark.requirement("CLI-010")
def test_approvals_from_the_command_line(cli, tools):
    text = block("return await tools.pay({cents: 5})")
    (call,) = cli("run", "-", "--tools", tools, "--approve", "always", "--json", stdin=text).json["executions"][0][
        "calls"
    ]
    assert (call["status"], call["approval"]["decision"]) == ("ok", "approved")
    execution = cli("run", "-", "--tools", tools, "--approve", "never", "--json", stdin=text).json["executions"][0]
    assert execution["error"]["type"] == "ApprovalDeniedError"
    assert execution["calls"][0]["status"] == "denied"


@pytest.mark.requirement("CLI-015")
def test_dry_run_and_disabled(cli, tools):
    text = block("await tools.pay({cents: 5}); await tools.fail()")
    planned = cli("run", "-", "--tools", tools, "--mode", "dry-run", "--json", stdin=text).json["executions"][0]
    assert planned["status"] == "planned"
    assert [step["tool"] for step in planned["plan"]["steps"]] == ["pay", "fail"]
    disabled = cli("run", "-", "--tools", tools, "--mode", "disabled", "--json", stdin=text).json["executions"][0]
    assert (disabled["status"], disabled["calls"]) == ("skipped", [])


def test_options_reach_the_harness(cli):
    text = block("return Math.random()") + block("throw 1") + block("return 2")
    one, two = (cli("run", "-", "--seed", 7, "--continue-on-error", "--json", stdin=text).json for _ in range(2))
    assert one["executions"][0]["value"] == two["executions"][0]["value"]
    assert [execution["status"] for execution in one["executions"]] == ["ok", "error", "ok"]
    stopped = cli("run", "-", "--isolation", "shared", "--json", stdin=text).json
    assert [execution["status"] for execution in stopped["executions"]] == ["ok", "error", "skipped"]


# ── files and limits ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("CLI-006")
@pytest.mark.parametrize("command", ["run", "check"])
def test_files_that_cannot_be_read(cli, tmp_path, command):
    missing = cli(command, tmp_path / "nowhere.md")
    assert missing.status == 2
    assert "nowhere.md cannot be read: No such file" in missing.err
    assert cli(command, tmp_path).status == 2
    latin = tmp_path / "latin.md"
    latin.write_bytes("one\ntwo\nna\xefve".encode("latin-1"))
    result = cli(command, latin)
    assert result.status == 2
    assert "latin.md is not UTF-8: byte 0xef in line 3 (offset 10)" in result.err
    assert result.out == ""


@pytest.mark.requirement("CLI-005")
@pytest.mark.parametrize(
    ("pair", "name", "value"),
    [
        ("wall_time=5", "wall_time", 5.0),
        ("wall_time=0.5", "wall_time", 0.5),
        ("wall_time=500ms", "wall_time", 0.5),
        ("wall_time=2min", "wall_time", 120.0),
        ("wall_time=1h", "wall_time", 3600.0),
        ("settle_grace=0", "settle_grace", 0.0),
        ("memory_bytes=64MiB", "memory_bytes", 64 * 1024**2),
        ("memory_bytes=64mb", "memory_bytes", 64_000_000),
        ("script_bytes=1.5KiB", "script_bytes", 1536),
        ("script_bytes=30_000", "script_bytes", 30_000),
        (" max_tool_calls = 7 ", "max_tool_calls", 7),
    ],
)
def test_limits_as_people_write_them(pair, name, value):
    from harness.cli.limits import parse_limits

    limits = parse_limits([pair])
    assert getattr(limits, name) == value
    assert limits.model_dump(exclude_unset=True) == {name: value}


@pytest.mark.requirement("CLI-005")
@pytest.mark.parametrize(
    ("pair", "says"),
    [
        ("wall_tme=5", "Did you mean wall_time?"),
        ("nonsense=5", "The limits are: wall_time, cpu_time"),
        ("wall_time", "write it as name=value"),
        ("wall_time=soon", "give a time as seconds (5, 0.5) or with a unit (500ms, 2min)"),
        ("wall_time=5KiB", "give a time"),
        ("wall_time=-1", "give a time"),
        ("wall_time=0", "greater than 0"),
        ("memory_bytes=64MB/s", "give a size as bytes (65536) or with a unit (64KiB, 1MiB)"),
        ("memory_bytes=1", "greater than or equal to 8388608"),
        ("script_bytes=1.5", "1.5 is no whole number"),
        ("max_tool_calls=3KiB", "give a whole number"),
        ("max_tool_calls=²", "give a whole number"),
    ],
)
def test_wrong_limits_say_what_is_right(cli, pair, says):
    result = cli("run", "-", "--limit", pair)
    assert result.status == 2
    assert says in result.err
    assert pair.split("=")[0] in result.err
    assert result.out == ""


@pytest.mark.requirement("CLI-005")
def test_a_limit_holds(cli, tools):
    text = block("for (let i = 0; i < 3; i++) await tools.add({a: i, b: i})")
    result = cli("run", "-", "--tools", tools, "--limit", "max_tool_calls=2", "--json", stdin=text)
    assert result.json["executions"][0]["error"]["type"] == "ToolBudgetExceededError"


def test_wrong_options_are_usage_errors(cli):
    for arguments in (["run"], ["run", "-", "--bogus"], ["run", "-", "--mode", "maybe"], ["fly"], ["tools"]):
        result = cli(*arguments)
        assert result.status == 2, arguments
        assert result.out == "" or "Usage" in result.out


# ── check ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("CLI-011")
def test_check_lists_every_problem_with_its_place_in_the_file(cli, tmp_path, tools):
    file = tmp_path / "text.md"
    file.write_text(
        "Prose.\n\n<tool-calls>\nconst a = 1;\nconst a = 2;\n</tool-calls>\n\n"
        "<tool-calls>eval('1')</tool-calls>\n\n"
        "<tool-calls>\n  await tools.ad({a: 1})\n</tool-calls>\n\n</tool-calls>\n"
    )
    result = cli("check", file, "--tools", tools)
    lines = result.out.splitlines()
    assert result.status == 1
    assert all(
        re.match(rf"{re.escape(str(file))}:\d+(:\d+)?: (error|warning|info): .+ \[\w+\]$", line) for line in lines
    )
    assert any(":5:" in line and "ScriptSyntaxError" in line for line in lines)  # only the engine objects to this one
    assert any(":8:13: error" in line and "BannedIdentifierError" in line for line in lines)
    assert any(":11:" in line and "ToolNotFoundError" in line and "add" in line for line in lines)
    assert any(":14:1:" in line for line in lines)


@pytest.mark.requirement("CLI-011")
def test_check_as_json_and_without_problems(cli, tools):
    bad = cli("check", "-", "--json", stdin=block("const = 1"))
    assert bad.status == 1
    assert [Diagnostic.model_validate(item).line for item in bad.json if item["severity"] == "error"] == [4]
    good = cli("check", "-", "--tools", tools, stdin=block("return await tools.add({a: 1, b: 2})"))
    assert (good.status, good.out, good.err) == (0, "", "no problems found\n")


@pytest.mark.requirement("CLI-011")
def test_check_runs_nothing_and_without_tools_asks_for_none(cli):
    result = cli("check", "-", stdin=block("for (;;) await tools.anything({x: 1})"))
    assert result.status == 0, result.out


# ── tools ────────────────────────────────────────────────────────────────────────────────────────────────────────


def names(result: Result) -> list[str]:
    assert result.status == 0, result.err
    return [tool["name"] for tool in result.json]


@pytest.mark.requirement("CLI-003")
def test_tools_of_a_file_and_of_a_module(cli, tools, monkeypatch):
    listing = ("--format", "json")
    assert names(cli("tools", "--tools", tools, *listing)) == ["add", "pay", "fail"]
    assert names(cli("tools", "--tools", f"{tools}:pay", *listing)) == ["pay"]
    monkeypatch.chdir(tools.parent)
    assert names(cli("tools", "--tools", "desk_tools", *listing)) == ["add", "pay", "fail"]
    assert names(cli("tools", "--tools", "desk_tools:fail", *listing)) == ["fail"]
    assert names(cli("tools", "--tools", "desk_tools.py", "--tools", "desk_tools.py:add", *listing))[:3] == [
        "add",
        "pay",
        "fail",
    ]


@pytest.mark.requirement("CLI-003")
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("LIST", ["pay", "add"]),
        ("REGISTRY", ["add"]),
        ("make", ["fail"]),
        ("plain", ["double"]),
        ("Box.inner", ["add"]),
        ("desk", ["desk.count"]),
        ("Desk", ["desk.count"]),
        ("MIXED", ["desk.count", "add", "double"]),
    ],
)
def test_a_name_can_hold_tools_in_several_ways(cli, tools, name, expected):
    extra = """
        from harness import ToolRegistry

        LIST = [pay, add]
        REGISTRY = ToolRegistry([add])

        def make():
            return (fail,)

        def double(n: int) -> int:
            return 2 * n

        def plain():
            return [double]

        class Box:
            inner = add

        class Desk:
            @tool
            def count(self) -> int:
                return 1

        desk = Desk()
        MIXED = [desk, add, double]
    """
    tools.write_text(tools.read_text() + textwrap.dedent(extra))
    assert names(cli("tools", "--tools", f"{tools}:{name}", "--format", "json")) == expected


@pytest.mark.requirement("CLI-003")
def test_a_tools_file_can_import_its_neighbours(cli, tools):
    (tools.parent / "neighbour.py").write_text("from desk_tools import add, pay\n")
    (tools.parent / "more.py").write_text("import neighbour\nfrom neighbour import pay\n")
    assert names(cli("tools", "--tools", tools.parent / "more.py", "--format", "json")) == ["pay"]


@pytest.mark.requirement("CLI-004")
@pytest.mark.parametrize(
    ("source", "name", "says"),
    [
        (
            "import nowhere_at_all",
            "",
            r"ModuleNotFoundError: No module named 'nowhere_at_all'\n.*bad\.py, line 1: import",
        ),
        (
            "x = 1\ndef f():\n    return 1 / 0\nf()",
            "",
            r"ZeroDivisionError: division by zero\n.*bad\.py, line 3: return 1 / 0",
        ),
        ("def f(:", "", r"SyntaxError: .*bad\.py, line 1"),
        ("raise SystemExit(5)", "", r"SystemExit: 5\n.*bad\.py, line 1"),
        (
            "from harness import tool\n@tool\ndef then(): ...",
            "",
            r"'then' cannot be the name of a tool.*\n.*bad\.py, line 2",
        ),
        ("x = 1", "", r"no tools in .*bad\.py; mark functions with @tool"),
        ("x = 1", ":y", r"bad\.py has no 'y'"),
        ("x = 1", ":x", r"x is of type int; it must be a tool, a list of tools"),
        ("x = [1]", ":x", r"x is a list that holds more than tools"),
        ("def f(): return 1", ":f", r"f\(\) is of type int"),
        ("def f(): raise KeyError('k')", ":f", r"KeyError: 'k'\n.*bad\.py, line 1"),
        ("def f(a): return a", ":f", r"TypeError: f\(\) missing 1 required positional argument"),
    ],
)
def test_tools_that_cannot_be_had_say_why(cli, tmp_path, source, name, says):
    path = tmp_path / "bad.py"
    path.write_text(source)
    result = cli("run", "-", "--tools", f"{path}{name}", stdin=block("return 1"))
    assert result.status == 2
    assert f"--tools {path}{name}: " in result.err
    assert re.search(says, result.err), result.err
    assert "Traceback" not in result.err
    assert result.out == ""


@pytest.mark.requirement("CLI-004")
def test_modules_that_are_not_there(cli, tools, monkeypatch):
    monkeypatch.chdir(tools.parent)
    assert "there is no file nowhere.py" in cli("tools", "--tools", "nowhere.py").err
    assert "there is no module 'nowhere_at_all'" in cli("tools", "--tools", "nowhere_at_all").err
    assert "there is no module 'nowhere_at_all.sub'" in cli("tools", "--tools", "nowhere_at_all.sub:x").err
    (tools.parent / "hidden-tools.py").write_text("")
    assert "is neither a module (pkg.module) nor a Python file" in cli("tools", "--tools", "hidden-tools").err
    assert all(cli("tools", "--tools", place).status == 2 for place in ("nowhere.py", "nowhere_at_all", "hidden-tools"))


@pytest.mark.requirement("CLI-004")
def test_two_tools_of_one_name_are_refused(cli, tools, tmp_path):
    other = tmp_path / "other.py"
    other.write_text(textwrap.dedent(TOOLS))
    result = cli("tools", "--tools", tools, "--tools", other)
    assert result.status == 2
    assert "There already is a tool 'add'" in result.err


@pytest.mark.requirement("CLI-012")
def test_the_list_of_tools(cli):
    text = cli("tools", "--tools", EXAMPLES / "tools.py").out
    assert "## tools.find_orders({customer, status?})" in text
    assert "- `customer` (string): E-mail address of the customer." in text
    assert '- `status` ("paid" | "shipped" | "delivered" | "refunded" | null, optional)' in text
    assert "Needs approval. Tags: destructive." in text
    assert "Returns {order_id: string, carrier: string, where: string, days_late: integer}." in text
    described = {tool["name"]: tool for tool in cli("tools", "--tools", EXAMPLES / "tools.py", "--format", "json").json}
    assert described["refund"]["approval"] is True
    assert set(described["refund"]["parameters"]["required"]) == {"order_id", "cents", "reason"}


# ── doctor, version ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("CLI-013")
def test_doctor(cli):
    found = cli("doctor", "--json").json
    assert {"name", "active", "detail"} == set(found[0])
    assert all(item["detail"] for item in found)
    assert next(item for item in found if item["name"] == "engine")["active"] is True
    shown = cli("doctor")
    assert shown.status == 0
    for item in found:
        state = "active" if item["active"] else "missing"
        assert re.search(rf"^{state} +{item['name']} ", shown.out, re.MULTILINE)


def test_version(cli):
    result = cli("--version")
    assert result.status == 0
    assert re.fullmatch(r"harness \d+\.\d+\.\d+ \(quickjs-ng [\d.]+, Python [\d.]+\)\n", result.out)


@pytest.mark.requirement("CLI-012")
def test_a_schema_with_an_integer_that_no_double_is_is_listed_as_json(cli, tmp_path):
    source = "from typing import Annotated\nfrom pydantic import Field\nfrom harness import tool\n"
    source += "@tool\ndef big(n: Annotated[int, Field(le=2**63 - 1)]): ...\n"
    (tmp_path / "big.py").write_text(source)
    (described,) = cli("tools", "--tools", tmp_path / "big.py", "--format", "json").json
    assert float(described["parameters"]["properties"]["n"]["maximum"]) == float(2**63)


@pytest.mark.requirement("CLI-012")
def test_tools_takes_json_like_the_others(cli, tools):
    assert cli("tools", "--tools", tools, "--json") == cli("tools", "--tools", tools, "--format", "json")


@pytest.mark.requirement("CLI-002", "PIPE-005")
@pytest.mark.parametrize("command", ["run", "check"])
def test_too_many_blocks_are_a_failure(cli, command):
    text = block("return 1") + block("// nothing") + block("return 2")
    assert cli(command, "-", "--limit", "max_blocks=2", stdin=text).status == 0
    done = cli(command, "-", "--limit", "max_blocks=1", stdin=text)
    assert done.status == 1
    assert "too_many_blocks" in done.out
