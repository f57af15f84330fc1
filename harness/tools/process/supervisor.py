"""The process that stands between the host and one command, so that nothing of the command is ever left over.

It is a program of its own, which `harness.tools.process.host` starts for each call and no module imports. It has one
thread. Whatever the command starts stays below it (it is a *subreaper*), even what forks twice and makes a session of
its own; and it ends all of that, whether the command ends, the host asks for it, or the host is gone.

Standard input, output and error are the command's and lead straight to the host; the supervisor lets go of its own copies.
On the control socket the host sends the job (four bytes of length, then `marshal`, which takes no import; the host is
trusted) and later single letters: ``T`` (end it: TERM, a grace, KILL) or ``K`` (KILL at once). The end of the socket is
a ``K``. The supervisor answers with lines, each a Python literal:
``started`` (with the protections, the state of the guard, and whether there is a mark), ``failed`` (stage, errno, text), ``ended`` (status, seconds of CPU), ``left`` (how many,
names), ``crowd`` (how many), ``immortal`` (names), ``litter`` (why), and at last ``done``.

Where there is no subreaper (macOS), only the command's process group can be ended.
"""

from __future__ import annotations

import ctypes
import errno
import marshal
import os
import select
import signal
import sys
import time

from harness.tools.process.confine import ACTIVE, ALLOWED, limit, sandbox
from harness.tools.process.guard import guard, put_mark
from harness.tools.process.metadata import Metadata
from harness.tools.process.tree import children, descendants, kill_all, name_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

__all__ = ["main"]

_SOL_SOCKET, _SCM_RIGHTS = 1, 1
_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_LINUX = sys.platform == "linux"
_LOOK_EVERY = 0.025
"""Seconds between two looks at how many processes there are."""
_SWEEP_EVERY = 0.005
"""Seconds between two rounds of killing."""
_ROUNDS = 20
"""Rounds of killing in a row, as long as there is somebody to kill."""
_PATIENCE = 3.0
"""Seconds after which the host is told what cannot be killed. It is not given up: then it would be nobody's."""
_NAMED = 5
"""Processes that are named in a report."""


def main(control: int, host: int) -> None:
    """Serve one call. ``control`` is the socket's descriptor, ``host`` the pid of the process that started this one."""
    for ignored in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
        # Whatever finds its way here, from a descriptor's owner for instance, must not end it.
        signal.signal(ignored, signal.SIG_IGN)
    os.set_inheritable(control, False)
    if _LINUX:
        libc = ctypes.CDLL(None)
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        # The command runs as the same user, and must not be able to take this process over.
        libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    if os.getppid() != host:
        os._exit(0)
    job = _receive(control)
    job["marked"] = put_mark(job["mark"])
    supervisor = _Supervisor(control, host, job)
    try:
        os.mkdir(job["scratch"], 0o700)
        supervisor.run()
    except Exception as error:  # noqa: BLE001 - whatever it is, what runs below must be ended by this process or by nobody
        number, text = getattr(error, "errno", None) or 0, getattr(error, "strerror", None) or repr(error)
        supervisor.say("failed", {"stage": "supervise", "errno": number, "text": text})
        supervisor.kill_until_gone()
    _remove(job["scratch"], supervisor)
    supervisor.say("done")
    os._exit(0)


def _receive(channel: int) -> dict[str, Any]:
    def read(size: int) -> bytes:
        parts = b""
        while len(parts) < size:
            part = os.read(channel, size - len(parts))
            if not part:
                os._exit(0)  # the host gave up before it began
            parts += part
        return parts

    job: dict[str, Any] = marshal.loads(read(int.from_bytes(read(4), "big")))  # noqa: S302 - from the host, by a socket of its own
    return job


