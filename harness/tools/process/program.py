"""Where a command's program lies, and whether the operating system could start it, without starting it."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

__all__ = ["find_program"]

_LOOKED_AT = 256
"""Bytes of a file that the kernel looks at to find out what it is."""
_MOST_SCRIPTS = 4
"""How many scripts in a row may be each other's interpreters."""


def find_program(name: str, *, path: str | None, cwd: str) -> str:
    """The file that a command executes. Raises ``OSError`` whose text says what is wrong with it."""
    if "/" in name:
        place = Path(cwd, name)
        if not place.exists():
            raise FileNotFoundError("there is no such file")
        if not place.is_file():
            raise PermissionError("it is no file")
        if not os.access(place, os.X_OK):
            raise PermissionError("it is not executable; make it so (chmod +x), or name its interpreter first")
        found = str(place)
    else:
        looked_up = shutil.which(name, path=path or os.defpath)
        if looked_up is None:
            hint = (
                f" This interpreter is {Path(sys.executable).name!r}: sys.executable."
                if name.startswith("python")
                else ""
            )
            raise FileNotFoundError(
                f"there is no executable of this name on its PATH; install it or give its path.{hint}"
            )
        # Relative entries of PATH are looked up from here, but the command starts elsewhere.
        found = str(Path(looked_up).absolute())
    _check_start(found, path=path, cwd=cwd)
    return found


def _check_start(program: str, *, path: str | None, cwd: str) -> None:
    """Raises ``OSError`` for a script whose interpreter is not there, and for text that names none."""
    place = program
    for _ in range(_MOST_SCRIPTS):
        try:
            with open(place, "rb") as file:  # noqa: PTH123 - of a name that the kernel may know better than pathlib
                start = file.read(_LOOKED_AT)
        except OSError:
            return  # what can be executed need not be readable; the kernel has the last word
        if not start.startswith(b"#!"):
            if place == program:
                _check_first_line(start)
            return
        words = _interpreter(start)
        place = os.path.join(cwd, words[0])  # noqa: PTH118 - as above
        name = os.path.basename(place)  # noqa: PTH119 - as above
        if not os.path.isfile(place) or not os.access(place, os.X_OK):  # noqa: PTH113 - as above
            raise FileNotFoundError(
                f"its interpreter {name!r}, which its first line names, is not there or not executable; install it, or "
                "mend that line"
            )
        if name == "env" and len(words) > 1:
            _check_env(words[1].split(), path=path)
            return


def _check_first_line(start: bytes) -> None:
    """Of a file that names no interpreter: what is no text may be in any format that the kernel knows."""
    if not start:
        raise OSError("it is empty")
    if all(byte >= 0x20 or byte in b"\t\n\r\f" for byte in start):
        raise OSError(
            "it is text without a first line that names its interpreter; begin it with a line such as "
            "#!/usr/bin/env python3, or name the interpreter first"
        )


def _interpreter(start: bytes) -> list[str]:
    """The interpreter that a script's first line names, and the one argument there may be."""
    line = start[2:].partition(b"\n")[0]
    if line.endswith(b"\r"):
        raise OSError("its first line ends with a carriage return, as on Windows; save it with line feeds alone")
    words = line.split(None, 1)
    if not words:
        raise OSError("its first line names no interpreter; write one such as #!/usr/bin/env python3")
    return [os.fsdecode(word) for word in words]


def _check_env(words: list[str], *, path: str | None) -> None:
    if words[0] in ("-S", "--split-string"):
        words = words[1:]
    wanted = words[0] if words else ""
    # Whatever else `env` is told, it knows better than we do.
    if wanted.isascii() and wanted.replace("-", "").replace(".", "").replace("_", "").isalnum() and wanted[0] != "-":
        found = shutil.which(wanted, path=path or os.defpath)
        if found is None:
            raise FileNotFoundError(
                f"its interpreter {wanted!r}, which its first line names, is not on its PATH; install it, or mend that line"
            )
