"""Speak to ROS 2 by zenoh as rmw_zenoh does: the only module here that imports zenoh."""

from __future__ import annotations

import itertools
import json
import logging
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dora_rt.errors import DoraRtError, ExtraMissingError

from .ros_entities import Endpoint, Identity, NoConnectionError, RemoteEndpoint
from .zenoh_keys import (
    Attachment,
    all_tokens,
    data_key,
    endpoint_token,
    node_token,
    read_token,
)

logger = logging.getLogger(__name__)

# Of opening a session: a robot that is switched off refuses nothing.
_CONNECT_TIMEOUT_MS = 2000
_DISCOVERY_S = 1.0
_LOOK_AGAIN_S = 0.01
_MOST_TOKENS = 1000
_MOST_REQUESTS = 100
_LONGEST_CALL_S = 100 * 365 * 24 * 3600.0

Take = Callable[[bytes], None]


class RouterAddressError(DoraRtError):
    """An address is none of zenoh, or no router can listen there."""


class ZenohTransport:
    """A node of ROS 2 on a session of zenoh.

    Args:
        session: an open one.
        identity: the node.
    """

    def __init__(self, session: Any, identity: Identity) -> None:
        self._zenoh = import_zenoh()
        self._session = session
        self._id = str(session.zid())
        self._identity = identity
        self._numbers = itertools.count(1)
        self._declared: list[Any] = []
        self._threads: list[threading.Thread] = []
        self._remote: dict[str, RemoteEndpoint] = {}
        self._remote_lock = threading.Lock()
        self._declare_token(node_token(self._id, identity))
        tokens = session.liveliness().declare_subscriber(
            all_tokens(identity.domain), self._channel(_MOST_TOKENS), history=True
        )
        self._start_thread("graph", lambda: self._receive(tokens, self._note_token))

    @classmethod
    def open(
        cls,
        address: str,
        identity: Identity,
        config: Path | None = None,
        *,
        shares_memory: bool = False,
    ) -> ZenohTransport:
        """Connect to a router.

        Args:
            address: of the router.
            identity: the node.
            config: a file with all that zenoh is to do, instead of the address.
            shares_memory: whether large messages pass through shared memory on this machine.

        Raises:
            NoConnectionError: none answers there.
            RouterAddressError: it is no address.
            ExtraMissingError: zenoh is not installed.
        """
        common = {
            "connect/timeout_ms": _CONNECT_TIMEOUT_MS,
            "transport/shared_memory/enabled": shares_memory,
        }
        if config is not None:
            return cls(_open(common, f"what {config} says", config), identity)
        client = {"mode": "client", "connect/endpoints": [address], **common}
        return cls(_open(client, address), identity)

    def has_router(self) -> bool:
        """Whether the router is there; a lost one is connected to again by itself."""
        return bool(self._session.info.routers_zid())

    def remote_endpoints(self) -> list[RemoteEndpoint]:
        """Return what other nodes have, as far as it is known."""
        with self._remote_lock:
            return list(self._remote.values())

    def advertise(self, endpoint: Endpoint) -> ZenohPublisher:
        """Publish a topic."""
        key = data_key(self._identity.domain, endpoint)
        control = self._zenoh.CongestionControl
        options: dict[str, Any] = {
            "congestion_control": control.BLOCK if endpoint.qos.is_reliable else control.DROP,
            "express": True,
        }
        if endpoint.qos.is_latched:
            import zenoh.ext as extension

            publisher = extension.declare_advanced_publisher(
                self._session,
                key,
                cache=extension.CacheConfig(endpoint.qos.depth),
                publisher_detection=True,
                **options,
            )
        else:
            publisher = self._session.declare_publisher(key, **options)
        self._declared.append(publisher)
        gid = self._declare_endpoint(endpoint)
        return ZenohPublisher(publisher, gid, is_latched=endpoint.qos.is_latched)

    def subscribe(self, endpoint: Endpoint, take: Take) -> None:
        """Give each message of a topic to `take`, in a thread of its own.

        As many messages wait as the QoS says. Behind those of a reliable topic the sender waits,
        else the oldest go.
        """
        key = data_key(self._identity.domain, endpoint)
        handler = self._channel(endpoint.qos.depth, keeps_all=endpoint.qos.is_reliable)
        if endpoint.qos.is_latched:
            import zenoh.ext as extension

            history = extension.HistoryConfig(
                detect_late_publishers=True, max_samples=endpoint.qos.depth
            )
            subscriber = extension.declare_advanced_subscriber(
                self._session, key, handler, history=history
            )
        else:
            subscriber = self._session.declare_subscriber(key, handler)
        self._declared.append(subscriber)
        self._declare_endpoint(endpoint)
        self._start_thread(
            endpoint.name,
            lambda: self._receive(subscriber, lambda sample: take(sample.payload.to_bytes())),
        )

    def call(self, endpoint: Endpoint) -> ZenohClient:
        """Be a client of a service."""
        zenoh = self._zenoh
        querier = self._session.declare_querier(
            data_key(self._identity.domain, endpoint),
            target=zenoh.QueryTarget.ALL_COMPLETE,
            consolidation=zenoh.ConsolidationMode.NONE,
            # Each call has a time of its own.
            timeout=_LONGEST_CALL_S,
        )
        self._declared.append(querier)
        return ZenohClient(querier, self._declare_endpoint(endpoint), self._start_thread)

    def serve(self, endpoint: Endpoint, take: Callable[[ZenohRequest], None]) -> None:
        """Give each request of a service to `take`, in a thread of its own."""
        key = data_key(self._identity.domain, endpoint)
        queryable = self._session.declare_queryable(
            key, self._channel(_MOST_REQUESTS), complete=True
        )

        def take_query(query: Any) -> None:
            request = ZenohRequest.of(query, key)
            if request is not None:
                take(request)

        self._declared.append(queryable)
        self._declare_endpoint(endpoint)
        self._start_thread(endpoint.name, lambda: self._receive(queryable, take_query))

    def close(self) -> None:
        """Leave; may be called twice."""
        if not self._session.is_closed():
            # It takes back all that was declared, and wakes the threads that wait.
            self._session.close()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(_CONNECT_TIMEOUT_MS / 1000)

    def _channel(self, depth: int, *, keeps_all: bool = True) -> Any:
        """Return a channel to receive from.

        Never a callback: zenoh would call it from a thread that nobody can wait for, and a thread
        that is in zenoh when Python ends takes the process along (SIGABRT).
        """
        handlers = self._zenoh.handlers
        return handlers.FifoChannel(depth) if keeps_all else handlers.RingChannel(depth)

    def _receive(self, source: Any, take: Callable[[Any], None]) -> None:
        while True:
            try:
                found = source.recv()
            except self._zenoh.ZError:
                return  # undeclared
            take(found)

    def _start_thread(self, name: str, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, name=f"ros2 {name}", daemon=True)
        self._threads = [one for one in self._threads if one.is_alive()]
        self._threads.append(thread)
        thread.start()

    def _declare_endpoint(self, endpoint: Endpoint) -> bytes:
        """Let other nodes know of an end; return the id that its messages carry."""
        number = next(self._numbers)
        self._declare_token(endpoint_token(self._id, number, self._identity, endpoint))
        return uuid.uuid4().bytes

    def _declare_token(self, key: str) -> None:
        self._declared.append(self._session.liveliness().declare_token(key))

    def _note_token(self, sample: Any) -> None:
        key = str(sample.key_expr)
        found = read_token(key)
        if found is None or found[0] == self._id:
            return
        with self._remote_lock:
            if sample.kind == self._zenoh.SampleKind.PUT:
                self._remote[key] = found[1]
            else:
                self._remote.pop(key, None)


