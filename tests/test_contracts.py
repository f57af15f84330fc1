"""Contracts of tools as values, and what changed between two of them."""

from __future__ import annotations

import itertools
import random
import re
from pathlib import Path
from typing import Annotated, Any

import pydantic
import pytest

from harness import Contract, ContractSet, Difference, ResourceContract, Tool, ToolRegistry, UsageError, tool
from harness.contracts.bumps import bumps, required_bump
from harness.contracts.compare import compare, compare_schema, severity
from harness.contracts.values import Impact
from harness.contracts.versions import newest, parse_version

SPEC = Path(__file__).parent.parent / "specs" / "compatibility.md"
N, A, B = Impact.NEUTRAL, Impact.ADDITIVE, Impact.BREAKING
TEXT, NUMBER = {"type": "string"}, {"type": "number"}


def members(properties: dict[str, Any], *required: str, **more: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
        **more,
    }


def opened(properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, **more}


# old, new, kinds, severity for arguments, severity for results
CASES: dict[str, tuple[Any, Any, set[str], Impact, Impact]] = {
    "type narrowed": (NUMBER, {"type": "integer"}, {"type_narrowed"}, B, A),
    "type widened": ({"type": "integer"}, NUMBER, {"type_widened"}, A, B),
    "type changed": (TEXT, NUMBER, {"type_changed"}, B, B),
    "type of nothing in particular": ({}, TEXT, {"type_narrowed"}, B, A),
    "type list": (TEXT, {"type": ["string", "null"]}, {"type_widened"}, A, B),
    "enum value gone": ({"enum": ["a", "b"]}, {"enum": ["a"]}, {"enum_value_removed"}, B, A),
    "enum value new": ({"enum": ["a"]}, {"enum": ["a", None]}, {"enum_value_added"}, A, B),
    "enum of another type": ({"enum": [1]}, {"enum": [True]}, {"enum_value_added", "enum_value_removed"}, B, B),
    "enum new": (TEXT, {**TEXT, "enum": ["a"]}, {"enum_added"}, B, A),
    "enum gone": ({**TEXT, "const": "a"}, TEXT, {"enum_removed"}, A, B),
    "const becomes enum": ({"const": 1}, {"enum": [1, 2]}, {"enum_value_added"}, A, B),
    "minimum up": ({**NUMBER, "minimum": 1}, {**NUMBER, "minimum": 5}, {"limit_tightened"}, B, A),
    "minimum down": ({**NUMBER, "minimum": 1}, {**NUMBER, "minimum": 0.5}, {"limit_loosened"}, A, B),
    "minimum excluded": ({"minimum": 1}, {"exclusiveMinimum": 1}, {"limit_tightened"}, B, A),
    "maximum new": (NUMBER, {**NUMBER, "maximum": 5}, {"limit_tightened"}, B, A),
    "maximum up": ({"exclusiveMaximum": 5}, {"exclusiveMaximum": 6}, {"limit_loosened"}, A, B),
    "maximum gone": ({"exclusiveMaximum": 5}, {}, {"limit_loosened"}, A, B),
    "length": ({"maxLength": 5}, {"maxLength": 4}, {"limit_tightened"}, B, A),
    "least length": ({"minLength": 5}, {}, {"limit_loosened"}, A, B),
    "items": ({"minItems": 1, "maxItems": 2}, {"minItems": 1, "maxItems": 3}, {"limit_loosened"}, A, B),
    "members": ({"maxProperties": 1}, {"maxProperties": 1, "minProperties": 1}, {"limit_tightened"}, B, A),
    "step finer": ({"multipleOf": 6}, {"multipleOf": 3}, {"step_changed"}, A, B),
    "step coarser": ({"multipleOf": 3}, {"multipleOf": 6}, {"step_changed"}, B, A),
    "step other": ({"multipleOf": 3}, {"multipleOf": 5}, {"step_changed"}, B, B),
    "step of fractions": ({"multipleOf": 0.2}, {"multipleOf": 0.1}, {"step_changed"}, B, B),
    "step new": (NUMBER, {**NUMBER, "multipleOf": 2}, {"step_added"}, B, A),
    "step gone": ({**NUMBER, "multipleOf": 2}, NUMBER, {"step_removed"}, A, B),
    "pattern new": (TEXT, {**TEXT, "pattern": "^a"}, {"pattern_added"}, B, A),
    "pattern gone": ({**TEXT, "pattern": "^a"}, TEXT, {"pattern_removed"}, A, B),
    "pattern other": ({"pattern": "^a"}, {"pattern": "a"}, {"pattern_changed"}, B, B),
    "format new": (TEXT, {**TEXT, "format": "date"}, {"format_added"}, B, A),
    "format gone": ({**TEXT, "format": "date"}, TEXT, {"format_removed"}, A, B),
    "format other": ({"format": "date"}, {"format": "time"}, {"format_changed"}, B, B),
    "items differ": ({"type": "array"}, {"type": "array", "uniqueItems": True}, {"unique_changed"}, B, A),
    "items may be equal": ({"uniqueItems": True}, {"uniqueItems": False}, {"unique_changed"}, A, B),
    "given together": ({}, {"dependentRequired": {"a": ["b"]}}, {"dependency_changed"}, B, A),
    "given alone": ({"dependentRequired": {"a": ["b"]}}, {"dependentRequired": {}}, {"dependency_changed"}, A, B),
    "member new, closed": (members({}), members({"a": TEXT}), {"property_added"}, A, B),
    "member new, open": (opened({}), opened({"a": TEXT}), {"property_added"}, B, A),
    "any member new, open": (opened({}), opened({"a": {}}), {"property_added"}, A, A),
    "member new, with company": (
        members({}, additionalProperties=TEXT),
        members({"a": {}}, additionalProperties=TEXT),
        {"property_added"},
        A,
        B,
    ),
    "member gone, closed": (members({"a": TEXT}), members({}), {"property_removed"}, B, B),
    "member gone, open": (opened({"a": TEXT}), opened({}), {"property_removed"}, B, B),
    "member must be given": (members({"a": TEXT}), members({"a": TEXT}, "a"), {"required_added"}, B, A),
    "member may be left out": (members({"a": TEXT}, "a"), members({"a": TEXT}), {"required_removed"}, A, B),
    "default other": (members({"a": {"default": 1}}), members({"a": {"default": 2}}), {"default_changed"}, B, N),
    "default true, not 1": (
        members({"a": {"default": 1}}),
        members({"a": {"default": True}}),
        {"default_changed"},
        B,
        N,
    ),
    "default new": (members({"a": {}}), members({"a": {"default": None}}), {"default_changed"}, B, N),
    "default where it was needed": (
        members({"a": {}}, "a"),
        members({"a": {"default": 2}}),
        {"default_changed", "required_removed"},
        A,
        B,
    ),
    "closed": (opened({}), members({}), {"closed"}, B, A),
    "opened": (members({}), opened({}), {"opened"}, A, B),
    "names by pattern": (opened({}), opened({}, patternProperties={"^x": TEXT}), {"pattern_property_added"}, B, A),
    "names by no pattern": (opened({}, patternProperties={"^x": TEXT}), opened({}), {"pattern_property_removed"}, A, B),
    "names by pattern, closed": (
        members({}),
        members({}, patternProperties={"^x": TEXT}),
        {"pattern_property_added"},
        B,
        B,
    ),
    "member where names have a pattern": (
        members({}, patternProperties={"^x": TEXT}),
        members({"xa": {}}, patternProperties={"^x": TEXT}),
        {"property_added"},
        B,
        B,
    ),
    "inside a pattern": (
        members({}, patternProperties={"^x": TEXT}),
        members({}, patternProperties={"^x": {**TEXT, "minLength": 1}}),
        {"limit_tightened"},
        B,
        A,
    ),
    "names": ({}, {"propertyNames": {"maxLength": 3}}, {"limit_tightened"}, B, A),
    "depth": (
        members({"a": {"type": "array", "items": members({"b": {"maximum": 1}})}}),
        members({"a": {"type": "array", "items": members({"b": {"maximum": 2}})}}),
        {"limit_loosened"},
        A,
        B,
    ),
    "places of an array": (
        {"prefixItems": [TEXT], "items": False},
        {"prefixItems": [TEXT, TEXT], "items": False},
        {"opened"},
        A,
        B,
    ),
    "contents": ({"type": "array"}, {"type": "array", "contains": TEXT}, {"condition_added"}, B, A),
    "other contents": ({"contains": TEXT}, {"contains": NUMBER}, {"not_understood"}, B, B),
    "alternative new": (TEXT, {"anyOf": [TEXT, {"type": "null"}]}, {"alternative_added"}, A, B),
    "alternative gone": ({"anyOf": [TEXT, {"type": "null"}]}, TEXT, {"alternative_removed"}, B, A),
    "alternative among constants": (
        {"oneOf": [members({"k": {"const": kind}}, "k") for kind in "ab"]},
        {"oneOf": [members({"k": {"const": kind}}, "k") for kind in "abc"]},
        {"alternative_added"},
        A,
        B,
    ),
    "inside an alternative": (
        {"anyOf": [{**TEXT, "maxLength": 1}, {"type": "null"}]},
        {"anyOf": [{"type": "null"}, {**TEXT, "maxLength": 2}]},
        {"limit_loosened"},
        A,
        B,
    ),
    "one of two that overlap": (
        {"oneOf": [{"minimum": 1}, {"maximum": 5}]},
        {"oneOf": [{"minimum": 1}, {"maximum": 6}]},
        {"not_understood"},
        B,
        B,
    ),
    "one more condition": ({"allOf": [TEXT, {}]}, {"allOf": [TEXT, {}, {"minLength": 1}]}, {"condition_added"}, B, A),
    "one condition less": ({"allOf": [{}, {"minLength": 1}, TEXT]}, {"allOf": [{}, TEXT]}, {"condition_removed"}, A, B),
    "not": ({"not": {"maximum": 5}}, {"not": {"maximum": 6}}, {"limit_loosened"}, B, A),
    "not new": ({}, {"not": TEXT}, {"condition_added"}, B, A),
    "then": ({"if": TEXT, "then": {"minLength": 1}}, {"if": TEXT, "then": {}}, {"limit_loosened"}, A, B),
    "if": ({"if": TEXT, "then": {"minLength": 1}}, {"if": {}, "then": {"minLength": 1}}, {"not_understood"}, B, B),
    "if new": ({}, {"if": TEXT, "then": {"minLength": 1}}, {"condition_added"}, B, A),
    "dependent schemas": ({}, {"dependentSchemas": {"a": {"minProperties": 2}}}, {"limit_tightened"}, B, A),
    "unevaluated": (
        {"allOf": [opened({"a": {}}), {}], "unevaluatedProperties": False},
        {"allOf": [opened({"a": {}, "b": {}}), {}], "unevaluatedProperties": False},
        {"property_added", "not_understood"},
        B,
        B,
    ),
    "description": ({"description": "x"}, {"description": "y"}, {"note_changed"}, N, N),
    "unknown word": ({"x-mark": 1}, {"x-mark": 2}, {"not_understood"}, B, B),
    "dialect": (
        {"$schema": "http://json-schema.org/draft-04/schema#"},
        {"$schema": "http://json-schema.org/draft-04/schema#", "description": "x"},
        {"dialect_unknown"},
        B,
        B,
    ),
    "anchors": ({"$anchor": "a"}, {"$anchor": "a", "description": "x"}, {"not_understood"}, B, B),
    "old items": (
        {"$schema": "http://json-schema.org/draft-07/schema#", "items": [TEXT]},
        {"$schema": "http://json-schema.org/draft-07/schema#", "items": [NUMBER]},
        {"not_understood"},
        B,
        B,
    ),
    "nowhere": ({}, {"$ref": "#/$defs/None"}, {"reference_broken"}, B, B),
    "round in a circle": ({}, {"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/A"}}}, {"reference_broken"}, B, B),
    "no schema": ({}, {"type": "text"}, {"not_a_schema"}, B, B),
}


