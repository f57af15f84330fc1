"""Commands as tools: what goes in, what must come out, and how everything else is named."""

from __future__ import annotations

import ast
import dataclasses
import functools
import json
import logging
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field

from harness import (
    CallStatus,
    Decision,
    ErrorCategory,
    Harness,
    ProcessLimits,
    SubprocessTool,
    ToolExecutionError,
    ToolRegistry,
    ToolTimeoutError,
    ToolValidationError,
    UsageError,
)
from harness.context import make_test_context
from harness.errors import ToolError
from harness.testing import ScriptedApprover, call_tool

pytestmark = pytest.mark.anyio

BAD_TOOLS = Path(__file__).parent / "fixtures" / "bad_tools"
LIBRARY = Path(__file__).parent.parent / "harness"
ONE_LOOP = pytest.mark.parametrize("anyio_backend", ["asyncio"])
"""For what does not depend on the event loop."""


class Narrow(BaseModel):
    word: str = ""
    seed: int = Field(0, le=100)


class Pair(BaseModel):
    """Adds two numbers."""

    a: int
    b: int = Field(default=2, description="The other one.")


class Sum(BaseModel):
    sum: int


class Stream(BaseModel):
    stream: str
    bytes: int


def make(script: str, *arguments: str, **settings: Any) -> SubprocessTool:
    command = [sys.executable, "-E", "-S", str(BAD_TOOLS / f"{script}.py"), *arguments]
    return SubprocessTool(settings.pop("name", script), command, **settings)


async def failure(tool: SubprocessTool, arguments: dict[str, Any] | None = None) -> ToolError:
    with pytest.raises(ToolError) as caught:
        await call_tool(tool, arguments)
    return caught.value


# ── setting up ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("SUB-001")
@ONE_LOOP
async def test_a_command_is_a_tool_like_any_other(tmp_path):
    add = make("good_tool", name="math.add", args=Pair, result=Sum, cwd=tmp_path, approval=True, tags=("read",))
    assert add.description == "Adds two numbers."
    assert add.parameters["properties"]["b"]["description"] == "The other one."
    assert add.parameters["additionalProperties"] is False
    assert add.result is not None
    assert add.result["required"] == ["sum"]
    script = "const r = await tools.math.add({a: 40}); try { await tools.math.add({c: 1}) } catch (e) { return [r, e.message] }"
    async with Harness(tools=[add], approver=ScriptedApprover([Decision.approve(edits={"a": 1})])) as harness:
        [execution] = (await harness.run(f"<tool-calls>{script}</tool-calls>")).executions
        assert execution.error is None, execution.error
        value = execution.value
        assert isinstance(value, list)
        assert value[0] == {"sum": 3}
        assert "$.a: a value is required" in str(value[1])
        assert "$.c: unknown argument" in str(value[1])
        assert [call.status for call in execution.calls] == [CallStatus.OK, CallStatus.ERROR]
    async with Harness(tools=[add], mode="dry-run") as harness:
        [execution] = (await harness.run("<tool-calls>await tools.math.add({a: 1})</tool-calls>")).executions
        assert execution.calls[0].status is CallStatus.PLANNED


