"""Journals that fail in the middle of a run: nothing is lost silently, and nothing begins that is not on record."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from harness import Decision, Harness, Journal, tool
from harness.journal.sqlite import SqliteStore
from harness.journal.transfer import export_lines

pytestmark = pytest.mark.anyio

SCRIPT = """
const seen = [];
for (const n of [1, 2, 3, 4]) try { seen.push(n === 2 ? await tools.break_it({}) : await tools.charge({n})) } catch (e) { seen.push(e.name) }
seen
"""


class Breaking:
    """A journal on disk, and ways to break it while a run is under way."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.store = SqliteStore(path)
        self.store.size()
        self.other = sqlite3.connect(path, isolation_level=None)

    @property
    def _own(self) -> sqlite3.Connection:
        assert self.store._connection is not None
        return self.store._connection

    def read_only(self) -> Callable[[], Any]:
        # What permissions are to SQLite; they do not bind everybody.
        self._own.execute("PRAGMA query_only = ON")
        return lambda: self._own.execute("PRAGMA query_only = OFF")

    def locked(self) -> Callable[[], Any]:
        self._own.execute("PRAGMA busy_timeout = 50")
        self.other.execute("BEGIN IMMEDIATE")
        return lambda: self.other.execute("ROLLBACK")

    def deleted(self) -> None:
        for name in self.path.parent.glob(f"{self.path.name}*"):
            name.unlink()

    def replaced(self) -> None:
        self.deleted()
        SqliteStore(self.path).close()

    def close(self) -> None:
        self.other.close()
        self.store.close()


@pytest.mark.requirement("JRN-052", "JRN-007", "JRN-060")
@pytest.mark.parametrize("how", ["read_only", "locked", "deleted", "replaced"])
async def test_a_journal_that_breaks_in_the_middle_of_a_run(tmp_path, how):
    breaking = Breaking(tmp_path / "runs.sqlite")
    done: list[int] = []
    mend: list[Callable[[], Any] | None] = []

    @tool
    async def charge(n: int) -> int:
        done.append(n)
        return n

    @tool
    async def break_it() -> int:
        done.append(2)
        if not mend:
            mend.append(getattr(breaking, how)())
        return 2

    harness = Harness([charge, break_it], journal=Journal(breaking.store), isolation="thread")
    outcome = await harness.run(
        f"<tool-calls>{SCRIPT}</tool-calls> and <tool-calls>await tools.charge({{n: 9}})</tool-calls>"
    )
    first, second = outcome.executions
    assert first.error is not None
    assert (first.status, first.error.type, second.status) == ("error", "JournalWriteError", "skipped")
    assert done == [1, 2]
    # What has happened is told, though it could not be put on record.
    assert [call.status for call in first.calls] == ["ok", "ok"]
    assert [diagnostic.code for diagnostic in (*first.diagnostics, *outcome.diagnostics)] == ["journal_incomplete"] * 2
    back = mend[0]
    if back is not None:
        back()
    breaking.close()
    if back is None:
        return  # what was there is gone
    # Whoever goes on with it later knows what may have happened, and does none of it again.
    harness = Harness([charge, break_it], journal=str(breaking.path), isolation="thread")
    again = await harness.recover(outcome.id)
    assert [(request.tool, request.kind) for request in again.pending] == [("break_it", "in_doubt")]
    done_later = await harness.resume(again.resume_token or "", {again.pending[0].id: Decision.answer(2)})
    assert [execution.value for execution in done_later.executions] == [[1, 2, 3, 4], 9]
    assert done == [1, 2, 3, 4, 9]


FULL_DISK = """
    import json, resource, signal, sys, anyio
    from harness import Harness, JournalWriteError, tool

    async def main():
        path, ledger, room = sys.argv[1], sys.argv[2], int(sys.argv[3])
        lines = open(ledger, "a", buffering=1)

        @tool
        async def charge(n: int) -> str:
            lines.write(f"{n}" + chr(10))
            return "x" * 2000

        harness = Harness([charge], journal=path, isolation="thread")
        await harness.run("<tool-calls>1</tool-calls>")
        # From here on no file of this process grows past that.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
        script = "for (let n = 1; n <= 60; n++) try { await tools.charge({n}) } catch (e) { console.log(e.name) }"
        try:
            outcome = await harness.run(f"<tool-calls>{script}</tool-calls>")
        except JournalWriteError as error:
            print(json.dumps({"refused": error.message}))
            return
        (execution,) = outcome.executions
        print(json.dumps({
            "id": outcome.id,
            "execution": execution.id,
            "error": execution.error and execution.error.type,
            "logs": [line.text for line in execution.logs],
            "codes": [one.code for one in (*execution.diagnostics, *outcome.diagnostics)],
        }))

    anyio.run(main)
"""


@pytest.mark.slow
@pytest.mark.requirement("JRN-052", "JRN-005")
@pytest.mark.parametrize("room", [40_000, 150_000, 300_000])
@pytest.mark.skipif(sys.platform == "win32", reason="needs RLIMIT_FSIZE")
def test_a_disk_that_is_full(tmp_path, room):
    path, ledger = tmp_path / "runs.sqlite", tmp_path / "ledger"
    ledger.touch()
    command = [sys.executable, "-c", textwrap.dedent(FULL_DISK), str(path), str(ledger), str(room)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=50)
    told, effects = json.loads(done.stdout), ledger.read_text().splitlines()
    journal = Journal(path)
    lines = [json.loads(line) for line in export_lines(journal)]
    journal.close()
    if "refused" in told:
        assert effects == []
        return
    # No effect that is not on record, and the script could not catch what ended it.
    started = [line for line in lines if line["stream"] == told["execution"] and line["kind"] == "call_started"]
    assert len(effects) == len(started) < 60
    assert (told["error"], told["logs"]) == ("JournalWriteError", [])
    assert "journal_incomplete" in told["codes"]


@pytest.mark.requirement("JRN-015", "JRN-052")
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds the worker in /proc")
async def test_a_worker_that_is_killed_is_on_record(tmp_path):
    done: list[int] = []

    @tool
    async def charge(n: int) -> int:
        done.append(n)
        return n

    @tool
    async def kill() -> None:
        for pid in workers(harness):
            os.kill(pid, 9)
        await anyio.sleep_forever()

    async with Harness([charge, kill], journal=str(tmp_path / "runs.sqlite")) as harness:
        outcome = await harness.run(
            "<tool-calls>await tools.charge({n: 1}); await tools.kill({}); await tools.charge({n: 2})</tool-calls>"
        )
        (execution,) = outcome.executions
        assert execution.error is not None
        assert execution.error.type == "WorkerCrashedError"
        assert (done, [call.status for call in execution.calls]) == ([1], ["ok", "cancelled"])
        assert (await harness.replay(outcome.id)).to_canonical_json() == outcome.to_canonical_json()
        assert [entry.status for entry in await harness.executions()] == ["error"]


def workers(harness: Harness) -> list[int]:
    """Processes that may be executing something."""
    from tests.test_soak import processes_of

    return [int(pid) for pid in processes_of(harness)]
