"""What holds for every text, however it is cut, and what it costs."""

from __future__ import annotations

import random
import re
import sys
import time
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from harness.detection import ahead
from harness.detection.position import Cursor
from harness.detector import Detector, detect, merge_text
from harness.limits import Limits
from harness.model import Block, Diagnostic, Segment

SMALL = Limits(held_text=256)
SIGNS = (
    "<tool-calls> </tool-calls> <tool-calls </tool-calls /> > <Tool-Calls> ` `` ``` ~~~ - 1. # --- x it's ' \" ${ } { ( ) "
    '// /* */ / <!-- --> \\ \\` <think> </think> <![CDATA[ ]]> id=" = é 😀 \u0301 \ufeff if ++ => [ ] < tool- await'
)
PIECES = st.sampled_from(
    [*SIGNS.split(), "\n", "\n", "\n\n", "\r\n", "\r", " ", "    ", "\t", "> ", "\u2028", "\n> - ```"]
)
LONG = st.builds(lambda piece, count: piece * count, st.sampled_from([" ", "`", "~", "x", "\n"]), st.integers(100, 300))
TEXTS = st.lists(st.one_of(PIECES, PIECES, PIECES, LONG), max_size=40).map("".join)
BLOCKS = st.builds("{}<tool-calls>{}</tool-calls>{}".format, TEXTS, TEXTS, TEXTS)
OPTIONS = st.fixed_dictionaries({"accept_fenced": st.booleans(), "skip_thinking": st.booleans()})


def run(chunks: list[str], options: dict[str, bool]) -> tuple[list[Segment], tuple[Diagnostic, ...]]:
    detector = Detector(limits=SMALL, **options)
    segments = [segment for chunk in chunks for segment in detector.feed(chunk)]
    segments += detector.finish()
    return merge_text(segments), detector.diagnostics


def cut(text: str, places: list[int]) -> list[str]:
    edges = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[start:end] for start, end in pairwise(edges)]


@pytest.mark.requirement("DET-002")
@given(st.one_of(TEXTS, BLOCKS), st.lists(st.integers(0, 5_000), max_size=12), OPTIONS)
def test_chunks_make_no_difference(text, places, options):
    whole = run([text], options)
    assert run(cut(text, places), options) == whole
    assert run(list(text), options) == whole


@pytest.mark.requirement("DET-001")
@given(st.one_of(TEXTS, BLOCKS), OPTIONS)
def test_nothing_is_lost_and_spans_are_right(text, options):
    segments, _ = run([text], options)
    assert "".join(segment.text for segment in segments) == text
    cursor = Cursor()
    for segment in segments:
        assert (cursor.offset, cursor.line, cursor.column) == (
            segment.span.start,
            segment.span.line,
            segment.span.column,
        )
        if isinstance(segment, Block):
            within = Cursor()
            within.advance(text[: segment.source_span.start])
            assert within.pass_over(segment.source) == segment.source_span
        for character in segment.text:  # one by one: what a position is does not depend on how it was reached
            cursor.advance(character)
        assert (cursor.offset, cursor.line, cursor.column) == (
            segment.span.end,
            segment.span.end_line,
            segment.span.end_column,
        )


@pytest.mark.requirement("DET-003")
@given(st.one_of(TEXTS, BLOCKS), OPTIONS)
@pytest.mark.slow
def test_all_but_text_comes_whole_and_once(text, options):
    detector = Detector(limits=SMALL, **options)
    parts = [segment for character in text for segment in detector.feed(character)]
    parts += detector.finish()
    whole, _ = run([text], options)
    assert [part for part in parts if part.kind != "text"] == [part for part in whole if part.kind != "text"]


@pytest.mark.requirement("DET-004")
@given(TEXTS.filter(lambda text: "<tool-calls" not in text), OPTIONS)
def test_what_is_held_back_is_bounded(text, options):
    detector = Detector(limits=SMALL, **options)
    given_out = 0
    for number, character in enumerate(text, start=1):
        given_out += sum(len(segment.text) for segment in detector.feed(character))
        assert number - given_out <= SMALL.held_text


