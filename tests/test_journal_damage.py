"""Journals that were damaged, reordered and forged: whatever is done to an event is noticed, or changes nothing."""

from __future__ import annotations

import itertools
import json
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness import Decision, Harness, Journal, JournalDamagedError
from harness.errors import HarnessError, UsageError
from harness.journal.events import Event, chained, parse_event
from harness.journal.transfer import export_lines, import_lines
from tests.fixtures.ledger import Ledger

SIGNING_KEY = "a signing key of 32 bytes or more"
TEXT = """<tool-calls>
const [a, b] = await Promise.all([tools.pay({cents: 1}), tools.wait({ms: 1})]);
console.log(a, b, Math.random());
[a, b, await tools.order({})]
</tool-calls> and <tool-calls>try { return await tools.fail({n: 1}) } catch (e) { return e.name }</tool-calls>"""


async def _recorded(path: Path, signing_key: str | None) -> None:
    """A run with all kinds of events."""
    journal = Journal(path, signing_key=signing_key)
    harness = Harness(Ledger().tools(), approver="suspend", journal=journal, isolation="thread")
    outcome = await harness.run(TEXT, idempotency_key="k")
    decisions = {request.id: Decision.approve({"cents": 2}) for request in outcome.pending}
    outcome = await harness.resume(outcome.resume_token or "", decisions)
    await harness.settle(outcome.pending[0].id, 5)
    outcome = await harness.resume(outcome.resume_token or "")
    assert [execution.value for execution in outcome.executions] == [[2, 1, 5], "ToolExecutionError"]
    journal.close()


class Kept:
    """What is on record of one run, as lines and as a file."""

    def __init__(self, directory: Path, signing_key: str | None) -> None:
        self.signing_key = signing_key
        self.file = directory / "runs.sqlite"
        anyio.run(_recorded, self.file, signing_key)
        journal = self.journal(self.file)
        self.lines = list(export_lines(journal))
        journal.close()
        self.streams: dict[str, list[Event]] = {}
        for line in self.lines:
            event = parse_event(line)
            self.streams.setdefault(event.stream, []).append(event)

    def journal(self, path: Path | None = None) -> Journal:
        return Journal(path, signing_key=self.signing_key)

    def same(self, event: Event, other: Event) -> bool:
        """Whether two events mean the same: a signature that nobody looks at means nothing."""
        unread = {} if self.signing_key else {"mac": None}
        return event.model_copy(update=unread) == other.model_copy(update=unread)

    def is_beginning(self, stream: str, events: list[Event]) -> bool:
        kept = self.streams.get(stream, [])
        return len(events) <= len(kept) and all(self.same(*pair) for pair in zip(events, kept, strict=False))


