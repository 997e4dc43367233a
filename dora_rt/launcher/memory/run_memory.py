"""The shared objects of one run: made by the launcher, read at the end, and removed by it."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

from dora_rt.launcher.memory.counters import (
    NOTHING,
    EdgeCounters,
    add,
    has_read_all,
    read_present,
    read_reader,
    read_sent,
    read_writer,
)
from dora_rt.launcher.memory.generations import (
    EdgeMemory,
    Outdated,
    OutputMemory,
    create_edge,
    create_output,
    create_words,
    keep_closed,
    unlink_outdated,
    wake_writer,
)
from dora_rt.node_config import EdgeConfig, NodePlan, OutputConfig, QueuePolicy
from dora_rt.plan.plan import Plan
from dora_rt.transport.board import Board, Fate, Peer, board_nbytes, format_board
from dora_rt.transport.clock import CLOCK_NBYTES, format_clock
from dora_rt.transport.primitives import object_names
from dora_rt.transport.primitives.fence import Fence
from dora_rt.transport.primitives.shm import Semaphore, create_semaphore, unlink_run

_TIDY_NS = 50_000_000


class RunMemory:
    """All shared objects of a run; a context manager that leaves nothing behind."""

    def __init__(self, plan: Plan, run: str) -> None:
        self._plan = plan
        self._run = run
        self._pass_fence = Fence().pass_through
        self._doorbells: list[Semaphore] = []
        self._pulses: dict[int, memoryview] = {}
        self._outputs: dict[int, OutputMemory] = {}
        self._edges: dict[int, EdgeMemory] = {}
        self._edges_of: defaultdict[int, list[EdgeMemory]] = defaultdict(
            list
        )  # by process, both ends
        self._outdated: list[Outdated] = []
        self._tidied_ns = 0
        # Processes that may still have to attach to what their configuration names.
        self._unattached = {
            process.config.number
            for process in plan.processes
            if process.has_ports and not process.is_dynamic
        }
        # Dynamic nodes whose first objects nobody has used yet.
        self._unused = {process.config.number for process in plan.processes if process.is_dynamic}

    @classmethod
    def create(cls, plan: Plan, run: str) -> RunMemory:
        """Make every object of the plan.

        Raises:
            SharedMemoryFullError: /dev/shm has no room; nothing is left of what was made.
        """
        memory = cls(plan, run)
        try:
            memory._create()
        except BaseException:
            memory.close()
            raise
        return memory

    def start(self) -> int:
        """Let the first inputs flow, and return the time of the start."""
        now_ns = time.monotonic_ns()
        self._board.start(now_ns)
        for doorbell in self._doorbells:
            doorbell.release()
        return now_ns

    @property
    def start_ns(self) -> int:
        """When the first input could flow; 0 while it could not."""
        return self._board.start_ns

    def tell_to_stop(self, process: int, *, comes_back: bool = False) -> None:
        """Tell a process to end; its peers wait for another one if it comes back."""
        self._board.stop(process, comes_back=comes_back)
        self._doorbells[process].release()

    def tell_parameters(self, process: int, version: int) -> None:
        """Tell a process that its parameters have changed so often; their file is there."""
        self._pass_fence()
        self._board.set_parameters(process, version)
        self._doorbells[process].release()

    def last_beat_ns(self, process: int) -> int:
        """Return when a process with a heartbeat last showed that it is alive."""
        return self._pulses[process][0]

    def mark_dead(self, process: int, *, returns: bool, keeps_queues: bool = True) -> None:
        """Tell the peers of a process that it is gone; only after it was reaped.

        Args:
            process: its number.
            returns: whether there will be another one, for which its readers wait.
            keeps_queues: whether its writers wait for that one, too.
        """
        self._unattached.discard(process)
        for edge in self._edges_of[process]:
            if edge.config.writer == process:
                edge.writer_fate = Fate.AWAY if returns else Fate.GONE
            if edge.config.reader == process:
                edge.reader_fate = Fate.AWAY if returns and keeps_queues else Fate.GONE
        self._announce(self._edges_of[process])

    def admit(self, process: int) -> NodePlan:
        """Let a dynamic node be there, and tell its peers.

        Returns:
            The plan of the process, with the generations that it must attach to.
        """
        if process not in self._unused:
            return self.renew(process)
        # Nobody has written its outputs yet, so their readers need not move over to new ones.
        self._unused.discard(process)
        written = [edge for edge in self._edges_of[process] if edge.config.writer == process]
        for edge in written:
            edge.writer_fate = Fate.ALIVE
        self._announce(written)
        return self._renew_inputs(process)

    def renew(self, process: int) -> NodePlan:
        """Give a process that is started again new objects, and tell its peers.

        Returns:
            The plan of the process, with the generations that it must attach to.
        """
        for output in self._plan.processes[process].config.outputs:
            self._renew_output(output.number)
        return self._renew_inputs(process)

    def _renew_inputs(self, process: int) -> NodePlan:
        edges = [edge for edge in self._edges_of[process] if edge.config.reader == process]
        left = []
        for edge in edges:
            edge.reader_fate = Fate.ALIVE
            edge.reader_starts += 1
            # An edge whose output is new as well has new objects already.
            if edge.config.writer != process:
                left.append(edge.config)
                self._renew_edge(edge, lambda: True)
        self._announce(edges)
        # After the board says it: a writer that waits for the dead reader looks there when woken.
        for config in left:
            wake_writer(self._run, config.number, config.generation)
        self._unattached.add(process)
        self._board.clear_stop(process)
        return self.current(self._plan.processes[process].config)

    def current(self, plan: NodePlan) -> NodePlan:
        """Return the plan of a process with the present generations."""
        return replace(
            plan,
            outputs=tuple(self.present(output.number) for output in plan.outputs),
            inputs=tuple(
                entry
                if entry.edge is None or entry.output is None
                else replace(
                    entry,
                    output=self._outputs[entry.output.number].config.for_reader(),
                    edge=self._edges[entry.edge.number].config,
                )
                for entry in plan.inputs
            ),
        )

    def note_attached(self, process: int) -> None:
        """Note that a process has attached to the objects that its configuration names."""
        self._unattached.discard(process)

    @property
    def has_outdated(self) -> bool:
        """Whether objects of earlier generations are still there."""
        return bool(self._outdated)

    def tidy(self, now_ns: int) -> None:
        """Remove them as `remove_outdated`, unless that was looked at a moment ago.

        A supervisor turns for each line that a node prints, and a reader that stands still may have
        hundreds of generations of its writer before it.
        """
        if self._outdated and now_ns >= self._tidied_ns + _TIDY_NS:
            self._tidied_ns = now_ns
            self.remove_outdated()

    def remove_outdated(self) -> None:
        """Remove the earlier generations that no process needs any more."""
        kept: list[Outdated] = []
        removed: list[Outdated] = []
        for outdated in self._outdated:
            outdated.unattached.intersection_update(self._unattached)
            is_needed = outdated.unattached or not outdated.is_read()
            (kept if is_needed else removed).append(outdated)
        if not removed:
            return
        for outdated in removed:
            for number, count in outdated.count.items():
                edge = self._edges[number]
                edge.before = add((edge.before, count()))
        self._outdated = kept
        present = {number: edge.config.generation for number, edge in self._edges.items()}
        unlink_outdated(self._run, removed, kept, present)

    def counters(self, output: OutputConfig, edge: EdgeConfig) -> EdgeCounters | None:
        """Return the counters of an edge over all its generations; None if one is not known."""
        present = self._edges[edge.number]
        earlier = [one.counters(edge.number) for one in self._outdated if edge.number in one.count]
        now = read_present(self._run, self._outputs[output.number].config, present.config)
        if not earlier and present.before is NOTHING:
            return now
        return add((present.before, *earlier, now))

    def sent(self, output: int) -> tuple[int, int]:
        """Return the samples and bytes that an output has sent, over all generations."""
        present = self._outputs[output]
        samples, nbytes = read_sent(self._run, present.config)
        return present.sent_before + samples, present.nbytes_before + nbytes

    def close(self) -> None:
        """Remove every object of the run, those that publishers made included."""
        unlink_run(self._run)
        for doorbell in self._doorbells:
            doorbell.close()
        # What is mapped goes now, whoever still knows this object.
        for known in (self._doorbells, self._pulses, self._outputs, self._edges, self._edges_of):
            known.clear()
        del self._board

    def __enter__(self) -> RunMemory:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _create(self) -> None:
        run, processes, edges = self._run, self._plan.processes, self._plan.edges
        name = object_names.board(run)
        board = create_words(name, board_nbytes(len(processes), len(edges)))
        format_board(board, len(processes), len(edges))
        if any(process.config.clock is not None for process in processes):
            format_clock(create_words(object_names.clock(run), CLOCK_NBYTES))
        self._board = Board(board, len(processes), len(edges), name)
        self._doorbells = [
            create_semaphore(object_names.doorbell(run, number)) for number in range(len(processes))
        ]
        for process in processes:
            if process.config.heartbeat_ns is not None:
                number = process.config.number
                self._pulses[number] = create_words(object_names.pulse(run, number), 8)
        for output in self._plan.outputs:
            create_output(run, output)
            self._outputs[output.number] = OutputMemory(output)
            for config in output.edges:
                create_edge(run, config)
                self._edges[config.number] = edge = EdgeMemory(config, output.number)
                for process_number in {config.writer, config.reader}:
                    self._edges_of[process_number].append(edge)

    def _renew_output(self, number: int) -> None:
        output, run = self._outputs[number], self._run
        old = self.present(number)
        samples, nbytes = read_sent(run, old)
        output.sent_before += samples
        output.nbytes_before += nbytes
        edges = [self._edges[edge.number] for edge in old.edges]
        drained = [
            partial(self._is_drained, edge, edge.config, edge.reader_starts, old) for edge in edges
        ]
        self._outdate(
            Outdated(
                segment=object_names.output(run, number, old.generation),
                returned=None,
                output=(number, old.generation),
                edge=None,
                is_read=lambda: all(is_drained() for is_drained in drained),
                count={edge.number: partial(read_writer, run, old, edge) for edge in old.edges},
            )
        )
        output.config = replace(output.config, generation=old.generation + 1)
        create_output(run, output.config)
        for edge, is_drained in zip(edges, drained, strict=True):
            edge.writer_fate = Fate.ALIVE
            self._renew_edge(edge, is_drained)
        self._announce(edges)
        for edge, before in zip(edges, old.edges, strict=True):
            if edge.reader_fate is Fate.ALIVE:
                # The reader does the like after it has closed: it passes a fence and looks at the
                # board. So one of the two sees the other, whatever their order.
                keep_closed(run, before, edge.config)

    def _renew_edge(self, edge: EdgeMemory, is_read: Callable[[], bool]) -> None:
        run, old = self._run, edge.config
        number, generation = old.number, old.generation
        self._outdate(
            Outdated(
                segment=object_names.edge(run, number, generation),
                returned=object_names.returned(run, number, generation),
                output=None,
                edge=(number, generation),
                is_read=is_read,
                count={number: partial(read_reader, run, old)},
            )
        )
        edge.config = replace(old, generation=generation + 1)
        create_edge(run, edge.config)

    def present(self, number: int) -> OutputConfig:
        """Give an output with the present generations."""
        config = self._outputs[number].config
        return replace(
            config, edges=tuple(self._edges[edge.number].config for edge in config.edges)
        )

    def _announce(self, edges: Iterable[EdgeMemory]) -> None:
        """Write the state of edges to the board, and wake the peers at both ends."""
        board, concerned = self._board, set()
        woken: dict[int, EdgeConfig] = {}
        for edge in edges:
            number, generation = edge.config.number, edge.config.generation
            output = self._outputs[edge.output].config
            if board.set_writer(number, Peer(edge.writer_fate, output.generation, generation)):
                concerned.add(edge.config.reader)
            # The writer only cares for the edge: its own restart makes a new output anyway.
            if board.set_reader(number, Peer(edge.reader_fate, 0, generation)):
                concerned.add(edge.config.writer)
                woken[number] = edge.config
                # A thread that waits for room sleeps on one edge, and notices the others as well.
                for other in output.edges:
                    if other.queue_policy is QueuePolicy.BLOCK:
                        woken[other.number] = self._edges[other.number].config
        self._pass_fence()
        for process in concerned:
            board.count_news(process)
        for process in concerned:
            self._doorbells[process].release()
        for config in woken.values():
            wake_writer(self._run, config.number, config.generation)

    def _outdate(self, outdated: Outdated) -> None:
        outdated.unattached.update(self._unattached)
        self._outdated.append(outdated)

    def _is_drained(
        self, edge: EdgeMemory, config: EdgeConfig, reader_starts: int, output: OutputConfig
    ) -> bool:
        """Whether a reader has read an earlier generation of an output to its end."""
        if edge.reader_fate is not Fate.ALIVE or edge.reader_starts != reader_starts:
            return True
        return has_read_all(self._run, output, config)
