"""The files of one test: the runs its cassette holds, which of them are left, and what is written when it has passed."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Literal

from harness.testing.golden import Golden
from harness.testing.tape import TapedRun
from harness.testing.tapefile import dump_runs
from harness.testing.tapereader import load_runs

__all__ = ["RecordMode", "Shelf"]

RecordMode = Literal["none", "once", "new", "all"]


class Shelf:
    """A cassette as it is on disk, and what is to be added to it. Raises `UsageError` for a file that is none."""

    def __init__(self, path: Path, mode: RecordMode) -> None:
        self.path = path
        self.mode = mode
        self.there = mode != "all" and path.exists()
        """Whether there is a file to play."""
        self.runs = load_runs(path.read_text(encoding="utf-8"), str(path)) if self.there else []
        self._used: set[int] = set()
        self._added: dict[int, TapedRun] = {}
        self._goldens: dict[Path, Golden] = {}

    @property
    def may_record(self) -> bool:
        """Whether what is not there may be recorded."""
        return self.mode in ("new", "all") or (self.mode == "once" and not self.there)

    def take(self, text: str) -> TapedRun | None:
        """The recorded run to play: the first of this text that is left. Where none may be recorded instead, the first
        that is left will do, to tell what has changed.
        """
        left = [at for at in range(len(self.runs)) if at not in self._used]
        found = [at for at in left if self.runs[at].text == text]
        at = next(iter(found or ([] if self.may_record else left)), None)
        if at is None:
            return None
        self._used.add(at)
        return self.runs[at]

    @property
    def unused(self) -> list[str]:
        """The texts of the runs that are left."""
        return [run.text for at, run in enumerate(self.runs) if at not in self._used]

    def add(self, number: int, run: TapedRun) -> None:
        """A run that was recorded; ``number`` is its place among those of the test."""
        self._added[number] = run

    def add_golden(self, path: Path, golden: Golden) -> None:
        """An outcome to write."""
        self._goldens[path] = golden

    def save(self) -> None:
        """Write what was added, if anything was: each file as a whole, or not at all."""
        if self._added:
            runs = [*self.runs, *(self._added[number] for number in sorted(self._added))]
            _write(self.path, dump_runs(runs))
            self._used |= set(range(len(self.runs), len(runs)))
            self.runs, self._added, self.there = runs, {}, True
        for path, golden in self._goldens.items():
            _write(path, golden.to_text())
        self._goldens.clear()


def _write(path: Path, text: str) -> None:
    """A file, whole or not at all, whoever else writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}")
    try:
        half.write_text(text, encoding="utf-8", newline="\n")
        half.replace(path)
    except BaseException:
        half.unlink(missing_ok=True)
        raise
