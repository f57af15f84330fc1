"""Many runs of one input, whatever differs around them: one hash."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from harness import Harness
from harness.limits import Limits
from harness.testing import FakeTools

DEPTH = 50
SCRIPT = """One tool of ten, most of them together.

<tool-calls id="all">
const names = Array.from({ length: 10 }, (_, i) => i * COUNT / 10).map((n) => `group${n % 7}.tool${n}`);
const call = (name, i) => {
  const [group, tool] = name.split('.');
  return tools[group][tool]({ z: i, a: { y: [i, 0.1 * i], b: `n${i}` }, "\\u00e9": null });
};
const together = await Promise.all(names.slice(1).map(call));
const last = await call(names[0], names.length);
console.log('called', names.length, Math.random());
progress('done', { count: names.length });
return { together, last, size: 1e21, small: 1e-7, half: 0.5 };
</tool-calls>

<tool-calls>
try { await tools.group0.tool0({}) } catch (error) { return error.name }
return await tools.group1.fails({ b: 1, a: 2 });
</tool-calls>
"""


def nested(depth: int, chance: random.Random) -> Any:
    """An object of objects; the order of the keys is another one at each level, each time."""
    value: Any = {"end": [1, 2.5, "x", None, True, "\ufb33", "\U0001f600"]}
    for level in range(depth):
        members = [("inner", value), ("level", level), ("\u00e9", 1e-7), ("a b", [level] * 3), ("\U0001f600", "")]
        chance.shuffle(members)
        value = dict(members)
    return value


def tools(count: int, chance: random.Random) -> FakeTools:
    """Registered in another order each time. Their results are of another order each time, some of them deep."""
    fakes = FakeTools()
    numbers = list(range(count))
    chance.shuffle(numbers)
    for number in numbers:
        depth = DEPTH if number == count // 10 else 1
        fakes.add(f"group{number % 7}.tool{number}", lambda _, depth=depth: nested(depth, chance))
    fakes.add("group1.fails", ValueError("it always does"))
    return fakes


async def hashes(count: int, runs: int, at_once: int, seed: int) -> set[str]:
    """The hashes of all runs, with what else has a hash."""
    chance = random.Random(seed)
    found: set[str] = set()
    fakes = tools(count, chance)
    limits = Limits(wall_time=300)
    async with Harness(fakes, limits=limits, seed=7) as harness:

        async def worker(number: int) -> None:
            for _ in range(number):
                outcome = await harness.run(SCRIPT.replace("COUNT", str(count)))
                assert [each.status for each in outcome.executions] == ["ok", "error"], outcome.executions[0].error
                assert f'"level":{DEPTH - 1}' in outcome.to_canonical_json()
                assert len(outcome.executions[0].calls) == 10
                found.add(outcome.content_hash())

        async with anyio.create_task_group() as group:
            for _ in range(at_once):
                group.start_soon(worker, runs // at_once)
    return {f"{each} {fakes.content_hash()}" for each in found}


@pytest.mark.anyio
@pytest.mark.requirement("CAN-010")
async def test_a_few_runs_have_one_hash():
    first = await hashes(count=10, runs=2, at_once=2, seed=1)
    assert len(first) == 1
    assert await hashes(count=10, runs=1, at_once=1, seed=2) == first


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.timeout(600)
@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # the loops are compared above
@pytest.mark.requirement("CAN-010")
async def test_a_thousand_runs_of_a_hundred_tools_fifty_at_a_time_have_one_hash():
    assert len(await hashes(count=100, runs=1_000, at_once=50, seed=3)) == 1


PROGRAM = """
import importlib.util, json, sys
import anyio
spec = importlib.util.spec_from_file_location("runs", sys.argv[1])
runs = importlib.util.module_from_spec(spec)
spec.loader.exec_module(runs)
print(json.dumps(sorted(anyio.run(runs.hashes, 100, 4, 2, int(sys.argv[2])))))
"""


@pytest.mark.slow
@pytest.mark.requirement("CAN-010")
def test_processes_with_different_hash_seeds_have_one_hash():
    found = set()
    for number, hash_seed in enumerate(("0", "1", "4242", "random")):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, __file__, str(number)],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(Path(__file__).parent.parent)},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        found.update(json.loads(done.stdout))
    assert len(found) == 1
