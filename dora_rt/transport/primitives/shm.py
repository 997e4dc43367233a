"""POSIX shared memory and semaphores: the only module that touches posix_ipc.

Names: `/drt-<run>-<what>`, mode 0600, created exclusively.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import re
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple, Protocol, cast

import posix_ipc

from dora_rt.compiled import IS_COMPILED, _cores
from dora_rt.errors import SharedMemoryError, SharedMemoryFullError

SHM_DIRECTORY = Path("/dev/shm")
BusyError: type[Exception] = posix_ipc.BusyError
ClosedError: type[Exception] = posix_ipc.ExistentialError
SignalError: type[Exception] = posix_ipc.SignalError
WORD_BITS = struct.calcsize("P") * 8
_MODE = 0o600
_MEMORY = Path("/proc/meminfo")
_MAPPING_LIMIT = Path("/proc/sys/vm/max_map_count")
# Only a fallback, where the C library has no sem_clockwait: a step of the wall clock may then
# lengthen one slice, and the next look at the monotonic clock repairs it.
SLICE_S = 0.05


class Semaphore(Protocol):
    """The part of a posix_ipc semaphore that the data plane uses.

    Its calls are those of posix_ipc, without a wrapper: they are the hot path.
    """

    @property
    def value(self) -> int:
        """The count."""

    def acquire(self, timeout: float | None = None) -> None:
        """Take one count, or raise BusyError after `timeout` seconds (0: at once)."""

    def release(self) -> None:
        """Add one count and wake a waiter."""

    def close(self) -> None:
        """Unmap it now, and not only when the object goes."""


class _Semaphore(posix_ipc.Semaphore):  # type: ignore[misc]
    """As it comes, but for its end: posix_ipc leaves it mapped when the object goes."""

    __slots__ = ()

    # At the end of an interpreter the names of its modules are gone before its objects are.
    def __del__(self, closed_error: type[Exception] = ClosedError) -> None:
        try:  # noqa: SIM105
            self.close()
        except closed_error:
            pass  # by hand already, or it was never opened


if IS_COMPILED:
    _cores.use_errors(BusyError, ClosedError, SignalError)
_open: Callable[..., object] = _cores.Semaphore if IS_COMPILED else _Semaphore


class Segment:
    """A named piece of shared memory; the launcher or a publisher creates it, others attach."""

    def __init__(self, name: str, descriptor: int, mapping: mmap.mmap) -> None:
        self.name = name
        self.mapping = mapping
        self._descriptor = descriptor

    @classmethod
    def create(cls, name: str, nbytes: int, *, sparse: bool = False) -> Segment:
        """Create the object, which must not exist yet, and map it writable.

        Args:
            name: name with its leading slash.
            nbytes: size of the object in bytes.
            sparse: only reserve the address range; every byte must be asked for with `commit`
                before it is touched, because touching what does not fit is a SIGBUS.

        Raises:
            SharedMemoryFullError: /dev/shm has no room for it.
            SharedMemoryError: an object of this name exists, or this Python has 32 bits.
        """
        _refuse_narrow_words()
        try:
            opened = posix_ipc.SharedMemory(name, posix_ipc.O_CREX, mode=_MODE)
        except posix_ipc.ExistentialError as error:
            raise SharedMemoryError(f"shared memory {name} exists already") from error
        except OSError as error:
            raise _explained(error, f"shared memory {name}") from error
        try:
            # The umask may have taken bits away from the mode.
            os.fchmod(opened.fd, _MODE)
            os.ftruncate(opened.fd, nbytes)
            if not sparse:
                _allocate(opened.fd, name, 0, nbytes)
            mapping = mmap.mmap(opened.fd, nbytes)
        except BaseException as error:
            os.close(opened.fd)
            posix_ipc.unlink_shared_memory(name)
            if isinstance(error, (OverflowError, OSError)):
                if _has_all_mappings():
                    raise _too_many_mappings(f"shared memory {name}") from error
                raise SharedMemoryFullError(
                    f"{nbytes:,} bytes of shared memory ({name}) cannot be mapped: {error}"
                ) from error
            raise
        return cls(name, opened.fd, mapping)

    @classmethod
    def attach(cls, name: str, *, writable: bool) -> Segment:
        """Map an existing object of this user.

        Raises:
            SharedMemoryError: it does not exist, is empty, or belongs to another user; or this
                Python has 32 bits.
        """
        _refuse_narrow_words()
        try:
            opened = posix_ipc.SharedMemory(name, 0, read_only=not writable)
        except posix_ipc.ExistentialError as error:
            raise SharedMemoryError(
                f"shared memory {name} is gone: the dataflow has ended, or somebody removed it "
                "(systemd does so at logout unless RemoveIPC=no)"
            ) from error
        try:
            status = os.fstat(opened.fd)
            if status.st_uid != os.geteuid() or status.st_mode & 0o077:
                raise SharedMemoryError(
                    f"shared memory {name} belongs to user {status.st_uid} with mode "
                    f"{status.st_mode & 0o777:o}; expected user {os.geteuid()} and mode 600"
                )
            if status.st_size == 0:
                raise SharedMemoryError(f"shared memory {name} is empty: somebody truncated it")
            protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
            mapping = mmap.mmap(opened.fd, status.st_size, prot=protection)
        except BaseException as error:
            os.close(opened.fd)
            if isinstance(error, OSError) and _has_all_mappings():
                raise _too_many_mappings(f"shared memory {name}") from error
            raise
        return cls(name, opened.fd, mapping)

    def commit(self, offset: int, nbytes: int) -> None:
        """Allocate a range of a sparse segment, so that it can be touched.

        Raises:
            SharedMemoryFullError: /dev/shm has no room for it.
        """
        _allocate(self._descriptor, self.name, offset, nbytes)

    def words(self) -> memoryview:
        """View the segment as native 8-byte words."""
        # The object may be truncated at any moment; `attach` checks the size.
        whole = len(self.mapping) // 8 * 8
        return memoryview(self.mapping)[:whole].cast("Q")

    def close(self) -> None:
        """Close the descriptor; the mapping goes with the last view of it."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def unlink(self) -> None:
        """Remove the name; processes that have it mapped keep the memory."""
        try:
            posix_ipc.unlink_shared_memory(self.name)
        except posix_ipc.ExistentialError:
            return


