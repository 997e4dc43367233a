"""Puts the stand-ins under the real package: shared memory, semaphores, locks, sleep, time, views.

Whatever module of dora_rt has imported one of the originals gets the stand-in instead, so a new
module that uses them needs nothing here. All else is the code that robots run.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import ModuleType, TracebackType
from typing import Any, NamedTuple

import numpy as np

from dora_rt.errors import CorruptSampleError
from dora_rt.transport.input import subscriber
from dora_rt.transport.output import loan
from dora_rt.transport.primitives import doorbell, fence, forks, shm
from dora_rt.transport.primitives.polling import Spin
from dora_rt.transport.primitives.shm import ClosedError
from dora_rt.transport.values import header
from dora_rt.transport.values.header import (
    DESCRIPTION_OFFSET,
    ENCODING_BYTES,
    HEADER_NBYTES,
    Header,
)
from tests.protocol import memory as stand_ins
from tests.protocol.accounts import Accounts
from tests.protocol.memory import Mapping, Memory, Words
from tests.protocol.scheduler import Process, Scheduler, Thread

_VIEW_NBYTES = 5000  # so large that a reader keeps a view of it


class Here:
    """The schedule that runs now: what the stand-ins work on."""

    memory: Memory
    scheduler: Scheduler
    accounts: Accounts
    has_views = False
    """Whether readers take samples for arrays that are too large to be copied."""


here = Here()


@contextmanager
def put_under(others: dict[str, ModuleType] | None = None) -> Iterator[None]:
    """Replace what the package is built on, in all of its modules, until the block ends.

    Args:
        others: modules of the package that were loaded a second time, by name.
    """
    others = others or {}
    replaced: list[tuple[Any, str, Any]] = []
    stand_ins = [*_STAND_INS, *_stand_ins_of(others)]
    stand_in_of = {id(original): stand_in for original, stand_in in stand_ins}
    views = {subscriber.__name__: _Numpy(_View), loan.__name__: _Numpy(_Loaned)}
    try:
        for name, module in [*sys.modules.items(), *others.items()]:
            if not name.startswith("dora_rt.") or module is None:
                continue
            for attribute, value in list(vars(module).items()):
                stand_in = stand_in_of.get(id(value))
                if stand_in is None and name.startswith(
                    ("dora_rt.transport.", "dora_rt.launcher.")
                ):
                    stand_in = {id(time): _TIME, id(threading): _THREADING}.get(id(value))
                if stand_in is not None:
                    replaced.append((module, attribute, value))
                    setattr(module, attribute, stand_in)
        for name, numpy in views.items():
            for module in (sys.modules[name], *([others[name]] if others else [])):
                replaced.append((module, "np", module.np))
                module.np = numpy  # type: ignore[attr-defined]
        yield
    finally:
        for module, attribute, value in replaced:
            setattr(module, attribute, value)


class Segment:
    """The functions of `dora_rt.transport.primitives.shm.Segment` that give one."""

    @staticmethod
    def create(name: str, nbytes: int, *, sparse: bool = False) -> stand_ins.Segment:
        """Make a segment."""
        return here.memory.create_segment(name, nbytes)

    @staticmethod
    def attach(name: str, *, writable: bool) -> stand_ins.Segment:
        """Open a segment."""
        return here.memory.segment(name)


def _attach_words(name: str, check: Callable[[Words, str], None], *, writable: bool) -> Words:
    segment = here.memory.segment(name)
    words = segment.words()
    check(words, name)
    if writable:
        here.accounts.attached(name, segment.cells, here.scheduler.process)
    return words


def _create_semaphore(name: str) -> stand_ins.Handle:
    return here.memory.create_semaphore(name)


def _open_semaphore(name: str) -> stand_ins.Handle:
    return here.memory.find_semaphore(name) or here.memory.create_semaphore(name)


def _attach_semaphore(name: str) -> stand_ins.Handle:
    return here.memory.semaphore(name)


def _find_semaphore(name: str) -> stand_ins.Handle | None:
    return here.memory.find_semaphore(name)


class _Entry(NamedTuple):
    name: str


class _Folder:
    """In place of `/dev/shm`."""

    def iterdir(self) -> list[_Entry]:
        memory = here.memory
        segments = [_Entry(name.removeprefix("/")) for name in memory.segments]
        return segments + [_Entry("sem." + name.removeprefix("/")) for name in memory.semaphores]


def _unlink_segments(segments: Any, prefix: str | None) -> None:
    for name in segments:
        here.accounts.removes(name)
    found = [] if prefix is None else [it for it in here.memory.segments if it.startswith(prefix)]
    here.memory.unlink(segments=[*segments, *found], semaphores=[])


def _unlink_semaphores(semaphores: Any) -> None:
    here.memory.unlink(segments=[], semaphores=list(semaphores))


def _note_lender(lender: object) -> None:
    """Forget it: nothing here forks, and the list would grow from schedule to schedule."""


def _unlink_run(run: str) -> list[str]:
    return []


def _segment_exists(name: str) -> bool:
    return name in here.memory.segments


class _Fence:
    def pass_through(self) -> None:
        here.memory.fence()


def _stores_need_fences() -> bool:
    return here.memory.weak > 0


class _Time:
    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def monotonic_ns(self) -> int:
        here.memory.now_ns += 1
        return here.memory.now_ns


class _Lock:
    """A lock of the threads of one process; under the GIL they see the same memory.

    To let go of it and to take it again is a fence.
    """

    def __init__(self) -> None:
        self.count = 1
        self._was_released = False

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        here.scheduler.step()
        while not self.count:
            if not blocking or not here.scheduler.block(self, has_deadline=timeout >= 0):
                return False
        self.count = 0
        if self._was_released:
            here.memory.order()
        return True

    def release(self) -> None:
        if self.count:
            raise RuntimeError("release unlocked lock")
        self._was_released = True
        self.count = 1

    def locked(self) -> bool:
        return not self.count

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


class _RLock(_Lock):
    def __init__(self) -> None:
        super().__init__()
        self._owner: Thread | None = None
        self._depth = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        thread = here.scheduler.thread
        if not self.count and self._owner is thread:
            self._depth += 1
            return True
        if not super().acquire(blocking, timeout):
            return False
        self._owner, self._depth = thread, 1
        return True

    def release(self) -> None:
        if self.count or self._owner is not here.scheduler.thread:
            raise RuntimeError("cannot release un-acquired lock")
        self._depth -= 1
        if not self._depth:
            self._owner = None
            super().release()

    def _is_owned(self) -> bool:
        return not self.count and self._owner is here.scheduler.thread


class _Threading:
    Lock = _Lock
    RLock = _RLock

    def __getattr__(self, name: str) -> Any:
        return getattr(threading, name)

    def get_ident(self) -> int:
        return id(here.scheduler.thread)


class _Waits:
    """The C library's waits on a semaphore."""

    def __init__(self, name: str) -> None:
        self._handle = here.memory.semaphore(name)

    def wait(self, deadline_ns: int | None) -> bool:
        if self._handle.wait(has_deadline=deadline_ns is not None):
            return True
        if deadline_ns is not None:
            here.memory.now_ns = max(here.memory.now_ns, deadline_ns)
        return False

    def close(self) -> None:
        with suppress(ClosedError):
            self._handle.close()


