"""The shared objects of one run: made by the launcher, read at the end, and removed by it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from dora_rt import names, ring
from dora_rt.board import Board, Fate, Peer, board_nbytes, format_board
from dora_rt.contract import EdgeConfig, NodeConfig, OutputConfig
from dora_rt.latency import BUCKETS
from dora_rt.plan import Plan
from dora_rt.shm import (
    Segment,
    Semaphore,
    create_semaphore,
    unlink_run,
    unlink_segments,
    unlink_semaphores,
)

# Counters of earlier generations that a peer may still be writing are kept apart that long.
_KEPT_GENERATIONS = 8


@dataclass(frozen=True, slots=True)
class EdgeCounters:
    """What an edge counted so far; latencies as a histogram of `dora_rt.latency`."""

    sent: int
    delivered: int
    dropped: int
    copied: int
    latencies: tuple[int, ...]


@dataclass(slots=True)
class _Output:
    """The present generation of an output, and how much the earlier ones sent."""

    config: OutputConfig
    words: memoryview
    earlier: list[memoryview] = field(default_factory=list)
    sent_before: int = 0


@dataclass(slots=True)
class _Edge:
    """The present generation of an edge, and what the earlier ones counted."""

    config: EdgeConfig
    output: int
    words: memoryview
    returned: Semaphore
    earlier: list[memoryview] = field(default_factory=list)
    before: EdgeCounters = EdgeCounters(0, 0, 0, 0, (0,) * BUCKETS)
    reader_fate: Fate = Fate.ALIVE
    writer_fate: Fate = Fate.ALIVE


class RunMemory:
    """All shared objects of a run; a context manager that leaves nothing behind."""

    def __init__(self, plan: Plan, run: str) -> None:
        self._plan = plan
        self._run = run
        self._doorbells: list[Semaphore] = []
        self._pulses: dict[int, memoryview] = {}
        self._outputs: dict[int, _Output] = {}
        self._edges: dict[int, _Edge] = {}
        self._outdated: list[_Outdated] = []
        # Processes that may still have to attach to what their configuration names.
        self._unattached: set[int] = set()

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

    def stop(self, process: int) -> None:
        """Tell a process to end."""
        self._board.stop(process)
        self._doorbells[process].release()

    def last_beat_ns(self, process: int) -> int:
        """Tell when a process with a heartbeat last showed that it is alive."""
        return self._pulses[process][0]

    def mark_dead(self, process: int, *, returns: bool) -> None:
        """Tell the peers of a process that it is gone; only after it was reaped.

        Args:
            process: its number.
            returns: whether it will be started again.
        """
        fate = Fate.AWAY if returns else Fate.GONE
        self._unattached.discard(process)
        for edge in self._edges.values():
            if edge.config.writer == process:
                edge.writer_fate = fate
            if edge.config.reader == process:
                edge.reader_fate = fate
            if process in (edge.config.writer, edge.config.reader):
                self._announce(edge)

    def renew(self, process: int) -> NodeConfig:
        """Give a process that is started again new objects, and tell its peers.

        Returns:
            The process' configuration, with the generations it shall attach to.
        """
        config = self._plan.processes[process].config
        for output in config.outputs:
            self._renew_output(output.number)
        for number, edge in self._edges.items():
            if edge.config.reader == process:
                edge.reader_fate = Fate.ALIVE
                # An edge whose output is new as well has new objects already.
                if edge.config.writer != process:
                    self._renew_edge(number)
                self._announce(edge)
        self._unattached.add(process)
        return self.current(config)

    def current(self, config: NodeConfig) -> NodeConfig:
        """Give a process' configuration with the present generations."""
        return replace(
            config,
            outputs=tuple(self._present(output.number) for output in config.outputs),
            inputs=tuple(
                entry
                if entry.edge is None or entry.output is None
                else replace(
                    entry,
                    output=self._present(entry.output.number),
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
            else:
                outdated.unlink()
        self._outdated = kept

    def counters(self, output: OutputConfig, edge: EdgeConfig) -> EdgeCounters:
        """Read what an edge has counted, over all its generations."""
        sender, present = self._outputs[output.number], self._edges[edge.number]
        sent = sender.sent_before + sum(
            words[ring.HEAD] for words in (*sender.earlier, sender.words)
        )
        away_dropped = sum(
            words[ring.away_dropped_index(len(output.edges), edge.position)]
            for words in (*sender.earlier, sender.words)
        )
        total = _add(present.before, *map(_read, (*present.earlier, present.words)))
        return replace(total, sent=sent, dropped=total.dropped + away_dropped)

    def close(self) -> None:
        """Remove every object of the run, those that publishers made included."""
        unlink_run(self._run)

    def __enter__(self) -> RunMemory:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _create(self) -> None:
        run, processes, edges = self._run, self._plan.processes, self._plan.edges
        name = names.board(run)
        board = _create_words(name, board_nbytes(len(processes), len(edges)))
        format_board(board, len(processes), len(edges))
        self._board = Board(board, len(processes), len(edges), name)
        self._doorbells = [
            create_semaphore(names.doorbell(run, number)) for number in range(len(processes))
        ]
        for process in processes:
            if process.config.heartbeat_ns is not None:
                number = process.config.number
                self._pulses[number] = _create_words(names.pulse(run, number), 8)
        for output in self._plan.outputs:
            self._outputs[output.number] = _Output(output, self._create_output(output))
            for edge in output.edges:
                self._edges[edge.number] = self._create_edge(edge, output.number)

    def _create_output(self, config: OutputConfig) -> memoryview:
        name = names.output(self._run, config.number, config.generation)
        words = _create_words(name, ring.output_nbytes(config.slots, len(config.edges)))
        ring.format_output(words, config.slots, len(config.edges))
        if config.slot_nbytes:
            pool = names.pool(self._run, config.number, config.generation, 0)
            Segment.create(pool, config.slots * config.slot_nbytes).close()
        return words

    def _create_edge(self, config: EdgeConfig, output: int) -> _Edge:
        run, generation = self._run, config.generation
        name = names.edge(run, config.number, generation)
        words = _create_words(name, ring.edge_nbytes(config.slots))
        ring.format_edge(words, config.slots)
        for slot in range(config.slots):
            create_semaphore(names.token(run, config.number, generation, slot))
        returned = create_semaphore(names.returned(run, config.number, generation))
        return _Edge(config, output, words, returned)

    def _renew_output(self, number: int) -> None:
        output = self._outputs[number]
        config, words = self._present(number), output.words
        self._outdated.append(
            _Outdated(
                (names.output(self._run, number, config.generation),),
                (),
                names.pools(self._run, number, config.generation),
                lambda: all(self._is_drained(output, words, edge) for edge in config.edges),
                set(self._unattached),
            )
        )
        output.earlier.append(output.words)
        if len(output.earlier) > _KEPT_GENERATIONS:
            output.sent_before += output.earlier.pop(0)[ring.HEAD]
        output.config = replace(output.config, generation=output.config.generation + 1)
        output.words = self._create_output(output.config)
        for edge in output.config.edges:
            self._edges[edge.number].writer_fate = Fate.ALIVE
            self._renew_edge(edge.number)
            self._announce(self._edges[edge.number])

    def _renew_edge(self, number: int) -> None:
        edge = self._edges[number]
        run, generation = self._run, edge.config.generation
        tokens = [names.token(run, number, generation, slot) for slot in range(edge.config.slots)]
        self._outdated.append(
            _Outdated(
                (names.edge(run, number, generation),),
                (*tokens, names.returned(run, number, generation)),
                None,
                lambda: True,
                set(self._unattached),
            )
        )
        edge.earlier.append(edge.words)
        if len(edge.earlier) > _KEPT_GENERATIONS:
            edge.before = _add(edge.before, _read(edge.earlier.pop(0)))
        old_returned = edge.returned
        fresh = self._create_edge(
            replace(edge.config, generation=edge.config.generation + 1), edge.output
        )
        edge.config, edge.words, edge.returned = fresh.config, fresh.words, fresh.returned
        old_returned.release()

    def _present(self, number: int) -> OutputConfig:
        config = self._outputs[number].config
        return replace(
            config, edges=tuple(self._edges[edge.number].config for edge in config.edges)
        )

    def _announce(self, edge: _Edge) -> None:
        generation = self._outputs[edge.output].config.generation
        number = edge.config.number
        self._board.set_writer(number, Peer(edge.writer_fate, generation, edge.config.generation))
        # The writer only cares for the edge: its own restart makes a new output anyway.
        self._board.set_reader(number, Peer(edge.reader_fate, 0, edge.config.generation))
        self._doorbells[edge.config.reader].release()
        edge.returned.release()

    def _is_drained(self, output: _Output, words: memoryview, edge: EdgeConfig) -> bool:
        """Tell whether a reader has read an earlier generation of an output to its end."""
        present = self._edges[edge.number]
        age = present.config.generation - edge.generation
        read = present.earlier[-age] if 0 < age <= len(present.earlier) else None
        if read is None or present.reader_fate is not Fate.ALIVE:
            return True
        begin = words[ring.begin_index(len(output.config.edges), edge.position)] & ring.SEQ_MASK
        return begin + read[ring.DELIVERED] + read[ring.DROPPED] >= words[ring.HEAD]


@dataclass(frozen=True, slots=True)
class _Outdated:
    """Names of an earlier generation, with what has to come before they can be removed."""

    segments: tuple[str, ...]
    semaphores: tuple[str, ...]
    pools: str | None
    is_read: Callable[[], bool]
    unattached: set[int]

    def unlink(self) -> None:
        unlink_segments(self.segments, self.pools)
        unlink_semaphores(self.semaphores)


def _read(words: memoryview) -> EdgeCounters:
    return EdgeCounters(
        sent=0,
        delivered=words[ring.DELIVERED],
        dropped=words[ring.DROPPED],
        copied=words[ring.COPIED],
        latencies=tuple(words[ring.LATENCIES : ring.LATENCIES + BUCKETS]),
    )


def _add(first: EdgeCounters, *others: EdgeCounters) -> EdgeCounters:
    parts: Iterable[EdgeCounters] = (first, *others)
    return EdgeCounters(
        sent=0,
        delivered=sum(part.delivered for part in parts),
        dropped=sum(part.dropped for part in parts),
        copied=sum(part.copied for part in parts),
        latencies=tuple(map(sum, zip(*(part.latencies for part in parts), strict=True))),
    )


def _create_words(name: str, nbytes: int) -> memoryview:
    segment = Segment.create(name, nbytes)
    segment.close()
    return segment.words()
