"""Coroutines of the host in tasks of their own. One that does not let itself be cancelled is left behind, and counted.

Structured concurrency knows no way to end a coroutine against its will: whoever awaits one that swallows its cancellation
waits for ever. So it runs beside the run it belongs to, in a task of the event loop (asyncio) or a system task (trio), and
the run waits for it, but not longer than it was told to.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import anyio

from harness.concurrency import carriable

__all__ = ["Errand", "Tasks"]

_LOG = logging.getLogger("harness.tools")
_LEAST_GRACE = 0.01
"""Seconds in which one that ends at once when it is cancelled is sure to have done so."""


class Tasks:
    """The errands of one harness that were left behind."""

    def __init__(self) -> None:
        self._left: dict[Errand, None] = {}

    @property
    def abandoned(self) -> tuple[str, ...]:
        """Names of those that run on though they were cancelled."""
        return tuple(errand.name for errand in self._left)

    def start(self, function: Callable[[], Awaitable[Any]], name: str) -> Errand:
        """Start it, in a task that sees the context variables of the caller. To be awaited with `Errand.outcome`."""
        return Errand(self, function, name)

    def leave(self, errand: Errand) -> None:
        """Count one that nobody waits for any more."""
        self._left[errand] = None

    def forget(self, errand: Errand) -> None:
        """One has ended after all."""
        self._left.pop(errand, None)

    async def aclose(self, grace: float) -> tuple[str, ...]:
        """Cancel once more what was left behind, and wait for it for ``grace`` seconds; the names of what is left then.

        On asyncio none is: what still waits then is closed as a generator is, and never continued, whatever it makes of
        that. On trio there is no such way, and the event loop ends when they do.
        """
        if not self._left:
            return ()
        for errand in self._left:
            errand.cancel()
        with anyio.CancelScope(shield=True), anyio.move_on_after(grace):
            for errand in tuple(self._left):
                await errand.ended()
        for errand in tuple(self._left):
            errand.destroy()
        names, self._left = self.abandoned, {}
        return names


class Errand:
    """One coroutine in a task of its own."""

    def __init__(self, tasks: Tasks, function: Callable[[], Awaitable[Any]], name: str) -> None:
        self.name = name
        self.left = False
        """Whether it was left to itself, so that nobody knows what will become of it."""
        self._tasks = tasks
        self._function = function
        self._result: Any = None
        self._failure: BaseException | None = None
        self._finished = self._done = False
        self._waiting: Callable[[], None] | None = None
        on_asyncio = anyio.get_cancelled_exc_class() is asyncio.CancelledError
        self._task: _AsyncioTask | _TrioTask = (_AsyncioTask if on_asyncio else _TrioTask)(self)

    async def outcome(self, grace: float) -> Any:
        """What it returns or raises. When cancelled, cancels it, and gives it ``grace`` seconds to end.

        What it makes of its cancellation counts: if it returns all the same, so does this. If it does not end, `left` is
        set and the cancellation goes on without it.
        """
        try:
            await self.ended()
        except anyio.get_cancelled_exc_class():
            self.cancel()
            with anyio.CancelScope(shield=True), anyio.move_on_after(max(grace, _LEAST_GRACE)):
                await self.ended()
            if not self._done:
                self._leave(grace)
                raise
            if not self._finished and isinstance(self._failure, anyio.get_cancelled_exc_class() | None):
                raise
        failure, self._failure = self._failure, None
        if failure is None:
            return self._result
        try:
            raise failure
        finally:
            del failure  # its traceback holds this frame

    def cancel(self) -> None:
        """Cancel it. Done again, it is cancelled again."""
        self._task.cancel()

    def destroy(self) -> None:
        """End it by force, where that can be done."""
        self._task.destroy()

    async def ended(self) -> None:
        """Wait for its end. One at a time may."""
        if self._done:
            return
        event = anyio.Event()
        self._waiting = event.set
        try:
            await event.wait()
        finally:
            self._waiting = None

    async def carry_out(self) -> None:
        """The work itself."""
        try:
            self._result = await self._function()
            self._finished = True
        except BaseException as error:
            # Also when this coroutine is closed, which it is by returning.
            self._failure = carriable(error)
            if self._task.must_pass(error):
                raise

    def note_end(self) -> None:
        """It has ended, one way or another."""
        if self._done:
            return
        self._done = True
        if self.left:
            self._failure = None
            self._tasks.forget(self)
        if self._waiting is not None:
            self._waiting()

    def _leave(self, grace: float) -> None:
        self.left = True
        self._tasks.leave(self)
        self._task.leave()
        _LOG.error(
            "%s was cancelled and did not end within %g seconds. It runs on, and nobody knows whether it takes effect. Let "
            "cancellation through: after catching it, raise it again.",
            self.name,
            grace,
        )


class _AsyncioTask:
    def __init__(self, errand: Errand) -> None:
        self._errand = errand
        self._coroutine = errand.carry_out()
        self._task: asyncio.Task[None] = asyncio.get_running_loop().create_task(self._coroutine, name=errand.name)
        self._task.add_done_callback(self._note_end)

    def _note_end(self, task: asyncio.Task[None]) -> None:
        # Otherwise the loop would complain that nobody asked for it.
        if not task.cancelled():
            task.exception()
        self._errand.note_end()

    def must_pass(self, _error: BaseException) -> bool:
        # Whoever awaits the errand gets it; out of the task, some of them would end the loop.
        return False

    def cancel(self) -> None:
        self._task.cancel()

    def leave(self) -> None:
        pass

    def destroy(self) -> None:
        # It waits somewhere, since it is another task that runs now. Whether it heeds this or not, nobody drives it on.
        with contextlib.suppress(BaseException):
            self._coroutine.close()
        if inspect.getcoroutinestate(self._coroutine) == inspect.CORO_CLOSED:
            _LOG.warning("%s was ended by force.", self._errand.name)
            self._errand.note_end()
            self._task.cancel()


class _TrioTask:
    def __init__(self, errand: Errand) -> None:
        import trio  # noqa: PLC0415 - it is no dependency, but it runs this very function

        self._trio = trio
        self._errand = errand
        self._cancelled, self._quiet = trio.CancelScope(), trio.CancelScope()
        trio.lowlevel.spawn_system_task(self._run, name=errand.name, context=contextvars.copy_context())

    async def _run(self) -> None:
        try:
            with self._cancelled, self._quiet:
                await self._errand.carry_out()
        finally:
            self._errand.note_end()

    def must_pass(self, error: BaseException) -> bool:
        return isinstance(error, self._trio.Cancelled)

    def cancel(self) -> None:
        self._quiet.shield = False
        self._cancelled.cancel()

    def leave(self) -> None:
        # A cancelled scope wakes at every checkpoint: one that swallows it in a loop would keep the event loop busy.
        self._quiet.shield = True

    def destroy(self) -> None:
        self.leave()
