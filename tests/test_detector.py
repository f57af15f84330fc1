"""What the detector finds: tags, Markdown, the helpers."""

from __future__ import annotations

import pytest

from harness.detector import Detector, detect, extract_scripts, has_blocks, merge_text, validate
from harness.errors import UsageError
from harness.limits import Limits
from harness.model import Block, Diagnostic, Ignored, Segment, Text, Unclosed
from harness.syntax import grammar

SMALL = Limits(held_text=256)


def run(text: str, size: int | None = None, **options) -> tuple[list[Segment], tuple[Diagnostic, ...]]:
    detector = Detector(**options)
    segments: list[Segment] = []
    for at in range(0, len(text), size or len(text) or 1):
        segments += detector.feed(text[at : at + (size or len(text))])
    segments += detector.finish()
    return merge_text(segments), detector.diagnostics


def found(text: str, **options) -> list[tuple[str, str]]:
    """Kind and text of each segment; checks on the way what holds for every text."""
    whole = run(text, **options)
    assert run(text, 1, **options) == whole
    assert run(text, 3, **options) == whole
    assert "".join(segment.text for segment in whole[0]) == text
    return [(segment.kind, segment.text) for segment in whole[0]]


def scripts(text: str, **options) -> list[str]:
    found(text, **options)
    return [segment.source for segment in run(text, **options)[0] if isinstance(segment, Block)]


def codes(text: str, **options) -> list[str]:
    found(text, **options)
    return [diagnostic.code for diagnostic in run(text, **options)[1]]


def reasons(text: str, **options) -> list[str]:
    found(text, **options)
    return [segment.reason for segment in run(text, **options)[0] if isinstance(segment, Ignored)]


# ── tags ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("DET-001")
@pytest.mark.requirement("DET-003")
def test_text_and_blocks_in_order():
    assert found("a <tool-calls>1</tool-calls> b <tool-calls>\n2\n</tool-calls>") == [
        ("text", "a "),
        ("block", "<tool-calls>1</tool-calls>"),
        ("text", " b "),
        ("block", "<tool-calls>\n2\n</tool-calls>"),
    ]


@pytest.mark.requirement("DET-001")
def test_spans_count_characters_and_lines():
    text = "\ufeffe\u0301😀\r\n\rx <tool-calls id='a'>\r\n'😀'\r\n</tool-calls> y"
    _, block, after = detect(text)
    assert isinstance(block, Block)
    assert text[block.span.start : block.span.end] == block.text
    assert text[block.source_span.start : block.source_span.end] == block.source == "\r\n'😀'\r\n"
    assert block.opening_tag == "<tool-calls id='a'>"
    assert (block.span.line, block.span.column, block.span.end_line, block.span.end_column) == (3, 3, 5, 14)
    assert (block.source_span.line, block.source_span.column) == (3, 22)
    assert (block.source_span.end_line, block.source_span.end_column) == (5, 1)
    assert (after.span.line, after.span.column, after.span.end_column) == (5, 14, 16)


@pytest.mark.requirement("DET-010")
@pytest.mark.parametrize(
    "opening",
    [
        "<tool-calls>",
        "<tool-calls >",
        "<tool-calls\n\tid = \"a>b\" lang='</x>'>",
        "<tool-calls\r\n>",
        "<tool-calls it's>",
    ],
)
@pytest.mark.parametrize("closing", ["</tool-calls>", "</tool-calls >", "</tool-calls\t\r\n>"])
def test_forms_of_the_tags(opening, closing):
    text = f"{opening}return 1{closing}"
    assert found(text) == [("block", text)]
    block = detect(text)[0]
    assert isinstance(block, Block)
    assert (block.opening_tag, block.source) == (opening, "return 1")


@pytest.mark.requirement("DET-011")
@pytest.mark.parametrize(
    "text",
    [
        "<tool-calls-x>1</tool-calls-x>",
        "<tool-callsx>",
        "&lt;tool-calls&gt;1&lt;/tool-calls&gt;",
        "<tool-calls",
        "</tool-calls",
        "< tool-calls>",
        "<tool-call>1</tool-call>",
        "a < b <",
    ],
)
def test_what_is_no_tag(text):
    assert found(text) == [("text", text)]
    assert codes(text) == []


