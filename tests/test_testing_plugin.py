"""The pytest plugin, in sessions of its own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from harness import testing
from harness.testing.plugin import _file_name

pytest_plugins = ["pytester"]

TRANSCRIPT = """I look it up.

<tool-calls>
const left = await tools.stock({ sku: "LAMP" });
return left + 1;
</tool-calls>
"""
TOOLS = """
    import os
    import pathlib

    def stock(sku: str) -> int:
        if os.environ.get("NO_TOOLS"):
            raise AssertionError("a real tool was called")
        with open("called.txt", "a") as file:
            file.write(sku)
        return 3
"""
ONE = """
    import pytest
    from shop import stock

    @pytest.mark.transcript("transcripts/lamp.md")
    def test_lamp(harness_cassette):
        outcome = harness_cassette.run_sync(tools=[stock], isolation="thread")
        assert outcome.executions[0].value == 4
        assert harness_cassette.outcome is outcome
        assert "tools.stock" in harness_cassette.text
"""


@pytest.fixture
def project(pytester, monkeypatch) -> Any:
    """A project with a transcript, a tool and no test. Its own sessions are strict about everything."""
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    pytester.makeini(
        "[pytest]\naddopts = --strict-markers --strict-config -p no:cacheprovider\nfilterwarnings = error\n"
    )
    pytester.makepyfile(shop=TOOLS)
    (pytester.path / "transcripts").mkdir()
    (pytester.path / "transcripts" / "lamp.md").write_text(TRANSCRIPT)
    pytester.syspathinsert()
    return pytester


def cassettes(project: Any) -> list[str]:
    return sorted(
        path.relative_to(project.path).as_posix() for path in project.path.rglob("cassettes/**/*") if path.is_file()
    )


def called(project: Any) -> str:
    path = project.path / "called.txt"
    return path.read_text() if path.exists() else ""


# ── recording and playing ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("TST-020", "TST-013")
def test_a_transcript_is_recorded_and_played(project, monkeypatch):
    project.makepyfile(test_shop=ONE)
    missing = project.runpytest_inprocess()
    missing.assert_outcomes(failed=1)
    missing.stdout.fnmatch_lines(
        ["*CassetteError: There is no cassette cassettes/test_shop/test_lamp.jsonl. To call the real tools*"]
    )
    missing.stdout.fnmatch_lines(["*: pytest --harness-record=once 'test_shop.py::test_lamp'"])
    assert (cassettes(project), called(project)) == ([], "")
    project.runpytest_inprocess("--harness-record=once").assert_outcomes(passed=1)
    assert (cassettes(project), called(project)) == (["cassettes/test_shop/test_lamp.jsonl"], "LAMP")
    monkeypatch.setenv("NO_TOOLS", "1")
    project.runpytest_inprocess().assert_outcomes(passed=1)


@pytest.mark.slow
@pytest.mark.requirement("TST-020", "TST-012")
def test_what_has_changed_is_shown_in_the_report(project):
    project.makepyfile(test_shop=ONE)
    project.runpytest_inprocess("--harness-record=once").assert_outcomes(passed=1)
    (project.path / "transcripts" / "lamp.md").write_text(TRANSCRIPT.replace("LAMP", "SOFA"))
    result = project.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*CassetteError: Run 1 is not what *test_lamp.jsonl has on record.",
            "E*The script of block 1 has changed:",
            'E*-const left = await tools.stock({ sku: "LAMP" });',
            'E*+const left = await tools.stock({ sku: "SOFA" });',
            "E*Call 1 of block 1 is another one (- recorded, + now):",
            'E*- 1. tools.stock({"sku":"LAMP"}) in line 2',
            'E*+ 1. tools.stock({"sku":"SOFA"}) in line 2',
            "E*pytest --harness-record=all 'test_shop.py::test_lamp'",
        ]
    )
    # Where in the library it was found is nobody's business.
    result.stdout.no_fnmatch_line("*harness/testing/*:*")
    assert called(project) == "LAMP"
    project.runpytest_inprocess("--harness-record=all").assert_outcomes(failed=0, passed=1)
    assert called(project) == "LAMPSOFA"


@pytest.mark.requirement("TST-020", "TST-014")
@pytest.mark.parametrize(
    "end",
    [
        "assert outcome is None",
        "pytest.skip('in the middle')",
        pytest.param("pytest.xfail('known')", marks=pytest.mark.slow),
        pytest.param("raise KeyboardInterrupt", marks=pytest.mark.slow),
    ],
)
def test_a_test_that_does_not_pass_records_nothing(project, end):
    project.makepyfile(test_shop=f"{ONE}        {end}\n")
    project.runpytest_inprocess("--harness-record=all", no_reraise_ctrlc=True)
    assert (cassettes(project), called(project)) == ([], "LAMP")


@pytest.mark.slow
@pytest.mark.requirement("TST-020")
def test_the_configuration_chooses_unless_the_command_line_does(project):
    project.makepyfile(test_shop=ONE)
    config = "[pytest]\nharness_record = {}\nharness_cassettes = tapes\nharness_force = true\n"
    project.makeini(config.format("once"))
    project.runpytest_inprocess("--harness-record=none").assert_outcomes(failed=1)
    project.runpytest_inprocess().assert_outcomes(passed=1)
    tape = project.path / "tapes" / "test_shop" / "test_lamp.jsonl"
    tape.write_text(tape.read_text().replace('"engine": "', '"engine": "another '))
    project.runpytest_inprocess().assert_outcomes(passed=1)
    project.makeini(config.format("none").replace("true", "false"))
    project.runpytest_inprocess().assert_outcomes(failed=1)
    project.runpytest_inprocess("--harness-force").assert_outcomes(passed=1)
    project.makeini(config.format("maybe"))
    result = project.runpytest_inprocess()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*record is one of none, once, new, all, not 'maybe'*"])
    assert project.runpytest_inprocess("--harness-record=maybe").ret == pytest.ExitCode.USAGE_ERROR


@pytest.mark.slow
@pytest.mark.requirement("TST-020", "TST-019")
def test_a_golden_outcome(project):
    project.makepyfile(test_shop=ONE.replace('lamp.md"', 'lamp.md", golden="transcripts/lamp.json"'))
    project.runpytest_inprocess("--harness-record=once").assert_outcomes(passed=1)
    golden = project.path / "transcripts" / "lamp.json"
    assert json.loads(golden.read_text())["input"] == TRANSCRIPT
    project.runpytest_inprocess().assert_outcomes(passed=1)
    golden.write_text(golden.read_text().replace('"value": 4', '"value": 5'))
    result = project.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*executions*value is 4; expected was 5"])


@pytest.mark.requirement("TST-020")
def test_wrong_markers_say_how_they_are_written(project):
    project.makepyfile(
        test_shop="""
        import pytest

        @pytest.mark.transcript
        def test_no_path(harness_cassette): ...

        @pytest.mark.transcript("a.md", "b.md")
        def test_two(harness_cassette): ...

        @pytest.mark.transcript("a.md", silver="b.md")
        def test_other(harness_cassette): ...

        @pytest.mark.transcript("a.md")
        def test_missing(harness_cassette): ...

        @pytest.mark.transcript("a.md")
        def test_of_somebody_elses(): ...
        """
    )
    result = project.runpytest_inprocess()
    result.assert_outcomes(errors=4, passed=1)
    assert result.stdout.str().count("\nWrite the marker as @pytest.mark.transcript") == 3
    result.stdout.fnmatch_lines(["The transcript *a.md cannot be read*relative to the test file."])


@pytest.mark.slow
@pytest.mark.requirement("TST-020", "TST-016")
def test_the_redact_fixture(project):
    project.makeconftest("""
        import pytest

        @pytest.fixture(scope="session")
        def harness_redact():
            return lambda text: text.replace("LAMP", "THING")
    """)
    project.makepyfile(test_shop=ONE)
    project.runpytest_inprocess("--harness-record=once").assert_outcomes(passed=1)
    assert called(project) == "LAMP"
    text = (project.path / "cassettes" / "test_shop" / "test_lamp.jsonl").read_text()
    assert "LAMP" not in text
    assert "THING" in text
    project.runpytest_inprocess().assert_outcomes(passed=1)


@pytest.mark.slow
@pytest.mark.requirement("TST-017")
def test_runs_that_were_not_made_are_a_warning(project):
    project.makepyfile(test_shop=ONE + "        harness_cassette.run_sync('more')\n")
    project.runpytest_inprocess("--harness-record=once").assert_outcomes(passed=1)
    project.makepyfile(test_shop=ONE)
    project.makeini("[pytest]\n")
    result = project.runpytest_inprocess("-W", "default")
    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(
        ["*UnusedRecordingWarning: *test_lamp.jsonl holds 1 runs that were not made:", "*'more'"]
    )
    strict = project.runpytest_inprocess("-W", "error")
    strict.assert_outcomes(passed=1, errors=1)


# ── many tests ───────────────────────────────────────────────────────────────────────────────────────────────────

MANY = """
    import pytest
    from shop import stock

    TEXT = "<tool-calls>return tools.stock({{ sku: '{}' }})</tool-calls>"
    NAMES = ["a", "A", "a/b", "a\\\\b", "..", "é", "", "x" * 300, "x" * 299 + "y", "{{0}}"]

    @pytest.fixture(params=["asyncio", "trio"])
    def anyio_backend(request):
        return request.param

    @pytest.mark.anyio
    async def test_async(harness_cassette):
        outcome = await harness_cassette.run(TEXT.format("async"), tools=[stock], isolation="thread")
        assert outcome.executions[0].value == 3

    @pytest.mark.parametrize("name", NAMES)
    class TestClass:
        def test_names(self, name, harness_cassette):
            harness_cassette.run_sync(name, isolation="thread")
            assert "".join(each.text for each in harness_cassette.outcome.segments) == name
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.requirement("TST-021")
@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_each_parameter_has_its_cassette(project, monkeypatch, workers):
    project.makepyfile(test_many=MANY)
    project.runpytest_subprocess("--harness-record=once", *workers).assert_outcomes(passed=12)
    assert called(project) == "async" * 2
    found = cassettes(project)
    assert len({name.lower() for name in found}) == 12
    assert {"cassettes/test_many/test_async[asyncio].jsonl", "cassettes/test_many/test_async[trio].jsonl"} <= {*found}
    assert "cassettes/test_many/TestClass.test_names[a].jsonl" in found
    assert all(Path(name).parent.as_posix() == "cassettes/test_many" for name in found)
    monkeypatch.setenv("NO_TOOLS", "1")
    project.runpytest_subprocess(*workers).assert_outcomes(passed=12)


