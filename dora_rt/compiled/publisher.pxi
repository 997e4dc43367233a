# An output: sends of arrays and bytes, and the stamp of a sample.

cdef extern from "numpy/arrayobject.h":
    ctypedef struct PyArrayObject:
        pass
    ctypedef struct PyArray_Descr:
        pass
    ctypedef Py_ssize_t npy_intp
    ctypedef struct PyTypeObject:
        pass
    int NPY_ARRAY_C_CONTIGUOUS
    int NPY_ARRAY_F_CONTIGUOUS
    int NPY_ARRAY_ALIGNED
    int NPY_ARRAY_WRITEABLE
    int _import_array() except -1
    PyArray_Descr *PyArray_DESCR(PyArrayObject *)
    int PyArray_NDIM(PyArrayObject *)
    npy_intp PyArray_DIM(PyArrayObject *, int)
    int PyArray_IS_C_CONTIGUOUS(PyArrayObject *)
    void *PyArray_DATA(PyArrayObject *)
    int PyArray_SetBaseObject(PyArrayObject *, PyObject *) except -1
    void PyArray_UpdateFlags(PyArrayObject *, int)
    object PyArray_NewFromDescr(
        PyTypeObject *, PyArray_Descr *, int, npy_intp *, npy_intp *, void *, int, PyObject *
    )

cdef extern from "Python.h":
    ctypedef struct TypeWithAlloc "PyTypeObject":
        object (*tp_alloc)(TypeWithAlloc *, Py_ssize_t)
    ctypedef struct TypeWithNew "PyTypeObject":
        object (*tp_new)(TypeWithNew *, object, PyObject *)

cdef bytes NO_BYTES = b""
cdef object ndarray_type = None
cdef object dtype_type = None
cdef object publisher_type = None
cdef object describe_array = None
cdef object describe = None
cdef dict publisher_functions = None


def use_numpy(ndarray, dtype):
    """Load numpy's C interface: not before, because the launcher never touches a frame."""
    global ndarray_type, dtype_type
    _import_array()
    dtype_type = dtype
    ndarray_type = ndarray


def use_publisher(publisher, dict functions):
    """Send by C on objects of this very class; others have changed what it does.

    `functions` are the globals of its module.
    """
    global publisher_type, describe_array, describe, publisher_functions
    publisher_type, publisher_functions = publisher, functions
    describe_array, describe = functions["describe_array"], functions["describe"]


cdef class PoolWriterCore:
    cdef public list memories
    cdef public bint has_old_pools


@cython.no_gc_clear
cdef class ArraySlotsCore:
    cdef public object dtype, shape, _native, description
    cdef public list views
    cdef public Py_ssize_t nbytes, metadata_start, metadata_nbytes
    cdef object known_growth
    cdef Memory memory
    cdef bint is_known, is_native
    cdef int ndim
    cdef npy_intp dims[MAX_NDIM]
    cdef bytes known_description
    cdef bytes bytes_description
    cdef Py_ssize_t bytes_nbytes

    @property
    def growth(self):
        """Number of the pool that the views are of."""
        return self.known_growth

    @growth.setter
    def growth(self, growth):
        self.memory = None  # which would keep the pool before mapped
        self.known_growth = growth

    cdef inline Memory memory_of(self, object buffer):
        if self.memory is None or not self.memory.is_of(buffer):
            self.memory = Memory(buffer)
        return self.memory

    cdef int learn(self) except -1:
        cdef int n
        self.ndim = len(self.shape)
        for n in range(self.ndim):
            self.dims[n] = self.shape[n]
        self.is_native = self.dtype.isnative
        self.known_description = describe_array(self._native, self.shape, self.nbytes, 0)
        self.is_known = True
        return 0

    cdef bint has_form_of(self, object value) except -1:
        """Whether an array has the very dtype and shape, and lies in memory as in a slot."""
        cdef PyArrayObject *array = <PyArrayObject *>value
        cdef int n
        if <PyObject *>PyArray_DESCR(array) != <PyObject *>self.dtype:
            return False
        if not self.is_known:
            self.learn()
        if not self.is_native or PyArray_NDIM(array) != self.ndim:
            return False
        for n in range(self.ndim):
            if PyArray_DIM(array, n) != self.dims[n]:
                return False
        return PyArray_IS_C_CONTIGUOUS(array)


