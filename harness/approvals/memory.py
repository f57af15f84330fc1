"""Which answers still hold: approvals with a wider scope, and denials of the very same call."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from harness.approvals.decision import Scope
from harness.model import ApprovalRequest

__all__ = ["Memory"]

MAX_SESSION_GRANTS = 10_000
"""Approvals for a session that are remembered; the oldest is forgotten first, and then asked for again."""


@dataclass(slots=True)
class _Execution:
    asked: int = 0
    granted: set[str] = field(default_factory=set)
    denied: dict[tuple[str, str], str | None] = field(default_factory=dict)


class Memory:
    """What was asked and answered, for as long as it counts. An approval covers a tool, a denial one exact call."""

    def __init__(self) -> None:
        self._executions: dict[str, _Execution] = {}
        self._sessions: OrderedDict[tuple[str, str], None] = OrderedDict()

    def _of(self, execution_id: str) -> _Execution:
        return self._executions.setdefault(execution_id, _Execution())

    def asked(self, execution_id: str) -> int:
        """How many times the execution has asked."""
        return self._of(execution_id).asked

    def count(self, execution_id: str) -> None:
        """The execution asks once more."""
        self._of(execution_id).asked += 1

    def grant(self, request: ApprovalRequest, scope: Scope, session: str | None) -> Scope:
        """Remembers an approval, and says how far it reaches: without a session, not past the execution."""
        if scope == "once":
            return scope
        if scope == "session" and session is not None:
            self._sessions[session, request.tool] = None
            if len(self._sessions) > MAX_SESSION_GRANTS:
                self._sessions.popitem(last=False)
            return scope
        self._of(request.execution_id).granted.add(request.tool)
        return "execution"

    def deny(self, request: ApprovalRequest, reason: str | None) -> None:
        """Remembers a denial for the rest of the execution."""
        self._of(request.execution_id).denied[request.tool, request.arguments_hash] = reason

    def denied(self, request: ApprovalRequest) -> tuple[bool, str | None]:
        """Whether this very call was denied, and why."""
        execution = self._executions.get(request.execution_id)
        key = (request.tool, request.arguments_hash)
        if execution is None or key not in execution.denied:
            return False, None
        return True, execution.denied[key]

    def granted(self, request: ApprovalRequest, session: str | None) -> Scope | None:
        """The scope of an approval that covers this call, if there is one."""
        execution = self._executions.get(request.execution_id)
        if execution is not None and request.tool in execution.granted:
            return "execution"
        if session is not None and (session, request.tool) in self._sessions:
            return "session"
        return None

    def end_execution(self, execution_id: str) -> None:
        """Forgets an execution."""
        self._executions.pop(execution_id, None)

    def end_session(self, session: str) -> None:
        """Forgets what was approved for a session."""
        for key in [key for key in self._sessions if key[0] == session]:
            del self._sessions[key]
