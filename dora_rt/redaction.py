"""Texts as a log may show them: without the passwords of URLs and pipelines in them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote_plus

HIDDEN = "***"
ENCODING_HINT = (
    "if its user name or password has special characters, write them percent-encoded "
    "(%23 for #, %2F for /, %3F for ?, %40 for @, %5B for [)"
)

# What begins a URL, mistyped ones included (rtsp:/, rtsp//): their password is as secret.
_BEGIN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(?:://|:/|//|:\\\\)|//")
_SECRET_NAME = re.compile(
    r"pas|pwd|psw|pw$|^pw|token|key|secret|auth|cred|session|jwt|sig(?:nature)?$", re.IGNORECASE
)
_PAIR = re.compile(r"([\w.%-]+)(\s*=\s*)(\"[^\"]*\"|'[^']*'|\S+)")
_UNENCODED = frozenset('#/?[]@\\ "<>^`{|}')


def without_secrets(text: str) -> str:
    """Return a source (a URL, pipeline or path) without what must not be read in a log.

    All between `://` and the last `@` is cut, and the values of keys such as `pwd`, `password` and
    `token` are hidden. It works on the text itself, never raises, and rather cuts too much: what is
    no well-formed URL often is none because of its password.
    """
    begin = _BEGIN.search(text)
    query = text.find("?", begin.end() if begin else 0)
    if "@" not in text and query < 0 and "=" not in text:
        return text
    if begin is not None and query >= 0 and " ! " not in text:
        # First: a value may have an @ of its own, and what is behind it is secret too.
        text = text[: query + 1] + _without_values(text[query + 1 :])
    else:
        text = _PAIR.sub(_hide_pair, text)
    at = text.rfind("@")
    start = begin.end() if begin is not None else 0
    # A path may have both characters too: `./12:30@door.mp4`.
    is_user_info = begin is not None or (":" in text[:at] and text[0] not in "/.~")
    return text[:start] + text[at + 1 :] if at >= start and is_user_info else text


def words_without_secrets(words: Iterable[str]) -> str:
    """Return a command line as a log may show it: each word without its secrets."""
    return " ".join(without_secrets(word) for word in words)


def needs_encoding(url: str) -> bool:
    """Whether the user name and password have characters that a URL must not have as they are."""
    scheme, separator, rest = url.partition("://")
    user_info, at, _ = rest.rpartition("@")
    return bool(scheme and separator and at) and not _UNENCODED.isdisjoint(user_info)


def _without_values(query: str) -> str:
    pairs = re.split(r"([&;])", query)
    return "".join(_hide_value(pair) for pair in pairs)


def _hide_value(pair: str) -> str:
    name, equals, _ = pair.partition("=")
    return f"{name}={HIDDEN}" if equals and _is_secret(name) else pair


def _hide_pair(match: re.Match[str]) -> str:
    name, equals, _ = match.groups()
    return f"{name}{equals}{HIDDEN}" if _is_secret(name) else match[0]


def _is_secret(name: str) -> bool:
    return _SECRET_NAME.search(unquote_plus(name)) is not None
