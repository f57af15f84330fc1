"""Cassettes: what is recorded, how it is played, and what is said where something has changed."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from harness import Decision, Limits, ResourceContract, ToolExecutionError, ToolRegistry, tool
from harness.errors import UsageError
from harness.journal import machine as machines
from harness.testing import Cassette, CassetteError, FakeTools, FrozenClock, ScriptedApprover, UnusedRecordingWarning
from harness.testing.censor import redacted


def block(script: str) -> str:
    return f"<tool-calls>{script}</tool-calls>"


A, B, C = (block(f"return tools.stock({{ sku: '{name}' }})") for name in "ABC")


class Shop:
    """Real tools, which count how often they are called."""

    def __init__(self) -> None:
        self.called: list[Any] = []

    def tools(self) -> list[Any]:
        def stock(sku: str) -> int:
            self.called.append(sku)
            return 3

        def refund(order: str, cents: int) -> dict[str, Any]:
            self.called.append(cents)
            return {"order": order, "cents": cents, "é": "ü\u2028"}

        def fail() -> None:
            self.called.append("fail")
            raise ToolExecutionError("the shop is closed")

        return [stock, tool(approval=True)(refund), fail]


class Nobody:
    """An approver that must not be asked."""

    async def decide(self, request: Any) -> Decision:
        raise AssertionError(f"asked about {request}")


_RECORDED: dict[tuple[str, ...], str] = {}


class Tape:
    """Runs texts with the cassette of one test. Threads instead of processes: the VM is the same and starts sooner."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.shop = Shop()

    def run(self, *texts: str, record: Any = "none", tools: Any = "shop", **options: Any) -> Any:
        """The outcome of the last one."""
        own = {name: options.pop(name) for name in ("force", "redact") if name in options}
        with Cassette(self.path, record=record, **own) as cassette:
            for text in texts:
                cassette.run_sync(
                    text, tools=self.shop.tools() if tools == "shop" else tools, **{"isolation": "thread", **options}
                )
        return cassette.outcome

    def recorded(self, *texts: str) -> None:
        """What recording these texts gives; each is recorded once for all tests."""
        if texts not in _RECORDED:
            self.run(*texts, record="once")
            _RECORDED[texts] = self.path.read_text()
            self.shop.called.clear()
        self.path.parent.mkdir(exist_ok=True)
        self.path.write_text(_RECORDED[texts])

    def failure(self, *texts: str, **options: Any) -> str:
        """What is said when it is played."""
        with pytest.raises(CassetteError) as caught:
            self.run(*texts, **options)
        return str(caught.value)

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.path.read_text().splitlines()]

    def edit(self, kind: str, **changes: Any) -> None:
        """Change the lines of one kind in the file."""
        lines = [line | changes if line["kind"] == kind else line for line in self.lines]
        self.path.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture
def tape(tmp_path: Path) -> Tape:
    return Tape(tmp_path / "deep" / "tape.jsonl")


# ── playing ──────────────────────────────────────────────────────────────────────────────────────────────────────

REFUND = block("""
    const left = await tools.stock({ sku: "LAMP" });
    const paid = await tools.refund({ order: "A1", cents: 100 * left });
    const no = await tools.refund({ order: "A2", cents: 1 }).catch((error) => error.name + error.message);
    const closed = await tools.fail().catch((error) => error.message);
    console.log(paid, Math.random(), Date.now());
    progress("almost", { done: 1 });
    await new Promise((done) => setTimeout(done, 20));
    return { paid, no, closed, random: Math.random(), now: new Date().toISOString(), budget: context.budget() };
""")
TEXTS = {
    "calls, decisions, errors": f"First: {REFUND} and {block('return context.inputs.who + context.execution_id')} 🙂",
    "at the same time": block(
        "return Promise.all(['a', 'b', 'c'].map((sku) => tools.stock({ sku }).then((n) => [sku, n, Math.random()])))"
    ),
    "blocks that do not run": f"{block('throw new TypeError(context.inputs.who)')}{block('1')}<tool-calls/>",
    "a block that does not parse": block("1 +") + block("2"),
    "no block": "nothing `<tool-calls>` here",
    "half of a surrogate pair": f"\ud83d {block('return await tools.stock({ sku: String.fromCharCode(0xd83d) + 1e-7 })')}",
    "wrong calls": block("await tools.stock({ sku: 1 }).catch(() => 0); return tools.stock({ sku: 'x' })"),
    "no end": block("await tools.stock({ sku: 'x' }); await new Promise(() => {})"),
    "looks at its tools": block("return [Object.keys(tools), (await tools.$search('refund')).length]"),
    "detached": block("tools.stock({ sku: 'x' }); return 1"),
}