@pytest.mark.requirement("DET-012")
def test_tags_are_case_sensitive():
    text = "<Tool-Calls>1</TOOL-CALLS>\n<tool-calls>1\n</Tool-calls>\n</tool-calls>"
    assert scripts(text) == ["1\n</Tool-calls>\n"]
    assert [(notice.code, notice.line, notice.column) for notice in run(text)[1]] == [
        ("tag_case", 1, 1),
        ("tag_case", 1, 14),
        ("tag_case", 3, 1),
    ]


@pytest.mark.requirement("DET-013")
@pytest.mark.parametrize("size", [20, 1000])
def test_a_quote_that_never_closes_does_not_turn_the_script_into_prose(size):
    # Were the tag taken for text, the one in the string would be an opening tag.
    text = f'<tool-calls id=\'a>{"x" * size}; s = "<tool-calls>evil()"</tool-calls>'
    assert scripts(text, limits=SMALL) == [text[18:-13]]


@pytest.mark.requirement("DET-013")
def test_an_angle_bracket_does_not_end_a_tag():
    text = 'use <tool-calls to call\n\n<tool-calls>await a("</tool-calls><tool-calls>evil()")</tool-calls>'
    assert [segment.opening_tag for segment in detect(text) if isinstance(segment, Block)] == [
        "<tool-calls to call\n\n<tool-calls>"
    ]


@pytest.mark.requirement("DET-014")
def test_an_opening_tag_without_an_end():
    long = f"<tool-calls {'x' * 300} <tool-calls>1</tool-calls>"
    assert scripts(long, limits=SMALL) == ["1"]
    assert codes(long, limits=SMALL) == ["opening_tag_too_long"]
    assert found("a <tool-calls id='x") == [("text", "a "), ("unclosed", "<tool-calls id='x")]


@pytest.mark.requirement("DET-015")
@pytest.mark.parametrize("tag", ["<tool-calls/>", "<tool-calls />", "<tool-calls id='>'/>"])
def test_self_closed(tag):
    segments, diagnostics = run(f"a{tag}b")
    block = segments[1]
    assert isinstance(block, Block)
    assert (block.text, block.opening_tag, block.source, block.self_closed) == (tag, tag, "", True)
    assert block.source_span.start == block.source_span.end == block.span.end
    assert [notice.code for notice in diagnostics] == ["self_closed_block"]
    assert found(f"a{tag}b") == [("text", "a"), ("block", tag), ("text", "b")]


@pytest.mark.requirement("DET-015")
@pytest.mark.parametrize("inside", ["", " \n\t", "<![CDATA[ ]]>"])
def test_empty_blocks(inside):
    text = f"<tool-calls>{inside}</tool-calls>"
    assert codes(text) == ["empty_block"]
    assert [segment.self_closed for segment in detect(text) if isinstance(segment, Block)] == [False]


@pytest.mark.requirement("DET-016")
def test_stray_closing_tags():
    text = "</tool-calls>x<tool-calls>1</tool-calls></tool-calls\n>\n`</tool-calls>`\n```\n</tool-calls>\n```\n"
    assert scripts(text) == ["1"]
    assert [(notice.code, notice.line, notice.column) for notice in run(text)[1]] == [
        ("stray_closing_tag", 1, 1),
        ("stray_closing_tag", 1, 41),
    ]


@pytest.mark.requirement("DET-017")
def test_nested_tags():
    text = "<tool-calls><tool-calls>1</tool-calls></tool-calls>"
    assert scripts(text) == ["<tool-calls>1"]
    assert codes(text) == ["nested_opening_tag", "stray_closing_tag"]
    assert codes("<tool-calls>f(`<tool-calls>`, '<tool-calls>')</tool-calls>") == []


@pytest.mark.requirement("DET-018")
@pytest.mark.parametrize(
    "script", ["1", "'</tool-calls>", "// </tool-calls> x", "<tool-calls>1", "`${'", "</tool-calls", ""]
)
def test_unclosed(script):
    text = f"a <tool-calls>{script}"
    assert found(text) == [("text", "a "), ("unclosed", text[2:])]
    assert codes(text)[-1] == "unclosed_block"
    assert codes(text).count("unclosed_block") == 1


# ── the closing tag ──────────────────────────────────────────────────────────────────────────────────────────────────

EVIL = "</tool-calls><tool-calls>evil()</tool-calls>"