class _Supervisor:
    def __init__(self, channel: int, host: int, job: dict[str, Any]) -> None:
        self._channel = channel
        self._job = job
        self._command = 0
        self._over = self._reaped = False
        self._report = self._listener = -1
        self._asks: Any = None
        self._metadata: Metadata | None = None
        self._ending = ""  # "", then "lingering" or "terminating", then "killing"
        self._until = 0.0
        self._wake, wake = os.pipe()
        for end in (self._wake, wake):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        self._watch = select.poll()
        self._watch.register(self._wake, select.POLLIN)
        self._watch.register(channel, select.POLLIN)
        self._host = os.pidfd_open(host) if _LINUX else -1
        if self._host >= 0:
            # Whoever else holds the other end of the socket by then.
            self._watch.register(self._host, select.POLLIN)

    def say(self, *line: Any) -> None:
        """One line to the host. If it is gone, nobody wants to know."""
        rest = repr(line).encode("ascii", "backslashreplace") + b"\n"
        try:
            while rest:
                rest = rest[os.write(self._channel, rest) :]
        except OSError:
            return

    def run(self) -> None:
        """Start the command, and return when nothing of it is left."""
        self._start()
        while self._reap():
            self._act(time.monotonic())
            for descriptor, event in self._watch.poll(self._pause()):
                if descriptor == self._wake:
                    os.read(self._wake, 4096)
                elif descriptor == self._host:
                    self._end("killing")
                elif descriptor == self._report:
                    self._read_report()
                elif self._asks is not None and descriptor == self._asks.fileno():
                    self._listen(self._asks)
                elif descriptor == self._listener:
                    self._answer(event)
                else:
                    self._obey()

    def kill_until_gone(self) -> None:
        """End whatever there is, whatever goes wrong meanwhile."""
        self._end("killing")
        left = True
        while left:
            try:
                left = self._reap()
                self._kill(time.monotonic())
            except Exception as error:  # noqa: BLE001 - as in main
                self.say("failed", {"stage": "supervise", "errno": 0, "text": repr(error)})
            time.sleep(_SWEEP_EVERY)

    def _start(self) -> None:
        self._report, report = os.pipe()
        outside, inside = _sockets() if self._job["sandbox"] is not None else (None, None)
        self._watch.register(self._report, select.POLLIN)
        self._command = os.fork()
        if self._command == 0:
            _become_command(self._job, report, inside)
        os.close(report)
        if outside is not None and inside is not None:
            inside.close()
            self._asks = outside
            self._watch.register(outside, select.POLLIN)
        # Otherwise the host's ends would stay open after the command let go of them.
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nothing, descriptor)
        os.close(nothing)

    def _listen(self, asks: Any) -> None:
        """Take over from the command what the kernel asks by, if there is anything of the kind."""
        _, extra, _, _ = asks.recvmsg(1, 64)
        self._watch.unregister(asks)
        asks.close()
        self._asks = None
        if extra:
            self._listener = int.from_bytes(extra[0][2], sys.byteorder)
            rules = self._job["sandbox"]
            self._metadata = Metadata(self._listener, rules["metadata"])
            self._watch.register(self._listener, select.POLLIN)

    def _answer(self, event: int) -> None:
        if event & select.POLLIN and self._metadata is not None:
            self._metadata.answer_one()
        else:
            # Nobody is left who could ask.
            self._watch.unregister(self._listener)
            os.close(self._listener)
            self._listener = -1

    def _obey(self) -> None:
        try:
            letters = os.read(self._channel, 16)
        except ConnectionError:
            letters = b""
        if b"K" in letters or not letters or self._report >= 0:
            # What has not become the command yet has nothing to put in order, and may still ignore TERM.
            self._end("killing")
        elif self._ending in ("", "lingering"):
            self._end("terminating", self._job["grace"])
            kill_all(os.getpid(), signal.SIGTERM)
            if not _LINUX:
                self._signal_group(signal.SIGTERM)
        if not letters:
            self._watch.unregister(self._channel)

    def _end(self, how: str, seconds: float = _PATIENCE) -> None:
        if self._ending != "killing":
            self._ending, self._until = how, time.monotonic() + seconds

    def _reap(self) -> bool:
        """Takes in what has ended. Whether anything is left."""
        if self._reaped or not self._command or not _LINUX:
            return self._reap_any()
        # The command itself is reaped last: until then nobody else can get the number of its process group, and the
        # group can be ended by one signal, which no fork escapes.
        others = [pid for pid in children(os.getpid()) if pid != self._command]
        others = [pid for pid in others if os.waitpid(pid, os.WNOHANG)[0] == 0]
        if not self._over and os.waitid(os.P_PID, self._command, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            self._over = True
            if not self._ending:
                self._end("lingering", self._job["linger"])
        if others or not self._over:
            return True
        return self._reap_any()

    def _reap_any(self) -> bool:
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self._command:
                self._reaped = self._over = True
                self._read_report()
                self.say("ended", os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime)
                if not self._ending:
                    self._end("lingering", self._job["linger"])

    def _read_report(self) -> None:
        """What the child said before it became the command; nothing if that is still to come."""
        if self._report < 0:
            return
        text = b""
        while part := os.read(self._report, 65_536):
            text += part
        self._watch.unregister(self._report)
        os.close(self._report)
        self._report = -1
        kind, details = "failed", {"stage": "start", "errno": 0, "text": "it died before it could run"}
        while text:
            # The later word counts: a failed exec comes after everything that went well.
            size = int.from_bytes(text[:4], "big")
            kind, details = marshal.loads(text[4 : 4 + size])  # noqa: S302 - from a fork of this process
            text = text[4 + size :]
        self.say(kind, details)

    def _act(self, now: float) -> None:
        if self._ending != "killing" and self._job["processes"] is not None:
            count = len(descendants(os.getpid()))
            if count > self._job["processes"]:
                self._end("killing")
                self.say("crowd", count)
        if self._ending == "lingering" and now >= self._until:
            left = descendants(os.getpid())
            self.say("left", len(left), [name_of(pid) for pid in left[:_NAMED]])
            self._end("killing")
        elif self._ending == "terminating" and now >= self._until:
            self._end("killing")
        if self._ending == "killing":
            self._kill(now)

    def _kill(self, now: float) -> None:
        # The group first, in which nearly everything is; then what has left it.
        self._signal_group(signal.SIGKILL)
        for _ in range(_ROUNDS):
            if not kill_all(os.getpid()):
                break
        if now >= self._until:
            # It is still this process that they are below; the host need not wait for it.
            self.say("immortal", [name_of(pid) for pid in descendants(os.getpid())[:_NAMED]])
            self._until = now + 3600

    def _pause(self) -> float:
        """Milliseconds to wait for something to happen."""
        if self._ending == "killing":
            return _SWEEP_EVERY * 1000
        look = -1 if self._job["processes"] is None else _LOOK_EVERY * 1000
        if not self._ending:
            return look
        rest = max(0.0, self._until - time.monotonic()) * 1000 + 1
        return rest if look < 0 else min(rest, look)

    def _signal_group(self, number: int) -> None:
        # A group without its leader may have given its number back.
        if self._command > 0 and not self._reaped:
            try:
                os.killpg(self._command, number)
            except OSError:
                return


def _sockets() -> tuple[Any, Any]:
    import _socket  # noqa: PLC0415 - only for the sandbox; without what `socket` adds in Python

    outside, inside = _socket.socketpair()
    os.set_inheritable(inside.fileno(), False)
    return outside, inside


def _become_command(job: dict[str, Any], report: int, asks: Any) -> NoReturn:
    stage = "start"
    try:
        os.setsid()
        if _LINUX:
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        signal.set_wakeup_fd(-1)
        for number in range(1, signal.NSIG):
            # What is ignored would stay ignored in the command. Some signals are nobody's to set.
            try:
                signal.signal(number, signal.SIG_DFL)
            except (OSError, ValueError):
                continue
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        stage = "cwd"
        os.chdir(job["cwd"])
        stage = "limits"
        limit(job["limits"])
        guarded = guard(os.getppid()) if job["contained"] else ALLOWED
        protections: dict[str, str] = {}
        if job["sandbox"] is not None:
            stage = "sandbox"
            protections = _sandboxed(job["sandbox"], asks)
        stage = "exec"
        _tell(report, "started", {"protections": protections, "guard": guarded, "marked": job["marked"]})
        os.execve(job["program"], job["argv"], job["env"])  # noqa: S606 - there is to be no shell
    except BaseException as error:  # noqa: BLE001 - nothing else would report it
        number = getattr(error, "errno", None) or 0
        text = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        _tell(report, "failed", {"stage": stage, "errno": number, "text": text})
    finally:
        os._exit(127)


def _sandboxed(rules: dict[str, Any], asks: Any) -> dict[str, str]:
    protections, listener = sandbox(rules)
    missing = [f"{name}: {protections[name]}" for name in rules["required"] if protections[name] != ACTIVE]
    if missing:
        raise OSError(errno.ENOTSUP, "; ".join(missing))
    if listener > 0:
        asks.sendmsg([b"x"], [(_SOL_SOCKET, _SCM_RIGHTS, listener.to_bytes(4, sys.byteorder))])
    return protections


def _tell(report: int, kind: str, details: dict[str, Any]) -> None:
    message = marshal.dumps((kind, details))
    os.write(report, len(message).to_bytes(4, "big") + message)


def _remove(scratch: str, supervisor: _Supervisor) -> None:
    """The command's temporary directory, with whatever is in it."""
    try:
        os.rmdir(scratch)
    except FileNotFoundError:
        return
    except OSError:
        import shutil  # noqa: PLC0415 - costs 8 ms

        try:
            os.chmod(scratch, 0o700)
            for place, directories, _ in os.walk(scratch):
                for name in directories:
                    inner = os.path.join(place, name)
                    if not os.path.islink(inner):
                        os.chmod(inner, 0o700)
            shutil.rmtree(scratch)
        except OSError as error:
            supervisor.say("litter", error.strerror or str(error))
