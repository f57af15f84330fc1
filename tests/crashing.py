"""Processes that die in the middle of a run, and what the next ones make of it.

Every life is a process: it begins a run or goes on with it, and may be killed right before or after one of the appends
to its journal, or at any moment. A ledger outside has one line for every side effect. After the last life `problems`
says what was promised and did not hold.

``python -m tests.crashing sweep`` kills at the appends one by one, ``soak`` at random moments under load. Both print JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import anyio

from harness import Decision, Harness, Outcome, ToolExecutionError, tool
from harness.errors import ResumeConflictError
from harness.journal.events import Event
from harness.journal.journal import Journal
from harness.journal.runs import key_hash
from harness.journal.sqlite import SqliteStore
from harness.model import ApprovalRequest, CallRecord, CallStatus
from harness.tools.context import CallContext
from harness.tools.deferred import Deferred

Policy = Literal["truth", "deny", "terminate"]
"""What a person says about a call in doubt: what the ledger says, that it failed, or that the run must end."""

TEXT = """Let me see. <tool-calls>
const seen = [Math.random(), Date.now()];
const first = await Promise.all([tools.put({n: 1}), tools.charge({n: 2}), tools.wire({n: 3})]);
let late;
try { late = await Promise.all([tools.job({n: 4}), tools.put({n: 5})]) } catch (error) { late = "late failed" }
const raced = await Promise.race([tools.charge({n: 6}), new Promise((done) => setTimeout(() => done(0), 60000))]);
const both = await Promise.allSettled([tools.refund({n: 7}), tools.refund({n: 8}), tools.charge({n: 9})]);
try { await tools.broken({n: 10}) } catch (error) { console.log(error.name) }
({first, late, raced, both: both.map((one) => one.value ?? null), seen: seen.length})
</tool-calls> And then <tool-calls>[await tools.put({n: 11}), await tools.charge({n: 12})]</tool-calls>."""
VALUES = [
    {"first": [10, 20, 30], "late": [40, 50], "raced": 60, "both": [70, 80, 90], "seen": 2},
    [110, 120],
]
EFFECTS = range(1, 13)
REPEATABLE = {"put"}
PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class Kill:
    """The end of a life: right ``before`` or ``after`` one of its appends."""

    append: int
    when: Literal["before", "after"]


class KillingStore(SqliteStore):
    """An SQLite file whose process does not survive a certain append."""

    def __init__(self, path: Path, kill: Kill | None) -> None:
        super().__init__(path)
        self._kill = kill
        self._appends = 0

    def append(self, events: Sequence[Event]) -> None:
        self._appends += 1
        if self._kill == Kill(self._appends, "before"):
            os.kill(os.getpid(), signal.SIGKILL)
        super().append(events)
        if self._kill == Kill(self._appends, "after"):
            os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Case:
    """One run, its journal and its ledger, over all its lives."""

    directory: Path
    name: str = "case"
    isolation: Literal["process", "shared", "thread"] = "thread"
    backend: str = "asyncio"
    policy: Policy = "truth"
    keyed: bool = False
    """Whether later lives come back with the idempotency key; else they recover the run by its id."""
    text: str = TEXT
    delay: float = 0.0
    """Seconds that a tool may take, at most."""

    @property
    def journal(self) -> Path:
        return self.directory / "runs.sqlite"

    @property
    def ledger(self) -> Path:
        return self.directory / f"{self.name}.ledger"

    @property
    def report(self) -> Path:
        return self.directory / f"{self.name}.report"

    def note(self, path: Path, **fields: Any) -> None:
        """One line, whatever else writes to the file."""
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, (json.dumps(fields) + "\n").encode())
        finally:
            os.close(descriptor)

    def noted(self, path: Path) -> list[dict[str, Any]]:
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def tools(case: Case) -> list[Any]:
    """Tools whose only effect is a line in the ledger."""

    async def effect(context: CallContext, n: int) -> int:
        await anyio.sleep(random.random() * case.delay)
        case.note(case.ledger, tool=context.tool, n=n, key=context.idempotency_key, pid=os.getpid())
        await anyio.sleep(random.random() * case.delay)
        return n * 10

    @tool(idempotent=True)
    async def put(context: CallContext, n: int) -> int:
        """May be repeated."""
        return await effect(context, n)

    @tool
    async def charge(context: CallContext, n: int) -> int:
        """Must not be repeated."""
        return await effect(context, n)

    @tool
    def wire(context: CallContext, n: int) -> int:
        """Must not be repeated, and works in a thread."""
        case.note(case.ledger, tool="wire", n=n, key=context.idempotency_key, pid=os.getpid())
        return n * 10

    @tool(approval=True)
    async def refund(context: CallContext, n: int) -> int:
        """Must not be repeated, and not be done without asking."""
        return await effect(context, n)

    @tool
    async def job(context: CallContext, n: int) -> int:
        """Must not be repeated; its result comes later."""
        await effect(context, n)
        return Deferred()  # type: ignore[return-value] # what stands for a result that comes later

    @tool
    async def broken(context: CallContext, n: int) -> int:
        """Has its effect, and fails."""
        await effect(context, n)
        raise ToolExecutionError("the service is down")

    return [put, charge, wire, refund, job, broken]


# ── a life ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _number(call: CallRecord | ApprovalRequest) -> int:
    """Which of the effects it is about."""
    arguments = call.args if isinstance(call, CallRecord) else call.arguments
    assert isinstance(arguments, dict)
    n = arguments["n"]
    assert isinstance(n, int)
    return n


def decision(case: Case, request: ApprovalRequest) -> Decision:
    """What a person says, who looks into the ledger first if something is in doubt."""
    n = _number(request)
    if request.kind == "approval":
        return Decision.approve()
    if request.kind == "deferred":
        return Decision.answer(n * 10)
    case.note(case.report, in_doubt=n, tool=request.tool)
    if case.policy == "deny":
        return Decision.deny("it has failed, as far as we know")
    if case.policy == "terminate":
        return Decision.terminate("nobody knows what happened")
    happened = any(line["n"] == n for line in case.noted(case.ledger))
    if not happened:
        return Decision.approve()
    return Decision.deny("it failed") if request.tool == "broken" else Decision.answer(n * 10)


async def arrive(case: Case, harness: Harness) -> Outcome:
    """Begin the run, or find it and go on with it."""
    run_id = await harness.journal.find(f"key:{key_hash(case.name)}")
    if run_id is None or case.keyed:
        return await harness.run(case.text, idempotency_key=case.name)
    try:
        return await harness.recover(run_id)
    except ResumeConflictError as error:
        if error.details["status"] != "finished":
            raise
        return await harness.replay(run_id)


async def live(case: Case, kill: Kill | None) -> None:
    """From wherever the run stands to its end, unless something kills us on the way."""
    journal = Journal(KillingStore(case.journal, kill))
    async with Harness(tools(case), approver="suspend", journal=journal, isolation=case.isolation) as harness:
        outcome = await arrive(case, harness)
        while outcome.resume_token is not None:
            decisions = {}
            for number, request in enumerate(outcome.pending):
                made = decision(case, request)
                if request.kind == "deferred" and not case.keyed:
                    # As a webhook would, before anybody resumes.
                    with contextlib.suppress(ResumeConflictError):  # an earlier life did
                        await harness.settle(request.id, made.value)
                # One after another where there are several, so that there is something to suspend over again.
                elif number == 0 or request.kind != "approval":
                    decisions[request.id] = made
            outcome = await harness.resume(outcome.resume_token, decisions)
        replayed = await harness.replay(outcome.id)
        streams = await harness.journal.streams()
        same = replayed.canonical() == outcome.canonical()
        case.note(
            case.report,
            finished=outcome.id,
            replays=same,
            values=[execution.value for execution in outcome.executions],
            statuses=[execution.status for execution in outcome.executions],
            open=[
                stream.stream
                for stream in streams
                if stream.run == outcome.id and stream.status in ("running", "suspended")
            ],
            calls=[
                {"tool": call.tool, "n": _number(call), "status": call.status}
                for execution in outcome.executions
                for call in execution.calls
            ],
        )
    journal.close()


def spawn(function: Callable[[], Any], backend: str) -> int:
    """A process that runs a coroutine function; its id. This process must have one thread only."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        anyio.run(function, backend=backend)
        status = 0
    except BaseException:  # noqa: BLE001 - nothing else would tell
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def outlive(case: Case, kill: Kill | None = None) -> int:
    """How one life ended: 0, or minus the number of the signal."""
    _, status = os.waitpid(spawn(partial(live, case, kill), case.backend), 0)
    return os.waitstatus_to_exitcode(status)


