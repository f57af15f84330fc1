"""Requests to the hosts on a list: over real sockets, to a real server."""

from __future__ import annotations

import gzip
import itertools
import ssl
import threading
import tracemalloc
import zlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import trustme

from harness import Harness, Limits
from harness.errors import ToolExecutionError, ToolTimeoutError, ToolValidationError, UsageError
from harness.redaction import MASK
from harness.testing import FakeHttp, FakeResponse, call_tool, make_test_context
from harness.toolkit import http_request
from harness.toolkit.addresses import AddressRules
from harness.toolkit.bodies import BodyTooLargeError, read_body
from harness.tools.tool import Tool

pytestmark = pytest.mark.anyio

HERE = "127.0.0.1/32"
OTHER = "127.0.0.2"
"""On Linux the whole of 127.0.0.0/8 leads here."""


class Names:
    """A resolver with its own mind: each name has answers that are given one after another, the last again and again."""

    def __init__(self, **answers: list[list[str]]) -> None:
        self._answers = answers
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        answers = self._answers[host.replace(".", "_")]
        return answers[min(self.asked.count(host), len(answers)) - 1]


def reaching(fake: FakeHttp, **settings: Any) -> Tool:
    """A tool that may reach a server here."""
    return http_request(**{"hosts": [fake.url], "networks": [HERE], **settings})


@pytest.mark.requirement("KIT-003", "KIT-018")
async def test_a_script_asks_a_server_and_gets_what_it_says():
    answers = {"/users": {"users": [{"id": 7}]}, "/hello": "grüß dich", "/logo": b"\x89PNG\x00"}
    with FakeHttp(answers) as fake:
        script = f"""
            const json = await tools.http_request({{url: "{fake.url}/users", query: {{page: 2, all: true}}}});
            const text = await tools.http_request({{url: "{fake.url}/hello#part"}});
            const raw = await tools.http_request({{url: "{fake.url}/logo"}});
            const none = await tools.http_request({{url: "{fake.url}/nothing"}});
            return [json.json.users[0].id, json.ok, text.text, text.url, raw.base64, none.status, none.ok];
        """
        async with Harness(tools=[reaching(fake)]) as harness:
            execution = (await harness.run(f"<tool-calls>{script}</tool-calls>")).executions[0]
        assert execution.error is None
        assert execution.value == [7, True, "grüß dich", f"{fake.url}/hello", "iVBORwA=", 404, False]
        assert fake.requests[0].query == {"page": "2", "all": "true"}
        assert fake.requests[0].headers["host"] == f"127.0.0.1:{fake.port}"


@pytest.mark.requirement("KIT-010")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_what_is_not_on_the_list_is_refused_before_anything_happens():
    names = Names()
    tool = http_request(
        hosts=["api.example.com", "*.example.org", "http://plain.example:8080", "bücher.example"], resolver=names
    )
    refused = [
        "https://evil.example/",
        "http://api.example.com/",  # not by this scheme
        "https://api.example.com:8443/",  # not on this port
        "https://example.org/",  # not below itself
        "https://notexample.org/",
        "https://api.example.com.evil.example/",
        "https://api.example.com@evil.example/",
        "https://user:secret@api.example.com/",
        "https://evil.example\\@api.example.com/",
        "https://api.example.com./",
        "https://plain.example:8080/",
        "//api.example.com/",
        "ftp://api.example.com/",
        "file:///etc/hostname",
        "https:///etc/hostname",
        "https://xn--/",
        "https://１２７.0.0.1/",
        "https://[::1/",
        "https://api.example.com\n.evil.example/",
        "api.example.com",
        "",
    ]
    for url in refused:
        with pytest.raises(
            ToolValidationError, match=r"The arguments of tools\.http_request do not fit: \$\.url: expected"
        ):
            await call_tool(tool, {"url": url})
    # These are allowed, so that the resolver is asked: which fails here.
    allowed = [
        "https://API.example.com/x",
        "https://a.b.example.org/",
        "http://plain.example:8080",
        "https://xn--bcher-kva.example/",
    ]
    for url in allowed:
        with pytest.raises(ToolExecutionError):
            await call_tool(tool, {"url": url})
    assert names.asked == ["api.example.com", "a.b.example.org", "plain.example", "xn--bcher-kva.example"]


