"""One text from end to end: order, what stops what, modes, contexts."""

from __future__ import annotations

from typing import Any

import anyio
import jsonschema
import pytest

from harness import Decision, ExecutionContext, Harness, Limits, Outcome, UsageError, tool

pytestmark = pytest.mark.anyio


@tool
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
async def fail(message: str = "no") -> int:
    """Fail."""
    raise ValueError(message)


@tool(approval=True)
async def refund(order_id: str) -> dict[str, str]:
    """Give money back."""
    return {"refunded": order_id}


def blocks(*scripts: str) -> str:
    return "\n".join(f"Some prose.\n<tool-calls>{script}</tool-calls>" for script in scripts) + "\nThe end.\n"


def statuses(outcome: Outcome) -> list[str]:
    return [execution.status.value for execution in outcome.executions]


@pytest.mark.requirement("PIPE-001", "PIPE-015")
async def test_blocks_run_in_order_and_the_segments_are_the_text():
    text = blocks("await tools.add({a: 1, b: 2})", "console.log('x'); progress('y'); return [1]", "'three'")
    async with Harness(tools=[add]) as harness:
        outcome = await harness.run(text)
    assert statuses(outcome) == ["ok", "ok", "ok"]
    assert [execution.value for execution in outcome.executions] == [3, [1], "three"]
    assert [log.text for log in outcome.executions[1].logs] == ["x"]
    assert [event.message for event in outcome.executions[1].progress] == ["y"]
    assert [call.tool for call in outcome.executions[0].calls] == ["add"]
    assert "".join(segment.text for segment in outcome.segments) == text
    jsonschema.validate(outcome.to_dict(), Outcome.model_json_schema(mode="serialization"))


@pytest.mark.requirement("PIPE-002")
async def test_a_failed_block_stops_the_ones_behind_it_unless_told_otherwise():
    text = blocks("1", "await tools.fail()", "2")
    async with Harness(tools=[fail]) as harness:
        stopped = await harness.run(text)
    async with Harness(tools=[fail], continue_on_error=True) as harness:
        continued = await harness.run(text)
    assert statuses(stopped) == ["ok", "error", "skipped"]
    assert stopped.executions[2].reason == "an earlier block failed"
    assert statuses(continued) == ["ok", "error", "ok"]


@pytest.mark.requirement("PIPE-003")
@pytest.mark.parametrize(
    ("script", "error"),
    [
        ("let = ;", "ScriptSyntaxError"),
        ("const a = 1; const a = 2", "ScriptSyntaxError"),
        ("break", "ScriptSyntaxError"),
        ("eval('1')", "BannedIdentifierError"),
        ("await tools.ad({})", "ToolNotFoundError"),
    ],
    ids=["grammar", "engine-only", "stray-break", "banned", "unknown-tool"],
)
async def test_a_block_that_does_not_parse_always_stops_the_ones_behind_it(script, error):
    async with Harness(tools=[add], continue_on_error=True) as harness:
        outcome = await harness.run(blocks(script, "1"))
    assert statuses(outcome) == ["error", "skipped"]
    first = outcome.executions[0].error
    assert first is not None
    assert first.type == error
    assert first.line == 1
    assert not outcome.executions[0].calls


@pytest.mark.requirement("PIPE-004")
async def test_empty_blocks_are_skipped_and_unclosed_ones_never_run():
    called: list[int] = []

    @tool
    async def note() -> None:
        """Note that this was called."""
        called.append(1)

    text = (
        "<tool-calls></tool-calls>\n<tool-calls/>\n<tool-calls>// only a comment\n</tool-calls>\n"
        "<tool-calls>1</tool-calls>\n<tool-calls>await tools.note()"
    )
    async with Harness(tools=[note]) as harness:
        outcome = await harness.run(text)
    assert statuses(outcome) == ["skipped", "skipped", "skipped", "ok"]
    assert all("empty" in (execution.reason or "") for execution in outcome.executions[:3])
    assert [segment.kind for segment in outcome.segments][-1] == "unclosed"
    assert called == []


@pytest.mark.requirement("PIPE-005")
async def test_blocks_past_the_limit_are_skipped_and_say_so():
    async with Harness(limits={"max_blocks": 2}) as harness:
        outcome = await harness.run(blocks("1", "2", "3", "4"))
    assert statuses(outcome) == ["ok", "ok", "skipped", "skipped"]
    assert all("max_blocks" in (execution.reason or "") for execution in outcome.executions[2:])


