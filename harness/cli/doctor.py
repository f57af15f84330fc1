"""What ``harness doctor`` shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table
from rich.text import Text

from harness.redaction import visible
from harness.runtime.doctor import report
from harness.sync import run_alone

__all__ = ["doctor_table", "protections"]


def protections() -> list[dict[str, Any]]:
    """Every protection there is, as ``{"name": …, "active": …, "detail": …}``."""
    return [asdict(protection) for protection in run_alone(report)]


def doctor_table(found: Sequence[Mapping[str, Any]]) -> Table:
    table = Table.grid(padding=(0, 2))
    for protection in found:
        state = Text("active", style="green") if protection["active"] else Text("missing", style="bold red")
        table.add_row(state, Text(protection["name"], style="bold"), Text(visible(protection["detail"])))
    return table
