"""The commands about what is on record, called as a program calls them; and what only real processes can show of them."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import resource
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness import Harness, Journal, Outcome
from harness.canonical import to_canonical_json
from harness.cli import main
from harness.errors import JournalWriteError, UsageError
from harness.journal.events import chained, parse_event
from harness.journal.sqlite import SqliteStore

HARNESS = [sys.executable, "-m", "harness"]
ENVIRONMENT = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "NO_COLOR", "FORCE_COLOR")}
TOOLS = """
    import os, pathlib
    from harness import CallContext, Deferred, tool

    HERE = pathlib.Path(__file__).parent

    def note(what):
        with (HERE / "ledger").open("a") as ledger:
            ledger.write(what + "\\n")

    @tool(idempotent=True)
    def price(sku: str) -> int:
        return 4900

    @tool(approval=True)
    def pay(cents: int) -> str:
        note(f"paid {cents}")
        return f"paid {cents}"

    @tool
    def build(context: CallContext) -> Deferred:
        return Deferred()

    @tool
    def send() -> str:
        note("sent")
        if (HERE / "dies").exists():
            os.kill(os.getpid(), 9)
        return "sent"
"""
TEXT = """Two payments.

<tool-calls>
const cents = await tools.price({sku: "LAMP"});
console.log("price", cents);
const paid = await Promise.all([tools.pay({cents}), tools.pay({cents: 3})]);
return [...paid, Math.random()];
</tool-calls>
<tool-calls>return "second"</tool-calls>
"""


@dataclass(frozen=True)
class Result:
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What was printed, which is canonical JSON and nothing else."""
        value = json.loads(self.out)
        assert self.out == to_canonical_json(value) + "\n"
        return value

    @property
    def outcome(self) -> Outcome:
        return Outcome.model_validate_json(self.out)

    @property
    def words(self) -> str:
        return " ".join(self.out.split())


Cli = Callable[..., Result]


