"""Events as they are kept: numbered, chained by their hashes, and signed if there is a key.

The chain detects accidents: an event that is missing, changed, doubled or out of place. Whoever can write to the journal
can make a new chain; only a signature tells theirs from ours. Neither can tell that the last events were cut off, unless
the execution says that it finished.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from harness.canonical import to_canonical_json
from harness.errors import JournalDamagedError

__all__ = ["JOURNAL_VERSION", "Event", "chained", "parse_event", "verify_chain"]

JOURNAL_VERSION = 1
"""Of the form of events. See ``specs/journal.md`` for what changes it."""

Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Event(BaseModel):
    """One entry of a journal."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    version: int
    stream: str
    """Whose event it is: the id of an execution or of a run."""
    seq: Annotated[int, Field(ge=1)]
    """From 1, without a gap, within one stream."""
    kind: str
    at: float
    """When it was recorded, in seconds since the epoch. Nothing depends on it."""
    data: dict[str, JsonValue]
    """The public part."""
    values: dict[str, JsonValue] | None = None
    """The private part; None where it is sealed or was left out."""
    sealed: str | None = None
    """The private part, encrypted."""
    previous: Hex | None
    """``hash`` of the event before; None for the first."""
    hash: Hex
    """SHA-256 of the canonical JSON of everything above."""
    mac: Hex | None = None
    """HMAC-SHA-256 of ``hash`` under the signing key."""

    def to_json(self) -> str:
        """One line of JSON."""
        return self.model_dump_json()


def _digest(fields: dict[str, JsonValue]) -> str:
    return hashlib.sha256(to_canonical_json(fields).encode()).hexdigest()


def _mac(key: bytes, digest: str) -> str:
    return hmac.new(key, digest.encode(), hashlib.sha256).hexdigest()


def chained(
    previous: Event | None,
    *,
    stream: str,
    kind: str,
    at: float,
    data: dict[str, JsonValue],
    values: dict[str, JsonValue] | None,
    sealed: str | None,
    signing_key: bytes | None,
) -> Event:
    """The event that follows ``previous``."""
    fields: dict[str, JsonValue] = {
        "version": JOURNAL_VERSION,
        "stream": stream,
        "seq": 1 if previous is None else previous.seq + 1,
        "kind": kind,
        "at": at,
        "data": data,
        "values": values,
        "sealed": sealed,
        "previous": None if previous is None else previous.hash,
    }
    digest = _digest(fields)
    mac = None if signing_key is None else _mac(signing_key, digest)
    return Event.model_construct(**fields, hash=digest, mac=mac)  # type: ignore[arg-type] # built from what was checked


def parse_event(text: str) -> Event:
    """An event from its line of JSON. Raises `JournalDamagedError`."""
    try:
        data = json.loads(text)
        version = data.get("version") if isinstance(data, dict) else None
        if isinstance(version, int) and version > JOURNAL_VERSION:
            # Said before its form is looked at, which need not be one that is known here.
            raise JournalDamagedError(
                f"An event is of version {version}, and this library knows up to {JOURNAL_VERSION}: a newer one wrote it. "
                "Read it with that.",
                details={"version": version, "known": JOURNAL_VERSION},
            )
        return Event.model_validate(data)
    except (ValidationError, ValueError, RecursionError) as error:
        raise JournalDamagedError(f"An entry of the journal is no event: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return str(error)


def verify_chain(events: Sequence[Event], *, signing_key: bytes | None) -> None:
    """Raises `JournalDamagedError`, with ``details["seq"]``, at the first event that does not follow from those before."""
    previous: Event | None = None
    for event in events:
        problem = _problem(event, previous, signing_key)
        if problem is not None:
            raise JournalDamagedError(
                f"The record of {event.stream} cannot be relied on from event {event.seq} on: {problem}.",
                details={"stream": event.stream, "seq": event.seq},
            )
        previous = event


def _problem(event: Event, previous: Event | None, signing_key: bytes | None) -> str | None:
    after, of = (None, event.stream) if previous is None else (previous.hash, previous.stream)
    mac = None if signing_key is None else _mac(signing_key, event.hash)
    checks = (
        (
            event.version <= JOURNAL_VERSION,
            f"it is of version {event.version}, and this library knows up to {JOURNAL_VERSION}",
        ),
        (event.seq == (1 if previous is None else previous.seq + 1), "an event is missing, doubled or out of order"),
        (event.stream == of, "it belongs to another stream"),
        (event.previous == after, "it does not follow the event before it"),
        (event.hash == _digest(event.model_dump(mode="json", exclude={"hash", "mac"})), "it was changed afterwards"),
        (mac is None or hmac.compare_digest(event.mac or "", mac), "it was not written with the signing key"),
    )
    return next((problem for holds, problem in checks if not holds), None)
