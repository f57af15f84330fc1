"""A response as what a script gets: status, headers, and the body as JSON, text or base64."""

from __future__ import annotations

import base64
import codecs
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue
from pydantic_core import from_json

from harness.errors import ToolExecutionError
from harness.redaction import MASK

if TYPE_CHECKING:
    from harness.toolkit.exchange import Answer

__all__ = ["RESULT", "read_answer", "secret_parts"]

_HIDDEN_HEADERS = frozenset({"set-cookie", "set-cookie2"})
_CHARSET = re.compile(
    r"(?:utf-?(?:8|16|32)(?:[-_]?[lb]e)?|us-ascii|ascii|iso-?8859-\d{1,2}|latin-?1|windows-\d{3,4}|shift[-_]jis|euc-(?:jp|kr)"
    r"|gb(?:k|2312|18030)|big5|koi8-[ru])\Z",
    re.IGNORECASE,
)
_SHORTEST_SECRET = 6

RESULT: dict[str, Any] = {
    "type": "object",
    "properties": {
        "status": {"type": "integer"},
        "ok": {"type": "boolean", "description": "Whether the status is 2xx."},
        "url": {"type": "string", "description": "After redirects."},
        "headers": {
            "type": "object",
            "additionalProperties": {"type": "string"},
            "description": "Names in lower case.",
        },
        "json": {"description": "The body, if it is JSON."},
        "text": {"type": "string", "description": "The body, if it is text."},
        "base64": {"type": "string", "description": "The body, if it is anything else."},
    },
    "required": ["status", "ok", "url", "headers"],
    "additionalProperties": False,
}


def read_answer(answer: Answer, parse: str, *, tool: str, secrets: Sequence[str]) -> dict[str, JsonValue]:
    """What `RESULT` describes. ``parse`` says what the body is to be, ``auto`` that its content type does.

    ``secrets`` are removed wherever the response repeats them. Raises `ToolExecutionError` for a body that is not what
    ``parse`` says.
    """
    body = answer.body
    for secret in secrets:
        body = body.replace(secret.encode(), MASK.encode())
    return {
        "status": answer.status,
        "ok": 200 <= answer.status < 300,
        "url": _masked(str(answer.url), secrets),
        "headers": {
            name: _masked(value, secrets) for name, value in answer.headers.items() if name not in _HIDDEN_HEADERS
        },
        **_parsed(body, parse, answer, tool),
    }


def secret_parts(credentials: Iterable[Mapping[str, str]]) -> list[str]:
    """What headers with credentials consist of: each value, and what follows the scheme in it (``Bearer …``)."""
    values = {value for headers in credentials for value in headers.values()}
    words = {value.rpartition(" ")[2] for value in values}
    return sorted((text for text in values | words if len(text) >= _SHORTEST_SECRET), key=len, reverse=True)


def _masked(text: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, MASK)
    return text


def _parsed(body: bytes, parse: str, answer: Answer, tool: str) -> dict[str, JsonValue]:
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if parse == "json" or (parse == "auto" and body and (kind == "application/json" or kind.endswith("+json"))):
        try:
            return {"json": from_json(body.removeprefix(codecs.BOM_UTF8), allow_inf_nan=False)}
        except ValueError as error:
            if parse == "json":
                raise _unreadable(answer, tool, f"is no JSON ({error})", kind, "text") from None
    if parse != "base64":
        text = _text(body, answer.charset)
        if text is not None and (parse == "text" or "\0" not in text):
            return {"text": text}
        if parse == "text":
            raise _unreadable(answer, tool, f"is no text in {(answer.charset or 'utf-8')[:40]}", kind, "base64")
    return {"base64": base64.b64encode(body).decode()}


def _unreadable(answer: Answer, tool: str, what: str, kind: str, instead: str) -> ToolExecutionError:
    return ToolExecutionError(
        f"{tool}: the body {what}; its content type is {kind[:60]!r} and the status {answer.status}. Ask with "
        f"parse: '{instead}'.",
        retryable=False,
        details={"status": answer.status},
    )


def _text(body: bytes, charset: str | None) -> str | None:
    """None if it is no text. Of the codecs of Python those are used that a web page may name."""
    if charset is not None and not _CHARSET.match(charset):
        return None
    try:
        return codecs.decode(body, charset or "utf-8")
    except (LookupError, UnicodeError):
        return None
