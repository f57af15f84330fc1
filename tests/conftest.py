"""What every test may use, and what the whole run must leave behind: nothing."""

from __future__ import annotations

import gc
import json
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, settings

from harness import Execution, Harness, ToolExecutionError

# Fixed examples and no deadline: a slow machine must not turn a property into a question of seconds.
settings.register_profile(
    "harness",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("harness")

VECTORS = Path(__file__).parent / "vectors"
_PATIENCE_S = 10.0


# What these show does not hang on the event loop, as far as others have not shown it on trio: there they wait for the
# slow tests.
_ON_TRIO_LATER = {
    "test_approvals",
    "test_approvals_terminal",
    "test_budgets",
    "test_canonical_runs",
    "test_durable",
    "test_endings",
    "test_lockdown_host",
    "test_pipeline_sync",
    "test_pipeline",
    "test_promises",
    "test_random_scripts",
    "test_result_cache",
    "test_retry",
    "test_rollback",
    "test_runtime_cancel",
    "test_runtime_failures",
    "test_runtime_isolation",
    "test_runtime_limits",
    "test_soak",
    "test_subprocess",
    "test_subprocess_containment",
    "test_subprocess_ending",
    "test_tasks",
    "test_tools_context",
    "test_tools_facade",
    "test_tools_host",
    "test_tools_registry",
    "test_tools_selection",
    "test_vm",
    "test_vm_encodings",
    "test_vm_errors",
    "test_vm_globals",
    "test_vm_values",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what can wait."""
    for item in items:
        call = getattr(item, "callspec", None)
        backend = call.params.get("anyio_backend") if call is not None else None
        if backend == "trio" and item.path.stem in _ON_TRIO_LATER:
            item.add_marker(pytest.mark.slow)


def pytest_collection_finish() -> None:
    """Thousands of tests are objects that stay to the end: no garbage collection need look at them."""
    gc.collect()
    gc.freeze()


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Every asynchronous test runs on both event loops."""
    backend: str = request.param
    return backend


@pytest.fixture(scope="session")
def vectors() -> Path:
    """The directory of test data."""
    return VECTORS


async def echo(value: Any = None) -> Any:
    """Returns what it is given."""
    return value


async def add(a: float, b: float) -> float:
    """Adds two numbers."""
    return a + b


async def fail(message: str = "it failed") -> None:
    """Fails."""
    raise ToolExecutionError(message)


async def forever() -> None:
    """Never ends by itself."""
    await anyio.sleep_forever()


@dataclass(frozen=True)
class Returns:
    """What a script of a table must return."""

    value: Any


@dataclass(frozen=True)
class Fails:
    """How a script of a table must fail: the error's type, and words its message must hold."""

    type: str
    words: str = ""


class Scripts:
    """Runs tables of scripts, each table in one harness with the tools `echo`, `add`, `fail` and `forever`.

    The first line of a script is its line 1.
    """

    returns = Returns
    fails = Fails

    @staticmethod
    def tools() -> list[Any]:
        """The tools of every script."""
        return [echo, add, fail, forever]

    async def run(self, sources: Iterable[str], *, tools: Iterable[Any] = (), **settings: Any) -> list[Execution]:
        """Each script's execution."""
        async with Harness(tools=[*self.tools(), *tools], **settings) as harness:
            return [(await harness.run(f"<tool-calls>{source}\n</tool-calls>")).executions[0] for source in sources]

    async def one(self, source: str, **settings: Any) -> Execution:
        """One script's execution."""
        return (await self.run([source], **settings))[0]

    async def mismatches(self, table: Mapping[str, Returns | Fails], **settings: Any) -> list[str]:
        """What became of the scripts that did not end as their table says."""
        executions = await self.run(table, **settings)
        found = []
        for (source, wanted), execution in zip(table.items(), executions, strict=True):
            error = execution.error
            if isinstance(wanted, Returns):
                fits = error is None and _same(execution.value, wanted.value)
            else:
                fits = error is not None and error.type == wanted.type and wanted.words in error.message
            if not fits:
                got = execution.value if error is None else f"{error.type}: {error.message}"
                found.append(f"{source}\n    wanted {wanted}\n    got    {got!r}")
        return found


def _same(left: Any, right: Any) -> bool:
    # Unlike ==, this tells true from 1.
    return json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)


@pytest.fixture
def scripts() -> Scripts:
    """Tables of scripts, run for real."""
    return Scripts()


def _threads() -> set[str]:
    # Trio keeps idle worker threads for ten seconds and asyncio's default executor lives as long as its loop; neither
    # belongs to anybody's execution. pytest-timeout's watchdog and xdist's channel threads are the runner's own.
    own = ("Trio thread", "MainThread", "pytest_timeout", "execnet", "Dummy")
    return {
        thread.name
        for thread in threading.enumerate()
        if not thread.name.startswith(own) and "execnet" not in str(thread)
    }


def _children() -> set[str]:
    found: set[str] = set()
    for task in Path("/proc/self/task").glob("*/children"):
        try:
            pids = task.read_text().split()
        except OSError:
            continue  # the thread ended between the listing and the read
        for pid in pids:
            try:
                command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue  # reaped in the meantime
            found.add(f"{pid} {command[:120] or '(zombie)'}")
    return found


def _descriptors() -> set[str]:
    found: set[str] = set()
    for entry in os.listdir("/proc/self/fd"):  # noqa: PTH208 -- bare numbers are wanted
        try:
            target = os.readlink(f"/proc/self/fd/{entry}")  # noqa: PTH115 -- the target is no path
        except OSError:
            continue  # the descriptor of the listing itself
        if target.startswith(("socket:", "pipe:", "anon_inode:", "/memfd:")):
            found.add(f"{entry} {target}")
    return found


@pytest.fixture(scope="session", autouse=True)
def _leaves_nothing_behind() -> Iterator[None]:
    """At the end of the run there is no thread, child process, pipe or socket that was not there before."""
    if not Path("/proc/self/fd").is_dir():
        yield
        return
    before = (_threads(), _children(), _descriptors())
    yield
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        left = [now - then for now, then in zip((_threads(), _children(), _descriptors()), before, strict=True)]
        if not any(left):
            return
        if time.monotonic() > deadline:
            names = ("threads", "child processes", "descriptors")
            pytest.fail(
                "; ".join(f"left {name}: {sorted(what)}" for name, what in zip(names, left, strict=True) if what)
            )
        time.sleep(0.05)  # processes that were told to end need a moment to
