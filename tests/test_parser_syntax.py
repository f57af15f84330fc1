"""The parser beside the engine: positions, what only the grammar refuses, hostile sources (specs/parser.md)."""

from __future__ import annotations

import contextlib
import re
import time
from itertools import pairwise

import pytest
from _quickjs import Context, JSException
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import BlockAttributeError, ScriptError, ScriptSyntaxError, ToolNotFoundError
from harness.limits import Limits
from harness.model import Block, BlockAttributes, Diagnostic, ExecutionMode, Script, Span
from harness.parser import Parser
from harness.syntax.attributes import read_attributes
from harness.syntax.grammar import TooTangled, parse_javascript


def block(source: str, tag: str = "<tool-calls>") -> Block:
    text = f"{tag}{source}</tool-calls>"
    span = Span(start=0, end=len(text), line=1, column=1, end_line=1, end_column=len(text) + 1)
    return Block(text=text, span=span, opening_tag=tag, source=source, source_span=span)


def parse(source: str) -> Script:
    return Parser().parse_source(source)


def refusal(source: str) -> ScriptError:
    with pytest.raises(ScriptError) as caught:
        parse(source)
    return caught.value


def codes(script: Script) -> list[str]:
    return [diagnostic.code for diagnostic in script.diagnostics]


# ── the opening tag ──────────────────────────────────────────────────────────────────────────────────────────────────


def attributes(tag: str) -> BlockAttributes:
    return Parser().parse(block("1", tag)).attributes


def tag_refusal(tag: str) -> BlockAttributeError:
    with pytest.raises(BlockAttributeError) as caught:
        attributes(tag)
    return caught.value


@pytest.mark.requirement("PAR-010")
@pytest.mark.parametrize(
    ("tag", "identifier"),
    [
        ("<tool-calls>", None),
        ("<tool-calls >", None),
        ("<tool-calls/>", None),
        ('<tool-calls id="a">', "a"),
        ("<tool-calls id='a' />", "a"),
        ('<tool-calls\n  lang="js"\n  id = "a">', "a"),
        ('<tool-calls id="a &lt;b&gt; &amp; &quot;c&quot; &#233; >">', 'a <b> & "c" é >'),
        ('<tool-calls id="données">', "données"),
    ],
)
def test_attributes(tag, identifier):
    assert attributes(tag) == BlockAttributes(id=identifier, lang="js")


@pytest.mark.requirement("PAR-011")
@pytest.mark.parametrize(
    ("tag", "name", "suggestions"),
    [
        ('<tool-calls lang="js" approved="true">', "approved", []),
        ('<tool-calls ID="a">', "ID", ["id"]),
        ('<tool-calls language="js">', "language", ["lang"]),
        ('<tool-calls xmlns="urn:a">', "xmlns", []),
        ('<tool-calls xmlns:x="urn:a">', "xmlns:x", []),
        ('<tool-calls xml:lang="js">', "xml:lang", ["lang"]),
    ],
)
def test_unknown_attributes(tag, name, suggestions):
    error = tag_refusal(tag)
    assert error.details["attribute"] == name
    assert error.details["allowed"] == ["id", "lang"]
    assert error.details["suggestions"] == suggestions
    assert f"`{name}`" in error.message
    assert "`id`" in error.message
    assert ("Did you mean" in error.message) == bool(suggestions)


@pytest.mark.requirement("PAR-012")
@pytest.mark.parametrize(
    ("tag", "says"),
    [
        ('<tool-calls id="a" id="b">', "twice"),
        ("<tool-calls id=a>", "not in quotes"),
        ("<tool-calls async>", "no value"),
        ('<tool-calls id="a>', "malformed"),
        ('<tool-calls id="a"lang="js">', "no space"),
        ('<tool-calls id="<">', "`<`"),
        ('<tool-calls id="a & b">', "`&amp;`"),
        ('<tool-calls id="a&b">', "`&amp;`"),
        ('<tool-calls id="&xxe;">', "does not exist"),
        ('<tool-calls id="">', "`id`"),
        (f'<tool-calls id="{"x" * 129}">', "`id`"),
        ('<tool-calls lang="py">', "`lang`"),
        ('<tool-calls x:id="a">', "prefix"),
        ("<tool-calls ''>", "malformed"),
        ("<tool-calls", "malformed"),
        ("<!DOCTYPE a>", "malformed"),
        ("<tool-calls><!DOCTYPE a [<!ENTITY b 'c'>]>", "malformed"),
        ("<tool-callsx>", "malformed"),
        ('<tool-calls id="a\0">', "U+0000"),
        ('<tool-calls id="\u202ea">', "U+202E"),
        ("<tool-calls \u2066>", "U+2066"),
        ('<tool-calls id="&#x202e;">', "U+202E"),
    ],
)
def test_malformed_tags(tag, says):
    error = tag_refusal(tag)
    assert says in error.message
    assert "\u202e" not in str(error.details)


