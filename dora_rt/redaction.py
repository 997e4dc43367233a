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
    r"pas|pwd|psw|pw$|^pw|token|key|secret|auth|cred|session|jwt|sig(?:nature)?$|^_?sid$|^p$"
    r"|^streamid$",
    re.IGNORECASE,
)
_NAME = re.compile(r"([\w.%-]+)\s*=\s*")
_VALUE = re.compile(r"\"[^\"]*\"|'[^']*'|\S+")
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
        path = _without_pairs(text[:query])
        text = f"{path}?{_without_values(text[query + 1 :])}"
    else:
        text = _without_pairs(text)
    at = text.rfind("@")
    start = begin.end() if begin is not None else 0
    # A path may have both characters too: `./12:30@door.mp4`.
    is_user_info = begin is not None or (":" in text[:at] and text[0] not in "/.~")
    return text[:start] + text[at + 1 :] if at >= start and is_user_info else text


def message_without_secrets(message: str) -> str:
    """Return a message that quotes a user's words as a log may show it."""
    if "://" in message:
        scheme = _BEGIN.search(message)
        start = scheme.start() if scheme is not None else 0
        return message[:start] + without_secrets(message[start:])
    # Such as the end of a URL that had a space in its password, or a part of a pipeline.
    return re.sub(r"[^\s'\"]+@", "", _without_pairs(message))


def words_without_secrets(words: Iterable[str]) -> str:
    """Return a command line as a log may show it: each word without its secrets."""
    joined: list[str] = []
    for word in words:
        # A password with a space, without quotes around it: the URL goes on in the next word.
        goes_on = bool(joined) and "://" in joined[-1] and "@" not in joined[-1]
        if goes_on and "@" in word and "://" not in word and not word.startswith("-"):
            joined[-1] += f" {word}"
        else:
            joined.append(word)
    return " ".join(without_secrets(word) for word in joined)


def needs_encoding(url: str) -> bool:
    """Whether the user name and password have characters that a URL must not have as they are."""
    scheme, separator, rest = url.partition("://")
    user_info, at, _ = rest.rpartition("@")
    return bool(scheme and separator and at) and not _UNENCODED.isdisjoint(user_info)


def _without_values(query: str) -> str:
    words = []
    is_hidden = False
    for word in re.split(r"([&;])", query):
        name, equals, _ = word.partition("=")
        if equals:
            is_hidden = _is_secret(name)
            words.append(f"{name}={HIDDEN}" if is_hidden else word)
        elif not is_hidden:
            words.append(word)  # else the value before goes on: it had one of `&;` in it
        elif word in ("&", ";"):
            words.append(word)
    return "".join(words)


def _without_pairs(text: str) -> str:
    """Hide values of secret names in a path or pipeline.

    Many cameras have the password in the path: `/user=admin_password=..._channel=1_stream=0.sdp`.
    """
    shown, end = [], 0
    for name in _NAME.finditer(text):
        if name.start() < end or not _is_secret(name[1]):
            continue
        value = _VALUE.match(text, name.end())
        if value is not None:
            shown += [text[end : name.end()], HIDDEN]
            end = value.end()
    return "".join((*shown, text[end:]))


def _is_secret(name: str) -> bool:
    return _SECRET_NAME.search(unquote_plus(name)) is not None
