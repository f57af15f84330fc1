"""A process that becomes a worker: what it does before the lockdown, and after.

A zygote does the first half once and the second in every child. Where there is no fork to build on, each worker is a
process that was started ahead of need, does both, and serves.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Collection
from typing import Any, NoReturn

from harness.runtime import wire
from harness.runtime.layers import missing
from harness.runtime.lockdown import Lockdown
from harness.runtime.worker import VM, Rehearsal, serve

__all__ = ["be_worker", "main", "prepare"]


def main(channel_fd: int, config: dict[str, Any]) -> None:
    """Be one worker, from its start to its end.

    ``config`` holds ``host`` (its pid), ``stack_bytes``, ``rehearsal`` (bodies of frames, the first a START, that the VM
    is led through), ``lockdown`` (what `Lockdown` is made with) and ``required`` (serve only behind the full set of
    layers).
    """
    with socket.socket(fileno=os.dup(channel_fd)) as channel:
        os.close(channel_fd)
        try:
            vm, lockdown = prepare(config, parent=config["host"])
        except Exception as error:  # noqa: BLE001 - whatever it is, the host must hear of it before this process ends
            _give_up(channel, error)
            os._exit(1)
        be_worker(channel, vm, lockdown, config)


def prepare(config: dict[str, Any], *, parent: int) -> tuple[VM, Lockdown]:
    """What needs no script and costs time: a hardened VM that everything was done in once, and the first locks.

    ``parent`` is the process whose child will be the worker.
    """
    _reset_signals()
    time.tzset()
    vm = VM(stack_bytes=config["stack_bytes"])
    # What the first script would build, look up and link for the first time is then there before it comes.
    serve(Rehearsal(config["rehearsal"]), vm, protections={}, cpu_timer=False)
    return vm, Lockdown(parent=parent, **config["lockdown"])


def _reset_signals() -> None:
    """A host may block or ignore signals, and its children inherit that: then no timer could end a worker."""
    # Python itself ignores these two, so that a write fails instead.
    own = {getattr(signal, "SIGPIPE", None), getattr(signal, "SIGXFSZ", None)}
    for number in signal.valid_signals() - own:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def be_worker(channel: socket.socket, vm: VM, lockdown: Lockdown, config: dict[str, Any]) -> NoReturn:
    """Take from this process all that a worker does not need, then serve until the host closes its end."""
    status = 1
    try:
        protections = lockdown.finish(keep=channel.fileno())
        lacking = missing(protections)
        if config["required"] and lacking:
            _refuse(channel, protections, lacking)
        else:
            serve(channel, vm, protections=protections, cpu_timer=True)
        status = 0
    except (ConnectionError, BrokenPipeError):
        status = 0
    except BaseException as error:  # noqa: BLE001 - nothing else would report it
        _give_up(channel, error)
    finally:
        os._exit(status)


def _refuse(channel: socket.socket, protections: dict[str, str], lacking: Collection[str]) -> None:
    """Answer whatever is asked first with what is missing, and look at none of it."""
    channel.sendall(wire.pack_frame(wire.READY, json.dumps({"protections": protections}).encode()))
    if channel.recv(1):
        _give_up(channel, RuntimeError(f"hardening is required, and these layers are not active: {', '.join(lacking)}"))
    # Until the host has read that.
    while channel.recv(64 * 1024):
        pass


def _give_up(channel: socket.socket, error: BaseException) -> None:
    text = f"{type(error).__name__}: {error}"[:2000]
    channel.sendall(wire.pack_frame(wire.FAILED, json.dumps({"reason": text}).encode()))