@pytest.fixture
def cli(monkeypatch, capfdbinary, tmp_path) -> Iterator[Cli]:
    """Calls the command line in this process, in a folder that holds ``tools.py``."""
    (tmp_path / "tools.py").write_text(textwrap.dedent(TOOLS))
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object, stdin: str = "") -> Result:
        monkeypatch.setattr(sys, "argv", ["harness", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        descriptor = os.dup(1)
        try:
            with monkeypatch.context() as patch:
                patch.setattr(sys, "stdout", sys.stdout)  # with JSON asked for it is taken away for good
                with pytest.raises(SystemExit) as ended:
                    main()
        finally:
            os.dup2(descriptor, 1)
            os.close(descriptor)
        out, err = capfdbinary.readouterr()
        assert isinstance(ended.value.code, int)
        return Result(ended.value.code, out.decode(), err.decode())

    path, modules = list(sys.path), set(sys.modules)
    yield call
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        # The next test has another tools.py.
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


WITH = ("--tools", "tools.py", "--isolation", "thread")
"""What these tests show does not hang on the worker, and a thread is there at once."""


def on_record(cli: Cli, text: str = TEXT, *options: object, journal: str = "runs.sqlite") -> Outcome:
    outcome = cli("run", "-", "--journal", journal, "--json", *WITH, *options, stdin=text).outcome
    assert all(execution.error is None for execution in outcome.executions)
    return outcome


def block(script: str) -> str:
    return f"<tool-calls>{script}</tool-calls>"


def ledger() -> list[str]:
    path = Path("ledger")
    return path.read_text().splitlines() if path.exists() else []


def sql(statement: str, *values: object, journal: str = "runs.sqlite") -> list[Any]:
    connection = sqlite3.connect(journal)
    with connection:
        rows = connection.execute(statement, values).fetchall()
    connection.close()
    return rows


def forge(stream: str, change: Callable[[str], str], *, journal: str = "runs.sqlite") -> None:
    """Change values in a record, with hashes that fit, as somebody can who may write to the file."""
    previous = None
    for (body,) in sql("SELECT body FROM events WHERE stream = ? ORDER BY seq", stream, journal=journal):
        event = parse_event(body)
        values = json.loads(change(json.dumps(event.values)))
        previous = chained(
            previous,
            stream=stream,
            kind=event.kind,
            at=event.at,
            data=event.data,
            values=values,
            sealed=None,
            signing_key=None,
        )
        sql(
            "UPDATE events SET body = ? WHERE stream = ? AND seq = ?",
            previous.to_json(),
            stream,
            event.seq,
            journal=journal,
        )


# ── run ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("CLI-020")
@pytest.mark.parametrize("option", ["--journal", "--record"])
def test_a_run_is_put_on_record(cli, option):
    result = cli("run", "-", option, "runs.sqlite", "--approve", "always", "--json", *WITH, stdin=TEXT)
    assert (result.status, result.err) == (0, "")
    (first, second) = result.outcome.executions
    listed = cli("executions", "runs.sqlite", "--json").json
    assert [(each["execution_id"], each["status"], each["outcome_status"]) for each in listed] == [
        (first.id, "ok", "finished"),
        (second.id, "ok", "finished"),
    ]


@pytest.mark.requirement("CLI-020")
@pytest.mark.parametrize(
    "option",
    [
        ["--approve", "suspend"],
        ["--suspend-after", "1"],
        ["--idempotency-key", "k"],
        ["--journal-key", "env:KEY"],
        ["--signing-key", "env:KEY"],
        ["--omit-values"],
    ],
)
def test_what_needs_a_journal_says_so(cli, option):
    result = cli("run", "-", *WITH, *option, stdin=block("return await tools.send()"))
    assert (result.status, result.out) == (2, "")
    assert f"{' '.join(option[:2]) if option[0] == '--approve' else option[0]} needs a journal" in result.err
    assert ledger() == []


@pytest.mark.requirement("CLI-020", "JRN-056")
@pytest.mark.parametrize("option", [["--approve", "suspend"], ["--suspend-after", "1"]])
def test_what_leaves_values_out_cannot_suspend(cli, option):
    result = cli("run", "-", "--journal", "runs.sqlite", "--omit-values", *WITH, *option, stdin=TEXT)
    assert result.status == 2
    assert "leave out --omit-values" in result.err
    assert not Path("runs.sqlite").exists()
    with pytest.raises(UsageError, match="leaves them out"):
        Harness(journal=Journal(values="omitted"), approver="suspend")


@pytest.mark.slow
@pytest.mark.requirement("CLI-037")
def test_a_text_runs_once_for_its_key(cli):
    text = block("return [await tools.send(), Math.random()]")
    first = cli("run", "-", "--journal", "runs.sqlite", "--idempotency-key", "k", "--json", *WITH, stdin=text)
    again = cli("run", "-", "--journal", "runs.sqlite", "--idempotency-key", "k", "--json", *WITH, stdin=text)
    assert (again.status, again.out) == (0, first.out)
    assert ledger() == ["sent"]
    other = cli("run", "-", "--journal", "runs.sqlite", "--idempotency-key", "k", stdin=block("return 2"))
    assert other.status == 2
    assert "for another text" in other.err


# ── suspended ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("CLI-021")
def test_a_suspended_text_says_how_it_goes_on(cli):
    result = cli("run", "-", "--journal", "runs.sqlite", "--approve", "suspend", *WITH, stdin=TEXT)
    assert (result.status, result.err) == (3, "")
    requests = re.findall(r"^(apr_\w+)  approval  tools\.pay\((.*?)\)  until", result.out, re.MULTILINE)
    assert [arguments for _, arguments in requests] == ['{"cents": 4900}', '{"cents": 3}']
    (token,) = re.findall(r"^    harness resume runs\.sqlite (rsm_\S+) --tools tools\.py$", result.out, re.MULTILINE)
    (first, _), (second, _) = requests
    result = cli("resume", "runs.sqlite", token, "--allow", f'{first}={{"cents": 7}}', "--json", *WITH)
    assert (result.status, ledger()) == (3, ["paid 7"])
    assert [request.id for request in result.outcome.pending] == [second]
    assert result.outcome.resume_token not in (None, token)
    result = cli("resume", "runs.sqlite", result.outcome.resume_token, "--answer", f'{second}="by hand"', *WITH)
    assert (result.status, result.err, ledger()) == (0, "", ["paid 7"])
    assert '["paid 7", "by hand",' in result.words
    assert "2 blocks: 2 ok" in result.words


@pytest.mark.slow
@pytest.mark.requirement("CLI-021")
@pytest.mark.parametrize(
    ("decisions", "status", "words"),
    [
        (["--deny", "{0}=too dear"], 1, "ApprovalDeniedError: tools.pay was denied: too dear"),
        (["--terminate", "{0}"], 1, "ended on the command line"),
        (["--approve", "always"], 0, '["paid 4900", "paid 3"'),
        (["--allow", "{0}", "--approve", "never"], 1, "the command line said --approve never"),
        ([], 3, "waiting for 2 approvals"),
    ],
)
def test_decisions(cli, decisions, status, words):
    outcome = on_record(cli, TEXT, "--approve", "suspend")
    options = [word.format(*(request.id for request in outcome.pending)) for word in decisions]
    # The token, or in its place the id of the outcome, or of its execution.
    for name in (outcome.resume_token, outcome.id, outcome.executions[0].id):
        shutil.copy("runs.sqlite", "copy.sqlite")
        result = cli("resume", "copy.sqlite", name, *WITH, *options)
        assert (result.status, result.err) == (status, "")
        assert words in result.words


@pytest.mark.slow
@pytest.mark.requirement("CLI-022")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--allow", "apr_none"], "Nothing waits for 'apr_none'; what waits: apr_"),
        (["--allow", "ID", "--deny", "ID"], "was decided twice"),
        (["--allow", "ID=[1]"], "changes are a JSON object"),
        (["--allow", "ID={"], "--allow: this is no JSON"),
        (["--answer", "ID"], "say what the answer is"),
        (["--answer", "ID=NaN"], "NaN is no number of JSON"),
        (["--allow", "=1"], "name the request first"),
        (["--force"], "a token is enough by itself"),
    ],
)
def test_decisions_that_cannot_be_made_leave_the_token_good(cli, options, words):
    outcome = on_record(cli, block("return await tools.pay({cents: 1})"), "--approve", "suspend")
    (request,) = outcome.pending
    given = [word.replace("ID", request.id) for word in options]
    result = cli("resume", "runs.sqlite", outcome.resume_token, *WITH, *given)
    assert (result.status, result.out, ledger()) == (2, "", [])
    assert words in result.err
    assert cli("resume", "runs.sqlite", outcome.resume_token, *WITH, "--allow", request.id).status == 0


