# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, binding=False, auto_pickle=False, embedsignature=False
"""The ordinary case of the hot path, in C: cores that the classes of the data plane inherit from.

The Python code of those classes is the reference, and everything else: a method here looks whether
the case is an ordinary one, and hands over to the Python code of the same name (`plain_...`) before
it has changed anything. The protocol is that of `dora_rt/transport/ring/protocol.py`; the numbers
in comments are its steps.

Interruptions: no signal handler runs inside of this code, except in what it calls in Python. A
finalizer may, when the collector of circles does, so locks are held, and notes made, as in Python.

Memory: words are loaded with acquire and stored with release (`drt_load`, `drt_store`), never more
weakly unless a comment says why. So who sees a word sees all that its writer did before it, also on
ARM. Semaphores synchronize memory by themselves.

Stand-ins: where the words, a semaphore or the memory of a slot is no real one but a Python object
(the scheduler of tests/protocol), the same code reaches it through that object's methods.
"""

INTERFACE = 4
"""As in `__init__.py`: an extension that was built from other sources is left out."""

include "primitives.pxi"
include "writer.pxi"
include "publisher.pxi"
include "reader.pxi"
include "subscriber.pxi"
include "inbox.pxi"
include "loan.pxi"
