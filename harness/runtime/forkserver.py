"""The host's end of a zygote: start it, ask it for workers, learn how they ended.

No task runs in the background: whoever needs a message from the zygote reads the control socket, one at a time.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import struct
import subprocess
from collections import deque
from collections.abc import Mapping
from typing import Any

import anyio

from harness.errors import HarnessInternalError
from harness.limits import Limits
from harness.runtime import wire
from harness.runtime.adapter import Death
from harness.runtime.boot import spawn
from harness.runtime.process import ProcessWorker

__all__ = ["ForkServer", "ForkedWorker"]

_CRASHES = {-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS, -signal.SIGILL, -signal.SIGSYS}
_START_TIMEOUT = 30.0
_STOP_TIMEOUT = 2.0
_DEAD_SPARES = 3
_INT = struct.Struct("i")
_CLOSE_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


class ForkedWorker(ProcessWorker):
    """One worker process that a zygote forked."""

    def __init__(self, server: ForkServer, pid: int, connection: socket.socket, pidfd: int, limits: Limits) -> None:
        super().__init__(pid, connection, limits)
        self.server = server
        self._pidfd = pidfd

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self._pidfd >= 0 and not _is_over(self._pidfd)

    async def _over(self) -> None:
        if self._pidfd < 0:
            return
        # A descriptor of its own: an event loop lets only one task wait for each.
        pidfd = os.dup(self._pidfd)
        try:
            await _over(pidfd)
        finally:
            os.close(pidfd)

    def kill(self) -> None:
        """See `harness.runtime.adapter.Worker`."""
        if self._pidfd >= 0:
            try:
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            except ProcessLookupError:
                return

    async def ended(self) -> Death:
        """See `harness.runtime.adapter.Worker`. Knows the status only if the zygote has told it already."""
        self._link.close()
        if self._pidfd >= 0:
            pidfd, self._pidfd = self._pidfd, -1
            with anyio.CancelScope(shield=True):
                await _over(pidfd)
            os.close(pidfd)
        return Death(self.server.exits.get(self.pid), overrun=self.overrun)


def _is_over(pidfd: int) -> bool:
    # A pidfd becomes readable when its process is over.
    watch = select.poll()
    watch.register(pidfd, select.POLLIN)
    return bool(watch.poll(0))


async def _over(pidfd: int) -> None:
    """Wait until a process is over."""
    # An event loop can wake this for another process: the zygote has the same pidfds open, so what epoll was told to
    # watch outlives the closing of a number here, and the number is used again.
    while not _is_over(pidfd):
        await anyio.wait_readable(pidfd)


class ForkServer:
    """A zygote and its workers."""

    def __init__(self, limits: Limits, config: Mapping[str, Any]) -> None:
        self._limits = limits
        self._config = {**config}
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._reading = anyio.Lock()
        self._ready: deque[ForkedWorker] = deque()
        self._requested = 0
        self._takers = 0
        self._messages = 0
        self.up = False
        """The zygote has said that it is ready."""
        self.failure: str | None = None
        """Why no more workers come from here."""
        self.live: set[int] = set()
        """pids of workers somebody may still ask about."""
        self.exits: dict[int, int] = {}
        """pid -> status of those that ended."""
        self.started = 0
        self.tainted = False
        """A worker crashed or broke the protocol: since all share one memory layout, the next attempt must not meet it
        again."""

    @property
    def waiting(self) -> int:
        """Workers that are ready and idle."""
        return len(self._ready)

    def start(self) -> None:
        """Start the zygote; it gets ready on its own. Takes a millisecond or two.

        Raises `HarnessInternalError` if the operating system lets no process start.
        """
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs, contextlib.ExitStack() as undo:
                undo.enter_context(ours)
                self._process = spawn("zygote", theirs.fileno(), self._config)
                undo.pop_all()
        except OSError as error:
            raise HarnessInternalError(f"No worker process can be started: {error.strerror or error}.") from error
        ours.setblocking(False)
        self._control = ours

    def request(self, count: int) -> None:
        """Ask for workers ahead of need."""
        if self._control is None:
            return
        for _ in range(count):
            try:
                self._control.send(wire.FORK)
            except BlockingIOError:
                return
            except OSError:
                self.failure = self.failure or "it has ended"
                return
            self._requested += 1

    def spares(self) -> int:
        """Workers that are ready or on their way."""
        return len(self._ready) + self._requested

    async def take(self) -> ForkedWorker:
        """A fresh worker. Raises `HarnessInternalError` if the zygote cannot start or has gone."""
        self._takers += 1
        try:
            with anyio.move_on_after(_START_TIMEOUT):
                return await self._next()
        finally:
            self._takers -= 1
        self.failure = f"no worker was ready within {_START_TIMEOUT:.0f} seconds"
        raise HarnessInternalError(f"No worker process can be started: {self.failure}.")

    async def _next(self) -> ForkedWorker:
        dead = 0
        while True:
            self.refresh()
            # First of all, since its spares end with it, even if they have not yet.
            if self.failure is not None:
                raise HarnessInternalError(f"No worker process can be started: the fork server says: {self.failure}.")
            if self._ready:
                worker = self._ready.popleft()
                # One that was killed while it waited has done nothing yet. If all of them die, somebody has to say how.
                if worker.alive or dead >= _DEAD_SPARES:
                    return worker
                dead += 1
                await worker.ended()
                self.forget(worker)
                continue
            if self._requested < self._takers:
                self.request(self._takers - self._requested)
            await self._wait()

    async def status_of(self, worker: ProcessWorker) -> Death:
        """How a worker that has ended did so. Waits for the zygote's word, but not for long."""
        with anyio.move_on_after(_STOP_TIMEOUT, shield=True):
            while worker.pid not in self.exits and self.failure is None:
                if not self.refresh():
                    await self._wait()
        known = worker.pid in self.exits
        return Death(
            self.exits.get(worker.pid), orphaned=not known and self.failure is not None, overrun=worker.overrun
        )

    def distrust(self) -> None:
        """Be told that one of its workers broke the protocol. It is to be replaced, as after a crash."""
        self.tainted = True

    def forget(self, worker: ProcessWorker) -> None:
        """Nobody will ask how this worker ended."""
        self.live.discard(worker.pid)
        self.exits.pop(worker.pid, None)

    async def _wait(self) -> None:
        seen = self._messages
        async with self._reading:
            # Whoever held the lock before may have read what this task waits for.
            if seen != self._messages or self._control is None:
                return
            try:
                await anyio.wait_readable(self._control)
            except (anyio.ClosedResourceError, OSError, ValueError):
                self.failure = self.failure or "it was closed"

    def refresh(self) -> int:
        """Take in every message that has come, and say how many. Never blocks."""
        before = self._messages
        while self._control is not None and self.failure is None:
            try:
                message, descriptors = _receive(self._control)
            except BlockingIOError:
                # A child in the middle of being forked keeps the socket of a zygote that has died open for a moment.
                if self._process is not None and self._process.poll() is not None:
                    self.failure = "it has ended"
                break
            except ConnectionResetError:
                # It ended with requests unread. The error comes once, before what it had said: why it ended.
                continue
            except OSError as error:
                self.failure = f"its control socket failed ({error.strerror})"
                break
            if not message:
                self.failure = "it has ended"
                break
            self._messages += 1
            self._handle(message[:1], message[1:], descriptors)
        return self._messages - before

    def _handle(self, kind: bytes, body: bytes, descriptors: list[int]) -> None:
        if kind == wire.WORKER:
            (pid,) = struct.unpack(">I", body)
            if len(descriptors) != 2:
                # The worker's socket was lost on the way, which ends it.
                for descriptor in descriptors:
                    os.close(descriptor)
                self.failure = "this process may open no more files; raise its limit (ulimit -n)"
                return
            connection, pidfd = descriptors
            self._requested = max(0, self._requested - 1)
            self.live.add(pid)
            self.started += 1
            self._ready.append(ForkedWorker(self, pid, socket.socket(fileno=connection), pidfd, self._limits))
        elif kind == wire.ENDED:
            pid, status = wire.STATUS.unpack(body)
            self.tainted = self.tainted or status in _CRASHES
            if pid in self.live:
                self.exits[pid] = status
        elif kind == wire.FAILURE:
            self.failure = body.decode(errors="replace")
        elif kind == wire.UP:
            self.up = True

    async def aclose(self) -> None:
        """End the zygote and every worker of it. Idempotent."""
        with anyio.CancelScope(shield=True):
            process, self._process = self._process, None
            if process is None:
                return
            assert self._control is not None  # noqa: S101 - there from start to end, as the process is
            with contextlib.suppress(OSError):  # it may have gone by itself
                self._control.shutdown(socket.SHUT_WR)
            await _reap(process)
            # The zygote took its workers with it, unless it was killed. Then those still on their way here must go too.
            self.refresh()
            self.failure = self.failure or "it was closed"
            while self._ready:
                worker = self._ready.popleft()
                worker.kill()
                await worker.ended()
                self.forget(worker)
            control, self._control = self._control, None
            anyio.notify_closing(control)
            control.close()


def _receive(control: socket.socket) -> tuple[bytes, list[int]]:
    """One message with its descriptors, at most two. `socket.recv_fds` would leave them to be inherited."""
    message, extras, _, _ = control.recvmsg(65_536, socket.CMSG_SPACE(2 * _INT.size), _CLOSE_ON_EXEC)
    descriptors: list[int] = []
    for level, kind, data in extras:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors += (number for (number,) in _INT.iter_unpack(data[: len(data) // _INT.size * _INT.size]))
    return message, descriptors


async def _reap(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    pidfd = os.pidfd_open(process.pid)
    try:
        with anyio.move_on_after(_STOP_TIMEOUT) as waiting:
            await _over(pidfd)
        if waiting.cancelled_caught:
            process.kill()
            await _over(pidfd)
    finally:
        os.close(pidfd)
        process.wait()
