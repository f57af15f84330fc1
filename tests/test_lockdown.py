"""What each layer of the lockdown takes away, shown by native attempts: with all layers, with that one alone, without it.

``tests/lockdown_probe.py`` makes the attempts, in processes that are locked down as workers are.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.runtime.layers import ACTIVE, LAYERS

ROOT = Path(__file__).parent.parent
PROBE = Path(__file__).with_name("lockdown_probe.py")
LINUX = sys.platform == "linux"
pytestmark = pytest.mark.skipif(not LINUX, reason="the layers are those of Linux")

# Attempt -> the layers of which each, alone, denies it.
DENIED_BY: dict[str, set[str]] = {
    "open a file": {"seccomp", "landlock", "limit_files"},
    "create a file": {"seccomp", "landlock", "limit_files"},
    "write to a file": {"seccomp", "landlock", "limit_files", "limit_file_size"},
    "list a directory": {"seccomp", "landlock", "limit_files"},
    "stat a file": {"seccomp"},
    "remove a file": {"seccomp", "landlock"},
    "truncate a file": {"seccomp", "landlock"},
    "make a directory": {"seccomp", "landlock"},
    "make a socket": {"seccomp", "limit_files"},
    "connect over TCP": {"seccomp", "limit_files", "landlock"},
    "listen on TCP": {"seccomp", "limit_files", "landlock"},
    "send over UDP": {"seccomp", "limit_files"},
    "connect to an abstract socket": {"seccomp", "limit_files", "landlock"},
    "fork": {"seccomp", "limit_processes"},
    "start a thread": {"seccomp", "limit_processes"},
    "execute a program": {"seccomp", "landlock", "limit_files"},
    "execute a program that gains rights": {"seccomp", "landlock", "limit_files", "no_new_privileges"},
    "signal another process": {"seccomp", "landlock"},
    "signal its parent": {"seccomp"},
    "signal a thread of another": {"seccomp", "landlock"},
    "signal a thread of a later process": {"seccomp"},
    "send out of band": {"seccomp"},
    "receive out of band": {"seccomp"},
    "lend priority through a futex": {"seccomp"},
    "trace another process": {"seccomp", "landlock"},
    "read the memory of another": {"seccomp", "landlock"},
    "get a handle to another": {"seccomp", "limit_files"},
    "map executable memory": {"seccomp"},
    "make memory executable": {"seccomp"},
    "make an x32 call": {"seccomp"},
    "make an i386 call": {"seccomp"},
    "io_uring_setup": {"seccomp", "limit_files"},
    "userfaultfd": {"seccomp", "limit_files"},
    "bpf": {"seccomp"},
    "keyctl": {"seccomp"},
    "memfd_create": {"seccomp", "limit_files"},
    "make a namespace": {"seccomp"},
    "copy a descriptor": {"seccomp", "limit_files"},
    "raise a limit": {"seccomp", "limit_files"},
    "become dumpable": {"seccomp"},
    "see descriptors below its own": {"seccomp", "descriptors"},
    "see descriptors above its own": {"seccomp", "descriptors"},
    "find its environment": {"environment"},
    "reserve much memory": {"limit_address_space"},
    "take much memory": {"limit_data"},
    "leave a core file": {"limit_core", "not_dumpable", "landlock"},
    "be read by its parent": {"not_dumpable"},
    "outlive its parent": {"ends_with_parent"},
}
# These need root's rights before they can be taken away. Root is not bound by all of the above.
DENIED_TO_ROOT_BY: dict[str, set[str]] = {
    "leave its root": {"seccomp", "capabilities"},
    "read a file of another user": {"seccomp", "landlock", "limit_files", "capabilities"},
}
# What the kernel, its settings or the machine may not offer to anybody.
MAY_BE_ABSENT = {
    "make an x32 call",
    "make an i386 call",
    "io_uring_setup",
    "userfaultfd",
    "bpf",
    "keyctl",
    "make a namespace",
    "execute a program that gains rights",
    "leave a core file",
    "trace another process",
    "read the memory of another",
    "be read by its parent",
}
# Landlock denies these only from a version of its interface on.
LANDLOCK_SINCE = {
    "truncate a file": 3,
    "connect over TCP": 4,
    "listen on TCP": 4,
    "connect to an abstract socket": 6,
    "signal another process": 6,
    "signal a thread of another": 6,
}
# The two need it themselves, where they are not put on by root.
NEEDS = {"landlock": {"no_new_privileges"}, "seccomp": {"no_new_privileges"}}
HOW: dict[str, set[str]] = {
    "seccomp": {"SIGSYS"},
    "landlock": {"EACCES", "EPERM", "ENOSPC"},
    # A program that cannot open its libraries ends; the limit on open files cannot be raised again.
    "limit_files": {"EMFILE", "EINVAL", "exit 127", "EPERM"},
    "limit_file_size": {"EFBIG"},
    "limit_processes": {"EAGAIN"},
    "limit_address_space": {"ENOMEM"},
    "limit_data": {"ENOMEM"},
    "limit_core": {"ENOSPC"},
    "no_new_privileges": {"exit 1"},
    "not_dumpable": {"EPERM", "ENOSPC"},
    "capabilities": {"EPERM", "EACCES"},
    "descriptors": {"EBADF"},
    "environment": {"ENOENT"},
    "ends_with_parent": {"SIGKILL"},
}


def without_only(kept: set[str]) -> list[str]:
    return sorted(set(LAYERS) - kept)


def cells(table: dict[str, set[str]]) -> list[tuple[str, list[str], list[str]]]:
    found = [
        ("all", [], ["nothing", "use memory", "abort", *table]),
        ("none", sorted(LAYERS), ["nothing", *table]),
    ]
    for layer in LAYERS:
        names = [name for name, denying in table.items() if layer in denying]
        if names:
            found.append((f"only {layer}", without_only({layer} | NEEDS.get(layer, set())), ["nothing", *names]))
    for number, denying in enumerate({frozenset(denying) for denying in table.values()}):
        names = [name for name, others in table.items() if others == denying]
        found.append((f"all but {number}", sorted(denying), names))
    return found


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    """A directory that an unprivileged process can reach, which pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="harness-lockdown-") as name:
        path = Path(name)
        path.chmod(0o777)
        (path / "file").write_text("here")
        (path / "file").chmod(0o666)
        (path / "secret").write_text("not for others")
        (path / "secret").chmod(0o600)
        if os.getuid() == 0:
            shutil.copyfile(shutil.which("test") or "/usr/bin/test", path / "test")
            (path / "test").chmod(0o4755)
        yield path


