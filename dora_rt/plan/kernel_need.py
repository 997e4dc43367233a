"""How much each process of a plan needs of what the kernel limits: mappings, files, processes."""

from __future__ import annotations

from dataclasses import dataclass

from dora_rt.node_config import NodePlan
from dora_rt.plan.plan import Plan
from dora_rt.runs import MAX_REQUESTERS

# What an interpreter has mapped itself, with what dora_rt imports; a node's own libraries add.
_PYTHON_MAPPINGS = 250
# Standard streams, status pipe, lock, board; and some air for what a node opens itself.
_NODE_DESCRIPTORS = 6 + 10
# Of the launcher: signals, statuses, selector, lock, lifeline, one start of a process, some air;
# the socket of the run and its connections, one that is turned away included.
_LAUNCHER_DESCRIPTORS = 16 + 2 + MAX_REQUESTERS
_DESCRIPTORS_PER_PROCESS = 2  # its output, and a log file
# Launcher and its writer of the console, reaper, fork server, what that forks in between, some air.
_OWN_TASKS = 6


@dataclass(frozen=True, slots=True)
class Footprint:
    """What one process needs.

    Attributes:
        name: name of the process.
        mappings: mappings of memory before the first token.
        most_mappings: mappings if every slot of every edge is used at some time.
        descriptors: open files; a mapped segment keeps one.
    """

    name: str
    mappings: int
    most_mappings: int
    descriptors: int


@dataclass(frozen=True, slots=True)
class Footprints:
    """What a whole run needs; `tasks` are processes and threads, if each node has one thread."""

    launcher: Footprint
    nodes: tuple[Footprint, ...]
    tasks: int

    @property
    def largest(self) -> Footprint:
        """The node with the most mappings."""
        return max(self.nodes, key=lambda node: node.most_mappings)


def find_footprints(plan: Plan, open_files: int = 0) -> Footprints:
    """Compute what every process needs.

    Args:
        plan: what will run.
        open_files: number of files that the launcher has open already.
    """
    processes = len(plan.processes)
    # The board, doorbells, and the pages in which processes show that they are alive; all else is
    # mapped only while it is read.
    beating = sum(process.config.heartbeat_ns is not None for process in plan.processes)
    mappings = _PYTHON_MAPPINGS + 1 + processes + beating
    descriptors = open_files + _LAUNCHER_DESCRIPTORS + _DESCRIPTORS_PER_PROCESS * processes
    return Footprints(
        launcher=Footprint("dora-launch", mappings, mappings, descriptors + beating),
        nodes=tuple(_of(process.name, process.config) for process in plan.processes),
        tasks=processes + _OWN_TASKS,
    )


def _of(name: str, config: NodePlan) -> Footprint:
    mappings = _PYTHON_MAPPINGS + 3  # board, doorbell, sign of life
    descriptors = _NODE_DESCRIPTORS
    slots = 0
    for entry in config.inputs:
        if entry.edge is not None:
            mappings += 4  # words of the output and of the edge, `returned`, pool
            descriptors += 3
            slots += entry.edge.slots
    for output in config.outputs:
        mappings += 2  # words, pool
        descriptors += 3
        # Of each reader: its words, its doorbell, `returned`.
        mappings += 3 * len(output.edges)
        descriptors += len(output.edges)
        slots += sum(edge.slots for edge in output.edges)
    return Footprint(name, mappings, mappings + slots, descriptors)
