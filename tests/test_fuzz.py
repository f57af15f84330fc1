"""What must hold for any input: on what was found, on what the searches start from, and on what Hypothesis makes up."""

from __future__ import annotations

import ast
import importlib
import json
import math
import random
import re
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fuzz.detector
import fuzz.frames
import fuzz.parser
import fuzz.results
import harness.detector
import harness.parser
import harness.serializer
from fuzz import corpus, slow
from harness.errors import SerializationError
from harness.runtime.turns import Turn

ROOT = Path(__file__).parent.parent
FINDINGS = sorted(path for path in (corpus.VECTORS / "fuzz").glob("*/*") if path.is_file())
TARGETS = ("detector", "parser", "frames", "results")


def check(target: str) -> Callable[[bytes], None]:
    checking: Callable[[bytes], None] = importlib.import_module(f"fuzz.{target}").check
    return checking


@pytest.fixture(scope="module", autouse=True)
def _no_event_loop_is_left():
    yield
    fuzz.frames.close()


@pytest.mark.requirement("FUZZ-002")
@pytest.mark.parametrize("path", FINDINGS, ids=[f"{path.parent.name}-{path.name}" for path in FINDINGS])
def test_what_was_found_holds(path):
    check(path.parent.name)(path.read_bytes())


@pytest.mark.requirement("FUZZ-002")
def test_a_finding_can_be_looked_at_alone():
    command = [sys.executable, "-m", "fuzz", "replay", *map(str, FINDINGS[:3])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.count("holds") == 3


@pytest.mark.requirement("FUZZ-001", "FUZZ-003")
@pytest.mark.parametrize("target", TARGETS)
def test_a_search_starts_from_inputs_that_hold(target):
    seeds = list(importlib.import_module(f"fuzz.{target}").seeds())
    assert len(seeds) >= 8
    # The whole corpus is for `make fuzz`.
    for seed in random.Random(1).sample(seeds, min(len(seeds), 120)):
        check(target)(seed)


# ── made up ──────────────────────────────────────────────────────────────────────────────────────────────────────────

TOKENS = (ROOT / "fuzz" / "tokens.dict").read_text().splitlines()
PIECES = [ast.literal_eval(f"b{token}") for token in TOKENS if token.startswith('"')]
SOUP = st.lists(st.sampled_from(PIECES) | st.binary(max_size=4), max_size=30).map(b"".join)
HEAD = st.binary(min_size=2, max_size=2)


@pytest.mark.requirement("FUZZ-003", "DET-002")
@given(HEAD, SOUP)
@settings(max_examples=150)
def test_any_text(head, soup):
    fuzz.detector.check(head + soup)


@pytest.mark.requirement("FUZZ-003", "PAR-035")
@given(st.sampled_from([b"0", b"1"]), SOUP)
@settings(max_examples=150)
def test_any_block(head, soup):
    fuzz.parser.check(head + soup)


@pytest.mark.requirement("FUZZ-003", "SER-003")
@given(SOUP)
@settings(max_examples=100)
def test_any_text_as_a_result(soup):
    fuzz.results.check(soup)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.requirement("FUZZ-003", "SER-003")
@given(JSON)
@settings(max_examples=150)
def test_any_value_as_a_result(value):
    fuzz.results.check(json.dumps(value).encode())


LENGTHS = st.integers(0, 40) | st.sampled_from([65_535, 65_536, 65_537, 2**31, 2**32 - 1])
FRAMES = st.builds(
    lambda length, kind, body: length.to_bytes(4, "big") + bytes([kind]) + body,
    LENGTHS,
    st.integers(0, 255) | st.sampled_from(list(b"RTVF")),
    st.binary(max_size=40),
)


@pytest.mark.requirement("FUZZ-003", "WIRE-008")
@given(st.lists(st.binary(max_size=20) | FRAMES | SOUP, max_size=6).map(b"".join))
@settings(max_examples=150)
def test_any_bytes_of_a_worker(data):
    fuzz.frames.check(b"0" + data)


TURNS = [json.loads(seed[1:]) for seed in fuzz.frames.seeds() if seed.startswith(b"1") and b"\n" not in seed]
EXTREMES: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, -1, 0, 1, 2, 2**31, 2**53 - 1, 2**53, 10**30, 1e308, "", "x" * 5_000, [], {}]
)


