"""The payload memory of one output, in generations: a larger one whenever a sample does not fit.

A generation is a sparse segment with one equal piece for each slot. What a slot needs is
allocated when it is first written, so an output uses only the memory that its readers' speed asks
for, and a full /dev/shm is an error with numbers at that moment and never a SIGBUS.
"""

from __future__ import annotations

import mmap
from collections.abc import Collection

from dora_rt import names
from dora_rt.errors import CorruptSampleError
from dora_rt.shm import Segment

# Address space, not memory: small samples never have to grow.
_SMALLEST_SLOT_NBYTES = 256 * 1024


class PoolWriter:
    """The writer's side: gives a slot as much memory as the next sample needs."""

    def __init__(self, run: str, number: int, slots: int, slot_nbytes: int) -> None:
        """Remember where the pool is; the launcher has made generation 0 if `slot_nbytes` > 0."""
        self._run = run
        self._number = number
        self._slots = slots
        self._generations: dict[int, Segment] = {}
        self._generation = -1
        self._slot_nbytes = slot_nbytes
        self._generation_of = [-1] * slots
        self._committed = [0] * slots
        if slot_nbytes:
            self._generation = 0
            self._generations[0] = Segment.attach(names.pool(run, number, 0), writable=True)
            self._committed = [slot_nbytes] * slots

    def place(self, slot: int, nbytes: int) -> tuple[mmap.mmap, int, int]:
        """Make room for a sample of `nbytes` (header and metadata included) in a slot.

        Returns:
            The memory, the offset of the slot in it, and the generation.

        Raises:
            SharedMemoryFullError: /dev/shm has no room.
        """
        if nbytes > self._slot_nbytes:
            self._grow(nbytes)
        segment = self._generations[self._generation]
        offset = slot * self._slot_nbytes
        if nbytes > self._committed[slot]:
            room = min(_round_up(nbytes), self._slot_nbytes)
            segment.commit(offset, room)
            self._committed[slot] = room
        self._generation_of[slot] = self._generation
        return segment.mapping, offset, self._generation

    @property
    def has_old_generations(self) -> bool:
        """Tell whether the pool has grown, and what it was before is still there."""
        return len(self._generations) > 1

    def retire(self, free: Collection[int]) -> None:
        """Remove older generations of which every slot is in `free`."""
        in_use = {self._generation}
        in_use.update(
            generation for slot, generation in enumerate(self._generation_of) if slot not in free
        )
        for generation in [old for old in self._generations if old not in in_use]:
            segment = self._generations.pop(generation)
            segment.unlink()
            segment.close()

    def close(self) -> None:
        """Let go of the memory; the launcher removes the names."""
        for segment in self._generations.values():
            segment.close()

    def _grow(self, nbytes: int) -> None:
        slot_nbytes = _round_up(max(nbytes, 2 * self._slot_nbytes, _SMALLEST_SLOT_NBYTES))
        generation = self._generation + 1
        name = names.pool(self._run, self._number, generation)
        segment = Segment.create(name, self._slots * slot_nbytes, sparse=True)
        self._generations[generation] = segment
        self._generation = generation
        self._slot_nbytes = slot_nbytes
        self._committed = [0] * self._slots


class PoolReader:
    """A reader's side: maps a generation, read-only, when the first sample of it arrives."""

    def __init__(self, run: str, number: int, slots: int) -> None:
        self._run = run
        self._number = number
        self._slots = slots
        self._mappings: dict[int, tuple[mmap.mmap, int]] = {}

    def locate(self, slot: int, generation: int) -> tuple[mmap.mmap, int, int]:
        """Give the memory, the offset of the slot in it, and the slot's size in bytes.

        Raises:
            CorruptSampleError: the generation does not exist.
        """
        found = self._mappings.get(generation)
        if found is None:
            found = self._attach(generation)
        mapping, slot_nbytes = found
        return mapping, slot * slot_nbytes, slot_nbytes

    def _attach(self, generation: int) -> tuple[mmap.mmap, int]:
        if generation >= 1 << 16:
            raise CorruptSampleError(f"generation {generation} cannot exist")
        segment = Segment.attach(names.pool(self._run, self._number, generation), writable=False)
        segment.close()
        found = segment.mapping, len(segment.mapping) // self._slots
        # A loan that began before the pool grew may still arrive from the generation before.
        self._mappings = {
            known: mapping for known, mapping in self._mappings.items() if known >= generation - 1
        }
        self._mappings[generation] = found
        return found


def _round_up(nbytes: int) -> int:
    page = mmap.PAGESIZE
    return (nbytes + page - 1) // page * page
