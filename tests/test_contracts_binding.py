"""Versions of one tool side by side, and executions that are bound to one of them."""

from __future__ import annotations

from typing import Any

import pytest

from harness import Binding, Contract, ContractSet, Harness, Tool, ToolRegistry, UsageError, check_binding, tool
from harness.contracts.binding import Verdict


def price(version: str, **options: Any) -> Tool:
    def act(sku: str) -> str:
        return f"{sku} from {version}"

    return tool(name=options.pop("name", "price"), version=version, **options)(act)


# ── the registry ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("CMP-040")
def test_versions_side_by_side():
    one, two, ten, next_one = price("1.0"), price("2.0"), price("1.10"), price("3.0-rc.1")
    registry = ToolRegistry([two, one, next_one, ten, two])
    assert registry.names() == ["price"]
    assert len(registry) == 1
    assert list(registry) == [two]
    assert registry.get("price") is two
    assert registry.versions("price") == [one, ten, two, next_one]
    assert registry.versions("none") == []
    assert registry.all_versions() == [one, ten, two, next_one]
    assert [item["version"] for item in registry.describe("json")] == ["2.0"]
    assert [contract.version for contract in registry.contracts().contracts] == ["1.0", "1.10", "2.0", "3.0-rc.1"]
    assert [contract.version for contract in ContractSet.of(registry).contracts] == ["2.0"]
    assert list(registry.statistics()) == ["price"]


@pytest.mark.requirement("CMP-040")
def test_what_cannot_stand_side_by_side():
    registry = ToolRegistry([price("1.0")])
    for version in ("1.0", "1", "1.0.0"):
        with pytest.raises(UsageError, match=r"another version, with @tool\(version=…\)"):
            registry.register(price(version))
    with pytest.raises(UsageError, match="'blue' says nothing of which is the newer one"):
        registry.register(price("blue"))
    with pytest.raises(UsageError, match="cannot be told from a version of another"):
        registry.register(price("1.0", name="price@1.0"))
    with pytest.raises(UsageError, match="cannot be told from a version of another"):
        ToolRegistry([price("1.0", name="price@2")]).register(price("2"))
    assert ToolRegistry([price("blue")]).get("price").version == "blue"


@pytest.mark.requirement("CMP-041")
@pytest.mark.parametrize(
    ("wanted", "version"),
    [
        (["price"], "2.1"),
        (["price@1"], "1.10"),
        (["price@1.0"], "1.0"),
        (["price@1.0.0"], "1.0"),
        (["price@2"], "2.1"),
        (["price@3.0-rc.1"], "3.0-rc.1"),
        (["tag:read"], "2.1"),
        (["tag:read", "price@1.0"], "1.0"),
        (["price@1.0", "price@1.0.0"], "1.0"),
    ],
)
def test_a_selection_names_a_version(wanted, version):
    versions = [price(version, tags=["read"]) for version in ("1.0", "1.10", "2.0", "2.1", "3.0-rc.1")]
    part = ToolRegistry([*versions, price("1.0", name="other")]).select(wanted)
    assert [(item.name, item.version) for item in part] == [("price", version)]
    assert part.all_versions() == [part.get("price")]


@pytest.mark.requirement("CMP-041")
def test_a_selection_that_names_no_version():
    one, two = price("1.0"), price("2.0")
    registry = ToolRegistry([one, two, price("1.0", name="user@1")])
    assert [item.name for item in registry.select(["user@1"])] == ["user@1"]
    assert list(registry.select([one])) == [one]
    with pytest.raises(UsageError, match=r"no version '1\.5' of tool 'price'; there is: 1\.0, 2\.0\."):
        registry.select(["price@1.5"])
    with pytest.raises(UsageError, match=r"two versions of 'price', 1\.0 and 2\.0"):
        registry.select(["price@1", two])
    with pytest.raises(UsageError, match="No tool or namespace is called 'pries@1'"):
        registry.select(["pries@1"])


@pytest.mark.requirement("CMP-041")
def test_a_script_calls_the_version_that_was_selected():
    text = "<tool-calls>[await tools.price({sku: 'a'}), (await tools.$search('price')).length]</tool-calls>"
    with Harness(tools=[price("1.0"), price("2.0")]) as harness:
        assert harness.run_sync(text).executions[0].value == ["a from 2.0", 1]
        assert harness.run_sync(text, tools=["price@1"]).executions[0].value == ["a from 1.0", 1]


