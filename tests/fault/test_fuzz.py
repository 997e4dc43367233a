"""F28 to F30: headers and index words that are not what they should be."""

from __future__ import annotations

import json
import math
import os
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dora_rt.errors import CorruptSampleError, SharedMemoryError
from dora_rt.event import Event, telemetry_context
from dora_rt.node_config import QueuePolicy
from dora_rt.transport.primitives.shm import SHM_DIRECTORY, attach_words
from dora_rt.transport.ring import protocol
from dora_rt.transport.values.arrow import ArrowSample, decoded
from dora_rt.transport.values.header import (
    DTYPES,
    HEADER_NBYTES,
    MAX_NDIM,
    VERSION,
    HeaderReader,
    read_header,
)
from tests.harness.ring import Reader, Wired, wired

ROOT = Path(__file__).parents[2]
IS_SOAK = os.environ.get("SOAK") == "1"
SEEDS = 1000 if IS_SOAK else 400
BATCH = SEEDS // 2
EXAMPLES = 1000 if IS_SOAK else 500
SLOT_NBYTES = 4096


def fuzz(first: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.fault.fuzz_edge", str(first), str(first + BATCH)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.mark.timeout(180)
@pytest.mark.programs
def test_live_edge_with_corrupted_words_never_crashes_hangs_or_reads_beyond_a_slot():
    with ThreadPoolExecutor(2) as pool:
        batches = list(pool.map(fuzz, range(0, SEEDS, BATCH)))

    met: Counter[str] = Counter()
    for batch in batches:
        assert batch.returncode == 0, batch.stderr[-3000:]
        met.update(json.loads(batch.stdout))
    assert met["corrupted"] > 5 * SEEDS
    assert met["taken"] > 5 * SEEDS
    assert met["CorruptSampleError"] > SEEDS / 10
    errors = {name for name in met if name not in ("sent", "taken", "corrupted")}
    assert errors <= {"CorruptSampleError", "SharedMemoryError", "TooManyLoansError"}


def control_objects(live: Wired, letter: str) -> list[str]:
    paths = SHM_DIRECTORY.glob(f"drt-{live.run}-{letter}*")
    return sorted(f"/{path.name}" for path in paths if "g" not in path.name.split("-")[2])


def check_output(live: Wired, words: memoryview, name: str) -> None:
    protocol.check_output(words, live.output.slots, len(live.output.edges), name)


def check_edge(live: Wired, words: memoryview, name: str) -> None:
    protocol.check_edge(words, live.output.edges[0].slots, name)


@pytest.mark.parametrize("byte", range(16), ids=lambda byte: f"byte {byte}")
@pytest.mark.parametrize(
    ("letter", "check"), [("o", check_output), ("e", check_edge)], ids=["output", "edge"]
)
def test_object_with_a_changed_first_line_is_not_attached(
    letter: str, check: Callable[[Wired, memoryview, str], None], byte: int
):
    with wired() as live:
        (name,) = control_objects(live, letter)
        with (SHM_DIRECTORY / name[1:]).open("r+b") as file:
            file.seek(byte)
            old = file.read(1)[0]
            file.seek(byte)
            file.write(bytes([old ^ 0x10]))

        with pytest.raises(SharedMemoryError) as caught:
            attach_words(name, lambda words, name: check(live, words, name), writable=False)

    found, expected = str(caught.value).split("; expected ")
    assert found.startswith(f"{name} begins with (")
    assert expected.startswith(f"({protocol.MAGIC}, {live.output.slots}")
    assert expected.endswith("it was overwritten, or made by another version of dora_rt")


@pytest.mark.parametrize("nbytes", [0, 1, 100, 1024])
def test_object_that_was_cut_is_not_attached(nbytes: int):
    with wired() as live:
        (name,) = control_objects(live, "e")
        # Not the one that is in use: who has that mapped gets a SIGBUS.
        path = SHM_DIRECTORY / name[1:]
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content[:nbytes])
        path.chmod(0o600)

        with pytest.raises(SharedMemoryError, match=r"is empty|at least [0-9]+ bytes"):
            attach_words(name, lambda words, name: check_edge(live, words, name), writable=False)