@pytest.mark.requirement("TST-010")
@pytest.mark.parametrize(
    "text",
    [
        pytest.param(text, id=name, marks=pytest.mark.slow if at else ())
        for at, (name, text) in enumerate(TEXTS.items())
    ],
)
def test_what_was_recorded_is_played_without_tools(tape, text):
    decisions = [Decision.approve(edits={"cents": 200}), Decision.deny("not that little")]
    given: dict[str, Any] = {"inputs": {"who": "me"}, "secrets": [], "limits": Limits(max_tool_calls=20)}
    recorded = tape.run(text, record="once", approver=ScriptedApprover(decisions), **given)
    called = list(tape.shop.called)
    before = tape.path.read_bytes()
    for mode in ("none", "once", "new"):
        played = tape.run(text, record=mode, approver=Nobody(), **given)
        assert played.to_canonical_json() == recorded.to_canonical_json()
    assert tape.run(text, tools=None, **given).to_canonical_json() == recorded.to_canonical_json()
    assert (tape.shop.called, tape.path.read_bytes()) == (called, before)


@pytest.mark.requirement("TST-010")
def test_what_the_tools_and_the_people_said_is_what_scripts_get(tape):
    decisions = [Decision.approve(edits={"cents": 200}), Decision.deny("not that little")]
    tape.run(REFUND, record="once", approver=ScriptedApprover(decisions), clock=FrozenClock("2026-01-01T00:00:00Z"))
    assert tape.shop.called == ["LAMP", 200, "fail"]
    value = tape.run(REFUND, clock=FrozenClock("2030-01-01T00:00:00Z")).executions[0].value
    assert value["paid"] == {"order": "A1", "cents": 200, "é": "ü\u2028"}
    assert "not that little" in value["no"]
    assert "the shop is closed" in value["closed"]
    assert value["now"] == "2026-01-01T00:00:00.020Z"


@pytest.mark.slow
@pytest.mark.requirement("TST-010")
@pytest.mark.parametrize(
    "mode", ["dry-run", "disabled", lambda context: "dry-run"], ids=["dry-run", "disabled", "asked"]
)
def test_other_modes_are_recorded_as_well(tape, mode):
    recorded = tape.run(REFUND, record="once", mode=mode)
    assert tape.run(REFUND, mode=mode, tools=None).to_canonical_json() == recorded.to_canonical_json()
    assert tape.shop.called == []
    if mode == "disabled":
        assert '$.mode: "disabled" then, "dry-run" now' in tape.failure(REFUND, mode="dry-run")


@pytest.mark.slow
@pytest.mark.requirement("TST-010")
def test_an_end_that_no_vm_brings_about_again_is_played(tape):
    text = block("await tools.stock({ sku: 'x' }); for (;;);")
    limits = {"cpu_time": 0.1}
    recorded = tape.run(text, record="once", isolation="process", limits=limits)
    assert recorded.executions[0].error.type == "ScriptTimeoutError"
    played = tape.run(text, isolation="process", limits=limits)
    assert played.to_canonical_json() == recorded.to_canonical_json()
    assert "Call 1" in tape.failure(text.replace("'x'", "'y'"), isolation="process", limits=limits)


