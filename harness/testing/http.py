"""A small HTTP server with canned answers, on a real socket of this machine."""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import ssl
import struct
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, cast
from urllib.parse import parse_qsl, urlsplit

from pydantic_core import from_json

from harness.errors import UsageError

if TYPE_CHECKING:
    import httpx

__all__ = ["FakeHttp", "FakeRequest", "FakeResponse"]


@dataclass(frozen=True, slots=True)
class FakeRequest:
    """A request as it arrived."""

    method: str
    path: str
    """Without the query."""
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    def json(self) -> Any:
        """The body as JSON. Raises ``ValueError`` if it is none."""
        return from_json(self.body)


@dataclass(frozen=True, slots=True)
class FakeResponse:
    """What to answer."""

    status_code: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = b""
    """Bytes and text are sent as they are, an iterable of bytes (no list) in chunks, anything else as JSON."""
    latency_ms: float = 0
    """Milliseconds to wait before anything is sent."""
    error: Literal["reset", "cut", "hang"] | None = None
    """``reset``: the connection breaks before anything is sent. ``cut``: it breaks in the middle of the body. ``hang``:
    nothing is sent until the server closes.
    """


Answers = Mapping[str, Any] | Callable[[FakeRequest], Any]


class FakeHttp:
    """A server with canned answers: ``with FakeHttp({"/users": [], "POST /users": FakeResponse(201)}) as fake:``.

    A key is a path, or a method and a path; ``"*"`` is for all others, which without it get 404. A value is a
    `FakeResponse`, a value to send with status 200, or a tuple of these that are sent one after another, the last again
    and again. In place of the mapping there can be a function of the `FakeRequest` that returns such a value.

    It listens on the loopback address (``url``, ``port``), so `http_request` needs ``networks=["127.0.0.1/32"]`` to reach
    it, or ``transport=fake.transport()``, which carries requests to any host here. ``requests`` lists what arrived.
    With ``tls`` it speaks HTTPS. Its threads and sockets end with the ``with`` block, which raises
    what a function of answers raised.
    """

    def __init__(self, answers: Answers, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        self._answers = answers
        self._host = host
        self._tls = tls
        self._taken: dict[str, itertools.count[int]] = {}
        self._lock = threading.Lock()
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self.requests: list[FakeRequest] = []

    @property
    def port(self) -> int:
        """Where it listens. Raises `UsageError` outside the ``with`` block."""
        if self._server is None:
            raise UsageError("A FakeHttp listens inside its with block: with FakeHttp({…}) as fake: …")
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """``http://127.0.0.1:…``, without a slash at the end."""
        return f"{'http' if self._tls is None else 'https'}://{self._host}:{self.port}"

    def __enter__(self) -> Self:
        self._server = server = _Server((self._host, 0), self._answer, self._tls)
        self._thread = threading.Thread(target=server.serve_forever, args=(0.01,), name="fake http", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None and self._thread is not None:
            self._server.end()
            self._thread.join()
            if self._server.failures and error is None:
                raise self._server.failures[0]

    def transport(self) -> httpx.AsyncBaseTransport:
        """A transport for ``httpx`` that brings every request here, whatever its host. Needs the extra ``http``."""
        import httpx  # noqa: PLC0415 - an extra

        port, host = self.port, self._host
        scheme = "http" if self._tls is None else "https"

        class Here(httpx.AsyncHTTPTransport):
            async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                url = request.url.copy_with(scheme=scheme, host=host, port=port)
                there = httpx.Request(request.method, url, headers=request.headers, stream=request.stream)
                there.extensions = request.extensions
                return await super().handle_async_request(there)

        return Here(trust_env=False, verify=False, limits=httpx.Limits(max_keepalive_connections=0))

    def _answer(self, request: FakeRequest) -> FakeResponse:
        with self._lock:
            self.requests.append(request)
            if callable(self._answers):
                answer = self._answers(request)
            else:
                keys = (f"{request.method} {request.path}", request.path, "*")
                key = next((key for key in keys if key in self._answers), None)
                if key is None:
                    return FakeResponse(404, body={"error": f"no answer for {request.method} {request.path}"})
                answer = self._answers[key]
                if isinstance(answer, tuple):
                    count = next(self._taken.setdefault(key, itertools.count()))
                    answer = answer[min(count, len(answer) - 1)]
        return answer if isinstance(answer, FakeResponse) else FakeResponse(body=answer)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(
        self, address: tuple[str, int], answer: Callable[[FakeRequest], FakeResponse], tls: ssl.SSLContext | None
    ) -> None:
        self.answer = answer
        self.closing = threading.Event()
        self._tls = tls
        self.failures: list[BaseException] = []
        """What the answers raised, or what could not be sent."""
        self._open: set[socket.socket] = set()
        self._threads_at_work: set[threading.Thread] = set()
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """In a thread of its own, which `end` waits for."""
        self._open.add(request)
        thread = threading.Thread(
            target=self.process_request_thread, args=(request, client_address), name="fake http request", daemon=True
        )
        self._threads_at_work.add(thread)
        thread.start()

    def finish_request(self, request: Any, client_address: Any) -> None:
        """The TLS handshake happens here, in the request's own thread."""
        if self._tls is not None:
            request = self._tls.wrap_socket(request, server_side=True)
            self._open.add(request)
        super().finish_request(request, client_address)
        if self._tls is not None:
            request.close()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - as the base class has it
        """Keeps what was raised in a thread. A client that went away is no error of this server."""
        error = sys.exception()
        if error is not None and not isinstance(error, OSError):
            self.failures.append(error)

    def end(self) -> None:
        """Stops listening, breaks every connection, and waits for the threads."""
        self.closing.set()
        self.shutdown()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads_at_work:
            thread.join()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_one_request(self) -> None:
        """One request for each connection."""
        self.close_connection = True
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline or not self.parse_request():
            return
        self.close_connection = True
        length = int(self.headers.get("content-length") or 0)
        parts = urlsplit(self.path)
        request = FakeRequest(
            method=self.command,
            path=parts.path,
            query=dict(parse_qsl(parts.query, keep_blank_values=True)),
            headers={name.lower(): value for name, value in self.headers.items()},
            body=self.rfile.read(length),
        )
        server = cast("_Server", self.server)
        response = server.answer(request)
        if response.error == "hang":
            server.closing.wait()
        elif response.latency_ms:
            server.closing.wait(response.latency_ms / 1000)
        if response.error == "reset":
            # A linger time of 0 makes closing a reset, unless the end of the stream was announced before.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            socket.close(self.connection.detach())
        elif not server.closing.is_set():
            self._send(response)

    def _send(self, response: FakeResponse) -> None:
        kind, body = _encoded(response.body)
        given = {name.lower() for name in response.headers}
        self.send_response(response.status_code)
        for name, value in response.headers.items():
            self.send_header(name, value)
        if kind and "content-type" not in given:
            self.send_header("Content-Type", kind)
        self.send_header("Connection", "close")
        if isinstance(body, bytes):
            if "content-length" not in given:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body[: len(body) // 2] if response.error == "cut" else body)
            return
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in body:
            if piece:
                self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        if response.error != "cut":
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is that of the base class
        """Nothing: tests look at ``requests``."""


def _encoded(body: Any) -> tuple[str, bytes | Iterable[bytes]]:
    if isinstance(body, bytes):
        return ("application/octet-stream" if body else "", body)
    if isinstance(body, str):
        return "text/plain; charset=utf-8", body.encode()
    if isinstance(body, Iterable) and not isinstance(body, (Mapping, Sequence)):
        return "application/octet-stream", body
    return "application/json", json.dumps(body).encode()
