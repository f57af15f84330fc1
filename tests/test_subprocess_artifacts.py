"""Files that a result names."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from harness import Harness, Outcome, SubprocessTool, ToolValidationError, UsageError
from harness.errors import ToolError
from harness.model import Artifact
from harness.testing import call_tool
from harness.tools.process.artifacts import Problem, claims, parse_path

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]

BAD_TOOLS = Path(__file__).parent / "fixtures" / "bad_tools"


def make(script: str, tmp_path: Path, **settings: Any) -> SubprocessTool:
    command = [sys.executable, "-E", "-S", str(BAD_TOOLS / f"{script}.py")]
    return SubprocessTool(script, command, cwd=tmp_path, **settings)


async def failure(tool: SubprocessTool, arguments: dict[str, Any] | None = None) -> ToolError:
    with pytest.raises(ToolValidationError) as caught:
        await call_tool(tool, arguments)
    return caught.value


EVERY = ["manifest.path", "manifest.files[*].name"]


@pytest.mark.requirement("SUB-040")
async def test_files_go_on_record(tmp_path):
    async with Harness(tools=[make("makes_artifacts", tmp_path, artifacts=EVERY)]) as harness:
        outcome = await harness.run("<tool-calls>await tools.makes_artifacts()</tool-calls>")
    [execution] = outcome.executions
    assert execution.error is None
    wanted = [("manifest.json", b"{}"), ("out/a.csv", b"1,2\n"), ("out/b.csv", b"")]
    assert execution.calls[0].artifacts == tuple(
        Artifact(path=path, bytes=len(data), sha256=hashlib.sha256(data).hexdigest()) for path, data in wanted
    )
    assert Outcome.model_validate_json(outcome.to_json()).executions[0].calls == execution.calls
    output = await make("makes_artifacts", tmp_path, artifacts=["manifest.files[1].name"]).run()
    assert [artifact.path for artifact in output.artifacts] == ["out/b.csv"]


@pytest.mark.requirement("SUB-040")
async def test_off_by_default(tmp_path):
    assert await call_tool(make("missing_artifacts", tmp_path)) == {
        "report": "report.txt",
        "files": ["a.csv", "b.csv"],
        "manifest": {"path": "manifest.json"},
    }


@pytest.mark.requirement("SUB-041")
async def test_missing_files_are_all_listed(tmp_path):
    error = await failure(make("missing_artifacts", tmp_path, artifacts=["report", "files[*]", "manifest.path"]))
    assert error.details["missing"] == ["report.txt", "a.csv", "b.csv", "manifest.json"]
    assert [problem["path"] for problem in error.details["problems"]] == [
        "$.report", "$.files[0]", "$.files[1]", "$.manifest.path"
    ]  # fmt: skip
    assert all(name in error.message for name in error.details["missing"])
    assert error.details["result"]["files"] == ["a.csv", "b.csv"]
    assert error.details["command"][-1] == "missing_artifacts.py"


@pytest.mark.requirement("SUB-041", "SUB-043")
async def test_half_a_success_is_none(tmp_path):
    tool = make("partial_success", tmp_path, artifacts=["files[*]"])
    error = await failure(tool)
    assert error.details["missing"] == ["b.csv"]
    async with Harness(tools=[tool]) as harness:
        [execution] = (await harness.run("<tool-calls>await tools.partial_success()</tool-calls>")).executions
    assert execution.calls[0].artifacts == ()
    assert execution.value is None


@pytest.mark.requirement("SUB-043")
@pytest.mark.parametrize(
    ("result", "patterns", "problems"),
    [
        ({}, ["file"], {"$.file": "is missing from the result"}),
        ({"file": None}, ["file"], {"$.file": "is not the name of a file"}),
        ({"file": 5}, ["file"], {"$.file": "is not the name of a file"}),
        ({"file": {"name": "x"}}, ["file"], {"$.file": "is not the name of a file"}),
        ({"files": {}}, ["files[*]"], {"$.files": "is not a list of files"}),
        ({"files": "ab"}, ["files[0]"], {"$.files[0]": "is missing from the result"}),
        ({"files": "ab"}, ["files[*]"], {"$.files": "is not a list of files"}),
        ({"files": []}, ["files[0]"], {"$.files[0]": "is missing from the result"}),
        ({"files": [{"n": "x"}, {}]}, ["files[*].n"], {"$.files[1].n": "is missing from the result"}),
        ([["a", 1]], ["[*][*]"], {"$[0][1]": "is not the name of a file"}),
        (None, ["a.b"], {"$.a": "is missing from the result"}),
        ({"files": []}, ["files[*]"], {}),
    ],
    ids=str,
)
async def test_an_incomplete_manifest(result, patterns, problems):
    found = {claim.path: claim.problem for claim in claims(result, patterns) if isinstance(claim, Problem)}
    assert found == problems


@pytest.mark.requirement("SUB-043")
@pytest.mark.parametrize("drop", ["path", "files"])
async def test_an_incomplete_manifest_fails_the_call(drop, tmp_path):
    error = await failure(make("makes_artifacts", tmp_path, artifacts=EVERY), {"drop": drop})
    assert error.details["problems"] == [
        {"path": f"$.manifest.{drop}", "artifact": None, "problem": "is missing from the result"}
    ]


@pytest.mark.requirement("SUB-040")
async def test_paths_into_results():
    assert parse_path("a") == ("a",)
    assert parse_path("files[*]") == ("files", None)
    assert parse_path("a.b[0][*].c-d e") == ("a", "b", 0, None, "c-d e")
    assert parse_path("[*]") == (None,)
    for wrong in ("", ".", "a.", ".a", "a..b", "a[", "a[]", "a[-1]", "a[x]", "a.[0]", "a]", "[*]b", "a[*]b"):
        with pytest.raises(UsageError):
            parse_path(wrong)


@pytest.mark.requirement("SUB-042")
async def test_names_that_are_refused(tmp_path):
    outside = tmp_path / "outside"
    inside = tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    (outside / "secret").write_text("secret")
    (inside / "real").write_text("real")
    (inside / "directory").mkdir()
    (inside / "directory" / "file").write_text("file")
    (inside / "link").symlink_to(outside / "secret")
    (inside / "near").symlink_to("real")
    (inside / "way").symlink_to(outside)
    (inside / "loop").symlink_to("loop")
    os.mkfifo(inside / "fifo")
    wanted = {
        "../outside/secret": "upwards",
        "directory/../real": "upwards",
        str(outside / "secret"): "outside the working directory",
        f"{inside}/../outside/secret": "upwards",
        "/etc/passwd": "outside the working directory",
        f"{inside}x/real": "outside the working directory",
        "link": "is a symbolic link",
        "near": "is a symbolic link",
        "loop": "is a symbolic link",
        "way/secret": "leads through a symbolic link",
        "directory": "is a directory",
        "directory/": "ends as the name of a directory does",
        "real/": "ends as the name of a directory does",
        "real/.": "ends as the name of a directory does",
        "fifo": "is no regular file",
        "real/file": "not a directory",
        "": "is an empty name",
        ".": "is the working directory itself",
        str(inside): "is the working directory itself",
        "re\0al": "NUL",
        "n" * 300: "file name too long",
        "gone": "no such file",
        "directory/gone": "no such file",
        "gone/file": "no such file",
    }
    # All of them in one call, since each is looked at by itself.
    tool = SubprocessTool("cat", ["cat"], cwd=inside, artifacts=["files[*]"])
    error = await failure(tool, {"files": list(wanted)})
    found = {problem["artifact"]: problem["problem"] for problem in error.details["problems"]}
    assert found.keys() == wanted.keys()
    assert {name: text for name, text in found.items() if wanted[name] not in text} == {}
    good = {"files": ["real", "./directory//file", str(inside / "real"), "real"]}
    output = await tool.run(good)
    assert [artifact.path for artifact in output.artifacts] == ["real", "./directory//file", str(inside / "real")]


@pytest.mark.requirement("SUB-042")
async def test_a_link_that_comes_after_the_first_look(tmp_path, monkeypatch):
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    (outside / "secret").write_text("secret")
    (inside / "link").symlink_to(outside / "secret")
    (inside / "way").symlink_to(outside)
    # The first look, which says what is wrong, sees nothing; the opening itself follows no link.
    monkeypatch.setattr("harness.tools.process.artifacts._refuse_link", lambda _name, _directory: None)
    monkeypatch.setattr("harness.tools.process.artifacts._refuse_special", lambda _found: None)
    tool = SubprocessTool("cat", ["cat"], cwd=inside, artifacts=["files[*]"])
    error = await failure(tool, {"files": ["link", "way/secret"]})
    assert error.details["missing"] == ["link", "way/secret"]


@pytest.mark.requirement("SUB-042")
async def test_a_working_directory_that_is_exchanged(tmp_path):
    # The command moves its directory away and puts a link to another in its place.
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "secret").write_text("secret")
    here = tmp_path / "here"
    here.mkdir()
    code = "import os; os.rename('../here', '../gone'); os.symlink('other', '../here'); print('{\"f\": \"secret\"}')"
    tool = SubprocessTool("move", [sys.executable, "-S", "-c", code], cwd=here, artifacts=["f"])
    assert (await failure(tool)).details["missing"] == ["secret"]


@pytest.mark.requirement("SUB-044", "SUB-006")
async def test_files_are_capped(tmp_path):
    for name in "abc":
        (tmp_path / name).write_bytes(b"x" * 1_000)
    tool = SubprocessTool("cat", ["cat"], cwd=tmp_path, artifacts=["files[*]"], limits={"artifact_bytes": 2_500})
    assert len((await tool.run({"files": ["a", "b"]})).artifacts) == 2
    error = await failure(tool, {"files": ["a", "b", "c"]})
    assert "1,000 bytes long; 500 are left" in error.message
    assert len((await tool.run({"files": ["a", "b", "c"]}, limits={"artifact_bytes": 3_000})).artifacts) == 3
    many = {"files": ["a", "b", "c"]}
    with pytest.raises(ToolValidationError, match="names 3 files; 2 are allowed"):
        await tool.run(many, limits={"artifacts": 2})


@pytest.mark.requirement("SUB-041")
async def test_many_problems_are_counted(tmp_path):
    tool = SubprocessTool("cat", ["cat"], cwd=tmp_path, artifacts=["files[*]"])
    error = await failure(tool, {"files": [f"f{number}" for number in range(150)]})
    assert error.details["problem_count"] == 150
    assert len(error.details["problems"]) == len(error.details["missing"]) == 100
    assert "and 140 more" in error.message
    assert len(json.dumps(error.details)) < 30_000
