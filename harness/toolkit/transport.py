"""Connections to checked addresses only.

A name is resolved here, once for each request; the addresses are checked, and the connection goes to one that passed.
Nothing resolves the name a second time, so a name server that changes its mind in between gains nothing. TLS and the
``Host`` header still go by the name.
"""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence

import anyio
import httpx

from harness.toolkit.addresses import AddressRules

__all__ = ["AddressRefusedError", "CheckedTransport", "NameNotFoundError", "Resolver", "system_resolver"]

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