def _write_number_and_times(buffer: Mapping, offset: int, seq: int, *times_ns: int) -> None:
    here.accounts.stamped(buffer, offset, seq, here.scheduler.process)
    buffer.write(offset, (seq, *times_ns))


def _read_header(buffer: Mapping, offset: int, slot_nbytes: int) -> Header:
    description = buffer.read(offset + DESCRIPTION_OFFSET)
    number = buffer.read(offset)
    if not description or not number:
        raise CorruptSampleError("there is no sample")
    seq, sent_ns, _, origin_ns = number
    if here.has_views:
        return seq, sent_ns, origin_ns, _VIEW_NBYTES, ENCODING_BYTES, _ARRAY_TYPE, b""
    return seq, sent_ns, origin_ns, 8, ENCODING_BYTES, None, b""


_ARRAY_TYPE = np.dtype(np.uint8), (_VIEW_NBYTES,)


class _HeaderReader:
    def read(self, buffer: Mapping, offset: int, slot_nbytes: int) -> Header:
        return _read_header(buffer, offset, slot_nbytes)


class _Flags:
    writeable = True
    c_contiguous = True


class _View:
    """A view of a sample in its slot; the slot must not be written while it lives."""

    __slots__ = ("__weakref__", "_buffer", "_place", "_process", "flags")

    def __init__(self, buffer: Mapping, place: int) -> None:
        self._buffer, self._place = buffer, place
        self._process = here.scheduler.process
        self.flags = _Flags()
        if self._process is not None:
            buffer.viewers.setdefault(place, []).append(self._process)

    def look(self) -> Any:
        """Read what it shows."""
        return self._buffer.read(self._place)

    def copy(self) -> _Copy:
        return _Copy(self._buffer.read(self._place))

    def __del__(self) -> None:
        if self._process is not None:
            self._buffer.viewers[self._place].remove(self._process)


