# The writer's side of the ring.

cdef object state_here = None


def use_here(here):
    """Tell which state a reader is in that listens."""
    global state_here
    state_here = here


@cython.no_gc_clear
cdef class WriterEdgeCore:
    cdef public object bit, doorbell, state, pending, won, make_token, returned
    cdef public list tokens, claims
    cdef public bint blocking
    cdef public Py_ssize_t position, queue_size, limit, log_length
    cdef public uint64_t closing, dropped, posted_below, log_read, generation
    cdef Memory words

    @property
    def reader_words(self):
        """The segment that the reader writes."""
        return self.words.owner()

    @reader_words.setter
    def reader_words(self, words):
        self.words = Memory(words)


@cython.no_gc_clear
cdef class RingWriterCore:
    cdef public tuple edges, _listening, _waited_for
    cdef public uint64_t head, _sent_nbytes
    cdef public bint readers_changed, _stores_need_fences, _is_latched
    cdef public list free, posts, _batons, _seqs, _posted
    cdef public object loaned, pass_fence, _all_batons, _dropping, _connecting
    cdef public Py_ssize_t opened, _slots, _begin, _dropped, _place, _order
    cdef Memory words
    cdef bint is_publishing
    cdef uint64_t publishing_slot, publishing_seq, publishing_growth, publishing_sent

    @property
    def _words(self):
        return self.words.owner()

    @_words.setter
    def _words(self, words):
        self.words = Memory(words)

    @property
    def _publishing(self):
        if not self.is_publishing:
            return None
        return (
            self.publishing_slot, self.publishing_seq, self.publishing_growth, self.publishing_sent
        )

    @_publishing.setter
    def _publishing(self, publishing):
        if publishing is None:
            self.is_publishing = False
            return
        slot, seq, growth, sent = publishing
        self.publishing_slot, self.publishing_seq = slot, seq
        self.publishing_growth, self.publishing_sent = growth, sent
        self.is_publishing = True

    cdef inline int fence_stores(self) except -1:
        """Let what was stored before be seen before what is stored after."""
        if self.words.at != NULL:
            drt_store_fence()
        elif self._stores_need_fences:
            self.pass_fence()
        return 0

    def open(self, Py_ssize_t slot):
        self.do_open(slot)

    cdef int do_open(self, Py_ssize_t slot) except -1:
        store(self.words, self._place + slot, BEING_WRITTEN)  # 1
        # An observer that sees any of the sample's new bytes sees that they are new.
        self.fence_stores()
        self.opened = slot
        return 0

    def open_next(self):
        self.do_open_next()

    cdef int do_open_next(self) except -1:
        cdef Py_ssize_t count = PyList_GET_SIZE(self.free)
        cdef Py_ssize_t slot
        if count:
            slot = self.free[count - 1]
            if <int64_t>self._seqs[slot] != <int64_t>self.head - 1:  # observers look at the newest
                store(self.words, self._place + slot, BEING_WRITTEN)
                self.opened = slot
        return 0

    def publish(self, Py_ssize_t slot, uint64_t growth, uint64_t nbytes):
        self.do_publish(slot, growth, nbytes)

    cdef int do_publish(self, Py_ssize_t slot, uint64_t growth, uint64_t nbytes) except -1:
        cdef Memory words = self.words
        cdef WriterEdgeCore edge
        cdef uint64_t seq = self.head
        cdef uint64_t sent = self._sent_nbytes + nbytes
        if PyList_GET_SIZE(self._posted):
            self._posted.clear()
        number = seq
        waiting = (number, slot)
        batons = self._all_batons
        self.publishing_slot, self.publishing_seq = slot, seq
        self.publishing_growth, self.publishing_sent = growth, sent
        self.is_publishing = True
        self._seqs[slot] = number
        self._batons[slot] = batons
        # 2. Behind the sample: each of these is a release.
        if words.at == NULL:
            self.fence_stores()
        store(words, self._place + slot, seq << SLOT_BITS | growth)
        store(
            words, self._order + <Py_ssize_t>(seq % <uint64_t>self._slots),
            (seq + 1) << SLOT_BITS | <uint64_t>slot,
        )
        self.head = seq + 1
        store(words, HEAD, seq + 1)
        # All have it before anybody is woken, as in the Python code.
        for edge in self._listening:
            post(edge.tokens[slot])  # 3
            PyList_Append(self._posted, None)
        for edge in self._listening:
            edge.pending.append(waiting)
            if len(edge.pending) > edge.limit:
                self.trim(edge)  # 4
            if count_of(edge.doorbell) < ENOUGH_RINGS:
                post(edge.doorbell)  # 5
        for edge in self._waited_for:
            edge.pending.append(waiting)
            if len(edge.pending) > edge.limit:
                self._trim(edge)
        self._sent_nbytes = sent
        put(words, SENT_NBYTES, sent)
        if self._is_latched:
            self._keep_newest(slot)
        elif not batons:
            PyList_Append(self.free, slot)
        self.opened = -1
        self.is_publishing = False
        return 0

    cdef int trim(self, WriterEdgeCore edge) except -1:
        cdef bint dropped = False
        while len(edge.pending) > edge.limit:
            if self.drop(edge):
                dropped = True
        if dropped:
            self._write_floor(edge)
        return 0

    cdef bint drop(self, WriterEdgeCore edge) except -1:
        """Drop the oldest of a queue; False if the reader had taken it meanwhile."""
        if edge.state is not state_here or edge.won:
            return self._drop(edge)
        seq, slot = edge.pending[0]
        cdef Py_ssize_t place = slot
        token = edge.tokens[place]
        if token is None or self._seqs[place] != seq or not count_of(token):
            edge.pending.popleft()
            return False
        self._dropping = (edge, seq, slot, edge.dropped + 1, True)
        if try_wait(token):
            edge.won.append(slot)
        edge.pending.popleft()
        cdef bint is_won = bool(edge.won)
        if is_won:
            edge.dropped += 1
            store(self.words, self._dropped + edge.position, edge.dropped)
            self.free_baton(place, edge.bit)
        edge.won.clear()
        self._dropping = None
        return is_won

    cdef inline int free_baton(self, Py_ssize_t slot, object bit) except -1:
        batons = self._batons[slot]
        if batons & bit:
            batons = batons - bit
            self._batons[slot] = batons
            if not batons:
                PyList_Append(self.free, slot)
        return 0

    def collect(self, WriterEdgeCore edge):
        self.do_collect(edge)

    def collect_one(self, WriterEdgeCore edge):
        self.do_collect(edge)

    def read_log(self, WriterEdgeCore edge):
        self.do_read_log(edge)

    cdef int do_collect(self, WriterEdgeCore edge) except -1:
        cdef int posts = count_of(edge.returned)
        while posts > 0 and try_wait(edge.returned):
            posts -= 1
        self.do_read_log(edge)  # 12
        if load(edge.words, READER_CLOSED) != edge.closing:
            self.readers_changed = True
        return 0

    cdef int do_read_log(self, WriterEdgeCore edge) except -1:
        cdef Memory words = edge.words
        cdef uint64_t length = edge.log_length
        cdef uint64_t read = edge.log_read
        cdef uint64_t entry
        cdef Py_ssize_t slot
        cdef object pending = edge.pending
        while True:
            # An acquire: the reader's last look at the slot is before its entry, and what this
            # process writes into the slot comes after.
            entry = load(words, LOG + <Py_ssize_t>(read % length)) - ((read + 1) << LOG_SHIFT)
            if entry >= 2 * TAKEN:
                return 0
            slot = <Py_ssize_t>(entry & SLOT_MASK)
            if slot < self._slots:
                batons = self._batons[slot]
                if batons & edge.bit:
                    if pending and pending[0][1] == slot:
                        pending.popleft()
                    if entry < TAKEN:
                        batons = batons - edge.bit
                        self._batons[slot] = batons
                        if not batons:
                            PyList_Append(self.free, slot)
            read += 1
            edge.log_read = read
