"""`llm`: one question to a language model, paid for."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Unpack

from pydantic import SecretStr
from pydantic_core import to_json

from harness.errors import ToolExecutionError, UsageError
from harness.toolkit.checks import check_kinds, check_whole, require
from harness.toolkit.providers import PROVIDERS, WrongShapeError, request_body
from harness.tools.context import CallContext
from harness.tools.options import ToolOptions
from harness.tools.resource import check_cents
from harness.tools.tool import Tool

if TYPE_CHECKING:
    import httpx

__all__ = ["Price", "llm"]

_PER = 1_000_000
_FRAMING_TOKENS = 200
"""What an endpoint may add around a question, at most."""
_MOST_TEXT = 200_000


@dataclass(frozen=True, slots=True)
class Price:
    """Cents for a million tokens. Raises `UsageError` for what is no sum of money."""

    input: float
    output: float

    def __post_init__(self) -> None:
        check_cents(self.input, "Price.input")
        check_cents(self.output, "Price.output")

    def of(self, input_tokens: int, output_tokens: int) -> float:
        """Cents for so many tokens."""
        return (input_tokens * self.input + output_tokens * self.output) / _PER


def llm(
    model: str,
    *,
    provider: Literal["openai", "anthropic"],
    price: Price,
    key: str | SecretStr | Callable[[], str] | None = None,
    base_url: str | None = None,
    system: str | None = None,
    max_tokens: int = 1024,
    limit_member: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    max_bytes: int = 1024 * 1024,
    connect_timeout: float = 5.0,
    tls: ssl.SSLContext | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
    name: str = "llm",
    **options: Unpack[ToolOptions],
) -> Tool:
    """A tool that asks a language model: ``tools.llm({prompt, max_tokens?})``.

    The result has ``text``, ``complete`` (false if the reply was cut off at the limit of tokens), ``stop_reason``,
    ``input_tokens`` and ``output_tokens`` (null if the endpoint does not say).

    - ``provider``: ``"openai"`` for every endpoint that takes OpenAI's chat completions, ``"anthropic"`` for Anthropic's
      messages. ``base_url``: by default the maker's own; ``http`` only for this machine, or without a key.
    - ``price``: what a million tokens cost, in cents. Before a call the most it can cost is held back: each byte of the
      question can be a token, and the reply can have ``max_tokens``. After it, what it cost by the endpoint's own count
      is charged, and nothing where the endpoint refused.
    - ``key``: text, a ``SecretStr``, or a function that gives it when it is needed (``lambda: os.environ["…"]``). It is
      in no error, result or description, and no redirect is followed with it.
    - ``system``: instructions by the host; scripts cannot set any.
    - ``max_tokens``: of a reply; a script can ask for fewer. ``limit_member``: what the endpoint calls it, by default
      ``max_tokens``, at OpenAI itself ``max_completion_tokens``.
    - ``parameters``: further members of the request (``{"temperature": 0}``).
    - ``max_bytes``: of the response. ``connect_timeout`` (seconds): to connect; ``timeout`` is for the call as a whole.
    - ``tls``: in place of the usual certificate authorities. ``transport``: in place of the network, for tests.
    - ``options``: those of every tool. By default it is tagged ``read`` and ``untrusted``, is ``idempotent``, and has 120
      seconds.

    Needs the extra ``http``. Raises `UsageError` without it, and for settings that cannot be.
    """
    require("httpx", extra="http", what="llm")
    from harness.toolkit.endpoint import Endpoint, RefusedError, check_base_url, check_key  # noqa: PLC0415 - imports an extra

    kind = PROVIDERS.get(provider)
    if kind is None:
        raise UsageError(f"The provider of tool {name!r} is {provider!r}; it is one of {', '.join(sorted(PROVIDERS))}.")
    check_kinds(
        name,
        "base_url",
        "system",
        "limit_member",
        "parameters",
        model=(model, "text"),
        base_url=(base_url, "text"),
        system=(system, "text"),
        limit_member=(limit_member, "text"),
        parameters=(parameters, "mapping"),
        connect_timeout=(connect_timeout, "seconds"),
    )
    if not isinstance(price, Price):
        raise UsageError(f"price of tool {name!r} is {price!r}; it is a Price: cents for a million tokens.")
    check_whole(max_tokens, "max_tokens", name, least=1)
    check_whole(max_bytes, "max_bytes", name, least=1)
    own = base_url is None or base_url.rstrip("/") == PROVIDERS["openai"].base_url
    endpoint = Endpoint(
        tool=f"tools.{name}",
        provider=kind,
        url=check_base_url(base_url or kind.base_url, name, secret=key is not None) + kind.path,
        key=check_key(key, name),
        max_bytes=max_bytes,
        connect_timeout=connect_timeout,
        tls=tls,
        transport=transport,
    )
    member = limit_member or ("max_completion_tokens" if own and kind.kind == "openai" else "max_tokens")
    extra = dict(parameters or {})
    always = len((system or "").encode()) + len(to_json(extra)) + _FRAMING_TOKENS

    def most(arguments: dict[str, Any]) -> float:
        asked = len(str(arguments["prompt"]).encode())
        return price.of(asked + always, arguments.get("max_tokens", max_tokens))

    async def ask(context: CallContext, prompt: str, max_tokens: int) -> dict[str, Any]:
        body = request_body(kind, model=model, system=system, prompt=prompt, max_tokens=max_tokens, limit_member=member)
        try:
            reply = kind.reply(await endpoint.ask({**body, **extra}))
        except RefusedError as refused:
            if context.costs is not None:
                context.report_cost(0)
            raise refused.error from None
        except WrongShapeError as error:
            raise ToolExecutionError(
                f"tools.{name}: the endpoint answered with something else than a reply: {error}.", retryable=False
            ) from None
        if context.costs is not None and reply.input_tokens is not None and reply.output_tokens is not None:
            context.report_cost(price.of(reply.input_tokens, reply.output_tokens))
        return {
            "text": reply.text,
            "complete": reply.complete,
            "stop_reason": reply.stop_reason[:100],
            "input_tokens": reply.input_tokens,
            "output_tokens": reply.output_tokens,
        }

    defaults: ToolOptions = {
        "tags": ("read", "untrusted"),
        "idempotent": True,
        "positional": "prompt",
        "cost": most,
        "timeout": 120.0,
    }
    settings: ToolOptions = {**defaults, **options}
    return Tool.from_schema(
        name,
        ask,
        parameters={
            "type": "object",
            "properties": {
                "prompt": {"type": "string", "minLength": 1, "maxLength": _MOST_TEXT},
                "max_tokens": {"type": "integer", "minimum": 1, "maximum": max_tokens, "default": max_tokens},
            },
            "required": ["prompt"],
        },
        result=_RESULT,
        description="Asks a language model.",
        **settings,
    )


_RESULT: dict[str, Any] = {
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        "complete": {"type": "boolean", "description": "False if the reply was cut off at max_tokens."},
        "stop_reason": {"type": "string"},
        "input_tokens": {"type": ["integer", "null"]},
        "output_tokens": {"type": ["integer", "null"]},
    },
    "required": ["text", "complete", "stop_reason", "input_tokens", "output_tokens"],
}