@pytest.mark.slow
@pytest.mark.requirement("CLI-022")
def test_a_token_is_for_its_tools_and_for_once(cli):
    outcome = on_record(cli, block("return await tools.pay({cents: 1})"), "--approve", "suspend")
    (request,) = outcome.pending
    result = cli("resume", "runs.sqlite", outcome.resume_token, "--allow", request.id)
    assert result.status == 2
    assert "Tool 'build' 1.0 is gone" in result.err
    assert "--tools MODULE_OR_FILE" in result.err
    Path("other.py").write_text(Path("tools.py").read_text().replace("cents: int", "cents: float"))
    options = ("--allow", request.id, "--tools", "other.py", "--gating", "strict")
    result = cli("resume", "runs.sqlite", outcome.resume_token, *options)
    assert (result.status, ledger()) == (2, [])
    assert "'pay'" in result.err
    assert cli("resume", "runs.sqlite", outcome.resume_token, *WITH, "--allow", request.id).status == 0
    again = cli("resume", "runs.sqlite", outcome.resume_token, *WITH, "--allow", request.id)
    assert (again.status, again.out, ledger()) == (1, "", ["paid 1"])
    assert "has come to its end" in again.err
    for unknown in ("rsm_unknown", "out_unknown"):
        assert cli("resume", "runs.sqlite", unknown, *WITH).status == 2


@pytest.mark.slow
@pytest.mark.requirement("CLI-022", "CLI-027")
def test_what_nobody_resumed_in_time(cli):
    text, limit = block("return await tools.pay({cents: 1})"), ("--limit", "suspension_time=1ms")
    first = on_record(cli, text, "--approve", "suspend", *limit)
    second = on_record(cli, text, "--approve", "suspend", *limit)
    result = cli("resume", "runs.sqlite", first.resume_token, *WITH)
    assert (result.status, ledger()) == (2, [])
    assert "has expired" in result.err
    result = cli("executions", "runs.sqlite", "--sweep", "--json")
    assert (result.status, result.err) == (0, "1 suspended run was ended\n")
    assert {(each["outcome_id"], each["status"], each["outcome_status"]) for each in result.json} == {
        (first.id, "cancelled", "expired"),
        (second.id, "cancelled", "expired"),
    }


@pytest.mark.slow
@pytest.mark.requirement("CLI-023")
def test_a_result_that_comes_later(cli):
    outcome = on_record(cli, block("return await tools.build()"))
    (request,) = outcome.pending
    for wrong in ([], ["--value", "1", "--error", "x"], ["--value", "no JSON"]):
        assert cli("settle", "runs.sqlite", request.id, *wrong).status == 2
    assert cli("settle", "runs.sqlite", "dfr_none_1", "--value", "1").status == 2
    result = cli("settle", "runs.sqlite", request.id, "--value", "-", "--json", stdin='{"built": true}')
    assert result.json == {"deferral_id": request.id, "heard": False}
    again = cli("settle", "runs.sqlite", request.id, "--error", "too late")
    assert (again.status, again.out) == (1, "")
    assert "was settled before" in again.err
    (waiting,) = cli("approvals", "runs.sqlite", "--json").json
    assert (waiting["request"]["kind"], waiting["settled"]) == ("deferred", True)
    done = cli("resume", "runs.sqlite", outcome.id, "--json", *WITH).outcome
    assert done.executions[0].value == {"built": True}


# ── looking ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("CLI-027")
def test_executions_are_listed(cli):
    assert cli("journal", "import", "runs.sqlite", "-").status == 0
    nothing = cli("executions", "runs.sqlite")
    assert (nothing.status, nothing.out, nothing.err) == (0, "", "nothing is on record\n")
    done = on_record(cli, block("return 1"))
    waits = on_record(cli, block("return await tools.pay({cents: 1})"), "--approve", "suspend")
    lines = cli("executions", "runs.sqlite").out.splitlines()
    assert [line.split()[:5] for line in lines] == [
        ["EXECUTION", "BLOCK", "STATUS", "OUTCOME", "STANDS"],
        [done.executions[0].id, "1", "ok", done.id, "finished"],
        [waits.executions[0].id, "1", "suspended", waits.id, "suspended"],
    ]
    only = cli("executions", "runs.sqlite", "--status", "suspended", "--json").json
    assert [each["execution_id"] for each in only] == [waits.executions[0].id]
    assert only[0]["expires_at"] > only[0]["started_at"]
    assert cli("executions", "runs.sqlite", "--status", "interrupted").err == "nothing on record stands so\n"
    assert "the statuses are" in cli("executions", "runs.sqlite", "--status", "none").err


@pytest.mark.slow
@pytest.mark.requirement("CLI-028")
def test_what_waits_is_listed(cli):
    on_record(cli, block("return 1"))
    nothing = cli("approvals", "runs.sqlite")
    assert (nothing.status, nothing.out, nothing.err) == (0, "", "nothing waits\n")
    outcome = on_record(cli, TEXT, "--approve", "suspend")
    found = cli("approvals", "runs.sqlite", "--json").json
    assert [each["request"] for each in found] == [request.model_dump(mode="json") for request in outcome.pending]
    lines = cli("approvals", "runs.sqlite").out.splitlines()
    assert [(*line.split()[:4], line.split()[-1]) for line in lines[1:]] == [
        (request.id, "approval", outcome.id, "suspended", cents)
        for request, cents in zip(outcome.pending, ("4900})", "3})"), strict=True)
    ]
    # What cannot be read does not hide the rest.
    other = on_record(cli, block("return await tools.pay({cents: 2})"), "--approve", "suspend")
    sql("UPDATE events SET body = '{' WHERE stream = ? AND seq = 2", outcome.executions[0].id)
    result = cli("approvals", "runs.sqlite", "--json")
    assert (result.status, [each["outcome_id"] for each in result.json]) == (1, [other.id])
    assert f"what {outcome.executions[0].id} waits for cannot be told: Event 2 of" in result.err