class ZenohPublisher:
    """A topic that this node publishes."""

    def __init__(self, publisher: Any, gid: bytes, *, is_latched: bool) -> None:
        self._publisher = publisher
        self._gid = gid
        self._numbers = itertools.count(1)
        self._is_latched = is_latched

    def is_wanted(self) -> bool:
        """Whether somebody subscribes to it, or may later and still get what is sent now."""
        return self._is_latched or bool(self._publisher.matching_status.matching)

    def publish(self, message: bytes | bytearray) -> None:
        """Send a message."""
        attachment = Attachment(next(self._numbers), time.time_ns(), self._gid)
        self._publisher.put(message, attachment=attachment.to_bytes())


class ZenohClient:
    """A service that this node calls."""

    def __init__(
        self, querier: Any, gid: bytes, start_thread: Callable[[str, Callable[[], None]], None]
    ) -> None:
        self._querier = querier
        self._gid = gid
        self._numbers = itertools.count(1)
        self._start_thread = start_thread

    def call(self, request: bytes, take: Callable[[bytes | None], None], timeout_s: float) -> None:
        """Ask; `take` gets the answer once, or None if nobody gives one in time."""
        zenoh = import_zenoh()
        asked = Attachment(next(self._numbers), time.time_ns(), self._gid)
        token = zenoh.CancellationToken()
        timer = threading.Timer(timeout_s, token.cancel)
        timer.daemon = True
        timer.start()

        def ask() -> Any:
            return self._querier.get(
                payload=request, attachment=asked.to_bytes(), cancellation_token=token
            )

        # At once where it can be: questions stay in their order.
        replies = ask() if self._has_server() else None

        def wait() -> None:
            answer = None
            try:
                found = replies or self._ask_late(ask, token)
                while answer is None:
                    answer = _answer_in(found.recv(), asked)
            except zenoh.ZError as error:
                # All servers have answered or left, or the time is up.
                logger.debug("no answer: %s", error)
            timer.cancel()
            take(answer)

        self._start_thread("call", wait)

    def _has_server(self) -> bool:
        return bool(self._querier.matching_status.matching)

    def _ask_late(self, ask: Callable[[], Any], token: Any) -> Any:
        """Ask once a server is known: who has just started may not know of it yet."""
        deadline = time.monotonic() + _DISCOVERY_S
        while time.monotonic() < deadline and not self._has_server() and not token.is_cancelled:
            time.sleep(_LOOK_AGAIN_S)
        return ask()