@pytest.mark.anyio
@pytest.mark.slow
@pytest.mark.requirement("TST-010")
async def test_runs_at_the_same_time(tape):
    import anyio

    texts = [block(f"return await tools.stock({{ sku: '{number}' }}) + {number}") for number in range(4)]

    async def all_of(cassette: Cassette, tools: Any) -> list[Any]:
        async with anyio.create_task_group() as group:
            for text in texts:
                group.start_soon(lambda text: cassette.run(text, tools=tools, isolation="thread"), text)
        return sorted(outcome.executions[0].value for outcome in cassette.outcomes)

    with Cassette(tape.path, record="once") as cassette:
        recorded = await all_of(cassette, tape.shop.tools())
    # Tasks of trio begin in any order.
    assert sorted(line["text"] for line in tape.lines if line["kind"] == "run_started") == texts
    texts.reverse()
    with Cassette(tape.path) as cassette:
        assert await all_of(cassette, None) == recorded == [3, 4, 5, 6]
        with pytest.raises(UsageError, match="await cassette"):
            cassette.run_sync("")


# ── the file ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
@pytest.mark.requirement("TST-011")
def test_the_same_runs_give_the_same_file(tape):
    # A script can see the id of a request that was denied, so that is on record.
    approver = ScriptedApprover([Decision.approve(edits={"cents": 250}), Decision.answer({"order": "A2"})] * 2)
    files = []
    for _ in range(2):
        tape.run(REFUND, "text", record="all", approver=approver, seed=1, clock=FrozenClock("2026-01-01T00:00:00Z"))
        files.append(tape.path.read_text())
    assert files[0] == files[1]
    assert socket.gethostname() not in files[0]
    assert str(Path.cwd()) not in files[0]
    assert '"arguments": [{"order": "A1", "cents": 300}]' in files[0]
    assert '"value": {"order": "A1", "cents": 250, "é": "ü\\u2028"}' in files[0]
    kinds = [line["kind"] for line in tape.lines]
    assert kinds[:6] == ["cassette", "run_started", "contract", "contract", "contract", "started"]
    assert {"frame", "call_issued", "decision", "call_settled", "finished", "run_finished"} <= {*kinds}


@pytest.mark.slow
@pytest.mark.requirement("TST-010")
def test_a_registry_stays_with_its_harness(tape):
    """Namespaces, versions and what tools share: a cassette plays with the bare names."""
    resource = ResourceContract("shop", budget_cents=100)

    def read(path: str) -> str:
        return path

    registry = ToolRegistry([tool(name="fs.read", version="2.0", resource=resource, cost=10)(read)])
    text = block("return [await tools.fs.read({ path: 'x' }), context.budget()]")
    recorded = tape.run(text, record="once", tools=registry)
    assert registry.statistics()["fs.read"].calls == 1
    assert tape.run(text, tools=None).to_canonical_json() == recorded.to_canonical_json()
    assert tape.run(text, tools=registry).to_canonical_json() == recorded.to_canonical_json()
    assert registry.statistics()["fs.read"].calls == 1


@pytest.mark.slow
@pytest.mark.requirement("TST-011")
def test_a_result_can_be_changed_by_hand(tape):
    tape.run(block("return (await tools.stock({ sku: 'x' })) + 1"), record="once")
    tape.edit("call_settled", value=30)
    said = tape.failure(block("return (await tools.stock({ sku: 'x' })) + 1"))
    assert "$.executions[0].value is 31; expected was 4" in said
    tape.edit("finished", value=31)
    assert tape.run(block("return (await tools.stock({ sku: 'x' })) + 1")).executions[0].value == 31


