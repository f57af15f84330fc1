"""Events, chains and stores: what is on record, and what a record that was tampered with is worth."""

from __future__ import annotations

import functools
import json
import os
import sqlite3
import subprocess
import sys
import textwrap
import threading
from typing import Any, Literal

import anyio
import pytest

from harness.errors import (
    JournalConflictError,
    JournalDamagedError,
    JournalFullError,
    JournalKeyError,
    JournalWriteError,
    UsageError,
)
from harness.journal.events import Event
from harness.journal.journal import Journal
from harness.journal.payloads import CallIssued, CallStarted, FrameSent
from harness.journal.sqlite import SqliteStore
from harness.journal.transfer import export_lines, import_lines
from harness.journal.values import new_key

SECRET = "the secret value"
SIGNING_KEY = "a signing key of 32 bytes or more"


def frame(number: int) -> FrameSent:
    return FrameSent(number=number, now_ms=1_000 + number, budget="null", items=(("call", number),) if number else ())


def issued(call: int, arguments: str = SECRET) -> CallIssued:
    return CallIssued(call=call, tool="echo", arguments_json=json.dumps([{"text": arguments}]), line=1)


async def written(journal: Journal, execution_id: str = "exec_1", count: int = 3) -> list[Event]:
    log = journal.begin(execution_id)
    for number in range(count):
        await log.write(issued(number + 1))
    return journal.store.read(execution_id)


@pytest.fixture(params=["memory", "sqlite"])
def store(request, tmp_path) -> Any:
    return None if request.param == "memory" else tmp_path / "runs.sqlite"


@pytest.fixture
def journal(store):
    journal = Journal(store)
    yield journal
    journal.close()


# ── what is appended ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.anyio
@pytest.mark.requirement("JRN-004")
async def test_a_store_gives_back_what_was_appended(journal):
    payloads = [frame(0), issued(1), CallStarted(call=1, arguments_sha256="0" * 64), frame(1)]
    log = journal.begin("exec_1")
    for payload in payloads:
        await log.write(payload)
    await journal.begin("exec_2").write(frame(0))
    assert [recorded.payload for recorded in await journal.read("exec_1")] == payloads
    assert [recorded.event.seq for recorded in await journal.read("exec_1")] == [1, 2, 3, 4]
    assert [(known.stream, known.events) for known in await journal.streams()] == [
        ("exec_1", 4),
        ("exec_2", 1),
    ]
    assert await journal.read("exec_3") == []
    assert journal.store.size() > 0
    journal.store.delete("exec_1")
    assert [known.stream for known in await journal.streams()] == ["exec_2"]
    assert await journal.read("exec_1") == []


@pytest.mark.anyio
@pytest.mark.requirement("JRN-011")
async def test_tasks_that_write_at_the_same_time_share_an_append(journal):
    appends = []
    append = journal.store.append

    def counting(events: Any) -> None:
        appends.append(len(events))
        append(events)

    journal.store.append = counting
    log = journal.begin("exec_1")
    async with anyio.create_task_group() as group:
        for number in range(100):
            group.start_soon(log.write, frame(number), name=str(number))
    assert sum(appends) == 100
    assert len(appends) < 10, appends
    numbers = [recorded.payload.number for recorded in await journal.read("exec_1")]
    assert sorted(numbers) == list(range(100))


@pytest.mark.anyio
@pytest.mark.requirement("JRN-006")
async def test_two_writers_of_one_execution_cannot_both_go_on(journal):
    events = await written(journal)
    first, second = (journal.go_on(events[-1]) for _ in range(2))
    await first.write(frame(1))
    with pytest.raises(JournalConflictError):
        await second.write(frame(2), frame(3))
    with pytest.raises(JournalConflictError):
        await second.write(frame(4))
    await first.write(frame(5))
    assert len(await journal.read("exec_1")) == len(events) + 2


