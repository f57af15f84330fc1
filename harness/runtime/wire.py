"""Frames between host and worker: the bridge contract, described in ``specs/protocol.md``.

A frame is four bytes of length (big-endian, of what follows), one byte of kind, and a body of UTF-8 JSON. The host
sends a frame only when the worker waits for one, and the worker answers each with exactly one frame; so neither side
ever writes while the other does, and every execution is a list of whole frames.

Nothing but the standard library is imported here: the worker's process reads this file too.
"""

from __future__ import annotations

import struct

__all__ = [
    "CHECK",
    "DELIVER",
    "ENDED",
    "FAILED",
    "FAILURE",
    "FORK",
    "HEADER",
    "READY",
    "START",
    "STATUS",
    "TURN",
    "UP",
    "VERDICT",
    "WORKER",
    "FrameError",
    "pack_frame",
    "unpack_header",
]

HEADER = struct.Struct(">IB")

# Host to worker.
START = ord("S")
"""Compile and start a script. Answered by TURN."""
DELIVER = ord("D")
"""A clock value with the results and timers it brings, in order. Answered by TURN."""
CHECK = ord("C")
"""Compile a script and run nothing. Answered by VERDICT."""

# Worker to host.
READY = ord("R")
"""Sent once, before anything else: the engine, and which protections are active."""
TURN = ord("T")
"""Everything that happened since the last frame, and how it stands."""
VERDICT = ord("V")
"""Whether a script compiles."""
FAILED = ord("F")
"""The worker cannot serve, and why. It ends after this."""


# Host and zygote speak in whole packets of their own (SOCK_SEQPACKET): a letter and what belongs to it.
FORK = b"F"
"""Host to zygote: fork one worker."""
UP = b"Z"
"""Zygote to host: the VM is hardened."""
WORKER = b"W"
"""Zygote to host: a worker's pid, with two descriptors: its socket and its pidfd."""
ENDED = b"X"
"""Zygote to host: a worker ended; its pid and status."""
FAILURE = b"E"
"""Zygote to host: something failed, in words."""
STATUS = struct.Struct(">Ii")
"""pid and exit status; a negative status is the signal that ended it."""


class FrameError(Exception):
    """A frame that the contract does not allow."""


def pack_frame(kind: int, body: bytes) -> bytes:
    """One frame, ready to be written."""
    return HEADER.pack(len(body) + 1, kind) + body


def unpack_header(header: bytes, *, limit: int) -> tuple[int, int]:
    """The five bytes before a body -> (kind, length of the body).

    Raises ``FrameError`` for a length that is zero or above ``limit``, before anything is allocated for it.
    """
    length, kind = HEADER.unpack(header)
    if not 1 <= length <= limit:
        raise FrameError(f"a frame announces {length} bytes; between 1 and {limit} are allowed")
    return kind, length - 1
