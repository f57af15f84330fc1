"""The attack catalogue: every entry of ``tests/vectors/attacks.jsonl``, run against the real thing.

An entry is a script, a whole text, or the bytes of a hostile worker; ``specs/attacks.md`` describes the format. Each runs
in every isolation in which its safe outcome needs no kill, and after each the host must be as it was.
"""

from __future__ import annotations

import collections
import json
import re
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import anyio
import pytest
from lxml import etree
from pydantic import BaseModel, ConfigDict, Field, JsonValue

import harness.errors
from harness import (
    ApprovalRequest,
    CallRecord,
    Decision,
    Execution,
    Harness,
    Outcome,
    ToolExecutionError,
    extract_scripts,
    tool,
)
from harness.limits import MIB, Limits
from harness.runtime import wire
from harness.runtime.adapter import Death, PoolStatus, Worker, WorkerPool
from harness.runtime.link import FrameLink
from harness.runtime.threads import ThreadPool

Isolation = Literal["process", "shared", "thread"]
ISOLATIONS: tuple[Isolation, ...] = get_args(Isolation)

# Small, so that bombs go off soon; the wall clock is only what ends a test that would not end.
LIMITS = Limits(cpu_time=5, wall_time=20, memory_bytes=32 * MIB, settle_grace=0.05, tool_timeout=5)

SECRET = "hunter2-correct-horse"  # what no outcome may show

PATIENCE_S = 10.0

# Peak of this process's resident memory while one entry runs. A thread's VM is in this process.
MOST_GROWTH = {"process": 48 * MIB, "shared": 48 * MIB, "thread": LIMITS.memory_bytes + 64 * MIB}


# ── the vectors ──────────────────────────────────────────────────────────────────────────────────────────────────


class Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


# A text, or its pieces; a piece can be repeated.
Pieces = str | tuple[str | tuple[str, int], ...]


def joined(pieces: Pieces) -> str:
    if isinstance(pieces, str):
        return pieces
    return "".join(piece if isinstance(piece, str) else piece[0] * piece[1] for piece in pieces)


class Expectation(Strict):
    """One safe outcome. What is not named is not looked at, but for the tools in `Host.dangerous`."""

    status: str | None = None
    """Of the last execution, which is the one the others are about; if not given, the last of ``statuses``, or what ``error`` says."""
    statuses: tuple[str, ...] | None = None
    """Of all executions; empty where nothing may run."""
    value: JsonValue = None
    error: str | None = None
    words: str = ""
    details: dict[str, JsonValue] = {}
    """Members the error's details must have."""
    retryable: bool | None = None
    codes: tuple[str, ...] = ()
    """Diagnostics the execution must have."""
    notices: tuple[str, ...] = ()
    """Diagnostics the outcome must have."""
    segments: tuple[str, ...] | None = None
    calls: tuple[tuple[str, dict[str, JsonValue]], ...] | None = None
    """Calls that reached a tool on the host, in order."""
    call_status: tuple[str, ...] | None = None
    """Status of every call on record."""
    logs: tuple[str, ...] | None = None
    absent: tuple[str, ...] = ()
    """What the text for the model must not hold."""


class Answer(Strict):
    """What a hostile worker sends in answer to one frame of the host's."""

    turn: dict[str, Any] | None = None
    """A well-formed turn whose content differs from that of an ordinary end in these members."""
    top: dict[str, JsonValue] = {}
    """Members of the turn's outer object that differ."""
    many: dict[str, int] = {}
    """How often the one item of a list in ``turn`` is repeated, with ids that count up."""
    swaps: tuple[tuple[str, Pieces], ...] = ()
    """Texts in the body, and what stands there instead."""
    body: Pieces | None = None
    """A whole body."""
    hex: str | None = None
    """A body's bytes."""
    bare: str | None = None
    """Bytes without a header, in hexadecimal."""
    kind: str = "T"
    length: int | None = None
    """The length that is announced, if it is not the true one."""
    times: int = 1


