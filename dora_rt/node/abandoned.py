"""What a dynamic node does for itself when its launcher is gone, which is not its parent."""

from __future__ import annotations

from collections.abc import Callable, Collection

from dora_rt.node_config import NodeConfig
from dora_rt.transport.board import Board
from dora_rt.transport.output.publisher import Publisher
from dora_rt.transport.primitives import object_names
from dora_rt.transport.primitives.shm import Segment, attach_semaphore


def when_abandoned(config: NodeConfig, publishers: Collection[Publisher]) -> Callable[[], None]:
    """Give a function that ends the node's loop and its sends, in any thread.

    What it needs is attached to now: its name may be gone when the launcher is.
    """
    # The launcher alone writes the board; this says in its place what it can no longer say.
    segment = Segment.attach(object_names.board(config.run), writable=True)
    segment.close()
    board = Board(segment.words(), config.processes, config.edges, segment.name)
    doorbell = attach_semaphore(object_names.doorbell(config.run, config.number))

    def end() -> None:
        board.stop(config.number)
        doorbell.release()
        for publisher in publishers:
            publisher.close()

    return end
