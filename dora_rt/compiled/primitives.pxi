# Words, semaphores, fences, and time.

cimport cython
from libc.errno cimport EINTR, EEXIST, ENOENT, ENOMEM, EACCES, EAGAIN, ETIMEDOUT, errno
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_CheckBuffer, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_CheckSignals, PyErr_Clear, PyErr_Occurred
from cpython.list cimport PyList_Append, PyList_GET_ITEM, PyList_GET_SIZE, PyList_SetSlice
from cpython.long cimport PyLong_AsUnsignedLongLong
from cpython.ref cimport Py_INCREF, PyObject
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE, PyTuple_SET_ITEM
from cpython.weakref cimport PyWeakref_NewRef

cdef extern from "<time.h>" nogil:
    ctypedef long time_t
    cdef struct timespec:
        time_t tv_sec
        long tv_nsec
    int CLOCK_MONOTONIC
    int CLOCK_REALTIME
    int clock_gettime(int, timespec *)

cdef extern from "<fcntl.h>" nogil:
    int O_CREAT

cdef extern from "<semaphore.h>" nogil:
    ctypedef struct sem_t:
        pass
    sem_t *sem_open(const char *, int, ...)
    int sem_close(sem_t *)
    int sem_post(sem_t *)
    int sem_wait(sem_t *)
    int sem_trywait(sem_t *)
    int sem_timedwait(sem_t *, const timespec *)
    int sem_getvalue(sem_t *, int *)

cdef extern from *:
    """
    #include <dlfcn.h>
    #include <fcntl.h>
    #include <semaphore.h>
    #include <stdint.h>
    #include <time.h>

    /* To the processor: this is a loop that waits. It leaves the core to its other thread, and
       leaves the loop without a mispredicted load. */
    #if defined(__x86_64__) || defined(__i386__)
    #define drt_relax() __builtin_ia32_pause()
    #elif defined(__aarch64__) || defined(__arm__)
    #define drt_relax() __asm__ volatile("yield" ::: "memory")
    #else
    #define drt_relax() __asm__ volatile("" ::: "memory")
    #endif

    #define drt_load(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
    #define drt_store(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
    /* For counters, which say nothing of any other word. */
    #define drt_put(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
    #define drt_fence() __atomic_thread_fence(__ATOMIC_SEQ_CST)
    /* What was stored before is seen before what is stored after. */
    #define drt_store_fence() __atomic_thread_fence(__ATOMIC_RELEASE)

    typedef int (*drt_clockwait_t)(sem_t *, clockid_t, const struct timespec *);
    static drt_clockwait_t drt_clockwait_found = 0;
    /* glibc has it since 2.30, and musl has not: looked up, so that one wheel serves all. */
    static int drt_find_clockwait(void) {
        drt_clockwait_found = (drt_clockwait_t)dlsym(RTLD_DEFAULT, "sem_clockwait");
        return drt_clockwait_found != 0;
    }
    #define drt_clockwait(s, t) drt_clockwait_found((s), CLOCK_MONOTONIC, (t))
    static inline int drt_bits(uint64_t x) { return x ? 64 - __builtin_clzll(x) : 0; }
    """
    void drt_relax() nogil
    uint64_t drt_load(uint64_t *) nogil
    void drt_store(uint64_t *, uint64_t) nogil
    void drt_put(uint64_t *, uint64_t) nogil
    void drt_fence() nogil
    void drt_store_fence() nogil
    int drt_find_clockwait() nogil
    int drt_clockwait(sem_t *, timespec *) nogil
    int drt_bits(uint64_t) nogil

cdef bint has_clockwait = drt_find_clockwait()

# As in dora_rt.transport.ring.protocol; `use_protocol` compares.
cdef enum:
    HEAD = 8
    WRITER_CLOSED = 9
    SENT_NBYTES = 10
    DELIVERED = 8
    DROPPED = 9
    COPIED = 10
    READER_CLOSED = 11
    LATENCIES = 16
    BUCKETS = 216
    AGES = LATENCIES + BUCKETS
    LOG = AGES + BUCKETS
    SLOT_BITS = 16
    SLOT_MASK = 0xFFFF
    TAKEN = 0x10000
    LOG_SHIFT = 17
    SEQ_BITS = 48
    HEADER_NBYTES = 128
    DESCRIPTION_OFFSET = 32
    SMALL_NBYTES = 1024
    LARGE_NBYTES = 65536
    ENOUGH_RINGS = 64
    MAX_NDIM = 8
    METADATA_LIMIT_NBYTES = 65536
    INHERITED_NBYTES = 4096

