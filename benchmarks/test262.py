"""What the hardening costs ordinary JavaScript: a pinned part of test262 in a bare VM and in the hardened one.

``make test262`` downloads the pinned commit once; ``--path`` points to a copy instead. Prints both pass rates and what one
hardening costs. A test that passes in the bare VM must pass in the hardened one, too, unless ``test262_expected.txt`` lists
it with the reason; the exit status is 1 if the two disagree. ``--update`` writes that file anew from the rules below, and
refuses if a failure fits none of them.

Scripts run as the body of an async function in strict mode. So left out are tests of modules, sloppy mode and syntax errors,
and those that need a second realm or another of the host's hooks.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import _quickjs

from harness.limits import Limits
from harness.model import BlockAttributes, ExecutionMode, Script, Span
from harness.runtime import worker
from harness.runtime.job import Job
from harness.runtime.past import Frame
from harness.runtime.sources import SourceMap

REPOSITORY = "https://github.com/tc39/test262"
COMMIT = "be13516fb6441b950ba8a3df97eb34062c186972"
EXPECTED = Path(__file__).with_name("test262_expected.txt")
STACK_BYTES = 2 * 1024 * 1024
SECONDS = 5.0
"""CPU time of one test."""

FOLDERS = ["test/language", "test/built-ins"]
LEFT_OUT = re.compile(
    r"_FIXTURE|/(Temporal|Atomics|SharedArrayBuffer|ShadowRealm|WeakRef|FinalizationRegistry)/"
    r"|/(module-code|eval-code|import|export|dynamic-import|global-code)/|/property-escapes/generated/|\$262|/RegExp/CharacterClassEscapes/"
)
NEEDS_THE_HOST = re.compile(r"\$262|detachArrayBuffer|negative:|testIntl|wellKnownIntrinsicObjects")
FLAGS_LEFT_OUT = {"module", "raw", "noStrict", "CanBlockIsFalse", "CanBlockIsTrue", "non-deterministic"}
SHARE = 16
"""One test in this many is run, chosen by the hash of its name."""

# Why a test that the bare VM passes may fail in the hardened one: a reason, and what its message or its text looks like.
# The first that fits.
REASONS = [
    (
        "needs eval or Function: no code is made from text",
        (
            r"eval is not defined|code cannot be made from text|Expected a SyntaxError|instanceof SyntaxError"
            r"|'BYTES_PER_ELEMENT' of undefined|not a function|test failed"
        ),
        r"\beval\b|[Ff]unction\b",
    ),
    (
        "needs what blocks, shares memory or is not deterministic, and so is not there",
        r"(SharedArrayBuffer|Atomics|WeakRef|FinalizationRegistry|InternalError|performance) is not defined",
        "",
    ),
    (
        "adds to, changes or deletes a property of a built-in: all of them are frozen",
        r"object is not extensible|could not delete property|property is not configurable|is read-only",
        r"[A-Za-z]",
    ),
    (
        "looks at the descriptor of a built-in's property: none is writable or configurable, and some are accessors",
        r"descriptor (should|value)|to have configurable|Expected SameValue|Expected true",
        r"verify\w+\(|getOwnPropertyDescriptor|isFrozen|isSealed|isExtensible",
    ),
]


@dataclass(frozen=True)
class Test:
    """One test. Its text is read where it runs: a process that holds all of them is slow to fork."""

    name: str
    path: Path
    includes: tuple[Path, ...]
    waits: bool

    @property
    def source(self) -> str:
        """The text to run, with what it includes."""
        parts = [path.read_text(encoding="utf-8") for path in (*self.includes, self.path)]
        if self.waits:
            parts.insert(-1, _DONE)
            parts.append("await $ended;")
        return "\n".join(parts)


_DONE = "let $DONE; const $ended = new Promise((yes, no) => { $DONE = (e) => { if (e) no(e); else yes(); }; });"


def listed(text: str, key: str) -> list[str]:
    """The values of a key in a test's front matter, written in brackets or line by line."""
    found = re.search(rf"^{key}:\s*\[([^\]]*)\]", text, re.MULTILINE)
    if found:
        return [part.strip() for part in found[1].split(",") if part.strip()]
    found = re.search(rf"^{key}:\s*\n((?:\s+-.*\n)+)", text, re.MULTILINE)
    return [line.strip().lstrip("- ") for line in found[1].splitlines()] if found else []


