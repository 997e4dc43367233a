"""Decide which names nodes, operators, inputs, outputs and runtimes may have."""

from __future__ import annotations

import re

from dora_rt.descriptor.tree.document import Kind, YamlScalar, YamlValue, describe
from dora_rt.descriptor.tree.problems import Problems, quote

# Names become parts of file names, which is why a leading dot and '..' are out.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_LONGEST = 64
# The processes that dora-launch adds: what others print, and the gateway to other machines.
_RESERVED = ("dora", "dora.network", "dora.clock")


def is_name(text: str) -> bool:
    """Return whether a text may be a name."""
    return _NAME.fullmatch(text) is not None and ".." not in text


def is_port_name(text: str) -> bool:
    """Return whether a text may name an input or an output: several names, with slashes."""
    return len(text) <= _LONGEST and all(is_name(part) for part in text.split("/"))


def read_name(
    value: YamlValue, what: str, problems: Problems, *, is_port: bool = False
) -> str | None:
    """Return a value that must be a name; `what` says whose, such as "node id"."""
    if not isinstance(value, YamlScalar) or (value.kind is Kind.NULL and not value.text):
        problems.add(value.place, f"{what}: expected a name, got {describe(value)}")
        return None
    if not (is_port_name(value.text) if is_port else is_name(value.text)):
        problems.add(value.place, f"invalid {what} {quote(value.text)}", _rule(value.text))
        return None
    if value.kind is not Kind.STRING:
        problems.add(value.place, f"{what}: {expected_string(value)}")
        return None
    return value.text


def read_unreserved_name(value: YamlValue, what: str, problems: Problems) -> str | None:
    """Return a name of something that stands first in `node/output`, or names a process."""
    name = read_name(value, what, problems)
    if name in _RESERVED:
        problems.add(value.place, f"{what} {quote(name)} is reserved", "choose another name")
        return None
    return name


def expected_string(value: YamlValue) -> str:
    """Return the error that a value must be a string, and how to make it one."""
    text = f"expected a string, got {describe(value)}"
    if isinstance(value, YamlScalar) and value.kind is not Kind.STRING and value.text:
        # A word such as 'on' looks like a string to everyone but YAML 1.1.
        text += f': quote it ("{value.text}")'
    return text


def _rule(text: str) -> str:
    if ".." in text:
        return "'..' is not allowed"
    if len(text) > _LONGEST:
        return f"at most {_LONGEST} characters are allowed, got {len(text)}"
    return "use a-z, A-Z, 0-9, '_', '-' and '.', beginning with a letter, a digit or '_'"
