"""Workers in threads of this process: for trusted scripts only, since nothing here can be killed."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections import OrderedDict

import anyio

from harness.errors import UsageError
from harness.limits import MIB, Limits
from harness.runtime import wire
from harness.runtime.adapter import Death, PoolStatus, Worker
from harness.runtime.link import FrameLink

__all__ = ["ThreadPool"]

_DOMAINS_KEPT = 8
_STOP_TIMEOUT = 0.25
# The engine measures its stack from where it was created; the thread's own must be larger with room to spare.
_THREAD_STACK_MARGIN = 4 * MIB
_starting = threading.Lock()


class ThreadWorker:
    """One VM in a thread of its own, behind the same frames as a process."""

    def __init__(self, limits: Limits) -> None:
        ours, theirs = socket.socketpair()
        self._link = FrameLink(ours, frame_bytes=limits.frame_bytes)
        self._thread = threading.Thread(
            target=_serve, args=(theirs, limits.stack_bytes), name="harness-vm", daemon=True
        )
        with _starting:
            previous = threading.stack_size(limits.stack_bytes + _THREAD_STACK_MARGIN)
            try:
                self._thread.start()
            finally:
                threading.stack_size(previous)

    @property
    def alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    async def exchange(self, kind: int, body: bytes) -> tuple[int, bytes]:
        """See `harness.runtime.adapter.Worker`."""
        return await self._link.exchange(kind, body)

    @property
    def protections(self) -> dict[str, str]:
        """None: a thread has the rights of its process."""
        return self._link.protections

    @property
    def fit(self) -> bool:
        """Whether it can serve another execution."""
        return self.alive and self._link.silent

    async def gone(self) -> None:
        """See `harness.runtime.adapter.Worker`: a thread does not die by itself."""
        await anyio.sleep_forever()

    def kill(self) -> None:
        """Close its socket: the thread ends when it next waits for a frame, which a busy script may delay until its CPU
        time is used up.
        """
        self._link.close()

    async def ended(self) -> Death:
        """Wait a little for the thread to end."""
        self._link.close()
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._thread.join, _STOP_TIMEOUT)
        return Death(None)


def _serve(channel: socket.socket, stack_bytes: int) -> None:
    from harness.runtime.worker import VM, serve  # noqa: PLC0415 - the engine stays out of hosts that use processes

    with channel:
        try:
            try:
                vm = VM(stack_bytes=stack_bytes)
            except RuntimeError as error:  # its hardening did not take, and the host must hear of it
                channel.sendall(wire.pack_frame(wire.FAILED, json.dumps({"reason": str(error)[:2000]}).encode()))
                return
            serve(channel, vm, protections={}, cpu_timer=False)
        except OSError:
            return


class ThreadPool:
    """``isolation="thread"``: as ``shared``, with threads."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._idle: OrderedDict[str, ThreadWorker] = OrderedDict()
        self._busy: dict[ThreadWorker, str | None] = {}
        self._abandoned: list[ThreadWorker] = []
        self._started = 0
        self._crashed = 0
        self._open = False
        self._pid = 0

    async def open(self) -> None:
        """See `harness.runtime.adapter.WorkerPool`."""
        self._open = True
        self._pid = os.getpid()

    async def acquire(self, trust_domain: str | None) -> Worker:
        """See `harness.runtime.adapter.WorkerPool`."""
        if not self._open:
            raise UsageError("The Harness is closed.")
        if self._pid != os.getpid():
            raise UsageError(
                "This Harness belongs to the process that made it. Make one in each process, after the fork."
            )
        worker = self._idle.pop(trust_domain, None) if trust_domain is not None else None
        if worker is not None and not worker.fit:
            await self._end(worker)
            worker = None
        if worker is None:
            worker = ThreadWorker(self._limits)
            self._started += 1
        self._busy[worker] = trust_domain
        return worker

    async def release(self, worker: Worker, *, clean: bool, violation: bool = False) -> Death | None:  # noqa: ARG002 - see below
        """See `harness.runtime.adapter.WorkerPool`. Threads share this process's memory, so that nothing can be replaced."""
        assert isinstance(worker, ThreadWorker)  # noqa: S101 - only workers of this pool come back
        domain = self._busy.pop(worker, None)
        if clean and domain is not None and self._open and domain not in self._idle:
            self._idle[domain] = worker
            if len(self._idle) > _DOMAINS_KEPT:
                await self._end(self._idle.popitem(last=False)[1])
            return None
        await self._end(worker)
        return None if clean else Death(None)

    async def _end(self, worker: ThreadWorker) -> None:
        worker.kill()
        await worker.ended()
        if worker.alive:
            self._abandoned.append(worker)

    async def end_domain(self, trust_domain: str) -> None:
        """See `harness.runtime.adapter.WorkerPool`."""
        worker = self._idle.pop(trust_domain, None)
        if worker is not None:
            await self._end(worker)

    def note_crash(self) -> None:
        """Count a worker that ended by itself."""
        self._crashed += 1

    def status(self) -> PoolStatus:
        """See `harness.runtime.adapter.WorkerPool`."""
        self._abandoned = [worker for worker in self._abandoned if worker.alive]
        return PoolStatus(
            "thread", len(self._idle), len(self._busy), self._started, self._crashed, len(self._abandoned)
        )

    async def aclose(self) -> None:
        """See `harness.runtime.adapter.WorkerPool`."""
        self._open = False
        while self._idle:
            await self._end(self._idle.popitem()[1])
        for worker in self._busy:
            worker.kill()