@pytest.mark.slow
@pytest.mark.requirement("JRN-006")
def test_of_many_processes_that_add_the_same_event_one_succeeds(tmp_path):
    path = tmp_path / "runs.sqlite"
    SqliteStore(path).close()
    code = """
        import sys, anyio
        from harness.errors import JournalConflictError
        from harness.journal.journal import Journal
        from harness.journal.payloads import FrameSent
        async def main():
            log = Journal(sys.argv[1]).begin("exec_1")
            sys.stdin.readline()
            try:
                await log.write(FrameSent(number=0, now_ms=1, budget="null"))
            except JournalConflictError:
                print("conflict")
            else:
                print("written")
        anyio.run(main)
    """
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code), str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    answers = sorted(process.communicate("\n", timeout=50)[0].strip() for process in processes)
    assert answers == ["conflict"] * 3 + ["written"]


@pytest.mark.requirement("JRN-006")
def test_threads_share_a_store(tmp_path):
    journal = Journal(tmp_path / "runs.sqlite")

    def write(name: str) -> None:
        anyio.run(written, journal, name, 20)

    threads = [threading.Thread(target=write, args=(f"exec_{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(50)
    assert [known.events for known in journal.store.streams()] == [20] * 4
    journal.close()


@pytest.mark.requirement("JRN-005")
def test_what_was_appended_survives_a_kill(tmp_path):
    path = tmp_path / "runs.sqlite"
    code = """
        import os, signal, sys, anyio
        from harness.journal.journal import Journal
        from harness.journal.payloads import FrameSent
        async def main():
            log = Journal(sys.argv[1]).begin("exec_1")
            for number in range(50):
                await log.write(*(FrameSent(number=number, now_ms=ms, budget="null") for ms in (1, 2)))
                print(number, flush=True)
                if number == 30:
                    os.kill(os.getpid(), signal.SIGKILL)
        anyio.run(main)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(path)],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.stdout.split()[-1] == "30"
    journal = Journal(path)
    assert len(journal.store.read("exec_1")) == 62
    journal.close()


# ── what is refused ──────────────────────────────────────────────────────────────────────────────────────────────

TAMPERING: dict[str, Any] = {
    "missing": lambda events: events.pop(1),
    "first missing": lambda events: events.pop(0),
    "doubled": lambda events: events.insert(1, events[1]),
    "swapped": lambda events: events.__setitem__(slice(0, 2), [events[1], events[0]]),
    "another execution": lambda events: events.__setitem__(1, events[1] | {"execution_id": "exec_2"}),
    "values changed": lambda events: events[1]["values"].update(arguments_json="[]"),
    "data changed": lambda events: events[1]["data"].update(tool="rm"),
    "time changed": lambda events: events[1].update(at=0.0),
    "kind changed": lambda events: events[1].update(kind="frame"),
    "newer": lambda events: events[1].update(version=99),
    "hash changed": lambda events: events[1].update(hash="0" * 64),
    "no hash": lambda events: events[1].pop("hash"),
    "number as text": lambda events: events[1].update(seq="2"),
    "unknown field": lambda events: events[1].update(more=1),
}


@pytest.mark.anyio
@pytest.mark.requirement("JRN-001")
@pytest.mark.parametrize("tampering", TAMPERING.values(), ids=TAMPERING)
async def test_a_journal_that_was_changed_is_not_believed(tampering, tmp_path):
    journal = Journal(tmp_path / "runs.sqlite")
    await written(journal)
    journal.close()
    connection = sqlite3.connect(tmp_path / "runs.sqlite")
    events = [json.loads(body) for (body,) in connection.execute("SELECT body FROM events ORDER BY seq")]
    tampering(events)
    connection.execute("DELETE FROM events")
    for number, event in enumerate(events, 1):
        connection.execute("INSERT INTO events VALUES ('exec_1', ?, ?)", (number, json.dumps(event)))
    connection.commit()
    connection.close()
    journal = Journal(tmp_path / "runs.sqlite")
    with pytest.raises(JournalDamagedError):
        await journal.read("exec_1")
    journal.close()


def forged(events: list[Event]) -> list[Event]:
    """The same events with another tool's name, in a chain that is whole."""
    log = Journal()
    previous, result = None, []
    for event in events:
        payload = CallIssued.model_validate({**event.data, **(event.values or {}), "tool": "rm"})
        previous = log.event(event.stream, previous, payload)
        result.append(previous)
    return result


@pytest.mark.anyio
@pytest.mark.requirement("JRN-002")
async def test_only_a_signature_tells_a_forged_chain():
    signed = Journal(signing_key=SIGNING_KEY)
    events = await written(signed)
    signed.verify(events)
    Journal().verify(events)
    Journal().verify(forged(events))
    for other in (forged(events), await written(Journal()), await written(Journal(signing_key="x" * 32))):
        with pytest.raises(JournalDamagedError, match="signing key"):
            signed.verify(other)
    copied = [event.model_copy(update={"mac": event.mac}) for event in forged(events)]
    with pytest.raises(JournalDamagedError, match="event 1 on"):
        signed.verify(copied)
    with pytest.raises(UsageError, match="16 bytes"):
        Journal(signing_key="short")


@pytest.mark.anyio
@pytest.mark.requirement("JRN-003")
async def test_values_are_kept_encrypted_or_left_out(tmp_path):
    key = new_key()
    names: list[tuple[Literal["plain", "encrypted", "omitted"], str | None]]
    names = [("plain", None), ("encrypted", key), ("omitted", None)]
    for name, own_key in names:
        journal = Journal(tmp_path / name, values=name, key=own_key)
        await written(journal, count=1)
        payload = (await journal.read("exec_1"))[0].payload
        assert journal.values == name
        assert (payload is None) == (name == "omitted")
        assert payload is None or payload == issued(1)
        journal.close()
        kept = b"".join(file.read_bytes() for file in tmp_path.glob(f"{name}*"))
        assert (SECRET.encode() in kept) == (name == "plain")
    for journal in (
        Journal(tmp_path / "encrypted"),
        Journal(tmp_path / "encrypted", values="encrypted", key=new_key()),
    ):
        with pytest.raises(JournalKeyError):
            await journal.read("exec_1")
        journal.close()


@pytest.mark.anyio
@pytest.mark.requirement("JRN-003")
async def test_a_sealed_text_cannot_stand_elsewhere():
    journal = Journal(values="encrypted", key=new_key())
    first, second, _ = await written(journal)
    moved = journal._policy.open
    with pytest.raises(JournalKeyError):
        moved(None, first.sealed, f"exec_1/{second.seq}/{second.kind}")
    assert moved(None, first.sealed, "exec_1/1/call_issued") == issued(1).split()[1]


@pytest.mark.requirement("JRN-003")
@pytest.mark.parametrize(
    "options",
    [
        {"values": "encrypted"},
        {"values": "encrypted", "key": "short"},
        {"values": "encrypted", "key": "not base64 ☃"},
        {"key": new_key()},
        {"values": "all"},
    ],
)
def test_a_key_that_does_not_fit_is_a_usage_error(options):
    with pytest.raises(UsageError):
        Journal(**options)


@pytest.mark.anyio
@pytest.mark.requirement("JRN-008")
async def test_a_value_or_a_journal_that_is_too_large_is_refused(store):
    journal = Journal(store, max_value_bytes=2_000)
    with pytest.raises(JournalFullError) as raised:
        await journal.begin("exec_1").write(issued(1, "x" * 2_000))
    assert raised.value.details["limit"] == 2_000
    assert await journal.read("exec_1") == []
    journal.close()
    journal = Journal(store, max_bytes=200_000)
    log = journal.begin("exec_2")

    async def fill() -> None:
        for number in range(1, 100):
            await log.write(issued(number, "x" * 10_000))

    with pytest.raises(JournalFullError, match="max_bytes"):
        await fill()
    assert 10 < len(await journal.read("exec_2")) < 30
    journal.close()


@pytest.mark.anyio
@pytest.mark.requirement("JRN-007")
async def test_a_store_that_takes_nothing_any_more_stops_its_execution(tmp_path):
    store = SqliteStore(tmp_path / "runs.sqlite")
    journal = Journal(store)
    log = journal.begin("exec_1")
    await log.write(frame(0))
    # What a full disk is to SQLite; permissions do not bind everybody.
    connection: Any = store._connection
    connection.execute("PRAGMA query_only = ON")
    failures = []

    async def write(number: int) -> None:
        with pytest.raises(JournalWriteError, match="make room"):
            await log.write(frame(number))
        failures.append(number)

    async with anyio.create_task_group() as group:
        for number in range(1, 6):
            group.start_soon(write, number)
    assert len(failures) == 5
    connection.execute("PRAGMA query_only = OFF")
    with pytest.raises(JournalWriteError):
        await log.write(frame(9))
    assert len(await journal.read("exec_1")) == 1
    journal.close()


@pytest.mark.requirement("JRN-007")
def test_a_full_disk_is_told(tmp_path):
    store = SqliteStore(tmp_path / "runs.sqlite")
    store.size()
    connection: Any = store._connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    journal = Journal(store)
    with pytest.raises(JournalWriteError, match="full"):
        anyio.run(journal.begin("exec_1").write, issued(1, "x" * 100_000))
    journal.close()


@pytest.mark.requirement("JRN-009")
def test_a_path_that_is_no_journal_is_a_usage_error(tmp_path):
    (tmp_path / "text").write_text("hello " * 1_000)
    sqlite3.connect(tmp_path / "other").execute("CREATE TABLE t (x)").connection.close()
    SqliteStore(tmp_path / "newer").close()
    connection = sqlite3.connect(tmp_path / "newer")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for name in ("text", "other", "newer", "no/such/folder", "."):
        with pytest.raises(UsageError, match=r"journal"):
            Journal(tmp_path / name)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.requirement("JRN-009")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_a_journal_is_not_used_in_a_fork(tmp_path):
    code = """
        import os, sys
        from harness.errors import UsageError
        from harness.journal.sqlite import SqliteStore
        store = SqliteStore(sys.argv[1])
        store.size()
        if os.fork() == 0:
            try:
                store.streams()
            except UsageError:
                os._exit(7)
            os._exit(1)
        sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
    """
    path = str(tmp_path / "runs.sqlite")
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code), path], timeout=50, check=False)
    assert done.returncode == 7


