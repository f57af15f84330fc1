"""The bridge against a worker that does not keep to it: a hostile end of the socket, and the real host."""

from __future__ import annotations

import json
import socket
import threading
import tracemalloc
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from harness import Harness, Outcome, tool
from harness.limits import Limits
from harness.runtime import wire
from harness.runtime.adapter import Death, PoolStatus, Worker, WorkerGoneError
from harness.runtime.clock import Timers
from harness.runtime.link import FrameLink
from harness.runtime.turns import Turn, most_items

pytestmark = pytest.mark.anyio

CALLED: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_called_yet():
    CALLED.clear()


@tool
async def note(text: str = "") -> str:
    """Write down that it was called."""
    CALLED.append(text)
    return text


@tool
async def wait_for_ever() -> None:
    """Never return."""
    await anyio.sleep_forever()


class HostileWorker:
    """The host's own link, with somebody at its other end who sends given bytes after each frame."""

    def __init__(self, answers: list[bytes], frame_bytes: int, *, then_close: bool) -> None:
        ours, self._theirs = socket.socketpair()
        self._link = FrameLink(ours, frame_bytes=frame_bytes)
        self._answers = answers
        self._then_close = then_close
        self._thread = threading.Thread(target=self._speak, name="hostile")
        self._thread.start()
        self.killed = threading.Event()

    @property
    def protections(self) -> dict[str, str]:
        return self._link.protections

    async def exchange(self, kind: int, body: bytes) -> tuple[int, bytes]:
        return await self._link.exchange(kind, body)

    async def gone(self) -> None:
        await anyio.sleep_forever()  # it stays for as long as it is let

    def kill(self) -> None:
        self.killed.set()
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


class HostilePool:
    """Hands out one hostile worker after another."""

    def __init__(self, answers: list[bytes], limits: Limits, *, then_close: bool) -> None:
        self._make: Callable[[], HostileWorker] = lambda: HostileWorker(
            answers, limits.frame_bytes, then_close=then_close
        )
        self.kept: list[bool] = []
        self.crashes = 0

    async def open(self) -> None:
        raise AssertionError("the harness had opened its own")

    async def aclose(self) -> None:
        return

    async def end_domain(self, trust_domain: str) -> None:
        return

    async def acquire(self, trust_domain: str | None) -> Worker:
        return self._make()

    async def release(self, worker: Worker, *, clean: bool, violation: bool = False) -> Death | None:
        self.kept.append(clean)
        with anyio.CancelScope(shield=True):
            worker.kill()
            death = await worker.ended()
        return death  # noqa: RET504 -- a return within the scope might not return, for all mypy knows

    def note_crash(self) -> None:
        self.crashes += 1

    def status(self) -> PoolStatus:
        return PoolStatus("thread", 0, 0, 0, self.crashes)


READY = wire.pack_frame(wire.READY, b'{"protections":{}}')
STARTED = {"state": "started"}


