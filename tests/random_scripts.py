"""Random texts whose scripts do everything that may come in another order next time, and tools of random delays for them.

``random_text(seed)`` gives the same text for the same seed. With ``timeless=True`` nothing in it hangs on when a tool
answers: however its calls are delayed, suspended, settled or interrupted, what it comes to is the same.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import anyio

from harness import Decision, Deferred, Harness, Outcome, ResumeConflictError, Retry, Tool, ToolExecutionError, tool
from harness.canonical import to_canonical_json
from harness.journal.events import Event
from harness.journal.store import JournalStore, MemoryStore
from harness.model import ApprovalRequest, CallRecord, Execution
from harness.tools.context import CallContext

__all__ = ["LIMITS", "RecordingStore", "Tools", "decision", "gist", "random_text", "to_the_end"]

LIMITS = {"max_tool_calls": 2_000, "max_approvals": 500, "settle_grace": 0.02, "script_bytes": 200_000}

HELPERS = """const log = [];
const note = (...words) => { log.push(words.map(String).join(':')); console.log(...words); return words[0] };
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const dice = () => Math.floor(Math.random() * 1e6);
const again = async (times, call) => { for (let i = 1; ; i++) try { return await call(i) } catch (e) { if (i >= times) throw e } };
const named = (e) => e instanceof AggregateError ? e.errors.map(named) : String(Object(e).name);
"""


class _Writer:
    """Writes one block."""

    def __init__(self, chance: random.Random, *, timeless: bool) -> None:
        self._chance = chance
        self._timeless = timeless

    def block(self) -> str:
        chance = self._chance
        lines = [self._statement(number) for number in range(chance.randrange(1, 5))]
        names = ", ".join(f"x{number}" for number in range(len(lines)))
        end = chance.random()
        if end < 0.1:
            last = f"await tools.bad({{n: {chance.randrange(100)}}})"
        elif end < 0.15:
            last = "throw new TypeError(`at the end: ${log.length}`)"
        elif self._timeless:
            last = f"return {{log, all: await Promise.all([{names}]), dice: dice()}}"
        else:
            last = f"note(await Promise.all([{names}])); return {{log, dice: dice(), at: String(new Date()), left: context.budget()}}"
        return HELPERS + "\n".join([*lines, last])

    def _statement(self, number: int) -> str:
        depth = self._chance.choice((0, 1, 2, 2, 3))
        value = self._promise(depth)
        if self._timeless or self._chance.random() < 0.5:
            return f"const x{number} = await {value}; note({number}, JSON.stringify(x{number}), dice()); progress('at {number}')"
        return f"const x{number} = {value};"

    def _promise(self, depth: int) -> str:
        chance = self._chance
        forms = self._leaves() if depth == 0 else self._composites(depth)
        if not self._timeless:
            forms += self._hasty_leaves() if depth == 0 else self._hasty(depth)
        return chance.choice(forms)()

    def _several(self, depth: int) -> str:
        return ", ".join(self._promise(depth - 1) for _ in range(self._chance.randrange(1, 5)))

    # ── what hangs on nothing but the calls themselves ───────────────────────────────────────────────────────────

    def _leaves(self) -> list[Callable[[], str]]:
        n, ms = self._chance.randrange(100), self._chance.choice((0, 0, 1, 2, 5))
        arguments = f"{{n: {n}, ms: {ms}}}"
        return [
            lambda: f"tools.get({arguments})",
            lambda: f"tools.get({arguments})",
            lambda: f"tools.put({arguments})",
            lambda: f"tools.put({arguments}).then((v) => tools.get({{n: v}}))",
            lambda: f"tools.stubborn({arguments})",
            lambda: f"tools.talk({arguments})",
            lambda: f"tools.bad({arguments}).catch(named)",
            lambda: f"tools.pay({{n: {n}}}).catch(named)",
            lambda: f"tools.pay({{n: {n}}}).catch(named)",
            lambda: f"tools.order({arguments}).catch(named)",
            lambda: f"again(4, (attempt) => tools.flaky({{n: {n}, ms: {ms}, attempt}})).catch(named)",
            lambda: f"sleep({ms}).then(() => {n})",
            lambda: f"tools.get({{n: 'x{n}'}}).catch(named)",
            lambda: (
                f"(async () => {{ try {{ return await tools['noth' + 'ing']({{n: {n}}}) }} catch (e) {{ return named(e) }} }})()"
            ),
            lambda: (
                f"(async () => {{ const c = new AbortController(); c.abort('at once'); "
                f"return tools.put({{n: {n}, signal: c.signal}}).catch((e) => named(e)) }})()"
            ),
        ]

    def _composites(self, depth: int) -> list[Callable[[], str]]:
        times, n = self._chance.randrange(1, 4), self._chance.randrange(100)

        def inner() -> str:
            return self._promise(depth - 1)

        return [
            lambda: f"Promise.all([{self._several(depth)}])",
            lambda: f"Promise.all([{self._several(depth)}])",
            lambda: (
                f"Promise.allSettled([{self._several(depth)}]).then((v) => v.map((x) => x.status === 'fulfilled' ? x.value : named(x.reason)))"
            ),
            lambda: f"(async () => [await {inner()}, await {inner()}])()",
            lambda: (
                f"(async () => {{ let all = []; for (let i = 0; i < {times}; i++) all.push(await {inner()}); return all }})()"
            ),
            lambda: f"(async () => {{ try {{ return await {inner()} }} finally {{ await tools.get({{n: {n}}}) }} }})()",
            lambda: (
                f"(async () => {{ const seen = []; for await (const v of [{self._several(depth)}]) seen.push(v); return seen }})()"
            ),
            lambda: f"Promise.any([Promise.reject(new Error('{n}')), {inner()}])",
            lambda: f"(async () => {{ const p = {inner()}; const q = await {inner()}; return [await p, q] }})()",
            lambda: f"((f) => Promise.all([1, 2].map(f)))(async (i) => [i, await {inner()}])",
        ]

    # ── what hangs on time ───────────────────────────────────────────────────────────────────────────────────────

    def _hasty_leaves(self) -> list[Callable[[], str]]:
        n, ms = self._chance.randrange(100), self._chance.choice((0, 1, 3, 8))
        return [
            lambda: f"tools.get({{n: {n}, ms: {ms}}}).then((v) => note('got', v, Date.now(), dice()))",
            lambda: f"tools.sync({{n: {n}}}).then((v) => note('sync', v))",
            lambda: f"sleep({ms}).then(() => note('slept', Date.now(), context.budget().tool_calls.used))",
            lambda: f"tools.bad({{n: {n}, ms: {ms}}}).catch((e) => note(e.message, dice()))",
            lambda: f"tools.pay({{n: {n}}}).catch((e) => note(e.message))",
            lambda: (
                f"tools.order({{n: {n}, ms: {ms}}}).then((v) => note('came', v, Date.now()), (e) => note(e.message))"
            ),
        ]

    def _hasty(self, depth: int) -> list[Callable[[], str]]:
        n, ms = self._chance.randrange(100), self._chance.choice((0, 1, 3, 8))

        def inner() -> str:
            return self._promise(depth - 1)

        return [
            lambda: f"Promise.race([{self._several(depth)}]).then((v) => note('race', JSON.stringify(v)))",
            lambda: f"Promise.race([{inner()}, sleep({ms})]).then((v) => note('in time?', JSON.stringify(v)))",
            lambda: f"Promise.any([{self._several(depth)}]).catch((e) => note('none', named(e)))",
            lambda: (
                f"(async () => {{ try {{ return await Promise.race([{inner()}, sleep({ms}).then(() => {{ throw new Error('late') }})]) }} "
                f"catch (e) {{ note(e.message); return tools.get({{n: {n}}}) }} }})()"
            ),
            lambda: (
                f"(async () => {{ const c = new AbortController(); setTimeout(() => c.abort({n}), {ms}); "
                f"return tools.put({{n: {n}, ms: 3, signal: c.signal}}).catch((e) => note('aborted', String(e))) }})()"
            ),
            lambda: (
                f"(async () => {{ const id = setTimeout(() => note('fired', {n}), {ms}); const v = await {inner()}; "
                "clearTimeout(id); return v })()"
            ),
            lambda: (
                f"(async () => {{ const queue = [1, 2, 3, 4, 5]; const work = async (who) => {{ for (let n; (n = queue.pop()); ) "
                f"note(who, await tools.get({{n, ms: n % 3}})) }}; await Promise.all([work('a'), work('b')]); return {inner()} }})()"
            ),
            lambda: (
                f"(async () => {{ for (let i = 0; i < 3; i++) {{ await {inner()}; if (dice() % 2) await tools.put({{n: i}}) }} "
                "return new Date().toISOString() })()"
            ),
        ]


def random_text(seed: int, *, timeless: bool = False) -> str:
    """Prose with one block or several."""
    chance = random.Random(f"{seed} {timeless}")
    writer = _Writer(chance, timeless=timeless)
    parts = [f"<tool-calls>\n{writer.block()}\n</tool-calls>" for _ in range(chance.choice((1, 1, 1, 2, 3)))]
    if chance.random() < 0.05:
        parts.insert(chance.randrange(len(parts) + 1), "<tool-calls>  </tool-calls>")
    if chance.random() < 0.05:
        parts.append("<tool-calls>const = syntax error</tool-calls>")
    return "Let me see. " + " And then ".join(parts)


# ── the tools ────────────────────────────────────────────────────────────────────────────────────────────────────────


def result_of(name: str, n: int) -> int:
    """What a tool answers, whoever is asked for it."""
    return n * 7 % 97 + len(name)


class Tools:
    """Tools of random delays, and what was really done."""

    def __init__(self, *, settle: Callable[[str, int], Awaitable[object]] | None = None) -> None:
        self._chance = random.Random()
        self._settle = settle
        self.effects: list[tuple[str, str, str]] = []
        """Each effect: the name of the tool, the execution and call that it belongs to, its idempotency key."""
        self.busy = 0
        self.busiest = 0
        self._stubborn: Counter[str] = Counter()

    async def _work(self, context: CallContext, ms: float, n: int) -> int:
        self.busy += 1
        self.busiest = max(self.busiest, self.busy)
        try:
            # Half of them answer at once, the others in another order each time.
            await anyio.sleep(0 if self._chance.random() < 0.5 else self._chance.random() * (ms + 1) / 1000)
        finally:
            self.busy -= 1
        self._note(context)
        return result_of(context.tool, n)

    def _note(self, context: CallContext) -> None:
        self.effects.append((context.tool, f"{context.execution_id}/{context.call_id}", context.idempotency_key))

    def tools(self) -> list[Tool]:  # noqa: C901 - one of each kind
        """One of each kind."""

        @tool(idempotent=True)
        async def get(context: CallContext, n: int, ms: float = 0) -> int:
            """May be repeated."""
            return await self._work(context, ms, n)

        @tool
        async def put(context: CallContext, n: int, ms: float = 0) -> int:
            """Must not be repeated."""
            return await self._work(context, ms, n)

        @tool
        def sync(context: CallContext, n: int) -> int:
            """Works in a thread."""
            self._note(context)
            return result_of("sync", n)

        @tool
        async def bad(context: CallContext, n: int, ms: float = 0) -> int:
            """Has its effect, and fails."""
            await self._work(context, ms, n)
            raise ToolExecutionError(f"{n} is bad")

        @tool
        async def flaky(context: CallContext, n: int, attempt: int, ms: float = 0) -> int:
            """Fails a few times."""
            await self._work(context, ms, n)
            if attempt <= n % 6:
                raise ToolExecutionError(f"{n} failed for the time {attempt}")
            return result_of("flaky", n)

        @tool(idempotent=True, retry=Retry(attempts=3, initial=0.001, jitter=0.001))
        async def stubborn(context: CallContext, n: int, ms: float = 0) -> int:
            """Fails once in a while, which the script does not see."""
            await self._work(context, ms, n)
            self._stubborn[context.idempotency_key] += 1
            if self._stubborn[context.idempotency_key] <= n % 3:
                raise ToolExecutionError("not yet", retryable=True)
            return result_of("stubborn", n)

        @tool(idempotent=True)
        async def talk(context: CallContext, n: int, ms: float = 0) -> int:
            """Says how far it has come."""
            context.progress("begun", {"n": n})
            return await self._work(context, ms, n)

        @tool(approval=True)
        async def pay(context: CallContext, n: int) -> int:
            """Must not be done without asking."""
            return await self._work(context, 1, n)

        @tool
        async def order(context: CallContext, n: int, ms: float = 0) -> int:
            """Its result comes later, or has come already."""
            await self._work(context, ms, n)
            if self._settle is not None:
                await self._settle(context.deferral_id, result_of("order", n))
            return Deferred(f"order {n}")  # type: ignore[return-value] # what stands for a result that comes later

        return [get, put, sync, bad, flaky, stubborn, talk, pay, order]


# ── what a person says ───────────────────────────────────────────────────────────────────────────────────────────────


def decision(request: ApprovalRequest) -> Decision:
    """The same to the same question, whoever is asked and when. Calls in doubt have happened."""
    arguments = request.arguments
    assert isinstance(arguments, dict)
    n = arguments["n"]
    assert isinstance(n, int)
    if request.kind == "deferred":
        return Decision.answer(result_of("order", n))
    if request.kind == "in_doubt":
        failed = request.tool == "bad" or (request.tool == "flaky" and int(str(arguments["attempt"])) <= n % 6)
        return Decision.deny("it failed") if failed else Decision.answer(result_of(request.tool, n))
    if n % 5 == 0:
        return Decision.deny("a multiple of five")
    if n % 5 == 1:
        return Decision.answer(n + 1000)
    return Decision.approve({"n": n + 1}) if n % 5 == 2 else Decision.approve()


async def to_the_end(harness: Harness, outcome: Outcome, *, most: int = 10_000) -> Outcome:
    """Resume as often as it takes, deciding ``most`` of what waits each time."""
    while outcome.resume_token is not None:
        decisions = {request.id: decision(request) for request in outcome.pending[:most]}
        while True:
            try:
                outcome = await harness.resume(outcome.resume_token, decisions)
                break
            except ResumeConflictError as error:
                # Somebody has settled it meanwhile.
                del decisions[str(error.details["request_id"])]
    return outcome


def gist(outcome: Outcome) -> list[Any]:
    """What a timeless text comes to, whenever its calls were answered: they may come in another order."""
    return [
        {
            "status": str(execution.status),
            "value": execution.value,
            # What a person says of a call in doubt is put in other words than the tool's own.
            "error": execution.error and [execution.error.type, execution.error.line],
            "logs": [line.text for line in execution.logs],
            "calls": sorted(_call(call) for call in execution.calls),
        }
        for execution in outcome.executions
    ]


def _call(call: CallRecord) -> list[str]:
    return [call.tool, to_canonical_json(call.args), str(call.error.type if call.error else call.status)]


def failed(execution: Execution) -> bool:
    """Whether it ended with an error."""
    return execution.error is not None


class RecordingStore(MemoryStore):
    """Keeps what was appended together, so that any moment of its life can be had again."""

    durable = True

    def __init__(self) -> None:
        super().__init__()
        self.appends: list[list[Event]] = []

    def append(self, events: Sequence[Event]) -> None:
        super().append(events)
        self.appends.append(list(events))

    def appends_of(self, run: str) -> list[list[Event]]:
        """What was appended about one run and its executions, in order."""
        streams = {known.stream for known in self.streams() if known.run == run}
        return [events for events in self.appends if events[0].stream in streams]

    def contracts(self, other: JournalStore) -> list[list[Event]]:
        """The contracts that another store does not have."""
        return [self.read(known.stream) for known in self.streams("contracts") if not other.read(known.stream)]