@pytest.mark.requirement("DET-004")
@pytest.mark.parametrize(
    "text",
    [
        "<tool-calls " + "x" * 2_000,
        "<tool-calls id='" + ">" * 2_000,
        "`<tool-calls " + "x" * 2_000,
        "```\n<tool-calls " + "x" * 2_000,
        "`\n<tool-calls> " + "x" * 2_000,
        " " * 2_000 + "<tool-calls>",
        "`" * 2_000,
        "~" * 2_000,
        "- " * 2_000,
        "```\n" + "`" * 2_000,
        "</tool-calls" + " " * 2_000,
        "a\\" * 1_000,
    ],
)
def test_what_is_held_back_for_a_tag_or_line_is_bounded(text):
    detector = Detector(limits=SMALL)
    given_out, most = 0, 0
    for number, character in enumerate(text, start=1):
        given_out += sum(len(segment.text) for segment in detector.feed(character))
        most = max(most, number - given_out)
        if "id='" in text and number > 16 + SMALL.held_text:
            return  # the tag has ended, and what follows is the script of an open block
    assert most <= SMALL.held_text


@pytest.mark.requirement("DET-007")
@pytest.mark.parametrize(
    "unit",
    [
        "<tool-calls>",
        "<tool-calls",
        "<tool-calls ",
        "<tool-calls id=' ",
        "</tool-calls>",
        "<tool-calls>1</tool-calls>",
        "`<tool-calls ",
        "`a\n<tool-calls>1</tool-calls>\n\n",
        "    <tool-calls>\n",
        "word `code` word\n",
        "``` ",
        "(",
        "${`",
        "// </tool-calls>\n",
        "</tool-calls  ",
        "'//';</tool-calls>x\n",
    ],
)
@pytest.mark.parametrize("start", ["", "<tool-calls>a b\n", "```\n"])
@pytest.mark.parametrize("size", [1, None])
@pytest.mark.slow
def test_time_grows_with_the_length(unit, start, size):
    # A quadratic step makes four times the text cost sixteen times as much. Processor time, the better of two runs and a
    # bound between the two keep the machine's moods out of it.
    length = 2_000 if size else 16_000

    def cost(count: int) -> float:
        text = start + unit * count
        before = time.process_time()
        detector = Detector()
        for at in range(0, len(text), size or len(text)):
            detector.feed(text[at : at + (size or len(text))])
        detector.finish()
        return time.process_time() - before

    count = length // len(unit)
    small = min(cost(count) for _ in range(2))
    large = min(cost(4 * count) for _ in range(2))
    assert large <= 10 * small + 0.02


