"""Whose threads and tasks the host's own code runs in: those of the harness that runs it, else those of the process."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from contextvars import ContextVar

from harness.errors import ToolExecutionError
from harness.tasks import Tasks
from harness.threads import Threads

__all__ = ["DEFAULT_EXECUTOR", "Executor", "current_executor"]

_LOG = logging.getLogger("harness.tools")


class Executor:
    """The threads and tasks of one harness."""

    def __init__(self) -> None:
        self.threads = Threads()
        self.tasks = Tasks()

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        """What runs inside, and what that starts, finds it with `current_executor`."""
        token = _CURRENT.set(self)
        try:
            yield
        finally:
            _CURRENT.reset(token)

    async def aclose(self, grace: float, *, tell: bool = True) -> None:
        """End what was left behind, as far as that can be done: see `Tasks.aclose`.

        What is left then is named in the log, and with ``tell`` in a `ToolExecutionError`.
        """
        names = await self.tasks.aclose(grace)
        if not names:
            return
        error = ToolExecutionError(
            f"{', '.join(names)}: cancelled again, and still running after the harness was closed. On trio a coroutine cannot "
            "be killed, and the event loop does not end before it does. Let cancellation through: after catching it, raise "
            "it again.",
            details={"tools": list(names)},
            retryable=False,
        )
        _LOG.error("%s", error.message)
        if tell:
            raise error


DEFAULT_EXECUTOR = Executor()
"""For what runs outside of any harness, such as a tool that is called by host code."""
_CURRENT: ContextVar[Executor] = ContextVar("harness_executor", default=DEFAULT_EXECUTOR)


def current_executor() -> Executor:
    """That of the harness in whose run this is called."""
    return _CURRENT.get()
