"""One execution from its first frame to its last: the host's side of the bridge.

The worker runs only while a frame of ours is unanswered. In between, calls run as tasks and timers are waited for, and
what comes of them is gathered into the next frame.
"""

from __future__ import annotations

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup
from pydantic import JsonValue

from harness.context import ProgressGate
from harness.errors import (
    HarnessError,
    ScriptCancelledError,
    ScriptMemoryError,
    ScriptStackError,
)
from harness.model import Diagnostic, Severity
from harness.runtime import endings, wire
from harness.runtime.adapter import Death, Worker, WorkerGoneError, WorkerPool
from harness.runtime.aftermath import judge
from harness.runtime.agenda import Agenda
from harness.runtime.clock import ExecutionClock
from harness.runtime.intake import Intake, refusal
from harness.runtime.job import Calls, Job, Result
from harness.runtime.past import Frame, Observer
from harness.runtime.sources import SourceMap
from harness.runtime.turns import CallIssued, Collected, Ending, Evidence, Turn, most_items
from harness.tools.calls import ToolCall

__all__ = ["Driver"]


# Spares can all have been killed together, and not all be seen to be dead yet.
_MORE_WORKERS = 4
_CALLS_PER_CHECKPOINT = 10
"""A frame may hold a thousand calls, each some work before it waits for anything, and others wait for the event loop, too."""
_EXHAUSTION = {ScriptMemoryError.__name__, ScriptStackError.__name__}


class _Over(Exception):  # noqa: N818 - the end of the script, not an error
    """The script has ended, one way or another."""


