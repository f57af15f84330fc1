"""What a worker sends: any bytes, first as a stream of frames, then as the turns of a conversation with a real driver.

With an odd first byte the rest is lines, each the body of a frame that answers one of the host's; with an even one it is
the stream itself.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from functools import cache
from typing import Any

import anyio

from harness import Harness, Limits, Outcome, tool
from harness.runtime import wire
from harness.runtime.adapter import Death, PoolStatus, Worker, WorkerGoneError
from harness.runtime.link import FrameLink
from harness.runtime.turns import Failed, Ready, Turn, Verdict

__all__ = ["check", "close", "seeds"]

_FRAME_BYTES = 64 * 1024
_MOST = 48 * 1024
"""What a socket takes without anybody reading it."""


@cache
def _loop() -> asyncio.Runner:
    """One event loop for all inputs."""
    return asyncio.Runner()


def close() -> None:
    """End the event loop that `check` runs on; another check begins another one."""
    _loop().close()
    _loop.cache_clear()


def check(data: bytes) -> None:
    """Raises if bytes of a worker lead to anything but a value or a ``WorkerGoneError``."""
    if data[:1] and data[0] & 1:
        _loop().run(_check_conversation(data[1:_MOST].split(b"\n")))
    else:
        _loop().run(_check_stream(data[1:_MOST]))


def seeds() -> Iterator[bytes]:
    """Frames of every kind, and conversations."""
    bodies = [json.dumps(body).encode() for body in _TURNS]
    frames = [wire.pack_frame(wire.TURN, body) for body in bodies]
    yield b"0" + b"".join(frames)
    for frame in frames:
        yield b"0" + frame
    yield b"0" + wire.pack_frame(wire.READY, b'{"protections":{"seccomp":"active"}}')
    yield b"0" + wire.pack_frame(wire.FAILED, b'{"reason":"no memory"}')
    yield b"0" + wire.pack_frame(wire.VERDICT, b'{"problem":{"message":"no","line":1,"column":null}}')
    for body in bodies:
        yield b"1" + body
        yield b"1" + body + b"\n" + bodies[0]


# ── the stream ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def _check_stream(data: bytes) -> None:
    ours, theirs = socket.socketpair()
    link = FrameLink(ours, frame_bytes=_FRAME_BYTES)
    passed = b""
    try:
        with theirs:
            theirs.sendall(data)
        while True:
            try:
                kind, body = await link.receive()
            except WorkerGoneError as gone:
                whole = len(passed) == len(data)
                assert whole or gone.violation or "in the middle of a frame" in str(gone)
                break
            assert len(body) < _FRAME_BYTES
            passed += wire.pack_frame(kind, body)
            _check_body(body)
    finally:
        link.close()
    assert data.startswith(passed), "a frame was read that was not sent"


def _check_body(body: bytes) -> None:
    for model in (Turn, Ready, Verdict, Failed):
        try:
            said = model.read(body)
        except WorkerGoneError as gone:
            assert gone.violation
            assert len(str(gone)) < 500, "a message is as long as what a worker sent"
        else:
            again = model.read(said.model_dump_json(by_alias=True).encode())
            assert again == said, "what was read means something else when it is written"


# ── a conversation ───────────────────────────────────────────────────────────────────────────────────────────────────


class _Player:
    """A worker that answers each frame with the next of given bodies, through a real socket, and then hangs up."""

    def __init__(self, bodies: list[bytes]) -> None:
        ours, self._theirs = socket.socketpair()
        self._link = FrameLink(ours, frame_bytes=_FRAME_BYTES)
        self._bodies = iter(bodies)
        self._theirs.sendall(wire.pack_frame(wire.READY, b'{"protections":{}}'))

    @property
    def protections(self) -> dict[str, str]:
        return self._link.protections

    async def exchange(self, kind: int, body: bytes) -> tuple[int, bytes]:
        answer = next(self._bodies, None)
        if answer is None:
            self._theirs.close()
        else:
            self._theirs.sendall(wire.pack_frame(wire.TURN, answer))
        received = await self._link.exchange(kind, body)
        self._theirs.recv(1 << 20)
        return received

    async def gone(self) -> None:
        await anyio.sleep_forever()

    def kill(self) -> None:
        self._link.close()
        self._theirs.close()

    async def ended(self) -> Death:
        return Death(None)


class _Pool:
    def __init__(self, bodies: list[bytes]) -> None:
        self._bodies = bodies
        self.kept: bool | None = None

    async def open(self) -> None:
        return

    async def aclose(self) -> None:
        return

    async def end_domain(self, trust_domain: str) -> None:
        return

    async def acquire(self, trust_domain: str | None) -> Worker:
        return _Player(self._bodies)

    async def release(self, worker: Worker, *, clean: bool, violation: bool = False) -> Death | None:
        self.kept = clean
        worker.kill()
        return await worker.ended()

    def note_crash(self) -> None:
        return

    def status(self) -> PoolStatus:
        return PoolStatus("thread", 0, 0, 0, 0)


@tool
async def echo(text: str = "") -> str:
    """Return what it is given."""
    return text


async def _converse(pool: _Pool) -> Outcome:
    # A script that says it waits, though for nothing, is ended by the wall clock.
    limits = Limits(wall_time=0.02, settle_grace=0, log_bytes=1_000, result_bytes=1_000, max_pending_calls=20)
    async with Harness(tools=[echo], isolation="thread", limits=limits) as harness:
        runtime = harness._runtime  # noqa: SLF001 -- the pool is the one thing that is not the real one
        assert runtime is not None
        runtime._pool = pool  # noqa: SLF001 -- as above
        return await harness.run("<tool-calls>1</tool-calls>")


async def _check_conversation(bodies: list[bytes]) -> None:
    pool = _Pool(bodies)
    outcome = await _converse(pool)
    [execution] = outcome.executions
    json.loads(outcome.to_json())
    outcome.canonical()
    assert len(outcome.to_text()) < 100_000, "what the model is given has no bound"
    assert sum(len(line.text.encode()) for line in execution.logs) <= 1_000
    assert len(execution.progress) <= 50
    error = execution.error
    if error is not None and error.details.get("violation") is True:
        assert pool.kept is False, "a worker that broke the protocol was kept"
        assert execution.value is None
    if error is not None and error.type == "HarnessInternalError":
        assert "frame_bytes" in error.message, error.message
    assert (execution.status == "ok") == (error is None)


_CALL: dict[str, Any] = {
    "id": 1,
    "tool": "echo",
    "args": '[{"text":"x"}]',
    "line": 1,
    "problem": None,
    "aborted": False,
}
_SAID: dict[str, Any] = {
    "ending": {"state": "ok", "value": "1"},
    "calls": [],
    "timers": [],
    "cleared": [],
    "cancelled": [],
    "logs": [],
    "progress": [],
    "dropped": {"log_lines": 0, "log_bytes": 0, "progress": 0},
    "looked_at": 0,
    "left_behind": [],
}
_TURN: dict[str, Any] = {"cpu": 0.01, "heap": 1, "worker": {"state": "started"}}
_WAIT = {"state": "wait"}
_THROWN = {"kind": "error", "class": "TypeError", "name": "A", "message": "b", "stack": "    at f (<script>:1:2)"}
_ENDED = {"deep": False, "full": False}
_TURNS: list[dict[str, Any]] = [
    {**_TURN, "evidence": None if changes.get("ending") == _WAIT else _ENDED, "turn": {**_SAID, **changes}}
    for changes in (
        {},
        {"ending": _WAIT, "calls": [_CALL, {**_CALL, "id": 2, "aborted": True}]},
        {"ending": _WAIT, "calls": [_CALL], "cancelled": [1], "timers": [{"id": 1, "ms": 0}], "cleared": [1]},
        {"ending": _WAIT, "calls": [{**_CALL, "problem": {"path": "$", "what": "a BigInt"}, "args": None}]},
        {"ending": {"state": "error", "error": {**_THROWN, "call": 1, "causes": ["c"], "errors": ["d"]}}},
        {"ending": {"state": "error", "error": {**_THROWN, "kind": "lost", "path": "$", "what": "a BigInt"}}},
        {"ending": {"state": "stuck"}},
        {"logs": [["log", "hi", 1], ["error", "\u202e", None]], "progress": [["half", '{"done":1}']]},
        {"left_behind": [{"call": 1, "awaited": False, "rejection_lost": True, "lost": "x"}], "calls": [_CALL]},
        {"dropped": {"log_lines": 1, "log_bytes": 2, "progress": 3, "calls": 4}, "looked_at": 1},
    )
] + [
    {
        **_TURN,
        "evidence": None,
        "worker": {"state": state, "text": "t", "message": "m", "line": 1, "column": 1, "bytes": 9},
        "turn": None,
    }
    for state in ("syntax", "cpu", "memory", "engine", "overflow")
]
