"""All inputs and outputs of one process."""

from __future__ import annotations

from dora_rt.node_config import LinkConfig, NodeConfig
from dora_rt.transport.board import Board
from dora_rt.transport.clock import Clock
from dora_rt.transport.input.inbox import Inbox
from dora_rt.transport.input.sync import open_inbox
from dora_rt.transport.operator_link import Link
from dora_rt.transport.output.clock_origins import ClockOrigins
from dora_rt.transport.output.clock_output import open_publisher
from dora_rt.transport.output.origin import Origins
from dora_rt.transport.output.publisher import Publisher


class Ports:
    """The inbox and the publishers of a node, and what connects the two."""

    def __init__(
        self,
        inbox: Inbox,
        publishers: dict[str, Publisher],
        origins: Origins,
        clock: Clock | None = None,
    ) -> None:
        self.clock = clock
        """The clock of the dataflow, if it has one."""
        self.inbox = inbox
        self.publishers = publishers
        inbox.publishers = tuple(publishers.values())
        for publisher in inbox.publishers:
            publisher.pulse = inbox.pulse
        self.origins = origins

    @classmethod
    def open(cls, config: NodeConfig, board: Board) -> Ports:
        """Attach to what the launcher made."""
        clock = open_clock(config)
        publishers = {output.id: open_publisher(config, output, board) for output in config.outputs}
        origins = Origins() if clock is None else ClockOrigins(clock)
        return cls(open_inbox(config, board, clock), publishers, origins, clock)

    def link(self, config: LinkConfig) -> Link:
        """Make an edge between two operators of this process."""
        return Link(config)

    def close(self) -> None:
        """Receive and send no more."""
        self.inbox.close()
        for publisher in self.publishers.values():
            publisher.close(self.inbox.closing())


def open_clock(config: NodeConfig) -> Clock | None:
    """Map the clock of the dataflow, if it has one."""
    return None if config.clock is None else Clock.attach(config.run)
