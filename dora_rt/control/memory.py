"""The shared objects of one run: made by the launcher, read at the end, and removed by it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from dora_rt.contract import EdgeConfig, NodeConfig, OutputConfig
from dora_rt.control.counters import EdgeCounters, add, read_reader, read_waiting, read_writer
from dora_rt.control.objects import Edge, Output, create_edge, create_output, create_words
from dora_rt.control.outdated import Outdated
from dora_rt.control.plan import Plan
from dora_rt.data import names, ring
from dora_rt.data.board import Board, Fate, Peer, board_nbytes, format_board
from dora_rt.data.shm import Semaphore, create_semaphore, unlink_run


class RunMemory:
    """All shared objects of a run; a context manager that leaves nothing behind."""

    def __init__(self, plan: Plan, run: str) -> None:
        self._plan = plan
        self._run = run
        self._doorbells: list[Semaphore] = []
        self._pulses: dict[int, memoryview] = {}
        self._outputs: dict[int, Output] = {}
        self._edges: dict[int, Edge] = {}
        self._outdated: list[Outdated] = []
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
        """Open the barrier: let the first inputs flow. Gives the time of the start."""
        now_ns = time.monotonic_ns()
        self._board.start(now_ns)
        for doorbell in self._doorbells:
            doorbell.release()
        return now_ns

    @property
    def start_ns(self) -> int:
        """Tell when the first input could flow; 0 while it could not."""
        return self._board.start_ns

    def stop(self, process: int, *, comes_back: bool = False) -> None:
        """Tell a process to end; its peers wait for another one if it comes back."""
        self._board.stop(process, comes_back=comes_back)
        self._doorbells[process].release()

    def last_beat_ns(self, process: int) -> int:
        """Tell when a process with a heartbeat last showed that it is alive."""
        return self._pulses[process][0]

    def mark_dead(self, process: int, *, returns: bool, keeps_queues: bool = True) -> None:
        """Tell the peers of a process that it is gone; only after it was reaped.

        Args:
            process: its number.
            returns: whether there will be another one, for which its readers wait.
            keeps_queues: whether its writers wait for that one, too.
        """
        self._unattached.discard(process)
        for edge in self._edges.values():
            if edge.config.writer == process:
                edge.writer_fate = Fate.AWAY if returns else Fate.GONE
            if edge.config.reader == process:
                edge.reader_fate = Fate.AWAY if returns and keeps_queues else Fate.GONE
            if process in (edge.config.writer, edge.config.reader):
                self._announce(edge)

    def admit(self, process: int) -> NodeConfig:
        """Let a dynamic node be there, and tell its peers.

        Returns:
            The process' configuration, with the generations it shall attach to.
        """
        if process not in self._unused:
            return self.renew(process)
        # Nobody has written its outputs yet, so their readers need not move over to new ones.
        self._unused.discard(process)
        for edge in self._edges.values():
            if edge.config.writer == process:
                edge.writer_fate = Fate.ALIVE
                self._announce(edge)
        return self._renew_inputs(process)

    def renew(self, process: int) -> NodeConfig:
        """Give a process that is started again new objects, and tell its peers.

        Returns:
            The process' configuration, with the generations it shall attach to.
        """
        for output in self._plan.processes[process].config.outputs:
            self._renew_output(output.number)
        return self._renew_inputs(process)

    def _renew_inputs(self, process: int) -> NodeConfig:
        for number, edge in self._edges.items():
            if edge.config.reader == process:
                edge.reader_fate = Fate.ALIVE
                edge.reader_starts += 1
                # An edge whose output is new as well has new objects already.
                if edge.config.writer != process:
                    self._renew_edge(number, lambda: True)
                else:
                    self._announce(edge)
        self._unattached.add(process)
        self._board.let_go_on(process)
        return self.current(self._plan.processes[process].config)

    def current(self, config: NodeConfig) -> NodeConfig:
        """Give a process' configuration with the present generations."""
        return replace(
            config,
            outputs=tuple(self.present(output.number) for output in config.outputs),
            inputs=tuple(
                entry
                if entry.edge is None or entry.output is None
                else replace(
                    entry,
                    output=self.present(entry.output.number),
                    edge=self._edges[entry.edge.number].config,
                )
                for entry in config.inputs
            ),
        )

    def note_attached(self, process: int) -> None:
        """Learn that a process has attached to what its configuration names."""
        self._unattached.discard(process)

    @property
    def has_outdated(self) -> bool:
        """Tell whether objects of earlier generations are still there."""
        return bool(self._outdated)

    def remove_outdated(self) -> None:
        """Remove the earlier generations that nobody needs any more."""
        kept = []
        for outdated in self._outdated:
            outdated.unattached.intersection_update(self._unattached)
            if outdated.unattached or not outdated.is_read():
                kept.append(outdated)
                continue
            for number, count in outdated.count.items():
                self._edges[number].before = add(self._edges[number].before, count())
            outdated.unlink()
        self._outdated = kept

    def counters(self, output: OutputConfig, edge: EdgeConfig) -> EdgeCounters:
        """Read what an edge has counted, over all its generations."""
        present = self._edges[edge.number]
        earlier = [outdated.counters(edge.number) for outdated in self._outdated]
        sender = read_writer(self._outputs[output.number].words, len(output.edges), edge.position)
        return add(present.before, *earlier, read_reader(present.words), sender)

    def sent(self, output: int) -> tuple[int, int]:
        """Read how many samples an output has sent, and their bytes, over all generations."""
        present = self._outputs[output]
        words = present.words
        samples = present.sent_before + words[ring.HEAD]
        return samples, present.nbytes_before + words[ring.SENT_NBYTES]

    def waiting(self, edge: EdgeConfig) -> int:
        """Estimate how many samples wait in the queue of an edge."""
        present = self._edges[edge.number]
        words = self._outputs[present.output].words
        edges = len(self._outputs[present.output].config.edges)
        return read_waiting(words, edges, present.words, present.config)

    def close(self) -> None:
        """Remove every object of the run, those that publishers made included."""
        unlink_run(self._run)
        # What is mapped goes now, whoever still knows this object.
        for mapped in (self._outputs, self._edges, self._pulses, self._doorbells):
            mapped.clear()
        del self._board

    def __enter__(self) -> RunMemory:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _create(self) -> None:
        run, processes, edges = self._run, self._plan.processes, self._plan.edges
        name = names.board(run)
        board = create_words(name, board_nbytes(len(processes), len(edges)))
        format_board(board, len(processes), len(edges))
        self._board = Board(board, len(processes), len(edges), name)
        self._doorbells = [
            create_semaphore(names.doorbell(run, number)) for number in range(len(processes))
        ]
        for process in processes:
            if process.config.heartbeat_ns is not None:
                number = process.config.number
                self._pulses[number] = create_words(names.pulse(run, number), 8)
        for output in self._plan.outputs:
            self._outputs[output.number] = Output(output, create_output(self._run, output))
            for edge in output.edges:
                self._edges[edge.number] = create_edge(self._run, edge, output.number)

    def _renew_output(self, number: int) -> None:
        output = self._outputs[number]
        config, words = self.present(number), output.words
        output.sent_before += words[ring.HEAD]
        output.nbytes_before += words[ring.SENT_NBYTES]
        edges = [self._edges[edge.number] for edge in config.edges]
        drained = [
            partial(
                self._is_drained,
                edge,
                edge.config.generation,
                edge.words,
                edge.reader_starts,
                words,
                len(edges),
            )
            for edge in edges
        ]
        name = names.output(self._run, number, config.generation)
        pools = names.pools(self._run, number, config.generation)
        self._outdate(
            Outdated(
                (name,),
                (),
                pools,
                lambda: all(is_drained() for is_drained in drained),
                {
                    edge.number: partial(read_writer, words, len(edges), edge.position)
                    for edge in config.edges
                },
            )
        )
        output.config = replace(output.config, generation=output.config.generation + 1)
        output.words = create_output(self._run, output.config)
        for edge, is_drained in zip(edges, drained, strict=True):
            edge.writer_fate = Fate.ALIVE
            self._renew_edge(edge.config.number, is_drained)

    def _renew_edge(self, number: int, is_read: Callable[[], bool]) -> None:
        edge = self._edges[number]
        run, generation = self._run, edge.config.generation
        tokens = [names.token(run, number, generation, slot) for slot in range(edge.config.slots)]
        self._outdate(
            Outdated(
                (names.edge(run, number, generation),),
                (*tokens, names.returned(run, number, generation)),
                None,
                is_read,
                {number: partial(read_reader, edge.words)},
            )
        )
        old_returned = edge.returned
        fresh = create_edge(self._run, replace(edge.config, generation=generation + 1), edge.output)
        edge.config, edge.words, edge.returned = fresh.config, fresh.words, fresh.returned
        self._announce(edge)
        # After the board says it: a writer that waits for the dead reader looks there when woken.
        old_returned.release()

    def present(self, number: int) -> OutputConfig:
        """Give an output with the present generations."""
        config = self._outputs[number].config
        return replace(
            config, edges=tuple(self._edges[edge.number].config for edge in config.edges)
        )

    def _announce(self, edge: Edge) -> None:
        generation = self._outputs[edge.output].config.generation
        number = edge.config.number
        self._board.set_writer(number, Peer(edge.writer_fate, generation, edge.config.generation))
        # The writer only cares for the edge: its own restart makes a new output anyway.
        self._board.set_reader(number, Peer(edge.reader_fate, 0, edge.config.generation))
        self._doorbells[edge.config.reader].release()
        edge.returned.release()

    def _outdate(self, outdated: Outdated) -> None:
        outdated.unattached.update(self._unattached)
        self._outdated.append(outdated)

    def _is_drained(
        self,
        edge: Edge,
        generation: int,
        edge_words: memoryview,
        reader_starts: int,
        output_words: memoryview,
        edges: int,
    ) -> bool:
        """Tell whether a reader has read an earlier generation of an output to its end."""
        if edge.reader_fate is not Fate.ALIVE or edge.reader_starts != reader_starts:
            return True
        begin = output_words[ring.begin_index(edges, edge.config.position)]
        if begin >> ring.SEQ_BITS != generation & 0xFFFF:
            return True  # the writer died before it had anything for this reader
        read = edge_words[ring.DELIVERED] + edge_words[ring.DROPPED]
        return (begin & ring.SEQ_MASK) + read >= output_words[ring.HEAD]