@pytest.mark.requirement("SUB-002")
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"command": "ls -l"}, "list of strings"),
        ({"command": []}, "list of strings"),
        ({"command": ["ls", 1]}, "list of strings"),
        ({"command": ["ls\0"]}, "NUL"),
        ({"args": {"a": int}}, "pydantic model"),
        ({"result": object()}, "result of tool"),
        ({"timeout": 0}, "timeout"),
        ({"max_stdout": 0}, "max_stdout"),
        ({"max_stderr": 1 << 40}, "max_stderr"),
        ({"artifacts": "files"}, "list of paths"),
        ({"artifacts": ["files["]}, "'files\\['"),
        ({"artifacts": [1]}, "artifacts of tool 'x'"),
        ({"max_stdout": "1"}, "max_stdout of tool 'x'"),
        ({"max_stderr": True}, "max_stderr of tool 'x'"),
        ({"command": 5}, "list of strings"),
        ({"description": 5}, "description of tool 'x'"),
        ({"env": ["A"]}, "env of tool 'x'"),
        ({"env": {"A": 1}}, "env of tool 'x'"),
        ({"cwd": 5}, "cwd of tool 'x'"),
        ({"limits": 5}, "limits of tool 'x'"),
        ({"seed_field": 5}, "seed_field of tool 'x'"),
        ({"args": Pair, "seed_field": "sead"}, "args has no such member, but a, b"),
        ({"args": Narrow, "seed_field": "word"}, "does not take every seed: 0 does not fit"),
        ({"args": Narrow, "seed_field": "seed"}, "does not take every seed: 4294967295 does not fit"),
        ({"verify_determinism": 1}, "verify_determinism of tool 'x'"),
        ({"grace": "1"}, "grace of tool 'x'"),
        ({"artifacts": ["a..b"]}, "'a..b'"),
        ({"artifacts": [""]}, "no path into a result"),
        ({"artifacts": ["[*]x"]}, "no path into a result"),
        ({"env": {"A=B": "1"}}, "no name of a variable"),
        ({"env": {"A": "x\0"}}, "NUL"),
        ({"limits": {"memory": 1}}, "memory: Extra inputs"),
        ({"limits": {"cpu_time": 0}}, "cpu_time"),
        ({"stdout": "lines"}, "'last-line'"),
        ({"leftovers": "keep"}, "leftovers"),
        ({"grace": -1}, "grace"),
        ({"grace": float("nan")}, "grace"),
    ],
)
@ONE_LOOP
async def test_settings_that_cannot_be(settings, words):
    with pytest.raises(UsageError, match=words):
        SubprocessTool("x", settings.pop("command", ["true"]), **settings)


@pytest.mark.requirement("SUB-003", "SUB-005")
@ONE_LOOP
async def test_what_a_command_is_given(tmp_path, monkeypatch):
    class Named(BaseModel):
        model_config = ConfigDict(populate_by_name=True)
        zebra: int
        text: str = "ä$(touch x); `id`"

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not for tools")
    monkeypatch.setenv("PASSED_ON", "from the host")
    monkeypatch.setenv("LD_PRELOAD_X", "no")
    variables = {"PASSED_ON": None, "NOT_SET_ANYWHERE": None, "MODE": "fast", "LANG": "C.UTF-8"}
    found = await call_tool(make("environment", "--fixed", args=Named, env=variables, cwd=tmp_path), {"zebra": 1})
    assert isinstance(found, dict)
    assert found["stdin"] == '{"text":"ä$(touch x); `id`","zebra":1}\n'
    assert found["argv"] == ["--fixed"]
    assert found["cwd"] == str(tmp_path)
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - no path is wanted
    env = found["env"]
    assert isinstance(env, dict)
    scratch = env.pop("TMPDIR")
    assert env.pop("TMP") == env.pop("TEMP") == scratch
    assert not os.path.lexists(str(scratch))  # noqa: ASYNC240 - a directory of our own
    allowed = {name: os.environ[name] for name in ("PATH", "HOME", "LC_ALL", "TZ") if name in os.environ}
    # The interpreter adds LC_CTYPE by itself, in the C locale.
    env.pop("LC_CTYPE", None)
    assert env == {**allowed, "PASSED_ON": "from the host", "MODE": "fast", "LANG": "C.UTF-8"}


@pytest.mark.requirement("SUB-005")
@ONE_LOOP
async def test_a_command_has_no_descriptors_of_the_host(tmp_path):
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    try:
        names = "import os, json; print(json.dumps(sorted(os.listdir('/proc/self/fd'))))"
        # The fourth is that of the listing itself.
        assert await call_tool(SubprocessTool("fds", [sys.executable, "-c", names])) == ["0", "1", "2", "3"]
    finally:
        os.close(reading)
        os.close(writing)


ROOMY = make_test_context(limits={"argument_bytes": 4 * 1024 * 1024})


@pytest.mark.slow
@pytest.mark.requirement("SUB-003")
async def test_input_that_nobody_reads(tmp_path):
    large = {"text": "x" * 3_000_000}
    assert await call_tool(make("does_not_read", cwd=tmp_path), large, context=ROOMY) == {"sum": 3}