cdef uint64_t BEING_WRITTEN = 0xFFFFFFFFFFFFFFFF

CONSTANTS = {
    "HEAD": HEAD, "WRITER_CLOSED": WRITER_CLOSED, "SENT_NBYTES": SENT_NBYTES,
    "DELIVERED": DELIVERED, "DROPPED": DROPPED, "COPIED": COPIED, "READER_CLOSED": READER_CLOSED,
    "LATENCIES": LATENCIES, "AGES": AGES, "LOG": LOG, "SLOT_BITS": SLOT_BITS,
    "SLOT_MASK": SLOT_MASK, "TAKEN": TAKEN, "LOG_SHIFT": LOG_SHIFT, "SEQ_BITS": SEQ_BITS,
    "BEING_WRITTEN": BEING_WRITTEN, "HEADER_NBYTES": HEADER_NBYTES, "BUCKETS": BUCKETS,
    "DESCRIPTION_OFFSET": DESCRIPTION_OFFSET, "SMALL_NBYTES": SMALL_NBYTES, "MAX_NDIM": MAX_NDIM,
    "LARGE_NBYTES": LARGE_NBYTES, "METADATA_LIMIT_NBYTES": METADATA_LIMIT_NBYTES,
    "INHERITED_NBYTES": INHERITED_NBYTES, "ENOUGH_RINGS": ENOUGH_RINGS,
}
"""What this was built with; a test compares it with the Python code."""

cdef object known_busy_error = None
cdef object known_closed_error = None
cdef object known_signal_error = None


def use_errors(busy_error, closed_error, signal_error):
    """Raise these."""
    global known_busy_error, known_closed_error, known_signal_error
    known_busy_error, known_closed_error, known_signal_error = busy_error, closed_error, signal_error


cdef inline uint64_t monotonic_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <uint64_t>now.tv_sec * 1000000000ULL + <uint64_t>now.tv_nsec


