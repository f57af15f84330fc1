"""Runs on record: replayed, suspended, resumed, settled, run once, recovered."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import anyio
import pytest

from harness import (
    ContractChangedError,
    Decision,
    Deferred,
    Execution,
    Harness,
    IdempotencyKeyError,
    Journal,
    JournalKeyError,
    JournalWriteError,
    Outcome,
    ReplayDivergenceError,
    ResumeConflictError,
    ResumeTokenError,
    ToolRegistry,
    UsageError,
    tool,
)
from harness.contracts.values import Gating
from harness.journal import machine as machine_module
from harness.journal.payloads import CallIssued, CallSettled
from harness.journal.values import new_key
from harness.tools.context import CallContext
from tests.fixtures.ledger import Ledger

pytestmark = pytest.mark.anyio

BUSY = """
const log = [];
const timer = new Promise((resolve) => setTimeout(() => resolve('timer'), 5));
log.push(await Promise.race([timer, tools.wait({ms: 30}), tools.wait({ms: 1})]));
log.push(await Promise.all([1, 2, 3].map(async (n) => [n, await tools.wait({ms: 3 * (4 - n)}), Math.random(), Date.now()])));
for (let i = 0; i < 3; i++) try { log.push(await tools.fail({n: i})); } catch (e) { log.push([e.name, e.message]); }
console.log('budget', context.budget().tool_calls.used);
progress('half way', {n: log.length});
log
"""


def block(script: str) -> str:
    return f"<tool-calls>{script}</tool-calls>"


def one(outcome: Outcome) -> Execution:
    (execution,) = outcome.executions
    return execution


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "runs.sqlite")


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


def suspending(ledger: Ledger, path: str, **more: Any) -> Harness:
    # What these tests are about is the same wherever scripts run, and a thread is there at once.
    return Harness(tools=ledger.tools(), journal=path, **{"approver": "suspend", "isolation": "thread", **more})


# ── replay ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("JRN-012")
async def test_a_replay_gives_the_same_bytes(ledger):
    async with Harness(tools=ledger.tools()) as harness:
        outcome = await harness.run(f"{block(BUSY)} and {block('await tools.wait({ms: 1}) + Math.random()')}")
        assert [execution.status for execution in outcome.executions] == ["ok", "ok"], outcome.executions
        done = len(ledger.done)
        again = await harness.replay(outcome.id)
        assert again.canonical() == outcome.canonical()
        second = await harness.replay(outcome.executions[1].id)
        assert [execution.value for execution in second.executions] == [outcome.executions[1].value]
        assert len(ledger.done) == done


@pytest.mark.requirement("JRN-012")
async def test_another_process_replays_without_tools(ledger, path):
    outcome = await Harness(tools=ledger.tools(), journal=path).run(block(BUSY))
    replayed = await Harness(journal=path).replay(outcome.id)
    assert replayed.canonical() == outcome.canonical()
    with pytest.raises(UsageError, match="knows no outcome"):
        await Harness(journal=path).replay("exec_nobody")


async def altered(journal: Journal, path: str, kind: type, **changes: Any) -> Journal:
    """A journal with the same events, of which the first one of a kind says something else, in chains that are whole."""
    copy = Journal(path)
    for known in await journal.streams():
        log, todo = copy.begin(known.stream), True
        for recorded in await journal.read(known.stream):
            payload = recorded.payload
            assert payload is not None
            if isinstance(payload, kind) and todo:
                payload, todo = payload.model_copy(update=changes), False
            await log.write(payload)
    return copy


@pytest.mark.requirement("JRN-013")
@pytest.mark.parametrize(
    ("kind", "changes", "says"),
    [
        (CallIssued, {"arguments_json": '[{"ms":2}]'}, r"At event \d+: .*tools.wait with \[\{\"ms\":2\}\].* but now .*\"ms\":1"),
        (CallIssued, {"tool": "fail"}, r"At event \d+: .*tools.fail.* but now .*tools.wait"),
        (CallSettled, {"value_json": "77"}, r"\$.value: 2 then, 78 now"),
    ],
    ids=["arguments", "tool", "result"],
)  # fmt: skip
async def test_a_divergence_says_where_and_what(ledger, path, kind, changes, says):
    async with Harness(tools=ledger.tools()) as harness:
        outcome = await harness.run(block("(await tools.wait({ms: 1})) + 1"))
        journal = await altered(harness.journal, path, kind, **changes)
        with pytest.raises(ReplayDivergenceError, match=says) as raised:
            await Harness(journal=journal).replay(outcome.id)
        assert raised.value.details["seq"] > 0
        journal.close()


@pytest.mark.requirement("JRN-014")
async def test_another_build_is_refused_unless_forced(ledger, monkeypatch):
    async with Harness(tools=ledger.tools()) as harness:
        outcome = await harness.run(block("Math.random()"))
        await harness.executions()  # what is on record is written
        other = {**machine_module.machine(), "engine": "another one"}
        monkeypatch.setattr("harness.journal.replay.machine", lambda: other)
        with pytest.raises(ReplayDivergenceError, match=r"engine quickjs-ng .* \(here: another one\)"):
            await harness.replay(outcome.id)
        assert (await harness.replay(outcome.id, force=True)).canonical() == outcome.canonical()


@pytest.mark.requirement("JRN-015")
@pytest.mark.parametrize(
    ("script", "limits", "error"),
    [
        ("await tools.wait({ms: 1}); for (;;);", {"wall_time": 0.4}, "ScriptTimeoutError"),
        ("await tools.wait({ms: 60000})", {"wall_time": 0.4}, "ScriptTimeoutError"),
        ("await tools.wait({ms: 1}); const a = []; for (;;) a.push(new Array(1e5).fill(1))", {}, "ScriptMemoryError"),
        ("await tools.wait({ms: 1}); throw new TypeError('x')", {}, "TypeError"),
    ],
)  # fmt: skip
async def test_an_end_that_a_vm_cannot_bring_about_is_adopted(ledger, script, limits, error):
    async with Harness(tools=ledger.tools(), limits=limits) as harness:
        outcome = await harness.run(block(script))
        failed = one(outcome).error
        assert failed is not None
        assert failed.type == error
        assert (await harness.replay(outcome.id)).canonical() == outcome.canonical()


@pytest.mark.requirement("JRN-016")
async def test_what_was_left_out_or_sealed_is_not_replayed(ledger, tmp_path):
    key = new_key()
    omitted: dict[str, Any] = {"values": "omitted"}
    sealed: dict[str, Any] = {"values": "encrypted", "key": key}
    for name, settings, other in (("omitted", omitted, omitted), ("sealed", sealed, {**sealed, "key": new_key()})):
        file = tmp_path / name
        journal = Journal(file, **settings)
        outcome = await Harness(tools=ledger.tools(), journal=journal).run(block("await tools.wait({ms: 1})"))
        assert one(outcome).value == 1
        reader = Journal(file, **other)
        with pytest.raises(JournalKeyError):
            await Harness(journal=reader).replay(outcome.id)
        if name == "sealed":
            assert (await Harness(journal=journal).replay(outcome.id)).canonical() == outcome.canonical()
        reader.close()
        journal.close()


# ── suspending and resuming ──────────────────────────────────────────────────────────────────────────────────────

TWO = """
const early = tools.wait({ms: 20});
const [a, b] = await Promise.all([tools.pay({cents: 1}), tools.pay({cents: 2})].map((p) => p.catch((e) => e.name)));
({a, b, early: await early})
"""


@pytest.mark.requirement("JRN-020", "JRN-021")
async def test_a_suspended_outcome_goes_on_elsewhere(ledger, path):
    async with suspending(ledger, path) as harness:
        outcome = await harness.run(f"{block(TWO)} then {block('await tools.wait({ms: 2})')}")
        first, second = outcome.executions
        assert (first.status, first.reason) == ("suspended", "waiting for 2 approvals")
        assert [(call.tool, call.status) for call in first.calls] == [("wait", "ok")]
        assert (second.status, second.reason) == ("skipped", "waiting: an earlier block is suspended")
        assert [(request.tool, request.arguments) for request in outcome.pending] == [
            ("pay", {"cents": 1}),
            ("pay", {"cents": 2}),
        ]
        assert ledger.done == ["wait 20"]
        assert harness.get_status().executions == ()
    one_id, two_id = (request.id for request in outcome.pending)
    async with suspending(ledger, path) as harness:
        again = await harness.resume(outcome.resume_token or "", {one_id: Decision.approve({"cents": 100})})
        assert [execution.status for execution in again.executions] == ["suspended", "skipped"]
        assert [request.id for request in again.pending] == [two_id]
        assert ledger.done == ["wait 20", "pay 100"]
        assert again.resume_token != outcome.resume_token
    done = await suspending(ledger, path).resume(again.resume_token or "", {two_id: Decision.deny("too much")})
    assert [execution.value for execution in done.executions] == [
        {"a": 100, "b": "ApprovalDeniedError", "early": 20},
        2,
    ]
    assert ledger.done == ["wait 20", "pay 100", "wait 2"]
    assert done.id == outcome.id
    assert done.executions[0].id == first.id
    assert (done.pending, done.resume_token) == ((), None)
    assert (await Harness(journal=path).replay(done.id)).canonical() == done.canonical()


@pytest.mark.requirement("JRN-021", "JRN-029")
async def test_a_token_is_good_where_the_journal_is_in_memory(ledger):
    harness = Harness(tools=ledger.tools(), approver="suspend", journal=Journal())
    outcome = await harness.run(block("await tools.pay({cents: 1})"))
    (request,) = outcome.pending
    done = await harness.resume(outcome.resume_token or "", {request.id: Decision.approve()})
    assert (one(done).status, ledger.done) == ("ok", ["pay 1"])


@pytest.mark.requirement("JRN-057")
@pytest.mark.parametrize("decided", [0, 1])
async def test_what_is_decided_reaches_the_script_before_the_rest(ledger, path, decided):
    script = """
        const one = async (cents) => { await tools.pay({cents}); await tools.wait({ms: cents}) };
        await Promise.all([one(1), one(2)]);
    """
    outcome = await suspending(ledger, path).run(block(script))
    request, other = outcome.pending[decided], outcome.pending[1 - decided]
    again = await suspending(ledger, path).resume(outcome.resume_token or "", {request.id: Decision.approve()})
    assert [each.id for each in again.pending] == [other.id]
    assert ledger.done == [f"pay {decided + 1}", f"wait {decided + 1}"]
    denied = await suspending(ledger, path).resume(again.resume_token or "", {other.id: Decision.deny("no")})
    assert denied.executions[0].status == "error"


@pytest.mark.requirement("JRN-057")
async def test_a_script_that_ends_over_what_is_decided_waits_for_nothing(ledger, path):
    outcome = await suspending(ledger, path).run(
        block("await Promise.all([tools.pay({cents: 1}), tools.pay({cents: 2})])")
    )
    denied = {outcome.pending[0].id: Decision.deny("no")}
    done = await suspending(ledger, path).resume(outcome.resume_token or "", denied)
    assert (done.executions[0].status, done.pending, ledger.done) == ("error", (), [])
    assert (await Harness(journal=path).replay(done.id)).canonical() == done.canonical()


@pytest.mark.requirement("JRN-061")
async def test_what_is_not_decided_waits_where_nobody_can_be_asked(ledger, path):
    text = f"{block('await Promise.all([tools.pay({cents: 1}), tools.pay({cents: 2})])')}{block('await tools.pay({cents: 3})')}"
    outcome = await suspending(ledger, path).run(text)
    first, second = outcome.pending
    alone = suspending(ledger, path, approver=None)
    for decisions in ({}, {first.id: Decision.approve()}):
        outcome = await alone.resume(outcome.resume_token or "", decisions)
        assert outcome.executions[0].status == "suspended"
    assert ([request.id for request in outcome.pending], ledger.done) == ([second.id], ["pay 1"])
    outcome = await alone.resume(outcome.resume_token or "", {second.id: Decision.approve()})
    assert outcome.executions[0].value == [1, 2]
    assert outcome.executions[1].error is not None
    assert outcome.executions[1].error.type == "ApprovalUnavailableError"
    assert (await Harness(journal=path).replay(outcome.id)).canonical() == outcome.canonical()


@pytest.mark.requirement("JRN-021")
@pytest.mark.parametrize(
    ("decision", "value", "status", "paid"),
    [
        (Decision.approve(scope="execution"), [5, 6], "ok", ["pay 5", "pay 6"]),
        (Decision.answer(7), [7, None], "suspended", []),
        (Decision.terminate("enough"), None, "terminated", []),
        (Decision.deny("no"), None, "error", []),
    ],
    ids=["execution", "answer", "terminate", "deny"],
)
async def test_what_a_decision_means_after_the_suspension(ledger, path, decision, value, status, paid):  # noqa: PLR0917 - one row of a table
    outcome = await suspending(ledger, path).run(block("[await tools.pay({cents: 5}), await tools.pay({cents: 6})]"))
    (request,) = outcome.pending
    done = one(await suspending(ledger, path).resume(outcome.resume_token or "", {request.id: decision}))
    assert done.status == status
    assert ledger.done == paid
    if status == "ok":
        assert done.value == value


@pytest.mark.requirement("JRN-022", "JRN-024")
async def test_tokens_that_are_no_good(ledger, path):
    harness = suspending(ledger, path)
    outcome = await harness.run(block("await tools.pay({cents: 5})"), context={"user_id": "ada"})
    token, (request,) = outcome.resume_token or "", outcome.pending
    for wrong in ("rsm_nonsense", "", token[:-1]):
        with pytest.raises(ResumeTokenError, match="no resume token"):
            await harness.resume(wrong)
    with pytest.raises(ResumeTokenError, match="another caller: user_id"):
        await harness.resume(token, context={"user_id": "eve"})
    with pytest.raises(UsageError, match=f"Nothing waits for 'apr_other'; what waits: {request.id}"):
        await harness.resume(token, {"apr_other": Decision.approve()})
    wrong_kind: Any = {request.id: "yes"}
    with pytest.raises(UsageError, match=r"Decision.approve\(\)"):
        await harness.resume(token, wrong_kind)
    done = await harness.resume(token, {request.id: Decision.approve()}, context={"user_id": "ada"})
    assert one(done).value == 5
    with pytest.raises(ResumeConflictError, match="has come to its end") as raised:
        await harness.resume(token, {request.id: Decision.approve()})
    assert raised.value.details == {"outcome_id": outcome.id, "status": "finished"}
    assert ledger.done == ["pay 5"]
    assert token.encode() not in Path(path).read_bytes()  # noqa: ASYNC240 - a small file


def paying(version: str = "1.0", **more: Any) -> Any:
    """A tool ``pay`` that asks for something it did not ask for before."""

    async def pay(cents: int, currency: str) -> str:
        return f"{cents} {currency}"

    return tool(approval=True, version=version, **more)(pay)


@pytest.mark.requirement("JRN-023")
async def test_a_run_does_not_go_on_without_its_tools(ledger, path):
    outcome = await suspending(ledger, path).run(block("await tools.pay({cents: 5})"))
    token, (request,) = outcome.resume_token or "", outcome.pending
    others = [each for each in ledger.tools() if each.name != "pay"]
    cases: list[tuple[list[Any], Gating, str]] = [
        (others, "default", "'pay' 1.0 is gone"),
        ([*others, paying()], "strict", "'pay' 1.0 changed without another version"),
        ([*others, paying("2.0")], "strict", "'pay' 1.0 is served by version 2.0"),
    ]
    for tools, gating, says in cases:
        harness = Harness(tools=ToolRegistry(tools), journal=path, gating=gating)
        with pytest.raises(ContractChangedError, match=says) as caught:
            await harness.resume(token, {request.id: Decision.approve()})
        differences = caught.value.details["differences"]
        assert list(differences) == ["pay"]
        assert ("required_added" in {each["kind"] for each in differences["pay"]}) == (gating == "strict")
    done = await suspending(ledger, path, gating="strict").resume(token, {request.id: Decision.approve()})
    assert (one(done).value, done.diagnostics) == (5, ())


@pytest.mark.requirement("JRN-023")
async def test_a_run_goes_on_with_the_version_that_it_began_with(ledger, path):
    outcome = await suspending(ledger, path).run(block("await tools.pay({cents: 5})"))
    (request,) = outcome.pending
    harness = Harness(tools=ToolRegistry([*ledger.tools(), paying("2.0")]), journal=path, gating="strict")
    assert harness.tools.get("pay").version == "2.0"
    done = await harness.resume(outcome.resume_token or "", {request.id: Decision.approve()})
    assert (one(done).value, ledger.done, done.diagnostics) == (5, ["pay 5"], ())


@pytest.mark.requirement("JRN-023")
async def test_a_run_is_warned_of_tools_that_changed(ledger, path):
    script = "let name; try { await tools.pay({cents: 5}) } catch (e) { name = e.name }; name"
    outcome = await suspending(ledger, path).run(block(script))
    (request,) = outcome.pending
    others = [each for each in ledger.tools() if each.name != "pay"]
    harness = Harness(tools=ToolRegistry([*others, paying()]), journal=path)
    done = await harness.resume(outcome.resume_token or "", {request.id: Decision.approve()})
    assert one(done).value == "ToolValidationError"
    (warning,) = done.diagnostics
    assert (warning.code, warning.details["tool"]) == ("contract_changed", "pay")
    assert "currency" in warning.message
    assert (await harness.replay(done.id)).canonical() == done.canonical()


@pytest.mark.requirement("JRN-023", "JRN-050")
async def test_what_was_started_under_an_older_contract_is_in_doubt(ledger, path):
    stuck = anyio.Event()

    @tool
    async def send(text: str) -> None:
        stuck.set()
        await anyio.sleep_forever()

    harness = Harness(tools=[send], journal=path, isolation="thread")
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(harness.run, block("await tools.send({text: 'hi'})"))
            await stuck.wait()
            scope.cancel()
    (entry,) = await harness.executions()

    @tool(name="send")
    async def send_to(text: str, to: str) -> None:
        raise AssertionError

    done = await Harness(tools=[send_to], journal=path, isolation="thread").recover(entry.outcome_id)
    (call,) = one(done).calls
    assert call.status == "in_doubt"
    assert call.error is not None
    assert call.error.type == "ToolValidationError"


@pytest.mark.requirement("JRN-025")
async def test_an_approver_who_does_not_answer_in_time_is_not_waited_for(ledger, path):
    asked = anyio.Event()

    async def slow(_: Any) -> Decision:
        asked.set()
        await anyio.sleep_forever()
        raise AssertionError

    outcome = await suspending(ledger, path, approver=slow, suspend_after=0.05).run(
        block("await tools.pay({cents: 5})")
    )
    assert asked.is_set()
    assert one(outcome).status == "suspended"
    (request,) = outcome.pending
    done = await suspending(ledger, path).resume(outcome.resume_token or "", {request.id: Decision.approve()})
    assert one(done).value == 5


@pytest.mark.requirement("JRN-026")
@pytest.mark.parametrize("isolation", ["process", "shared", "thread"])
async def test_a_script_does_not_notice_that_it_was_suspended(ledger, path, isolation):
    script = """
        const seen = [];
        setTimeout(() => seen.push('timer'), 60000);
        const before = Date.now();
        try { seen.push(await tools.pay({cents: 5})); } catch (e) { seen.push(e.name); } finally { seen.push('finally'); }
        [seen, Date.now() - before < 20000]
    """
    outcome = await suspending(ledger, path, isolation=isolation).run(block(script))
    (request,) = outcome.pending
    assert one(outcome).logs == ()
    harness = suspending(ledger, path, isolation=isolation)
    done = await harness.resume(outcome.resume_token or "", {request.id: Decision.approve()})
    assert one(done).value == [[5, "finally"], True]


@pytest.mark.requirement("JRN-020")
@pytest.mark.parametrize("journal", ["memory", "sqlite"])
async def test_a_suspension_waits_for_what_has_settled_to_reach_the_script(ledger, path, journal):
    script = """
        const p = tools.pay({cents: 1}), w = await tools.wait({ms: 2});
        await Promise.all([p, w, tools.pay({cents: 2})])
    """
    harness = Harness(ledger.tools(), approver="suspend", journal=Journal() if journal == "memory" else path)
    outcome = await harness.run(block(script))
    assert [request.arguments for request in outcome.pending] == [{"cents": 1}, {"cents": 2}]
    decisions = {request.id: Decision.approve() for request in outcome.pending}
    assert one(await harness.resume(outcome.resume_token or "", decisions)).value == [1, 2, 2]


@pytest.mark.requirement("JRN-015", "JRN-021")
async def test_a_call_that_ends_its_execution_late_is_replayed_late(ledger, path):
    """It was made in the first frame, and what came of it is on record behind several more."""
    script = "const p = tools.pay({cents: 1}); for (const ms of [0, 1, 2]) await tools.wait({ms}); await p"
    outcome = await suspending(ledger, path).run(block(script))
    (request,) = outcome.pending
    harness = suspending(ledger, path)
    done = await harness.resume(outcome.resume_token or "", {request.id: Decision.terminate("enough")})
    assert (one(done).status, one(done).reason, len(one(done).calls)) == ("terminated", "enough", 4)
    assert (await harness.replay(done.id)).to_canonical_json() == done.to_canonical_json()


@pytest.mark.requirement("JRN-021")
async def test_one_of_two_decided_does_not_wait_for_the_other(ledger, path):
    """The second call is made alone, while the result of the first is on its way to the script."""
    script = """
        const first = tools.pay({cents: 1}).then((v) => (console.log('first', v), v));
        await tools.wait({ms: 0});
        await Promise.all([first, tools.pay({cents: 2})])
    """
    harness = suspending(ledger, path, limits={"wall_time": 5})
    outcome = await harness.run(block(script))
    one_id, two_id = (request.id for request in outcome.pending)
    again = await harness.resume(outcome.resume_token or "", {one_id: Decision.approve()})
    assert (one(again).status, [request.id for request in again.pending]) == ("suspended", [two_id])
    assert [line.text for line in one(again).logs] == ["first 1"]
    assert one(await harness.resume(again.resume_token or "", {two_id: Decision.approve()})).value == [1, 2]


@pytest.mark.requirement("JRN-027", "JRN-022")
async def test_a_run_that_nobody_resumed_is_ended(ledger, path):
    harness = suspending(ledger, path, limits={"suspension_time": 0.001})
    outcomes = [await harness.run(block("await tools.pay({cents: 5})")) for _ in range(2)]
    with pytest.raises(ResumeTokenError, match="has expired"):
        await harness.resume(outcomes[0].resume_token or "")
    assert await harness.sweep() == 1
    assert await harness.sweep() == 0
    for outcome in outcomes:
        assert one(await harness.replay(outcome.id)).status == "cancelled"
        with pytest.raises(ResumeConflictError):
            await harness.resume(outcome.resume_token or "")
    assert {entry.status for entry in await harness.executions()} == {"cancelled"}


@pytest.mark.requirement("JRN-028")
async def test_the_list_of_executions(ledger, path):
    harness = suspending(ledger, path)
    finished = await harness.run(block("1"))
    waiting = await harness.run(block("await tools.pay({cents: 5})"))
    entries = {entry.execution_id: entry for entry in await harness.executions()}
    first, second = entries[one(finished).id], entries[one(waiting).id]
    assert (first.status, first.outcome_id, first.expires_at) == ("ok", finished.id, None)
    assert second.status == "suspended"
    assert second.expires_at is not None


@pytest.mark.requirement("JRN-029")
def test_suspending_asks_for_a_journal():
    for settings in ({"approver": "suspend"}, {"suspend_after": 1.0}):
        given: Any = settings
        with pytest.raises(UsageError, match=r"journal=\"runs.sqlite\""):
            Harness(**given)
    Harness(approver="suspend", journal=Journal())


# ── deferred results ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("JRN-030", "JRN-031")
async def test_a_deferred_result_comes_from_anywhere(ledger, path):
    harness = suspending(ledger, path, approver=None)
    outcome = await harness.run(block("(await tools.order({})) + 1"))
    (request,) = outcome.pending
    assert (one(outcome).status, request.kind, request.reason) == ("suspended", "deferred", "in the kitchen")
    assert [request.id] == ledger.deferred
    other = suspending(ledger, path, approver=None)
    assert await other.settle(request.id, 41) is False
    with pytest.raises(ResumeConflictError, match="settled before"):
        await harness.settle(request.id, 42)
    with pytest.raises(UsageError, match=r"context\.deferral_id"):
        await harness.settle("dfr_exec_nothing_1", 1)
    done = await other.resume(outcome.resume_token or "")
    assert one(done).value == 42
    with pytest.raises(ResumeConflictError, match="has ended already"):
        await harness.settle(request.id, 42)
    assert (await harness.replay(done.id)).canonical() == done.canonical()


@pytest.mark.requirement("JRN-031")
async def test_what_is_no_id_or_no_event_is_said(ledger, path):
    harness = suspending(ledger, path)
    wrong: Any
    for wrong in (None, 5):
        with pytest.raises(UsageError, match=r"settle takes the id of a deferred call \(context.deferral_id"):
            await harness.settle(wrong, 1)
    outcome = await harness.run(block("1"))
    for wrong in (0, 99, "2"):
        with pytest.raises(UsageError, match=f"has the events 1 to 3, not {wrong!r}"):
            await harness.replay_until(one(outcome).id, wrong)


@pytest.mark.requirement("JRN-065")
@pytest.mark.parametrize("swept", [True, False])
async def test_a_result_that_nobody_would_hear_of_is_refused(ledger, path, swept):
    harness = suspending(ledger, path, limits={"suspension_time": 0.001})
    await harness.run(block("await tools.order({})"))
    if swept:
        assert await harness.sweep() == 1
    with pytest.raises(ResumeConflictError, match=r"too late|has ended already"):
        await Harness(journal=path).settle(ledger.deferred[0], 41)


@pytest.mark.requirement("JRN-066")
async def test_what_is_signed_goes_on_only_with_the_key(ledger, path):
    signed = suspending(ledger, path, signing_key="k" * 32)
    text = block("[await tools.order({}), await tools.pay({cents: 5})]")
    outcome = await signed.run(text, idempotency_key="k")
    unsigned = suspending(ledger, path)
    for attempt in (
        lambda: unsigned.settle(ledger.deferred[0], 41),
        lambda: unsigned.resume(outcome.resume_token or ""),
        lambda: unsigned.recover(outcome.id, force=True),
        lambda: unsigned.run(text, idempotency_key="k"),
    ):
        with pytest.raises(JournalKeyError, match="is signed, and goes on only with its signing key"):
            await attempt()
    await signed.settle(ledger.deferred[0], 41)
    outcome = await signed.resume(outcome.resume_token or "")
    done = await signed.resume(outcome.resume_token or "", {outcome.pending[0].id: Decision.approve()})
    assert one(done).value == [41, 5]


@pytest.mark.requirement("JRN-031")
async def test_a_decision_does_not_take_the_place_of_a_result(ledger, path):
    harness = suspending(ledger, path)
    outcome = await harness.run(block("(await tools.order({})) + 1"))
    token, (request,) = outcome.resume_token or "", outcome.pending
    await harness.settle(request.id, 41)
    with pytest.raises(ResumeConflictError, match="settled before; the first result counts") as raised:
        await harness.resume(token, {request.id: Decision.answer(7)})
    assert raised.value.details == {"request_id": request.id}
    assert one(await harness.resume(token)).value == 42


@pytest.mark.requirement("JRN-030")
@pytest.mark.parametrize("how", ["settled", "resumed"])
async def test_a_deferred_call_can_fail(ledger, path, how):
    harness = suspending(ledger, path)
    outcome = await harness.run(block("await tools.order({})"))
    (request,) = outcome.pending
    decisions = {}
    if how == "settled":
        await harness.settle(request.id, error="the kitchen burnt down")
    else:
        with pytest.raises(UsageError, match=r"Decision.answer\(value\)"):
            await harness.resume(outcome.resume_token or "", {request.id: Decision.approve()})
        decisions = {request.id: Decision.deny("the kitchen burnt down")}
    error = one(await harness.resume(outcome.resume_token or "", decisions)).error
    assert error is not None
    assert (error.type, error.message) == ("ToolExecutionError", "tools.order failed: the kitchen burnt down")


@pytest.mark.requirement("JRN-030")
async def test_a_deferred_result_is_checked_like_any(ledger, path):
    harness = suspending(ledger, path)
    outcome = await harness.run(block("await tools.order({})"))
    await harness.settle(outcome.pending[0].id, "not a number")
    error = one(await harness.resume(outcome.resume_token or "")).error
    assert error is not None
    assert error.type == "ToolValidationError"


@pytest.mark.requirement("JRN-031", "JRN-032")
@pytest.mark.parametrize("early", [True, False], ids=["early", "late"])
async def test_a_deferred_result_that_comes_while_the_script_runs(ledger, early):
    harness = Harness(tools=ledger.tools())

    async def bring() -> None:
        assert await harness.settle(ledger.deferred[0], 41)

    if early:
        ledger.on_order = bring
    async with harness, anyio.create_task_group() as group:
        outcomes: list[Outcome] = []

        async def run() -> None:
            outcomes.append(await harness.run(block("(await tools.order({})) + 1")))

        group.start_soon(run)
        if not early:
            await ledger.ordered.wait()
            group.start_soon(bring)
    assert one(outcomes[0]).value == 42


@pytest.mark.requirement("JRN-032")
async def test_a_deferred_result_that_does_not_come(ledger):
    execution = one(
        await Harness(tools=ledger.tools(), limits={"approval_timeout": 0.05}).run(block("await tools.order({})"))
    )
    assert execution.error is not None
    assert execution.error.type == "ToolTimeoutError"
    assert [call.status for call in execution.calls] == ["in_doubt"]


async def later() -> Deferred:
    return Deferred()


async def whole_number() -> int | Deferred:
    return Deferred()


@pytest.mark.requirement("JRN-058")
async def test_that_a_result_comes_later_is_no_part_of_it(path):
    harness = Harness(tools=[later, whole_number], journal=path)
    described = {each["name"]: each["result"] for each in harness.tools.describe("json")}
    assert described == {"later": None, "whole_number": {"type": "integer"}}
    outcome = await harness.run(block("[await tools.later(), await tools.whole_number()]"))
    assert await harness.settle(outcome.pending[0].id, {"a": 1}) is False
    again = await harness.resume(outcome.resume_token or "")
    await harness.settle(again.pending[0].id, "no number")
    done = await harness.resume(again.resume_token or "")
    execution = one(done)
    assert execution.calls[0].status == "ok"
    assert execution.error is not None
    assert execution.error.type == "ToolValidationError"


# ── idempotent runs ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("JRN-040")
async def test_a_key_runs_a_text_once(ledger, path):
    text = f"{block('await tools.wait({ms: 1})')} {block('')} {block('syntax error (')}"
    harness = suspending(ledger, path)
    first = await harness.run(text, idempotency_key="order 1")
    second = await suspending(ledger, path).run(text, idempotency_key="order 1")
    assert second.to_json() == first.to_json()
    assert ledger.done == ["wait 1"]
    with pytest.raises(IdempotencyKeyError, match="another text"):
        await harness.run("other", idempotency_key="order 1")
    for wrong in ("", 5, "x" * 1_001):
        key: Any = wrong
        with pytest.raises(UsageError, match="idempotency_key"):
            await harness.run(text, idempotency_key=key)


@pytest.mark.requirement("JRN-064")
async def test_a_key_belongs_to_one_caller_and_its_inputs(ledger, path):
    harness = Harness(tools=ledger.tools(), journal=path, isolation="thread")
    text = block("context.inputs.n")
    given: dict[str, Any] = {"context": {"user_id": "ada", "metadata": {"try": 1}}, "inputs": {"n": 1}}
    first = await harness.run(text, idempotency_key="k", **given)
    again = {**given, "context": {"user_id": "ada", "metadata": {"try": 2}}}
    assert (await harness.run(text, idempotency_key="k", **again)).to_json() == first.to_json()
    others: list[tuple[dict[str, Any], str]] = [
        ({"context": {"user_id": "eve"}}, "user_id"),
        ({"context": {"user_id": "ada", "session_id": "s"}}, "session_id"),
        ({"inputs": {"n": 2}}, "inputs"),
    ]
    for other, field in others:
        with pytest.raises(IdempotencyKeyError, match=f"other values of the context: {field}") as raised:
            await harness.run(text, idempotency_key="k", **{**given, **other})
        assert raised.value.details == {"fields": [field]}


@pytest.mark.requirement("JRN-041")
@pytest.mark.parametrize("journal", ["memory", "sqlite"])
async def test_runs_with_one_key_at_the_same_time_are_one(ledger, path, journal):
    outcomes: list[Outcome] = []
    async with Harness(tools=ledger.tools(), journal=None if journal == "memory" else path) as harness:

        async def run() -> None:
            outcomes.append(await harness.run(block("await tools.wait({ms: 30})"), idempotency_key="k"))

        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(run)
    assert ledger.done == ["wait 30"]
    assert len({outcome.to_json() for outcome in outcomes}) == 1


@pytest.mark.requirement("JRN-041")
async def test_a_key_whose_run_is_suspended(ledger, path):
    harness = suspending(ledger, path)
    first = await harness.run(block("await tools.pay({cents: 5})"), idempotency_key="k")
    second = await harness.run(block("await tools.pay({cents: 5})"), idempotency_key="k")
    assert second.pending == first.pending
    assert second.resume_token not in (None, first.resume_token)
    done = await harness.resume(first.resume_token or "", {first.pending[0].id: Decision.approve()})
    with pytest.raises(ResumeConflictError):
        await harness.resume(second.resume_token or "")
    assert (await harness.run(block("await tools.pay({cents: 5})"), idempotency_key="k")).to_json() == done.to_json()
    assert ledger.done == ["pay 5"]


# ── after a crash ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("CRS-006")
async def test_a_result_that_was_settled_before_its_tool_had_answered_is_not_lost(path):
    settled = anyio.Event()

    async def order(context: CallContext) -> Deferred:
        assert await Harness(journal=path).settle(context.deferral_id, 41) is False
        settled.set()
        await anyio.sleep_forever()
        return Deferred()

    harness = Harness(tools=[order], journal=path)
    async with anyio.create_task_group() as group:
        group.start_soon(harness.run, block("(await tools.order({})) + 1"))
        await settled.wait()
        group.cancel_scope.cancel()
    (entry,) = await harness.executions()
    assert entry.status == "interrupted"
    done = await Harness(tools=[order], journal=path).recover(entry.outcome_id)
    assert (one(done).value, done.pending) == (42, ())


CRASH = """
    import os, signal, sys, anyio
    from harness import Harness, tool
    from harness.tools.context import CallContext

    def note(line):
        with open(sys.argv[2], "a") as file:
            file.write(line + chr(10))

    @tool
    async def charge(cents: int) -> int:
        note(f"charge {cents}")
        if cents == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return cents

    @tool(idempotent=True)
    async def send(n: int, context: CallContext) -> str:
        note(f"send {context.idempotency_key}")
        if n == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return context.idempotency_key

    async def main():
        await Harness(tools=[charge, send], journal=sys.argv[1]).run(sys.argv[3], context={"execution_id": "crashed"})

    anyio.run(main)
