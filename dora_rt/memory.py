"""The shared objects of one run: made by the launcher, read at the end, and removed by it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from dora_rt import names, ring
from dora_rt.board import Board, board_nbytes, format_board
from dora_rt.contract import EdgeConfig, OutputConfig
from dora_rt.latency import BUCKETS
from dora_rt.plan import Plan
from dora_rt.shm import Segment, Semaphore, create_semaphore, unlink_run


@dataclass(frozen=True, slots=True)
class EdgeCounters:
    """What an edge counted so far; latencies as a histogram of `dora_rt.latency`."""

    sent: int
    delivered: int
    dropped: int
    copied: int
    latencies: tuple[int, ...]


class RunMemory:
    """All shared objects of a run; a context manager that leaves nothing behind."""

    def __init__(self, plan: Plan, run: str) -> None:
        self._plan = plan
        self._run = run
        self._doorbells: list[Semaphore] = []
        self._outputs: dict[int, memoryview] = {}
        self._edges: dict[int, memoryview] = {}
        self._returned: dict[int, Semaphore] = {}

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

    def mark_dead(self, process: int) -> None:
        """Tell the peers of a process that it is gone; only after it was reaped.

        Its words have no writer any more, so they are the launcher's to write.
        """
        for edge in self._plan.edges:
            if edge.edge is None or edge.output is None:
                continue
            if edge.edge.writer == process:
                self._outputs[edge.output.number][ring.WRITER_CLOSED] = 1
                self._doorbells[edge.edge.reader].release()
            if edge.edge.reader == process:
                self._edges[edge.number][ring.READER_STATE] = ring.READER_DEAD
                self._returned[edge.number].release()

    def counters(self, output: OutputConfig, edge: EdgeConfig) -> EdgeCounters:
        """Read what an edge has counted."""
        words = self._edges[edge.number]
        return EdgeCounters(
            sent=self._outputs[output.number][ring.HEAD],
            delivered=words[ring.DELIVERED],
            dropped=words[ring.DROPPED],
            copied=words[ring.COPIED],
            latencies=tuple(words[ring.LATENCIES : ring.LATENCIES + BUCKETS]),
        )

    def close(self) -> None:
        """Remove every object of the run, those that publishers made included."""
        unlink_run(self._run)

    def __enter__(self) -> RunMemory:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _create(self) -> None:
        run, processes = self._run, len(self._plan.processes)
        board = _create_words(names.board(run), board_nbytes(processes))
        format_board(board, processes)
        self._board = Board(board, processes, names.board(run))
        self._doorbells = [
            create_semaphore(names.doorbell(run, number)) for number in range(processes)
        ]
        for output in self._plan.outputs:
            self._create_output(output)

    def _create_output(self, output: OutputConfig) -> None:
        run, edges = self._run, len(output.edges)
        words = _create_words(
            names.output(run, output.number), ring.output_nbytes(output.slots, edges)
        )
        ring.format_output(words, output.slots, edges)
        self._outputs[output.number] = words
        if output.slot_nbytes:
            pool = names.pool(run, output.number, 0)
            Segment.create(pool, output.slots * output.slot_nbytes).close()
        for edge in output.edges:
            words = _create_words(names.edge(run, edge.number), ring.edge_nbytes(edge.slots))
            ring.format_edge(words, edge.slots)
            self._edges[edge.number] = words
            self._returned[edge.number] = create_semaphore(names.returned(run, edge.number))
            for slot in range(edge.slots):
                create_semaphore(names.token(run, edge.number, slot))


def _create_words(name: str, nbytes: int) -> memoryview:
    segment = Segment.create(name, nbytes)
    segment.close()
    return segment.words()