HEADER_FIELDS = {
    "payload_nbytes": 39,
    "metadata_nbytes": 43,
    "version": 47,
    "dtype": 45,
    "ndim": 46,
}


def corrupt_sample(live: Wired, byte: int) -> None:
    """Set one byte in the header of the only sample of a flow."""
    (path,) = SHM_DIRECTORY.glob(f"drt-{live.run}-o*g*")
    with path.open("r+b") as file:
        slots = [slot for slot in range(live.output.slots) if _version(file, slot) == 1]
        assert len(slots) == 1
        file.seek(slots[0] * SLOT_NBYTES + byte)
        file.write(b"\xee")


def _version(file: BinaryIO, slot: int) -> int:
    file.seek(slot * SLOT_NBYTES + 47)
    return file.read(1)[0]


@pytest.mark.parametrize("byte", HEADER_FIELDS.values(), ids=HEADER_FIELDS)
@pytest.mark.parametrize("policy", QueuePolicy)
def test_corrupt_sample_is_skipped_counted_and_its_slot_comes_back(policy: QueuePolicy, byte: int):
    with wired(Reader(policy=policy), slot_nbytes=SLOT_NBYTES) as live:
        live.send(np.zeros(5))
        corrupt_sample(live, byte)

        with pytest.raises(CorruptSampleError, match=r"^node 'reader', input 'input': sample 0 "):
            live.take()

        live.send(b"next")
        event = live.take()
        assert (event.seq, event.value, event.dropped) == (1, b"next", 1)
        assert live.free_slots == live.output.slots
        counters = live.counters()
        assert (counters.sent, counters.delivered, counters.dropped) == (2, 1, 1)


def control_words(live: Wired, letter: str) -> memoryview:
    (name,) = control_objects(live, letter)
    return attach_words(name, lambda *_: None, writable=True)


@pytest.mark.parametrize("policy", [QueuePolicy.DROP_OLDEST, QueuePolicy.LATEST])
def test_order_that_names_a_slot_that_does_not_exist_costs_that_sample_only(policy: QueuePolicy):
    with wired(Reader(policy=policy)) as live:
        for number in range(3):
            live.send(bytes([number]))
        words = control_words(live, "o")
        # The entry of sample 1, which carries its number plus one and its slot.
        (place,) = (
            index
            for index in range(protocol.FLOOR, len(words))
            if words[index] >> protocol.SLOT_BITS == 2 and index >= len(words) - live.output.slots
        )
        words[place] |= protocol.SLOT_MASK

        with pytest.raises(CorruptSampleError, match="sample 1 claims to be in slot 65535"):
            for _ in range(2):
                live.take()

        event = live.take()
        assert event.value == b"\x02"
        assert event.dropped == (1 if policy is QueuePolicy.DROP_OLDEST else 2)


def test_place_that_names_an_older_sample_costs_that_sample_only():
    with wired() as live:
        for number in range(3):
            live.send(bytes([number]))
        live.take()
        words = control_words(live, "o")
        begin = len(words) - 2 * live.output.slots
        (place,) = (
            index
            for index in range(begin, begin + live.output.slots)
            if words[index] >> protocol.SLOT_BITS == 1
        )
        words[place] &= protocol.SLOT_MASK

        with pytest.raises(CorruptSampleError, match="claims to hold sample 0, expected one from"):
            live.take()

        event = live.take()
        assert (event.value, event.dropped) == (b"\x02", 1)
        assert live.free_slots == live.output.slots


def test_counters_at_their_limit_do_not_stop_the_reader():
    with wired(Reader(queue_size=1)) as live:
        words = control_words(live, "e")
        for index in range(protocol.DELIVERED, protocol.LOG):
            if not protocol.COPIED < index < protocol.LATENCIES:
                words[index] = (1 << 64) - 1

        for number in range(5):
            live.send(bytes([number]))

        assert live.take().value == b"\x04"
        assert live.counters().delivered == 1


