"""Cached slot views for a writer that sends arrays of one dtype and shape again and again."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dora_rt.compiled import ArraySlotsCore, slots
from dora_rt.transport.ring.pool import SlotMemory
from dora_rt.transport.values.header import HEADER_NBYTES, describe_array, metadata_start


class ArraySlots(ArraySlotsCore):
    """Header and slot views for arrays of one dtype and shape, made once for all of them."""

    __slots__ = slots(
        "_native",
        "description",
        "dtype",
        "growth",
        "metadata_nbytes",
        "metadata_start",
        "nbytes",
        "shape",
        "views",
    )

    def __init__(self, dtype: np.dtype[Any], shape: tuple[int, ...], slot_count: int) -> None:
        self.dtype = dtype
        self.shape = shape
        self.nbytes = math.prod(shape) * dtype.itemsize
        self.metadata_start = metadata_start(self.nbytes)
        # Readers get native arrays; the copy turns the bytes of a big-endian one.
        self._native = dtype.newbyteorder("=")
        self.views: list[NDArray[Any] | None] = [None] * slot_count
        """The payloads of the slots in the pool of a growth, as far as they were used."""
        self.growth = -1
        self.description = b""
        """Header bytes, valid while the metadata have `metadata_nbytes` bytes."""
        self.metadata_nbytes = -1

    def view(self, slot: int, memory: SlotMemory) -> NDArray[Any]:
        """Make the view of a slot, and forget those of an earlier pool."""
        self.forget_all_but(memory.growth)
        begin = memory.offset + HEADER_NBYTES
        view: NDArray[Any] = np.ndarray(self.shape, self._native, memory.buffer, begin)
        self.views[slot] = view
        return view

    def forget_all_but(self, growth: int) -> None:
        """Forget the views of earlier pools, which they would keep mapped."""
        if growth != self.growth:
            self.views = [None] * len(self.views)
            self.growth = growth

    def describe(self, metadata_nbytes: int) -> None:
        """Make the description for another size of the metadata."""
        # Of no size until it is made: an exception may come in between.
        self.metadata_nbytes = -1
        self.description = describe_array(self._native, self.shape, self.nbytes, metadata_nbytes)
        self.metadata_nbytes = metadata_nbytes