class Entry(Strict):
    id: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)+$")]
    area: str
    script: Pieces | None = None
    text: Pieces | None = None
    frames: tuple[Answer, ...] | None = None
    before: tuple[str, ...] = ()
    """Scripts that run first, for the same trust domain."""
    output: JsonValue = None
    """What the tool ``page`` returns."""
    limits: dict[str, JsonValue] = {}
    isolations: tuple[Isolation, ...] = ISOLATIONS
    """Where it runs: everywhere, unless its safe outcome takes a kill or it attacks the memory of its process."""
    greeting: bool = True
    """Whether the hostile worker says first that it is ready."""
    then_close: bool = False
    slow: bool = False
    xfail: str | None = None
    expect: Expectation | tuple[Expectation, ...]
    why: Annotated[str, Field(min_length=10)]

    @property
    def served_by(self) -> tuple[Isolation, ...]:
        return self.isolations if self.frames is None else ("process",)

    @property
    def message(self) -> str:
        """The assistant message."""
        return block(joined(self.script or "1")) if self.text is None else joined(self.text)


def block(script: str) -> str:
    return f"<tool-calls>{script}\n</tool-calls>"


def entries() -> list[Entry]:
    path = Path(__file__).parent / "vectors/attacks.jsonl"
    # Not pydantic's own reader, which refuses the halves of surrogate pairs that some attacks are about.
    return [Entry.model_validate(json.loads(line)) for line in path.read_text(encoding="ascii").splitlines()]


ENTRIES = entries()


def cases() -> Iterator[Any]:
    for isolation in ISOLATIONS:
        for entry in ENTRIES:
            if isolation in entry.served_by:
                # What most of these are about is the same in every isolation.
                marks = [pytest.mark.slow] if entry.slow or isolation != "process" else []
                if entry.xfail is not None:
                    marks.append(pytest.mark.xfail(reason=entry.xfail, strict=True))
                yield pytest.param(isolation, entry, id=f"{isolation}-{entry.id}", marks=marks)


# ── tools ────────────────────────────────────────────────────────────────────────────────────────────────────────


class Host:
    """One harness with tools that remember how they were called."""

    def __init__(self, isolation: Isolation) -> None:
        self.isolation = isolation
        self.invoked: list[tuple[str, dict[str, Any]]] = []
        self.output: JsonValue = None
        self.harness = Harness(
            tools=self.tools(), isolation=isolation, limits=LIMITS, approver=self.approve, secrets=[SECRET], seed=7
        )

    def approve(self, request: ApprovalRequest) -> Decision:
        assert isinstance(request.arguments, dict)
        self.invoked.append(("(asked)", {"tool": request.tool} | request.arguments))
        return Decision.deny("not on my watch")

    def tools(self) -> list[Any]:
        @tool
        async def echo(value: Any = None) -> Any:
            """Give back what was given."""
            self.invoked.append(("echo", {"value": value}))
            return value

        @tool
        async def add(a: int, b: int) -> int:
            """Add two integers."""
            self.invoked.append(("add", {"a": a, "b": b}))
            return a + b

        @tool
        async def launch(target: str = "moon") -> str:
            """What must not happen by accident."""
            self.invoked.append(("launch", {"target": target}))
            return "launched"

        @tool(approval=True)
        async def refund(cents: int, note: str = "") -> str:
            """Ask a person first; the person says no."""
            self.invoked.append(("refund", {"cents": cents, "note": note}))
            return "refunded"

        @tool
        async def page() -> Any:
            """Fetch a page somebody else wrote."""
            return self.output

        @tool
        async def fail(message: str = "it failed") -> None:
            """Fail in so many words."""
            raise ToolExecutionError(message)

        @tool
        async def boom() -> None:
            """Fail as code of the host does."""
            raise OSError(f"cannot open {__file__}: password={SECRET}")

        @tool
        async def forever() -> None:
            """Never return."""
            await anyio.sleep_forever()

        @tool(name="files.read")
        async def read(path: str) -> str:
            """A tool in a namespace."""
            self.invoked.append(("files.read", {"path": path}))
            return "contents"

        return [echo, add, launch, refund, page, fail, boom, forever, read]

    def run(self, text: str, **settings: Any) -> Outcome:
        return self.harness.run_sync(text, trust_domain="attacker", **settings)

    @property
    def dangerous(self) -> list[str]:
        """Calls that only an entry which expects them may bring about."""
        return [name for name, _ in self.invoked if name in ("launch", "refund")]