def _answer_in(reply: Any, asked: Attachment) -> bytes | None:
    """Return the answer to a question; None if the reply is an error, or to another one."""
    sample = reply.ok
    if sample is None or sample.attachment is None:
        return None
    found = Attachment.from_bytes(sample.attachment.to_bytes())
    if found is None or (found.number, found.gid) != (asked.number, asked.gid):
        return None
    content: bytes = sample.payload.to_bytes()
    return content


class ZenohRequest:
    """A request of another node.

    Attributes:
        id: the sender and its number.
        content: the message.
    """

    def __init__(self, query: Any, key: str, attachment: Attachment, content: bytes) -> None:
        self._query = query
        self._key = key
        self._attachment = attachment
        self.id = f"{attachment.gid.hex()}-{attachment.number}"
        self.content = content

    @classmethod
    def of(cls, query: Any, key: str) -> ZenohRequest | None:
        """Read a query; None if it is no request of ROS."""
        if query.attachment is None or query.payload is None:
            return None
        attachment = Attachment.from_bytes(query.attachment.to_bytes())
        if attachment is None:
            return None
        return cls(query, key, attachment, query.payload.to_bytes())

    def answer(self, response: bytes) -> None:
        """Answer it, once."""
        asked = self._attachment
        attachment = Attachment(asked.number, time.time_ns(), asked.gid)
        self._query.reply(self._key, response, attachment=attachment.to_bytes())
        # The asker's wait ends with the query.
        self._query.drop()


class Router:
    """A router of zenoh in this process, in the place of rmw_zenohd."""

    def __init__(self, session: Any) -> None:
        self._session = session

    @classmethod
    def open(cls, address: str, *, shares_memory: bool = False) -> Router:
        """Listen at an address.

        Raises:
            RouterAddressError: it is no address, or another program listens there.
            ExtraMissingError: zenoh is not installed.
        """
        try:
            settings = {
                "mode": "router",
                "listen/endpoints": [address],
                "transport/shared_memory/enabled": shares_memory,
            }
            return cls(_open(settings, address))
        except NoConnectionError as error:
            raise RouterAddressError(
                f"no router can listen at {address}, perhaps because one does already: "
                f"{error.__cause__}"
            ) from error

    def close(self) -> None:
        """Listen no more; may be called twice."""
        if not self._session.is_closed():
            self._session.close()


def import_zenoh() -> Any:
    """Return the module of zenoh.

    Raises:
        ExtraMissingError: it is not installed.
    """
    try:
        import zenoh
    except ImportError as error:
        raise ExtraMissingError(
            f"zenoh is needed: pip install 'dora_rt[ros2]' ({error})"
        ) from error
    return zenoh


def _open(settings: dict[str, Any], address: str, file: Path | None = None) -> Any:
    zenoh = import_zenoh()
    try:
        config = zenoh.Config() if file is None else zenoh.Config.from_file(str(file))
    except zenoh.ZError as error:
        raise RouterAddressError(f"{file} is no configuration of zenoh: {error}") from error
    common = {
        "scouting/multicast/enabled": False,
        "timestamping/enabled": True,
    }
    try:
        for key, value in {**common, **settings}.items():
            config.insert_json5(key, json.dumps(value))
    except zenoh.ZError as error:
        raise RouterAddressError(
            f"{address!r} is no address as tcp/127.0.0.1:7447: {error}"
        ) from error
    try:
        return zenoh.open(config)
    except zenoh.ZError as error:
        raise NoConnectionError(f"no router answers at {address}") from error
