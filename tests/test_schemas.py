"""The JSON Schemas of the public values: complete, those of the code, true, and changed only with their version."""

from __future__ import annotations

import dataclasses
import enum
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import jsonschema_rs
import pytest
from pydantic import BaseModel, TypeAdapter

import harness
from harness import (
    ApprovalRequest,
    Decision,
    Harness,
    Limits,
    ResourceContract,
    Retry,
    ToolRegistry,
    UsageError,
    check_binding,
    tool,
)
from harness.canonical import to_canonical_json
from harness.cli import main
from harness.contracts.bumps import bumps
from harness.runtime import wire
from harness.runtime.process import ProcessWorker
from harness.schemas import published, release
from harness.schemas.published import NOT_PUBLISHED, PUBLISHED, file_name, schema_of

SCHEMAS = Path(__file__).parent.parent / "specs" / "schemas"


def fits(name: str, value: Any) -> None:
    jsonschema_rs.validate(schema_of(name), value)


# ── the repository ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("CMP-060")
def test_every_public_value_has_a_schema():
    data = set()
    for name in harness.__all__:
        value = getattr(harness, name)
        kinds = (BaseModel, enum.Enum)
        if name == "Segment" or (
            isinstance(value, type) and (issubclass(value, kinds) or dataclasses.is_dataclass(value))
        ):
            data.add(name)
    assert sorted(data - PUBLISHED.keys() - NOT_PUBLISHED.keys()) == []
    assert sorted(PUBLISHED.keys() & NOT_PUBLISHED.keys()) == []
    assert sorted(name for name in NOT_PUBLISHED if name not in harness.__all__) == []


@pytest.mark.requirement("CMP-061", "CMP-062")
def test_the_committed_schemas_are_those_of_the_code_and_of_their_version():
    assert release.problems(SCHEMAS) == []


@pytest.mark.requirement("CMP-060")
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_schema_is_one(name):
    schema = schema_of(name)
    jsonschema_rs.meta.validate(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    closed = '"additionalProperties":false' in to_canonical_json(schema)
    assert not closed or PUBLISHED[name].role == "input", "who reads what the harness writes puts up with more"


# ── what the check finds: in copies, and of a few values only, to be quick ─────────────────────────────────────────────────────────────────────────────────────────


FEW = {name: PUBLISHED[name] for name in ("CallStatus", "Decision", "Limits", "Plan", "Span")}


@pytest.fixture
def copies(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(release, "PUBLISHED", FEW)
    directory: Path = tmp_path / "schemas"
    release.write(directory)
    return directory


def released(directory: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> Path:
    """A directory in which the schemas of a few values were released as ``version``."""
    monkeypatch.setattr(release, "SCHEMA_VERSION", version)
    release.write(directory)
    release.release(directory)
    return directory


def edit(path: Path, change: Callable[[Any], None]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


@pytest.mark.requirement("CMP-061")
def test_a_schema_that_is_not_that_of_the_code(copies, monkeypatch):
    released(copies, monkeypatch, "1.0.0")
    (copies / "span.json").unlink()
    (copies / "sapn.json").write_text("{}")
    edit(copies / "plan.json", lambda schema: schema["properties"].pop("complete"))
    edit(copies / "index.json", lambda index: index.update(version="0.0.9"))
    found = "\n".join(release.problems(copies))
    assert "index.json is of version 0.0.9" in found
    assert "span.json is missing. Run `make schemas`." in found
    assert "sapn.json describes nothing that is published" in found
    assert "plan.json is not what the code says. Run `make schemas`." in found
    assert release.write(copies) == ["index.json", "plan.json", "sapn.json", "span.json"]
    assert release.problems(copies) == []
    assert release.write(copies) == []


@pytest.mark.requirement("CMP-061")
def test_another_pydantic_may_use_other_words(copies):
    edit(copies / "plan.json", lambda schema: schema["properties"]["complete"].update(type=["boolean"]))
    assert release.problems(copies) == ["plan.json is not what the code says. Run `make schemas`."]
    edit(copies / "index.json", lambda index: index.update(pydantic="2.0"))
    assert release.problems(copies) == []
    edit(copies / "plan.json", lambda schema: schema["required"].pop())
    assert "plan.json is not what the code says. Run `make schemas`." in release.problems(copies)


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], None], str, str]] = {
    # a change of the schema of what is now → the lowest version after 1.2.3, and after 0.1.0
    "plan.json gains a member": (lambda now: now["properties"].update(more={}), "1.3.0", "0.1.1"),
    "plan.json loses a member": (lambda now: now["properties"].pop("steps"), "2.0.0", "0.2.0"),
    "plan.json need not have a member": (lambda now: now["required"].remove("steps"), "2.0.0", "0.2.0"),
    "call_status.json has another value": (lambda now: now["enum"].append("new"), "2.0.0", "0.2.0"),
    "limits.json gains a member": (lambda now: now["properties"].update(more={"default": 1}), "1.3.0", "0.1.1"),
    "limits.json demands a member": (lambda now: now.update(required=["wall_time"]), "2.0.0", "0.2.0"),
    "limits.json has another default": (lambda now: now["properties"]["wall_time"].update(default=1), "2.0.0", "0.2.0"),
    "span.json is described otherwise": (lambda now: now.update(description="x"), "1.2.4", "0.1.1"),
    "decision.json takes more": (lambda now: now["properties"].update(kind={"type": "string"}), "1.3.0", "0.1.1"),
}