@pytest.fixture(scope="module", params=[None, SIGNING_KEY], ids=["chained", "signed"])
def kept(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Kept:
    return Kept(tmp_path_factory.mktemp("kept"), request.param)


# ── what is done to an event ─────────────────────────────────────────────────────────────────────────────────────────

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 2**53), st.floats(allow_nan=False), st.text(max_size=8), st.just("0" * 64)
)
VALUES: st.SearchStrategy[Any] = (
    SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(st.text(max_size=4), SCALARS, max_size=2)
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a JSON value but the top."""
    items: Iterable[tuple[Any, Any]] = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, item in items:
        yield (*path, key)
        yield from places(item, (*path, key))


@st.composite
def altered_event(draw: st.DrawFn, line: str) -> str:
    """The line of an event with another value somewhere in it, or one more or less."""
    event = json.loads(line)
    path = draw(st.sampled_from(list(places(event))))
    holder = event
    for key in path[:-1]:
        holder = holder[key]
    how = draw(st.sampled_from(["change", "remove", "add"]))
    if how == "change":
        holder[path[-1]] = draw(VALUES)
    elif how == "remove":
        del holder[path[-1]]
    elif isinstance(holder, dict):
        holder[draw(st.text(max_size=6))] = draw(VALUES)
    else:
        holder.append(draw(VALUES))
    return json.dumps(event)


@st.composite
def damaged_lines(draw: st.DrawFn, lines: list[str]) -> list[str]:
    """Lines of which something was done to one or two."""
    lines = list(lines)
    at, other = (draw(st.integers(0, len(lines) - 1)) for _ in range(2))
    match draw(st.sampled_from(["alter", "alter", "alter", "character", "drop", "double", "swap", "move", "cut"])):
        case "alter":
            lines[at] = draw(altered_event(lines[at]))
        case "character":
            place = draw(st.integers(0, len(lines[at]) - 1))
            lines[at] = lines[at][:place] + draw(st.characters(exclude_categories=["Cs"])) + lines[at][place + 1 :]
        case "drop":
            del lines[at]
        case "double":
            lines.insert(other, lines[at])
        case "swap":
            lines[at], lines[other] = lines[other], lines[at]
        case "move":
            lines.insert(other, lines.pop(at))
        case "cut":
            lines[at] = lines[at][: draw(st.integers(0, len(lines[at]) - 1))]
    return lines


@pytest.mark.requirement("JRN-001", "JRN-002", "JRN-010")
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_done_to_a_line_is_noticed_or_changes_nothing(kept, data):
    damaged = data.draw(damaged_lines(kept.lines))
    journal = kept.journal()
    told: JournalDamagedError | None
    try:
        import_lines(journal, [f"{line}\n" for line in damaged])
    except JournalDamagedError as error:
        told = error
    else:
        told = None
    if told is not None:
        assert 1 <= told.details["line"] <= len(damaged)
        assert journal.store.streams() == []
        return
    found = {known.stream: journal.store.read(known.stream) for known in journal.store.streams()}
    # Only events at the end of a stream may be gone.
    assert all(kept.is_beginning(stream, events) for stream, events in found.items())
    assert sum(map(len, found.values())) >= len(kept.lines) - 1


# ── forgeries ────────────────────────────────────────────────────────────────────────────────────────────────────────


def forged(events: list[Event], start: int, change: Callable[[dict[str, Any]], None], key: bytes | None) -> list[Event]:
    """Events of which one says something else, in a chain that is whole from there on."""
    done = events[:start]
    for number, event in enumerate(events[start:], start):
        fields: dict[str, Any] = {"stream": event.stream, "kind": event.kind, "at": event.at, "data": dict(event.data)}
        fields |= {"values": event.values, "sealed": event.sealed}
        if number == start:
            change(fields)
        done.append(chained(done[-1] if done else None, **fields, signing_key=key))
    return done


@pytest.mark.requirement("JRN-002")
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_forger_without_the_key_is_found_out(kept, data):
    stream = data.draw(st.sampled_from(sorted(kept.streams)))
    events = kept.streams[stream]
    start = data.draw(st.integers(0, len(events) - 1))

    def change(fields: dict[str, Any]) -> None:
        match data.draw(st.sampled_from(["kind", "at", "data", "values", "nothing"])):
            case "kind":
                fields["kind"] = data.draw(st.sampled_from(["finished", "call_settled", "decision"]))
            case "at":
                fields["at"] += 1.0
            case "data":
                fields["data"]["status"] = "ok!"
            case "values":
                fields["values"] = {"value": 1}

    own = forged(events, start, change, data.draw(st.sampled_from([None, b"another key of 32 bytes or more."])))
    if data.draw(st.booleans()):
        # With the signatures of the events in whose place they stand.
        own = [event.model_copy(update={"mac": old.mac}) for event, old in zip(own, events, strict=True)]
    untouched = own == events
    if kept.signing_key is None:
        # A chain detects accidents, not intent.
        kept.journal().verify(own)
        return
    if untouched:
        kept.journal().verify(own)
        return
    with pytest.raises(JournalDamagedError) as raised:
        kept.journal().verify(own)
    assert (raised.value.details["stream"], raised.value.details["seq"]) == (stream, start + 1)


@pytest.mark.requirement("JRN-002")
def test_a_forger_cannot_put_one_stream_in_the_place_of_another(kept):
    names = sorted(kept.streams)
    for name, other in itertools.pairwise(names):
        moved = [event.model_copy(update={"stream": other}) for event in kept.streams[name]]
        with pytest.raises(JournalDamagedError):
            kept.journal().verify(moved)


# ── a file ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def everything(journal: Journal) -> dict[str, list[Event]]:
    return {
        known.stream: [item.event for item in await journal.read(known.stream)] for known in await journal.streams()
    }


def read(kept: Kept, path: Path) -> dict[str, list[Event]] | HarnessError:
    """All that is in a file, or why it cannot be had."""
    try:
        journal = kept.journal(path)
    except UsageError as error:
        return error  # no journal at all
    try:
        return anyio.run(everything, journal)
    except HarnessError as error:
        return error
    finally:
        journal.close()


@st.composite
def damage(draw: st.DrawFn, events: list[tuple[str, int, str]]) -> tuple[str, tuple[Any, ...]]:
    """A statement that does something to one row of events."""
    stream, seq, body = draw(st.sampled_from(events))
    where = (stream, seq)
    other = draw(st.sampled_from(events))
    return draw(
        st.sampled_from(
            [
                ("UPDATE events SET body = ? WHERE stream = ? AND seq = ?", (draw(altered_event(body)), *where)),
                ("UPDATE events SET body = ? WHERE stream = ? AND seq = ?", (other[2], *where)),
                ("UPDATE events SET body = ? WHERE stream = ? AND seq = ?", (draw(st.none() | st.integers(0, 9) | st.binary()), *where)),
                ("UPDATE events SET body = substr(body, 1, ?) WHERE stream = ? AND seq = ?", (draw(st.integers(0, len(body) - 1)), *where)),
                ("UPDATE OR REPLACE events SET stream = ? WHERE stream = ? AND seq = ?", (other[0], *where)),
                ("UPDATE OR REPLACE events SET seq = ? WHERE stream = ? AND seq = ?", (draw(st.integers(-1, 99)), *where)),
                ("DELETE FROM events WHERE stream = ? AND seq = ?", where),
                ("DELETE FROM events WHERE stream = ? AND seq >= ?", where),
                ("INSERT INTO events VALUES (?, ?, ?)", (stream, 99 + draw(st.integers(0, 9)), body)),
                ("UPDATE streams SET status = ? WHERE stream = ?", (draw(st.sampled_from(["ok", "running", "x"])), stream)),
                ("UPDATE streams SET events = ? WHERE stream = ?", (draw(st.integers(0, 99)), stream)),
                ("UPDATE streams SET run = 'another' WHERE stream = ?", (stream,)),
            ]
        )
    )  # fmt: skip


@pytest.mark.requirement("JRN-001")
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_done_to_a_row_is_noticed_or_changes_nothing(kept, data):
    path = kept.file.with_name("damaged.sqlite")
    shutil.copy(kept.file, path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        events = connection.execute("SELECT stream, seq, body FROM events").fetchall()
        statement = data.draw(damage(events))
        try:
            connection.execute(*statement)
        except sqlite3.IntegrityError:
            return  # the file itself does not take it
        connection.commit()
    found = read(kept, path)
    if isinstance(found, dict):
        assert found.keys() == kept.streams.keys()
        for stream, was in kept.streams.items():
            assert all(kept.same(*pair) for pair in zip(found[stream], was, strict=True))
    else:
        assert found.details["stream"] in kept.streams, found
        assert "seq" in found.details, found


@pytest.mark.requirement("JRN-001")
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_happens_to_bytes_is_noticed_or_changes_nothing(kept, data):
    path = kept.file.with_name("bytes.sqlite")
    raw = bytearray(kept.file.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(raw) - 1))
        piece = data.draw(st.binary(min_size=1, max_size=64))
        raw[start : start + len(piece)] = piece
    for name in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        name.unlink(missing_ok=True)
    path.write_bytes(raw[: len(raw) if data.draw(st.booleans()) else data.draw(st.integers(0, len(raw)))])
    found = read(kept, path)
    if isinstance(found, dict):
        assert all(kept.is_beginning(stream, events) for stream, events in found.items())
    else:
        assert isinstance(found, (JournalDamagedError, UsageError)), found


# ── torn tails ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("JRN-010")
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_torn_export_gives_all_events_that_are_whole(kept, data):
    text = "".join(f"{line}\n" for line in kept.lines)
    cut = text[: data.draw(st.integers(0, len(text)))]
    journal = kept.journal()
    done = import_lines(journal, cut.splitlines(keepends=True))
    whole = cut.count("\n") + (cut.rpartition("\n")[2] in kept.lines)
    assert done.events == whole
    assert done.torn == (None if whole == cut.count("\n") + bool(cut.rpartition("\n")[2]) else cut.rpartition("\n")[2])
    assert list(export_lines(journal)) == kept.lines[:whole]


async def _filled(path: Path) -> Journal:
    journal = Journal(path)
    await Harness(Ledger().tools(), journal=journal, isolation="thread").run(
        "<tool-calls>await tools.wait({ms: 1})</tool-calls>"
    )
    return journal


@pytest.mark.requirement("JRN-005", "JRN-006")
def test_a_torn_write_ahead_log_gives_all_appends_that_are_whole(tmp_path):
    journal = anyio.run(_filled, tmp_path / "runs.sqlite")
    log = (tmp_path / "runs.sqlite-wal").read_bytes()
    was = anyio.run(everything, journal)
    torn = tmp_path / "torn.sqlite"
    counts = []
    for length in range(0, len(log) + 1, max(len(log) // 60, 1)):
        Path(f"{torn}-shm").unlink(missing_ok=True)
        shutil.copy(tmp_path / "runs.sqlite", torn)
        Path(f"{torn}-wal").write_bytes(log[:length])
        other = Journal(torn)
        found = anyio.run(everything, other)
        other.close()
        counts.append(sum(map(len, found.values())))
        assert all(events == was[stream][: len(events)] for stream, events in found.items())
    journal.close()
    assert counts == sorted(counts)
    assert counts[-1] >= sum(map(len, was.values())) - 1
