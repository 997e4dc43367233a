"""Stand-ins for shared memory and semaphores: each access is a step of the scheduler.

Memory is sequentially consistent, or weak: C11's release and acquire, which is weaker than ARMv8. A
plain word has a history, and a read gives any entry of it that nothing forbids: not one older than
what the reading process is certain to know, nor than what it has read there before. Posting a
semaphore releases what the poster knows, taking it acquires that; a failed try and a look at the
count promise nothing. A process knows with certainty so many writes of each process: its clock.
System calls that make, open or remove an object are fences, as they are in every kernel.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from random import Random
from typing import Any, NamedTuple

from dora_rt.errors import SharedMemoryError
from dora_rt.transport.primitives.shm import BusyError, ClosedError
from dora_rt.transport.ring.protocol import COPIED, LATENCIES, LOG, SENT_NBYTES
from tests.protocol.scheduler import Process, Scheduler

MOST_LIVES = 16
# Counted for people: nobody acts on them, so they are no steps, and are not kept.
QUIET_OF_EDGES = frozenset({COPIED, *range(LATENCIES, LOG)})
QUIET_OF_OUTPUTS = frozenset({SENT_NBYTES})
_NONE: frozenset[int] = frozenset()


class Entry(NamedTuple):
    """One write of a word: its value, by whom, and what a fence before it has released."""

    value: Any
    life: int
    write: int
    released: list[int] | None


class Memory:
    """All shared objects of one schedule."""

    def __init__(self, scheduler: Scheduler, rng: Random, weak: float) -> None:
        """Begin with no object.

        Args:
            scheduler: whose steps the accesses are.
            rng: decides what a read finds.
            weak: how likely a read that may be late is; 0: sequentially consistent.
        """
        self.scheduler = scheduler
        self.rng = rng
        self.weak = weak
        self.segments: dict[str, Segment] = {}
        self.semaphores: dict[str, Count] = {}
        self.handles: dict[Process | None, dict[int, Handle]] = defaultdict(dict)
        """Semaphores that are open, by process."""
        self.now_ns = 1_000
        self.made = 0
        """Objects so far: each has a number of its own."""
        self._processes: list[Process] = []
        self._fenced = [0] * MOST_LIVES
        self._removed = [0] * MOST_LIVES
        self.token_taken: Callable[[str, Process | None], None] | None = None

    # Processes.

    def begin(self, process: Process) -> None:
        """Let a new process know what the one who starts it knows."""
        starter = self.scheduler.process
        process.clock = list(starter.clock) if starter is not None else [0] * MOST_LIVES
        self._processes.append(process)

    def settle(self) -> None:
        """Let so much time pass that everybody sees what all have written."""
        if self.weak:
            clocks = [process.clock for process in self._processes]
            newest = list(map(max, *clocks))
            for process in self._processes:
                process.clock = newest

    def reap(self, dead: Process) -> None:
        """Let the running process know all that a dead one did; a system call, too."""
        self._learn(dead.clock)
        self.order()

    def fence(self) -> None:
        """Let nothing pass from one side to the other; a step."""
        scheduler = self.scheduler
        scheduler.left -= 1
        if scheduler.left < 0:
            scheduler.pause()
        self.order()

    def order(self) -> None:
        """Do what a fence does, within another step."""
        if self.weak:
            self._fence()

    # Objects.

    def create_segment(self, name: str, nbytes: int) -> Segment:
        """Make a segment of zeros.

        Raises:
            SharedMemoryError: there is one of this name.
        """
        self.fence()
        if name in self.segments:
            raise SharedMemoryError(f"shared memory {name} exists already")
        self.made += 1
        self.segments[name] = segment = Segment(self, name, nbytes, self.made)
        return segment

    def segment(self, name: str) -> Segment:
        """Open a segment.

        Raises:
            SharedMemoryError: there is none of this name.
        """
        self.fence()
        found = self.segments.get(name)
        if found is None:
            self._learn(self._removed)
            raise SharedMemoryError(f"shared memory {name} is gone")
        self._learn(found.born)
        return found

    def create_semaphore(self, name: str) -> Handle:
        """Make a semaphore.

        Raises:
            SharedMemoryError: there is one of this name.
        """
        self.fence()
        if name in self.semaphores:
            raise SharedMemoryError(f"semaphore {name} exists already")
        self.made += 1
        self.semaphores[name] = count = Count(self, name, self.made)
        return Handle(self, count)

    def semaphore(self, name: str) -> Handle:
        """Open a semaphore.

        Raises:
            SharedMemoryError: there is none of this name.
        """
        found = self.find_semaphore(name)
        if found is None:
            raise SharedMemoryError(f"semaphore {name} is gone")
        return found

    def find_semaphore(self, name: str) -> Handle | None:
        """Open a semaphore; None if there is none of this name."""
        self.fence()
        found = self.semaphores.get(name)
        if found is None:
            self._learn(self._removed)
            return None
        self._learn(found.clock)
        return Handle(self, found)

    def unlink(self, *, segments: list[str], semaphores: list[str]) -> None:
        """Remove names, as far as they exist."""
        self.fence()
        process = self.scheduler.process
        if process is not None and self.weak:
            self._removed = list(map(max, self._removed, process.clock))
        for name in segments:
            self.segments.pop(name, None)
        for name in semaphores:
            self.semaphores.pop(name, None)

    # Clocks.

    def _learn(self, clock: list[int]) -> None:
        process = self.scheduler.process
        if self.weak and process is not None:
            process.clock = list(map(max, process.clock, clock))

    def _fence(self) -> None:
        process = self.scheduler.process
        if process is not None:
            if process.acquired is not None:
                process.clock = list(map(max, process.clock, process.acquired))
            # Fences have one order, as C11's strongest and ARM's have: who comes later sees what
            # was written before.
            process.clock = self._fenced = list(map(max, process.clock, self._fenced))
            process.released = process.clock
            # A copy on the next write: the list is never changed in place.


class Cells:
    """Places that are read and written one at a time: the words of a segment, or its samples."""

    def __init__(self, memory: Memory, name: str, number: int) -> None:
        self._memory = memory
        self.name = name
        self._number = number
        self._histories: dict[int, list[Entry]] = {}
        self.values: dict[int, Any] = {}
        """The newest of each place."""

    def read(self, place: int) -> Any:
        """Read one place."""
        memory = self._memory
        if not memory.weak:
            return self.values.get(place, 0)
        process = memory.scheduler.process
        history = self._histories.get(place)
        if history is None:
            return 0
        last = len(history) - 1
        entry = history[last]
        if process is None:
            return entry.value
        clock = process.clock
        if entry.life >= 0 and clock[entry.life] < entry.write:
            key = self._number, place
            if memory.rng.random() < memory.weak:
                low = process.ahead.get(key, 0)
                known = last - 1
                while known > low:
                    entry = history[known]
                    if entry.life < 0 or clock[entry.life] >= entry.write:
                        break
                    known -= 1
                low = max(low, known)
                last = low + int(memory.rng.random() * (last - low + 1))
                entry = history[last]
            process.ahead[key] = last
        if entry.released is not None:
            acquired = process.acquired
            process.acquired = (
                entry.released if acquired is None else list(map(max, acquired, entry.released))
            )
        return entry.value

    def write(self, place: int, value: Any) -> None:
        """Write one place."""
        self.values[place] = value
        memory = self._memory
        if not memory.weak:
            return
        history = self._histories.get(place)
        if history is None:
            self._histories[place] = history = [Entry(0, -1, 0, None)]
        process = memory.scheduler.process
        if process is None:
            history.append(Entry(value, -1, 0, None))
            return
        process.writes = write = process.writes + 1
        process.clock = clock = list(process.clock)
        clock[process.life] = write
        history.append(Entry(value, process.life, write, process.released))


class Segment:
    """A named piece of shared memory, in place of `dora_rt.transport.primitives.shm.Segment`."""

    def __init__(self, memory: Memory, name: str, nbytes: int, number: int) -> None:
        self.name = name
        self.nbytes = nbytes
        self.cells = Cells(memory, name, number)
        self.mapping = Mapping(memory, self)
        process = memory.scheduler.process
        self.born = list(process.clock) if process is not None else [0] * MOST_LIVES
        self._memory = memory

    def commit(self, offset: int, nbytes: int) -> None:
        """Allocate nothing: there is room."""

    def words(self) -> Words:
        """View the segment as words."""
        what = self.name.rpartition("-")[2]
        quiet = _NONE
        if what[0] == "e":
            quiet = QUIET_OF_EDGES
        elif what[0] == "o":
            quiet = QUIET_OF_OUTPUTS
        return Words(self._memory, self.cells, 0, self.nbytes // 8, quiet)

    def close(self) -> None:
        """Let go of the descriptor."""

    def unlink(self) -> None:
        """Remove the name."""
        self._memory.unlink(segments=[self.name], semaphores=[])


class Words:
    """A `memoryview` of 8-byte words."""

    __slots__ = ("_base", "_cells", "_length", "_quiet", "_scheduler", "_values", "memory")

    def __init__(
        self, memory: Memory, cells: Cells, base: int, length: int, quiet: frozenset[int]
    ) -> None:
        self.memory = memory
        self._scheduler = memory.scheduler
        self._cells, self._base, self._length, self._quiet = cells, base, length, quiet
        self._values = cells.values if not memory.weak else None

    @property
    def nbytes(self) -> int:
        """Give the size."""
        return 8 * self._length

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[int]:
        return iter(self.tolist())

    def tolist(self) -> list[int]:
        """Copy all words."""
        scheduler, quiet, base = self._scheduler, self._quiet, self._base
        scheduler.step()
        get = self._cells.read if self._values is None else self._cells.values.get
        return [
            0 if place in quiet else get(place) or 0 for place in range(base, base + self._length)
        ]

    def release(self) -> None:
        """Look no more."""

    def __getitem__(self, index: int | slice) -> Any:
        if index.__class__ is slice:
            begin, end, _ = index.indices(self._length)
            return Words(self.memory, self._cells, self._base + begin, end - begin, self._quiet)
        place = self._base + index
        if place not in self._quiet:
            scheduler = self._scheduler
            scheduler.left -= 1
            if scheduler.left < 0:
                scheduler.pause()
        if not 0 <= index < self._length:
            raise IndexError(f"word {index} of {self._length}")
        if self._values is not None:
            return self._values.get(place, 0)
        return self._cells.read(place)

    def __setitem__(self, index: int, value: int) -> None:
        place = self._base + index
        if place in self._quiet:
            return
        scheduler = self._scheduler
        scheduler.left -= 1
        if scheduler.left < 0:
            scheduler.pause()
        if not (0 <= index < self._length and 0 <= value < 1 << 64):
            raise ValueError(f"word {index} of {self._length} cannot be {value}")
        if self._values is not None:
            self._values[place] = value
        else:
            self._cells.write(place, value)


class Mapping:
    """The memory of samples: a place is where a slice begins, and has what was written there."""

    def __init__(self, memory: Memory, segment: Segment) -> None:
        self._memory = memory
        self._segment = segment
        self.viewers: dict[int, list[Process]] = {}
        """Who has a live view of what is at a place."""

    def __len__(self) -> int:
        return self._segment.nbytes

    def close(self) -> None:
        """Unmap it."""

    def __getitem__(self, part: slice) -> Any:
        return self.read(part.start)

    def __setitem__(self, part: slice, value: Any) -> None:
        self.write(part.start, bytes(value))

    def read(self, place: int) -> Any:
        """Read what is at a place."""
        scheduler = self._memory.scheduler
        scheduler.left -= 1
        if scheduler.left < 0:
            scheduler.pause()
        return self._segment.cells.read(place)

    def write(self, place: int, value: Any) -> None:
        """Write it; nobody may have a view of it."""
        scheduler = self._memory.scheduler
        scheduler.left -= 1
        if scheduler.left < 0:
            scheduler.pause()
        for viewer in self.viewers.get(place, ()):
            if viewer.is_alive:
                scheduler.fail(
                    f"overwritten under a live view: {viewer.name} looks at byte {place} of "
                    f"{self._segment.name}, and it becomes {value!r}"
                )
        self._segment.cells.write(place, value)


class Count:
    """A semaphore; what is opened is a `Handle`."""

    __slots__ = (
        "ahead",
        "born",
        "clock",
        "count",
        "history",
        "memory",
        "name",
        "number",
        "returned",
        "token",
    )

    def __init__(self, memory: Memory, name: str, number: int) -> None:
        self.memory = memory
        self.number = number
        self.name = name
        self.born = memory.scheduler.steps
        self.count = 0
        what = name.rpartition("-")[2]
        self.token = "t" in what
        self.returned = what.endswith("r")
        process = memory.scheduler.process
        self.clock = list(process.clock) if process is not None else [0] * MOST_LIVES
        self.ahead: dict[tuple[int, int], int] = {}
        self.history: list[Entry] = [Entry(0, -1, 0, None)]

    def change(self, by: int, process: Process | None) -> None:
        """Add to the count."""
        self.count += by
        if not self.memory.weak:
            return
        if process is None:
            self.history.append(Entry(self.count, -1, 0, None))
            return
        process.writes = write = process.writes + 1
        process.clock = clock = list(process.clock)
        clock[process.life] = write
        self.history.append(Entry(self.count, process.life, write, None))
        if by > 0:
            self.clock = list(map(max, self.clock, clock))
            _join(self.ahead, process.ahead)
        else:
            process.clock = list(map(max, clock, self.clock))
            _join(process.ahead, self.ahead)

    def look(self, process: Process | None) -> int:
        """Read the count, perhaps an earlier one."""
        memory = self.memory
        if not memory.weak or process is None:
            return self.count
        history = self.history
        last = len(history) - 1
        entry = history[last]
        clock = process.clock
        if entry.life >= 0 and clock[entry.life] < entry.write:
            key = self.number, -1
            if memory.rng.random() < memory.weak:
                low = process.ahead.get(key, 0)
                known = last - 1
                while known > low:
                    entry = history[known]
                    if entry.life < 0 or clock[entry.life] >= entry.write:
                        break
                    known -= 1
                low = max(low, known)
                last = low + int(memory.rng.random() * (last - low + 1))
                entry = history[last]
            process.ahead[key] = last
        return int(entry.value)


class Handle:
    """An open semaphore, in place of that of posix_ipc."""

    __slots__ = ("_count", "_memory", "_scheduler", "owner")

    def __init__(self, memory: Memory, count: Count) -> None:
        self._memory = memory
        self._scheduler = memory.scheduler
        self._count = count
        self.owner = memory.scheduler.process
        memory.handles[self.owner][id(self)] = self

    @property
    def name(self) -> str:
        """Give the name."""
        return self._count.name

    @property
    def counted(self) -> Count:
        """Give the semaphore that this opens."""
        return self._count

    @property
    def value(self) -> int:
        """Look at the count."""
        scheduler = self._scheduler
        scheduler.left -= 1
        if scheduler.left < 0:
            scheduler.pause()
        count = self._count
        if not self._memory.weak:
            return count.count
        return count.look(scheduler.process)

    def acquire(self, timeout: float | None = None) -> None:
        """Take one, at once or never: with 0 only."""
        scheduler = self._scheduler
        scheduler.left -= 1
        if scheduler.left < 0:
            scheduler.pause()
        count, process = self._count, scheduler.process
        if timeout == 0:
            if not count.count or (self._memory.weak and not count.look(process)):
                raise BusyError("busy")
        else:
            self._wait(timeout is not None)
        count.change(-1, process)
        if count.token and self._memory.token_taken is not None:
            self._memory.token_taken(count.name, process)

    def release(self) -> None:
        """Add one."""
        scheduler = self._scheduler
        scheduler.left -= 1
        if scheduler.left < 0:
            scheduler.pause()
        count = self._count
        if count.token and count.count:
            scheduler.fail(f"{count.name} is posted twice")
        process = scheduler.process
        count.change(1, process)
        if process is not None and process.posts_to_live and count.returned:
            process.posts_to_live -= 1
            if not process.posts_to_live:
                scheduler.kill_next(process)

    def wait(self, *, has_deadline: bool) -> bool:
        """Wait for one and take it; False: time was up, or a signal came."""
        scheduler = self._scheduler
        scheduler.left -= 1
        if scheduler.left < 0:
            scheduler.pause()
        if not self._wait(has_deadline):
            return False
        self._count.change(-1, scheduler.process)
        return True

    def close(self) -> None:
        """Close it; nobody can use it any more."""
        if isinstance(self._count, _Closed):
            raise ClosedError("closed")
        self._memory.handles[self.owner].pop(id(self), None)
        self._count = _Closed()

    def _wait(self, has_deadline: bool) -> bool:
        count = self._count
        while not count.count:
            if not self._scheduler.block(count, has_deadline=has_deadline):
                return False
        return True


class _Closed(Count):
    """What a closed handle opens: nothing can be done with it."""

    __slots__ = ()

    def __init__(self) -> None:
        self.name = "closed"
        self.token = False

    def __getattr__(self, name: str) -> Any:
        raise ClosedError("closed")


def _join(one: dict[tuple[int, int], int], other: dict[tuple[int, int], int]) -> None:
    for key, value in other.items():
        if one.get(key, 0) < value:
            one[key] = value


__all__ = ["Count", "Handle", "Mapping", "Memory", "Segment", "Words"]
