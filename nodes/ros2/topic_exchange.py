"""Topics: an input that is published, and an output that gets what is subscribed to."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .bridge import Outlet, Publisher, Transport, header_of
from .cdr import Codec
from .native_values import Converter
from .ros_entities import Endpoint, NoConnectionError

if TYPE_CHECKING:
    from dora_rt.event import Event


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic and the port of the node that it belongs to."""

    port: str
    endpoint: Endpoint
    codec: Codec
    converter: Converter
    frame_id: str | None = None


class Publication:
    """Publish the samples of an input."""

    def __init__(self, topic: Topic) -> None:
        self._topic = topic
        self._publisher: Publisher | None = None
        # Of a latched topic: a message from before the connection, which may be the only one.
        self._early: bytes | bytearray | None = None
        self._lock = threading.Lock()
        self.endpoints: tuple[Endpoint, ...] = (topic.endpoint,)
        self.input_ids: tuple[str, ...] = (topic.port,)

    def begin(self, transport: Transport, outlet: Outlet) -> None:
        """Advertise the topic."""
        publisher = transport.advertise(self._topic.endpoint)
        with self._lock:
            self._publisher = publisher
            early, self._early = self._early, None
            if early is not None:
                publisher.publish(early)

    def end(self) -> None:
        """Publish no more."""
        self._publisher = None

    def take(self, event: Event) -> bool:
        """Publish a sample, if somebody subscribes; the newest of a latched topic in any case.

        Raises:
            NoConnectionError: there is no connection yet, and the topic is not latched.
            ValueMismatchError: it cannot be made a message.
            CdrError: it does not fit into the message.
        """
        topic = self._topic
        with self._lock:
            publisher = self._publisher
            if publisher is None and not topic.endpoint.qos.is_latched:
                raise NoConnectionError(f"{topic.endpoint.name} is not published yet")
            if publisher is not None and not publisher.is_wanted():
                return False
            header = header_of(event, topic.frame_id)
            values = topic.converter.to_message(event.value, event.metadata, header)
            message = topic.codec.encode(values)
            if publisher is None:
                self._early = message
            else:
                publisher.publish(message)
        return True

    def refuse(self, event: Event, outlet: Outlet, why: str) -> None:
        """Do nothing: nobody waits for an answer."""


class Subscription:
    """Send the messages of a topic."""

    input_ids: tuple[str, ...] = ()

    def __init__(self, topic: Topic) -> None:
        self._topic = topic
        self.endpoints: tuple[Endpoint, ...] = (topic.endpoint,)

    def begin(self, transport: Transport, outlet: Outlet) -> None:
        """Subscribe to the topic."""
        topic = self._topic

        def take(message: bytes) -> None:
            outlet.guarded(topic.endpoint.name, lambda: send(message))

        def send(message: bytes) -> None:
            outlet.send(topic.port, topic.converter.to_native(topic.codec.decode(message)))

        transport.subscribe(topic.endpoint, take)

    def end(self) -> None:
        """Nothing is left to do: the transport is closed."""

    def take(self, event: Event) -> bool:
        """Take nothing: it has no input."""
        return False

    def refuse(self, event: Event, outlet: Outlet, why: str) -> None:
        """Do nothing: it has no input."""