def probe(table: list[tuple[str, list[str], list[str]]], scratch: Path, *, unprivileged: bool) -> dict[str, Any]:
    request = {"root": str(ROOT), "scratch": str(scratch), "unprivileged": unprivileged, "cells": table}
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(PROBE)],
        input=json.dumps(request),
        env={"PROBE_MARK": "hunter2-in-the-environment"},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    for name, said in found["cells"].items():
        assert "failed" not in said, (name, said)
    return found


class Results:
    """What came of every attempt in every cell."""

    def __init__(self, table: dict[str, set[str]], scratch: Path, *, unprivileged: bool) -> None:
        self.table = table
        made = cells(table)
        found = probe(made, scratch, unprivileged=unprivileged)
        self.kernel = found["kernel"]
        self.reports = {name: said["report"] for name, said in found["cells"].items()}
        self.results = {name: said["results"] for name, said in found["cells"].items()}
        self.all_but = {
            attempt: results[attempt]
            for name, results in self.results.items()
            if name.startswith("all but")
            for attempt in results
        }

    def has(self, layer: str) -> bool:
        """Whether this kernel offers the layer at all, which is not asked of the code under test."""
        if layer == "landlock":
            return bool(self.kernel["landlock"] >= 1)
        if layer == "seccomp":
            return bool(self.kernel["seccomp"]) and platform.machine() in ("x86_64", "aarch64")
        return True

    def denies(self, layer: str, attempt: str) -> bool:
        if not self.has(layer):
            return False
        return layer != "landlock" or self.kernel["landlock"] >= LANDLOCK_SINCE.get(attempt, 1)


@pytest.fixture(scope="module")
def results(scratch) -> Results:
    return Results(DENIED_BY, scratch, unprivileged=True)


@pytest.fixture(scope="module")
def root_results(scratch) -> Results:
    if os.getuid() != 0:
        pytest.skip("only root has what this takes away")
    os.chown(scratch / "secret", 65534, 65534)
    return Results(DENIED_TO_ROOT_BY, scratch, unprivileged=False)


# ── layers ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("SBX-001", "SBX-002")
@pytest.mark.parametrize("layer", LAYERS)
def test_each_layer_is_active_where_the_kernel_has_it_and_says_why_where_not(layer, results):
    state = results.reports["all"][layer]
    assert set(results.reports["all"]) == set(LAYERS)
    if results.has(layer):
        assert state == ACTIVE
    else:
        assert state not in (ACTIVE, "")
    assert results.reports["none"][layer] == "left out"


@pytest.mark.requirement("SBX-001")
def test_each_layer_has_an_attempt_that_it_alone_denies():
    # Processor time has a test of its own below, since it takes some.
    shown = set().union(*DENIED_BY.values(), *DENIED_TO_ROOT_BY.values(), {"limit_cpu"})
    assert shown == set(LAYERS)


@pytest.mark.requirement("SBX-003")
def test_what_a_worker_needs_it_may_do(results):
    assert results.results["all"]["nothing"] == "done"
    assert results.results["all"]["use memory"] == "done"
    # An engine assert is seen as what it is.
    assert results.results["all"]["abort"] == "SIGABRT"