@pytest.mark.requirement("DET-020")
@pytest.mark.parametrize(
    "script",
    [
        f'f("{EVIL}")',
        f"f('{EVIL}')",
        f"f('\\'{EVIL}')",
        f"f('\\\n{EVIL}')",
        f"f(`{EVIL}`)",
        f"f(`${{a}}{EVIL}`)",
        f"f(`${{'{EVIL}'}}`)",
        f"f(`${{`${{b}}{EVIL}`}}`)",
        f"/* {EVIL} */ 1",
        "/[</tool-calls>]/.test(a)",
        "a = { b: /'/ }; c = \"" + EVIL + '"',
        f"if (a) /'/.test(b); c = '{EVIL}'",
        f"a = b / 2; c = '{EVIL}' / 1",
        f"x = class {{}} / 2 / '{EVIL}'",
    ],
)
def test_quoted_tags_are_part_of_the_script(script):
    text = f"<tool-calls>\n{script}\n</tool-calls> prose"
    assert scripts(text) == [f"\n{script}\n"]
    assert codes(text) == []


@pytest.mark.requirement("DET-020")
@pytest.mark.parametrize("script", [f"f('{EVIL}')", f'a = "{EVIL}"', f"`{EVIL}`", f"/* {EVIL} */"])
@pytest.mark.parametrize("tag", ["<tool-calls>", "<tool-calls id='a>", "<tool-calls a=b>", "<tool-calls\nit's>"])
@pytest.mark.parametrize("lead", ["", "it's\n", "a / b\n", "x = '\n", "`${a}`\n", "} ) ]\n"])
def test_quoted_text_never_is_a_script_of_its_own(script, tag, lead):
    assert "evil()" not in scripts(f"{tag}{lead}{script}</tool-calls>\n")


@pytest.mark.requirement("DET-021")
@pytest.mark.parametrize("rest", ["", " ", "\t\n after", "\r\n", "\u2028x"])
@pytest.mark.parametrize("script", ["await f() // done", "// only", "f()\n  // it's", "1 <!-- x", "1\n--> x"])
def test_a_comment_can_end_the_script(script, rest):
    text = f"<tool-calls>{script}</tool-calls>{rest}"
    assert scripts(text) == [script]
    assert found(text)[1:] == ([("text", rest)] if rest else [])


@pytest.mark.requirement("DET-021")
@pytest.mark.parametrize(
    "script",
    [
        "// </tool-calls> goes on",
        "// </tool-calls><tool-calls>evil()</tool-calls> x",
        "f(\n// </tool-calls>\n)",
        "a b // </tool-calls>\n",
        "f({ // </tool-calls >\n})",
        "// </tool-calls\n>",
        "1 <!-- </tool-calls> x",
        "a\n--> </tool-calls> x",
    ],
)
def test_a_comment_that_goes_on_does_not_end_the_script(script):
    text = f"<tool-calls>{script}\n</tool-calls>"
    assert scripts(text) == [f"{script}\n"]
    assert set(codes(text)) == (set() if "calls\n>" in script else {"closing_tag_in_comment"})


@pytest.mark.requirement("DET-021")
def test_where_the_line_looks_like_a_comment_the_grammar_is_asked(monkeypatch):
    # As if the scanner had taken a division for a regular expression: `/ b /` and, behind it, `/` and code.
    from harness.detection import scanner

    monkeypatch.setattr(scanner, "VALUE", -1)
    text = f"<tool-calls>a / b // {EVIL} x\n</tool-calls>"
    assert [segment.source for segment in detect(text) if isinstance(segment, Block)] == [f"a / b // {EVIL} x\n"]


@pytest.mark.requirement("DET-021")
def test_addresses_in_strings_are_no_comments():
    assert scripts('<tool-calls>f("https://x")</tool-calls> and so on') == ['f("https://x")']


@pytest.mark.requirement("DET-021")
@pytest.mark.parametrize(
    "script",
    [
        'let foo\n/"/;// see "',
        'let foo\r/"/;// see "',
        'let foo\r\n/"/;// see "',
        'let\nfoo\r /"/ ;// "',
        'var a = 1, b\n/"/;// see "',
        "const y=1;let a=1;a// z\u2028 ++ /y//",
        'a=>{}\n/"/;// see "',
        'f(1)\u2029/"/;// see "',
        '1\r--> "',
        '1 /*\r*/ --> "',
        '1 <!-- "',
        "!>" * 3_000 + ' // "',
    ],
)
def test_a_tag_in_what_the_engine_takes_for_a_comment_does_not_close(script):
    text = f"<tool-calls>{script}{EVIL} x"
    assert [kind for kind, _ in found(text)] == ["unclosed"]