@pytest.mark.requirement("SUB-003")
async def test_large_input_and_output_cross_at_the_same_time():
    echo = SubprocessTool("echo", ["cat"], max_stdout=4_000_000)
    large = {"text": "ä" * 500_000, "more": [[{}]]}
    with pytest.raises(ToolValidationError, match="result_bytes"):
        await call_tool(echo, large, context=ROOMY)
    small = {"text": "ä" * 100_000}
    assert await call_tool(echo, small) == small


@pytest.mark.requirement("SUB-004")
@ONE_LOOP
async def test_a_command_that_cannot_run_is_found_out_before_anyone_is_asked(tmp_path):
    plain = tmp_path / "plain.sh"
    plain.write_text("echo {}")
    wanted = {
        ("no-such-command-anywhere",): "no executable of this name on its PATH",
        ("./missing.sh",): "there is no such file",
        ("./plain.sh",): "not executable",
        (str(tmp_path),): "it is no file",
    }
    for command, words in wanted.items():
        asked = ScriptedApprover([])
        tool = SubprocessTool("run", command, cwd=tmp_path, approval=True)
        async with Harness(tools=[tool], approver=asked) as harness:
            [execution] = (await harness.run("<tool-calls>await tools.run()</tool-calls>")).executions
        assert execution.error is not None
        assert execution.error.type == "ToolExecutionError"
        assert words in execution.error.message
        assert execution.error.details["reason"] == "command"
        assert not execution.error.retryable
        assert asked.requests == []
        assert execution.calls[0].duration_ms is None
    error = await failure(SubprocessTool("run", ["true"], cwd=tmp_path / "gone"))
    assert "working directory does not exist" in error.message
    # A relative program is one of the working directory, as it is for a shell.
    plain.write_text("#!/bin/sh\necho '{}'")
    plain.chmod(0o755)
    assert await call_tool(SubprocessTool("run", ["./plain.sh"], cwd=tmp_path)) == {}


@pytest.mark.requirement("SUB-004")
@ONE_LOOP
@pytest.mark.parametrize(
    ("start", "words"),
    [
        (b"#!/no/such/interpreter\n", "its interpreter 'interpreter', which its first line names, is not there"),
        (b"#!/tmp\n", "is not there or not executable"),
        (b"#!/bin/sh\r\necho {}", "ends with a carriage return"),
        (
            b"#!/usr/bin/env no-such-program\n",
            "its interpreter 'no-such-program', which its first line names, is not on",
        ),
        (b"#!/usr/bin/env -S no-such-program -u\n", "is not on its PATH"),
        (b"#!\n", "names no interpreter"),
        (b"echo {}", "it is text without a first line that names its interpreter"),
        (b"", "it is empty"),
    ],
)
async def test_a_script_that_nothing_can_run_is_found_out_before_anyone_is_asked(tmp_path, start, words):
    script = tmp_path / "script"
    script.write_bytes(start)
    script.chmod(0o755)
    asked = ScriptedApprover([])
    tool = SubprocessTool("run", [str(script)], approval=True)
    with pytest.raises(ToolExecutionError) as caught:
        await ToolRegistry([tool]).call("run", approver=asked)
    assert words in caught.value.message
    assert str(tmp_path) not in caught.value.message
    assert (caught.value.details["reason"], asked.requests) == ("command", [])


@pytest.mark.requirement("SUB-004")
@ONE_LOOP
@pytest.mark.parametrize("first", ["#!/bin/sh", "#! /bin/sh -e", "#!/usr/bin/env sh", "#!/usr/bin/env -S sh -e"])
async def test_scripts_that_can_run_do(tmp_path, first):
    script = tmp_path / "script"
    script.write_text(f"{first}\necho '{{}}'\n")
    script.chmod(0o755)
    assert await call_tool(SubprocessTool("run", [str(script)])) == {}


