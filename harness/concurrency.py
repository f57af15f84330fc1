"""Running the host's own code: sync functions in threads, and whose cancellation it is that comes out of it."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import math
import sys
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import anyio
import anyio.lowlevel

from harness.errors import ConcurrencyLimitError

__all__ = ["THREADS", "Threads", "cancellation_requested", "loop_clock", "loop_entrance"]

T = TypeVar("T")


class Threads:
    """Runs functions in threads. A thread cannot be stopped: one nobody waits for any more is counted and bounded.

    The threads are daemons, which those of anyio and of ``concurrent.futures`` are not: a function that never returns
    would keep the whole process from ending.
    """

    def __init__(self, max_abandoned: int = 64) -> None:
        self.max_abandoned = max_abandoned
        """How many abandoned threads may be busy before no further one is started."""
        self._lock = threading.Lock()
        self._abandoned = 0

    @property
    def abandoned(self) -> int:
        """Threads that are busy with a call that timed out or was cancelled."""
        return self._abandoned

    async def run(self, function: Callable[[], T]) -> T:
        """What ``function`` returns or raises. When cancelled, it returns at once and leaves the thread to itself.

        ``function`` sees the context variables of the caller. Raises `ConcurrencyLimitError` when too many threads were
        left behind and are still busy.
        """
        if self._abandoned >= self.max_abandoned:
            raise ConcurrencyLimitError(
                f"{self._abandoned} threads of sync functions that overran their time are still busy, so no further one "
                "is started. Give these functions time limits of their own inside, or make them async.",
                details={"limit": self.max_abandoned, "used": self._abandoned},
            )
        await anyio.lowlevel.checkpoint_if_cancelled()
        call = _Call(function)
        finished = left = False

        def work() -> None:
            nonlocal finished
            call.carry_out()
            with self._lock:
                finished = True
                if left:
                    self._abandoned -= 1
            call.hand_back()

        context = contextvars.copy_context()
        sniffio = sys.modules.get("sniffio")
        if sniffio is not None:
            # No event loop runs in the thread, whatever the caller's context says; the function may start one.
            context.run(sniffio.current_async_library_cvar.set, None)
        threading.Thread(target=context.run, args=(work,), name="harness sync function", daemon=True).start()
        try:
            await call.ended.wait()
        except anyio.get_cancelled_exc_class():
            with self._lock:
                if not finished:
                    left = True
                    self._abandoned += 1
            raise
        return call.outcome()


class _Call(Generic[T]):
    """A function on its way through a thread, and its outcome on the way back."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._result: T | None = None
        self._failure: BaseException | None = None
        self._in_loop = loop_entrance()
        self.ended = anyio.Event()

    def carry_out(self) -> None:
        try:
            self._result = self._function()
        except BaseException as error:  # noqa: BLE001 - whoever waits for it gets it
            self._failure = error

    def hand_back(self) -> None:
        # A loop that is over takes nothing any more, and nobody waits there.
        with contextlib.suppress(RuntimeError):
            self._in_loop(self.ended.set)

    def outcome(self) -> T:
        failure, self._failure = self._failure, None
        if failure is None:
            return self._result  # type: ignore[return-value] # set, since nothing was raised
        try:
            raise failure
        finally:
            del failure  # its traceback holds this frame


def loop_entrance() -> Callable[[Callable[[], None]], Any]:
    """What makes the running event loop call a function, from any thread. It raises ``RuntimeError`` once that ended."""
    if anyio.get_cancelled_exc_class() is asyncio.CancelledError:
        return asyncio.get_running_loop().call_soon_threadsafe
    import trio  # noqa: PLC0415 - it is no dependency, but it runs this very function

    return trio.lowlevel.current_trio_token().run_sync_soon


def loop_clock() -> Callable[[], float]:
    """The running event loop's own clock: what ``anyio.current_time`` reads, without finding the loop each time."""
    if anyio.get_cancelled_exc_class() is asyncio.CancelledError:
        return asyncio.get_running_loop().time
    import trio  # noqa: PLC0415 - as in loop_entrance

    return trio.current_time


THREADS = Threads()
"""Of this process: a busy thread weighs on the process, whichever execution it is left from."""


def cancellation_requested() -> bool:
    """Whether this task is being cancelled.

    If not, a cancellation that came out of the host's code is that code's own: it awaited something that was cancelled.
    """
    if anyio.current_effective_deadline() == -math.inf:
        return True
    if anyio.get_cancelled_exc_class() is not asyncio.CancelledError:
        return False
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
