"""Files below a root: read and listed, and nothing else reached."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import Any

import pytest

from harness import Harness
from harness.errors import ToolExecutionError, ToolValidationError, UsageError
from harness.testing import call_tool
from harness.toolkit import list_files, read_text

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A root with a secret beside it, and every kind of entry below."""
    (tmp_path / "secret.txt").write_text("secret")
    root = tmp_path / "root"
    (root / "docs" / "deep").mkdir(parents=True)
    (root / "hello.txt").write_text("héllo\n", encoding="utf-8")
    (root / "docs" / "guide.md").write_text("guide")
    (root / "docs" / "deep" / "end.md").write_text("end")
    (root / ".env").write_text("KEY=1")
    (root / ".git").mkdir()
    (root / ".git" / "config").write_text("x")
    (root / "binary").write_bytes(b"\xff\x00")
    (root / "bom.txt").write_bytes(b"\xef\xbb\xbfwith mark")
    (root / "out").symlink_to(tmp_path / "secret.txt")
    (root / "up").symlink_to(tmp_path)
    (root / "inner").symlink_to("hello.txt")
    (root / "docs" / "back").symlink_to("../docs")
    os.mkfifo(root / "pipe")
    return root


@pytest.mark.requirement("KIT-003", "KIT-030")
async def test_a_script_lists_and_reads(place):
    script = """
        const found = await tools.list_files({pattern: "*.md", recursive: true});
        const texts = await Promise.all(found.entries.map((entry) => tools.read_text(entry.path)));
        return [found.entries.map((entry) => entry.path), texts, await tools.read_text({path: "./hello.txt"})];
    """
    async with Harness(tools=[list_files(place), read_text(place)]) as harness:
        execution = (await harness.run(f"<tool-calls>{script}</tool-calls>")).executions[0]
    assert execution.value == [["docs/deep/end.md", "docs/guide.md"], ["end", "guide"], "héllo\n"]


@pytest.mark.requirement("KIT-030", "KIT-031", "KIT-033", "KIT-035")
async def test_what_cannot_be_read(place, tmp_path):
    tool = read_text(place)
    reasons = {
        "../secret.txt": "leads upwards",
        "docs/../../secret.txt": "leads upwards",
        "docs/../hello.txt": "leads upwards",
        str(tmp_path / "secret.txt"): "is absolute",
        "//etc/hostname": "is absolute",
        "out": "is a symbolic link",
        "inner": "is a symbolic link",
        "up/secret.txt": "leads through a symbolic link",
        "docs/back/guide.md": "leads through a symbolic link",
        "pipe": "is no regular file",
        "docs": "is a directory",
        "": "is a directory",
        ".": "is a directory",
        "hello.txt/": "",  # a slash at the end says nothing
        "hello.txt/x": "is no directory",
        "nothing": "does not exist",
        "docs/nothing/x": "does not exist",
        ".env": "does not exist",
        ".git/config": "does not exist",
        "hello.txt\0": "is no path",
        "binary": "is no UTF-8 text",
        "x" * 300: "cannot be read: file name too long",
    }
    for path, reason in reasons.items():
        if not reason:
            assert await call_tool(tool, {"path": path}) == "héllo\n"
            continue
        with pytest.raises(ToolExecutionError) as caught:
            await call_tool(tool, {"path": path})
        assert reason in caught.value.message
        assert "secret" not in caught.value.message.replace(path, "")
        assert str(place) not in caught.value.message
    with pytest.raises(ToolValidationError):
        await call_tool(tool, {"path": "x" * 5000})
    hidden = read_text(place, hidden=True)
    assert await call_tool(hidden, {"path": ".git/config"}) == "x"


