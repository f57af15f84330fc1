"""What a command may use, and what it may reach in the sandbox."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.errors import UsageError

__all__ = ["ProcessLimits", "ProcessSandbox", "merge_process_limits"]

Layer = Literal["no_new_privileges", "files", "network", "system_calls", "signals"]

Bytes = Annotated[int, Field(strict=True, ge=4096, le=1 << 60)]


class ProcessLimits(BaseModel):
    """What a command may use. Frozen. None leaves a limit as it is for the host's own process."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    memory_bytes: Bytes | None = None
    """Address space of each process (``RLIMIT_AS``). macOS does not enforce it."""
    cpu_time: Annotated[int, Field(strict=True, ge=1, le=7 * 24 * 3600)] | None = None
    """Seconds of processor time of each process (``RLIMIT_CPU``); SIGXCPU ends what uses more."""
    file_bytes: Annotated[int, Field(strict=True, ge=0, le=1 << 60)] | None = None
    """Size of each file it writes (``RLIMIT_FSIZE``)."""
    open_files: Annotated[int, Field(strict=True, ge=4, le=1 << 20)] | None = None
    """Open descriptors of each process (``RLIMIT_NOFILE``)."""
    processes: Annotated[int, Field(strict=True, ge=1, le=100_000)] | None = 256
    """Processes of one call at the same time. They are counted 40 times a second, and when there are more, all are
    killed. Linux only."""
    artifacts: Annotated[int, Field(strict=True, ge=0, le=1_000_000)] = 1_000
    """Files that one result may name."""
    artifact_bytes: Annotated[int, Field(strict=True, ge=0, le=1 << 60)] = 1 << 30
    """Size of all files that one result names, together; they are read to be hashed."""

    def resources(self) -> dict[str, int]:
        """Those that the operating system keeps, by their names there. No command leaves a core dump."""
        values = {"AS": self.memory_bytes, "CPU": self.cpu_time, "FSIZE": self.file_bytes, "NOFILE": self.open_files}
        return {"CORE": 0} | {name: value for name, value in values.items() if value is not None}


class ProcessSandbox(BaseModel):
    """What a command may reach, when it runs in the sandbox. Frozen. Linux only.

    It may read and execute the system's programs and libraries, its own program and its surroundings, and the files
    named in the command; read and write its working directory and its temporary directory, and change modes, owners and
    times there; and nothing else.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    read: tuple[str, ...] = ()
    """Further files and directories that may be read and executed."""
    write: tuple[str, ...] = ()
    """Further files and directories that may be read, executed and written."""
    network: bool = False
    """Whether sockets can be made; the network cannot be allowed in part."""
    new_processes: bool = True
    """Whether it may start processes (threads it may)."""
    required: tuple[Layer, ...] = ("no_new_privileges", "files", "network", "system_calls")
    """Layers without which no call is made: ``no_new_privileges``, ``files``, ``network``, ``system_calls``, and
    ``signals`` (no signal to a process outside; needs Linux 6.12, so it is not required by default)."""


def merge_process_limits(default: ProcessLimits, given: ProcessLimits | Mapping[str, Any] | None) -> ProcessLimits:
    """``default`` with the fields that ``given`` sets. Raises `UsageError` that names what is unknown or out of range."""
    if given is None:
        return default
    wanted = given.model_dump(include=given.model_fields_set) if isinstance(given, ProcessLimits) else dict(given)
    try:
        return ProcessLimits.model_validate({**default.model_dump(), **wanted})
    except ValidationError as error:
        problems = "; ".join(f"{item['loc'][0]}: {item['msg']}" for item in error.errors(include_url=False))
        raise UsageError(f"limits of a subprocess tool: {problems}.") from None