@pytest.mark.requirement("TST-011")
@pytest.mark.parametrize(
    ("at", "line", "words"),
    [
        (1, "", "Line 1"),
        (1, '{"kind": "cassette", "version": 2}', "it is of version 2, and this library knows 1"),
        (1, "[]", "the first line is"),
        (2, "<<<<<<< HEAD", "Line 2"),
        (2, '"text"', "Line 2"),
        (2, '{"kind": "run_started"}', "'run' is missing"),
        (2, '{"kind": "frame", "run": 1, "block": 1}', "a run begins with run_started"),
        (4, '{"kind": "started", "run": 1, "block": 2, "seed": [1, 2, 3, 4]}', "the block that it belongs to"),
        (5, '{"kind": "frame", "run": 1, "block": 1, "number": "x"}', "'budget' is missing"),
        (6, '{"kind": "call_issued", "run": 1, "block": 1, "call": "x"}', "call: Input should be a valid integer"),
        (6, '{"kind": "nonsense", "run": 1, "block": 1}', "'nonsense' is missing"),
        (9, "", "a block has no end"),
        (10, "", "a run ends with run_finished"),
    ],
)
def test_a_damaged_file_says_where(tape, at, line, words):
    tape.recorded(A)
    lines = tape.path.read_text().splitlines()
    assert len(lines) == 10
    lines[at - 1] = line
    tape.path.write_text("\n".join(lines))
    with pytest.raises(UsageError) as caught:
        tape.run(block("1"))
    assert words in str(caught.value)
    assert f"{tape.path} cannot be used" in str(caught.value)
    assert "record it anew" in str(caught.value)


# ── what has changed ─────────────────────────────────────────────────────────────────────────────────────────────

ONE = "const n = await tools.stock({ sku: 'LAMP' });\nreturn n + 1"
SECOND = "return 'two'"
TWO = f"Before {block(ONE)} between {block(SECOND)}"


@pytest.mark.requirement("TST-012")
@pytest.mark.parametrize(
    ("then", "now", "words"),
    [
        ("return n + 1", "return n + 2", ["script of block 1 has changed", "-return n + 1\n+return n + 2", "value is 5"]),
        ("return n + 1", "return n + 1 ", ["script of block 1", "Every call and the outcome are as they were"]),
        ("return n", "console.log()\n\nreturn n", ["script of block 1", "$.executions[0].logs has 1 elements"]),
        ("const n", "\n// counts\nconst n", ["script of block 1", "+// counts", "Every call and the outcome are as they"]),
        ("'two'", "'three'", ["script of block 2 has changed", '$.executions[1].value is "three"; expected was "two"']),
        ("Before", "Behind", ["The text around the blocks has changed", "-Before", "+Behind"]),
        ("Before ", "Before\u00a0", ["The text around the blocks has changed", "-Before", "+Before"]),
        (block("return 'two'"), "", ["has 1 blocks; it had 2"]),
        ("LAMP", "SOFA", ["Call 1 of block 1 is another one", '- 1. tools.stock({"sku":"LAMP"})', '+ 1. tools.stock({"sku":"SOFA"})']),
        ("await tools.stock({ sku: 'LAMP' })", "3", ["Call 1 of block 1 is not made any more", '- 1. tools.stock({"sku":"LAMP"})']),
        ("return n", "await tools.fail(); return n", ["Call 2 of block 1 was not made then", "  1. tools.stock", "+ 2. tools.fail() in line 2"]),
        ("return 'two'", "return tools.fail()", ["Call 1 of block 2 was not made then", "+ 1. tools.fail() in line 1"]),
        ("return n + 1", "return n +", ["script of block 1", "Call 1 of block 1 is not made any more", "ended after 1 with ScriptSyntaxError"]),
        (" between ", block("1"), ["has 3 blocks; it had 2", "Block 3 took another way: it runs, which it did not"]),
    ],
)  # fmt: skip
def test_a_change_of_the_text_is_shown(tape, then, now, words):
    tape.recorded(TWO)
    assert then in TWO
    said = tape.failure(TWO.replace(then, now))
    for each in [*words, f"Run 1 is not what {tape.path} has on record", 'Cassette(…, record="all")']:
        assert each in said, said
    assert tape.shop.called == []


@pytest.mark.slow
@pytest.mark.requirement("TST-012")
def test_the_order_of_calls_is_compared(tape):
    one = "await tools.stock({ sku: 'a' });"
    two = "await tools.stock({ sku: 'b' });"
    tape.run(block(f"{one}{two}"), record="once")
    assert "Call 1 of block 1 is another one" in tape.failure(block(f"{two}{one}"))
    # The rest of those on record are not said to be missing: nobody knows.
    assert "2. tools" not in tape.failure(block(f"{two}{one}"))


