"""Contracts as values: what a tool promises to the scripts that call it, and what changed between two promises."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Any, Literal, Protocol, Self

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError, field_validator

from harness.canonical import Canonical, with_doubles
from harness.contracts.versions import newest, parse_version
from harness.errors import SerializationError, UsageError

__all__ = ["Contract", "ContractSet", "Difference", "Gating", "Impact", "Promising"]

Gating = Literal["default", "strict"]
"""What becomes of an execution whose tools changed: see ``specs/compatibility.md``."""


class _Frozen(BaseModel, Canonical):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return self.model_dump(mode="json")

    def canonical(self) -> dict[str, Any]:
        """All of it."""
        return self.to_dict()

    def is_same(self, other: _Frozen) -> bool:
        """Whether both are the same as JSON, where true is not 1, as it is in Python."""
        return self.to_canonical_json() == other.to_canonical_json()


class Impact(enum.StrEnum):
    """What a difference does to those who rely on the old state, from harmless to not."""

    NEUTRAL = "neutral"
    """Nobody can tell, but by reading descriptions."""
    ADDITIVE = "additive"
    """What worked still works, and more may."""
    BREAKING = "breaking"
    """Something that worked may fail or mean something else. What the rules do not understand counts as this."""

    @property
    def rank(self) -> int:
        return list(Impact).index(self)


class Difference(_Frozen):
    """One thing that is not as it was."""

    path: str
    """Where: ``$.refund.parameters.properties.cents.minimum``."""
    kind: str
    """What happened, in ``snake_case``; ``specs/compatibility.md`` lists them."""
    severity: Impact
    before: JsonValue = None
    """What stood there; null if nothing did."""
    after: JsonValue = None
    """What stands there; null if nothing does."""
    message: str
    """One sentence: what changed, and what comes of it."""


class _Resource(Protocol):
    @property
    def resource_id(self) -> str: ...
    @property
    def schema_version(self) -> str: ...


class Promising(Protocol):
    """What a contract is read from: a `Tool`."""

    @property
    def cost(self) -> Any: ...
    @property
    def resource(self) -> Any: ...
    @property
    def revert(self) -> Any: ...
    def describe(self) -> dict[str, Any]:
        """Everything that can be told as JSON."""
        ...


class Contract(_Frozen):
    """What one version of one tool promises. Two that promise the same have one ``content_hash()``."""

    name: str
    version: str = "1.0"
    description: str = ""
    parameters: dict[str, JsonValue]
    """JSON Schema of the argument object."""
    result: dict[str, JsonValue] | None = None
    """JSON Schema of the result; None if nothing is promised about it."""
    approval: bool = False
    idempotent: bool = False
    deterministic: bool = False
    reversible: bool = False
    """Whether a call can be taken back (`Harness.rollback`)."""
    tags: tuple[str, ...] = ()
    """Sorted, each once."""
    timeout: float | None = None
    """Seconds; None for ``Limits.tool_timeout``."""
    positional: str | None = None
    cost: float | None = 0
    """Cents of a call; None if a function of the arguments says."""
    resource: str | None = None
    """Id of what it shares with other tools."""
    resource_version: str | None = None
    """``schema_version`` of that."""

    @field_validator("tags")
    @classmethod
    def _in_order(cls, tags: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(sorted(set(tags)))

    @classmethod
    def of(cls, tool: Promising) -> Contract:
        """The contract of a tool. Raises `UsageError` for one whose schemas have no JSON form."""
        told = tool.describe()
        resource: _Resource | None = tool.resource
        fields = {name: with_doubles(told[name]) for name in cls.model_fields if name in told}
        try:
            contract = cls.model_validate(
                {
                    **fields,
                    "reversible": tool.revert is not None,
                    "cost": None if callable(tool.cost) else tool.cost,
                    "resource": None if resource is None else resource.resource_id,
                    "resource_version": None if resource is None else resource.schema_version,
                }
            )
            contract.to_canonical_json()
        except (ValidationError, SerializationError) as error:
            raise UsageError(f"Tool {told['name']!r} has no contract: {_short(error)}") from None
        return contract


class ContractSet(_Frozen):
    """The contracts of several tools, of each in one version or in several. In order of names and versions."""

    v: Literal[1] = 1
    """Of this form."""
    contracts: tuple[Contract, ...]

    @field_validator("contracts")
    @classmethod
    def _in_order(cls, contracts: tuple[Contract, ...]) -> tuple[Contract, ...]:
        known: dict[str, dict[Any, Contract]] = {}
        for contract in contracts:
            versions = known.setdefault(contract.name, {})
            key = parse_version(contract.version) or contract.version
            if key in versions:
                raise ValueError(f"version {contract.version} of {contract.name!r} stands in it twice")
            if versions and any(isinstance(other, str) for other in (key, *versions)):
                raise ValueError(f"the versions of {contract.name!r} have no order; write them as numbers, 1.2.0")
            versions[key] = contract
        return tuple(versions[key] for _, versions in sorted(known.items()) for key in sorted(versions))

    @classmethod
    def of(cls, tools: Iterable[Promising]) -> ContractSet:
        """The contracts of these tools. Raises `UsageError` for two that cannot stand side by side."""
        contracts = tuple(Contract.of(tool) for tool in tools)
        try:
            return cls(contracts=contracts)
        except ValidationError as error:
            raise UsageError(f"These tools have no contracts together: {_short(error)}") from None

    @classmethod
    def read(cls, text: str | bytes, source: str = "the text") -> Self:
        """The inverse of `to_canonical_json`. Raises `UsageError` for what is none; ``source`` is what it names."""
        try:
            found = cls.model_validate_json(text)
            found.to_canonical_json()
        except (ValidationError, SerializationError) as error:
            raise UsageError(
                f"{source} holds no contracts ({_short(error)}); `harness contracts export` makes such a file."
            ) from None
        return found

    def names(self) -> list[str]:
        """Each tool once."""
        return list(dict.fromkeys(contract.name for contract in self.contracts))

    def versions(self, name: str) -> list[Contract]:
        """All versions of a tool, the oldest first; empty if there is none."""
        return [contract for contract in self.contracts if contract.name == name]

    def current(self, name: str) -> Contract | None:
        """What scripts call by this name, the newest; None if there is none."""
        versions = {contract.version: contract for contract in self.versions(name)}
        return versions[newest(versions)] if versions else None


def _short(error: ValidationError | SerializationError) -> str:
    if isinstance(error, SerializationError):
        return error.message
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else str(first["msg"])