class Driver:
    """Drives one job through one worker. Use once, and `connect` it first."""

    def __init__(self, job: Job, progress: ProgressGate, observer: Observer | None = None) -> None:
        self._job = job
        self._past = job.past
        self._observer = observer
        self._told = len(job.past.frames)
        self._limits = job.limits
        self._most_items = most_items(job.limits)
        self._calls: Calls
        self._source = SourceMap(job.script.source)
        self._scope = anyio.CancelScope()
        self._clock: ExecutionClock
        self._agenda: Agenda
        self._frame: Frame
        self._epoch_ms = job.past.frames[0].now_ms if job.past.frames else None
        self._in_worker = True
        self._admitting = False
        self._running = 0
        self._idle = anyio.Event()
        self._spent = job.past.spent_s
        self._aborted: HarnessError | None = None
        self._last: Collected | None = None
        self._gone: WorkerGoneError | None = None
        self._death: Death | None = None
        self._computing = False
        self._watching = anyio.CancelScope()
        self._watched = False
        self.result = Result()
        self._intake = Intake(self.result, progress, job.limits)

    def connect(self, calls: Calls) -> None:
        """Say who carries out the calls."""
        self._calls = calls

    def cancel(self, reason: str) -> None:
        """End the execution now, whatever it is doing."""
        if self.result.cancelled is None:
            self.result.cancelled = reason
        self._scope.cancel()

    def abort(self, error: HarnessError) -> None:
        """End the execution now with an error that the script cannot catch: the host cannot go on."""
        if self._aborted is None:
            self._aborted = error
        self._scope.cancel()

    def calls_changed(self) -> None:
        """Be told that a call began or stopped waiting for a person: the wall clock pauses while that is all there is,
        and the execution is suspended once nobody in this process is being asked.
        """
        if self._in_worker or self._admitting or self._agenda.replaying:
            return
        only_people = self._calls.approving > 0 and self._calls.active == 0 and not self._agenda.has_arrivals
        if only_people != self._clock.paused:
            (self._clock.pause if only_people else self._clock.resume)()
            self._agenda.wake()
        if only_people and self._calls.parked == self._calls.approving:
            self.result.suspended = True
            self._calls.suspend()
            self._scope.cancel()

    # ── the execution ────────────────────────────────────────────────────────────────────────────────────────────

    async def run(self, pool: WorkerPool) -> Result:
        """Run the job to its end on a worker of ``pool``.

        Whatever becomes of the script is in the result; only the caller's own cancellation is raised, Ctrl-C, and what
        kept a worker from starting.
        """
        try:
            return await self._run(pool)
        except BaseExceptionGroup as failures:
            # Ctrl-C is expected as it is, wherever it struck.
            interrupts, others = failures.split(KeyboardInterrupt)
            if interrupts is None:
                raise
            raise _first_of(interrupts) from others

    async def _run(self, pool: WorkerPool) -> Result:
        unavailable: HarnessError | None = None
        async with anyio.create_task_group() as group:
            try:
                with self._scope:
                    try:
                        await self._with_worker(await pool.acquire(self._job.trust_domain), pool, group)
                        for _ in range(_MORE_WORKERS):
                            if not self._nothing_happened:
                                break
                            self._gone, self._in_worker, self._watching = None, True, anyio.CancelScope()
                            await self._with_worker(await pool.acquire(self._job.trust_domain), pool, group)
                    except HarnessError as error:
                        # Raised below: a task group would wrap it.
                        unavailable = error
                self._note_ending(pool)
                await self._aftermath()
            finally:
                group.cancel_scope.cancel()
        if unavailable is not None:
            raise unavailable
        return self.result

    async def _with_worker(self, worker: Worker, pool: WorkerPool, group: TaskGroup) -> None:
        limits = self._limits
        self._clock = ExecutionClock(
            limits.wall_time - self._spent, self._scope, epoch_ms=self._epoch_ms, date=self._job.date
        )
        self._epoch_ms = self._clock.epoch_ms
        self._agenda = Agenda(
            self._clock,
            max_pending=limits.max_pending_calls,
            frame_bytes=limits.frame_bytes,
            budget=self._calls.budget_text,
            recorded=self._past.frames[1:],
        )
        try:
            await self._frames(worker, group)
        except _Over:
            pass
        except WorkerGoneError as gone:
            self._gone = gone
        finally:
            self._computing = self._in_worker
            self._in_worker = True
            self._clock.stop()
            self._watching.cancel()
            # A worker that is replaced does not begin the execution's time anew.
            self._spent += self._clock.elapsed
            self.result.wall_ms = round(self._spent * 1000, 3)
            self.result.approval_ms = round(self._clock.paused_for * 1000, 3)
            violation = self._gone is not None and self._gone.violation
            clean = self.result.clean and self._gone is None
            self._death = await pool.release(worker, clean=clean, violation=violation)

    @property
    def _nothing_happened(self) -> bool:
        """Whether the worker was lost before it gave a first answer, by no doing of the script's: with its fork server, or
        before it read the script. A script that has said nothing has changed nothing, so another worker can begin anew.
        """
        if self._gone is None or self._death is None or self.result.frames:
            return False
        return self._death.orphaned or self._gone.unheard

    def _watch_over(self, worker: Worker, group: TaskGroup) -> None:
        """From the first time on that the script waits."""
        if not self._watched:
            self._watched = True
            group.start_soon(self._watch, worker)

    async def _watch(self, worker: Worker) -> None:
        """Notice a worker that dies while the script waits, when nobody reads from it."""
        with self._watching:
            await worker.gone()
            if not self._in_worker:
                self._gone = WorkerGoneError("while the script was waiting")
                self._scope.cancel()

    async def _frames(self, worker: Worker, group: TaskGroup) -> None:
        recorded = self._past.frames
        self._frame = recorded[0] if recorded else Frame(self._clock.epoch_ms, self._calls.budget_text())
        kind, body = wire.START, self._job.start_frame(self._frame, self._source)
        while True:
            self._tell_frame()
            answer = await worker.exchange(kind, body)
            self._in_worker = False
            self.result.frames += 1
            await self._take_in(answer, group, worker)
            if self._scope.cancel_called:
                # What was carried out just now ended the execution. The script must not hear of it, nor go on.
                await anyio.lowlevel.checkpoint()
            if self.result.frames == self._past.answers:
                return
            self.calls_changed()
            kind = wire.DELIVER
            self._frame, body = await self._agenda.next_frame()
            self._in_worker = True

    def _tell_frame(self) -> None:
        """Once for each frame that is new, also if its worker is replaced before it answered."""
        number = self.result.frames
        if self._observer is not None and number >= self._told:
            self._told = number + 1
            self._observer.frame(number, self._frame)

    # ── what comes from the worker ───────────────────────────────────────────────────────────────────────────────

    async def _take_in(self, answer: tuple[int, bytes], group: TaskGroup, worker: Worker) -> None:
        kind, body = answer
        if kind != wire.TURN:
            raise WorkerGoneError(f"the worker answered with a frame of kind {kind}", violation=True)
        turn = Turn.read(body, self._most_items)
        result = self.result
        result.cpu_ms = round(turn.cpu * 1000, 3)
        result.heap_bytes = turn.heap if turn.heap is not None else result.heap_bytes
        if turn.worker is not None:
            if turn.worker.state == "syntax" and result.frames > 1:
                raise WorkerGoneError("the worker refused to compile a script that runs already", violation=True)
            error = endings.note_error(turn.worker, self._limits, self._source)
            if error is not None:
                result.clean = turn.worker.state == "syntax"
                self._fail(error)
                if not result.clean:
                    self._say_words_lost()
                raise _Over
            if not turn.worker.rewritten and self._job.script.result_range is not None:
                self._say(
                    "last_expression_ignored",
                    "The engine reads the last statement differently, so its value is not the result; write `return`.",
                )
        if turn.turn is None:
            raise WorkerGoneError("the worker sent a turn without its content", violation=True)
        waits = turn.turn.ending.state == "wait"
        if waits != (turn.evidence is None):
            raise WorkerGoneError("the worker did not say how the script left it", violation=True)
        if waits:
            self._watch_over(worker, group)
        await self._take_turn(turn.turn, turn.evidence, group)

    async def _take_turn(self, said: Collected, evidence: Evidence | None, group: TaskGroup) -> None:
        # All of it is checked before any of it is believed.
        value, progress = self._intake.checked(said)
        cancelled = self._agenda.take_in(said)
        self._last = said
        lines = self._intake.note(said, progress, self._frame.now_ms - self._clock.epoch_ms)
        if lines and self._observer is not None and self.result.frames > len(self._past.frames):
            self._observer.logged(lines)
        alone = len(said.calls) == 1 and said.ending.state == "wait"
        # Until the last is admitted nobody can say that only people are waited for.
        self._admitting = len(said.calls) > 1
        for count, issued in enumerate(said.calls, 1):
            if count % _CALLS_PER_CHECKPOINT == 0:
                await anyio.lowlevel.checkpoint()
            await self._take_call(issued, said.ending, group, alone=alone and issued.id not in cancelled)
        self._admitting = False
        for call_id in cancelled:
            self._calls.cancel(call_id, "its signal was aborted")
        if evidence is not None:
            self._finish(said.ending, value, evidence)
            raise _Over

    async def _take_call(self, issued: CallIssued, ending: Ending, group: TaskGroup, *, alone: bool) -> None:
        call = ToolCall(id=issued.id, tool=issued.tool, arguments_json=issued.args or "[]", line=issued.line)
        refused = refusal(issued, over=ending.state == "error")
        if self.result.frames == self._past.answers:
            # The last that is replayed: what comes of the call is on record, or is nothing.
            self._calls.admit(call)
            return
        if refused is not None:
            self._agenda.arrived(await self._calls.refuse(call, refused))
            return
        self._calls.admit(call)
        self._running += 1
        if alone and self._running == 1 and not self._agenda.has_timers:
            # Nothing can happen before this call is settled, so it needs no task of its own.
            await self._carry_out(call)
        else:
            group.start_soon(self._carry_out, call)

    async def _carry_out(self, call: ToolCall) -> None:
        try:
            settled = await self._calls.call(call)
        finally:
            self._running -= 1
            self._idle.set()
        if settled.terminate_reason is not None:
            self.result.terminated = settled.terminate_reason
            self._scope.cancel()
        self._agenda.arrived(settled)

    # ── endings ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _finish(self, ending: Ending, value: JsonValue, evidence: Evidence) -> None:
        result = self.result
        result.clean = True
        if ending.state == "stuck":
            self._fail(endings.deadlock(evidence))
        elif ending.error is not None:
            result.error = endings.thrown_error(ending.error, evidence, self._source, self._limits, self._agenda.failed)
            result.clean = result.error.type not in _EXHAUSTION
        elif len((ending.value or "").encode()) > self._limits.result_bytes:
            self._fail(endings.too_large(self._limits))
        else:
            result.value = value
        # After it has run out of memory, caught or not, the engine is not to be relied on.
        result.clean = result.clean and not evidence.full
        if ending.replaced:
            self._say(
                "lone_surrogates_replaced",
                f"Lone surrogates in the result were replaced by U+FFFD, at {', '.join(ending.replaced[:20])}.",
            )

    def _note_ending(self, pool: WorkerPool) -> None:
        """What an end from outside means: the worker's death, a cancellation, a clock."""
        result = self.result
        crashed = self._gone is not None and result.cancelled is None and result.terminated is None
        if result.cancelled is not None or result.terminated is not None or self._aborted is not None or crashed:
            result.suspended = False
        if self._gone is None and not self._scope.cancelled_caught:
            return
        result.clean = False
        if self._computing:
            self._say_words_lost()
        if self._aborted is not None:
            self._fail(self._aborted)
        elif result.suspended:
            return
        elif crashed and self._gone is not None:
            pool.note_crash()
            self._fail(endings.death(self._gone, self._death or Death(None), self._limits))
        elif result.terminated is None and result.cancelled is not None:
            self._fail(ScriptCancelledError(f"The execution was cancelled: {result.cancelled}."))
        elif result.terminated is None:
            self._fail(endings.wall_timeout(self._limits))

    def _say_words_lost(self) -> None:
        self._say("logs_lost", "What the script logged or reported since its last call is lost with its worker.")

    def _fail(self, error: HarnessError) -> None:
        self.result.value = None
        self.result.error = error.info()

    def _say(self, code: str, message: str) -> None:
        self.result.diagnostics.append(Diagnostic(code=code, severity=Severity.WARNING, message=message))

    async def _aftermath(self) -> None:
        """Let calls that still run finish, or cancel them; then judge what the script left behind."""
        if self.result.suspended:
            return
        abrupt = self._scope.cancelled_caught or self._gone is not None
        if self._running and not abrupt:
            await self._until_idle(self._limits.settle_grace)
        if self._running:
            self._calls.cancel_all("the script had ended")
            await self._until_idle(None)
        if self._last is not None:
            error, diagnostics = judge(self._last.left_behind, self._calls.records())
            self.result.diagnostics += diagnostics
            if error is not None and self.result.error is None and self.result.terminated is None:
                self._fail(error)

    async def _until_idle(self, most: float | None) -> None:
        with anyio.move_on_after(most):
            while self._running:
                self._idle = anyio.Event()
                await self._idle.wait()


def _first_of(group: BaseExceptionGroup[KeyboardInterrupt]) -> KeyboardInterrupt:
    first = group.exceptions[0]
    return _first_of(first) if isinstance(first, BaseExceptionGroup) else first
