"""The compiled cores beside the Python code: what is at work, and that both say the same."""

from __future__ import annotations

import copy
import gc
import math
import os
import pickle
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dora_rt import compiled
from dora_rt.compiled import IS_COMPILED, PURE_VARIABLE
from dora_rt.event import Event
from dora_rt.latency import BUCKETS, bucket
from dora_rt.node_config import QueuePolicy
from dora_rt.transport.input.timers import Timer
from dora_rt.transport.output import loan, origin, publisher
from dora_rt.transport.primitives import doorbell, shm
from dora_rt.transport.primitives.shm import (
    BusyError,
    ClosedError,
    Semaphore,
    create_semaphore,
    find_semaphore,
    unlink_semaphores,
)
from dora_rt.transport.ring import protocol, writer
from dora_rt.transport.values import header
from tests.harness.objects import new_run
from tests.harness.ring import NO_STAMP, Reader, wired
from tests.protocol import mutants, sanitized

only_compiled = pytest.mark.skipif(not IS_COMPILED, reason="there is no compiled code here")


def python(code: str, **variables: str) -> str:
    environment = {**os.environ, **variables}
    command = [sys.executable, "-c", code]
    return subprocess.check_output(command, text=True, env=environment, timeout=30).strip()


@pytest.fixture
def semaphore() -> Iterator[Semaphore]:
    name = f"/drt-{new_run()}-s"
    semaphore = create_semaphore(name)
    try:
        yield semaphore
    finally:
        unlink_semaphores([name])


@pytest.mark.usefixtures("starts_programs")
def test_variable_leaves_the_compiled_code_out():
    code = "from dora_rt.compiled import describe_code, IS_COMPILED; print(describe_code())"

    assert python(code, **{PURE_VARIABLE: "1"}) == "pure Python: DORA_RT_PURE is set"
    if IS_COMPILED:
        assert python(code, **{PURE_VARIABLE: "0"}) == "compiled"


@only_compiled
@pytest.mark.usefixtures("starts_programs")
def test_cores_that_were_built_from_other_sources_are_left_out():
    code = (
        "from dora_rt.compiled import _cores; import sys; _cores.INTERFACE = 0; "
        "del sys.modules['dora_rt.compiled']; import dora_rt.compiled as again; "
        "print(again.describe_code())"
    )

    said = python(code)

    assert said == "pure Python: it was built from other sources; install dora_rt again"


@pytest.mark.usefixtures("starts_programs")
def test_cores_that_are_there_and_cannot_be_loaded_are_left_out_with_the_reason(tmp_path: Path):
    folder = tmp_path / "compiled"
    folder.mkdir()
    shutil.copy(compiled.__file__, folder)
    code = (
        f"import dora_rt; dora_rt.__path__.insert(0, {str(tmp_path)!r}); "
        "import dora_rt.compiled as found; print(found.describe_code())"
    )
    assert (
        python(code, **{PURE_VARIABLE: "0"})
        == "pure Python: not built; that takes gcc and python3-dev"
    )
    (folder / f"_cores{EXTENSION_SUFFIXES[0]}").write_bytes(b"no library")

    said = python(code, **{PURE_VARIABLE: "0"})

    assert said.startswith("pure Python: "), said
    assert "not built" not in said
    assert (
        str(folder) in said
    )  # of the dynamic linker: "invalid ELF header", "GLIBC_2.34 not found"


@pytest.mark.usefixtures("starts_programs")
def test_version_says_which_code_is_at_work():
    done = subprocess.check_output([sys.executable, "-m", "dora_rt", "--version"], text=True)

    assert done.rstrip().endswith(f"({compiled.describe_code()})")


@pytest.mark.usefixtures("starts_programs")
def test_launcher_does_not_load_numpy_with_the_cores():
    code = "import sys, dora_rt.transport.primitives.shm; print('numpy' in sys.modules)"

    assert python(code) == "False"


@only_compiled
def test_numbers_of_the_protocol_are_those_of_the_python_code():
    places: dict[str, Any] = {
        **vars(protocol),
        **vars(header),
        "BUCKETS": BUCKETS,
        "SMALL_NBYTES": 1024,
        "LARGE_NBYTES": publisher._LARGE_NBYTES,
        "ENOUGH_RINGS": writer._ENOUGH_RINGS,
        "METADATA_LIMIT_NBYTES": loan.METADATA_LIMIT_NBYTES,
        "INHERITED_NBYTES": loan._ROOM_NBYTES,
    }

    assert {name: places[name] for name in compiled._cores.CONSTANTS} == compiled._cores.CONSTANTS


@only_compiled
@pytest.mark.parametrize("age_ns", [0, 255, 2_000, 300_000, 10**7, 10**9, 10**11, 10**13])
def test_ages_fall_into_the_same_buckets(age_ns: int):
    with wired(Reader(1)) as ring:
        for _ in range(3):  # the first one goes through the Python code
            sent_ns = time.monotonic_ns()
            ring.send(b"x", NO_STAMP._replace(origin_ns=max(sent_ns - age_ns, 0)))
            ring.take()
        words = ring.subscribers[0]._words.tolist()
        spent_ns = time.monotonic_ns() - sent_ns + min(age_ns, sent_ns)

        ages = words[protocol.AGES : protocol.AGES + BUCKETS]
        assert sum(ages) == sum(words[protocol.LATENCIES : protocol.LATENCIES + BUCKETS]) == 3
        places = [place for place, count in enumerate(ages) if count]
        assert bucket(min(age_ns, sent_ns)) <= places[0] <= bucket(spent_ns)