@pytest.mark.requirement("CMP-012", "CMP-020")
@pytest.mark.parametrize("name", CASES)
def test_a_change_of_a_schema(name):
    old, new, kinds, on_input, on_output = CASES[name]
    found = compare_schema(old, new, "input")
    assert {one.kind for one in found} == kinds
    assert severity(found) is on_input
    back = compare_schema(old, new, "output")
    assert {one.kind for one in back} == kinds
    assert severity(back) is on_output
    assert severity(compare_schema(old, new, "both")) is max(on_input, on_output, key=lambda one: one.rank)


@pytest.mark.requirement("CMP-011")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"type": "integer", "exclusiveMinimum": 0}, {"type": "integer", "minimum": 1}),
        ({"allOf": [TEXT]}, TEXT),
        ({"$ref": "#/$defs/T", "$defs": {"T": TEXT}}, TEXT),
        ({"$ref": "#/$defs/T", "$defs": {"T": TEXT}}, {"$ref": "#/$defs/U", "$defs": {"U": TEXT}}),
        ({"anyOf": [TEXT, {"type": "null"}]}, {"anyOf": [{"type": ["null", "string"]}]}),
        ({"anyOf": [TEXT, {"type": "null"}]}, {"oneOf": [{"type": "null"}, TEXT]}),
        ({"anyOf": [{"anyOf": [TEXT, NUMBER]}, {"type": "null"}]}, {"anyOf": [{"type": "null"}, NUMBER, TEXT]}),
        ({"enum": [1, 2]}, {"enum": [2, 1.0]}),
        ({"minLength": 0}, {}),
        ({"title": "x"}, {}),
        (True, {}),
    ],
)
def test_the_same_in_other_words(old, new):
    assert compare_schema(old, new, "both") == compare_schema(new, old, "both") == ()