@pytest.mark.requirement("PAR-012")
@settings(max_examples=300)
@given(st.text(st.sampled_from("<>/='\"&;!? \n\0\u202eabid-:#x0[]é"), max_size=30))
def test_no_tag_surprises_the_reader_of_attributes(inside):
    assert isinstance(read_attributes(f"<tool-calls {inside}>"), BlockAttributes | tuple)


@pytest.mark.requirement("PAR-013")
def test_typescript_is_refused_for_now():
    error = tag_refusal('<tool-calls lang="ts">')
    assert "TypeScript is not supported by this version" in error.message
    assert attributes('<tool-calls lang="js">').lang == "js"


@pytest.mark.requirement("PAR-013")
@pytest.mark.parametrize(
    ("attribute", "says"),
    [
        ('lang="JS"', 'Write `lang="js"`'),
        ('lang=" js "', 'Write `lang="js"`'),
        ('lang="TS"', 'Write `lang="ts"`'),
        ('lang="python"', "leave out `lang`"),
        ('lang=""', "leave out `lang`"),
        (f'lang="{"x" * 500}"', "x" * 40 + "…"),
        ('id=""', "leave it out"),
        (f'id="{"x" * 129}"', "129 characters and may have 128"),
    ],
)
def test_a_wrong_value_of_an_attribute_is_told_in_plain_words(attribute, says):
    error = tag_refusal(f"<tool-calls {attribute}>")
    assert says in error.message
    assert "Input should" not in error.message
    assert "String should" not in error.message
    assert len(error.message) < 250
    assert error.details["attribute"] == attribute.partition("=")[0]


# ── syntax errors ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("PAR-030")
@pytest.mark.parametrize(
    ("source", "line", "column", "says"),
    [
        ("const é = 'é😀';\n  f('é', [1, 2);", 2, 15, "does not close the `[` of line 2, column 10"),
        ("f(1", 1, 2, "never closed"),
        ("x)", 1, 2, "closes nothing"),
        ("if (a) {\n  b()\n", 1, 8, "never closed"),
        ("'😀'; }", 1, 6, "closes nothing"),
        ("`a ${ b`", 1, 4, "never closed"),
        ("f(')', /[)]/, `)` /* ) */", 1, 2, "never closed"),
    ],
)
def test_unbalanced_brackets(source, line, column, says):
    error = refusal(source)
    assert type(error) is ScriptSyntaxError
    assert (error.line, error.column) == (line, column)
    assert says in error.message
    assert error.details["source_line"] == source.split("\n")[line - 1]
    assert error.details["source_line_column"] == column


@pytest.mark.requirement("PAR-031")
def test_a_long_line_is_cut_around_the_column():
    source = "a;\n" + "é" * 1_000 + ")" + "ü" * 500 + "\nb"
    error = refusal(source)
    shown, at = error.details["source_line"], error.details["source_line_column"]
    assert shown == "[900 characters cut]…" + "é" * 100 + ")" + "ü" * 99 + "…[401 characters cut]"
    assert shown[at - 1] == ")"
    assert refusal("x)" + " " * 198).details["source_line"] == "x)" + " " * 198
    assert refusal("x)" + " " * 199).details["source_line"] == "x)" + " " * 198 + "…[1 characters cut]"


@pytest.mark.requirement("PAR-031")
def test_unseen_characters_of_the_line_are_escaped():
    error = refusal("'\u202e\u200b\x7f'; /*\u2066*/")
    assert error.details["source_line"] == r"'\u{202e}\u{200b}\u{7f}'; /*\u{2066}*/"
    column = error.details["source_line_column"]
    assert error.details["source_line"][column - 1 :].startswith(r"\u{202e}") is False
    assert error.details["source_line"][column - 1 :].startswith(r"\u{2066}")


def engine_refuses(source: str) -> str | None:
    """What the engine says of a script, which it compiles as an async function's body; None if it accepts it."""
    # A method's body cannot be closed from inside and continued as an expression.
    try:
        Context().eval("({async m(){" + source + "\n}}).m")
    except JSException as error:
        return str(error)
    return None