@pytest.mark.requirement("SUB-063")
@ONE_LOOP
async def test_a_command_that_cannot_be_executed(tmp_path):
    script = tmp_path / "script"
    script.write_bytes(b"\0\1\2")
    script.chmod(0o755)
    error = await failure(SubprocessTool("run", [str(script)]))
    assert isinstance(error, ToolExecutionError)
    assert error.details["reason"] == "exec"
    assert "cannot be executed (Exec format error)" in error.message


@pytest.mark.requirement("SUB-063")
@ONE_LOOP
async def test_a_host_that_can_start_no_process(monkeypatch):
    def refuse(*_args: Any, **_kwargs: Any) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("subprocess.Popen", refuse)
    error = await failure(SubprocessTool("run", ["true"]))
    assert "no process can be started (Resource temporarily unavailable)" in error.message


@pytest.mark.requirement("SUB-006")
@ONE_LOOP
async def test_settings_of_one_call(tmp_path):
    tool = make("names_artifact", cwd=tmp_path, limits={"open_files": 20})
    assert (await tool.run({"file": "x"})).value == {"file": "x"}
    with pytest.raises(ToolValidationError, match="no such file"):
        await tool.run({"file": "x"}, artifacts=["file"])
    with pytest.raises(ToolTimeoutError, match=r"within 0\.001 seconds"):
        await tool.run({"file": "x"}, timeout=0.001)
    # Of the limits only those that are given change.
    other = tool.with_settings(limits={"cpu_time": 5}, timeout=3)
    assert (other.timeout, tool.timeout) == (3, None)
    assert other._command.limits == ProcessLimits(open_files=20, cpu_time=5)
    assert tool._command.limits == ProcessLimits(open_files=20)
    for wrong in ({"timeout": 0}, {"timeout": 1e9}, {"artifacts": ["["]}, {"limits": {"no": 1}}, {"seed": 1}):
        with pytest.raises(UsageError):
            tool.with_settings(**wrong)


@pytest.mark.requirement("SUB-007")
async def test_again_and_again_with_the_test_context_alone(tmp_path):
    good, bad = make("good_tool", args=Pair, result=Sum), make("non_zero_exit")
    for number in range(2):
        assert await call_tool(good, {"a": number, "b": 1}) == {"sum": number + 1}
        assert (await failure(bad)).details["exit_code"] == 3
    output = await good.run({"a": 1})
    assert (output.value, output.logs, output.artifacts) == ({"sum": 3}, "adding\n", ())


# ── output ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("SUB-010")
@ONE_LOOP
async def test_output_that_is_no_json():
    error = await failure(make("non_json", name="report"))
    assert isinstance(error, ToolValidationError)
    assert "tools.report" in error.message
    assert "non_json.py" in error.message
    assert "(1,413 characters)" in error.message
    assert error.details["stdout"].startswith("Processing…\nall went well")
    assert len(error.details["stdout"]) == 500
    assert error.details["stdout_length"] == 1_413
    assert error.details["command"][-1] == "non_json.py"
    assert "artifacts" not in error.details


@pytest.mark.requirement("SUB-011")
@ONE_LOOP
async def test_json_of_another_shape():
    error = await failure(make("wrong_schema", result=Sum))
    assert isinstance(error, ToolValidationError)
    assert "$.sum" in error.message
    assert error.details["path"] == "$.sum"
    assert error.details["errors"][0]["received"] == 'the string "three"'
    assert error.details["received"] == {"total": 3, "sum": "three"}

    class Named(BaseModel):
        name: str

    error = await failure(make("wrong_schema", result=Named))
    assert error.details["path"] == "$.name"
    assert "a value is required" in error.message
    received = {"text": "x" * 20_000}
    error = await failure(SubprocessTool("cat", ["cat"], result=Named), received)
    assert error.details["received"] == {
        "json": json.dumps(received)[:10_000].replace(": ", ":") + "x",
        "length": 20_011,
    }


@pytest.mark.requirement("SUB-011")
@ONE_LOOP
async def test_a_result_is_passed_on_as_it_was_written():
    class Loose(BaseModel):
        a: int
        note: str = "a default"

    given = {"a": 1, "unknown": [None, 1.5]}
    assert await call_tool(SubprocessTool("cat", ["cat"], result=Loose), given) == given
    assert await call_tool(SubprocessTool("cat", ["cat"], result=dict[str, Any]), given) == given