@pytest.mark.requirement("PIPE-006")
async def test_a_disabled_harness_runs_nothing_and_starts_nothing():
    harness = Harness(tools=[fail], mode="disabled")
    outcome = await harness.run(blocks("await tools.fail()"))
    assert statuses(outcome) == ["skipped"]
    assert "disabled" in (outcome.executions[0].reason or "")
    assert harness.get_status().workers is None


@pytest.mark.requirement("PIPE-006")
async def test_a_dry_run_plans_and_does_nothing():
    asked: list[str] = []

    async def approver(request: Any) -> Decision:
        asked.append(request.tool)
        return Decision.approve()

    async with Harness(tools=[add, refund], mode="dry-run", approver=approver) as harness:
        outcome = await harness.run(
            blocks("await tools.refund({order_id: 'A'}); await Promise.all([tools.add({a: 1, b: 1})])")
        )
    execution = outcome.executions[0]
    assert execution.status.value == "planned"
    assert execution.plan is not None
    assert [(step.tool, step.needs_approval, step.line) for step in execution.plan.steps] == [
        ("refund", True, 1),
        ("add", False, 1),
    ]
    assert asked == []
    assert {call.status.value for call in execution.calls} == {"planned"}
    assert execution.value is None


@pytest.mark.requirement("PIPE-006")
@pytest.mark.parametrize("flag", ["sync", "async"])
async def test_the_mode_can_depend_on_the_context(flag):
    def choose(context: ExecutionContext) -> Any:
        return "enabled" if context.user_id == "trusted" else "disabled"

    async def choose_later(context: ExecutionContext) -> Any:
        return choose(context)

    async with Harness(mode=choose if flag == "sync" else choose_later) as harness:
        trusted = await harness.run(blocks("1"), context={"user_id": "trusted"})
        other = await harness.run(blocks("1"), context={"user_id": "other"})
    assert statuses(trusted) == ["ok"]
    assert statuses(other) == ["skipped"]


@pytest.mark.requirement("PIPE-006")
async def test_a_mode_that_is_none_is_a_usage_error():
    with pytest.raises(UsageError, match="'enabled', 'dry-run' or 'disabled'"):
        Harness(mode="on")  # type: ignore[arg-type]  # the mistake under test
    async with Harness(mode=lambda _: "on") as harness:  # type: ignore[arg-type, return-value]  # the mistake under test
        with pytest.raises(UsageError, match="'enabled', 'dry-run' or 'disabled'"):
            await harness.run(blocks("1"))


@pytest.mark.requirement("PIPE-007")
async def test_a_plan_is_incomplete_from_where_the_script_looked_inside_a_made_up_result():
    async with Harness(tools=[refund, add], mode="dry-run") as harness:
        blind, looking, failing, real = [
            (await harness.run(blocks(script))).executions[0]
            for script in (
                "await tools.refund({order_id: 'A'}); await tools.refund({order_id: 'B'})",
                "const r = await tools.refund({order_id: 'A'}); await tools.refund({order_id: r.refunded ?? 'x'})",
                "const r = await tools.refund({order_id: 'A'}); r.refunded.nope.nope",
                "throw new Error('mine')",
            )
        ]
    assert blind.plan is not None
    assert blind.plan.complete
    assert looking.plan is not None
    assert not looking.plan.complete
    assert looking.plan.incomplete_from == 1
    assert failing.status.value == "planned"
    assert failing.error is None
    assert (failing.reason or "").startswith("plan incomplete: ")
    assert real.status.value == "error"
    assert real.plan is not None
    assert (real.plan.complete, real.plan.incomplete_from) == (False, None)


@pytest.mark.requirement("PIPE-012")
async def test_the_status_tells_what_is_going_on():
    waiting = anyio.Event()
    go_on = anyio.Event()

    async def approver(_: Any) -> Decision:
        waiting.set()
        await go_on.wait()
        return Decision.approve()

    async with Harness(tools=[refund], approver=approver) as harness:
        async with anyio.create_task_group() as group:
            group.start_soon(harness.run, blocks("await tools.refund({order_id: 'A'})"))
            await waiting.wait()
            during = harness.get_status()
            go_on.set()
        after = harness.get_status()
    assert during.open
    assert during.isolation == "process"
    assert len(during.executions) == 1
    assert during.pending_approvals == 1
    assert during.workers is not None
    assert during.workers.busy == 1
    assert after.executions == ()
    assert after.pending_approvals == 0
    assert after.workers is not None
    assert after.workers.busy == 0
    assert after.tools["refund"].ok == 1
    assert not harness.get_status().open


