"""Replace `${NAME}` in the values of a dataflow file by what the environment says.

In `env:`, where dora does so too, also `$NAME`, and `{__dora_env: NAME}`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from dora_rt.descriptor.tree.document import (
    MAX_NBYTES,
    Kind,
    YamlMapping,
    YamlScalar,
    YamlSequence,
    YamlValue,
)
from dora_rt.descriptor.tree.keys import UNREAD
from dora_rt.descriptor.tree.problems import Problems, did_you_mean, quote

# `$${` is a way to write `${`; everything else after a dollar sign is left alone.
_REFERENCE = re.compile(r"(?P<escaped>\$\$\{)|\$\{(?P<inside>[^}]*)(?P<end>\}?)")
_REFERENCE_IN_ENV = re.compile(
    r"(?P<escaped>\$\$)|\$(?:\{(?P<inside>[^}]*)(?P<end>\}?)|(?P<name>[A-Za-z_][A-Za-z0-9_]*))"
)
_INSIDE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)
_ENV = "env"
_HOST_VARIABLE = "__dora_env"
# Their keys are names that the user chose, also such as are not read elsewhere.
_OWN_NAMES = (_ENV, "inputs", "parameters")


def expand(
    root: YamlMapping,
    environ: Mapping[str, str] | None,
    problems: Problems,
    arguments: Mapping[str, str] | None = None,
) -> YamlMapping:
    """Expand all values that are read; what comes out is a string, whatever it looks like.

    Args:
        root: the file, or a part of it.
        environ: the environment; None leaves the variables as they are written.
        problems: where to report.
        arguments: those of the file, which go before the environment.
    """
    return _Expansion(environ, arguments or {}, problems).mapping(root, UNREAD)


class _Expansion:
    def __init__(
        self,
        environ: Mapping[str, str] | None,
        arguments: Mapping[str, str],
        problems: Problems,
    ) -> None:
        self._environ = environ
        self._arguments = arguments
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
            case YamlMapping() if key == _ENV:
                entries = tuple((name, self._variable(item)) for name, item in value.entries)
                return replace(value, entries=entries)
            case YamlMapping():
                return self.mapping(value, () if key in _OWN_NAMES else UNREAD)
            case YamlSequence():
                return replace(value, items=tuple(self._value(item, "") for item in value.items))
            case YamlScalar():
                return self._scalar(value) if "${" in value.text else value

    def _variable(self, value: YamlValue) -> YamlValue:
        """Expand the value of a variable of `env:`."""
        if isinstance(value, YamlScalar) and "$" in value.text:
            text = _REFERENCE_IN_ENV.sub(lambda match: self._counted(match, value), value.text)
            return YamlScalar(text, Kind.STRING, value.place, is_expanded=True)
        name = value.get(_HOST_VARIABLE) if isinstance(value, YamlMapping) else None
        if isinstance(name, YamlScalar):
            text = self._lookup(name.text, None, name) or ""
            return YamlScalar(text, Kind.STRING, name.place, is_expanded=True)
        return value

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
            return match["escaped"][1:]
        if name := match.groupdict().get("name"):
            text = self._lookup(name, None, value)
            return match[0] if text is None else text
        inside = _INSIDE.fullmatch(match["inside"]) if match["end"] else None
        if inside is None:
            self._problems.spoil(
                value.place,
                f"cannot expand {quote(match[0])}",
                "write ${NAME} or ${NAME:-default}, and $${ for a '${' that must stay",
            )
            return match[0]
        name, default = inside.groups()
        text = self._lookup(name, default, value)
        return match[0] if text is None else text

    def _lookup(self, name: str, default: str | None, value: YamlScalar) -> str | None:
        if name in self._arguments:
            return self._arguments[name] or default or ""
        if self._environ is None:
            return None
        text = self._environ.get(name)
        # As in a shell: with a default, an empty variable counts as one that is not set.
        if default is not None:
            return text or default
        if text is None:
            self._problems.spoil(
                value.place,
                f"environment variable {name} is not set",
                did_you_mean(name, self._arguments) or f"set it, or use ${{{name}:-default}}",
            )
        return text
