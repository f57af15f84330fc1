"""The harness beside pydantic-monty in the same run: medians, and ratios that hold when the machine's speed drifts.

``make bench``. Each figure is the median over rounds in which the two take turns. A monty session is checked out for
every run, as a harness takes a worker for every execution; monty's worker processes are used again, so its nearest
relative is ``isolation="shared"``.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import anyio
import pydantic_monty
from rich.console import Console
from rich.table import Table

from harness import Harness, tool

ROUNDS = 7
Run = Callable[[], Awaitable[None]]


@tool
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


async def monty_add(a: int, b: int) -> int:
    return a + b


@dataclass(frozen=True)
class Case:
    """One thing to do, in both languages."""

    name: str
    script: str
    python: str
    repeat: int
    """Times per round."""
    wanted: dict[str, float]
    """Isolation -> ratio to monty that is aimed at."""


CASES = [
    Case("one line", "1 + 1", "1 + 1", 40, {"process": 2.5, "shared": 1.0}),
    Case(
        "100 calls in a row",
        "let n = 0; for (let i = 0; i < 100; i++) n = await tools.add({a: n, b: i}); n",
        "n = 0\nfor i in range(100):\n    n = await add(n, i)\nn",
        3,
        {"process": 0.8, "shared": 0.8},
    ),
    Case(
        "100 calls at once",
        "(await Promise.all(Array.from({length: 100}, (_, i) => tools.add({a: i, b: i})))).length",
        "import asyncio\nlen(await asyncio.gather(*[add(i, i) for i in range(100)]))",
        3,
        {},
    ),
]


def harness_run(harness: Harness, script: str) -> Run:
    text = f"<tool-calls>{script}</tool-calls>"

    async def run() -> None:
        outcome = await harness.run(text, trust_domain="bench")
        assert outcome.executions[0].status == "ok", outcome.executions[0].error

    return run


def monty_run(pool: pydantic_monty.AsyncMonty, python: str) -> Run:
    async def run() -> None:
        async with pool.checkout() as session:
            await session.feed_run(python, external_lookup={"add": monty_add})

    return run


async def timed(run: Run, repeat: int) -> float:
    """Seconds for one, over ``repeat`` in a row."""
    started = time.perf_counter()
    for _ in range(repeat):
        await run()
    return (time.perf_counter() - started) / repeat


async def compare(runs: dict[str, Run], repeat: int) -> dict[str, float]:
    """Median seconds by name, the contenders taking turns."""
    for run in runs.values():
        await run()
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            seconds[name].append(await timed(run, repeat))
    return {name: statistics.median(values) for name, values in seconds.items()}


def import_seconds(statement: str) -> float:
    """Median seconds of a fresh interpreter that runs ``statement``, less those of one that runs nothing."""

    def once(code: str) -> float:
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - started

    pairs = [(once(statement), once("pass")) for _ in range(ROUNDS)]
    return statistics.median(with_it - without for with_it, without in pairs)


async def main() -> None:
    console = Console()
    table = Table(title="medians, and ratios to pydantic-monty", title_justify="left")
    for column in ("case", "monty", "process", "ratio", "aim", "shared", "ratio", "aim"):
        table.add_column(column, justify="left" if column == "case" else "right")
    limits = {"max_tool_calls": 1_000, "max_concurrent_tool_calls": 100}
    in_a_row: dict[str, float] = {}
    per_second: dict[str, float] = {}
    async with (
        pydantic_monty.AsyncMonty() as pool,
        Harness(tools=[add], limits=limits) as process,
        Harness(tools=[add], limits=limits, isolation="shared") as shared,
    ):
        for case in CASES:
            seconds = await compare(
                {
                    "monty": monty_run(pool, case.python),
                    "process": harness_run(process, case.script),
                    "shared": harness_run(shared, case.script),
                },
                case.repeat,
            )
            cells = [case.name, f"{seconds['monty'] * 1000:.2f} ms"]
            for isolation in ("process", "shared"):
                aim = case.wanted.get(isolation)
                cells += [
                    f"{seconds[isolation] * 1000:.2f} ms",
                    f"{seconds[isolation] / seconds['monty']:.2f} ×",
                    f"≤ {aim:g} ×" if aim else "",
                ]
            table.add_row(*cells)
            if case.name == "one line":
                per_second = {name: 1 / value for name, value in seconds.items()}
            if case.name == "100 calls in a row":
                in_a_row = seconds
            if case.name == "100 calls at once":
                at_once = seconds
    console.print(table)
    console.print(
        "executions per second, one after another: "
        + ", ".join(f"{name} {value:,.0f}" for name, value in per_second.items())
    )
    for isolation in ("process", "shared"):
        console.print(
            f"100 at once / 100 in a row, {isolation}: {at_once[isolation] / in_a_row[isolation]:.2f} (aim ≤ 0.2)"
        )
    pydantic_import = import_seconds("import pydantic; pydantic.BaseModel")
    for statement in ("import harness", "from harness import Harness"):
        ratio = import_seconds(statement) / pydantic_import
        console.print(f"`{statement}` / `import pydantic; pydantic.BaseModel`: {ratio:.2f} (aim ≤ 1.3)")


if __name__ == "__main__":
    anyio.run(main)
