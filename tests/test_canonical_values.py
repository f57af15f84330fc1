"""What the values of the library are hashed by."""

from __future__ import annotations

import json
import random
from typing import Annotated, Any

import pytest
from pydantic import Field

from harness import Tool, tool
from harness.canonical import Canonical, content_hash, to_canonical_json
from harness.detector import Detector
from harness.errors import SerializationError
from harness.model import (
    ApprovalNote,
    Attempt,
    Block,
    CallRecord,
    CallStatus,
    Execution,
    ExecutionStatus,
    LogEntry,
    Metrics,
    Outcome,
    Plan,
    PlanStep,
    ProgressEvent,
    Script,
    ScriptInfo,
    Span,
)
from harness.parser import Parser
from harness.tools.calls import ToolCall
from harness.tools.registry import ToolRegistry
from harness.tools.retry import Retry

SPAN = Span(start=0, end=9, line=1, column=1, end_line=1, end_column=10)
ELSEWHERE = Span(start=5, end=14, line=2, column=1, end_line=2, end_column=10)


def script(text: str) -> Script:
    detector = Detector()
    (block,) = [found for found in [*detector.feed(text), *detector.finish()] if isinstance(found, Block)]
    return Parser().parse(block)


def lookup(key: str, depth: int = 1) -> str:
    """Looks something up."""
    return key * depth


def also_lookup(key: str, depth: int = 1) -> str:
    """Looks something up."""
    return key.upper() * depth


def record(**changes: Any) -> CallRecord:
    note = ApprovalNote(request_id="r1", decision="approved", waited_ms=5)
    given = {"seq": 1, "tool": "pay", "args": {"n": 1}, "status": CallStatus.OK, "approval": note, "duration_ms": 3.5}
    return CallRecord.model_validate(given | changes)


def execution(**changes: Any) -> Execution:
    info = ScriptInfo(sha256="00", mode="RETURN", span=SPAN)
    given = {"id": "e1", "script": info, "status": ExecutionStatus.OK, "value": {"a": 1}, "calls": (record(),)}
    return Execution.model_validate(given | changes)


PLAN = Plan(steps=(PlanStep(seq=1, tool="pay", args={}, needs_approval=True, line=1),))

# Two of each that mean the same, and others that do not.
FAMILIES: dict[str, tuple[list[Canonical], list[Canonical]]] = {
    "script": (
        [
            script("<tool-calls>return 1</tool-calls>"),
            script("Some prose, then a block.\n\n<tool-calls id='a'>return 1</tool-calls>"),
        ],
        [script("<tool-calls>return 2</tool-calls>"), script("<tool-calls>return  1</tool-calls>")],
    ),
    "tool call": (
        [ToolCall(1, "pay", '[{"a":1,"b":2.0}]', 3), ToolCall(2, "pay", '[ {"b": 2, "a": 1} ]')],
        [ToolCall(1, "pay", '[{"a":1,"b":3}]', 3), ToolCall(1, "play", '[{"a":1,"b":2}]', 3), ToolCall(1, "pay", "[]")],
    ),
    "call record": (
        [
            record(),
            record(
                duration_ms=None,
                cost_cents=7,
                cached=True,
                attempts=(Attempt(duration_ms=1),),
                approval=ApprovalNote(request_id="r2", decision="approved", waited_ms=9),
            ),
        ],
        [record(seq=2), record(args={"n": 2}), record(status=CallStatus.ERROR), record(approval=None), record(line=1)],
    ),
    "plan": (
        [PLAN, PLAN.model_copy()],
        [Plan(), PLAN.model_copy(update={"complete": False}), PLAN.model_copy(update={"incomplete_from": 1})],
    ),
    "execution": (
        [
            execution(),
            execution(
                id="e2",
                metrics=Metrics(wall_ms=5),
                progress=(ProgressEvent(message="a tool's", at_ms=1, call=1),),
                calls=(record(duration_ms=9),),
            ),
        ],
        [
            execution(value={"a": 2}),
            execution(status=ExecutionStatus.ERROR),
            execution(logs=(LogEntry(level="log", text="x"),)),
            execution(progress=(ProgressEvent(message="the script's", at_ms=1),)),
            execution(script=ScriptInfo(sha256="00", mode="RETURN", span=ELSEWHERE)),
            execution(plan=PLAN),
        ],
    ),
    "outcome": (
        [Outcome(id="o1", executions=(execution(),)), Outcome(id="o2", executions=(execution(id="e2"),))],
        [Outcome(id="o1"), Outcome(id="o1", executions=(execution(), execution()))],
    ),
    "tool": (
        [
            tool(name="lookup", tags=["a", "b"], idempotent=True)(lookup),
            tool(name="lookup", tags=["b", "a"], idempotent=True, retry=Retry(attempts=3))(also_lookup),
        ],
        [
            tool(name="lookup")(lookup),
            tool(name="look", tags=["a", "b"], idempotent=True)(lookup),
            tool(name="lookup", tags=["a", "b"], idempotent=True, approval=True)(lookup),
            tool(name="lookup", tags=["a", "b"], idempotent=True, version="2")(lookup),
            tool(name="lookup", tags=["a", "b"], idempotent=True, timeout=3)(lookup),
            tool(name="lookup", tags=["a", "b"], idempotent=True, cost=5)(lookup),
        ],
    ),
}


