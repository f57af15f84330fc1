"""What the same script and the same frames may give other results on."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import platform
from pathlib import Path

import harness

__all__ = ["library_version", "machine", "prelude_hash"]


@functools.cache
def machine() -> dict[str, str]:
    """Builds of the engine, of what surrounds the script in its VM, and of the C library its ``Math`` comes from."""
    libc, version = platform.libc_ver()
    return {
        "engine": f"quickjs-ng {importlib.metadata.version('quickjs-ng')}",
        "prelude": prelude_hash(),
        "libc": f"{libc} {version}".strip() or platform.platform(),
        "processor": platform.machine(),
    }


@functools.cache
def library_version() -> str:
    """Of this library."""
    return importlib.metadata.version("tool-calls-harness")


def prelude_hash() -> str:
    """SHA-256 of the JavaScript that every script finds in its VM."""
    digest = hashlib.sha256()
    for path in sorted((Path(harness.__file__ or "").parent / "runtime" / "js").glob("*.js")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