@pytest.mark.requirement("TST-012")
def test_what_a_run_is_given_is_compared(tape):
    given: dict[str, Any] = {"inputs": {"who": "me"}, "context": {"user_id": "u1"}, "limits": {"wall_time": 5}}
    text = block("return context.inputs.who")
    tape.run(text, record="once", **given)
    assert [line["given"] for line in tape.lines if line["kind"] == "run_started"] == [
        {"limits": {"wall_time": 5.0}, "context": {"user_id": "u1", "inputs": {"who": "me"}}}
    ]
    said = tape.failure(text, **given | {"inputs": {"who": "you"}, "seed": 1, "limits": {"max_tool_calls": 1}})
    for each in (
        "It is given something else",
        '$.context.inputs.who: "me" then, "you" now',
        "$.seed: null then, 1 now",
        "$.limits.wall_time: 5 then, null now",
        "$.limits.max_tool_calls: null then, 1 now",
        '$.executions[0].value is "you"; expected was "me"',
    ):
        assert each in said


@pytest.mark.slow
@pytest.mark.requirement("TST-012")
def test_tools_that_break_what_they_promised_are_told(tape):
    text = block("return tools.stock({ sku: 'LAMP' })")
    tape.recorded(text)

    def stock(sku: int) -> int:
        """Counts."""
        return sku

    def other() -> None: ...

    assert "Its tools are not what they were" in (said := tape.failure(text, tools=[stock]))
    assert "parameters.properties.sku" in said
    assert "'stock' 1.0 is gone" in tape.failure(text, tools=[other])

    def better(sku: str, shop: str = "here") -> int:
        """What a script passes still fits."""
        return len(sku + shop)

    assert tape.run(text, tools=[tool(name="stock")(better), other]).executions[0].value == 3


@pytest.mark.requirement("TST-012")
def test_failures_are_assertions_that_point_at_the_test(tape):
    tape.recorded(TWO)
    with pytest.raises(AssertionError) as caught, Cassette(tape.path) as cassette:
        cassette.run_sync(TWO.replace("LAMP", "SOFA"), isolation="thread")
    assert [entry.name for entry in caught.traceback.filter(caught)] == [
        "test_failures_are_assertions_that_point_at_the_test"
    ]


# ── modes ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("TST-013")
@pytest.mark.parametrize(
    ("mode", "there", "now", "called", "texts"),
    [
        ("none", [], [A], CassetteError, []),
        ("none", [A, B], [A, B], [], [A, B]),
        ("none", [A, B], [B, A], [], [A, B]),
        ("none", [A, A], [A, A], [], [A, A]),
        ("none", [A], [A, B], CassetteError, [A]),
        ("none", [A], [A, A], CassetteError, [A]),
        ("none", [A], [B], CassetteError, [A]),
        ("once", [], [A, B], ["A", "B"], [A, B]),
        ("once", [A], [A], [], [A]),
        ("once", [A], [A, B], CassetteError, [A]),
        ("once", [A], [B], CassetteError, [A]),
        ("new", [], [A], ["A"], [A]),
        ("new", [A, B], [C, B, A, A], ["C", "A"], [A, B, C, A]),
        ("all", [], [A], ["A"], [A]),
        ("all", [A, B], [C, A], ["C", "A"], [C, A]),
    ],
)
def test_modes(tape, mode, there, now, called, texts):  # noqa: PLR0917 - a table
    if there:
        tape.recorded(*there)
    if called is CassetteError:
        said = tape.failure(*now, record=mode)
        assert "record=" in said
        assert tape.shop.called == []
    else:
        tape.run(*now, record=mode)
        assert tape.shop.called == called
    found = [line["text"] for line in tape.lines if line["kind"] == "run_started"] if tape.path.exists() else []
    assert found == texts


@pytest.mark.requirement("TST-013")
def test_what_to_do_is_said(tape):
    assert "There is no cassette" in (said := tape.failure(A))
    assert 'record="once"' in said
    tape.recorded(A)
    assert "holds 1 runs, and this is run 2" in (said := tape.failure(A, B))
    assert 'record="new"' in said
    with pytest.raises(UsageError, match="record is one of none, once, new, all, not 'maybe'"):
        Cassette(tape.path, record="maybe")  # type: ignore[arg-type]


