"""Which ports a node gets: plain ones, or such as tell what passes, if it is watched."""

from __future__ import annotations

from dora_rt.node_config import NodeConfig
from dora_rt.transport.board import Board
from dora_rt.transport.ports import Ports


def open_ports(config: NodeConfig, board: Board) -> Ports:
    """Attach to what the launcher made.

    The choice is made here, once: a node that is not watched asks nothing at each sample.
    """
    if not config.is_watched:
        return Ports.open(config, board)
    from dora_rt.tracing.traced_ports import TracedPorts

    return TracedPorts.open(config, board)
