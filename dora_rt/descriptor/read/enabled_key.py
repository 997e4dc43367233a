"""Leave out the nodes that `enabled: false` switches off, and the inputs and calls of others."""

from __future__ import annotations

from dataclasses import replace

from dora_rt.descriptor.tree.document import YamlMapping, YamlScalar, YamlSequence, YamlValue
from dora_rt.descriptor.tree.problems import MalformedError, Problems, quote
from dora_rt.descriptor.tree.quantities import parse_boolean

_KEY = "enabled"


def leave_out_disabled(document: YamlMapping, problems: Problems) -> YamlMapping:
    """Return a dataflow without its disabled nodes, and without the key at the others.

    An input that reads a disabled node goes as well, and so do a call to it and its clock; a note
    tells of each.
    """
    nodes = document.get("nodes")
    if not isinstance(nodes, YamlSequence) or not any(map(_has_key, nodes.items)):
        return document
    kept: list[YamlValue] = []
    disabled: set[str] = set()
    for item in nodes.items:
        if not _has_key(item) or not isinstance(item, YamlMapping):
            kept.append(item)
        elif _is_enabled(item, problems):
            entries = tuple(entry for entry in item.entries if entry[0].text != _KEY)
            kept.append(replace(item, entries=entries))
        else:
            disabled.add(_text(item.get("id")))
    if not kept:
        problems.stop(nodes.place, "no node of the dataflow is enabled")
    kept = [_without_inputs(item, "", disabled, problems) for item in kept]
    document = document.with_entry("nodes", replace(nodes, items=tuple(kept)))
    return _without_clock(document, disabled, problems)


def _without_clock(document: YamlMapping, disabled: set[str], problems: Problems) -> YamlMapping:
    node = _node_of(_text(document.get("clock")))
    if not _is_of(node, disabled):
        return document
    kept = tuple((key, value) for key, value in document.entries if key.text != "clock")
    (place,) = (key.place for key, _ in document.entries if key.text == "clock")
    problems.note(place, f"'clock' is left out: node {quote(node)} is not enabled")
    return replace(document, entries=kept)


def _is_of(node: str, disabled: set[str]) -> bool:
    # `left` stands for all nodes of its module.
    return node in disabled or any(node.startswith(f"{one}.") for one in disabled)


def _has_key(item: YamlValue) -> bool:
    return isinstance(item, YamlMapping) and item.get(_KEY) is not None


def _is_enabled(item: YamlMapping, problems: Problems) -> bool:
    value = item.get(_KEY)
    assert value is not None, "looked for before"
    if isinstance(value, YamlScalar) and "${" in value.text:
        return True  # read without an environment
    try:
        return parse_boolean(value)
    except MalformedError as error:
        owner = f"node {quote(_text(item.get('id')))}"
        problems.add(value.place, f"'enabled' of {owner}: {error.what}", error.hint)
        return True


def _without_inputs(
    value: YamlValue, owner: str, disabled: set[str], problems: Problems
) -> YamlValue:
    """Return a node, or a part of one, without the inputs and calls that need a disabled node."""
    if not isinstance(value, YamlMapping) or not disabled:
        return value
    owner = "/".join(filter(None, (owner, _text(value.get("id")))))
    entries = []
    for key, item in value.entries:
        match key.text, item:
            case "inputs" | "calls", YamlMapping():
                kind = key.text.removesuffix("s")
                item = _kept(item, kind, owner, disabled, problems)
            case "custom" | "operator", YamlMapping():
                item = _without_inputs(item, owner, disabled, problems)
            case "operators", YamlSequence():
                parts = (_without_inputs(part, owner, disabled, problems) for part in item.items)
                item = replace(item, items=tuple(parts))
        entries.append((key, item))
    return replace(value, entries=tuple(entries))


def _kept(
    ports: YamlMapping, kind: str, owner: str, disabled: set[str], problems: Problems
) -> YamlMapping:
    kept = []
    for key, item in ports.entries:
        source = _text(item.get("source") if isinstance(item, YamlMapping) else item)
        node = _node_of(source)
        if _is_of(node, disabled):
            problems.note(
                key.place,
                f"{kind} {quote(f'{owner}/{key.text}')} is left out: node {quote(node)} is not "
                "enabled",
            )
        else:
            kept.append((key, item))
    return replace(ports, entries=tuple(kept))


def _node_of(source: str) -> str:
    parts = source.split("/")
    if parts[:2] == ["dora", "logs"]:
        return parts[3] if len(parts) > 3 else ""
    return parts[0]


def _text(value: YamlValue | None) -> str:
    return value.text if isinstance(value, YamlScalar) else ""
