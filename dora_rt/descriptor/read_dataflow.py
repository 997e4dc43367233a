"""Read a whole dataflow file of either dialect, short of what connects its nodes."""

from __future__ import annotations

from dataclasses import replace

from dora_rt import __version__
from dora_rt.descriptor.check.machines import check_machines
from dora_rt.descriptor.check.ready_parameters import declare_ready_parameters
from dora_rt.descriptor.check.types import TypeRules, check_types
from dora_rt.descriptor.check.wiring import wire
from dora_rt.descriptor.modules.expansion import expand_modules
from dora_rt.descriptor.read.enabled_key import leave_out_disabled
from dora_rt.descriptor.read.env_args_build_keys import read_env
from dora_rt.descriptor.read.input_source import parse_source
from dora_rt.descriptor.read.launch_arguments import ARGUMENTS, settle_arguments
from dora_rt.descriptor.read.machines_keys import place_nodes
from dora_rt.descriptor.read.node_keys import ReadNode, read_node
from dora_rt.descriptor.tree.document import (
    Kind,
    YamlMapping,
    YamlScalar,
    YamlSequence,
    describe,
    parse_document,
)
from dora_rt.descriptor.tree.environment_variables import expand
from dora_rt.descriptor.tree.fields import Fields
from dora_rt.descriptor.tree.host import Host
from dora_rt.descriptor.tree.keys import ROOT, TYPE_RULE
from dora_rt.descriptor.tree.model import ClockSource, Descriptor, OutputSource
from dora_rt.descriptor.tree.problems import MalformedError, Problems, quote
from dora_rt.descriptor.tree.quantities import parse_boolean
from dora_rt.descriptor.tree.type_library import read_type_library

FILE_VERSION = 1


def read_dataflow(text: str, file: str, host: Host, problems: Problems) -> Descriptor:
    """Read a dataflow file's text; problems are collected, and the result is what was valid.

    Raises:
        DescriptorProblems: with a single problem, if the text is not YAML at all, or of a later
            version.
    """
    document = parse_document(text, file, problems)
    _check_version(document, problems)
    arguments = settle_arguments(document, host, problems)
    if host.environ is not None or arguments:
        document = expand(_without_arguments(document), host.environ, problems, arguments)
    document = leave_out_disabled(document, problems)
    document, module_builds = expand_modules(document, host, problems)
    # Nodes of modules have the key as well.
    document = leave_out_disabled(document, problems)
    document, machines = place_nodes(document, problems)
    read_nodes = declare_ready_parameters(
        _read_nodes(document, host, problems), host.environ, problems
    )
    builds = (*module_builds, *(build for node in read_nodes for build in node.builds))
    nodes, clock = wire(read_nodes, _read_clock(document, problems), problems)
    if machines is not None:
        check_machines(nodes, machines, problems)
    if any(each.is_something for node in read_nodes for each in node.port_types):
        library = read_type_library(host.folder, problems)
        check_types(
            read_nodes, nodes, library, _read_type_rules(document, host, problems), problems
        )
    return Descriptor(file, nodes, problems.notes(), builds, machines, clock)


def _without_arguments(document: YamlMapping) -> YamlMapping:
    # They are read already, and may have words in their help that look like a reference.
    entries = tuple(entry for entry in document.entries if entry[0].text != ARGUMENTS)
    return replace(document, entries=entries)


def _read_type_rules(document: YamlMapping, host: Host, problems: Problems) -> TypeRules:
    fields = Fields(document, "the dataflow", problems)
    is_strict = fields.parsed("strict_types", parse_boolean) or host.has_strict_types
    value = fields.get("type_rules")
    rules: list[tuple[str, str]] = []
    if value is not None and not isinstance(value, YamlSequence):
        what = "'type_rules': expected a list such as '- {from: a/v1/A, to: a/v1/B}'"
        problems.add(value.place, f"{what}, got {describe(value)}")
    for item in value.items if isinstance(value, YamlSequence) else ():
        if not isinstance(item, YamlMapping):
            problems.add(item.place, f"'type_rules': expected from and to, got {describe(item)}")
            continue
        rule = Fields(item, "a type rule", problems)
        rule.check_keys(TYPE_RULE)
        narrow, wide = rule.text("from"), rule.text("to")
        if narrow and wide:
            rules.append((narrow, wide))
    return TypeRules(rules, is_strict=is_strict)


def _read_clock(document: YamlMapping, problems: Problems) -> ClockSource | None:
    fields = Fields(document, "the dataflow", problems)
    text = fields.text("clock")
    if text is None:
        return None
    place = fields.place_of("clock")
    try:
        source = parse_source(text)
    except MalformedError as error:
        problems.add(place, f"'clock' of the dataflow: {error.what}", error.hint)
        return None
    if not isinstance(source, OutputSource):
        what = f"'clock' of the dataflow: expected <node>/<output>, got {quote(text)}"
        problems.add(place, what, "such as simulator/clock; without 'clock' timers are real time")
        return None
    return ClockSource(source, place)


def _check_version(document: YamlMapping, problems: Problems) -> None:
    value = document.get("version")
    if value is None:
        return
    if not isinstance(value, YamlScalar) or value.kind is not Kind.INTEGER:
        problems.add(
            value.place,
            f"'version' of the dataflow: expected {FILE_VERSION}, got {describe(value)}",
        )
    elif value.text != str(FILE_VERSION):
        # Whatever else is unknown in it may be right in that version.
        problems.stop(
            value.place,
            f"version {value.text} is not supported: this is dora_rt {__version__}, "
            f"which reads version {FILE_VERSION}",
            "install the dora_rt that the file was written for",
        )


def _read_nodes(document: YamlMapping, host: Host, problems: Problems) -> list[ReadNode]:
    fields = Fields(document, "the dataflow", problems)
    are_keys_known = fields.check_keys(ROOT)
    base_env = read_env(fields.get("env"), "the dataflow", problems)
    value = fields.get("nodes")
    if value is None:
        if are_keys_known:
            what = "'nodes' is missing: expected a list of nodes such as '- id: camera'"
            problems.add(document.place, what)
        return []
    if not isinstance(value, YamlSequence) or not value.items:
        got = "an empty list" if isinstance(value, YamlSequence) else describe(value)
        problems.add(value.place, f"'nodes' must be a non-empty list, got {got}")
        return []
    nodes = [read_node(item, base_env, host, problems) for item in value.items]
    return [node for node in nodes if node is not None]
