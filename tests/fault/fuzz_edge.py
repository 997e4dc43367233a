"""Corrupts the header and index words of a live edge: `python -m tests.fault.fuzz_edge FIRST LAST`.

It is a program of its own, so that a crash or an endless loop is seen from outside. Prints what
the seeds met, as JSON.
"""

from __future__ import annotations

import faulthandler
import json
import mmap
import os
import sys
from collections import Counter
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np

from dora_rt.errors import DoraRtError
from dora_rt.event import Event
from dora_rt.latency import percentile_ns
from dora_rt.node_config import QueuePolicy
from dora_rt.transport.output.origin import Stamp
from dora_rt.transport.primitives.shm import SHM_DIRECTORY
from dora_rt.transport.ring.protocol import LATENCIES, LOG
from dora_rt.transport.values.header import DTYPES, HEADER_NBYTES
from tests.harness.ring import NO_STAMP, Reader, Wired, wired

SLOT_NBYTES = 4096
STEPS = 60
SEED_TIMEOUT_S = 10
_WORD = 8
_LARGEST = (1 << 64) - 1


@dataclass(frozen=True)
class Targets:
    """All shared memory of a run as the fuzzer has it mapped: control words, and the pool."""

    control: list[mmap.mmap]
    pool: mmap.mmap
    slots: int
    index: list[tuple[mmap.mmap, int]]

    def words(self, random: Random) -> tuple[mmap.mmap, int]:
        """Choose a word of a header or of an index, and give its place."""
        if random.random() < 0.4:
            slot = random.randrange(self.slots)
            return self.pool, slot * SLOT_NBYTES + random.randrange(HEADER_NBYTES // _WORD) * _WORD
        if random.random() < 0.9:
            return random.choice(self.index)
        segment = random.choice(self.control)
        return segment, random.randrange(len(segment) // _WORD) * _WORD

    def paint(self) -> None:
        """Fill each slot behind its header with its own number: who reads beyond it is seen."""
        for slot in range(self.slots):
            begin = slot * SLOT_NBYTES
            size = SLOT_NBYTES - HEADER_NBYTES
            self.pool[begin + HEADER_NBYTES : begin + SLOT_NBYTES] = bytes([slot + 1]) * size


class EscapeError(Exception):
    """A sample has bytes of more than one slot."""


def main() -> None:
    first, last = map(int, sys.argv[1:])
    met: Counter[str] = Counter()

    def refuse(unraisable: Any) -> None:
        met[f"UNRAISABLE {unraisable.exc_value!r}"] += 1

    sys.unraisablehook = refuse
    for seed in range(first, last):
        faulthandler.dump_traceback_later(SEED_TIMEOUT_S, exit=True)
        print(f"seed {seed}", file=sys.stderr, flush=True)
        met.update(fuzz(seed))
    faulthandler.cancel_dump_traceback_later()
    print(json.dumps(met))


def fuzz(seed: int) -> Counter[str]:
    """Use an edge while its memory is being corrupted; count what it was met with."""
    random = Random(seed)
    met: Counter[str] = Counter()
    policy = random.choice(list(QueuePolicy))
    readers = Reader(queue_size=4, policy=policy, max_held=2), Reader(queue_size=2)
    held: list[Any] = []
    with wired(*readers, slot_nbytes=SLOT_NBYTES) as live:
        targets = _map(live)
        for _ in range(STEPS):
            step = random.random()
            try:
                if step < 0.35:
                    _send(live, random, met)
                elif step < 0.75:
                    targets.paint()
                    _take(live, random, held, met)
                elif step < 0.8:
                    held.clear()
                elif step < 0.82:
                    random.choice(live.subscribers).notice_end()
                else:
                    _corrupt(targets, random)
                    met["corrupted"] += 1
            except DoraRtError as error:
                met[type(error).__name__] += 1
        held.clear()
        for reader in range(len(readers)):
            counters = live.counters(reader)
            percentile_ns(counters.latencies, 0.99)
    assert not list(SHM_DIRECTORY.glob(f"*drt-{live.run}-*"))
    return met


def _map(live: Wired) -> Targets:
    control, pool = [], None
    for path in sorted(SHM_DIRECTORY.glob(f"drt-{live.run}-*")):
        descriptor = os.open(path, os.O_RDWR)
        mapping = mmap.mmap(descriptor, 0)
        os.close(descriptor)
        if len(mapping) == live.output.slots * SLOT_NBYTES:
            pool = mapping
        else:
            control.append(mapping)
    assert pool is not None
    assert len(control) >= 4, "a board, an output, and two edges"
    # Most words of an edge are its histogram of latencies, and the least interesting.
    index = [
        (mapping, word * _WORD)
        for mapping in control
        for word in range(len(mapping) // _WORD)
        if word < LATENCIES or word >= LOG
    ]
    return Targets(control, pool, live.output.slots, index)


def _send(live: Wired, random: Random, met: Counter[str]) -> None:
    if any(edge.is_full for edge in live.publisher._ring.edges):
        return
    has_metadata = random.random() < 0.1
    stamp = Stamp(b'{"open_telemetry_context":""}', 1, 1) if has_metadata else NO_STAMP
    if random.random() < 0.3:
        live.send(bytes(random.randrange(2000)), stamp)
    else:
        dtype = random.choice(DTYPES)
        live.send(np.zeros(random.choice([(), (0,), (7,), (3, 5), (2, 3, 4)]), dtype), stamp)
    met["sent"] += 1


def _take(live: Wired, random: Random, held: list[Any], met: Counter[str]) -> None:
    event = random.choice(live.subscribers).take()
    if event is None:
        return
    assert isinstance(event, Event)
    met["taken"] += 1
    value = event.value
    payload = value if isinstance(value, bytes) else value.tobytes()
    for part in (payload, event.metadata_json):
        if len(set(part)) > 1:
            raise EscapeError(f"{len(part)} bytes of slots {set(part)}")
    held.append(value)
    assert isinstance(event.metadata, dict)


def _corrupt(targets: Targets, random: Random) -> None:
    for _ in range(random.choice([1, 1, 2, 5])):
        mapping, offset = targets.words(random)
        if random.random() < 0.3:
            mapping[offset + random.randrange(_WORD)] = random.randrange(256)
            continue
        old = int.from_bytes(mapping[offset : offset + _WORD], "little")
        other, place = targets.words(random)
        copied = int.from_bytes(other[place : place + _WORD], "little")
        new = random.choice(
            [
                random.getrandbits(64),
                random.getrandbits(random.randrange(1, 64)),
                old ^ 1 << random.randrange(64),
                old + random.randrange(-3, 4) & _LARGEST,
                copied,
                0,
                _LARGEST,
                1 << 63,
            ]
        )
        mapping[offset : offset + _WORD] = new.to_bytes(_WORD, "little")


if __name__ == "__main__":
    main()
