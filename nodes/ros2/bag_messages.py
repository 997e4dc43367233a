"""The messages of bags of ROS 2 in MCAP files: what `ros2 bag` records, and what it plays."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dora_rt.errors import DoraRtError

from . import geometry_values, sensor_values
from .bridge import header_of
from .cdr import Codec
from .interface_text import Message
from .interfaces import Interfaces
from .native_values import STAMP_NS, Converter, Native, ValueMismatchError, kind_of
from .routes import Route, parse_routes
from .type_hash import type_hash

if TYPE_CHECKING:
    from dora_rt.event import Event

MESSAGE_ENCODING = "cdr"
SCHEMA_ENCODING = "ros2msg"
PROFILE = "ros2"
_SEPARATOR = "=" * 80
_OLDEST_CAPTURE_NS = 60 * 10**9
_QOS = """\
- history: keep_last
  depth: 10
  reliability: reliable
  durability: volatile
  deadline: {sec: 9223372036, nsec: 854775807}
  lifespan: {sec: 9223372036, nsec: 854775807}
  liveliness: automatic
  liveliness_lease_duration: {sec: 9223372036, nsec: 854775807}
  avoid_ros_namespace_conventions: false
"""
_MULTI_ARRAYS = {
    **{f"int{bits}": f"Int{bits}" for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": f"UInt{bits}" for bits in (8, 16, 32, 64)},
    **{"float32": "Float32", "float64": "Float64"},
}
# Of conversions, tried in this order: what a sample is, its metadata and shape mostly say.
_GUESSES = (
    "vision_msgs/msg/Detection2DArray",
    "sensor_msgs/msg/Image",
    "sensor_msgs/msg/CompressedImage",
)


class UnknownTopicError(DoraRtError):
    """A sample is of no type that is known; the user can say which it is."""


@dataclass(frozen=True, slots=True)
class BagTopic:
    """A topic of a bag that is written."""

    name: str
    message: Message
    codec: Codec
    converter: Converter
    schema: bytes
    metadata: Mapping[str, str]

    def encode(self, event: Event) -> bytes:
        """Make a message of a sample.

        Raises:
            ValueMismatchError: it cannot be made one.
            CdrError: it does not fit into the message.
        """
        header = header_of(event, None)
        values = self.converter.to_message(event.value, event.metadata, header)
        return bytes(self.codec.encode(values))


class BagTypes:
    """Decide which message an output becomes.

    Args:
        routes: `NODE/OUTPUT=TOPIC:TYPE` with blanks between them, for what cannot be guessed.
    """

    def __init__(self, routes: str = "") -> None:
        self._interfaces = Interfaces()
        self._routes: dict[str, Route] = {one.port: one for one in parse_routes(routes)}
        self._conversions = geometry_values.make_conversions() | sensor_values.make_conversions()

    def topic_of(self, source: str, event: Event) -> BagTopic:
        """Return the topic of an output, by its first sample.

        Raises:
            UnknownTopicError: its type cannot be guessed.
            InterfaceError: the route names a type that is not known.
        """
        route = self._routes.get(source)
        name = f"/{source}" if route is None else f"/{route.name.strip('/')}"
        kind = self._guessed(source, event) if route is None else route.type_name
        message = self._interfaces.message(kind)
        return BagTopic(
            name,
            message,
            Codec(message, self._interfaces),
            Converter(message, self._interfaces, self._conversions),
            whole_text(message, self._interfaces).encode(),
            {
                "offered_qos_profiles": _QOS,
                "topic_type_hash": type_hash(message, self._interfaces),
            },
        )

    def _guessed(self, source: str, event: Event) -> str:
        value, metadata = event.value, event.metadata
        if isinstance(value, bytes) and not metadata.get("encoding"):
            return "std_msgs/msg/String"
        for name in _GUESSES:
            if name == _GUESSES[0] and not isinstance(metadata.get("labels"), list):
                continue  # a table of six columns is not always one of boxes
            is_file = getattr(value, "ndim", 1) == 1
            if (name == _GUESSES[1] and is_file) or (name == _GUESSES[2] and not is_file):
                continue
            if (
                getattr(value, "ndim", 1) == 2
                and "encoding" not in metadata
                and name in _GUESSES[1:]
            ):
                continue  # a matrix is rather numbers
            try:
                self._conversions[name].to_message(value, metadata, header_of(event, None))
            except ValueMismatchError:
                continue
            return name
        kind = _MULTI_ARRAYS.get(str(getattr(value, "dtype", "")))
        if kind is None:
            raise UnknownTopicError(
                f"{source} has {kind_of(value)}, and which message that is cannot be guessed; "
                f"write --topic {source}=/{source}:PACKAGE/TYPE"
            )
        return f"std_msgs/msg/{kind}MultiArray"


class BagDecoder:
    """Turn the messages of one topic of a bag into values, by the schema that the bag has.

    Args:
        name: of the schema, as `sensor_msgs/msg/Image`.
        text: of the schema, in which all that it needs is defined too.
    """

    def __init__(self, name: str, text: str) -> None:
        interfaces = Interfaces(texts=split_text(name, text))
        message = interfaces.message(name)
        conversions = geometry_values.make_conversions() | sensor_values.make_conversions()
        self._codec = Codec(message, interfaces)
        self._converter = Converter(message, interfaces, conversions)

    def decode(self, content: bytes, time_ns: int) -> tuple[Native, bytes, int]:
        """Return value, metadata as JSON, and the wall time of its capture.

        Raises:
            CdrError: it is no message of this type.
            ValueMismatchError: its fields contradict one another.
        """
        native = self._converter.to_native(self._codec.decode(content))
        stamp_ns = native.metadata.get(STAMP_NS)
        captured_ns = time_ns
        if isinstance(stamp_ns, int) and 0 <= time_ns - stamp_ns < _OLDEST_CAPTURE_NS:
            captured_ns = stamp_ns
        return native, json.dumps(native.metadata).encode(), captured_ns


def whole_text(message: Message, interfaces: Interfaces) -> str:
    """Return the text of a message with those of all that it needs, as bags have it."""
    parts = [message.text]
    for one in interfaces.needed_by(message):
        package, _, name = one.name.split("/")
        parts.append(f"{_SEPARATOR}\nMSG: {package}/{name}\n{one.text}")
    return "\n".join(part.rstrip("\n") for part in parts) + "\n"


def split_text(name: str, text: str) -> dict[str, str]:
    """Return the texts in a schema by the full names of their messages."""
    first, *others = text.split(f"{_SEPARATOR}\n")
    found = {name: first}
    for part in others:
        title, _, body = part.partition("\n")
        package, _, last = title.removeprefix("MSG:").strip().rpartition("/")
        found[f"{package.removesuffix('/msg')}/msg/{last}"] = body
    return found
