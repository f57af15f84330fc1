"""The frozen clock, in a real VM."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from harness import Harness
from harness.approvals.decision import Decision
from harness.errors import UsageError
from harness.limits import Limits
from harness.testing import FakeTools, FrozenClock, ScriptedApprover

pytestmark = pytest.mark.anyio

NOON = "2026-05-01T12:00:00.123Z"
NOON_MS = 1_777_636_800_123


@pytest.mark.requirement("TST-004")
async def test_the_date_stands_still_and_moves_when_it_is_moved():
    clock = FrozenClock(NOON)
    tools = FakeTools({"wait": lambda arguments: clock.advance(arguments["s"])})
    script = """
        const seen = [Date.now()];
        for (const s of [0, 1.5, 0, 0.1, 3600]) { await tools.wait({ s }); seen.push(Date.now() - seen[0]) }
        return [seen, new Date().toISOString()];
    """
    async with Harness(tools, clock=clock) as harness:
        outcome = await harness.run(f"<tool-calls>{script}</tool-calls>")
    assert outcome.executions[0].value == [[NOON_MS, 0, 1500, 1500, 1600, 3601600], "2026-05-01T13:00:01.723Z"]


@pytest.mark.requirement("TST-004")
async def test_a_timer_moves_the_date_to_when_it_was_due():
    script = """
        const start = Date.now(), at = [];
        const sleep = (ms) => new Promise((done) => setTimeout(() => { at.push([ms, Date.now() - start]); done() }, ms));
        const never = setTimeout(() => at.push('never'), 20);
        clearTimeout(never);
        await Promise.all([sleep(3), sleep(1), tools.none(), sleep(7)]);
        await sleep(2);
        return at;
    """
    async with Harness(FakeTools({"none": None}), clock=FrozenClock(NOON)) as harness:
        for _ in range(2):
            (execution,) = (await harness.run(f"<tool-calls>{script}</tool-calls>")).executions
            seen: Any = execution.value
            # Timers that are due together may fire together; then the last of them says what time it is.
            assert [ms for ms, _ in seen] == [1, 3, 7, 2]
            assert [at for _, at in seen][2:] == [7, 9]
            assert all(ms <= at <= 7 for ms, at in seen[:2])


@pytest.mark.requirement("TST-004")
async def test_approvals_expire_by_it_and_limits_do_not():
    clock = FrozenClock(NOON)
    tools = FakeTools()
    tools.add("pay", 1, approval=True)
    approver = ScriptedApprover([Decision.approve()])
    limits = Limits(approval_timeout=60, wall_time=0.3)
    async with Harness(tools, clock=clock, approver=approver, limits=limits) as harness:
        outcome = await harness.run(
            "<tool-calls>return await tools.pay()</tool-calls>"
            "<tool-calls>await new Promise((done) => setTimeout(done, 60_000))</tool-calls>"
        )
    assert approver.requests[0].expires_at == clock() + 60
    paid, late = outcome.executions
    assert paid.value == 1
    assert late.error is not None
    assert late.error.type == "ScriptTimeoutError"


@pytest.mark.requirement("TST-005")
@pytest.mark.parametrize("clock", [5, "now", lambda: "now", lambda: True, lambda: -1, lambda: float("nan")])
async def test_what_is_no_clock_is_refused(clock):
    with pytest.raises(UsageError, match="clock is a function that returns seconds since the epoch"):
        Harness(clock=clock)


@pytest.mark.requirement("TST-004")
def test_what_a_frozen_clock_takes():
    clock = FrozenClock(NOON)
    assert round(clock() * 1000) == NOON_MS
    assert clock.now == datetime(2026, 5, 1, 12, 0, 0, 123_000, tzinfo=UTC)
    assert repr(clock) == "FrozenClock('2026-05-01T12:00:00.123Z')"
    east = datetime(2026, 5, 1, 14, tzinfo=timezone(timedelta(hours=2)))
    assert FrozenClock(east)() == FrozenClock("2026-05-01T12:00:00Z")() == FrozenClock(1_777_636_800)()
    assert FrozenClock()() == 1_767_225_600
    for wrong in ("yesterday", "2026-05-01T12:00:00", datetime(2026, 5, 1), -1, 1e12, float("nan"), True, None):  # noqa: DTZ001
        with pytest.raises(UsageError):
            FrozenClock(wrong)  # type: ignore[arg-type]
    for back in (-1, float("nan")):
        with pytest.raises(UsageError, match="a step back"):
            clock.advance(back)
