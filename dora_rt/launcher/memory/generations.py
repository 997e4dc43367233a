"""Earlier generations of shared objects, kept until nobody needs them any more."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from dora_rt.launcher.memory.counters import NOTHING, EdgeCounters
from dora_rt.transport.primitives.shm import SHM_DIRECTORY, unlink_segments, unlink_semaphores

Generation = tuple[int, int]
"""The number of an output or of an edge, and which generation of it."""


@dataclass(frozen=True, slots=True)
class Outdated:
    """An earlier generation: its names, what it counted, and what must come before it can go."""

    segment: str
    returned: str | None
    output: Generation | None
    edge: Generation | None
    is_read: Callable[[], bool]
    count: dict[int, Callable[[], EdgeCounters | None]]
    """By number of the edge."""
    unattached: set[int] = field(default_factory=set)

    def counters(self, edge: int) -> EdgeCounters | None:
        """Give what was counted for an edge; nothing for an edge that is not concerned."""
        return self.count[edge]() if edge in self.count else NOTHING


def unlink_outdated(
    run: str, removed: Collection[Outdated], kept: Collection[Outdated], present: dict[int, int]
) -> None:
    """Remove the names of generations, and of the pools and tokens that their writers made.

    Args:
        run: the run.
        removed: what goes.
        kept: what somebody still needs.
        present: the newest generation of each edge. Tokens of an edge go that are older than
            that: a writer that had not looked yet may have made some for a reader long gone.
    """
    unlink_segments([outdated.segment for outdated in removed], None)
    unlink_semaphores([one.returned for one in removed if one.returned is not None])
    outputs = {outdated.output for outdated in removed}
    edges = {outdated.edge[0] for outdated in removed if outdated.edge is not None}
    needed = {outdated.edge for outdated in kept}
    # One look at the folder: there may be thousands of slots, and few of them have a token.
    made = re.compile(rf"(?:sem\.)?(drt-{run}-([oe])(\d+)\.(\d+)[gt]\d+)")
    for entry in SHM_DIRECTORY.iterdir():
        match = made.fullmatch(entry.name)
        if match is None:
            continue
        number, generation = int(match[3]), int(match[4])
        if match[2] == "o":
            if (number, generation) in outputs:
                unlink_segments([f"/{match[1]}"], None)
        elif (
            number in edges and generation < present[number] and (number, generation) not in needed
        ):
            unlink_semaphores([f"/{match[1]}"])