@pytest.mark.requirement("SUB-012")
@ONE_LOOP
async def test_logs_in_the_output():
    error = await failure(make("mixed_output", result=Sum))
    assert isinstance(error, ToolValidationError)
    assert (
        'Logs belong on standard error; for a tool that cannot be changed there is stdout="last-line"' in error.message
    )
    tool = make("mixed_output", result=Sum, stdout="last-line")
    assert await call_tool(tool) == {"sum": 3}
    assert (await tool.run()).logs == "INFO starting\nINFO done\n"
    assert (await failure(make("non_json", stdout="last-line"))).details["reason"] == "output"


@pytest.mark.requirement("SUB-013")
@pytest.mark.parametrize(
    ("output", "words"),
    [
        (b"", "is empty"),
        (b" \n\t\r\n", "is empty"),
        (b'{"a": "\xff\xfe"}', "no UTF-8: byte 0xff at offset 7"),
        ('{"a": 1}'.encode("utf-16-le"), "NUL byte at offset 1"),
        (b'{"a": 1}\0', "NUL byte at offset 8"),
        (b'\xef\xbb\xbf{"a": 1}', "byte order mark"),
        (b'{"a": 1}\n{"a": 2}\n', "goes on after the document, at line 2, column 1"),
        (b'{"a": 1} trailing', "goes on after the document, at line 1, column 10"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "-Infinity"),
        (b'{"a": {"b": 1, "b": 2}}', 'the key "b" twice'),
        (b'{"a": 9007199254740993}', r"\$\.a"),
        (b"[" + b"9" * 5_000 + b"]", r"\$\[0\]"),
        (b'{"a": "\\ud800"}', r"\$\.a"),
        (b"[" * 300 + b"]" * 300, "nested"),
        (b"[" * 60_000 + b"]" * 60_000, "nested"),
        (b'{"a": 1,}', "no JSON: .* at line 1, column"),
        (b"{'a': 1}", "no JSON"),
        (b'{"a": 1', "no JSON"),
        (b"undefined", "no JSON"),
    ],
    ids=lambda value: None if isinstance(value, str) else value[:12].hex(),
)
@ONE_LOOP
async def test_output_that_is_not_one_document(output, words):
    error = await failure(make("raw", name="raw"), {"hex": output.hex()})
    assert isinstance(error, ToolValidationError)
    assert re.search(words, error.message), error.message
    assert error.details["reason"] == "output"
    assert error.details["stdout_length"] == len(output.decode(errors="replace"))


@pytest.mark.requirement("SUB-013")
@pytest.mark.parametrize("output", ["null", " 1.5\r\n", '"\\u00e4\\ud83d\\ude00"', "[]", '{"__proto__": 1}'])
@ONE_LOOP
async def test_any_document_will_do_where_nothing_is_declared(output):
    assert await call_tool(make("raw"), {"hex": output.encode().hex()}) == json.loads(output)


@pytest.mark.requirement("SUB-014")
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
async def test_output_without_end_is_stopped_at_the_limit(stream):
    tool = make("huge_output", args=Stream, max_stdout=100_000, max_stderr=50_000)
    error = await failure(tool, {"stream": stream, "bytes": 0})
    assert isinstance(error, ToolValidationError)
    limit = {"stdout": 100_000, "stderr": 50_000}[stream]
    assert f"more than {limit:,} bytes" in error.message
    assert f"max_{stream}" in error.message
    assert error.details["limit"] == limit
    assert error.details[f"{stream}_length"] == limit


@pytest.mark.requirement("SUB-014")
@ONE_LOOP
async def test_output_of_exactly_the_limit_passes():
    echo = SubprocessTool("cat", ["cat"], max_stdout=len('{"a":"xx"}\n'))
    assert await call_tool(echo, {"a": "xx"}) == {"a": "xx"}
    assert (await failure(echo, {"a": "xxx"})).details["reason"] == "max_stdout"


