"""What the launcher and a node agree on: the one configuration that crosses into a child."""

from __future__ import annotations

from enum import Enum


class QueuePolicy(Enum):
    """What an edge does when its reader is slower than its writer."""

    LATEST = "latest"
    DROP_OLDEST = "drop_oldest"
    BLOCK = "block"