def segment_exists(name: str) -> bool:
    """Return whether there is a segment of this name (at the moment)."""
    return (SHM_DIRECTORY / name.removeprefix("/")).exists()


def _refuse_narrow_words() -> None:
    if WORD_BITS < 64:
        raise SharedMemoryError(
            f"this Python has {WORD_BITS} bits, and dora_rt needs 64: a counter would be written "
            "in two halves, and a reader could see one without the other; install a 64-bit system "
            "and Python (Raspberry Pi OS 64-bit)"
        )


def attach_words(
    name: str, check: Callable[[memoryview, str], None], *, writable: bool
) -> memoryview:
    """Map an existing segment as words, after `check(words, name)` has found nothing wrong."""
    segment = Segment.attach(name, writable=writable)
    segment.close()
    words = segment.words()
    check(words, name)
    return words


def create_semaphore(name: str) -> Semaphore:
    """Create a semaphore that must not exist yet, with count 0.

    Raises:
        SharedMemoryError: a semaphore of this name exists.
        SharedMemoryFullError: /dev/shm has no room for it.
    """
    try:
        return cast(Semaphore, _open(name, posix_ipc.O_CREX, mode=_MODE))
    except posix_ipc.ExistentialError as error:
        raise SharedMemoryError(f"semaphore {name} exists already") from error
    except MemoryError as error:
        unlink_semaphores([name])
        raise _unmapped_semaphore(name) from error
    except OSError as error:
        raise _explained(error, f"semaphore {name}") from error


def open_semaphore(name: str) -> Semaphore:
    """Open a semaphore that only this process creates; create it with count 0 if missing.

    Raises:
        SharedMemoryError: it cannot be made or mapped.
        SharedMemoryFullError: /dev/shm has no room for it.
    """
    try:
        return cast(Semaphore, _open(name, posix_ipc.O_CREAT, mode=_MODE))
    except MemoryError as error:
        raise _unmapped_semaphore(name) from error
    except OSError as error:
        raise _explained(error, f"semaphore {name}") from error


def attach_semaphore(name: str) -> Semaphore:
    """Open an existing semaphore.

    Raises:
        SharedMemoryError: there is none of this name.
    """
    semaphore = find_semaphore(name)
    if semaphore is None:
        raise SharedMemoryError(f"semaphore {name} is gone: the dataflow has ended")
    return semaphore


def find_semaphore(name: str) -> Semaphore | None:
    """Open an existing semaphore; None if there is none of this name.

    Raises:
        SharedMemoryError: it cannot be mapped.
    """
    try:
        return cast(Semaphore, _open(name))
    except posix_ipc.ExistentialError:
        return None
    except MemoryError as error:
        raise _unmapped_semaphore(name) from error


def unlink_segments(segments: Iterable[str], prefix: str | None) -> None:
    """Remove segments by name, and all whose name begins with `prefix`, as far as they exist."""
    found = [] if prefix is None else SHM_DIRECTORY.glob(f"{prefix.removeprefix('/')}*")
    for name in (*segments, *(f"/{path.name}" for path in found)):
        with contextlib.suppress(posix_ipc.ExistentialError):
            posix_ipc.unlink_shared_memory(name)


def unlink_semaphores(semaphores: Iterable[str]) -> None:
    """Remove semaphores by name, as far as they exist."""
    for name in semaphores:
        with contextlib.suppress(posix_ipc.ExistentialError):
            posix_ipc.unlink_semaphore(name)


