"""The parser: characters, execution modes, banned constructs, tools, cache (specs/parser.md)."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from harness.errors import (
    BannedIdentifierError,
    BlockAttributeError,
    HarnessError,
    ScriptError,
    ScriptSyntaxError,
    ScriptTooLargeError,
    ToolNotFoundError,
    UsageError,
)
from harness.limits import Limits
from harness.model import Block, Script, Severity, Span
from harness.parser import Parser
from harness.syntax.absent import ABSENT_GLOBALS, BANNED_IDENTIFIERS

MODES = json.loads((Path(__file__).parent / "vectors" / "parser_modes.json").read_text())
TOOLS = frozenset({"search", "listUsers", "fs.read", "fs.write"})


def block(source: str, tag: str = "<tool-calls>", *, start: int = 0) -> Block:
    """A block on one line that begins at an offset of its text."""
    text = f"{tag}{source}</tool-calls>"
    begin = start + len(tag)

    def span(first: int, last: int) -> Span:
        return Span(start=first, end=last, line=1, column=first + 1, end_line=1, end_column=last + 1)

    return Block(
        text=text,
        span=span(start, start + len(text)),
        opening_tag=tag,
        source=source,
        source_span=span(begin, begin + len(source)),
    )


def parse(source: str | bytes, tools: frozenset[str] | None = None) -> Script:
    return Parser().parse_source(source, tools=tools)


def refusal(source: str | bytes, tools: frozenset[str] | None = None) -> HarnessError:
    with pytest.raises((ScriptError, ToolNotFoundError)) as caught:
        parse(source, tools)
    return caught.value


def codes(script: Script) -> list[str]:
    return [diagnostic.code for diagnostic in script.diagnostics]


# ── characters ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("PAR-001")
def test_bytes_must_be_utf8():
    error = refusal(b'ok\n\xc3\xa9 = "\xff"')
    assert type(error) is ScriptSyntaxError
    assert (error.line, error.column) == (2, 6)
    assert error.details["byte_offset"] == 9
    assert "0xff" in error.message
    assert parse("é".encode()).source == "é"


@pytest.mark.requirement("PAR-002")
@pytest.mark.parametrize("char", ["\0", "\x01", "\x08", "\x0e", "\x1b", "\x1f", "\ud800", chr(0xDFFF)])
@pytest.mark.parametrize("source", ["1;\n  {}", "'{}'", "// {}", "/* {} */ 1"])
def test_control_characters_and_half_pairs_are_refused(char, source):
    error = refusal(source.format(char) if source != "1;\n  {}" else "1;\n  " + char)
    assert type(error) is ScriptSyntaxError
    assert f"U+{ord(char):04X}" in error.message
    assert char not in json.dumps(error.info().model_dump(mode="json"), ensure_ascii=False)
    if source.startswith("1;"):
        assert (error.line, error.column) == (2, 3)


@pytest.mark.requirement("PAR-002")
def test_white_space_controls_are_allowed():
    assert parse("\t1\v+\f1\r\n").source == "\t1\v+\f1\r\n"


@pytest.mark.requirement("PAR-003")
def test_a_byte_order_mark_is_taken_off_and_positions_stay_right():
    given = block("\ufeffab + c", start=7)
    script = Parser().parse(given)
    assert script.source == "ab + c"
    assert (script.source_span.start, script.source_span.end) == (20, 26)
    assert (script.source_span.column, script.source_span.end_column) == (21, 27)
    assert ("." * 7 + given.text)[script.source_span.start : script.source_span.end] == script.source
    assert parse(b"\xef\xbb\xbf1").source == "1"
    error = refusal("\ufefff(")
    assert (error.line, error.column) == (1, 2)
    assert refusal(b"\xef\xbb\xbfa\xff").column == 2


@pytest.mark.requirement("PAR-004")
def test_the_size_is_counted_in_bytes_of_utf8():
    parser = Parser(limits=Limits(script_bytes=10))
    assert parser.parse_source("'ééé' ").source
    with pytest.raises(ScriptTooLargeError) as caught:
        parser.parse_source("'éééé' ")
    assert caught.value.details == {"bytes": 11, "limit": 10}
    assert "11" in caught.value.message
    assert "10" in caught.value.message
    assert parser.parse_source("\ufeff1234567890").source == "1234567890"


@pytest.mark.requirement("PAR-005")
@pytest.mark.parametrize("char", ["\u061c", "\u200e", "\u200f", "\u202a", "\u202e", "\u2066", "\u2069"])
def test_bidirectional_controls_outside_literals_are_refused(char):
    for source in (f"1 /*{char}*/", f"1 // {char}", f"a {char}+ b", f"/{char}/", f"`${{a /*{char}*/}}`"):
        error = refusal(source)
        assert type(error) is ScriptSyntaxError
        assert error.column == source.index(char) + 1
        assert f"U+{ord(char):04X}" in error.message
        assert char not in error.details["source_line"]
    for source in (f"'{char}'", f"`a{char}${{b}}{char}`", f"'\\{char}'"):
        [warning] = parse(source).diagnostics
        assert (warning.code, warning.column) == ("bidirectional_in_string", source.index(char) + 1)


@pytest.mark.requirement("PAR-005")
def test_trojan_source():
    script = (
        "const isAdmin=false;/*\u202e } \u2066if(isAdmin)\u2069 \u2066 begin */ await tools.deploy()/* end \u202e*/"
    )
    assert type(refusal(script)) is ScriptSyntaxError


@pytest.mark.requirement("PAR-006")
def test_misleading_identifiers_are_reported():
    assert codes(parse("const рath = 'x'; рath")) == ["lookalike_identifier"]
    assert codes(parse("o.ѕсоре")) == ["lookalike_identifier"]
    assert codes(parse("ｆetch2 = 1")) == ["lookalike_identifier"]
    assert codes(parse("a\u200db = 1")) == ["invisible_in_identifier"]
    assert codes(parse("a.b\u3164")) == ["invisible_in_identifier"]
    for harmless in ("имя = 1", "naïve = 1", "用户id = 1", "Δt = 1", "'рath'", "// рath\n1"):
        assert codes(parse(harmless)) == [], harmless


@pytest.mark.requirement("PAR-007")
@pytest.mark.parametrize(
    "source", ["a <!-- b", "<!-- a\n1", "a\n--> b", "a\n  --> b", "/* x */ --> b", "`${a\n--> b}`", "[\n--> x\n]"]
)
def test_html_comments_are_refused(source):
    error = refusal(source)
    assert type(error) is ScriptSyntaxError
    assert "HTML comments" in error.message
    assert source.split("\n")[(error.line or 0) - 1][(error.column or 0) - 1 :].startswith(("<!--", "-->"))


@pytest.mark.requirement("PAR-007")
@pytest.mark.parametrize(
    "source", ["'<!-- a -->'", "/<!--.*?-->/s", "`\n--> ${a}`", "// <!--\n1", "/*\n-->\n*/1", "while (n --> 0) f()"]
)
def test_what_only_looks_like_an_html_comment_is_not_refused(source):
    assert codes(parse(source)) == []


@pytest.mark.requirement("PAR-008")
@pytest.mark.parametrize("before", ["", "\n", " \r\n\t"])
def test_a_hashbang_line_is_refused(before):
    error = refusal(f"{before}#!/usr/bin/env node\n1")
    assert type(error) is ScriptSyntaxError
    assert "`#!`" in error.message
    assert (error.line, error.column) == (1 + before.count("\n"), 1 + len(before.rpartition("\n")[2]))
    assert codes(parse("'#!'; /#!/; // #!\n1")) == []


# ── what is never available ──────────────────────────────────────────────────────────────────────────────────────────

BANNED = [
    ("eval('1')", "eval", 1),
    ("(0, eval)('1')", "eval", 5),
    ("\\u0065val('1')", "eval", 1),
    ("\\u{65}val('1')", "eval", 1),
    ("const e = eval", "eval", 11),
    ("({eval})", "eval", 3),
    ("eval?.('1')", "eval", 1),
    ("[...eval`1`]", "eval", 5),
    ("globalThis.eval('1')", "eval", 1),
    ("globalThis['eval']('1')", "eval", 1),
    ("globalThis[`eval`]('1')", "eval", 1),
    ("globalThis['ev\\x61l']('1')", "eval", 1),
    ("globalThis?.eval", "eval", 1),
    ("(globalThis).eval", "eval", 2),
    ("globalThis.globalThis.eval", "eval", 1),
    ("window.eval('1')", "eval", 1),
    ("this.eval('1')", "eval", 1),
    ("(() => this.eval('1'))()", "eval", 8),
    ("const g = globalThis; g.eval('1')", "eval", 23),
    ("const {eval: e} = globalThis", "eval", 8),
    ("({eval: e} = globalThis)", "eval", 3),
    ("{ const eval = 1 }\neval('1')", "eval", 1),
    ("function f(eval) {}\neval('1')", "eval", 1),
    ("Function('return 1')()", "Function", 1),
    ("new Function('return 1')", "Function", 5),
    ("globalThis.Function", "Function", 1),
    ("Function.prototype.constructor('x')", "Function", 1),
    ("(() => {}).constructor('x')", "constructor", 2),
    ("(async () => {}).constructor('x')", "constructor", 2),
    ("(function () {}).constructor", "constructor", 2),
    ("(function* () {})['constructor']('x')", "constructor", 2),
    ("Object.getPrototypeOf(async function () {}).constructor", "constructor", 23),
    ("Reflect.getPrototypeOf(() => 1).constructor", "constructor", 24),
    ("[].constructor.constructor('x')", "constructor", 1),
    ("''['constructor'][`constructor`]('x')", "constructor", 1),
    ("((a.constructor)).constructor('x')", "constructor", 3),
    ("const a = {}; a.b.constructor.constructor?.('x')", "constructor", 15),
    ("const fs = require('fs')", "require", 12),
    ("globalThis.require('fs')", "require", 1),
    ("await import('fs')", "import", 7),
    ("import fs from 'fs'", "import", 1),
    ("import 'fs'", "import", 1),
    ("import.meta.url", "import", 1),
    ("export const a = 1", "export", 1),
    ("export default 1", "export", 1),
    ("with (a) { b }", "with", 1),
    ("debugger", "debugger", 1),
    ("`${eval('1')}`", "eval", 4),
]


@pytest.mark.requirement("PAR-020", "PAR-021", "PAR-022")
@pytest.mark.parametrize(("source", "name", "column"), BANNED)
def test_banned(source, name, column):
    error = refusal(source)
    assert type(error) is BannedIdentifierError
    assert error.details["identifier"] == name
    assert error.column == column
    assert error.line == (2 if "\n" in source else 1)
    assert len(error.message) > len(f"`{name}` is not available in a script. ")


@pytest.mark.requirement("PAR-023")
@pytest.mark.parametrize(
    "source",
    [
        "'eval(1)'",
        "`import('x') ${a} require`",
        "/eval(Function)/",
        "// eval(1)\n1",
        "/* with debugger */ 1",
        "o.eval(1)",
        "o['eval'](1)",
        "({eval: 1, require() {}, import: 2, with: 3}).import",
        "class A { eval() { return this.eval } static require = 1 }",
        "const eval2 = 1",
        "function require(x) { return x }\nrequire('a')",
        "const {eval: e} = o; e(1)",
        "((eval) => eval(1))(f)",
        "try {} catch (eval) { eval }",
        "for (const require of a) require()",
        "typeof require === 'undefined'",
        "this.constructor('x')",
        "a.constructor('x')",
        "class A { m() { return this.constructor } }",
        "(() => {}).name",
        "a.constructor === b.constructor && a.constructor.name",
        "a[b.constructor].constructor",
        "'a.constructor.constructor'",
        "eval: for (;;) break eval",
    ],
)
def test_not_banned(source):
    assert isinstance(parse(source), Script)


@pytest.mark.requirement("PAR-024")
def test_absent_globals_are_reported_once_with_what_to_use():
    [warning] = parse("const r = await fetch('x');\nawait fetch('y')").diagnostics
    assert (warning.code, warning.severity, warning.line, warning.column) == (
        "absent_global",
        Severity.WARNING,
        1,
        17,
    )
    assert ABSENT_GLOBALS["fetch"] in warning.message
    assert [d.details["identifier"] for d in parse("process.env; globalThis.setInterval(f); window.x").diagnostics] == [
        "process",
        "setInterval",
        "window",
    ]
    for fine in ("typeof fetch", "globalThis.fetch && 1", "o.fetch()", "const fetch = f; fetch()", "'fetch'"):
        assert codes(parse(fine)) == [], fine


@pytest.mark.requirement("PAR-024")
@pytest.mark.parametrize("name", sorted(ABSENT_GLOBALS))
def test_every_absent_global_has_advice(name):
    advice = ABSENT_GLOBALS[name]
    assert advice.endswith(".")
    if name not in BANNED_IDENTIFIERS:
        assert codes(parse(f"{name}.x")) == ["absent_global"]


# ── execution mode ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("PAR-040", "PAR-041", "PAR-042", "PAR-043", "PAR-044", "PAR-045", "PAR-046")
@pytest.mark.parametrize(("source", "mode", "result"), MODES)
def test_mode(source, mode, result):
    script = parse(source)
    assert str(script.mode) == mode
    found = None if script.result_range is None else script.source[slice(*script.result_range)]
    assert found == result


@pytest.mark.requirement("PAR-047")
def test_scripts_that_do_nothing_say_so():
    for source in ("", " \n", "// a\n/* b */", "\ufeff"):
        [found] = parse(source).diagnostics
        assert (found.code, found.severity) == ("empty_script", Severity.INFO)
    for source in (
        "async function main() { await tools.x() }",
        "const limit = 3\nconst main = async () => { await tools.x(limit) }",
        "function a() { b() }\nfunction b() { a() }",
    ):
        [found] = parse(source).diagnostics
        assert found.code == "never_called"
        assert found.line == source.count("\n") + 1
    for source in ("function f() {}\nf()", "const x = f(); function g() {}", "const x = 1", "const f = () => 1; f"):
        assert codes(parse(source)) == []


# ── tools ────────────────────────────────────────────────────────────────────────────────────────────────────────────

UNKNOWN = [
    ("await tools.serch()", "serch", ["search"], 7),
    ("tools['serch']()", "serch", ["search"], 1),
    ("tools[`serch`]()", "serch", ["search"], 1),
    ("tools?.serch()", "serch", ["search"], 1),
    ("(tools).serch()", "serch", ["search"], 2),
    ("tools.serch`x`", "serch", ["search"], 1),
    ("tools.list_users({})", "list_users", ["listUsers"], 1),
    ("tools.fs.raed({})", "fs.raed", ["fs.read", "fs.write"], 1),
    ("tools.read({})", "read", ["fs.read"], 1),
    ("tools.fs()", "fs", ["fs.read", "fs.write"], 1),
    ("tools.constructor('x')", "constructor", [], 1),
    ("tools.search.foo()", "search.foo", ["search"], 1),
    ("new tools.serch()", "serch", ["search"], 5),
    ("new (tools.serch)({})", "serch", ["search"], 6),
    ("new tools['serch']", "serch", ["search"], 5),
    ("const A = tools.serch; new A()", "serch", ["search"], 28),
    ("new (tools.serch())()", "serch", ["search"], 6),
    ("new (class { x = tools.serch() })", "serch", ["search"], 18),
    ("tools.$serch('x')", "$serch", ["search"], 1),
    ("const {serch} = tools; serch()", "serch", ["search"], 24),
    ("const {serch: s} = tools; s()", "serch", ["search"], 27),
    ("const {fs: {raed}} = tools; raed()", "fs.raed", ["fs.read", "fs.write"], 29),
    ("const fs = tools.fs; fs.raed()", "fs.raed", ["fs.read", "fs.write"], 22),
    ("const t = tools; const {serch} = t; serch()", "serch", ["search"], 37),
    ("f(); const f = () => serch(); const {serch} = tools", "serch", ["search"], 22),
    ("globalThis.tools.serch()", "serch", ["search"], 1),
    ("a.map(async x => (await tools.serch(x)).y)", "serch", ["search"], 25),
]


@pytest.mark.requirement("PAR-050")
@pytest.mark.parametrize(("source", "name", "suggestions", "column"), UNKNOWN)
def test_unknown_tools_are_found_before_anything_runs(source, name, suggestions, column):
    error = refusal(source, TOOLS)
    assert type(error) is ToolNotFoundError
    assert error.details["tool"] == name
    assert error.details["suggestions"][: len(suggestions)] == suggestions
    assert (error.line, error.column) == (1, column)
    assert error.details["source_line"] == source
    assert ("did you mean `" in error.message) == bool(error.details["suggestions"])
    parse(source)  # without the names nothing is checked


@pytest.mark.requirement("PAR-050")
def test_without_a_near_miss_the_message_names_what_there_is():
    assert "`fs.read`, `fs.write`, `listUsers`, `search`" in refusal("tools.zzz()", TOOLS).message
    assert "no tool is registered" in refusal("tools.zzz()", frozenset()).message
    many = frozenset(f"q{n}" for n in range(30))
    assert "and 20 more" in refusal("tools.zzz()", many).message


@pytest.mark.requirement("PAR-051")
@pytest.mark.parametrize(
    "source",
    [
        "tools.search(); tools['fs.read'](); tools.fs.write()",
        "tools.search.call(null, {}); tools.fs.read.bind(null)()",
        "tools[name]()",
        "tools.nope",
        "Object.keys(tools).map(k => tools[k]())",
        "function f(tools) { tools.nope() }",
        "const tools = {nope() {}}; tools.nope()",
        "{ let tools = o; tools.nope() }",
        "for (const tools of a) tools.nope()",
        "try {} catch (tools) { tools.nope() }",
        "class tools { static nope() {} }\ntools.nope()",
        "const {nope} = tools; { const nope = f; nope() }",
        "const {nope = f} = tools; nope()",
        "let {nope} = tools; nope = f; nope()",
        "o.tools.nope()",
        "'tools.nope()'",
    ],
)
def test_what_is_no_call_of_an_unknown_tool(source):
    assert "unknown_tool" not in codes(parse(source, TOOLS))


@pytest.mark.requirement("PAR-052")
@pytest.mark.parametrize(
    "source",
    [
        "tools.nope?.()",
        "if (tools.nope) await tools.nope()",
        "if ('nope' in tools) tools.nope()",
        "typeof tools.nope === 'function' ? tools.nope() : 1",
        "tools.nope && tools.nope()",
        "if (!tools.nope) { return }\ntools.nope()",
        "if (tools.nope !== undefined) tools.nope()",
        "tools.nope ? tools.nope.x() : 1",
    ],
)
def test_a_script_may_ask_first(source):
    warnings = [d for d in parse(source, TOOLS).diagnostics if d.code == "unknown_tool"]
    assert len(warnings) == 1
    assert warnings[0].severity == Severity.WARNING
    assert "nope" in warnings[0].message


NESTED = frozenset({"add", "fs.read", "fs.get-item", "get-item", "get-item-by-id", "a.b.c"})


@pytest.mark.requirement("PAR-055")
@pytest.mark.parametrize(
    "source",
    [
        "tools.fs.raed()",
        "tools['fs'].raed()",
        "tools['fs']['raed']()",
        "tools[`fs`].raed()",
        "tools?.fs.raed()",
        "(tools.fs).raed()",
        "globalThis.tools.fs.raed()",
        "const {fs} = tools; fs.raed()",
        "const {fs: {raed}} = tools; raed()",
        "const {raed} = tools.fs; raed()",
        "const f = tools.fs; const g = f; g.raed()",
        "const t = tools; t['fs'].raed()",
        "tools.fs.read({a: tools.fs.raed()})",
        "tools['fs.raed']()",
    ],
)
def test_namespaces_are_followed(source):
    error = refusal(source, NESTED)
    assert (error.details["tool"], error.details["suggestions"]) == ("fs.raed", ["fs.read"])


@pytest.mark.requirement("PAR-055")
@pytest.mark.parametrize(
    ("source", "right"),
    [
        ("tools.get-item({a: 1})", 'tools["get-item"](…)'),
        ("await tools.get-item({a: 1})", 'tools["get-item"](…)'),
        ("const x = await tools.get-item-by-id()", 'tools["get-item-by-id"](…)'),
        ("return tools.fs.get-item()", 'tools.fs["get-item"](…)'),
        ("const f = tools.fs; f.get-item()", 'tools.fs["get-item"](…)'),
    ],
)
def test_a_dash_in_a_tools_name_is_a_subtraction(source, right):
    error = refusal(source, NESTED)
    assert "is a subtraction to JavaScript" in error.message
    assert f"write `{right}`" in error.message
    assert parse(source).references == ()


@pytest.mark.requirement("PAR-051", "PAR-055")
@pytest.mark.parametrize(
    "source",
    [
        "tools['get-item'](); tools.fs['get-item'](); tools['fs.get-item'](); tools['a.b'].c(); tools.a['b.c']()",
        "tools.get - item",
        "tools.other-thing()",
        "x - tools.get-item",
        "tools.get - (item())",
        "tools.get - o.item()",
        "tools.get + item()",
        "tools.add.name.trim(); tools.fs.read.toString()",
    ],
)
def test_what_is_right_or_somebody_elses_business(source):
    assert parse(source, NESTED).diagnostics == ()


@pytest.mark.requirement("PAR-055")
def test_suggestions_show_what_to_write():
    assert 'did you mean `tools["get-item"]`' in refusal("tools.getItem()", NESTED).message
    assert refusal("tools.fs()", NESTED).details["suggestions"] == ["fs.get-item", "fs.read"]
    assert refusal("tools.a.b()", NESTED).details["suggestions"] == ["a.b.c"]
    assert refusal("tools.fs.read.now()", NESTED).details["tool"] == "fs.read.now"
    assert '`tools["get-item"]`' in refusal("tools.zzzzz()", NESTED).message


@pytest.mark.requirement("PAR-053")
@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("se\u0430rch", r"se\u{430}rch"),
        ("search\u200b", r"search\u{200b}"),
        ("\ufb01le", r"\u{fb01}le"),
        ("\\ud800", r"\u{d800}"),
    ],
)
def test_names_are_compared_as_they_are(name, shown):
    error = refusal(f"tools['{name}']()", TOOLS | {"file"})
    assert type(error) is ToolNotFoundError
    assert f"`{shown}`" in error.message
    json.dumps(error.info().model_dump(mode="json")).encode("ascii")
    parse(f"tools['{name}']()")


@pytest.mark.requirement("PAR-054")
def test_references_name_each_call_and_its_place():
    script = parse(
        "const {search: s} = tools\nawait tools.fs.read.call(null)\ns(); tools.x?.(); tools.y; tools['a b']()"
    )
    assert [(r.name, r.line, r.column) for r in script.references] == [
        ("fs.read", 2, 7),
        ("search", 3, 1),
        ("x", 3, 6),
        ("a b", 3, 28),
    ]


# ── the parser itself ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("PAR-060")
def test_the_hash_is_that_of_the_source():
    assert parse("\ufeff'é'").sha256 == hashlib.sha256("'é'".encode()).hexdigest()


@pytest.mark.requirement("PAR-061")
def test_results_are_cached_whatever_the_place():
    parser = Parser(cache_size=2)
    first, second = parser.parse(block("1")), parser.parse(block("1", start=40))
    assert parser.cache_info()[:2] == (1, 1)
    assert (first.span.start, second.span.start) == (0, 40)
    assert second.source_span.start == 52
    parser.parse(block("1", '<tool-calls id="a">'))
    assert parser.cache_info().misses == 2
    parser.parse(block("1"))
    parser.parse(block("2"))  # evicts the one with the id
    parser.parse(block("1"))
    assert parser.cache_info() == (3, 3, 2, 2)
    assert parser.parse(block("1", '<tool-calls id="a">')).attributes.id == "a"
    assert parser.cache_info().misses == 4


@pytest.mark.requirement("PAR-061")
def test_failures_are_cached_and_each_is_a_new_exception():
    parser = Parser()
    errors = []
    for _ in range(2):
        with pytest.raises(ScriptSyntaxError) as caught:
            parser.parse(block("f("))
        errors.append(caught.value)
    assert parser.cache_info()[:2] == (1, 1)
    assert errors[0] is not errors[1]
    assert errors[0].info() == errors[1].info()
    errors[0].details["mine"] = 1
    with pytest.raises(ScriptSyntaxError) as caught:
        parser.parse(block("f("))
    assert "mine" not in caught.value.details


@pytest.mark.requirement("PAR-061")
def test_the_tools_are_no_part_of_the_cache():
    parser = Parser()
    with pytest.raises(ToolNotFoundError):
        parser.parse(block("tools.x()"), tools={"y"})
    parser.parse(block("tools.x()"), tools={"x"})
    assert parser.cache_info()[:2] == (1, 1)


@pytest.mark.requirement("PAR-061")
def test_the_size_of_the_cache():
    assert Parser().cache_info().maxsize == 100
    parser = Parser(cache_size=0)
    parser.parse_source("1")
    parser.parse_source("1")
    assert parser.cache_info() == (0, 2, 0, 0)
    with pytest.raises(UsageError, match="cache_size"):
        Parser(cache_size=-1)


@pytest.mark.requirement("PAR-062")
def test_a_batch_has_a_result_for_each_block():
    blocks = [
        block("1"),
        block("f("),
        block("1", '<tool-calls x="1">'),
        block("eval(1)"),
        block("tools.x()"),
        block("'" + "x" * 20_000 + "'"),
        block("2"),
    ]
    results = Parser().parse_many(blocks, tools=TOOLS)
    assert [type(result) for result in results] == [
        Script,
        ScriptSyntaxError,
        BlockAttributeError,
        BannedIdentifierError,
        ToolNotFoundError,
        ScriptTooLargeError,
        Script,
    ]


@pytest.mark.requirement("PAR-063")
def test_diagnose_lists_everything_at_once():
    source = "fetch('x')\neval('1')\ntools.serch()\n  require('fs'); рath\ntools.z?.()"
    found = Parser().diagnose(block(source, '<tool-calls approved="true">'), tools=TOOLS)
    assert [(d.code, d.severity.value, d.line, d.column) for d in found] == [
        ("BlockAttributeError", "error", None, None),
        ("absent_global", "warning", 1, 1),
        ("BannedIdentifierError", "error", 2, 1),
        ("ToolNotFoundError", "error", 3, 1),
        ("BannedIdentifierError", "error", 4, 3),
        ("lookalike_identifier", "warning", 4, 18),
        ("unknown_tool", "warning", 5, 1),
    ]
    assert Parser().diagnose(block("1")) == []
    [large] = Parser(limits=Limits(script_bytes=2)).diagnose(block("123"))
    assert large.code == "ScriptTooLargeError"


@pytest.mark.requirement("PAR-063")
@pytest.mark.parametrize("source", ["f(", "eval(1)", "a\0", "tools.nope()", "<!--", "/*\u202e*/", "import 'x'"])
def test_diagnose_and_parse_agree(source):
    parser = Parser()
    error = parser.parse_many([block(source)], tools=TOOLS)[0]
    assert isinstance(error, ScriptError | ToolNotFoundError)
    first = next(d for d in parser.diagnose(block(source), tools=TOOLS) if d.severity == Severity.ERROR)
    assert (first.code, first.message, first.line, first.column) == (
        type(error).__name__,
        error.message,
        error.line,
        error.column,
    )
    assert first.details == error.details
