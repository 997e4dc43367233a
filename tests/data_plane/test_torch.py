"""A received array becomes a tensor of PyTorch without a copy and without a warning.

PyTorch is no dependency, not even of the tests: they run where it is installed.
"""

from __future__ import annotations

import gc

import numpy as np
import pytest

from tests.harness.ring import wired

torch = pytest.importorskip("torch", reason="PyTorch is not installed (pip install torch)")


def version_of(module: object) -> tuple[int, int]:
    major, minor, *_ = str(vars(module)["__version__"]).split(".")
    return int(major), int(minor)


@pytest.mark.skipif(
    version_of(np) < (2, 1) or version_of(torch) < (2, 9),
    reason="DLPack passes read-only arrays on since numpy 2.1 and PyTorch 2.9",
)
def test_tensor_is_the_shared_memory_and_holds_it():
    with wired() as ring:
        all_slots = ring.free_slots
        ring.send(np.full((40, 30), 7, np.int32))
        value = ring.take().value

        tensor = torch.from_dlpack(value)  # pytest makes an error of a warning

        assert tensor.data_ptr() == value.ctypes.data
        assert tensor.shape == (40, 30) and bool((tensor == 7).all())
        del value
        gc.collect()
        assert ring.free_slots == all_slots - 1
        del tensor
        gc.collect()
        assert ring.free_slots == all_slots


def test_tensor_elsewhere_is_one_copy_with_any_version():
    with wired() as ring:
        all_slots = ring.free_slots
        ring.send(np.full((40, 30), 7, np.int32))

        tensor = torch.tensor(ring.take().value, device="cpu")

        gc.collect()
        assert ring.free_slots == all_slots
        tensor += 1
        assert bool((tensor == 8).all())