@pytest.mark.requirement("PIPE-013")
async def test_check_finds_what_the_engine_finds_and_runs_nothing():
    text = (
        "One.\n\n<tool-calls>\nconst a = 1;\nconst a = 2;\n</tool-calls>\n<tool-calls>await tools.ad({})</tool-calls>\n"
    )
    async with Harness(tools=[add, fail]) as harness:
        found = await harness.check(text)
        clean = await harness.check(blocks("await tools.fail()"))
        statistics = harness.get_status().tools
    errors = [(each.code, each.line, each.column) for each in found if each.severity.value == "error"]
    assert errors == [("ScriptSyntaxError", 5, 9), ("ToolNotFoundError", 7, 19)]
    assert [each.details["block"] for each in found] == [1, 2]
    assert clean == []
    assert statistics["fail"].calls == 0


@pytest.mark.requirement("PIPE-013")
async def test_check_gives_places_of_the_text_behind_a_mark_and_separators():
    scripts = ["\ufefflet a; let a", "\ufeff)", "'\u2028';\nlet a; let a", "'\u2028'; // \u2029\n)"]
    async with Harness() as harness:
        found = [await harness.check(f"One.\n<tool-calls>{script}</tool-calls>") for script in scripts]
    assert [[(each.line, each.column) for each in some] for some in found] == [
        [(2, 26)],
        [(2, 14)],
        [(3, 13)],
        [(3, 1)],
    ]


@pytest.mark.requirement("PIPE-013")
async def test_check_takes_no_worker_for_blocks_that_cannot_run():
    twice, unclosed = "let a; let a", "("  # the engine's objection, and one that takes no engine
    async with Harness(limits={"max_blocks": 2}) as harness:
        found = await harness.check(blocks("", twice, "1", twice, unclosed))
        status = harness.get_status().workers
    assert [(each.code, each.line) for each in found if each.severity.value == "error"] == [
        ("ScriptSyntaxError", 4), ("too_many_blocks", 8), ("ScriptSyntaxError", 10)
    ]  # fmt: skip
    assert status is not None
    assert status.started == 2


@pytest.mark.requirement("PIPE-014")
async def test_the_last_expression_or_return_is_the_result():
    table: list[tuple[str, Any]] = [
        ("1 + 1", 2),
        ("1 + 1;", 2),
        ("const a = 2\na * 2 // note", 4),
        ("return 5; 6", 5),
        ("if (false) return 1\n7", 7),
        ("{a: 1, b: [2]}", {"a": 1, "b": [2]}),
        ("({a: 1})", {"a": 1}),
        ("const f = () => 3\nf()", 3),
        ("let x = 1; x = 9", 9),
        ("const x = 1;", None),
        ("if (true) { 1 }", None),
        ("await Promise.resolve(4)", 4),
        ("`a${1}b`", "a1b"),
        ("[1,\n 2,\n 3]", [1, 2, 3]),
        ("(async () => 8)()", 8),
        ("x => x; 'é' + '😀'", "é😀"),
        ("undefined", None),
    ]
    async with Harness() as harness:
        results = [(source, (await harness.run(blocks(source))).executions[0]) for source, _ in table]
    assert [(source, execution.value) for source, execution in results] == table
    assert all(execution.error is None for _, execution in results)


@pytest.mark.requirement("CTX-006")
async def test_an_execution_id_that_is_given_is_used():
    running, go_on = anyio.Event(), anyio.Event()

    @tool
    async def wait() -> None:
        running.set()
        await go_on.wait()

    context = {"execution_id": "mine"}
    async with Harness(tools=[wait]) as harness, anyio.create_task_group() as group:
        three = "<tool-calls>context.execution_id</tool-calls>" * 3
        outcome = await harness.run(three, context=context)
        assert [execution.value for execution in outcome.executions] == ["mine", "mine-2", "mine-3"]
        assert [execution.id for execution in outcome.executions] == ["mine", "mine-2", "mine-3"]
        group.start_soon(lambda: harness.run("<tool-calls>await tools.wait()</tool-calls>", context=context))
        await running.wait()
        with pytest.raises(UsageError, match="'mine' is running already"):
            await harness.run("<tool-calls>1</tool-calls>", context=context)
        go_on.set()


