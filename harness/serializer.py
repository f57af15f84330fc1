r"""Outcome -> ``<tool-results>``: what the model is given back.

The text is XML, built by lxml and escaped whole, so that nothing a script or a tool says can open or close a tag::

    <tool-results>
    <result block="1" status="ok">
    <value>{"orders":3}</value>
    </result>
    <result block="2" id="refunds" status="error">
    <error type="ToolTimeoutError" category="TRANSIENT" retryable="true" line="4" column="7">…</error>
    <calls applied="1">
    <call tool="refund" status="ok">{"order_id":"A-17"}</call>
    </calls>
    </result>
    </tool-results>

Blocks are known by their number and by the id their tag gave them. Values and arguments are JSON texts; the host's own
ids, times, stacks and progress stay with the host, and what is empty is left out, since a model pays for every character. ``specs/serializer.md`` lists the elements.

A few characters cannot stand in XML (NUL and most controls, halves of surrogate pairs, U+FFFE, U+FFFF), and some that
can would work on a terminal (DEL, the C1 controls). In JSON they are written as JSON escapes; elsewhere ``escape_text``
writes them as ``\uXXXX``, from which ``unescape_text`` has the original back.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from lxml import etree

from harness.errors import SerializationError

__all__ = ["MAX_ARGUMENT_CHARACTERS", "escape_text", "results_text", "unescape_text"]

MAX_ARGUMENT_CHARACTERS = 500
"""A call's arguments only remind the model of what it asked for; longer ones are cut, and say by how much."""

_UNSENDABLE = "\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f-\\x9f\\ud800-\\udfff\\ufffe\\uffff"
_TO_ESCAPE = re.compile(f"[{_UNSENDABLE}]")
# Backslashes need doubling only where the escape that they precede could be misread, so that ordinary text (a regular
# expression in an error message) stays as it was.
_TO_ESCAPE_REVERSIBLY = re.compile(rf"(\\*)(u|[{_UNSENDABLE}])")
_ESCAPED = re.compile(r"(\\+)u([0-9a-f]{4})?")


def escape_text(text: str) -> str:
    r"""Text with every character that XML cannot carry as ``\uXXXX``. ``unescape_text`` is the inverse.

    A run of backslashes in front of an escape or of a ``u`` is doubled; all others stay as they are.
    """
    return _TO_ESCAPE_REVERSIBLY.sub(lambda match: match[1] * 2 + _escape(match[2]), text)


def unescape_text(text: str) -> str:
    """The text that ``escape_text`` was given."""
    return _ESCAPED.sub(_unescape, text)


def _escape(character: str) -> str:
    return character if character == "u" else f"\\u{ord(character):04x}"


