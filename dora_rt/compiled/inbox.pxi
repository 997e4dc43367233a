# Waiting: the doorbell, the timers, and all inputs of a process in turn.

cdef object inbox_type = None


def use_inbox(inbox):
    """Tell which class waits for all inputs; others have changed what it does."""
    global inbox_type
    inbox_type = inbox


cdef class SpinCore:
    cdef public uint64_t limit_ns, cost_ns
    cdef public bint is_learning
    cdef public int64_t _score, _short_waits, _short_waits_needed, _until_look


@cython.no_gc_clear
cdef class DoorbellCore:
    cdef public object _semaphore, _waits
    cdef public SpinCore _spin
    cdef public bint has_slept

    def wait(self, deadline_ns):
        cdef bint has_deadline = deadline_ns is not None
        return self.do_wait(has_deadline, deadline_ns if has_deadline else 0)

    def silence(self):
        self.do_silence()

    cdef int do_silence(self) except -1:
        while count_of(self._semaphore):
            if not try_wait(self._semaphore):
                return 0
        return 0

    cdef bint do_wait(self, bint has_deadline, uint64_t deadline_ns) except -1:
        """Wait for a ring; False when the deadline passed first."""
        if type(self._semaphore) is not Semaphore or not has_clockwait:
            return self.plain_wait(deadline_ns if has_deadline else None)
        cdef Semaphore semaphore = <Semaphore>self._semaphore
        cdef SpinCore spin = self._spin
        cdef uint64_t began_ns = 0, now_ns = 0
        cdef bint learns
        cdef int answer
        self.has_slept = False
        semaphore.check()
        if count_of(semaphore) or (spin.limit_ns and self.poll(has_deadline, deadline_ns)):
            if try_wait(semaphore):
                return True  # else another thread was faster
        learns = spin.is_learning
        if learns or has_deadline:
            began_ns = now_ns = monotonic_ns()
        while not has_deadline or now_ns < deadline_ns:
            answer = semaphore.sleep(has_deadline, deadline_ns)
            if not answer:
                if learns:
                    spin.slept(monotonic_ns() - began_ns)
                self.has_slept = True
                return True
            if answer == EINTR:
                PyErr_CheckSignals()  # what a handler raises comes out of here
            semaphore.check()
            now_ns = monotonic_ns()
        return try_wait(semaphore)

    cdef bint poll(self, bint has_deadline, uint64_t deadline_ns) except -1:
        """Look again and again, without the GIL, until there is a ring or polling is in vain."""
        cdef Semaphore semaphore = <Semaphore>self._semaphore
        cdef SpinCore spin = self._spin
        cdef uint64_t until_ns = monotonic_ns() + spin.limit_ns
        cdef uint64_t slice_ns, now_ns
        cdef int count = 0
        cdef int looks = 0
        if has_deadline and deadline_ns < until_ns:
            until_ns = deadline_ns
        semaphore.waiting += 1
        try:
            while not count:
                with nogil:
                    # In slices, so that a signal handler does not wait for a long `spin_us`.
                    now_ns = monotonic_ns()
                    slice_ns = now_ns + 1000000
                    if slice_ns > until_ns:
                        slice_ns = until_ns
                    while True:
                        sem_getvalue(semaphore.sem, &count)
                        if count:
                            break
                        drt_relax()
                        looks += 1
                        if not looks & 7:
                            now_ns = monotonic_ns()
                            if now_ns >= slice_ns:
                                break
                if not count:
                    PyErr_CheckSignals()
                    if now_ns >= until_ns:
                        spin.was_in_vain()
                        return False
        finally:
            semaphore.waiting -= 1
            if semaphore.is_closing and not semaphore.waiting:
                sem_close(semaphore.sem)
                semaphore.sem = NULL
        if spin._until_look > 1:
            # `Spin.paid`, where it does nothing more.
            if spin._score < 32:
                spin._score += 1
            spin._until_look -= 1
        else:
            spin.paid()
        return True


@cython.no_gc_clear
cdef class TimerCore:
    cdef public object input_id
    cdef public uint64_t _period_ns, _next

    cdef inline uint64_t due(self, uint64_t start_ns) noexcept:
        return start_ns + self._next * self._period_ns

    cdef object do_take(self, uint64_t start_ns, uint64_t now_ns):
        cdef uint64_t due = self.due(start_ns)
        cdef uint64_t tick
        if now_ns < due:
            return None
        tick = (now_ns - start_ns) // self._period_ns
        cdef EventCore event = <EventCore>EventCore.__new__(event_type)
        event.id = self.input_id
        event.value = b""
        event.metadata_json = b""
        event.seq = tick
        event.dropped = tick - self._next
        event.sent_ns = start_ns + tick * self._period_ns
        event.origin_ns = 0
        event.copied = False
        self._next = tick + 1
        return event


