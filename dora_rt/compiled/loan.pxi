# Loans: a slot that is written in place.

cdef object state_prepared = None
cdef object state_open = None
cdef object state_sent = None
cdef object state_cancelled = None
cdef dict loan_functions = None
cdef object loan_type = None
cdef object byte_dtype = None

cdef extern from "numpy/arrayobject.h":
    void PyArray_CLEARFLAGS(PyArrayObject *, int)
    bint PyArray_ISNBO(char)

cdef extern from *:
    """
    #define drt_type_of(d) (((PyArray_Descr *)(d))->type_num)
    #define drt_itemsize_of(d) PyDataType_ELSIZE((PyArray_Descr *)(d))
    #define drt_order_of(d) (((PyArray_Descr *)(d))->byteorder)
    """
    int drt_type_of(PyObject *)
    char drt_order_of(PyObject *)
    Py_ssize_t drt_itemsize_of(PyObject *)
    int NPY_CLONGDOUBLE
    int NPY_HALF


def use_loans(states, dict functions):
    """Tell the states of a loan. `functions` are the globals of the module of loans."""
    global state_prepared, state_open, state_sent, state_cancelled, loan_functions, fork_state
    global loan_type, byte_dtype
    state_prepared, state_open, state_sent, state_cancelled = states
    loan_functions = functions
    loan_type, byte_dtype = functions["Loan"], functions["BYTE"]
    # A FakeNode has loans, and neither publishers nor subscribers.
    fork_state = vars(functions["forks"])


@cython.no_gc_clear
cdef class LoanBookCore:
    cdef public dict _watches
    cdef public set _loaned
    cdef object abandoned, abandon_watch

    @property
    def _abandoned(self):
        return self.abandoned

    @_abandoned.setter
    def _abandoned(self, abandoned):
        self.abandoned, self.abandon_watch = abandoned, abandoned.append

    cdef int begin_at(self, slot) except -1:
        self._watches.pop(slot, None)  # of the loan before
        if self.abandoned:
            self.collect()
        self._loaned.add(slot)
        return 0

    cdef object watch_of(self, slot, array):
        watch = PyWeakref_NewRef(array, self.abandon_watch)
        self._watches[slot] = watch
        return watch