class Hosts(dict[Isolation, Host]):
    def __missing__(self, isolation: Isolation) -> Host:
        host = self[isolation] = Host(isolation)
        host.harness.__enter__()
        return host


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    """One open harness for each isolation that a test asks for."""
    opened = Hosts()
    yield opened
    for host in opened.values():
        host.harness.close()


# ── hostile workers ──────────────────────────────────────────────────────────────────────────────────────────────

WORKER_READY = wire.pack_frame(wire.READY, b'{"protections":{}}')
CONTENT: dict[str, Any] = {
    "ending": {"state": "ok", "value": "1"},
    "calls": [],
    "timers": [],
    "cleared": [],
    "cancelled": [],
    "logs": [],
    "progress": [],
    "dropped": {"log_lines": 0, "log_bytes": 0, "progress": 0},
    "looked_at": 0,
    "left_behind": [],
}


def answer_bytes(answer: Answer) -> bytes:
    """What an answer puts on the wire."""
    if answer.bare is not None:
        return bytes.fromhex(answer.bare) * answer.times
    body = answer_body(answer)
    length = len(body) + 1 if answer.length is None else answer.length
    return (wire.HEADER.pack(length, ord(answer.kind)) + body) * answer.times


def answer_body(answer: Answer) -> bytes:
    if answer.hex is not None:
        return bytes.fromhex(answer.hex)
    if answer.body is not None:
        return joined(answer.body).encode()
    content: dict[str, Any] = CONTENT | (answer.turn or {})
    for name, count in answer.many.items():
        [item] = content[name]
        content[name] = [counted(item, number) for number in range(count)]
    ended = content["ending"].get("state") != "wait"
    outer = {
        "cpu": 0.001,
        "heap": 1,
        "evidence": {"deep": False, "full": False} if ended else None,
        "worker": {"state": "started"},
        "turn": content,
        **answer.top,
    }
    text = json.dumps(outer)
    for old, new in answer.swaps:
        assert old in text
        text = text.replace(old, joined(new), 1)
    return text.encode()


def counted(item: Any, number: int) -> Any:
    if not isinstance(item, dict):
        return item
    name = "id" if "id" in item else "call"
    return {**item, name: item[name] + number}


class HostileWorker:
    """The host's own link, with somebody at its other end who answers each frame with given bytes."""

    def __init__(self, entry: Entry) -> None:
        ours, self._theirs = socket.socketpair()
        self._link = FrameLink(ours, frame_bytes=LIMITS.frame_bytes)
        self._answers = [answer_bytes(answer) for answer in entry.frames or ()]
        if entry.greeting:
            self._answers[0] = WORKER_READY + self._answers[0]
        self._then_close = entry.then_close
        self._thread = threading.Thread(target=self._speak, name="hostile")
        self._thread.start()

    @property
    def protections(self) -> dict[str, str]:
        return self._link.protections

    async def exchange(self, kind: int, body: bytes) -> tuple[int, bytes]:
        return await self._link.exchange(kind, body)

    async def gone(self) -> None:
        await anyio.sleep_forever()  # it stays for as long as it is let

    def kill(self) -> None:
        self._link.close()

    async def ended(self) -> Death:
        self._link.close()
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._thread.join)
        return Death(None)

    def _speak(self) -> None:
        with self._theirs as connection:
            try:
                for answer in self._answers:
                    header = connection.recv(wire.HEADER.size, socket.MSG_WAITALL)
                    if not header:
                        return
                    _, length = wire.unpack_header(header, limit=1 << 30)
                    connection.recv(length, socket.MSG_WAITALL)
                    connection.sendall(answer)
                while not self._then_close and connection.recv(65_536):
                    pass
            except OSError:  # the host has hung up, as it should
                return