@pytest.mark.requirement("KIT-013")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_redirect_to_what_is_no_name():
    with (
        FakeHttp({"*": FakeResponse(302, {"Location": "https://xn--/"})}) as fake,
        pytest.raises(ToolExecutionError, match="redirects to something that is no URL"),
    ):
        await call_tool(reaching(fake), {"url": fake.url})


@pytest.mark.requirement("KIT-010")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_methods_and_bodies():
    with FakeHttp({"*": b""}) as fake:
        with pytest.raises(ToolValidationError, match="POST"):
            await call_tool(reaching(fake), {"url": fake.url, "method": "POST"})
        writing = reaching(fake, methods=["POST", "GET"])
        for arguments in ({"json": 1, "text": "x", "method": "POST"}, {"text": "x", "method": "GET"}):
            with pytest.raises(ToolValidationError):
                await call_tool(writing, {"url": fake.url, **arguments})
    assert fake.requests == []
    with FakeHttp({"*": "thanks"}) as fake:
        writing = reaching(fake, methods=["POST", "GET"])
        await call_tool(writing, {"url": f"{fake.url}/a", "method": "POST", "json": {"a": [None]}})
        await call_tool(
            writing, {"url": f"{fake.url}/b", "method": "POST", "text": "ä", "headers": {"Content-Type": "text/x"}}
        )
        first, second = fake.requests
    assert (first.json(), first.headers["content-type"]) == ({"a": [None]}, "application/json")
    assert (second.body.decode(), second.headers["content-type"]) == ("ä", "text/x")
    assert (http_request(hosts=["a.example"]).tags, writing.tags) == (
        ("read", "untrusted"),
        ("write", "untrusted"),
    )


@pytest.mark.requirement("KIT-012", "KIT-002")
def test_only_public_addresses_pass():
    rules = AddressRules([], "t")
    public = ["93.184.215.14", "1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1", "172.15.0.1", "100.63.255.255"]
    private = [
        "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1",
        "100.100.100.200", "169.254.169.254", "168.63.129.16", "192.0.0.192", "192.0.2.1", "198.18.0.1", "203.0.113.9",
        "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "192.88.99.1",
        "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "fe80::1", "fe80::1%lo", "fc00::1",
        "fd00:ec2::254", "ff02::1", "2001:db8::1", "2002:7f00:1::", "2001:0:7f00:1::", "64:ff9b::7f00:1", "64:ff9b::1.1.1.1",
        "64:ff9b:1::1", "100::1", "fec0::1", "3fff::1", "5f00::1", "2606:4700::1111%eth0",
        "", "localhost", "0x7f000001", "2130706433", "127.1", "0177.0.0.1", "1.1.1.1 ", "1.1.1.1/32",
    ]  # fmt: skip
    assert [address for address in public if not rules.allows(address)] == []
    assert [address for address in private if rules.allows(address)] == []


@pytest.mark.requirement("KIT-012", "KIT-002")
def test_networks_are_added_by_name():
    rules = AddressRules(["10.1.0.0/16", "fd00::/8", "64:ff9b::/96"], "t")
    inside = ["10.1.2.3", "::ffff:10.1.2.3", "fd12::1", "1.1.1.1", "64:ff9b::1.1.1.1", "64:ff9b::10.1.0.1"]
    outside = ["10.2.0.1", "127.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b::10.2.0.1", "fe80::1"]
    assert [address for address in [*inside, *outside] if rules.allows(address)] == inside
    for wrong in (["10.0.0.1/8"], ["here"], "10.0.0.0/8", [None]):
        with pytest.raises(UsageError, match="network"):
            AddressRules(wrong, "t")  # type: ignore[arg-type] # that is the point


