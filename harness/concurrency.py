"""What asyncio and trio have in common and name differently; and whose cancellation it is that comes out of a call."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any, TypeVar

import anyio

__all__ = ["EscapedError", "cancellation_requested", "carriable", "first_of", "loop_clock", "loop_entrance"]

Raised = TypeVar("Raised", bound=BaseException)


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


class EscapedError(RuntimeError):
    """In place of an exception that the host's code raised and no coroutine can pass on; that one is its cause."""


def carriable(error: BaseException) -> BaseException:
    """What can be raised in a coroutine for an exception of the host's code.

    ``StopIteration`` and ``GeneratorExit`` mean something else there: that this very coroutine returns, or is closed.
    """
    if not isinstance(error, (StopIteration, GeneratorExit)):
        return error
    escaped = EscapedError(f"it raised {type(error).__name__}")
    escaped.__cause__ = error
    return escaped


def first_of(group: BaseExceptionGroup[Raised]) -> Raised:
    """The first exception of a group, however deep it stands in it."""
    first = group.exceptions[0]
    return first_of(first) if isinstance(first, BaseExceptionGroup) else first
