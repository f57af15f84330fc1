"""Which tools serve an execution that began with other contracts, and whether they may."""

from __future__ import annotations

import enum
from typing import Protocol, get_args

from pydantic import BaseModel, ConfigDict

from harness.contracts.compare import serving, severity
from harness.contracts.values import Contract, ContractSet, Difference, Gating, Impact
from harness.errors import UsageError

__all__ = ["Binding", "Bound", "Verdict", "check_binding"]


class Verdict(enum.StrEnum):
    """What becomes of one recorded contract."""

    SAME = "same"
    """The very contract is there."""
    ACCEPTED = "accepted"
    """Another serves in its place."""
    WARNED = "warned"
    """Another serves in its place, and something may fail or mean something else."""
    REFUSED = "refused"
    """Nothing serves in its place, or not under this gating."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Bound(_Frozen):
    """What serves one recorded contract."""

    name: str
    recorded: str
    """The version that the execution began with."""
    recorded_hash: str
    """``content_hash()`` of its contract."""
    served_by: str | None
    """The version that serves now; None if there is none."""
    verdict: Verdict
    reason: str
    """One sentence."""
    differences: tuple[Difference, ...] = ()


class Binding(_Frozen):
    """Whether an execution that began with some contracts can go on with the tools there are, and with which."""

    accepted: bool
    gating: Gating
    reason: str
    """One sentence: why it is refused, or what to look out for."""
    bound: tuple[Bound, ...] = ()
    """One for each recorded contract, in their order."""

    @property
    def selection(self) -> list[str]:
        """The tools that serve, as ``ToolRegistry.select`` and ``Harness.run(tools=…)`` take them."""
        return [f"{one.name}@{one.served_by}" for one in self.bound if one.served_by is not None]

    @property
    def differences(self) -> tuple[Difference, ...]:
        """All of them, in the order of the contracts."""
        return tuple(difference for one in self.bound for difference in one.differences)

    @property
    def warnings(self) -> tuple[str, ...]:
        """The reasons of what is accepted with a warning."""
        return tuple(one.reason for one in self.bound if one.verdict is Verdict.WARNED)


class Registered(Protocol):
    """What has contracts: a `ToolRegistry`."""

    def contracts(self) -> ContractSet:
        """Of all versions of all tools."""
        ...


def check_binding(recorded: ContractSet, registry: Registered | ContractSet, gating: Gating = "default") -> Binding:
    """Whether an execution that began with the ``recorded`` contracts can go on with the tools of ``registry``.

    Each recorded contract is served by an equal one if there is one, else by the same version, else by the version that
    changes least, the newest of several. A tool that is gone is refused under either gating. ``default`` accepts all else,
    breaking differences with a warning; ``strict`` accepts neutral differences only. Tools that are not among the recorded
    ones do not matter: the execution cannot see them.

    Raises `UsageError` for another gating, and for two recorded versions of one tool, of which a script calls only one.
    """
    if gating not in get_args(Gating):
        raise UsageError(f"gating is 'default' or 'strict', not {gating!r}.")
    twice = [name for name in recorded.names() if len(recorded.versions(name)) > 1]
    if twice:
        raise UsageError(
            f"The recorded contracts have several versions of {twice[0]!r}; an execution began with one of them. Record "
            "ContractSet.of(registry), which has what scripts call, not registry.contracts()."
        )
    there = registry if isinstance(registry, ContractSet) else registry.contracts()
    bound = tuple(_bound(contract, there, gating) for contract in recorded.contracts)
    refused = [one for one in bound if one.verdict is Verdict.REFUSED]
    warned = [one for one in bound if one.verdict is Verdict.WARNED]
    told = refused or warned
    if not told:
        reason = "Every contract is as it was, or promises no less."
    else:
        more = f" And {len(told) - 1} more." if len(told) > 1 else ""
        reason = told[0].reason + more
    return Binding(accepted=not refused, gating=gating, reason=reason, bound=bound)


def _bound(contract: Contract, there: ContractSet, gating: Gating) -> Bound:
    found = serving(contract, there.versions(contract.name))
    version = contract.version
    differences: tuple[Difference, ...] = ()
    if found is None:
        verdict = Verdict.REFUSED
        reason = f"Tool {contract.name!r} {version} is gone, and no version of it is registered; register one."
    else:
        differences = found[1]
        verdict, reason = _judged(contract, found[0].version, differences, gating)
    return Bound(
        name=contract.name,
        recorded=version,
        recorded_hash=contract.content_hash(),
        served_by=None if found is None else found[0].version,
        verdict=verdict,
        reason=reason,
        differences=differences,
    )


def _judged(
    contract: Contract, served: str, differences: tuple[Difference, ...], gating: Gating
) -> tuple[Verdict, str]:
    name = f"Tool {contract.name!r} {contract.version}"
    if not differences:
        return Verdict.SAME, f"{name} is as it was."
    worst = severity(differences)
    first = next(difference for difference in differences if difference.severity is worst)
    by = "changed without another version" if served == contract.version else f"is served by version {served}"
    what = f"{name} {by}, with {_counted(len(differences), worst)}. {first.path}: {first.message}"
    if worst is Impact.NEUTRAL:
        return Verdict.ACCEPTED, what
    if gating == "strict":
        keep = f"register version {contract.version} as it was beside it, or use gating='default'"
        return Verdict.REFUSED, f"{what} gating='strict' refuses that; {keep}."
    return (Verdict.WARNED if worst is Impact.BREAKING else Verdict.ACCEPTED), what


def _counted(count: int, worst: Impact) -> str:
    return f"one {worst.value} difference" if count == 1 else f"{count} differences, the worst of them {worst.value}"