@pytest.mark.requirement("PIPE-023")
async def test_a_block_that_did_not_run_has_its_id_and_hash():
    texts = ["\ufeff1", "(", "eval(1)", "1", ""]
    text = "".join(f'<tool-calls id="b{number}">{source}</tool-calls>' for number, source in enumerate(texts))
    async with Harness() as harness:
        ran = (await harness.run(text)).executions
    disabled = (await Harness(mode="disabled").run(text)).executions
    assert [each.status.value for each in ran] == ["ok", "error", "skipped", "skipped", "skipped"]
    assert [each.script.id for each in ran] == [each.script.id for each in disabled] == ["b0", "b1", "b2", "b3", "b4"]
    assert [each.script.sha256 for each in ran] == [each.script.sha256 for each in disabled]
    assert disabled[0].script.sha256 == disabled[3].script.sha256
    async with Harness() as harness:
        wrong = await harness.run('<tool-calls id="a" size="1">1</tool-calls>')
    assert wrong.executions[0].script.id is None


@pytest.mark.requirement("PIPE-016")
async def test_context_inputs_and_limits_reach_the_script():
    script = "({inputs: context.inputs, user: context.user_id, meta: context.metadata, calls: context.limits.max_tool_calls})"
    async with Harness(limits={"max_tool_calls": 7}) as harness:
        outcome = await harness.run(
            blocks(script),
            context={"user_id": "u1", "metadata": {"plan": "gold", "api_key": "k-123456"}},
            inputs={"rows": [1, 2]},
        )
        given = await harness.run(
            blocks(script), context=ExecutionContext(user_id="u2"), limits=Limits(max_tool_calls=3)
        )
        frozen = await harness.run(blocks("'use strict'; context.inputs.rows.push(1)"), inputs={"rows": []})
    assert outcome.executions[0].value == {
        "inputs": {"rows": [1, 2]},
        "user": "u1",
        "meta": {"plan": "gold", "api_key": "[REDACTED]"},
        "calls": 7,
    }
    value: Any = given.executions[0].value
    assert (value["user"], value["calls"]) == ("u2", 3)
    error = frozen.executions[0].error
    assert error is not None
    assert error.type == "TypeError"


@pytest.mark.requirement("PIPE-016")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"context": {"user": "u"}}, "user"),
        ({"limits": {"wall_tim": 3}}, "did you mean 'wall_time'"),
        ({"limits": {"wall_time": -1}}, "wall_time"),
        ({"inputs": {"f": len}}, "inputs.f"),
        ({"limits": {"memory_bytes": 200 * 1024 * 1024}}, "memory_bytes"),
    ],
    ids=["unknown-field", "unknown-limit", "impossible-limit", "function", "more-memory-than-the-worker-has"],
)
async def test_arguments_that_cannot_be_used_are_refused_by_name(arguments, message):
    from harness import HarnessError

    async with Harness() as harness:
        with pytest.raises(HarnessError, match=message):
            await harness.run(blocks("1"), **arguments)


@pytest.mark.requirement("PIPE-017")
async def test_terminating_ends_the_execution_and_skips_the_rest():
    async with Harness(tools=[refund, add], approver=lambda _: Decision.terminate("looks like fraud")) as harness:
        outcome = await harness.run(
            blocks("try { await tools.refund({order_id: 'A'}) } catch {}\nawait tools.add({a: 1, b: 1})", "2")
        )
    assert statuses(outcome) == ["terminated", "skipped"]
    assert outcome.executions[0].reason == "looks like fraud"
    assert [call.tool for call in outcome.executions[0].calls] == ["refund"]


@pytest.mark.requirement("PIPE-018")
async def test_equal_runs_have_equal_hashes():
    text = blocks("[Math.random(), await tools.add({a: 1, b: 2})]")
    hashes = set()
    for _ in range(3):
        async with Harness(tools=[add], seed=7) as harness:
            hashes.add((await harness.run(text)).content_hash())
    async with Harness(tools=[add], seed=8) as harness:
        other = (await harness.run(text)).content_hash()
    assert len(hashes) == 1
    assert other not in hashes