@cython.no_gc_clear
cdef class PublisherCore:
    cdef public list _ends, _blocking
    cdef public RingWriterCore _ring
    cdef public tuple _edges
    cdef public object _pool, _lock, loans
    cdef object loan_dtype, loan_shape
    cdef bytes loan_description
    cdef public bint _is_midway, _is_closed
    cdef public bint is_in_core
    cdef public uint64_t _heard
    cdef public ArraySlotsCore _array_slots
    cdef Memory news

    @property
    def _board_news(self):
        return self.news.owner()

    @_board_news.setter
    def _board_news(self, words):
        self.news = Memory(words)

    def send(self, value, stamp):
        cdef bint is_done = False
        if type(self) is publisher_type and try_lock(self._lock):
            try:
                is_done = self.try_send(value, stamp)
            finally:
                self._lock.release()
        if not is_done:
            self.plain_send(value, stamp)

    cdef bint try_send(self, object value, object stamp) except -1:
        """Send in the ordinary case; else change nothing, and return False."""
        cdef RingWriterCore ring = self._ring
        cdef WriterEdgeCore edge
        cdef ArraySlotsCore form = self._array_slots
        cdef char *data
        cdef bytes description
        cdef Py_ssize_t nbytes, slot, count, begin
        cdef uint64_t source_ns, origin_ns
        cdef tuple place
        cdef PoolWriterCore pool
        if type(self._pool) is not pool_writer_type:
            return False
        pool = <PoolWriterCore>self._pool
        if type(value) is ndarray_type:
            if not form.has_form_of(value):
                return False
            data = <char *>PyArray_DATA(<PyArrayObject *>value)
            nbytes = form.nbytes
            description = form.known_description
        elif type(value) is bytes:
            data = PyBytes_AS_STRING(value)
            nbytes = PyBytes_GET_SIZE(value)
            if form.bytes_description is None or form.bytes_nbytes != nbytes:
                form.bytes_description = describe(nbytes, 0)
                form.bytes_nbytes = nbytes
            description = form.bytes_description
        else:
            return False
        metadata = <object>PyTuple_GET_ITEM(stamp, 0)
        if type(metadata) is not bytes:
            return False
        source_ns = PyLong_AsUnsignedLongLong(<object>PyTuple_GET_ITEM(stamp, 1))
        origin_ns = PyLong_AsUnsignedLongLong(<object>PyTuple_GET_ITEM(stamp, 2))
        if PyErr_Occurred() != NULL:
            PyErr_Clear()
            return False
        # Behind all that runs Python code, in which a handler or a finalizer may send, or close.
        if self._is_midway or self._is_closed or ring.readers_changed or pool.has_old_pools:
            return False
        for edge in ring.edges:
            if nbytes > LARGE_NBYTES:
                # The slot that came back last is still in the cache.
                ring.do_collect(edge)
            if edge.blocking and len(edge.pending) >= edge.queue_size:
                ring.do_read_log(edge)
                if len(edge.pending) >= edge.queue_size:
                    return False
        count = PyList_GET_SIZE(ring.free)
        if not count or ring.readers_changed:
            return False
        slot = ring.free[count - 1]
        found = pool.memories[slot]
        if found is None or ring.posts[slot] is None:
            return False
        place = <tuple>found
        begin = HEADER_NBYTES + ((nbytes + 7) & ~7)
        if <Py_ssize_t>place[2] < begin + PyBytes_GET_SIZE(metadata):
            return False
        self._is_midway = self.is_in_core = True
        try:
            ring.free.pop()
            if slot != ring.opened:
                ring.do_open(slot)
            elif ring.words.at != NULL:
                drt_store_fence()  # opened ahead of time; in Python the lock is the fence
            self.write(
                form, place, data, nbytes, description, value, metadata, begin, source_ns, origin_ns
            )
            ring.do_publish(slot, place[3], nbytes)
            self.look_ahead()
        except BaseException:
            self._end_midway()
            raise
        finally:
            self.is_in_core = False
        return True

    cdef int write(
        self, ArraySlotsCore form, tuple place, char *data, Py_ssize_t nbytes, bytes description,
        object value, bytes metadata, Py_ssize_t begin, uint64_t source_ns, uint64_t origin_ns,
    ) except -1:
        """Write header, payload and metadata into the slot, which nobody else looks at."""
        cdef object buffer = place[0]
        cdef Py_ssize_t offset = place[1]
        cdef Py_ssize_t size = PyBytes_GET_SIZE(metadata)
        cdef Memory memory = form.memory_of(buffer)
        cdef char *target
        cdef uint64_t *times
        if memory.at == NULL:
            if value is not None:  # else it was written in place
                buffer[offset + HEADER_NBYTES : offset + HEADER_NBYTES + nbytes] = value
            if size:
                buffer[offset + begin : offset + begin + size] = metadata
            buffer[offset + DESCRIPTION_OFFSET : offset + HEADER_NBYTES] = description
            publisher_functions["write_number_and_times"](
                buffer, offset, self._ring.head, monotonic_ns(), source_ns, origin_ns
            )
            return 0
        target = memory.at + offset
        if data == NULL:
            pass  # it was written in place
        elif nbytes > LARGE_NBYTES:
            # Others of this process go on meanwhile; who wants to send waits for the lock.
            with nogil:
                memcpy(target + HEADER_NBYTES, data, nbytes)
        else:
            memcpy(target + HEADER_NBYTES, data, nbytes)
        memcpy(target + DESCRIPTION_OFFSET, PyBytes_AS_STRING(description), PyBytes_GET_SIZE(description))
        # All of a description but this word is the same for all metadata.
        (<uint32_t *>(target + DESCRIPTION_OFFSET + 8))[0] = <uint32_t>size
        if size:
            memcpy(target + begin, PyBytes_AS_STRING(metadata), size)
        times = <uint64_t *>target
        times[0] = self._ring.head
        times[1] = monotonic_ns()
        times[2] = source_ns
        times[3] = origin_ns
        return 0

    cdef object lend(self, Py_ssize_t nbytes, Py_ssize_t metadata_nbytes):
        """Take a slot for a loan: the slot and its memory. None: the Python code has to look."""
        if not try_lock(self._lock):
            return None
        try:
            return self.try_lend(nbytes, metadata_nbytes)
        finally:
            self._lock.release()

    cdef object try_lend(self, Py_ssize_t nbytes, Py_ssize_t metadata_nbytes):
        cdef RingWriterCore ring = self._ring
        cdef WriterEdgeCore edge
        if (
            self._is_midway or self._is_closed or ring.readers_changed
            or (<PoolWriterCore>self._pool).has_old_pools
        ):
            return None
        if nbytes > LARGE_NBYTES:
            for edge in ring.edges:
                ring.do_collect(edge)
        cdef Py_ssize_t count = PyList_GET_SIZE(ring.free)
        if not count or ring.readers_changed:
            return None
        slot = ring.free[count - 1]
        place = (<PoolWriterCore>self._pool).memories[<Py_ssize_t>slot]
        cdef Py_ssize_t whole = HEADER_NBYTES + ((nbytes + 7) & ~7) + metadata_nbytes
        if place is None or <Py_ssize_t>(<tuple>place)[2] < whole:
            return None
        self._is_midway = self.is_in_core = True
        try:
            ring.free.pop()
            # Not before: to make a tuple may call finalizers, and one of them may send.
            lent = (slot, place)
            if <Py_ssize_t>slot != ring.opened:
                ring.do_open(slot)
            ring.fence_stores()
            (<LoanBookCore>self.loans).begin_at(slot)
            self._is_midway = False
        except BaseException:
            self._end_midway()
            raise
        finally:
            self.is_in_core = False
        return lent

    def finish_loan(self, slot, memory, array, stamp):
        if type(self) is not publisher_type:
            self.plain_finish_loan(slot, memory, array, stamp)
        else:
            self.do_finish_loan(
                slot, memory, array, stamp, array.dtype, array.shape, array.nbytes
            )

    cdef int do_finish_loan(
        self, object slot, object memory, object array, object stamp, object dtype, object shape,
        Py_ssize_t nbytes,
    ) except -1:
        cdef bint is_done = False
        if nbytes >= 0 and try_lock(self._lock):
            try:
                is_done = self.try_finish_loan(
                    slot, <tuple>memory, <tuple>stamp, dtype, shape, nbytes
                )
            finally:
                self._lock.release()
        if not is_done:
            self.plain_finish_loan(slot, memory, array, stamp)
        return 0

    cdef bint try_finish_loan(
        self, Py_ssize_t slot, tuple place, tuple stamp, object dtype, object shape,
        Py_ssize_t nbytes,
    ) except -1:
        cdef RingWriterCore ring = self._ring
        cdef WriterEdgeCore edge
        cdef uint64_t source_ns, origin_ns
        cdef Py_ssize_t begin
        metadata = stamp[0]
        if type(metadata) is not bytes:
            return False
        source_ns = PyLong_AsUnsignedLongLong(stamp[1])
        origin_ns = PyLong_AsUnsignedLongLong(stamp[2])
        if PyErr_Occurred() != NULL:
            PyErr_Clear()
            return False
        if self.loan_dtype is not dtype or self.loan_shape != shape:
            self.loan_description = describe_array(dtype, shape, nbytes, 0)
            self.loan_dtype, self.loan_shape = dtype, shape
        # Behind all that runs Python code, as in `try_send`.
        if (
            self._is_midway or self._is_closed or (<PoolWriterCore>self._pool).has_old_pools
            or ring.posts[slot] is None
        ):
            return False
        for edge in ring.edges:
            if edge.blocking and len(edge.pending) >= edge.queue_size:
                return False
        begin = HEADER_NBYTES + ((nbytes + 7) & ~7)
        if <Py_ssize_t>place[2] < begin + PyBytes_GET_SIZE(metadata):
            return False
        self._is_midway = self.is_in_core = True
        try:
            ring.loaned.discard(slot)
            (<LoanBookCore>self.loans)._watches.pop(slot, None)
            self.write(
                self._array_slots, place, NULL, nbytes, self.loan_description, None, metadata,
                begin, source_ns, origin_ns,
            )
            ring.do_publish(slot, place[3], nbytes)
            self.look_ahead()
        except BaseException:
            self._end_midway()
            raise
        finally:
            self.is_in_core = False
        return True

    cdef int look_ahead(self) except -1:
        """Do the work that can wait until the readers are awake, ahead of the next send."""
        cdef RingWriterCore ring = self._ring
        cdef WriterEdgeCore edge
        for edge in self._edges:
            if count_of(edge.returned):
                ring.do_collect(edge)
        if ring.readers_changed or load(self.news, 0) != self._heard or self._is_closed:
            self._look_ahead()
            return 0
        ring.do_open_next()
        self._is_midway = False
        return 0


