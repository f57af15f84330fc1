"""The detector: any text, cut in any way.

The first byte chooses the options, the second how the text is cut; the rest is the text. Bytes that are no UTF-8 become
halves of surrogate pairs.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import pairwise

from fuzz import corpus
from harness.detection.position import Cursor
from harness.detector import Detector, merge_text
from harness.limits import Limits
from harness.model import Block, Diagnostic, Segment

__all__ = ["check", "seeds"]

_LIMITS = Limits(held_text=256)
_ONE_BY_ONE = 3_000
"""Longer texts are not fed character by character."""


def check(data: bytes) -> None:
    """Raises ``AssertionError`` if the detector breaks a promise on this text."""
    options, seed = (data[0], data[1]) if len(data) > 1 else (0, 0)
    text = data[2:].decode("utf-8", "surrogateescape")
    segments, diagnostics = _whole(_feed([text], options))
    parts = _feed(list(text) if len(text) <= _ONE_BY_ONE and seed % 2 else _cut(text, seed), options)
    assert _whole(parts) == (segments, diagnostics), "chunks make a difference"
    assert [part for part in parts[0] if part.kind != "text"] == [part for part in segments if part.kind != "text"]
    _check_places(text, segments)
    assert all(0 <= diagnostic.details.get("start", 0) <= len(text) for diagnostic in diagnostics)  # type: ignore[operator] # a number


def seeds() -> Iterator[bytes]:
    """Texts of the tests, whole and in blocks."""
    for number, text in enumerate([*corpus.texts(), *corpus.markdown()]):
        yield bytes((number % 4, number % 256)) + text.encode("utf-8", "surrogatepass")
    for number, source in enumerate(corpus.scripts()):
        yield bytes((number % 4, number % 256)) + f"a `b`\n<tool-calls>{source}</tool-calls>\nc".encode()


def _feed(chunks: list[str], options: int) -> tuple[list[Segment], tuple[Diagnostic, ...]]:
    detector = Detector(limits=_LIMITS, accept_fenced=bool(options & 1), skip_thinking=bool(options & 2))
    segments = [segment for chunk in chunks for segment in detector.feed(chunk)]
    segments += detector.finish()
    return segments, detector.diagnostics


def _whole(result: tuple[list[Segment], tuple[Diagnostic, ...]]) -> tuple[list[Segment], tuple[Diagnostic, ...]]:
    return merge_text(result[0]), result[1]


def _cut(text: str, seed: int) -> list[str]:
    pick = random.Random(seed)
    places = sorted(pick.randrange(len(text) + 1) for _ in range(1 + seed % 12))
    return [text[start:end] for start, end in pairwise([0, *places, len(text)])]


def _check_places(text: str, segments: list[Segment]) -> None:
    assert "".join(segment.text for segment in segments) == text, "text was lost"
    cursor = Cursor()
    for segment in segments:
        assert cursor.pass_over(segment.text) == segment.span, "a span is wrong"
        if isinstance(segment, Block):
            source = segment.source_span
            assert text[source.start : source.end] == segment.source, "a script is not where it is said to be"
            assert segment.text.startswith(segment.opening_tag), "an opening tag is not where it is said to be"
            assert segment.text.endswith(">"), "a block does not end with a tag"
