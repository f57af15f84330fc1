"""The diagnostics of the detector: what each says, and a bound on their number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from pydantic import JsonValue

from harness.detection.position import Cursor
from harness.model import Diagnostic, Severity

__all__ = ["MOST_OF_A_KIND", "Notices"]

MOST_OF_A_KIND = 100
"""Diagnostics of one code that are kept in full; the rest are counted."""

_MESSAGES: dict[str, tuple[Severity, str]] = {
    "closing_tag_in_comment": (
        Severity.WARNING,
        "This closing tag stands in a comment, so it is part of the script. Put the closing tag on a line of its own.",
    ),
    "closing_tag_in_literal": (
        Severity.WARNING,
        (
            "This closing tag stands in a {literal}, which reaches here from line {from_line}, column {from_column}, so "
            "it is part of the script. Close the {literal} in front of the tag{hint}."
        ),
    ),
    "empty_block": (Severity.WARNING, "This block is empty; nothing runs. Put a script between its tags."),
    "nested_opening_tag": (
        Severity.WARNING,
        "An opening tag inside a block is part of the script. Close the block before the next one begins.",
    ),
    "opening_tag_too_long": (
        Severity.WARNING,
        "This opening tag has no `>` within the length that is looked at, so it is text. Complete the tag.",
    ),
    "script_too_deep": (
        Severity.ERROR,
        "From here on the script's brackets are nested too deeply to be followed, so it never closes. Nest it less.",
    ),
    "self_closed_block": (
        Severity.WARNING,
        "This block closes itself, so it has no script and nothing runs. Write <tool-calls> script </tool-calls>.",
    ),
    "stray_closing_tag": (
        Severity.WARNING,
        "This closing tag has no opening tag before it, so it is text. Remove it, or open the block.",
    ),
    "tag_case": (
        Severity.WARNING,
        "Tags are written in lower case; this one is text. Write <tool-calls> and </tool-calls>.",
    ),
    "tag_in_code": (
        Severity.INFO,
        "This tag stands in code or thinking, so nothing runs. To run it, put it on a line of its own, not indented.",
    ),
    "unclosed_block": (
        Severity.ERROR,
        "This block is never closed, so it does not run. End it with </tool-calls>, outside of strings and comments.",
    ),
}
_HINTS = {"regular expression": "; if none was meant, the `/` of a `</` in code began it, so write no JSX"}


class Notices:
    """Collects diagnostics in the order in which they are found."""

    def __init__(self) -> None:
        self._kept: list[Diagnostic] = []
        self._counts: Counter[str] = Counter()

    def all(self) -> tuple[Diagnostic, ...]:
        return tuple(self._kept)

    def add(self, code: str, place: Cursor, details: Mapping[str, JsonValue]) -> None:
        self._counts[code] += 1
        if self._counts[code] > MOST_OF_A_KIND:
            return
        severity, message = _MESSAGES[code]
        self._kept.append(
            Diagnostic(
                code=code,
                severity=severity,
                message=message.format_map({**details, "hint": _HINTS.get(str(details.get("literal")), "")}),
                line=place.line,
                column=place.column,
                details={"start": place.offset, **details},
            )
        )

    def finish(self) -> None:
        """Say how many were left out."""
        for code, count in sorted(self._counts.items()):
            if count > MOST_OF_A_KIND:
                more = count - MOST_OF_A_KIND
                self._kept.append(
                    Diagnostic(
                        code="diagnostics_left_out",
                        severity=Severity.WARNING,
                        message=f"{more:,} more diagnostics of the kind {code} were left out.",
                        details={"code": code, "count": more},
                    )
                )
