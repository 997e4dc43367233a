"""Services: requests of an input that are answered elsewhere, and requests that a node answers."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .bridge import Client, Outlet, Request, Transport, header_of
from .cdr import Codec
from .native_values import Converter, Native, ValueMismatchError, Values
from .ros_entities import Endpoint, NoConnectionError

if TYPE_CHECKING:
    from dora_rt.event import Event

logger = logging.getLogger(__name__)

REQUEST_ID = "request_id"
ERROR = "error"
_MOST_PENDING = 1000


@dataclass(frozen=True, slots=True)
class MessageForm:
    """How one kind of message is encoded, and which value it is."""

    codec: Codec
    converter: Converter

    def encode(self, event: Event) -> bytes:
        """Make a message of a sample.

        Raises:
            ValueMismatchError: it cannot be made one.
            CdrError: it does not fit into the message.
        """
        header = header_of(event, None)
        values = self.converter.to_message(event.value, event.metadata, header)
        return bytes(self.codec.encode(values))

    def decode(self, content: bytes) -> Native:
        """Make a value of a message.

        Raises:
            CdrError: it is none of this type.
            ValueMismatchError: its fields contradict one another.
        """
        return self.converter.to_native(self.codec.decode(content))


@dataclass(frozen=True, slots=True)
class ServicePort:
    """A service, and the names of the input and of the output that belong to it."""

    input_id: str
    output_id: str
    endpoint: Endpoint
    request: MessageForm
    response: MessageForm
    timeout_s: float = 10.0


class CalledService:
    """Ask what comes at the input, and send the answers with the `request_id` of the question."""

    def __init__(self, service: ServicePort) -> None:
        self._service = service
        self._client: Client | None = None
        self._outlet: Outlet | None = None
        self.endpoints: tuple[Endpoint, ...] = (service.endpoint,)
        self.input_ids: tuple[str, ...] = (service.input_id,)

    def begin(self, transport: Transport, outlet: Outlet) -> None:
        """Become a client."""
        self._outlet = outlet
        self._client = transport.call(self._service.endpoint)

    def end(self) -> None:
        """Ask no more."""
        self._client = None

    def take(self, event: Event) -> bool:
        """Ask.

        Raises:
            ValueMismatchError: the sample cannot be made a request.
            CdrError: it does not fit into the request.
        """
        asked = _asked_in(event)
        client, outlet, service = self._client, self._outlet, self._service
        if client is None or outlet is None:
            raise NoConnectionError(f"{service.endpoint.name} is not connected yet")
        request = service.request.encode(event)

        def take(response: bytes | None) -> None:
            outlet.guarded(service.endpoint.name, lambda: answer(response))

        def answer(response: bytes | None) -> None:
            if response is not None:
                outlet.send(service.output_id, service.response.decode(response), asked)
                return
            # An asker that hears nothing would wait for ever.
            limit = f"{service.timeout_s:g} s"
            text = f"{service.endpoint.name}: nobody serves it, or not within {limit}"
            outlet.send(service.output_id, Native(b""), {**asked, ERROR: text})

        client.call(request, take, service.timeout_s)
        return True

    def refuse(self, event: Event, outlet: Outlet, why: str) -> None:
        """Answer with the reason: an asker that hears nothing would wait for ever."""
        outlet.send(self._service.output_id, Native(b""), {**_asked_in(event), ERROR: why})


class ServedService:
    """Send the requests of others, and answer them with what comes back at the input."""

    def __init__(self, service: ServicePort) -> None:
        self._service = service
        self._pending: dict[str, Request] = {}
        self._lock = threading.Lock()
        self.endpoints: tuple[Endpoint, ...] = (service.endpoint,)
        self.input_ids: tuple[str, ...] = (service.input_id,)

    def begin(self, transport: Transport, outlet: Outlet) -> None:
        """Become the server."""
        service = self._service

        def take(request: Request) -> None:
            outlet.guarded(service.endpoint.name, lambda: send(request))

        def send(request: Request) -> None:
            native = service.request.decode(request.content)
            with self._lock:
                # One that was never answered must not be kept for ever.
                while len(self._pending) >= _MOST_PENDING:
                    del self._pending[next(iter(self._pending))]
                self._pending[request.id] = request
            outlet.send(service.output_id, native, {REQUEST_ID: request.id})

        transport.serve(service.endpoint, take)

    def end(self) -> None:
        """Answer no more."""
        with self._lock:
            self._pending.clear()

    def take(self, event: Event) -> bool:
        """Answer the request whose id is in the metadata; without one, the only one there is.

        Raises:
            ValueMismatchError: there is no such request, or the sample cannot be made an answer.
            CdrError: it does not fit into the answer.
        """
        response = self._service.response.encode(event)
        self._pop(event.metadata.get(REQUEST_ID)).answer(response)
        return True

    def refuse(self, event: Event, outlet: Outlet, why: str) -> None:
        """Do nothing: the sample is an answer itself."""

    def _pop(self, request_id: Any) -> Request:
        with self._lock:
            if request_id is None and len(self._pending) == 1:
                request_id = next(iter(self._pending))
            request = self._pending.pop(request_id, None) if isinstance(request_id, str) else None
        if request is None:
            raise ValueMismatchError(
                f"an answer whose {REQUEST_ID} is {request_id!r} answers no request that waits; "
                f"copy {REQUEST_ID} from the metadata of the request"
            )
        return request


def _asked_in(event: Event) -> Values:
    """Return what an answer has in its metadata."""
    request_id = event.metadata.get(REQUEST_ID)
    return {} if request_id is None else {REQUEST_ID: request_id}