class _Copy:
    __slots__ = ("_value", "flags")

    def __init__(self, value: Any) -> None:
        self._value = value
        self.flags = _Flags()

    def look(self) -> Any:
        return self._value


class _Loaned:
    """An array that the writer fills in place."""

    dtype, shape = np.dtype(np.uint8), (8,)
    nbytes = 8

    def __init__(self, buffer: Mapping, place: int) -> None:
        self._buffer, self._place = buffer, place
        self.flags = _Flags()

    def fill(self, payload: bytes) -> None:
        self._buffer.write(self._place, payload)


class _Numpy:
    def __init__(self, kind: Callable[[Mapping, int], Any]) -> None:
        self._kind = kind

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    def ndarray(self, shape: Any, dtype: Any, buffer: Any, begin: int | None = None) -> Any:
        return _Copy(buffer) if begin is None else self._kind(buffer, begin)


def value_of(value: Any) -> bytes:
    """Read what a reader received, whatever form it has."""
    looked = value if isinstance(value, bytes) else value.look()
    return looked if isinstance(looked, bytes) else b""


_TIME, _THREADING = _Time(), _Threading()
_STAND_INS: tuple[tuple[Any, Any], ...] = (
    (shm.Segment, Segment),
    (shm.attach_words, _attach_words),
    (shm.create_semaphore, _create_semaphore),
    (shm.attach_semaphore, _attach_semaphore),
    (shm.open_semaphore, _open_semaphore),
    (shm.find_semaphore, _find_semaphore),
    (shm.SHM_DIRECTORY, _Folder()),
    (shm.unlink_segments, _unlink_segments),
    (shm.unlink_semaphores, _unlink_semaphores),
    (shm.unlink_run, _unlink_run),
    (shm.segment_exists, _segment_exists),
    (forks.note_lender, _note_lender),
    (fence.Fence, _Fence),
    (fence.stores_need_fences, _stores_need_fences),
    (fence.stores_need_fences, lambda: True),
    (header.write_number_and_times, _write_number_and_times),
    (header.read_header, _read_header),
    (header.HeaderReader, _HeaderReader),
    (doorbell._find_waits, _Waits),
)


def _stand_ins_of(modules: dict[str, ModuleType]) -> Iterator[tuple[Any, Any]]:
    """Give the same for modules that were loaded a second time."""
    for module, name, stand_in in (
        (header, "write_number_and_times", _write_number_and_times),
        (header, "read_header", _read_header),
        (header, "HeaderReader", _HeaderReader),
        (doorbell, "_find_waits", _Waits),
    ):
        if module.__name__ in modules:
            yield getattr(modules[module.__name__], name), stand_in


__all__ = ["HEADER_NBYTES", "Process", "Spin", "here", "put_under", "value_of"]
