"""The fake HTTP server and the fake model, as the tests of others use them."""

from __future__ import annotations

import socket
import threading
from typing import Any

import anyio
import httpx
import pytest

from harness.errors import UsageError
from harness.testing import FakeHttp, FakeModel, FakeRequest, FakeResponse


def get(url: str, **more: Any) -> httpx.Response:
    """Over the network, as any client would."""
    with httpx.Client(trust_env=False, timeout=10) as client:
        return client.get(url, **more)


@pytest.mark.requirement("KIT-060")
def test_canned_answers():
    answers = {
        "/json": {"a": [1]},
        "/text": "grüß dich",
        "/bytes": b"\x00",
        "POST /json": FakeResponse(201, {"X-Made": "1", "Content-Type": "text/x"}, body="made"),
        "/turns": ("first", FakeResponse(503), "last"),
        "/pieces": FakeResponse(body=iter([b"one ", b"", b"two"])),
    }
    with FakeHttp(answers) as fake:
        assert get(f"{fake.url}/json").json() == {"a": [1]}
        assert get(f"{fake.url}/text").text == "grüß dich"
        assert get(f"{fake.url}/bytes").content == b"\x00"
        made = httpx.post(f"{fake.url}/json?q=a+b&r=", json=[1], headers={"X-Mine": "x"}, trust_env=False)
        assert (made.status_code, made.text, made.headers["x-made"]) == (201, "made", "1")
        assert made.headers["content-type"] == "text/x"
        turns = [get(f"{fake.url}/turns") for _ in range(4)]
        assert [turn.text or turn.status_code for turn in turns] == ["first", 503, "last", "last"]
        assert get(f"{fake.url}/pieces").text == "one two"
        assert get(f"{fake.url}/else").status_code == 404
        assert httpx.head(f"{fake.url}/text", trust_env=False).headers["content-length"] == "11"
        posted = fake.requests[3]
    assert (posted.method, posted.path, dict(posted.query)) == ("POST", "/json", {"q": "a b", "r": ""})
    assert (posted.json(), posted.headers["x-mine"]) == ([1], "x")
    with FakeHttp(lambda request: request.path.upper()) as fake:
        assert get(f"{fake.url}/abc").text == "/ABC"


@pytest.mark.requirement("KIT-060")
def test_errors_and_latency():
    answers = {
        "/reset": FakeResponse(error="reset"),
        "/cut": FakeResponse(body="0123456789", error="cut"),
        "/cut-pieces": FakeResponse(body=iter([b"one"]), error="cut"),
        "/late": FakeResponse(latency_ms=20, body="at last"),
    }
    with FakeHttp(answers) as fake:
        with pytest.raises(httpx.ReadError):
            get(f"{fake.url}/reset")
        for path in ("/cut", "/cut-pieces"):
            with pytest.raises(httpx.RemoteProtocolError):
                get(fake.url + path)
        assert get(f"{fake.url}/late").text == "at last"


@pytest.mark.requirement("KIT-060")
@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_nothing_is_left():
    before = set(threading.enumerate())
    with FakeHttp({"/hang": FakeResponse(error="hang"), "/late": FakeResponse(latency_ms=3_600_000)}) as fake:
        port = fake.port
        silent = socket.create_connection(("127.0.0.1", port))
        waiting = []
        for path in ("/hang", "/late"):
            connection = socket.create_connection(("127.0.0.1", port))
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: here\r\n\r\n".encode())
            waiting.append(connection)
        with anyio.fail_after(10):
            while len(fake.requests) < 2:
                await anyio.lowlevel.checkpoint()
    for connection in (silent, *waiting):
        connection.settimeout(10)
        assert connection.recv(1) == b""
        connection.close()
    assert set(threading.enumerate()) == before
    with pytest.raises(OSError, match=r"refused"):
        socket.create_connection(("127.0.0.1", port))


@pytest.mark.requirement("KIT-060")
def test_what_an_answer_raises_is_raised_where_the_server_ends():
    def broken(request: FakeRequest) -> str:
        raise KeyError(request.path)

    fake = FakeHttp(broken)
    fake.__enter__()
    with pytest.raises(httpx.RemoteProtocolError):
        get(f"{fake.url}/x")
    with pytest.raises(KeyError, match="/x"):
        fake.__exit__(None, None, None)
    with pytest.raises(UsageError, match="inside its with block"):
        get(FakeHttp({}).url)


@pytest.mark.requirement("KIT-061")
@pytest.mark.anyio
async def test_a_fake_model_replies_in_order():
    model = FakeModel(
        ["first", lambda messages: messages[-1]["content"].upper(), ValueError("overloaded"), "in pieces"]
    )
    question = [{"role": "user", "content": "hello"}]
    assert await model.complete(question) == "first"
    assert await model.complete(question) == "HELLO"
    with pytest.raises(ValueError, match="overloaded"):
        await model.complete(question)
    assert model.left == 1
    assert [piece async for piece in model.stream(question, 4)] == ["in p", "iece", "s"]
    with pytest.raises(UsageError, match="no reply left after 4"):
        await model.complete(question)
    assert model.asked == [question] * 5
    with pytest.raises(UsageError, match="over HTTP"):
        await FakeModel([FakeResponse(429)]).complete(question)


@pytest.mark.requirement("KIT-061")
def test_a_fake_model_speaks_two_formats():
    model = FakeModel(["It is four.", "Bonjour.", FakeResponse(429), ValueError("overloaded")])
    question = {"model": "m", "messages": [{"role": "user", "content": "two and two"}]}
    with FakeHttp(model) as fake:

        def ask(path: str, **more: Any) -> httpx.Response:
            return httpx.post(fake.url + path, json={**question, **more}, trust_env=False)

        first = ask("/v1/chat/completions").json()
        assert first["choices"][0]["message"] == {"role": "assistant", "content": "It is four."}
        assert first["usage"] == {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6}
        second = ask("/v1/messages", system="Be French.").json()
        assert second["content"] == [{"type": "text", "text": "Bonjour."}]
        assert second["usage"] == {"input_tokens": 5, "output_tokens": 1}
        assert ask("/v1/messages").status_code == 429
        assert (ask("/v1/messages").status_code, ask("/v1/messages").status_code) == (500, 500)
        assert httpx.post(f"{fake.url}/v1/messages", content=b"{", trust_env=False).status_code == 400
    assert model.asked[1][0] == {"role": "system", "content": "Be French."}
