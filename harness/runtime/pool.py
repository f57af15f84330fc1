"""Workers in processes of their own: forked ahead of need, one for each execution or one for each trust domain."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Literal

import anyio

from harness.errors import HarnessInternalError, UsageError
from harness.limits import Limits
from harness.runtime.adapter import Death, PoolStatus, Worker
from harness.runtime.boot import worker_config
from harness.runtime.forkserver import ForkedWorker, ForkServer
from harness.runtime.spawnserver import SpawnedWorker, SpawnServer, can_fork

__all__ = ["ProcessPool"]

_SPARES = 2
_DOMAINS_KEPT = 8
_RUNS_OF_A_WORKER = 200

_Server = ForkServer | SpawnServer
_Worker = ForkedWorker | SpawnedWorker


class ProcessPool:
    """``isolation="process"`` gives every execution a fresh process. ``isolation="shared"`` keeps the process of a
    trust domain for its next execution, until one ends uncleanly, or ``_RUNS_OF_A_WORKER`` have been served.

    With ``required`` a worker refuses to serve without the full set of layers. ``start`` is how processes are made:
    forked by a fork server, or spawned one by one; by default what the platform can. ``on_report`` is given what each
    worker says of its layers.
    """

    def __init__(
        self,
        isolation: Literal["process", "shared"],
        limits: Limits,
        *,
        required: bool = False,
        start: Literal["fork", "spawn"] | None = None,
        on_report: Callable[[Mapping[str, str]], None] | None = None,
    ) -> None:
        self._isolation = isolation
        self._limits = limits
        self._required = required
        self._on_report = on_report
        self.start = start or ("fork" if can_fork() else "spawn")
        self._server: _Server | None = None
        self._retired: list[_Server] = []
        self._idle: OrderedDict[str, _Worker] = OrderedDict()
        self._domains: dict[int, str] = {}
        self._busy: set[_Worker] = set()
        self._started = 0
        self._crashed = 0
        self._pid = 0

    async def open(self) -> None:
        """Start the fork server and its first spare workers; they get ready on their own.

        Raises `UsageError` on a system that is not POSIX.
        """
        if os.name != "posix":
            raise UsageError(
                "Processes for scripts need a POSIX system. Use WSL or a container, or isolation='thread' for scripts "
                "you trust."
            )
        self._pid = os.getpid()
        self._server = self._new_server()

    def _new_server(self) -> _Server:
        runs = _RUNS_OF_A_WORKER if self._isolation == "shared" else 1
        config = worker_config(self._limits, runs=runs, required=self._required)
        kind = ForkServer if self.start == "fork" else SpawnServer
        server: _Server = kind(self._limits, config)
        server.start()
        server.request(_SPARES)
        return server

    async def acquire(self, trust_domain: str | None) -> Worker:
        """See `harness.runtime.adapter.WorkerPool`."""
        if self._pid != os.getpid():
            raise UsageError(
                "This Harness belongs to the process that made it, and this is a fork of it. Make one Harness in each "
                "process, after the fork."
            )
        worker = await self._idle_one(trust_domain)
        if worker is None:
            worker = await self._fresh()
            self._started += 1
        worker.runs += 1
        self._busy.add(worker)
        if self._isolation == "shared" and trust_domain is not None:
            self._domains[worker.pid] = trust_domain
        return worker

    async def _idle_one(self, trust_domain: str | None) -> _Worker | None:
        """The worker that was kept for a trust domain, if it is still what it was."""
        worker = self._idle.pop(trust_domain, None) if trust_domain is not None else None
        if worker is None:
            return None
        worker.server.refresh()
        server = worker.server
        if server is self._server and server.failure is None and not server.tainted and worker.fit:
            return worker
        await self._end(worker, clean=True)
        return None

    async def _fresh(self) -> _Worker:
        for last_try in (False, True):
            server = await self._current()
            try:
                worker = await server.take()
            except HarnessInternalError:
                # A fork server that had been up and was killed is replaced, once; one that cannot start is not.
                if last_try or not server.up:
                    raise
                continue
            server.request(_SPARES - server.spares())
            return worker
        raise AssertionError("unreachable")

    async def _current(self) -> _Server:
        server = self._server
        if server is not None:
            server.refresh()
            if server.failure is not None or server.tainted or server.started >= self._limits.max_forks:
                self._server = self._new_server()
                self._retired.append(server)
                await self._close_if_unused(server)
        if self._server is None:
            raise UsageError("The Harness is closed.")
        return self._server

    async def _close_if_unused(self, server: _Server) -> None:
        """A server's running workers end with it, so it is closed only when the last of them has been given back."""
        if server not in self._retired or any(worker.server is server for worker in self._busy):
            return
        self._retired.remove(server)
        with anyio.CancelScope(shield=True):
            for domain in [domain for domain, worker in self._idle.items() if worker.server is server]:
                await self._end(self._idle.pop(domain), clean=True)
            await server.aclose()

    async def release(self, worker: Worker, *, clean: bool, violation: bool = False) -> Death | None:
        """See `harness.runtime.adapter.WorkerPool`."""
        assert isinstance(worker, ForkedWorker | SpawnedWorker)  # noqa: S101 - only workers of this pool come back
        if self._on_report is not None and worker.protections:
            self._on_report(worker.protections)
        if violation:
            worker.server.distrust()
        self._busy.discard(worker)
        domain = self._domains.pop(worker.pid, None)
        keep = clean and domain is not None and worker.runs < _RUNS_OF_A_WORKER and self._server is worker.server
        if keep and domain is not None and domain not in self._idle:
            self._idle[domain] = worker
            if len(self._idle) > _DOMAINS_KEPT:
                _, oldest = self._idle.popitem(last=False)
                await self._end(oldest, clean=True)
            return None
        return await self._end(worker, clean=clean)

    async def _end(self, worker: _Worker, *, clean: bool) -> Death | None:
        with anyio.CancelScope(shield=True):
            worker.kill()
            await worker.ended()
            death = None if clean else await worker.server.status_of(worker)
            worker.server.forget(worker)
            await self._close_if_unused(worker.server)
        return death

    async def end_domain(self, trust_domain: str) -> None:
        """See `harness.runtime.adapter.WorkerPool`."""
        worker = self._idle.pop(trust_domain, None)
        if worker is not None:
            await self._end(worker, clean=True)

    def note_crash(self) -> None:
        """Count a worker that ended by itself."""
        self._crashed += 1

    def status(self) -> PoolStatus:
        """See `harness.runtime.adapter.WorkerPool`."""
        waiting = len(self._idle) + (self._server.waiting if self._server else 0)
        return PoolStatus(self._isolation, waiting, len(self._busy), self._started, self._crashed)

    async def aclose(self) -> None:
        """End every worker and the fork servers. Idempotent. In a fork of the process that opened it, they are not this
        process's to end.
        """
        if self._pid != os.getpid():
            return
        with anyio.CancelScope(shield=True):
            workers = [*self._idle.values(), *self._busy]
            self._idle.clear()
            for worker in workers:
                worker.kill()
            for worker in workers:
                if worker not in self._busy:
                    await worker.ended()
            servers = [*self._retired, *([self._server] if self._server else [])]
            self._server = None
            self._retired.clear()
            for server in servers:
                await server.aclose()
