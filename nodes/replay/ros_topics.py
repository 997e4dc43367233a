"""Topics of a bag of ROS 2 as outputs that can be replayed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..recorded import RecordingError

# As in nodes/ros2/bag_messages.py, which brings numpy along.
MESSAGE_ENCODING = "cdr"
SCHEMA_ENCODING = "ros2msg"


@dataclass(frozen=True, slots=True)
class RosSample:
    """A message of a bag as a sample; the attributes are those of `recorded.Sample`."""

    header: dict[str, Any]
    metadata_json: bytes
    value: Any


class RosTopic:
    """One topic of a bag: its messages become samples.

    Args:
        topic: its name.
        schema_name: such as `sensor_msgs/msg/Image`.
        schema: the text, in which all that it needs is defined.
    """

    def __init__(self, topic: str, schema_name: str, schema: bytes) -> None:
        self._topic = topic
        self._schema_name = schema_name
        self._schema = schema
        self._decoder: Any = None

    def decode(self, message: bytes, time_ns: int) -> RosSample:
        """Return a message as a sample.

        Raises:
            RecordingError: it cannot be read.
            ExtraMissingError: it becomes a struct of Arrow, and pyarrow is not installed.
        """
        try:
            if self._decoder is None:
                from ..ros2.bag_messages import BagDecoder

                text = self._schema.decode(errors="replace")
                self._decoder = BagDecoder(self._schema_name, text)
            native, metadata_json, captured_ns = self._decoder.decode(message, time_ns)
        except ValueError as error:
            raise RecordingError(f"{self._topic}: {error}") from error
        header = {"sent_ns": time_ns, "origin_ns": captured_ns}
        return RosSample(header, metadata_json, native.value)


def source_of(topic: str, names: Mapping[str, str]) -> str:
    """Return the output that a topic is replayed as.

    Args:
        topic: its name in the bag.
        names: by topic, NODE/OUTPUT, where it is another than the topic without its first slash.
    """
    return names.get(topic, topic.lstrip("/"))


def parse_topic(text: str) -> tuple[str, str]:
    """Read `NODE/OUTPUT=/topic`; return topic and output.

    Raises:
        ValueError: it is something else.
    """
    source, _, topic = text.partition("=")
    if not topic or source.count("/") not in (1, 2):
        raise ValueError(f"{text!r} is not NODE/OUTPUT=TOPIC, as camera/image=/camera/image_raw")
    return f"/{topic.strip('/')}", source
