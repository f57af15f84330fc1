"""The host's end of one worker's socket: whole frames over a non-blocking stream, on asyncio and trio alike."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable

import anyio

from harness.runtime import wire
from harness.runtime.adapter import WorkerGoneError
from harness.runtime.turns import Failed, Ready

__all__ = ["FrameLink"]

_READ_SIZE = 64 * 1024


class FrameLink:
    """Frames over ``connection``, which it owns. Not for two tasks at once.

    While the other end is waited for, ``on_silence`` is called with `period` every `period` seconds.
    """

    def __init__(
        self,
        connection: socket.socket,
        *,
        frame_bytes: int,
        on_silence: Callable[[float], None] | None = None,
    ) -> None:
        connection.setblocking(False)
        self._socket = connection
        self._on_silence = on_silence
        self.period: float | None = None
        """Seconds; None for never."""
        self._limit = frame_bytes
        self._buffer = bytearray()
        self._greeted = False
        self.protections: dict[str, str] = {}
        """See `harness.runtime.adapter.Worker`."""

    async def exchange(self, kind: int, body: bytes) -> tuple[int, bytes]:
        """Send one frame and wait for the answer to it; before the first answer comes the worker's greeting.

        Raises `WorkerGoneError`. Cancelling it leaves the link unusable.
        """
        self._expect_silence()
        await self.send(kind, body)
        if not self._greeted:
            await self.greeting()
        answer = await self.receive()
        _raise_if_failed(answer)
        return answer

    async def greeting(self) -> None:
        """Read what a worker says first. Raises `WorkerGoneError`."""
        self._greeted = True
        answer = await self.receive()
        _raise_if_failed(answer)
        if answer[0] != wire.READY:
            raise WorkerGoneError("the worker did not say that it is ready", violation=True)
        self.protections = Ready.read(answer[1]).protections

    @property
    def silent(self) -> bool:
        """Whether the worker has said nothing but what was asked for, and can still be spoken to."""
        if self._buffer:
            return False
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    async def send(self, kind: int, body: bytes) -> None:
        """Write one frame. Raises `WorkerGoneError` if nobody reads any more."""
        data = memoryview(wire.pack_frame(kind, body))
        while data:
            try:
                data = data[self._socket.send(data) :]
            except BlockingIOError:
                await self._wait(anyio.wait_writable)
            except OSError as error:
                raise WorkerGoneError(f"the worker does not listen any more ({error.strerror})", unheard=True) from None

    async def receive(self) -> tuple[int, bytes]:
        """Read one frame: kind and body. Raises `WorkerGoneError` at the end of the stream and for a torn, empty or
        overlong frame, or one that nobody asked for.
        """
        await self._fill(wire.HEADER.size)
        try:
            kind, length = wire.unpack_header(bytes(self._buffer[: wire.HEADER.size]), limit=self._limit)
        except wire.FrameError as error:
            raise WorkerGoneError(str(error), violation=True) from None
        end = wire.HEADER.size + length
        await self._fill(end)
        body = bytes(self._buffer[wire.HEADER.size : end])
        del self._buffer[:end]
        return kind, body

    def _expect_silence(self) -> None:
        if self._buffer:
            raise WorkerGoneError("the worker sent more than one frame for one", violation=True)

    async def _fill(self, count: int) -> None:
        # Trying first and waiting only when nothing is there saves two calls of the event loop's selector.
        while len(self._buffer) < count:
            try:
                data = self._socket.recv(max(_READ_SIZE, min(count - len(self._buffer), 1 << 20)))
            except BlockingIOError:
                await self._wait(anyio.wait_readable)
                continue
            except OSError as error:
                # A Unix socket is reset when its other end closes with something unread in it.
                reset = isinstance(error, ConnectionResetError)
                raise WorkerGoneError(f"the worker's socket failed ({error.strerror})", unheard=reset) from None
            if not data:
                torn = " in the middle of a frame" if self._buffer else ""
                raise WorkerGoneError(f"the worker closed its socket{torn}")
            self._buffer += data

    async def _wait(self, until: Callable[[socket.socket], Awaitable[None]]) -> None:
        try:
            # Whoever waits elsewhere for the worker's end may change or end the watch meanwhile.
            while self._on_silence is not None and (period := self.period) is not None:
                with anyio.move_on_after(period) as pause:
                    await until(self._socket)
                if not pause.cancelled_caught:
                    return
                self._on_silence(period)
            await until(self._socket)
        except (anyio.ClosedResourceError, OSError, ValueError) as error:
            raise WorkerGoneError("the worker's socket was closed") from error

    def close(self) -> None:
        """Close the socket; waiting tasks are told."""
        if self._socket.fileno() >= 0:
            anyio.notify_closing(self._socket)
            self._socket.close()


def _raise_if_failed(frame: tuple[int, bytes]) -> None:
    kind, body = frame
    if kind == wire.FAILED:
        raise WorkerGoneError(f"the worker gave up: {Failed.read(body).reason}")
