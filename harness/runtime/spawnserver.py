"""Workers where there is no fork server: processes that were started ahead of need, each for one use.

For platforms without fork or without handles to processes (pidfd). Starting one costs a whole interpreter, so a few wait
ready. Their ends are found out by asking now and then, which no event loop has to help with.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections import deque
from collections.abc import Mapping
from typing import Any

import anyio

from harness.errors import HarnessInternalError
from harness.limits import Limits
from harness.runtime.adapter import Death, WorkerGoneError
from harness.runtime.boot import spawn
from harness.runtime.process import ProcessWorker

__all__ = ["SpawnServer", "SpawnedWorker", "can_fork"]

_START_TIMEOUT = 30.0
_POLL_S = 0.02
_KILL_POLL_S = 0.001


def can_fork() -> bool:
    """Whether this platform has what a fork server and the handles to its workers need."""
    if not hasattr(os, "fork") or not hasattr(os, "pidfd_open") or not hasattr(socket, "SOCK_SEQPACKET"):
        return False
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:
        # An old kernel, or a container runtime that does not allow it.
        return False
    return True


class SpawnedWorker(ProcessWorker):
    """One worker process that this process started."""

    def __init__(
        self, server: SpawnServer, process: subprocess.Popen[bytes], connection: socket.socket, limits: Limits
    ) -> None:
        super().__init__(process.pid, connection, limits)
        self.server = server
        self._process = process

    async def ready(self) -> None:
        """Wait for its greeting. Raises `HarnessInternalError` if that does not come."""
        try:
            with anyio.fail_after(_START_TIMEOUT):
                await self._link.greeting()
        except (WorkerGoneError, TimeoutError) as error:
            why = str(error) or f"no worker was ready within {_START_TIMEOUT:.0f} seconds"
            raise HarnessInternalError(f"No worker process can be started: {why}.") from error

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self._process.poll() is None

    async def _over(self) -> None:
        while self.alive:  # noqa: ASYNC110 - nothing tells of it on every platform
            await anyio.sleep(_POLL_S)

    def kill(self) -> None:
        """See `harness.runtime.adapter.Worker`."""
        self._process.kill()

    async def ended(self) -> Death:
        """See `harness.runtime.adapter.Worker`."""
        self._link.close()
        with anyio.CancelScope(shield=True):
            while self.alive:  # noqa: ASYNC110 - as above
                await anyio.sleep(_KILL_POLL_S)
        return Death(self._process.returncode, overrun=self.overrun)


class SpawnServer:
    """Starts workers. The same for a pool as a `harness.runtime.forkserver.ForkServer`."""

    up = True
    """There is nothing that has to start first."""
    tainted = False
    """Each of these workers has a memory layout of its own."""
    started = 0
    """Nor does one inherit anything from the one before it."""

    def __init__(self, limits: Limits, config: Mapping[str, Any]) -> None:
        self._limits = limits
        self._config = {**config}
        self._spares: deque[SpawnedWorker] = deque()
        self.failure: str | None = None
        """Why no more workers come from here."""

    @property
    def waiting(self) -> int:
        """Workers that were started and are idle."""
        return len(self._spares)

    def start(self) -> None:
        """Get ready. Raises nothing here."""

    def spares(self) -> int:
        """Workers that are ready or on their way."""
        return len(self._spares)

    def refresh(self) -> int:
        """Take in what has come: here, nothing ever does."""
        return 0

    def request(self, count: int) -> None:
        """Start workers ahead of need. One that cannot be started is missed only when it is needed."""
        for _ in range(count):
            try:
                self._spares.append(self._start_one())
            except OSError:
                return

    def _start_one(self) -> SpawnedWorker:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = spawn("solo", theirs.fileno(), self._config)
            except BaseException:
                ours.close()
                raise
        return SpawnedWorker(self, process, ours, self._limits)

    async def take(self) -> SpawnedWorker:
        """A fresh worker. Raises `HarnessInternalError` if none can be started."""
        while self._spares:
            worker = self._spares.popleft()
            # One that was killed while it waited has done nothing yet.
            if worker.alive:
                return await self._when_ready(worker)
            await worker.ended()
        try:
            worker = self._start_one()
        except OSError as error:
            raise HarnessInternalError(f"No worker process can be started: {error.strerror or error}.") from error
        return await self._when_ready(worker)

    async def _when_ready(self, worker: SpawnedWorker) -> SpawnedWorker:
        try:
            await worker.ready()
        except BaseException:
            worker.kill()
            await worker.ended()
            raise
        return worker

    async def status_of(self, worker: ProcessWorker) -> Death:
        """How a worker that has ended did so."""
        return await worker.ended()

    def distrust(self) -> None:
        """Be told that one of its workers broke the protocol: the others have nothing in common with it."""

    def forget(self, worker: ProcessWorker) -> None:
        """Nobody will ask how this worker ended: nothing is kept of it."""

    async def aclose(self) -> None:
        """End every worker that is idle. Idempotent."""
        self.failure = self.failure or "it was closed"
        with anyio.CancelScope(shield=True):
            spares, self._spares = self._spares, deque()
            for worker in spares:
                worker.kill()
            for worker in spares:
                await worker.ended()
