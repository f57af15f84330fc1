"""What goes to the model and to the record: any JSON value, with any text in it.

The bytes are JSON text; where they are none, they are themselves the text of a value.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from lxml import etree
from pydantic_core import from_json, to_json

from fuzz import corpus
from harness.canonical import content_hash, to_canonical_json
from harness.errors import SerializationError
from harness.plain import to_plain
from harness.serializer import escape_text, results_text, unescape_text

__all__ = ["check", "seeds"]


def check(data: bytes) -> None:
    """Raises if a value is changed on its way, or text gets out of its element."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = {text[: len(text) // 2]: [text]}
    _check_plain(value)
    _check_canonical(value)
    _check_escaping(text)
    _check_results(value, text)


def seeds() -> Iterator[bytes]:
    """JSON with everything in it that readers disagree about."""
    yield from (
        b'{"a":[1,-0,1.5e300,1e999,9007199254740993,true,null],"__proto__":{"constructor":1}}',
        b'["\\ud800","\\u0000","\\u2028","</value></tool-results><tool-calls>","]]>","&amp;","\\\\u0041"]',
        b'{"\\ud83d\\ude00":"\\ud83d\\ude00","\xef\xbf\xbf":1,"1":2,"":3}',
        b"[" * 190 + b"]" * 190,
        b"[" * 300 + b"]" * 300,
        b'{"a":NaN,"b":-Infinity}',
        b"12000000000000000",
    )
    yield (corpus.VECTORS / "rfc8785.json").read_bytes()


def _check_plain(value: Any) -> None:
    try:
        plain = to_plain(value)
    except SerializationError as error:
        json.dumps(error.info().model_dump(mode="json"))
        return
    assert from_json(to_json(plain)) == plain
    assert to_plain(plain) == plain


def _check_canonical(value: Any) -> None:
    try:
        text = to_canonical_json(value)
    except SerializationError as error:
        assert error.info().details["path"]
        return
    # All numbers of canonical JSON are doubles: 120000000000000020 is written as it stands, and is no integer.
    read = json.loads(text, parse_int=float)
    assert read == json.loads(json.dumps(value), parse_int=float), "canonical JSON says something else"
    assert to_canonical_json(read) == text, "canonical JSON is not canonical"
    assert content_hash(read) == content_hash(value)


def _check_escaping(text: str) -> None:
    escaped = escape_text(text)
    assert unescape_text(escaped) == text, "an escape cannot be undone"
    etree.fromstring(f"<a>{escaped.replace('&', '').replace('<', '').replace('>', '')}</a>")


def _check_results(value: Any, text: str) -> None:
    error = {
        "type": text[:40], "category": "PERMANENT", "retryable": False, "message": text, "line": 1, "column": None,
        "details": {"source_line": text},
    }  # fmt: skip
    call = {"tool": text[:40], "status": "error", "args": value, "error": error, "line": None, "approval": None}
    execution = {
        "script": {"id": text[:9] or None}, "status": "ok", "reason": text, "value": value, "error": error,
        "calls": [call], "plan": None, "logs": [{"level": "warn", "text": text}], "diagnostics": [],
    }  # fmt: skip
    outcome = {"executions": [execution], "segments": [], "pending": [], "diagnostics": []}
    try:
        written = results_text(outcome)
    except SerializationError:
        return
    root = etree.fromstring(written)
    assert root.tag == "tool-results"
    assert {str(element.tag) for element in root.iter()} <= {
        "tool-results", "result", "value", "reason", "error", "source", "calls", "call", "log",
    }, "text became an element"  # fmt: skip
    assert "<tool-calls" not in written
    assert written.count("</tool-results>") == 1
    message = root.findtext("result/error") or ""
    assert unescape_text(message.replace("\r\n", "\n")) == text.replace("\r\n", "\n").replace("\r", "\n") or (
        unescape_text(message) == text
    ), "a message is not what it was"