def collected(**changes: Any) -> dict[str, Any]:
    """What the prelude says at the end of `1`, with changes."""
    said: dict[str, Any] = {
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
    return {**said, **changes}


def turn(**changes: Any) -> bytes:
    """A TURN frame."""
    return wire.pack_frame(wire.TURN, turn_body(**changes))


def turn_body(**changes: Any) -> bytes:
    said = collected(**changes)
    evidence = None if said["ending"]["state"] == "wait" else {"deep": False, "full": False}
    return json.dumps({"cpu": 0.001, "heap": 1, "evidence": evidence, "worker": STARTED, "turn": said}).encode()


def issued(call_id: int, **changes: Any) -> dict[str, Any]:
    call = {"id": call_id, "tool": "note", "args": '[{"text":"hello"}]', "line": 1, "problem": None, "aborted": False}
    return {**call, **changes}


WAITS = {"state": "wait"}


async def converse(
    *answers: bytes, then_close: bool = False, greeting: bytes = READY, script: str = "1", **limits: Any
) -> tuple[Outcome, HostilePool]:
    """Run a script whose worker answers each frame with given bytes."""
    async with Harness(tools=[note, wait_for_ever], isolation="thread", limits=limits) as harness:
        runtime = harness._runtime
        assert runtime is not None
        first, *rest = answers or (b"",)
        pool = HostilePool([greeting + first, *rest], harness.limits, then_close=then_close)
        runtime._pool = pool
        return await harness.run(f"<tool-calls>{script}</tool-calls>"), pool


@pytest.mark.requirement("WIRE-001")
async def test_a_worker_that_keeps_to_the_protocol_is_believed():
    outcome, pool = await converse(
        turn(ending=WAITS, calls=[issued(1)], logs=[["log", "hi", 1]]), turn(ending={"state": "ok", "value": '"done"'})
    )
    [execution] = outcome.executions
    assert (execution.status, execution.value) == ("ok", "done")
    assert [line.text for line in execution.logs] == ["hi"]
    assert CALLED == ["hello"]
    assert (pool.kept, pool.crashes) == ([True], 0)


def announced(length: int, kind: int = wire.TURN) -> bytes:
    return wire.HEADER.pack(length, kind)


def raw(body: bytes, kind: int = wire.TURN) -> bytes:
    return wire.pack_frame(kind, body)


def replaced(old: bytes, new: bytes) -> bytes:
    body = turn_body()
    assert old in body
    return raw(body.replace(old, new))


TURN_WITHOUT_CONTENT = json.dumps({"cpu": 0, "heap": 1, "evidence": None, "worker": STARTED, "turn": None}).encode()

FRAMES = {
    "empty": announced(0) + b"x",
    "a gigabyte": announced(1 << 30),
    "four gigabytes": announced(0xFFFF_FFFF),
    "one byte too many": announced(Limits().frame_bytes + 1),
    "unknown kind": raw(turn_body(), ord("?")),
    "a frame of the host's": raw(turn_body(), wire.START),
    "a verdict": raw(b'{"problem":null}', wire.VERDICT),
    "ready twice": READY,
}

BODIES = {
    "no UTF-8": raw(b"\xff\xfe"),
    "nothing": raw(b""),
    "no JSON": raw(b"{"),
    "more than one value": raw(turn_body() + b"1"),
    "a list": raw(b"[]"),
    "deep": raw(b"[" * 100_000),
    "deep and closed": raw(b"[" * 100_000 + b"]" * 100_000),
    "deep in objects": raw(b'{"a":' * 100_000),
    "name twice": replaced(b'"heap": 1', b'"heap": 1, "heap": 1'),
    "name twice within": replaced(b'"state": "ok"', b'"state": "ok", "state": "error"'),
    "NaN": replaced(b'"heap": 1', b'"heap": NaN'),
    "Infinity": replaced(b"0.001", b"Infinity"),
    "beyond a double": replaced(b"0.001", b"1e999"),
    "a number of 5,000 digits": replaced(b'"heap": 1', b'"heap": ' + b"9" * 5_000),
    "negative time": replaced(b"0.001", b"-1"),
    "unknown field": replaced(b'"heap": 1', b'"heap": 1, "more": 1'),
    "very long unknown field": replaced(b'"heap": 1', b'"heap": 1, "' + b"x" * 1_000_000 + b'": 1'),
    "missing field": replaced(b'"heap": 1, ', b""),
    "text for a number": replaced(b'"heap": 1', b'"heap": "1"'),
    "true for a number": replaced(b'"looked_at": 0', b'"looked_at": true'),
    "number for text": turn(ending={"state": "ok", "value": 1}),
    "unknown state": turn(ending={"state": "fine", "value": "1"}),
    "neither value nor error": turn(ending={"state": "ok"}),
    "error without one": turn(ending={"state": "error"}),
    "both": turn(ending={"state": "ok", "value": "1", "error": {"kind": "error"}}),
    "an end without evidence": replaced(b'{"deep": false, "full": false}', b"null"),
    "evidence before the end": raw(
        turn_body(ending=WAITS, calls=[issued(1)]).replace(b"null", b'{"deep": false, "full": false}', 1)
    ),
    "turn without content": raw(TURN_WITHOUT_CONTENT),
    "value that is no JSON": turn(ending={"state": "ok", "value": "{"}),
    "value with NaN": turn(ending={"state": "ok", "value": "[NaN]"}),
    "deep value": turn(ending={"state": "ok", "value": "[" * 50_000 + "]" * 50_000}),
    "value with half a surrogate pair": turn(ending={"state": "ok", "value": '"\\ud800"'}),
    "half a surrogate pair in a log": turn(logs=[["log", "\ud800", 1]]),
    "half a surrogate pair in a tool's name": turn(ending=WAITS, calls=[issued(1, tool="\ud800")]),
    "half a surrogate pair in arguments": turn(ending=WAITS, calls=[issued(1, args="\ud800")]),
    "unknown level": turn(logs=[["fatal", "x", 1]]),
    "log line of two": turn(logs=[["log", "x"]]),
    "progress that is no JSON": turn(progress=[["x", "{"]]),
    "negative line": turn(ending=WAITS, calls=[issued(1, line=-1)]),
    "timer in the past": turn(ending=WAITS, timers=[{"id": 1, "ms": -1}]),
    "tool's name without end": turn(ending=WAITS, calls=[issued(1, tool="x" * 1_001)]),
}

THROWN = {"kind": "error", "class": "TypeError", "name": "TypeError", "message": "no", "stack": ""}


def thrown(**changes: Any) -> bytes:
    return turn(ending={"state": "error", "error": {**THROWN, **changes}})


def noted(**changes: Any) -> bytes:
    note = {"cpu": 0.001, "heap": 1, "evidence": None, "worker": {"state": "cpu"}, "turn": None}
    return raw(json.dumps({**note, **changes}).encode())


# What the outcome could not carry, or nobody could make sense of.
UNCARRIED = {
    "more time than there is": replaced(b"0.001", b"1e308"),
    "a heap beyond a double": replaced(b'"heap": 1', b'"heap": 9007199254740992'),
    "lines beyond a double": turn(dropped={"log_lines": 10**30, "log_bytes": 0, "progress": 0}),
    "bytes beyond a double": noted(worker={"state": "overflow", "bytes": 10**30}),
    "bytes below zero": noted(worker={"state": "overflow", "bytes": -1}),
    "ok with an error": turn(ending={"state": "ok", "error": THROWN}),
    "error with a value": turn(ending={"state": "error", "value": "1"}),
    "stuck with a value": turn(ending={"state": "stuck", "value": "1"}),
    "waits with a value": turn(ending={"state": "wait", "value": "1"}, calls=[issued(1)]),
    "a failure with a turn": noted(turn=collected()),
    "neither failure nor turn": noted(worker=None),
    "an inexact value": turn(ending={"state": "ok", "value": "[9007199254740993]"}),
    "an infinite value": turn(ending={"state": "ok", "value": '{"a":-1e999}'}),
    "inexact progress": turn(progress=[["x", "9007199254740993"]]),
    "a long message": thrown(message="x" * 4_001),
    "a long text": thrown(kind="thrown", text="x" * 4_001),
    "a long name": thrown(name="x" * 1_001),
    "a long cause": thrown(causes=["x" * 301]),
    "many causes": thrown(causes=["x"] * 6),
    "many replaced": turn(ending={"state": "ok", "value": "1", "replaced": ["$"] * 21}),
    "a long objection": noted(worker={"state": "syntax", "message": "x" * 4_001}),
}

IDS = {
    "an error of a call never issued": thrown(call=1),
    "an error of a later call": turn(ending={"state": "error", "error": {**THROWN, "call": 2}}, calls=[issued(1)]),
    "looked at what it never issued": turn(looked_at=1),
    "left behind what it never issued": turn(left_behind=[{"call": 1, "awaited": False, "rejection_lost": True}]),
    "waits for nothing": turn(ending=WAITS),
    "waits for an aborted call": turn(ending=WAITS, calls=[issued(1, aborted=True)]),
    "waits for a cancelled call": turn(ending=WAITS, calls=[issued(1)], cancelled=[1]),
    "waits for a cleared timer": turn(ending=WAITS, timers=[{"id": 1, "ms": 5}], cleared=[1]),
    "call 0": turn(ending=WAITS, calls=[issued(0)]),
    "call 2 first": turn(ending=WAITS, calls=[issued(2)]),
    "call 1 twice": turn(ending=WAITS, calls=[issued(1), issued(1)]),
    "a gap": turn(ending=WAITS, calls=[issued(1), issued(3)]),
    "backwards": turn(ending=WAITS, calls=[issued(2), issued(1)]),
    "id beyond 2^53": turn(ending=WAITS, calls=[issued(2**53 + 1)]),
    "cancels what it never made": turn(ending=WAITS, calls=[issued(1)], cancelled=[2]),
    "cancels twice": turn(ending=WAITS, calls=[issued(1)], cancelled=[1, 1]),
    "cancels an aborted one": turn(ending=WAITS, calls=[issued(1, aborted=True)], cancelled=[1]),
    "clears what it never set": turn(ending=WAITS, calls=[issued(1)], cleared=[1]),
    "sets a timer twice": turn(ending=WAITS, timers=[{"id": 1, "ms": 5}, {"id": 1, "ms": 5}]),
}

EXCESSES = {
    "calls at once": turn(ending=WAITS, calls=[issued(n + 1) for n in range(1_001)]),
    "timers at once": turn(ending=WAITS, timers=[{"id": n + 1, "ms": 5} for n in range(1_001)]),
    "log": turn(logs=[["log", "x" * 70_000, 1]]),
    "empty log lines": turn(logs=[["log", "", 1]] * 5_000),
    "aborted calls at once": turn(calls=[issued(n + 1, aborted=True) for n in range(1_001)]),
    "progress at once": turn(progress=[["event", "null"]] * 201),
    "progress in length": turn(progress=[["event", f'"{"x" * 250_000}"']] * 6),
}


def violation(outcome: Outcome, pool: HostilePool) -> str:
    """Checks that the worker was not believed and not kept; what the error says."""
    [execution] = outcome.executions
    assert execution.status == "error"
    assert execution.error is not None
    assert execution.error.type == "WorkerCrashedError", execution.error
    assert execution.error.details.get("violation") is True, execution.error
    assert len(execution.error.message) < 500
    assert execution.value is None
    assert pool.kept == [False]
    assert pool.crashes == 1
    # Whatever it was, it does not break what is made of it.
    json.loads(outcome.to_json())
    return execution.error.message


@pytest.mark.requirement("WIRE-002", "WIRE-005")
@pytest.mark.parametrize("answer", FRAMES.values(), ids=FRAMES)
async def test_frames_that_cannot_be(answer):
    outcome, pool = await converse(answer)
    violation(outcome, pool)


@pytest.mark.requirement("WIRE-003", "WIRE-005")
@pytest.mark.parametrize("answer", BODIES.values(), ids=BODIES)
async def test_bodies_that_cannot_be(answer):
    outcome, pool = await converse(answer)
    violation(outcome, pool)
    assert CALLED == []


@pytest.mark.requirement("WIRE-007", "WIRE-005")
@pytest.mark.parametrize("answer", UNCARRIED.values(), ids=UNCARRIED)
async def test_what_an_outcome_cannot_carry(answer):
    outcome, pool = await converse(answer)
    violation(outcome, pool)
    outcome.content_hash()


@pytest.mark.requirement("WIRE-007")
@pytest.mark.parametrize("digits", [10, 400])
async def test_a_place_that_cannot_be_is_no_place(digits):
    outcome, _ = await converse(thrown(stack=f"    at f (<script>:{'9' * digits}:1)\n    at g (<script>:1:٣)"))
    error = outcome.executions[0].error
    assert error is not None
    assert (error.type, error.line, error.stack) == ("TypeError", None, None)
    outcome.content_hash()


@pytest.mark.requirement("WIRE-007")
async def test_names_as_long_as_a_script_likes_are_cut_in_messages():
    outcome, _ = await converse(thrown(kind="lost", path="$." + "x" * 10_000, what="a BigInt"))
    error = outcome.executions[0].error
    assert error is not None
    assert error.type == "SerializationError"
    assert "… (9,602 characters cut)" in error.message
    assert len(error.message) < 600


@pytest.mark.requirement("WIRE-006")
def test_timers_that_are_set_and_cleared_take_no_memory():
    timers = Timers()
    timers.add(1, 5)
    for timer in range(2, 10_000):
        timers.add(timer, 1 << 31)
        assert timers.discard(timer)
    assert len(timers) == 1
    assert len(timers._heap) < 300
    assert timers.take_due(5) == [(5, 1)]
    assert timers.next_due() is None


@pytest.mark.requirement("WIRE-008", "WIRE-001")
@pytest.mark.parametrize("size", [1, 2, 7, 100_000])
async def test_frames_are_read_whole_however_they_arrive(size):
    bodies = [b"", b"x", b"y" * 300, bytes(range(256)), b"z" * 995]
    stream = b"".join(raw(body) for body in bodies)
    ours, theirs = socket.socketpair()
    link = FrameLink(ours, frame_bytes=1_000)

    async def speak() -> None:
        for at in range(0, len(stream), size):
            theirs.sendall(stream[at : at + size])
            await anyio.lowlevel.checkpoint()
        theirs.close()

    async with anyio.create_task_group() as group:
        group.start_soon(speak)
        assert [await link.receive() for _ in bodies] == [(wire.TURN, body) for body in bodies]
        with pytest.raises(WorkerGoneError, match="closed its socket") as caught:
            await link.receive()
    assert not caught.value.violation
    link.close()


@pytest.mark.requirement("WIRE-004", "WIRE-005")
@pytest.mark.parametrize("answer", IDS.values(), ids=IDS)
async def test_ids_that_cannot_be(answer):
    outcome, pool = await converse(answer)
    violation(outcome, pool)
    assert CALLED == []


@pytest.mark.requirement("WIRE-006")
@pytest.mark.parametrize("answer", EXCESSES.values(), ids=EXCESSES)
async def test_what_the_prelude_bounds_is_bounded_again(answer):
    outcome, pool = await converse(answer)
    violation(outcome, pool)
    assert CALLED == []


@pytest.mark.requirement("WIRE-006", "RUN-030")
async def test_a_result_larger_than_allowed_is_refused_by_the_host_too():
    outcome, _ = await converse(turn(ending={"state": "ok", "value": json.dumps("x" * 300_000)}))
    error = outcome.executions[0].error
    assert error is not None
    assert error.type == "ReturnValueTooLargeError"


@pytest.mark.requirement("WIRE-006")
async def test_progress_beyond_the_limit_is_counted():
    outcome, _ = await converse(turn(progress=[[f"event {n}", "null"] for n in range(200)]), progress_interval=0)
    [execution] = outcome.executions
    assert execution.status == "ok"
    assert len(execution.progress) == 50


@pytest.mark.requirement("WIRE-004")
@pytest.mark.parametrize("call_id", [1, 3], ids=["used", "skipped"])
async def test_an_id_that_was_used_or_skipped_is_refused_in_a_later_frame(call_id):
    outcome, pool = await converse(
        turn(ending=WAITS, calls=[issued(1)]), turn(ending=WAITS, calls=[issued(call_id, args='[{"text":"second"}]')])
    )
    violation(outcome, pool)
    assert CALLED == ["hello"]


@pytest.mark.requirement("WIRE-004")
async def test_a_call_that_is_settled_cannot_be_cancelled():
    outcome, pool = await converse(
        turn(ending=WAITS, calls=[issued(1)]),
        turn(ending=WAITS, calls=[issued(2)]),
        turn(ending=WAITS, cancelled=[1]),
    )
    assert "not pending" in violation(outcome, pool)


@pytest.mark.requirement("WIRE-004")
async def test_a_call_can_be_cancelled_while_its_result_is_on_the_way():
    outcome, _ = await converse(turn(ending=WAITS, calls=[issued(1)]), turn(cancelled=[1]))
    assert outcome.executions[0].error is None


@pytest.mark.requirement("WIRE-001")
async def test_a_second_frame_for_one_breaks_the_protocol():
    outcome, pool = await converse(turn(ending=WAITS, calls=[issued(1)]) + turn())
    assert "more than one frame" in violation(outcome, pool)


@pytest.mark.requirement("WIRE-005")
@pytest.mark.parametrize(
    "wrong",
    [
        {"progress": [["x", "{"]]},
        {"ending": {"state": "ok", "value": "{"}},
        {"cancelled": [7]},
        {"logs": [["log", "kept?", 1], ["log", "x" * 70_000, 1]]},
    ],
    ids=["progress", "value", "cancelled", "logs"],
)
async def test_nothing_in_a_frame_that_breaks_the_protocol_takes_effect(wrong):
    said: dict[str, Any] = {
        "calls": [issued(1)],
        "logs": [["log", "kept?", 1]],
        "left_behind": [{"call": 1, "awaited": False, "rejection_lost": False}],
        **wrong,
    }
    outcome, pool = await converse(turn(**said))
    violation(outcome, pool)
    [execution] = outcome.executions
    assert CALLED == []
    assert execution.calls == ()
    assert execution.logs == ()
    assert execution.progress == ()


@pytest.mark.requirement("WIRE-002")
@pytest.mark.parametrize("end", ["in the header", "in the body", "before the answer", "before the greeting"])
async def test_a_torn_frame_is_the_worker_s_end(end):
    whole = turn()
    greeting = b"" if end == "before the greeting" else READY
    torn = {"in the header": whole[:3], "in the body": whole[:-1]}.get(end, b"")
    outcome, pool = await converse(torn, then_close=True, greeting=greeting)
    [execution] = outcome.executions
    assert execution.error is not None
    assert execution.error.type == "WorkerCrashedError"
    assert ("in the middle of a frame" in execution.error.message) is (end in ("in the header", "in the body"))
    assert pool.kept == [False]


@pytest.mark.requirement("WIRE-003")
@pytest.mark.parametrize(
    "greeting",
    [
        raw(b"{}", wire.READY),
        raw(b'{"protections":{"seccomp":1}}', wire.READY),
        raw(b"[" * 100_000, wire.READY),
        raw(b"[" * 100_000, wire.FAILED),
        raw(b'{"reason":["no"]}', wire.FAILED),
        turn(),
    ],
    ids=["nothing", "no-text", "deep", "deep-failure", "failure-without-text", "no-greeting"],
)
async def test_a_greeting_that_cannot_be(greeting):
    outcome, pool = await converse(turn(), greeting=greeting)
    violation(outcome, pool)


@pytest.mark.requirement("RUN-007")
async def test_a_worker_that_says_why_it_gives_up_is_quoted():
    outcome, _ = await converse(greeting=raw(b'{"reason":"no memory for a VM"}', wire.FAILED))
    error = outcome.executions[0].error
    assert error is not None
    assert error.type == "WorkerCrashedError"
    assert "no memory for a VM" in error.message


@pytest.mark.requirement("RUN-020")
async def test_a_worker_that_never_answers_is_ended_by_the_wall_clock():
    outcome, pool = await converse(wall_time=0.05)
    error = outcome.executions[0].error
    assert error is not None
    assert (error.type, error.details["clock"]) == ("ScriptTimeoutError", "wall")
    assert pool.kept == [False]


@pytest.mark.requirement("RUN-020")
async def test_a_worker_that_only_ever_begins_a_frame_is_ended_by_the_wall_clock():
    outcome, _ = await converse(turn()[:20], wall_time=0.05)
    error = outcome.executions[0].error
    assert error is not None
    assert error.details["clock"] == "wall"


@pytest.mark.requirement("RUN-023")
@pytest.mark.parametrize("state", ["cpu", "memory", "engine", "overflow"])
async def test_what_the_worker_says_of_itself_is_an_ending(state):
    note = {"state": state, "text": "x" * 4_000, "bytes": 7}
    body = json.dumps({"cpu": 1.0, "heap": None, "evidence": None, "worker": note, "turn": None}).encode()
    outcome, pool = await converse(raw(body))
    error = outcome.executions[0].error
    assert error is not None
    assert (
        error.type
        == {
            "cpu": "ScriptTimeoutError",
            "memory": "ScriptMemoryError",
            "engine": "WorkerCrashedError",
            "overflow": "HarnessInternalError",
        }[state]
    )
    assert pool.kept == [False]


@pytest.mark.requirement("WIRE-002", "RUN-030")
async def test_no_memory_is_taken_for_a_frame_before_its_length_is_checked():
    ours, theirs = socket.socketpair()
    with theirs:
        link = FrameLink(ours, frame_bytes=1_000)
        theirs.sendall(announced(1_001))
        with pytest.raises(WorkerGoneError, match=r"between 1 and 1,?000") as caught:
            await link.receive()
        assert caught.value.violation
        link.close()


@pytest.mark.requirement("WIRE-003")
def test_a_violation_is_told_without_quoting_at_length():
    body = turn_body().replace(b'"heap": 1', b'"heap": 1, "' + b"x" * 100_000 + b'": 1')
    with pytest.raises(WorkerGoneError) as caught:
        Turn.read(body)
    assert len(str(caught.value)) < 200


@pytest.mark.requirement("WIRE-003")
@pytest.mark.parametrize("items", ["{}", "[]", "1"])
def test_a_frame_full_of_mistakes_takes_no_more_than_one_with_a_few(items):
    body = turn_body(ending=WAITS).replace(b'"calls": []', b'"calls": [' + b",".join([items.encode()] * 200_000) + b"]")
    tracemalloc.start()
    try:
        with pytest.raises(WorkerGoneError, match=r"turn\.calls\.0"):
            Turn.read(body, 10_000_000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 40 * len(body) + 20_000_000


@pytest.mark.requirement("WIRE-003")
def test_a_frame_of_unknown_fields_is_told_in_a_word():
    fields = ",".join(f'"f{number}":1' for number in range(50_000))
    with pytest.raises(WorkerGoneError, match="a wrong form"):
        Turn.read(turn_body().replace(b'"heap": 1', f'"heap": 1, {fields}'.encode()), 1_000_000)


ROOM = Limits().frame_bytes
CROWDS = {
    "objects": b"{}",
    "lists": b"[]",
    "numbers": b"1.5",
    "strings": b'"ab"',
    "strings with quotes": b'"\\"\\\\"',
    "nested": b'{"a":[]}',
    "log lines": b'["log","",1]',
}


@pytest.mark.requirement("WIRE-009")
@pytest.mark.parametrize("item", CROWDS.values(), ids=CROWDS)
def test_a_long_frame_of_more_values_than_the_limits_allow_takes_no_memory(item):
    body = turn_body().replace(
        b'"logs": []', b'"logs": [' + b",".join([item] * ((ROOM - 500) // (len(item) + 1))) + b"]"
    )
    tracemalloc.start()
    try:
        with pytest.raises(WorkerGoneError, match="more than the 93,992 values") as caught:
            Turn.read(body, most_items(Limits()))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert caught.value.violation
    assert peak < 1_000_000


@pytest.mark.requirement("WIRE-009")
@pytest.mark.parametrize(
    "body", [b'1,"' * (ROOM // 3), b'"' + b'\\"' * (ROOM // 2), b"1" * ROOM], ids=["unended", "escapes", "digits"]
)
def test_counting_the_values_of_a_frame_looks_at_each_byte_once(body):
    # By a quadratic count this would take hours, not longer than the suite lets a test take.
    with pytest.raises(WorkerGoneError, match="no JSON"):
        Turn.read(body, most_items(Limits()))


@pytest.mark.requirement("WIRE-009")
def test_what_stands_in_a_string_is_not_counted_among_the_values_of_a_frame():
    text = json.dumps([{"a": [1, 2, "\\"]}] * 20_000)
    assert Turn.read(turn_body(ending={"state": "ok", "value": text}), 1_000).turn is not None


@pytest.mark.requirement("WIRE-009")
def test_the_fullest_frame_that_the_prelude_sends_is_read():
    limits = Limits()
    calls = limits.max_pending_calls
    body = turn_body(
        ending=WAITS,
        calls=[issued(n, problem={"path": "$", "what": "a function"}) for n in range(1, calls + 1)],
        cancelled=list(range(1, 2 * calls + 1)),
        timers=[{"id": n, "ms": 1} for n in range(1, 10_001)],
        cleared=list(range(1, 10_001)),
        logs=[["log", "", 1]] * (limits.log_bytes // 16 + 1),
        progress=[["", "1"]] * 200,
        left_behind=[{"call": 1, "awaited": True, "rejection_lost": True, "lost": "E"}] * 4_000,
    )
    assert len(body) > 64 * 1024
    assert Turn.read(body, most_items(limits)).turn is not None