# ── from one journal to another ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.anyio
@pytest.mark.requirement("JRN-010")
async def test_an_export_is_taken_in_as_it_was(store):
    source = Journal(signing_key=SIGNING_KEY)
    await written(source, "exec_1")
    await written(source, "exec_2")
    lines = list(export_lines(source))
    assert len(lines) == 6
    assert list(export_lines(source, ["exec_2"])) == lines[3:]
    target = Journal(store, signing_key=SIGNING_KEY)
    done = import_lines(target, [f"{line}\n" for line in lines])
    assert (done.streams, done.events, done.torn, done.known) == (2, 6, None, [])
    assert list(export_lines(target)) == lines
    again = import_lines(target, lines)
    assert (again.streams, again.known) == (0, ["exec_1", "exec_2"])
    target.close()


@pytest.mark.anyio
@pytest.mark.requirement("JRN-010")
async def test_a_torn_or_damaged_line_is_told():
    source = Journal()
    await written(source)
    lines = list(export_lines(source))
    torn = import_lines(target := Journal(), [lines[0] + "\n", lines[1] + "\n", lines[2][:100]])
    assert (torn.events, torn.torn) == (2, lines[2][:100])
    assert len(target.store.read("exec_1")) == 2
    for damaged in (
        [lines[0], "{}", lines[2]],
        [lines[0], lines[1][:50] + "\n", lines[2]],
        [lines[0], lines[2][:50] + "\n"],
    ):
        target = Journal()
        with pytest.raises(JournalDamagedError, match="Line 2"):
            import_lines(target, damaged)
        assert target.store.streams() == []
    with pytest.raises(JournalDamagedError, match="event 3 on"):
        import_lines(target, [lines[0], lines[2]])


@pytest.mark.requirement("JRN-006")
@pytest.mark.parametrize("moment", [1, 2, 3])
def test_a_journal_that_another_process_makes_meanwhile_is_one(tmp_path, monkeypatch, moment):
    path, connect = tmp_path / "runs.sqlite", sqlite3.connect
    asked = 0

    class Interrupted(sqlite3.Connection):
        def execute(self, *arguments: Any) -> sqlite3.Cursor:
            nonlocal asked
            asked += 1
            if asked == moment:
                monkeypatch.setattr(sqlite3, "connect", connect)
                SqliteStore(path).close()
            return super().execute(*arguments)

    monkeypatch.setattr(sqlite3, "connect", functools.partial(connect, factory=Interrupted))
    store = SqliteStore(path)
    store.close()
    assert asked > moment
    assert SqliteStore(path).streams() == []
