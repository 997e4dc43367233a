"""The `Node` of dora 1.x; nodes of 2022 get the one of dora_rt, whose events are their tuples."""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

from dora_rt.errors import UnsupportedValueError
from dora_rt.metadata import new_id
from dora_rt.node.dora_events import import_arrow, with_shape
from dora_rt.node.node import Node as NativeNode
from dora_rt.node.session import Session
from dora_rt.node_config import Api

from ._logging import bridge_logging, write_log
from ._raw import SampleHandler
from ._stream import EventStream

if TYPE_CHECKING:
    from dora_rt.transport.output.loan import Loan

    from ._ros2_ends import Ros2Subscription

_REQUEST_ID = "request_id"
_logger = logging.getLogger("dora")


class Node:
    """This process as a node of the dataflow that dora-launch runs.

    In nodes of the form of 2022 (`custom:`, or `api: tuples`) the call gives a `dora_rt.Node`.
    """

    _node: NativeNode
    _session: Session
    _stream: EventStream
    _abandoned: deque[Loan]

    def __new__(cls, node_id: str | None = None, daemon_port: int | None = None) -> Node:
        """Attach to the dataflow.

        Args:
            node_id: which dynamic node this is, in a process that dora-launch did not start;
                `run/node` if several runs have one of that name.
            daemon_port: of no effect: there is no daemon.

        Raises:
            NotInDataflowError: this process is no node of a dataflow (a RuntimeError).
            ExtraMissingError: pyarrow is not installed (an ImportError).
        """
        run, _, name = (node_id or "").rpartition("/")
        native = NativeNode(name or None, run or None)
        session = Session.of(native)
        if session.config.api is Api.TUPLES:
            return cast(Node, native)
        import_arrow()
        node = super().__new__(cls)
        node._node = native
        node._session = session
        node._stream = EventStream(session)
        node._abandoned = deque()
        session.follow_rules_of_dora()
        bridge_logging(native.id())
        return node

    def next(self, timeout: float | None = None) -> dict[str, Any] | None:
        """Wait for the next event; an ERROR event after `timeout` seconds, None at the end.

        Raises:
            ValueError: the time-out is negative or not a number.
        """
        return self._stream.next(timeout)

    def __iter__(self) -> Node:
        return self

    def __next__(self) -> dict[str, Any]:
        event = self._stream.next(None)
        if event is None:
            raise StopIteration
        return event

    def try_recv(self) -> dict[str, Any] | None:
        """Return an event that is there, else None."""
        return self._stream.poll()

    def drain(self) -> list[dict[str, Any]]:
        """Return all events that are there.

        Raises:
            RuntimeError: the stream has ended.
        """
        return self._stream.drain()

    def is_empty(self) -> bool:
        """Return whether no event is there."""
        return self._stream.is_empty()

    async def recv_async(self, timeout: float | None = None) -> dict[str, Any] | None:
        """Do what `next` does, and let other tasks of asyncio go on meanwhile."""
        return await self._stream.receive(timeout)

    def send_output(
        self, output_id: str, data: Any, metadata: dict[str, Any] | None = None
    ) -> None:
        """Send an array of Arrow or numpy, or bytes.

        Raises:
            UnknownOutputError: the dataflow file declares no such output (a RuntimeError).
            UnsupportedValueError: data or metadata are of a type that cannot be sent (a
                RuntimeError and TypeError).
        """
        if self._abandoned:
            self._give_up_abandoned()
        self._node.send_output(output_id, with_shape(data, metadata), metadata)

    def send_output_raw(
        self, output_id: str, data_length: int, metadata: dict[str, Any] | None = None
    ) -> SampleHandler:
        """Return memory of `data_length` bytes to write in place; the end of its block sends it.

        Raises:
            UnknownOutputError: the dataflow file declares no such output (a RuntimeError).
            OverflowError: the length is negative.
        """
        if data_length < 0:
            raise OverflowError(f"data_length must be 0 or more bytes, got {data_length}")
        self._give_up_abandoned()
        copied = None if metadata is None else dict(metadata)
        loan = self._node.loan(output_id, data_length, "uint8", copied)
        return SampleHandler(loan, self._abandoned)

    def send_service_request(
        self, output_id: str, data: Any, metadata: dict[str, Any] | None = None
    ) -> str:
        """Send a request; return its `request_id`, which the answer has in its metadata.

        Raises:
            UnknownOutputError, UnsupportedValueError: as for `send_output`.
        """
        if metadata and _REQUEST_ID in metadata:
            _logger.warning("send_service_request: replaces the 'request_id' in the metadata")
        request_id = new_id()
        self.send_output(output_id, data, {**(metadata or {}), _REQUEST_ID: request_id})
        return request_id

    def send_service_response(self, output_id: str, data: Any, metadata: dict[str, Any]) -> None:
        """Send the answer to a request, with the metadata that came with it.

        Raises:
            UnknownOutputError, UnsupportedValueError: as for `send_output`.
        """
        if not isinstance(metadata, dict):
            raise UnsupportedValueError(
                "send_service_response: metadata are those that came with the request, a dict, "
                f"not a {type(metadata).__name__}"
            )
        if _REQUEST_ID not in metadata:
            _logger.warning("send_service_response: no 'request_id' in the metadata: who asked?")
        self.send_output(output_id, data, metadata)

    def node_config(self) -> dict[str, Any]:
        """Return the inputs and outputs of this node, as the dataflow file has them."""
        name = self._node.id()
        for node in self.dataflow_descriptor()["nodes"]:
            if node["id"] == name:
                return {"inputs": node["inputs"], "outputs": node["outputs"]}
        return {"inputs": {}, "outputs": []}

    def dataflow_descriptor(self) -> dict[str, Any]:
        """Return the whole dataflow, with defaults filled in."""
        path = self._session.config.description_path
        description: dict[str, Any] = json.loads(Path(path).read_text())
        return description

    def dataflow_id(self) -> str:
        """Return a UUID that begins with the name of the run."""
        # Version 8: made in a way of one's own.
        name, _, _ = self._session.config.run.partition(".")
        return f"{name}-0000-8000-8000-000000000000"

    def is_restart(self) -> bool:
        """Return whether this node was started again."""
        return self.restart_count() > 0

    def restart_count(self) -> int:
        """Return how often this node was started again."""
        return self._session.config.restart_count

    def timestamp(self) -> datetime:
        """Return the time of day, in UTC."""
        return datetime.now(timezone.utc)

    def log(
        self,
        level: str,
        message: str,
        target: str | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> None:
        """Write a log line; `level` is error, warn, info, debug or trace.

        Raises:
            TypeError: the message or the target is no string.
        """
        write_log(self._node.id(), level, message, target, fields)

    def log_error(self, message: str) -> None:
        """Write a log line of level error."""
        self.log("error", message)

    def log_warn(self, message: str) -> None:
        """Write a log line of level warn."""
        self.log("warn", message)

    def log_info(self, message: str) -> None:
        """Write a log line of level info."""
        self.log("info", message)

    def log_debug(self, message: str) -> None:
        """Write a log line of level debug."""
        self.log("debug", message)

    def log_trace(self, message: str) -> None:
        """Write a log line of level trace."""
        self.log("trace", message)

    def merge_external_events(self, subscription: Ros2Subscription) -> None:
        """Give the messages of a topic of ROS 2 as events, whose `kind` is `external`.

        Raises:
            Ros2Error: they come as events already (a RuntimeError).
            UnsupportedValueError: this is no subscription of `Ros2Node` (a RuntimeError and
                TypeError).
        """
        from ._ros2_ends import Ros2Subscription

        if not isinstance(subscription, Ros2Subscription):
            raise UnsupportedValueError(
                "merge_external_events takes what Ros2Node.create_subscription returns, not a "
                f"{type(subscription).__name__}"
            )
        self._stream.merge(subscription)

    def extension_store(self, namespace: str, key: str, value: bytes) -> NoReturn:
        """Refuse: there is no daemon that could keep it."""
        raise _no_extensions()

    def extension_load(self, namespace: str, key: str, remove: bool = False) -> NoReturn:
        """Refuse: there is no daemon that could keep it."""
        raise _no_extensions()

    def extension_drop(self, namespace: str, key: str) -> NoReturn:
        """Refuse: there is no daemon that could keep it."""
        raise _no_extensions()

    def drain_dropped_extension_keys(self, namespace: str) -> NoReturn:
        """Refuse: there is no daemon that could keep it."""
        raise _no_extensions()

    def _give_up_abandoned(self) -> None:
        while self._abandoned:
            self._abandoned.popleft().cancel()


def _no_extensions() -> NotImplementedError:
    return NotImplementedError(
        "dora's extension table is not here: dora_rt has no daemon that could keep values for "
        "nodes; send them as an output"
    )