def tests(root: Path) -> Iterator[Test]:
    """The pinned part."""
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*.js")):
            name = str(path.relative_to(root))
            if LEFT_OUT.search(name) or hashlib.sha256(name.encode()).digest()[0] % SHARE:
                continue
            text = path.read_text(encoding="utf-8")
            matter = text[text.find("/*---") : text.find("---*/")]
            flags = set(listed(matter, "flags"))
            if flags & FLAGS_LEFT_OUT or NEEDS_THE_HOST.search(text):
                continue
            includes = tuple(root / "harness" / part for part in ["assert.js", "sta.js", *listed(matter, "includes")])
            yield Test(name, path, includes, "async" in flags)


# ── the two VMs ──────────────────────────────────────────────────────────────────────────────────────────────────

Run = Callable[[str], str]
"""Runs a source and returns what went wrong in words, or nothing."""


def bare() -> Run:
    """A VM with nothing done to it."""
    context = _quickjs.Context()
    context.set_max_stack_size(STACK_BYTES)
    context.eval(
        "{ const then = Promise.prototype.then, apply = Reflect.apply; globalThis.$how = 'it never ended';\n"
        "globalThis.$run = (f) => { apply(then, f(), [() => { $how = '' }, "
        "(e) => { $how = `${e?.name}: ${e?.message}` }]) } }"
    )

    def run(source: str) -> str:
        context.set_time_limit(SECONDS)
        try:
            context.eval(f"$run(async () => {{ 'use strict';\n{source}\n}}); 0")
            while context.execute_pending_job():
                pass
            return str(context.eval("$how"))
        except _quickjs.JSException as error:
            return str(error).splitlines()[0]

    return run


def hardened() -> Run:
    """The VM that scripts run in."""
    vm = worker.VM(stack_bytes=STACK_BYTES)
    limits = Limits(cpu_time=SECONDS)
    span = Span(start=0, end=0, line=1, column=1, end_line=1, end_column=1)

    def run(source: str) -> str:
        # What the tests throw is no Error, of which the harness would tell the name and message.
        text = (
            f"const $test = async () => {{\n{source}\n}};\n"
            "try { await $test(); } catch (e) { throw new Error(`${e?.name ?? e?.constructor?.name}: ${e?.message}`); }\n"
        )
        script = Script(
            source=text, sha256="", mode=ExecutionMode.RETURN, attributes=BlockAttributes(), span=span, source_span=span
        )
        job = Job(script=script, tools=(), context={}, seed=(1, 2, 3, 4), limits=limits)
        answer = json.loads(vm.start(json.loads(job.start_frame(Frame(0, "null"), SourceMap(text)))))
        if answer["turn"] is None:
            return str(answer["worker"])
        ending = answer["turn"]["ending"]
        if ending["state"] == "ok":
            return ""
        error = ending.get("error", {})
        return str(error.get("message") or error) if error else "it never ended"

    return run


# ── running them ─────────────────────────────────────────────────────────────────────────────────────────────────


def run_all(run: Run, chosen: list[Test], jobs: int) -> dict[str, str]:
    """Each test in a fork of this process, so that all find the same VM. Test -> what went wrong."""
    results: dict[str, str] = {}
    running: dict[int, tuple[int, Test]] = {}
    waiting = list(reversed(chosen))
    watch = select.poll()
    while waiting or running:
        while waiting and len(running) < jobs:
            test = waiting.pop()
            ours, theirs = os.pipe()
            pid = os.fork()
            if pid == 0:
                _in_child(run, test, theirs)
            os.close(theirs)
            running[ours] = (pid, test)
            watch.register(ours, select.POLLIN)
        for descriptor, _ in watch.poll():
            pid, test = running.pop(descriptor)
            watch.unregister(descriptor)
            with open(descriptor, "rb") as pipe:  # noqa: PTH123 - a descriptor
                text = pipe.read().decode(errors="replace")
            _, status = os.waitpid(pid, 0)
            results[test.name] = text if status == 0 else f"ended with {os.waitstatus_to_exitcode(status)}"
    return results


def _in_child(run: Run, test: Test, pipe: int) -> NoReturn:
    status = 1
    try:
        signal.setitimer(signal.ITIMER_PROF, 2 * SECONDS)
        os.write(pipe, run(test.source).encode(errors="replace")[:2000])
        status = 0
    finally:
        os._exit(status)


