"""The parser: any source, in a block with any opening tag.

The first byte says whether the first line is the inside of the opening tag; the rest is the source. Bytes that are no
UTF-8 become halves of surrogate pairs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from fuzz import corpus
from harness.detection.position import Cursor
from harness.errors import HarnessError, ScriptError, ToolNotFoundError
from harness.model import Block, ExecutionMode, Script, Severity
from harness.parser import Parser

__all__ = ["check", "seeds"]

_TOOLS = ("add", "fs.read", "echo")


def check(data: bytes) -> None:
    """Raises ``AssertionError`` if the parser breaks a promise on this block, and whatever it should not raise."""
    source = data[1:].decode("utf-8", "surrogateescape")
    tag = "<tool-calls>"
    if data and data[0] & 1:
        inside, _, source = source.partition("\n")
        tag = f"<tool-calls {inside}>"
    block = _block(tag, source)
    parser = Parser(cache_size=0)
    error: HarnessError | None = None
    try:
        script = parser.parse(block, tools=_TOOLS)
    except (ScriptError, ToolNotFoundError) as refusal:
        error = refusal
        _check_error(refusal, source)
    else:
        _check_script(script, block)
    found = parser.diagnose(block, tools=_TOOLS)
    wrong = [diagnostic for diagnostic in found if diagnostic.severity is Severity.ERROR]
    assert bool(wrong) == (error is not None), "parse and diagnose disagree"
    if error is not None:
        assert type(error).__name__ in {diagnostic.code for diagnostic in wrong}
    for diagnostic in found:
        diagnostic.model_dump_json()


def seeds() -> Iterator[bytes]:
    """Scripts of the tests, and opening tags."""
    for source in corpus.scripts():
        yield b"0" + source.encode()
    for tag in corpus.attributes():
        yield b"1" + tag.encode() + b"\nawait tools.add({})"


def _block(tag: str, source: str) -> Block:
    cursor = Cursor()
    text = f"{tag}{source}</tool-calls>"
    before = cursor.pass_over(tag)
    within = cursor.pass_over(source)
    after = cursor.pass_over("</tool-calls>")
    end = {"end": after.end, "end_line": after.end_line, "end_column": after.end_column}
    return Block(text=text, span=before.model_copy(update=end), opening_tag=tag, source=source, source_span=within)


def _check_error(error: ScriptError | ToolNotFoundError, source: str) -> None:
    info = error.info()
    json.loads(info.model_dump_json())
    assert len(info.message) < 2_000, "a message is as long as the script"
    if info.line is not None:
        assert 1 <= info.line <= 1 + sum(source.count(end) for end in "\n\r\u2028\u2029")
        assert info.column is not None
        assert 1 <= info.column <= len(source) + 1


def _check_script(script: Script, block: Block) -> None:
    source = script.source
    assert source == block.source.removeprefix("\ufeff"), "the source was changed"
    source.encode()
    assert (script.result_range is not None) == (ExecutionMode.EXPRESSION in script.mode)
    if script.result_range is not None:
        start, end = script.result_range
        assert 0 <= start < end <= len(source), "the result lies outside the source"
        assert not source[start].isspace()
        assert not source[end - 1].isspace()
    for reference in script.references:
        assert 1 <= reference.line <= 1 + sum(source.count(sign) for sign in "\n\r\u2028\u2029")
