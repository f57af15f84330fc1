"""What the parser finds wrong, as a value that can be cached, raised and listed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from harness.errors import HarnessError
from harness.model import Diagnostic, Severity
from harness.syntax.positions import Positions

__all__ = ["Problem"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One reason why a script must not run.

    An exception collects a traceback wherever it is raised, so a cache keeps this and makes a new exception each time.
    """

    kind: type[HarnessError]
    message: str
    offset: int | None = None
    """In characters of the source; None if it is not about a place in it."""
    details: dict[str, Any] = field(default_factory=dict)

    def error(self, positions: Positions) -> HarnessError:
        """An exception to raise, with line, column and the source line."""
        if self.offset is None:
            return self.kind(self.message, details=dict(self.details))
        line, column = positions.place(self.offset)
        details = self.details | positions.excerpt(self.offset)
        return self.kind(self.message, line=line, column=column, details=details)

    def diagnostic(self, positions: Positions) -> Diagnostic:
        """The same as a diagnostic: its ``code`` is the name of the error class."""
        error = self.error(positions)
        return Diagnostic(
            code=self.kind.__name__,
            severity=Severity.ERROR,
            message=error.message,
            line=error.line,
            column=error.column,
            details=error.details,
        )