@st.composite
def turns(draw) -> bytes:
    """A turn of which one or two things are wrong."""
    turn: dict[str, Any] = deepcopy(draw(st.sampled_from(TURNS)))
    for _ in range(draw(st.integers(0, 2))):
        places = list(_places(turn))
        holder, key = draw(st.sampled_from(places))
        holder[key] = deepcopy(draw(EXTREMES | st.sampled_from([other[name] for other, name in places])))
    return json.dumps(turn).encode().replace(b"\n", b" ")


def _places(value: Any) -> Any:
    for key, item in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        if isinstance(item, (dict, list)):
            yield from _places(item)


@pytest.mark.requirement("FUZZ-003", "WIRE-007", "WIRE-008")
@given(st.lists(turns(), min_size=1, max_size=3))
@settings(max_examples=200)
def test_any_turns_of_a_worker(bodies):
    fuzz.frames.check(b"1" + b"\n".join(bodies))


# ── whether they notice ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("FUZZ-004")
@pytest.mark.parametrize("seed", [b"\x00\x02", b"\x00\x01"], ids=["pieces", "characters"])
def test_a_detector_that_minds_the_cuts_is_noticed(monkeypatch, seed):
    text = b"a\n<tool-calls>`b`</tool-calls>c"
    fuzz.detector.check(seed + text)
    # As if it took the tag for text wherever it is not there in one piece.
    monkeypatch.setattr(harness.detector.Detector, "_may_become_tag", lambda _self, _head: False)
    with pytest.raises(AssertionError, match="chunks make a difference"):
        fuzz.detector.check(seed + text)


@pytest.mark.requirement("FUZZ-004")
def test_a_parser_that_raises_something_else_is_noticed(monkeypatch):
    monkeypatch.setattr("harness.syntax.attributes._PLAIN", None)
    with pytest.raises(AttributeError):
        fuzz.parser.check(b"01 + 1")


@pytest.mark.requirement("FUZZ-004")
def test_a_link_that_lets_another_exception_through_is_noticed(monkeypatch):
    monkeypatch.setattr("harness.runtime.wire.unpack_header", lambda _header, limit: 1 / (limit - limit))
    with pytest.raises(ZeroDivisionError):
        fuzz.frames.check(b"0" + b"\0" * 9)


@pytest.mark.requirement("FUZZ-004")
@pytest.mark.parametrize("wrong", [{"cpu": math.inf}, {"heap": 2**60}], ids=["no-number", "no-double"])
def test_a_host_that_believes_too_much_is_noticed(monkeypatch, wrong):
    turn = json.dumps(TURNS[0]).encode()
    fuzz.frames.check(b"1" + turn)
    believed = Turn.model_construct(**{**dict(Turn.read(turn)), **wrong})
    monkeypatch.setattr(Turn, "read", classmethod(lambda _cls, _body, _most_items=0: believed))
    with pytest.raises(SerializationError):
        fuzz.frames.check(b"1" + turn)


@pytest.mark.requirement("FUZZ-004")
def test_text_that_gets_out_of_its_element_is_noticed(monkeypatch):
    monkeypatch.setattr(harness.serializer, "escape_text", lambda text: text.replace("a", "b"))
    with pytest.raises(AssertionError, match="not what it was"):
        fuzz.results.check(b'"a"')


# ── what costs most ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("FUZZ-005")
def test_the_search_for_slow_texts_finds_some():
    found = list(slow.search(0.3, length=500))
    assert found
    costs = [measured for measured, _ in found]
    assert costs == sorted(costs, reverse=True)
    assert all(len(pattern.text(500)) > 0 for _, pattern in found)


@pytest.mark.slow
@pytest.mark.requirement("FUZZ-001")
@pytest.mark.parametrize("target", TARGETS)
def test_a_search_runs(target, tmp_path, monkeypatch):
    pytest.importorskip("atheris", reason="atheris comes with `make fuzz`")
    command = [sys.executable, "-m", "fuzz", "run", target, "--seconds", "2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=50)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "stat::number_of_executed_units" in done.stderr
    covered = [int(places) for places in re.findall(r"cov: (\d+)", done.stderr)]
    assert max(covered) > 100, "the search does not see what its inputs reach"
