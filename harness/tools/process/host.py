"""The host's end of one command: start its supervisor, feed it, read it, and see to it that nothing is left.

This is the only module of the library that starts processes for tools.
"""

from __future__ import annotations

import ast
import contextlib
import logging
import marshal
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel

import harness
from harness.tools.process.tree import kill_all, kill_marked, name_of

__all__ = ["Job", "Running"]

_LOG = logging.getLogger("harness.tools")

_BOOT = (
    "import sys;sys.path.append(sys.argv[3]);from harness.tools.process.supervisor import main;"
    "main(int(sys.argv[1]),int(sys.argv[2]))"
)
_LINUX = sys.platform == "linux"
_PIECE = 65_536
_SEARCHES, _EMPTY_SEARCHES = 200, 3
"""How often at most everything is searched for what a lost supervisor left, and how often in a row in vain."""
_MARGIN = 5.0
"""Seconds that a supervisor is given beyond what it needs, before it counts as stuck."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One command, ready to be run."""

    program: str
    """Path of the file to execute."""
    argv: tuple[str, ...]
    cwd: str
    env: Mapping[str, str]
    """Everything the command finds in its environment, but for the temporary directory."""
    max_stdout: int
    max_stderr: int
    """Bytes."""
    grace: float
    """Seconds between TERM and KILL."""
    linger: float
    """Seconds that processes which the command leaves behind have to end by themselves."""
    limits: Mapping[str, int]
    """Resource limits by their names without ``RLIMIT_``."""
    processes: int | None
    contained: bool
    """Whether the command is kept from ending its supervisor, and from gaining rights."""
    sandbox: Mapping[str, Any] | None
    """As `harness.tools.process.confine.sandbox` takes it, with ``required``, the layers that must be active."""


@dataclass(slots=True)
class _Pipe:
    """One output of a command, as far as it was read."""

    limit: int
    descriptor: int = -1
    data: bytearray = field(default_factory=bytearray)
    full: bool = False
    """More came than is allowed."""
    ended: bool = False

    def read(self) -> bool:
        """Takes in what has come. False if there is no more to take. Raises `BlockingIOError` if it is still to come."""
        piece = os.read(self.descriptor, min(_PIECE, self.limit + 1 - len(self.data)))
        self.data += piece
        self.ended = not piece
        if len(self.data) > self.limit:
            del self.data[self.limit :]
            self.full = True
        return not (self.ended or self.full)


