"""Errors about one script."""

from __future__ import annotations

from harness.errors.base import ErrorCategory, HarnessError

__all__ = [
    "BannedIdentifierError",
    "BlockAttributeError",
    "DetachedPromiseError",
    "ReturnValueTooLargeError",
    "ScriptCancelledError",
    "ScriptDeadlockError",
    "ScriptError",
    "ScriptMemoryError",
    "ScriptRuntimeError",
    "ScriptStackError",
    "ScriptSyntaxError",
    "ScriptTimeoutError",
    "ScriptTooLargeError",
    "SerializationError",
]


class ScriptError(HarnessError):
    """Something about one script."""


class ScriptSyntaxError(ScriptError):
    """The script does not compile; ``line`` and ``column`` say where, ``details["source_line"]`` shows it."""

    category = ErrorCategory.VALIDATION


class BannedIdentifierError(ScriptSyntaxError):
    """The script uses ``eval``, ``require``, ``import`` or another construct that is never available."""


class BlockAttributeError(ScriptError):
    """The opening tag has an attribute that is unknown, repeated or malformed."""

    category = ErrorCategory.VALIDATION


class ScriptTooLargeError(ScriptError):
    """The script is longer than ``Limits.script_bytes`` (UTF-8)."""

    category = ErrorCategory.VALIDATION


class ScriptRuntimeError(ScriptError):
    """The script threw and nothing caught it; ``ErrorInfo.type`` is then the JavaScript class's name."""


class ScriptTimeoutError(ScriptError):
    """The script used up a clock; ``details["clock"]`` is ``"wall"`` or ``"cpu"``."""

    category = ErrorCategory.RESOURCE


class ScriptMemoryError(ScriptError):
    """The script used up ``Limits.memory_bytes``."""

    category = ErrorCategory.RESOURCE


class ScriptStackError(ScriptError):
    """The script recursed deeper than ``Limits.stack_bytes`` allows."""

    category = ErrorCategory.RESOURCE


class ScriptDeadlockError(ScriptError):
    """The script waits, and no call, timer or approval is left that could wake it."""


class ScriptCancelledError(ScriptError):
    """The host cancelled the execution."""


class DetachedPromiseError(ScriptError):
    """A tool call that nobody awaited failed, or had to be cancelled when the script ended."""


class ReturnValueTooLargeError(ScriptError):
    """The script's result is larger than ``Limits.result_bytes`` (as JSON, UTF-8)."""

    category = ErrorCategory.VALIDATION


class SerializationError(ScriptError):
    """A value has no JSON form; ``details["path"]`` says where (``$.rows[3].id``)."""

    category = ErrorCategory.VALIDATION
