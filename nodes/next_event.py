"""Wait for the next input, also in a node to which the dataflow file wires none."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from dora_rt.event import Event

if TYPE_CHECKING:
    from dora_rt.interface import NodeLike

_LOOK_UP_S = 0.1  # how long a node without inputs may take to notice a stop


def next_event(node: NodeLike, timeout_s: float) -> Event | None:
    """Return the next input, or None when the node must end.

    Raises:
        TimeoutError: nothing came in time.
    """
    if node.input_ids():
        return node.next(timeout=timeout_s)
    # `next` of a node without inputs has nothing to wait for.
    if node.is_stopped():
        return None
    time.sleep(min(timeout_s, _LOOK_UP_S))
    raise TimeoutError