class Running:
    """One run of a command. What is known of it stands here, whichever way `run` ends."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._stdout, self._stderr = _Pipe(job.max_stdout), _Pipe(job.max_stderr)
        self._stdin = -1
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._unread = b""
        self._scratch = str(Path(tempfile.gettempdir()) / f"harness-tool-{secrets.token_hex(8)}")
        self._mark = secrets.randbits(61) | 1 << 61  # above whatever else this limit is set to
        self._instructed = False
        self._hung_up = False
        self._done = False
        self.failure: Mapping[str, Any] | None = None
        """Why the command did not start: ``stage`` (start, cwd, limits, sandbox, exec, supervise), ``errno``, ``text``."""
        self.protections: Mapping[str, str] = {}
        """Layer of the sandbox -> ``"active"`` or why not."""
        self.guard = ""
        """``"active"`` if the command cannot reach its supervisor, or why it can."""
        self.marked = False
        """Whether everything that comes of the command bears a mark."""
        self.status: int | None = None
        """Exit code, or minus the number of the signal; None if it is not known."""
        self.cpu_time: float | None = None
        """Seconds, the command and what it waited for."""
        self.left: tuple[int, list[str]] | None = None
        """How many processes the command left behind, and the names of a few."""
        self.crowd: int | None = None
        """How many processes there were when they became too many."""
        self.immortal: list[str] | None = None
        """Names of processes that could not be ended."""
        self.survivors: list[str] | None = None
        """After a lost supervisor: names of those that were still there at the end of the search; None without one."""
        self.litter: str | None = None
        """Why the temporary directory could not be removed."""

    @property
    def stdout(self) -> bytes:
        """Standard output, as far as it was read."""
        return bytes(self._stdout.data)

    @property
    def stderr(self) -> bytes:
        """Standard error, as far as it was read."""
        return bytes(self._stderr.data)

    @property
    def overflow(self) -> str | None:
        """Which output was larger than allowed, if one was."""
        if self._stdout.full:
            return "stdout"
        return "stderr" if self._stderr.full else None

    @property
    def held(self) -> bool:
        """Whether a process that is none of the command's holds its standard output open."""
        return self._done and not self._stdout.ended and not self._stdout.full

    @property
    def supervised(self) -> bool:
        """Whether the supervisor lived to see the end of everything."""
        return self._done

    @property
    def begun(self) -> bool:
        """Whether the supervisor was told to start the command."""
        return self._instructed

    @property
    def ended(self) -> bool:
        """Whether it is known that nothing of the command runs any more."""
        if self._done:
            # Elsewhere there is no way to find what has left the command's process group.
            return self.immortal is None and _LINUX
        return self.survivors == [] and self.marked and self.guard == "active"

    async def run(self, data: bytes) -> None:
        """Runs the command with ``data`` on its standard input, to the end of it and of everything it started.

        When this returns or raises, cancellation included, no process, pipe or file of the run is left. Raises
        ``OSError`` if the operating system lets no process start.
        """
        try:
            self._open()
            await self._instruct()
            async with anyio.create_task_group() as group:
                group.start_soon(self._feed, data)
                group.start_soon(self._drain, self._stdout)
                group.start_soon(self._drain, self._stderr)
                await self._listen()
                group.cancel_scope.cancel()
            # Nobody writes any more, so this is the rest, and it does not wait.
            for pipe in (self._stdout, self._stderr):
                with contextlib.suppress(BlockingIOError):
                    while not pipe.full and not pipe.ended and pipe.read():
                        pass
        finally:
            with anyio.CancelScope(shield=True):
                await self._close()

    def _open(self) -> None:
        theirs: list[int] = []
        try:
            inner, self._stdin = os.pipe()
            theirs.append(inner)
            for pipe in (self._stdout, self._stderr):
                pipe.descriptor, inner = os.pipe()
                theirs.append(inner)
            ours, control = socket.socketpair()
            with control:
                self._control = ours
                self._process = self._spawn(control.fileno(), *theirs)
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        ours.setblocking(False)
        for descriptor in (self._stdin, self._stdout.descriptor, self._stderr.descriptor):
            os.set_blocking(descriptor, False)

    def _spawn(self, control: int, stdin: int, stdout: int, stderr: int) -> subprocess.Popen[bytes]:
        package = str(Path(harness.__file__ or "").resolve().parent.parent)
        return subprocess.Popen(  # noqa: S603 - this interpreter, with arguments of our own
            [sys.executable, "-I", "-S", "-c", _BOOT, str(control), str(os.getpid()), package],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            pass_fds=(control,),
            env={"LC_ALL": "C.UTF-8"},
            cwd="/",
            start_new_session=True,
        )

    async def _instruct(self) -> None:
        job = self._job
        scratch = self._scratch
        text = marshal.dumps(
            {
                "program": job.program,
                "argv": list(job.argv),
                "cwd": job.cwd,
                "env": {**job.env, "TMPDIR": scratch, "TMP": scratch, "TEMP": scratch},
                "scratch": scratch,
                "grace": float(job.grace),
                "linger": float(job.linger),
                "limits": dict(job.limits),
                "processes": job.processes,
                "contained": job.contained,
                "mark": self._mark,
                "sandbox": _with_scratch(job.sandbox, scratch),
            }
        )
        control = self._socket()
        rest = memoryview(len(text).to_bytes(4, "big") + text)
        while rest:
            try:
                rest = rest[control.send(rest) :]
            except BlockingIOError:
                await anyio.wait_writable(control)
            except (BrokenPipeError, ConnectionError):
                break  # it has ended; what it said last is read next
        self._instructed = True

    def _socket(self) -> socket.socket:
        assert self._control is not None  # noqa: S101 - there from _open to _close
        return self._control

    async def _feed(self, data: bytes) -> None:
        rest = memoryview(data)
        try:
            while rest:
                try:
                    rest = rest[os.write(self._stdin, rest[:_PIECE]) :]
                except BlockingIOError:
                    await anyio.wait_writable(self._stdin)
        except BrokenPipeError:
            pass  # a command need not read everything
        descriptor, self._stdin = self._stdin, -1
        os.close(descriptor)

    async def _drain(self, pipe: _Pipe) -> None:
        more = True
        while more:
            try:
                more = pipe.read()
            except BlockingIOError:
                await anyio.wait_readable(pipe.descriptor)
            else:
                # A command that writes without pause must not keep everybody else waiting.
                await anyio.lowlevel.checkpoint()
        if pipe.full:
            self._tell(b"K")

    def _tell(self, letter: bytes) -> None:
        with contextlib.suppress(OSError):  # it has ended already
            self._socket().send(letter)

    async def _listen(self) -> None:
        """Takes in what the supervisor says, until it has ended."""
        control = self._socket()
        while not self._hung_up and self.immortal is None:
            try:
                piece = control.recv(_PIECE)
            except BlockingIOError:
                await anyio.wait_readable(control)
                continue
            except ConnectionError:
                piece = b""
            self._hung_up = not piece
            *lines, self._unread = (self._unread + piece).split(b"\n")
            for line in lines:
                self._take(ast.literal_eval(line.decode("ascii")))

    def _take(self, line: tuple[Any, ...]) -> None:
        match line:
            case ("started", {"protections": protections, "guard": guard, "marked": marked}):
                self.protections, self.guard, self.marked = protections, guard, marked
            case ("failed", details):
                self.failure = details
            case ("ended", status, cpu_time):
                self.status, self.cpu_time = status, cpu_time
            case ("left", count, names):
                self.left = count, names
            case ("crowd", count):
                self.crowd = count
            case ("immortal", names):
                self.immortal = names
            case ("litter", reason):
                self.litter = reason
            case _:
                self._done = True

    async def _close(self) -> None:
        process = self._process
        if process is not None:
            if not self._hung_up:
                await self._end(process)
            if self._hung_up:
                # It has let go of its socket, so it is at its very end.
                while process.poll() is None:  # noqa: ASYNC110 - nothing tells, on every system, that a process can be reaped
                    await anyio.sleep(0.001)
            if not self._done and self.immortal is None:
                await self._clear_up()
        if self._control is not None:
            self._control.close()
        for descriptor in (self._stdin, self._stdout.descriptor, self._stderr.descriptor):
            if descriptor >= 0:
                os.close(descriptor)
        if self.litter is not None:
            _LOG.warning("The temporary directory of a tool could not be removed: %s.", self.litter)

    async def _end(self, process: subprocess.Popen[bytes]) -> None:
        """Ends a supervisor and everything below it."""
        if self._instructed:
            self._tell(b"T")
        else:
            # It may have read half of its instructions, and a letter would count as more of them.
            with contextlib.suppress(OSError):
                self._socket().shutdown(socket.SHUT_WR)
        process.send_signal(signal.SIGCONT)  # whoever may have stopped it
        with anyio.move_on_after(self._job.grace + _MARGIN):
            await self._listen()
        if self._hung_up:
            return
        _LOG.error("The supervisor of a tool could not end it in time; what is below it is killed from outside.")
        for _ in range(50):
            if not kill_all(process.pid):
                process.kill()
                self._hung_up = True
                return
            await anyio.sleep(0.005)
        # Something below cannot be killed (it waits inside the kernel, or runs as another user). The supervisor goes on
        # trying; without it, nobody would.
        _LOG.error("A tool left processes that cannot be ended: %s.", ", ".join(self.immortal or ["?"]))
        self.immortal = self.immortal or []
        threading.Thread(target=process.wait, name="harness waits for a supervisor", daemon=True).start()

    async def _clear_up(self) -> None:
        """After a supervisor that was killed: what was below it is now anybody's, but still bears its marks."""
        text, found, empty = self._scratch.encode(), [], 0
        for _ in range(_SEARCHES):
            found = kill_marked(self._mark, text)
            # One that was being forked may be missed once.
            empty = 0 if found else empty + 1
            if empty == _EMPTY_SEARCHES:
                break
            await anyio.sleep(0.005)
        self.survivors = [name_of(pid) for pid in found]
        if found:
            _LOG.error("A tool killed its supervisor and left processes: %s.", ", ".join(self.survivors))
        shutil.rmtree(self._scratch, ignore_errors=True)


def _with_scratch(sandbox: Mapping[str, Any] | None, scratch: str) -> dict[str, Any] | None:
    if sandbox is None:
        return None
    rules = {name: list(value) if isinstance(value, tuple) else value for name, value in sandbox.items()}
    return {**rules, "write": [*rules["write"], scratch], "metadata": [*rules["metadata"], scratch]}
