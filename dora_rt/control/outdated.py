"""Earlier generations of shared objects, kept until nobody needs them any more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from dora_rt.control.counters import NOTHING, EdgeCounters
from dora_rt.data.shm import unlink_segments, unlink_semaphores


@dataclass(frozen=True, slots=True)
class Outdated:
    """An earlier generation: its names, what it counted, and what must come before it can go."""

    segments: tuple[str, ...]
    semaphores: tuple[str, ...]
    pools: str | None
    is_read: Callable[[], bool]
    count: dict[int, Callable[[], EdgeCounters]]
    """By number of the edge."""
    unattached: set[int] = field(default_factory=set)

    def counters(self, edge: int) -> EdgeCounters:
        """Give what was counted for an edge; nothing for an edge that is not concerned."""
        return self.count[edge]() if edge in self.count else NOTHING

    def unlink(self) -> None:
        """Remove the names."""
        unlink_segments(self.segments, self.pools)
        unlink_semaphores(self.semaphores)