def download() -> Path:
    """A copy of the pinned commit."""
    folder = Path("build/test262")
    if (folder / "harness").is_dir():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    for command in [
        ["init", "--quiet"],
        ["fetch", "--quiet", "--depth", "1", REPOSITORY, COMMIT],
        ["checkout", "--quiet", "FETCH_HEAD"],
    ]:
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


def expected() -> dict[str, str]:
    """Test -> reason."""
    found: dict[str, str] = {}
    reason = ""
    for line in EXPECTED.read_text(encoding="utf-8").splitlines() if EXPECTED.exists() else []:
        if line.startswith("# "):
            reason = line[2:]
        elif line:
            found[line] = reason
    return found


def cost() -> str:
    """What one hardening takes, in words."""
    prelude = worker._prelude()  # noqa: SLF001 - what is measured
    without = prelude.replace("harden();\nconst problems = verify();", "const problems = [];")
    unverified = prelude.replace("const problems = verify();", "const problems = [];")
    taken = []
    for text in (without, unverified, prelude):
        rounds: list[float] = []
        size = 0.0
        for _ in range(9):
            context = _quickjs.Context()
            context.set_max_stack_size(STACK_BYTES)
            began = time.thread_time()
            held = context.eval(text)
            rounds.append((time.thread_time() - began) * 1000)
            size = context.memory()["malloc_size"] / 1024
            del held
        taken.append((min(rounds), size))
    (plain, small), (frozen, large), (verified, _) = taken
    return (
        f"One hardening, once for each fork server: {frozen - plain:.1f} ms to harden and {verified - frozen:.1f} ms to verify, "
        f"beside {plain:.1f} ms for the prelude; {large - small:.0f} KiB of memory."
    )


def main() -> int:
    """Run, compare, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", type=Path, help="a checkout of test262, instead of downloading the pinned commit")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--filter", default="", help="run only tests whose name holds this")
    parser.add_argument("--update", action="store_true", help=f"write {EXPECTED.name} anew")
    options = parser.parse_args()
    print(cost())
    root = options.path or download()
    chosen = [test for test in tests(root) if options.filter in test.name]
    if not chosen:
        print(f"No tests found in {root}.", file=sys.stderr)
        return 2
    plain = run_all(bare(), chosen, options.jobs)
    hard = run_all(hardened(), chosen, options.jobs)
    for label, results in (("bare", plain), ("hardened", hard)):
        passed = sum(not how for how in results.values())
        print(f"{label}: {passed} of {len(results)} passed ({passed / len(results):.2%})")
    broken = {name: hard[name] for name in sorted(hard) if hard[name] and not plain[name]}
    if options.update:
        return update(broken, {test.name: test for test in chosen})
    return compare(broken, expected(), set(hard))


def reason_of(how: str, source: str) -> str | None:
    """Why a test may fail that way."""
    for reason, message, text in REASONS:
        if re.search(message, how) and re.search(text, source):
            return reason
    return None


def update(broken: dict[str, str], chosen: dict[str, Test]) -> int:
    """Write the file of expected failures."""
    groups: dict[str, list[str]] = {}
    unknown = []
    for name, how in broken.items():
        reason = reason_of(how, chosen[name].source)
        if reason is None:
            unknown.append(f"{name}: {how}")
        else:
            groups.setdefault(reason, []).append(name)
    for line in unknown:
        print("without a reason:", line)
    if unknown:
        return 1
    parts = [f"# {reason}\n" + "".join(f"{name}\n" for name in names) for reason, names in sorted(groups.items())]
    EXPECTED.write_text("\n".join(parts), encoding="utf-8")
    return 0


def compare(broken: dict[str, str], known: dict[str, str], ran: set[str]) -> int:
    """Print where the failures are not the expected ones."""
    new = [f"{name}: {how}" for name, how in broken.items() if name not in known]
    gone = [name for name in known if name in ran and name not in broken]
    for reason, count in Counter(known[name] for name in broken if name in known).most_common():
        print(f"{count:5} fail on purpose: {reason}")
    for line in new:
        print("broken by the hardening:", line)
    for name in gone:
        print("listed, but passes or fails in both:", name)
    return 1 if new or gone else 0


if __name__ == "__main__":
    sys.exit(main())
