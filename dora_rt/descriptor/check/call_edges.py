"""Make `serves:` and `calls:` what they stand for: inputs and outputs of both nodes.

A client has one output and one input for each direction. A server has a pair of its own for each
client, so that an answer goes to the asker and to nobody else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dora_rt.descriptor.read.node_keys import ReadNode
from dora_rt.descriptor.tree.model import (
    Call,
    CallEnd,
    CallRole,
    Input,
    Node,
    Output,
    OutputSource,
    Place,
    Service,
)
from dora_rt.descriptor.tree.problems import Problems, did_you_mean, listing, quote
from dora_rt.node_config import QueuePolicy, ServiceKind

_QUEUE_SIZE = 32
_MAX_HELD = 4
# By kind: what goes to the server, and what comes back.
_THERE = {ServiceKind.CALL: ("request",), ServiceKind.GOAL: ("goal", "cancel")}
_BACK = {ServiceKind.CALL: ("response",), ServiceKind.GOAL: ("feedback", "result")}


def add_call_edges(read_nodes: Sequence[ReadNode], problems: Problems) -> list[ReadNode]:
    """Return the nodes with the inputs and outputs of all calls; unknown names are problems."""
    first: dict[str, ReadNode] = {}
    for each in read_nodes:
        first.setdefault(each.node.id, each)  # two nodes of one id are told elsewhere
    nodes = {node_id: each.node for node_id, each in first.items()}
    called = set()
    for client_id in list(nodes):
        for call in nodes[client_id].calls:
            service = _find_service(call, client_id, nodes, problems)
            if service is None:
                continue
            called.add((call.server, service.name))
            taken = [end.peer for end in nodes[call.server].call_ends if end.name == service.name]
            if client_id in taken:
                what = f"node {quote(client_id)} calls {quote(f'{call.server}/{service.name}')}"
                problems.add(call.place, f"{what} twice", "keep one name for it")
                continue
            nodes[client_id] = _with_client_end(nodes[client_id], call, service)
            server = nodes[call.server]
            nodes[call.server] = _with_server_end(server, call, service, client_id)
    for node in nodes.values():
        _check_ports(node, problems)
        for service in node.services:
            if (node.id, service.name) not in called:
                what = f"no node calls {quote(f'{node.id}/{service.name}')}"
                problems.note(service.place, what)
    return [
        replace(each, node=nodes[each.node.id]) if first[each.node.id] is each else each
        for each in read_nodes
    ]


def _find_service(
    call: Call, client_id: str, nodes: dict[str, Node], problems: Problems
) -> Service | None:
    what = f"node {quote(client_id)} calls {quote(f'{call.server}/{call.service}')}"
    server = nodes.get(call.server)
    if server is None:
        hint = did_you_mean(call.server, nodes) or f"the nodes are: {listing(nodes)}"
        problems.add(call.place, f"{what}, but no node {quote(call.server)} exists", hint)
        return None
    if call.server == client_id:
        problems.add(call.place, f"{what}, which is itself", "call the function in your program")
        return None
    for service in server.services:
        if service.name == call.service:
            return service
    names = [service.name for service in server.services]
    hint = did_you_mean(call.service, names) or (
        f"it serves: {listing(names)}"
        if names
        else f"it serves nothing: add 'serves: [{call.service}]' to it"
    )
    problems.add(call.place, f"{what}, which node {quote(call.server)} does not serve", hint)
    return None


def _with_client_end(node: Node, call: Call, service: Service) -> Node:
    outputs = [_output(f"{call.name}.{part}", call.place) for part in _THERE[service.kind]]
    inputs = [
        _input(
            f"{call.name}.{part}",
            OutputSource(call.server, f"{service.name}.{part}/{node.id}"),
            CallRole.ANSWER,
            call.place,
        )
        for part in _BACK[service.kind]
    ]
    end = CallEnd(call.name, service.kind, call.server, is_server=False)
    return _with_end(node, end, inputs, outputs)


def _with_server_end(node: Node, call: Call, service: Service, client_id: str) -> Node:
    outputs = [
        _output(f"{service.name}.{part}/{client_id}", service.place) for part in _BACK[service.kind]
    ]
    inputs = [
        _input(
            f"{service.name}.{part}/{client_id}",
            OutputSource(client_id, f"{call.name}.{part}"),
            CallRole.REQUEST,
            call.place,
        )
        for part in _THERE[service.kind]
    ]
    end = CallEnd(service.name, service.kind, client_id, is_server=True)
    return _with_end(node, end, inputs, outputs)


def _with_end(node: Node, end: CallEnd, inputs: list[Input], outputs: list[Output]) -> Node:
    return replace(
        node,
        inputs=(*node.inputs, *inputs),
        outputs=(*node.outputs, *outputs),
        call_ends=(*node.call_ends, end),
    )


def _output(name: str, place: Place) -> Output:
    return Output(name, place, is_declared=False)


def _input(name: str, source: OutputSource, role: CallRole, place: Place) -> Input:
    # Of feedback the newest counts: a client that is busy must not hold up its server.
    is_feedback = role is CallRole.ANSWER and name.endswith(".feedback")
    return Input(
        id=name,
        source=source,
        queue_size=_QUEUE_SIZE,
        queue_policy=QueuePolicy.DROP_OLDEST if is_feedback else QueuePolicy.BLOCK,
        max_held=_MAX_HELD,
        slot_nbytes=None,
        place=place,
        call_role=role,
    )


def _check_ports(node: Node, problems: Problems) -> None:
    """Report names that the file gives to inputs or outputs, and calls need."""
    if not node.call_ends:
        return
    for ports, what in ((node.inputs, "input"), (node.outputs, "output")):
        places: dict[str, Place] = {}
        for port in ports:
            if port.id in places:
                label = quote(f"{node.id}/{port.id}")
                where = f"{what} {label} is made by 'serves' or 'calls'"
                problems.add(places[port.id], where, "choose another name for yours")
            places.setdefault(port.id, port.place)