@pytest.mark.slow
@pytest.mark.requirement("CLI-028")
def test_what_waits_of_encrypted_values(cli, monkeypatch):
    monkeypatch.setenv("KEY", cli("journal", "new-key").out)
    outcome = on_record(cli, TEXT, "--approve", "suspend", "--journal-key", "env:KEY")
    result = cli("approvals", "runs.sqlite")
    assert (result.status, result.out) == (1, "")
    assert "are encrypted; give the key" in result.err
    assert len(cli("approvals", "runs.sqlite", "--journal-key", "env:KEY", "--json").json) == len(outcome.pending)
    assert cli("executions", "runs.sqlite", "--json").json[0]["status"] == "suspended"


# ── replay ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("CLI-025")
def test_a_replay_is_the_same_and_calls_nothing(cli):
    outcome = on_record(cli, TEXT, "--approve", "always")
    paid = ledger()
    result = cli("replay", "runs.sqlite")
    assert (result.status, result.out, result.err) == (0, f"{outcome.id}  the same\n", "")
    found = cli("replay", "runs.sqlite", outcome.id, "--json").json
    assert (found["id"], found["result"], found["error"]) == (outcome.id, "same", None)
    assert Outcome.model_validate(found["outcome"]).content_hash() == outcome.content_hash()
    assert ledger() == paid
    unknown = cli("replay", "runs.sqlite", "out_none")
    assert (unknown.status, unknown.out) == (2, "")
    assert "`harness executions` lists them" in unknown.err


@pytest.mark.slow
@pytest.mark.requirement("CLI-025")
def test_a_replay_that_goes_another_way(cli):
    outcome = on_record(cli, TEXT, "--approve", "always")
    forge(outcome.executions[0].id, lambda values: values.replace('"value_json": "4900"', '"value_json": "4901"'))
    result = cli("replay", "runs.sqlite", outcome.executions[0].id, "--step")
    assert (result.status, result.err) == (1, "")
    assert result.out.splitlines()[-4:] == [
        f"{outcome.executions[0].id}  took another way",
        "  event     8",
        '  recorded  call 2 was tools.pay with [{"cents":4900}] in line 4',
        '  happened  it is tools.pay with [{"cents":4901}] in line 4',
    ]
    assert '    8  call_issued     call 2: tools.pay({"cents": 4900}) in line 4 of the script\n' in result.out
    assert "\n    9  " not in result.out
    found = cli("replay", "runs.sqlite", "--json")
    assert (found.status, found.json["result"], found.json["error"]["details"]["seq"]) == (1, "diverged", 8)


@pytest.mark.slow
@pytest.mark.requirement("CLI-025")
def test_what_cannot_be_replayed_says_why(cli, monkeypatch):
    monkeypatch.setenv("KEY", cli("journal", "new-key").out)
    monkeypatch.setenv("OTHER", cli("journal", "new-key").out)
    on_record(cli, block("return 1"), "--journal-key", "env:KEY", journal="sealed.sqlite")
    on_record(cli, block("return 1"), "--omit-values", journal="omitted.sqlite")
    on_record(cli, block("return 1"), journal="other.sqlite")
    events = sql("SELECT stream, body FROM events WHERE seq = 1 AND stream LIKE 'exec_%'", journal="other.sqlite")
    ((stream, body),) = events
    machine = json.loads(body)["data"]["machine"]
    sql("DELETE FROM events WHERE stream = ? AND seq > 1", stream, journal="other.sqlite")
    for journal, options, words in (
        ("sealed.sqlite", [], "are encrypted; give the key"),
        ("sealed.sqlite", ["--journal-key", "env:OTHER"], "cannot be decrypted"),
        ("omitted.sqlite", [], "were left out of the journal"),
        ("other.sqlite", [], "some are missing"),
    ):
        result = cli("replay", journal, *options)
        assert (result.status, result.err) == (1, "")
        assert "cannot be replayed" in result.out
        assert words in result.words
        assert cli("replay", journal, *options, "--json").json["result"] == "refused"
    assert cli("replay", "sealed.sqlite", "--journal-key", "env:KEY").status == 0
    assert machine["engine"].startswith("quickjs-ng")


@pytest.mark.slow
@pytest.mark.requirement("CLI-026")
def test_step_by_step_and_up_to_an_event(cli):
    outcome = on_record(cli, TEXT, "--approve", "suspend")
    name = outcome.executions[0].id
    result = cli("replay", "runs.sqlite", "--step")
    assert (result.status, result.err) == (0, "")
    lines = result.out.splitlines()
    assert lines[0] == f"{name}  block 1"
    assert [line.split()[1] for line in lines[1:-1]][:7] == [
        "started",
        "frame",
        "call_issued",
        "call_started",
        "call_settled",
        "frame",
        "log",
    ]
    assert "call 1: ok, 4900" in result.out
    assert lines[-1] == f"{outcome.id}  the same as far as the record goes: it has no end yet"
    part = cli("replay", "runs.sqlite", name, "--until", "4")
    assert part.out == (
        f"{name}  replayed to event 4 of {len(lines) - 2}, 1 frame given\n"
        '  call 1  started  tools.price({"sku": "LAMP"})  in line 2 of the script\n'
    )
    found = cli("replay", "runs.sqlite", name, "--until", "7", "--json").json
    assert [(call["tool"], call["state"]) for call in found["calls"]] == [
        ("price", "ok"),
        ("pay", "made"),
        ("pay", "made"),
    ]
    assert [line["text"] for line in found["logs"]] == ["price 4900"]
    assert cli("replay", "runs.sqlite", "--until", "4").out == part.out  # there is only one
    on_record(cli, block("return 1"))
    for wrong in ([name, "--until", "99"], ["--until", "1"], [name, "--until", "0"]):
        assert cli("replay", "runs.sqlite", *wrong).status == 2
    assert "name it" in cli("replay", "runs.sqlite", "--until", "1").err


