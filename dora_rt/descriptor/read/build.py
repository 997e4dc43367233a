"""Read `build:`, the commands that make a node ready to run, one a line; no shell has a part."""

from __future__ import annotations

import re
import shlex

from dora_rt.descriptor.tree.fields import Fields, is_nothing
from dora_rt.descriptor.tree.model import Build
from dora_rt.descriptor.tree.problems import MalformedError, Problems, quote

_SHELL_WORDS = ("&&", "||", "|", ";", "&", "<", ">", ">>", "2>", "2>&1", "&>")
# Also at the end or the beginning of a word, as in `touch a;`. Inside of it & and | are part of
# many an address, and < and > of a version.
_SHELL_MARKS = re.compile(r";|^[&|]|[&|]$")
_QUOTED = re.compile(r"""(?<!\S)(?:'[^']*'|"(?:[^"\\]|\\.)*")(?!\S)""")
_VARIABLE = re.compile(r"\$(\{|\(|[A-Za-z_])|`")


def read_build(fields: Fields, label: str) -> tuple[Build, ...]:
    """Read the `build:` of a mapping, short of what its lines say; `label` is whose it is."""
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
        if word in _SHELL_WORDS or _VARIABLE.search(word) or _SHELL_MARKS.search(word):
            raise MalformedError(
                f"{quote(word)} means something to a shell, and no shell reads this",
                "write each command in a line of its own, or: sh -c '...'",
            )
    return words
