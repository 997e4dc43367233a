"""Check the types of each output against those of the inputs that read it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from dora_rt.descriptor.read.node_keys import ReadNode
from dora_rt.descriptor.read.port_type_keys import Annotation, PortTypes
from dora_rt.descriptor.tree.model import Input, Node, Output, OutputSource, Place, TimerSource
from dora_rt.descriptor.tree.problems import Problems, did_you_mean, listing, quote
from dora_rt.descriptor.tree.type_library import (
    BYTES,
    TICK,
    TypeLibrary,
    TypeName,
    parse_type_name,
)

_MAX_STEPS = 3
_WIDER = (
    ("UInt8", "UInt32"),
    ("UInt32", "UInt64"),
    ("Int32", "Int64"),
    ("Float32", "Float64"),
)


@dataclass(frozen=True, slots=True)
class TypeRules:
    """What fits where: the file's own rules, and whether what does not fit is an error."""

    own: Sequence[tuple[str, str]] = ()
    is_strict: bool = False


@dataclass(slots=True)
class _Report:
    """Where findings go: to the notes, or to the problems if the file is strict."""

    problems: Problems
    is_strict: bool
    library: TypeLibrary
    wider: dict[str, list[str]] = field(default_factory=dict)

    def add(self, place: Place, what: str, hint: str = "") -> None:
        if self.is_strict:
            self.problems.add(place, what, hint)
        else:
            self.problems.note(place, f"{what}; {hint}" if hint else what)

    def knows(self, annotation: Annotation, what: str) -> bool:
        name = annotation.name
        if self.library.has(name):
            return True
        names = self.library.names()
        hint = did_you_mean(name.base, names) or "types of your own are in types/ beside the file"
        self.add(annotation.place, f"{what}: there is no type {quote(name.base)}", hint)
        return False

    def fits(self, given: TypeName, expected: TypeName) -> bool:
        if expected.base == BYTES:
            return True
        if given.base == expected.base:
            return given.agrees_with(expected)
        reached = {given.base}
        for _ in range(_MAX_STEPS):
            reached |= {wider for name in reached for wider in self.wider.get(name, ())}
        return expected.base in reached


def check_types(
    read_nodes: Sequence[ReadNode],
    nodes: Sequence[Node],
    library: TypeLibrary,
    rules: TypeRules,
    problems: Problems,
) -> None:
    """Check the annotations of all nodes.

    Args:
        read_nodes: the nodes, as the file has them.
        nodes: the same nodes, with the sources of their inputs resolved.
        library: the types that there are.
        rules: what fits where.
        problems: where to report.
    """
    report = _Report(problems, rules.is_strict, library)
    for narrow, wide in _WIDER:
        report.wider.setdefault(f"std/core/v1/{narrow}", []).append(f"std/core/v1/{wide}")
    for narrow, wide in rules.own:
        report.wider.setdefault(narrow, []).append(wide)
    given: dict[OutputSource, Annotation] = {}
    for read_node, node in zip(read_nodes, nodes, strict=True):
        for port_types in read_node.port_types:
            inputs, outputs = _ports(node, port_types)
            _check_names(port_types, inputs, outputs, report)
            for output_id, annotation in port_types.outputs.items():
                if report.knows(annotation, f"output {quote(output_id)} of {port_types.owner}"):
                    source = OutputSource(node.id, output_id, port_types.operator_id)
                    given[source] = annotation
    for read_node, node in zip(read_nodes, nodes, strict=True):
        for port_types in read_node.port_types:
            _check_inputs(port_types, _ports(node, port_types)[0], given, report)


def _ports(node: Node, port_types: PortTypes) -> tuple[tuple[Input, ...], tuple[Output, ...]]:
    for operator in node.operators:
        if operator.id == port_types.operator_id:
            return operator.inputs, operator.outputs
    return node.inputs, node.outputs


def _check_names(
    port_types: PortTypes,
    inputs: Iterable[Input],
    outputs: Iterable[Output],
    report: _Report,
) -> None:
    output_ids = [output.id for output in outputs]
    written = (
        ("input_types", [entry.id for entry in inputs], _places(port_types.inputs)),
        ("output_types", output_ids, _places(port_types.outputs)),
        ("output_metadata", output_ids, port_types.metadata),
    )
    for key, ids, places in written:
        for name, place in places.items():
            if name not in ids:
                what = f"{key} of {port_types.owner} names {quote(name)}"
                kind = "input" if key == "input_types" else "output"
                hint = did_you_mean(name, ids) or f"its {kind}s are: {listing(ids) or 'none'}"
                report.add(place, f"{what}, which is none of its {kind}s", hint)


def _places(port_types: Mapping[str, Annotation]) -> dict[str, Place]:
    return {name: annotation.key_place for name, annotation in port_types.items()}


def _check_inputs(
    port_types: PortTypes,
    inputs: Iterable[Input],
    given: Mapping[OutputSource, Annotation],
    report: _Report,
) -> None:
    for entry in inputs:
        expected = port_types.inputs.get(entry.id)
        what = f"input {quote(entry.id)} of {port_types.owner}"
        if expected is None or not report.knows(expected, what):
            continue
        if isinstance(entry.source, TimerSource):
            sent, source = parse_type_name(TICK), "a timer"
        elif isinstance(entry.source, OutputSource) and entry.source in given:
            sent, source = given[entry.source].name, str(entry.source)
        else:
            continue
        if not report.fits(sent, expected.name):
            difference = report.library.difference(sent, expected.name)
            report.add(
                expected.place,
                f"{what} expects {expected.name}, but {source} sends {sent}"
                + (f": {difference}" if difference else ""),
                "change one of them, or say in 'type_rules' that it fits",
            )