@pytest.mark.requirement("CLI-025", "JRN-063")
def test_what_lost_its_end_on_the_way_took_no_other_way(cli):
    on_record(cli, block("return 1"))
    lines = cli("journal", "export", "runs.sqlite").out.splitlines(keepends=True)
    Path("torn.jsonl").write_text("".join(lines)[:-20])
    assert json.loads(lines[-1])["kind"] == "finished"
    assert "was cut off" in cli("journal", "import", "torn.sqlite", "torn.jsonl").words
    assert " damaged " in cli("executions", "torn.sqlite").out
    result = cli("replay", "torn.sqlite")
    assert (result.status, "another way" in result.out) == (1, False)
    assert "cannot be replayed" in result.out
    assert "has no end" in result.words


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────

READING = [
    ["executions"],
    ["approvals"],
    ["replay"],
    ["journal", "export"],
    ["journal", "verify"],
]
WRITING = [["settle", "dfr_x_1", "--value", "1"], ["resume", "rsm_x"], ["journal", "delete", "out_x"]]


def with_journal(command: list[str], journal: str) -> list[str]:
    words = 2 if command[0] == "journal" else 1
    return [*command[:words], journal, *command[words:]]


@pytest.mark.slow
@pytest.mark.requirement("CLI-033")
@pytest.mark.parametrize("command", [*READING, *WRITING], ids=" ".join)
def test_what_is_no_journal(cli, command):
    Path("text").write_text("hello " * 1_000)
    Path("empty").touch()
    sql("CREATE TABLE t (x)", journal="other")
    Path("folder").mkdir()
    before = {path.name: path.read_bytes() for path in Path().iterdir() if path.is_file()}
    for name in ("none", "text", "other", "folder", "no/folder", ""):
        result = cli(*with_journal(command, name))
        assert (result.status, result.out) == (2, "")
        assert "journal" in result.err
    if command in READING:
        assert cli(*with_journal(command, "empty")).status == 2
        assert {path.name: path.read_bytes() for path in Path().iterdir() if path.is_file()} == before


@pytest.mark.requirement("CLI-033", "JRN-055")
def test_reading_leaves_everything_as_it_is(cli, monkeypatch):
    outcome = on_record(cli, TEXT, "--approve", "suspend")
    before = Path("runs.sqlite").read_bytes()
    shutil.copy("runs.sqlite", "mine.sqlite")
    # Where nobody may write; as root one may everywhere.
    monkeypatch.setattr(os, "access", lambda *_: False)
    for command in READING:
        assert cli(*with_journal(command, "runs.sqlite")).status == 0
    assert outcome.id in cli("executions", "runs.sqlite").out
    assert Path("runs.sqlite").read_bytes() == before
    monkeypatch.undo()
    names = {path.name for path in Path.cwd().iterdir()}
    assert not any(name.endswith(("-wal", "-shm")) for name in names)


@contextmanager
def without_rights() -> Iterator[None]:
    """As root one may write everywhere."""
    if os.geteuid() != 0:
        yield
        return
    os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


@pytest.mark.requirement("JRN-055")
@pytest.mark.parametrize("folder", [0o555, 0o777], ids=["the folder too", "the file only"])
def test_a_journal_that_can_only_be_read(folder):
    with tempfile.TemporaryDirectory() as name:  # where others may enter, which pytest's own is not
        path = Path(name) / "runs.sqlite"
        Harness(journal=path).run_sync(block("return 1"))
        before = path.read_bytes()
        path.chmod(0o444)
        path.parent.chmod(folder)
        try:
            with without_rights():
                store = SqliteStore(path, read_only=True)
                assert [known.kind for known in store.streams()] == ["contracts", "run", "execution"]
                with pytest.raises(JournalWriteError):
                    store.delete(store.streams()[0].stream)
                store.close()
                if folder == 0o555:
                    with pytest.raises(UsageError, match=r"it can only be read, and so can its folder.*read_only=True"):
                        SqliteStore(path)
        finally:
            path.parent.chmod(0o755)
        assert (path.read_bytes(), [each.name for each in path.parent.iterdir()]) == (before, ["runs.sqlite"])


@pytest.mark.requirement("CLI-029")
def test_export_and_import(cli):
    outcome = on_record(cli, TEXT, "--approve", "always")
    other = on_record(cli, block("return 1"))
    lines = cli("journal", "export", "runs.sqlite").out
    result = cli("journal", "export", "runs.sqlite", "-o", "all.jsonl")
    assert (result.status, result.out, result.err) == (0, "", f"{lines.count(chr(10))} events written to all.jsonl\n")
    assert Path("all.jsonl").read_text() == lines
    some = cli("journal", "export", "runs.sqlite", other.id).out
    assert other.id in some
    assert outcome.id not in some
    assert cli("journal", "export", "runs.sqlite", "out_none").status == 2
    assert cli("journal", "export", "runs.sqlite", "-o", "no/folder").status == 2
    result = cli("journal", "import", "copy.sqlite", "-", stdin=lines)
    assert (result.status, result.out) == (0, f"{lines.count(chr(10))} events of 6 streams were taken in.\n")
    assert cli("journal", "export", "copy.sqlite").out == lines
    again = cli("journal", "import", "copy.sqlite", "all.jsonl", "--json").json
    assert (again["events"], len(again["known"]), again["torn"]) == (0, 6, None)
    assert cli("replay", "copy.sqlite").status == 0


