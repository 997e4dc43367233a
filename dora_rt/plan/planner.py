"""From what the user wrote to what will run: every process, name, size and argument decided."""

from __future__ import annotations

import json
from pathlib import Path

from dora_rt.descriptor.tree.model import (
    Descriptor,
    Logging,
    Node,
    Operator,
    OutputSource,
    Resources,
    Supervision,
    Sync,
)
from dora_rt.node_config import CONFIG_VERSION, Api, NodeConfig, OperatorConfig, Route, SyncConfig
from dora_rt.plan.dora_description import describe
from dora_rt.plan.edges import Edges, operator_name, reach, to_ns
from dora_rt.plan.plan import Plan, ProcessPlan
from dora_rt.plan.relay_process import line_sources, plan_relay


def make_plan(descriptor: Descriptor, *, folder: Path, interpreter: str) -> Plan:
    """Decide everything.

    Args:
        descriptor: a checked dataflow.
        folder: absolute folder of the dataflow file; paths are relative to it, nodes run in it.
        interpreter: the Python that runs `.py` files, modules and operators.
    """
    return _Planner(descriptor, folder, interpreter).plan()


class _Planner:
    def __init__(self, descriptor: Descriptor, folder: Path, interpreter: str) -> None:
        self._file = descriptor.file
        self._description = json.dumps(describe(descriptor))
        self._folder = folder
        self._interpreter = interpreter
        self._edges = Edges(descriptor)

    def plan(self) -> Plan:
        edges = self._edges
        upstream = edges.upstream()
        until = edges.until()
        if edges.relay is not None:
            # It is the last to be stopped: the others print until their end.
            upstream[edges.relay] = set().union(*until.values())
        before = {number: reach(number, upstream) for number in upstream}
        processes = [
            self._process(
                number,
                frozenset(upstream[number] - {number}),
                frozenset(other for other in before[number] if number in before[other]),
            )
            for number in edges.names
        ]
        if edges.relay is not None:
            processes[edges.relay] = plan_relay(
                processes[edges.relay], edges.relayed, until, edges.names, self._interpreter
            )
        return Plan(
            self._file,
            tuple(processes),
            tuple(output for outputs in edges.outputs for output in outputs),
            tuple(sorted(edges.edges, key=lambda edge: edge.number)),
            self._description,
            edges.relay,
        )

    def _process(
        self, number: int, upstream: frozenset[int], circle: frozenset[int]
    ) -> ProcessPlan:
        edges = self._edges
        nodes = [] if number == edges.relay else edges.groups[number][1]
        first = nodes[0] if nodes else None
        supervision = Supervision() if first is None else first.supervision
        resources = Resources() if first is None else first.resources
        spin_us = resources.spin_us
        env = dict(pair for node in nodes for pair in node.env)
        return ProcessPlan(
            name=edges.names[number],
            argv=() if first is None else self._argv(first),
            folder=str(self._folder / (resources.working_dir or "")),
            env=tuple(env.items()),
            config=NodeConfig(
                version=CONFIG_VERSION,
                run="",
                node=edges.names[number],
                number=number,
                processes=len(edges.names),
                edges=len(edges.edges),
                status_fd=-1,
                lock_fd=-1,
                heartbeat_ns=to_ns(supervision.heartbeat_timeout_s),
                spin_ns=None if spin_us is None else 1000 * spin_us,
                inputs=tuple(edges.inputs[number]),
                outputs=tuple(edges.outputs[number]),
                operators=tuple(
                    self._operator(node, operator) for node in nodes for operator in node.operators
                ),
                api=Api.EVENTS if first is None else first.api,
                sync=None if first is None else _sync(first.sync),
            ),
            upstream=upstream,
            circle=circle,
            supervision=supervision,
            resources=resources,
            logging=Logging() if first is None else first.logging,
            is_dynamic=first is not None and first.is_dynamic,
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
            # What it prints is not for it to send.
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
