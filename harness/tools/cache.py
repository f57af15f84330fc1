"""Results of deterministic tools, kept and used again; and equal calls at the same time, of which one does the work."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

import anyio
from pydantic import JsonValue

from harness.canonical import content_hash
from harness.context import ExecutionContext
from harness.limits import MIB
from harness.model import Artifact
from harness.tools.resource import check_count
from harness.tools.tool import Tool

_MOST_BYTES = 1024 * 1024 * MIB

__all__ = ["CacheStatistics", "Flight", "Kept", "ResultCache", "result_key"]


def result_key(tool: Tool, arguments: dict[str, JsonValue], context: ExecutionContext) -> str:
    """What a result is kept under: the hash of the canonical JSON of name, contract version and arguments.

    A tool that looks at its call's context may answer differently for each caller, so who it was belongs to the key.
    """
    asked = {
        "tool": tool.name,
        "version": [tool.version, None if tool.resource is None else tool.resource.schema_version],
        "arguments": arguments,
        "json_depth": context.limits.json_depth,
    }
    if tool.uses_context:
        seen = context.model_dump(
            mode="json", include={"user_id", "session_id", "conversation_id", "metadata", "inputs"}
        )
        # Callers that nobody named are told apart by their executions.
        anonymous = context.user_id is None and context.session_id is None and context.conversation_id is None
        asked["context"] = {**seen, "execution_id": context.execution_id if anonymous else None}
    return content_hash(asked)


@dataclass(slots=True)
class CacheStatistics:
    """Counters since the cache was made."""

    hits: int = 0
    """Calls that were answered by a kept result."""
    joined: int = 0
    """Calls that waited for the result of an equal one under way."""
    misses: int = 0
    evicted: int = 0
    """Results dropped to make room, or since their files were not there any more."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A result, and the files that belong to it."""

    text: str
    """The result as JSON."""
    artifacts: tuple[Artifact, ...] = ()

    @property
    def size(self) -> int:
        """About as many bytes as it takes."""
        text = len(self.text) if self.text.isascii() else len(self.text.encode())
        return text + sum(len(artifact.path) + len(artifact.sha256) for artifact in self.artifacts)


class Flight:
    """A call under way, whose result others wait for."""

    def __init__(self) -> None:
        self._ended = anyio.Event()
        self._result: Kept | None = None

    def land(self, result: Kept | None) -> None:
        """Tell those who wait; None if there is no result."""
        self._result = result
        self._ended.set()

    async def landed(self) -> Kept | None:
        """The result; None if the call failed or was cancelled."""
        await self._ended.wait()
        return self._result


class ResultCache:
    """Results as JSON, the least recently used dropped first. Failures are never kept.

    It holds ``max_entries`` results of ``max_bytes`` in all; with ``max_entries=0`` it keeps none, and equal calls at
    the same time still share one. Raises `UsageError` for values that cannot be.
    """

    def __init__(self, *, max_entries: int = 1_000, max_bytes: int = 16 * MIB) -> None:
        check_count(max_entries, "max_entries of the cache", least=0)
        check_count(max_bytes, "max_bytes of the cache", least=0, most=_MOST_BYTES)
        self.max_entries = max_entries
        self.max_bytes = max_bytes
        self._results: OrderedDict[str, Kept] = OrderedDict()
        self._bytes = 0
        # An event wakes the loop it belongs to; calls in another thread's loop fly on their own.
        self._flights: dict[tuple[str, int], Flight] = {}
        self._lock = threading.Lock()
        self.statistics = CacheStatistics()

    def __len__(self) -> int:
        return len(self._results)

    @property
    def size(self) -> int:
        """Bytes that are held."""
        return self._bytes

    def get(self, key: str) -> Kept | None:
        """A kept result."""
        with self._lock:
            found = self._results.get(key)
            if found is not None:
                self._results.move_to_end(key)
                self.statistics.hits += 1
            return found

    def join(self, key: str) -> Flight | None:
        """The equal call under way, if there is one."""
        flight = self._flights.get((key, threading.get_ident()))
        if flight is not None:
            with self._lock:
                self.statistics.joined += 1
        return flight

    def take_off(self, key: str) -> None:
        """Do the work for every equal call from now on, until `land`."""
        with self._lock:
            self.statistics.misses += 1
            self._flights[key, threading.get_ident()] = Flight()

    def land(self, key: str, result: Kept | None) -> None:
        """The work is done, with a result to keep or without. To be called once for each `take_off`."""
        if result is not None:
            self.put(key, result)
        with self._lock:
            flight = self._flights.pop((key, threading.get_ident()))
        flight.land(result)

    def forget(self, key: str, result: Kept) -> None:
        """Drop a result that `get` gave and that is not right any more, unless another has taken its place."""
        with self._lock:
            self.statistics.hits -= 1
            if self._results.get(key) is result:
                self._drop(key)
                self.statistics.evicted += 1

    def put(self, key: str, result: Kept) -> None:
        """Keep a result."""
        with self._lock:
            self._drop(key)
            self._results[key] = result
            self._bytes += result.size
            while len(self._results) > self.max_entries or self._bytes > self.max_bytes:
                self._drop(next(iter(self._results)))
                self.statistics.evicted += 1

    def clear(self) -> None:
        """Forget every result. Calls under way are not disturbed."""
        with self._lock:
            self._results.clear()
            self._bytes = 0

    def _drop(self, key: str) -> None:
        found = self._results.pop(key, None)
        if found is not None:
            self._bytes -= found.size
