"""The exceptions that a user of dora_rt can meet, one class per thing that can be done about it."""


class DoraRtError(RuntimeError):
    """Be the base of every error that dora_rt itself raises."""


class NotInDataflowError(DoraRtError):
    """`Node()` was called in a process that dora-launch did not start."""


class VersionMismatchError(DoraRtError):
    """The launcher and a node run versions of dora_rt that do not understand each other."""


class UnknownOutputError(DoraRtError, KeyError):
    """A node sent to an output that its dataflow file does not declare."""

    def __str__(self) -> str:
        # KeyError shows the repr of its argument, which would quote a whole sentence.
        return RuntimeError.__str__(self)


class UnsupportedValueError(DoraRtError, TypeError):
    """A node sent something that is neither bytes nor a numeric or bool array."""


class TooManyLoansError(DoraRtError):
    """More loans of one output are open at the same time than it has slots for."""


class LoanError(DoraRtError):
    """A loan was used twice, or sent outside of its block."""


class NodeClosedError(DoraRtError):
    """A node was used after `close()` or in a fork of it, or sent after it was told to stop."""


class SentAfterStopError(NodeClosedError):
    """A node sent after it had seen that the dataflow is being stopped."""


class SharedMemoryFullError(DoraRtError, MemoryError):
    """There is no room left in /dev/shm for a sample, or for a dataflow."""


class SharedMemoryError(DoraRtError):
    """A shared object is missing, foreign, or not what its header should say."""


class CorruptSampleError(DoraRtError):
    """A sample's header contradicts itself or the slot that holds it."""


class OperatorError(DoraRtError):
    """An operator could not be loaded, or broke the contract of `on_input` or `on_event`."""


class ExtraMissingError(DoraRtError, ImportError):
    """A package is needed that only an extra of dora_rt installs; the message names the extra."""


class DescriptorError(DoraRtError):
    """A dataflow file has problems; the message lists all of them, one per line."""


class LaunchError(DoraRtError):
    """A dataflow could not be started in this environment."""


class RunNotFoundError(DoraRtError):
    """No run is called so, or several are; or a run has no such node or output."""