@pytest.mark.requirement("DET-021")
@pytest.mark.parametrize(
    "script",
    [
        'const x: string = "https://a.b"; x',  # no JavaScript
        'let foo\n/x/.test("https://a.b")',  # a slash that two readers could take for two things
        'f(1)\u2028g("https://a.b")',
        'f(a) // see "https://a.b"',
    ],
)
def test_in_doubt_what_looks_like_a_comment_is_one(script):
    assert not scripts(f"<tool-calls>{script}</tool-calls> x")


@pytest.mark.requirement("DET-021")
@pytest.mark.parametrize(
    "script",
    [
        'const u = "https://a.b"; u',
        "await f({url: 'https://a.b', part: a / b, of: x.y / 2})",
        "let foo\nfoo = 1\rawait f(`https://${host}/a/${b / 2}//c`)",
        "f(/a\\/\\/b{2}/g, '-->')",
        "g() /* https://a.b */",
        "const a = [1].map(x => `<!-- ${x} -->`); // done\nf('//', a)",
        "<![CDATA[f('https://a.b')]]>",
    ],
)
def test_marks_of_comments_in_literals_leave_the_tag_in_code(script):
    assert len(scripts(f"<tool-calls>{script}</tool-calls> and <tool-calls>1</tool-calls>")) == 2


@pytest.mark.requirement("DET-010")
@pytest.mark.parametrize("space", [" ", "\t", "\n", "\r\n", "\f", "\v"])
def test_both_tags_have_the_same_white_space(space):
    assert scripts(f"<tool-calls{space}>1</tool-calls{space}> x") == ["1"]
    assert codes(f"</tool-calls{space}>") == ["stray_closing_tag"]
    assert scripts(f"<tool-calls>1 // it's </tool-calls{space}>") == (
        ["1 // it's "] if space.strip(" \t\f\v") == "" else []
    )


@pytest.mark.requirement("DET-010")
@pytest.mark.parametrize("space", ["\xa0", "\x1c", "\u2028"])
def test_other_white_space_is_none_in_a_tag(space):
    assert scripts(f"<tool-calls{space}>1</tool-calls>") == []
    assert scripts(f"<tool-calls>1</tool-calls{space}> x") == []
    assert scripts(f"<think><tool-calls{space}></think><tool-calls>1</tool-calls>", skip_thinking=True) == ["1"]


@pytest.mark.requirement("DET-026")
def test_parsing_is_limited():
    # Each comment is a candidate, and the script does not parse before its last line.
    def text(count: int) -> str:
        return "<tool-calls>x =\n" + "// </tool-calls>\n" * count + "1 // </tool-calls>\n"

    assert len(scripts(text(5))) == 1
    assert run(text(300))[0][0].kind == "unclosed"
    good = "// x\n" * 60_000
    assert extract_scripts(f"<tool-calls>{good}// y</tool-calls>\n") == [f"{good}// y"]


@pytest.mark.requirement("DET-021")
@pytest.mark.parametrize("space", ["", " ", "\n", "\r\n "])
@pytest.mark.parametrize("size", [None, 1])
def test_the_line_before_a_tag_does_not_begin_in_the_tag(space, size):
    assert run(f"<tool-calls>a b '//'; </tool-calls{space}>\n", size)[0][0].kind == "unclosed"
    assert run(f"<tool-calls id='http://a'>a b </tool-calls{space}>\n", size)[0][0].kind == "block"


