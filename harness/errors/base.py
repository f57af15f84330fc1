"""What every error has: a category, plain data, and how any other exception is told."""

from __future__ import annotations

import enum
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, JsonValue, model_validator

__all__ = [
    "ErrorCategory",
    "ErrorInfo",
    "HarnessError",
    "HarnessInternalError",
    "UsageError",
    "WorkerCrashedError",
    "class_name",
    "extract_error_info",
    "is_retryable",
]


class ErrorCategory(enum.StrEnum):
    """What kind of failure this is, and so what to do about it."""

    TRANSIENT = "TRANSIENT"
    """May go away by itself: try the same thing again."""
    PERMANENT = "PERMANENT"
    """Will fail again in the same way: change the script."""
    RESOURCE = "RESOURCE"
    """A limit was reached: do less, or raise the limit, and try again."""
    PERMISSION = "PERMISSION"
    """Somebody or something said no."""
    VALIDATION = "VALIDATION"
    """The input is not of the form that is asked for: correct it."""

    def is_retryable(self) -> bool:
        """True for ``TRANSIENT`` and ``RESOURCE``."""
        return self in (ErrorCategory.TRANSIENT, ErrorCategory.RESOURCE)


class ErrorInfo(BaseModel):
    """A failure as plain data: what an outcome carries, and what reaches the script and the model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: str
    """Name of a class of this module, or of the JavaScript error (``TypeError``) an uncaught exception was."""
    category: ErrorCategory
    retryable: bool
    """As `ErrorCategory.is_retryable` says of the category; anything else is refused."""
    message: str
    """What happened and what to do about it."""
    line: int | None = None
    """1-based, in the block's own source."""
    column: int | None = None
    """1-based, in characters."""
    stack: str | None = None
    """JavaScript frames (``at f (<script>:3:7)``); never a path of the host."""
    details: dict[str, JsonValue] = {}
    """Facts for programs: limits, names, paths inside values, request ids."""

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.retryable != self.category.is_retryable():
            raise ValueError(f"retryable={self.retryable} does not go with the category {self.category.value}")
        return self


class HarnessError(Exception):
    """Base of every error of the harness.

    The class says which ``category`` an error has; one instance can have another: by ``category``, or by ``retryable``,
    which makes it ``TRANSIENT`` or ``PERMANENT`` if its category says otherwise. Whether an error is retryable follows
    from its category and from nothing else.
    """

    category: ErrorCategory = ErrorCategory.PERMANENT

    def __init_subclass__(cls, **given: Any) -> None:
        if "retryable" in vars(cls):
            raise TypeError(f"{cls.__name__}: set `category`, from which `retryable` follows")
        super().__init_subclass__(**given)

    def __init__(
        self,
        message: str,
        *,
        line: int | None = None,
        column: int | None = None,
        stack: str | None = None,
        category: ErrorCategory | None = None,
        retryable: bool | None = None,
        details: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.column = column
        self.stack = stack
        self.category = category or type(self).category
        if retryable is not None and retryable != self.retryable:
            self.category = ErrorCategory.TRANSIENT if retryable else ErrorCategory.PERMANENT
        self.details: dict[str, Any] = details or {}

    @property
    def retryable(self) -> bool:
        """Whether trying the same thing again may succeed."""
        return self.category.is_retryable()

    def __reduce__(self) -> tuple[Any, ...]:
        # The keyword-only arguments live in __dict__, which pickle restores after calling the class.
        return (type(self), (self.message,), self.__dict__)

    def info(self) -> ErrorInfo:
        """The error as plain data."""
        return ErrorInfo(
            type=class_name(self),
            category=self.category,
            retryable=self.retryable,
            message=self.message,
            line=self.line,
            column=self.column,
            stack=self.stack,
            details=self.details,
        )


class UsageError(HarnessError):
    """Host code used the library in a way it does not allow; the message says which way it does."""

    category = ErrorCategory.VALIDATION


class WorkerCrashedError(HarnessError):
    """The process that ran the script died, or sent something the protocol does not allow."""

    category = ErrorCategory.TRANSIENT


class HarnessInternalError(HarnessError):
    """A defect in the harness. Please report it."""


_BY_BUILTIN: tuple[tuple[type[BaseException], ErrorCategory], ...] = (
    (PermissionError, ErrorCategory.PERMISSION),
    (TimeoutError, ErrorCategory.TRANSIENT),
    (ConnectionError, ErrorCategory.TRANSIENT),
    (InterruptedError, ErrorCategory.TRANSIENT),
    (MemoryError, ErrorCategory.RESOURCE),
    (RecursionError, ErrorCategory.RESOURCE),
    (ValueError, ErrorCategory.VALIDATION),
    (TypeError, ErrorCategory.VALIDATION),
)


def class_name(error: BaseException) -> str:
    """The name of an exception's class, or of its nearest base whose name is one: anything may be called anything."""
    names = (kind.__name__ for kind in type(error).__mro__)
    return next((name for name in names if name.isascii() and name.isidentifier() and len(name) <= 100), "Exception")


def extract_error_info(error: BaseException) -> ErrorInfo:
    """Any exception as plain data.

    An error of the harness gives its own fields. Of any other exception the class name and a category by its
    built-in base are kept; its text is not, since it may hold paths or secrets of the host.
    """
    if isinstance(error, HarnessError):
        return error.info()
    category = next((c for base, c in _BY_BUILTIN if isinstance(error, base)), ErrorCategory.PERMANENT)
    name = class_name(error)
    return ErrorInfo(
        type=name,
        category=category,
        retryable=category.is_retryable(),
        message=f"{name} (its text stays on the host)",
    )


def is_retryable(error: BaseException | ErrorInfo) -> bool:
    """Whether trying the same thing again may succeed."""
    if isinstance(error, ErrorInfo):
        return error.retryable
    return extract_error_info(error).retryable