cdef inline void set_timespec(timespec *at, uint64_t ns) noexcept nogil:
    at.tv_sec = <time_t>(ns // 1000000000ULL)
    at.tv_nsec = <long>(ns % 1000000000ULL)


cdef class Semaphore:
    """A POSIX semaphore by name, with those methods of posix_ipc's that dora_rt uses."""

    cdef sem_t *sem
    cdef int waiting
    cdef bint is_closing
    cdef readonly str name

    def __cinit__(self, str name, int flags=0, *, int mode=0o600):
        cdef bytes encoded = name.encode()
        self.name = name
        if flags & O_CREAT:
            self.sem = sem_open(encoded, flags, <unsigned int>mode, <unsigned int>0)
        else:
            self.sem = sem_open(encoded, 0)
        if self.sem == NULL:
            if errno == EEXIST or errno == ENOENT:
                raise known_closed_error(f"{name}: error {errno}")
            if errno == ENOMEM:
                raise MemoryError
            raise OSError(errno, f"semaphore {name} cannot be opened")

    def __dealloc__(self):
        if self.sem != NULL:
            sem_close(self.sem)

    cdef int check(self) except -1:
        if self.sem == NULL or self.is_closing:
            raise known_closed_error(f"semaphore {self.name} is closed")
        return 0

    @property
    def value(self):
        """The count."""
        cdef int count = 0
        self.check()
        sem_getvalue(self.sem, &count)
        return count

    def release(self):
        """Add one count and wake a waiter."""
        self.check()
        if sem_post(self.sem):
            raise OSError(errno, f"semaphore {self.name} cannot be posted")

    def acquire(self, timeout=None):
        """Take one count; raise BusyError after `timeout` seconds (0: at once)."""
        self.check()
        if timeout is not None and timeout == 0:
            if sem_trywait(self.sem):
                raise known_busy_error("Semaphore is busy")
            return
        cdef uint64_t until = 0
        if timeout is not None:
            until = monotonic_ns() + <uint64_t>(max(timeout, 0) * 1e9)
        cdef int answer = self.sleep(timeout is not None, until)
        if answer == EINTR:
            PyErr_CheckSignals()
            raise known_signal_error("The wait was interrupted by a signal")
        if answer:
            raise known_busy_error("Semaphore is busy")

    def close(self):
        """Unmap it now, or as soon as no thread waits on it."""
        self.check()
        if self.waiting:
            self.is_closing = True
            return
        sem_close(self.sem)
        self.sem = NULL

    cdef int sleep(self, bint has_deadline, uint64_t until_ns) except -1:
        """Sleep, without the GIL, until there is a count: 0, or the errno."""
        cdef sem_t *sem = self.sem
        cdef timespec at
        cdef uint64_t now
        cdef int answer
        self.waiting += 1
        with nogil:
            if not has_deadline:
                answer = sem_wait(sem)
            elif has_clockwait:
                set_timespec(&at, until_ns)
                answer = drt_clockwait(sem, &at)
            else:
                # By the wall clock, which may be set: in slices, so that the caller looks again.
                now = monotonic_ns()
                until_ns = until_ns - now if until_ns > now else 0
                clock_gettime(CLOCK_REALTIME, &at)
                until_ns = min(until_ns, 50000000ULL) + <uint64_t>at.tv_sec * 1000000000ULL
                set_timespec(&at, until_ns + <uint64_t>at.tv_nsec)
                answer = sem_timedwait(sem, &at)
            if answer:
                answer = errno
        self.waiting -= 1
        if self.is_closing and not self.waiting:
            sem_close(self.sem)
            self.sem = NULL
        return answer


cdef inline int post(object semaphore) except -1:
    if type(semaphore) is Semaphore and (<Semaphore>semaphore).sem != NULL:
        sem_post((<Semaphore>semaphore).sem)
    else:
        semaphore.release()
    return 0


cdef inline int count_of(object semaphore) except -1:
    cdef int count = 0
    if type(semaphore) is Semaphore and (<Semaphore>semaphore).sem != NULL:
        sem_getvalue((<Semaphore>semaphore).sem, &count)
        return count
    return semaphore.value


cdef inline bint try_wait(object semaphore) except -1:
    """Take one count, if there is one."""
    if type(semaphore) is Semaphore and (<Semaphore>semaphore).sem != NULL:
        return sem_trywait((<Semaphore>semaphore).sem) == 0
    try:
        semaphore.acquire(0)
    except known_busy_error:
        return False
    return True


cdef inline bint try_lock(object lock) except -1:
    return lock.acquire(False)


@cython.no_gc
cdef class Keeper:
    """Keeps a buffer. Not seen by the collector of circles, which a real buffer is never part of.

    It must not be: the collector clears memoryviews of a circle that still have a user, and Python
    crashes when that ends.
    """

    cdef object owner
    cdef Py_buffer buffer

    def __cinit__(self, owner):
        self.owner = owner
        PyObject_GetBuffer(owner, &self.buffer, PyBUF_SIMPLE)

    def __dealloc__(self):
        PyBuffer_Release(&self.buffer)


@cython.no_gc_clear
cdef class Memory:
    """The bytes of an object that gives a buffer, which they keep; of a stand-in: nothing."""

    cdef char *at
    cdef Keeper keeper
    cdef object stand_in

    def __cinit__(self, owner):
        self.at = NULL
        if PyObject_CheckBuffer(owner):
            self.keeper = Keeper(owner)
            self.at = <char *>self.keeper.buffer.buf
        else:
            self.stand_in = owner

    cdef inline object owner(self):
        return self.stand_in if self.at == NULL else self.keeper.owner

    cdef inline bint is_of(self, object owner):
        return (self.stand_in if self.at == NULL else self.keeper.owner) is owner


cdef inline uint64_t load(Memory words, Py_ssize_t index) except? 0xFFFFFFFFFFFFFFFF:
    if words.at != NULL:
        return drt_load(<uint64_t *>words.at + index)
    return words.stand_in[index]


cdef inline int store(Memory words, Py_ssize_t index, uint64_t value) except -1:
    if words.at != NULL:
        drt_store(<uint64_t *>words.at + index, value)
    else:
        words.stand_in[index] = value
    return 0


cdef inline int put(Memory words, Py_ssize_t index, uint64_t value) except -1:
    """Store a counter."""
    if words.at != NULL:
        drt_put(<uint64_t *>words.at + index, value)
    else:
        words.stand_in[index] = value
    return 0
