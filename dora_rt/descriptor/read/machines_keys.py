"""Read `machines:`, `machine:` and dora's `deploy:`: which computer runs which node."""

from __future__ import annotations

import ipaddress
import re
from functools import partial

from dora_rt.descriptor.tree.document import (
    Kind,
    YamlMapping,
    YamlScalar,
    YamlSequence,
    YamlValue,
    describe,
)
from dora_rt.descriptor.tree.fields import Fields, is_nothing, is_null_word
from dora_rt.descriptor.tree.home_folder import with_home
from dora_rt.descriptor.tree.identifiers import is_name, read_name
from dora_rt.descriptor.tree.keys import DEPLOY, MACHINE, MACHINES_KEYS
from dora_rt.descriptor.tree.model import Machine, Machines
from dora_rt.descriptor.tree.problems import MalformedError, Problems, did_you_mean, listing, quote
from dora_rt.descriptor.tree.quantities import parse_boolean, parse_duration_s
from dora_rt.endpoint import endpoint_fault

_EXAMPLE = "machines: {robot: {listen: 192.168.1.20:7447}, laptop: {}}"
_SCHEME = re.compile(r"(?:tcp|tls|quic|udp)(?:/|://)")
_RESERVED = ("router",)
_DAY_S = 24 * 3600.0
_DEPLOY = ("deploy", "_unstable_deploy")


def place_nodes(document: YamlMapping, problems: Problems) -> tuple[YamlMapping, Machines | None]:
    """Write the machine of each node into it, also that of a default or of `deploy:`.

    Returns:
        The dataflow with `machine:` and `working_dir:` at its nodes and without `deploy:`, and its
        machines; None for those of a file that has none.
    """
    value = document.get("machines")
    has_machines = value is not None and not is_null_word(value)
    machines = read_machines(value, problems) if has_machines and value is not None else None
    if not has_machines and not _mentions_machines(document):
        return document, None
    root = _Placement(document, "the dataflow", problems)
    nodes = document.get("nodes")
    if not isinstance(nodes, YamlSequence):
        return document, machines
    items: list[YamlValue] = []
    is_default_taken = False
    for item in nodes.items:
        if not isinstance(item, YamlMapping):
            items.append(item)
            continue
        node_id = item.get("id")
        name = node_id.text if isinstance(node_id, YamlScalar) else "?"
        own = _Placement(item, f"node {quote(name)}", problems)
        if not has_machines:
            _refuse_machine(own, problems)
        items.append(_placed(item, own, root, has_machines=has_machines))
        is_default_taken |= own.machine is None
    if not has_machines:
        _refuse_machine(root, problems)
    elif root.machine is not None and machines is not None and not is_default_taken:
        # Else it is told at the nodes that take it.
        _check_default(root.machine, machines, problems)
    return document.with_entry("nodes", YamlSequence(tuple(items), nodes.place)), machines


def read_machines(value: YamlValue, problems: Problems) -> Machines | None:
    """Read the value of `machines:`; None if it is no mapping with a machine in it."""
    if not isinstance(value, YamlMapping):
        what = f"'machines': expected the machines by name, got {describe(value)}"
        problems.add(value.place, what, f"such as {_EXAMPLE}")
        return None
    shared = Fields(value, "'machines'", problems)
    members = []
    for key, settings in value.entries:
        if key.text in MACHINES_KEYS:
            continue
        name = read_name(key, "machine name", problems)
        if name in _RESERVED:
            what = f"machine name {quote(name)} is reserved: certificates of routers have it"
            problems.add(key.place, what, "choose another name")
        machine = _read_machine(name or key.text, key, settings, problems)
        if name is not None and machine is not None:
            members.append(machine)
    if not members:
        problems.add(value.place, "'machines' names no machine", f"such as {_EXAMPLE}")
        return None
    machines = Machines(
        members=tuple(members),
        place=value.place,
        via=shared.parsed("via", _parse_endpoints) or (),
        fleet=shared.parsed("fleet", _parse_key_part) or "default",
        robot=shared.parsed("name", _parse_key_part),
        is_insecure=shared.parsed("insecure", parse_boolean) or False,
        tls_folder=shared.parsed("tls", _parse_folder),
    )
    # An address that is none has been told already.
    own = [Fields(one, "", problems) for _, one in value.entries if isinstance(one, YamlMapping)]
    is_mistaken = shared.has("via") or any(fields.has("listen") for fields in own)
    _check_addresses(machines, shared, problems, is_mistaken=is_mistaken)
    return machines


