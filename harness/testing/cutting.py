"""Text in pieces, as a model's stream may bring it."""

from __future__ import annotations

import itertools
import random
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

import anyio.lowlevel

from harness.errors import UsageError

__all__ = ["byte_chunks", "chunks", "every_cut", "random_chunks", "stream", "stream_chunks", "two_way_splits"]

_LONGEST_CHARACTER = 4
"""Bytes in UTF-8."""


def chunks(text: str, *sizes: int) -> Iterator[str]:
    """``text`` in pieces of these sizes, again and again: ``chunks(text, 1)`` is one character at a time.

    Raises `UsageError` without a size, and for one below 1.
    """
    given: tuple[Any, ...] = sizes
    if not given or not all(isinstance(size, int) and size >= 1 for size in given):
        raise UsageError("chunks() needs at least one size, and sizes of at least 1 character.")
    start = 0
    for size in itertools.cycle(sizes):
        if start >= len(text):
            return
        yield text[start : start + size]
        start += size


def byte_chunks(text: str, size: int) -> Iterator[str]:
    """``text`` in pieces of at most ``size`` bytes of UTF-8, each as long as can be. No code point is split.

    Half of a surrogate pair counts as three bytes. Raises `UsageError` for a size below 4, into which not every
    character fits.
    """
    if size < _LONGEST_CHARACTER:
        raise UsageError(f"byte_chunks() needs a size of at least {_LONGEST_CHARACTER} bytes, not {size}.")
    start = used = 0
    for at, character in enumerate(text):
        width = len(character.encode("utf-8", "surrogatepass"))
        if used + width > size:
            yield text[start:at]
            start, used = at, 0
        used += width
    if start < len(text):
        yield text[start:]


def random_chunks(text: str, seed: int, *, empty: bool = True) -> list[str]:
    """``text`` cut at random places, many or few; the same ones for the same seed. Some pieces are empty, unless that
    is ruled out.
    """
    chance = random.Random(seed)  # noqa: S311 - the same cuts again are the point
    share = chance.choice((0.02, 0.1, 0.3, 0.7))
    places = [at for at in range(1, len(text)) if chance.random() < share]
    if empty:
        places = sorted(places + chance.choices(range(len(text) + 1), k=chance.randrange(3)))
    return [text[start:end] for start, end in itertools.pairwise([0, *places, len(text)]) if empty or start < end]


def two_way_splits(text: str) -> Iterator[tuple[str, str]]:
    """Every way to cut ``text`` in two, empty pieces included."""
    for at in range(len(text) + 1):
        yield text[:at], text[at:]


def every_cut(text: str, *, seeds: Iterable[int] = range(20)) -> Iterator[list[str]]:
    """The ways to cut ``text`` that find out whether cuts matter: whole, in single characters, in two at every place,
    in pieces of a few bytes, and at random places for each of ``seeds``.

    There are about as many as the text has characters, and all of them together are read in a time that grows with
    its square: for texts up to a few thousand characters.
    """
    yield [text]
    yield list(text)
    yield from (list(pair) for pair in two_way_splits(text))
    yield from (list(byte_chunks(text, size)) for size in (4, 5, 7, 16))
    yield from (random_chunks(text, seed) for seed in seeds)


async def stream(pieces: Iterable[str]) -> AsyncIterator[str]:
    """The pieces as a model's stream would bring them: other tasks run between two of them."""
    for piece in pieces:
        await anyio.lowlevel.checkpoint()
        yield piece


async def stream_chunks(text: str, *sizes: int) -> AsyncIterator[str]:
    """`chunks` as a `stream`."""
    async for piece in stream(chunks(text, *sizes)):
        yield piece
