"""Standard streams that are not there: started with ``>&-``, or by a supervisor that opened none."""

from __future__ import annotations

import os
import sys

__all__ = ["fill_closed_streams"]


def fill_closed_streams() -> None:
    """Put something in the place of each closed standard stream.

    Left closed, its number would go to the next thing that is opened, a worker's socket perhaps, and whatever prints
    would write there. What stands in for standard input and output refuses to be used, so that nothing is lost in
    silence; what goes to standard error has nowhere to go.
    """
    for number, name, flags in ((0, "stdin", os.O_WRONLY), (1, "stdout", os.O_RDONLY), (2, "stderr", os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            # The lowest number that is free is this one, since those below have been seen to.
            os.open(os.devnull, flags)
            os.set_inheritable(number, True)
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115 -- open for as long as the process
