"""What changed between two contracts, or between two sets of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, overload

from harness.canonical import json_path
from harness.contracts.containment import compare_schemas
from harness.contracts.effects import Role
from harness.contracts.terms import compare_terms
from harness.contracts.values import Contract, ContractSet, Difference, Impact
from harness.contracts.versions import parse_version

__all__ = ["compare", "compare_schema", "serving", "severity"]


@overload
def compare(old: Contract, new: Contract, path: str = "$") -> tuple[Difference, ...]: ...
@overload
def compare(old: ContractSet, new: ContractSet, path: str = "$") -> tuple[Difference, ...]: ...
def compare(old: Contract | ContractSet, new: Contract | ContractSet, path: str = "$") -> tuple[Difference, ...]:
    """Everything in ``new`` that is not as it was in ``old``, in the order of the contracts; empty if they are equal.

    Of two sets, what scripts call by a name is compared with what they called by it, and each version that is gone with
    the one that serves in its place. ``path`` is where the two stand, for the differences' own paths. Raises
    ``TypeError`` for a contract and a set.
    """
    if isinstance(old, Contract) and isinstance(new, Contract):
        return tuple(_contracts(old, new, path))
    if isinstance(old, ContractSet) and isinstance(new, ContractSet):
        return tuple(_sets(old, new, path))
    raise TypeError(f"compare takes two contracts or two sets, not {type(old).__name__} and {type(new).__name__}")


def severity(differences: Iterable[Difference]) -> Impact:
    """The worst of them; ``neutral`` if there are none."""
    return max(
        (difference.severity for difference in differences), key=lambda impact: impact.rank, default=Impact.NEUTRAL
    )


def compare_schema(old: Any, new: Any, role: Role, path: str = "$") -> tuple[Difference, ...]:
    """What two JSON Schemas do differently for those who write by the old one (``input``), who read by it (``output``),
    or for both.
    """
    return tuple(change.difference(role) for change in compare_schemas(old, new, path))


def serving(recorded: Contract, versions: Iterable[Contract]) -> tuple[Contract, tuple[Difference, ...]] | None:
    """Which of several versions of a tool stands in for the recorded one, and what it does differently.

    An equal one before all; then the one of the same version; then the one that changes least, the newest of several.
    None if there are no versions.
    """
    candidates = list(versions)
    equal = [one for one in candidates if one.is_same(recorded)]
    same = [one for one in candidates if _key(one) == _key(recorded)]
    found = [(one, compare(recorded, one)) for one in equal or same or candidates]
    if not found:
        return None
    least = min(severity(differences).rank for _, differences in found)
    return [pair for pair in found if severity(pair[1]).rank == least][-1]


def _key(contract: Contract) -> Any:
    return parse_version(contract.version) or contract.version


def _contracts(old: Contract, new: Contract, path: str) -> Iterator[Difference]:
    if old.is_same(new):
        return
    if old.name != new.name:
        message = (
            f"It is called {new.name!r}, no longer {old.name!r}: scripts that call it by the old name find nothing."
        )
        yield Difference(
            path=f"{path}.name",
            kind="name_changed",
            severity=Impact.BREAKING,
            before=old.name,
            after=new.name,
            message=message,
        )
    yield from compare_terms(old, new, path)
    yield from compare_schema(old.parameters, new.parameters, "input", f"{path}.parameters")
    if old.result is None and new.result is not None:
        yield Difference(
            path=f"{path}.result",
            kind="result_promised",
            severity=Impact.ADDITIVE,
            after=new.result,
            message="Its result has a schema now: nothing was promised about it before.",
        )
    elif new.result is None and old.result is not None:
        yield Difference(
            path=f"{path}.result",
            kind="result_unpromised",
            severity=Impact.BREAKING,
            before=old.result,
            message="Its result has no schema any more: it may be anything.",
        )
    else:
        yield from compare_schema(old.result, new.result, "output", f"{path}.result")


def _sets(old: ContractSet, new: ContractSet, path: str) -> Iterator[Difference]:
    for name in sorted({*old.names(), *new.names()}):
        where = json_path(path, name)
        before, after = old.current(name), new.current(name)
        if after is None and before is not None:
            yield Difference(
                path=where,
                kind="tool_removed",
                severity=Impact.BREAKING,
                before=before.version,
                message=f"There is no tool {name!r} any more: scripts that call it fail.",
            )
        elif before is None and after is not None:
            yield Difference(
                path=where,
                kind="tool_added",
                severity=Impact.ADDITIVE,
                after=after.version,
                message=f"There is a new tool {name!r}.",
            )
        elif before is not None and after is not None:
            yield from _contracts(before, after, where)
            yield from _older(old, new, before, where)


def _older(old: ContractSet, new: ContractSet, current: Contract, path: str) -> Iterator[Difference]:
    """Versions that are not called by the bare name: executions that began with them may still need them."""
    versions = new.versions(current.name)
    for recorded in old.versions(current.name):
        place = f"{path}@{recorded.version}"
        found = serving(recorded, versions)
        if found is None or (recorded is current and found[0] is new.current(current.name)):
            continue  # the pair that was compared already
        contract, differences = found
        if _key(contract) != _key(recorded):
            yield Difference(
                path=place,
                kind="version_removed",
                severity=severity(differences),
                before=recorded.version,
                after=contract.version,
                message=f"Version {recorded.version} is gone: version {contract.version} serves in its place.",
            )
        if recorded is not current:
            yield from compare(recorded, contract, place)