@pytest.mark.requirement("TST-021")
def test_file_names():
    names = [
        "test_a",
        "test_a[x-1]",
        "TestA::test_a",
        "test_a[X-1]",
        "test_a[a/b]",
        "test_a[a:b]",
        "test_a[a b]",
        "test_a[\x00]",
        f"test_a[{'x' * 300}]",
        f"test_a[{'x' * 300}y]",
        "test_ä",
    ]
    found = [_file_name(f"tests/test_x.py::{name}") for name in names]
    assert found[:3] == ["test_a", "test_a[x-1]", "TestA.test_a"]
    assert found[6] == "test_a[a b]"
    assert len({name.lower() for name in found}) == len(names)
    assert all(len(name) < 200 for name in found)
    assert all(name.isascii() and not set(name) & set('/\\:*?"<>|\0') for name in found)


# ── those who do not use it ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("TST-022")
def test_it_is_registered():
    (found,) = [point for point in entry_points(group="pytest11") if point.name == "harness"]
    assert found.value == "harness.testing.plugin"


@pytest.mark.slow
@pytest.mark.requirement("TST-022")
def test_a_session_that_does_not_use_it_imports_nothing_else(project):
    project.makepyfile("""
        import sys

        def test_nothing():
            found = sorted(name for name in sys.modules if name.partition(".")[0] == "harness")
            assert found == ["harness", "harness.testing", "harness.testing.plugin"]
            assert "pydantic" not in sys.modules
    """)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:anyio"],
        cwd=project.path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "1 passed" in done.stdout


