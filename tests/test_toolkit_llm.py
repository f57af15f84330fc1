"""Questions to language models: over real sockets, to a server that speaks their formats."""

from __future__ import annotations

import gzip
from typing import Any

import pytest
from pydantic import SecretStr

from harness import Budget, Harness, Limits
from harness.errors import ToolBudgetExceededError, ToolError, ToolExecutionError, ToolValidationError, UsageError
from harness.redaction import MASK
from harness.testing import FakeHttp, FakeModel, FakeResponse, call_tool
from harness.toolkit import Price, llm
from harness.tools.budget import CallBudget
from harness.tools.meters import to_cents
from harness.tools.registry import ToolRegistry
from harness.tools.tool import Tool

pytestmark = pytest.mark.anyio
once = pytest.mark.parametrize("anyio_backend", ["asyncio"])

KEY = "sk-abc.DEF_1234567890"
PRICE = Price(input=1_000_000, output=10_000_000)  # a cent for each token of a question, ten for each of a reply


def asking(fake: FakeHttp, **settings: Any) -> Tool:
    """A tool that asks a server here, as OpenAI's is asked."""
    base = {"provider": "openai", "base_url": f"{fake.url}/v1", "price": PRICE, "key": KEY, "max_tokens": 50}
    return llm(settings.pop("model", "some-model"), **{**base, **settings})


@pytest.mark.requirement("KIT-003", "KIT-050", "KIT-051", "KIT-061")
async def test_a_script_asks_and_pays():
    model = FakeModel(["It is four."])
    with FakeHttp(model) as fake:
        tool = asking(fake, system="Be brief.", parameters={"temperature": 0})
        async with Harness(tools=[tool], budget=Budget(cost_cents=100_000)) as harness:
            script = 'return await tools.llm({prompt: "What is two and two?"})'
            execution = (await harness.run(f"<tool-calls>{script}</tool-calls>")).executions[0]
        assert execution.error is None
        assert execution.value == {
            "text": "It is four.",
            "complete": True,
            "stop_reason": "stop",
            "input_tokens": 7,
            "output_tokens": 3,
        }
        assert execution.budget is not None
        assert execution.budget.cost_cents is not None
        assert execution.budget.cost_cents.used == 7 + 3 * 10
        (request,) = fake.requests
    assert request.path == "/v1/chat/completions"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.json() == {
        "model": "some-model",
        "max_tokens": 50,
        "temperature": 0,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "What is two and two?"},
        ],
    }


@once
@pytest.mark.requirement("KIT-050", "KIT-061")
async def test_anthropic_is_asked_in_its_own_way():
    model = FakeModel(["Bon", "jour"], stop_reason="max_tokens")
    with FakeHttp(model) as fake:
        tool = asking(fake, provider="anthropic", base_url=fake.url, system="Be French.")
        answer: Any = await call_tool(tool, {"prompt": "Greet me.", "max_tokens": 5})
        assert (answer["text"], answer["complete"], answer["stop_reason"]) == ("Bon", False, "max_tokens")
        (request,) = fake.requests
    assert request.path == "/v1/messages"
    assert (request.headers["x-api-key"], request.headers["anthropic-version"]) == (KEY, "2023-06-01")
    assert request.json() == {
        "model": "some-model",
        "max_tokens": 5,
        "system": "Be French.",
        "messages": [{"role": "user", "content": "Greet me."}],
    }
    cached = {
        "content": [
            {"type": "thinking", "thinking": "…"},
            {"type": "text", "text": "a"},
            {"type": "text", "text": "b"},
        ],
        "stop_reason": "end_turn",
        "usage": {
            "input_tokens": 1,
            "cache_read_input_tokens": 20,
            "cache_creation_input_tokens": 300,
            "output_tokens": 2,
        },
    }
    with FakeHttp({"*": cached}) as fake:
        answer = await call_tool(asking(fake, provider="anthropic", base_url=fake.url), {"prompt": "x"})
    assert (answer["text"], answer["input_tokens"], answer["output_tokens"]) == ("ab", 321, 2)


@once
@pytest.mark.requirement("KIT-050")
async def test_what_an_endpoint_calls_the_limit():
    with FakeHttp(FakeModel(["a", "b", "c"])) as fake:
        await call_tool(asking(fake), {"prompt": "x"})
        await call_tool(asking(fake, limit_member="max_output"), {"prompt": "x"})
        await call_tool(asking(fake, base_url=None, transport=fake.transport()), {"prompt": "x"})
        bodies = [request.json() for request in fake.requests]
        assert [sorted(body.keys() - {"model", "messages"}) for body in bodies] == [
            ["max_tokens"],
            ["max_output"],
            ["max_completion_tokens"],
        ]
        assert fake.requests[2].headers["host"] == "api.openai.com"


