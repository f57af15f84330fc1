"""A tool's command before it runs: how it was set up, its environment, where its program lies, what the sandbox leaves it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from harness.errors import UsageError
from harness.tools.process.artifacts import parse_path
from harness.tools.process.document import StdoutMode
from harness.tools.process.host import Job
from harness.tools.process.program import find_program
from harness.tools.process.settings import ProcessLimits, ProcessSandbox

__all__ = ["ENVIRONMENT", "LINGER", "Command", "environment"]

ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ")
"""The host's variables that every command gets, if they are set. Nothing else of the host's environment is passed on."""
LINGER = 0.25
"""Seconds that processes which a command leaves behind have to end by themselves, as helpers of interpreters do."""
_MAX_OUTPUT = 1 << 30
_MAX_GRACE = 60

# What interpreters and the C library read. Of /etc only what names no secret; nothing of /proc, which shows the
# environment of every process of the same user.
_SYSTEM = (
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/gnu/store",
    "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/ld.so.preload", "/etc/localtime", "/etc/timezone",
    "/etc/alternatives", "/etc/ssl/certs", "/etc/ssl/openssl.cnf", "/etc/pki/tls", "/etc/ca-certificates",
    "/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/hosts", "/etc/host.conf", "/etc/resolv.conf",
    "/etc/services", "/etc/protocols", "/etc/mime.types", "/etc/os-release", "/etc/inputrc", "/etc/terminfo",
    "/etc/fonts", "/sys/devices/system/cpu", "/sys/fs/cgroup",
)  # fmt: skip
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_SURROUNDINGS = ("lib", "lib64", "libexec", "share", "pyvenv.cfg")


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command and everything that is set about it; the fields are those of `harness.tools.subprocess.SubprocessTool`."""

    argv: tuple[str, ...]
    cwd: str
    env: Mapping[str, str | None]
    limits: ProcessLimits
    sandbox: ProcessSandbox | None
    artifacts: tuple[str, ...]
    max_stdout: int
    max_stderr: int
    stdout: StdoutMode
    seed_field: str | None
    seed: int | None
    verify_determinism: bool
    leftovers: Literal["fail", "kill"]
    contained: bool
    grace: float

    def check(self, name: str) -> None:
        """Raises `UsageError` for what cannot be. ``name`` is that of the tool."""
        for problem in self._problems():
            raise UsageError(f"Tool {name!r}: {problem}.")

    def _problems(self) -> Iterator[str]:
        if any("\0" in text for text in (*self.argv, self.cwd, *self.env, *filter(None, self.env.values()))):
            yield "its command, cwd and env cannot hold NUL characters"
        for variable in self.env:
            if not variable or "=" in variable:
                yield f"{variable!r} in env is no name of a variable"
        for pattern in self.artifacts:
            parse_path(pattern)
        if not (0 < self.max_stdout <= _MAX_OUTPUT and 0 < self.max_stderr <= _MAX_OUTPUT):
            yield "max_stdout and max_stderr must be from 1 byte to 1 GiB"
        if self.stdout not in ("document", "last-line"):
            yield f"stdout is 'document' or 'last-line', not {self.stdout!r}"
        if self.leftovers not in ("fail", "kill"):
            yield f"leftovers is 'fail' or 'kill', not {self.leftovers!r}"
        if not (math.isfinite(self.grace) and 0 <= self.grace <= _MAX_GRACE):
            yield f"grace must be from 0 to {_MAX_GRACE} seconds"
        if self.seed is not None and self.seed_field is None:
            yield "it has no seed_field=, so it can be given no seed"

    def job(self) -> Job:
        """Everything about a run that can be found out before it. Raises ``OSError`` whose text says what is wrong."""
        if os.name != "posix":
            raise OSError("subprocess tools run on POSIX systems only")
        if not Path(self.cwd).is_dir():
            raise FileNotFoundError("its working directory does not exist; make it, or give another cwd=")
        env = environment(self.env)
        program = find_program(self.argv[0], path=env.get("PATH"), cwd=self.cwd)
        return Job(
            program=program,
            argv=self.argv,
            cwd=self.cwd,
            env=env,
            max_stdout=self.max_stdout,
            max_stderr=self.max_stderr,
            grace=self.grace,
            linger=LINGER if self.leftovers == "fail" else 0.0,
            limits=self.limits.resources(),
            processes=self.limits.processes,
            contained=self.contained,
            sandbox=None if self.sandbox is None else _rules(self.sandbox, program, self.argv, self.cwd),
        )


def _rules(sandbox: ProcessSandbox, program: str, argv: Sequence[str], cwd: str) -> dict[str, Any]:
    """The rules as `harness.tools.process.confine.sandbox` takes them, with ``required``."""
    read = [*_SYSTEM, *sandbox.read]
    for place in (Path(program), Path(program).resolve()):
        directory = place.parent
        read += [str(place), *(str(directory.parent / name) for name in _SURROUNDINGS)]
        if directory.name in ("bin", "sbin"):
            read.append(str(directory))
    # An argument may be too long for a path, or anything else; os.path then says no where pathlib raises.
    read += [str(Path(cwd, argument)) for argument in argv[1:] if os.path.isfile(Path(cwd, argument))]  # noqa: PTH113
    required = [name for name in sandbox.required if not (name == "network" and sandbox.network)]
    return {
        "read": tuple(read),
        "write": (cwd, *_DEVICES, *sandbox.write),
        "metadata": (cwd, *sandbox.write),
        "network": sandbox.network,
        "new_processes": sandbox.new_processes,
        "required": tuple(required),
    }


def environment(extra: Mapping[str, str | None]) -> dict[str, str]:
    """A command's environment: the allow-list, and ``extra``, in which None stands for the host's own value."""
    names = {**dict.fromkeys(ENVIRONMENT), **extra}
    values = {name: os.environ.get(name) if value is None else value for name, value in names.items()}
    return {name: value for name, value in values.items() if value is not None}
