"""What a tool returns whose result comes later: from a webhook, a long job, or somebody's work."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Deferred", "deferral_id"]


@dataclass(frozen=True, slots=True)
class Deferred:
    """Returned by a tool in place of its result: the call stays open until `Harness.settle` is given the result.

    The id for that is ``CallContext.deferral_id``, which the tool hands on to whatever will know the result. ``note`` is
    shown as the reason among the pending requests.
    """

    note: str = "the tool gives its result later"


def deferral_id(execution_id: str, call_id: int) -> str:
    """What names the open call for `Harness.settle`."""
    return f"dfr_{execution_id}_{call_id}"