class Infiltrated:
    """A pool whose next worker is hostile; all others are those of the real one."""

    def __init__(self, real: WorkerPool, entry: Entry) -> None:
        self._real = real
        self._entry: Entry | None = entry
        self._hostile: HostileWorker | None = None
        self.kept: bool | None = None
        """Whether the host would have used the hostile worker again."""

    async def open(self) -> None:
        await self._real.open()

    async def aclose(self) -> None:
        await self._real.aclose()

    async def end_domain(self, trust_domain: str) -> None:
        await self._real.end_domain(trust_domain)

    async def acquire(self, trust_domain: str | None) -> Worker:
        entry, self._entry = self._entry, None
        if entry is None:
            return await self._real.acquire(trust_domain)
        self._hostile = HostileWorker(entry)
        return self._hostile

    async def release(self, worker: Worker, *, clean: bool, violation: bool = False) -> Death | None:
        if worker is not self._hostile:
            return await self._real.release(worker, clean=clean, violation=violation)
        self.kept = clean
        worker.kill()
        return await worker.ended()

    def note_crash(self) -> None:
        self._real.note_crash()

    def status(self) -> PoolStatus:
        return self._real.status()


def run_plainly(host: Host, entry: Entry) -> Outcome:
    return host.run(entry.message, limits=entry.limits)


def run_infiltrated(host: Host, entry: Entry) -> Outcome:
    runtime = host.harness._runtime
    assert runtime is not None
    real = runtime._pool
    pool = Infiltrated(real, entry)
    runtime._pool = pool
    try:
        outcome = run_plainly(host, entry)
    finally:
        runtime._pool = real
    error = outcome.executions[0].error
    if error is not None and error.type in ("WorkerCrashedError", "ScriptTimeoutError"):
        assert pool.kept is False, "a worker that broke the protocol would serve again"
    return outcome


# ── judging ──────────────────────────────────────────────────────────────────────────────────────────────────────

ERROR_TYPES = {
    *(name for name in harness.errors.__all__ if name.endswith("Error")),
    *("Error", "EvalError", "RangeError", "ReferenceError", "SyntaxError", "TypeError", "URIError"),
    *("AggregateError", "SuppressedError", "DOMException"),
}
ELEMENTS = {"tool-results", "result", "value", "reason", "error", "source", "calls", "call", "plan", "step", "log"} | {
    "diagnostic",
    "waiting",
}
# What a terminal would act on. Line ends and tabs are text.
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
HOST_PATHS = (str(Path(__file__).parent.parent), sys.prefix, sys.base_prefix + "/lib", "site-packages", "quickjs")


def same(left: Any, right: Any) -> bool:
    # Unlike ==, this tells true from 1 and 1 from 1.0.
    return json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)


# What was looked at, whether it is right, what was wanted, what was got.
Finding = tuple[str, bool, Any, Any]


def misfit(expected: Expectation, outcome: Outcome, host: Host) -> str | None:
    """How an outcome differs from one that is expected; None if it does not."""
    wrong = [finding for finding in findings(expected, outcome, host) if not finding[1]]
    return "\n".join(f"{what}: wanted {wanted!r}\n    got {got!r}" for what, _, wanted, got in wrong) or None


