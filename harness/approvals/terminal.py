"""A person at a prompt."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import termios
from collections.abc import Callable, Iterator
from typing import Any

import anyio
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from harness.approvals.decision import Decision
from harness.errors import HarnessError, UsageError
from harness.model import ApprovalRequest
from harness.redaction import visible

__all__ = ["TerminalApprover"]

_CHOICES = "[y]es, [n]o, [a]lways this run, [e]dit, [q]uit the script? "
_DOUBTS = "[h]appened, [d]id not happen: make it now, [u]nknown: fail it, [q]uit the script, [l]ater? "
_MAX_LINE = 64 * 1024


class TerminalApprover:
    """Asks on the controlling terminal, one question at a time.

    The terminal itself is used (``device``, by default ``/dev/tty``), so that it works while standard input holds the
    text and standard output the result. Whatever was typed before the question appeared is discarded, and only an
    explicit answer approves. Everything shown is redacted, with control and bidirectional characters made visible.

    Raises `UsageError` if there is no terminal.
    """

    def __init__(self, device: str | None = None) -> None:
        self._device = device or _find_terminal()
        self._turn = anyio.Lock()

    async def decide(self, request: ApprovalRequest) -> Decision:
        """The person's decision. Can be cancelled and timed out at any moment."""
        async with self._turn:
            with _opened(self._device) as terminal:
                try:
                    return await self._ask(terminal, request)
                except anyio.get_cancelled_exc_class():
                    terminal.say("(no longer waiting for an answer)")
                    raise

    async def ask_what_happened(self, request: ApprovalRequest) -> Decision | None:
        """What the person says of a call in doubt (`ApprovalRequest.kind`); None if it is to be said later."""
        async with self._turn:
            with _opened(self._device) as terminal:
                terminal.show(request, "Did this call happen?")
                while True:
                    answer = await terminal.read(_DOUBTS)
                    match (answer or "later").strip().lower():
                        case "l" | "later":
                            return None
                        case "h" | "happened":
                            text = await terminal.read("Its result as one line of JSON: ")
                            if text is None:
                                return None
                            decision = _decided(terminal, Decision.answer, text)
                            if decision is not None:
                                return decision
                        case "d" | "did not":
                            return Decision.approve()
                        case "u" | "unknown":
                            return Decision.deny("nobody could say at the terminal")
                        case "q" | "quit":
                            return Decision.terminate("ended at the terminal")
                        case _:
                            terminal.say("Please answer h, d, u, q or l.")

    async def _ask(self, terminal: _Terminal, request: ApprovalRequest) -> Decision:
        terminal.show(request)
        while True:
            answer = await terminal.read(_CHOICES)
            if answer is None:
                return Decision.deny("the terminal was closed")
            match answer.strip().lower():
                case "y" | "yes":
                    return Decision.approve()
                case "a" | "always":
                    return Decision.approve(scope="execution")
                case "n" | "no":
                    reason = await terminal.read("Reason (may be empty): ")
                    return Decision.deny((reason or "").strip() or "no reason was given")
                case "q" | "quit":
                    return Decision.terminate("ended at the terminal")
                case "e" | "edit":
                    decision = await self._edit(terminal)
                    if decision is not None:
                        return decision
                case _:
                    terminal.say("Please answer y, n, a, e or q.")

    async def _edit(self, terminal: _Terminal) -> Decision | None:
        text = await terminal.read('Changes as one line of JSON, such as {"cents": 500} (null removes): ')
        if not text or not text.strip():
            terminal.say("Nothing was changed.")
            return None
        return _decided(terminal, Decision.approve, text)


def _decided(terminal: _Terminal, make: Callable[[Any], Decision], text: str) -> Decision | None:
    """A decision about a value that was typed as JSON; None, and the person is told, if it cannot be made."""
    try:
        return make(json.loads(text))
    except HarnessError as error:
        terminal.say(error.message)
    except (ValueError, RecursionError) as error:
        terminal.say(f"This is no JSON: {error}.")
    return None


class _Terminal:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._rest = b""
        # The device is written through a copy of the descriptor of its own, which rich's console may buffer and close.
        self._out = os.fdopen(os.dup(descriptor), "w", encoding="utf-8", errors="backslashreplace")
        self._console = Console(file=self._out, highlight=False, markup=False, emoji=False)

    def close(self) -> None:
        self._out.close()

    def say(self, text: str) -> None:
        self._console.print(Text(visible(text)))
        self._out.flush()

    def show(self, request: ApprovalRequest, title: str = "Approve this call?") -> None:
        shown = json.dumps(request.arguments, indent=2, ensure_ascii=False)
        body = Text.assemble(
            ("tools.", "dim"),
            (visible(request.tool), "bold"),
            f"\n{visible(shown, keep=chr(10))}\n",
            (visible(request.reason), "dim"),
        )
        self._console.print(Panel(body, title=title, title_align="left", expand=False))
        self._out.flush()

    async def read(self, prompt: str) -> str | None:
        """One line; None at the end of the input."""
        termios.tcflush(self._descriptor, termios.TCIFLUSH)
        self._rest = b""
        self._console.print(Text(prompt), end="")
        self._out.flush()
        while b"\n" not in self._rest:
            await anyio.wait_readable(self._descriptor)
            try:
                more = os.read(self._descriptor, 4096)
            except BlockingIOError:
                continue
            except OSError:
                return None  # the other end of the terminal is gone
            if not more or len(self._rest) > _MAX_LINE:
                return None
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode(errors="replace")


@contextlib.contextmanager
def _opened(device: str) -> Iterator[_Terminal]:
    descriptor = os.open(device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        terminal = _Terminal(descriptor)
        try:
            yield terminal
        finally:
            terminal.close()
    finally:
        os.close(descriptor)


def _find_terminal() -> str:
    for candidate in ("/dev/tty", *_standard_terminals()):
        with contextlib.suppress(OSError):
            os.close(os.open(candidate, os.O_RDWR | os.O_NOCTTY))
            return candidate
    raise UsageError(
        "There is no terminal to ask on. Run this at a terminal, or choose --approve always or --approve never."
    )


def _standard_terminals() -> list[str]:
    found = []
    for stream in (sys.stdin, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            found.append(os.ttyname(stream.fileno()))
    return found
