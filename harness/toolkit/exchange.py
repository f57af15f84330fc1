"""One request of a script, its redirects, and the response: within the bounds the host set."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import httpx

from harness.errors import ToolExecutionError
from harness.redaction import scrub_text
from harness.toolkit.bodies import BodyError, BodyTooLargeError
from harness.toolkit.origins import AllowList, Origin, named, origin_of
from harness.toolkit.transport import AddressRefusedError, NameNotFoundError, body_of, response_to

__all__ = ["Answer", "Bounds", "Question", "fetch", "in_doubt"]

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_REPEATABLE = _SAFE | {"PUT", "DELETE"}
# What says nothing about who asks: it may go along to another host.
_HARMLESS = frozenset({"accept", "accept-language", "user-agent"})
_ABOUT_THE_BODY = frozenset({"content-type", "content-language", "content-encoding"})


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a host allows."""

    tool: str
    """As scripts write it; for messages."""
    allowed: AllowList
    max_bytes: int
    max_redirects: int
    connect_timeout: float
    transport: Callable[[], httpx.AsyncBaseTransport]
    headers: Mapping[str, str]
    """Sent everywhere, unless the script gives the same header."""
    credentials: Mapping[Origin, Mapping[str, str]] = field(default_factory=dict, repr=False)
    """Sent to one origin each, whatever the script gives."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a script asks for."""

    method: str
    url: httpx.URL
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes | None


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    url: httpx.URL
    """Where it came from, after all redirects."""
    headers: httpx.Headers
    charset: str | None
    body: bytes


async def fetch(question: Question, bounds: Bounds) -> Answer:
    """Asks, follows redirects to allowed hosts, and reads the response.

    Raises `ToolExecutionError` that says what went wrong; it is retryable where asking again may help and does no harm.
    """
    async with bounds.transport() as carrier:
        answer, location = await _ask(carrier, question, bounds)
        try:
            return await _follow(carrier, question, answer, location, bounds)
        except ToolExecutionError as error:
            # It was answered, whatever became of where that led.
            error.details |= in_doubt(question.method)
            raise


async def _follow(
    carrier: httpx.AsyncBaseTransport, question: Question, answer: Answer, location: str | None, bounds: Bounds
) -> Answer:
    for _ in range(bounds.max_redirects):
        if location is None:
            return answer
        question = _redirected(question, answer, location, bounds)
        answer, location = await _ask(carrier, question, bounds)
    if location is None or bounds.max_redirects == 0:
        return answer
    raise _failure(bounds, f"was redirected more than {bounds.max_redirects} times, at last by {_shown(question.url)}.")


async def _ask(carrier: httpx.AsyncBaseTransport, question: Question, bounds: Bounds) -> tuple[Answer, str | None]:
    origin = origin_of(question.url)
    own = {} if origin is None else bounds.credentials.get(origin, {})
    request = httpx.Request(
        question.method,
        question.url,
        headers={**bounds.headers, "accept-encoding": "gzip", **question.headers, **own},
        content=question.body,
    )
    try:
        async with response_to(request, carrier, bounds.connect_timeout) as response:
            location = response.headers.get("location") if response.status_code in _REDIRECTS else None
            follow = location is not None and bounds.max_redirects > 0
            return (
                Answer(
                    status=response.status_code,
                    url=question.url,
                    headers=response.headers,
                    charset=response.charset_encoding,
                    body=b"" if follow or question.method == "HEAD" else await _body(response, bounds),
                ),
                location,
            )
    except BodyTooLargeError:
        text = f"gave more than {bounds.max_bytes:,} bytes, which is all that may be read. Ask for less."
        raise _failure(
            bounds, f"{_shown(question.url)} {text}", limit=bounds.max_bytes, **in_doubt(question.method)
        ) from None
    except BodyError as error:
        text = f"the body from {_shown(question.url)} cannot be read: {error}."
        raise _failure(bounds, text, **in_doubt(question.method)) from None
    except NameNotFoundError:
        raise _failure(
            bounds, f"there is no host {question.url.host!r}, or it cannot be found now.", again=True
        ) from None
    except AddressRefusedError:
        raise _failure(
            bounds,
            f"{question.url.host!r} has no public address. Addresses inside a network can be reached only where the "
            "host of this tool allows them (networks=[…]).",
        ) from None
    except httpx.TransportError as error:
        raise _broken(error, question, bounds) from error


async def _body(response: httpx.Response, bounds: Bounds) -> bytes:
    encoding = response.headers.get("content-encoding", "")
    length = response.headers.get("content-length", "")
    if encoding in ("", "identity") and length.isdecimal() and int(length[:20]) > bounds.max_bytes:
        raise BodyTooLargeError
    return await body_of(response, bounds.max_bytes)


def _redirected(question: Question, answer: Answer, location: str, bounds: Bounds) -> Question:
    """The question as it is asked again elsewhere. Raises `ToolExecutionError` if it must not be."""
    try:
        url = named(question.url.join(location))
    except (httpx.InvalidURL, UnicodeError):
        raise _failure(bounds, f"{_shown(question.url)} redirects to something that is no URL.") from None
    before, origin = origin_of(question.url), origin_of(url)
    if origin is None or not bounds.allowed.allows(origin):
        raise _failure(
            bounds,
            f"{_shown(question.url)} redirects to {_shown(url)}, which is not allowed. Allowed: {bounds.allowed}.",
            status=answer.status,
        )
    if url.userinfo:
        raise _failure(bounds, f"{_shown(question.url)} redirects to a URL with a user name in it.")
    method, body, headers = question.method, question.body, dict(question.headers)
    if answer.status == 303 or (answer.status in (301, 302) and method == "POST"):
        method, body = ("HEAD" if method == "HEAD" else "GET"), None
        headers = {name: value for name, value in headers.items() if name not in _ABOUT_THE_BODY}
    if origin != before:
        if method not in _SAFE or body is not None:
            raise _failure(
                bounds,
                f"{_shown(question.url)} redirects a {method} to another host, {origin}. It was not repeated there; ask "
                "that host directly.",
                status=answer.status,
            )
        headers = {name: value for name, value in headers.items() if name in _HARMLESS}
    return Question(method, url.copy_with(fragment=None), headers, body)


def _broken(error: httpx.TransportError, question: Question, bounds: Bounds) -> ToolExecutionError:
    where = _shown(question.url)
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _failure(bounds, f"the certificate of {where} is not valid ({cause.verify_message}).")
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)):
        return _failure(bounds, f"no connection to {where} could be made.", again=True)
    what = scrub_text(str(error), limit=200) or type(error).__name__
    again = question.method in _REPEATABLE
    doubt = "" if again else " It may have taken effect all the same."
    return _failure(
        bounds,
        f"the connection to {where} failed before the response was complete ({what}).{doubt}",
        again=again,
        **in_doubt(question.method),
    )


def in_doubt(method: str) -> dict[str, bool]:
    """What details say of a request that was sent and may have changed something (see `Tool.is_in_doubt_after`)."""
    return {} if method in _SAFE else {"in_doubt": True}


def _failure(bounds: Bounds, what: str, *, again: bool = False, **details: object) -> ToolExecutionError:
    return ToolExecutionError(f"{bounds.tool}: {what}", retryable=again, details=details)


def _shown(url: httpx.URL) -> str:
    """A URL without what may be a secret in it: user, query and fragment."""
    origin = origin_of(url)
    text = f"{url.scheme}:…" if origin is None else f"{origin}{url.path}"
    return text if len(text) <= 200 else f"{text[:200]}…"