class _Placement:
    """Where one mapping says that a node runs: by `machine:`, or by `deploy:` of dora."""

    def __init__(self, mapping: YamlMapping, owner: str, problems: Problems) -> None:
        fields = Fields(mapping, owner, problems)
        self.owner = owner
        self.machine = fields.get("machine")
        self.is_from_dora = False
        self.working_dir: YamlValue | None = None
        for key in _DEPLOY:
            value = fields.get(key)
            if value is None:
                continue
            if not isinstance(value, YamlMapping):
                what = f"{quote(key)} of {owner}: expected {{machine: NAME}}, got {describe(value)}"
                problems.add(value.place, what)
                continue
            deploy = Fields(value, f"{quote(key)} of {owner}", problems)
            deploy.check_keys(DEPLOY)
            self.working_dir = self.working_dir or deploy.get("working_dir")
            machine = deploy.get("machine")
            if machine is not None and self.machine is not None:
                what = f"{owner} has a machine twice, by 'machine' and by {quote(key)}"
                problems.add(machine.place, what, "keep one of them")
            elif machine is not None:
                self.machine, self.is_from_dora = machine, True


def _mentions_machines(document: YamlMapping) -> bool:
    nodes = document.get("nodes")
    items = nodes.items if isinstance(nodes, YamlSequence) else ()
    mappings = [document, *(item for item in items if isinstance(item, YamlMapping))]
    keys = ("machine", *_DEPLOY)
    return any(mapping.get(key) is not None for mapping in mappings for key in keys)


def _refuse_machine(placement: _Placement, problems: Problems) -> None:
    machine = placement.machine
    if machine is None:
        return
    if placement.is_from_dora:
        problems.note(
            machine.place,
            "'deploy' names a machine, and the file has no 'machines': all nodes run on this one",
        )
    else:
        what = f"{placement.owner} has a 'machine', but the file has no 'machines'"
        problems.add(machine.place, what, f"add {_EXAMPLE}")


def _check_default(machine: YamlValue, machines: Machines, problems: Problems) -> None:
    """Report a machine beside `nodes` that does not exist, though no node takes it."""
    known = machines.names()
    if not isinstance(machine, YamlScalar):
        what = f"'machine' of the dataflow: expected a name, got {describe(machine)}"
        problems.add(machine.place, what, f"the machines are: {listing(known)}")
    elif machine.text not in known:
        what = f"the dataflow runs on machine {quote(machine.text)}, which 'machines' does not have"
        hint = did_you_mean(machine.text, known) or f"the machines are: {listing(known)}"
        problems.add(machine.place, what, hint)


def _placed(
    item: YamlMapping, own: _Placement, root: _Placement, *, has_machines: bool
) -> YamlMapping:
    entries = tuple(
        (key, value) for key, value in item.entries if key.text not in ("machine", *_DEPLOY)
    )
    placed = YamlMapping(entries, item.place)
    machine = own.machine or root.machine
    if machine is not None and has_machines:
        placed = placed.with_entry("machine", machine)
    working_dir = own.working_dir or root.working_dir
    if working_dir is not None and placed.get("working_dir") is None:
        placed = placed.with_entry("working_dir", working_dir)
    return placed