@pytest.mark.requirement("PIPE-020")
async def test_half_of_a_surrogate_pair_stops_nothing_but_the_script_it_is_in():
    text = "caf\ud83d\n<tool-calls>1</tool-calls>\n<tool-calls>'\ud800'</tool-calls>"
    async with Harness() as harness:
        outcome = await harness.run(text)
    assert statuses(outcome) == ["ok", "error"]
    error = outcome.executions[1].error
    assert error is not None
    assert error.type == "ScriptSyntaxError"
    assert "".join(segment.text for segment in outcome.segments) == text
    assert outcome.to_dict()["segments"][0]["text"] == "caf\ufffd\n"
    assert "\ufffd" in outcome.to_json()
    assert [found.details["start"] for found in outcome.diagnostics if found.code == "lone_surrogate"] == [3]


@pytest.mark.requirement("PIPE-016")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"limits": "x"}, "Limits or a dict"),
        ({"limits": [1]}, "Limits or a dict"),
        ({"limits": []}, "Limits or a dict"),
        ({"tools": 5}, "list of tools or a ToolRegistry"),
        ({"tools": "add"}, "list of tools or a ToolRegistry"),
        ({"tools": add}, "list, also of a single tool"),
        ({"tools": len}, "list, also of a single tool"),
        ({"secrets": [5]}, "secret is a string, not int"),
        ({"secrets": "hunter2"}, "secrets is a list"),
        ({"secrets": 5}, "secrets is a list"),
        ({"seed": True}, "seed is an integer"),
        ({"continue_on_error": "no"}, "continue_on_error is True or False"),
        ({"accept_fenced": 0}, "accept_fenced is True or False"),
        ({"skip_thinking": None}, "skip_thinking is True or False"),
        ({"suspend_after": -1, "journal": ":memory:"}, "suspend_after is a number of seconds"),
        ({"suspend_after": "1", "journal": ":memory:"}, "suspend_after is a number of seconds"),
    ],
    ids=str,
)
def test_a_harness_of_wrong_things_is_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        Harness(**arguments)


@pytest.mark.requirement("PIPE-016")
async def test_a_run_of_wrong_things_is_refused():
    wrong: list[dict[str, Any]] = [
        {"limits": 5}, {"context": 5}, {"context": []}, {"inputs": 5}, {"trust_domain": 5}, {"context": {"limits": "x"}}
    ]  # fmt: skip
    async with Harness() as harness:
        for arguments in wrong:
            with pytest.raises(UsageError, match=r"limits|context|inputs|trust_domain"):
                await harness.run(blocks("1"), **arguments)
        for text in (None, b"", 5):
            for method in (harness.run, harness.check):
                with pytest.raises(UsageError, match="text is a str"):
                    await method(text)  # type: ignore[arg-type] # what is under test


@pytest.mark.requirement("PIPE-006")
@pytest.mark.parametrize("value", [None, 5])
async def test_a_mode_function_that_gives_no_mode(value):
    with pytest.raises(UsageError, match="mode is 'enabled'"):
        await Harness(mode=lambda _: value).run(blocks("1"))


@pytest.mark.requirement("PIPE-005")
async def test_too_many_blocks_are_an_error_of_the_outcome():
    text = blocks("1", "2", "// nothing", "3", "4")
    async with Harness(limits={"max_blocks": 3}) as harness:
        outcome, checked = await harness.run(text), await harness.check(text)
    (found,) = outcome.diagnostics
    assert (found.code, found.severity, found.details) == ("too_many_blocks", "error", {"limit": 3})
    assert outcome.executions[4].script.span.line == found.line
    assert [item for item in checked if item.code == found.code] == [found]


@pytest.mark.requirement("SER-005", "APR-022")
async def test_an_answered_call_was_not_applied():
    def answer(_request: Any) -> Decision:
        return Decision.answer({"refunded": "by hand"})

    script = "await tools.refund({order_id: 'A'}); await tools.add({a: 1, b: 2}); throw new Error('late')"
    async with Harness(tools=[add, refund], approver=answer) as harness:
        outcome = await harness.run(blocks(script))
    error = outcome.executions[0].error
    assert error is not None
    assert error.details["applied_calls"] == [2]
    assert '<calls applied="1">' in outcome.to_text()
    assert '<call tool="refund" status="ok" line="1" answered="true">' in outcome.to_text()
