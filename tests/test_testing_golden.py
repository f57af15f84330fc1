"""Golden outcomes: the file, and what is compared."""

from __future__ import annotations

import json
from typing import Any

import pytest

from harness import Decision, Harness
from harness.errors import UsageError
from harness.testing import FakeTools, FrozenClock, Golden, Rule, ScriptedApprover
from harness.testing.paths import pruned, read_path

OUTPUT = {
    "executions": [
        {"status": "ok", "value": {"total": 3, "at": 1}, "error": None, "calls": [{"tool": "a"}, {"tool": "b"}]},
        {"status": "error", "value": None, "error": {"type": "X"}, "calls": []},
    ],
    "id": "random",
}
FIELDS = ("$.executions[*].status", "$.executions[0].value.total", "$.executions[*].calls[*].tool")


def golden(**changes: Any) -> Golden:
    given = {"description": "two blocks", "input": "text", "expected_output": OUTPUT, "deterministic_fields": FIELDS}
    return Golden.model_validate(given | changes)


def changed(path: list[Any], value: Any) -> Any:
    copy = json.loads(json.dumps(OUTPUT))
    place = copy
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return copy


# ── paths ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("TST-008")
def test_paths():
    assert read_path("$") == ()
    assert read_path('$.a[*].b_1[0]["x y\\"z"].*.é') == ("a", None, "b_1", 0, 'x y"z', None, "é")
    for wrong in ("", "a", "$a", "$.", "$[-1]", "$..a", "$.a[", "$['a']", "$.1"):
        with pytest.raises(ValueError, match="is no path"):
            read_path(wrong)


@pytest.mark.requirement("TST-008")
@pytest.mark.parametrize(
    ("paths", "left"),
    [
        (["$"], {"a": [1, {"b": 2, "c": 3}], "d": {"e": 4, "f": 5}}),
        (["$.a"], {"a": [1, {"b": 2, "c": 3}]}),
        (["$.a[1].b", "$.d.e"], {"a": [None, {"b": 2}], "d": {"e": 4}}),
        (["$.a[0]"], {"a": [1]}),
        (["$.a[*].c"], {"a": [1, {"c": 3}]}),
        (["$.*.e"], {"a": [], "d": {"e": 4}}),
        (["$.none"], {}),
    ],
)
def test_what_paths_leave(paths, left):
    value: Any = {"a": [1, {"b": 2, "c": 3}], "d": {"e": 4, "f": 5}}
    assert pruned(value, [read_path(path) for path in paths]) == left


# ── comparing ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("TST-008")
@pytest.mark.parametrize(
    "other",
    [
        OUTPUT,
        changed(["id"], "another"),
        changed(["executions", 0, "value", "at"], 2),
        changed(["executions", 0, "value", "more"], 2),
        changed(["executions", 1, "error", "type"], "Y"),
        changed(["executions", 0, "calls", 0, "line"], 7),
    ],
)
def test_what_is_not_named_may_be_anything(other):
    assert golden().compare(other) == ""
    golden().check(other)


@pytest.mark.requirement("TST-008")
@pytest.mark.parametrize(
    ("other", "says"),
    [
        (changed(["executions", 1, "status"], "ok"), '$.executions[1].status is "ok"; expected was "error"'),
        (changed(["executions", 0, "value"], None), "$.executions[0].value is null; expected was"),
        (changed(["executions", 0, "value"], {}), "$.executions[0].value.total is missing; expected was 3"),
        (changed(["executions", 0, "value", "total"], "3"), '$.executions[0].value.total is "3"; expected was 3'),
        (changed(["executions", 0, "calls"], []), "$.executions[0].calls has 0 elements; expected were 2"),
        (changed(["executions"], OUTPUT["executions"][:1]), "$.executions has 1 elements; expected were 2"),
        (changed(["executions"], {"a": 1}), '$.executions is {"a": 1}; expected was ['),
        ([], "$ is []; expected was {"),
    ],
)
def test_what_is_named_must_be_the_same_and_the_difference_says_where(other, says):
    difference = golden().compare(other)
    assert difference.startswith("two blocks: the outcome is another one.\n")
    assert says in difference
    with pytest.raises(AssertionError) as caught:
        golden().check(other)
    assert str(caught.value) == difference


@pytest.mark.requirement("TST-008")
def test_a_difference_in_full():
    assert golden().compare(changed(["executions", 1, "status"], "ok")).splitlines() == [
        "two blocks: the outcome is another one.",
        '$.executions[1].status is "ok"; expected was "error"',
        "",
        "--- expected",
        "+++ outcome",
        "@@ -16,7 +16,7 @@",
        "     },",
        "     {",
        '       "calls": [],',
        '-      "status": "error"',
        '+      "status": "ok"',
        "     }",
        "   ]",
        " }",
    ]
    true_is_not_one = golden(expected_output={"a": 1}, deterministic_fields=["$"]).compare({"a": True, "b": 1})
    assert "$.a is true; expected was 1\n$.b is not expected: 1\n" in true_is_not_one
    many = golden(expected_output=list(range(20)), deterministic_fields=["$"]).compare([0] * 20)
    assert "\n… and 9 more\n" in many
    long = golden(expected_output="x" * 500, deterministic_fields=["$"]).compare("y")
    assert '$ is "y"; expected was "xxx' in long
    assert "… (382 more characters)" in long