def _unescape(match: re.Match[str]) -> str:
    backslashes, digits = match[1], match[2] or ""
    literal = "\\" * (len(backslashes) // 2)
    if len(backslashes) % 2 and digits:
        return literal + chr(int(digits, 16))
    return literal + "u" + digits


def results_text(outcome: Mapping[str, Any]) -> str:
    """``<tool-results>…</tool-results>`` for an outcome given as plain JSON data (``Outcome.to_dict()``).

    Empty if the text had no block, closed or not. Raises ``SerializationError`` if a value is no JSON data.
    """
    if not outcome["executions"] and not any(segment["kind"] == "unclosed" for segment in outcome["segments"]):
        return ""
    root = etree.Element("tool-results")
    for number, execution in enumerate(outcome["executions"], 1):
        _add_execution(root, number, execution)
    for request in outcome["pending"]:
        _add(root, "waiting", request["reason"], {"tool": request["tool"], "request": request["id"]})
    _add_diagnostics(root, outcome["diagnostics"])
    for element in root.iter():  # one element a line, without indentation
        if len(element):
            element.text = "\n"
        if element is not root:
            element.tail = "\n"
    return etree.tostring(root, encoding="unicode")


def _add_execution(root: etree._Element, number: int, execution: Mapping[str, Any]) -> None:
    status, error, plan = execution["status"], execution["error"], execution["plan"]
    result = _add(root, "result", None, {"block": number, "id": execution["script"]["id"], "status": status})
    if status == "ok":
        _add(result, "value", _json(execution["value"]), escape=False)
    if execution["reason"]:
        _add(result, "reason", execution["reason"])
    if error is not None:
        _add_error(result, error)
    calls = execution["calls"]
    if status == "ok":  # the script ran to its end; only what went wrong on the way is news
        calls = [call for call in calls if call["status"] != "ok"]
    if plan is not None:
        _add_plan(result, plan)
    elif calls:
        _add_calls(result, calls)
    for log in execution["logs"]:
        level = log["level"]
        _add(result, "log", log["text"], {"level": None if level == "log" else level})
    _add_diagnostics(result, execution["diagnostics"])


def _add_error(parent: etree._Element, error: Mapping[str, Any]) -> None:
    attributes = {
        "type": error["type"],
        "category": error["category"],
        "retryable": "true" if error["retryable"] else "false",
        "line": error["line"],
        "column": error["column"],
    }
    _add(parent, "error", error["message"], attributes)
    source_line = error["details"].get("source_line")
    if isinstance(source_line, str):
        _add(parent, "source", source_line, {"line": error["line"]})


def _add_calls(result: etree._Element, calls: Iterable[Mapping[str, Any]]) -> None:
    applied = sum(call["status"] == "ok" and not _was_answered(call) for call in calls)
    doubtful = sum(call["status"] == "in_doubt" for call in calls)
    group = _add(result, "calls", None, {"applied": applied or None, "in_doubt": doubtful or None})
    for call in calls:
        error = call["error"]
        attributes = {
            "tool": call["tool"],
            "status": call["status"],
            "line": call["line"],
            "error": error and error["type"],
            "answered": "true" if _was_answered(call) else None,
        }
        _add_arguments(group, "call", call["args"], attributes)


def _was_answered(call: Mapping[str, Any]) -> bool:
    """Whether a person gave the result, so that the tool was never called."""
    approval = call["approval"]
    return approval is not None and approval["decision"] == "answered"


def _add_plan(result: etree._Element, plan: Mapping[str, Any]) -> None:
    attributes = {"complete": "true" if plan["complete"] else "false", "incomplete_from": plan["incomplete_from"]}
    group = _add(result, "plan", None, attributes)
    for step in plan["steps"]:
        needs = "true" if step["needs_approval"] else None
        _add_arguments(
            group, "step", step["args"], {"tool": step["tool"], "line": step["line"], "needs_approval": needs}
        )


def _add_arguments(parent: etree._Element, tag: str, args: Any, attributes: dict[str, Any]) -> None:
    text = _json(args)
    cut = len(text) - MAX_ARGUMENT_CHARACTERS
    if cut > 0:
        attributes["cut_characters"] = cut
        text = text[:MAX_ARGUMENT_CHARACTERS]
    _add(parent, tag, text, attributes, escape=False)


def _add_diagnostics(parent: etree._Element, diagnostics: Iterable[Mapping[str, Any]]) -> None:
    for diagnostic in diagnostics:
        if diagnostic["severity"] != "info":
            attributes = {key: diagnostic[key] for key in ("code", "severity", "line", "column")}
            _add(parent, "diagnostic", diagnostic["message"], attributes)


def _add(
    parent: etree._Element,
    tag: str,
    text: str | None,
    attributes: Mapping[str, Any] | None = None,
    *,
    escape: bool = True,
) -> etree._Element:
    """A child element; attributes that are None are left out."""
    written = {key: escape_text(str(value)) for key, value in (attributes or {}).items() if value is not None}
    element = etree.SubElement(parent, tag, written)
    if text is not None:
        element.text = escape_text(text) if escape else text
    return element


def _json(value: Any) -> str:
    """JSON in the order the script gave, with nothing in it that XML refuses."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise SerializationError(f"the outcome holds a value that is no JSON data: {error}") from error
    # What is left to escape can only stand inside strings, where a JSON escape means the same.
    return _TO_ESCAPE.sub(lambda match: _escape(match[0]), text)
