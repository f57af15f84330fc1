"""What a journal holds of one execution, sorted: enough to replay it, and to go on with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.approvals.decision import Decision
from harness.errors import JournalDamagedError, JournalKeyError
from harness.journal.journal import Recorded
from harness.journal.payloads import (
    ApprovalAsked,
    CallIssued,
    CallSettled,
    CallStarted,
    Decided,
    Finished,
    FrameSent,
    Payload,
    Started,
    Suspended,
)
from harness.limits import Limits
from harness.model import ApprovalRequest
from harness.runtime.job import Job
from harness.runtime.past import Frame, Past
from harness.tools.calls import Settled, ToolCall
from harness.tools.deferred import deferral_id
from harness.tools.history import PastCall, Question

__all__ = ["Record", "payloads_of", "settled_of"]


def payloads_of(events: Sequence[Recorded]) -> list[Payload]:
    """What events say. Raises `JournalDamagedError` if there is none, `JournalKeyError` if their values were left out."""
    if not events:
        raise JournalDamagedError("There is nothing on record of it.")
    payloads = [recorded.payload for recorded in events]
    if any(payload is None for payload in payloads):
        raise JournalKeyError(
            f"The values of {events[0].event.stream} were left out of the journal, so it can neither be replayed nor "
            'resumed; that needs values="plain" or "encrypted".'
        )
    return [payload for payload in payloads if payload is not None]


@dataclass(frozen=True)
class Record:
    """What a journal holds of one execution, sorted by kind."""

    execution_id: str
    started: Started
    frames: tuple[FrameSent, ...]
    issued: Mapping[int, CallIssued]
    asked: Mapping[str, ApprovalAsked]
    """By the id of the request. What was asked about a call in doubt that was then made again is left out: that says
    nothing of the second time."""
    decided: Mapping[str, Decided]
    began: frozenset[int]
    """Calls whose tools were about to be invoked."""
    settled: Mapping[int, CallSettled]
    suspended: Suspended | None
    finished: Finished | None
    events: Sequence[Recorded]

    @classmethod
    def of(cls, events: Sequence[Recorded]) -> Record:
        """Raises `JournalDamagedError` for events that do not begin an execution, `JournalKeyError` without values."""
        payloads = payloads_of(events)
        first = payloads[0]
        if not isinstance(first, Started):
            raise JournalDamagedError(f"The record of {events[0].event.stream} does not begin with its start.")
        return cls.from_payloads(events[0].event.stream, first, payloads, events)

    @classmethod
    def from_payloads(
        cls, execution_id: str, started: Started, payloads: Sequence[Payload], events: Sequence[Recorded] = ()
    ) -> Record:
        """What the payloads of an execution say, also where they come from no journal."""
        asked, began = _questions(payloads)
        return cls(
            execution_id=execution_id,
            started=started,
            frames=tuple(payload for payload in payloads if isinstance(payload, FrameSent)),
            issued={payload.call: payload for payload in payloads if isinstance(payload, CallIssued)},
            asked=asked,
            decided={payload.request_id: payload for payload in payloads if isinstance(payload, Decided)},
            began=began,
            settled={payload.call: payload for payload in payloads if isinstance(payload, CallSettled)},
            suspended=next((payload for payload in reversed(payloads) if isinstance(payload, Suspended)), None),
            finished=next((payload for payload in payloads if isinstance(payload, Finished)), None),
            events=events,
        )

    def seq_of(self, kind: str, number: int) -> int | None:
        """The number of the event of a frame or a call."""
        for recorded in self.events:
            payload = recorded.payload
            if recorded.event.kind == kind and number == getattr(payload, "call", getattr(payload, "number", None)):
                return recorded.event.seq
        return None

    @property
    def limits(self) -> Limits:
        """Those it runs under."""
        return self.started.limits

    def past(self, *, answers: int | None = None) -> Past:
        """The frames it was given; ``answers`` as in `Past`."""
        frames = tuple(Frame(frame.now_ms, frame.budget, frame.items) for frame in self.frames)
        return Past(frames, answers=answers, spent_s=self._spent_s() if answers is None else 0.0)

    def _spent_s(self) -> float:
        # Where it was interrupted, as long as its own clock says that it ran.
        shown = (self.frames[-1].now_ms - self.frames[0].now_ms) / 1000 if self.frames else 0.0
        return shown if self.suspended is None else max(shown, self.suspended.wall_s)

    def job(self, past: Past, trust_domain: str | None) -> Job:
        """What it started from, and what it was given since."""
        started = self.started
        return Job(
            script=started.script,
            tools=started.tools,
            context=dict(started.context),
            seed=started.seed,
            limits=self.limits,
            trust_domain=trust_domain,
            past=past,
        )

    def unsettled(self) -> list[str]:
        """What `Harness.settle` may have been told of: names of the calls that were started and have not ended."""
        return [deferral_id(self.execution_id, call) for call in sorted(self.began) if call not in self.settled]

    def open_requests(self) -> dict[str, ApprovalRequest]:
        """What it waits for, by id: asked, of a call that is not settled, and not decided."""
        return {
            request_id: asked.request
            for request_id, asked in self.asked.items()
            if asked.call not in self.settled and request_id not in self.decided
        }

    def history(self, decisions: Mapping[str, Decision]) -> dict[int, PastCall]:
        """How each call stood when the execution left its process. ``decisions``: what was decided since, by request."""
        calls = {*self.issued, *self.settled, *(asked.call for asked in self.asked.values())}
        return {call: self._past_call(call, decisions) for call in calls}

    def _past_call(self, number: int, decisions: Mapping[str, Decision]) -> PastCall:
        issued, settled = self.issued.get(number), self.settled.get(number)
        questions: dict[str, Question] = {}
        for request_id, asked in self.asked.items():
            if asked.call == number:
                made = self._decision(request_id)
                questions[asked.about] = Question(
                    asked.request, decisions.get(request_id) if made is None else made, recorded=made is not None
                )
        return PastCall(
            call=None
            if issued is None
            else ToolCall(id=number, tool=issued.tool, arguments_json=issued.arguments_json, line=issued.line),
            questions=questions,
            started=number in self.began,
            late=decisions.get(deferral_id(self.execution_id, number)),
            settled=None if settled is None else settled_of(settled),
        )

    def _decision(self, request_id: str) -> Decision | None:
        decided = self.decided.get(request_id)
        if decided is None or decided.decision is None:
            return None
        return Decision(
            decided.decision,
            edits=decided.edits,
            scope=decided.scope,
            reason=decided.reason,
            value=decided.value,
        )


def _questions(payloads: Sequence[Payload]) -> tuple[dict[str, ApprovalAsked], frozenset[int]]:
    """What was asked that still counts, and the calls whose tools were about to be invoked."""
    asked: dict[str, ApprovalAsked] = {}
    began = set()
    for payload in payloads:
        if isinstance(payload, ApprovalAsked):
            asked[payload.request_id] = payload
        elif isinstance(payload, CallStarted):
            began.add(payload.call)
            asked = {
                request_id: each
                for request_id, each in asked.items()
                if each.call != payload.call or each.about != "in_doubt"
            }
    return asked, frozenset(began)


def settled_of(settled: CallSettled) -> Settled:
    """How a call ended, as the runtime is told."""
    return Settled(
        call_id=settled.call,
        record=settled.record,
        value_json=settled.value_json,
        error=settled.record.error,
        made_up=settled.made_up,
        needs_approval=settled.needs_approval,
        terminate_reason=settled.terminate_reason,
        progress=settled.progress,
    )
