"""Objects as tools, namespaces, and names that only an index reaches; called from real scripts where it matters."""

from __future__ import annotations

import abc
from collections.abc import Coroutine
from typing import Any, assert_type

import pytest
from pydantic import BaseModel, ConfigDict

from harness import Harness, Tool, ToolRegistry, UsageError, tool, tools_of
from harness.testing import call_tool
from harness.tools.context import CallContext
from harness.tools.function import FunctionTool
from harness.tools.names import expression, snake_case
from harness.tools.validation import call_form

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """What tools are made of does not depend on the event loop."""
    return "asyncio"


class Files:
    """Files of somebody."""

    def __init__(self, root: str) -> None:
        self.root = root

    @tool(tags=["read"])
    def read(self, path: str, ctx: CallContext) -> str:
        """Reads a file.

        Args:
            path: Which.
        """
        return f"{self.root}/{path} for {ctx.caller.kind}"

    @tool(name="list-all", tags=["read"])
    async def list_all(self) -> list[str]:
        return [self.root]

    @tool(approval=True)
    def remove(self, path: str) -> str:
        return f"removed {self.root}/{path}"

    @staticmethod
    @tool
    def join(a: str, b: str = "x") -> str:
        return f"{a}/{b}"

    @classmethod
    @tool
    def kind(cls) -> str:
        return cls.__name__

    def helper(self) -> None:
        """Not for scripts."""


class Archive(Files):
    tool_namespace = "archive.old"
    remove = None  # type: ignore[assignment] # an archive takes nothing out

    @tool
    def pack(self, level: int = 1) -> int:
        return level


class GetWeather:
    """The weather of a city."""

    async def __call__(self, city: str) -> str:
        """Looks it up.

        Args:
            city: Its name.
        """
        return f"rain in {city}"


# ── objects ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("TOOL-008")
async def test_each_marked_method_of_an_object_is_a_tool_in_the_namespace_of_its_class():
    registry = ToolRegistry([Files("home")])
    assert registry.names() == ["files.read", "files.list-all", "files.remove", "files.join", "files.kind"]
    read = registry.get("files.read")
    assert (read.description, read.tags) == ("Reads a file.", ("read",))
    assert list(read.parameters["properties"]) == ["path"]
    assert registry.get("files.remove").approval
    assert await registry.call("files.read", {"path": "a"}) == "home/a for host"
    assert await registry.call("files.list-all") == ["home"]
    assert await registry.call("files.join", {"a": "1"}) == "1/x"
    assert await registry.call("files.kind") == "Files"


@pytest.mark.requirement("TOOL-008")
async def test_a_script_calls_them(scripts):
    execution = await scripts.one(
        "const {read} = tools.files; return [await read({path: 'a'}), await tools.files['list-all'](), "
        "await tools.other.read({path: 'b'}), Object.keys(tools.files), await tools.get_weather({city: 'Rome'})]",
        tools=[Files("home"), *tools_of(Files("away"), "other"), GetWeather()],
    )
    assert execution.error is None
    assert execution.value == [
        "home/a for script",
        ["home"],
        "away/b for script",
        ["read", "list-all", "remove", "join", "kind"],
        "rain in Rome",
    ]


@pytest.mark.requirement("TOOL-008")
def test_subclasses_and_the_choice_of_a_namespace():
    names = [made.name for made in tools_of(Archive("x"))]
    assert names == [f"archive.old.{name}" for name in ("read", "list-all", "join", "kind", "pack")]
    assert [made.name for made in tools_of(Archive("x"), "")] == ["read", "list-all", "join", "kind", "pack"]
    assert tools_of(Archive("x"), "mine")[0].name == "mine.read"
    assert [made.name for made in tools_of(tool(name="f")(lambda: None), "mine")] == ["mine.f"]
    Archive.tool_namespace = 3  # type: ignore[assignment] # what is under test
    try:
        with pytest.raises(UsageError, match="tool_namespace is 3"):
            tools_of(Archive("x"))
    finally:
        Archive.tool_namespace = "archive.old"


@pytest.mark.requirement("TOOL-008")
async def test_a_method_is_still_the_method_it_was_and_each_object_has_its_own():
    home, away = Files("home"), Files("away")
    assert_type(home.list_all, FunctionTool[[], Coroutine[Any, Any, list[str]]])
    assert await home.list_all() == ["home"]
    assert await away.list_all() == ["away"]
    assert home.remove("x") == "removed home/x"
    assert Files.join("a") == "a/x"
    assert isinstance(home.read, Tool)
    assert Files.read.is_method
    assert not home.read.is_method
    assert await call_tool(home.list_all) == ["home"]
    assert await call_tool(away.list_all) == ["away"]


@pytest.mark.requirement("TOOL-008")
async def test_an_object_with_call_is_one_tool_and_a_class_is_made_an_object():
    (weather,) = tools_of(GetWeather)
    assert (weather.name, weather.description) == ("get_weather", "The weather of a city.")
    assert weather.parameters["properties"]["city"]["description"] == "Its name."
    assert await call_tool(weather, {"city": "Rome"}) == "rain in Rome"

    class Counter:
        @tool
        def count(self) -> int:
            return 1

    assert ToolRegistry([Counter]).names() == ["counter.count"]
    assert tool(GetWeather()).name == "get_weather"


@pytest.mark.requirement("TOOL-003", "TOOL-008")
@pytest.mark.parametrize(
    ("item", "part"),
    [
        (Files, "cannot be made a tool without arguments"),
        (Files.read, r"is a method without its object; offer an object of its class: tools=\[Files\(…\)\]"),
        (object(), "is no tool"),
        (object, "has no method marked with @tool"),
        (3, "is no tool"),
        (None, "is no tool"),
    ],
)
def test_objects_that_are_no_tools(item, part):
    with pytest.raises(UsageError, match=part):
        Harness(tools=[item])