@pytest.mark.slow
@pytest.mark.requirement("CLI-029")
def test_export_writes_to_what_is_no_file_as_it_is(cli):
    outcome = on_record(cli, block("return 1"))
    os.mkfifo("pipe")
    reader = os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)
    Path("real.jsonl").touch()
    Path("link").symlink_to("real.jsonl")
    try:
        assert cli("journal", "export", "runs.sqlite", "-o", "pipe").status == 0
        assert outcome.id.encode() in os.read(reader, 65536)
    finally:
        os.close(reader)
    assert Path("pipe").is_fifo()
    assert cli("journal", "export", "runs.sqlite", "-o", "link").status == 0
    assert Path("link").is_symlink()
    assert outcome.id in Path("real.jsonl").read_text()


@pytest.mark.slow
@pytest.mark.requirement("CLI-029")
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda lines: [*lines[:2], *lines[3:]], "Line 3: "),
        (lambda lines: [lines[0], lines[2], lines[1], *lines[3:]], "Line 2: "),
        (lambda lines: [lines[0], lines[1], lines[2].replace('"at":', '"at":1'), *lines[3:]], "Line 3: "),
        (lambda lines: ["hello\n"], "Line 1: "),
        (lambda lines: [*lines, "{\n"], "is no event"),
    ],
)
def test_an_import_that_is_damaged_takes_in_nothing(cli, damage, words):
    on_record(cli, block("return 1"))
    lines = cli("journal", "export", "runs.sqlite").out.splitlines(keepends=True)
    result = cli("journal", "import", "copy.sqlite", "-", stdin="".join(damage(lines)))
    assert (result.status, result.out) == (1, "")
    assert words in result.err
    assert cli("executions", "copy.sqlite").err == "nothing is on record\n"


@pytest.mark.slow
@pytest.mark.requirement("CLI-029", "CLI-030")
def test_a_torn_import_is_reported_and_found(cli):
    outcome = on_record(cli, TEXT, "--approve", "always")
    lines = cli("journal", "export", "runs.sqlite").out
    cut = lines.index(f'"stream":"{outcome.executions[1].id}"') + 200
    result = cli("journal", "import", "copy.sqlite", "-", stdin=lines[:cut])
    assert result.status == 0
    assert "The last line was cut off after" in result.out
    found = cli("journal", "verify", "copy.sqlite")
    assert found.status == 1
    assert f"has begun {outcome.executions[1].id}, and nothing is on record of that" in found.words
    assert [each["status"] for each in cli("executions", "copy.sqlite", "--json").json] == ["ok"]


@pytest.mark.requirement("CLI-030")
def test_verify_what_is_sound(cli, monkeypatch):
    for name in ("KEY", "SIGN", "OTHER"):
        monkeypatch.setenv(name, cli("journal", "new-key").out)
    on_record(cli, block("return 1"))
    result = cli("journal", "verify", "runs.sqlite")
    assert (result.status, result.err) == (0, "")
    assert "Every event is as it was written" in result.out
    assert "No event is signed" in result.out
    assert "In plain text: the values of" in result.out
    keys = ("--journal-key", "env:KEY", "--signing-key", "env:SIGN")
    on_record(cli, block("return 1"), *keys, journal="sealed.sqlite")
    found = cli("journal", "verify", "sealed.sqlite", *keys)
    assert (found.status, found.words.count("Signatures were checked."), "In plain text" in found.out) == (0, 1, False)
    assert "and they open." in found.out
    closed = cli("journal", "verify", "sealed.sqlite")
    assert closed.status == 0
    assert "give --signing-key to check them" in closed.out
    assert "give --journal-key to check that they open" in closed.out
    wrong = cli("journal", "verify", "sealed.sqlite", "--journal-key", "env:OTHER")
    assert wrong.status == 1
    assert "do not open with this key" in wrong.out
    forged = cli("journal", "verify", "sealed.sqlite", "--signing-key", "env:OTHER")
    assert forged.status == 1
    assert "was not written with the signing key" in forged.out
    found = cli("journal", "verify", "sealed.sqlite", *keys, "--json").json
    assert (found["damaged"], found["plain"], found["unopened"]) == ({}, 0, 0)
    assert found["signed"] == found["events"]


