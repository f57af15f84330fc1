"""What a worker is to the rest of the runtime, whatever it runs in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

__all__ = ["Death", "PoolStatus", "Worker", "WorkerGoneError", "WorkerPool"]


class WorkerGoneError(Exception):
    """The other end of the bridge closed, or sent what the contract does not allow (``violation``).

    ``unheard`` says that it ended without having read what it was sent last.
    """

    def __init__(self, message: str, *, violation: bool = False, unheard: bool = False) -> None:
        super().__init__(message)
        self.violation = violation
        self.unheard = unheard


@dataclass(frozen=True)
class Death:
    """How a worker ended."""

    status: int | None
    """Exit status; negative for a signal; None where nobody can know (a thread, a lost fork server)."""
    orphaned: bool = False
    """It ended because its fork server had."""
    overrun: Literal["memory", "silence"] | None = None
    """Why the host ended it on its own account; None if it did not (see `harness.runtime.watch`)."""

    def describe(self) -> str:
        """A few words for a message."""
        if self.overrun == "silence":
            return "was ended by the host, since it slept instead of answering"
        if self.status is None:
            return "ended"
        if self.status < 0:
            import signal  # noqa: PLC0415 - needed only when something has gone wrong

            try:
                return f"was killed by {signal.Signals(-self.status).name}"
            except ValueError:
                return f"was killed by signal {-self.status}"
        return f"exited with status {self.status}"


class Worker(Protocol):
    """One VM behind frames. It serves one execution at a time."""

    @property
    def protections(self) -> dict[str, str]:
        """Layer -> ``"active"`` or why not; empty before the first answer."""
        ...

    async def exchange(self, kind: int, body: bytes) -> tuple[int, bytes]:
        """Send one frame and wait for the answer. Raises `WorkerGoneError`. Cancelling it leaves the worker unusable."""
        ...

    async def gone(self) -> None:
        """Wait until it has died, if that can be told from outside; else for ever. Can be cancelled."""
        ...

    def kill(self) -> None:
        """End it now, without its cooperation where the platform can. Never blocks, never fails."""
        ...

    async def ended(self) -> Death:
        """Wait until nothing of it is left; then how it ended."""
        ...


@dataclass(frozen=True)
class PoolStatus:
    """What a pool holds right now."""

    isolation: str
    waiting: int
    """Workers that are ready and idle."""
    busy: int
    """Workers that serve an execution."""
    started: int
    """Workers started since the pool opened."""
    crashed: int
    """Workers that ended by themselves."""
    abandoned_threads: int = 0
    """Threads of ``isolation="thread"`` that could not be ended and have not ended yet."""


class WorkerPool(Protocol):
    """Where workers come from. Opened and closed by its owner; holds no task and no event loop."""

    async def open(self) -> None: ...

    async def aclose(self) -> None:
        """End every worker. Idempotent."""
        ...

    async def acquire(self, trust_domain: str | None) -> Worker:
        """A worker that no other execution uses."""
        ...

    async def release(self, worker: Worker, *, clean: bool, violation: bool = False) -> Death | None:
        """Give it back. After anything but a clean end it is killed; the death is returned once it is over.

        ``violation`` says that it broke the protocol: no worker that may resemble it serves from then on.
        """
        ...

    async def end_domain(self, trust_domain: str) -> None:
        """Drop the idle worker of a trust domain, if there is one."""
        ...

    def note_crash(self) -> None:
        """Count a worker that ended by itself."""
        ...

    def status(self) -> PoolStatus: ...