@pytest.mark.requirement("CAN-007")
@pytest.mark.parametrize("family", FAMILIES)
def test_what_means_the_same_has_one_hash_and_what_does_not_another(family):
    (one, *same), others = FAMILIES[family]
    for twin in same:
        assert twin.canonical() == one.canonical()
        assert twin.to_canonical_json() == one.to_canonical_json()
        assert twin.content_hash() == one.content_hash()
    hashes = [one.content_hash(), *(other.content_hash() for other in others)]
    assert len(set(hashes)) == len(hashes)


@pytest.mark.requirement("CAN-007")
@pytest.mark.parametrize("family", FAMILIES)
def test_every_value_is_hashed_by_the_same_functions(family):
    for value in FAMILIES[family][0]:
        assert value.to_canonical_json() == to_canonical_json(value.canonical())
        assert value.content_hash() == content_hash(value.canonical())
        assert json.loads(value.to_canonical_json()) == value.canonical()


@pytest.mark.requirement("CAN-007")
def test_what_the_table_says_is_in_a_script_and_in_a_call():
    assert FAMILIES["script"][0][1].canonical() == {"lang": "js", "source": "return 1"}
    assert FAMILIES["tool call"][0][0].canonical() == {"tool": "pay", "arguments": [{"a": 1, "b": 2}]}


@pytest.mark.requirement("CAN-007")
def test_the_call_of_an_outcome_is_hashed_as_it_stands_in_the_outcome():
    call = record(duration_ms=9)
    outcome = Outcome(id="o", executions=(execution(calls=(call,)),))
    assert outcome.canonical()["executions"][0] == outcome.executions[0].canonical()
    assert outcome.canonical()["executions"][0]["calls"][0] == call.canonical()


def shuffled(value: Any, chance: random.Random) -> Any:
    """The same JSON value, the members of its objects in another order."""
    if isinstance(value, dict):
        members = list(value.items())
        chance.shuffle(members)
        return {key: shuffled(item, chance) for key, item in members}
    return [shuffled(item, chance) for item in value] if isinstance(value, list) else value


def schema(number: int, chance: random.Random) -> dict[str, Any]:
    members = {f"p{n}": {"type": "integer", "description": f"{n}", "maximum": number + n} for n in range(9)}
    given = {"type": "object", "properties": members, "required": ["p0"], "additionalProperties": False}
    return {key: shuffled(item, chance) for key, item in shuffled(given, chance).items()}


@pytest.mark.requirement("CAN-008")
def test_a_registry_of_a_hundred_tools_has_one_hash_in_every_order():
    chance = random.Random(5)

    def made(number: int) -> Tool:
        return Tool.from_schema(f"t{number}", lambda **_: None, parameters=schema(number, chance), description="d")

    hashes = set()
    for _ in range(5):
        tools = [made(number) for number in range(100)]
        chance.shuffle(tools)
        hashes.add(ToolRegistry(tools).content_hash())
    assert len(hashes) == 1
    assert ToolRegistry([made(number) for number in range(99)]).content_hash() not in hashes


@pytest.mark.requirement("CAN-008")
def test_a_schema_may_hold_integers_that_no_double_is():
    def big(n: Annotated[int, Field(le=2**63 - 1)]) -> int:
        return n

    def as_double(n: Annotated[int, Field(le=2**63)]) -> int:
        return n

    one, same = tool(big), tool(name="big")(as_double)
    assert '"maximum":9223372036854776000' in one.to_canonical_json()
    assert one.content_hash() == same.content_hash()


@pytest.mark.requirement("CAN-008")
def test_a_contract_does_not_look_at_what_is_behind_it():
    one = Tool.from_schema("t", lambda **_: 1, description="d")
    assert Tool.from_schema("t", lambda **_: 2, description="d").content_hash() == one.content_hash()
    assert one.replace(cost=3).content_hash() != one.content_hash()
    assert one.replace(idempotent=True).content_hash() != one.content_hash()
    assert one.renamed("u").content_hash() != one.content_hash()
    assert Tool.from_schema("t", lambda **_: 1, description="D").content_hash() != one.content_hash()


@pytest.mark.requirement("CAN-009")
@pytest.mark.parametrize("arguments", ["[", "", '[{"a":1,"a":2}]', "[" * 100_000])
def test_a_call_whose_arguments_are_no_json_has_no_canonical_form(arguments):
    call = ToolCall(7, "pay", arguments)
    for ask in (call.canonical, call.to_canonical_json, call.content_hash):
        with pytest.raises(SerializationError, match="the arguments of the call 7 are no JSON") as caught:
            ask()
        assert caught.value.details["path"] == "$.arguments"


@pytest.mark.requirement("CAN-009")
def test_a_call_with_arguments_that_json_has_no_form_for_names_the_place():
    for arguments, path in (("[NaN]", "$.arguments[0]"), ('[{"a":9007199254740993}]', "$.arguments[0].a")):
        with pytest.raises(SerializationError) as caught:
            ToolCall(1, "pay", arguments).content_hash()
        assert caught.value.details["path"] == path