def findings(expected: Expectation, outcome: Outcome, host: Host) -> Iterator[Finding]:
    statuses = tuple(execution.status.value for execution in outcome.executions)
    yield "statuses", expected.statuses in (None, statuses), expected.statuses, statuses
    yield "executions", bool(statuses) or expected.statuses == (), "some", "none"
    kinds = tuple(segment.kind for segment in outcome.segments)
    yield "segments", expected.segments in (None, kinds), expected.segments, kinds
    notices = {found.code for found in outcome.diagnostics}
    yield "notices", notices >= set(expected.notices), expected.notices, notices
    if expected.calls is None:
        yield "dangerous calls", host.dangerous == [], [], host.invoked
    else:
        yield "calls", same(host.invoked, expected.calls), expected.calls, host.invoked
    text = outcome.to_text()
    yield "text", not any(piece in text for piece in expected.absent), f"without {expected.absent}", text
    if outcome.executions:
        yield from execution_findings(expected, outcome.executions[-1])


def execution_findings(expected: Expectation, execution: Execution) -> Iterator[Finding]:
    error = execution.error
    status = expected.status or (expected.statuses or ("ok" if expected.error is None else "error",))[-1]
    yield "status", execution.status.value == status, status, execution.status.value
    kind = None if error is None else error.type
    yield "error", kind == expected.error, expected.error, error
    if error is not None:
        yield "words", expected.words in error.message, expected.words, error.message
        yield "details", expected.details.items() <= error.details.items(), expected.details, error.details
        yield "retryable", expected.retryable in (None, error.retryable), expected.retryable, error.retryable
    if "value" in expected.model_fields_set:
        yield "value", same(execution.value, expected.value), expected.value, execution.value
    codes = {found.code for found in execution.diagnostics}
    yield "codes", codes >= set(expected.codes), expected.codes, codes
    records = tuple(record.status.value for record in execution.calls)
    yield "records", expected.call_status in (None, records), expected.call_status, records
    logs = tuple(line.text for line in execution.logs)
    yield "logs", expected.logs in (None, logs), expected.logs, logs


def check_whatever_it_was(entry: Entry, outcome: Outcome) -> None:
    """What holds of every outcome, hostile or not."""
    assert "".join(segment.text for segment in outcome.segments) == entry.message
    stored = json.loads(outcome.to_json())
    assert Outcome.model_validate(stored).to_json() == outcome.to_json()
    text = outcome.to_text()
    if text:
        root = etree.fromstring(text)
        assert root.tag == "tool-results"
        assert {element.tag for element in root.iter()} <= ELEMENTS
        assert [child.get("status") for child in root.iterfind("result")] == [
            e.status.value for e in outcome.executions
        ]
        assert len(re.findall("</?tool-results", text)) == 2
    assert extract_scripts(text) == []
    assert CONTROLS.search(text) is None
    executions = json.dumps([e.model_dump(mode="json", exclude={"script"}) for e in outcome.executions])
    for piece in (SECRET, *HOST_PATHS):
        assert piece not in executions, f"an outcome tells {piece!r}"
    for execution in outcome.executions:
        check_execution(execution)
        assert all(len(found.message) < 6_000 for found in execution.diagnostics)


def check_execution(execution: Execution) -> None:
    assert sum(len(line.text.encode()) + 1 for line in execution.logs) <= LIMITS.log_bytes + 1
    assert len(execution.progress) <= LIMITS.max_progress_events
    assert [record.seq for record in execution.calls] == sorted({record.seq for record in execution.calls})
    assert all(ended(record) for record in execution.calls)
    if execution.error is not None:
        assert execution.status.value == "error"
        assert execution.error.type in ERROR_TYPES
        assert len(execution.error.message) < 6_000
        assert len(json.dumps(execution.error.details)) < 64_000
        assert execution.value is None


def ended(record: CallRecord) -> bool:
    return record.status.value != "in_doubt" and (record.status.value == "ok") == (record.error is None)


