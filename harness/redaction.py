"""What must not be shown.

Two questions are kept apart. What a *person* is shown of a call (an approval, a record, a log) goes through
`Redactor.arguments`: values under a sensitive name are masked, long collections are cut with a count. What the
*text of an exception* may say goes through `scrub_text`, which also hides paths of the host, since such text was
written for a developer and ends up in front of a model.
"""

from __future__ import annotations

import contextlib
import functools
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

from pydantic import JsonValue

from harness.errors import UsageError

__all__ = ["MASK", "Redactor", "current_redactor", "find_mask", "is_sensitive", "scrub_text", "shorten", "visible"]

MASK = "[REDACTED]"

MAX_ITEMS = 10
"""Items of an array that are shown."""
MAX_KEYS = 50
"""Members of an object that are shown."""
MAX_STRING = 2_000
"""Characters of a string that are shown."""
MAX_DEPTH = 20
"""Nesting that is shown."""
MIN_SECRET = 4
"""Characters a registered secret must have."""
_MAX_NAME = 512
"""Characters of a name that are looked at."""
_SCRUB_WINDOW = 8_000
"""Characters of an exception's text that are looked at; far more than is ever kept."""

SENSITIVE_WORDS = frozenset(
    [
        "password",
        "passwords",
        "passwd",
        "pwd",
        "passphrase",
        "passcode",
        "secret",
        "secrets",
        "token",
        "tokens",
        "key",
        "keys",
        "apikey",
        "auth",
        "oauth",
        "authorization",
        "credential",
        "credentials",
        "cookie",
        "cookies",
        "jwt",
        "accesstoken",
        "refreshtoken",
        "authtoken",
        "apitoken",
        "secretkey",
        "privatekey",
        "accesskey",
        "clientsecret",
    ]
)
_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+")

_CUT_MARK = re.compile(r"… [0-9,]+ more\b")

# Shapes that are a credential wherever they stand. Each is anchored at a literal and either ends where its characters
# end or, where something must follow, cannot start again inside itself: so a search is linear.
_TOKEN_SHAPES = re.compile(
    r"""
    \b(?:sk|pk|rk)[-_][A-Za-z0-9_-]{16,}
    | \bgh[pousr]_[A-Za-z0-9]{20,}
    | \bgithub_pat_[A-Za-z0-9_]{20,}
    | \bglpat-[A-Za-z0-9_-]{16,}
    | \b(?:AKIA|ASIA)[A-Z0-9]{16}\b
    | \bAIza[A-Za-z0-9_-]{35}
    | \bxox[a-z]-[A-Za-z0-9-]{10,}
    | \b(?:npm|hf)_[A-Za-z0-9]{20,}
    | \bpypi-[A-Za-z0-9_-]{20,}
    | (?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]*
    | -----BEGIN\ [A-Z ]{0,40}PRIVATE\ KEY-----(?:(?!-----END)[\s\S])*(?:-----END[A-Z ]{0,60}-----)?
    """,
    re.VERBOSE,
)
_SHORTEST_SHAPE = 15
"""Characters that every shape above has at least: names and short values need no search."""
_USERINFO = re.compile(r"(?<![A-Za-z0-9+.-])([A-Za-z][A-Za-z0-9+.-]{0,20}://)[^\s/@'\"]{1,256}@")
_BEARER = re.compile(r"\b(bearer)\s+[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)
_HEADER = re.compile(r"\b((?:proxy-)?authorization|(?:set-)?cookie)(['\"]?\s{0,4}[:=]\s{0,4})[^\r\n]+", re.IGNORECASE)
_PAIR = re.compile(
    r"""(?<![\w-])(?P<name>[A-Za-z_][\w-]{0,80})(?P<glue>["']?\s{0,4}[:=]\s{0,4})(?P<value>"[^"]*"|'[^']*'|[^\s,;&)}\]]+)"""
)
_ERROR_NAME = re.compile(r"(?:Error|Exception|Warning)$")
_QUOTED_PATH = re.compile(r"""(['"])(?:/|~/|[A-Za-z]:[\\/]|\\\\)[^'"\r\n]*\1""")
_PATH = re.compile(
    r"""(?<![\w:/.~\\-])(?:~?/[^\s/'"<>|,;:)\]}]+(?:/[^\s/'"<>|,;:)\]}]*)*|[A-Za-z]:\\[^\s'"<>|,;)]*|\\\\[^\s'"<>|,;)]+)"""
)
_FILE_URL = re.compile(r"""\bfile:/{1,3}[^\s'"<>|,;)\]}]+""", re.IGNORECASE)
# Frames of a traceback that somebody put into a text, with the source lines below each.
_FRAMES = re.compile(r'^[ \t]*File "[^"\n]*", line [^\n]*(?:\n[ \t]+[^\n]*)*', re.MULTILINE)
_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,16}\b")


