"""Read what a node's process is given: its environment and its arguments."""

from __future__ import annotations

import re
import shlex

from dora_rt.descriptor.tree.document import (
    Kind,
    YamlMapping,
    YamlScalar,
    YamlSequence,
    YamlValue,
    describe,
)
from dora_rt.descriptor.tree.fields import is_nothing, read_string
from dora_rt.descriptor.tree.identifiers import expected_string
from dora_rt.descriptor.tree.problems import Problems, quote

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LOADER_VARIABLES = ("LD_PRELOAD", "LD_AUDIT", "DYLD_INSERT_LIBRARIES")
_OWN_PREFIX = "DORA_RT_"


def read_env(value: YamlValue | None, owner: str, problems: Problems) -> dict[str, str]:
    """Read an `env:` mapping; numbers keep the spelling of the file."""
    if value is None or is_nothing(value):
        return {}
    if not isinstance(value, YamlMapping):
        problems.add(
            value.place,
            f"'env' of {owner}: expected a mapping such as 'CI: \"true\"', got {describe(value)}",
        )
        return {}
    env = {}
    for key, item in value.entries:
        if not _is_variable(key, owner, problems):
            continue
        text = _read_variable(item, f"{quote(key.text)} in 'env' of {owner}", problems)
        if text is not None:
            env[key.text] = text
    return env


def read_args(value: YamlValue | None, owner: str, problems: Problems) -> tuple[str, ...]:
    """Read `args:`, one string that is split as a shell would, or a list of strings."""
    if value is None or is_nothing(value):
        return ()
    what = f"'args' of {owner}"
    if isinstance(value, YamlMapping):
        problems.add(value.place, f"{what}: expected a string or a list, got a mapping")
        return ()
    if isinstance(value, YamlSequence):
        args = [read_string(item, what, problems) for item in value.items]
        return tuple(arg for arg in args if arg is not None)
    text = read_string(value, what, problems)
    try:
        return tuple(shlex.split(text or ""))
    except ValueError:
        problems.add(
            value.place,
            f"{what}: a quote or backslash has no end in {quote(value.text)}",
            "a list of strings needs no quoting",
        )
        return ()


def _is_variable(key: YamlScalar, owner: str, problems: Problems) -> bool:
    if not _VARIABLE.fullmatch(key.text):
        problems.add(
            key.place,
            f"invalid variable name {quote(key.text)} in 'env' of {owner}",
            "use a-z, A-Z, 0-9 and '_', beginning with a letter or '_'",
        )
        return False
    if key.text in _LOADER_VARIABLES or key.text.startswith(_OWN_PREFIX):
        problems.add(
            key.place,
            f"{quote(key.text)} may not be set in 'env' of {owner}",
            f"{', '.join(_LOADER_VARIABLES)} and {_OWN_PREFIX}* are refused",
        )
        return False
    if key.kind is not Kind.STRING:
        problems.add(key.place, f"variable name in 'env' of {owner}: {expected_string(key)}")
        return False
    return True


def _read_variable(value: YamlValue, what: str, problems: Problems) -> str | None:
    if isinstance(value, YamlScalar):
        if value.kind in (Kind.INTEGER, Kind.FLOAT):
            return value.text
        # Only these two: whoever writes 'on' may want the word or "true", nobody can tell.
        if value.kind is Kind.BOOLEAN and value.text.lower() in ("true", "false"):
            return value.text.lower()
    if is_nothing(value):
        problems.add(value.place, f"{what} has no value", 'write "" for an empty one')
        return None
    return read_string(value, what, problems)