@pytest.mark.requirement("TST-014")
def test_a_test_that_fails_leaves_what_was_there(tape):
    with pytest.raises(ZeroDivisionError), Cassette(tape.path, record="once") as cassette:
        1 / len(cassette.run_sync(A, tools=tape.shop.tools(), isolation="thread").diagnostics)
    assert tape.shop.called == ["A"]
    assert not tape.path.parent.exists()
    tape.recorded(A)
    before = tape.path.read_bytes()
    with pytest.raises(ZeroDivisionError), Cassette(tape.path, record="all") as cassette:
        1 / len(cassette.run_sync(B, tools=tape.shop.tools(), isolation="thread").diagnostics)
    assert tape.path.read_bytes() == before
    assert [path.name for path in tape.path.parent.iterdir()] == ["tape.jsonl"]


@pytest.mark.requirement("TST-014")
def test_a_file_that_cannot_be_written_leaves_what_was_there(tape, monkeypatch):
    tape.recorded(A)
    before = tape.path.read_bytes()
    monkeypatch.setattr(Path, "replace", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        tape.run(B, record="all")
    assert tape.path.read_bytes() == before
    assert [path.name for path in tape.path.parent.iterdir()] == ["tape.jsonl"]


@pytest.mark.requirement("TST-014")
def test_what_could_not_be_played_is_not_recorded(tape, monkeypatch):
    from harness.testing import tapereader

    monkeypatch.setattr(tapereader, "compact", lambda value: json.dumps(value and {"x": 1}))
    with pytest.raises(CassetteError, match="cannot be recorded"):
        tape.run(A, record="once")
    assert not tape.path.exists()


# ── another build ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("TST-015")
def test_a_cassette_of_another_build(tape):
    tape.recorded(A)
    tape.edit("run_started", machine={**machines.machine(), "engine": "quickjs-ng 0.1"})
    said = tape.failure(A)
    for each in ("was recorded on another build", "quickjs-ng 0.1", machines.machine()["engine"], "--harness-force"):
        assert each in said
    assert tape.run(A, force=True).executions[0].value == 3
    said = tape.failure(A.replace("'A'", "'B'"), force=True)
    assert "Call 1 of block 1 is another one" in said
    assert 'This was recorded on another build: $.engine: "quickjs-ng 0.1" then' in said


# ── values that must not be shown ────────────────────────────────────────────────────────────────────────────────

SECRET = "sk-very-secret-9"
LOGIN = block(f"""
    const session = await tools.login({{ code: "{SECRET}" }});
    console.log(session.code);
    return tools.orders({{ code: session.code }});
""")


def login_tools() -> FakeTools:
    return FakeTools({"login": {"code": f"{SECRET}/1", SECRET: 1}, "orders": lambda arguments: [arguments["code"], 7]})


@pytest.mark.requirement("TST-016")
@pytest.mark.parametrize("how", ["redact", *(pytest.param(how, marks=pytest.mark.slow) for how in ("secrets", "both"))])
def test_what_is_redacted_is_nowhere_in_the_file(tape, how):
    options: dict[str, Any] = {}
    if how != "secrets":
        options["redact"] = lambda text: text.replace(SECRET, "CODE").replace("very", "not")
    if how != "redact":
        options["secrets"] = [SECRET]
    tools = login_tools()
    recorded = tape.run(LOGIN, tools=tools, record="once", inputs={"of": SECRET}, **options)
    tools.assert_calls(("login", {"code": SECRET}), ("orders", {"code": f"{SECRET}/1"}))
    assert "secret-9" not in tape.path.read_text()
    mask = "CODE" if how == "redact" else "[REDACTED]"
    assert recorded.executions[0].value == [f"{mask}/1", 7]
    played = tape.run(LOGIN, tools=login_tools(), inputs={"of": SECRET}, **options)
    assert played.to_canonical_json() == recorded.to_canonical_json()
    assert "Call 2 of block 1" in tape.failure(
        LOGIN.replace("session.code }", "'x' }"), tools=None, inputs={"of": SECRET}, **options
    )


@pytest.mark.requirement("TST-016")
def test_words_of_the_library_are_left_alone():
    words = {"kind": "run", "status": "ok", "metadata": {"run": "ok"}, "budget": {"run": "ok"}, "run": ["ok", 1]}
    wanted = {"kind": "run", "status": "ok", "metadata": {"RUN": "OK"}, "budget": {"run": "ok"}, "run": ["OK", 1]}
    assert redacted(words, str.upper) == wanted


@pytest.mark.requirement("TST-016")
def test_a_run_may_be_refused(tape):
    def refuse(text: str) -> str:
        if SECRET in text:
            raise ValueError("this must not be written")
        return text

    with pytest.raises(ValueError, match="must not be written"):
        tape.run(LOGIN, tools=login_tools(), record="once", redact=refuse)
    assert not tape.path.exists()
    with pytest.raises(UsageError, match="redact is a function"):
        Cassette(tape.path, redact="x")  # type: ignore[arg-type]


@pytest.mark.requirement("TST-016")
def test_a_run_that_looks_at_what_is_redacted_is_not_recorded(tape):
    text = block("const { code } = await tools.login({}); return tools.orders({ code: code.length })")
    with pytest.raises(
        CassetteError, match=r"goes another way when its scripts see what was redacted[^§]*Call 2 of block 1"
    ):
        tape.run(text, tools=login_tools(), record="once", redact=lambda text: text.replace(SECRET, "CODE"))
    assert not tape.path.exists()


# ── the rest ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("TST-017")
def test_runs_that_were_not_made_are_told(tape):
    tape.recorded(A, B)
    with pytest.warns(UnusedRecordingWarning, match="holds 1 runs that were not made") as caught:
        tape.run(A)
    assert B in str(caught[0].message)
    with pytest.raises(ZeroDivisionError), Cassette(tape.path):
        1 / 0  # noqa: B018


@pytest.mark.requirement("TST-018")
def test_what_cannot_be_recorded(tape):
    for options in ({"journal": "x.sqlite"}, {"approver": "suspend"}, {"suspend_after": 1}, {"signing_key": "x" * 16}):
        with pytest.raises(UsageError, match="cannot be given to a cassette"):
            tape.run(A, record="once", **options)
    with pytest.raises(UsageError, match="There is nothing to run"), Cassette(tape.path) as cassette:
        cassette.run_sync()
    with pytest.raises(UsageError, match="Nothing has been run"):
        _ = Cassette(tape.path).outcome
    assert not tape.path.exists()


@pytest.mark.slow
@pytest.mark.requirement("TST-019")
def test_golden_outcomes(tape, tmp_path):
    golden = tmp_path / "golden" / "a.json"

    def run(text: str, record: Any, **more: Any) -> None:
        with Cassette(tape.path, record=record, text=text, golden="golden/a.json", folder=tmp_path) as cassette:
            cassette.run_sync(tools=tape.shop.tools(), isolation="thread")
            if more:
                cassette.check_golden(golden, **more)

    with pytest.raises(CassetteError, match="There is no cassette"):
        run(A, "none")
    fields = ("$.executions[*].value",)
    run(A, "once", description="counting", deterministic_fields=fields, notes="as it is")
    tape.path.with_suffix(".bak").write_bytes(tape.path.read_bytes())
    assert json.loads(golden.read_text())["input"] == A
    run(A, "none")
    golden.write_text(golden.read_text().replace('"value": 3', '"value": 4'))
    with pytest.raises(
        AssertionError, match=r"counting: the outcome is another one\.\n\$\.executions\[0\]\.value is 3"
    ):
        run(A, "once")
    run(A, "all")
    written = json.loads(golden.read_text())
    assert (written["description"], written["deterministic_fields"], written["notes"]) == (
        "counting",
        [*fields],
        "as it is",
    )
    golden.unlink()
    with pytest.raises(CassetteError, match="There is no golden outcome"):
        run(A, "none")