@pytest.mark.requirement("TOOL-003", "TOOL-008")
def test_more_that_are_no_tools():
    with pytest.raises(UsageError, match="offers 5 tools"):
        ToolRegistry().register(Files("x"))  # type: ignore[arg-type] # what is under test
    with pytest.raises(UsageError, match="GetWeather is a class"):
        tool(GetWeather)
    with pytest.raises(UsageError, match=r"already is a tool 'files\.read'"):
        ToolRegistry([Files("x"), Files("y")])


# ── namespaces ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("TOOL-015")
async def test_namespaces_of_a_registry():
    registry = ToolRegistry()
    fs = registry.namespace("fs")
    read = fs.register(lambda_tool("read"))
    assert read.name == "fs.read"
    fs.extend([lambda_tool("write"), GetWeather()])
    fs.namespace("deep").register(lambda_tool("f"))
    assert registry.names() == ["fs.read", "fs.write", "fs.get_weather", "fs.deep.f"]
    assert await registry.call("fs.read") == "read"
    with pytest.raises(UsageError, match="already is a tool"):
        fs.register(lambda_tool("read"))
    with pytest.raises(UsageError, match="offers 5 tools"):
        fs.register(Files("x"))  # type: ignore[arg-type] # what is under test
    for name in ("then", "", "a b", "fs."):
        with pytest.raises(UsageError):
            registry.namespace(name).namespace("x").register(lambda_tool("f"))


def lambda_tool(name: str) -> Tool:
    return tool(name=name)(lambda: name)


# ── names ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("TOOL-014")
@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("add", "tools.add"),
        ("fs.read", "tools.fs.read"),
        ("get-item", 'tools["get-item"]'),
        ("fs.get-item.now", 'tools.fs["get-item"].now'),
        ("1a", 'tools["1a"]'),
        ("a.1", 'tools.a["1"]'),
        ("delete", "tools.delete"),
        ("$", "tools.$"),
    ],
)
def test_how_a_script_writes_a_name(name, written):
    assert expression(name) == written


@pytest.mark.requirement("TOOL-014")
async def test_names_that_are_no_identifiers_are_reached_by_index(scripts):
    names = [
        "get-item",
        "fs.get-item",
        "1a",
        "7",
        "ns:do",
        "a/b",
        "a@b",
        "a+b",
        "inspect",
        "fs.inspect",
        "name",
        "length",
    ]
    calls = ", ".join(f"await {expression(name)}()" for name in names)
    execution = await scripts.one(f"return [{calls}]", tools=[lambda_tool(name) for name in names])
    assert execution.error is None
    assert execution.value == names
    assert [call.tool for call in execution.calls] == names


@pytest.mark.requirement("TOOL-014")
async def test_messages_show_the_form_that_works(scripts):
    @tool(name="get-item")
    def get(item_id: int) -> int:
        return item_id

    table = {
        "return await tools['get-item']({item_id: 'x'})": scripts.fails(
            "ToolValidationError", 'The arguments of tools["get-item"] do not fit: $.item_id: expected a valid integer'
        ),
        "return await tools['get-item'](1, 2)": scripts.fails("ToolValidationError", 'tools["get-item"]({item_id})'),
        "const n = 'get-itm'; return await tools[n]()": scripts.fails("ToolNotFoundError", 'tools["get-item"]'),
        "return await tools.getItem()": scripts.fails("ToolNotFoundError", 'tools["get-item"]'),
        "return await tools.get-item({})": scripts.fails("ToolNotFoundError", 'write `tools["get-item"](…)`'),
    }
    assert await scripts.mismatches(table, tools=[get]) == []
    assert call_form("get-item", {"properties": {"item-id": {}, "n": {}}, "required": ["n"]}) == (
        'tools["get-item"]({"item-id"?, n})'
    )


@pytest.mark.requirement("TOOL-014")
@pytest.mark.parametrize(
    ("name", "snake"),
    [
        ("Files", "files"),
        ("FileSystem", "file_system"),
        ("HTTPClient", "http_client"),
        ("S3Store", "s3_store"),
        ("x", "x"),
    ],
)
def test_snake_case(name, snake):
    assert snake_case(name) == snake


# ── what the language looks up by itself ─────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("TOOL-011")
async def test_awaiting_or_printing_a_namespace_calls_nothing(scripts):
    execution = await scripts.one(
        "const t = await tools; const n = await tools.files; console.log(tools, n, `${typeof n}`);"
        "return [JSON.stringify(n), Object.prototype.toString.call(n), n === tools.files, t === tools]",
        tools=[Files("x")],
    )
    assert execution.error is None
    assert execution.value == ["{}", "[object Object]", True, True]
    assert execution.calls == ()


@pytest.mark.requirement("TOOL-008")
def test_an_abstract_method_is_no_tool_of_any_object():
    class Shape(abc.ABC):
        @tool
        @abc.abstractmethod
        def area(self) -> float: ...

    class Square(Shape):
        @tool
        def area(self) -> float:
            return 1.0

    with pytest.raises(TypeError, match="abstract"):
        Shape()  # type: ignore[abstract] # on purpose
    with pytest.raises(UsageError, match="cannot be made a tool"):
        ToolRegistry([Shape])
    assert ToolRegistry([Square]).names() == ["square.area"]


@pytest.mark.requirement("TOOL-008")
async def test_a_pydantic_model_can_have_tools():
    class Counter(BaseModel):
        model_config = ConfigDict(ignored_types=(FunctionTool,))
        start: int = 4

        @tool
        def next(self) -> int:
            return self.start + 1

    assert await ToolRegistry([Counter()]).call("counter.next") == 5
