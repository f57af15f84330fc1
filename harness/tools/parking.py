"""Calls that wait for an answer which may come much later: their execution can be suspended over them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import anyio

from harness.approvals.decision import Decision
from harness.model import ApprovalRequest

__all__ = ["Parking"]


@dataclass(slots=True)
class _Place:
    call_id: int
    request: ApprovalRequest
    answered: anyio.Event = field(default_factory=anyio.Event)
    decision: Decision | None = None


class Parking:
    """The open questions of one execution, for which nothing in this process waits but the script itself."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._places: dict[str, _Place] = {}
        self._early: dict[str, Decision] = {}
        self._frozen = False

    @property
    def taken(self) -> int:
        """How many wait. One that was answered does not: its call goes on as soon as it is its turn."""
        return len(self._waiting())

    def requests(self) -> tuple[ApprovalRequest, ...]:
        """What they wait for, in the order of the calls."""
        return tuple(place.request for place in sorted(self._waiting(), key=lambda place: place.call_id))

    def _waiting(self) -> list[_Place]:
        return [place for place in self._places.values() if place.decision is None]

    async def wait(self, call_id: int, request: ApprovalRequest, *, most: float | None = None) -> Decision | None:
        """The decision, whenever it comes; None if it did not come within ``most`` seconds."""
        if request.id in self._early:
            return self._early.pop(request.id)
        place = self._places[request.id] = _Place(call_id, request)
        try:
            self._on_change()
            with anyio.move_on_after(most):
                await place.answered.wait()
            return place.decision
        finally:
            if not self._frozen:
                del self._places[request.id]

    def answer(self, request_id: str, decision: Decision) -> bool:
        """Answer one of them, also before it is asked: whoever has the result may be quicker than the tool that said it
        would come. False if it was answered before, or if nothing here waits any more.
        """
        if self._frozen:
            return False
        place = self._places.get(request_id)
        if place is None:
            self._early.setdefault(request_id, decision)
            return True
        if place.decision is not None:
            return False
        place.decision = decision
        place.answered.set()
        return True

    def freeze(self) -> None:
        """From now on an end of the waiting is none of the question, and no answer reaches it: its execution leaves."""
        self._frozen = True
