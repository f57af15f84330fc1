"""The body of a response, read up to a limit: of what arrives, and of what it unpacks to."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator

__all__ = ["BodyError", "BodyTooLargeError", "read_body"]

_GZIP = 16 + zlib.MAX_WBITS


class BodyError(Exception):
    """The body is not what its headers say."""


class BodyTooLargeError(BodyError):
    """The body is longer than the limit."""


async def read_body(pieces: AsyncIterator[bytes], *, encoding: str, most: int) -> bytes:
    """The whole body, unpacked if it is packed with gzip. At most ``most`` bytes of it are ever held.

    ``encoding`` is what ``Content-Encoding`` says, empty for nothing. Reading stops at the limit: a packed body is never
    unpacked beyond it, and one that unpacks to little is not read for ever.

    Raises `BodyTooLargeError`, and `BodyError` for a body that is cut off, damaged, or packed in another way.
    """
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return await _read_plain(pieces, most)
    if encoding not in ("gzip", "x-gzip"):
        raise BodyError(f"it is encoded with {encoding[:40]!r}, which was not asked for")
    return await _read_gzip(pieces, most)


async def _read_plain(pieces: AsyncIterator[bytes], most: int) -> bytes:
    body = bytearray()
    async for piece in pieces:
        if len(body) + len(piece) > most:
            raise BodyTooLargeError
        body += piece
    return bytes(body)


async def _read_gzip(pieces: AsyncIterator[bytes], most: int) -> bytes:
    body = bytearray()
    unpacker = zlib.decompressobj(_GZIP)
    arrived = 0
    # What cannot be packed grows by little; more than that is padding that unpacks to nothing.
    most_packed = most + most // 100 + 1024
    try:
        async for piece in pieces:
            arrived += len(piece)
            if arrived > most_packed:
                raise BodyTooLargeError
            packed = piece
            while packed:
                if unpacker.eof:
                    unpacker = zlib.decompressobj(_GZIP)  # several packed parts may follow one another
                body += unpacker.decompress(packed, most - len(body) + 1)
                if len(body) > most:
                    raise BodyTooLargeError
                packed = unpacker.unconsumed_tail or unpacker.unused_data
    except zlib.error:
        raise BodyError("it says it is packed with gzip, and cannot be unpacked") from None
    if arrived and not unpacker.eof:
        raise BodyError("it is packed with gzip, and ends in the middle")
    return bytes(body)
