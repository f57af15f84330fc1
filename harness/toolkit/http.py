"""`http_request`: requests to the hosts on a list, and to nothing else."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Unpack

from pydantic import JsonValue
from pydantic_core import to_json

from harness.errors import ToolExecutionError, ToolValidationError, UsageError
from harness.toolkit.addresses import AddressRules
from harness.toolkit.checks import check_kinds, check_whole, require
from harness.toolkit.results import RESULT, read_answer, secret_parts
from harness.tools.options import ToolOptions
from harness.tools.tool import SchemaTool, Tool

if TYPE_CHECKING:
    import httpx

    from harness.toolkit.exchange import Bounds
    from harness.toolkit.origins import Origin
    from harness.toolkit.transport import Resolver

__all__ = ["http_request"]

_METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_OPEN_HEADERS = ("accept", "accept-language", "content-language", "content-type", "if-match", "if-modified-since",
                 "if-none-match", "if-unmodified-since", "range")  # fmt: skip
# What frames a message or steers a connection is for the client alone.
_CLOSED_HEADERS = frozenset(
    ["accept-encoding", "connection", "content-length", "expect", "host", "keep-alive", "proxy-authorization",
     "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"]
)  # fmt: skip
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}\Z")
_VALUE = r"^[\t\x20-\x7e]*$"


def http_request(
    *,
    hosts: Iterable[str],
    methods: Iterable[str] = ("GET", "HEAD"),
    networks: Iterable[str] = (),
    headers: Mapping[str, str] | None = None,
    credentials: Mapping[str, Mapping[str, str]] | None = None,
    allow_headers: Iterable[str] = (),
    max_bytes: int = 128 * 1024,
    max_redirects: int = 5,
    connect_timeout: float = 5.0,
    resolver: Resolver | None = None,
    tls: ssl.SSLContext | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
    name: str = "http_request",
    **options: Unpack[ToolOptions],
) -> Tool:
    """A tool that makes HTTP requests: ``tools.http_request({url, method?, query?, headers?, json?, text?, parse?})``.

    The result has ``status``, ``ok`` (2xx), ``url`` (after redirects), ``headers`` (without cookies) and the body as one
    of ``json``, ``text`` and ``base64``. A status that is no success is a result too, not an error.

    - ``hosts``: the only ones that are asked, also after a redirect: ``"api.example.com"``, ``"*.example.com"`` (every
      host below, not itself), ``"http://intranet:8080"`` (otherwise it is HTTPS, port 443), ``"*"`` (every public host).
    - ``methods``: GET and HEAD; of the others those listed here.
    - ``networks``: addresses that may be connected to although they are not public: ``["10.1.0.0/16"]``. Without it no
      name, whatever it resolves to, leads to this machine, its network or a cloud's metadata service.
    - ``headers`` go with each request; scripts may set a few that say nothing about who asks, and those in
      ``allow_headers``.
    - ``credentials``: headers for one origin each, ``{"https://api.example.com": {"Authorization": "Bearer …"}}``.
      They are sent to no other, scripts can neither see nor replace them, and a response that echoes them is masked.
    - ``max_bytes``: of the body, unpacked. A longer one is an error, and not read further.
    - ``max_redirects``: with 0 a redirect is a result like any other.
    - ``connect_timeout`` (seconds): for each address of a host; ``timeout`` is for the call as a whole.
    - ``resolver``: a function of name and port, async, that gives addresses, in place of the operating system's.
    - ``tls``: in place of the usual certificate authorities.
    - ``transport``: carries the requests in place of the network, for tests (see `harness.testing.FakeHttp`). Then no name
      is resolved and no address checked. It is closed after each call.
    - ``options``: those of every tool. By default the tool is tagged ``untrusted``, and ``read`` or ``write`` by its
      methods; if it only reads, it is ``idempotent``.

    Needs the extra ``http``. Raises `UsageError` without it, and for settings that cannot be.
    """
    require("httpx", extra="http", what="http_request")
    from harness.toolkit.exchange import Bounds  # noqa: PLC0415 - imports an extra
    from harness.toolkit.origins import AllowList  # noqa: PLC0415 - as above
    from harness.toolkit.transport import CheckedTransport, system_resolver, usual_tls  # noqa: PLC0415 - as above

    check_kinds(
        name,
        "headers",
        "credentials",
        "resolver",
        hosts=(hosts, "words"),
        methods=(methods, "words"),
        networks=(networks, "words"),
        headers=(headers, "headers"),
        credentials=(credentials, "headers"),
        allow_headers=(allow_headers, "words"),
        connect_timeout=(connect_timeout, "seconds"),
        resolver=(resolver, "function"),
    )
    for own in (credentials or {}).values():
        check_kinds(name, credentials=(own, "headers"))
    verbs = _methods(methods, name)
    allowed = AllowList(hosts, name)
    rules = AddressRules(networks, name)
    check_whole(max_bytes, "max_bytes", name, least=1)
    check_whole(max_redirects, "max_redirects", name, least=0)
    if not isinstance(tls, ssl.SSLContext | None):
        raise UsageError(f"tls of tool {name!r} is {tls!r}; it is an ssl.SSLContext.")
    if transport is not None and not hasattr(transport, "handle_async_request"):
        raise UsageError(f"transport of tool {name!r} is {transport!r}; it is a transport of httpx, an async one.")

    def connect() -> httpx.AsyncBaseTransport:
        return transport or CheckedTransport(rules, resolver or system_resolver, tls or usual_tls())

    bounds = Bounds(
        tool=f"tools.{name}",
        allowed=allowed,
        max_bytes=max_bytes,
        max_redirects=max_redirects,
        connect_timeout=connect_timeout,
        transport=connect,
        headers={"user-agent": "tool-calls-harness", "accept": "*/*", **_own_headers(headers or {}, "headers", name)},
        credentials=_credentials(credentials or {}, allowed, name),
    )
    reads = _READING.issuperset(verbs)
    defaults: ToolOptions = {"tags": ("read" if reads else "write", "untrusted"), "idempotent": reads}
    open_headers = {*_OPEN_HEADERS, *_own_headers(dict.fromkeys(allow_headers, ""), "allow_headers", name)}
    return _HttpTool(name, bounds, verbs, frozenset(open_headers), {**defaults, **options})


class _HttpTool(SchemaTool):
    def __init__(
        self, name: str, bounds: Bounds, methods: tuple[str, ...], open_headers: frozenset[str], options: ToolOptions
    ) -> None:
        secrets = secret_parts(bounds.credentials.values())

        async def request(arguments: dict[str, Any]) -> dict[str, JsonValue]:
            from harness.toolkit.exchange import Question, fetch, in_doubt  # noqa: PLC0415 - imports an extra

            answer = await fetch(
                Question(
                    arguments["method"],
                    _url(arguments),
                    {key.lower(): value for key, value in _headers(arguments).items()},
                    _request_body(arguments),
                ),
                bounds,
            )
            try:
                return read_answer(answer, arguments["parse"], tool=bounds.tool, secrets=secrets)
            except ToolExecutionError as error:
                error.details |= in_doubt(arguments["method"])
                raise

        super().__init__(
            name,
            request,
            parameters=_parameters(methods),
            result=RESULT,
            description=f"Makes an HTTP request. Allowed hosts: {bounds.allowed}.",
            **options,
        )
        self._allowed = bounds.allowed
        self._open_headers = open_headers

    def validate_arguments(self, arguments: dict[str, JsonValue]) -> dict[str, JsonValue]:
        """Also refuses a host that is not on the list, before anyone is asked about the call."""
        import httpx  # noqa: PLC0415 - an extra

        from harness.toolkit.origins import origin_of  # noqa: PLC0415 - imports an extra

        given: dict[str, Any] = super().validate_arguments(arguments)
        try:
            url = _url(given)
        except (httpx.InvalidURL, ValueError) as error:
            raise _misfit(self, "url", "an absolute http or https URL", f"what is none ({error})") from None
        origin = origin_of(url)
        if origin is None or url.userinfo:
            raise _misfit(self, "url", "an absolute http or https URL, without a user name in it", "another")
        if not self._allowed.allows(origin):
            raise _misfit(self, "url", f"a URL of an allowed host ({self._allowed})", str(origin))
        for name in given.get("headers") or {}:
            if name.lower() not in self._open_headers:
                allowed = f"one of the headers that may be set ({', '.join(sorted(self._open_headers))})"
                raise _misfit(self, "headers", allowed, repr(name[:60]))
        if "json" in given and "text" in given:
            raise _misfit(self, "text", "nothing beside json", "both")
        if given["method"] in _READING and ("json" in given or "text" in given):
            raise _misfit(self, "method", "one that can have a body", given["method"])
        return given


def _misfit(tool: Tool, member: str, expected: str, received: Any) -> ToolValidationError:
    return ToolValidationError(
        f"The arguments of {tool.expression} do not fit: $.{member}: expected {expected}, received {received}.",
        details={
            "path": f"$.{member}",
            "errors": [{"path": f"$.{member}", "expected": expected, "received": received}],
        },
    )


def _parameters(methods: tuple[str, ...]) -> dict[str, Any]:
    text = {"type": "string", "pattern": _VALUE, "maxLength": 8192}
    properties: dict[str, Any] = {
        "url": {"type": "string", "minLength": 1, "maxLength": 8192, "description": "Absolute."},
        "method": {"enum": list(methods), "default": methods[0]},
        "query": {
            "type": "object",
            "additionalProperties": {"type": ["string", "number", "boolean"]},
            "description": "Added to the URL's own query.",
        },
        "headers": {"type": "object", "additionalProperties": text, "maxProperties": 50},
        "parse": {
            "enum": ["auto", "json", "text", "base64"],
            "default": "auto",
            "description": "What the body is returned as; auto goes by its content type.",
        },
    }
    if not _READING.issuperset(methods):
        properties["json"] = {"description": "A body to send as JSON."}
        properties["text"] = {"type": "string", "description": "A body to send as it is, in UTF-8."}
    return {"type": "object", "properties": properties, "required": ["url"], "additionalProperties": False}


def _methods(given: Iterable[str], tool: str) -> tuple[str, ...]:
    listed = tuple(given)
    if not listed or not set(listed) <= set(_METHODS):
        raise UsageError(f"methods of tool {tool!r} is {given!r}; it is a list of some of {', '.join(_METHODS)}.")
    return tuple(method for method in _METHODS if method in listed)


def _own_headers(given: Mapping[Any, Any], setting: str, tool: str) -> dict[str, str]:
    for name, value in given.items():
        if not isinstance(name, str) or not _TOKEN.match(name) or name.lower() in _CLOSED_HEADERS:
            raise UsageError(f"{setting} of tool {tool!r} holds {name!r}, which is no header that can be set.")
        if not isinstance(value, str) or not re.fullmatch(r"[\t\x20-\x7e]*", value):
            # The value is not shown: it may be a secret.
            raise UsageError(f"The value of {name!r} in {setting} of tool {tool!r} must be printable ASCII text.")
    return {name.lower(): value for name, value in given.items()}


def _credentials(given: Mapping[str, Mapping[str, str]], allowed: Any, tool: str) -> dict[Origin, dict[str, str]]:
    from harness.toolkit.origins import parse_origin  # noqa: PLC0415 - imports an extra

    found: dict[Origin, dict[str, str]] = {}
    for text, headers in given.items():
        origin = parse_origin(text, f"credentials of tool {tool!r}")
        if "*" in origin.host or not allowed.allows(origin):
            raise UsageError(
                f"credentials of tool {tool!r} names {text!r}; name one origin that hosts= allows, without a '*'."
            )
        found[origin] = _own_headers(headers, "credentials", tool)
    return found


def _headers(arguments: Mapping[str, Any]) -> dict[str, str]:
    found = dict(arguments.get("headers") or {})
    if not any(name.lower() == "content-type" for name in found):
        if "json" in arguments:
            found["content-type"] = "application/json"
        elif "text" in arguments:
            found["content-type"] = "text/plain; charset=utf-8"
    return found


def _url(arguments: Mapping[str, Any]) -> httpx.URL:
    """The URL with the query in it. Raises `ValueError` or ``httpx.InvalidURL``."""
    import httpx  # noqa: PLC0415 - an extra

    from harness.toolkit.origins import named  # noqa: PLC0415 - imports an extra

    url = httpx.URL(arguments["url"]).copy_with(fragment=None)
    query = {name: _query_text(value) for name, value in (arguments.get("query") or {}).items()}
    return named(url.copy_merge_params(query) if query else url)


def _query_text(value: Any) -> str:
    return str(value) if isinstance(value, str) else to_json(value).decode()


def _request_body(arguments: Mapping[str, Any]) -> bytes | None:
    if "json" in arguments:
        return to_json(arguments["json"])
    return str(arguments["text"]).encode() if "text" in arguments else None
