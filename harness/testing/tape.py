"""What a cassette holds: the runs of one test, as the journal tells them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from pydantic import JsonValue

from harness.contracts.values import Contract
from harness.detector import Detector, merge_text
from harness.journal.machine import library_version, machine
from harness.journal.payloads import CallIssued, CallSettled, Decided, Finished, FrameSent, Payload
from harness.journal.runs import RunRecord
from harness.limits import Limits
from harness.model import Block, Outcome, Segment

__all__ = ["KEPT", "TapedExecution", "TapedRun", "id_of", "segments_of"]

KEPT: tuple[type[Payload], ...] = (FrameSent, CallIssued, Decided, CallSettled, Finished)
"""The events that are kept: enough to run a script again, and to see what its tools and its people said."""


@dataclass(frozen=True)
class TapedExecution:
    """One block that ran."""

    block: int
    """Its place among the blocks of the text, from 1."""
    seed: tuple[int, int, int, int]
    payloads: tuple[Payload, ...]
    """Frames, calls, decisions and the end, in order."""

    @property
    def calls(self) -> list[CallIssued]:
        """What the script called, in order."""
        return [payload for payload in self.payloads if isinstance(payload, CallIssued)]


@dataclass(frozen=True)
class TapedRun:
    """One text and what became of it."""

    text: str
    given: Mapping[str, JsonValue]
    """What else it was given, as far as that is not what every run is given."""
    execution_id: str
    """Of the first block that ran."""
    outcome: Outcome
    """Without times."""
    executions: tuple[TapedExecution, ...]
    """The blocks that ran, in order."""
    tools: tuple[str, ...] = ()
    """Names of all tools that its scripts could call."""
    contracts: tuple[Contract, ...] = ()
    """Of those that they did call."""
    machine: Mapping[str, str] = field(default_factory=machine)
    """The build that it was recorded on."""
    library: str = field(default_factory=library_version)

    @classmethod
    def of(
        cls, record: RunRecord, given: Mapping[str, JsonValue], tools: Iterable[str], contracts: Iterable[Contract]
    ) -> TapedRun:
        """What a journal holds of a run that has ended."""
        outcome = record.outcome()
        assert outcome is not None  # noqa: S101 - it has ended
        places = {execution.id: place for place, execution in enumerate(outcome.executions, 1)}
        executions = tuple(
            TapedExecution(
                block=places[each.execution_id],
                seed=each.started.seed,
                payloads=tuple(item.payload for item in each.events if isinstance(item.payload, KEPT)),
            )
            for _, each in sorted(record.executions.items())
        )
        called = {call.tool for execution in executions for call in execution.calls}
        return cls(
            text=record.started.text,
            given=given,
            execution_id=str(record.started.context["execution_id"]),
            outcome=outcome,
            executions=executions,
            tools=tuple(tools),
            contracts=tuple(contract for contract in contracts if contract.name in called),
        )

    def with_outcome(self, outcome: Outcome) -> TapedRun:
        """The same run, having come to another end."""
        ends = dict(enumerate(outcome.executions, 1))
        executions = tuple(
            replace(
                taped,
                payloads=tuple(
                    item.model_copy(update={"execution": ends[taped.block]}) if isinstance(item, Finished) else item
                    for item in taped.payloads
                ),
            )
            for taped in self.executions
        )
        return replace(self, outcome=outcome, executions=executions)

    @property
    def sources(self) -> list[str]:
        """The scripts of its blocks, in order."""
        return [segment.source for segment in self.outcome.segments if isinstance(segment, Block)]


def id_of(first: str, index: int) -> str:
    """The id of an execution, from that of the first one and its place among those that ran, from 0."""
    return first if index == 0 else f"{first}-{index + 1}"


def segments_of(text: str, given: Mapping[str, JsonValue]) -> tuple[Segment, ...]:
    """The pieces of a text, found as a run with these options finds them."""
    limits = given.get("limits", {})
    detector = Detector(
        limits=Limits.model_validate(limits),
        accept_fenced=bool(given.get("accept_fenced")),
        skip_thinking=bool(given.get("skip_thinking")),
    )
    return tuple(merge_text([*detector.feed(text), *detector.finish()]))
