"""A reader's side of the baton ring; `dora_rt.data.ring` has the protocol and the layout."""

from __future__ import annotations

from collections.abc import Sequence

from dora_rt.data.ring import (
    FLOOR,
    HEAD,
    LOG,
    LOG_SHIFT,
    SEQ_BITS,
    SEQ_MASK,
    SLOT_BITS,
    SLOT_MASK,
    TAKEN,
)
from dora_rt.data.shm import BusyError, Semaphore
from dora_rt.errors import CorruptSampleError


class RingReader:
    """One reader of an output. Not thread-safe: its subscriber has the lock."""

    def __init__(
        self,
        *,
        output_words: memoryview,
        edge_words: memoryview,
        tokens: Sequence[Semaphore],
        returned: Semaphore,
        position: int,
        edges: int,
        generation: int,
    ) -> None:
        self.seq = -1
        """Number of the sample taken last."""
        self.missed = 0
        """Samples dropped up to the one taken last; who has counted them sets it to 0."""
        self.passed_over = 0
        """How many of them this reader had, and gave back for a newer one; likewise."""
        self._words = output_words
        self._edge_words = edge_words
        self._tokens = tokens
        self._returned = returned
        self._slots = len(tokens)
        self._log_length = 2 * len(tokens)
        self._generation = generation & 0xFFFF
        self._floor = FLOOR + position
        self._begin = self._floor + edges
        self._place = FLOOR + 3 * edges
        self._order = self._place + self._slots
        # Where a later generation begins, its writer says once it has connected.
        self.next_seq = 0 if generation == 0 else -1
        self._logged = 0
        self._missed_after = 0
        self._early: dict[int, tuple[int, int]] = {}

    def take_newest(self, is_final: bool) -> tuple[int, int] | None:
        """Take the newest sample, and give all older ones back; else as `take`."""
        self.missed += self._missed_after
        self._missed_after = 0
        taken = self.take(is_final)
        if taken is None or self._words[HEAD] == self.next_seq:
            return taken
        missed = self.missed
        try:
            while (newer := self.take(is_final)) is not None:
                self._pass_over(taken[0])
                taken, missed = newer, self.missed
        except CorruptSampleError:
            self._pass_over(taken[0])
            raise
        # What was dropped behind the sample taken counts for the next one.
        self._missed_after = self.missed - missed
        self.missed = missed
        return taken

    def take(self, is_final: bool) -> tuple[int, int] | None:
        """Take the next sample, if one is there; it is mine until `give_back`.

        On an edge that blocks, `hold` must follow, or `give_back` at once.

        Args:
            is_final: the writer is gone, so a token that is not here will never come.

        Returns:
            Slot and growth of the pool, or None. `seq` and `missed` then tell about the sample.

        Raises:
            CorruptSampleError: a word of the ring names a slot that does not exist.
        """
        words = self._words
        if self.next_seq < 0 and not self._find_begin():
            return None
        while True:
            seq = self.next_seq
            if self._early and seq in self._early:
                self.seq = seq
                self.next_seq = seq + 1
                return self._early.pop(seq)
            next_seq = seq + 1
            word = words[self._order + seq % self._slots]
            if word >> SLOT_BITS != next_seq:
                # Not written yet, or written over because it was dropped.
                if self._skip_dropped() or self._skip_to_early(is_final):
                    continue
                return None
            slot = word & SLOT_MASK
            if slot >= self._slots:
                self._skip_to(next_seq)
                raise CorruptSampleError(
                    f"sample {seq} claims to be in slot {slot}, there are {self._slots}"
                )
            try:
                # FLOOR need not be asked: who has the token and finds the sample, has it.
                self._tokens[slot].acquire(0)
            except BusyError:
                if self._skip_dropped():
                    continue
                if is_final:
                    self._skip_to(next_seq)
                    continue
                # The token is on its way (or the writer is just about to say that it dropped this
                # sample): the doorbell rings after that.
                return None
            place = words[self._place + slot]
            if place >> SLOT_BITS == seq:
                self.seq = seq
                self.next_seq = next_seq
                return slot, place & SLOT_MASK
            # The slot was recycled between the look at ORDER and the claim, so `seq` was dropped
            # and this is the baton of a later sample: keep it until its turn comes.
            early = place >> SLOT_BITS
            if not seq < early <= words[HEAD]:
                self._pass_over(slot)
                self.next_seq = next_seq
                raise CorruptSampleError(
                    f"slot {slot} claims to hold sample {early}, expected one from {seq} to "
                    f"{words[HEAD]}"
                )
            self._early[early] = slot, place & SLOT_MASK
            self._skip_to(next_seq)

    def _find_begin(self) -> bool:
        """Find where a later generation begins, as soon as its writer has said so."""
        begin = self._words[self._begin]
        if begin >> SEQ_BITS != self._generation:
            return False
        self.next_seq = begin & SEQ_MASK
        return True

    def _skip_dropped(self) -> bool:
        """Pass over what the writer has dropped; False if it has not said so of the next one."""
        word = self._words[self._floor]
        floor = word & SEQ_MASK
        if word >> SEQ_BITS != self._generation or floor <= self.next_seq:
            return False
        self._skip_to(min((floor, *(early for early in self._early if early < floor))))
        return True

    def _skip_to_early(self, is_final: bool) -> bool:
        """Go on with a claim that is kept, if nothing else will come."""
        if not is_final or not self._early:
            return False
        self._skip_to(min(self._early))
        return True

    def _skip_to(self, seq: int) -> None:
        self.missed += seq - self.next_seq
        self.next_seq = seq

    def _pass_over(self, slot: int) -> None:
        self.give_back(slot)
        self.missed += 1
        self.passed_over += 1

    def hold(self) -> None:
        """Tell a writer that waits for room in the queue that the sample is not in it any more."""
        self._log(TAKEN)

    def give_back(self, slot: int) -> None:
        """Let go of a taken slot; the writer may write it again."""
        self._log(slot)

    def _log(self, entry: int) -> None:
        logged = self._logged
        self._logged = number = logged + 1
        self._edge_words[LOG + logged % self._log_length] = number << LOG_SHIFT | entry
        self._returned.release()