cdef object pool_writer_type = None


def use_pool_writer(pool_writer):
    """Tell which class an output's memory is of."""
    global pool_writer_type
    pool_writer_type = pool_writer


cdef object stamp_type = None
cdef object plain_make_stamp = None
cdef object plain_deadline_after = None
cdef object plain_make_loan = None


def use_stamp(stamp):
    """Make stamps of this class."""
    global stamp_type
    stamp_type = stamp


def use_plain(plain):
    """Call this Python function where the one of the same name here does not know what to do."""
    global plain_make_stamp, plain_deadline_after, plain_make_loan
    if plain.__name__ == "make_stamp":
        plain_make_stamp = plain
    elif plain.__name__ == "deadline_after":
        plain_deadline_after = plain
    elif plain.__name__ == "make_loan":
        plain_make_loan = plain


def make_stamp(origins, where, metadata, captured_ns, deadline_ns):
    """Do what `dora_rt.transport.output.origin.make_stamp` does."""
    if metadata is None and captured_ns is None:
        stamp = inherited_stamp(origins, deadline_ns)
        if stamp is not None:
            return stamp
    return plain_make_stamp(origins, where, metadata, captured_ns, deadline_ns)


cdef object inherited_stamp(origins, deadline_ns):
    """Make the stamp of a sample without metadata; None if it inherits some."""
    cdef object stamp, source, origin
    cause = origins.cause
    if (<tuple>cause)[1] or (<tuple>cause)[2]:
        return None
    source = monotonic_ns()
    origin = (<tuple>cause)[0] or source
    # A tuple of another class, filled before anybody sees it.
    stamp = (<TypeWithAlloc *>stamp_type).tp_alloc(<TypeWithAlloc *>stamp_type, 4)
    Py_INCREF(NO_BYTES)
    PyTuple_SET_ITEM(stamp, 0, NO_BYTES)
    Py_INCREF(source)
    PyTuple_SET_ITEM(stamp, 1, source)
    Py_INCREF(origin)
    PyTuple_SET_ITEM(stamp, 2, origin)
    Py_INCREF(deadline_ns)
    PyTuple_SET_ITEM(stamp, 3, deadline_ns)
    return stamp


def deadline_after(timeout_s):
    """Do what `dora_rt.transport.primitives.doorbell.deadline_after` does."""
    cdef double seconds = -1
    if type(timeout_s) is float:
        seconds = timeout_s
    elif timeout_s is None:
        return None
    elif type(timeout_s) is int and 0 <= timeout_s < 1000000:  # others may be no C number
        seconds = timeout_s
    if 0 <= seconds < 1e6:
        return monotonic_ns() + <uint64_t>(seconds * 1e9)
    return plain_deadline_after(timeout_s)