@pytest.mark.requirement("DET-026", "DET-007")
@pytest.mark.parametrize(
    "block",
    [
        "<tool-calls>a b\n" + "// </tool-calls>\n" * 80 + "</tool-calls>\n",
        "<tool-calls>" + "!>" * 40 + "//</tool-calls>\n</tool-calls>\n",
        "<tool-calls>a b\n" + "'//';</tool-calls>x\n" * 60 + "\n</tool-calls>\n",
        "<tool-calls>a" + "/a" * 300 + "//</tool-calls>\n",
        "<tool-calls>//</tool-calls>\n",
    ],
    ids=["comments", "errors", "marks", "slashes", "tiny"],
)
def test_parsing_is_limited_for_all_blocks_together(monkeypatch, block):
    parse_within, used = grammar.parse_within, []

    def counted(data, steps, **options):
        tree, left = parse_within(data, steps, **options)
        used.append(steps - left)
        return tree, left

    monkeypatch.setattr(grammar, "parse_within", counted)
    text = block * (60_000 // len(block))
    run(text)
    # What is free, what the text earned, and one step too far.
    assert sum(used) <= 500 + 0.08 * len(text) + 1
    assert 2 * len(used) <= 500 + 0.08 * len(text)


@pytest.mark.requirement("DET-026")
def test_what_one_block_used_up_the_next_one_earns_again():
    hostile = "<tool-calls>" + "!>" * 400 + "\n" + "// </tool-calls>\n" * 40 + "</tool-calls>\n"
    good = "<tool-calls>" + "f(1)\n" * 4_000 + "// </tool-calls>\n"
    assert [source[:4] for source in scripts(hostile * 4 + good)] == ["!>!>"] * 4 + ["f(1)"]


@pytest.mark.requirement("DET-029")
@pytest.mark.parametrize(
    ("script", "what", "place", "begins"),
    [
        ("return <div>hello</div></tool-calls>", "regular expression", (2, 24), (2, 19)),
        ("x = `a\nb\n</tool-calls>", "template literal", (4, 1), (2, 5)),
        ("`${a} b </tool-calls>", "template literal", (2, 9), (2, 5)),
        ("f('</tool-calls>", "string", (2, 4), (2, 3)),
        ("/* a\n * </tool-calls>", "comment", (3, 4), (2, 1)),
        ("/[/</tool-calls>", "regular expression", (2, 4), (2, 1)),
        ("// </tool-calls> x\n'</tool-calls>'", "string", (3, 2), (3, 1)),
        ("a < </tool-calls x</tool-calls>", "regular expression", (2, 19), (2, 6)),
    ],
)
def test_it_is_said_what_hides_the_closing_tag(script, what, place, begins):
    text = f"é<tool-calls>\n{script}\n"
    found(text)
    *_, notice, unclosed = run(text)[1]
    assert (notice.code, unclosed.code) == ("closing_tag_in_literal", "unclosed_block")
    assert (notice.line, notice.column) == place
    details = notice.details
    assert (details["literal"], details["from_line"], details["from_column"]) == (what, *begins)
    assert what in notice.message
    assert ("JSX" in notice.message) is (what == "regular expression")
    assert run(text, 1)[1] == run(text)[1]


@pytest.mark.requirement("DET-029")
@pytest.mark.parametrize(
    "script",
    ["1", "'a", "// </tool-calls> x", "</tool-calls", "'</tool-calls>'</tool-calls>", "(" * 10_001 + "</tool-calls>"],
)
def test_nothing_is_said_where_no_literal_hides_one(script):
    assert "closing_tag_in_literal" not in codes(f"<tool-calls>{script}")


@pytest.mark.requirement("DET-027")
@pytest.mark.parametrize(
    ("content", "source"),
    [
        ("<![CDATA[return 1]]>", "return 1"),
        (" \r\n<![CDATA[\nreturn a[b[0]]>c\n]]>\n", "\nreturn a[b[0]]>c\n"),
        ("<![CDATA[f(']]></tool-calls>')]]>", "f(']]></tool-calls>')"),
        ("<![CDATA[{} /'/.test(1) // it's ]]>", "{} /'/.test(1) // it's "),
        ("<![CDATA[return 1", "<![CDATA[return 1"),
        ("<![CDATA[]]>", ""),
        ("<![CDAT[1]]>", "<![CDAT[1]]>"),
        ("a <![CDATA[1]]>", "a <![CDATA[1]]>"),
    ],
)
def test_cdata(content, source):
    text = f"<tool-calls>{content}</tool-calls>\n"
    assert scripts(text) == [source]
    block = detect(text)[0]
    assert isinstance(block, Block)
    assert text[block.source_span.start : block.source_span.end] == source


@pytest.mark.requirement("DET-028")
def test_a_script_that_is_too_long_still_ends():
    long = "const text = '</tool-calls>'\n" * 1_000
    assert scripts(f"<tool-calls>{long}</tool-calls> b", limits=Limits(script_bytes=100)) == [long]


# ── Markdown ─────────────────────────────────────────────────────────────────────────────────────────────────────────

TAGGED = "<tool-calls>1</tool-calls>"


@pytest.mark.requirement("DET-030")
@pytest.mark.requirement("DET-038")
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("```\n", "```\n"),
        ("```js\n", "```\n"),
        ("~~~ `x`\n", "~~~\n"),
        ("````\n```\n", "`````  \n"),
        ("```\n~~~\n", "```\n"),
        ("```\n``` x\n", "```\n"),
        ("          ```\n", "          ```\n"),
        ("- ```\n  ", "  ```\n"),
        ("> 1. ```\n> ", "> ```\n"),
        ("* > - ~~~\n", "~~~\n"),
        ("```\n    ```\n", "   ```\n"),
        ("```\n> ```\n", "```\n"),
        ("```\n- ```\n", "```\n"),
        ("\t```\r\n", "```\r"),
        ("\ufeff```\n", "```\n"),
        ("text\n```\n", "```\n"),
    ],
)
def test_fences(before, after):
    text = f"{before}{TAGGED}\n{after}<tool-calls>2</tool-calls>"
    assert scripts(text) == ["2"]
    assert reasons(text) == ["fenced_code"]
    assert [(notice.code, notice.details["reason"]) for notice in run(text)[1]] == [("tag_in_code", "fenced_code")]
    assert run(text)[0][1].text == "<tool-calls>"


