"""What is to be delivered to the script next: results and timers, in the order in which they came."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import anyio

from harness.errors import ErrorInfo
from harness.runtime.adapter import WorkerGoneError
from harness.runtime.clock import ExecutionClock, Timers
from harness.runtime.past import Delivery, Frame, diverged
from harness.runtime.turns import Collected
from harness.tools.calls import Settled

__all__ = ["Agenda"]

_ERROR_FIELDS = {"type", "category", "retryable", "message", "details"}


class Agenda:
    """The calls and timers that the script waits for.

    It also keeps the worker honest: ids that were not issued, or are settled, break the protocol.

    ``recorded`` are the frames of an earlier life: they are delivered first, as they were, whatever arrives meanwhile.
    """

    def __init__(
        self,
        clock: ExecutionClock,
        *,
        max_pending: int,
        frame_bytes: int,
        budget: Callable[[], str],
        recorded: Iterable[Frame] = (),
    ) -> None:
        self._clock = clock
        self._recorded = deque(recorded)
        self._budget = budget
        self._max_pending = max_pending
        self._frame_bytes = frame_bytes
        self._timers = Timers()
        self._dates: dict[int, int] = {}
        """What ``Date.now()`` says at least once a timer has fired."""
        self._arrivals: list[tuple[int, dict[str, Any]]] = []
        self._news = anyio.Event()
        self._last_call = 0
        self._last_timer = 0
        self._unsettled: set[int] = set()
        # Of the last frame: what came first in it may have cleared or aborted what came later.
        self._delivered_calls: set[int] = set()
        self._delivered_timers: set[int] = set()
        self.failed: dict[int, ErrorInfo] = {}
        """Errors of the calls that failed, by id, with the line of the call."""

    @property
    def has_arrivals(self) -> bool:
        """Whether a result waits to be delivered."""
        return bool(self._arrivals)

    @property
    def replaying(self) -> bool:
        """Whether frames of an earlier life are still to be delivered."""
        return bool(self._recorded)

    @property
    def has_timers(self) -> bool:
        """Whether the script has set a timer that has not fired."""
        return len(self._timers) > 0

    def wake(self) -> None:
        """Let whoever waits for the next frame look again."""
        self._news.set()

    # ── what the worker says ─────────────────────────────────────────────────────────────────────────────────────

    def take_in(self, said: Collected) -> list[int]:
        """Note what the script waits for now; ids of calls whose signal was aborted, to be cancelled.

        Raises `WorkerGoneError` (``violation``) for ids that cannot be.
        """
        if len(said.calls) > self._max_pending:
            raise WorkerGoneError("the worker made more calls at once than may be pending", violation=True)
        for issued in said.calls:
            if issued.id != self._last_call + 1:
                raise WorkerGoneError(f"the worker issued call {issued.id} after {self._last_call}", violation=True)
            self._last_call = issued.id
            if not issued.aborted:
                self._unsettled.add(issued.id)
        cancelled = [call_id for call_id in said.cancelled if call_id not in self._delivered_calls]
        for call_id in cancelled:
            if call_id not in self._unsettled:
                raise WorkerGoneError(f"the worker cancelled call {call_id}, which is not pending", violation=True)
            self._unsettled.discard(call_id)
        if max(said.names(), default=0) > self._last_call:
            raise WorkerGoneError("the worker named a call that it never issued", violation=True)
        if len(self._unsettled) > self._max_pending:
            raise WorkerGoneError("the worker made more calls than may be pending", violation=True)
        self._take_timers(said)
        if said.ending.state == "wait" and not self._unsettled and not self.has_timers:
            raise WorkerGoneError("the worker waits for nothing", violation=True)
        return cancelled

    def _take_timers(self, said: Collected) -> None:
        now = self._clock.now_ms()
        for timer in said.timers:
            if timer.id <= self._last_timer:
                raise WorkerGoneError(f"the worker set timer {timer.id} twice", violation=True)
            self._last_timer = timer.id
            self._timers.add(timer.id, now + timer.ms)
            self._dates[timer.id] = self._clock.shown_ms(now) + timer.ms
        for timer_id in said.cleared:
            self._dates.pop(timer_id, None)
            if not self._timers.discard(timer_id) and timer_id not in self._delivered_timers:
                raise WorkerGoneError(f"the worker cleared timer {timer_id}, which is not set", violation=True)
        if len(self._timers) > self._max_pending:
            raise WorkerGoneError("the worker set more timers than may be pending", violation=True)

    # ── what comes of it ─────────────────────────────────────────────────────────────────────────────────────────

    def arrived(self, settled: Settled) -> None:
        """A call is settled."""
        if settled.error is not None:
            self.failed[settled.call_id] = settled.error.model_copy(update={"line": settled.record.line})
        if settled.call_id not in self._unsettled:
            return
        item: dict[str, Any] = {"call": settled.call_id}
        if settled.error is not None:
            item["error"] = settled.error.model_dump(mode="json", include=_ERROR_FIELDS)
        else:
            item["value"] = settled.value_json
            item["made_up"] = settled.made_up
        self._arrivals.append((self._clock.now_ms(), item))
        self._news.set()

    async def next_frame(self) -> tuple[Frame, bytes]:
        """Wait until there is something to deliver; what that is, and the body of a DELIVER frame.

        Raises `ReplayDivergenceError` if a frame of an earlier life does not fit what the script has done by now.
        """
        if self._recorded:
            return await self._play(self._recorded.popleft())
        while True:
            now = self._clock.now_ms()
            due = self._timers.next_due()
            if self._arrivals or (due is not None and due <= now):
                return self._gather(now)
            # Timers stand still while the clock does.
            await self._wait(None if due is None or self._clock.paused else (due - now) / 1000)

    async def _wait(self, seconds: float | None) -> None:
        self._news = anyio.Event()
        with anyio.move_on_after(seconds):
            await self._news.wait()

    async def _play(self, frame: Frame) -> tuple[Frame, bytes]:
        """A frame of an earlier life."""
        self._clock.follow(frame.now_ms)
        self._forget_delivered()
        texts = []
        for kind, number in frame.items:
            if kind == "timer":
                if not self._timers.discard(number):
                    raise diverged(f"timer {number} fired", "the script has not set it")
                self._dates.pop(number, None)
                texts.append(self._take({"timer": number}))
                continue
            if number not in self._unsettled:
                raise diverged(f"call {number} was answered", "the script does not wait for it", call=number)
            while (item := self._arrival_of(number)) is None:
                await self._wait(None)
            texts.append(self._take(item))
        return frame, _frame_body(frame, texts)

    def _arrival_of(self, call: int) -> dict[str, Any] | None:
        for index, (_, item) in enumerate(self._arrivals):
            if item["call"] == call:
                del self._arrivals[index]
                return item
        return None

    def _gather(self, now: int) -> tuple[Frame, bytes]:
        due = [(at, {"timer": timer}) for at, timer in self._timers.take_due(now)]
        shown = self._clock.shown_ms(now, max((self._dates.pop(item["timer"], 0) for _, item in due), default=0))
        arrivals = sorted([*due, *self._arrivals], key=lambda arrival: arrival[0])
        self._arrivals = []
        self._forget_delivered()
        items: list[Delivery] = []
        texts: list[str] = []
        size = 0
        for index, (_, item) in enumerate(arrivals):
            # An abort may have settled a call in the VM while its result was on the way.
            if "call" in item and item["call"] not in self._unsettled:
                continue
            text = _item_text(item)
            size += len(text)
            if texts and size * 3 > self._frame_bytes:
                self._put_back(arrivals[index:])
                break
            items.append(("call", item["call"]) if "call" in item else ("timer", item["timer"]))
            texts.append(self._take(item, text))
        frame = Frame(shown, self._budget(), tuple(items))
        return frame, _frame_body(frame, texts)

    def _forget_delivered(self) -> None:
        self._delivered_calls.clear()
        self._delivered_timers.clear()

    def _take(self, item: dict[str, Any], text: str | None = None) -> str:
        """Note that something is delivered; its text."""
        if "call" in item:
            self._unsettled.discard(item["call"])
            self._delivered_calls.add(item["call"])
        else:
            self._delivered_timers.add(item["timer"])
        return _item_text(item) if text is None else text

    def _put_back(self, arrivals: list[tuple[int, dict[str, Any]]]) -> None:
        """What does not fit comes with the next frame."""
        for at, item in arrivals:
            if "timer" in item:
                self._timers.add(item["timer"], at)
            else:
                self._arrivals.append((at, item))


def _item_text(item: dict[str, Any]) -> str:
    if "value" in item:
        made_up = ',"made_up":true' if item["made_up"] else ""
        return f'{{"call":{item["call"]},"value":{item["value"]}{made_up}}}'
    return json.dumps(item)


def _frame_body(frame: Frame, texts: list[str]) -> bytes:
    return f'{{"now":{frame.now_ms},"budget":{frame.budget},"items":[{",".join(texts)}]}}'.encode()
