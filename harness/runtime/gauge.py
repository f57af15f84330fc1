"""How deep a thread's stack has been used: what tells a script that overflowed it from one that only says so.

The engine ends an overflow with an ordinary ``RangeError``, which any script can throw, too, and of some overflows it
keeps no frames. The memory of the stack cannot be talked into anything: where calls have been, it is written to.
"""

from __future__ import annotations

import ctypes
import errno
import mmap

__all__ = ["StackGauge"]

_DEEP = 0.6
_WINDOW = 16 * 1024
_DONT_NEED = 4
_ATTRIBUTES_BYTES = 256
"""More than any C library's ``pthread_attr_t``."""


class StackGauge:
    """Watches one place of the calling thread's stack, most of the way down to where the engine stops.

    ``stack_bytes`` is what the engine may use. The caller must have used that much of the stack once before, so that it
    is all mapped, and clears it with `reset`. Raises ``OSError`` where a thread cannot tell where its stack is.
    """

    def __init__(self, *, stack_bytes: int) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        lowest, size = _stack_of_this_thread(libc)
        top = lowest + size
        page = mmap.PAGESIZE
        self._madvise = libc.madvise
        self._window = (top - int(stack_bytes * _DEEP)) // page * page
        # From there down, past what the engine allows itself, lies nothing but what deeper calls left behind.
        self._low = max(lowest, (top - stack_bytes - stack_bytes // 8) // page * page)

    @property
    def deep(self) -> bool:
        """Whether the stack has been that deep since the last `reset`."""
        window = ctypes.string_at(self._window, _WINDOW)
        return window.count(0) != _WINDOW

    def reset(self) -> None:
        """Forget it, and give the pages back."""
        length = self._window + _WINDOW - self._low
        failed = self._madvise(ctypes.c_void_p(self._low), ctypes.c_size_t(length), _DONT_NEED) != 0
        # A stack that has never grown that far has nothing there to give back.
        if failed and ctypes.get_errno() != errno.ENOMEM:
            raise OSError(ctypes.get_errno(), "madvise")


def _stack_of_this_thread(libc: ctypes.CDLL) -> tuple[int, int]:
    """The lowest address of the calling thread's stack, and its size in bytes."""
    try:
        # Sources: man 3 pthread_getattr_np, man 3 pthread_attr_getstack (glibc, musl).
        read, stack, destroy = libc.pthread_getattr_np, libc.pthread_attr_getstack, libc.pthread_attr_destroy
        libc.pthread_self.restype = ctypes.c_ulong
    except AttributeError:
        raise OSError("this C library does not tell where a thread's stack is") from None
    attributes = ctypes.create_string_buffer(_ATTRIBUTES_BYTES)
    failed = read(ctypes.c_ulong(libc.pthread_self()), attributes)
    if failed:
        raise OSError(failed, "pthread_getattr_np")
    address, size = ctypes.c_void_p(), ctypes.c_size_t()
    failed = stack(attributes, ctypes.byref(address), ctypes.byref(size))
    destroy(attributes)
    if failed or address.value is None:
        raise OSError(failed, "pthread_attr_getstack")
    return address.value, size.value
