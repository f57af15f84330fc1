"""Sync functions in threads. A thread cannot be stopped: one nobody waits for any more is counted and bounded."""

from __future__ import annotations

import contextlib
import contextvars
import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import anyio
import anyio.lowlevel

from harness.concurrency import carriable, loop_entrance
from harness.errors import ConcurrencyLimitError

__all__ = ["MAX_THREADS", "Threads"]

T = TypeVar("T")

MAX_THREADS = 64
"""Threads of sync tools that one harness has at a time, those that were abandoned included."""


class Threads:
    """Runs functions in threads, of which there are never more than ``max_threads``, busy and abandoned together.

    The threads are daemons, which those of anyio and of ``concurrent.futures`` are not: a function that never returns
    would keep the whole process from ending.
    """

    def __init__(self, max_threads: int = MAX_THREADS) -> None:
        self.max_threads = max_threads
        self._lock = threading.Lock()
        self._bounded = 0
        self._stuck = 0
        self._abandoned = 0
        self._waiting: deque[_Turn] = deque()

    @property
    def abandoned(self) -> int:
        """Threads that are busy with a function nobody waits for: it overran its time or was cancelled."""
        return self._abandoned

    async def run(self, function: Callable[[], T], *, exempt: bool = False) -> T:
        """What ``function`` returns or raises. When cancelled, it returns at once and leaves the thread to itself.

        ``function`` sees the context variables of the caller. While all threads are busy it waits for one.
        ``exempt``: it is started in any case, and counts for nothing but `abandoned`; for what a person, or a harness
        that cleans up, waits for. Raises `ConcurrencyLimitError` when all threads are abandoned and still busy.
        """
        await anyio.lowlevel.checkpoint_if_cancelled()
        if not exempt:
            await self._enter()
        call = _Call(function)
        finished = left = False

        def work() -> None:
            nonlocal finished
            call.carry_out()
            with self._lock:
                finished = True
                self._abandoned -= left
                if not exempt:
                    self._stuck -= left
                    self._bounded -= 1
                    self._let_in()
            call.hand_back()

        context = contextvars.copy_context()
        sniffio = sys.modules.get("sniffio")
        if sniffio is not None:
            # No event loop runs in the thread, whatever the caller's context says; the function may start one.
            context.run(sniffio.current_async_library_cvar.set, None)
        thread = threading.Thread(target=context.run, args=(work,), name="harness sync function", daemon=True)
        try:
            thread.start()
        except BaseException:
            with self._lock:
                if not exempt:
                    self._bounded -= 1
                    self._let_in()
            raise
        try:
            await call.ended.wait()
        except anyio.get_cancelled_exc_class():
            with self._lock:
                if not finished:
                    left = True
                    self._abandoned += 1
                    if not exempt:
                        self._stuck += 1
                        self._let_in()
            raise
        return call.outcome()

    async def _enter(self) -> None:
        """Take one of the threads there may be, checking and counting in one step."""
        with self._lock:
            self._refuse_if_stuck()
            if self._bounded < self.max_threads:
                self._bounded += 1
                return
            turn = _Turn()
            self._waiting.append(turn)
        try:
            await turn.came.wait()
        except BaseException:
            with self._lock:
                if turn in self._waiting:
                    self._waiting.remove(turn)
                elif turn.granted:
                    self._bounded -= 1
                    self._let_in()
            raise
        if not turn.granted:
            raise self._refusal()

    def _let_in(self) -> None:
        """Whoever waits, as far as there is room; nobody, once no room will come."""
        while self._waiting and (self._bounded < self.max_threads or self._stuck >= self.max_threads):
            turn = self._waiting.popleft()
            turn.granted = self._bounded < self.max_threads
            self._bounded += turn.granted
            turn.call()

    def _refuse_if_stuck(self) -> None:
        if self._stuck >= self.max_threads:
            raise self._refusal()

    def _refusal(self) -> ConcurrencyLimitError:
        return ConcurrencyLimitError(
            f"{self.max_threads} threads of sync functions that overran their time are still busy, so no further one is "
            "started. Give these functions time limits of their own inside, or make them async.",
            details={"limit": self.max_threads, "used": self.max_threads},
        )


class _Turn:
    """A call that waits for a thread."""

    def __init__(self) -> None:
        self.came = anyio.Event()
        self.granted = False
        self._in_loop = loop_entrance()

    def call(self) -> None:
        # A loop that is over takes nothing any more, and nobody waits there.
        with contextlib.suppress(RuntimeError):
            self._in_loop(self.came.set)


class _Call(Generic[T]):
    """A function on its way through a thread, and its outcome on the way back."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._result: T | None = None
        self._failure: BaseException | None = None
        self._in_loop: Callable[[Callable[[], None]], Any] = loop_entrance()
        self.ended = anyio.Event()

    def carry_out(self) -> None:
        try:
            self._result = self._function()
        except BaseException as error:  # noqa: BLE001 - whoever waits for it gets it
            self._failure = carriable(error)

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