def unlink_run(run: str) -> list[str]:
    """Remove every shared object whose name belongs to the run; return their file names."""
    removed = []
    for entry in [path.name for path in SHM_DIRECTORY.iterdir()]:
        if entry.startswith(f"drt-{run}-"):
            posix_ipc.unlink_shared_memory(f"/{entry}")
        elif entry.startswith(f"sem.drt-{run}-"):
            posix_ipc.unlink_semaphore(f"/{entry.removeprefix('sem.')}")
        else:
            continue
        removed.append(entry)
    return removed


class Room(NamedTuple):
    """How large `/dev/shm` is, and what of it is free."""

    nbytes: int
    free_nbytes: int
    free_objects: int | None = None
    """How many more objects it may have; None: as many as there is memory for."""


def find_room() -> Room:
    """Return the size of shared memory, and how much of it is free."""
    status = os.statvfs(SHM_DIRECTORY)
    if not status.f_blocks:
        # Without a limit (size=0, or a ramfs): all the memory that there is.
        return Room(*_find_memory(), status.f_favail if status.f_files else None)
    return Room(
        status.f_blocks * status.f_frsize,
        status.f_bavail * status.f_frsize,
        status.f_favail if status.f_files else None,
    )


def _find_memory() -> tuple[int, int]:
    """Return the size of the machine's memory, and how much of it is available."""
    page_nbytes = os.sysconf("SC_PAGE_SIZE")
    nbytes = os.sysconf("SC_PHYS_PAGES") * page_nbytes
    available = re.search(r"^MemAvailable: +(\d+) kB$", _MEMORY.read_text(), re.M)
    if available is None:
        return nbytes, os.sysconf("SC_AVPHYS_PAGES") * page_nbytes
    return nbytes, int(available[1]) * 1024


def _explained(error: OSError, what: str) -> SharedMemoryError | SharedMemoryFullError:
    """Return the error for an object that could not be made; a tmpfs may lack inodes, too."""
    if error.errno == errno.ENOSPC:
        return SharedMemoryFullError(f"no room in {SHM_DIRECTORY} for one more object ({what})")
    return SharedMemoryError(f"{what} cannot be made in {SHM_DIRECTORY}: {error.strerror}")


def _has_all_mappings() -> bool:
    """Return whether this process may map nothing more; each segment and semaphore is a mapping."""
    limit, count = _count_mappings()
    # The kernel keeps some that it does not show.
    return limit is not None and count > 0.95 * limit


def _count_mappings() -> tuple[int | None, int]:
    count = 0
    try:
        limit = int(_MAPPING_LIMIT.read_text())
        # In small pieces: where nothing can be mapped, there is no memory for a large one.
        with Path("/proc/self/maps").open("rb", buffering=0) as maps:
            while piece := maps.read(4096):
                count += piece.count(b"\n")
    except OSError:
        return None, 0
    return limit, count


def _too_many_mappings(what: str) -> SharedMemoryError:
    limit, count = _count_mappings()
    return SharedMemoryError(
        f"{what} cannot be mapped: this process has {count:,} mappings, and vm.max_map_count "
        f"allows {limit:,}; give its edges shorter queues (queue_size, max_held), or: sysctl -w "
        f"vm.max_map_count={2 * (limit or 0)}"
    )


def _unmapped_semaphore(name: str) -> SharedMemoryError:
    if _has_all_mappings():
        return _too_many_mappings(f"semaphore {name}")
    return SharedMemoryError(
        f"semaphore {name} cannot be mapped: this process may have no more memory (memory_limit?)"
    )


def _allocate(descriptor: int, name: str, offset: int, nbytes: int) -> None:
    try:
        _fill(descriptor, offset, nbytes)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise SharedMemoryError(
                f"{name}: {nbytes:,} bytes cannot be allocated: {error.strerror}; "
                f"{SHM_DIRECTORY} should be a tmpfs"
            ) from error
        raise SharedMemoryFullError(
            f"{name} needs {nbytes:,} more bytes of shared memory, and {SHM_DIRECTORY} has "
            f"{find_room().free_nbytes:,} left; make it larger (docker run --shm-size=1g), or "
            "queue less (queue_size, queue_policy: latest)"
        ) from error


def _fill(descriptor: int, offset: int, nbytes: int) -> None:
    try:
        os.posix_fallocate(descriptor, offset, nbytes)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise
        # A C library that does not make up for a file system without fallocate (musl). Never
        # After ftruncate alone, the first touch of a page that does not fit is a SIGBUS.
        page = bytes(mmap.PAGESIZE)
        for begin in range(offset, offset + nbytes, len(page)):
            os.pwrite(descriptor, page[: offset + nbytes - begin], begin)