# ── determinism ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("SUB-030", "SUB-031")
@ONE_LOOP
async def test_randomness_is_found_out():
    tool = make("non_deterministic", verify_determinism=True)
    error = await failure(tool, {"n": 1})
    assert isinstance(error, ToolValidationError)
    assert error.details["path"] == "$.rows[1]"
    assert error.details["first"] != error.details["second"]
    assert "Give it a seed (seed_field=…)" in error.message

    seeded = make("non_deterministic", verify_determinism=True, seed_field="seed")
    first = await call_tool(seeded, {"n": 1})
    assert first == await call_tool(seeded, {"n": 1})
    other = await call_tool(seeded, {"n": 2})
    assert isinstance(first, dict)
    assert isinstance(other, dict)
    assert first["rows"] != other["rows"]
    assert isinstance(first["seed"], int)
    assert 0 <= first["seed"] < 2**32
    once = seeded.with_settings(seed=7)
    once._command = dataclasses.replace(once._command, verify_determinism=False)
    given = await call_tool(once, {"n": 1})
    assert isinstance(given, dict)
    assert given["seed"] == 7
    assert given["rows"] not in (first["rows"], other["rows"])
    assert (await once.run({"n": 3}, seed=8)).value != given


@pytest.mark.requirement("SUB-031")
@ONE_LOOP
async def test_a_seed_that_the_arguments_ask_for_can_be_left_out():
    class Wanted(BaseModel):
        n: int = 1
        seed: int

    tool = SubprocessTool("cat", ["cat"], args=Wanted, seed_field="seed")
    assert "required" not in tool.parameters
    derived = await call_tool(tool, {"n": 1})
    assert isinstance(derived, dict)
    assert isinstance(derived["seed"], int)
    assert 0 < derived["seed"] < 2**32
    assert await call_tool(tool) == derived  # what is left out is filled in first
    assert await call_tool(tool, {"n": 2}) != {**derived, "n": 2}
    assert await call_tool(tool, {"seed": 0}) == {"n": 1, "seed": 0}
    assert (await tool.run(seed=9)).value == {"n": 1, "seed": 9}
    assert "$.seed" in (await failure(tool, {"seed": "x"})).message
    assert "required" in SubprocessTool("cat", ["cat"], args=Wanted).parameters


@pytest.mark.requirement("SUB-030")
@ONE_LOOP
async def test_files_must_be_the_same_too(tmp_path):
    code = "import os; open('f','wb').write(os.urandom(8)); print('{\"file\": \"f\"}')"
    settings: dict[str, Any] = {"cwd": tmp_path, "verify_determinism": True}
    assert await call_tool(SubprocessTool("make", [sys.executable, "-c", code], **settings)) == {"file": "f"}
    error = await failure(SubprocessTool("make", [sys.executable, "-c", code], artifacts=["file"], **settings))
    assert error.details["path"] == "$.artifacts.f"


@pytest.mark.requirement("SUB-030")
@ONE_LOOP
async def test_a_second_run_that_fails_says_that_it_was_the_second(tmp_path):
    code = "import os; os.mkdir('once'); print('{}')"
    error = await failure(SubprocessTool("once", [sys.executable, "-c", code], cwd=tmp_path, verify_determinism=True))
    assert (error.details["exit_code"], error.details["run"]) == (1, 2)


# ── errors ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("SUB-020")
@ONE_LOOP
async def test_exit_codes(tmp_path):
    error = await failure(make("non_zero_exit", artifacts=["sum"], cwd=tmp_path))
    assert isinstance(error, ToolExecutionError)
    assert error.category is ErrorCategory.PERMANENT
    assert "exit code 3" in error.message
    assert "cannot open the ledger" in error.message
    details = error.details
    assert (details["exit_code"], details["reason"]) == (3, "exit")
    assert (len(details["stderr"]), details["stderr_length"]) == (1_000, 2_024)
    assert (len(details["stdout"]), details["stdout_length"]) == (500, 1_026)


