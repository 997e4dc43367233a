"""The exceptions that a user of dora_rt can meet, one class per thing that can be done about it."""

from __future__ import annotations

from collections.abc import Iterable


class DoraRtError(RuntimeError):
    """Be the base of every error that dora_rt itself raises."""


class NotInDataflowError(DoraRtError):
    """`Node()` was called in a process that dora-launch did not start."""


class VersionMismatchError(DoraRtError):
    """The launcher and a node run versions of dora_rt that do not understand each other."""


class UnknownOutputError(DoraRtError, KeyError):
    """A node sent to an output that its dataflow file does not declare."""

    @classmethod
    def of(cls, who: str, output_id: str, declared: Iterable[str]) -> UnknownOutputError:
        """Say which outputs there are."""
        return cls(
            f"{who} has no output {output_id!r}; its outputs in the dataflow file: "
            f"{', '.join(declared) or 'none'}"
        )

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
    """A node was used after `close()` or in a fork of it, or sent after a stop ended its loop."""


class SentAfterStopError(NodeClosedError):
    """A node sent after it had seen that the dataflow is being stopped."""


class SharedMemoryFullError(DoraRtError, MemoryError):
    """There is no room left in /dev/shm for a sample, or for a dataflow."""


class SharedMemoryError(DoraRtError):
    """A shared object is missing, foreign, or not what its header should say."""


class CorruptSampleError(DoraRtError):
    """A sample was overwritten in shared memory: what is there contradicts itself.

    It costs that sample and no more. `next`, `try_next` and `for event in node` go on with the next
    one, say once for each input that they do, and count it in `event.dropped`, as operators and
    nodes of dora do. `next_event` raises this error; ask it again for what comes next. `metadata`
    of an event, which are read when they are looked at, raise it then.

    Attributes:
        input_id: the input that lost a sample, if the error is of one.
    """

    def __init__(self, message: str, input_id: str | None = None) -> None:
        super().__init__(message)
        self.input_id = input_id


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