def is_denied(result: str) -> bool:
    assert not result.startswith("error"), result
    return result != "done"


@pytest.mark.requirement("SBX-003")
@pytest.mark.parametrize("attempt", DENIED_BY)
def test_with_all_layers_the_attempt_is_denied(attempt, results):
    how = results.results["all"][attempt]
    assert is_denied(how)
    if results.denies("seccomp", attempt) and "seccomp" in DENIED_BY[attempt]:
        assert how == "SIGSYS"


@pytest.mark.requirement("SBX-004")
@pytest.mark.parametrize(
    ("attempt", "layer"), [(attempt, layer) for attempt, layers in DENIED_BY.items() for layer in sorted(layers)]
)
def test_the_layer_alone_denies_the_attempt(attempt, layer, results):
    if not results.denies(layer, attempt):
        pytest.skip(f"this kernel's {layer} does not deny it")
    cell = results.results[f"only {layer}"]
    assert cell["nothing"] == "done"
    # The filter does not ask whether the kernel has the call.
    assert cell[attempt] in HOW[layer] or (layer != "seccomp" and absent(attempt, results))


def absent(attempt: str, results: Results) -> bool:
    """Whether nobody can do it here, layers or not."""
    return attempt in MAY_BE_ABSENT and results.results["none"].get(attempt) != "done"


@pytest.mark.requirement("SBX-004")
@pytest.mark.parametrize("attempt", DENIED_BY)
def test_without_the_layers_that_deny_it_the_attempt_succeeds(attempt, results):
    if absent(attempt, results):
        pytest.skip(f"nobody can here: {results.results['none'][attempt]}")
    assert results.results["none"][attempt] == "done"
    assert results.all_but[attempt] == "done"


@pytest.mark.requirement("SBX-005")
@pytest.mark.parametrize("attempt", DENIED_TO_ROOT_BY)
def test_root_s_rights_are_taken_away_too(attempt, root_results):
    assert root_results.results["all"][attempt] == "SIGSYS" or not root_results.has("seccomp")
    assert is_denied(root_results.results["all"][attempt])
    for layer in DENIED_TO_ROOT_BY[attempt]:
        if root_results.denies(layer, attempt):
            assert root_results.results[f"only {layer}"][attempt] in HOW[layer]
    assert root_results.all_but[attempt] == "done"
    assert root_results.results["none"][attempt] == "done"


# read, write, mmap, mprotect, munmap, brk, rt_sigaction, rt_sigprocmask, rt_sigreturn, sched_yield, mremap, madvise,
# nanosleep, setitimer, getpid, sendto, recvfrom, exit, gettimeofday, getrusage, gettid, futex, clock_gettime, exit_group,
# getrandom; and tgkill, but only to itself, so not with a zero.
ALLOWED = {
    "x86_64": {0, 1, 9, 10, 11, 12, 13, 14, 15, 24, 25, 28, 35, 38, 39, 44, 45, 60, 96, 98, 186, 202, 228, 231, 318},
    "aarch64": {63, 64, 222, 226, 215, 214, 134, 135, 139, 124, 216, 233, 101, 103, 172, 206, 207, 93, 169, 165, 178}
    | {98, 113, 94, 278},
}
# The kernel keeps these out of every filter: uretprobe and uprobe, which serve code that only it places.
UNFILTERED = {"x86_64": {335, 336}, "aarch64": set[int]()}


@pytest.mark.requirement("SBX-003")
@pytest.mark.slow
def test_of_all_system_calls_these_are_left(results, scratch):
    if not results.has("seccomp"):
        pytest.skip("this kernel has no seccomp, or this machine no list")
    calls = [f"call {number}" for number in range(512)]
    found = probe([("calls", without_only({"seccomp", "no_new_privileges"}), calls)], scratch, unprivileged=True)
    answers = found["cells"]["calls"]["results"]
    assert len(answers) == 512
    left = {int(name.removeprefix("call ")) for name, result in answers.items() if result != "SIGSYS"}
    assert left - UNFILTERED[platform.machine()] == ALLOWED[platform.machine()]


@pytest.mark.requirement("SBX-004")
@pytest.mark.parametrize(
    ("attempt", "how"),
    [
        pytest.param("compute without end", "SIGXCPU", marks=pytest.mark.slow),
        pytest.param("compute without end, deaf to signals", "SIGKILL", marks=pytest.mark.slow),
    ],
)
def test_processor_time_is_limited_by_the_kernel(attempt, how, scratch):
    table = [("alone", without_only({"limit_cpu"}), [attempt]), ("without", ["limit_cpu"], [attempt])]
    found = probe(table, scratch, unprivileged=True)["cells"]
    assert found["alone"]["results"][attempt] == how
    assert found["without"]["results"][attempt] == "done"
