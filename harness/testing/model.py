"""A model with canned replies."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any

import anyio.lowlevel

from harness.errors import UsageError
from harness.testing.http import FakeRequest, FakeResponse

__all__ = ["FakeModel"]

Message = Mapping[str, Any]
Reply = str | BaseException | FakeResponse | Callable[[list[Message]], str]


class FakeModel:
    """A model that gives the replies it was made with, in order, and keeps what it was asked.

    A reply is a text, a function of the messages that returns one, or an exception. It is asked with `complete` or
    `stream`; or over HTTP, as the answer of a `FakeHttp`, in the formats of OpenAI's chat completions and of Anthropic's
    messages::

        with FakeHttp(FakeModel(["Hello."])) as fake:
            tool = llm("gpt", provider="openai", base_url=f"{fake.url}/v1", price=Price(100, 400))

    Over HTTP a reply can be a `FakeResponse` as well (a status of 429, say), and an exception becomes a status of 500. A
    word counts as a token. Raises `UsageError` when it is asked more often than it has replies.
    """

    def __init__(self, replies: Iterable[Reply], *, stop_reason: str | None = None) -> None:
        if isinstance(replies, (str, FakeResponse, BaseException)) or not isinstance(replies, Iterable):
            raise UsageError(f"FakeModel takes a list of replies, also of a single one, not {replies!r}.")
        self._left = list(replies)
        self._stop_reason = stop_reason
        self._lock = threading.Lock()
        self.asked: list[list[Message]] = []
        """The messages of each question."""

    @property
    def left(self) -> int:
        """Replies nobody has asked for yet."""
        return len(self._left)

    async def complete(self, messages: Sequence[Message]) -> str:
        """The next reply. Other tasks run before it comes."""
        await anyio.lowlevel.checkpoint()
        reply = self._next(messages)
        if isinstance(reply, FakeResponse):
            raise UsageError("A FakeResponse is a reply over HTTP; give this FakeModel a text or an exception.")
        return reply

    async def stream(self, messages: Sequence[Message], size: int = 7) -> AsyncIterator[str]:
        """The next reply in pieces of ``size`` characters; other tasks run between two of them."""
        reply = await self.complete(messages)
        for start in range(0, len(reply), size):
            yield reply[start : start + size]
            await anyio.lowlevel.checkpoint()

    def __call__(self, request: FakeRequest) -> FakeResponse:
        """The next reply as a `FakeHttp` sends it."""
        try:
            body = request.json()
        except ValueError:
            return FakeResponse(400, body={"error": {"message": "the body is no JSON"}})
        messages = list(body["messages"])
        asked = [{"role": "system", "content": body["system"]}, *messages] if "system" in body else messages
        try:
            reply = self._next(asked)
        except Exception as error:  # noqa: BLE001 - whatever the test gave: over HTTP it is a status
            return FakeResponse(500, body={"error": {"type": "server_error", "message": str(error)}})
        if isinstance(reply, FakeResponse):
            return reply
        counts = (sum(len(str(message["content"]).split()) for message in asked), len(reply.split()))
        form = _openai if request.path.endswith("/chat/completions") else _anthropic
        return FakeResponse(body=form(str(body["model"]), reply, counts, self._stop_reason))

    def _next(self, messages: Sequence[Message]) -> str | FakeResponse:
        with self._lock:
            self.asked.append(list(messages))
            if not self._left:
                raise UsageError(f"The FakeModel has no reply left after {len(self.asked) - 1}; give it one more.")
            reply = self._left.pop(0)
        if isinstance(reply, BaseException):
            raise reply
        return reply(list(messages)) if callable(reply) else reply


def _openai(model: str, reply: str, counts: tuple[int, int], stop: str | None) -> dict[str, Any]:
    return {
        "id": "chatcmpl-fake",
        "object": "chat.completion",
        "model": model,
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": reply}, "finish_reason": stop or "stop"},
        ],
        "usage": {"prompt_tokens": counts[0], "completion_tokens": counts[1], "total_tokens": sum(counts)},
    }


def _anthropic(model: str, reply: str, counts: tuple[int, int], stop: str | None) -> dict[str, Any]:
    return {
        "id": "msg_fake",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": reply}],
        "stop_reason": stop or "end_turn",
        "usage": {"input_tokens": counts[0], "output_tokens": counts[1]},
    }