TREE = {
    "$ref": "#/$defs/Node",
    "$defs": {"Node": members({"next": {"$ref": "#/$defs/Node"}, "rows": {"items": {"$ref": "#/$defs/Node"}}})},
}


@pytest.mark.requirement("CMP-011")
def test_a_schema_that_refers_to_itself():
    wider: Any = {**TREE, "$defs": {"Node": members({**TREE["$defs"]["Node"]["properties"], "more": TEXT})}}  # type: ignore[index]
    assert [(one.path, one.kind) for one in compare_schema(TREE, wider, "input")] == [
        ("$.properties.more", "property_added")
    ]
    assert severity(compare_schema(TREE, wider, "input")) is A
    assert severity(compare_schema(wider, TREE, "input")) is B
    turned = {"$ref": "#/$defs/A", "$defs": {"A": opened({"a": {"not": {"$ref": "#/$defs/A"}}}, minProperties=1)}}
    other = {"$ref": "#/$defs/A", "$defs": {"A": opened({"a": {"not": {"$ref": "#/$defs/A"}}})}}
    assert severity(compare_schema(turned, other, "input")) is B  # inside a not, more is less


@pytest.mark.requirement("CMP-013")
def test_comparing_ends():
    deep: Any = {}
    for _ in range(150):
        deep = {"items": deep}
    deeper = {"items": deep}
    assert [one.kind for one in compare_schema(deep, deeper, "input")] == ["too_large"]
    # Each definition uses the next one twice.
    chain = {
        f"D{n}": opened({"a": {"$ref": f"#/$defs/D{n + 1}"}, "b": {"$ref": f"#/$defs/D{n + 1}"}}) for n in range(40)
    }
    old, new = ({"$ref": "#/$defs/D0", "$defs": {**chain, "D40": last}} for last in (TEXT, NUMBER))
    assert severity(compare_schema(old, new, "input")) is B


