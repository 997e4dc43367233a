"""Replace `${NAME}` in the values of a dataflow file by what the environment says."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from dora_rt.descriptor.document import (
    MAX_NBYTES,
    Kind,
    YamlMapping,
    YamlScalar,
    YamlSequence,
    YamlValue,
)
from dora_rt.descriptor.keys import UNREAD
from dora_rt.descriptor.problems import Problems, quote

# `$${` is a way to write `${`; everything else after a dollar sign is left alone.
_REFERENCE = re.compile(r"(?P<escaped>\$\$\{)|\$\{(?P<inside>[^}]*)(?P<end>\}?)")
_INSIDE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)
# Their keys are names that the user chose, also such as are not read elsewhere.
_OWN_NAMES = ("env", "inputs")


def expand(root: YamlMapping, environ: Mapping[str, str], problems: Problems) -> YamlMapping:
    """Expand all values that are read; what comes out is a string, whatever it looks like."""
    return _Expansion(environ, problems).mapping(root, UNREAD)


class _Expansion:
    def __init__(self, environ: Mapping[str, str], problems: Problems) -> None:
        self._environ = environ
        self._problems = problems
        self._nbytes = 0

    def mapping(self, mapping: YamlMapping, unread: Iterable[str]) -> YamlMapping:
        return replace(
            mapping,
            entries=tuple(
                (key, value if key.text in unread else self._value(value, key.text))
                for key, value in mapping.entries
            ),
        )

    def _value(self, value: YamlValue, key: str) -> YamlValue:
        match value:
            case YamlMapping():
                return self.mapping(value, () if key in _OWN_NAMES else UNREAD)
            case YamlSequence():
                return replace(value, items=tuple(self._value(item, "") for item in value.items))
            case YamlScalar():
                return self._scalar(value) if "${" in value.text else value

    def _scalar(self, value: YamlScalar) -> YamlScalar:
        text = _REFERENCE.sub(lambda match: self._counted(match, value), value.text)
        return YamlScalar(text, Kind.STRING, value.place, is_expanded=True)

    def _counted(self, match: re.Match[str], value: YamlScalar) -> str:
        replacement = self._replacement(match, value)
        self._nbytes += len(replacement)
        if self._nbytes > MAX_NBYTES:
            self._problems.stop(
                value.place,
                f"file too complex: larger than {MAX_NBYTES // 1024} KiB, variables written out",
            )
        return replacement

    def _replacement(self, match: re.Match[str], value: YamlScalar) -> str:
        if match["escaped"]:
            return "${"
        inside = _INSIDE.fullmatch(match["inside"]) if match["end"] else None
        if inside is None:
            self._problems.spoil(
                value.place,
                f"cannot expand {quote(match[0])}",
                "write ${NAME} or ${NAME:-default}, and $${ for a '${' that is to stay",
            )
            return match[0]
        name, default = inside.groups()
        text = self._environ.get(name)
        # As in a shell: with a default, an empty variable counts as one that is not set.
        if default is not None:
            return text or default
        if text is None:
            self._problems.spoil(
                value.place,
                f"environment variable {name} is not set",
                f"set it, or use ${{{name}:-default}}",
            )
            return match[0]
        return text
