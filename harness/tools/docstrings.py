"""What a function's docstring says about it: a description, and a line for each parameter."""

from __future__ import annotations

import inspect
import re

__all__ = ["parse_docstring"]

_SECTION = re.compile(
    r"(?:Args|Arguments|Parameters|Params|Returns?|Raises|Yields?|Examples?|Notes?|Warnings?|See Also|References)\s*:?\s*\Z"
)
_PARAMETERS = re.compile(r"(?:Args|Arguments|Parameters|Params)\s*:?\s*\Z")
_GOOGLE = re.compile(r"\*{0,2}(?P<name>\w+)(?:\s*\([^)]*\))?\s*:\s*(?P<text>.*)\Z")
_NUMPY = re.compile(r"\*{0,2}(?P<name>\w+)(?:\s*:\s*.*)?\Z")
_REST = re.compile(r":(?P<field>\w+)(?:\s+(?:[^:]*\s)?(?P<name>\w+))?\s*:\s*(?P<text>.*)\Z")


def parse_docstring(docstring: str | None) -> tuple[str, dict[str, str]]:
    """The description and the parameters' texts, from a docstring in Google, NumPy or reST style.

    A docstring in no style at all is all description.
    """
    lines = inspect.cleandoc(docstring or "").splitlines()
    end = next((at for at, line in enumerate(lines) if _is_section(lines, at) or _REST.match(line)), len(lines))
    parameters: dict[str, str] = {}
    at = end
    while at < len(lines):
        if _PARAMETERS.match(lines[at]) and _is_section(lines, at):
            at = _read_section(lines, at + 1, parameters)
            continue
        field = _REST.match(lines[at])
        at += 1
        if field and field["name"] and field["field"] in ("param", "parameter", "arg", "argument"):
            text = [field["text"]]
            while at < len(lines) and lines[at][:1].isspace():
                text.append(lines[at].strip())
                at += 1
            parameters[field["name"]] = _join(text)
    return "\n".join(lines[:end]).strip(), parameters


def _is_section(lines: list[str], at: int) -> bool:
    if not _SECTION.match(lines[at]):
        return False
    underlined = at + 1 < len(lines) and re.match(r"-{3,}\s*\Z", lines[at + 1])
    return bool(underlined) or lines[at].rstrip().endswith(":")


def _read_section(lines: list[str], at: int, parameters: dict[str, str]) -> int:
    """Reads the entries from line ``at`` on, and returns the line behind them."""
    numpy = at < len(lines) and lines[at].startswith("---")
    at += numpy
    entry = _NUMPY if numpy else _GOOGLE
    indent: int | None = None
    name = None
    found: dict[str, list[str]] = {}
    while at < len(lines) and not _is_section(lines, at):
        line = lines[at]
        width = len(line) - len(line.lstrip())
        if line.strip():
            if width == 0 and not numpy:
                break
            indent = width if indent is None else indent
            match = entry.match(line.strip()) if width == indent else None
            if match:
                name = match["name"]
                found[name] = [] if numpy else [match["text"]]
            elif name is not None:
                found[name].append(line.strip())
        at += 1
    parameters.update({name: _join(text) for name, text in found.items()})
    return at


def _join(lines: list[str]) -> str:
    return " ".join(line for line in lines if line).strip()
