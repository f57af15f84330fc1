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

__all__ = ["doctor_table", "protections", "verdict"]


def protections() -> list[dict[str, Any]]:
    """Every protection there is, as ``{"name": …, "active": …, "detail": …}``."""
    return [asdict(protection) for protection in run_alone(report)]


def doctor_table(found: Sequence[Mapping[str, Any]]) -> Table:
    table = Table.grid(padding=(0, 2))
    for protection in found:
        state = Text("active", style="green") if protection["active"] else Text("missing", style="bold red")
        table.add_row(state, Text(protection["name"], style="bold"), Text(visible(protection["detail"])))
    return table


def verdict(found: Sequence[Mapping[str, Any]]) -> Text:
    """One line: what becomes of a script here."""
    if all(protection["active"] for protection in found):
        return Text("Everything is active.")
    if not next(protection for protection in found if protection["name"] == "worker")["active"]:
        return Text("No script can run here in a process of its own.")
    return Text(
        "Scripts run with less protection than there could be (hardening=best_effort), or not at all (required)."
    )