@pytest.mark.slow
@pytest.mark.requirement("CLI-030")
@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE events SET body = replace(body, '4900', '4901') WHERE stream = :id", "it was changed afterwards"),
        ("DELETE FROM events WHERE stream = :id AND seq = 5", "missing, doubled or out of order"),
        ("UPDATE events SET body = '{' WHERE stream = :id AND seq = 5", "Event 5 of"),
        ("DELETE FROM events WHERE stream = :id AND seq = (SELECT max(seq) FROM events WHERE stream = :id)", "list"),
        ("UPDATE events SET seq = CASE seq WHEN 5 THEN -6 WHEN 6 THEN -5 ELSE seq END WHERE stream = :id", "order"),
        ("DELETE FROM streams WHERE stream = :id", "and nothing is on record of that"),
        ("DELETE FROM streams WHERE kind = 'contracts'", "began with contracts_"),
        ("UPDATE streams SET status = 'ok' WHERE kind = 'run'", "journal's own list"),
        ("DELETE FROM names", "cannot be found by the key in event 1"),
    ],
)
def test_verify_what_is_damaged(cli, statement, words):
    outcome = on_record(cli, TEXT, "--approve", "always", "--idempotency-key", "k")
    connection = sqlite3.connect("runs.sqlite")
    with connection:
        connection.execute(statement, {"id": outcome.executions[0].id})
        connection.execute("UPDATE events SET seq = -seq WHERE seq < 0")
    connection.close()
    result = cli("journal", "verify", "runs.sqlite")
    assert (result.status, result.err) == (1, "")
    assert "damaged: " in result.out
    assert words in result.words
    assert "Every event is as it was written" not in result.out
    assert cli("journal", "verify", "runs.sqlite", "--json").json["damaged"]


@pytest.mark.slow
@pytest.mark.requirement("CLI-030")
@pytest.mark.parametrize("statement", ["DROP TABLE names", "UPDATE streams SET started_at = 'x', status = '\x1b[2J'"])
def test_a_list_that_is_damaged(cli, statement):
    on_record(cli, block("return 1"))
    sql(statement)
    result = cli("journal", "verify", "runs.sqlite")
    assert (result.status, result.out) == (1, "")
    assert "The journal runs.sqlite" in result.err
    assert "\x1b" not in cli("executions", "runs.sqlite").err


@pytest.mark.slow
@pytest.mark.requirement("CLI-027", "JRN-059")
def test_one_damaged_run_does_not_hide_the_others(cli):
    bad, good = on_record(cli, block("return 1")), on_record(cli, block("return 2"))
    sql("UPDATE streams SET status = 'running' WHERE run = ? OR stream = ?", bad.id, bad.id)
    sql("UPDATE events SET body = '{' WHERE stream = ?", bad.id)
    assert {each["outcome_id"]: each["status"] for each in cli("executions", "runs.sqlite", "--json").json} == {
        bad.id: "damaged",
        good.id: "ok",
    }


@pytest.mark.requirement("CLI-031", "JRN-054")
def test_delete_leaves_nothing_of_an_outcome(cli):
    outcome = on_record(cli, block('console.log("LOGGED-SECRET"); return await tools.build()'))
    other = on_record(cli, block("return 1"))
    cli("settle", "runs.sqlite", outcome.pending[0].id, "--value", '"SETTLED-SECRET"')
    assert b"SETTLED-SECRET" in Path("runs.sqlite").read_bytes()
    result = cli("journal", "delete", "runs.sqlite", outcome.id, other.id)
    assert (result.status, result.out) == (2, "")
    assert "--force deletes it all the same" in result.err
    assert cli("journal", "delete", "runs.sqlite", other.id, "out_none").status == 2
    assert len(cli("executions", "runs.sqlite", "--json").json) == 2
    result = cli("journal", "delete", "runs.sqlite", outcome.id, "--force", "--json")
    assert (result.status, result.json) == (0, {"deleted": [outcome.id]})
    assert [each["outcome_id"] for each in cli("executions", "runs.sqlite", "--json").json] == [other.id]
    assert b"SECRET" not in Path("runs.sqlite").read_bytes()
    assert cli("journal", "verify", "runs.sqlite").status == 0


# ── keys ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
@pytest.mark.requirement("CLI-032")
def test_keys_come_from_files_and_the_environment_only(cli, monkeypatch):
    key = cli("journal", "new-key").out
    Path("key").write_text(key)
    Path("short").write_text("short")
    Path("none").write_text("\n")
    monkeypatch.setenv("KEY", key)
    for option in ("--journal-key", "--signing-key"):
        for wrong in (key.strip(), "env:NOT_SET", "file:not-there", "file:none", "file:short", "env:", "."):
            result = cli("run", "-", "--journal", "runs.sqlite", option, wrong, stdin=block("return 1"))
            assert (result.status, result.out) == (2, "")
            assert key.strip() not in result.err
    assert not Path("runs.sqlite").exists()
    on_record(cli, block('return "SECRET"'), "--journal-key", "file:key")
    assert b"SECRET" not in Path("runs.sqlite").read_bytes()
    assert cli("replay", "runs.sqlite", "--journal-key", "env:KEY").status == 0
    both = cli("run", "-", "--journal", "x", "--omit-values", "--journal-key", "file:key", stdin=block("return 1"))
    assert both.status == 2


# ── processes ────────────────────────────────────────────────────────────────────────────────────────────────────


def start(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*HARNESS, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        **options,
    )


def until(condition: Callable[[], object], patience_s: float = 40.0) -> None:
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        select.select([], [], [], 0.02)