@pytest.mark.requirement("CMP-013")
@pytest.mark.parametrize("wrong", [5, None, "x", [], {"type": 5}, {"properties": []}, {"$ref": 5}, {"allOf": {}}])
def test_what_is_no_schema_is_breaking(wrong):
    for old, new in itertools.permutations([wrong, TEXT]):
        assert severity(compare_schema(old, new, "both")) is B


# ── contracts ────────────────────────────────────────────────────────────────────────────────────────────────────

CRM, CRM_2 = ResourceContract("crm"), ResourceContract("crm", schema_version="2.0")
PAY = {"type": "object", "properties": {"cents": {"type": "integer"}}, "required": ["cents"]}


def act(cents: int) -> int:
    """Pay."""
    return cents


def made(**options: Any) -> Contract:
    name, result = options.pop("name", "pay"), options.pop("result", None)
    return Contract.of(Tool.from_schema(name, act, PAY, result, **options))


def undo(arguments: Any, result: Any) -> None:
    pass


def costs(arguments: Any) -> int:
    return 1


TERMS: list[tuple[dict[str, Any], dict[str, Any], str, Impact, str, Impact]] = [
    # options, others, kind and severity of the way from the one to the other, and of the way back
    ({}, {"approval": True}, "approval_on", B, "approval_off", B),
    ({}, {"idempotent": True}, "idempotent_on", A, "idempotent_off", B),
    ({}, {"deterministic": True}, "deterministic_on", A, "deterministic_off", B),
    ({}, {"revert": undo}, "reversible_on", A, "reversible_off", B),
    ({}, {"tags": ["crm"]}, "tag_added", A, "tag_removed", B),
    *[({}, {"tags": [tag]}, "tag_added", B, "tag_removed", B) for tag in ("read", "write", "destructive", "untrusted")],
    ({"timeout": 5}, {"timeout": 6}, "timeout_changed", A, "timeout_changed", B),
    ({}, {"timeout": 6}, "timeout_changed", B, "timeout_changed", B),
    ({"cost": 2}, {"cost": 1}, "cost_changed", A, "cost_changed", B),
    ({"cost": 2}, {"cost": costs}, "cost_changed", B, "cost_changed", B),
    ({}, {"positional": "cents"}, "positional_changed", A, "positional_changed", B),
    ({}, {"resource": CRM}, "resource_changed", B, "resource_changed", B),
    ({"resource": CRM}, {"resource": CRM_2}, "resource_version_changed", B, "resource_version_changed", B),
    ({}, {"result": TEXT}, "result_promised", A, "result_unpromised", B),
    ({}, {"name": "paid"}, "name_changed", B, "name_changed", B),
    ({}, {"version": "1.1"}, "version_changed", N, "version_changed", N),
    ({}, {"description": "Pays."}, "description_changed", N, "description_changed", N),
]