# ── binding ──────────────────────────────────────────────────────────────────────────────────────────────────────


def bind(recorded: list[Tool], now: list[Tool], gating: Any = "default") -> Binding:
    return check_binding(ContractSet.of(recorded), ToolRegistry(now), gating)


@pytest.mark.requirement("CMP-042")
def test_the_same_contract_serves_wherever_it_stands():
    binding = bind([price("1.0")], [price("1.0"), price("2.0", approval=True), price("1.0", name="new")], "strict")
    assert binding.accepted
    assert binding.reason == "Every contract is as it was, or promises no less."
    (bound,) = binding.bound
    assert (bound.name, bound.recorded, bound.served_by, bound.verdict) == ("price", "1.0", "1.0", Verdict.SAME)
    assert bound.recorded_hash == Contract.of(price("1.0")).content_hash()
    assert binding.selection == ["price@1.0"]
    assert binding.differences == ()
    assert binding.warnings == ()
    assert Binding.model_validate_json(binding.model_dump_json()) == binding


@pytest.mark.requirement("CMP-042")
@pytest.mark.parametrize(
    ("now", "served"),
    [
        ([price("1.0", approval=True), price("2.0", timeout=1)], "1.0"),  # its own version before all others
        ([price("1.1", idempotent=True), price("2.0", approval=True)], "1.1"),  # then what changes least
        ([price("1.1", idempotent=True), price("1.2", idempotent=True)], "1.2"),  # then the newest
        ([price("0.9")], "0.9"),
    ],
)
def test_what_serves_in_place_of_a_contract(now, served):
    assert bind([price("1.0")], now).selection == [f"price@{served}"]


GATES = [
    ([price("1.0.1", tags=[])], "accepted", "accepted"),
    ([price("1.1", idempotent=True)], "accepted", "refused"),
    ([price("2.0", approval=True)], "warned", "refused"),
    ([price("1.0", approval=True)], "warned", "refused"),
    ([price("1.0", name="cost")], "refused", "refused"),
]


@pytest.mark.requirement("CMP-043")
@pytest.mark.parametrize("case", GATES, ids=[str(case[0]) for case in GATES])
@pytest.mark.parametrize("gating", ["default", "strict"])
def test_gating(case, gating):
    now, default, strict = case
    verdict = default if gating == "default" else strict
    binding = bind([price("1.0")], now, gating)
    assert [bound.verdict for bound in binding.bound] == [verdict]
    assert binding.accepted is (verdict != "refused")
    assert binding.gating == gating
    assert bool(binding.warnings) is (verdict == "warned")
    if verdict == "refused":
        assert "register" in binding.reason
        assert "'price' 1.0" in binding.reason
    elif verdict == "warned":
        assert "A person is asked before each call now" in binding.reason
        assert binding.warnings == (binding.reason,)


@pytest.mark.requirement("CMP-043")
def test_one_refusal_is_enough():
    tools = [price("1.0", name="a"), price("1.0", name="b"), price("1.0", name="c")]
    binding = bind(tools, [tools[0]])
    assert [bound.verdict for bound in binding.bound] == ["same", "refused", "refused"]
    assert not binding.accepted
    assert binding.reason.startswith("Tool 'b' 1.0 is gone")
    assert binding.reason.endswith("And 1 more.")
    assert binding.selection == ["a@1.0"]


@pytest.mark.requirement("CMP-042")
def test_what_cannot_be_bound():
    both = ToolRegistry([price("1.0"), price("2.0")])
    with pytest.raises(UsageError, match="several versions of 'price'"):
        check_binding(both.contracts(), both)
    with pytest.raises(UsageError, match="gating is 'default' or 'strict', not 'lax'"):
        bind([], [], "lax")
    assert check_binding(ContractSet.of(both), both.contracts()).accepted


@pytest.mark.requirement("CMP-042")
def test_an_execution_goes_on_with_what_it_began_with():
    began = ContractSet.of(ToolRegistry([price("1.0")]))
    with Harness(tools=[price("1.0"), price("2.0", approval=True)]) as harness:
        binding = check_binding(began, harness.tools)
        text = "<tool-calls>await tools.price({sku: 'a'})</tool-calls>"
        assert harness.run_sync(text, tools=binding.selection).executions[0].value == "a from 1.0"