@pytest.mark.slow
@pytest.mark.requirement("CLI-024")
def test_after_a_crash(cli):
    Path("dies").touch()
    with start("run", "-", "--journal", "runs.sqlite", "--tools", "tools.py") as process:
        process.communicate(block("return [await tools.price({sku: 'A'}), await tools.send()]"), timeout=50)
    assert process.returncode == -signal.SIGKILL
    Path("dies").unlink()
    (entry,) = cli("executions", "runs.sqlite", "--json").json
    assert (entry["status"], entry["outcome_status"], entry["process"]) == ("interrupted", "interrupted", process.pid)
    assert "the same as far as the record goes" in cli("replay", "runs.sqlite").out
    result = cli("resume", "runs.sqlite", entry["outcome_id"], "--json", *WITH)
    (request,) = result.outcome.pending
    assert (result.status, request.kind, request.tool) == (3, "in_doubt", "send")
    result = cli("resume", "runs.sqlite", entry["outcome_id"], "--answer", f'{request.id}="sent"', "--json", *WITH)
    assert (result.status, result.outcome.executions[0].value, ledger()) == (0, [4900, "sent"], ["sent"])


@pytest.mark.slow
@pytest.mark.requirement("CLI-024", "CLI-027", "CLI-035")
def test_while_a_process_runs_it_and_after_ctrl_c(cli):
    Path("waits.py").write_text(
        "import anyio, pathlib\nfrom harness import tool\n\n@tool\nasync def wait() -> None:\n"
        "    pathlib.Path('started').touch()\n    await anyio.sleep_forever()\n"
    )
    with start("run", "-", "--journal", "runs.sqlite", "--tools", "waits.py") as process:
        try:
            assert process.stdin is not None
            process.stdin.write(block("await tools.wait()"))
            process.stdin.close()
            process.stdin = None  # communicate() would flush it
            until(lambda: Path("started").exists() or process.poll() is not None)
            (entry,) = cli("executions", "runs.sqlite", "--json").json
            assert (entry["status"], entry["process"]) == ("running", process.pid)
            taken = cli("resume", "runs.sqlite", entry["outcome_id"], "--tools", "waits.py")
            assert (taken.status, taken.out) == (1, "")
            assert f"({process.pid}) has not ended" in taken.err
            assert cli("journal", "delete", "runs.sqlite", entry["outcome_id"]).status == 2
            assert cli("journal", "verify", "runs.sqlite").status == 0
            os.kill(process.pid, signal.SIGINT)
            out, err = process.communicate(timeout=50)
        finally:
            process.kill()
    assert (process.returncode, out) == (130, "")
    assert "harness executions runs.sqlite shows it" in err
    assert "Traceback" not in err
    assert [each["status"] for each in cli("executions", "runs.sqlite", "--json").json] == ["interrupted"]


@pytest.mark.slow
@pytest.mark.requirement("CLI-034")
@pytest.mark.parametrize("size", [4_096, 40_000, 70_000, 100_000])
def test_a_full_disk_loses_nothing_in_silence(cli, size):
    def full() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    options = ("--journal", "runs.sqlite", "--tools", "tools.py", "--approve", "always")
    with start("run", "-", *options, preexec_fn=full) as process:
        out, err = process.communicate(TEXT, timeout=50)
    assert "Traceback" not in err
    assert "be used as a journal" in err if size == 4_096 else "cannot be written" in out + err
    assert process.returncode == (2 if size == 4_096 else 1)
    if size > 4_096:
        # What was done is what is on record as begun, and what is on record is sound.
        assert cli("journal", "verify", "runs.sqlite").status == 0
        begun = [body for (body,) in sql("SELECT body FROM events") if '"kind":"call_started"' in body]
        assert len(ledger()) <= len(begun)
    else:
        assert ledger() == []


@pytest.mark.slow
@pytest.mark.requirement("CLI-021", "CLI-026")
def test_a_person_at_a_terminal_decides_and_steps(cli):
    outcome = on_record(cli, block("return await tools.pay({cents: 5})"), "--approve", "suspend")
    shown = at_a_terminal(
        "resume", "runs.sqlite", outcome.resume_token, "--tools", "tools.py", answers={"the script?": "y\n"}
    )
    assert "paid 5" in shown
    assert ledger() == ["paid 5"]
    steps = at_a_terminal("replay", "runs.sqlite", "--step", answers={"started": "\n" * 30})
    assert "the same" in steps
    assert steps.index("call_issued") < steps.index("approval_asked") < steps.index("finished")


def at_a_terminal(*arguments: object, answers: dict[str, str]) -> str:
    """What the command says at a terminal of its own, at which each answer is typed once what it answers is there."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [*HARNESS, *map(str, arguments)],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env=ENVIRONMENT | {"TERM": "dumb"},
        start_new_session=True,
    )
    os.close(follower)
    shown = b""
    try:
        while select.select([leader], [], [], 50)[0]:
            try:
                shown += os.read(leader, 65536)
            except OSError:  # how Linux says that the other end is closed
                break
            for question in [question for question in answers if question.encode() in shown]:
                os.write(leader, answers.pop(question).encode())
    finally:
        os.close(leader)
        process.wait(timeout=50)
    return shown.decode()


@pytest.mark.slow
@pytest.mark.requirement("CLI-008", "CLI-018")
@pytest.mark.parametrize("command", [["executions"], ["replay", "--step"], ["journal", "export"]], ids=" ".join)
def test_readers_that_go_away_and_full_outputs(cli, command):
    on_record(cli, TEXT, "--approve", "always")
    words = with_journal([word for word in command if word != "--step"], "runs.sqlite") + command[2:] * (
        "--step" in command
    )
    with start(*words) as process:
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None  # communicate() would read from it
        _, err = process.communicate(timeout=50)
    assert (process.returncode, err) == (0, "")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*HARNESS, *words], stdout=full, stderr=subprocess.PIPE, text=True, timeout=50, check=False, env=ENVIRONMENT
        )
    assert done.returncode == 1
    assert "standard output cannot be written" in done.stderr
