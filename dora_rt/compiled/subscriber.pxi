# An input: takes of all policies, the account of what arrives, and views that end.

cdef object event_type = None
cdef object subscriber_type = None
cdef dict fork_state = None
cdef dict forks_under_way = None


def use_event(event):
    """Make events of this class."""
    global event_type
    event_type = event


def use_subscriber(subscriber, forks):
    """Tell which class inputs are of, and where the state of forks is."""
    global subscriber_type, fork_state, forks_under_way
    subscriber_type = subscriber
    fork_state = forks
    forks_under_way = forks["under_way"]


cdef inline int bucket_of(int64_t ns) noexcept nogil:
    """As `dora_rt.latency.bucket`."""
    cdef int64_t units = ns >> 8
    cdef int shift
    if units < 8:
        return <int>units if units > 0 else 0
    shift = drt_bits(<uint64_t>units) - 4
    units = shift * 8 + (units >> shift)
    return <int>units if units < BUCKETS else BUCKETS - 1


@cython.no_gc_clear
cdef class SubscriberCore:
    cdef public object input_id, _pool, _headers, _lock, _let_go, _inherited
    cdef public list _let_go_of
    cdef public RingReaderCore _ring
    cdef public bint is_ended, _is_closed, _is_retired, _is_midway, _is_blocking, _is_latest
    cdef public bint _writer_is_gone, awaits_latched
    cdef public Py_ssize_t _max_held
    cdef public uint64_t _copied
    cdef public int64_t _dropped, _last_dropped
    cdef public uint64_t _peer_word
    cdef uint64_t latencies[BUCKETS]
    cdef uint64_t ages[BUCKETS]
    cdef Memory output_words, words, board_word, memory

    @property
    def _output_words(self):
        return self.output_words.owner()

    @_output_words.setter
    def _output_words(self, words):
        self.output_words = Memory(words)

    @property
    def _words(self):
        return self.words.owner()

    @_words.setter
    def _words(self, words):
        self.words = Memory(words)

    @property
    def _board_word(self):
        return self.board_word.owner()

    @_board_word.setter
    def _board_word(self, words):
        self.board_word = Memory(words)

    def take(self):
        return self.do_take()

    def writer_changed(self):
        return self.has_changed()

    cdef inline bint has_changed(self) except -1:
        return (
            load(self.board_word, 0) != self._peer_word
            or load(self.output_words, WRITER_CLOSED) != 0
        )

    cdef object do_take(self):
        """Return the next sample that is there, or None."""
        cdef RingReaderCore reader = self._ring
        cdef uint64_t head = load(self.output_words, HEAD)
        cdef uint64_t growth = 0
        cdef Py_ssize_t slot = LOOK_IN_PYTHON
        if (
            self._is_midway or self._writer_is_gone or self.is_ended or self._let_go
            or self.awaits_latched
        ):
            return self.plain_take()
        if <int64_t>head == reader.next_seq:
            # Nothing was published since the last sample taken.
            return self.plain_take() if reader.held and self.has_lost_view() else None
        if self._is_latest and <int64_t>head != reader.next_seq + 1:
            return self.plain_take()
        if not try_lock(self._lock):
            return self.plain_take()
        event = None
        try:
            if self.is_ended:
                return None  # closed meanwhile
            self._is_midway = True
            slot = reader.try_take(head, &growth)
            if slot >= 0:
                event = self.receive(slot, growth)
            elif slot == ANOTHER:
                self._keep_early(reader.arriving[0], reader.claimed_place)
            self._is_midway = False
        finally:
            self._lock.release()
            if self._let_go or self._is_closed:
                self._return_slots()
        return self.plain_take() if slot < 0 else event

    cdef bint has_lost_view(self) except -1:
        for slot, view in self._ring.held.items():
            if view() is None and not (self._inherited and self._inherited.get(slot)):
                return True
        return False

    cdef object receive(self, Py_ssize_t slot, uint64_t growth):
        cdef RingReaderCore reader = self._ring
        cdef HeaderReaderCore headers
        cdef Py_ssize_t room, nbytes
        cdef char *source
        cdef tuple place
        cdef bint is_leased = False
        if not isinstance(self._headers, HeaderReaderCore):
            return self._receive(slot, growth)
        headers = <HeaderReaderCore>self._headers
        found = (<PoolReaderCore>self._pool).memories[slot]
        if found is None or (<tuple>found)[3] != growth:
            return self._receive(slot, growth)
        place = <tuple>found
        if self.memory is None or not self.memory.is_of(place[0]):
            self.memory = Memory(place[0])
        if self.memory.at == NULL:
            return self._receive(slot, growth)
        source = self.memory.at + <Py_ssize_t>place[1]
        room = place[2]
        nbytes = headers._nbytes
        if (
            headers._description_end <= DESCRIPTION_OFFSET or headers._end > room
            or headers._encoding == 2
            or (<uint64_t *>source)[0] != <uint64_t>reader.seq
            or memcmp(
                source + DESCRIPTION_OFFSET, PyBytes_AS_STRING(headers._description),
                headers._description_end - DESCRIPTION_OFFSET,
            )
        ):
            return self._receive(slot, growth)
        cdef uint64_t sent_ns = (<uint64_t *>source)[1]
        cdef uint64_t origin_ns = (<uint64_t *>source)[3]
        if headers._array_type is None:
            value = PyBytes_FromStringAndSize(source + HEADER_NBYTES, nbytes)
        elif nbytes <= SMALL_NBYTES:
            owner = PyBytes_FromStringAndSize(source + HEADER_NBYTES, nbytes)
            value = make_array(headers._array_type, PyBytes_AS_STRING(owner), owner)
        elif len(reader.held) < self._max_held:
            value = make_array(headers._array_type, source + HEADER_NBYTES, place[0])
            reader.held[slot] = PyWeakref_NewRef(value, self._let_go_of[slot])
            is_leased = True
        else:
            return self._receive(slot, growth)
        metadata = b""
        if headers._metadata_begin:
            metadata = PyBytes_FromStringAndSize(
                source + headers._metadata_begin, headers._end - headers._metadata_begin
            )
        return self.arrive(slot, value, reader.seq, sent_ns, origin_ns, metadata, is_leased, False)

    def _arrive(
        self, Py_ssize_t slot, value, int64_t seq, uint64_t sent_ns, uint64_t origin_ns,
        metadata, bint is_leased, bint is_copied,
    ):
        return self.arrive(slot, value, seq, sent_ns, origin_ns, metadata, is_leased, is_copied)

    cdef object arrive(
        self, Py_ssize_t slot, object value, int64_t seq, uint64_t sent_ns, uint64_t origin_ns,
        object metadata, bint is_leased, bint is_copied,
    ):
        """Count a sample that has arrived, and make the event; what `_receive` ends with."""
        cdef RingReaderCore reader = self._ring
        cdef uint64_t now = monotonic_ns()
        cdef int64_t dropped
        cdef int at = bucket_of(<int64_t>(now - sent_ns))
        self.latencies[at] += 1
        put(self.words, LATENCIES + at, self.latencies[at])
        at = bucket_of(<int64_t>(now - origin_ns))
        self.ages[at] += 1
        put(self.words, AGES + at, self.ages[at])
        if reader.arrived_seq != seq:
            self._last_dropped = dropped = seq - reader.arrived_seq - 1
            reader.arrived_seq = seq
            reader.arrived_count += 1
        else:  # an exception came in between, and it was counted already
            dropped = self._last_dropped
        store(self.words, DELIVERED, reader.arrived_count)
        if dropped:
            self.note_dropped(seq + 1)
        if is_copied:
            self._copied += 1
            put(self.words, COPIED, self._copied)
        cdef EventCore event = <EventCore>EventCore.__new__(event_type)
        event.id = self.input_id
        event.value = value
        event.metadata_json = metadata
        event.seq = seq
        event.dropped = dropped
        event.sent_ns = sent_ns
        event.origin_ns = origin_ns
        event.copied = is_copied
        if is_leased:
            reader.do_keep(slot, self._is_blocking)
        else:
            reader.do_give_back(slot)
        return event

    cdef int note_dropped(self, int64_t next_seq) except -1:
        cdef int64_t dropped = next_seq - self._ring.first_seq - <int64_t>self._ring.arrived_count
        if dropped != self._dropped:
            self._dropped = dropped
            store(self.words, DROPPED, <uint64_t>dropped)
        return 0

    def _lose_view(self, Py_ssize_t slot, view):
        cdef RingReaderCore reader = self._ring
        if fork_state["is_forked"]:
            return  # the parent still holds it
        if (
            self._let_go or forks_under_way or self._is_closed or self._is_retired
            or reader.logging is not None or not try_lock(self._lock)
        ):
            # In the middle of `take`, say: the thread with the lock looks afterwards.
            self._let_go.append(slot)
            self._return_slots()
            return
        try:
            if (
                reader.held.get(slot) is view and slot not in reader.arriving
                and not (self._inherited and self._inherited.get(slot))
            ):
                reader.do_give_back(slot)
            else:
                self._let_go.append(slot)
        finally:
            self._lock.release()
        if self._let_go or self._is_closed:
            self._return_slots()


cdef object make_array(object array_type, char *data, object owner, bint is_writeable=False):
    """Make an array of what `owner` keeps."""
    cdef npy_intp dims[MAX_NDIM]
    dtype, shape = <tuple>array_type
    cdef int ndim = <int>len(<tuple>shape)
    cdef int n
    for n in range(ndim):
        dims[n] = (<tuple>shape)[n]
    Py_INCREF(dtype)  # the array takes a reference to it
    array = PyArray_NewFromDescr(
        <PyTypeObject *>ndarray_type, <PyArray_Descr *>dtype, ndim, dims, NULL, data,
        NPY_ARRAY_WRITEABLE if is_writeable else 0, NULL
    )
    Py_INCREF(owner)  # and one to this
    PyArray_SetBaseObject(<PyArrayObject *>array, <PyObject *>owner)
    PyArray_UpdateFlags(
        <PyArrayObject *>array, NPY_ARRAY_C_CONTIGUOUS | NPY_ARRAY_F_CONTIGUOUS | NPY_ARRAY_ALIGNED
    )
    return array
