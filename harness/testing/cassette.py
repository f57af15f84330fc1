"""Cassettes: what the runs of one test did, recorded once with real tools and played ever after without."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, get_args

from harness.approvals.decision import SUSPEND
from harness.context import ExecutionContext
from harness.errors import ReplayDivergenceError, UsageError
from harness.model import ExecutionStatus, Outcome
from harness.redaction import Redactor, shorten
from harness.sync import in_event_loop, run_alone
from harness.testing.censor import Redact, redacted_run
from harness.testing.golden import Golden
from harness.testing.mismatch import mismatch
from harness.testing.player import Request, play, record_run
from harness.testing.shelf import RecordMode, Shelf
from harness.testing.tape import TapedRun

__all__ = ["Cassette", "CassetteError", "UnusedRecordingWarning"]

_SHOWN = 80
"""Characters of a text in a warning."""
_NOT_OURS = {
    "journal": "a cassette is the journal of its runs",
    "signing_key": "a cassette is not signed",
    "suspend_after": "a run that leaves its process has no end to record",
}


class CassetteError(AssertionError):
    """A run is not what its cassette says, or the cassette may not be recorded."""


class UnusedRecordingWarning(UserWarning):
    """A cassette holds runs that its test did not make."""


class Cassette:
    """The runs of one test. The first time the real tools are called; later the file is played, and no tool is.

    ::

        with Cassette("refund.jsonl", record="once") as cassette:
            outcome = cassette.run_sync(text, tools=[refund])

    path
        The file: JSON lines, with real arguments and results in it.
    record
        ``"none"``: only play. ``"once"``: record if there is no file, else only play. ``"new"``: play what is there and
        record what is not. ``"all"``: record everything anew.
    force
        Also play what was recorded on another build of the engine, the prelude or the C library. Every call and the
        outcome are compared all the same.
    redact
        A function that every string that scripts, tools and people said goes through before it is written. It may replace secrets, the same one always by
        the same text, or raise in order to refuse. Secrets that a run is given (``secrets=``) are masked anyway.
    text
        The text that is run if `run` is given none: a transcript.
    golden
        The file of the outcome that this text must have; see `check_golden`.
    folder
        What paths of such files are relative to.
    advice
        How to choose another ``record``, for error messages: a text with ``{mode}`` in it.

    Nothing is written before the end of the ``with`` block (or `save`), and nothing after an exception.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        record: RecordMode = "none",
        force: bool = False,
        redact: Redact | None = None,
        text: str | None = None,
        golden: str | os.PathLike[str] | None = None,
        folder: str | os.PathLike[str] = "",
        advice: str = 'Cassette(…, record="{mode}")',
    ) -> None:
        if record not in get_args(RecordMode):
            raise UsageError(f"record is one of {', '.join(get_args(RecordMode))}, not {record!r}.")
        if redact is not None and not callable(redact):
            raise UsageError(f"redact is a function of a string that returns one, not {redact!r}.")
        self.text = text
        self.outcomes: list[Outcome] = []
        """Of the runs that have ended, in that order."""
        self._shelf = Shelf(Path(path), record)
        self._golden = golden
        self._folder = Path(folder)
        self._force = force
        self._redact = redact
        self._advice = advice
        self._asked = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.save()
            self.warn_of_unused()

    # ── running ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def run(
        self,
        text: str | None = None,
        *,
        tools: Any = None,
        context: ExecutionContext | Mapping[str, Any] | None = None,
        inputs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Outcome:
        """Run a text, by default the transcript, and record what happens; or play what is recorded of it.

        ``tools`` and ``options`` are those of `Harness`, ``context`` and ``inputs`` those of `Harness.run`. When played,
        ``tools`` can be left out; where they are given, those that the scripts call must keep what they promised.

        Raises `CassetteError` where text, calls or outcome are not as recorded, and where nothing is recorded and
        nothing may be; `UsageError` for arguments that cannot be used.
        """
        __tracebackhide__ = True
        _check(options)
        request = Request(self._text(text), tools, context, inputs, options)
        redact = self._redaction(options)
        self._asked += 1
        number, tape = self._asked, self._shelf.take(request.text if redact is None else redact(request.text))
        if tape is not None:
            outcome = await self._play(number, request, tape, redact)
        elif self._shelf.may_record:
            outcome = await self._record(number, request, redact)
        else:
            raise CassetteError(self._nothing_there(number))
        self.outcomes.append(outcome)
        if text is None and self._golden is not None:
            self.check_golden(self._golden)
        return outcome

    def run_sync(
        self,
        text: str | None = None,
        *,
        tools: Any = None,
        context: ExecutionContext | Mapping[str, Any] | None = None,
        inputs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Outcome:
        """`run`, from code without an event loop."""
        __tracebackhide__ = True
        if in_event_loop():
            raise UsageError("There is a running event loop here: `await cassette.run(text)` instead of run_sync.")
        try:
            return run_alone(partial(self.run, text, tools=tools, context=context, inputs=inputs, **options))
        except AssertionError as error:
            # It tells the test what is wrong; where in an event loop that was found tells it nothing.
            raise error.with_traceback(None) from None

    @property
    def outcome(self) -> Outcome:
        """Of the run that ended last. Raises `UsageError` before there is one."""
        if not self.outcomes:
            raise UsageError("Nothing has been run with this cassette yet: call its run() first.")
        return self.outcomes[-1]

    @property
    def path(self) -> Path:
        """The file."""
        return self._shelf.path

    @property
    def _name(self) -> str:
        """Of the file, for people."""
        here = Path.cwd()
        return str(self.path.relative_to(here) if self.path.is_relative_to(here) else self.path)

    @property
    def unused(self) -> list[str]:
        """The texts of recorded runs that were not asked for."""
        return self._shelf.unused

    def _how(self, mode: RecordMode) -> str:
        return self._advice.format(mode=mode)

    def _text(self, text: str | None) -> str:
        text = self.text if text is None else text
        if text is None:
            raise UsageError("There is nothing to run: give run() a text, or the test a transcript.")
        return text

    def _redaction(self, options: Mapping[str, Any]) -> Redact | None:
        if not options.get("secrets"):
            return self._redact
        mask, redact = Redactor(secrets=options["secrets"]).secrets, self._redact
        return mask if redact is None else lambda text: redact(mask(text))

    def _nothing_there(self, number: int) -> str:
        if not self._shelf.there:
            return f"There is no cassette {self._name}. To call the real tools and record what they do: {self._how('once')}"
        return (
            f"{self._name} holds {len(self._shelf.runs)} runs, and this is run {number}. To record it as well: "
            f"{self._how('new')}"
        )

    async def _play(self, number: int, request: Request, tape: TapedRun, redact: Redact | None) -> Outcome:
        __tracebackhide__ = True
        try:
            playback = await play(request, tape, redact=redact, force=self._force)
        except ReplayDivergenceError as error:
            raise CassetteError(
                f"{self._name} was recorded on another build. {error.message} For cassettes, --harness-force and the "
                "option harness_force insist: then it is played here, and whatever comes out otherwise fails the test. "
                f"Or record it here: {self._how('all')}"
            ) from None
        found = mismatch(playback)
        if found or playback.outcome is None:
            raise CassetteError(
                f"Run {number} is not what {self._name} has on record.\n\n{found}\n\nIf that is right, record it anew: "
                f"{self._how('all')}"
            )
        return playback.outcome

    async def _record(self, number: int, request: Request, redact: Redact | None) -> Outcome:
        __tracebackhide__ = True
        outcome, tape = await record_run(request, f"exec_{number}")
        if any(execution.status is ExecutionStatus.SUSPENDED for execution in outcome.executions):
            raise UsageError("A run that is suspended has no end to record; give it an approver that decides.")
        if tape is None:
            raise UsageError(f"What happened is not on record as a whole: {outcome.diagnostics[-1].message}")
        # What is written is played once: nobody should find out later that it cannot be.
        written = redacted_run(tape, redact or str)
        playback = await play(replace(request, tools=None), written, redact=redact)
        found = mismatch(playback)
        if redact is None and not found:
            self._shelf.add(number, tape)
            return outcome
        if redact is None or playback.stopped is not None or playback.outcome is None:
            what = "" if redact is None else " when its scripts see what was redacted instead of the real values"
            raise CassetteError(f"This run cannot be recorded: it goes another way{what}.\n\n{found}")
        # The test sees what it will see from now on.
        self._shelf.add(number, written.with_outcome(playback.outcome))
        return playback.outcome

    # ── the file ─────────────────────────────────────────────────────────────────────────────────────────────────

    def check_golden(
        self,
        path: str | os.PathLike[str],
        *,
        description: str | None = None,
        deterministic_fields: Iterable[str] | None = None,
        notes: str | None = None,
    ) -> None:
        """Compare the last outcome with a `Golden` file. It is written where a cassette would be: if there is none, and
        anew with ``record="all"``, which keeps the description, fields and notes that it has.

        Raises ``AssertionError`` for a difference, and `CassetteError` for a file that is missing and may not be written.
        """
        __tracebackhide__ = True
        place = self._folder / path
        golden, mode = Golden.load(place) if place.exists() else None, self._shelf.mode
        if golden is not None and mode != "all":
            golden.check(self.outcome)
        elif golden is None and mode == "none":
            raise CassetteError(f"There is no golden outcome {place}. To write it: {self._how('once')}")
        else:
            written = Golden.record(
                self.outcome,
                description=description or (golden.description if golden else f"what {place.stem} gives"),
                deterministic_fields=deterministic_fields or (golden.deterministic_fields if golden else ("$",)),
                notes=notes or (golden.notes if golden else ""),
            )
            self._shelf.add_golden(place, written)

    def save(self) -> None:
        """Write what was recorded, if anything was: the whole file, or nothing."""
        self._shelf.save()

    def warn_of_unused(self) -> None:
        """An `UnusedRecordingWarning` for recorded runs that were not asked for."""
        if self.unused:
            texts = "".join(f"\n  {shorten(text.strip(), _SHOWN)!r}" for text in self.unused)
            warnings.warn(
                f"{self._name} holds {len(self.unused)} runs that were not made:{texts}\nIf they are gone for good, record it "
                f"anew: {self._how('all')}",
                UnusedRecordingWarning,
                stacklevel=2,
            )


def _check(options: Mapping[str, Any]) -> None:
    """Raises `UsageError` for options that do not go with a cassette."""
    for name, why in _NOT_OURS.items():
        if options.get(name) is not None:
            raise UsageError(f"{name}= cannot be given to a cassette: {why}.")
    if options.get("approver") == SUSPEND:
        raise UsageError(f'approver="{SUSPEND}" cannot be given to a cassette: {_NOT_OURS["suspend_after"]}.')