@pytest.mark.requirement("CMP-062")
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("last", ["1.2.3", "0.1.0"])
def test_a_schema_that_changed_needs_a_version(copies, monkeypatch, change, last):
    directory = released(copies, monkeypatch, last)
    assert release.problems(directory) == []
    file, _, _ = change.partition(" ")
    deed, least, least_of_0 = CHANGES[change]
    least = least if last == "1.2.3" else least_of_0

    def changed(name: str) -> dict[str, Any]:
        schema = schema_of(name)
        if file_name(name) == file:
            deed(schema)
        return schema

    monkeypatch.setattr(release, "schema_of", changed)
    assert release.write(directory) == [file]
    (problem,) = release.problems(directory)
    assert f"{last} → {last} is not enough; it must be {least} or more. Set SCHEMA_VERSION" in problem
    with pytest.raises(UsageError, match="cannot be released"):
        release.release(directory)
    monkeypatch.setattr(release, "SCHEMA_VERSION", least)
    release.write(directory)
    assert release.problems(directory) == []
    judgement = release.judge(directory)
    assert judgement.bump is not None
    assert (judgement.bump.old_version, judgement.bump.new_version) == (last, least)
    assert release.release(directory).name == f"{least}.json"
    assert release.judge(directory).differences == ()


@pytest.mark.requirement("CMP-062")
def test_a_value_that_comes_or_goes_needs_a_version(copies, monkeypatch):
    directory = released(copies, monkeypatch, "1.0.0")
    fewer = {name: value for name, value in FEW.items() if name != "Plan"}
    monkeypatch.setattr(release, "PUBLISHED", fewer)
    release.write(directory)
    (problem,) = release.problems(directory)
    assert "must be 2.0.0 or more" in problem
    monkeypatch.setattr(release, "PUBLISHED", {**FEW, "Plan": published.Published(harness.Plan, "input")})
    release.write(directory)
    (problem,) = release.problems(directory)
    assert "Plan went from output to input" in problem
    monkeypatch.setattr(release, "PUBLISHED", fewer)
    monkeypatch.setattr(release, "SCHEMA_VERSION", "2.0.0")
    release.write(directory)
    release.release(directory)
    monkeypatch.setattr(release, "PUBLISHED", FEW)
    release.write(directory)
    (problem,) = release.problems(directory)
    assert "must be 2.1.0 or more" in problem


@pytest.mark.requirement("CMP-062")
def test_what_was_released_never_changes(copies, monkeypatch):
    directory = released(copies, monkeypatch, "1.0.0")
    snapshot = directory / "released" / "1.0.0.json"
    before = snapshot.read_bytes()
    release.release(directory)
    assert snapshot.read_bytes() == before

    edit(snapshot, lambda schemas: schemas.pop("Plan"))
    assert "released/1.0.0.json is not what was released; restore it." in release.problems(directory)
    snapshot.unlink()
    assert release.problems(directory) == ["released/1.0.0.json is not what was released; restore it."]
    snapshot.write_bytes(before)

    monkeypatch.setattr(release, "SCHEMA_VERSION", "1.0.1")
    release.write(directory)
    release.release(directory)
    monkeypatch.setattr(release, "SCHEMA_VERSION", "1.0.0")
    release.write(directory)
    assert "1.0.1 → 1.0.0 is not enough" in "\n".join(release.problems(directory))


