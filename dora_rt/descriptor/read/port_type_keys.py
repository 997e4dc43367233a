"""Read `input_types:`, `output_types:` and the like of a node or an operator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dora_rt.descriptor.tree.document import YamlMapping, YamlSequence, YamlValue, describe
from dora_rt.descriptor.tree.fields import Fields, is_nothing, read_string
from dora_rt.descriptor.tree.model import Place
from dora_rt.descriptor.tree.problems import MalformedError, Problems, quote
from dora_rt.descriptor.tree.type_library import TypeName, parse_type_name

PATTERNS = ("service-server", "service-client", "action-server", "action-client")


@dataclass(frozen=True, slots=True)
class Annotation:
    """A type, and where the port and the type are written."""

    name: TypeName
    key_place: Place
    place: Place


@dataclass(frozen=True, slots=True)
class PortTypes:
    """What one node or operator says; by the names of its inputs and outputs.

    Attributes:
        owner: the node or operator, as errors name it.
        operator_id: of an operator in a list, else None.
        inputs: the type of each input.
        outputs: the type of each output.
        metadata: outputs of which it says which metadata they have.
    """

    owner: str
    operator_id: str | None = None
    inputs: Mapping[str, Annotation] = field(default_factory=dict)
    outputs: Mapping[str, Annotation] = field(default_factory=dict)
    metadata: Mapping[str, Place] = field(default_factory=dict)

    @property
    def is_something(self) -> bool:
        """Whether any type is declared."""
        return bool(self.inputs or self.outputs or self.metadata)


def read_port_types(fields: Fields, operator_id: str | None, problems: Problems) -> PortTypes:
    """Read the keys about types of a node or an operator."""
    pattern = fields.string("pattern")
    if pattern is not None and pattern not in PATTERNS:
        what = f"unknown pattern {quote(pattern)} of {fields.owner}"
        problems.add(fields.place_of("pattern"), what, f"use {', '.join(PATTERNS)}")
    return PortTypes(
        fields.owner,
        operator_id,
        _read_types(fields, "input_types", problems),
        _read_types(fields, "output_types", problems),
        _read_metadata(fields, problems),
    )


def _read_types(fields: Fields, key: str, problems: Problems) -> dict[str, Annotation]:
    found = {}
    for name, (key_place, value) in _entries(fields, key, problems).items():
        what = f"{key} of {quote(name)} in {fields.owner}"
        text = read_string(value, what, problems)
        if text is None:
            continue
        try:
            found[name] = Annotation(parse_type_name(text), key_place, value.place)
        except MalformedError as error:
            problems.add(value.place, f"{what}: {error.what}", error.hint)
    return found


def _read_metadata(fields: Fields, problems: Problems) -> dict[str, Place]:
    found = {}
    for name, (key_place, value) in _entries(fields, "output_metadata", problems).items():
        what = f"output_metadata of {quote(name)} in {fields.owner}"
        if not isinstance(value, YamlSequence):
            problems.add(value.place, f"{what}: expected a list of keys, got {describe(value)}")
            continue
        for item in value.items:
            read_string(item, what, problems)
        found[name] = key_place
    return found


def _entries(fields: Fields, key: str, problems: Problems) -> dict[str, tuple[Place, YamlValue]]:
    value = fields.get(key)
    if value is None or is_nothing(value):
        return {}
    if not isinstance(value, YamlMapping):
        what = f"{quote(key)} of {fields.owner}: expected a mapping, got {describe(value)}"
        problems.add(value.place, what)
        return {}
    return {name.text: (name.place, item) for name, item in value.entries}