@pytest.mark.requirement("SUB-021")
@ONE_LOOP
async def test_death_by_a_signal():
    error = await failure(make("dies_by_signal"))
    assert isinstance(error, ToolExecutionError)
    assert error.details["signal"] == "SIGSEGV"
    assert "SIGSEGV" in error.message
    real_time = SubprocessTool("rt", ["sh", "-c", "kill -40 $$"])
    assert (await failure(real_time)).details["signal"] == "signal 40"


FAILING: list[tuple[type[ToolError], str, dict[str, Any], dict[str, Any]]] = [
    (ToolValidationError, "non_json", {}, {}),
    (ToolValidationError, "wrong_schema", {}, {"result": Sum}),
    (ToolValidationError, "good_tool", {"a": "1"}, {"args": Pair}),
    (ToolValidationError, "missing_artifacts", {}, {"artifacts": ["files[*]"]}),
    (ToolValidationError, "non_deterministic", {}, {"verify_determinism": True}),
    (ToolValidationError, "huge_output", {"stream": "stdout", "bytes": 20}, {"max_stdout": 10}),
    (ToolExecutionError, "non_zero_exit", {}, {}),
    (ToolExecutionError, "dies_by_signal", {}, {}),
    (ToolExecutionError, "does_not_exist", {}, {}),
    (ToolTimeoutError, "good_tool", {"a": 1, "b": 1}, {"timeout": 0.001}),
]


@pytest.mark.requirement("SUB-060")
@ONE_LOOP
async def test_errors_reach_the_outcome_unchanged(tmp_path):
    tools = [
        make(script, name=f"run{number}", cwd=tmp_path, **settings)
        for number, (_, script, _, settings) in enumerate(FAILING)
    ]
    # What the script sees of each error, beside what the record of its call says.
    calls = ", ".join(f"[tools.run{number}, {json.dumps(given)}]" for number, (_, _, given, _) in enumerate(FAILING))
    script = f"""
        const seen = [];
        for (const [run, given] of [{calls}]) {{
            try {{ await run(given) }} catch (e) {{ seen.push([e.name, e.category, e.retryable, e.message, e.details]) }}
        }}
        return seen"""
    async with Harness(tools=tools) as harness:
        [execution] = (await harness.run(f"<tool-calls>{script}</tool-calls>")).executions
    assert isinstance(execution.value, list)
    for tool, (expected, script, given, _), seen, call in zip(
        tools, FAILING, execution.value, execution.calls, strict=True
    ):
        direct = await failure(tool, given)
        assert type(direct) is expected
        assert call.error is not None
        record = [
            call.error.type,
            call.error.category.value,
            call.error.retryable,
            call.error.message,
            call.error.details,
        ]
        assert seen == record
        assert record[:3] == [expected.__name__, direct.category.value, direct.retryable]
        if script != "non_deterministic":
            assert record[3:] == [direct.message, direct.details]
        assert call.status is (CallStatus.TIMED_OUT if expected is ToolTimeoutError else CallStatus.ERROR)


@pytest.mark.requirement("SUB-061")
@ONE_LOOP
async def test_errors_show_no_path_and_no_credential_of_the_host(tmp_path):
    code = "import sys; sys.exit(open('/etc/no-such-secret-file') and 0 or 'token=hunter2hunter2')"
    tool = SubprocessTool("leak", [sys.executable, "-c", code], cwd=tmp_path)
    error = await failure(tool)
    text = error.message + json.dumps(error.details["stderr"])
    assert "/etc" not in text
    assert "FileNotFoundError" in text
    assert error.details["command"][0] == Path(sys.executable).name
    shell = SubprocessTool("leak", ["sh", "-c", "echo token=hunter2hunter2 in /var/lib/x >&2; exit 1"])
    assert "hunter2" not in (await failure(shell)).details["stderr"]


# ── the library itself ───────────────────────────────────────────────────────────────────────────────────────────


