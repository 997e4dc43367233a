"""The parameters of a module: `params:` of the node that stands for it, `$PARAM_...` inside."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from dora_rt.descriptor.tree.document import (
    Kind,
    YamlMapping,
    YamlScalar,
    YamlSequence,
    YamlValue,
    describe,
)
from dora_rt.descriptor.tree.fields import Fields, is_nothing
from dora_rt.descriptor.tree.problems import Problems, did_you_mean, listing, quote

VARIABLE_PREFIX = "PARAM_"
_NAME = re.compile(r"[A-Za-z0-9_]+")
_REFERENCE = re.compile(rf"\$(?:\{{{VARIABLE_PREFIX}([A-Z0-9_]+)\}}|{VARIABLE_PREFIX}([A-Z0-9_]+))")
# Where a node of a module may refer to them.
_KEYS = ("args", "env", "params", "parameters", "enabled")


def read_parameters(fields: Fields, problems: Problems) -> dict[str, str]:
    """Read `params:` as the variables that the nodes of the module get, such as `PARAM_SPEED`."""
    value = fields.get("params")
    if value is None or is_nothing(value):
        return {}
    if not isinstance(value, YamlMapping):
        what = f"'params' of {fields.owner}: expected a mapping such as 'speed: 2'"
        problems.add(value.place, f"{what}, got {describe(value)}")
        return {}
    found = {}
    for key, item in value.entries:
        what = f"parameter {quote(key.text)} of {fields.owner}"
        if not _NAME.fullmatch(key.text):
            problems.add(key.place, f"invalid {what}", "use a-z, A-Z, 0-9 and '_'")
        elif not isinstance(item, YamlScalar) or item.kind is Kind.NULL:
            expected = "expected a string, a number, true or false"
            problems.add(item.place, f"{what}: {expected}, got {describe(item)}")
        else:
            is_word = item.kind is Kind.BOOLEAN
            found[VARIABLE_PREFIX + key.text.upper()] = item.text.lower() if is_word else item.text
    return found


def substitute(nodes: YamlSequence, parameters: Mapping[str, str], problems: Problems) -> YamlValue:
    """Put the parameters in the place of `$PARAM_...` in the nodes of a module."""
    return _Substitution(parameters, problems).everywhere(nodes)


class _Substitution:
    def __init__(self, parameters: Mapping[str, str], problems: Problems) -> None:
        self._parameters = parameters
        self._problems = problems

    def everywhere(self, value: YamlValue) -> YamlValue:
        match value:
            case YamlMapping():
                entries = (
                    (key, self._in(item) if key.text in _KEYS else self.everywhere(item))
                    for key, item in value.entries
                )
                return replace(value, entries=tuple(entries))
            case YamlSequence():
                return replace(value, items=tuple(self.everywhere(item) for item in value.items))
            case YamlScalar():
                return value

    def _in(self, value: YamlValue) -> YamlValue:
        match value:
            case YamlMapping():
                entries = tuple((key, self._in(item)) for key, item in value.entries)
                return replace(value, entries=entries)
            case YamlSequence():
                return replace(value, items=tuple(self._in(item) for item in value.items))
            case YamlScalar():
                if not _REFERENCE.search(value.text):
                    return value
                text = _REFERENCE.sub(lambda match: self._replacement(match, value), value.text)
                return YamlScalar(text, Kind.STRING, value.place, is_expanded=True)

    def _replacement(self, match: re.Match[str], value: YamlScalar) -> str:
        name = VARIABLE_PREFIX + (match[1] or match[2])
        if name in self._parameters:
            return self._parameters[name]
        shown = name.removeprefix(VARIABLE_PREFIX).lower()
        names = [one.removeprefix(VARIABLE_PREFIX).lower() for one in self._parameters]
        self._problems.spoil(
            value.place,
            f"{quote(match[0])}: the module gets no parameter {quote(shown)} here",
            did_you_mean(shown, names) or f"'params' has: {listing(names) or 'nothing'}",
        )
        return match[0]
