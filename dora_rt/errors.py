"""The exceptions that a user of dora_rt can meet, one class per thing that can be done about it.

Import them from here: `from dora_rt.errors import NodeClosedError`.
"""

from __future__ import annotations

from collections.abc import Iterable


class DoraRtError(RuntimeError):
    """Any error that dora_rt itself raises; catch it to catch them all.

    Of this class itself is only what no program should do: send in a signal handler or destructor
    that interrupts a send of the same thread. Set a flag there, and send in the loop.
    """


class NotInDataflowError(DoraRtError):
    """`Node()` found no dataflow that this process is a node of.

    You started the program by hand, it is a child of a node, it has a `Node` already, or no run has
    the dynamic node that you named. Start it with dora-launch, or give the right name; the message
    lists the runs there are.
    """


class VersionMismatchError(DoraRtError):
    """The launcher and a node run versions of dora_rt that do not understand each other.

    Install the same dora_rt in the interpreters of both.
    """


class UnknownOutputError(DoraRtError, KeyError):
    """A node or an operator sent to an output that its dataflow file does not declare.

    Correct the name, or add it to `outputs:`; the message lists what is there.
    """

    @classmethod
    def of(cls, who: str, output_id: str, declared: Iterable[str]) -> UnknownOutputError:
        """Return an error that lists the outputs of `who`."""
        return cls(
            f"{who} has no output {output_id!r}; its outputs in the dataflow file: "
            f"{', '.join(declared) or 'none'}"
        )

    def __str__(self) -> str:
        # KeyError shows the repr of its argument, which would quote a whole sentence.
        return RuntimeError.__str__(self)


class UnknownParameterError(DoraRtError, KeyError):
    """A node asked for a parameter that has no value.

    Correct the name, add it to `parameters:` of the node, or ask with a default; the message lists
    what there is.
    """

    @classmethod
    def of(cls, who: str, name: str, known: Iterable[str]) -> UnknownParameterError:
        """Return an error that lists the parameters of `who`."""
        return cls(
            f"{who} has no parameter {name!r}; its parameters: {', '.join(known) or 'none'}; add "
            "it to 'parameters' in the dataflow file, or ask with a default"
        )

    def __str__(self) -> str:
        # As above: a sentence, and not its repr.
        return RuntimeError.__str__(self)


class ParameterRefusedError(DoraRtError, ValueError):
    """A value does not fit a parameter, or the node has no such parameter; nothing was changed.

    The message says what was expected.
    """


class TransformError(DoraRtError, ValueError):
    """A transform cannot be looked up, or makes no sense; the message names the gap.

    A frame is not known (yet), two frames hang together nowhere, or the time is outside of what is
    known: ask later, or for another time.
    """


class UnknownServiceError(DoraRtError, KeyError):
    """A node called what its dataflow file does not name in `calls:`, or serves no such thing.

    Correct the name, or add it to `calls:` or `serves:`; the message lists what is there.
    """

    def __str__(self) -> str:
        # As above: a sentence, and not its repr.
        return RuntimeError.__str__(self)


class ServerGone(DoraRtError):  # noqa: N818
    """The node that was called has ended, or the dataflow is being stopped: no answer will come.

    Whether the request was carried out is not known.
    """


class ServerRestarted(DoraRtError):  # noqa: N818
    """The node that was called was started again before its answer came; ask again.

    Whether the request was carried out is not known, and it may still be.
    """


class CallRefused(DoraRtError):  # noqa: N818
    """The node that was called has refused the request, or failed; the message says why."""


class NotARequestError(DoraRtError, ValueError):
    """`reply`, `finish` or the like got an event that asks for nothing, or was answered before."""


class UnsupportedValueError(DoraRtError, TypeError):
    """The value, its metadata or its `captured_ns` are of a type that cannot be sent.

    Nothing was sent. Send bytes, an array of numbers or an array of Arrow; in metadata, what JSON
    knows. The message names the output, and what to use instead.
    """


class TooManyLoansError(DoraRtError):
    """More loans of one output are open at the same time than it has slots for.

    End a loan before the next one begins: leave its block, or `cancel` it.
    """


class LoanError(DoraRtError):
    """A loan was used a second time, or sent outside of its block.

    Call `loan()` again for each sample.
    """


class NodeClosedError(DoraRtError):
    """A node was used that is closed, in a fork of its process, or after its run has ended.

    Nothing can be received or sent any more: end the loop. In a fork, let the parent do it.
    """


class SentAfterStopError(NodeClosedError):
    """A node sent after `next` had returned None because the dataflow is being stopped.

    Send last results before the loop ends. A program that ends by this error has not failed.
    """


class SharedMemoryFullError(DoraRtError, MemoryError):
    """There is no room left in /dev/shm for a sample, or for a dataflow.

    The message has the numbers. Make /dev/shm larger, shorten queues, or remove what others left
    there with `dora-rt clean`. A node may drop the sample and go on.
    """


class SharedMemoryError(DoraRtError):
    """A shared object is missing, foreign, or not what its header should say.

    Mostly the dataflow has ended meanwhile: end the loop. Else something removes or overwrites
    files in /dev/shm, or the process has as many mappings as the system allows.
    """


class CorruptSampleError(DoraRtError):
    """A sample was overwritten in shared memory: what is there contradicts itself.

    It costs that sample and no more. `next`, `try_next` and `for event in node` go on with the next
    one, print so once for each input, and count it in `event.dropped`, as operators and nodes of
    dora do. `next_event` raises this error; the next call goes on behind the sample. `metadata` of
    an event are decoded when you look at them, and raise it then.

    Attributes:
        input_id: the input that lost a sample, if the error is of one.
    """

    def __init__(self, message: str, input_id: str | None = None) -> None:
        super().__init__(message)
        self.input_id = input_id


class OperatorError(DoraRtError):
    """An operator could not be loaded, or broke the contract of `on_input` or `on_event`.

    It ends the process of the operator. The message names the operator and the input, and the
    cause is the exception that the operator raised, if it raised one.
    """


class ExtraMissingError(DoraRtError, ImportError):
    """A package is needed that only an extra of dora_rt installs.

    Install the extra that the message names, such as `pip install 'dora_rt[arrow]'`.
    """


class DescriptorError(DoraRtError):
    """A dataflow file has problems; the message lists all of them, one per line, with places."""


class LaunchError(DoraRtError):
    """A dataflow could not be started in this environment; the message says what is missing."""


class RunNotFoundError(DoraRtError):
    """The name matches no run or several, or the run has no such node or output.

    The message lists what there is.
    """
