"""Stretches of a text: what the detector finds in it."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

__all__ = ["Block", "Frozen", "Ignored", "Prose", "Segment", "Span", "Text", "Unclosed"]

_SURROGATE = re.compile("[\ud800-\udfff]")

Prose = Annotated[str, PlainSerializer(lambda text: _SURROGATE.sub("\ufffd", text), return_type=str, when_used="json")]
"""Text as it came. Half a surrogate pair, which UTF-8 cannot carry, becomes U+FFFD in JSON, and only there."""


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Span(Frozen):
    """A stretch of a text: offsets in characters (code points) from 0, end exclusive; lines and columns from 1."""

    start: int
    end: int
    line: int
    column: int
    end_line: int
    end_column: int


class Text(Frozen):
    """Prose."""

    kind: Literal["text"] = "text"
    text: Prose
    span: Span


class Ignored(Frozen):
    """A stretch that holds a tag which does not count, and why it does not."""

    kind: Literal["ignored"] = "ignored"
    text: Prose
    span: Span
    reason: Literal["fenced_code", "indented_code", "inline_code", "thinking"]


class Block(Frozen):
    """One closed ``<tool-calls>`` block."""

    kind: Literal["block"] = "block"
    text: Prose
    """The whole block as it stood in the text, tags included."""
    span: Span
    """Of the whole block, tags included."""
    opening_tag: Prose
    """``<tool-calls …>`` as written."""
    source: Prose
    """What lies between the tags; without the ``<![CDATA[`` … ``]]>`` around it, if there was one."""
    source_span: Span
    """Of ``source``."""
    self_closed: bool = False


class Unclosed(Frozen):
    """An opening tag without its closing tag, up to the end of the text. It never runs."""

    kind: Literal["unclosed"] = "unclosed"
    text: Prose
    span: Span


Segment = Annotated[Text | Block | Ignored | Unclosed, Field(discriminator="kind")]