# ── the ledger ───────────────────────────────────────────────────────────────────────────────────────────────────────


def problems(case: Case, lives: Sequence[int]) -> Iterator[str]:
    """What was promised of this run and did not hold. ``lives``: how each of them ended."""
    ledger, report = case.noted(case.ledger), case.noted(case.report)
    if lives[-1] != 0 or any(ended not in (0, -signal.SIGKILL) for ended in lives):
        yield f"lives ended with {list(lives)}"
    times = Counter((line["tool"], line["n"]) for line in ledger)
    for (name, n), count in times.items():
        if count > 1 and name not in REPEATABLE:
            yield f"{name} {n} happened {count} times"
        keys = {line["key"] for line in ledger if line["n"] == n}
        if len(keys) > 1:
            yield f"{name} {n} had the keys {keys}"
    ends = [line for line in report if "finished" in line]
    if not ends:
        yield "the run has no end"
        return
    if not all(line["replays"] for line in ends):
        yield "the end does not replay to the same bytes"
    if len({json.dumps([line["finished"], line["values"]]) for line in ends}) != 1:
        yield "the run has several ends"
    yield from _untruths(
        case, ends[-1], {n for _, n in times}, {line["in_doubt"] for line in report if "in_doubt" in line}
    )


def _untruths(case: Case, end: dict[str, Any], happened: set[int], doubted: set[int]) -> Iterator[str]:
    """Where the outcome says something else than the ledger."""
    if end["open"]:
        yield f"still open: {end['open']}"
    for call in end["calls"]:
        n, status = call["n"], call["status"]
        if status == CallStatus.OK and n not in happened:
            yield f"{call['tool']} {n} is ok, and never happened"
        if status == CallStatus.CANCELLED and n in happened:
            yield f"{call['tool']} {n} is cancelled, and happened"
        if status == CallStatus.IN_DOUBT and n not in doubted:
            yield f"{call['tool']} {n} is in doubt, and nobody was asked"
    silent = happened - {call["n"] for call in end["calls"]}
    if silent:
        yield f"happened, and the outcome does not say so: {silent}"
    if case.policy == "truth" and case.text == TEXT:
        if end["values"] != VALUES:
            yield f"the values are {end['values']}"
        if happened != set(EFFECTS):
            yield f"happened: {sorted(happened)}"