@pytest.mark.requirement("PAR-032")
@pytest.mark.parametrize("source", ["let a\n(1, 2)", "var yield = 1; yield / 2"])
def test_what_only_the_grammar_refuses_goes_to_the_engine(source):
    assert engine_refuses(source) is None
    script = parse(source)
    if parse_javascript(source.encode()).root_node.has_error:  # type: ignore[union-attr] # short sources have a tree
        [warning] = script.diagnostics
        assert warning.code == "grammar_objection"
        assert warning.line is not None
        assert ExecutionMode.EXPRESSION not in script.mode
        assert ExecutionMode.STATEMENTS in script.mode
        assert script.result_range is None


@pytest.mark.requirement("PAR-032")
@pytest.mark.parametrize("source", ["x y", "let x = ;", "1 +", "a..b", "return return"])
def test_balanced_nonsense_is_left_to_the_engine(source):
    assert engine_refuses(source) is not None
    assert codes(parse(source)) == ["grammar_objection"]
    assert parse(source).result_range is None
    assert ExecutionMode.EXPRESSION not in parse(source).mode


_LINES = [
    "1;{end}2;{end}  @",
    "// a{end}@",
    "/* {end} */ @",
    "/* {end} */{end}@",
    "`a{end}${{1}}{end}`; @",
    "`${{ {end}1 }}`;{end} @",
    "({end}1{end}){end}@",
    "'é😀';{end}'é'; @",
]
_LINE_ENDS = ["\n", "\r\n", "\r", "\u2028", "\u2029"]
_PLACES = [(line, end) for line in _LINES for end in [*_LINE_ENDS, "\n\r", "\r\r\n"]]
_PLACES += [("'a\\{end}b'; @", end) for end in _LINE_ENDS]


@pytest.mark.requirement("PAR-033")
@pytest.mark.parametrize(("template", "end"), _PLACES)
def test_lines_are_counted_as_the_engine_counts_them(template, end):
    before = template.format(end=end).split("@")[0]
    # Ours is a bracket that closes nothing; the engine objects to the same one.
    error = refusal(before + ")")
    with pytest.raises(JSException) as caught:
        Context().eval(before + ")")
    found = re.search(r"<input>:(\d+):(\d+)", str(caught.value))
    assert found is not None
    assert error.line == int(found[1])
    # The engine's columns are bytes, and begin anew behind a carriage return in a comment, whose line it does not count.
    if not ("*/ @" in template and "\r" in end.replace("\r\n", "")):
        line_start = before.encode()[: len(before.encode()) - int(found[2]) + 1].decode()
        assert error.column == len(before) - len(line_start) + 1


@pytest.mark.requirement("PAR-033")
def test_literals_keep_the_separators_that_the_engine_does_not_count():
    assert refusal("'a\u2028b'; /* \u2029 */ )").line == 1
    assert refusal("'a'\u2028; )").line == 2