WHOLE_HEADER = struct.Struct(f"@4QQIBBBB{MAX_NDIM}Q")
HEADERS = HeaderReader()
LENGTHS = st.integers(0, 9) | st.integers(0, 2**64 - 1) | st.sampled_from([2**62, 2**63 - 1])


@pytest.mark.slow
@given(
    array=st.tuples(st.integers(0, 3), st.integers(0, len(DTYPES)), st.integers(0, MAX_NDIM + 1)),
    shape=st.tuples(*[LENGTHS] * MAX_NDIM),
    nbytes=st.integers(0, 2 * SLOT_NBYTES) | st.integers(0, 2**64 - 1) | st.none(),
    metadata_nbytes=st.integers(0, SLOT_NBYTES) | st.integers(0, 2**32 - 1),
)
@settings(max_examples=EXAMPLES, derandomize=True, database=None, deadline=None)
def test_any_header_gives_a_view_inside_its_slot_or_is_refused(
    array: tuple[int, int, int], shape: tuple[int, ...], nbytes: int | None, metadata_nbytes: int
):
    encoding, code, ndim = array
    if nbytes is None:  # what the shape says, so that not every array is refused for its size
        nbytes = math.prod(shape[:ndim]) * DTYPES[code % len(DTYPES)].itemsize % 2**64
    slots = bytearray(3 * SLOT_NBYTES)
    numbers = (0, 0, 0, 0, nbytes, metadata_nbytes, encoding, code, ndim, VERSION, *shape)
    WHOLE_HEADER.pack_into(slots, SLOT_NBYTES, *numbers)
    # One reader for all examples: it knows the header before, and then this one.
    reads = [read_header, HEADERS.read, HEADERS.read]

    try:
        received = read_header(slots, SLOT_NBYTES, SLOT_NBYTES)
    except CorruptSampleError:
        for read in reads:
            with pytest.raises(CorruptSampleError):
                read(slots, SLOT_NBYTES, SLOT_NBYTES)
        return

    assert [read(slots, SLOT_NBYTES, SLOT_NBYTES) for read in reads] == [received] * 3
    *_, payload_nbytes, _, array_type, metadata_json = received
    assert len(metadata_json) == metadata_nbytes
    begin = SLOT_NBYTES + HEADER_NBYTES
    assert begin + payload_nbytes + metadata_nbytes <= 2 * SLOT_NBYTES
    if array_type is not None:
        dtype, shape = array_type
        assert np.ndarray(shape, dtype, slots, begin).nbytes == payload_nbytes == nbytes


ARROW_ARRAY = pa.array([{"boxes": [1.0, 2.0], "name": "cat"}, {"boxes": None, "name": None}])


@given(changes=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=4))
@settings(max_examples=300, derandomize=True, database=None, deadline=None)
def test_damaged_array_of_arrow_is_an_array_or_is_refused(changes: list[tuple[int, int]]):
    sample = ArrowSample(ARROW_ARRAY)
    payload = bytearray(sample.nbytes)
    sample.write(memoryview(payload))
    for place, byte in changes:
        payload[place % len(payload)] = byte

    try:
        array = decoded(np.frombuffer(payload, np.uint8))
    except CorruptSampleError:
        return

    assert isinstance(array, pa.Array)


@pytest.mark.parametrize(
    "metadata_json",
    [b"\x00", b"{", b"\xff\xfe", b"[1]", b"1", b"[" * 60_000, b'{"open_telemetry_context": '],
    ids=["zero", "cut", "not UTF-8", "list", "number", "depth bomb", "cut key"],
)
def test_metadata_that_are_no_dict_are_an_error_when_they_are_looked_at(metadata_json: bytes):
    event = Event("input", b"fine", metadata_json)

    with pytest.raises(CorruptSampleError, match="metadata"):
        _ = event.metadata

    assert event.value == b"fine"
    assert telemetry_context(metadata_json + b"open_telemetry_context") == ""
