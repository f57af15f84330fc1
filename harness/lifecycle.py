"""Opening and closing what a harness keeps: its workers, and an event loop for code that has none."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Self, TypeVar

from harness.approvals.bridge import ApprovalBridge
from harness.errors import UsageError
from harness.executor import Executor
from harness.journal.journal import Journal
from harness.limits import Limits
from harness.runtime.runtime import Hardening, Isolation, Runtime
from harness.sync import Portal, in_event_loop, run_alone

__all__ = ["Lifecycle"]

Result = TypeVar("Result")


class Lifecycle:
    """What `Harness` is as a context manager, async and sync.

    Open, it keeps one `Runtime` from one run to the next; else each of them opens and closes its own.
    """

    def __init__(
        self,
        limits: Limits,
        approvals: ApprovalBridge,
        journal: Journal,
        *,
        own_journal: bool,
        isolation: Isolation,
        hardening: Hardening,
    ) -> None:
        self.limits = limits
        self.approvals = approvals
        """What waits for a person: ``pending()``, ``cancel(request_id)``, ``cancel_all()``, ``statistics``."""
        self.journal = journal
        """What is on record; see `Journal`."""
        self._own_journal = own_journal
        self._isolation: Isolation = isolation
        self._hardening: Hardening = hardening
        self._executor = Executor()
        self._runtime: Runtime | None = None
        self._portal: Portal | None = None
        self._pid = os.getpid()

    async def __aenter__(self) -> Self:
        self._check_process()
        if self._runtime is not None:
            raise UsageError("This Harness is open already; one `async with` serves any number of concurrent runs.")
        runtime = Runtime(self._isolation, self.limits, self._hardening)
        await runtime.open()
        self._runtime = runtime
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        await self._close(kind is None)

    async def aclose(self) -> None:
        """End what still runs and give everything back. Idempotent.

        Raises `ToolExecutionError` if an async tool that was cancelled earlier runs on in spite of that.
        """
        await self._close(True)

    async def _close(self, tell: bool) -> None:
        runtime, self._runtime = self._runtime, None
        if runtime is not None:
            self.approvals.cancel_all("the harness was closed")
            await runtime.aclose()
        try:
            await self._executor.aclose(self.limits.settle_grace, tell=tell)
        finally:
            self._close_journal()

    def _close_journal(self) -> None:
        # It opens again by itself when it is used again.
        if self._own_journal:
            self.journal.close()

    def __enter__(self) -> Self:
        if in_event_loop():
            raise UsageError("There is a running event loop: write `async with Harness(…)` instead of `with`.")
        portal = Portal()
        try:
            portal.call(self.__aenter__)
        except BaseException:
            portal.close()
            raise
        self._portal = portal
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._close_portal(kind is None)

    def close(self) -> None:
        """What leaving a ``with`` block does. Idempotent. Raises as `aclose`."""
        self._close_portal(True)

    def _close_portal(self, tell: bool) -> None:
        portal, self._portal = self._portal, None
        # In a fork of the process that opened it, the thread is not there, and nothing in it is this process's to end.
        if portal is not None and self._pid == os.getpid():
            try:
                (run_alone if portal.over else portal.call)(partial(self._close, tell))
            finally:
                portal.close()

    @asynccontextmanager
    async def _open_runtime(self, needed: bool = True) -> AsyncIterator[Runtime]:
        """What runs scripts: what this harness keeps open, or else one for this purpose alone."""
        with self._executor.serving():
            if self._runtime is not None:
                yield self._runtime
                return
            runtime = Runtime(self._isolation, self.limits, self._hardening)
            try:
                if needed:
                    await runtime.open()
                yield runtime
            finally:
                await runtime.aclose()
                # Nobody but the log can be told: the outcome must not be lost.
                await self._executor.aclose(self.limits.settle_grace, tell=False)
                self._close_journal()

    def _call_sync(self, function: Callable[..., Coroutine[Any, Any, Result]], *args: Any) -> Result:
        self._check_process()
        if in_event_loop():
            raise UsageError(
                "There is a running event loop here: await the method without `_sync`, as in `await harness.run(text)` "
                "instead of run_sync."
            )
        if self._portal is not None:
            return self._portal.call(function, *args)
        if self._runtime is not None:
            raise UsageError(
                "This Harness was opened with `async with`; in code without an event loop open one with `with Harness(…)`."
            )
        return run_alone(function, *args)

    def _check_process(self) -> None:
        if self._pid != os.getpid():
            raise UsageError(
                "This Harness was made in another process, of which this one is a fork. Make one Harness in each "
                "process, after the fork (in a prefork server: when the worker starts)."
            )
