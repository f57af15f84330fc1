"""Canonical JSON beside the libraries that write it: how many times as fast as `rfc8785` each is.

``make bench-canonical``. The contenders take turns, so that a machine whose speed drifts is fair to all of them; each
figure is the median of the rounds' ratios. What writes other bytes than `rfc8785` is said to.
"""

from __future__ import annotations

import json
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

import jcs
import jcs_admit
import orjson
import rfc8785
from rich.console import Console
from rich.table import Table

from harness.canonical import to_canonical_bytes

ROUNDS = 15
SECONDS = 0.02
"""For one contender in one round."""

Write = Callable[[Any], bytes]

CONTENDERS: dict[str, Write] = {
    "rfc8785": rfc8785.dumps,
    "harness": to_canonical_bytes,
    "jcs": jcs.canonicalize,
    "jcs-admit, from orjson": lambda value: jcs_admit.admit(orjson.dumps(value)),
    "json.dumps (not canonical)": lambda value: json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False
    ).encode(),
}


def cases() -> dict[str, Any]:
    """What is hashed and recorded, small and large."""
    chance = random.Random(1)
    nested: Any = 1
    for _ in range(50):
        nested = {"b": nested, "a": [1, "x"]}
    orders = [{"id": number, "total": 12.5 + number, "name": "Bücherregal"} for number in range(5)]
    rows = [
        {"id": n, "name": f"row {n}", "ok": n % 2 == 0, "price": chance.random() * 1000, "tags": ["a", "b", None]}
        for n in range(500)
    ]
    return {
        "arguments": {"order_id": "o-17", "cents": 1250, "note": "late"},
        "a call's record": {"seq": 17, "kind": "settled", "before": "a" * 64, "tool": "crm.orders", "value": orders},
        "500 rows": rows,
        "1,000 fractions": [chance.random() for _ in range(1_000)],
        "1,000 large numbers": [chance.random() * 10.0 ** chance.randrange(16, 30) for _ in range(1_000)],
        "50 levels": nested,
        "100 KB of text": "The quick brown fox — “jumps”\n" * 3_000,
    }


def seconds(write: Write, value: Any, count: int) -> float:
    """For one, over ``count`` in a row."""
    started = time.perf_counter()
    for _ in range(count):
        write(value)
    return (time.perf_counter() - started) / count


def main() -> None:
    """Print the table."""
    table = Table("", "bytes", "rfc8785, µs", *(name for name in CONTENDERS if name != "rfc8785"))
    for name, value in cases().items():
        wanted = rfc8785.dumps(value)
        counts = {each: max(1, int(SECONDS / seconds(write, value, 3))) for each, write in CONTENDERS.items()}
        ratios: dict[str, list[float]] = {each: [] for each in CONTENDERS}
        base: list[float] = []
        for _ in range(ROUNDS):
            took = {each: seconds(write, value, counts[each]) for each, write in CONTENDERS.items()}
            base.append(took["rfc8785"])
            for each, time_taken in took.items():
                ratios[each].append(took["rfc8785"] / time_taken)
        cells = [
            f"{statistics.median(ratios[each]):.1f}" + ("" if write(value) == wanted else " (other bytes)")
            for each, write in CONTENDERS.items()
            if each != "rfc8785"
        ]
        table.add_row(name, f"{len(wanted):,}", f"{statistics.median(base) * 1e6:,.1f}", *cells)
    Console().print(table)


if __name__ == "__main__":
    main()
