"""Where a language model is asked, and the key that goes there and nowhere else."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable
from typing import Any

import httpx
from pydantic import SecretStr
from pydantic_core import from_json, to_json

from harness.errors import ToolExecutionError, UsageError
from harness.redaction import MASK, scrub_text
from harness.toolkit.bodies import BodyError, BodyTooLargeError
from harness.toolkit.providers import Provider
from harness.toolkit.transport import body_of, response_to, usual_tls

__all__ = ["Endpoint", "RefusedError", "check_base_url", "check_key"]

Key = SecretStr | Callable[[], str] | None

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
# Anything else would break the header it stands in, and the error about that would show it.
_KEY = re.compile(r"[\x21-\x7e]{1,4096}\Z")


_SHORTEST_SECRET = 8
"""Characters of a key that is removed where the endpoint repeats it; a shorter one would blank out ordinary words."""


class RefusedError(Exception):
    """The endpoint did not serve the question, so that it costs nothing. ``error`` is what the script gets."""

    def __init__(self, error: ToolExecutionError) -> None:
        super().__init__()
        self.error = error


def check_key(key: str | SecretStr | Callable[[], str] | None, tool: str) -> Key:
    """A key, hidden. Raises `UsageError` for what can be none; it does not show it."""
    if key is None or callable(key):
        return key
    hidden: object = SecretStr(key) if isinstance(key, str) else key
    if not isinstance(hidden, SecretStr) or not _KEY.match(hidden.get_secret_value()):
        raise UsageError(
            f"The key of tool {tool!r} must be printable ASCII characters without spaces, a SecretStr of them, "
            "or a function that returns them."
        )
    return hidden


def check_base_url(text: str, tool: str, *, secret: bool) -> str:
    """A base URL without the slash at its end. Raises `UsageError`, also if a key (``secret``) would go over plain HTTP."""
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise UsageError(f"The base_url of tool {tool!r} is no URL: {error}.") from None
    if url.scheme not in ("http", "https") or not url.host or url.userinfo or url.query:
        raise UsageError(
            f"The base_url of tool {tool!r} must be an http or https URL without user name and query, such as "
            "'https://api.example.com/v1'."
        )
    if url.scheme == "http" and secret and url.host not in _LOOPBACK:
        raise UsageError(
            f"The base_url of tool {tool!r} is plain http, over which anyone on the way could read the key. Use https, or "
            "leave the key out."
        )
    return str(url.copy_with(fragment=None)).rstrip("/")


class Endpoint:
    """One URL to ask, with a key. ``tool`` is what scripts call the tool, for messages."""

    def __init__(
        self,
        *,
        tool: str,
        provider: Provider,
        url: str,
        key: Key,
        max_bytes: int,
        connect_timeout: float,
        tls: ssl.SSLContext | None,
        transport: httpx.AsyncBaseTransport | None,
    ) -> None:
        self._tool = tool
        self._provider = provider
        self._url = url
        self._key = key
        self._max_bytes = max_bytes
        self._connect_timeout = connect_timeout
        self._tls = tls
        self._transport = transport

    async def ask(self, body: dict[str, Any]) -> Any:
        """The answer, as JSON. Raises `RefusedError` and `ToolExecutionError`."""
        key = self._secret()
        request = httpx.Request(
            "POST",
            self._url,
            headers={
                "content-type": "application/json",
                "accept": "application/json",
                "accept-encoding": "gzip",
                "user-agent": "tool-calls-harness",
                **self._provider.headers(key),
            },
            content=to_json(body),
        )
        response, data = await self._send(request)
        if key is not None and len(key) >= _SHORTEST_SECRET:
            data = data.replace(key.encode(), MASK.encode())
        if not response.is_success:
            raise RefusedError(self._status(response, data))
        try:
            return from_json(data)
        except ValueError:
            raise self._failed("the endpoint answered with something that is no JSON", again=False) from None

    def _secret(self) -> str | None:
        if self._key is None:
            return None
        if isinstance(self._key, SecretStr):
            return self._key.get_secret_value()
        key: object = self._key()
        if not isinstance(key, str) or not _KEY.match(key):
            raise self._failed("the function for its key returned none; that is for the host to mend", again=False)
        return key

    async def _send(self, request: httpx.Request) -> tuple[httpx.Response, bytes]:
        carrier = self._transport or httpx.AsyncHTTPTransport(verify=self._tls or usual_tls(), trust_env=False)
        try:
            async with carrier, response_to(request, carrier, self._connect_timeout) as response:
                return response, await body_of(response, self._max_bytes)
        except BodyTooLargeError:
            raise self._failed(f"the response is longer than {self._max_bytes:,} bytes", again=False) from None
        except BodyError as error:
            raise self._failed(f"the response cannot be read: {error}", again=False) from None
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise RefusedError(self._failed("no connection to the endpoint could be made", again=True)) from error
        except httpx.TransportError as error:
            what = scrub_text(str(error), limit=200) or type(error).__name__
            raise self._failed(f"the connection failed before the reply was complete ({what})", again=True) from error

    def _status(self, response: httpx.Response, data: bytes) -> ToolExecutionError:
        status = response.status_code
        details: dict[str, Any] = {"status": status}
        wait = response.headers.get("retry-after", "")
        if wait.isdecimal():
            details["retry_after_s"] = int(wait[:6])
        if status in (401, 403):
            # What an endpoint says of a key it does not like may hold a part of it.
            what = "it does not accept the key; that is for the host to mend"
        elif 300 <= status < 400:
            what = "it redirects elsewhere, where the key must not go; mend base_url"
        else:
            what = _explanation(data)
        return self._failed(f"the endpoint answered with status {status}: {what}", again=status in _AGAIN, **details)

    def _failed(self, what: str, *, again: bool, **details: Any) -> ToolExecutionError:
        return ToolExecutionError(f"{self._tool}: {what}.", retryable=again, details=details)


def _explanation(data: bytes) -> str:
    try:
        found = from_json(data)["error"]["message"]
    except (ValueError, KeyError, TypeError, IndexError):
        return "it does not say why"
    return scrub_text(str(found), limit=300).rstrip(". ")
