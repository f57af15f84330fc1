"""What a change of a schema does to the set of values that fit it, and what that means for whom."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from typing import Any, Literal

from harness.contracts.values import Difference, Impact

__all__ = ["Change", "Effect", "Role"]

Role = Literal["input", "output", "both"]
"""Who has to be understood: ``input`` takes values that others wrote by the old schema, ``output`` gives values to others
who read by the old schema, ``both`` does both."""


class Effect(enum.Enum):
    """Each as (impact on an input, impact on an output, what comes of it for each)."""

    NOTE = (Impact.NEUTRAL, Impact.NEUTRAL, "the same values fit", "the same values fit")
    NEWS = (
        Impact.ADDITIVE,
        Impact.ADDITIVE,
        "every value that fitted still fits",
        "every value that is given still fits what was promised",
    )
    NARROWED = (
        Impact.BREAKING,
        Impact.ADDITIVE,
        "a value that fitted may no longer fit",
        "every value that is given still fits what was promised",
    )
    WIDENED = (
        Impact.ADDITIVE,
        Impact.BREAKING,
        "every value that fitted still fits",
        "a value may be given that was never promised",
    )
    UNKNOWN = (
        Impact.BREAKING,
        Impact.BREAKING,
        "that the values that fitted still fit cannot be shown",
        "that what is given fits what was promised cannot be shown",
    )
    MEANING = (Impact.BREAKING, Impact.NEUTRAL, "who leaves it out now asks for something else", "the same values fit")
    LOST = (
        Impact.BREAKING,
        Impact.BREAKING,
        "whoever gives it is refused or no longer heard",
        "whoever reads it finds nothing",
    )

    @property
    def narrows(self) -> bool:
        """Whether it may be that a value that fitted before does not fit now."""
        return self in (Effect.NARROWED, Effect.UNKNOWN, Effect.LOST)

    @property
    def widens(self) -> bool:
        """Whether it may be that a value fits now that did not fit before."""
        return self in (Effect.WIDENED, Effect.UNKNOWN, Effect.LOST)

    @classmethod
    def of(cls, *, narrows: bool, widens: bool) -> Effect:
        if narrows:
            return cls.UNKNOWN if widens else cls.NARROWED
        return cls.WIDENED if widens else cls.NOTE

    def flipped(self) -> Effect:
        """What it does inside a ``not``."""
        return {Effect.NARROWED: Effect.WIDENED, Effect.WIDENED: Effect.NARROWED}.get(self, self)


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that two schemas do differently, whoever relies on them."""

    path: str
    kind: str
    effect: Effect
    before: Any
    after: Any
    what: str
    """Half a sentence: ``the minimum went from 1 to 5``."""

    def flipped(self) -> Change:
        return replace(self, effect=self.effect.flipped())

    def difference(self, role: Role) -> Difference:
        """What it means where values of the schema go ``role``."""
        on_input, on_output, in_words, out_words = self.effect.value
        use_output = role == "output" or (role == "both" and on_output.rank > on_input.rank)
        return Difference(
            path=self.path,
            kind=self.kind,
            severity=on_output if use_output else on_input,
            before=self.before,
            after=self.after,
            message=f"{self.what[:1].upper()}{self.what[1:]}: {out_words if use_output else in_words}.",
        )
