"""What a script is told of a value that JSON would lose: where it is, what it is, and what to send instead."""

from __future__ import annotations

__all__ = ["unsendable"]

# By how the VM's word for it begins, `js/2-values.js`; what is not here says by itself what to do.
_INSTEAD = {
    "function": ("a function", "call it and send what it returns, or leave it out"),
    "symbol": ("a symbol", "send a string"),
    "BigInt": ("a BigInt", "convert it with String(…), or Number(…) if no digit is lost"),
    "undefined": ("undefined", "send null"),
    "NaN": ("NaN", "send null or a string"),
    "Infinity": ("Infinity", "send null or a string"),
    "-Infinity": ("-Infinity", "send null or a string"),
    "a cycle": ("a cycle", "copy the members that are needed"),
    "an invalid Date": ("an invalid Date", "send null"),
    "a Map with a key that is no string": ("", "use string keys, or send [...map]"),
    "nested deeper": ("", "make it flatter"),
}


def unsendable(path: str, what: str) -> str:
    """``at $.a is a function; call it …``, without a full stop. ``what`` is the VM's word for the value."""
    for beginning, (name, advice) in _INSTEAD.items():
        if what.startswith(beginning):
            return f"at {path} is {name + what.removeprefix(beginning) if name else what}; {advice}"
    return f"at {path} is {what}"
