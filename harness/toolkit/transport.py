"""Connections to checked addresses only.

A name is resolved here, once for each request; the addresses are checked, and the connection goes to one that passed.
Nothing resolves the name a second time, so a name server that changes its mind in between gains nothing. TLS and the
``Host`` header still go by the name.
"""

from __future__ import annotations

import functools
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import anyio
import httpx

from harness.toolkit.addresses import AddressRules
from harness.toolkit.bodies import BodyTooLargeError, read_body

__all__ = [
    "AddressRefusedError",
    "CheckedTransport",
    "NameNotFoundError",
    "Resolver",
    "body_of",
    "response_to",
    "system_resolver",
    "usual_tls",
]

_LOG = logging.getLogger("harness.toolkit")
_LOG.addHandler(logging.NullHandler())

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a host, given its name and the port that is wanted. Raises ``OSError`` if it has none."""

_MOST_ADDRESSES = 4
"""Addresses of one host that are tried, one after another."""


class AddressRefusedError(Exception):
    """The host has no address that may be connected to."""


class NameNotFoundError(Exception):
    """The host has no address at all, as far as the resolver knows."""


async def system_resolver(host: str, port: int) -> list[str]:
    """The addresses that the operating system gives for a name."""
    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


@functools.cache
def usual_tls() -> ssl.SSLContext:
    """The usual certificate authorities. Reading them takes a while, so it is done once, when first needed."""
    return httpx.create_ssl_context(trust_env=False)


@asynccontextmanager
async def response_to(
    request: httpx.Request, carrier: httpx.AsyncBaseTransport, connect_timeout: float
) -> AsyncIterator[httpx.Response]:
    """One request, carried as it is: there are no cookies, redirects, proxies or credentials but those it has.

    The call that it serves has its time limit; only connecting needs one of its own, since there may be other addresses.
    """
    request.extensions = {**request.extensions, "timeout": httpx.Timeout(None, connect=connect_timeout).as_dict()}
    response = await carrier.handle_async_request(request)
    try:
        yield response
    finally:
        await response.aclose()


async def body_of(response: httpx.Response, most: int) -> bytes:
    """What `read_body` reads of a response, at most ``most`` bytes. Raises as it does."""
    if response.is_stream_consumed:  # a transport that stands in for the network had all of it in memory
        if len(response.content) > most:
            raise BodyTooLargeError
        return response.content
    return await read_body(response.aiter_raw(), encoding=response.headers.get("content-encoding", ""), most=most)


class CheckedTransport(httpx.AsyncBaseTransport):
    """Carries requests over the network, to addresses that ``rules`` allow.

    No proxy, no setting of the environment, no connection that is kept. Raises `AddressRefusedError` and
    `NameNotFoundError` before anything is sent, and what ``httpx`` raises.
    """

    def __init__(self, rules: AddressRules, resolver: Resolver, tls: ssl.SSLContext) -> None:
        self._rules = rules
        self._resolver = resolver
        self._inner = httpx.AsyncHTTPTransport(
            verify=tls, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0)
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The response, its body not read yet."""
        url = request.url
        host = url.raw_host.decode("ascii").strip("[]")
        failure: httpx.TransportError | None = None
        for address in (await self._checked(host, url.port or (443 if url.scheme == "https" else 80)))[
            :_MOST_ADDRESSES
        ]:
            pinned = httpx.Request(
                request.method,
                url.copy_with(host=address),
                headers=request.headers,
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": host},
            )
            try:
                return await self._inner.handle_async_request(pinned)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failure = error
        raise failure or AddressRefusedError(host)

    async def _checked(self, host: str, port: int) -> list[str]:
        try:
            found = await self._resolver(host, port)
        except (OSError, UnicodeError) as error:
            raise NameNotFoundError(host) from error
        if not found:
            raise NameNotFoundError(host)
        allowed = [address for address in found if self._rules.allows(address)]
        if not allowed:
            # The addresses are for the host alone: they may tell how its network is built.
            _LOG.warning("%s resolves to %s, and none of these may be connected to.", host, ", ".join(found))
            raise AddressRefusedError(host)
        return allowed

    async def aclose(self) -> None:
        """Ends every connection."""
        await self._inner.aclose()
