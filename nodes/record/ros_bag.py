"""Record samples as messages of ROS 2: a bag that `ros2 bag play` and Foxglove read."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from dora_rt.errors import DoraRtError
from dora_rt.event import Event

from ..odd_samples import OddSamples
from ..ros2.bag_messages import (
    MESSAGE_ENCODING,
    PROFILE,
    SCHEMA_ENCODING,
    BagTopic,
    BagTypes,
)
from ..ros2.cdr import CdrError
from ..ros2.native_values import ValueMismatchError
from .recorder import Recorder

logger = logging.getLogger(__name__)


class BagRecorder(Recorder):
    """A bag of ROS 2 that is being written; as a `Recorder` it survives a kill.

    Attributes:
        types: which message each output becomes.
    """

    profile = PROFILE

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.types = BagTypes()
        self._topics: dict[str, tuple[int, BagTopic]] = {}
        self._odd_samples = OddSamples("{}".format)

    def summary(self) -> str:
        """Return what was recorded, what was lost and what became no message, in words."""
        return "\n".join([super().summary(), *self._odd_samples.summary()])

    def _messages(self, source: str, event: Event) -> Iterator[tuple[int, bytes]]:
        try:
            number, topic = self._topics.get(source) or self._open_topic(source, event)
            message = topic.encode(event)
        except (CdrError, ValueMismatchError) as error:
            self._odd_samples.add(source, error)
            return
        except DoraRtError as error:
            # Of an output without a known type: all of its samples.
            self._odd_samples.add(source, error)
            return
        yield number, message

    def _open_topic(self, source: str, event: Event) -> tuple[int, BagTopic]:
        topic = self.types.topic_of(source, event)
        schema = self._writer.register_schema(topic.message.name, SCHEMA_ENCODING, topic.schema)
        number = self._writer.register_channel(
            topic.name, MESSAGE_ENCODING, schema, dict(topic.metadata)
        )
        self._topics[source] = number, topic
        logger.info("%s is recorded as %s, %s", source, topic.name, topic.message.name)
        return number, topic