@pytest.mark.requirement("CMP-021")
@pytest.mark.parametrize("case", TERMS, ids=[f"{case[2]} {' '.join(case[1])}" for case in TERMS])
def test_a_change_of_terms(case):
    options, others, kind, forth, back_kind, back = case
    there, here = compare(made(**options), made(**others)), compare(made(**others), made(**options))
    assert (kind, forth) in {(one.kind, one.severity) for one in there}
    assert severity(there) is forth
    assert (back_kind, back) in {(one.kind, one.severity) for one in here}
    assert severity(here) is back


@pytest.mark.requirement("CMP-021")
def test_what_is_no_part_of_a_contract():
    assert made(preview=3).is_same(made(preview=4))
    assert made(cost=costs).is_same(made(cost=lambda _: 2))


@pytest.mark.requirement("CMP-001")
def test_a_contract_has_one_hash():
    one = made(tags=["b", "a"])
    two = Contract.of(Tool.from_schema("pay", act, dict(reversed(PAY.items())), tags=["a", "b", "a"]))
    assert one.to_canonical_json() == two.to_canonical_json()
    assert one.content_hash() == two.content_hash()
    assert re.fullmatch("[0-9a-f]{64}", one.content_hash())
    assert one.content_hash() != made(tags=["a"]).content_hash()
    with pytest.raises(pydantic.ValidationError):
        one.name = "x"  # type: ignore[misc]

    contracts = [made(name=f"t{number}", version=f"{version}") for number in range(20) for version in range(3)]
    hashes = set()
    for seed in range(20):
        random.Random(seed).shuffle(contracts)
        hashes.add(ContractSet(contracts=tuple(contracts)).content_hash())
    assert len(hashes) == 1
    assert ContractSet.read(ContractSet(contracts=tuple(contracts)).to_canonical_json()).content_hash() in hashes


@pytest.mark.requirement("CMP-001")
def test_numbers_that_json_does_not_carry():
    @tool
    def big(number: Annotated[int, pydantic.Field(le=2**63 - 1)]) -> None: ...

    contract = Contract.of(big)
    assert contract.parameters["properties"] == {"number": {"type": "integer", "maximum": 2.0**63}}
    assert ContractSet.read(ContractSet(contracts=(contract,)).to_canonical_json()).contracts[0].is_same(contract)