# ── at every append ──────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Findings:
    """What a sweep or a soak has found."""

    cases: int = 0
    lives: int = 0
    killed: int = 0
    in_doubt: int = 0
    effects: int = 0
    events: int = 0
    journal_bytes: int = 0
    problems: list[str] = field(default_factory=list)

    def add(self, case: Case, lives: Sequence[int], label: str) -> None:
        self.cases += 1
        self.lives += len(lives)
        self.killed += sum(ended == -signal.SIGKILL for ended in lives)
        self.in_doubt += sum("in_doubt" in line for line in case.noted(case.report))
        self.effects += len(case.noted(case.ledger))
        self.problems += [f"{label}: {problem}" for problem in problems(case, lives)]


def _memory() -> str | None:
    """A directory in memory, if there is one: a process that is killed leaves it as it was, and nothing waits for a disk."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def sweep(
    first: int,
    step: int,
    *,
    isolation: Any,
    backends: Sequence[str],
    policies: Sequence[Policy],
    again: bool,
) -> Findings:
    """Kill at every ``step``-th append from ``first`` on, before and after it, until the run is over before.

    ``again`` also kills each second life, at the same distance from its own start.
    """
    findings = Findings()
    turn = 0
    for when in ("before", "after"):
        number = first
        while True:
            turn += 1
            with tempfile.TemporaryDirectory(prefix="harness-crash-", dir=_memory()) as directory:
                case = Case(
                    Path(directory),
                    isolation=isolation,
                    backend=backends[turn % len(backends)],
                    policy=policies[turn % len(policies)],
                    keyed=turn % 2 == 0,
                )
                kill = Kill(number, when)
                lives = [outlive(case, kill)]
                killed = lives[0] == -signal.SIGKILL
                if killed:
                    lives += [outlive(case, kill)] if again else []
                    lives.append(outlive(case))
                findings.add(case, lives, f"{kill}, {case.backend}, {case.policy}, keyed={case.keyed}")
            if not killed:
                break
            number += step
    return findings


# ── at any moment ────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class _Slot:
    """A place under load: one case after another, each over as many lives as it takes."""

    case: Case
    kind: str
    pid: int
    until: float
    """When its present life is to be ended."""
    lives: list[int] = field(default_factory=list)


class Soak:
    """Cases at the same time, in one journal, whose processes are killed at random moments."""

    def __init__(self, directory: Path, *, jobs: int, chance: random.Random) -> None:
        self._directory = directory
        self._chance = chance
        self._jobs = jobs
        self._slots: list[_Slot] = []
        self._started = 0
        self.findings = Findings()

    def run(self, seconds: float) -> Findings:
        end = time.monotonic() + seconds
        while self._slots or time.monotonic() < end:
            while len(self._slots) < self._jobs and time.monotonic() < end:
                self._slots.append(self._begin())
            # Whatever a killed host leaves behind becomes ours, and must end by itself.
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid:
                self._ended(pid, os.waitstatus_to_exitcode(status))
                continue
            for slot in self._slots:
                if time.monotonic() >= slot.until:
                    os.kill(slot.pid, signal.SIGKILL)
                    slot.until = float("inf")
            time.sleep(0.002)
        self.findings.problems += [f"left behind: {line}" for line in self._orphans()]
        return self.findings

    def _begin(self) -> _Slot:
        self._started += 1
        chance = self._chance
        isolation: Any = chance.choice(["thread", "thread", "process", "shared"])
        policy: Any = chance.choice(["truth", "truth", "truth", "deny", "terminate"])
        case = Case(
            self._directory,
            name=f"case-{self._started}",
            isolation=isolation,
            backend=chance.choice(["asyncio", "trio"]),
            policy=policy,
            keyed=chance.random() < 0.5,
            delay=chance.choice([0.0, 0.01, 0.1]),
        )
        return self._live(_Slot(case, f"{isolation}, {case.backend}, {policy}", 0, 0.0))

    def _live(self, slot: _Slot) -> _Slot:
        chance = self._chance
        slot.pid = spawn(partial(live, slot.case, None), slot.case.backend)
        # Now and then one is let live, so that all come to an end.
        slot.until = float("inf") if chance.random() < 0.2 else time.monotonic() + chance.expovariate(1 / 0.6)
        return slot

    def _ended(self, pid: int, ended: int) -> None:
        slot = next((slot for slot in self._slots if slot.pid == pid), None)
        if slot is None:
            return
        slot.lives.append(ended)
        if ended == -signal.SIGKILL:
            self._live(slot)
            return
        self._slots.remove(slot)
        self.findings.add(slot.case, slot.lives, f"{slot.case.name}, {slot.kind}")

    @staticmethod
    def _orphans() -> list[str]:
        """Processes of hosts that were killed which have not ended after ten seconds."""
        end = time.monotonic() + 10
        while time.monotonic() < end:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return []
            if not pid:
                time.sleep(0.05)
        return Path("/proc/self/task/" + str(os.getpid()) + "/children").read_text().split()


def soak(seconds: float, *, jobs: int, seed: int) -> Findings:
    """See `Soak`."""
    # Orphans are handed to us in place of the first process.
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    with tempfile.TemporaryDirectory(prefix="harness-soak-") as directory:
        found = Soak(Path(directory), jobs=jobs, chance=random.Random(seed)).run(seconds)
        journal = Journal(Path(directory) / "runs.sqlite")
        found.events = sum(known.events for known in journal.store.streams())
        found.journal_bytes = journal.store.size()
        for known in journal.store.streams():
            journal.verify(journal.store.read(known.stream))
        journal.close()
    return found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["sweep", "soak"])
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--step", type=int, default=1)
    parser.add_argument("--isolation", default="thread")
    parser.add_argument("--backends", default="asyncio,trio")
    parser.add_argument("--policies", default="truth")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--jobs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    started = time.monotonic()
    if given.what == "soak":
        findings = soak(given.seconds, jobs=given.jobs, seed=given.seed)
    else:
        findings = sweep(
            given.first,
            given.step,
            isolation=given.isolation,
            backends=given.backends.split(","),
            policies=given.policies.split(","),
            again=given.again,
        )
    sys.stdout.write(json.dumps({**asdict(findings), "seconds": round(time.monotonic() - started, 1)}, indent=1) + "\n")
    sys.exit(1 if findings.problems else 0)


if __name__ == "__main__":
    main()
