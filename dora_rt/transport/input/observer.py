"""`Observer`: reads an output of a running flow, unnoticed by its nodes.

It has no queue, holds nothing, and writes nothing: it copies the newest sample,
and finds out whether the writer has begun to overwrite it meanwhile. So any number of observers may
come and go, also by SIGKILL, and none of them can slow a node down.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dora_rt.errors import CorruptSampleError, SharedMemoryError
from dora_rt.event import Event
from dora_rt.node_config import OutputConfig
from dora_rt.transport.primitives import object_names
from dora_rt.transport.primitives.fence import Fence
from dora_rt.transport.primitives.shm import attach_words
from dora_rt.transport.ring import protocol
from dora_rt.transport.ring.pool import PoolReader
from dora_rt.transport.ring.protocol import FLOOR, HEAD, SLOT_BITS, SLOT_MASK
from dora_rt.transport.values.header import ENCODING_ARROW, HEADER_NBYTES, ArrayType, read_header
from dora_rt.transport.values.source_life import split_life

_ATTEMPTS = 8


class Observer:
    """One output of a running flow, in one generation of its writer."""

    def __init__(
        self,
        run: str,
        config: OutputConfig,
        *,
        from_start: bool = False,
        words: memoryview | None = None,
    ) -> None:
        """Attach to what the launcher made.

        Args:
            run: the name of the run.
            config: the output, in the generation to look at.
            from_start: count samples sent before the first look as missed: an observer of the
                generation before this one has seen it to its end.
            words: the segment of the output, if this process is attached to it.

        Raises:
            SharedMemoryError: the flow has ended, or the writer was started again.
        """
        self._config = config
        self._words = words or attach_words(
            object_names.output(run, config.number, config.generation),
            lambda words, name: protocol.check_output(words, config.slots, config.edge_count, name),
            writable=False,
        )
        self._place = FLOOR + 3 * config.edge_count
        self._order = self._place + config.slots
        self._pool = PoolReader(run, config)
        self._fence = Fence()
        self._seq = -1
        self._counts = from_start

    @property
    def behind(self) -> int:
        """The number of samples sent since the last one that was returned."""
        return self._words[HEAD] - 1 - self._seq if self._counts else 0

    def newest(self, input_id: str) -> Event | None:
        """Copy the newest sample; None if there is none since the last call.

        Also None if each of a few attempts came too late: then the writer writes faster than this
        process copies, and the next call may be luckier.

        Args:
            input_id: the id of the event.
        """
        for _ in range(_ATTEMPTS):
            head = self._words[HEAD]
            if head - 1 <= self._seq:
                return None
            event = self._copy(head - 1, input_id)
            if event is not None:
                return event
        return None

    def following(self, input_id: str) -> Event | None:
        """Copy the oldest sample since the last call that is still whole; None if there is none.

        The first call returns the newest: earlier samples do not count as missed.

        Args:
            input_id: the id of the event.
        """
        if not self._counts:
            return self.newest(input_id)
        head = self._words[HEAD]
        for seq in range(max(self._seq + 1, head - self._config.slots), head):
            event = self._copy(seq, input_id)
            if event is not None:
                return event
        return None

    def copy(self, seq: int, input_id: str) -> Event | None:
        """Copy the sample of a number; None if it is not there yet, or no more.

        Args:
            seq: its number.
            input_id: the id of the event.
        """
        return self._copy(seq, input_id) if seq < self._words[HEAD] else None

    def latched(self, head: int, input_id: str) -> Event | None:
        """Copy the last sample below a number, for a reader that was not there before.

        Where it comes from another machine, its metadata begin with the life that made it.
        """
        event = self._copy(head - 1, input_id, keeps_life=True) if head else None
        if event is not None:
            event.latched = True
        return event

    def _copy(self, seq: int, input_id: str, *, keeps_life: bool = False) -> Event | None:
        words = self._words
        word = words[self._order + seq % self._config.slots]
        slot = word & SLOT_MASK
        if word >> SLOT_BITS != seq + 1 or slot >= self._config.slots:
            return None
        place = words[self._place + slot]
        if place >> SLOT_BITS != seq:
            return None
        self._fence.pass_through()
        try:
            buffer, offset, room, _ = self._pool.locate(slot, place & SLOT_MASK)
            found, sent_ns, origin_ns, nbytes, encoding, array_type, metadata_json = read_header(
                buffer, offset, room
            )
            begin = offset + HEADER_NBYTES
            value = bytes(buffer[begin : begin + nbytes])
        except (CorruptSampleError, SharedMemoryError):
            # Read while it was written, or its pool is gone; else the next attempt fails as well.
            return None
        self._fence.pass_through()
        if words[self._place + slot] != place or found != seq:
            return None
        dropped = seq - self._seq - 1 if self._counts else 0
        self._seq, self._counts = seq, True
        return Event(
            input_id,
            value if array_type is None else _shaped(value, encoding, array_type),
            metadata_json if keeps_life else split_life(metadata_json)[1],
            seq=seq,
            dropped=dropped,
            sent_ns=sent_ns,
            origin_ns=origin_ns,
            copied=True,
        )


def _shaped(payload: bytes, encoding: int, array_type: ArrayType) -> Any:
    dtype, shape = array_type
    array = np.frombuffer(payload, dtype)
    if encoding == ENCODING_ARROW:
        # Only readers of such a sample need pyarrow.
        from dora_rt.transport.values.arrow import decoded

        return decoded(array)
    return array.reshape(shape)