@pytest.mark.requirement("DET-030")
@pytest.mark.parametrize(
    "text", [f"``` {TAGGED}\n```\n", f"~~~ {TAGGED}\n~~~\n", f"```\n{TAGGED}", "~~~\n<tool-calls\n"]
)
def test_in_a_fence_all_is_ignored(text):
    assert reasons(text) == ["fenced_code"]
    assert scripts(text) == []


@pytest.mark.requirement("DET-030")
@pytest.mark.parametrize("before", ["``` a ` b ```\n\n", "``\n\n", "-```-\n", "~~\n", "a ~~~\n", "1.~~~\n"])
def test_what_is_no_fence(before):
    assert scripts(f"{before}{TAGGED}") == ["1"]


INDENTS = ["    ", "\t", "a\n\n    ", "  \t", "a\n\n      b\n    ", "# a\n    ", "***\n    ", "a\n===\n    "]
MORE_INDENTS = [
    "    ```a```",
    ">     ``` a ``` ",
    "1. ***\n\t",
    "```\n```\n    ",
    "- a\n\n    ",
    "-     ",
    ">     ",
    "1.      ",
    "    - ",
    "a\r\n\r\n    ",
    "\n\n\t",
]


@pytest.mark.requirement("DET-031")
@pytest.mark.parametrize("before", [*INDENTS, *MORE_INDENTS])
def test_indented_code(before):
    text = f"{before}{TAGGED}\n\n<tool-calls>2</tool-calls>"
    assert reasons(text) == ["indented_code"]
    assert scripts(text) == ["2"]


@pytest.mark.requirement("DET-031")
@pytest.mark.parametrize(
    "before", ["   ", "a\n    ", "1. a\n    ", "a\n\n   ", "- ", "  - a\n      ", "> a\n>    ", "a     "]
)
def test_what_is_no_indented_code(before):
    assert scripts(f"{before}{TAGGED}") == ["1"]


@pytest.mark.requirement("DET-032")
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("`", "`"),
        ("``a ` b", "``"),
        ("`` ` ``` ` ", ""),
        ("a ` b ", ""),
        ("`a` `", ""),
        ("\\` a ` ", "`"),
        ("\\`", ""),
        ("\\\\`", "`"),
        ("``` ", " ` \n"),
    ],
)
def test_inline_code(before, after):
    text = f"{before}{TAGGED}{after}\n\n<tool-calls>2</tool-calls>"
    assert reasons(text) == ["inline_code"]
    assert scripts(text) == ["2"]


@pytest.mark.requirement("DET-032")
@pytest.mark.parametrize(
    "before", ["`a` ", "``a ` b`` ", "`<tool-calls>` ", "a ` b\n", "`a`\n", "\\`a\\` ", "``` x ``` "]
)
def test_behind_inline_code(before):
    assert scripts(f"{before}{TAGGED}") == ["1"]


@pytest.mark.requirement("DET-032")
def test_a_mention_does_not_hide_what_follows():
    text = "Use `<tool-calls>` or `<tool-calls …`, it's easy:\n\n<tool-calls>2</tool-calls>"
    assert scripts(text) == ["2"]
    assert reasons(text) == ["inline_code", "inline_code"]


