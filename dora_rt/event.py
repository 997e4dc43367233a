"""Events of a node's loop: a sample, a tick of a timer, or a change of an input."""

from __future__ import annotations

import json
from collections.abc import Iterator
from enum import Enum
from typing import Any

from dora_rt.compiled import IS_COMPILED, EventCore, _cores, slots
from dora_rt.errors import CorruptSampleError
from dora_rt.metadata import has_times, with_times

TELEMETRY_KEY = "open_telemetry_context"
CLOCK_KEY = "clock_ns"
"""In the metadata, if the dataflow has a clock: its time when the origin was captured."""
STAMP_KEY = "stamp_ns"
"""In the metadata of what comes from a system with stamps, as ROS: when it was captured there."""
# dora's words for what belongs to which request or goal.
REQUEST_ID, GOAL_ID, GOAL_STATUS = "request_id", "goal_id", "goal_status"
_DECODER = json.JSONDecoder()
_TIME_DECODER = json.JSONDecoder(object_hook=with_times)
_ENCODED_TELEMETRY_KEY = TELEMETRY_KEY.encode()
_ENCODED_CLOCK_KEY = f'"{CLOCK_KEY}"'.encode()


class DoraStatus(Enum):
    """What `on_input` of an operator returns.

    Attributes:
        CONTINUE: go on.
        STOP: end this operator.
        STOP_ALL: end the dataflow.
    """

    CONTINUE = 0
    STOP = 1
    STOP_ALL = 2


class Event(EventCore):
    """One received input; unpacks as `input_id, value, metadata`.

    Attributes:
        id: name of the input.
        value: bytes; or a read-only numpy array of the sender's shape and dtype, in C order and
            native byte order; or a pyarrow array of what is no plain number; `b""` for a tick. An
            array is the shared memory itself, and its slot stays yours until the last view of it
            is gone; arrays of at most 1 KiB are copied out.
        seq: the sample's number at its sender, from 0; for a timer, the number of the tick.
        dropped: samples of this input that were lost since the previous event of this input.
        sent_ns: when it was sent, in nanoseconds of `time.monotonic_ns()`: one clock for all
            processes of this machine.
        origin_ns: when the sample at the start of the chain was captured, by the same clock.
        metadata_json: the metadata as they came: JSON in UTF-8, or nothing.
        copied: whether `value` is a private copy, because more samples were held than `max_held`.
        latched: whether it was sent before this reader was there: the newest sample of a latched
            output, which comes first, as a private copy.
    """

    __slots__ = slots(
        "_metadata",
        "copied",
        "dropped",
        "id",
        "latched",
        "metadata_json",
        "origin_ns",
        "sent_ns",
        "seq",
        "value",
    )

    def __init__(
        self,
        input_id: str,
        value: Any,
        metadata_json: bytes = b"",
        seq: int = 0,
        dropped: int = 0,
        sent_ns: int = 0,
        origin_ns: int = 0,
        copied: bool = False,
        latched: bool = False,
    ) -> None:
        self.id = input_id
        self.value = value
        self.seq = seq
        self.dropped = dropped
        self.sent_ns = sent_ns
        self.origin_ns = origin_ns
        self.copied = copied
        self.latched = latched
        self.metadata_json = metadata_json
        self._metadata: dict[str, Any] | None = None

    @property
    def metadata(self) -> dict[str, Any]:
        """Return what the sender attached: a dict of your own, the same one each time.

        It always has the key `open_telemetry_context`, with "" if the sender gave none.

        Raises:
            CorruptSampleError: the metadata were overwritten in shared memory.
        """
        # Decoded on first use: most readers of most samples never look.
        if self._metadata is None:
            self._metadata = decode_metadata(self.metadata_json) if self.metadata_json else {}
            self._metadata.setdefault(TELEMETRY_KEY, "")
        return self._metadata

    def __iter__(self) -> Iterator[Any]:
        return iter((self.id, self.value, self.metadata))

    def __len__(self) -> int:
        return 3

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            is_attribute = hasattr(Event, key) and not key.startswith("_")
            attribute = f": event.{key}" if is_attribute else ""
            raise TypeError(
                f"an event of dora_rt.Node is no dict, so there is no event[{key!r}]{attribute}; "
                "programs for dora get dicts from `from dora import Node`"
            )
        return (self.id, self.value, self.metadata)[key]

    def __repr__(self) -> str:
        value = self.value
        if isinstance(value, bytes):
            what = f"{len(value)} byte{'s' * (len(value) != 1)}"
        elif hasattr(value, "dtype"):
            what = f"{value.dtype} {value.shape}"
        else:
            what = f"{type(value).__name__} of {len(value)}"
        kind = type(self).__name__
        return f"{kind}({self.id!r}, {what}, seq={self.seq}, dropped={self.dropped})"


