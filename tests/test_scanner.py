"""Where a script ends: the scanner against tree-sitter, hard cases, and arbitrary text."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import _quickjs
import pytest
import tree_sitter
import tree_sitter_javascript
from hypothesis import given
from hypothesis import strategies as st

from harness.detection.scanner import Scanner
from harness.detector import detect
from harness.model import Block

CLOSING = "</tool-calls>"
VECTORS = Path(__file__).parent / "vectors"
SLASHES = json.loads((VECTORS / "detector_slash.json").read_text())
CORPUS = sorted((VECTORS / "detector_corpus").glob("*.js"))
PARSER = tree_sitter.Parser(tree_sitter.Language(tree_sitter_javascript.language()))


def found_tags(text: str, size: int | None = None) -> Iterator[tuple[int, bool]]:
    """Every tag the scanner offers, as if none of them was accepted: where it begins, and whether in a comment."""
    scanner = Scanner()
    window, base = "", 0
    chunks = [text] if size is None else [text[at : at + size] for at in range(0, len(text), size)]
    for number, chunk in enumerate(chunks):
        window += chunk
        final = number == len(chunks) - 1
        while True:
            at = scanner.scan(window, 0, base, final=final)
            window, base = window[at:], base + at
            if scanner.found is None:
                break
            yield scanner.found.start, scanner.found.in_comment
            if final and not window:
                break


def first_tag(text: str, size: int | None = None) -> int | None:
    """Where the first tag in code begins."""
    return next((start for start, in_comment in found_tags(text, size) if not in_comment), None)


def walk(node: tree_sitter.Node) -> Iterator[tree_sitter.Node]:
    todo = [node]
    while todo:
        node = todo.pop()
        yield node
        if node.type not in ("string", "regex", "comment", "html_comment"):
            todo.extend(node.children)


def with_tags_in_literals(source: str) -> str | None:
    """The same script with a closing tag in every string, template and block comment, as tree-sitter sees them."""
    data = source.encode()
    root = PARSER.parse(data).root_node
    if root.has_error:
        return None
    places = set()
    for node in walk(root):
        if node.type == "string":
            places.add(node.start_byte + 1)
        elif node.type == "template_string":
            places |= {node.start_byte + 1, node.end_byte - 1}
        elif node.type == "comment" and data.startswith(b"/*", node.start_byte):
            places.add(node.end_byte - 2)
    parts, last = [], 0
    for place in sorted(places):
        parts += [data[last:place], CLOSING.encode()]
        last = place
    changed = b"".join([*parts, data[last:]])
    return None if PARSER.parse(changed).root_node.has_error else changed.decode()


def code_places(source: str, count: int) -> list[str]:
    """Beginnings of the script that end behind a token of its code, as tree-sitter sees it."""
    data = source.encode()
    template = ("template_string", "template_substitution")
    ends = [
        node.end_byte
        for node in walk(PARSER.parse(data).root_node)
        if not node.child_count
        and node.type not in ("comment", "html_comment", "string_fragment", "escape_sequence", "hash_bang_line")
        and (node.parent is None or node.parent.type not in template)
    ]
    chosen = random.Random(len(data)).sample(ends, min(count, len(ends)))
    return [data[:end].decode() for end in chosen]


def check_against_the_grammar(source: str, places: int) -> bool:
    """False if the source says nothing: tree-sitter refuses it, or it holds tags of its own in code."""
    changed = with_tags_in_literals(source)
    if changed is None:
        return False
    assert first_tag(f"{changed}\n{CLOSING} it's prose") == len(changed) + 1
    for code in code_places(source, places):
        assert first_tag(f"{code} {CLOSING} it's") == len(code) + 1, code[-80:]
    return True


@pytest.mark.requirement("DET-023")
@pytest.mark.parametrize("source", SLASHES)
def test_a_slash_is_read_as_what_it_is(source):
    # Each of these holds quotes that are balanced in the one reading only.
    text = f"{source}\n{CLOSING} '"
    comment = "--> it" in source or source.startswith("<!--") or "//" in source
    if not comment:
        assert first_tag(f"{source}{CLOSING} '") == len(source)
    assert first_tag(text) == len(source) + 1
    assert list(found_tags(text, 1)) == list(found_tags(text))


@pytest.mark.requirement("DET-024")
@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_the_scanner_agrees_with_the_grammar_on_the_corpus(path):
    assert check_against_the_grammar(path.read_text(), places=10_000)


@pytest.mark.slow
@pytest.mark.requirement("DET-024")
def test_the_scanner_agrees_with_the_grammar_on_public_javascript():
    npm = subprocess.run(["npm", "root", "-g"], capture_output=True, text=True, check=False) if _which("npm") else None
    root = Path(npm.stdout.strip()) / "npm" if npm is not None and npm.returncode == 0 else None
    if root is None or not root.is_dir():
        pytest.skip("npm is not installed: its own JavaScript is what this test reads")
    checked = 0
    for path in sorted(root.rglob("*.js")):
        source = path.read_text(encoding="utf-8", errors="replace")
        if CLOSING not in source and len(source) < 300_000:
            checked += check_against_the_grammar(source, places=5)
    assert checked > 100


def _which(command: str) -> bool:
    import shutil

    return shutil.which(command) is not None


# ── programs ─────────────────────────────────────────────────────────────────────────────────────────────────────────

LITERALS = st.sampled_from(
    ["1", "1.", ".5", "a", "of", "async", "get", "'x'", '"/"', "/'/", '/[/"]`/g', "`t`", "`a${1 / b}`", "this", "null"]
)


def compound(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds("({} / {})".format, inner, inner),
        st.builds("{}.if / {}".format, st.sampled_from(["a", "b.class", "f(/'/)"]), inner),
        st.builds("[{}, {}]".format, inner, inner),
        st.builds("`${{{}}}'`".format, inner),
        st.builds('{{a: {}, b() {{ return {} }}, get if() {{ return /"/ }}}} / 2'.format, inner, inner).map(
            "({})".format
        ),
        st.builds("function () {{ {} }} / 2".format, inner).map("(0, {})".format),
        st.builds("(class {{ x = {}\n y = {}\n static {{ /'/ }} m() {{ return /`/ }} }} / 3)".format, inner, inner),
        st.builds("((a, b = {}) => {})".format, inner, inner),
        st.builds("(async () => {{ await {}; return {} }})".format, inner, inner),
        st.builds("(a ? {} : {{b: {}}} / 2)".format, inner, inner),
        st.builds("(typeof {})".format, inner),
        st.builds("(a++ / {})".format, inner),
    )


EXPRESSIONS = st.recursive(LITERALS, compound, max_leaves=8)
STATEMENTS = st.recursive(
    st.one_of(
        st.builds("x = {}\n".format, EXPRESSIONS),
        st.builds("if (x) /'/.test({}); else {}\n".format, EXPRESSIONS, EXPRESSIONS),
        st.builds('for (const y of {}) /"/.test(y)\n'.format, EXPRESSIONS),
        st.builds("switch (x) {{ case {}: {{}} /'/.test(x) }}\n".format, EXPRESSIONS),
        st.builds("class K {{ a = {}\n 'b' = /'/ }} /\"/.test(1)\n".format, EXPRESSIONS),
        st.builds("/* ' {} */\n".format, st.sampled_from(["", "`", "//", "${"])),
        st.sampled_from(["label: {} /'/.test(1)\n", "function g() {} /'/.test(1)\n", "do x; while (0) /'/.test(1)\n"]),
        st.builds("// {}\n".format, st.sampled_from(["it's", "`", "/*", "a"])),
    ),
    lambda inner: st.one_of(
        st.builds("{{ {} }}\n".format, inner),
        st.builds("{}{}".format, inner, inner),
        st.builds("while (x) {{ {} }} /'/.test(2)\n".format, inner),
    ),
    max_leaves=5,
)


@pytest.mark.requirement("DET-024")
@given(STATEMENTS)
def test_the_scanner_agrees_with_the_grammar_on_programs(source):
    assert check_against_the_grammar(source, places=5)


SIGNS = (
    "' \" ` ${ { } ( ) [ ] / // /* */ <!-- --> \\ </tool-calls> </tool-calls > <tool-calls> if return class function a 1. "
    "?. => ++ \\u{61} # ! = ? async await yield of : ; , * é 😀"
)
PIECES = st.sampled_from([*SIGNS.split(), "\n", "\r\n", "\r", "\u2028", " "])


@pytest.mark.requirement("DET-002")
@given(st.lists(PIECES, max_size=40).map("".join), st.integers(1, 7))
def test_what_is_found_does_not_depend_on_the_chunks(text, size):
    assert list(found_tags(text, size)) == list(found_tags(text))


@pytest.mark.requirement("DET-007")
def test_each_character_is_scanned_once():
    # A token that goes on and on, fed in small pieces, is where a scanner would look at its beginning again and again.
    # What is left unread is what the next call reads again, so a bound on it is a bound on the work.
    for text in (
        "a" * 5_000,
        "1" * 5_000,
        "'" + "x" * 5_000,
        "/" + "x" * 5_000,
        " " * 5_000,
        "</tool-calls" + " " * 5_000,
    ):
        scanner, window, base, most = Scanner(), "", 0, 0
        for character in text:
            window += character
            at = scanner.scan(window, 0, base, final=False)
            window, base = window[at:], base + at
            most = max(most, len(window))
        assert most <= len("</tool-calls")


@pytest.mark.requirement("DET-025")
@pytest.mark.parametrize("opening", ["(", "[", "{", "`${", "f({a:["])
def test_deep_nesting_neither_recurses_nor_closes(opening):
    scanner = Scanner()
    text = opening * 20_000 + CLOSING
    assert scanner.scan(text, 0, 0, final=True) == len(text)
    assert scanner.found is None
    assert [finding.code for finding in scanner.findings] == ["script_too_deep"]


@pytest.mark.requirement("DET-022")
@pytest.mark.parametrize(
    ("source", "closes"),
    [
        ("a = 'x\n", True),
        ('a = "x\r', True),
        ("a = 'x\\\n", False),
        ("a = 'x\\\r\n", False),
        ("a = 'x\\\\\n", True),
        ("a = /x\n", True),
        ("a = /[x\n", True),
        ("a = 'x\u2028", False),
        ("a = /x\u2028", True),
        ("a = `x\n", False),
        ("/* x\n", False),
        ("a = '\\'", False),
    ],
)
def test_quotes_end_with_their_line(source, closes):
    for size in (None, 1):
        assert (first_tag(source + CLOSING, size) == len(source)) is closes


# ── the engine's own word ────────────────────────────────────────────────────────────────────────────────────────────

TOKENS = (
    "a b / // /x/ /* */ ( ) { } [ ] => async await yield of let get set static return if(a) while(a) for(;a;) else do ++ "
    "-- ` ${ \" ' ; , : ? . ?. function function* extends typeof = x 1 1. case new in \\ #x <!-- --> ! - + < > try catch "
    "finally label: break continue using async()=> <b> </ ... this null void @ /[/]/ /\\// é default throw delete .5 =/ ?/"
)
SOUP = (
    *TOKENS.split(),
    " ",
    "\n",
    "\n",
    "\r",
    "\u2028",
    "\xa0",
    "let\n",
    "let a\n",
    "var b\r",
    "a=>{}\n",
    "class A",
    'debugger\n/"/',
)
ENDS = ("//", "/x// ", '// "q" ', "/ //", "/*a*/ //", "<!-- ", "\n-->", "/y//", ' /"/ ;// "', '"/"//', "`//", "'//")
ENGINE = _quickjs.Context()


def compiles(script: str) -> bool:
    """Whether the engine accepts it as the body of an asynchronous function; nothing of it runs."""
    try:
        ENGINE.eval(f'"use strict";throw 0;(class{{async m(){{\n{script}\n}}}})')
    except _quickjs.JSException as error:
        return str(error).startswith("0\n")
    return False


def check_against_the_engine(script: str) -> bool:
    """Where the engine accepts a script and any text behind it, that text is not code to it, and a tag must not close."""
    if not (compiles(script) and compiles(f"{script} @@# `\"'")):
        return False
    text = f"<tool-calls>{script}{CLOSING}<tool-calls>evil(){CLOSING} x"
    assert not [segment for segment in detect(text) if isinstance(segment, Block)], script
    return True


@pytest.mark.requirement("DET-021")
def test_a_tag_in_what_the_engine_takes_for_a_comment_never_closes():
    chance = random.Random(7)  # the same texts each time
    checked = 0
    for _ in range(15_000):
        soup = "".join(chance.choice(SOUP) + chance.choice(("", " ")) for _ in range(chance.randint(0, 6)))
        checked += check_against_the_engine(soup + chance.choice(ENDS))
    assert checked > 100
