"""The allow-list of a tool that fetches: scheme, host and port."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import httpx

from harness.errors import UsageError

__all__ = ["AllowList", "Origin", "named", "origin_of", "parse_origin"]

_PATTERN = re.compile(
    r"(?:(?P<scheme>https?)://)?(?P<host>\*|(?:\*\.)?[^\s*/:@?#\[\]\\%]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?/?\Z"
)
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a URL leads."""

    scheme: str
    host: str
    """In lower case and ASCII; an IPv6 address without brackets."""
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + ("" if self.port == _PORTS[self.scheme] else f":{self.port}")


def origin_of(url: httpx.URL) -> Origin | None:
    """None for a URL that is not absolute, or neither ``http`` nor ``https``."""
    if url.scheme not in _PORTS or not url.raw_host:
        return None
    return Origin(url.scheme, url.raw_host.decode("ascii").lower().strip("[]"), url.port or _PORTS[url.scheme])


def named(url: httpx.URL) -> httpx.URL:
    """The URL itself, if its host can be shown. Raises ``UnicodeError`` for one like ``xn--`` that stands for no name."""
    try:
        _ = url.host
    except UnicodeError as error:
        raise UnicodeError(f"Invalid IDNA hostname: {error}") from None
    return url


def parse_origin(text: Any, what: str) -> Origin:
    """A pattern of an allow-list: ``api.example.com``, ``*.example.com:8443``, ``http://intranet``, ``*``.

    Without a scheme it is ``https``, without a port that of its scheme. Raises `UsageError`.
    """
    found = _PATTERN.match(text) if isinstance(text, str) else None
    port = int(found["port"]) if found is not None and found["port"] else None
    if found is None or port == 0 or (port or 0) > 0xFFFF:
        raise UsageError(
            f"{what} holds {text!r}, which is no host. Write 'api.example.com', '*.example.com' for every host below, "
            "'http://intranet:8080' for another scheme or port, or '*' for every public host."
        )
    scheme, host = found["scheme"] or "https", found["host"]
    if host != "*":
        start = "*." if host.startswith("*.") else ""
        host = start + _ascii(host.removeprefix("*."), what)
    return Origin(scheme, host, port or _PORTS[scheme])


def _ascii(host: str, what: str) -> str:
    try:
        return httpx.URL(f"https://{host}").raw_host.decode("ascii").lower().strip("[]")
    except httpx.InvalidURL as error:
        raise UsageError(f"{what} holds {host!r}, which is no host: {error}.") from None


class AllowList:
    """The origins that may be asked. Raises `UsageError` for patterns that are none, and for an empty list."""

    def __init__(self, patterns: Iterable[str], tool: str) -> None:
        what = f"hosts of tool {tool!r}"
        listed = [patterns] if isinstance(patterns, str) else list(patterns)
        if isinstance(patterns, str) or not listed:
            raise UsageError(f"{what} is the list of hosts that scripts may reach: hosts=['api.example.com'].")
        self._patterns = [parse_origin(pattern, what) for pattern in listed]

    def __str__(self) -> str:
        return ", ".join(str(pattern) for pattern in self._patterns)

    def allows(self, origin: Origin) -> bool:
        """Whether one of the patterns is about ``origin``: the same scheme, the same port, and the host."""
        return any(
            (pattern.scheme, pattern.port) == (origin.scheme, origin.port) and _fits(pattern.host, origin.host)
            for pattern in self._patterns
        )


def _fits(pattern: str, host: str) -> bool:
    if pattern == "*":
        return True
    if pattern.startswith("*."):
        return host.endswith(pattern[1:]) and len(host) >= len(pattern)
    return host == pattern