@pytest.mark.requirement("CMP-061", "CMP-062")
def test_the_command(copies, monkeypatch, capsys):
    released(copies, monkeypatch, "1.0.0")

    def call(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["harness", "contracts", "schemas", str(copies), *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert isinstance(ended.value.code, int)
        said = capsys.readouterr()
        return ended.value.code, said.out + said.err

    assert call("--check") == (0, "The schemas are as they should be.\n")
    edit(copies / "plan.json", lambda schema: schema["properties"].pop("complete"))
    status, said = call("--check")
    assert status == 1
    assert "plan.json is not what the code says" in said
    assert call("--release")[0] == 2
    assert call() == (0, "plan.json\n")
    assert call("--check")[0] == 0
    assert call("--release")[0] == 0
    assert call("--release", "--check")[0] == 2


# ── what is really written ───────────────────────────────────────────────────────────────────────────────────────

TEXT = """Prose with `<tool-calls>` in code.

<tool-calls id="first">
console.log("hi"); progress("half", {done: 1});
const later = new Promise((done) => setTimeout(done, 5));
try { await tools.pay({cents: 1}) } catch (error) { console.warn(error.name) }
await later;
return await tools.add({a: 1, b: 2});
</tool-calls>

<tool-calls>
return (
</tool-calls>

<tool-calls>
"""


def undo(arguments: dict[str, Any], result: Any) -> None:
    pass


@tool(revert=undo)
def add(a: int, b: int) -> int:
    return a + b


@tool(approval=True)
def pay(cents: int) -> None:
    """Never called."""


_FRAMES = {
    wire.START: "StartFrame",
    wire.DELIVER: "DeliverFrame",
    wire.CHECK: "CheckFrame",
    wire.TURN: "TurnFrame",
    wire.VERDICT: "VerdictFrame",
}


@pytest.fixture
def frames(monkeypatch) -> dict[str, list[Any]]:
    """The bodies of all frames that host and worker exchange, by the name of their schema."""
    seen: dict[str, list[Any]] = {name: [] for name in (*_FRAMES.values(), "ReadyFrame")}
    exchange = ProcessWorker.exchange

    async def watched(worker: ProcessWorker, kind: int, body: bytes) -> tuple[int, bytes]:
        answer = await exchange(worker, kind, body)
        for number, text in ((kind, body), answer):
            seen[_FRAMES[number]].append(json.loads(text))
        seen["ReadyFrame"].append({"protections": worker.protections})
        return answer

    monkeypatch.setattr(ProcessWorker, "exchange", watched)
    return seen


@pytest.mark.requirement("CMP-063")
def test_what_is_written_fits(frames):
    def decide(request: ApprovalRequest) -> Decision:
        fits("ApprovalRequest", request.model_dump(mode="json"))
        return Decision.deny("no")

    with Harness(tools=[add, pay], approver=decide, continue_on_error=True) as harness:
        outcome = harness.run_sync(TEXT)
        report = harness.rollback_sync(outcome.executions[0].id)
    planned = Harness(tools=[add, pay], mode="dry-run").run_sync(TEXT)
    diagnostics = anyio.run(Harness(tools=[add, pay]).check, TEXT)
    assert diagnostics
    for diagnostic in diagnostics:
        fits("Diagnostic", diagnostic.model_dump(mode="json"))
    for one in (outcome, planned):
        data = one.to_dict()
        fits("Outcome", data)
        for execution in data["executions"]:
            fits("Execution", execution)
    kinds = {segment["kind"] for segment in outcome.to_dict()["segments"]}
    assert kinds == {"text", "block", "ignored", "unclosed"}
    execution = outcome.executions[0].model_dump(mode="json")
    for name, part in (("LogEntry", "logs"), ("ProgressEvent", "progress"), ("CallRecord", "calls")):
        assert execution[part]
        for item in execution[part]:
            fits(name, item)
    assert execution["calls"][0]["error"]["type"] == "ApprovalDeniedError"
    fits("Plan", planned.executions[0].model_dump(mode="json")["plan"])
    fits("RollbackReport", report.model_dump(mode="json"))
    for name, bodies in frames.items():
        assert bodies, name
        for body in bodies:
            fits(name, body)


@pytest.mark.requirement("CMP-063")
def test_contracts_fit():
    registry = ToolRegistry([add, pay])
    for contract in registry.contracts().contracts:
        fits("Contract", contract.to_dict())
    fits("ContractSet", registry.contracts().to_dict())
    binding = check_binding(registry.contracts(), ToolRegistry([add.replace(approval=True)]))
    fits("Binding", binding.model_dump(mode="json"))
    fits("Difference", binding.differences[0].to_dict())
    (bump,) = bumps(registry.contracts(), ToolRegistry([add.replace(approval=True)]).contracts())
    fits("RequiredBump", bump.model_dump(mode="json"))


@pytest.mark.requirement("CMP-063")
@pytest.mark.parametrize("value", [Limits(), Decision.approve({"a": 1}), Retry(), ResourceContract("x")])
def test_what_is_read_fits(value):
    data = TypeAdapter(type(value)).dump_python(value, mode="json")
    fits(type(value).__name__, data)
    with pytest.raises(jsonschema_rs.ValidationError):
        fits(type(value).__name__, {**data, "unknown": 1})