if IS_COMPILED:
    _cores.use_event(Event)

SYNC_ID = "sync"
"""The id of an event that is a set of samples of the same moment."""


class MatchedEvents(Event):
    """One sample of each input that `sync` names, all of the same moment: `event["image"].value`.

    Attributes:
        id: "sync".
        value: the events, a dict by the names of their inputs.
        seq: the number of the set, from 0.
        dropped: samples that found no partners since the set before.
        sent_ns, origin_ns, metadata_json: of the sample with the earliest origin.
    """

    __slots__ = ()

    def __init__(self, events: dict[str, Event], *, seq: int, unmatched: int) -> None:
        first = min(events.values(), key=lambda event: event.origin_ns)
        super().__init__(
            SYNC_ID,
            events,
            first.metadata_json,
            seq=seq,
            dropped=unmatched,
            sent_ns=first.sent_ns,
            origin_ns=first.origin_ns,
        )

    def __getitem__(self, key: Any) -> Any:
        return self.value[key] if isinstance(key, str) else super().__getitem__(key)

    def __repr__(self) -> str:
        names = ", ".join(self.value)
        return f"MatchedEvents({names}, seq={self.seq}, unmatched={self.dropped})"


class Request(Event):
    """What a client of this node asks; `node.reply` answers it.

    Attributes:
        service: the name in `serves:` of this node.
        client: the id of the node that asks.
        request_id: the number by which it knows the answer; empty if it gave none.
        is_answered: whether it was answered or refused.
    """

    __slots__ = ("client", "is_answered", "request_id", "service")

    def __init__(self, event: Event, service: str, client: str) -> None:
        _copy_into(self, event)
        self.service = service
        self.client = client
        self.request_id = str(event.metadata.get(REQUEST_ID, ""))
        self.is_answered = False


class GoalRequest(Event):
    """A goal that a client gives this node; `node.finish` ends it.

    Attributes:
        service: the name in `serves:` of this node.
        client: the id of the node whose goal it is.
        goal_id: its number.
        is_finished: whether it has its result.
        wants_cancel: whether the client gave it up, or has ended; `node.is_cancelled` looks anew.
    """

    __slots__ = ("client", "goal_id", "is_finished", "service", "wants_cancel")

    def __init__(self, event: Event, service: str, client: str) -> None:
        _copy_into(self, event)
        self.service = service
        self.client = client
        self.goal_id = str(event.metadata.get(GOAL_ID, ""))
        self.is_finished = self.wants_cancel = False


class Feedback(Event):
    """Progress of a goal of this node.

    Attributes:
        goal: what `node.send_goal` returned.
    """

    __slots__ = ("goal",)

    def __init__(self, event: Event, goal: Any) -> None:
        _copy_into(self, event)
        self.goal = goal


class Result(Event):
    """The end of a goal of this node.

    Attributes:
        goal: what `node.send_goal` returned.
        status: "succeeded", "aborted" or "canceled". A server that ends aborts its goals: their
            value is `b""`.
    """

    __slots__ = ("goal", "status")

    def __init__(self, event: Event, goal: Any) -> None:
        _copy_into(self, event)
        self.goal = goal
        self.status = str(event.metadata.get(GOAL_STATUS, "aborted"))


def _copy_into(made: Event, event: Event) -> None:
    Event.__init__(
        made,
        event.id,
        event.value,
        event.metadata_json,
        seq=event.seq,
        dropped=event.dropped,
        sent_ns=event.sent_ns,
        origin_ns=event.origin_ns,
        copied=event.copied,
        latched=event.latched,
    )


