"""Approvals: what an approver can be and say, what is remembered, and how asking ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from harness.approvals.bridge import ApprovalBridge
from harness.approvals.decision import Decision, edited_arguments, merge_patch
from harness.approvals.memory import Memory
from harness.errors import SerializationError, ToolValidationError, UsageError
from harness.executor import DEFAULT_EXECUTOR
from harness.limits import Limits
from harness.model import ApprovalRequest, CallStatus
from harness.redaction import MASK
from harness.testing import FakeTools, ScriptedApprover, make_request, make_test_context
from harness.tools.calls import Settled, ToolCall
from harness.tools.facade import CallFacade
from harness.tools.registry import ToolRegistry, tool

pytestmark = pytest.mark.anyio


def refunds(result: Any = "done") -> FakeTools:
    tools = FakeTools()
    tools.add("refund", result, approval=True)
    tools.add("wipe", result, approval=True)
    tools.add("look", result)
    return tools


def facade_of(tools: ToolRegistry, approver: Any, *, limits: dict[str, Any] | None = None, **ids: Any) -> CallFacade:
    bridge = approver if isinstance(approver, ApprovalBridge) else ApprovalBridge(approver)
    return CallFacade(tools, make_test_context(limits=limits, **ids), approvals=bridge)


async def ask(facade: CallFacade, number: int = 1, text: str = '[{"cents":5}]', name: str = "refund") -> Settled:
    return await facade.call(ToolCall(number, name, text))


async def quiet() -> None:
    for _ in range(20):
        await anyio.lowlevel.checkpoint()


class Held:
    """An approver that answers when it is told to."""

    def __init__(self, decision: Decision | None = None) -> None:
        self.decision = decision or Decision.approve()
        self.gate = anyio.Event()
        self.requests: list[ApprovalRequest] = []

    async def decide(self, request: ApprovalRequest) -> Decision:
        self.requests.append(request)
        await self.gate.wait()
        return self.decision


# ── who can be asked ─────────────────────────────────────────────────────────────────────────────────────────────


def _sync(request: ApprovalRequest) -> Decision:
    assert threading.current_thread() is not threading.main_thread()
    return Decision.approve()


async def _async(request: ApprovalRequest) -> Decision:
    return Decision.approve()


def _sync_returning_awaitable(request: ApprovalRequest) -> Awaitable[Decision]:
    return _async(request)


class SyncObject:
    def decide(self, request: ApprovalRequest) -> Decision:
        return _sync(request)


class CallableObject:
    async def __call__(self, request: ApprovalRequest) -> Decision:
        return Decision.approve()


@pytest.mark.requirement("APR-001")
@pytest.mark.parametrize(
    "approver",
    [
        _sync,
        _async,
        SyncObject(),
        ScriptedApprover([Decision.approve()] * 2),
        CallableObject(),
        _sync_returning_awaitable,
    ],
    ids=["sync", "async", "sync object", "async object", "callable object", "sync returning awaitable"],
)
async def test_every_kind_of_approver(approver):
    tools = refunds()
    settled = await ask(facade_of(tools, approver))
    assert settled.value_json == '"done"'
    assert settled.record.approval is not None
    assert settled.record.approval.decision == "approved"
    assert settled.record.approval.request_id is not None
    assert len(tools.calls) == 1


@pytest.mark.requirement("APR-001")
def test_what_is_no_approver():
    with pytest.raises(UsageError, match="is no approver"):
        ApprovalBridge(5)  # type: ignore[arg-type] # what is under test


@pytest.mark.requirement("APR-002", "APR-006")
async def test_no_approver():
    tools = refunds()
    facade = facade_of(tools, None)
    settled = await ask(facade)
    assert settled.error is not None
    assert settled.error.type == "ApprovalUnavailableError"
    assert "Harness(approver=…)" in settled.error.message
    assert "--approve ask" in settled.error.message
    assert set(settled.error.details) == {"request_id", "waited_s"}
    assert settled.record.status is CallStatus.ERROR
    assert settled.record.approval is not None
    assert settled.record.approval.decision == "unavailable"
    assert tools.calls == []
    assert (await ask(facade, 2, name="look")).error is None


def _raise(request: ApprovalRequest) -> Decision:
    raise ValueError("/etc/secret")


def _usage(request: ApprovalRequest) -> Decision:
    raise UsageError("Say something clear.")


@pytest.mark.requirement("APR-003")
@pytest.mark.parametrize(
    ("approver", "part"),
    [
        (_raise, "ValueError"),
        (_usage, "Say something clear."),
        (lambda _request: True, "returned bool instead of Decision.approve()"),
        (lambda _request: None, "returned NoneType"),
        (lambda _request: "approve", "returned str"),
    ],
)
async def test_a_failing_approver_approves_nothing(approver, part):
    tools = refunds()
    settled = await ask(facade_of(tools, approver))
    assert settled.error is not None
    assert settled.error.type == "ApprovalUnavailableError"
    assert part in settled.error.message
    assert "/etc/secret" not in settled.error.message
    assert settled.error.details["request_id"]
    assert tools.calls == []


@pytest.mark.requirement("APR-003")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_an_approver_that_awaits_something_cancelled():
    async def approver(request: ApprovalRequest) -> Decision:
        future: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
        future.cancel()
        return await future

    settled = await ask(facade_of(refunds(), approver))
    assert settled.error is not None
    assert settled.error.type == "ApprovalUnavailableError"


@pytest.mark.requirement("APR-008")
async def test_what_an_approver_sees():
    approver = ScriptedApprover([Decision.deny("no"), Decision.deny("no")])
    facade = facade_of(refunds(), approver)
    await ask(facade, 1, '[{"api_key":"abc","ids":[1,2,3,4,5,6,7,8,9,10,11]}]')
    await ask(facade, 2, '[{"ids":[1,2,3,4,5,6,7,8,9,10,12],"api_key":"abc"}]')
    first, second = approver.requests
    assert (first.tool, first.execution_id) == ("refund", "exec_test")
    assert first.arguments == {"api_key": MASK, "ids": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, "… 1 more"]}
    assert "approval=True" in first.reason
    assert first.expires_at > 1_600_000_000
    assert first.arguments_hash != second.arguments_hash
    assert first.id != second.id


# ── how it ends ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("APR-004", "APR-006")
async def test_denied():
    tools = refunds()
    settled = await ask(facade_of(tools, ScriptedApprover([Decision.deny("Too much.")])))
    assert settled.error is not None
    assert settled.error.type == "ApprovalDeniedError"
    assert settled.error.message == "tools.refund was denied: Too much."
    assert str(settled.error.details["request_id"]).startswith("apr_")
    assert isinstance(settled.error.details["waited_s"], float)
    assert settled.record.status is CallStatus.DENIED
    assert settled.record.approval is not None
    assert settled.record.approval.reason == "Too much."
    assert settled.record.duration_ms is None
    assert tools.calls == []


@pytest.mark.requirement("APR-005", "APR-006")
async def test_timed_out():
    approver = Held()
    tools = refunds()
    facade = facade_of(tools, approver, limits={"approval_timeout": 0.01})
    settled = await ask(facade)
    assert settled.error is not None
    assert settled.error.type == "ApprovalTimeoutError"
    assert settled.error.message == "tools.refund was not approved: nobody answered within 0.01 seconds."
    assert settled.error.retryable
    assert settled.error.details["request_id"] == approver.requests[0].id
    assert settled.record.status is CallStatus.TIMED_OUT
    assert tools.calls == []


@pytest.mark.requirement("APR-005", "APR-001")
async def test_a_sync_approver_times_out_too():
    release = threading.Event()
    before = DEFAULT_EXECUTOR.threads.abandoned

    def slow(request: ApprovalRequest) -> Decision:
        release.wait(30)
        return Decision.approve()

    tools = refunds()
    settled = await ask(facade_of(tools, slow, limits={"approval_timeout": 0.01}))
    assert settled.record.status is CallStatus.TIMED_OUT
    release.set()
    while DEFAULT_EXECUTOR.threads.abandoned != before:  # noqa: ASYNC110 - a thread cannot set an event of the loop
        await anyio.sleep(0.001)
    assert tools.calls == []


@pytest.mark.requirement("APR-005", "TOOL-054")
async def test_an_approver_that_swallows_its_time_limit_holds_nothing_up(monkeypatch, caplog):
    monkeypatch.setattr("harness.approvals.approver._GRACE", 0.01)
    release = anyio.Event()

    async def stubborn(request: ApprovalRequest) -> Decision:
        while not release.is_set():
            try:
                await release.wait()
            except anyio.get_cancelled_exc_class():
                continue
        return Decision.approve()

    tools = refunds()
    with anyio.fail_after(30):
        settled = await ask(facade_of(tools, stubborn, limits={"approval_timeout": 0.01}))
    assert settled.record.status is CallStatus.TIMED_OUT
    assert "The approver was cancelled and did not end" in caplog.text
    assert "The approver" in DEFAULT_EXECUTOR.tasks.abandoned
    release.set()
    for _ in range(5):
        await anyio.lowlevel.checkpoint()
    assert not DEFAULT_EXECUTOR.tasks.abandoned
    assert tools.calls == []


@pytest.mark.requirement("APR-007", "APR-009", "APR-010")
async def test_withdrawing_requests():
    approver = Held()
    bridge = ApprovalBridge(approver)
    tools = refunds()
    facade = facade_of(tools, bridge)
    settled: dict[int, Settled] = {}
    states: list[tuple[int, int]] = []

    async def one(number: int) -> None:
        settled[number] = await ask(facade, number, f'[{{"n":{number}}}]')

    async with anyio.create_task_group() as group:
        for number in (1, 2, 3):
            group.start_soon(one, number)
        await quiet()
        states.append((facade.active, facade.approving))
        pending = bridge.pending()
        # Trio does not start the approver's tasks in the order in which they were asked for.
        assert {request.id for request in pending} == {request.id for request in approver.requests}
        assert [request.expires_at for request in pending] == sorted(request.expires_at for request in pending)
        assert bridge.cancel(pending[0].id, "changed my mind")
        assert not bridge.cancel(pending[0].id)
        assert not bridge.cancel("apr_nope")
        await quiet()
        states.append((facade.active, facade.approving))
        assert bridge.cancel_all() == 2
    states.append((facade.active, facade.approving))
    assert states == [(0, 3), (0, 2), (0, 0)]
    errors = [item.error for item in settled.values()]
    assert {error.type for error in errors if error} == {"ApprovalDeniedError"}
    assert sum("changed my mind" in error.message for error in errors if error) == 1
    assert {item.record.status for item in settled.values()} == {CallStatus.CANCELLED}
    assert (bridge.statistics.asked, bridge.statistics.cancelled) == (3, 3)
    assert bridge.pending() == []
    assert tools.calls == []


@pytest.mark.requirement("APR-009")
async def test_waiting_for_a_person_holds_no_slot():
    approver = Held()
    tools = refunds()
    changes: list[tuple[int, int]] = []
    facade = CallFacade(
        tools,
        make_test_context(limits={"max_concurrent_tool_calls": 1}),
        approvals=ApprovalBridge(approver),
        on_change=lambda: changes.append((facade.active, facade.approving)),
    )
    async with anyio.create_task_group() as group:
        group.start_soon(ask, facade, 1)
        await quiet()
        assert (await ask(facade, 2, name="look")).value_json == '"done"'
        approver.gate.set()
    assert [call.tool for call in tools.calls] == ["look", "refund"]
    assert (0, 1) in changes
    assert changes[-1] == (0, 0)


@pytest.mark.requirement("APR-009", "TOOL-071")
async def test_cancelling_the_execution_while_it_waits():
    approver = Held()
    bridge = ApprovalBridge(approver)
    facade = facade_of(refunds(), bridge)
    async with anyio.create_task_group() as group:
        group.start_soon(ask, facade)
        await quiet()
        group.cancel_scope.cancel()
    assert bridge.pending() == []
    assert facade.approving == 0
    assert [record.status for record in facade.records()] == [CallStatus.CANCELLED]
    assert bridge.statistics.cancelled == 1


@pytest.mark.requirement("APR-010")
async def test_statistics():
    approver = ScriptedApprover(
        [
            Decision.approve(),
            Decision.approve({"cents": 1}),
            Decision.deny("no"),
            Decision.answer(1),
            Decision.terminate("stop"),
        ]
    )
    bridge = ApprovalBridge(approver)
    facade = facade_of(refunds(), bridge)
    for number in range(1, 6):
        await ask(facade, number, f'[{{"n":{number}}}]')
    await ask(facade, 6, '[{"n":3}]')
    await ask(facade, 7, '[{"n":7}]')
    counters = bridge.statistics
    assert (counters.asked, counters.approved, counters.edited, counters.denied) == (6, 2, 1, 1)
    assert (counters.answered, counters.terminated, counters.remembered, counters.unavailable) == (1, 1, 1, 1)
    assert counters.mean_wait_s == pytest.approx(counters.waited_s / 6)
    assert ApprovalBridge().statistics.mean_wait_s == 0


# ── what can be said ─────────────────────────────────────────────────────────────────────────────────────────────

RFC_7396 = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.requirement("APR-020")
@pytest.mark.parametrize(("target", "patch", "result"), RFC_7396)
def test_merge_patch_as_in_the_rfc(target, patch, result):
    before = repr(target)
    assert merge_patch(target, patch) == result
    assert repr(target) == before


@pytest.mark.requirement("APR-020")
async def test_edits_apply_to_the_real_arguments_and_are_validated_again():
    seen: list[tuple[int, str]] = []

    @tool(approval=True)
    async def pay(cents: int, token: str) -> None:
        seen.append((cents, token))

    approver = ScriptedApprover([Decision.approve({"cents": 1}), Decision.approve({"cents": "lots"})])
    facade = facade_of(ToolRegistry([pay]), approver)
    settled = await ask(facade, 1, '[{"cents":500,"token":"real"}]', "pay")
    assert seen == [(1, "real")]
    assert settled.record.args == {"cents": 1, "token": MASK}
    assert settled.record.approval is not None
    assert settled.record.approval.edited
    settled = await ask(facade, 2, '[{"cents":500,"token":"real"}]', "pay")
    assert settled.error is not None
    assert settled.error.type == "ToolValidationError"
    assert len(seen) == 1


@pytest.mark.requirement("APR-021")
@pytest.mark.parametrize("edits", [{"token": MASK}, {"rows": [1, "… 15 more"]}, {"deep": [{"a": f"x {MASK}"}]}])
async def test_a_mask_inside_edits_is_refused(edits):
    tools = refunds()
    settled = await ask(facade_of(tools, ScriptedApprover([Decision.approve(edits)])))
    assert settled.error is not None
    assert settled.error.type == "ToolValidationError"
    assert "redaction mark" in settled.error.message
    assert tools.calls == []
    with pytest.raises(ToolValidationError):
        edited_arguments("refund", {}, edits)


@pytest.mark.requirement("APR-020")
def test_decisions_that_make_no_sense():
    with pytest.raises(UsageError, match="'once', 'execution' or 'session'"):
        Decision.approve(scope="forever")  # type: ignore[arg-type] # what is under test
    with pytest.raises(UsageError, match="must be a dict"):
        Decision.approve([1])  # type: ignore[arg-type] # what is under test
    with pytest.raises(SerializationError, match=r"edits\.f"):
        Decision.approve({"f": print})
    with pytest.raises(SerializationError, match=r"value\[0\]"):
        Decision.answer([float("nan")])


@pytest.mark.requirement("APR-022")
async def test_an_answer_is_checked_like_a_result():
    @tool(approval=True)
    def balance() -> int:
        raise AssertionError

    approver = ScriptedApprover([Decision.answer(5), Decision.answer("five")])
    facade = facade_of(ToolRegistry([balance]), approver)
    settled = await ask(facade, 1, "[]", "balance")
    assert settled.value_json == "5"
    assert settled.record.status is CallStatus.OK
    assert settled.record.duration_ms is None
    assert settled.record.approval is not None
    assert settled.record.approval.decision == "answered"
    settled = await ask(facade, 2, "[]", "balance")
    assert settled.error is not None
    assert settled.error.type == "ToolValidationError"


@pytest.mark.requirement("APR-023")
async def test_terminate():
    tools = refunds()
    settled = await ask(facade_of(tools, ScriptedApprover([Decision.terminate("enough")])))
    assert settled.terminate_reason == "enough"
    assert settled.error is not None
    assert settled.error.type == "ApprovalDeniedError"
    assert settled.record.status is CallStatus.DENIED
    assert tools.calls == []


@pytest.mark.requirement("APR-024")
async def test_scope_execution():
    approver = ScriptedApprover([Decision.approve({"cents": 1}, scope="execution"), Decision.approve()])
    bridge = ApprovalBridge(approver)
    tools = refunds()
    facade = facade_of(tools, bridge)
    await ask(facade, 1)
    settled = await ask(facade, 2, '[{"cents":9}]')
    assert settled.record.approval is not None
    assert settled.record.approval.request_id is None
    assert settled.record.approval.scope == "execution"
    assert [call.arguments for call in tools.calls] == [{"cents": 1}, {"cents": 9}]
    await ask(facade, 3, name="wipe")
    assert [request.tool for request in approver.requests] == ["refund", "wipe"]
    other = facade_of(tools, bridge, execution_id="exec_other")
    refused = await ask(other, 1)
    assert refused.error is not None
    assert "no decision left" in refused.error.message


@pytest.mark.requirement("APR-024")
async def test_scope_session():
    approver = ScriptedApprover([Decision.approve(scope="session")] * 3)
    bridge = ApprovalBridge(approver)
    tools = refunds()
    for number, (session, conversation) in enumerate(
        [("s1", "c1"), ("s1", "c2"), (None, "c1"), (None, "c1"), ("s2", "c1")]
    ):
        facade = facade_of(tools, bridge, execution_id=f"e{number}", session_id=session, conversation_id=conversation)
        assert (await ask(facade)).error is None
        facade.close()
    assert len(approver.requests) == 3
    bridge.end_session("s1")
    assert (await ask(facade_of(tools, bridge, session_id="s1"))).error is not None
    assert (await ask(facade_of(tools, bridge, session_id="s2"))).error is None


@pytest.mark.requirement("APR-024")
async def test_scope_session_without_a_session_holds_for_the_execution():
    bridge = ApprovalBridge(ScriptedApprover([Decision.approve(scope="session")]))
    tools = refunds()
    none: dict[str, None] = {"session_id": None, "conversation_id": None}
    facade = facade_of(tools, bridge, **none)
    settled = await ask(facade, 1)
    assert settled.record.approval is not None
    assert settled.record.approval.scope == "execution"
    assert (await ask(facade, 2)).error is None
    assert (await ask(facade_of(tools, bridge, execution_id="other", **none))).error is not None


@pytest.mark.requirement("APR-025")
async def test_a_denied_call_is_not_asked_again():
    approver = ScriptedApprover([Decision.deny("no"), Decision.approve()])
    tools = refunds()
    facade = facade_of(tools, approver)
    await ask(facade, 1, '[{"a":1,"b":2}]')
    again = await ask(facade, 2, '[{"b":2,"a":1}]')
    assert again.error is not None
    assert again.error.type == "ApprovalDeniedError"
    assert "denied before" in again.error.message
    assert again.error.details["request_id"] is None
    assert len(approver.requests) == 1
    assert (await ask(facade, 3, '[{"a":1,"b":3}]')).error is None
    assert len(approver.requests) == 2


@pytest.mark.requirement("APR-026")
@pytest.mark.parametrize(
    ("decision", "errors"),
    [(Decision.approve(scope="execution"), 0), (Decision.deny("no"), 2), (Decision.approve(), None)],
    ids=["always", "deny", "once"],
)
async def test_an_answer_settles_the_pending_requests_it_covers(decision: Decision, errors: int | None):
    gates: dict[str, anyio.Event] = {}

    async def approver(request: ApprovalRequest) -> Decision:
        gates[request.id] = anyio.Event()
        await gates[request.id].wait()
        return decision

    bridge = ApprovalBridge(approver)
    tools = refunds()
    facade = facade_of(tools, bridge)
    settled: list[Settled] = []

    async def one(number: int, name: str = "refund") -> None:
        settled.append(await ask(facade, number, name=name))

    async with anyio.create_task_group() as group:
        group.start_soon(one, 1)
        group.start_soon(one, 2)
        group.start_soon(one, 3, "wipe")
        await quiet()
        gates[next(request.id for request in bridge.pending() if request.tool == "refund")].set()
        await quiet()
        left = [request.tool for request in bridge.pending()]
        assert left.count("wipe") == 1
        assert left.count("refund") == (1 if errors is None else 0)
        bridge.cancel_all()
    if errors is not None:
        assert sum(item.error is not None for item in settled if item.record.tool == "refund") == errors
        assert bridge.statistics.remembered == 1


@pytest.mark.requirement("APR-027")
async def test_nobody_is_asked_without_end():
    approver = ScriptedApprover([Decision.deny("no")] * 5)
    facade = facade_of(refunds(), approver, limits={"max_approvals": 2})
    errors = [(await ask(facade, number, f'[{{"n":{number}}}]')).error for number in range(1, 5)]
    types = [error.type for error in errors if error is not None]
    assert types == ["ApprovalDeniedError"] * 2 + ["ToolBudgetExceededError"] * 2
    assert errors[-1] is not None
    assert errors[-1].details == {"budget": "max_approvals", "limit": 2, "used": 2}
    repeated = (await ask(facade, 9, '[{"n":1}]')).error
    assert repeated is not None
    assert repeated.type == "ApprovalDeniedError"
    assert len(approver.requests) == 2


@pytest.mark.requirement("APR-028")
async def test_an_execution_that_is_over_is_forgotten():
    bridge = ApprovalBridge(ScriptedApprover([Decision.approve(scope="execution"), Decision.deny("now no")]))
    facade = facade_of(refunds(), bridge)
    assert (await ask(facade, 1)).error is None
    facade.close()
    assert (await ask(facade, 2)).error is not None


@pytest.mark.requirement("APR-024")
def test_session_memory_is_bounded(monkeypatch):
    monkeypatch.setattr("harness.approvals.memory.MAX_SESSION_GRANTS", 2)
    memory = Memory()
    requests = [make_request(f"t{number}") for number in range(3)]
    for request in requests:
        memory.grant(request, "session", "s")
    assert [memory.granted(request, "s") for request in requests] == [None, "session", "session"]


@pytest.mark.requirement("APR-027")
async def test_the_bridge_alone():
    asked: list[str] = []

    def approver(request: ApprovalRequest) -> Decision:
        asked.append(request.id)
        return Decision.approve()

    bridge = ApprovalBridge(approver)
    ruling = await bridge.ask(make_request(request_id="apr_1"), limits=Limits())
    assert ruling is not None
    assert ruling.error is None
    assert asked == ["apr_1"]


@pytest.mark.requirement("APR-003")
@pytest.mark.parametrize("sync", [True, False])
async def test_an_approver_that_ends_the_interpreter_only_failed(sync):
    def ends(request: ApprovalRequest) -> Decision:
        raise SystemExit(1)

    async def ends_async(request: ApprovalRequest) -> Decision:
        raise SystemExit(1)

    tools = refunds()
    settled = await ask(facade_of(tools, ends if sync else ends_async))
    assert settled.error is not None
    assert settled.error.type == "ApprovalUnavailableError"
    assert "SystemExit" in settled.error.message


@pytest.mark.requirement("APR-029")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Decision.deny(5), "reason of a decision is a string, not 5"),  # type: ignore[arg-type] # under test
        (lambda: Decision.deny(None), "reason of a decision is a string, not None"),  # type: ignore[arg-type] # under test
        (lambda: Decision.terminate(None), "reason of a decision is a string"),  # type: ignore[arg-type] # under test
        (lambda: Decision("bogus"), "'approve', 'deny', 'answer' or 'terminate'"),  # type: ignore[arg-type] # under test
        (lambda: Decision([]), "'approve', 'deny', 'answer' or 'terminate'"),  # type: ignore[arg-type] # under test
        (lambda: Decision("approve", edits=[1]), "must be a dict"),  # type: ignore[arg-type] # under test
        (lambda: Decision("approve", scope="ever"), "'once', 'execution' or 'session'"),  # type: ignore[arg-type] # under test
    ],
)
def test_a_decision_that_is_none_cannot_be_made(make, message):
    with pytest.raises(UsageError, match=message):
        make()


@pytest.mark.requirement("APR-029")
def test_an_empty_reason_is_the_usual_one():
    usual = Decision.deny().reason
    assert usual
    for decision in (Decision.deny(""), Decision.terminate(" "), Decision("deny"), Decision("terminate")):
        assert decision.reason == usual
    assert Decision.deny("too much").reason == "too much"
