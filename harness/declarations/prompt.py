"""The section of a system prompt that tells a model how to call tools, and which there are."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from harness.declarations.example import example_script
from harness.declarations.search import summary
from harness.declarations.typescript import typescript
from harness.errors import UsageError
from harness.limits import Limits
from harness.redaction import visible

__all__ = ["DEFAULT_CHARACTERS", "LEAST_CHARACTERS", "prompt_section"]

DEFAULT_CHARACTERS = 20_000
"""About 5,000 tokens: some 60 tools with everything declared."""
LEAST_CHARACTERS = 6_000
"""Room for the explanation, an example, and a few lines about the tools."""

_RULES = """\
# Calling tools

You can call tools by writing JavaScript between <tool-calls> and </tool-calls>. It runs in a sandbox when your message \
is complete, and what comes of it is sent to you as <tool-results>. For example:

{example}

The block:
- Write the tags as they are, outside Markdown code: a block in a code fence or in backticks is an example and does not \
run. Close every block; one that is not closed does not run.
- A message may hold up to {max_blocks} blocks. They run in order, each by itself: variables do not carry over. If one \
fails, those behind it do not run.
- The result is what the script returns, or the value of its last expression; it must be JSON. Return only what you need.

The script:
- Modern JavaScript with `await` at the top level. A tool is called as `await tools.name({{…}})`, with one object that \
holds all arguments. Await every call; run independent ones together with `Promise.all`.
- Beside the language there are `tools`, `context` (`context.inputs`, `context.budget()`), `progress(message)`, \
`console`, `setTimeout`, `structuredClone`, `AbortController`, `TextEncoder`, `TextDecoder`, `atob` and `btoa`. There is \
no `fetch`, `require`, `import`, `process`, `Intl` or `eval`: whatever lies outside the script is reached through tools.
- Results of tools are frozen: copy them before you change them.
- A call that fails throws an error with `name`, `message`, `retryable` and `details`. Catch it where you can go on \
without the result; let it end the script where you cannot.
- Arguments are checked strictly against the declarations below: no argument that is not declared, numbers and strings \
not mixed up, `integer` a whole number.

Limits of one script: {limits}.
"""
_FULL = """
The tools, in TypeScript:

{fence}ts
{declarations}{fence}
"""
_LOOK_UP = """\
`await tools.$search("words")` finds tools, as a list of `{name, call, description}`, best first; \
`(await tools.$describe("name")).declaration` is one tool's declaration in TypeScript. Look a tool up in a first block, \
and call it in your next message, once you have seen its declaration. Both count as calls.
"""
_LISTED = """
There are {count} tools. {intro}

{lines}

{look_up}"""
_INTRO_ALL = "Each with its arguments (those with `?` can be left out) and what it does:"
_INTRO_NAMES = "Their names:"
_INTRO_CUT = "Some of their names:"
_NONE = "\nThere are no tools at present: a script can only compute.\n"


def prompt_section(
    tools: Sequence[Mapping[str, Any]], limits: Limits | None = None, *, max_characters: int = DEFAULT_CHARACTERS
) -> str:
    """The section, in Markdown, of at most ``max_characters`` characters.

    ``tools`` are given as `Tool.describe` describes them. They are declared in full if that fits. If it does not, the
    section lists one line for each tool, or else as many names as fit, and says how a script looks tools up itself
    (``tools.$search``, ``tools.$describe``). The same tools and limits always give the same text.

    Raises `UsageError` for a ``max_characters`` below 6,000.
    """
    most: object = max_characters
    if isinstance(most, bool) or not isinstance(most, int) or most < LEAST_CHARACTERS:
        raise UsageError(
            f"max_characters={max_characters!r} leaves no room for the explanation; it must be at least {LEAST_CHARACTERS:,}."
        )
    rules = _rules(tools, limits or Limits())
    if not tools:
        return rules + _NONE
    room = max_characters - len(rules)
    full = _declared(typescript(tools, alone=True))
    if len(full) <= room:
        return rules + full
    summaries = [summary(tool) for tool in tools]
    lines = [_line(item) for item in summaries]
    listed = _listed(_INTRO_ALL, lines, len(tools))
    if len(listed) <= room:
        return rules + listed
    names = [f"- {item['name']}" for item in summaries]
    listed = _listed(_INTRO_NAMES, names, len(tools))
    if len(listed) <= room:
        return rules + listed
    return rules + _cut(names, room, len(tools))


def _rules(tools: Sequence[Mapping[str, Any]], limits: Limits) -> str:
    return _RULES.format(
        example=f"<tool-calls>\n{example_script(tools)}\n</tool-calls>",
        max_blocks=limits.max_blocks,
        limits=", ".join(
            (
                f"{limits.script_bytes:,} bytes of source",
                f"{limits.wall_time:g} s in all, {limits.cpu_time:g} s of computing",
                f"{limits.max_tool_calls:,} calls, {limits.max_concurrent_tool_calls:,} of them at once (more wait)",
                f"{limits.tool_timeout:g} s for one call",
                f"{_size(limits.argument_bytes)} of arguments",
                f"{_size(limits.result_bytes)} of result",
                f"{_size(limits.log_bytes)} of console output",
            )
        ),
    )


def _size(count: int) -> str:
    return f"{count // 1024:,} KiB" if count % 1024 == 0 and count else f"{count:,} bytes"


def _declared(declarations: str) -> str:
    longest = max((len(run) for run in re.findall("`+", declarations)), default=0)
    # A description may hold a code fence of its own, which must not end this one.
    return _FULL.format(fence="`" * max(3, longest + 1), declarations=declarations)


def _line(item: Mapping[str, str]) -> str:
    text = f"- {item['call']}"
    return f"{text} — {visible(item['description'])}" if item["description"] else text


def _listed(intro: str, lines: Sequence[str], count: int) -> str:
    return _LISTED.format(count=f"{count:,}", intro=intro, lines="\n".join(lines), look_up=_LOOK_UP)


def _cut(names: Sequence[str], room: int, count: int) -> str:
    """As many names as fit, evenly from all over the registry: neighbours are often alike."""
    kept = len(names)
    while True:
        kept = kept * 9 // 10
        some = [names[at * len(names) // kept] for at in range(kept)] if kept else []
        text = _listed(_INTRO_CUT, [*some, f"- … and {len(names) - kept:,} more"], count)
        if len(text) <= room or not kept:
            return text
