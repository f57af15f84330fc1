"""The layers of a worker's lockdown by name: what each is for, and what to do where one is missing.

The worker puts them on (:mod:`harness.runtime.lockdown`), the host reads what it says of them. Only the standard library
is imported here: the worker's process reads this file too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["ACTIVE", "LAYERS", "Layer", "missing"]

ACTIVE = "active"

_LINUX = "run on Linux, in a container runtime that allows prctl(2)"
_RESOURCE = "run on Linux, and do not raise or forbid setrlimit for this process"


class Layer(NamedTuple):
    """One thing that is taken from a worker."""

    purpose: str
    """What holds while it is active."""
    remedy: str
    """What makes it active on a machine where it is not."""


LAYERS = {
    "descriptors": Layer("no file descriptor is open but the bridge", "run on a platform with file descriptors"),
    "environment": Layer("no environment variable is in its memory", "run on Linux with /proc mounted"),
    "no_new_privileges": Layer("no program it might start could gain privileges", _LINUX),
    "not_dumpable": Layer("no other process of the same user can read its memory, and no core file shows it", _LINUX),
    "capabilities": Layer(
        "it has none of the rights that root has",
        "use Linux, and a container runtime that allows capset(2); or run as a user who has no capabilities",
    ),
    "ends_with_parent": Layer("the kernel ends it when the process that started it ends", _LINUX),
    "limit_address_space": Layer("the kernel bounds all of its memory, mapped or used", _RESOURCE),
    "limit_data": Layer("the kernel bounds the memory it can write to", _RESOURCE),
    "limit_cpu": Layer("the kernel ends it when its processor time is used up, whatever it does", _RESOURCE),
    "limit_files": Layer("it can open no further file descriptor", _RESOURCE),
    "limit_processes": Layer("it can start no process and no thread (this one does not bind root)", _RESOURCE),
    "limit_core": Layer("it leaves no core file", _RESOURCE),
    "limit_file_size": Layer("it can write to no file", _RESOURCE),
    "landlock": Layer(
        "no file can be opened, no TCP socket connected or bound",
        "use a Linux kernel from 5.13 on with landlock among its security modules (lsm=landlock,…), "
        "and a container runtime that allows its system calls",
    ),
    "seccomp": Layer(
        "every system call outside a short list ends it",
        "use Linux on x86-64 or aarch64 with CONFIG_SECCOMP_FILTER, and a container runtime that allows seccomp(2)",
    ),
}
"""Every layer there is. Together they are the full set."""


def missing(report: Mapping[str, str]) -> dict[str, str]:
    """The layers that are not active by a worker's own report, each with why not."""
    states = {name: report.get(name, "not reported") for name in LAYERS}
    return {name: state for name, state in states.items() if state != ACTIVE}