# ── hostile sources ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("PAR-034")
@pytest.mark.parametrize("piece", ["(", "[", "{", "({a:", "`${", "x=>", "if(1)", "f(()=>", "-", "class A{x=", "a?b:"])
def test_deep_nesting_does_not_recurse(piece):
    source = piece * (100_000 // len(piece))
    parser = Parser(limits=Limits(script_bytes=1_000_000))
    [result] = parser.parse_many([block(source)])
    assert isinstance(result, Script | ScriptSyntaxError)


@pytest.mark.requirement("PAR-034")
def test_sources_that_the_grammar_would_repair_for_minutes_are_given_up():
    # 20 KB of this take tree-sitter a minute, and time grows with the square.
    error = refusal("!>" * 10_000)
    assert type(error) is ScriptSyntaxError
    assert "so many syntax errors" in error.message
    assert error.line == 1
    assert isinstance(parse_javascript(b"!>" * 10_000), TooTangled)


_HOSTILE = [
    "a.b",
    ".x",
    "a().b.c",
    "a[0]",
    "let a;{",
    "{let a;eval;",
    "const b=a;",
    "const {a}=tools;",
    "tools.nope();",
    "f(()=>1)",
    "é",
    "'\u202e'",
    "<!--",
    "-->",
    "//\r",
    "/*\u2028*/",
    "\u0440a;",
    "await\n",
    "fetch;",
    "a()",
]


@pytest.mark.requirement("PAR-034")
@pytest.mark.parametrize("piece", _HOSTILE)
@pytest.mark.slow
def test_time_grows_with_the_size_and_not_with_its_square(piece):
    parser = Parser(limits=Limits(script_bytes=1_000_000), cache_size=0)

    def seconds(size: int) -> float:
        source = piece * (size // len(piece))
        best = 1e9
        for _ in range(3):
            began = time.process_time()
            with contextlib.suppress(ScriptError, ToolNotFoundError):
                parser.parse_source(source, tools={"search"})
            best = min(best, time.process_time() - began)
        return best

    # Eight times the size; a quadratic step would make it 64 times the time. Processor time, the best of three and a
    # wide margin keep a busy machine out of it.
    small, large = seconds(4_000), seconds(32_000)
    assert large < 24 * max(small, 0.002)


@pytest.mark.requirement("PAR-034")
def test_a_long_chain_of_aliases_is_not_followed_for_ever():
    names = [f"a{n}" for n in range(2_000)]
    chain = "".join(f"const {new}={old}.x;" for old, new in pairwise(names))
    source = f"const a0=tools;{chain}a1999();a1();"
    parser = Parser(limits=Limits(script_bytes=1_000_000))
    with pytest.raises(ToolNotFoundError) as caught:
        parser.parse_source(source, tools=["y"])
    assert caught.value.details["tool"] == "x"


_FRAGMENTS = st.sampled_from(
    [
        *"()[]{};,.:?=+-*/<>!&|`'\"\\ \n\r\t\0#@$aZ0é😀",
        "\u2028",
        "\u202e",
        "\ufeff",
        "\u200b",
        "\ud800",
        "${",
        "=>",
        "?.",
        "...",
        "<!--",
        "-->",
        "//",
        "/*",
        "*/",
        "\\u0065",
        "\\u{110000}",
        "tools",
        ".x(",
        "globalThis",
        "this",
        ".constructor",
        "await ",
        "async ",
        "function ",
        "class ",
        "const ",
        "let ",
        "var ",
        "import ",
        "export ",
        "return ",
        "yield ",
        "if ",
        "for ",
        "of ",
        "in ",
        "new ",
        "typeof ",
        "eval",
        "static ",
        "get ",
        "</tool-calls>",
    ]
)


@pytest.mark.requirement("PAR-035")
@settings(max_examples=600)
@given(st.lists(_FRAGMENTS, max_size=40).map("".join))
def test_no_text_surprises_the_parser(source):
    parser = Parser(cache_size=0)
    try:
        script = parser.parse_source(source, tools={"x", "fs.read"})
    except (ScriptError, ToolNotFoundError) as error:
        error.info().model_dump_json()  # no half of a pair gets out
        return
    assert script.source == source.removeprefix("\ufeff")
    assert ExecutionMode.parse(str(script.mode)) == script.mode
    assert (ExecutionMode.EXPRESSION in script.mode) == (script.result_range is not None)
    ends = ExecutionMode.EXPRESSION | ExecutionMode.RETURN
    assert (ExecutionMode.STATEMENTS in script.mode) != bool(ends & script.mode)
    script.model_dump_json()


@pytest.mark.requirement("PAR-035")
@settings(max_examples=300)
@given(st.binary(max_size=60))
def test_no_bytes_surprise_the_parser(source):
    with contextlib.suppress(ScriptError, ToolNotFoundError):
        Parser().parse_source(source, tools=())


@pytest.mark.requirement("PAR-035", "PAR-063")
@settings(max_examples=300)
@given(st.lists(_FRAGMENTS.filter(lambda piece: piece != "\ud800"), max_size=30).map("".join))
def test_diagnose_never_raises_and_finds_what_parse_raises(source):
    parser = Parser()
    found = parser.diagnose(block(source), tools={"x"})
    assert all(isinstance(d, Diagnostic) for d in found)
    [result] = parser.parse_many([block(source)], tools={"x"})
    errors = {d.code for d in found if d.severity == "error"}
    assert (type(result).__name__ in errors) if errors else isinstance(result, Script)


@pytest.mark.requirement("PAR-040")
@settings(max_examples=500)
@given(st.lists(_FRAGMENTS, max_size=12).map("".join))
def test_an_expression_that_the_engine_accepts_can_be_returned(source):
    try:
        script = parse(source)
    except (ScriptError, ToolNotFoundError):
        return
    if script.result_range is None or engine_refuses(script.source) is not None or "yield" in source:
        return
    start, end = script.result_range
    wrapped = f"{script.source[:start]};return ({script.source[start:end]}\n);{script.source[end:]}"
    assert engine_refuses(wrapped) is None
