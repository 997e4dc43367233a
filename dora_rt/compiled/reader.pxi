# A reader's side of the ring, and what it makes of a sample.


cdef class EventCore:
    cdef public object id, value, metadata_json, _metadata, seq, dropped, sent_ns, origin_ns, copied
    cdef public bint latched

    def __getstate__(self):
        # As Python makes it of a class with these slots, so that both read each other's.
        return None, {
            "id": self.id, "value": self.value, "metadata_json": self.metadata_json,
            "_metadata": self._metadata, "seq": self.seq, "dropped": self.dropped,
            "sent_ns": self.sent_ns, "origin_ns": self.origin_ns, "copied": self.copied,
            "latched": self.latched,
        }


cdef class PoolReaderCore:
    cdef public list memories


@cython.no_gc_clear
cdef class HeaderReaderCore:
    cdef public object _description, _array_type
    cdef public Py_ssize_t _description_end, _nbytes, _encoding, _metadata_begin, _end


# What `try_take` gives instead of a slot.
cdef enum:
    NOTHING = -1
    LOOK_IN_PYTHON = -2
    ANOTHER = -3


@cython.no_gc_clear
cdef class RingReaderCore:
    cdef public int64_t seq, next_seq, first_seq
    cdef public dict held, _early
    cdef public list arriving, _tokens, _claims
    cdef public object _find_token, _returned, logging, _base
    cdef public Py_ssize_t _slots, _log_length, _floor, _begin, _place, _order
    cdef public uint64_t _logged, _own_dropped, _generation
    cdef int64_t arrived_seq
    cdef uint64_t arrived_count
    cdef Memory words, edge_words
    cdef uint64_t claimed_place

    @property
    def arrived(self):
        return self.arrived_seq, self.arrived_count

    @arrived.setter
    def arrived(self, arrived):
        seq, count = arrived
        self.arrived_seq, self.arrived_count = seq, count

    @property
    def _words(self):
        return self.words.owner()

    @_words.setter
    def _words(self, words):
        self.words = Memory(words)

    @property
    def _edge_words(self):
        return self.edge_words.owner()

    @_edge_words.setter
    def _edge_words(self, words):
        self.edge_words = Memory(words)

    cdef Py_ssize_t try_take(self, uint64_t head, uint64_t *growth) except -4:
        """Take the next sample if all is ordinary, and note its slot in `arriving`.

        ANOTHER: the slot was used again meanwhile; `arriving` has it, `claimed_place` says what it
        holds.
        """
        cdef uint64_t seq, word, place
        cdef Py_ssize_t slot
        if self.next_seq < 0 or self._early or self.arriving or self.logging is not None:
            return LOOK_IN_PYTHON
        seq = <uint64_t>self.next_seq
        word = load(self.words, self._order + <Py_ssize_t>(seq % <uint64_t>self._slots))  # 6
        if word >> SLOT_BITS != seq + 1:
            return LOOK_IN_PYTHON
        if head != seq + 1 and load(self.words, self._floor) > <uint64_t>self._base + seq:
            return LOOK_IN_PYTHON
        slot = <Py_ssize_t>(word & SLOT_MASK)
        if slot >= self._slots:
            return LOOK_IN_PYTHON
        token = self._tokens[slot]
        if token is None or not try_wait(token):  # 7
            return LOOK_IN_PYTHON
        PyList_Append(self.arriving, slot)
        place = load(self.words, self._place + slot)  # 8
        if place >> SLOT_BITS != seq:
            self.claimed_place = place
            return ANOTHER
        self.seq = <int64_t>seq
        self.next_seq = <int64_t>seq + 1
        growth[0] = place & SLOT_MASK
        return slot

    def give_back(self, Py_ssize_t slot):
        self.do_give_back(slot)

    cdef int do_give_back(self, Py_ssize_t slot) except -1:
        self.write_log(<uint64_t>slot)
        if self.held:
            self.held.pop(slot, None)
        self.forget(slot)
        return 0

    cdef int write_log(self, uint64_t entry) except -1:
        cdef uint64_t number = self._logged
        # 10: a release, behind this process' last look at the slot.
        store(
            self.edge_words, LOG + <Py_ssize_t>(number % <uint64_t>self._log_length),
            (number + 1) << LOG_SHIFT | entry,
        )
        self._logged = number + 1
        post(self._returned)  # 11
        return 0

    cdef int do_keep(self, Py_ssize_t slot, bint tells) except -1:
        if tells:
            self.write_log(TAKEN | <uint64_t>slot)
        self.forget(slot)
        return 0

    cdef inline int forget(self, Py_ssize_t slot) except -1:
        cdef list arriving = self.arriving
        if PyList_GET_SIZE(arriving) == 1:
            if arriving[0] == slot:
                arriving.pop()
        elif PyList_GET_SIZE(arriving) and slot in arriving:
            arriving.remove(slot)
        return 0
