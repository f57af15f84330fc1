"""What one execution is given: who it is for, its limits, data for the script, and how often it may report progress."""

from __future__ import annotations

import difflib
import secrets
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, PlainSerializer, PlainValidator, ValidationError
from pydantic_core import to_json

from harness.errors import UsageError
from harness.limits import Limits
from harness.model import ProgressEvent
from harness.plain import to_plain
from harness.redaction import Redactor

__all__ = ["CALLER", "ExecutionContext", "ProgressGate", "make_test_context", "merge_limits", "new_execution_id"]

MAX_MESSAGE = 1_000
"""Characters of a progress message that are kept."""


def new_execution_id() -> str:
    """An id that no other execution has."""
    return f"exec_{secrets.token_hex(10)}"


class _FrozenDict(dict[str, Any]):
    """A dictionary nobody can change; unlike a mapping proxy it can be copied, pickled and dumped as JSON."""

    def _refuse(self, *_args: Any, **_kwargs: Any) -> Any:
        raise TypeError("The data of an execution's context cannot be changed.")

    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse

    def __copy__(self) -> _FrozenDict:
        return self

    def __deepcopy__(self, _memo: Any) -> _FrozenDict:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return (_FrozenDict, (dict(self),))


def _freeze(value: JsonValue) -> Any:
    if isinstance(value, dict):
        return _FrozenDict({name: _freeze(item) for name, item in value.items()})
    return tuple(_freeze(item) for item in value) if isinstance(value, list) else value


def _thaw(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _thaw(item) for name, item in value.items()}
    return [_thaw(item) for item in value] if isinstance(value, tuple) else value


def _reader(path: str) -> PlainValidator:
    def read(value: Any) -> Any:
        plain = to_plain(value, path=path)
        if not isinstance(plain, dict):
            raise UsageError(f"{path} must be an object of names and JSON values, not {type(value).__name__}.")
        return _freeze(plain)

    return PlainValidator(read)


_AS_DICT = PlainSerializer(_thaw, return_type=dict[str, Any])
_NOTHING: Mapping[str, Any] = _FrozenDict()

Id = Annotated[str, Field(min_length=1, max_length=256)]


class ExecutionContext(BaseModel):
    """What one execution is given. Frozen all the way down: data handed in later changes nothing here.

    Raises `SerializationError` with the path for a function or anything else without a JSON form in ``metadata`` or
    ``inputs``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    execution_id: Id = Field(default_factory=new_execution_id)
    """Of the first block that runs, if it is given; the second one's is ``<id>-2``, and so on."""
    conversation_id: Id | None = None
    session_id: Id | None = None
    user_id: Id | None = None
    limits: Limits = Limits()
    metadata: Annotated[Mapping[str, Any], _reader("metadata"), _AS_DICT] = _NOTHING
    """Whatever the caller wants tools and displays to know. Tools see it whole, scripts with sensitive keys masked."""
    inputs: Annotated[Mapping[str, Any], _reader("inputs"), _AS_DICT] = _NOTHING
    """Data for the script: ``context.inputs``, unredacted."""

    def vm_view(self, redactor: Redactor | None = None) -> dict[str, JsonValue]:
        """What the script sees as its frozen ``context``: plain JSON data, metadata with sensitive keys masked."""
        return {
            "execution_id": self.execution_id,
            "conversation_id": self.conversation_id,
            "session_id": self.session_id,
            "user_id": self.user_id,
            "metadata": (redactor or Redactor()).masked(_thaw(self.metadata)),
            "inputs": _thaw(self.inputs),
            "limits": {name: getattr(self.limits, name) for name in _SCRIPT_LIMITS},
        }


_SCRIPT_LIMITS = (
    "wall_time",
    "cpu_time",
    "memory_bytes",
    "result_bytes",
    "argument_bytes",
    "max_tool_calls",
    "max_concurrent_tool_calls",
    "max_approvals",
    "tool_timeout",
)
"""The limits a script can act on."""


CALLER = ("conversation_id", "session_id", "user_id")
"""The fields that say on whose behalf a text is run."""


def merge_limits(default: Limits, caller: Limits | Mapping[str, Any] | None) -> Limits:
    """``default`` with the fields that ``caller`` sets. Of a `Limits` only the fields given to it count as set.

    Raises `UsageError` that names every field which is unknown or out of range.
    """
    if caller is None:
        return default
    if not isinstance(caller, (Limits, Mapping)):
        raise UsageError(f"limits is a Limits or a dict of the limits to change, not {caller!r}.")
    if not caller:
        return default
    wanted = caller.model_dump(include=caller.model_fields_set) if isinstance(caller, Limits) else dict(caller)
    try:
        return Limits.model_validate({**default.model_dump(), **wanted})
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False)
        raise UsageError(
            "Limits: " + "; ".join(_problem(str(item["loc"][0]), item) for item in problems) + ".",
            details={"fields": [str(item["loc"][0]) for item in problems]},
        ) from None


def _problem(field: str, item: Any) -> str:
    if item["type"] == "extra_forbidden":
        near = difflib.get_close_matches(field, Limits.model_fields, n=1)
        return f"there is no limit {field!r}" + (f"; did you mean {near[0]!r}?" if near else "")
    return f"{field}: {item['msg']}, not {item['input']!r}"


class ProgressGate:
    """Lets through the progress events that the limits allow, and counts the others by the reason they were dropped.

    The time is the execution's own, given with each offer, so that a replay drops the same events.
    """

    def __init__(self, limits: Limits, redactor: Redactor | None = None) -> None:
        self._limits = limits
        self._redactor = redactor or Redactor()
        self._last_ms: float | None = None
        self._passed = 0
        self.dropped: dict[str, int] = {}
        """``rate`` (sooner than ``progress_interval``), ``count`` (past ``max_progress_events``), ``size`` (its data are
        larger than ``argument_bytes``) → how many."""

    def offer(self, message: str, data: JsonValue, now_ms: float) -> ProgressEvent | None:
        """The event, its message cut at 1,000 characters, or None if it was dropped."""
        reason = self._refusal(data, now_ms)
        if reason is not None:
            self.dropped[reason] = self.dropped.get(reason, 0) + 1
            return None
        self._last_ms = now_ms
        self._passed += 1
        cut = len(message) - MAX_MESSAGE
        kept = f"{message[:MAX_MESSAGE]}… ({cut:,} characters cut)" if cut > 0 else message
        return ProgressEvent(message=self._redactor.text(kept), data=self._redactor.masked(data), at_ms=now_ms)

    def _refusal(self, data: JsonValue, now_ms: float) -> str | None:
        if self._passed >= self._limits.max_progress_events:
            return "count"
        if self._last_ms is not None and now_ms - self._last_ms < self._limits.progress_interval * 1000:
            return "rate"
        if data is not None and len(to_json(data)) > self._limits.argument_bytes:
            return "size"
        return None


def make_test_context(
    *,
    execution_id: str = "exec_test",
    conversation_id: str | None = "conv_test",
    session_id: str | None = "sess_test",
    user_id: str | None = "user_test",
    inputs: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
    limits: Limits | Mapping[str, Any] | None = None,
) -> ExecutionContext:
    """A complete context for a test: fixed ids, default limits, and whatever the test is about given by name."""
    return ExecutionContext(
        execution_id=execution_id,
        conversation_id=conversation_id,
        session_id=session_id,
        user_id=user_id,
        inputs=inputs or {},
        metadata=metadata or {},
        limits=merge_limits(Limits(), limits),
    )