@pytest.mark.requirement("DET-033")
def test_inline_code_over_lines():
    assert scripts(f"a `b\n{TAGGED} c` d") == []
    assert reasons(f"a `b\n{TAGGED} c` d") == ["inline_code"]
    assert scripts(f"a `b\n{TAGGED} c\n\n` d") == ["1"]
    assert scripts(f"a `b\n\n{TAGGED} c` d") == ["1"]
    assert scripts(f"a `b\nc` d\n{TAGGED} ") == ["1"]
    assert scripts(f"a `b\n{TAGGED} {'c' * 300}", limits=SMALL) == []  # it cannot be seen whether they close


@pytest.mark.requirement("DET-033")
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("``a`\n", "`"),
        ("`` a `\nb ", "\\`"),
        ("```a``\n", "``"),
        ("a `\r\n", "\r\n`"),
        ("a `\r", "\r`"),
        ("a `\n", "\n    >\n`"),
    ],
)
def test_backticks_that_nothing_closes_do_not_open_those_behind_them(before, after):
    assert scripts(f"{before}{TAGGED}{after}") == []
    assert reasons(f"{before}{TAGGED}{after}") == ["inline_code"]


@pytest.mark.requirement("DET-033")
@pytest.mark.parametrize(
    "line", ["#b", "####### b", "    # b", "**", "* ", "=*=", "    ***", "5.     b", "    ~~~\n    ~~~", "    >", "\tb"]
)
def test_a_line_that_only_looks_like_one_that_ends_a_paragraph(line):
    assert scripts(f"a `\n{line}\n{TAGGED} `") == []


@pytest.mark.requirement("DET-033")
@pytest.mark.parametrize("line", ["===", "- b", "> b", "<!-- b -->"])
def test_a_line_that_may_end_a_paragraph(line):
    assert scripts(f"a `\n{line} \n`\n{TAGGED}`") == []
    assert scripts(f"a `b`\n{line} \n{TAGGED}`") == ["1"]


@pytest.mark.requirement("DET-033")
@pytest.mark.parametrize("line", ["# b", "***", "- - -", "> # b", "   ", "> ", "```\n```", "~~~\n`\n~~~"])
def test_a_line_that_ends_a_paragraph(line):
    assert scripts(f"a `\n{line}\n{TAGGED} `") == ["1"]


@pytest.mark.requirement("DET-033")
def test_many_backticks_that_nothing_closes_hide_what_follows():
    many = " a ".join("`" * length for length in range(40, 1, -1))
    assert scripts(f"{many}\nb {TAGGED} `") == []
    assert scripts(f"{many}\n\nb {TAGGED} `") == ["1"]


@pytest.mark.requirement("DET-034")
def test_fences_can_be_accepted():
    text = f"```html\n{TAGGED}\n```\n\n    {TAGGED}\n\n`{TAGGED}`\n~~~\n<tool-calls>\n`\n~~~\n`\n</tool-calls>\n~~~\n{TAGGED}"
    assert scripts(text, accept_fenced=True) == ["1", "\n`\n~~~\n`\n", "1"]
    assert reasons(text, accept_fenced=True) == ["indented_code", "inline_code"]
    assert scripts(f"```\n{TAGGED}\n```\n```\n</tool-calls>", accept_fenced=True) == ["1"]


@pytest.mark.requirement("DET-035")
def test_a_script_has_no_effect_on_markdown():
    text = (
        "<tool-calls>\n`\n~~~\n`\n/* ``` */\n    \n</tool-calls> <tool-calls>2</tool-calls>\n<tool-calls>3</tool-calls>"
    )
    assert scripts(text)[1:] == ["2", "3"]
    assert scripts(f"{TAGGED}\n    {TAGGED}") == ["1", "1"]
    assert scripts(f"{TAGGED} ` {TAGGED}\n{TAGGED}") == ["1", "1"]


@pytest.mark.requirement("DET-036")
@pytest.mark.parametrize("before", ["    ", "a ` b ", "`", "\t\t"])
def test_no_quoted_tag_counts_in_a_script_that_is_ignored(before):
    text = f'{before}<tool-calls>\nconst s = "{EVIL}"\n</tool-calls>\n\n<tool-calls>2</tool-calls>'
    assert scripts(text) == ["2"]
    assert len(reasons(text)) == 1


