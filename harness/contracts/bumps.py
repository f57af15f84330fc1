"""How far a version has to rise for what changed."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict

from harness.contracts.compare import compare, severity
from harness.contracts.values import ContractSet, Difference, Impact
from harness.contracts.versions import Bump, Version, parse_version
from harness.errors import UsageError

__all__ = ["RequiredBump", "bumps", "required_bump"]

_NEEDED = {Impact.NEUTRAL: Bump.PATCH, Impact.ADDITIVE: Bump.MINOR, Impact.BREAKING: Bump.MAJOR}


class RequiredBump(BaseModel):
    """Whether a version rose as far as it had to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    what: str
    """Whose version it is."""
    old_version: str
    new_version: str
    severity: Impact
    bump: str
    """The part that has to rise: ``none``, ``patch``, ``minor`` or ``major``."""
    minimum: str
    """The lowest version that will do."""
    sufficient: bool
    message: str


def required_bump(
    old_version: str, new_version: str, differences: Iterable[Difference], *, what: str = "it"
) -> RequiredBump:
    """How far a version has to rise for ``differences``, and whether it did.

    Breaking ones raise MAJOR, additive ones MINOR, neutral ones PATCH; while MAJOR is 0, breaking ones raise MINOR and all
    others PATCH. A version that moves without differences may rise by as little as it likes, but never fall. Raises
    `UsageError` for a version that is none.
    """
    found = tuple(differences)
    worst = severity(found)
    old, new = _version(old_version), _version(new_version)
    bump = _NEEDED[worst] if _counting(found) else Bump.NONE
    if old.major == 0 and bump is not Bump.NONE:
        bump = Bump.MINOR if bump is Bump.MAJOR else Bump.PATCH
    least = old.bumped(bump)
    # A pre-release of the version that will do will do as well: 2.0.0-rc.1 announces 2.0.0.
    sufficient = not new < least or (
        bool(new.prerelease) and Version(new.major, new.minor, new.patch) == least and not new < old
    )
    if sufficient:
        message = f"{what}: {old_version} → {new_version} is enough for what changed ({worst.value})."
    else:
        message = (
            f"{what} changed ({worst.value}): {old_version} → {new_version} is not enough; it must be {least} or more."
        )
    return RequiredBump(
        what=what,
        old_version=old_version,
        new_version=new_version,
        severity=worst,
        bump=bump.word,
        minimum=str(least) if bump is not Bump.NONE else old_version,
        sufficient=sufficient,
        message=message,
    )


def bumps(old: ContractSet, new: ContractSet) -> tuple[RequiredBump, ...]:
    """Of each tool that both sets have and that changed, whether its version rose as far as it had to.

    A tool that was added or removed has no version to raise. Versions without an order are held to being different.
    """
    found = []
    for name in old.names():
        before, after = old.current(name), new.current(name)
        if before is None or after is None or before.is_same(after):
            continue
        differences = compare(before, after)
        if parse_version(before.version) is None or parse_version(after.version) is None:
            found.append(_unordered(name, before.version, after.version, differences))
        else:
            found.append(required_bump(before.version, after.version, differences, what=name))
    return tuple(found)


def _counting(differences: tuple[Difference, ...]) -> bool:
    return any(difference.kind != "version_changed" for difference in differences)


def _unordered(name: str, old: str, new: str, differences: tuple[Difference, ...]) -> RequiredBump:
    rose = old != new
    return RequiredBump(
        what=name,
        old_version=old,
        new_version=new,
        severity=severity(differences),
        bump="any",
        minimum="another",
        sufficient=rose,
        message=f"{name}: {old} → {new}"
        + (
            " cannot be judged, since such versions have no order."
            if rose
            else " is the same version of something else."
        ),
    )


def _version(text: str) -> Version:
    version = parse_version(text)
    if version is None:
        raise UsageError(f"{text!r} is no version that can be compared; write numbers: 1.2.0.")
    return version