@functools.cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def _uses(path: Path) -> set[str]:
    """The ways to start a process that a module names."""
    ways = re.compile(r"subprocess|multiprocessing|pty|asyncio\.create_subprocess\w*|anyio\.(open|run)_process"
                      r"|os\.(fork|forkpty|exec\w*|spawn\w*|posix_spawn\w*|popen|system)|concurrent\.futures")  # fmt: skip
    found: set[str] = set()
    for node in ast.walk(_tree(path)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not str(node.module).startswith("harness"):
            names = [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Attribute):
            names = [ast.unparse(node)]
        found |= {name for name in names if ways.fullmatch(name)}
    return found


@pytest.mark.requirement("SUB-062")
@ONE_LOOP
@pytest.mark.slow
async def test_one_module_starts_processes_for_tools():
    starters = {str(path.relative_to(LIBRARY)): used for path in LIBRARY.rglob("*.py") if (used := _uses(path))}
    for_tools = {name: used for name, used in starters.items() if not name.startswith("runtime/")}
    # The supervisor is a program of its own: what the one module starts, and what becomes the command.
    assert for_tools == {
        "tools/process/host.py": {"subprocess"},
        "tools/process/supervisor.py": {"os.fork", "os.execve"},
    }
    importers = [
        path
        for path in LIBRARY.rglob("*.py")
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.ImportFrom) and node.module == "harness.tools.process.supervisor"
    ]
    assert importers == []


@pytest.mark.requirement("SUB-062")
@ONE_LOOP
@pytest.mark.slow
async def test_nothing_ends_the_process_it_runs_in():
    allowed = {"runtime/solo.py", "runtime/zygote.py", "runtime/lockdown.py", "tools/process/supervisor.py"}
    for path in LIBRARY.rglob("*.py"):
        calls = {ast.unparse(node.func) for node in ast.walk(_tree(path)) if isinstance(node, ast.Call)}
        name = str(path.relative_to(LIBRARY))
        assert not calls & {"sys.exit", "exit", "quit", "os.abort"} or name.startswith("cli/"), name
        assert "os._exit" not in calls or name in allowed, name


@pytest.mark.requirement("SUB-005")
@ONE_LOOP
async def test_a_temporary_directory_goes_whatever_is_in_it(caplog):
    # Even what has no permissions goes; the script takes them away.
    with caplog.at_level(logging.WARNING, logger="harness.tools"):
        found = await call_tool(make("environment"))
    assert isinstance(found, dict)
    scratch = str(found["env"]["TMPDIR"])  # type: ignore[index,call-overload] # JSON
    assert not os.path.lexists(scratch)  # noqa: ASYNC240 - as above
    assert caplog.records == []


@pytest.mark.requirement("SUB-061")
@ONE_LOOP
async def test_what_a_command_was_given_in_confidence_is_in_no_error(monkeypatch):
    monkeypatch.setenv("HOST_PASSWORD", "from-the-host")
    script = "echo $MY_TOKEN $HOST_PASSWORD $0 $*; echo $MY_TOKEN >&2; exit 3"
    tool = SubprocessTool(
        "run",
        [
            "/bin/sh",
            "-c",
            script,
            "--api-key=equal-sign",
            "--token",
            "next-word",
            "--author",
            "maria",
            "--secret",
            "-v",
        ],
        env={"MY_TOKEN": "in-the-environment", "HOST_PASSWORD": None, "AUTHOR": "maria"},
    )
    error = await failure(tool)
    for hidden in ("equal-sign", "next-word", "in-the-environment", "from-the-host"):
        assert hidden not in error.message + json.dumps(error.details)
    assert error.details["stderr"] == "[REDACTED]\n"
    assert error.details["stdout"].endswith("--author maria --secret -v\n")
    assert error.details["command"][3:] == [
        *("--api-key=[REDACTED]", "--token", "[REDACTED]", "--author", "maria", "--secret", "-v"),
    ]
    (failed,) = (await Harness(tools=[tool]).run("<tool-calls>await tools.run()</tool-calls>")).executions
    assert failed.error is not None
    assert "in-the-environment" not in failed.error.model_dump_json()


@pytest.mark.requirement("SUB-061")
@ONE_LOOP
async def test_errors_name_the_tool_as_scripts_call_it():
    registry = ToolRegistry()
    registry.namespace("my-shell").register(SubprocessTool("fail", ["false"]))
    with pytest.raises(ToolExecutionError, match=r'tools\["my-shell"\]\.fail: the command `false`'):
        await registry.call("my-shell.fail")
