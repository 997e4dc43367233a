"""Read `serves:` and `calls:` of a node."""

from __future__ import annotations

from dora_rt.descriptor.tree.document import YamlMapping, YamlScalar, YamlSequence, describe
from dora_rt.descriptor.tree.fields import Fields, is_nothing
from dora_rt.descriptor.tree.identifiers import is_name, read_name
from dora_rt.descriptor.tree.model import Call, Service
from dora_rt.descriptor.tree.problems import Problems, quote
from dora_rt.node_config import ServiceKind

_KINDS = {
    **{kind.value: kind for kind in ServiceKind},
    # The words of ROS 2 and of dora.
    "service": ServiceKind.CALL,
    "action": ServiceKind.GOAL,
}


def read_serves(fields: Fields, problems: Problems) -> tuple[Service, ...]:
    """Read what others may ask a node for: a list of names, or a mapping with their kinds."""
    value = fields.get("serves")
    if value is None or is_nothing(value):
        return ()
    if isinstance(value, YamlSequence):
        entries = [(item, ServiceKind.CALL) for item in value.items]
    elif isinstance(value, YamlMapping):
        entries = []
        for key, kind in value.entries:
            text = kind.text if isinstance(kind, YamlScalar) else ""
            if text not in _KINDS:
                what = f"'serves' of {fields.owner}: {quote(key.text)} is {describe(kind)}"
                problems.add(kind.place, what, "write call or goal")
            entries.append((key, _KINDS.get(text, ServiceKind.CALL)))
    else:
        what = f"'serves' of {fields.owner}: expected a list such as '[plan]' or a mapping such as"
        problems.add(value.place, f"{what} '{{drive: goal}}', got {describe(value)}")
        return ()
    services: dict[str, Service] = {}
    for item, service_kind in entries:
        name = read_name(item, "service name", problems)
        if name in services:
            problems.add(item.place, f"{fields.owner} serves {quote(name)} twice")
        elif name:
            services[name] = Service(name, service_kind, item.place)
    return tuple(services.values())


def read_calls(fields: Fields, problems: Problems) -> tuple[Call, ...]:
    """Read what a node asks others for: by the name that it has there, `SERVER/SERVICE`."""
    value = fields.get("calls")
    if value is None or is_nothing(value):
        return ()
    if not isinstance(value, YamlMapping):
        what = f"'calls' of {fields.owner}: expected a mapping such as '{{plan: map_server/plan}}'"
        problems.add(value.place, f"{what}, got {describe(value)}")
        return ()
    calls = []
    for key, item in value.entries:
        name = read_name(key, "name of a call", problems)
        server, _, service = (item.text if isinstance(item, YamlScalar) else "").partition("/")
        if not (is_name(server) and is_name(service)):
            what = f"'calls' of {fields.owner}: {quote(key.text)} is {describe(item)}"
            problems.add(item.place, what, "expected <node>/<service>, such as map_server/plan")
        elif name:
            calls.append(Call(name, server, service, item.place))
    return tuple(calls)
