"""A reader's side of the baton ring; `protocol` beside it has the words, the steps, and why."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from dora_rt.compiled import RingReaderCore, prefer_compiled
from dora_rt.errors import CorruptSampleError
from dora_rt.transport.primitives.noted_operations import claiming
from dora_rt.transport.primitives.shm import BusyError, ClosedError, Semaphore
from dora_rt.transport.ring.protocol import (
    FLOOR,
    HEAD,
    LOG,
    LOG_SHIFT,
    READER_DROPPED,
    SEQ_BITS,
    SEQ_MASK,
    SLOT_BITS,
    SLOT_MASK,
    TAKEN,
)

_LONG_AGO = -1
"""In place of a HEAD that is so old that the sample before it may be dropped: it is looked up."""


@prefer_compiled
class RingReader(RingReaderCore):
    """One reader of an output. Not thread-safe: its subscriber has the lock.

    What `take` gives is the caller's until `give_back`. `keep` says that it has arrived: until then
    the next `take`, after `recover`, gives it again.
    """

    def __init__(
        self,
        *,
        output_words: memoryview,
        edge_words: memoryview,
        find_token: Callable[[int], Semaphore | None],
        returned: Semaphore,
        slots: int,
        position: int,
        edges: int,
        generation: int,
    ) -> None:
        """Begin to read.

        Args:
            output_words: the segment that the writer writes.
            edge_words: the segment that this reader writes.
            find_token: attaches to the token of a slot; None while the writer has not made it.
            returned: what this reader posts.
            slots: how many slots there are.
            position: of the edge among those of the output.
            edges: how many edges the output has.
            generation: of the edge.
        """
        self.seq = -1
        """Number of the sample taken last."""
        self.arrived = (-1, 0)
        """Number of the sample that was counted as delivered last (at first, of the one before
        those that are for this reader), and how many were so far."""
        self.held: dict[int, weakref.ref[Any]] = {}
        """Slots that views look at, each with the weak reference that ends with the last view."""
        self._words = output_words
        self._edge_words = edge_words
        self._find_token = find_token
        self._tokens: list[Semaphore | None] = [None] * slots
        self._claims: list[Callable[[], Any] | None] = [None] * slots
        self._returned = returned
        self._slots = slots
        self._log_length = 2 * slots
        self._generation = generation & 0xFFFF
        # What FLOOR is compared with: more than the number itself while it speaks of others.
        self._base = self._generation << SEQ_BITS
        self._floor = FLOOR + position
        self._begin = self._floor + edges
        self._place = FLOOR + 3 * edges
        self._order = self._place + slots
        # Where a later generation begins, its writer says once it has connected.
        self.next_seq = 0 if generation == 0 else -1
        """Number of the sample that comes next; -1: not known yet."""
        self.first_seq = self.next_seq
        self._logged = 0
        self._own_dropped = 0
        self._early: dict[int, tuple[int, int]] = {}
        # The operation in progress; if it is still set at the next call, `recover` is due.
        self.arriving: list[int] = []
        """Slots that are claimed and have not arrived yet."""
        self.logging: tuple[int, int, int] | None = None
        """Number and content of the entry that is being written into the log, and how many samples
        this reader will have dropped itself then."""

    def take_newest(self, head: int, is_final: bool) -> tuple[int, int] | None:
        """Take the newest sample and give all older ones back; otherwise like `take`."""
        taken = self.take(head, is_final)
        while taken is not None and (head := self._words[HEAD]) != self.next_seq:
            seq, next_seq = self.seq, self.next_seq
            try:
                newer = self.take(head, is_final, has_one=True)
            except CorruptSampleError:
                # Else the next look finds it again, and this one behind it, for ever.
                self.pass_over(taken[0])
                raise
            if newer is None:
                # Whatever there is no token for yet, or will never be, is looked for anew.
                self.seq, self.next_seq = seq, next_seq
                break
            self.leave(seq, taken[0])
            taken = newer
        return taken

    def take(self, head: int, is_final: bool, *, has_one: bool = False) -> tuple[int, int] | None:
        """Take the next sample, if one is there.

        Args:
            head: HEAD, as it was a moment before: the newest sample was not dropped yet.
            is_final: the writer is gone, so a token that is not here will never come.
            has_one: an older sample is in hand, so step 9, which takes two more, can wait.

        Returns:
            Slot and growth of the pool, or None; `seq` then has the number of the sample.

        Raises:
            CorruptSampleError: a word of the ring names a slot that does not exist.
        """
        words = self._words
        if self.next_seq < 0 and not self._find_begin():
            return None
        while True:
            seq = self.next_seq
            next_seq = seq + 1
            if self._early and seq in self._early:
                taken = self._take_early(seq)
                if taken is None:
                    head = _LONG_AGO
                    continue
                return taken
            word = words[self._order + seq % self._slots]  # 6
            if word >> SLOT_BITS != next_seq:
                # Not written yet, or written over because it was dropped.
                if self._skip_dropped() or self._skip_to_early(is_final):
                    continue
                return None
            if head != next_seq and words[self._floor] > self._base + seq and self._skip_dropped():
                continue
            slot = word & SLOT_MASK
            if slot >= self._slots:
                self.next_seq = next_seq
                self._count_own()
                raise CorruptSampleError(
                    f"sample {seq} claims to be in slot {slot}, there are {self._slots}"
                )
            try:
                (self._claims[slot] or self._find_claim(slot))()  # 7
            except BusyError:
                if self._skip_dropped():
                    continue
                if is_final or (not has_one and self._is_gone(seq, slot)):
                    self.next_seq = next_seq
                    head = _LONG_AGO
                    continue
                if seq in self._early:
                    continue  # it came between the two looks of step 9
                # The token is on its way (or the writer is just about to say that it dropped this
                # sample): the doorbell rings after that.
                return None
            place = words[self._place + slot]  # 8
            if place >> SLOT_BITS == seq:
                self.seq = seq
                self.next_seq = next_seq
                return slot, place & SLOT_MASK
            self.keep_early(seq, slot, place)

    def keep_early(self, seq: int, slot: int, place: int) -> None:
        """Keep a claim for the turn of its sample: `seq` was dropped, and its slot used again.

        Args:
            seq: the sample that was looked for.
            slot: the slot that was claimed.
            place: what PLACE says of it.

        Raises:
            CorruptSampleError: there is no such sample.
        """
        early = place >> SLOT_BITS
        head = self._words[HEAD]
        if not seq < early <= head:
            self.pass_over(slot)
            self.next_seq = seq + 1
            raise CorruptSampleError(
                f"slot {slot} claims to hold sample {early}, expected one from {seq} to {head}"
            )
        self._early[early] = slot, place & SLOT_MASK
        self._forget(slot)
        self.next_seq = seq + 1

    def find_next(self) -> int | None:
        """Return the number of the sample that comes next; None if it is not known yet."""
        return self.next_seq if self.next_seq >= 0 or self._find_begin() else None

    def recover(self) -> None:
        """Finish the operation that an exception broke off: unarrived samples come again."""
        if self.logging is not None:
            self._finish_log()
        for slot in list(self.arriving):
            self.held.pop(slot, None)
            place = self._words[self._place + slot]
            seq = place >> SLOT_BITS
            if seq >= self._words[HEAD]:
                self.pass_over(slot)  # overwritten; there is nothing to give
                continue
            self._early[seq] = slot, place & SLOT_MASK
            self.next_seq = min(self.next_seq, seq)
        self.arriving.clear()

    def keep(self, slot: int, *, tells: bool) -> None:
        """Note that a sample has arrived, and that views look at it now.

        Args:
            slot: its slot.
            tells: whether to wake a writer that waits for room in the queue.
        """
        if tells:
            self.logging = self._logged, TAKEN | slot, self._own_dropped
            self._finish_log()
        self._forget(slot)

    def give_back(self, slot: int) -> None:
        """Give a slot back; the writer may write it again."""
        # `_finish_log`, specialised for this path.
        number = self._logged
        self.logging = number, slot, self._own_dropped
        self._edge_words[LOG + number % self._log_length] = number + 1 << LOG_SHIFT | slot  # 10
        self._logged = number + 1
        self._returned.release()  # 11
        if slot in self.held:
            del self.held[slot]
        arriving = self.arriving
        if len(arriving) == 1 and arriving[0] == slot:
            arriving.clear()
        elif arriving:
            self._forget(slot)
        self.logging = None

    def pass_over(self, slot: int) -> None:
        """Give back the slot of a sample that did not arrive, and count it."""
        self.logging = self._logged, slot, self._own_dropped + 1
        self._finish_log()

    @property
    def has_claims(self) -> bool:
        """Whether a claimed sample has not arrived yet."""
        return bool(self._early or self.arriving)

    def give_claims_back(self) -> None:
        """Give back all claimed slots whose samples will not arrive."""
        self.recover()
        for seq in list(self._early):
            slot, _ = self._early[seq]
            self.arriving.append(slot)
            del self._early[seq]
            self.leave(seq, slot)

    def close(self) -> None:
        """Close the tokens: nothing can be taken any more."""
        for token in self._tokens:
            if token is not None:
                with suppress(ClosedError):
                    token.close()

    def _claim(self, slot: int) -> bool:
        try:
            (self._claims[slot] or self._find_claim(slot))()
        except BusyError:
            return False
        return True

    def _find_claim(self, slot: int) -> Callable[[], Any]:
        token = self._find_token(slot)
        if token is None:
            raise BusyError
        self._tokens[slot] = token
        self._claims[slot] = claim = claiming(token, self.arriving, slot)
        return claim

    def _take_early(self, seq: int) -> tuple[int, int] | None:
        slot, growth = self._early[seq]
        self.arriving.append(slot)
        del self._early[seq]
        self.next_seq = seq + 1
        if self._words[self._floor] > self._base + seq and self._is_dropped(seq):
            # It has grown too old meanwhile: the writer would have dropped it.
            self.leave(seq, slot)
            return None
        self.seq = seq
        return slot, growth

    def leave(self, seq: int, slot: int) -> None:
        """Give back a sample that must not arrive."""
        if seq == self.arrived[0]:
            self.give_back(slot)  # it counts as delivered, though an exception took its place
        else:
            self.pass_over(slot)

    def _is_gone(self, seq: int, slot: int) -> bool:
        """Do step 9: find out whether a token that is not here will never come."""
        words = self._words
        # The kept sample was posted later, too; and its own token cannot be won again.
        if not self._early:
            word = words[self._order + (seq + 1) % self._slots]
            later = word & SLOT_MASK
            if word >> SLOT_BITS != seq + 2 or later >= self._slots or not self._claim(later):
                return False
            place = words[self._place + later]
            if not seq < place >> SLOT_BITS < words[HEAD]:
                self.pass_over(later)
                return False
            self._early[place >> SLOT_BITS] = later, place & SLOT_MASK
            self._forget(later)
        # Tokens are posted in order, and the later one was won: this look is behind both posts.
        if self._claim(slot):
            place = words[self._place + slot]
            self._early[place >> SLOT_BITS] = slot, place & SLOT_MASK
            self._forget(slot)
            # A slot that was recycled says that it was dropped.
            return place >> SLOT_BITS != seq
        return True

    def _find_begin(self) -> bool:
        """Find where a later generation begins, as soon as its writer has said so."""
        begin = self._words[self._begin]
        if begin >> SEQ_BITS != self._generation:
            return False
        self.first_seq = begin & SEQ_MASK
        self.arrived = self.first_seq - 1, 0
        self.next_seq = self.first_seq
        return True

    def _is_dropped(self, seq: int) -> bool:
        word = self._words[self._floor]
        return word >> SEQ_BITS == self._generation and seq < word & SEQ_MASK

    def _skip_dropped(self) -> bool:
        """Pass over what the writer has dropped; False if it has not said so of the next one."""
        if not self._is_dropped(self.next_seq):
            return False
        floor = self._words[self._floor] & SEQ_MASK
        self.next_seq = min((floor, *(early for early in self._early if early < floor)))
        return True

    def _skip_to_early(self, is_final: bool) -> bool:
        """Go on with a claim that is kept, if nothing else will come."""
        if not is_final or not self._early:
            return False
        self.next_seq = min(self._early)
        return True

    def _count_own(self) -> None:
        self._edge_words[READER_DROPPED] = self._own_dropped = self._own_dropped + 1

    def _finish_log(self) -> None:
        assert self.logging is not None, "there is something to write"
        number, entry, own_dropped = self.logging
        words = self._edge_words
        if own_dropped != self._own_dropped:
            words[READER_DROPPED] = self._own_dropped = own_dropped
        words[LOG + number % self._log_length] = number + 1 << LOG_SHIFT | entry  # 10
        self._logged = number + 1
        self._returned.release()  # 11
        if entry < TAKEN:
            self.held.pop(entry, None)
            self._forget(entry)
        self.logging = None

    def _forget(self, slot: int) -> None:
        if slot in self.arriving:
            self.arriving.remove(slot)