def is_sensitive(name: str) -> bool:
    """Whether a name says that its value is a credential.

    Whole words in snake, kebab or camel case count: ``api_key`` and ``accessToken``, but not ``author`` or ``monkey``.
    """
    return _is_sensitive(name[:_MAX_NAME])


# The same few names come with every call.
@functools.lru_cache(maxsize=4096)
def _is_sensitive(name: str) -> bool:
    if name.lower() in SENSITIVE_WORDS:
        return True
    return any(word.lower() in SENSITIVE_WORDS for word in _WORD.findall(name))


def find_mask(value: JsonValue, path: str = "$") -> str | None:
    """Where ``value`` holds something that only a redacted display contains: a mask, or the mark of a cut."""
    pending: list[tuple[str, Any]] = [(path, value)]
    while pending:
        place, item = pending.pop()
        if isinstance(item, str):
            if MASK in item or _CUT_MARK.search(item):
                return place
        elif isinstance(item, Mapping):
            for name, member in item.items():
                if _CUT_MARK.search(name):
                    return place
                pending.append((f"{place}.{name}", member))
        elif isinstance(item, Sequence):
            pending.extend((f"{place}[{index}]", member) for index, member in enumerate(item))
    return None


class Redactor:
    """Hides credentials in what is displayed; ``secrets`` are texts to remove wherever they stand.

    Raises `UsageError` for a secret that is no string, or shorter than 4 characters, which would blank out ordinary
    text.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms: set[str] = set()
        if isinstance(secrets, str) or not isinstance(secrets, Iterable):
            raise UsageError("secrets is a list of strings: secrets=[…].")
        for secret in secrets:
            if not isinstance(secret, str):
                # It is not shown, since it may be a secret all the same.
                raise UsageError(f"A registered secret is a string, not {type(secret).__name__}.")
            if len(secret) < MIN_SECRET:
                raise UsageError(f"A registered secret needs at least {MIN_SECRET} characters; leave shorter ones out.")
            # Inside text that is already JSON, quotes and backslashes of a secret stand escaped.
            forms |= {secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
        longest_first = sorted(forms, key=len, reverse=True)
        self._forms = longest_first
        self._secrets = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None
        beginnings = sorted({form[: _beginning(form)] for form in forms}, key=len, reverse=True)
        self._beginnings = re.compile("|".join(map(re.escape, beginnings))) if beginnings else None

    def secrets(self, text: str) -> str:
        """``text`` without the registered secrets, and without the beginning of one where the text was cut in it."""
        if self._secrets is None or self._beginnings is None:
            return text
        text = self._secrets.sub(MASK, text)
        found = self._beginnings.search(text)
        if found is None:
            return text
        kept, done = [], 0
        while found is not None:
            end = self._end_of_part(text, found)
            if end:
                kept += [text[done : found.start()], MASK]
                done = end
            found = self._beginnings.search(text, end or found.start() + 1)
        return "".join(kept) + text[done:]

    def _end_of_part(self, text: str, found: re.Match[str]) -> int:
        """Where the part of a secret ends that begins here; 0 if another word goes on as the secret does not."""
        start = found.start()
        for form in self._forms:
            end = start
            while end - start < len(form) and end < len(text) and text[end] == form[end - start]:
                end += 1
            if end >= start + _beginning(form) and (end == len(text) or not text[end].isalnum()):
                return end
        return 0

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        """What runs inside finds it with `current_redactor`."""
        token = _CURRENT.set(self)
        try:
            yield
        finally:
            _CURRENT.reset(token)

    def text(self, text: str) -> str:
        """``text`` without registered secrets and without anything that has the shape of a credential.

        Pairs such as ``token=…`` are left alone: in a text that a model wrote they could be put in front of
        anything, to hide it from the person who is asked to approve it.
        """
        text = self.secrets(text)
        return text if len(text) < _SHORTEST_SHAPE else _TOKEN_SHAPES.sub(MASK, text)

    def arguments(self, value: JsonValue) -> JsonValue:
        """A copy of ``value`` for display.

        Masked under sensitive names. Arrays are cut at 10 items, objects at 50 members, strings at 2,000 characters
        and nesting at 20 levels; what was left out is counted in its place.
        """
        return self._show(value, MAX_DEPTH)

    def masked(self, value: JsonValue) -> JsonValue:
        """A copy of ``value`` with sensitive values and registered secrets masked and nothing cut."""
        if isinstance(value, str):
            return self.secrets(value)
        if isinstance(value, dict):
            return {
                self.secrets(name): MASK if item is not None and is_sensitive(name) else self.masked(item)
                for name, item in value.items()
            }
        if isinstance(value, list):
            return [self.masked(item) for item in value]
        return value

    def message(self, text: str) -> str:
        """The message of an error that a tool wrote for scripts: without secrets, tokens, and passwords in addresses."""
        text = _USERINFO.sub(rf"\g<1>{MASK}@", self.text(text))
        return _BEARER.sub(rf"\g<1> {MASK}", text)

    def details(self, value: JsonValue) -> JsonValue:
        """As `masked`, and each string as `message`."""
        if isinstance(value, str):
            return self.message(value)
        if isinstance(value, dict):
            return {
                self.text(name): MASK if item is not None and is_sensitive(name) else self.details(item)
                for name, item in value.items()
            }
        if isinstance(value, list):
            return [self.details(item) for item in value]
        return value

    def _show(self, value: JsonValue, depth: int) -> JsonValue:
        if isinstance(value, str):
            shown = self.text(value)
            cut = len(shown) - MAX_STRING
            return f"{shown[:MAX_STRING]}… {cut:,} more characters" if cut > 0 else shown
        if isinstance(value, (dict, list)) and value and depth == 0:
            return f"[… {len(value):,} more]"
        if isinstance(value, dict):
            shown_members: dict[str, JsonValue] = {}
            for count, (name, item) in enumerate(value.items()):
                if count == MAX_KEYS:
                    shown_members[f"… {len(value) - MAX_KEYS:,} more"] = None
                    break
                hidden = item is not None and is_sensitive(name)
                shown_members[self.text(name)] = MASK if hidden else self._show(item, depth - 1)
            return shown_members
        if isinstance(value, list):
            items = [self._show(item, depth - 1) for item in value[:MAX_ITEMS]]
            if len(value) > MAX_ITEMS:
                items.append(f"… {len(value) - MAX_ITEMS:,} more")
            return items
        return value


_NO_SECRETS = Redactor()
_CURRENT: ContextVar[Redactor] = ContextVar("harness_redactor", default=_NO_SECRETS)


def current_redactor() -> Redactor:
    """That of the harness in whose run this is called; outside of one, a redactor that knows no secrets."""
    return _CURRENT.get()


def _beginning(form: str) -> int:
    """Characters of a secret that are too many to be shown: a quarter, from 4 to 16."""
    return max(MIN_SECRET, min(len(form) // 4, 16))


def shorten(text: str, most: int, tail: str = "… ({length:,} characters)") -> str:
    """At most ``most`` characters of a text, without registered secrets; where it was cut, ``tail`` says how long it was.

    The secrets go first: of one that lay across the cut, half would be left.
    """
    clean = current_redactor().secrets(text)
    return clean if len(clean) <= most else clean[:most] + tail.format(length=len(text))


def _scrub_pair(match: re.Match[str]) -> str:
    name = match["name"]
    if not is_sensitive(name) or _ERROR_NAME.search(name) or match["value"].startswith(MASK[:-1]):
        return match[0]
    return f"{name}{match['glue']}{MASK}"


def scrub_text(text: str, redactor: Redactor | None = None, *, limit: int = 500) -> str:
    """The text of an exception without credentials and without paths, addresses or stack frames of the host.

    At most ``limit`` characters are kept; the text then says how many were cut.
    """
    window = text[:_SCRUB_WINDOW]
    window = (redactor or current_redactor()).text(window)
    window = _FRAMES.sub("[frames]", window)
    window = _USERINFO.sub(rf"\g<1>{MASK}@", window)
    window = _HEADER.sub(rf"\g<1>\g<2>{MASK}", window)
    window = _BEARER.sub(rf"\g<1> {MASK}", window)
    window = _PAIR.sub(_scrub_pair, window)
    window = _FILE_URL.sub("[path]", window)
    window = _QUOTED_PATH.sub(r"\g<1>[path]\g<1>", window)
    window = _PATH.sub("[path]", window)
    window = _ADDRESS.sub("0x…", window)
    cut = max(len(window) - limit, 0) + len(text[_SCRUB_WINDOW:])
    return f"{window[:limit]}… ({cut:,} characters cut)" if cut else window


_INVISIBLE = frozenset({"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"})


def visible(text: str, *, keep: str = "") -> str:
    r"""``text`` with every control, format and bidirectional character written as ``\u{…}``, except those in ``keep``.

    So a terminal is never steered by what it shows, and two texts that look alike are not different.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char if char in keep or char == " " or unicodedata.category(char) not in _INVISIBLE else f"\\u{{{ord(char):x}}}"
        for char in text
    )
