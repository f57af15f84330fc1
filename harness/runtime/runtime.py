"""The runtime as the rest of the library sees it: open, execute, compile, report, close."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import anyio

from harness.context import ProgressGate
from harness.errors import HarnessError, ScriptSyntaxError, UsageError, WorkerCrashedError
from harness.limits import Limits
from harness.model import Script
from harness.runtime import endings, wire
from harness.runtime.adapter import Death, PoolStatus, Worker, WorkerGoneError, WorkerPool
from harness.runtime.boot import cpu_seconds
from harness.runtime.driver import Driver
from harness.runtime.hardening import Hardening, inspect_worker, refuse_gaps, say_once
from harness.runtime.job import Calls, Job, Result, check_frame
from harness.runtime.past import Observer
from harness.runtime.pool import ProcessPool
from harness.runtime.sources import SourceMap
from harness.runtime.threads import ThreadPool
from harness.runtime.turns import Verdict

__all__ = ["Hardening", "Isolation", "Runtime"]

Isolation = Literal["process", "shared", "thread"]

_CHECK_TIMEOUT = 10.0


class Runtime:
    """Workers of one isolation, and the executions that run in them.

    ``hardening`` says what is to be done where a worker in a process lacks a layer of its lockdown: with ``required``
    nothing runs, with ``best_effort`` it is said once.
    """

    def __init__(self, isolation: Isolation, limits: Limits, hardening: Hardening = "best_effort") -> None:
        self._limits = limits
        self._required = hardening == "required"
        self._pool: WorkerPool = (
            ThreadPool(limits)
            if isolation == "thread"
            else ProcessPool(isolation, limits, required=self._required, on_report=None if self._required else say_once)
        )
        self._running: dict[str, Driver] = {}

    async def open(self) -> None:
        """Start what serves executions; it gets ready on its own, unless its hardening has to be proven first.

        Raises `UsageError` if that is not as it is required.
        """
        await self._pool.open()
        if self._required:
            try:
                await self._prove_hardening()
            except BaseException:
                await self._pool.aclose()
                raise

    async def _prove_hardening(self) -> None:
        try:
            refuse_gaps(await inspect_worker(self._pool))
        except WorkerGoneError as error:
            raise WorkerCrashedError(f"The first worker could not be asked how it is protected: {error}.") from error

    async def aclose(self) -> None:
        """End every execution and every worker. Idempotent."""
        for driver in list(self._running.values()):
            driver.cancel("the harness was closed")
        await self._pool.aclose()

    async def execute(
        self,
        execution_id: str,
        job: Job,
        calls: Callable[[Callable[[], None]], Calls],
        progress: ProgressGate,
        observer: Observer | None = None,
    ) -> Result:
        """Run a job to its end. Raises only the caller's own cancellation, and what kept a worker from starting.

        ``calls`` makes the carrier of the calls from a function that is to be told when one begins or stops waiting for
        a person. ``observer`` is told of the frames.
        """
        self._check_limits(job.limits)
        if execution_id in self._running:
            raise UsageError(f"An execution with the id {execution_id!r} is running already; give each one its own.")
        driver = Driver(job, progress, observer)
        driver.connect(calls(driver.calls_changed))
        self._running[execution_id] = driver
        try:
            return await driver.run(self._pool)
        finally:
            del self._running[execution_id]

    def _check_limits(self, limits: Limits) -> None:
        # A worker's stack, memory and processor time are fixed before it knows whom it will serve.
        for name in ("stack_bytes", "memory_bytes", "frame_bytes"):
            if getattr(limits, name) > getattr(self._limits, name):
                raise UsageError(
                    f"{name} of one run cannot be larger than the Harness's own ({getattr(self._limits, name):,}); "
                    f"raise it there: Harness(limits=Limits({name}={getattr(limits, name)}))."
                )
        if min(limits.cpu_time, limits.wall_time) > cpu_seconds(self._limits):
            raise UsageError(
                f"cpu_time and wall_time of one run cannot both be larger than the Harness's own (here "
                f"{self._limits.cpu_time:g} s and {self._limits.wall_time:g} s), by which the processor time of its "
                "workers is fixed; raise one of them there."
            )

    async def compile(self, script: Script) -> ScriptSyntaxError | None:
        """Let the engine compile a script and run nothing; its objection, if it has one.

        Raises `WorkerCrashedError` if the worker does not survive it.
        """
        worker = await self._pool.acquire(None)
        verdict, failure = None, None
        try:
            with anyio.move_on_after(_CHECK_TIMEOUT):
                verdict = await self._ask(worker, script)
        except WorkerGoneError as error:
            failure = error
        finally:
            violation = failure is not None and failure.violation
            death = await self._pool.release(worker, clean=verdict is not None, violation=violation)
        if verdict is None:
            gone = failure or WorkerGoneError(f"it did not answer within {_CHECK_TIMEOUT:g} s")
            crash = endings.death(gone, death or Death(None), self._limits)
            raise WorkerCrashedError(f"The script could not be compiled: {crash.message}", details=crash.details)
        if verdict.problem is None:
            return None
        problem = verdict.problem
        return endings.syntax_error(problem.message, problem.line, problem.column, SourceMap(script.source))

    async def _ask(self, worker: Worker, script: Script) -> Verdict:
        kind, body = await worker.exchange(wire.CHECK, check_frame(script))
        if kind != wire.VERDICT:
            raise WorkerGoneError(f"the worker answered with a frame of kind {kind}", violation=True)
        return Verdict.read(body)

    async def end_domain(self, trust_domain: str) -> None:
        """Drop the worker kept for a trust domain, if there is one."""
        await self._pool.end_domain(trust_domain)

    def cancel(self, execution_id: str | None, reason: str) -> int:
        """Cancel one execution, or all; how many there were."""
        drivers = [
            driver for running, driver in self._running.items() if execution_id is None or running == execution_id
        ]
        for driver in drivers:
            driver.cancel(reason)
        return len(drivers)

    def abort(self, execution_id: str, error: HarnessError) -> None:
        """End an execution with an error that its script cannot catch. Nothing happens to one that does not run."""
        driver = self._running.get(execution_id)
        if driver is not None:
            driver.abort(error)

    def running(self) -> tuple[str, ...]:
        """Ids of the executions that run now."""
        return tuple(self._running)

    def status(self) -> PoolStatus:
        """What the pool of workers holds."""
        return self._pool.status()
