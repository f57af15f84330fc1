"""Processes that are killed in the middle of a run, and a ledger outside that counts what they did."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork: each life is a child of one process")


def crashing(*arguments: str) -> dict[str, Any]:
    """What `tests/crashing.py` found, in a process that has no other thread and no event loop."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.crashing", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["problems"] == [], done.stderr
    assert done.returncode == 0
    return found


@pytest.mark.requirement("CRS-001", "CRS-005")
def test_what_was_killed_can_be_finished_and_nothing_happens_twice():
    found = crashing("sweep", "--first", "7", "--step", "40")
    assert found["killed"] >= 2
    assert found["effects"] >= 12 * found["cases"]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.requirement("CRS-001", "CRS-002", "CRS-003", "CRS-005")
def test_whichever_append_it_was():
    found = crashing("sweep", "--again", "--policies", "truth,deny,truth,terminate,truth")
    assert found["killed"] >= 100
    assert found["in_doubt"] > 0


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.requirement("CRS-001")
@pytest.mark.parametrize("isolation", ["process", "shared"])
def test_workers_are_no_obstacle(isolation):
    found = crashing("sweep", "--first", "2", "--step", "5", "--isolation", isolation)
    assert found["killed"] >= 10


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.requirement("CRS-004")
@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_CHILD_SUBREAPER")
def test_under_load_at_random_moments():
    found = crashing("soak", "--seconds", "8")
    assert found["killed"] >= 5
