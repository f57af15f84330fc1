"""What the walls around a script cost, and how far a script gets past its limits before they stop it.

``make walls``. Times are medians on this machine, as busy as it is now.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Literal
from unittest import mock

import anyio
from rich.console import Console
from rich.table import Table

from harness import Execution, Harness, Limits, tool
from harness.runtime.boot import worker_config
from harness.runtime.lockdown import Lockdown

CHILDREN = 100
ROUNDS = 7
RUNS = 20
LIMIT_S = 0.3
AIM_MS = 250

# What the engine's own limits do not stop.
UNSTOPPABLE = {
    "join": "Array(4294967295).join('')",
    "reverse": "Array.prototype.reverse.call({length: 2 ** 53 - 1})",
    "copyWithin": "Array.prototype.copyWithin.call({length: 2 ** 53 - 1}, 0, 1)",
    "unshift": "Array.prototype.unshift.call({length: 2 ** 53 - 2}, 1)",
    "sort": "Array.prototype.sort.call({length: 2 ** 53 - 1})",
    "BigInt division": "const big = 3n ** 600000n; for (;;) big / 7n ** 50000n",
    "BigInt to text": "for (;;) (7n ** 300000n).toString()",
    "typed sort": "const many = new Float64Array(4e6).map((_, i) => -i); for (;;) many.slice().sort()",
    "proxy keys": "const keys = Array.from({length: 1e6}, (_, i) => 'k' + i);"
    "for (;;) Object.keys(new Proxy({}, {ownKeys: () => keys}))",
    "normalize": "const long = 'a'.repeat(1e6); for (;;) long.normalize('NFKD')",
    "hidden from the interrupt": "for (;;) new Promise(() => { for (;;); })",
    "jobs without end": "(function next() { Promise.resolve().then(next) })(); await new Promise(() => {})",
}


@tool
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


class Timed(Lockdown):
    """Notes how long each layer takes to be put on."""

    def __init__(self, **settings: object) -> None:
        self.taken: dict[str, float] = {}
        super().__init__(**settings)  # type: ignore[arg-type] # handed on as they came

    def _put_on(self, layer: str, take: Callable[[], None], possible: bool = True) -> None:
        started = time.perf_counter()
        super()._put_on(layer, take, possible)
        self.taken[layer] = time.perf_counter() - started


def child_of(work: Callable[[int], None]) -> bytes:
    """What a child process writes to the descriptor it is given."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            work(writing)
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    return said


def layer_costs() -> tuple[dict[str, float], dict[str, float]]:
    """Microseconds by layer: once in a fork server, and in each worker (median)."""

    def fork_server(result: int) -> None:
        settings = worker_config(Limits(), runs=1, required=False)["lockdown"]
        lockdown = Timed(**settings, parent=os.getpid())
        once = dict(lockdown.taken)
        lockdown.taken.clear()

        def worker(keep: int) -> None:
            lockdown.finish(keep=keep)
            os.write(keep, json.dumps(lockdown.taken).encode())

        each = [json.loads(child_of(worker)) for _ in range(CHILDREN)]
        medians = {layer: statistics.median(taken[layer] for taken in each) for layer in each[0]}
        os.write(result, json.dumps([once, medians]).encode())

    once, each = json.loads(child_of(fork_server))
    return (
        {layer: seconds * 1e6 for layer, seconds in once.items()},
        {layer: seconds * 1e6 for layer, seconds in each.items()},
    )


def show_layers(console: Console) -> None:
    once, each = layer_costs()
    table = Table(title="µs to put on each layer", title_justify="left")
    for column in ("layer", "fork server, once", "each worker"):
        table.add_column(column, justify="left" if column == "layer" else "right")
    for layer in dict.fromkeys([*once, *each]):
        table.add_row(layer, *(f"{costs[layer]:.0f}" if layer in costs else "" for costs in (once, each)))
    table.add_row("all", f"{sum(once.values()):.0f}", f"{sum(each.values()):.0f}")
    console.print(table)


async def past_wall_time(isolation: Literal["process", "shared"]) -> dict[str, float]:
    """Milliseconds past ``wall_time``, by script."""
    found = {}
    async with Harness(isolation=isolation, limits={"wall_time": LIMIT_S, "cpu_time": 60}) as harness:
        for name, script in UNSTOPPABLE.items():
            execution = await stopped(harness, script, "wall")
            assert execution.metrics.wall_ms is not None
            found[name] = execution.metrics.wall_ms - LIMIT_S * 1000
    return found