@pytest.mark.requirement("KIT-012", "KIT-019")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_this_machine_is_not_reached_by_default():
    with FakeHttp({"*": "secret"}) as fake:
        port = fake.port
        for host in ("127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "[::1]", "0.0.0.0"):
            origin = f"http://{host}:{port}"
            with pytest.raises(ToolExecutionError) as caught:
                await call_tool(http_request(hosts=[origin]), {"url": f"{origin}/?q=mine"})
            assert "has no public address" in caught.value.message
            assert "mine" not in caught.value.message
            assert not caught.value.retryable
        names = Names(internal_example=[["10.0.0.7"]])
        tool = http_request(hosts=["http://internal.example"], resolver=names)
        with pytest.raises(ToolExecutionError) as caught:
            await call_tool(tool, {"url": "http://internal.example"})
        assert "10.0.0.7" not in caught.value.message
    assert fake.requests == []


@pytest.mark.requirement("KIT-011")
async def test_a_name_server_that_changes_its_mind_changes_nothing():
    with FakeHttp({"*": "public"}, host=OTHER) as outside, FakeHttp({"*": "secret"}) as inside:
        # 127.0.0.2 plays the public address, 127.0.0.1 the one that must not be reached.
        names = Names(rebinding_example=[[OTHER], ["127.0.0.1"]])
        origin = f"http://rebinding.example:{outside.port}"
        tool = http_request(hosts=[origin], networks=[f"{OTHER}/32"], resolver=names)
        answer: Any = await call_tool(tool, {"url": origin})
        assert answer["text"] == "public"
        assert names.asked == ["rebinding.example"]  # once: whoever asked twice would be told something else
        assert outside.requests[0].headers["host"] == f"rebinding.example:{outside.port}"
        with pytest.raises(ToolExecutionError, match="no public address"):
            await call_tool(tool, {"url": origin})
        assert inside.requests == []


@pytest.mark.requirement("KIT-011", "KIT-012")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_of_several_addresses_those_that_pass_are_tried_in_turn():
    with FakeHttp({"*": "found"}) as fake:
        # 10.9.9.9 does not pass; nothing listens at 127.0.0.3; 127.0.0.1 answers.
        names = Names(many_example=[["10.9.9.9", "127.0.0.3", "127.0.0.1"]])
        origin = f"http://many.example:{fake.port}"
        tool = http_request(hosts=[origin], networks=["127.0.0.0/8"], resolver=names)
        answer: Any = await call_tool(tool, {"url": origin})
        assert answer["text"] == "found"


@pytest.mark.requirement("KIT-011")
async def test_tls_verifies_the_name_and_not_the_address():
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("good.example").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    with FakeHttp({"*": "safe"}, tls=server) as fake:
        names = Names(good_example=[["127.0.0.1"]], bad_example=[["127.0.0.1"]])
        hosts = [f"good.example:{fake.port}", f"bad.example:{fake.port}"]
        tool = http_request(hosts=hosts, networks=[HERE], resolver=names, tls=client)
        answer: Any = await call_tool(tool, {"url": f"https://{hosts[0]}/"})
        assert answer["text"] == "safe"
        with pytest.raises(
            ToolExecutionError, match=r"certificate of https://bad\.example:\d+/ is not valid"
        ) as caught:
            await call_tool(tool, {"url": f"https://{hosts[1]}/"})
        assert not caught.value.retryable
        strangers = http_request(hosts=hosts, networks=[HERE], resolver=names)
        with pytest.raises(ToolExecutionError, match="certificate"):
            await call_tool(strangers, {"url": f"https://{hosts[0]}/"})
        assert len(fake.requests) == 1


def moved(where: str, status: int = 302) -> FakeResponse:
    """A redirect."""
    return FakeResponse(status, {"Location": where})


@pytest.mark.requirement("KIT-013")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_redirects_go_only_where_requests_may():
    with FakeHttp({"*": "secret"}) as inside:
        answers = {
            "/relative": moved("end?x=1"), "/end": "arrived", "/list": moved("https://evil.example/?token=abc"),
            "/scheme": moved("file:///etc/hostname"), "/inside": moved(f"http://inside.example:{inside.port}/"),
            "/metadata": moved("http://169.254.169.254/latest"), "/user": moved("http://me:pass@start.example/"),
            "/loop": moved("/loop"), "/broken": moved("http://[::1/"), "/nowhere": FakeResponse(302),
        }  # fmt: skip
        with FakeHttp(answers, host=OTHER) as fake:
            names = Names(start_example=[[OTHER]], inside_example=[["127.0.0.1"]])
            hosts = [f"http://start.example:{fake.port}", f"http://inside.example:{inside.port}"]
            settings: dict[str, Any] = {"hosts": hosts, "networks": [f"{OTHER}/32"], "resolver": names}
            tool = http_request(**settings, max_redirects=3)
            answer: Any = await call_tool(tool, {"url": f"{hosts[0]}/relative"})
            assert (answer["text"], answer["url"]) == ("arrived", f"{hosts[0]}/end?x=1")
            refusals = {
                "/list": r"redirects to https://evil\.example/, which is not allowed",
                "/scheme": "redirects to file:…, which is not allowed",
                "/inside": "has no public address",
                "/metadata": "not allowed",
                "/user": "not allowed|user name",
                "/loop": "redirected more than 3 times",
                "/broken": "no URL",
            }
            for path, words in refusals.items():
                with pytest.raises(ToolExecutionError, match=words) as caught:
                    await call_tool(tool, {"url": f"{hosts[0]}{path}"})
                assert not caught.value.retryable
            loops = [request for request in fake.requests if request.path == "/loop"]
            assert len(loops) == 4
            plain: Any = await call_tool(tool, {"url": f"{hosts[0]}/nowhere"})
            assert plain["status"] == 302
            staying = http_request(**settings, max_redirects=0)
            seen: Any = await call_tool(staying, {"url": f"{hosts[0]}/list"})
            assert (seen["status"], seen["headers"]["location"]) == (302, "https://evil.example/?token=abc")
        assert inside.requests == []


@pytest.mark.requirement("KIT-013")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_what_becomes_of_a_body_in_a_redirect():
    with FakeHttp({"*": "there"}) as there:
        answers = {"*": "here"} | {f"/{code}": moved("/end", code) for code in (301, 302, 303, 307, 308)}
        answers |= {"/away307": moved(f"{there.url}/x", 307), "/away303": moved(f"{there.url}/x", 303)}
        with FakeHttp(answers) as fake:
            tool = reaching(fake, hosts=[fake.url, there.url], methods=["POST", "PUT"])
            for code in (301, 302, 303, 307, 308):
                await call_tool(tool, {"url": f"{fake.url}/{code}", "method": "POST", "json": code})
            ends = [request for request in fake.requests if request.path == "/end"]
            assert [(end.method, end.body) for end in ends] == [
                ("GET", b""), ("GET", b""), ("GET", b""), ("POST", b"307"), ("POST", b"308"),
            ]  # fmt: skip
            assert "content-type" not in ends[0].headers
            with pytest.raises(ToolExecutionError, match="redirects a POST to another host"):
                await call_tool(tool, {"url": f"{fake.url}/away307", "method": "POST", "json": "private"})
            assert there.requests == []
            await call_tool(tool, {"url": f"{fake.url}/away303", "method": "POST", "json": "private"})
            assert [(request.method, request.body) for request in there.requests] == [("GET", b"")]


@pytest.mark.requirement("KIT-014", "KIT-016")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_credentials_stay_with_their_origin(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    secret = "Bearer s3cr3t-of-the-host"
    with FakeHttp({"*": "there"}) as there:
        answers = {
            "/away": FakeResponse(302, {"Location": f"{there.url}/x", "Set-Cookie": "session=1"}),
            "/cookie": FakeResponse(200, {"Set-Cookie": "session=1", "X-Echo": secret}, body="ok"),
            "/echo": f"you sent {secret}",
            "/json": {"headers": {"authorization": secret}},
        }
        with FakeHttp(answers) as fake:
            tool = reaching(
                fake,
                hosts=[fake.url, there.url],
                allow_headers=["X-Mine", "Authorization"],
                credentials={fake.url: {"Authorization": secret}},
            )
            headers = {"X-Mine": "1", "Accept": "a/b", "authorization": "Bearer of-the-script"}
            await call_tool(tool, {"url": f"{fake.url}/away", "headers": headers})
            assert fake.requests[0].headers["authorization"] == secret
            assert fake.requests[0].headers["x-mine"] == "1"
            assert there.requests[0].headers["accept"] == "a/b"
            assert {"authorization", "x-mine", "cookie"}.isdisjoint(there.requests[0].headers)
            cookie: Any = await call_tool(tool, {"url": f"{fake.url}/cookie"})
            assert "set-cookie" not in cookie["headers"]
            assert cookie["headers"]["x-echo"] == MASK
            echo: Any = await call_tool(tool, {"url": f"{fake.url}/echo"})
            assert echo["text"] == f"you sent {MASK}"
            echoed: Any = await call_tool(tool, {"url": f"{fake.url}/json"})
            assert echoed["json"] == {"headers": {"authorization": MASK}}
            assert "cookie" not in fake.requests[-1].headers
            assert "s3cr3t" not in repr(vars(tool)) + str(tool.describe())


@pytest.mark.requirement("KIT-015")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_headers_a_script_may_not_set():
    with FakeHttp({"*": "ok"}) as fake:
        tool = reaching(fake)
        wrong = [{"Host": "evil"}, {"Cookie": "a=b"}, {"Authorization": "x"}, {"Transfer-Encoding": "chunked"}, {"X-A": "1"},
                 {"Accept": "a\r\nX-Injected: 1"}, {"Accept\r\nX": "1"}, {"Accept": "\x00"}, {"Accept": "ä"}]  # fmt: skip
        for headers in wrong:
            with pytest.raises(ToolValidationError, match="headers"):
                await call_tool(tool, {"url": fake.url, "headers": headers})
        assert fake.requests == []


@pytest.mark.requirement("KIT-002", "KIT-015")
def test_settings_that_cannot_be():
    wrong: list[dict[str, Any]] = [
        {"hosts": []},
        {"hosts": "a.example"},
        {"hosts": ["a.example/path"]},
        {"hosts": ["ftp://a.example"]},
        {"hosts": ["a.*.example"]},
        {"hosts": ["a.example:99999"]},
        {"hosts": [None]},
        {"methods": []},
        {"methods": ["CONNECT"]},
        {"methods": "GET"},
        {"max_bytes": 0},
        {"max_redirects": -1},
        {"connect_timeout": 0},
        {"networks": ["everything"]},
        {"headers": {"Host": "x"}},
        {"headers": {"X": "a\nb"}},
        {"allow_headers": ["Transfer-Encoding"]},
        {"credentials": {"https://other.example": {"Authorization": "x"}}},
        {"credentials": {"*.a.example": {"Authorization": "x"}}},
        {"no_such_option": 1},
    ]
    for settings in wrong:
        with pytest.raises(UsageError):
            http_request(**{"hosts": ["a.example", "*.a.example"], **settings})
    with pytest.raises(TypeError):
        http_request()  # type: ignore[call-arg] # nothing is allowed that was not named


@pytest.mark.requirement("KIT-017")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_body_is_read_up_to_its_limit():
    taken = itertools.count()

    def endless() -> Any:
        for _ in itertools.repeat(None):
            next(taken)
            yield bytes(65536)

    exact = "x" * 1000
    answers = {
        "/exact": exact,
        "/long": exact + "x",
        "/lies": FakeResponse(headers={"Content-Length": "99999999999"}, body="x"),
    }
    with FakeHttp({**answers, "/endless": FakeResponse(body=endless())}) as fake:
        tool = reaching(fake, max_bytes=1000)
        answer: Any = await call_tool(tool, {"url": f"{fake.url}/exact"})
        assert answer["text"] == exact
        for path in ("/long", "/endless", "/lies"):
            with pytest.raises(ToolExecutionError, match="more than 1,000 bytes") as caught:
                await call_tool(tool, {"url": f"{fake.url}{path}"})
            assert caught.value.details["limit"] == 1000
    assert next(taken) < 1000  # what fits the buffers of the sockets, and no more


def packed(body: bytes, **headers: str) -> FakeResponse:
    """A response that says it is packed with gzip."""
    return FakeResponse(headers={"Content-Encoding": "gzip", "Content-Type": "text/plain", **headers}, body=body)


@pytest.mark.requirement("KIT-017")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_packed_bodies_are_bounded_as_well():
    bomb = gzip.compress(bytes(50_000_000))
    empty = gzip.compress(b"")
    answers = {
        "/good": packed(gzip.compress(b"a" * 1000)),
        "/parts": packed(gzip.compress(b"one ") + gzip.compress(b"two")),
        "/none": packed(b""),
        "/bomb": packed(bomb),
        "/padding": FakeResponse(headers={"Content-Encoding": "gzip"}, body=itertools.repeat(empty * 100)),
        "/cut": packed(gzip.compress(b"a" * 1000)[:-4]),
        "/noise": packed(b"no gzip at all"),
        "/trailing": packed(gzip.compress(b"a") + b"noise"),
        "/other": FakeResponse(headers={"Content-Encoding": "deflate"}, body=zlib.compress(b"a")),
        "/twice": FakeResponse(headers={"Content-Encoding": "gzip, gzip"}, body=gzip.compress(gzip.compress(b"a"))),
    }
    with FakeHttp(answers) as fake:
        tool = reaching(fake, max_bytes=1000)
        for path, text in {"/good": "a" * 1000, "/parts": "one two", "/none": ""}.items():
            answer: Any = await call_tool(tool, {"url": fake.url + path})
            assert answer["text"] == text
        failures = {
            "/bomb": "more than 1,000 bytes", "/padding": "more than 1,000 bytes", "/cut": "ends in the middle",
            "/noise": "cannot be unpacked", "/trailing": "cannot be unpacked", "/other": "'deflate', which was not asked",
            "/twice": "'gzip, gzip'",
        }  # fmt: skip
        for path, words in failures.items():
            with pytest.raises(ToolExecutionError, match=words):
                await call_tool(tool, {"url": fake.url + path})
        assert fake.requests[0].headers["accept-encoding"] == "gzip"


@pytest.mark.requirement("KIT-017")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_packed_body_is_never_unpacked_beyond_the_limit():
    bomb = gzip.compress(bytes(50_000_000))

    async def pieces() -> AsyncIterator[bytes]:
        yield bomb

    tracemalloc.start()
    try:
        with pytest.raises(BodyTooLargeError):
            await read_body(pieces(), encoding="gzip", most=100_000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000


@pytest.mark.requirement("KIT-018")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_how_a_body_is_returned():
    def typed(kind: str, body: bytes) -> FakeResponse:
        return FakeResponse(headers={"Content-Type": kind}, body=body)

    answers = {
        "/problem": typed("application/problem+json", b'{"a": 1}'),
        "/broken": typed("application/json", b"{oops"),
        "/nan": typed("application/json", b"NaN"),
        "/latin": typed("text/html; charset=iso-8859-1", "grün".encode("latin-1")),
        "/wrong": typed("text/plain; charset=utf-8", b"\xff\xfe"),
        "/codec": typed("text/plain; charset=zip", b"plain"),
        "/unknown": typed("text/plain; charset=klingon", b"plain"),
        "/big": typed("application/json", b'{"id": 12345678901234567890}'),
    }
    with FakeHttp(answers) as fake:
        tool = reaching(fake)

        async def get(path: str, **more: Any) -> Any:
            answer: Any = await call_tool(tool, {"url": fake.url + path, **more})
            return {name: answer[name] for name in ("json", "text", "base64") if name in answer}

        assert await get("/problem") == {"json": {"a": 1}}
        assert await get("/problem", parse="text") == {"text": '{"a": 1}'}
        assert await get("/problem", parse="base64") == {"base64": "eyJhIjogMX0="}
        assert await get("/problem", method="HEAD") == {"text": ""}
        assert await get("/broken") == {"text": "{oops"}
        assert await get("/nan") == {"text": "NaN"}
        assert await get("/latin") == {"text": "grün"}
        assert await get("/wrong") == {"base64": "//4="}
        assert await get("/codec") == {"base64": "cGxhaW4="}
        assert await get("/unknown") == {"text": "plain"} or await get("/unknown") == {"base64": "cGxhaW4="}
        with pytest.raises(ToolExecutionError, match="is no JSON") as caught:
            await get("/broken", parse="json")
        assert "in_doubt" not in caught.value.details
        with pytest.raises(ToolExecutionError, match="is no text in utf-8"):
            await get("/wrong", parse="text")
        with pytest.raises(ToolValidationError, match=r"\$\.json\.id"):
            await get("/big")
        assert (await get("/big", parse="text"))["text"].startswith('{"id"')


@pytest.mark.requirement("KIT-019")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_what_breaks_says_whether_to_try_again():
    answers = {"/reset": FakeResponse(error="reset"), "/cut": FakeResponse(body="half of it", error="cut")}
    with FakeHttp(answers) as fake:
        origin = fake.url
        tool = reaching(fake, methods=["GET", "POST"])
        for path in ("/reset", "/cut"):
            with pytest.raises(ToolExecutionError, match="before the response was complete") as caught:
                await call_tool(tool, {"url": f"{origin}{path}?q=mine"})
            assert caught.value.retryable
            assert "mine" not in caught.value.message
            with pytest.raises(ToolExecutionError, match="may have taken effect") as caught:
                await call_tool(tool, {"url": origin + path, "method": "POST"})
            assert not caught.value.retryable
            assert tool.is_in_doubt_after(caught.value)
    with pytest.raises(ToolExecutionError, match="no connection to") as caught:
        await call_tool(tool, {"url": origin, "method": "POST"})
    assert caught.value.retryable
    assert not tool.is_in_doubt_after(caught.value)

    async def nothing(host: str, port: int) -> list[str]:
        raise OSError("no such name")

    for resolver in (nothing, Names(a_example=[[]])):
        with pytest.raises(ToolExecutionError, match=r"there is no host 'a\.example'") as caught:
            await call_tool(http_request(hosts=["a.example"], resolver=resolver), {"url": "https://a.example"})
        assert caught.value.retryable


@pytest.mark.requirement("KIT-020")
async def test_a_server_that_never_answers_is_left():
    gate = threading.Event()

    def drip() -> Any:
        yield b"first"
        gate.wait(30)

    with FakeHttp({"/hang": FakeResponse(error="hang"), "/drip": FakeResponse(body=drip())}) as fake:
        tool = reaching(fake, timeout=0.2)
        for path in ("/hang", "/drip"):
            with pytest.raises(ToolTimeoutError):
                await call_tool(tool, {"url": fake.url + path})
        gate.set()
        # A slow machine may run out of time before a request has got there.
        assert {request.path for request in fake.requests} <= {"/hang", "/drip"}


@pytest.mark.requirement("KIT-003", "KIT-060")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_transport_takes_the_place_of_the_network():
    with FakeHttp({"/a": {"a": 1}}) as fake:
        tool = http_request(hosts=["api.example.com"], transport=fake.transport())
        for _ in range(2):
            answer: Any = await call_tool(tool, {"url": "https://api.example.com/a"})
            assert (answer["json"], answer["url"]) == ({"a": 1}, "https://api.example.com/a")
        assert fake.requests[1].headers["host"] == "api.example.com"
    mock = httpx.MockTransport(lambda request: httpx.Response(200, text=request.url.host))
    answer = await call_tool(http_request(hosts=["b.example"], transport=mock), {"url": "https://b.example"})
    assert answer["text"] == "b.example"


@pytest.mark.requirement("KIT-018")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_options_are_those_of_every_tool():
    tool = http_request(hosts=["a.example"], name="web.get", approval=True, cost=2, tags=["mine"])
    assert (tool.name, tool.approval, tool.cost, tool.tags, tool.idempotent) == ("web.get", True, 2, ("mine",), True)
    assert "a.example" in tool.description
    context = make_test_context(limits=Limits(result_bytes=1024))
    with FakeHttp({"*": "x" * 2000}) as fake, pytest.raises(ToolValidationError, match="result_bytes"):
        await call_tool(reaching(fake), {"url": fake.url}, context=context)


@pytest.mark.requirement("KIT-018", "KIT-019")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_what_was_answered_once_is_in_doubt_wherever_it_leads():
    answers = {
        "/made": FakeResponse(status_code=303, headers={"location": "/reset"}),
        "/away": FakeResponse(status_code=303, headers={"location": "https://elsewhere.example/"}),
        "/reset": FakeResponse(error="reset"),
        "/bom": FakeResponse(body=b"\xef\xbb\xbf[1]", headers={"content-type": "application/json"}),
    }
    with FakeHttp(answers) as fake:
        tool = reaching(fake, methods=["GET", "POST"])
        for path in ("/made", "/away"):
            for method in ("GET", "POST"):
                with pytest.raises(ToolExecutionError) as caught:
                    await call_tool(tool, {"url": fake.url + path, "method": method})
                assert tool.is_in_doubt_after(caught.value) is (method == "POST")
        answer = await call_tool(tool, {"url": f"{fake.url}/bom"})
    assert isinstance(answer, dict)
    assert answer["json"] == [1]
