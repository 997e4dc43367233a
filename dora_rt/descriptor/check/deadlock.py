"""Find the cycles of a dataflow in which every process could wait for the next one for ever."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dora_rt.descriptor.tree.model import Input, Node, OutputSource, Place
from dora_rt.node_config import QueuePolicy

# A problem and its place.
Deadlock = tuple[Place, str]

# writer's process -> reader's process -> the input that makes the writer wait
_Waits = dict[str, dict[str, Place]]


def find_deadlocks(nodes: Sequence[Node]) -> Iterator[Deadlock]:
    """Return each cycle that consists of `block` edges only.

    Operators of one process take turns: one that waits keeps all of them from reading, so that a
    process counts as a whole. Between two of them there is no queue to wait for.
    """
    process_of = {node.id: node.runtime or node.id for node in nodes}
    waits: _Waits = {process: {} for process in process_of.values()}
    for source, node_id, reader, place in _block_edges(nodes):
        if source.node not in process_of:
            continue
        from_process, to_process = process_of[source.node], process_of[node_id]
        writer = f"{source.node}/{source.operator}" if source.operator else source.node
        if from_process != to_process:
            waits[from_process].setdefault(to_process, place)
        elif writer == reader:
            yield place, f"deadlock: {writer} → {reader}; make this edge latest or drop_oldest"
    while cycle := _find_cycle(waits):
        # Only the edge that closes the cycle goes: the others may be part of more cycles.
        place = waits[cycle[-1]].pop(cycle[0])
        path = " → ".join((*cycle, cycle[0]))
        yield place, f"deadlock: {path}; make one edge latest or drop_oldest"
    yield from _find_deadlocks_of_calls(nodes, process_of)


def _find_deadlocks_of_calls(
    nodes: Sequence[Node], process_of: dict[str, str]
) -> Iterator[Deadlock]:
    """Return each `block` edge whose reader may wait in a call, directly or not, for its writer.

    Calls alone make none: a node that waits for an answer still hears what it is asked.
    """
    waits: dict[str, set[str]] = {process: set() for process in process_of.values()}
    for node in nodes:
        for call in node.calls:
            if call.server in process_of:
                waits[process_of[node.id]].add(process_of[call.server])
    if not any(waits.values()):
        return
    edges = [
        (process_of[source.node], process_of[node_id], place)
        for source, node_id, _, place in _block_edges(nodes)
        if source.node in process_of and process_of[source.node] != process_of[node_id]
    ]
    for writer, reader, _ in edges:
        waits[writer].add(reader)
    calling = {process_of[node.id] for node in nodes if node.calls}
    for writer, reader, place in edges:
        reached, frontier = {reader}, [reader]
        while frontier:
            for other in waits[frontier.pop()] - reached:
                reached.add(other)
                frontier.append(other)
        if writer in reached and calling & reached:
            yield (
                place,
                f"deadlock: {writer} waits for {reader} to read, which may wait for its answer; "
                "make this edge latest or drop_oldest",
            )


def _block_edges(nodes: Sequence[Node]) -> Iterator[tuple[OutputSource, str, str, Place]]:
    for node in nodes:
        readers = [(node.id, node.inputs)]
        for operator in node.operators:
            reader = node.id if operator.id is None else f"{node.id}/{operator.id}"
            readers.append((reader, operator.inputs))
        for reader, inputs in readers:
            for each in inputs:
                if _makes_wait(each) and isinstance(each.source, OutputSource):
                    yield each.source, node.id, reader, each.place


def _makes_wait(entry: Input) -> bool:
    # Who sends a request or an answer goes on receiving until it has room.
    return entry.queue_policy is QueuePolicy.BLOCK and entry.call_role is None


def _find_cycle(waits: _Waits) -> list[str]:
    """Return the processes of one cycle, beginning with the first of the file, or nothing."""
    remaining = {writer: list(readers) for writer, readers in waits.items()}
    while True:
        # A node that waits for no other is in no cycle, and no other waits for ever because of it.
        remaining = {
            writer: [reader for reader in readers if reader in remaining]
            for writer, readers in remaining.items()
        }
        waiting = {writer: readers for writer, readers in remaining.items() if readers}
        if len(waiting) == len(remaining):
            break
        remaining = waiting
    if not remaining:
        return []
    path = [next(iter(remaining))]
    while (following := remaining[path[-1]][0]) not in path:
        path.append(following)
    cycle = path[path.index(following) :]
    order = list(waits)
    first = cycle.index(min(cycle, key=order.index))
    return cycle[first:] + cycle[:first]