def children_ms() -> float:
    """Milliseconds of processor time that this process's children used, of those that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (usage.ru_utime + usage.ru_stime) * 1000


async def past_cpu_time() -> dict[str, float]:
    """Milliseconds of processor time past ``cpu_time``, by script: what its processes used, less what others do."""

    async def used(script: str | None) -> float:
        before = children_ms()
        async with Harness(limits={"cpu_time": LIMIT_S, "wall_time": 60}) as harness:
            await harness.run("<tool-calls>1</tool-calls>")
            if script is not None:
                await stopped(harness, script, "cpu")
        return children_ms() - before

    idle = statistics.median([await used(None) for _ in range(ROUNDS)])
    return {name: await used(script) - idle - LIMIT_S * 1000 for name, script in UNSTOPPABLE.items()}


async def stopped(harness: Harness, script: str, clock: str) -> Execution:
    execution = (await harness.run(f"<tool-calls>{script}</tool-calls>")).executions[0]
    assert execution.error is not None
    assert (execution.error.type, execution.error.details["clock"]) == ("ScriptTimeoutError", clock), execution.error
    return execution


async def show_overruns(console: Console) -> None:
    table = Table(title=f"ms past a limit of {LIMIT_S * 1000:.0f} ms (aim ≤ {AIM_MS})", title_justify="left")
    cases = {
        "wall time": await past_wall_time("process"),
        "wall time, shared": await past_wall_time("shared"),
        "CPU time": await past_cpu_time(),
    }
    for column in ("script", *cases):
        table.add_column(column, justify="left" if column == "script" else "right")
    for name in UNSTOPPABLE:
        table.add_row(name, *(f"{found[name]:.0f}" for found in cases.values()))
    table.add_row("most", *(f"{max(found.values()):.0f}" for found in cases.values()))
    console.print(table)


async def timed(run: Callable[[], Awaitable[object]], repeat: int, clock: Callable[[], float]) -> float:
    started = clock()
    for _ in range(repeat):
        await run()
    return (clock() - started) / repeat


@contextlib.asynccontextmanager
async def changed(harness: Harness, name: str, value: object) -> AsyncIterator[Harness]:
    """Open a harness whose first workers are made with something of the runtime changed."""
    with mock.patch(f"harness.runtime.{name}", value):
        await harness.__aenter__()
        await harness.run("<tool-calls>1</tool-calls>", trust_domain="a")
    try:
        yield harness
    finally:
        await harness.aclose()


async def children_cost(runs: int, *, fork: bool) -> float:
    """Milliseconds of processor time of all processes in the life of a harness that runs one line that often."""
    before = children_ms()
    async with changed(Harness(), "pool.can_fork", lambda: fork) as harness:
        for _ in range(runs):
            await harness.run("<tool-calls>1 + 1</tool-calls>")
    return children_ms() - before


async def show_executions(console: Console) -> None:
    """One line of script by the way its process is made, and the price of the watch on 100 calls in a row."""
    calls = "<tool-calls>let n = 0; for (let i = 0; i < 100; i++) n = await tools.add({a: n, b: i}); n</tool-calls>"
    one = "<tool-calls>1 + 1</tool-calls>"
    async with (
        Harness(tools=[add]) as forked,
        changed(Harness(tools=[add]), "pool.can_fork", lambda: False) as spawned,
        changed(Harness(tools=[add], isolation="shared"), "process.FIRST_PERIOD_S", None) as unwatched,
        Harness(tools=[add], isolation="shared") as watched,
    ):
        # What the watch costs is the host's own processor time.
        elapsed, own = time.perf_counter, time.process_time
        cases: dict[str, tuple[Callable[[], Awaitable[object]], int, Callable[[], float]]] = {
            "forked": (lambda: forked.run(one), 20, elapsed),
            "spawned": (lambda: spawned.run(one), 2, elapsed),
            "watched": (lambda: watched.run(one, trust_domain="a"), 20, own),
            "unwatched": (lambda: unwatched.run(one, trust_domain="a"), 20, own),
            "calls watched": (lambda: watched.run(calls, trust_domain="a"), 3, own),
            "calls unwatched": (lambda: unwatched.run(calls, trust_domain="a"), 3, own),
        }
        seconds: dict[str, list[float]] = {name: [] for name in cases}
        for _ in range(ROUNDS):
            for name, (run, repeat, clock) in cases.items():
                seconds[name].append(await timed(run, repeat, clock))
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    console.print(
        f"one line of script: {medians['forked'] * 1000:.2f} ms in a forked process, "
        f"{medians['spawned'] * 1000:.0f} ms in a spawned one"
    )
    for name, fork in (("forked", True), ("spawned", False)):
        costs = [await children_cost(runs, fork=fork) for runs in (1, 1 + RUNS)]
        console.print(
            f"processor time of the processes for each such line, {name}: {(costs[1] - costs[0]) / RUNS:.1f} ms"
        )
    console.print(f"one line, shared, watched / unwatched: {medians['watched'] / medians['unwatched']:.2f}")
    ratio = medians["calls watched"] / medians["calls unwatched"]
    console.print(f"100 calls in a row, shared, watched / unwatched: {ratio:.2f}")


def main() -> None:
    if sys.platform != "linux":
        sys.exit("The walls are those of Linux.")
    console = Console()
    show_layers(console)
    anyio.run(show_executions, console)
    anyio.run(show_overruns, console)


if __name__ == "__main__":
    main()
