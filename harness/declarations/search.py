"""Finding tools by words: small, and the same answer for the same tools and words on every machine.

A tool's words are those of its name and namespaces, its tags, its description, and its parameters with their
descriptions. Words are taken apart at every change of case and everything that is no letter or digit, folded, and lose
a plural ``s``. A tool scores for each word of the query that it has (and half for one that a word of its own begins
with), more for rare words than for common ones and more in its name than in its texts: BM25 over weighted counts. Equal
scores are ordered by name. A query that is a tool's name finds that tool first.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from harness.declarations.names import call_form
from harness.declarations.reading import description, mapping

__all__ = ["ToolIndex", "first_sentence", "summary"]

_WORD = re.compile(r"[^\W\d_]+|[0-9]+")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_WEIGHTS = {"name": 8.0, "tags": 4.0, "parameters": 2.0, "description": 1.0, "notes": 0.5}
_PREFIX = 0.5
"""What a word counts that only begins with the query's word."""
_SHORTEST_PREFIX = 3
_MOST_WORDS = 20
"""Words of a query that are looked at."""
_MOST_CHARACTERS = 1_000
"""Characters of a query that are looked at: it may come from a script, and taking words apart costs time."""
_SATURATION, _LENGTH = 1.2, 0.5
"""BM25's k1 and b."""
_SENTENCE = re.compile(r"(.+?[.!?])(?:\s|\Z)", re.DOTALL)
_MAX_SUMMARY = 160


def words(text: str) -> list[str]:
    """The words of a text or a name: ``listOpenOrders`` → ``list``, ``open``, ``order``."""
    return [_stem(part.casefold()) for word in _WORD.findall(text) for part in _CAMEL.split(word)]


def _stem(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def first_sentence(text: str) -> str:
    """The first sentence of a description, on one line, cut at 160 characters."""
    paragraph = " ".join(text.strip().split("\n\n", 1)[0].split())
    match = _SENTENCE.match(paragraph)
    sentence = match[1] if match else paragraph
    return sentence if len(sentence) <= _MAX_SUMMARY else f"{sentence[: _MAX_SUMMARY - 1]}…"


def summary(tool: Mapping[str, Any]) -> dict[str, str]:
    """A tool in one line: its name, how it is called, what it does."""
    return {
        "name": tool["name"],
        "call": call_form(tool["name"], tool["parameters"]),
        "description": first_sentence(tool["description"]),
    }


class ToolIndex:
    """Tools, given as `Tool.describe` describes them, ready to be searched."""

    def __init__(self, tools: Iterable[Mapping[str, Any]]) -> None:
        self._tools = sorted(tools, key=lambda tool: str(tool["name"]))
        self._having: dict[str, dict[int, float]] = {}
        """Word → the tools that have it, and how often, weighted."""
        self._lengths: list[float] = []
        for at, tool in enumerate(self._tools):
            counts = _weighted_words(tool)
            self._lengths.append(sum(counts.values()))
            for word, count in counts.items():
                self._having.setdefault(word, {})[at] = count
        self._usual = sum(self._lengths) / len(self._lengths) if self._lengths else 1.0

    def search(self, query: str, limit: int) -> list[dict[str, str]]:
        """At most ``limit`` summaries, best first. A query without a word lists the tools by name."""
        query = query[:_MOST_CHARACTERS]
        wanted = list(dict.fromkeys(words(query)))[:_MOST_WORDS]
        if not wanted:
            return [summary(tool) for tool in self._tools[:limit]]
        exact = query.strip().removeprefix("tools.").casefold()
        scores = {at: 0.0 for at, tool in enumerate(self._tools) if tool["name"].casefold() == exact}
        named = set(scores)
        for word in wanted:
            for at, score in self._scores(word).items():
                scores[at] = scores.get(at, 0.0) + score
        # Rounded, so that the last digit of a logarithm decides nothing.
        ranked = sorted(scores, key=lambda at: (at not in named, -round(scores[at], 9), at))
        return [summary(self._tools[at]) for at in ranked[:limit]]

    def _scores(self, word: str) -> dict[int, float]:
        """What one word of a query is worth to each tool that has it, or a longer one that begins with it."""
        forms = [(word, 1.0)]
        if len(word) >= _SHORTEST_PREFIX:
            forms += [(other, _PREFIX) for other in self._having if other != word and other.startswith(word)]
        found: dict[int, float] = {}
        for form, factor in forms:
            having = self._having.get(form, {})
            rarity = math.log(1 + (len(self._tools) - len(having) + 0.5) / (len(having) + 0.5))
            for at, count in having.items():
                length = 1 - _LENGTH + _LENGTH * self._lengths[at] / self._usual
                much = count * factor
                found[at] = max(found.get(at, 0.0), rarity * much * (_SATURATION + 1) / (much + _SATURATION * length))
        return found


def _weighted_words(tool: Mapping[str, Any]) -> dict[str, float]:
    properties = mapping(tool["parameters"].get("properties"))
    texts = {
        "name": tool["name"],
        "tags": " ".join(tool["tags"]),
        "parameters": " ".join(properties),
        "description": tool["description"],
        "notes": " ".join(description(inner) for inner in properties.values()),
    }
    counts: dict[str, float] = {}
    for field, text in texts.items():
        for word in words(text):
            counts[word] = counts.get(word, 0.0) + _WEIGHTS[field]
    return counts