@pytest.mark.requirement("DET-037")
def test_thinking():
    text = f"<think>it's ``` `\n{TAGGED} <tool-calls </think>\n<tool-calls>2</tool-calls>`<think>` <tool-calls>3</tool-calls>"
    assert scripts(text, skip_thinking=True) == ["2", "3"]
    assert reasons(text, skip_thinking=True) == ["thinking", "thinking"]
    assert scripts(f"<think>{TAGGED}", skip_thinking=True) == []
    assert scripts(f"<think>a</think>```\n{TAGGED}\n```\n{TAGGED}", skip_thinking=True) == ["1"]
    assert scripts(f"<think>{TAGGED}</think>") == ["1"]


# ── the object ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("DET-005")
def test_finish_is_final():
    detector = Detector()
    assert detector.feed("a <tool-") == detect("a ")
    (held,) = detector.finish()
    assert held.text == "<tool-"
    assert detector.finish() == []
    with pytest.raises(UsageError, match="new Detector"):
        detector.feed("b")


@pytest.mark.requirement("DET-005")
def test_bytes_are_refused():
    with pytest.raises(UsageError, match="not bytes; decode"):
        Detector().feed(b"a")  # type: ignore[arg-type] # that is the point


@pytest.mark.requirement("DET-006")
def test_a_text_that_is_too_long():
    detector = Detector(limits=Limits(text_bytes=10))
    assert [segment.text for segment in detector.feed("é" * 4)] == ["é" * 4]
    with pytest.raises(UsageError, match=r"longer than 10 bytes.*text_bytes") as caught:
        detector.feed("abc")
    assert caught.value.details == {"limit": "text_bytes", "limit_bytes": 10}
    detector.feed("a<")
    assert [segment.text for segment in detector.finish()] == ["<"]
    assert detect("a" * 10, limits=Limits(text_bytes=10))
    assert Detector().feed("\ud83d") == detect("\ud83d")  # half a surrogate pair is for the parser to judge


@pytest.mark.requirement("DET-003")
def test_text_is_given_out_as_it_comes():
    detector = Detector()
    assert [segment.text for segment in detector.feed("Hello, ")] == ["Hello, "]
    assert [segment.text for segment in detector.feed("world <tool-calls")] == ["world "]
    assert detector.feed(">return 1</tool-call") == []
    (block,) = detector.feed("s>")
    assert isinstance(block, Block)
    assert detector.finish() == []


# ── helpers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("DET-040")
def test_helpers():
    text = f"a {TAGGED} <tool-calls/> `{TAGGED}` <tool-calls> </tool-calls> <tool-calls>2</tool-calls>"
    assert extract_scripts(text) == ["1", "2"]
    assert has_blocks(text)
    assert not has_blocks(f"`{TAGGED}` <tool-calls>1")
    assert not has_blocks("")
    assert detect("") == []


@pytest.mark.requirement("DET-041")
def test_validate():
    text = (
        "</tool-calls>\n <tool-calls><tool-calls></tool-calls>\n<tool-calls/><TOOL-CALLS>\n`<tool-calls>`<tool-calls>"
    )
    assert [(problem.code, problem.line, problem.column, problem.details["start"]) for problem in validate(text)] == [
        ("stray_closing_tag", 1, 1, 0),
        ("nested_opening_tag", 2, 14, 27),
        ("self_closed_block", 3, 1, 53),
        ("tag_case", 3, 14, 66),
        ("unclosed_block", 4, 15, 93),
    ]
    assert validate(f"a `{TAGGED}`\n\n{TAGGED} b") == []


@pytest.mark.requirement("DET-042")
def test_diagnostics_are_counted_not_listed_for_ever():
    diagnostics = run("</tool-calls>" * 250)[1]
    assert len(diagnostics) == 101
    assert diagnostics[-1].code == "diagnostics_left_out"
    assert diagnostics[-1].details == {"code": "stray_closing_tag", "count": 150}


@pytest.mark.requirement("DET-003")
def test_merge_text():
    parts = [segment for chunk in ("a\n", "b") for segment in Detector().feed(chunk)]
    assert all(isinstance(part, Text) for part in parts)
    assert merge_text([]) == []
    unclosed = [segment for segment in detect("x<tool-calls>") if isinstance(segment, Unclosed)]
    assert merge_text([*parts[:1], *unclosed, *parts[1:]]) == [*parts[:1], *unclosed, *parts[1:]]
