"""What a gateway has published of a lossless stream, for the one that is started in its place.

A gateway may be killed between the moment when a sample is in the ring and any note of that. The
launcher knows from the ring how many samples were published; which numbers they have is written
down here before they are, at the first one and wherever numbers do not follow each other.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from dora_rt.network.wire import Number

Entry = tuple[int, int, Number]
"""How many samples were published before, the run of the sender, and the number of the next."""


class PublishedLedger:
    """One stream; its file is in the directory of the run and goes with it."""

    def __init__(self, path: Path) -> None:
        """Take the path; nothing is opened.

        Args:
            path: of the file.
        """
        self._path = path
        self._count = 0
        self._expected: tuple[int, Number] | None = None

    def recover(self, count: int) -> tuple[int, Number] | None:
        """Return the sender's run and the number of the last sample that was published, or None.

        Args:
            count: how many samples all forerunners have published.
        """
        self._count = count
        found = last_published(self._read(), count)
        if found is not None:
            run, (generation, seq) = found
            self._expected = run, (generation, seq + 1)
        return found

    def note(self, run: int, number: Number) -> None:
        """Note that a sample is about to be published; call `note_published` behind it."""
        if (run, number) != self._expected:
            line = json.dumps([self._count, run, number]).encode() + b"\n"
            descriptor = os.open(
                self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
            try:
                os.write(descriptor, line)
            finally:
                os.close(descriptor)

    def note_published(self, run: int, number: Number) -> None:
        """Note that the sample is in the ring."""
        self._count += 1
        self._expected = run, (number[0], number[1] + 1)

    def _read(self) -> list[Entry]:
        try:
            lines = self._path.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        entries = []
        for line in lines:
            count, run, (generation, seq) = json.loads(line)
            entries.append((count, run, (generation, seq)))
        return entries


def last_published(entries: Iterable[Entry], count: int) -> tuple[int, Number] | None:
    """Return the run and the number of sample number `count` in a ledger; None: of none."""
    found = None
    for before, run, (generation, seq) in entries:
        if before < count:
            found = run, (generation, seq + count - before - 1)
    return found
