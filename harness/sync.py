"""The library from code without an event loop."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

import anyio
from anyio.from_thread import BlockingPortal

__all__ = ["Portal", "in_event_loop", "run_alone"]

Result = TypeVar("Result")


def in_event_loop() -> bool:
    """Whether an event loop of asyncio or trio is running in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        # Where trio was never imported, nobody runs it.
        trio = sys.modules.get("trio")
        return trio is not None and bool(trio.lowlevel.in_trio_run())
    return True


class Portal:
    """One thread with an event loop, kept until `close`."""

    def __init__(self) -> None:
        self._ready = threading.Event()
        self._portal: BlockingPortal | None = None
        self._thread = threading.Thread(target=self._run, name="harness portal", daemon=True)
        self._thread.start()
        self._ready.wait()

    def _run(self) -> None:
        try:
            anyio.run(self._serve)
        except* KeyboardInterrupt:
            pass  # whoever called what raised it was given it, too

    async def _serve(self) -> None:
        async with BlockingPortal() as self._portal:
            self._ready.set()
            await self._portal.sleep_until_stopped()

    @property
    def over(self) -> bool:
        """Whether the thread has ended before its time."""
        return not self._thread.is_alive()

    def call(self, function: Callable[..., Coroutine[Any, Any, Result]], *args: Any) -> Result:
        """Call a coroutine function there and wait for its result."""
        assert self._portal is not None  # noqa: S101 - there once the thread is ready
        future = self._portal.start_task_soon(partial(function, *args))
        try:
            result: Result = future.result()
        except KeyboardInterrupt as error:
            # Ctrl-C strikes here; one that something raised there takes the event loop with it.
            if future.done() and not future.cancelled() and future.exception() is error:
                self._thread.join()
            raise
        return result

    def close(self) -> None:
        """End the thread."""
        assert self._portal is not None  # noqa: S101 - there once the thread is ready
        if not self.over:
            self._portal.call(self._portal.stop)
            self._thread.join()


def run_alone(function: Callable[..., Coroutine[Any, Any, Result]], *args: Any) -> Result:
    """Call a coroutine function in an event loop of its own, which ends with it."""
    result: Result = anyio.run(partial(function, *args))
    return result
