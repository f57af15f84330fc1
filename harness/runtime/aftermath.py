"""What a script left behind: calls that nobody awaited, or whose results reached nobody."""

from __future__ import annotations

from collections.abc import Iterable

from harness.errors import DetachedPromiseError
from harness.model import CallRecord, CallStatus, Diagnostic, Severity
from harness.runtime.turns import LeftBehind

__all__ = ["judge"]

_FINE = (CallStatus.OK, CallStatus.PLANNED)


def judge(
    left_behind: Iterable[LeftBehind], records: Iterable[CallRecord]
) -> tuple[DetachedPromiseError | None, list[Diagnostic]]:
    """Which of the calls left behind make the execution fail, and which are worth a word.

    A call nobody awaited that succeeded is a warning; one that failed, or had to be cancelled, is an error, since
    nobody would ever hear of it; so is what a chain of `then` on it threw, if nobody listened. A call that somebody
    awaited (the loser of a race, one inside a function that was not awaited) is at most worth a note.
    """
    by_seq = {record.seq: record for record in records}
    failed: list[tuple[CallRecord, str | None]] = []
    diagnostics: list[Diagnostic] = []
    seen: set[int] = set()
    for item in sorted(left_behind, key=lambda item: (item.call, not item.rejection_lost, item.lost is None)):
        record = by_seq.get(item.call)
        if record is None or item.call in seen:
            continue
        seen.add(item.call)
        fine = record.status in _FINE
        if item.rejection_lost and (item.lost is not None or not fine):
            failed.append((record, item.lost if fine else None))
        elif not item.awaited:
            diagnostics.append(
                Diagnostic(
                    code="detached_call",
                    severity=Severity.WARNING,
                    message=f"{_name(record)} was never awaited"
                    + (
                        ". "
                        if record.status is CallStatus.PLANNED
                        else ". It succeeded, but its result reached nobody. "
                    )
                    + "Write `await` before it.",
                    line=record.line,
                )
            )
        else:
            what = "succeeded after the script had ended" if fine else "was still running when the script ended"
            diagnostics.append(
                Diagnostic(
                    code="late_call",
                    severity=Severity.INFO,
                    message=f"{_name(record)} {what}; what it gave reached nobody ({record.status.value}).",
                    line=record.line,
                )
            )
    return _error(failed), diagnostics


def _name(record: CallRecord) -> str:
    return f"tools.{record.tool}(…)" + (f" at line {record.line}" if record.line is not None else "")


def _error(failed: list[tuple[CallRecord, str | None]]) -> DetachedPromiseError | None:
    if not failed:
        return None
    first, lost = failed[0]
    if lost is not None:
        what = f"What follows {_name(first)} was never awaited, and nobody heard that it failed: {lost}"
    else:
        why = first.error.message if first.error is not None else f"its status is {first.status}"
        what = f"{_name(first)} was never awaited, and nobody heard that it failed: {why}"
    what += "" if what.endswith((".", "!", "?")) else "."
    more = f" ({len(failed) - 1} more calls like it.)" if len(failed) > 1 else ""
    return DetachedPromiseError(
        f"{what}{more} Write `await` before it.",
        line=first.line,
        details={
            "calls": [
                {"seq": record.seq, "tool": record.tool, "line": record.line, "status": record.status.value}
                for record, _ in failed[:20]
            ]
        },
    )
