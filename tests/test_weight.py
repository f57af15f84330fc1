"""What a script takes to compile, which no limit of the engine bounds: the estimate, the bound, and what is said of it."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from harness import Harness
from harness.limits import MIB
from harness.runtime.weight import MOST_FOR_TABLES, too_heavy
from harness.runtime.worker import VM

STACK = 2 * MIB
EACH_BYTE = 200
"""What every byte of source may take besides."""


def block(script: str) -> str:
    return f"<tool-calls>{script}</tool-calls>"


def most(piece: str) -> int:
    """How often it may stand in a script."""
    low, high = 0, 100_000
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if too_heavy(piece * middle) is None else (low, middle - 1)
    return low


def taken(source: str, vm: VM) -> int:
    """Bytes that a compiled script takes."""
    before: int = vm._context.memory()["malloc_size"]
    script, _, problem = vm._compiled({"source": source, "code": source})
    assert problem is None, problem
    after: int = vm._context.memory()["malloc_size"]
    del script
    return after - before


ANY, UNICODE, SETS = ("i", "iu", "iv", "v"), ("iu", "iv", "v"), ("iv", "v")
CLASSES = {
    r"\p{RGI_Emoji}": SETS,
    r"[\p{RGI_Emoji}a]": SETS,
    r"[\p{RGI_Emoji}--\p{Basic_Emoji}]": SETS,
    r"(?i:\p{RGI_Emoji_ZWJ_Sequence})": SETS,
    r"[\q{ab|cd}]": SETS,
    r"\p{L}": UNICODE,
    r"\p{Alpha}": UNICODE,
    r"[^\P{Script=Zzzz}a-z]": UNICODE,
    r"[\p{Assigned}]": UNICODE,
    r"[^a-\u{10ffff}]": UNICODE,
    r"[\0-\uffff]": ANY,
    "[^a-\uffff]": ANY,
    r"\W": ANY,
    "[^a]": ANY,
    "(?<=a)": ANY,
    ".": ANY,
}


@pytest.mark.requirement("VM-028")
@pytest.mark.slow
@pytest.mark.parametrize("many", ["in one expression", "in one each"])
@pytest.mark.parametrize(
    ("piece", "flags"), [(piece, flags) for piece, all_flags in CLASSES.items() for flags in all_flags]
)
def test_no_script_that_is_compiled_takes_more_than_the_bound(piece, flags, many):
    count = min(most(piece), 20_000 // len(piece))
    source = f"/{piece * count}/{flags}" if many == "in one expression" else f"/{piece}/{flags}," * count
    assert taken(f"return [{source}]", VM(stack_bytes=STACK)) < MOST_FOR_TABLES + EACH_BYTE * len(source.encode())


@pytest.mark.requirement("VM-028")
@pytest.mark.parametrize(
    "piece",
    [*["class{#a},", "a``,", "class{a;b},", "x=>x,", "/a/,", "{},", "`a${b}c`,", "1n,", "()=>{},", "f(...a),", "-1,"]],
)
def test_other_source_takes_little(piece):
    source = f"return [{piece * (20_000 // len(piece))}]"
    assert taken(source, VM(stack_bytes=STACK)) < EACH_BYTE * len(source)


@pytest.mark.requirement("VM-028")
def test_the_estimate_is_about_classes_and_not_about_text():
    dates = ",".join(f'"2024-{month:02}-{day:02}"' for month, day in product(range(1, 13), range(1, 29)))
    rulers = "// " + "-" * 5_000 + "\n"
    for source in [
        f"return [{dates}]" * 50,
        rulers * 20,
        "a - b;" * 3_000,
        "/[a-z0-9_-]/iu;" * 1_000,
        "'\u0447\u0442\u043e-\u0442\u043e';" * 2_000,
    ]:
        assert too_heavy(source) is None
    assert most(r"\p{RGI_Emoji}") > 250
    assert most(r"\P{L}") > 1_000


@pytest.mark.requirement("VM-028")
def test_where_it_becomes_too_much_is_told():
    many = most(r"\p{RGI_Emoji}")
    source = "// \u20ac\r\n/x/;\u2028 \u20ac " + r"/\p{RGI_Emoji}/v;" * (many + 1)
    place = too_heavy(source)
    assert place == (3, 6 + many * len(r"/\p{RGI_Emoji}/v;") + 1)
    assert too_heavy(source.removesuffix(r"/\p{RGI_Emoji}/v;")) is None


BOMBS = {
    "many expressions": "return [" + r"/\p{RGI_Emoji}/v," * 1_150 + "]",
    "one expression": "return /" + r"\p{RGI_Emoji}" * 1_400 + "/v",
    "in a class": "return /[" + r"\P{RGI_Emoji}" * 1_400 + "]/v",
}


def held() -> int:
    """What this process holds now; from here on its peak counts from there."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def peak() -> int:
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


@pytest.mark.anyio
@pytest.mark.requirement("VM-028")
@pytest.mark.parametrize("isolation", ["process", "thread"])
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_script_that_is_too_heavy_is_refused_before_it_costs_anything(isolation):
    async with Harness(isolation=isolation) as harness:
        await harness.run(block("1"))
        before = held()
        for bomb in BOMBS.values():
            [execution] = (await harness.run(block(bomb))).executions
            assert execution.error is not None
            assert execution.error.type == "ScriptSyntaxError"
            assert "may take more than 32 MiB" in execution.error.message
            assert "write each class once" in execution.error.message
            assert (execution.error.line, execution.error.retryable) == (1, False)
            [found] = await harness.check(block(bomb))
            assert (found.code, found.line) == ("ScriptSyntaxError", 1)
        # In a thread the VM is a part of this process.
        assert peak() - before < 16 * MIB
        assert (await harness.run(block("2"))).executions[0].value == 2
