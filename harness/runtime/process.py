"""One worker in a process of its own, as the host holds it, however the process came to be."""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod

import anyio

from harness.limits import MIB, Limits
from harness.runtime.adapter import Death
from harness.runtime.link import FrameLink
from harness.runtime.watch import FIRST_PERIOD_S, LATER_PERIOD_S, Overrun, Watch

__all__ = ["ProcessWorker"]

# The interpreter, the engine and frames on their way, besides the heap of the VM.
_RESIDENT_HEADROOM = 96 * MIB
_COPIES_OF_A_FRAME = 4


class ProcessWorker(ABC):
    """A process behind a socket, and a watch over it. See `harness.runtime.adapter.Worker`."""

    def __init__(self, pid: int, connection: socket.socket, limits: Limits) -> None:
        self.pid = pid
        self.runs = 0
        self.overrun: Overrun | None = None
        """Why the host ended it on its own account."""
        resident = limits.memory_bytes + _COPIES_OF_A_FRAME * limits.frame_bytes + _RESIDENT_HEADROOM
        self._watch = Watch(pid, resident_bytes=resident)
        self._link = FrameLink(connection, frame_bytes=limits.frame_bytes, on_silence=self._look)
        self._link.period = FIRST_PERIOD_S
        self._owes_answer = False

    async def exchange(self, kind: int, body: bytes) -> tuple[int, bytes]:
        """See `harness.runtime.adapter.Worker`."""
        self._owes_answer = True
        answer = await self._link.exchange(kind, body)
        self._owes_answer = False
        return answer

    @property
    def protections(self) -> dict[str, str]:
        """See `harness.runtime.adapter.Worker`."""
        return self._link.protections

    @property
    @abstractmethod
    def alive(self) -> bool:
        """Whether its process runs."""

    @property
    def fit(self) -> bool:
        """Whether it can serve another execution."""
        return self._link.silent and self.alive

    async def gone(self) -> None:
        """See `harness.runtime.adapter.Worker`."""
        # Whoever waits for an answer in the meantime need not look as well, which would cost something for each call.
        before, self._link.period = self._link.period, None
        try:
            while self.alive:
                with anyio.move_on_after(LATER_PERIOD_S):
                    await self._over()
                self._look(LATER_PERIOD_S)
        finally:
            self._link.period = before

    @abstractmethod
    async def _over(self) -> None:
        """Wait until its process is over; more than one task may. Can be cancelled."""

    @abstractmethod
    def kill(self) -> None:
        """See `harness.runtime.adapter.Worker`."""

    @abstractmethod
    async def ended(self) -> Death:
        """See `harness.runtime.adapter.Worker`."""

    def _look(self, period: float) -> None:
        found = self._watch.look(period, owes_answer=self._owes_answer)
        # Its number may have been given to another process only after it was over.
        if found is not None and self.overrun is None and self.alive:
            self.overrun = found
            self.kill()