@pytest.mark.requirement("KIT-030")
async def test_a_directory_that_becomes_a_link_meanwhile_leads_nowhere(place, tmp_path, monkeypatch):
    (tmp_path / "guide.md").write_text("secret")
    real = os.open

    def exchange(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if path == "docs":  # it was looked at, and is now exchanged before it is opened
            (place / "docs").rename(place / "docs-before")
            (place / "docs").symlink_to(tmp_path)
        return real(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", exchange)
    monkeypatch.setattr(os, "supports_dir_fd", {exchange})
    tool = read_text(place)
    with pytest.raises(ToolExecutionError, match=r"'docs/guide\.md'"):
        await call_tool(tool, {"path": "docs/guide.md"})


@pytest.mark.requirement("KIT-032")
async def test_how_much_is_read(place):
    tool = read_text(place, max_bytes=10)
    (place / "ten").write_text("0123456789")
    (place / "eleven").write_text("0123456789x")
    assert await call_tool(tool, {"path": "ten"}) == "0123456789"
    assert await call_tool(read_text(place), {"path": "bom.txt"}) == "with mark"
    with pytest.raises(ToolExecutionError, match="is 11 bytes long; 10 may be read"):
        await call_tool(tool, {"path": "eleven"})


@pytest.mark.requirement("KIT-032")
async def test_a_file_that_grows_while_it_is_read(place, monkeypatch):
    real = os.read

    def grow(file: int, count: int) -> bytes:
        with (place / "ten").open("a") as more:
            more.write("x" * 100)
        return real(file, count)

    (place / "ten").write_text("0123456789")
    monkeypatch.setattr(os, "read", grow)
    with pytest.raises(ToolExecutionError, match="grew beyond 10 bytes"):
        await call_tool(read_text(place, max_bytes=10), {"path": "ten"})


@pytest.mark.requirement("KIT-033", "KIT-034")
async def test_what_a_listing_holds(place):
    (place / os.fsdecode(b"\xff-name")).write_text("x")
    listing: Any = await call_tool(list_files(place), {})
    assert listing == {
        "entries": [
            {"path": "binary", "kind": "file", "bytes": 2},
            {"path": "bom.txt", "kind": "file", "bytes": 12},
            {"path": "docs", "kind": "directory"},
            {"path": "hello.txt", "kind": "file", "bytes": 7},
        ],
        "omitted": 5,  # three links, a FIFO, and a name that is no text
    }
    every: Any = await call_tool(list_files(place, hidden=True), {"recursive": True})
    paths = [entry["path"] for entry in every["entries"]]
    assert paths == sorted(paths)
    assert {".env", ".git", ".git/config", "docs/deep/end.md"} <= set(paths)
    assert not any("back/" in path or path.startswith("up") for path in paths)

    async def names(**arguments: Any) -> list[str]:
        found: Any = await call_tool(list_files(place), arguments)
        return [entry["path"] for entry in found["entries"]]

    assert await names(path="docs/") == ["docs/deep", "docs/guide.md"]
    assert await names(pattern="*.txt") == ["bom.txt", "hello.txt"]
    assert await names(pattern="docs/*.md", recursive=True) == ["docs/deep/end.md", "docs/guide.md"]
    assert await names(pattern="[h") == []


@pytest.mark.requirement("KIT-034", "KIT-035", "KIT-030")
async def test_what_cannot_be_listed(place):
    reasons: list[tuple[dict[str, Any], dict[str, Any], str]] = [
        ({}, {"path": "up"}, "'up' leads through a symbolic link"),
        ({}, {"path": ".."}, "leads upwards"),
        ({}, {"path": "/"}, "is absolute"),
        ({}, {"path": ".git"}, "does not exist"),
        ({}, {"path": "hello.txt"}, "is no directory"),
        ({"max_entries": 3}, {}, "'.' holds more than 3 such entries"),
        ({"max_visited": 5}, {}, "holds more than 5 names"),
        ({"max_depth": 2}, {"recursive": True}, "is more than 2 levels deep"),
    ]
    for settings, arguments, reason in reasons:
        with pytest.raises(ToolExecutionError) as caught:
            await call_tool(list_files(place, **settings), arguments)
        assert reason in caught.value.message
        assert str(place) not in caught.value.message
    listing: Any = await call_tool(list_files(place, max_depth=3), {"recursive": True})
    assert len(listing["entries"]) == 7
    enough: Any = await call_tool(list_files(place, max_entries=2), {"pattern": "*.txt"})
    assert len(enough["entries"]) == 2


@pytest.mark.requirement("KIT-034")
async def test_a_directory_that_cannot_be_listed_is_named(place, monkeypatch):
    real = os.scandir
    seen: list[int] = []

    def refuse(directory: int) -> Any:
        seen.append(directory)
        if len(seen) == 3:  # the root, docs, docs/deep; as root nothing is refused by itself
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(directory)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ToolExecutionError, match=r"'\.' holds 'docs/deep', which cannot be read: permission denied"):
        await call_tool(list_files(place), {"recursive": True})


def descriptors() -> list[str]:
    """The numbers of those that are open."""
    return sorted(os.listdir("/proc/self/fd"))  # noqa: PTH208 - bare numbers are wanted


@pytest.mark.requirement("KIT-030")
async def test_no_descriptor_stays_open(place):
    tools = [read_text(place), list_files(place, max_entries=1)]
    for tool in tools:  # whatever is opened once stays open
        with pytest.raises(ToolExecutionError):
            await call_tool(tool, {"path": "up/x"})
    before = descriptors()
    for path in ("hello.txt", "docs/guide.md", "up/x", "docs/nothing", "pipe", "docs/deep", ""):
        for tool in tools:
            with contextlib.suppress(ToolExecutionError):
                await call_tool(tool, {"path": path})
    assert descriptors() == before


@pytest.mark.requirement("KIT-002")
async def test_a_root_must_be_a_directory(place):
    for wrong in (place / "hello.txt", place / "nothing"):
        with pytest.raises(UsageError, match="is no directory"):
            read_text(wrong)
    with pytest.raises(UsageError, match="max_bytes"):
        read_text(place, max_bytes=0)
    with pytest.raises(UsageError, match="max_entries"):
        list_files(place, max_entries=0)
    # Where links in the root's own path lead is up to the host.
    assert await call_tool(read_text(place / "up" / "root"), {"path": "hello.txt"}) == "héllo\n"
    tool = read_text(place, name="docs.read", approval=True)
    assert (tool.name, tool.approval, tool.tags, tool.idempotent) == ("docs.read", True, ("read",), True)
