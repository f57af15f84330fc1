"""What scripts ask for out of habit and cannot have, and what to use instead."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["ABSENT_GLOBALS", "BANNED_IDENTIFIERS", "BANNED_SYNTAX"]

_NETWORK = "There is no network in a script: call a tool that fetches what you need."
_PAGE = "There is no web page in a script: return a value, and call tools for everything outside."
_STORE = "Nothing is stored between scripts: return what is to be kept, or call a tool that stores it."
_FILES = "There are no files and no modules in a script: call a tool that reads or writes them."
_NODE = "This is not Node.js: call a tool for whatever lies outside the script."
_REPEAT = "There is no repeating timer: use a loop that awaits `new Promise(r => setTimeout(r, ms))`."
_SOON = "Use `setTimeout(f, 0)` or `queueMicrotask(f)`."
_FRAME = "There is no screen to draw on: use `setTimeout(f, 0)`."
_MEMORY = "Shared memory is not available: a script runs on one thread, so ordinary arrays are enough."
_GC = "Weak references are not available, since their timing cannot be repeated: use a `Map` or a `WeakMap`."
_THREAD = "There are no threads in a script: use `Promise.all` to run tool calls at the same time."
_ASK = "Nobody can be asked from a script: call a tool that needs approval, or return the question."
_BYTES = "Use `Uint8Array`, `TextEncoder`, `TextDecoder`, `atob` and `btoa`."
_GLOBAL = "Use `globalThis`."

ABSENT_GLOBALS: Mapping[str, str] = MappingProxyType(
    {
        "fetch": _NETWORK,
        "XMLHttpRequest": _NETWORK,
        "WebSocket": _NETWORK,
        "EventSource": _NETWORK,
        "Headers": _NETWORK,
        "Request": _NETWORK,
        "Response": _NETWORK,
        "FormData": _NETWORK,
        "axios": _NETWORK,
        "window": _GLOBAL,
        "self": _GLOBAL,
        "global": _GLOBAL,
        "document": _PAGE,
        "navigator": _PAGE,
        "location": _PAGE,
        "history": _PAGE,
        "localStorage": _STORE,
        "sessionStorage": _STORE,
        "indexedDB": _STORE,
        "caches": _STORE,
        "alert": _ASK,
        "confirm": _ASK,
        "prompt": _ASK,
        "process": _NODE,
        "Deno": _NODE,
        "Bun": _NODE,
        "module": _FILES,
        "exports": _FILES,
        "__dirname": _FILES,
        "__filename": _FILES,
        "require": _FILES,
        "importScripts": _FILES,
        "Blob": _BYTES,
        "File": _FILES,
        "FileReader": _FILES,
        "Buffer": _BYTES,
        "setInterval": _REPEAT,
        "clearInterval": _REPEAT,
        "setImmediate": _SOON,
        "clearImmediate": _SOON,
        "requestAnimationFrame": _FRAME,
        "cancelAnimationFrame": _FRAME,
        "requestIdleCallback": _FRAME,
        "performance": "Use `Date.now()`, which moves only when a tool call or a timer returns.",
        "Intl": "There is no `Intl`: format numbers and dates by hand, or call a tool that does.",
        "WebAssembly": "There is no `WebAssembly`: write the computation in JavaScript, or call a tool.",
        "crypto": "There is no `crypto`: call a tool for hashes and keys; `Math.random()` is seeded and repeatable.",
        "URL": "There is no `URL`: take addresses apart with `split` or a regular expression, or call a tool.",
        "URLSearchParams": "There is no `URLSearchParams`: join `encodeURIComponent(key) + '=' + …` with `&`.",
        "Worker": _THREAD,
        "SharedWorker": _THREAD,
        "MessageChannel": _THREAD,
        "BroadcastChannel": _THREAD,
        "SharedArrayBuffer": _MEMORY,
        "Atomics": _MEMORY,
        "WeakRef": _GC,
        "FinalizationRegistry": _GC,
    }
)
"""Name of a global that other JavaScript environments have → one or two sentences on what to use instead."""

BANNED_IDENTIFIERS: Mapping[str, str] = MappingProxyType(
    {
        "eval": "Code cannot be made from text: write it out, or read data with `JSON.parse`.",
        "Function": (
            "Code cannot be made from text: write `(a, b) => …`; to ask whether `f` is a function, "
            "write `typeof f === 'function'`."
        ),
        "require": "There are no modules: everything outside the script is called as `await tools.<name>({…})`.",
    }
)
"""Name of a global that no script may use → what to do instead."""

BANNED_SYNTAX: Mapping[str, str] = MappingProxyType(
    {
        "import": "There are no modules: everything outside the script is called as `await tools.<name>({…})`.",
        "export": "A script is not a module: give its result with `return`, or as its last expression.",
        "with": "Name the object: `const o = …; o.x`.",
        "debugger": "There is no debugger: write `console.log(…)`.",
        "constructor": "The constructor of a function makes code from text: write the function out.",
    }
)
"""A construct that no script may use → what to do instead."""
