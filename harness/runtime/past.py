"""What an execution was given in the course of time: enough to give it the same again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from harness.errors import ReplayDivergenceError
from harness.model import LogEntry

__all__ = ["NO_PAST", "Delivery", "Frame", "Observer", "Past", "diverged"]

Delivery = tuple[Literal["call", "timer"], int]
"""A call or a timer, by its id."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What was delivered together, in order, and the script's clock at that moment.

    Nothing else reaches a script while it runs: the same frames make it do the same.
    """

    now_ms: int
    budget: str
    """What the script found as ``context.budget()`` from then on, as JSON."""
    items: tuple[Delivery, ...] = ()


@dataclass(frozen=True, slots=True)
class Past:
    """What an execution was given in an earlier life, to be given again before anything new."""

    frames: tuple[Frame, ...] = ()
    """All that were sent, the first of them the one that started the script."""
    answers: int | None = None
    """After so many answers of the worker the execution is over, whatever it would do next. None: it goes on."""
    spent_s: float = 0.0
    """Seconds of ``wall_time`` that are used up."""


NO_PAST = Past()


class Observer(Protocol):
    """Is told what the host gives to the worker and what the script logged. Must not block, nor fail."""

    def frame(self, number: int, frame: Frame) -> None:
        """A frame is about to be sent. The first one, number 0, starts the script and delivers nothing."""

    def logged(self, lines: list[LogEntry]) -> None:
        """The script has logged this since the frame before."""


def diverged(recorded: str, happened: str, **where: int) -> ReplayDivergenceError:
    """The error for a script that does something else than what is on record. ``where``: ``frame=`` or ``call=``."""
    return ReplayDivergenceError(
        f"The script took another way than the one on record: {recorded} then, but now {happened}.",
        details={"recorded": recorded, "happened": happened, **where},
    )
