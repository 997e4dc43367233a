"""The numbers of what was published are found again, whenever the gateway was killed."""

from __future__ import annotations

import random
from pathlib import Path

from dora_rt.network.published_ledger import PublishedLedger, last_published


def test_nothing_was_published() -> None:
    assert last_published([(0, 7, (0, 3))], 0) is None


def test_last_number_is_found_after_kills_at_any_step(tmp_path: Path) -> None:
    for seed in range(50):
        explore(tmp_path / str(seed), seed)


def explore(path: Path, seed: int) -> None:
    """Publish with kills before and behind each sample."""
    chance = random.Random(seed)
    ledger = PublishedLedger(path)
    published: list[tuple[int, tuple[int, int]]] = []
    run, generation, seq = 1, 0, 0

    for _ in range(60):
        number = generation, seq
        ledger.note(run, number)
        if chance.random() < 0.1:
            # Killed before the sample was in the ring.
            ledger = PublishedLedger(path)
            assert ledger.recover(len(published)) == (published[-1] if published else None)
            continue
        published.append((run, number))
        if chance.random() < 0.1:
            # Killed behind that, and before anything was noted.
            ledger = PublishedLedger(path)
            assert ledger.recover(len(published)) == published[-1]
        else:
            ledger.note_published(run, number)
        match chance.randrange(12):
            case 0:
                run, generation, seq = run + 1, 0, 0
            case 1:
                generation, seq = generation + 1, 0
            case 2:
                seq += chance.randrange(2, 9)
            case _:
                seq += 1
