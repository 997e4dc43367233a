"""`Publisher`: one output of a node, and all its edges."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dora_rt import names, ring
from dora_rt.contract import EdgeConfig, OutputConfig, QueuePolicy
from dora_rt.errors import DoraRtError, NodeClosedError, UnsupportedValueError
from dora_rt.pool import PoolWriter
from dora_rt.ring_writer import RingWriter, WriterEdge
from dora_rt.sample import (
    HEADER_NBYTES,
    MAX_NDIM,
    METADATA_LIMIT_NBYTES,
    dtype_code,
    is_sendable_dtype,
    metadata_start,
    write_header,
)
from dora_rt.shm import attach_semaphore, attach_words, wait


@dataclass(frozen=True, slots=True)
class Stamp:
    """What goes into a sample's header and metadata beside the value itself."""

    metadata_json: bytes
    source_ns: int
    origin_ns: int


class Publisher:
    """One output and all its edges. Threads may send at the same time."""

    def __init__(self, run: str, node: str, config: OutputConfig) -> None:
        """Attach to what the launcher made."""
        self.where = f"node {node!r}, output {config.id!r}"
        self._words = attach_words(
            names.output(run, config.number),
            lambda words, name: ring.check_output(words, config.slots, len(config.edges), name),
            writable=True,
        )
        edges = [_attach_writer_edge(run, edge) for edge in config.edges]
        self._ring = RingWriter(self._words, config.slots, edges)
        self._pool = PoolWriter(run, config.number, config.slots, config.slot_nbytes)
        self._lock = threading.Lock()
        self._is_closed = False

    def send_bytes(self, data: bytes | bytearray | memoryview, stamp: Stamp) -> None:
        """Copy bytes into a slot and publish it."""
        nbytes = len(data)
        with self._lock:
            slot = self._claim()
            try:
                place = self._pool.place(slot, _needed(nbytes, len(stamp.metadata_json)))
                buffer, offset, _ = place
                begin = offset + HEADER_NBYTES
                buffer[begin : begin + nbytes] = data
                self._wait_for_room()
            except BaseException:
                self._ring.put_back(slot)
                raise
            self._publish(slot, place, nbytes, None, stamp)

    def send_array(self, array: NDArray[Any], stamp: Stamp) -> None:
        """Copy an array of any layout into a slot, in C order, and publish it."""
        code = dtype_code(array.dtype)
        with self._lock:
            slot = self._claim()
            try:
                place = self._pool.place(slot, _needed(array.nbytes, len(stamp.metadata_json)))
                buffer, offset, _ = place
                # Not array.dtype itself: that may be big-endian.
                dtype = array.dtype.newbyteorder("=")
                target: NDArray[Any] = np.ndarray(
                    array.shape, dtype, buffer, offset + HEADER_NBYTES
                )
                np.copyto(target, array)
                self._wait_for_room()
            except BaseException:
                self._ring.put_back(slot)
                raise
            self._publish(slot, place, array.nbytes, (code, array.shape), stamp)

    def loan(
        self,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        stamp: Callable[[], Stamp],
        *,
        has_metadata: bool,
    ) -> Loan:
        """Prepare a loan; the slot is taken when its block begins."""
        return Loan(self, shape, dtype, stamp, has_metadata)

    def close(self) -> None:
        """Publish no more, and tell the readers; what they have not read yet stays readable."""
        if self._is_closed:
            return
        self._is_closed = True
        for edge in self._ring.edges:
            # A thread that waits for room on this edge looks up, sees the flag and gives up.
            edge.returned.release()
        with self._lock:
            self._words[ring.WRITER_CLOSED] = 1
            for edge in self._ring.edges:
                edge.doorbell.release()
            self._pool.close()

    def begin_loan(self, nbytes: int, metadata_nbytes: int) -> tuple[int, _Place]:
        """Take a slot with room for a payload and its metadata; `finish_loan` ends it."""
        with self._lock:
            slot = self._claim()
            try:
                return slot, self._pool.place(slot, _needed(nbytes, metadata_nbytes))
            except BaseException:
                self._ring.put_back(slot)
                raise

    def finish_loan(self, slot: int, place: _Place, array: NDArray[Any], stamp: Stamp) -> None:
        """Publish a loaned slot."""
        with self._lock:
            try:
                self._wait_for_room()
            except BaseException:
                self._ring.put_back(slot)
                raise
            self._publish(slot, place, array.nbytes, (dtype_code(array.dtype), array.shape), stamp)

    def cancel_loan(self, slot: int) -> None:
        """Give a loaned slot back unsent."""
        with self._lock:
            self._ring.put_back(slot)

    def _claim(self) -> int:
        if self._is_closed:
            raise NodeClosedError(f"{self.where}: closed, nothing can be sent any more")
        writer = self._ring
        writer.notice_readers()
        while (slot := writer.claim()) is None:
            # The plan has a slot for all that may be queued, held and loaned at once, so this is
            # a thread or two with more loans open than anybody needs.
            if not writer.drop_oldest():
                raise DoraRtError(f"{self.where}: too many loans are open at the same time")
        if self._pool.has_old_generations:
            self._pool.retire({slot, *writer.free})
        return slot

    def _wait_for_room(self) -> None:
        for edge in self._ring.edges:
            while edge.is_full:
                wait(edge.returned)
                self._ring.read_log(edge)
                self._ring.notice_readers()
                if self._is_closed:
                    raise NodeClosedError(f"{self.where}: closed while it waited for a reader")

    def _publish(
        self,
        slot: int,
        place: _Place,
        nbytes: int,
        array: tuple[int, tuple[int, ...]] | None,
        stamp: Stamp,
    ) -> None:
        buffer, offset, generation = place
        metadata_json = stamp.metadata_json
        if metadata_json:
            begin = offset + metadata_start(nbytes)
            buffer[begin : begin + len(metadata_json)] = metadata_json
        write_header(
            buffer,
            offset,
            seq=self._ring.head,
            times_ns=(time.monotonic_ns(), stamp.source_ns, stamp.origin_ns),
            nbytes=(nbytes, len(metadata_json)),
            array=array,
        )
        self._ring.publish(slot, generation)