@pytest.mark.requirement("TST-022")
def test_the_names_of_the_package_are_loaded_when_they_are_used():
    assert [*testing.__all__] == sorted(testing.__all__)
    assert {*testing.__all__} <= {*dir(testing)}
    for name in testing.__all__:
        assert not isinstance(getattr(testing, name), ModuleType), name
        assert not (Path(testing.__file__).parent / f"{name}.py").exists(), name
    with pytest.raises(AttributeError, match="no_such_name"):
        getattr(testing, "no_such_" + "name")


@pytest.mark.slow
@pytest.mark.requirement("TST-022")
def test_it_can_be_left_out(project):
    project.makepyfile("def test_nothing(): pass")
    project.runpytest_inprocess("-p", "no:harness").assert_outcomes(passed=1)
    assert project.runpytest_inprocess("-p", "no:harness", "--harness-record=once").ret == pytest.ExitCode.USAGE_ERROR


# ── the page about it ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
@pytest.mark.requirement("TST-012", "TST-016", "TST-020")
def test_the_example_of_the_documentation(project, monkeypatch):
    page = (Path(__file__).parent.parent / "docs" / "testing.md").read_text()
    files = dict(re.findall(r"^```+\w+ (\S+)\n(.*?)^```+$", page, re.MULTILINE | re.DOTALL))
    assert sorted(files) == ["conftest.py", "test_refund.py", "transcripts/refund.md"]
    redact = files.pop("conftest.py")
    for name, text in files.items():
        (project.path / name).write_text(text)
    project.makepyfile(
        shop="""
        from harness import tool

        def find_order(customer: str) -> dict:
            return {"id": "A1", "cents": 4900}

        @tool(approval=True)
        def refund(order: str, cents: int) -> dict:
            return {"text": f"{cents} back"}
        """
    )
    commands = re.findall(r"^\$ pytest ?(.*)$", page, re.MULTILINE)
    assert len(commands) == 2
    for options in commands:
        project.runpytest_inprocess(*options.split()).assert_outcomes(passed=1)
    lines = (project.path / "cassettes" / "test_refund" / "test_refund.jsonl").read_text().splitlines()
    (shown,) = re.findall(r"^```json\n(\{\"kind.*)\n```$", page, re.MULTILINE)
    assert shown in lines

    transcript = project.path / "transcripts" / "refund.md"
    changed = re.search(r"^\+(const receipt.*)$", page, re.MULTILINE)
    assert changed is not None
    original = transcript.read_text()
    transcript.write_text(re.sub(r"^const receipt.*$", changed[1], original, flags=re.MULTILINE))
    result = project.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    (promised,) = re.findall(r"^```text\n(CassetteError.*?)```$", page, re.MULTILINE | re.DOTALL)
    said = "\n".join(line.removeprefix("E").strip() for line in result.outlines)
    for line in promised.splitlines():
        assert line.strip() in said

    transcript.write_text(original)
    (project.path / "conftest.py").write_text(redact)
    project.runpytest_inprocess("--harness-record=all").assert_outcomes(passed=1)
    assert "ada" not in (project.path / "cassettes" / "test_refund" / "test_refund.jsonl").read_text()
