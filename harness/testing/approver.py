"""Somebody who is asked, and answers as the test says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from harness.approvals.decision import Decision
from harness.canonical import content_hash
from harness.errors import UsageError
from harness.model import ApprovalRequest
from harness.plain import to_plain
from harness.redaction import Redactor
from harness.testing.matching import Pattern, fits, shown

__all__ = ["Rule", "ScriptedApprover", "make_request"]

Reply = Decision | Callable[[ApprovalRequest], Decision]


@dataclass(frozen=True)
class Rule:
    """What to answer when a certain call is asked about: ``Rule("refund", Decision.approve(), {"cents": 100})``."""

    tool: str
    decision: Reply
    """Or a function of the request that returns one."""
    arguments: Pattern = None
    """Members that the arguments must have, as they are shown to a person (redacted), or a function of them."""
    times: int | None = 1
    """How many requests it answers; None for any number, none included."""

    def __str__(self) -> str:
        return f"tools.{self.tool}({'…' if self.arguments is None else shown(self.arguments)})"


class ScriptedApprover:
    """An approver that gives the decisions it was made with, and keeps the requests it got.

    Each is a `Decision` or a function of the request, which answers one request about any tool, or a `Rule`, which
    answers those it fits. A request gets the first one that fits and is not used up, so plain decisions are given in
    order::

        with ScriptedApprover([Rule("refund", Decision.approve(), {"cents": 100}), Decision.deny("no")]) as approver:
            async with Harness(tools, approver=approver) as harness:
                …

    A request that nothing fits is answered by `UsageError`, which never approves. A script can catch what comes of it,
    so the end of the ``with`` block, or `assert_done`, raises ``AssertionError`` for it, and for decisions that nobody
    asked for.
    """

    def __init__(self, decisions: Iterable[Reply | Rule]) -> None:
        if isinstance(decisions, (str, Decision, Rule)) or not isinstance(decisions, Iterable):
            raise UsageError(f"ScriptedApprover takes a list of decisions, also of a single one, not {decisions!r}.")
        self._left: list[tuple[Reply | Rule, int | None]] = [
            (each, each.times if isinstance(each, Rule) else 1) for each in decisions
        ]
        self.requests: list[ApprovalRequest] = []
        self.unexpected: list[ApprovalRequest] = []
        """Those that no decision was there for."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        __tracebackhide__ = True
        if error is None:
            self.assert_done()

    @property
    def left(self) -> int:
        """Decisions nobody has asked for yet; a `Rule` for any number of requests is not among them."""
        return sum(times or 0 for _, times in self._left)

    async def decide(self, request: ApprovalRequest) -> Decision:
        """The decision. Raises `UsageError` if there is none."""
        self.requests.append(request)
        for at, (each, times) in enumerate(self._left):
            if isinstance(each, Rule) and not (each.tool == request.tool and fits(request.arguments, each.arguments)):
                continue
            if times is not None:
                self._left[at : at + 1] = [(each, times - 1)] if times > 1 else []
            reply = each.decision if isinstance(each, Rule) else each
            return reply if isinstance(reply, Decision) else reply(request)
        self.unexpected.append(request)
        rest = ", ".join(str(each) for each, _ in self._left if isinstance(each, Rule))
        raise UsageError(
            f"The ScriptedApprover was asked about tools.{request.tool}({shown(request.arguments)}) and has no decision "
            f"left after {len(self.requests) - 1} requests; give it one more."
            + (f" It has decisions for {rest} only." if rest else "")
        )

    def assert_done(self) -> None:
        """Fails if it was asked something unexpected, or if a decision is left."""
        __tracebackhide__ = True
        problems = [
            f"It was asked about tools.{request.tool}({shown(request.arguments)}), for which it had no decision."
            for request in self.unexpected
        ]
        for each, times in self._left:
            if times is not None:
                what = str(each) if isinstance(each, Rule) else shown_reply(each)
                problems.append(f"It was not asked for {what}{'' if times == 1 else f', {times} times'}.")
        if problems:
            raise AssertionError("The ScriptedApprover is not done. " + "\n".join(problems))


def shown_reply(reply: Reply) -> str:
    """A plain decision, for people."""
    if isinstance(reply, Decision):
        return f"the decision '{reply.kind}'" + (f" ({reply.reason})" if reply.reason else "")
    return f"the decision of {shown(reply)}"


def make_request(
    tool: str = "refund",
    arguments: Mapping[str, Any] | None = None,
    *,
    execution_id: str = "exec_test",
    request_id: str = "apr_test",
    reason: str = "for a test",
    expires_at: float = 4_102_444_800.0,
) -> ApprovalRequest:
    """A request as an approver gets it, its arguments redacted."""
    plain = to_plain(dict(arguments or {}))
    return ApprovalRequest(
        id=request_id,
        execution_id=execution_id,
        tool=tool,
        arguments=Redactor().arguments(plain),
        arguments_hash=content_hash(plain),
        reason=reason,
        expires_at=expires_at,
    )