def work(text: str) -> int:
    """Calls of functions that it takes to read a text: the same on every machine."""
    count = 0

    def note(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    detector = Detector()
    before = sys.getprofile()
    sys.setprofile(note)
    try:
        detector.feed(text)
        detector.finish()
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.requirement("DET-007")
@pytest.mark.parametrize(
    ("start", "unit", "end"),
    [
        ("` ", "<tool-calls>``", "\n"),
        ("` ", "<tool-calls>``", "`\n"),
        ("` `` \\` ", "<tool-calls>```", "\n"),
        ("`\n", "<tool-calls>``\n", "\n\n"),
        ("``\n", "<tool-calls/>`\n", "\n"),
        ("``\na", "<tool-calls/>>\n", "\n"),
        ("", "<tool-calls>", "`\n"),
    ],
)
def test_a_tag_costs_no_more_for_what_stands_ahead(start, unit, end):
    # All of it within what is looked at ahead; a step that looks at all of it for each tag costs sixteen times as much.
    few = work(start + unit * 60 + end)
    many = work(start + unit * 240 + end)
    assert many <= 5 * few


# ── what stands ahead ────────────────────────────────────────────────────────────────────────────────────────────────

MARKDOWN = (
    "` ` ` `` a``` \\` \\ a b - * + > 1. 5. # #b ** *** --- === = _ <tool-calls>1</tool-calls> "
    "\n<tool-calls>1</tool-calls>"
)
MARKDOWN_PIECES = [*MARKDOWN.split(" "), "\n", "\n", "\n", "\n\n", "\r\n", "\r", " ", "  ", "\n    ", "\t"]
BEGINS_LIKE_A_FENCE = re.compile(r"^[\s>+*\-0-9.]*(?:```|~~~)", re.MULTILINE)
COMMON_MARK = MarkdownIt("commonmark").disable(["html_block", "html_inline"])


def tags_in_code(text: str) -> int:
    """How many blocks CommonMark takes for code."""
    todo, count = COMMON_MARK.parse(text), 0
    while todo:
        token = todo.pop()
        todo += token.children or []
        if token.type in ("code_block", "code_inline"):
            count += token.content.count("<tool-calls>1</tool-calls>")
    return count


@pytest.mark.slow
@pytest.mark.requirement("DET-039")
def test_what_common_mark_takes_for_code_does_not_count():
    # Hypothesis would take ten times as long, most of it for texts without tags.
    choose = random.Random(39)
    wrong = []
    for _ in range(10_000):
        text = "".join(choose.choices(MARKDOWN_PIECES, k=choose.randint(3, 16)))
        if "<tool-calls>" in text and not BEGINS_LIKE_A_FENCE.search(text.replace("\r", "\n")):
            blocks = sum(isinstance(segment, Block) for segment in detect(text))
            if blocks > text.count("<tool-calls>1</tool-calls>") - tags_in_code(text):
                wrong.append(text)
    assert wrong == []


AHEAD = st.lists(st.sampled_from(["`", "``", "```", "a", "\n", "\r", " ", ">", "\n\n", "\r\n> \n"]), max_size=30).map(
    "".join
)


def windows(text: str, places: list[int], length: int) -> Iterator[tuple[str, int, int, int]]:
    """What is asked about as a window moves over the text: the text in hand, its offset, and from where to where."""
    base = 0
    for place in sorted(place % (len(text) + 1) for place in places):
        base = max(base, place - place % 3)
        yield text[base:], base, place - base, min(len(text) - base, place - base + length)


@pytest.mark.requirement("DET-032")
@given(AHEAD, st.lists(st.integers(0, 60), max_size=8), st.integers(1, 20))
def test_runs_of_backticks_ahead_are_those_that_are_there(text, places, length):
    runs = ahead.Runs()
    for window, base, start, end in windows(text, places, length):
        if text[: base + start].endswith("`"):
            continue  # nobody asks in the middle of a run
        cut = base + end < len(text)
        reached = window[start:end].rstrip("`") if cut else window[start:end]
        whole = {len(run) for run in re.findall("`+", reached)}
        assert {size for size in range(1, 61) if runs.has(size, window, base, start, end, cut=cut)} == whole


@pytest.mark.requirement("DET-033")
@given(AHEAD, st.lists(st.integers(0, 60), max_size=8), st.integers(1, 20))
def test_the_blank_line_ahead_is_the_next_one(text, places, length):
    blank = ahead.BlankLine()
    for window, base, start, end in windows(text, places, length):
        if window[:start].endswith("\r") and window[start:].startswith("\n"):
            continue  # nobody asks in the middle of a line end
        ends = [found for found in re.finditer(r"\r\n?|\n", window[:end]) if found.start() >= start]
        found = [
            first.start()
            for first, second in pairwise(ends)
            if re.fullmatch(r"[ \t]*| {0,3}>[ \t>]*", window[first.end() : second.start()])
        ]
        got = blank.find(window, base, start, end)
        assert got == (found[0] if found else -1)


@pytest.mark.requirement("DET-007")
def test_what_is_ahead_is_looked_at_once(monkeypatch):
    looked: list[int] = []

    class Pattern:
        def __init__(self, pattern: re.Pattern[str]) -> None:
            self._pattern = pattern

        def search(self, text: str, at: int, end: int) -> re.Match[str] | None:
            looked.append(end - at)
            return self._pattern.search(text, at, end)

    monkeypatch.setattr(ahead, "_BLANK_LINE", Pattern(ahead._BLANK_LINE))
    text = "``\n" + "<tool-calls/>`\n" * 1_000 + "\n\n"
    detect(text)
    assert len(looked) > 100
    assert sum(looked) <= 2 * len(text)
