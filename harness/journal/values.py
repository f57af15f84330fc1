"""What becomes of the private part of an event: kept as it is, encrypted, or left out."""

from __future__ import annotations

import base64
import json
import secrets
from typing import Protocol

from pydantic import JsonValue

from harness.canonical import to_canonical_json
from harness.errors import JournalKeyError, UsageError

__all__ = ["EncryptedValues", "NoValues", "PlainValues", "ValuePolicy", "new_key"]

_KEY_BYTES = 32
_NONCE_BYTES = 12


def new_key() -> str:
    """A fresh key for a journal whose values are encrypted: 256 bits, in URL-safe base64."""
    return base64.urlsafe_b64encode(secrets.token_bytes(_KEY_BYTES)).decode()


class ValuePolicy(Protocol):
    """How private parts are kept."""

    name: str

    def close(self, values: dict[str, JsonValue], bound_to: str) -> tuple[dict[str, JsonValue] | None, str | None]:
        """What is written: the values themselves, or a sealed text, or neither. ``bound_to`` says whose they are."""
        ...

    def open(
        self, values: dict[str, JsonValue] | None, sealed: str | None, bound_to: str
    ) -> dict[str, JsonValue] | None:
        """The values, or None where they were left out. Raises `JournalKeyError`."""
        ...


class PlainValues:
    """Real values, readable by whoever can read the journal."""

    name = "plain"

    def close(self, values: dict[str, JsonValue], bound_to: str) -> tuple[dict[str, JsonValue] | None, str | None]:
        del bound_to
        return values, None

    def open(
        self, values: dict[str, JsonValue] | None, sealed: str | None, bound_to: str
    ) -> dict[str, JsonValue] | None:
        del bound_to
        if sealed is not None:
            raise JournalKeyError(
                "The values in this journal are encrypted; give the key (Journal(key=…), --journal-key)."
            )
        return values


class NoValues(PlainValues):
    """Names, ids and states only: what was recorded can be looked at, but not run again."""

    name = "omitted"

    def close(self, values: dict[str, JsonValue], bound_to: str) -> tuple[dict[str, JsonValue] | None, str | None]:
        del values, bound_to
        return None, None


class EncryptedValues(PlainValues):
    """AES-256-GCM. Each text is bound to its execution, its number and its kind, so that none can stand elsewhere.

    Needs the ``cryptography`` package (``pip install 'tool-calls-harness[encryption]'``). Raises `UsageError` without it
    and for a key that is no 32 bytes in URL-safe base64.
    """

    name = "encrypted"

    def __init__(self, key: str) -> None:
        try:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - an extra
        except ImportError:
            raise UsageError(
                "Encrypting a journal needs the cryptography package: pip install 'tool-calls-harness[encryption]'."
            ) from None
        try:
            raw = base64.urlsafe_b64decode(key)
        except ValueError:
            raw = b""
        if len(raw) != _KEY_BYTES:
            raise UsageError("A journal's key is 32 bytes in URL-safe base64; Journal.new_key() makes one.")
        self._cipher = AESGCM(raw)

    def close(self, values: dict[str, JsonValue], bound_to: str) -> tuple[dict[str, JsonValue] | None, str | None]:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = nonce + self._cipher.encrypt(nonce, to_canonical_json(values).encode(), bound_to.encode())
        return None, base64.b64encode(sealed).decode()

    def open(
        self, values: dict[str, JsonValue] | None, sealed: str | None, bound_to: str
    ) -> dict[str, JsonValue] | None:
        if sealed is None:
            return values
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - an extra

        try:
            raw = base64.b64decode(sealed)
            text = self._cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], bound_to.encode())
        except (InvalidTag, ValueError):
            raise JournalKeyError(
                "The values in this journal cannot be decrypted: they were encrypted with another key, or changed."
            ) from None
        opened: dict[str, JsonValue] = json.loads(text)
        return opened
