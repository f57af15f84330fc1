"""For tests of commands: processes that name themselves before they are ended, and that nothing is left of a test."""

from __future__ import annotations

import gc
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from harness import SubprocessTool

BAD_TOOLS = Path(__file__).parent / "fixtures" / "bad_tools"
ONE_LOOP = pytest.mark.parametrize("anyio_backend", ["asyncio"])
PATIENCE = 30


class Beacon:
    """A FIFO in which the processes of a command name themselves: pid and start time, one line each."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "beacon"
        os.mkfifo(self.path)
        self._fifo = os.open(self.path, os.O_RDWR | os.O_NONBLOCK)
        self._text = ""

    def close(self) -> None:
        os.close(self._fifo)

    def named(self) -> list[tuple[int, str]]:
        """Who is there so far."""
        while True:
            try:
                self._text += os.read(self._fifo, 4096).decode()
            except BlockingIOError:
                break
        pairs = [line.split() for line in self._text.splitlines()]
        return [(int(pid), started) for pid, started in pairs]

    async def wait(self, count: int) -> list[tuple[int, str]]:
        """Those who are there, when there are so many."""
        with anyio.fail_after(PATIENCE):
            while len(found := self.named()) < count:
                await anyio.wait_readable(self._fifo)
        return found


def alive(process: tuple[int, str]) -> bool:
    """Whether a process is there, be it as a zombie."""
    pid, started = process
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19] == started
    except OSError:
        return False


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def scratch_directories() -> set[str]:
    return {entry.name for entry in Path(tempfile.gettempdir()).glob("harness-tool-*")}


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - no path is wanted


def own_threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("harness")}


@pytest.fixture
def beacon(tmp_path: Path) -> Iterator[Beacon]:
    found = Beacon(tmp_path)
    yield found
    found.close()


@pytest.fixture(autouse=True)
def leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> Iterator[None]:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    # Its own, so that a test beside this one is not seen.
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    gc.collect()
    gc.freeze()  # thousands of tests leave much behind that the next collection need not look at again
    before = descriptors()
    yield
    assert list(temporary.iterdir()) == []
    # What had to be killed from outside was not ended as it should be.
    outside = any("from outside" in record.getMessage() for record in caplog.get_records("call"))
    assert outside == ("does_not_answer" in request.node.name)
    assert own_threads() == set()
    gc.collect()
    # An event loop has some of its own, which are gone by now.
    assert descriptors() <= before + 1


def make(script: str, tmp_path: Path, **settings: Any) -> SubprocessTool:
    command = [sys.executable, "-E", "-S", str(BAD_TOOLS / f"{script}.py")]
    return SubprocessTool(script, command, cwd=tmp_path, **settings)


def runs(process: tuple[int, str]) -> bool:
    """Whether a process is there and no zombie: those of a lost supervisor are for others to reap."""
    if not alive(process):
        return False
    return Path(f"/proc/{process[0]}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
