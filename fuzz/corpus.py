"""Where fuzzing starts from: the data of the tests, and what is known to be hard."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

__all__ = ["VECTORS", "attributes", "markdown", "scripts", "texts"]

VECTORS = Path(__file__).parent.parent / "tests" / "vectors"
_MARKDOWN = (
    "a `<tool-calls>` b",
    "``` js\n<tool-calls>1</tool-calls>\n```\n",
    "~~~\n<tool-calls>1</tool-calls>\n~~~~\n<tool-calls>2</tool-calls>",
    "- > ```\n  > <tool-calls>\n  > ```\n",
    "    <tool-calls>1</tool-calls>\n\ntext\n    <tool-calls>2</tool-calls>",
    "\\`<tool-calls>1</tool-calls>\\`",
    "`` ` <tool-calls> `\n`` <tool-calls>1</tool-calls>\n\n",
    "<think><tool-calls>1</tool-calls></think><tool-calls>2</tool-calls>",
    "<tool-calls/></tool-calls><Tool-Calls><tool-calls id='>'>// </tool-calls>\n</tool-calls >",
    '<tool-calls><![CDATA[ 1 ]]></tool-calls>\r\n\ufeff<tool-calls\tlang="js">\u2028</tool-calls\n>',
    "<tool-calls>`${'</tool-calls>'}`; /[</tool-calls>]/; \"</tool-calls><tool-calls>\" // </tool-calls>",
)
_ATTRIBUTES = (
    'id="a" lang="js"',
    "lang='ts'",
    'lang="JS"',
    'id="&#65;&lt;" xml:id="b" xmlns:a="c"',
    'id="a" id="b"',
    "id=a lang",
    "id='>'/",
    "\u202e id='&amp;&bad;'",
)


def scripts() -> Iterator[str]:
    """JavaScript: short hard cases, and statements of every kind."""
    yield from json.loads((VECTORS / "detector_slash.json").read_text())
    yield from (source for source, *_ in json.loads((VECTORS / "parser_modes.json").read_text()))
    yield from (VECTORS / "programs.js").read_text().split("\n\n")


def texts() -> Iterator[str]:
    """Files of JavaScript as text with tags around them."""
    for path in sorted((VECTORS / "detector_corpus").iterdir()):
        for part in path.read_text().split("\n}\n"):
            yield f"<tool-calls>\n{part}\n</tool-calls>"


def markdown() -> tuple[str, ...]:
    """Texts whose tags stand in all kinds of places."""
    return _MARKDOWN


def attributes() -> tuple[str, ...]:
    """The insides of opening tags."""
    return _ATTRIBUTES