@pytest.mark.requirement("CMP-002")
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{}", "contracts"),
        ("no", "JSON"),
        ('{"v": 2, "contracts": []}', "v"),
        ('{"contracts": [{"name": "a"}]}', "parameters"),
        ('{"contracts": [{"name": "a", "parameters": {}, "more": 1}]}', "more"),
        ('{"contracts": [{"name": "a", "parameters": {}}, {"name": "a", "parameters": {}}]}', "twice"),
        (
            '{"contracts": [{"name": "a", "version": "x", "parameters": {}}, {"name": "a", "parameters": {}}]}',
            "have no order",
        ),
    ],
)
def test_a_text_that_holds_no_contracts(text, reason):
    with pytest.raises(UsageError, match=reason) as caught:
        ContractSet.read(text, "old.json")
    assert "old.json holds no contracts" in caught.value.message


# ── sets ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def together(*contracts: Contract) -> ContractSet:
    return ContractSet(contracts=contracts)


@pytest.mark.requirement("CMP-022")
def test_tools_that_come_and_go():
    old, new = together(made(name="a"), made(name="b")), together(made(name="b"), made(name="c"))
    assert [(one.path, one.kind, one.severity) for one in compare(old, new)] == [
        ("$.a", "tool_removed", B),
        ("$.c", "tool_added", A),
    ]
    assert compare(old, old) == ()


@pytest.mark.requirement("CMP-022")
def test_versions_that_come_and_go():
    one, two = made(version="1.0"), made(version="2.0", approval=True)
    # Scripts call another tool now, though who began with the old one still has it.
    assert {(item.path, item.kind, item.severity) for item in compare(together(one), together(one, two))} == {
        ("$.pay.version", "version_changed", N),
        ("$.pay.approval", "approval_on", B),
    }
    # Who began with the old one has it no longer.
    gone = compare(together(one, two), together(two))
    assert [(item.path, item.kind, item.severity) for item in gone if item.severity is B] == [
        ("$.pay@1.0", "version_removed", B),
        ("$.pay@1.0.approval", "approval_on", B),
    ]
    # One that serves as well can go without harm.
    better = made(version="1.1", idempotent=True)
    assert severity(compare(together(one, better), together(better))) is A
    # An older version that changed under its own number.
    changed = compare(together(one, two), together(made(version="1.0", timeout=3), two))
    assert [(item.path, item.severity) for item in changed] == [("$.pay@1.0.timeout", B)]


@pytest.mark.requirement("CMP-030")
def test_a_difference():
    def wide(limit: int) -> Contract:
        return Contract.of(Tool.from_schema("fs.pay", act, {**PAY, "properties": {"cents": {"minimum": limit}}}))

    (found,) = compare(together(wide(1)), together(wide(5)))
    assert found.to_dict() == {
        "path": '$["fs.pay"].parameters.properties.cents.minimum',
        "kind": "limit_tightened",
        "severity": "breaking",
        "before": 1,
        "after": 5,
        "message": "The least value went from 1 to 5: a value that fitted may no longer fit.",
    }
    with pytest.raises(pydantic.ValidationError):
        found.kind = "x"  # type: ignore[misc]
    assert Difference.model_validate(found.to_dict()) == found
    assert severity([]) is N
    with pytest.raises(TypeError, match="two contracts or two sets"):
        compare(wide(1), together(wide(1)))  # type: ignore[call-overload]


@pytest.mark.requirement("CMP-030")
def test_all_kinds_are_in_the_specification():
    shown = {kind for _, _, kinds, _, _ in CASES.values() for kind in kinds}
    shown |= {kind for case in TERMS for kind in (case[2], case[4])}
    shown |= {"tool_removed", "tool_added", "version_removed", "too_large"}
    listed = set(re.findall("`([a-z]+(?:_[a-z]+)*)`", SPEC.read_text()))
    assert sorted(shown - listed) == []
    source = Path(compare.__code__.co_filename).parent
    written = set(re.findall(r'"([a-z]+(?:_[a-z]+)+)"', "".join(path.read_text() for path in source.glob("*.py"))))
    kinds = re.compile(
        "_(added|removed|changed|narrowed|widened|tightened|loosened|understood|unknown|broken|promised)$"
    )
    assert (
        sorted(
            {word for word in written if kinds.search(word)}
            - listed
            - {"schema_added", "schema_removed", "role_changed"}
        )
        == []
    )


