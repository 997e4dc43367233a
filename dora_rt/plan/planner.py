"""From a descriptor to a plan: every process, name, size and argument decided."""

from __future__ import annotations

import json
from pathlib import Path

from dora_rt.descriptor.tree.model import (
    Descriptor,
    Node,
    Operator,
    OutputSource,
    Sync,
)
from dora_rt.node_config import CallConfig, NodePlan, OperatorConfig, Route, SyncConfig
from dora_rt.node_parameters import NodeParameters
from dora_rt.plan.dora_description import describe
from dora_rt.plan.edges import Edges, operator_name, to_ns
from dora_rt.plan.machine_part import MachinePart, Membership, part_of
from dora_rt.plan.plan import Circle, NetworkPlan, Plan, ProcessPlan
from dora_rt.plan.relay_process import line_sources


def make_plan(
    descriptor: Descriptor,
    *,
    folder: Path,
    interpreter: str,
    membership: Membership | None = None,
    agreed: Descriptor | None = None,
) -> Plan:
    """Decide everything.

    Args:
        descriptor: a checked dataflow.
        folder: absolute folder of the dataflow file; paths are relative to it, nodes run in it.
        interpreter: the Python that runs `.py` files, modules and operators.
        membership: which machine of the dataflow this is; None: all of it runs here.
        agreed: what the other machines run, where nodes here were added or replaced.
    """
    part = MachinePart(descriptor)
    if membership is not None:
        part = part_of(descriptor, membership, agreed or descriptor)
    return _Planner(descriptor, folder, interpreter, part).plan()


class _Planner:
    def __init__(
        self,
        descriptor: Descriptor,
        folder: Path,
        interpreter: str,
        part: MachinePart,
    ) -> None:
        self._descriptor = descriptor
        self._description = json.dumps(describe(descriptor))
        self._folder = folder
        self._interpreter = interpreter
        self._part = part
        self._edges = Edges(self._part)

    def plan(self) -> Plan:
        edges = self._edges
        upstream, circles = edges.upstream(), edges.circles()
        processes = [
            self._process(number, nodes, frozenset(upstream[number] - {number}), circles[number])
            for number, (_, nodes) in enumerate(edges.processes())
        ]
        return Plan(
            self._descriptor.file,
            tuple(processes),
            tuple(output for outputs in edges.outputs for output in outputs),
            tuple(sorted(edges.edges, key=lambda edge: edge.number)),
            self._description,
            edges.relay,
            self._network(),
            None if self._descriptor.clock is None else str(self._descriptor.clock),
        )

    def _network(self) -> NetworkPlan | None:
        gateway = self._part.gateway
        if gateway is None or self._edges.gateway is None:
            return None
        ends_all = {
            node.machine
            for node in self._descriptor.nodes
            if node.machine is not None and node.supervision.stops_all
        }
        return NetworkPlan(self._edges.gateway, gateway, frozenset(ends_all))

    def _process(
        self, number: int, nodes: list[Node], upstream: frozenset[int], circle: Circle
    ) -> ProcessPlan:
        edges = self._edges
        # Nodes of one process agree on everything that a process has once.
        first = nodes[0]
        machine_of = {node.id: node.machine for node in self._descriptor.nodes}
        spin_us = first.resources.spin_us
        return ProcessPlan(
            name=edges.names[number],
            argv=self._argv(first),
            folder=str(self._folder / (first.resources.working_dir or "")),
            env=tuple(dict(pair for node in nodes for pair in node.env).items()),
            config=NodePlan(
                node=edges.names[number],
                number=number,
                processes=len(edges.names),
                edges=len(edges.edges),
                heartbeat_ns=to_ns(first.supervision.heartbeat_timeout_s),
                spin_ns=None if spin_us is None else 1000 * spin_us,
                inputs=tuple(edges.inputs[number]),
                outputs=tuple(edges.outputs[number]),
                operators=tuple(
                    self._operator(node, operator) for node in nodes for operator in node.operators
                ),
                api=first.api,
                sync=_sync(first.sync),
                is_relay=number == edges.relay,
                clock=None if number == edges.relay else edges.clock(number),
                calls=tuple(
                    CallConfig(
                        end.name,
                        end.kind,
                        end.peer,
                        end.is_server,
                        is_far=machine_of[end.peer] != first.machine,
                    )
                    for end in first.call_ends
                ),
            ),
            upstream=upstream,
            circle=circle,
            supervision=first.supervision,
            resources=first.resources,
            logging=first.logging,
            is_dynamic=first.is_dynamic,
            parameters=()
            if number == edges.relay
            else tuple(NodeParameters(node.id, node.parameters) for node in nodes),
        )

    def _argv(self, node: Node) -> tuple[str, ...]:
        program = node.program
        if program is None:
            return (self._interpreter, "-u", "-m", "dora_rt.node.runtime")
        if program.module is not None:
            return (self._interpreter, "-u", "-m", program.module, *program.args)
        assert program.path is not None, "a program has a path or a module"
        if node.is_dynamic:
            return ()
        beside = self._folder / program.path
        path = str(beside) if beside.is_file() else program.path
        if path.endswith(".py"):
            return (self._interpreter, "-u", path, *program.args)
        return (path, *program.args)

    def _operator(self, node: Node, operator: Operator) -> OperatorConfig:
        name = operator_name(node, operator)
        edges = self._edges
        routes = []
        for output in operator.outputs:
            source = OutputSource(node.id, output.id, operator.id)
            # The relay sends the lines of a node, not the node itself.
            if source not in line_sources(node):
                links = tuple(edges.links[source])
                routes.append(Route(output.id, edges.external.get(source), links))
        return OperatorConfig(
            name=name,
            path=None if operator.path is None else str(self._folder / operator.path),
            module=operator.module,
            inputs=tuple((f"{name}/{entry.id}", entry.id) for entry in operator.inputs),
            routes=tuple(routes),
        )


def _sync(sync: Sync | None) -> SyncConfig | None:
    if sync is None:
        return None
    return SyncConfig(sync.input_ids, sync.slop_ms * 1_000_000, sync.depth)
