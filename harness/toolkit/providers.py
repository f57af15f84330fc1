"""What two kinds of endpoints want to be asked, and how they answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["PROVIDERS", "Provider", "Reply", "WrongShapeError", "request_body"]


class WrongShapeError(Exception):
    """A response that is not of the form its kind of endpoint gives; the text says what is missing."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model said."""

    text: str
    complete: bool
    """False if it was cut off at the limit of tokens."""
    stop_reason: str
    input_tokens: int | None
    """None if the endpoint does not say."""
    output_tokens: int | None


@dataclass(frozen=True, slots=True)
class Provider:
    """One kind of endpoint."""

    kind: Literal["openai", "anthropic"]
    base_url: str
    """The maker's own."""
    path: str
    """What stands behind the base URL."""

    def headers(self, key: str | None) -> dict[str, str]:
        """What says who asks, and in which version."""
        if self.kind == "anthropic":
            return {"anthropic-version": "2023-06-01"} | ({} if key is None else {"x-api-key": key})
        return {} if key is None else {"authorization": f"Bearer {key}"}

    def reply(self, answer: Any) -> Reply:
        """Raises `WrongShapeError`."""
        return _anthropic(answer) if self.kind == "anthropic" else _openai(answer)


PROVIDERS: Mapping[str, Provider] = {
    "openai": Provider("openai", "https://api.openai.com/v1", "/chat/completions"),
    "anthropic": Provider("anthropic", "https://api.anthropic.com", "/v1/messages"),
}


def request_body(
    provider: Provider, *, model: str, system: str | None, prompt: str, max_tokens: int, limit_member: str
) -> dict[str, Any]:
    """One question, as this kind of endpoint takes it."""
    messages = [{"role": "user", "content": prompt}]
    body: dict[str, Any] = {"model": model, limit_member: max_tokens}
    if provider.kind == "anthropic":
        return {**body, "messages": messages} | ({} if system is None else {"system": system})
    return {**body, "messages": ([] if system is None else [{"role": "system", "content": system}]) + messages}


def _openai(answer: Any) -> Reply:
    choice = _first(_member(answer, "choices", list), "choices")
    text = _member(choice, "message", dict).get("content")
    if text is None:
        text = ""  # a refusal, or nothing but reasoning; the stop reason says which
    if not isinstance(text, str):
        raise WrongShapeError("choices[0].message.content is no text")
    reason = str(choice.get("finish_reason") or "unknown")
    usage = answer.get("usage") if isinstance(answer.get("usage"), dict) else {}
    return Reply(text, reason != "length", reason, _count(usage, "prompt_tokens"), _count(usage, "completion_tokens"))


def _anthropic(answer: Any) -> Reply:
    blocks = _member(answer, "content", list)
    texts = [block.get("text") for block in blocks if isinstance(block, dict) and block.get("type") == "text"]
    if not all(isinstance(text, str) for text in texts):
        raise WrongShapeError("a block of content has no text")
    reason = str(answer.get("stop_reason") or "unknown")
    usage = answer.get("usage") if isinstance(answer.get("usage"), dict) else {}
    counts = [
        _count(usage, name) for name in ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    ]
    taken = None if counts[0] is None else sum(count or 0 for count in counts)
    text = "".join(text for text in texts if isinstance(text, str))
    return Reply(text, reason != "max_tokens", reason, taken, _count(usage, "output_tokens"))


def _member(value: Any, name: str, kind: type) -> Any:
    if not isinstance(value, dict) or not isinstance(value.get(name), kind):
        raise WrongShapeError(f"it has no {name}")
    return value[name]


def _first(items: list[Any], name: str) -> dict[str, Any]:
    if not items or not isinstance(items[0], dict):
        raise WrongShapeError(f"its {name} are empty")
    return items[0]


def _count(usage: Mapping[str, Any], name: str) -> int | None:
    count = usage.get(name)
    return count if isinstance(count, int) and not isinstance(count, bool) and count >= 0 else None
