"""Trying again: exponential backoff with jitter, by tenacity, for failures that may go away."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import anyio

from harness.errors import HarnessError, ToolCancelledError, UsageError

__all__ = ["Retry", "Tried", "keep_trying"]

T = TypeVar("T")
_MOST_ATTEMPTS = 20
_LONGEST_WAIT = 3600.0


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and when a tool is invoked again after a retryable failure. Needs the extra ``retry``.

    The wait before attempt n+1 is ``initial × multiplier^(n−1)`` seconds, ``maximum`` at most, and a random part of
    ``jitter`` on top. Raises `UsageError` for values that cannot be, and without the extra.
    """

    attempts: int = 3
    """Invocations in all, the first one included."""
    initial: float = 0.1
    """Seconds before the second attempt."""
    maximum: float = 5.0
    """Most seconds before any attempt, but for chance."""
    multiplier: float = 2.0
    jitter: float = 0.1
    """Most seconds that chance adds."""

    def __post_init__(self) -> None:
        attempts: object = self.attempts
        if isinstance(attempts, bool) or not isinstance(attempts, int) or not 1 <= attempts <= _MOST_ATTEMPTS:
            raise UsageError(f"Retry.attempts is {attempts!r}; it must be a whole number from 1 to {_MOST_ATTEMPTS}.")
        for name, least, most in (
            ("initial", 0.0, _LONGEST_WAIT),
            ("maximum", 0.0, _LONGEST_WAIT),
            ("multiplier", 1.0, 100.0),
            ("jitter", 0.0, _LONGEST_WAIT),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
                raise UsageError(f"Retry.{name} is {value!r}; it must be a number from {least:g} to {most:g}.")
        if importlib.util.find_spec("tenacity") is None:
            raise UsageError("Retrying tools needs tenacity: pip install 'tool-calls-harness[retry]'.")


@dataclass(frozen=True, slots=True)
class Tried:
    """One attempt."""

    error: HarnessError | None
    duration_ms: float
    waited_ms: float
    """Since the attempt before."""


async def keep_trying(retry: Retry, once: Callable[[], Awaitable[T]], *, tried: list[Tried]) -> T:
    """What ``once`` returns, invoked up to ``retry.attempts`` times; raises what the last attempt raised.

    An error is followed by another attempt if it is a retryable `HarnessError`. Every attempt is added to ``tried`` as it
    ends with a result or a `HarnessError`, and one after the first also as it is cancelled. Waits in the event loop, so that whoever cancels the task ends the waiting.
    """
    import tenacity  # noqa: PLC0415 - an extra, and only calls that retry pay for its import

    ended: float | None = None

    def note(failure: HarnessError | None, started: float) -> None:
        waited = 0.0 if ended is None else (started - ended) * 1000
        tried.append(Tried(failure, (time.perf_counter() - started) * 1000, waited))

    async def attempt() -> T:
        nonlocal ended
        started = time.perf_counter()
        try:
            value = await once()
        except HarnessError as error:
            note(error, started)
            ended = time.perf_counter()
            raise
        except anyio.get_cancelled_exc_class():
            if tried:
                note(ToolCancelledError("This attempt was cut off."), started)
            raise
        note(None, started)
        return value

    def again(error: BaseException) -> bool:
        return isinstance(error, HarnessError) and error.retryable

    retrying = tenacity.AsyncRetrying(
        sleep=anyio.sleep,
        stop=tenacity.stop_after_attempt(retry.attempts),
        wait=tenacity.wait_exponential(multiplier=retry.initial, max=retry.maximum, exp_base=retry.multiplier)
        + tenacity.wait_random(0, retry.jitter),
        retry=tenacity.retry_if_exception(again),
        reraise=True,
    )
    return await retrying(attempt)
