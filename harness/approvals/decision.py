"""What a person, or whatever decides for one, can say about a call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

from pydantic import JsonValue

from harness.errors import ToolValidationError, UsageError
from harness.model import ApprovalRequest
from harness.plain import to_plain
from harness.redaction import find_mask

__all__ = ["SUSPEND", "Approver", "Decider", "Decision", "Scope", "edited_arguments", "merge_patch"]

SUSPEND = "suspend"
"""In place of an approver: nobody is asked here, and the execution waits, on record, until it is resumed."""

Kind = Literal["approve", "deny", "answer", "terminate"]
Scope = Literal["once", "execution", "session"]

_NO_REASON = "no reason was given"


@dataclass(frozen=True, slots=True)
class Decision:
    """An answer to an `ApprovalRequest`. Made with `approve`, `deny`, `answer` and `terminate`.

    To a request of the kind ``in_doubt`` (the call was started when its process ended), ``answer(value)`` says that it
    happened and what it gave, ``approve()`` that it did not, and may be made now, ``deny(reason)`` that nobody knows, so
    that the script is given an error, ``terminate(reason)`` that the execution is to end. To one of the kind
    ``deferred``, ``answer(value)`` is the result and ``deny(reason)`` the failure.

    Raises `UsageError` for what cannot be a decision, and `SerializationError` for edits and values without a JSON form.
    """

    kind: Kind
    edits: dict[str, JsonValue] | None = None
    scope: Scope = "once"
    reason: str | None = None
    value: JsonValue = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise UsageError(f"A decision is 'approve', 'deny', 'answer' or 'terminate', not {self.kind!r}.")
        if self.scope not in get_args(Scope):
            raise UsageError(f"The scope of an approval is 'once', 'execution' or 'session', not {self.scope!r}.")
        if self.edits is not None and not isinstance(self.edits, dict):
            raise UsageError("Edits are a JSON merge patch on the argument object, so they must be a dict.")
        if self.reason is not None and not isinstance(self.reason, str):
            raise UsageError(f"The reason of a decision is a string, not {self.reason!r}.")
        # Plain copies: what the caller changes afterwards changes nothing that was decided.
        object.__setattr__(self, "edits", None if self.edits is None else to_plain(self.edits, path="edits"))
        object.__setattr__(self, "value", to_plain(self.value, path="value"))
        if self.kind in ("deny", "terminate") and not (self.reason or "").strip():
            object.__setattr__(self, "reason", _NO_REASON)

    @classmethod
    def approve(cls, edits: dict[str, Any] | None = None, scope: Scope = "once") -> Decision:
        """The call may be made.

        ``edits`` is a JSON merge patch (RFC 7396) on the real arguments, for this call only. ``scope`` extends the
        approval to later calls of the same tool, with any arguments: in this ``"execution"``, or in this ``"session"``.
        """
        return cls("approve", edits=edits, scope=scope)

    @classmethod
    def deny(cls, reason: str = _NO_REASON) -> Decision:
        """The call may not be made. The script and the model are told why."""
        return cls("deny", reason=_given(reason))

    @classmethod
    def answer(cls, value: Any) -> Decision:
        """The tool is not called; the script gets ``value`` as its result, checked like any result."""
        return cls("answer", value=value)

    @classmethod
    def terminate(cls, reason: str = _NO_REASON) -> Decision:
        """The call may not be made, and the whole execution ends."""
        return cls("terminate", reason=_given(reason))


def _given(reason: str) -> str:
    if not isinstance(reason, str):
        raise UsageError(f"The reason of a decision is a string, not {reason!r}.")
    return reason


class Decider(Protocol):
    """An approver that is an object."""

    def decide(self, request: ApprovalRequest, /) -> Decision | Awaitable[Decision]: ...


Approver = Callable[[ApprovalRequest], Decision | Awaitable[Decision]] | Decider | Literal["suspend"]
"""A function or a `Decider`, sync (it then runs in a thread) or async; or ``"suspend"``."""


def merge_patch(target: JsonValue, patch: JsonValue) -> JsonValue:
    """``target`` changed by a JSON merge patch (RFC 7396): members replace, null removes, arrays are replaced whole."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, change in patch.items():
        if change is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), change)
    return merged


def edited_arguments(tool: str, arguments: dict[str, JsonValue], edits: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """The arguments with an approver's edits.

    Raises `ToolValidationError` if the edits hold what only a redacted display contains: they were made from it, and
    would replace real values by masks.
    """
    masked = find_mask(edits)
    if masked is not None:
        raise ToolValidationError(
            f"The approver's edits for tools.{tool} hold a redaction mark at {masked}, which would replace the real value. "
            "The call was not made. Edits must name only the members to change.",
            details={"path": masked},
        )
    merged = merge_patch(arguments, edits)
    return merged if isinstance(merged, dict) else {}
