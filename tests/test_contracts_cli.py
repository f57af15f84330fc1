"""``harness contracts``: export, diff, and what CI makes of their status."""

from __future__ import annotations

import io
import json
import os
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness import ContractSet
from harness.canonical import to_canonical_json
from harness.cli import main

TOOLS = """
    from harness import tool

    print("loaded")

    @tool(version="{version}"{options})
    def pay(cents: int{more}) -> str:
        "Pay."
"""


@dataclass
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
    def call(*arguments: object, stdin: str = "") -> Result:
        monkeypatch.setattr(sys, "argv", ["harness", "contracts", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
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

    path, modules = list(sys.path), set(sys.modules)
    yield call
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if not name.startswith(("harness", "typer", "rich", "jsonschema_rs")):
            del sys.modules[name]


@pytest.fixture
def write(tmp_path) -> Callable[..., Path]:
    def made(name: str, *, version: str = "1.0", options: str = "", more: str = "") -> Path:
        path: Path = tmp_path / name
        path.write_text(textwrap.dedent(TOOLS.format(version=version, options=options, more=more)))
        return path

    return made


@pytest.mark.requirement("CMP-050")
def test_export(cli, write, tmp_path):
    tools = write("desk.py")
    more = TOOLS.format(version="2.0", options=", name='pay'", more="").replace("def pay", "def pay_2")
    tools.write_text(tools.read_text() + textwrap.dedent(more))
    result = cli("export", "--tools", tools)
    assert (result.status, result.err) == (0, "loaded\nloaded\n")
    found = ContractSet.read(result.out)
    assert result.out == found.to_canonical_json() + "\n"
    assert [(one.name, one.version) for one in found.contracts] == [("pay", "1.0"), ("pay", "2.0")]
    again = cli("export", "--tools", tools, "--output", tmp_path / "old.json")
    assert (again.status, again.out) == (0, "")
    assert (tmp_path / "old.json").read_text() == result.out


@pytest.mark.requirement("CMP-050")
def test_export_that_cannot_be_written(cli, write, tmp_path):
    result = cli("export", "--tools", write("desk.py"), "-o", tmp_path / "none" / "old.json")
    assert result.status == 2
    assert "old.json cannot be written: No such file" in result.err


@pytest.mark.requirement("CMP-051")
@pytest.mark.parametrize(
    ("change", "statuses"),
    [
        ({}, (0, 0)),
        ({"version": "1.0.1"}, (0, 0)),
        ({"more": ", note: str = ''", "version": "1.1"}, (0, 1)),
        ({"more": ", note: str = ''"}, (0, 1)),
        ({"options": ", approval=True", "version": "2.0"}, (1, 1)),
    ],
)
def test_the_status_of_a_diff(cli, write, tmp_path, change, statuses):
    status, strict = statuses
    old = tmp_path / "old.json"
    cli("export", "--tools", write("desk.py"), "-o", old)
    new = write("new_desk.py", **change)
    assert cli("diff", old, new).status == status
    assert cli("diff", old, new, "--strict").status == strict
    assert cli("diff", tmp_path / "desk.py", new).status == status
    assert cli("diff", "-", f"{new}:pay", stdin=old.read_text()).status == status


@pytest.mark.requirement("CMP-051")
def test_strict_holds_versions_to_what_changed(cli, write, tmp_path):
    old = write("desk.py", options=", tags=['a']")
    new = write("new_desk.py", options=", tags=['a']")
    new.write_text(new.read_text().replace('"Pay."', '"Pays."'))
    assert cli("diff", old, new).status == 0
    result = cli("diff", old, new, "--strict")
    assert result.status == 1
    assert "pay changed (neutral): 1.0 → 1.0 is not enough; it must be 1.0.1 or more." in result.out


@pytest.mark.requirement("CMP-051")
def test_a_diff_for_people(cli, write):
    old, new = (
        write("desk.py"),
        write("new_desk.py", version="1.1", options=", approval=True", more=", note: str = '\\x1b[2J'"),
    )
    result = cli("diff", old, new)
    words = " ".join(result.out.split()).removeprefix("loaded loaded ")  # by the modules themselves
    assert words.startswith("breaking $.pay.approval A person is asked before each call now")
    assert words.index("breaking") < words.index("additive") < words.index("neutral")
    assert "pay changed (breaking): 1.0 → 1.1 is not enough; it must be 2.0.0 or more." in words
    assert words.endswith("1 breaking, 1 additive, 1 neutral")
    assert "\x1b" not in result.out
    assert cli("diff", old, old).out.endswith("No differences.\n")


@pytest.mark.requirement("CMP-051")
def test_a_diff_for_programs(cli, write):
    result = cli("diff", write("desk.py"), write("new_desk.py", options=", approval=True"), "--json")
    assert result.status == 1
    assert result.out == to_canonical_json(result.json) + "\n"
    assert result.json["severity"] == "breaking"
    assert [(one["path"], one["kind"]) for one in result.json["differences"]] == [("$.pay.approval", "approval_on")]
    assert [(one["what"], one["minimum"], one["sufficient"]) for one in result.json["versions"]] == [
        ("pay", "2.0.0", False)
    ]


@pytest.mark.requirement("CMP-051")
@pytest.mark.parametrize("wrong", ["none.json", "none.py", "no_such_module", "empty.json"])
def test_what_cannot_be_compared(cli, write, tmp_path, monkeypatch, wrong):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.json").write_text("{}")
    result = cli("diff", write("desk.py"), wrong)
    assert result.status == 2
    assert wrong in result.err
