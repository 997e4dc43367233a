"""Words of shared memory that the launcher reads now and then, without a mapping that stays."""

from __future__ import annotations

from dora_rt.errors import SharedMemoryError
from dora_rt.transport.primitives.shm import Segment


def read_words(name: str, count: int) -> list[int] | None:
    """Return a copy of the first words of a segment; None if it was removed or cut short.

    Through a mapping, and not by reading the file: a word that is written meanwhile is then seen
    as it was before or after, never half of each.
    """
    try:
        segment = Segment.attach(name, writable=False)
    except SharedMemoryError:
        return None
    words = segment.words()
    found: list[int] = words[:count].tolist()
    _let_go(segment, words)
    return found if len(found) == count else None


def write_word(name: str, index: int, value: int) -> None:
    """Write one word of a segment, if it is still there."""
    try:
        segment = Segment.attach(name, writable=True)
    except SharedMemoryError:
        return
    words = segment.words()
    if index < len(words):
        words[index] = value
    _let_go(segment, words)


def _let_go(segment: Segment, words: memoryview) -> None:
    words.release()
    segment.mapping.close()
    segment.close()
