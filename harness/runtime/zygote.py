"""The process that forks workers: hardened once, forked for every execution.

It has one thread, and of the host's nothing but a control socket: no environment, no other descriptor, no memory, since
it is a program of its own. It ends when that socket does, or when the host's process does, whoever else holds the socket by then; not by a parent-death signal, which
would come when the *thread* that started it ends. Before it ends it ends its workers.

Its messages are described in :mod:`harness.runtime.wire`.
"""

from __future__ import annotations

import ctypes
import gc
import os
import select
import signal
import socket
import struct
from collections.abc import Callable
from typing import Any, NoReturn

from harness.runtime import wire
from harness.runtime.solo import be_worker, prepare

__all__ = ["main"]


def main(control_fd: int, config: dict[str, Any]) -> None:
    """Serve until the control socket closes or the host ends. ``config`` is described in :mod:`harness.runtime.solo`."""
    control = socket.socket(fileno=os.dup(control_fd))
    os.close(control_fd)
    host = os.pidfd_open(config["host"])
    if os.getppid() != config["host"]:
        os._exit(0)
    try:
        vm, lockdown = prepare(config, parent=os.getpid())
    except Exception as error:  # noqa: BLE001 - whatever it is, the host must hear of it before this process ends
        control.send(wire.FAILURE + f"{type(error).__name__}: {error}".encode()[:60_000])
        os._exit(1)
    # Nothing is collected from here on, so that a child touches, and so copies, as few pages as it can.
    gc.collect()
    gc.freeze()
    gc.disable()
    _give_back_free_memory()
    control.send(wire.UP)
    _Zygote(control, host, lambda channel: be_worker(channel, vm, lockdown, config)).run()


def _give_back_free_memory() -> None:
    """What the C library holds free would be mapped into every child."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


class _Zygote:
    def __init__(self, control: socket.socket, host: int, be_worker: Callable[[socket.socket], NoReturn]) -> None:
        self._control = control
        self._host = host
        self._be_worker = be_worker
        self._workers: dict[int, int] = {}  # pidfd -> pid
        self._watch = select.poll()
        self._watch.register(control, select.POLLIN)
        self._watch.register(host, select.POLLIN)

    def run(self) -> None:
        control = self._control.fileno()
        while True:
            for descriptor, _ in self._watch.poll():
                if descriptor == control:
                    if not self._control.recv(16):
                        self._end()
                    self._fork()
                elif descriptor == self._host:
                    self._end()
                else:
                    self._reap(descriptor)

    def _fork(self) -> None:
        try:
            ours, theirs = socket.socketpair()
            with ours, theirs:
                pid = os.fork()
                if pid == 0:
                    self._be_worker(theirs)
                self._announce(pid, ours)
        except OSError as error:
            self._tell(wire.FAILURE + f"it cannot start another process: {error.strerror}".encode())

    def _announce(self, pid: int, connection: socket.socket) -> None:
        try:
            # Nobody else reaps, so the pid is still this child's.
            pidfd = os.pidfd_open(pid)
        except OSError:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise
        self._workers[pidfd] = pid
        self._watch.register(pidfd, select.POLLIN)
        try:
            socket.send_fds(self._control, [wire.WORKER + struct.pack(">I", pid)], [connection.fileno(), pidfd])
        except OSError:  # the host has gone
            self._end()

    def _reap(self, pidfd: int) -> None:
        self._watch.unregister(pidfd)
        pid = self._workers.pop(pidfd)
        _, status = os.waitpid(pid, 0)
        os.close(pidfd)
        self._tell(wire.ENDED + wire.STATUS.pack(pid, os.waitstatus_to_exitcode(status)))

    def _tell(self, message: bytes) -> None:
        try:
            self._control.send(message)
        except OSError:  # the host has gone
            self._end()

    def _end(self) -> None:
        for pidfd in self._workers:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        for pid in self._workers.values():
            os.waitpid(pid, 0)
        os._exit(0)