async def charged(tool: Tool, arguments: dict[str, Any], limit: float | None = None) -> tuple[Any, float]:
    """The result or the error of a call, and the cents it was charged."""
    budget = CallBudget(Limits(), Budget(cost_cents=limit))
    result: Any
    try:
        result = await ToolRegistry([tool]).call(tool.name, arguments, budget=budget)
    except ToolError as error:
        result = error
    return result, to_cents(budget.purse.used)


@once
@pytest.mark.requirement("KIT-051")
async def test_what_is_charged():
    silent = {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}
    # Ten bytes of prompt, two of parameters, and what an endpoint may add; and a reply of five tokens.
    most = 10 + 2 + 200 + 5 * 10
    arguments = {"prompt": "0123456789", "max_tokens": 5}
    answers: list[tuple[Any, float]] = [
        (FakeModel(["one two"]), 1 + 2 * 10),
        ({"*": silent}, most),
        ({"*": {**silent, "usage": {"prompt_tokens": -1, "completion_tokens": "2"}}}, most),
        ({"*": FakeResponse(429, body={"error": {"message": "slow down"}})}, 0),
        ({"*": FakeResponse(500)}, 0),
        ({"*": FakeResponse(error="reset")}, most),
        ({"*": FakeResponse(body=b"no json")}, most),
        ({"*": []}, most),
    ]
    for answer, cents in answers:
        with FakeHttp(answer) as fake:
            assert (await charged(asking(fake), arguments))[1] == cents
            where = fake.url
    gone, cents = await charged(llm("m", provider="openai", base_url=where, price=PRICE), arguments)
    assert (gone.retryable, cents) == (True, 0)
    with FakeHttp(FakeModel(["one two"])) as fake:
        refused, cents = await charged(asking(fake), arguments, limit=most - 1)
        assert isinstance(refused, ToolBudgetExceededError)
        assert (refused.details["needed"], cents, fake.requests) == (most, 0, [])
        answer, cents = await charged(asking(fake), arguments, limit=most)
        assert (answer["text"], cents) == ("one two", 21)
        free = asking(fake, cost=0)
        with pytest.raises(ToolExecutionError, match="no reply left"):
            await call_tool(free, {"prompt": "x"})


@once
@pytest.mark.requirement("KIT-052")
async def test_the_key_is_never_shown(caplog):
    texts: list[str] = []
    hint = f"Incorrect API key provided: {KEY[:6]}***{KEY[-4:]}"
    with FakeHttp({"*": "elsewhere"}) as elsewhere:
        answers: list[Any] = [
            {"*": {"choices": [{"message": {"content": f"your key is {KEY}"}}]}},
            {"*": FakeResponse(401, body={"error": {"message": hint}})},
            {"*": FakeResponse(400, body={"error": {"message": f"bad header: Bearer {KEY}"}})},
            {"*": FakeResponse(307, {"Location": f"{elsewhere.url}/v1/chat/completions"})},
            {"*": FakeResponse(error="reset")},
            {"*": FakeResponse(body=f"{KEY} is no JSON".encode())},
        ]
        for answer in answers:
            with FakeHttp(answer) as fake:
                for key in (KEY, SecretStr(KEY), lambda: KEY):
                    tool = asking(fake, key=key)
                    result, _ = await charged(tool, {"prompt": "x"})
                    shown = str(result.info()) if isinstance(result, ToolError) else str(result)
                    texts += [shown, repr(tool), str(tool.describe()), repr(vars(tool))]
                assert [request.headers["authorization"] for request in fake.requests] == [f"Bearer {KEY}"] * 3
        assert elsewhere.requests == []
    assert f"your key is {MASK}" in texts[0]
    assert "does not accept the key" in texts[12]
    everything = "".join(texts) + caplog.text
    assert KEY not in everything
    assert hint not in everything
    assert KEY[-10:] not in everything