@cython.no_gc_clear
cdef class LoanCore:
    cdef public object _publisher, _shape, _dtype, _room, _state, _array, _watch
    cdef list held
    cdef tuple lent
    cdef object stamp, origins, metadata, captured_ns
    cdef bint has_begun, has_ended
    cdef public object _beginnings, _endings  # which the Python code has in their place
    cdef Py_ssize_t nbytes

    def __init__(self, publisher, shape, dtype, stamp, has_metadata):
        self.nbytes = -1
        if not self.prepare(publisher, shape, dtype, has_metadata):
            self.plain___init__(publisher, shape, dtype, stamp, has_metadata)
        else:
            self.stamp = stamp

    @property
    def _stamp(self):
        if self.stamp is None:
            make = loan_functions["make_stamp"]
            where = self._publisher.where
            return lambda: make(self.origins, where, self.metadata, self.captured_ns, None)
        return self.stamp

    @_stamp.setter
    def _stamp(self, stamp):
        self.stamp = stamp

    @property
    def _held(self):
        return self.held if self.lent is None else [self.lent]

    @_held.setter
    def _held(self, held):
        self.held = held

    cdef bint prepare(self, publisher, shape, dtype, bint has_metadata) except -1:
        """Fill the fields, if an array of this form is nothing special."""
        cdef Py_ssize_t nbytes
        cdef int kind = drt_type_of(<PyObject *>dtype) if isinstance(dtype, dtype_type) else -1
        if (
            type(shape) is not tuple or PyTuple_GET_SIZE(shape) > MAX_NDIM
            or not (0 <= kind <= NPY_CLONGDOUBLE or kind == NPY_HALF)
            or not PyArray_ISNBO(drt_order_of(<PyObject *>dtype))
        ):
            return False
        nbytes = drt_itemsize_of(<PyObject *>dtype)
        for length in <tuple>shape:
            if type(length) is not int or not 0 < length < 1 << 30 or nbytes > 1 << 32:
                return False
            nbytes *= <Py_ssize_t>length
        self.nbytes = nbytes
        self._publisher = publisher
        self._shape = shape
        self._dtype = dtype
        self._room = METADATA_LIMIT_NBYTES if has_metadata else INHERITED_NBYTES
        self._state = state_prepared
        return True

    def _begin(self):
        cdef bint has_begun = self.has_begun
        self.has_begun = True
        return not has_begun

    def _end(self):
        cdef bint has_ended = self.has_ended
        self.has_ended = True
        return not has_ended

    def __enter__(self):
        publisher = self._publisher
        if (
            self.nbytes < 0 or type(publisher) is not publisher_type
            or fork_state["is_forked"] or self.has_begun
        ):
            return self.plain___enter__()
        # First, and before any Python code, in which another thread may begin the same loan.
        self.has_begun = True
        try:
            found = (<PublisherCore>publisher).lend(self.nbytes, self._room)
        except BaseException:
            self._state = state_cancelled
            raise
        if found is None:
            self.has_begun = False
            return self.plain___enter__()
        self.lent = <tuple>found
        slot, place = self.lent
        try:
            array = self.array_in(<tuple>place)
            self._array = array
            self._watch = (<LoanBookCore>(<PublisherCore>publisher).loans).watch_of(slot, array)
            self._state = state_open
            return array
        except BaseException:
            self._state = state_cancelled
            self._array = None
            publisher.cancel_loan(slot)
            raise

    cdef object array_in(self, tuple place):
        cdef Memory memory = (<PublisherCore>self._publisher)._array_slots.memory_of(place[0])
        begin = <object>place[1] + HEADER_NBYTES
        if memory.at == NULL:
            return loan_functions["np"].ndarray(self._shape, self._dtype, place[0], begin)
        array = make_array((self._dtype, self._shape), memory.at + <Py_ssize_t>begin, place[0], True)
        return array

    def __exit__(self, kind, error, traceback):
        if self._state is not state_open:
            return  # the block has ended it
        if kind is None:
            self.do_send()
        else:
            self.cancel()

    cdef bint has_its_form(self, PyArrayObject *array) except -1:
        """Whether the block has left dtype, shape and order as they were."""
        cdef tuple shape = self._shape
        cdef int n
        if (
            <PyObject *>PyArray_DESCR(array) != <PyObject *>self._dtype
            or PyArray_NDIM(array) != PyTuple_GET_SIZE(shape) or not PyArray_IS_C_CONTIGUOUS(array)
        ):
            return False
        for n in range(PyArray_NDIM(array)):
            if PyArray_DIM(array, n) != <Py_ssize_t>shape[n]:
                return False
        return True

    cdef object do_send(self):
        # As `Loan.send`, which users call by its name and read about.
        if fork_state["is_forked"] or self._state is not state_open or self.has_ended:
            return self.send()
        array = self._array
        if type(array) is not ndarray_type or not self.has_its_form(<PyArrayObject *>array):
            return self.send()
        publisher = self._publisher
        self.has_ended = True
        self._state = state_sent
        self._array = None
        # The name may live on after the block, and the slot is no longer the writer's.
        PyArray_CLEARFLAGS(<PyArrayObject *>array, NPY_ARRAY_WRITEABLE)
        slot, memory = self.lent if self.lent is not None else self.held[0]
        try:
            if self.stamp is not None:
                stamp = self.stamp()
            else:
                stamp = None
                if self.metadata is None and self.captured_ns is None:
                    stamp = inherited_stamp(self.origins, None)
                if stamp is None:
                    stamp = self._stamp()
        except BaseException:
            self._state = state_cancelled
            publisher.cancel_loan(slot)
            raise
        try:
            if type(publisher) is publisher_type:
                (<PublisherCore>publisher).do_finish_loan(
                    slot, memory, array, stamp, self._dtype, self._shape, self.nbytes
                )
            else:
                publisher.finish_loan(slot, memory, array, stamp)
            self._watch = None  # as long as there is the array, of whose end nobody need hear
        except BaseException:
            self._state = state_cancelled
            publisher.loans.abandon(self._watch)
            raise


def make_loan(publisher, origins, shape, dtype, metadata, captured_ns, timeout):
    """Do what `dora_rt.transport.output.loan.make_loan` does."""
    cdef LoanCore loan
    if timeout is None and loan_type is not None:
        loan = <LoanCore>(<TypeWithNew *>loan_type).tp_new(<TypeWithNew *>loan_type, (), NULL)
        loan.nbytes = -1
        if loan.prepare(
            publisher,
            (shape,) if type(shape) is int else shape,
            byte_dtype if type(dtype) is str and <str>dtype == "uint8" else dtype,
            metadata is not None,
        ):
            loan.origins, loan.metadata, loan.captured_ns = origins, metadata, captured_ns
            return loan
    return plain_make_loan(publisher, origins, shape, dtype, metadata, captured_ns, timeout)