# ── the file ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("TST-007")
def test_a_file_has_the_five_fields_and_gives_the_golden_again(tmp_path):
    path = tmp_path / "golden.json"
    one = golden(notes="time is left out: ö")
    one.save(path)
    assert list(json.loads(path.read_text())) == [
        *("description", "input", "expected_output", "deterministic_fields", "notes")
    ]
    assert "ö" in path.read_text()
    assert Golden.load(path) == one
    backwards = golden(notes="time is left out: ö", expected_output=dict(reversed(OUTPUT.items())))
    backwards.save(tmp_path / "other.json")
    assert (tmp_path / "other.json").read_bytes() == path.read_bytes()
    assert path.read_bytes().endswith(b"}\n")


@pytest.mark.requirement("TST-007")
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"description": ""}, "description: String should have at least 1 character"),
        ({"input": None}, "input: Input should be a valid string"),
        ({"surprise": 1}, "surprise: Extra inputs are not permitted"),
        ({"deterministic_fields": []}, "deterministic_fields: Tuple should have at least 1 item"),
        ({"deterministic_fields": ["executions"]}, "it begins with $"),
        ({"deterministic_fields": ["$.executions[0].state"]}, "expected_output has no $.executions[0].state"),
        ({"deterministic_fields": ["$.executions[*].value.sum"]}, "expected_output has no $.executions[0].value.sum"),
        ({"deterministic_fields": ["$.executions[7].value"]}, "expected_output has no $.executions[7]"),
        ({"deterministic_fields": ["$.executions.value"]}, "expected_output has no $.executions.value"),
    ],
)
def test_a_file_that_is_wrong_says_where(tmp_path, change, says):
    path = tmp_path / "golden.json"
    path.write_text(json.dumps(golden().model_dump(mode="json") | change))
    with pytest.raises(UsageError) as caught:
        Golden.load(path)
    assert str(path) in str(caught.value)
    assert says in str(caught.value)


@pytest.mark.requirement("TST-007")
def test_a_file_that_is_no_golden_at_all(tmp_path):
    path = tmp_path / "golden.json"
    for content, says in ((b"{", "is no JSON in UTF-8"), (b"\xff", "is no JSON in UTF-8"), (b"[]", "no JSON object")):
        path.write_bytes(content)
        with pytest.raises(UsageError, match=says):
            Golden.load(path)
    with pytest.raises(FileNotFoundError):
        Golden.load(tmp_path / "none.json")


@pytest.mark.requirement("TST-007")
def test_recording_takes_the_canonical_form_and_needs_fields_that_are_there():
    with pytest.raises(UsageError, match=r"needs input="):
        Golden.record({"a": 1}, description="d")
    with pytest.raises(UsageError, match=r"This golden is no golden.*has no \$\.b"):
        Golden.record({"a": 1}, description="d", input="", deterministic_fields=["$.b"])
    one = Golden.record({"a": 1}, description="d", input="", deterministic_fields=["$.a"], notes="n")
    assert (one.expected_output, one.deterministic_fields, one.notes) == ({"a": 1}, ("$.a",), "n")


# ── together ─────────────────────────────────────────────────────────────────────────────────────────────────────

TEXT = """I will pay what is open.
<tool-calls>
const open = await tools.open({});
const paid = await Promise.all(open.map((id) => tools.pay({ id })));
return { paid, at: new Date().toISOString(), lucky: Math.random() };
</tool-calls>"""


async def run(**settings: Any) -> Any:
    tools = FakeTools({"open": [1, 2]})
    tools.add("pay", lambda arguments: f"paid {arguments['id']}", approval=True)
    with ScriptedApprover(
        [Rule("pay", Decision.approve(), {"id": 1}), Rule("pay", Decision.approve(), {"id": 2})]
    ) as all_:
        async with Harness(tools, approver=all_, clock=FrozenClock(), **settings) as harness:
            return await harness.run(TEXT)


@pytest.mark.anyio
@pytest.mark.requirement("TST-009")
async def test_the_fakes_make_a_run_that_is_the_same_every_time(tmp_path):
    one = await run(seed=1)
    assert one.executions[0].status == "ok"
    Golden.record(one, description="two payments").save(tmp_path / "golden.json")
    kept = Golden.load(tmp_path / "golden.json")
    assert kept.input == TEXT
    kept.check(await run(seed=1))
    difference = kept.compare(await run(seed=2))
    assert "$.executions[0].value.lucky is 0." in difference
    assert difference.count("expected was") == 1
    without = Golden.record(one, description="d", deterministic_fields=["$.executions[0].value.paid"])
    without.check(await run(seed=2))