# What every realm must still do right, whoever used it before.
CANARY = block(
    "const r = await tools.echo({ value: { list: [1, 'x'], n: 0.5 } });"
    "return [r.list[1], [3, 1, 2].sort().join(), JSON.stringify({ b: [r.n] }), 'a-b'.replace(/-/g, '+'), "
    "typeof globalThis.hit, ({}).polluted === undefined, [...new Map([[1, 2]])].flat(), "
    "await Promise.all([1, Promise.resolve(2)]), Reflect.ownKeys(Object(1)).length, String(new Error('e'))]"
)
HEALTHY = ["x", "1,2,3", '{"b":[0.5]}', "a+b", "undefined", True, [1, 2], [1, 2], 0, "Error: e"]


def check_next(host: Host) -> None:
    """The next script of the same trust domain is served as if nothing had been."""
    host.invoked.clear()
    [execution] = host.run(CANARY).executions
    assert execution.error is None, execution.error
    assert execution.value == HEALTHY
    assert [(record.tool, record.status.value) for record in execution.calls] == [("echo", "ok")]
    assert host.invoked == [("echo", {"value": {"list": [1, "x"], "n": 0.5}})]
    await_abandoned(host)
    status = host.harness.get_status()
    assert status.executions == ()
    assert status.pending_approvals == 0
    assert status.workers is not None
    assert (status.workers.busy, status.workers.abandoned_threads) == (0, 0)


def await_abandoned(host: Host) -> None:
    """A thread whose script was ended may need a moment on a busy machine; it ends without any help."""
    runtime = host.harness._runtime
    assert runtime is not None
    if isinstance(runtime._pool, ThreadPool):
        for worker in runtime._pool._abandoned:
            worker._thread.join(PATIENCE_S)


class Memory:
    """By how much this process held more memory than when this was made, at the worst moment since."""

    def __init__(self) -> None:
        # 5 sets the high-water mark back to what is held now.
        Path("/proc/self/clear_refs").write_text("5")
        self._before = self._peak()

    @staticmethod
    def _peak() -> int:
        [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) * 1024

    @property
    def growth(self) -> int:
        return self._peak() - self._before


# ── the tests ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("ATK-001", "ATK-002", "ATK-003", "ATK-004", "ATK-005")
@pytest.mark.parametrize(("isolation", "entry"), list(cases()))
def test_attack(isolation: Isolation, entry: Entry, hosts: Hosts):
    host = hosts[isolation]
    for script in entry.before:
        host.run(block(script))
    host.invoked.clear()
    host.output = entry.output
    memory = Memory()
    run = run_plainly if entry.frames is None else run_infiltrated
    outcome = run(host, entry)
    growth = memory.growth

    expected = entry.expect if isinstance(entry.expect, tuple) else (entry.expect,)
    misfits = [misfit(one, outcome, host) for one in expected]
    if None not in misfits:
        pytest.fail(f"{entry.why}\n" + "\nor\n".join(str(found) for found in misfits), pytrace=False)
    check_whatever_it_was(entry, outcome)
    assert growth < MOST_GROWTH[isolation]
    check_next(host)


@pytest.mark.requirement("ATK-006")
def test_the_catalogue_is_whole():
    assert len(ENTRIES) >= 220
    ids = [entry.id for entry in ENTRIES]
    assert ids == list(dict.fromkeys(ids)), "an id stands twice"
    for entry in ENTRIES:
        assert entry.id.startswith(f"{entry.area}-")
        assert sum(given is not None for given in (entry.script, entry.text, entry.frames)) == 1 or entry.frames
    sizes = collections.Counter(entry.area for entry in ENTRIES)
    documented = re.findall(
        r"^\| `(\w+)` \|", (Path(__file__).parent.parent / "specs/attacks.md").read_text(), re.MULTILINE
    )
    assert sorted(documented) == sorted(sizes)
    assert min(sizes.values()) >= 4
    kept_out = {entry.area for entry in ENTRIES if "thread" not in entry.served_by}
    assert kept_out == {
        "cpu",
        "engine",
        "errors",
        "frames",
        "hygiene",
        "leak",
        "logs",
        "memory",
        "promises",
        "stack",
        "tools",
    }
    assert all("process" in entry.served_by for entry in ENTRIES)
