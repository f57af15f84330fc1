"""Starting an interpreter that has nothing of the host's: what it is given, and what it is not.

It is a new program, so no memory of the host's is in it. It inherits one descriptor, gets a short environment that
holds nothing of the host's, and reads what it has to know from a pipe, since anybody may read a command line.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import harness
from harness.errors import HarnessInternalError
from harness.limits import MIB, Limits
from harness.runtime.rehearsal import rehearsal

__all__ = ["ENVIRONMENT", "spawn", "worker_config"]

_BOOT = (
    "import sys,json;c=json.load(sys.stdin);sys.path+=c['path'];"
    "from harness.runtime.{module} import main;main(int(sys.argv[1]),c)"
)
ENVIRONMENT = {
    # Math results would differ between processors whose C library picks fused instructions.
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-FMA,-FMA4,-AVX2",
    # Otherwise every worker would link anew what its zygote has not called yet.
    "LD_BIND_NOW": "1",
    "TZ": "UTC",
    "LC_ALL": "C.UTF-8",
}
"""What the new interpreter starts with, and forgets before any script comes."""

# The interpreter and the engine themselves map about 30 MiB, of which they may write to 20. A frame exists several times
# while it is read or written, as bytes, as text and as the VM's value.
_COPIES_OF_A_FRAME = 8
_ADDRESS_SPACE_HEADROOM = 256 * MIB
_DATA_HEADROOM = 192 * MIB
# What a script may compute lies within both of its clocks, but the kernel counts whole seconds, and starting counts too.
_CPU_HEADROOM_S = 2


def worker_config(limits: Limits, *, runs: int, required: bool) -> dict[str, Any]:
    """What a worker is told before it knows whom it will serve, which is all it can be told before the lockdown.

    ``runs`` is how many executions it may serve; with ``required`` it refuses to without the full set of layers.
    """
    frames = _COPIES_OF_A_FRAME * limits.frame_bytes
    return {
        "host": os.getpid(),
        "path": _import_path(),
        "rehearsal": rehearsal(),
        "required": required,
        "stack_bytes": limits.stack_bytes,
        "lockdown": {
            "address_space": limits.memory_bytes + frames + _ADDRESS_SPACE_HEADROOM,
            "data": limits.memory_bytes + frames + _DATA_HEADROOM,
            "cpu_seconds": runs * (cpu_seconds(limits) + _CPU_HEADROOM_S),
            "without": [],
        },
    }


def cpu_seconds(limits: Limits) -> int:
    """Whole seconds of processor time that one execution may come to, by the more generous of its clocks."""
    return int(max(limits.cpu_time, limits.wall_time)) + 1


def spawn(module: str, descriptor: int, config: Mapping[str, Any]) -> subprocess.Popen[bytes]:
    """Start a process that runs ``main(descriptor, config)`` of a module of this package. Takes a millisecond or two.

    Raises ``OSError`` if the operating system lets no process start.
    """
    process = subprocess.Popen(  # noqa: S603 - this interpreter, with arguments of our own
        [sys.executable, "-I", "-S", "-c", _BOOT.format(module=module), str(descriptor)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(descriptor,),
        env=ENVIRONMENT,
        cwd="/",
        start_new_session=True,
    )
    assert process.stdin is not None  # noqa: S101 - asked for above
    try:
        # A few thousand bytes, which a pipe takes at once.
        with process.stdin as pipe:
            pipe.write(json.dumps(config).encode())
    except OSError:
        process.send_signal(signal.SIGKILL)
        process.wait()
        raise
    return process


def _import_path() -> list[str]:
    """Where this package and the engine are found, and nothing else of the host's path."""
    engine = importlib.util.find_spec("_quickjs")
    if engine is None or engine.origin is None:
        raise HarnessInternalError("The engine is not installed: `pip install quickjs-ng`.")
    package = Path(harness.__file__ or "").resolve().parent.parent
    return list(dict.fromkeys([str(package), str(Path(engine.origin).resolve().parent)]))