class Loan:
    """A slot to write in place: an array that is sent when the block ends without an exception."""

    __slots__ = ("_array", "_dtype", "_place", "_publisher", "_room", "_shape", "_slot", "_stamp")

    def __init__(
        self,
        publisher: Publisher,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        stamp: Callable[[], Stamp],
        has_metadata: bool,
    ) -> None:
        if not is_sendable_dtype(dtype) or len(shape) > MAX_NDIM:
            raise UnsupportedValueError(
                f"{publisher.where}: an array of {len(shape)} dimensions and dtype {dtype} cannot "
                f"be loaned; a bool, integer, float or complex one of at most {MAX_NDIM} can"
            )
        self._publisher = publisher
        self._shape = shape
        self._dtype = dtype
        self._stamp = stamp
        # The metadata are read when the block ends: it may have filled the dict meanwhile.
        self._room = METADATA_LIMIT_NBYTES if has_metadata else 4096

    def __enter__(self) -> NDArray[Any]:
        nbytes = math.prod(self._shape) * self._dtype.itemsize
        self._slot, self._place = self._publisher.begin_loan(nbytes, self._room)
        buffer, offset, _ = self._place
        array: NDArray[Any] = np.ndarray(self._shape, self._dtype, buffer, offset + HEADER_NBYTES)
        self._array = array
        return array

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        array = self._array
        # The name may live on after the block, and the slot is no longer the writer's.
        array.flags.writeable = False
        if kind is not None:
            self._publisher.cancel_loan(self._slot)
            return
        try:
            stamp = self._stamp()
        except BaseException:
            self._publisher.cancel_loan(self._slot)
            raise
        self._publisher.finish_loan(self._slot, self._place, array, stamp)


_Place = tuple[Any, int, int]


def _needed(payload_nbytes: int, metadata_nbytes: int) -> int:
    return metadata_start(payload_nbytes) + metadata_nbytes


def _attach_writer_edge(run: str, edge: EdgeConfig) -> WriterEdge:
    return WriterEdge(
        position=edge.position,
        reader_words=attach_words(
            names.edge(run, edge.number),
            lambda words, name: ring.check_edge(words, edge.slots, name),
            writable=False,
        ),
        tokens=[
            attach_semaphore(names.token(run, edge.number, slot)) for slot in range(edge.slots)
        ],
        returned=attach_semaphore(names.returned(run, edge.number)),
        doorbell=attach_semaphore(names.doorbell(run, edge.reader)),
        queue_size=edge.queue_size,
        blocking=edge.queue_policy is QueuePolicy.BLOCK,
    )
