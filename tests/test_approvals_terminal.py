"""The terminal approver, at a real pseudo-terminal."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import termios
from collections.abc import Iterator

import anyio
import pytest

from harness.approvals.decision import Decision
from harness.approvals.terminal import TerminalApprover
from harness.model import ApprovalRequest
from harness.redaction import MASK
from harness.testing import make_request

pytestmark = pytest.mark.anyio


class Screen:
    """The person's side of a pseudo-terminal."""

    def __init__(self) -> None:
        self._master, slave = pty.openpty()
        self.device = os.ttyname(slave)
        self._slave = slave
        attributes = termios.tcgetattr(slave)
        attributes[3] &= ~termios.ECHO
        termios.tcsetattr(slave, termios.TCSANOW, attributes)
        os.set_blocking(self._master, False)
        self.text = ""

    async def shows(self, part: str, *, count: int = 1) -> None:
        """Waits until ``part`` has appeared ``count`` times."""
        while self.text.count(part) < count:
            await anyio.wait_readable(self._master)
            self.text += os.read(self._master, 65536).decode()

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def hang_up(self) -> None:
        os.close(self._slave)
        self._slave = -1

    def close(self) -> None:
        for descriptor in (self._master, self._slave):
            if descriptor >= 0:
                os.close(descriptor)


@pytest.fixture
def screen() -> Iterator[Screen]:
    made = Screen()
    yield made
    made.close()


async def converse(screen: Screen, request: ApprovalRequest, *exchange: tuple[str, str]) -> Decision:
    """Asks, waits for each text and types what follows it."""
    approver = TerminalApprover(screen.device)
    decisions: list[Decision] = []

    async def decide() -> None:
        decisions.append(await approver.decide(request))

    seen = {part: screen.text.count(part) for part, _ in exchange}
    async with anyio.create_task_group() as group:
        group.start_soon(decide)
        for part, typed in exchange:
            seen[part] += 1
            await screen.shows(part, count=seen[part])
            screen.type(typed)
    return decisions[0]


PROMPT = "[q]uit the script? "


@pytest.mark.requirement("APR-031")
@pytest.mark.parametrize(
    ("exchange", "decision"),
    [
        ([(PROMPT, "y\n")], Decision.approve()),
        ([(PROMPT, "YES\n")], Decision.approve()),
        ([(PROMPT, "a\n")], Decision.approve(scope="execution")),
        ([(PROMPT, "n\n"), ("Reason", "too much\n")], Decision.deny("too much")),
        ([(PROMPT, "n\n"), ("Reason", "\n")], Decision.deny()),
        ([(PROMPT, "q\n")], Decision.terminate("ended at the terminal")),
        ([(PROMPT, "e\n"), ("Changes", '{"cents": 5, "note": null}\n')], Decision.approve({"cents": 5, "note": None})),
        ([(PROMPT, "e\n"), ("Changes", "{oops\n"), ("This is no JSON", ""), (PROMPT, "y\n")], Decision.approve()),
        ([(PROMPT, "e\n"), ("Changes", "[1]\n"), ("must be a dict", ""), (PROMPT, "y\n")], Decision.approve()),
        ([(PROMPT, "e\n"), ("Changes", "\n"), ("Nothing was changed", ""), (PROMPT, "y\n")], Decision.approve()),
    ],
    ids=["y", "yes", "always", "no", "no reason", "quit", "edit", "bad json", "no object", "no edit"],
)
async def test_answers(screen, exchange, decision):
    assert await converse(screen, make_request("refund", {"cents": 1}), *exchange) == decision


@pytest.mark.requirement("APR-030")
async def test_only_an_explicit_answer_approves(screen):
    again = "Please answer"
    exchange = [
        (PROMPT, "\n"),
        (again, ""),
        (PROMPT, "yep\n"),
        (again, ""),
        (PROMPT, " \n"),
        (again, ""),
        (PROMPT, "\x04"),
    ]
    decision = await converse(screen, make_request(), *exchange)
    assert decision == Decision.deny("the terminal was closed")
    assert screen.text.count(again) == 3


@pytest.mark.requirement("APR-030")
async def test_one_question_at_a_time(screen):
    approver = TerminalApprover(screen.device)
    decisions: dict[str, Decision] = {}

    async def decide(name: str) -> None:
        decisions[name] = await approver.decide(make_request(name))

    async with anyio.create_task_group() as group:
        group.start_soon(decide, "one")
        group.start_soon(decide, "two")
        await screen.shows(PROMPT)
        first = "one" if "tools.one" in plain(screen) else "two"
        assert ("tools.one" in plain(screen)) != ("tools.two" in plain(screen))
        screen.type("y\n")
        await screen.shows(PROMPT, count=2)
        screen.type("q\n")
    assert decisions.pop(first) == Decision.approve()
    assert [decision.kind for decision in decisions.values()] == ["terminate"]


def plain(screen: Screen) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", screen.text)


@pytest.mark.requirement("APR-032", "APR-008")
async def test_nothing_shown_steers_the_terminal(screen):
    nasty = "\x1b[2J\x1b]0;pwn\x07\r\nAPPROVED \u202eevil\u2066 \x9b31m"
    request = make_request("refund", {"note": nasty, nasty: 1, "password": "hunter2"}, reason=f"why {nasty}")
    await converse(screen, request, (PROMPT, "y\n"))
    text = plain(screen)
    for char in ("\x1b", "\x07", "\u202e", "\u2066", "\x9b"):
        assert char not in text
    assert "\\u001b[2J" in text
    assert "\\u{202e}" in text
    assert "\nAPPROVED" not in text
    assert "hunter2" not in text
    assert MASK in text
    assert "tools.refund" in text


@pytest.mark.requirement("APR-033")
async def test_cancelled_while_waiting(screen):
    approver = TerminalApprover(screen.device)
    async with anyio.create_task_group() as group:
        group.start_soon(approver.decide, make_request())
        await screen.shows(PROMPT)
        group.cancel_scope.cancel()
    await screen.shows("no longer waiting")
    # The next question is not disturbed by the last.
    assert (await converse(screen, make_request(), (PROMPT, "y\n"))).kind == "approve"


@pytest.mark.requirement("APR-034")
async def test_what_was_typed_before_the_question_is_discarded(screen):
    screen.type("y\ny\ny\n")
    assert (await converse(screen, make_request(), (PROMPT, "q\n"))).kind == "terminate"


@pytest.mark.requirement("APR-035")
def test_without_a_terminal():
    code = (
        "from harness.approvals.terminal import TerminalApprover\n"
        "from harness.errors import UsageError\n"
        "try:\n    TerminalApprover()\nexcept UsageError as error:\n    print(error.message)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True, start_new_session=True, timeout=60,
    )  # fmt: skip
    assert "There is no terminal to ask on" in done.stdout
    assert "--approve always" in done.stdout