def _read_machine(
    name: str, key: YamlScalar, value: YamlValue, problems: Problems
) -> Machine | None:
    if is_nothing(value) or is_null_word(value):
        return Machine(name, key.place)
    if not isinstance(value, YamlMapping):
        what = f"machine {quote(name)}: expected {{}} or {{listen: HOST:PORT}}"
        hint = did_you_mean(name, MACHINES_KEYS) or ""
        problems.add(value.place, f"{what}, got {describe(value)}", hint)
        return None
    fields = Fields(value, f"machine {quote(name)}", problems)
    fields.check_keys(MACHINE)
    parse_timeout_s = partial(parse_duration_s, least_s=0.5, greatest_s=_DAY_S)
    return Machine(
        name,
        key.place,
        listen=fields.parsed("listen", _parse_endpoints) or (),
        is_optional=fields.parsed("optional", parse_boolean) or False,
        timeout_s=fields.parsed("timeout", parse_timeout_s),
    )


def _check_addresses(
    machines: Machines, shared: Fields, problems: Problems, *, is_mistaken: bool
) -> None:
    listening = [machine for machine in machines.members if machine.listen]
    if machines.via and listening:
        what = f"machine {quote(listening[0].name)} listens, and all machines dial 'via'"
        problems.add(listening[0].place, what, "keep 'listen' or 'via'")
    elif len(machines.members) > 1 and not machines.via and not listening and not is_mistaken:
        problems.add(
            shared.place,
            "no machine can be reached: none has an address",
            "add 'listen: HOST:PORT' to one of them, or 'via: HOST:PORT' of a router",
        )
    first_of: dict[str, Machine] = {}
    for machine, endpoint in ((one, endpoint) for one in listening for endpoint in one.listen):
        # Notes: a variable may have another value on each machine.
        first = first_of.setdefault(endpoint, machine)
        if first is not machine:
            what = f"machines {quote(first.name)} and {quote(machine.name)} listen at the same "
            problems.note(machine.place, f"{what}address, {endpoint}")
        elif len(machines.members) > 1 and _is_everywhere(endpoint):
            problems.note(
                machine.place,
                f"machine {quote(machine.name)} listens at all its addresses, {endpoint}: the "
                "others cannot dial that; write one of them, or a variable that they set to it",
            )


def _is_everywhere(endpoint: str) -> bool:
    try:
        return ipaddress.ip_address(endpoint.rpartition(":")[0].strip("[]")).is_unspecified
    except ValueError:
        return False


def _parse_endpoints(value: YamlValue) -> tuple[str, ...]:
    """Return the endpoints of one text or of a list.

    Raises:
        MalformedError: one of them is none.
    """
    if isinstance(value, YamlSequence) and value.items:
        return tuple(endpoint for item in value.items for endpoint in _parse_endpoints(item))
    example = "expected HOST:PORT such as 192.168.1.20:7447"
    # YAML 1.1 takes 10:20 for a number, in base 60; the text is what counts.
    if not isinstance(value, YamlScalar) or is_nothing(value):
        raise MalformedError(f"{example}, or a list of those, got {describe(value)}")
    if _SCHEME.match(value.text):
        raise MalformedError(
            f"{example}, got {quote(value.text)}",
            "leave the protocol out: it is TLS, or plain TCP on loopback or with 'insecure: true'",
        )
    fault = endpoint_fault(value.text)
    if fault is not None:
        raise MalformedError(f"{example}, got {quote(value.text)}", fault)
    return (value.text,)


def _parse_key_part(value: YamlValue) -> str:
    if not isinstance(value, YamlScalar) or value.kind is not Kind.STRING:
        raise MalformedError(f"expected a name, got {describe(value)}")
    if not is_name(value.text):
        raise MalformedError(
            f"invalid name {quote(value.text)}",
            "use a-z, A-Z, 0-9, '_', '-' and '.', beginning with a letter, a digit or '_'",
        )
    return value.text


def _parse_folder(value: YamlValue) -> str:
    if not isinstance(value, YamlScalar) or value.kind is not Kind.STRING or not value.text.strip():
        raise MalformedError(
            f"expected the folder of the certificates, got {describe(value)}",
            "`dora-rt pair` makes one; without 'tls' it is found by itself",
        )
    return with_home(value.text)