def test_event_is_copied_and_pickled_whole():
    event = Event("input", b"value", b'{"a": 1}', 7, 1, 10, 5, True)

    for other in (pickle.loads(pickle.dumps(event)), copy.copy(event)):
        assert (other.id, other.value, other.seq, other.dropped) == ("input", b"value", 7, 1)
        assert (other.sent_ns, other.origin_ns, other.copied) == (10, 5, True)
        assert other.metadata["a"] == 1


def test_event_takes_no_other_fields():
    with pytest.raises(AttributeError):
        Event("input", b"").more = 1  # type: ignore[attr-defined]


def test_semaphore_counts_and_closes(semaphore: Semaphore):
    semaphore.release()
    assert semaphore.value == 1
    semaphore.acquire(0)
    with pytest.raises(BusyError):
        semaphore.acquire(0)
    with pytest.raises(BusyError):
        semaphore.acquire(0.01)
    semaphore.close()
    with pytest.raises(ClosedError):
        _ = semaphore.value
    with pytest.raises(ClosedError):
        semaphore.close()


def test_semaphore_that_is_not_there_is_none():
    assert find_semaphore(f"/drt-{new_run()}-no") is None


@only_compiled
def test_semaphore_that_a_thread_waits_on_is_closed_behind_it(semaphore: Semaphore):
    results: list[str] = []

    def wait() -> None:
        semaphore.acquire(30)
        results.append("woken")

    thread = threading.Thread(target=wait)
    thread.start()
    other = shm.attach_semaphore(semaphore.name)  # type: ignore[attr-defined]
    semaphore.close()
    other.release()
    thread.join(30)

    assert results == ["woken"] or results == []
    with pytest.raises(ClosedError):
        _ = semaphore.value


@pytest.mark.parametrize("seconds", [0, 0.25, 3, 1e9, 10**400, math.inf], ids=str)
def test_deadlines_are_as_far_away_as_the_time_out_says(seconds: float):
    before = time.monotonic_ns()
    found = doorbell.deadline_after(seconds)
    after = time.monotonic_ns()

    if seconds > 366 * 24 * 3600:
        assert found is None
    else:
        assert found is not None
        assert before <= found - int(seconds * 1e9) <= after


@pytest.mark.parametrize(
    "wrong", [-1, math.nan, "1", -math.inf, -(10**400)], ids=lambda wrong: str(wrong)[:9]
)
def test_time_out_that_is_no_time_is_refused(wrong: Any):
    with pytest.raises(ValueError, match="timeout must be 0 or more seconds"):
        doorbell.deadline_after(wrong)


def test_stamp_is_a_stamp_with_its_own_memory():
    origins = origin.Origins()
    stamps = [origin.make_stamp(origins, "here", None, None, 5) for _ in range(1000)]
    gc.collect()

    for stamp in stamps:
        assert type(stamp) is origin.Stamp
        assert stamp.metadata_json == b""
        assert stamp.source_ns == stamp.origin_ns > 0
        assert stamp.deadline_ns == 5


def test_tick_is_the_newest_and_counts_the_missed():
    timer = Timer("tick", 100)

    assert timer.take(1000, 999) is None
    first = timer.take(1000, 1350)
    assert first is not None
    assert (first.seq, first.dropped, first.sent_ns, first.value) == (3, 3, 1300, b"")
    assert timer.due_ns(1000) == 1400


@pytest.mark.parametrize("policy", list(QueuePolicy))
@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"bytes",
        bytes(70_000),
        np.arange(4),
        np.zeros((0, 3)),
        np.arange(6.0).reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(20)[::3],
        np.arange(4, dtype=">i4"),
        np.arange(100_000, dtype=np.uint8),
        np.array(3.5),
    ],
    ids=lambda value: f"{type(value).__name__}{getattr(value, 'shape', '')}",
)
def test_every_kind_of_value_arrives_the_second_time_as_the_first(value: Any, policy: QueuePolicy):
    # The first of a form goes through the Python code, the others through the core.
    with wired(Reader(1 if policy is QueuePolicy.LATEST else 3, policy)) as ring:
        for number in range(5):
            metadata = b'{"n": %d}' % 10**number
            ring.send(value, NO_STAMP._replace(metadata_json=metadata if number % 2 else b""))
            event = ring.take()
            assert event.seq == number
            assert event.metadata_json == (metadata if number % 2 else b"")
            if isinstance(value, bytes):
                assert event.value == value
            else:
                assert event.value.dtype == value.dtype.newbyteorder("=")
                assert event.value.shape == value.shape
                assert (event.value == value).all()
                assert not event.value.flags.writeable
                assert event.value.flags.c_contiguous
            del event


@pytest.mark.parametrize("value", [np.zeros(8, np.uint8), np.zeros(9000, np.uint8), b"bytes"])
def test_nothing_is_kept_of_what_was_sent_and_received(value: Any):
    with wired(Reader(2)) as ring:

        def turn(times: int) -> None:
            for _ in range(times):
                ring.send(value)
                ring.take()

        turn(50)
        gc.collect()
        before = sys.getallocatedblocks()
        turn(500)
        gc.collect()

        assert sys.getallocatedblocks() - before < 50
        dtype = getattr(value, "dtype", None)
        if dtype is not None:
            counts = sys.getrefcount(dtype)
            turn(200)
            assert sys.getrefcount(dtype) <= counts + 5


def test_faults_that_make_prove_plants_can_be_planted():
    folder = Path(compiled.__file__).parent
    macros = sanitized.read_macros((folder / "primitives.pxi").read_text())

    assert all(macros.count(fault.right) == 1 for fault in sanitized.FAULTS if fault.right)
    for mutant in mutants.MUTANTS:
        assert (folder / mutant.file).read_text().count(mutant.right) == 1, mutant.what
