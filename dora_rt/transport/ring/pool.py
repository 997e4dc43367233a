"""The payload memory of one output; a larger one takes over whenever a sample does not fit.

A pool is a sparse segment with one equal piece for each slot. A slot's memory is allocated when
it is first written, so an output uses only the memory that its readers' speed asks for, and a full
/dev/shm is an error with numbers at that moment and never a SIGBUS. Pools of one output are
numbered by how often it has grown.
"""

from __future__ import annotations

import mmap
from collections.abc import Collection
from typing import NamedTuple

from dora_rt.compiled import IS_COMPILED, PoolReaderCore, PoolWriterCore, _cores
from dora_rt.errors import CorruptSampleError, DoraRtError
from dora_rt.node_config import OutputConfig
from dora_rt.transport.primitives import object_names
from dora_rt.transport.primitives.shm import Segment, unlink_segments

# Address space, not memory: small samples never have to grow.
_SMALLEST_SLOT_NBYTES = 256 * 1024
_MOST_GROWTHS = 64  # each time it has twice the size, or more


class SlotMemory(NamedTuple):
    """Where a slot is: memory, offset and size in bytes, and the number of its pool."""

    buffer: mmap.mmap
    offset: int
    nbytes: int
    growth: int


class PoolWriter(PoolWriterCore):
    """The writer's side: allocates for a slot as much memory as the next sample needs."""

    def __init__(self, run: str, config: OutputConfig) -> None:
        """Attach to what the launcher made, which is pool 0 if `slot_nbytes` > 0, else nothing."""
        self._run = run
        self._config = config
        self._segments: dict[int, Segment] = {}
        # Number of the newest pool, and the size of its slots: both at once.
        self._newest = (-1, 0)
        self.memories: list[SlotMemory | None] = [None] * config.slots
        """Where each slot is in the newest pool, as far as it was used there."""
        self.has_old_pools = False
        """Whether the pool has grown, and an earlier one is still there."""
        self._growth_of = [-1] * config.slots
        self._committed = [0] * config.slots
        if config.slot_nbytes:
            self._newest = (0, config.slot_nbytes)
            self._segments[0] = Segment.attach(self._name(0), writable=True)
            self._committed = [config.slot_nbytes] * config.slots

    def allocate(self, slot: int, nbytes: int) -> SlotMemory:
        """Make room for a sample of `nbytes` (header and metadata included) in a slot.

        Raises:
            SharedMemoryFullError: /dev/shm has no room.
        """
        before = self._newest, self._committed, self.memories[:]
        if nbytes > self._newest[1]:
            self._grow(nbytes)
        growth, slot_nbytes = self._newest
        segment = self._segments[growth]
        offset = slot * slot_nbytes
        if nbytes > self._committed[slot]:
            room = min(_round_up(nbytes), slot_nbytes)
            try:
                segment.commit(offset, room)
            except DoraRtError:
                if growth != before[0][0]:
                    # Smaller samples still fit into the pool before.
                    self._newest, self._committed, self.memories[:] = before
                    self._segments.pop(growth).unlink()
                    segment.close()
                    self.has_old_pools = len(self._segments) > 1
                raise
            self._committed[slot] = room
        memory = SlotMemory(segment.mapping, offset, self._committed[slot], growth)
        self.memories[slot] = memory
        self._growth_of[slot] = growth
        return memory

    def retire(self, free: Collection[int]) -> None:
        """Remove earlier pools of which every slot is in `free`."""
        in_use = {self._newest[0]}
        in_use.update(growth for slot, growth in enumerate(self._growth_of) if slot not in free)
        for growth in [old for old in self._segments if old not in in_use]:
            segment = self._segments.pop(growth)
            segment.unlink()
            segment.close()
        self.has_old_pools = len(self._segments) > 1

    def close(self) -> None:
        """Unmap the memory; the launcher removes the names."""
        for segment in self._segments.values():
            segment.close()

    def _grow(self, nbytes: int) -> None:
        slot_nbytes = _round_up(max(nbytes, 2 * self._newest[1], _SMALLEST_SLOT_NBYTES))
        growth = self._newest[0] + 1
        # An attempt that an exception broke off may have left an object of its name.
        unlink_segments([self._name(growth)], None)
        segment = Segment.create(self._name(growth), self._config.slots * slot_nbytes, sparse=True)
        self._segments[growth] = segment
        self._committed = [0] * self._config.slots
        self.memories[:] = [None] * self._config.slots
        self.has_old_pools = len(self._segments) > 1
        self._newest = growth, slot_nbytes

    def _name(self, growth: int) -> str:
        return object_names.pool(self._run, self._config.number, self._config.generation, growth)


if IS_COMPILED:
    _cores.use_pool_writer(PoolWriter)


class PoolReader(PoolReaderCore):
    """A reader's side: maps a pool, read-only, when the first sample in it arrives."""

    def __init__(self, run: str, config: OutputConfig) -> None:
        self._run = run
        self._config = config
        self._mappings: dict[int, tuple[mmap.mmap, int]] = {}
        self.memories: list[SlotMemory | None] = [None] * config.slots
        """Where each slot was when a sample was last found in it."""

    def locate(self, slot: int, growth: int) -> SlotMemory:
        """Find a slot that a sample is in.

        Raises:
            SharedMemoryError: there is no such pool.
            CorruptSampleError: it is too small to have this slot, or there can be none.
        """
        found = self._mappings.get(growth)
        if found is None:
            found = self._attach(growth)
        mapping, slot_nbytes = found
        self.memories[slot] = memory = SlotMemory(mapping, slot * slot_nbytes, slot_nbytes, growth)
        return memory

    def _attach(self, growth: int) -> tuple[mmap.mmap, int]:
        config = self._config
        name = object_names.pool(self._run, config.number, config.generation, growth)
        if growth > _MOST_GROWTHS:
            raise CorruptSampleError(f"it claims to be in {name}, and no pool grows so often")
        segment = Segment.attach(name, writable=False)
        segment.close()
        slot_nbytes = len(segment.mapping) // config.slots
        if not slot_nbytes:
            raise CorruptSampleError(f"{name} has {len(segment.mapping)} bytes")
        # A loan that began before the pool grew may still arrive from the one before.
        self._mappings = {
            known: mapping for known, mapping in self._mappings.items() if known >= growth - 1
        }
        self._mappings[growth] = segment.mapping, slot_nbytes
        # Else a slot that is no longer used keeps an old pool mapped.
        self.memories[:] = [None] * config.slots
        return self._mappings[growth]


def _round_up(nbytes: int) -> int:
    page = mmap.PAGESIZE
    return (nbytes + page - 1) // page * page