# ── versions ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("CMP-031")
def test_the_order_of_versions():
    order = ["0.9", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-2", "1", "1.0.1", "1.2", "1.10", "2"]
    order = sorted(order, key=lambda text: parse_version(text) or pytest.fail(text))
    assert order == [
        *["0.9", "1.0.0-2", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1", "1.0.1", "1.2", "1.10", "2"]
    ]
    assert parse_version("1") == parse_version("1.0") == parse_version("1.0.0+build")
    assert [parse_version(text) for text in ("", "v1", "1.", "01", "1.2.3.4", "1 ", "１")] == [None] * 7
    assert newest(["1.0", "2.0-rc.1", "1.5"]) == "1.5"
    assert newest(["2.0-rc.1", "2.0-rc.2"]) == "2.0-rc.2"


def difference(impact: Impact) -> Difference:
    return Difference(path="$", kind="note_changed", severity=impact, message="x")


@pytest.mark.requirement("CMP-031")
@pytest.mark.parametrize(
    ("old", "impact", "bump", "least"),
    [
        ("1.2.3", None, "none", "1.2.3"),
        ("1.2.3", N, "patch", "1.2.4"),
        ("1.0", N, "patch", "1.0.1"),
        ("1.2.3", A, "minor", "1.3.0"),
        ("1.2.3", B, "major", "2.0.0"),
        ("0.3.1", N, "patch", "0.3.2"),
        ("0.3.1", A, "patch", "0.3.2"),
        ("0.3.1", B, "minor", "0.4.0"),
    ],
)
def test_the_version_that_is_needed(old, impact, bump, least):
    differences = [] if impact is None else [difference(impact)]
    found = required_bump(old, least, differences)
    assert (found.bump, found.minimum, found.sufficient) == (bump, least, True)
    assert required_bump(old, f"{least}-rc.1", differences).sufficient is (impact is not None)
    assert required_bump(old, "9.0", differences).sufficient
    assert not required_bump(old, "0.1", differences).sufficient
    if impact is not None:
        unchanged = required_bump(old, old, differences, what="pay")
        assert not unchanged.sufficient
        assert unchanged.message.startswith("pay changed")
        assert least in unchanged.message


@pytest.mark.requirement("CMP-031")
def test_versions_of_tools():
    old = together(made(name="a"), made(name="b"), made(name="c"), made(name="d", version="blue"), made(name="e"))
    new = together(
        made(name="a", approval=True, version="1.1"),
        made(name="b", idempotent=True, version="1.1"),
        made(name="c"),
        made(name="d", version="blue", idempotent=True),
        made(name="f"),
    )
    assert [(one.what, one.minimum, one.sufficient) for one in bumps(old, new)] == [
        ("a", "2.0.0", False),
        ("b", "1.1.0", True),
        ("d", "another", False),
    ]
    with pytest.raises(UsageError, match="'blue' is no version that can be compared"):
        required_bump("blue", "1.0", [])


class Address(pydantic.BaseModel):
    street: str


class Receipt(pydantic.BaseModel):
    id: str


class Longer(Receipt):
    at: str


@pytest.mark.requirement("CMP-031", "CMP-012", "CMP-020")
def test_a_tool_of_python_over_time():
    @tool(name="send")
    def first(to: Address, cents: int) -> Receipt:
        return Receipt(id="a")

    @tool(name="send", version="1.1")
    def second(to: Address, cents: int | None = None, note: str = "") -> Longer:
        return Longer(id="a", at="b")

    old, new = (ToolRegistry([one]).contracts() for one in (first, second))
    assert severity(compare(old, new)) is A
    assert [one.sufficient for one in bumps(old, new)] == [True]
    assert {one.kind for one in compare(new, old) if one.severity is B} == {
        "alternative_removed",
        "default_changed",
        "property_removed",
        "required_added",
        "required_removed",
    }