"""


def crash(path: str, notes: Path, text: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CRASH), path, str(notes), text],
        timeout=60,
        check=False,
        capture_output=True,
    )
    assert done.returncode == -9, done.stderr.decode()
    return notes.read_text().splitlines()


def survivors(notes: Path) -> list[Any]:
    @tool
    async def charge(cents: int) -> int:
        with notes.open("a") as file:
            file.write(f"charge {cents}\n")
        return cents

    @tool(idempotent=True)
    async def send(n: int, context: CallContext) -> str:
        with notes.open("a") as file:
            file.write(f"send {context.idempotency_key}\n")
        return context.idempotency_key

    return [charge, send]


@pytest.mark.slow
@pytest.mark.requirement("JRN-050", "JRN-028")
@pytest.mark.parametrize(
    ("decision", "value", "notes"),
    [
        (Decision.answer(2), [1, 2, 3], ["charge 1", "charge 2", "charge 3"]),
        (Decision.approve(), [1, 2, 3], ["charge 1", "charge 2", "charge 2", "charge 3"]),
        (Decision.deny("I cannot tell"), "ToolExecutionError", ["charge 1", "charge 2"]),
        (Decision.terminate("leave it"), "terminated", ["charge 1", "charge 2"]),
    ],
    ids=["happened", "did not", "nobody knows", "abort"],
)
async def test_what_was_started_when_the_process_died_is_in_doubt(path, tmp_path, decision, value, notes):
    file = tmp_path / "notes"
    text = block("[await tools.charge({cents: 1}), await tools.charge({cents: 2}), await tools.charge({cents: 3})]")
    assert await anyio.to_thread.run_sync(crash, path, file, text) == ["charge 1", "charge 2"]
    harness = Harness(tools=survivors(file), journal=path)
    (entry,) = await harness.executions()
    assert entry.status == "interrupted"
    outcome = await harness.recover(entry.outcome_id)
    (request,) = outcome.pending
    assert (one(outcome).status, request.kind, request.tool) == ("suspended", "in_doubt", "charge")
    assert "it may have taken effect" in request.reason
    done = one(await harness.resume(outcome.resume_token or "", {request.id: decision}))
    assert file.read_text().splitlines() == notes
    if done.error is not None:
        assert done.error.type == value
        assert [call.status for call in done.calls] == ["ok", "in_doubt"]
    else:
        assert (done.value if done.status == "ok" else done.status) == value
    assert (await harness.replay(outcome.id)).executions[0].value == done.value


@pytest.mark.slow
@pytest.mark.requirement("JRN-050")
async def test_what_is_idempotent_is_made_again_with_the_same_key(path, tmp_path):
    file = tmp_path / "notes"
    text = block("[await tools.send({n: 1}), await tools.send({n: 2})]")
    first, second = await anyio.to_thread.run_sync(crash, path, file, text)
    harness = Harness(tools=survivors(file), journal=path)
    (entry,) = await harness.executions()
    outcome = await harness.recover(entry.outcome_id)
    assert one(outcome).value == [first.split()[1], second.split()[1]]
    assert file.read_text().splitlines() == [first, second, second]
    with pytest.raises(ResumeConflictError, match="has come to its end"):
        await harness.recover(entry.outcome_id)


@pytest.mark.requirement("JRN-041", "JRN-050")
async def test_a_key_whose_run_was_interrupted_goes_on_with_it(ledger, path):
    harness = Harness(tools=ledger.tools(), journal=path)
    text = block("[await tools.wait({ms: 1}), await tools.hold({})]")
    async with harness, anyio.create_task_group() as group:
        group.start_soon(lambda: harness.run(text, idempotency_key="k"))
        await ledger.holding.wait()
        group.cancel_scope.cancel()
    outcome = await harness.run(text, idempotency_key="k")
    assert one(outcome).value == [1, None]
    assert ledger.done == ["wait 1"]


@pytest.mark.requirement("JRN-062")
async def test_recover_takes_the_id_of_an_execution(ledger, path):
    harness = Harness(tools=ledger.tools(), journal=path)
    async with harness, anyio.create_task_group() as group:
        group.start_soon(lambda: harness.run(block("await tools.hold({}); return 5")))
        await ledger.holding.wait()
        group.cancel_scope.cancel()
    (entry,) = await harness.executions()
    outcome = await harness.recover(entry.execution_id)
    assert (outcome.id, one(outcome).value) == (entry.outcome_id, 5)
    with pytest.raises(UsageError, match="knows no outcome"):
        await harness.recover("exec_nobody")


@pytest.mark.requirement("JRN-063")
async def test_an_execution_whose_end_was_cut_off_is_damaged(ledger, path, tmp_path):
    outcome = await Harness(tools=ledger.tools(), journal=path, isolation="thread").run(block("1") + block("2"))
    copy = Journal(str(tmp_path / "copy.sqlite"))
    for known in await Journal(path).streams():
        recorded = await Journal(path).read(known.stream)
        last = len(recorded) - (known.stream == outcome.executions[1].id)
        await copy.append([each.event for each in recorded[:last]])
    entries = await Harness(journal=copy).executions()
    assert [(entry.status, entry.outcome_status) for entry in entries] == [("ok", "finished"), ("damaged", "finished")]


@pytest.mark.requirement("JRN-051")
async def test_a_run_that_goes_on_is_not_recovered(ledger, path):
    async with Harness(tools=ledger.tools(), journal=path) as harness, anyio.create_task_group() as group:
        group.start_soon(lambda: harness.run(block("await tools.hold({})")))
        await ledger.holding.wait()
        (entry,) = await harness.executions()
        assert entry.status == "running"
        for each in (harness, Harness(tools=ledger.tools(), journal=path)):
            with pytest.raises(ResumeConflictError, match="has not ended"):
                await each.recover(entry.outcome_id)
        group.cancel_scope.cancel()


@pytest.mark.requirement("CRS-006")
@pytest.mark.parametrize("how", ["result", "failure"])
async def test_a_result_that_was_quicker_than_the_record_of_its_call_is_not_lost(ledger, path, how):
    """The webhook came, and the process ended before it had written that the result would come later."""
    harness = Harness(tools=ledger.tools(), journal=path)
    given: dict[str, Any] = {"value": 41} if how == "result" else {"error": "the kitchen burnt down"}
    text = block("try { return (await tools.order({})) + 1 } catch (e) { return e.message }")
    async with harness, anyio.create_task_group() as group:

        async def bring() -> None:
            assert await Harness(journal=path).settle(ledger.deferred[0], **given) is False
            group.cancel_scope.cancel()
            await anyio.sleep_forever()

        ledger.on_order = bring
        group.start_soon(lambda: harness.run(text))
    (entry,) = await harness.executions()
    kinds = [recorded.event.kind for recorded in await harness.journal.read(entry.execution_id)]
    assert (entry.status, kinds[-1]) == ("interrupted", "call_started")
    outcome = await Harness(tools=ledger.tools(), journal=path).recover(entry.outcome_id)
    assert one(outcome).value == (42 if how == "result" else "tools.order failed: the kitchen burnt down")
    assert [call.status for call in one(outcome).calls] == ["ok" if how == "result" else "error"]
    assert outcome.pending == ()
    assert len(ledger.deferred) == 1
    assert (await harness.replay(outcome.id)).canonical() == outcome.canonical()


class FullStore:
    """A store that takes nothing any more after so many appends."""

    def __init__(self, journal: Journal, appends: int) -> None:
        self._append = journal.store.append
        self._left = appends
        journal.store.append = self.append  # type: ignore[method-assign] # a disk that is full when the test wants it

    def append(self, events: Any) -> None:
        self._left -= 1
        if self._left < 0:
            raise JournalWriteError("The journal cannot be written: the disk is full.")
        self._append(events)


@pytest.mark.requirement("JRN-052")
@pytest.mark.parametrize("appends", range(9))
async def test_nothing_runs_that_is_not_on_record(ledger, path, appends):
    journal = Journal(path)
    FullStore(journal, appends)
    script = "const seen = []; for (const ms of [1, 2]) try { seen.push(await tools.wait({ms})) } catch (e) { seen.push(e.name) } seen"
    harness = Harness(tools=ledger.tools(), journal=journal)
    try:
        execution = one(await harness.run(block(script)))
    except JournalWriteError:
        assert (ledger.done, appends < 2) == ([], True)
    else:
        on_record = [json.loads(event.to_json())["kind"] for event in journal.store.read(execution.id)]
        assert len(ledger.done) == on_record.count("call_started")
        if execution.error is None:
            assert execution.value == [1, 2]
        else:
            assert execution.error.type == "JournalWriteError"
            # A call whose end could not be put on record has taken effect, and the outcome says so.
            assert [call.seq for call in execution.calls if call.status == "ok"] == [*range(1, len(ledger.done) + 1)]
    journal.close()


@pytest.mark.requirement("JRN-053")
async def test_the_default_journal_forgets(ledger):
    async with Harness(tools=ledger.tools()) as harness:
        outcomes = [await harness.run(block("1"), context={"execution_id": "mine"}) for _ in range(3)]
        with pytest.raises(UsageError, match="knows no outcome"):
            await harness.replay(outcomes[0].id)
        assert one(await harness.replay("mine")).value == 1
        others = [await harness.run("no block") for _ in range(100)]
        with pytest.raises(UsageError, match="knows no outcome"):
            await harness.replay("mine")
        assert (await harness.replay(others[0].id)).executions == ()


@pytest.mark.requirement("JRN-053")
async def test_another_journal_does_not_use_an_id_again(ledger, path):
    harness = Harness(tools=ledger.tools(), journal=path)
    await harness.run(block("1"), context={"execution_id": "mine"})
    with pytest.raises(UsageError, match="'mine' is on record already"):
        await harness.run(block("1"), context={"execution_id": "mine"})


def test_the_same_from_code_without_an_event_loop(path):
    ledger = Ledger()
    with suspending(ledger, path) as harness:
        outcome = harness.run_sync(block("[await tools.pay({cents: 5}), await tools.order({})]"), idempotency_key="k")
        outcome = harness.resume_sync(outcome.resume_token or "", {outcome.pending[0].id: Decision.approve()})
        assert harness.settle_sync(outcome.pending[0].id, 6) is False
        done = harness.resume_sync(outcome.resume_token or "")
        assert one(done).value == [5, 6]
        assert harness.replay_sync(done.id).canonical() == done.canonical()
        with pytest.raises(ResumeConflictError):
            harness.recover_sync(done.id)