def telemetry_context(metadata_json: bytes) -> str:
    """Find the `open_telemetry_context` in undecoded metadata; empty if there is none."""
    # Most samples have none: do not decode them only to learn that.
    if not metadata_json or _ENCODED_TELEMETRY_KEY not in metadata_json:
        return ""
    try:
        context = decode_metadata(metadata_json).get(TELEMETRY_KEY, "")
    except CorruptSampleError:
        return ""
    return context if isinstance(context, str) else ""


def clock_of(metadata_json: bytes) -> int | None:
    """Find the `clock_ns` in undecoded metadata; None if there is none."""
    if _ENCODED_CLOCK_KEY not in metadata_json:
        return None
    try:
        clock_ns = decode_metadata(metadata_json).get(CLOCK_KEY)
    except CorruptSampleError:
        return None
    return clock_ns if type(clock_ns) is int else None


def encode_clock(clock_ns: int) -> bytes:
    """Return metadata with a time of the clock and nothing else, as they travel."""
    return f'{{"{CLOCK_KEY}":{clock_ns}}}'.encode()


def decode_metadata(metadata_json: bytes) -> dict[str, Any]:
    """Read metadata as they travelled.

    Raises:
        CorruptSampleError: they are no JSON dict.
    """
    decoder = _TIME_DECODER if has_times(metadata_json) else _DECODER
    try:
        metadata = decoder.decode(metadata_json.decode())
    except (ValueError, RecursionError) as error:
        raise CorruptSampleError(
            f"the {len(metadata_json)} bytes of metadata are no JSON: {error}"
        ) from error
    if not isinstance(metadata, dict):
        raise CorruptSampleError(
            f"the metadata are a JSON {type(metadata).__name__}, expected a dict"
        )
    return metadata


class InputClosed:
    """An input has come to its end, or has been silent for longer than its `input_timeout`.

    Attributes:
        id: name of the input.
        is_final: True if the source is gone, and all that it sent was delivered; False if the
            input is silent, and may recover.
    """

    __slots__ = ("id", "is_final")

    def __init__(self, input_id: str, *, is_final: bool) -> None:
        self.id = input_id
        self.is_final = is_final

    def __repr__(self) -> str:
        return f"InputClosed({self.id!r}, is_final={self.is_final})"


class InputRecovered:
    """An input that was closed because of its silence has a sample again, which comes next.

    Attributes:
        id: name of the input.
    """

    __slots__ = ("id",)

    def __init__(self, input_id: str) -> None:
        self.id = input_id

    def __repr__(self) -> str:
        return f"InputRecovered({self.id!r})"


class SourceRestarted:
    """The node that writes an input was started again; `seq` of the input begins at 0 again.

    Of a node on another machine it comes in front of the next sample, and `seq` goes on.

    Attributes:
        id: name of the input.
    """

    __slots__ = ("id",)

    def __init__(self, input_id: str) -> None:
        self.id = input_id

    def __repr__(self) -> str:
        return f"SourceRestarted({self.id!r})"


class ParameterChanged:
    """A parameter of the node has a new value; `node.parameter` gives it already.

    Several changes of one parameter that come before the node looks are one.

    Attributes:
        name: name of the parameter.
        value: its value now; None if it has none any more.
        previous: its value before; None if it had none.
        is_deleted: whether it has no value any more.
        node: whose parameter it is: in a runtime, operators of several nodes share a process.
        id: the same as `name`.
    """

    __slots__ = ("id", "is_deleted", "name", "node", "previous", "value")

    def __init__(
        self,
        name: str,
        value: Any,
        previous: Any = None,
        *,
        is_deleted: bool = False,
        node: str = "",
    ) -> None:
        self.id = self.name = name
        self.value = value
        self.previous = previous
        self.is_deleted = is_deleted
        self.node = node

    def __repr__(self) -> str:
        if self.is_deleted:
            return f"ParameterChanged({self.name!r}, is_deleted=True)"
        return f"ParameterChanged({self.name!r}, {self.value!r}, previous={self.previous!r})"


Change = InputClosed | InputRecovered | SourceRestarted | ParameterChanged
"""What `Node.next_event` returns beside events."""