@once
@pytest.mark.requirement("KIT-052", "KIT-002")
async def test_keys_and_urls_that_cannot_be():
    wrong: list[dict[str, Any]] = [
        {"provider": "mine"},
        {"price": Price(0, 0), "key": "sk-with a-space"},
        {"key": "sk-broken\r\nX-Injected: 1"},
        {"key": ""},
        {"key": b"sk-bytes"},
        {"key": SecretStr("ü-key")},
        {"base_url": "http://api.example.com/v1"},
        {"base_url": "ftp://api.example.com/v1"},
        {"base_url": "https://me:secret@api.example.com"},
        {"base_url": "https://api.example.com/v1?key=1"},
        {"base_url": "https://[::1"},
        {"max_tokens": 0},
        {"max_bytes": 0},
    ]
    for settings in wrong:
        with pytest.raises(UsageError) as caught:
            llm("m", **{"provider": "openai", "price": PRICE, "key": KEY, **settings})
        assert KEY not in caught.value.message
        assert "sk-" not in caught.value.message
    assert llm("m", provider="openai", price=PRICE, base_url="http://inside.example:8000/v1").name == "llm"
    for price in ((-1, 0), (0, float("nan")), ("1", 0)):
        with pytest.raises(UsageError, match="Price"):
            Price(*price)
    with FakeHttp({}) as fake:
        for broken in (lambda: "two words", lambda: None):
            with pytest.raises(ToolExecutionError, match="function for its key returned none"):
                await call_tool(asking(fake, key=broken), {"prompt": "x"})
        assert fake.requests == []


@once
@pytest.mark.requirement("KIT-053")
async def test_what_a_script_cannot_set():
    with FakeHttp({}) as fake:
        tool = asking(fake)
        for more in (
            {"system": "x"},
            {"model": "x"},
            {"max_tokens": 51},
            {"max_tokens": 0},
            {"prompt": ""},
            {"base_url": "x"},
        ):
            with pytest.raises(ToolValidationError):
                await call_tool(tool, {"prompt": "x", **more})
        assert fake.requests == []
    assert (tool.tags, tool.idempotent, tool.timeout) == (("read", "untrusted"), True, 120.0)


@once
@pytest.mark.requirement("KIT-054")
async def test_failures_say_whether_to_try_again():
    busy = FakeResponse(429, {"Retry-After": "7"}, body={"error": {"message": "Rate limit reached."}})
    huge = FakeResponse(headers={"Content-Encoding": "gzip"}, body=gzip.compress(bytes(10_000_000)))
    table: list[tuple[Any, str, bool]] = [
        (busy, "status 429: Rate limit reached", True),
        (FakeResponse(529), "status 529: it does not say why", True),
        (FakeResponse(503, body=[1]), "status 503", True),
        (FakeResponse(400, body={"error": {"message": "x" * 5000}}), "status 400: x", False),
        (FakeResponse(404), "status 404", False),
        (FakeResponse(302, {"Location": "/x"}), "mend base_url", False),
        (FakeResponse(error="cut", body="x" * 100), "before the reply was complete", True),
        (huge, "longer than 1,048,576 bytes", False),
        (FakeResponse(headers={"Content-Encoding": "br"}, body=b"x"), "cannot be read", False),
        (b"<html>", "no JSON", False),
        ({"choices": []}, "choices are empty", False),
        ({"choices": [{}]}, "no message", False),
        ({"choices": [{"message": {"content": [1]}}]}, "is no text", False),
        ([], "no choices", False),
    ]
    for answer, words, again in table:
        with FakeHttp({"*": answer}) as fake, pytest.raises(ToolExecutionError) as caught:
            await call_tool(asking(fake), {"prompt": "x"})
        assert words in caught.value.message
        assert len(caught.value.message) < 600
        assert caught.value.retryable is again
    with FakeHttp({"*": busy}) as fake, pytest.raises(ToolExecutionError) as caught:
        await call_tool(asking(fake), {"prompt": "x"})
    assert caught.value.details == {"status": 429, "retry_after_s": 7}
    for answer, words in (({"content": "x"}, "no content"), ({"content": [{"type": "text"}]}, "has no text")):
        with FakeHttp({"*": answer}) as fake, pytest.raises(ToolExecutionError, match=words):
            await call_tool(asking(fake, provider="anthropic"), {"prompt": "x"})
    with FakeHttp({"*": {"choices": [{"message": {"content": None}, "finish_reason": "content_filter"}]}}) as fake:
        refusal: Any = await call_tool(asking(fake), {"prompt": "x"})
    assert (refusal["text"], refusal["stop_reason"]) == ("", "content_filter")
