"""Read `env:`, `args:` and `build:` of a node."""

from __future__ import annotations

import re
import shlex

from dora_rt.compiled import PURE_VARIABLE
from dora_rt.descriptor.tree.document import (
    Kind,
    YamlMapping,
    YamlScalar,
    YamlSequence,
    YamlValue,
    describe,
)
from dora_rt.descriptor.tree.fields import Fields, is_nothing, read_string
from dora_rt.descriptor.tree.identifiers import expected_string
from dora_rt.descriptor.tree.model import Build
from dora_rt.descriptor.tree.problems import MalformedError, Problems, quote

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
    is_own = key.text.startswith(_OWN_PREFIX) and key.text != PURE_VARIABLE
    if key.text in _LOADER_VARIABLES or is_own:
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
        # Only these two: 'on' may mean the word or "true", there is no way to tell.
        if value.kind is Kind.BOOLEAN and value.text.lower() in ("true", "false"):
            return value.text.lower()
    if is_nothing(value):
        problems.add(value.place, f"{what} has no value", 'write "" for an empty one')
        return None
    return read_string(value, what, problems)


_SHELL_WORDS = ("&&", "||", "|", ";", "&", "<", ">", ">>", "2>", "2>&1", "&>")
# Also at the end or the beginning of a word, as in `touch a;`. Inside of it & and | are part of
# many an address, and < and > of a version.
_SHELL_MARKS = re.compile(r";|^[&|]|[&|]$")
_QUOTED = re.compile(r"""(?<!\S)(?:'[^']*'|"(?:[^"\\]|\\.)*")(?!\S)""")
_SHELL_VARIABLE = re.compile(r"\$(\{|\(|[A-Za-z_])|`")


def read_build(fields: Fields, label: str) -> tuple[Build, ...]:
    """Read the `build:` of a mapping without parsing its lines; `label` names its owner."""
    text = None if is_nothing(fields.get("build")) else fields.string("build")
    return () if text is None else (Build(label, text, (), fields.place_of("build")),)


def parse_commands(build: Build, problems: Problems) -> list[tuple[str, ...]]:
    """Split a build into its commands; what only a shell would understand goes to `problems`."""
    commands = []
    for line in build.text.splitlines():
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        try:
            commands.append(_parse_line(stripped))
        except MalformedError as error:
            what = f"'build' of {build.label}: {error.what} in {quote(stripped)}"
            problems.add(build.place, what, error.hint)
    return commands


def _parse_line(line: str) -> tuple[str, ...]:
    try:
        words = tuple(shlex.split(line))
    except ValueError:
        raise MalformedError("a quote or backslash has no end") from None
    for word in _QUOTED.sub(" ", line).split():
        if word in _SHELL_WORDS or _SHELL_VARIABLE.search(word) or _SHELL_MARKS.search(word):
            raise MalformedError(
                f"{quote(word)} means something to a shell, and no shell reads this",
                "write each command in a line of its own, or: sh -c '...'",
            )
    return words
