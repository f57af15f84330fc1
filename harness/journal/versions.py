"""What to say of a record that another version of this library has written."""

from __future__ import annotations

from pydantic import ValidationError

from harness.errors import JournalDamagedError
from harness.journal.journal import Journal
from harness.journal.machine import library_version

__all__ = ["with_version"]


async def with_version(
    journal: Journal, stream: str, error: JournalDamagedError | ValidationError
) -> JournalDamagedError:
    """The error for a record that cannot be used, which also says so if another version of the library wrote it."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        message, details = f"The record of {stream} is not of the form that is known here: {place}: {first['msg']}.", {}
    else:
        message, details = error.message, dict(error.details)
    library = await _library(journal, stream)
    if library is not None and library != library_version():
        details |= {"library": library, "here": library_version()}
        message = f"{message} It was written by version {library} of this library; here is {library_version()}. Use that version."
    return JournalDamagedError(message, details=details)


async def _library(journal: Journal, stream: str) -> str | None:
    """The version that wrote a run, or the run of an execution, as far as that can be read."""
    try:
        run = next((known.run for known in await journal.streams() if known.stream == stream), stream)
        first = (await journal.events(run))[:1]
    except JournalDamagedError:
        return None
    library = first[0].data.get("library") if first else None
    return library if isinstance(library, str) else None