cdef object NONE_YET = object()  # nothing is there
cdef object SLOW = object()  # the Python code has to look


@cython.no_gc_clear
cdef class InboxCore:
    cdef public bint was_told_to_stop, has_ended, _is_stopped, _has_pending_calls, _wakes_itself
    cdef public bint ends_by_itself, _has_sources
    cdef public object _recovered, _timeouts, _lives, _open, _receiving, _pulse
    cdef public uint64_t _heard, _start_ns
    cdef public Py_ssize_t _turn
    cdef public list _ports, _timers
    cdef public SpinCore _spin
    cdef public DoorbellCore _doorbell
    cdef Memory news

    @property
    def _news_view(self):
        return self.news.owner()

    @_news_view.setter
    def _news_view(self, words):
        self.news = Memory(words)

    def wait(self, deadline_ns):
        return self.do_wait(deadline_ns)

    cdef object do_wait(self, object deadline_ns):
        if not try_lock(self._receiving):
            return self.plain_wait(deadline_ns)
        try:
            if type(self) is inbox_type:
                return self.wait_in_turn(deadline_ns, False)
            return self._wait(deadline_ns)
        finally:
            self._receiving.release()

    def _wait(self, deadline_ns, has_waited=False):
        return self.wait_in_turn(deadline_ns, has_waited)

    cdef object wait_in_turn(self, object deadline_ns, bint has_waited):
        cdef bint has_deadline = deadline_ns is not None
        cdef bint has_wake = False
        cdef bint waited = has_waited
        cdef uint64_t deadline = deadline_ns if has_deadline else 0
        cdef uint64_t wake, due
        cdef TimerCore timer
        while True:
            if (
                self._has_pending_calls or self._is_stopped or not self._start_ns
                or self._recovered is not None or self._timeouts or self._lives
                or load(self.news, 0) != self._heard
            ):
                return self.plain__wait(deadline_ns, waited)
            event = self.take_in_turn()
            if event is SLOW:
                return self.plain__wait(deadline_ns, waited)
            if event is not NONE_YET:
                if waited and self._spin.is_learning:
                    self._learn_from(event)
                return event
            if self.is_over():
                return self.plain__wait(deadline_ns, waited)
            wake, has_wake = deadline, has_deadline
            for timer in self._timers:
                due = timer.due(self._start_ns)
                if not has_wake or due < wake:
                    wake, has_wake = due, True
            waited = self._doorbell.do_wait(has_wake, wake)
            if not waited and has_deadline and wake == deadline:
                raise self._timed_out()
            self._doorbell.do_silence()

    cdef inline bint is_over(self) except -1:
        # Timers do not keep a finished node alive; a node of only timers is a source, and goes on.
        if not self.ends_by_itself or self._open:
            return False
        return self._has_sources or not self._timers

    cdef object take_in_turn(self):
        # In turn, so that a fast input does not starve the others.
        cdef list ports = self._ports
        cdef Py_ssize_t count = PyList_GET_SIZE(ports)
        cdef Py_ssize_t turn = self._turn
        cdef Py_ssize_t n
        cdef SubscriberCore subscriber
        for n in range(count):
            if turn >= count:
                turn = 0
            port = ports[turn]
            turn += 1
            if type(port) is subscriber_type:
                subscriber = <SubscriberCore>port
                event = subscriber.do_take()
                if event is None:
                    if subscriber.is_ended or subscriber.has_changed():
                        return SLOW
                    continue
            elif isinstance(port, TimerCore) and not self.is_over():
                event = (<TimerCore>port).do_take(self._start_ns, monotonic_ns())
                if event is None:
                    continue
            else:
                return SLOW
            self._turn = turn
            return event
        return NONE_YET


@cython.no_gc_clear
cdef class SessionCore:
    cdef public object inbox, origins
    cdef public bint _reads_events, _is_ready

    def wait(self, deadline_ns):
        if fork_state["is_forked"] or not self._reads_events or not self._is_ready:
            return self.plain_wait(deadline_ns)
        inbox = self.inbox
        if type(inbox) is inbox_type:
            event = (<InboxCore>inbox).do_wait(deadline_ns)
        else:
            event = inbox.wait(deadline_ns)
        if isinstance(event, EventCore):
            # Only what an answer needs: the event itself would keep its slot in use.
            self.origins.cause = ((<EventCore>event).origin_ns, (<EventCore>event).metadata_json, "")
        return event
