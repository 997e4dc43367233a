"""A node of dora 1.x without a dataflow, for tests: events from a list, outputs into a dict."""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, NoReturn

__all__ = ["MockNode"]


class MockNode:
    """A node that gives events to a loop, and keeps what it does. It refuses no value.

    Attributes:
        outputs: what was sent on each output.
        logs: the log lines, as dicts.
        service_requests: the requests that were sent, as dicts.
        service_responses_sent: the answers that were sent, as dicts.
    """

    def __init__(
        self,
        inputs: Sequence[tuple[str, Any] | dict[str, Any]],
        metadata: dict[str, Any] | None = None,
        *,
        dataflow_descriptor: dict[str, Any] | None = None,
        dataflow_id: str | None = None,
        node_config: dict[str, Any] | None = None,
        is_restart: bool = False,
        restart_count: int = 0,
        service_responses: Mapping[str, Sequence[Any]] | None = None,
    ) -> None:
        """Prepare the events; a STOP event follows them unless there is one among them.

        Args:
            inputs: `(input_id, value)` pairs, or whole event dicts.
            metadata: what each of the pairs has as its metadata.
            dataflow_descriptor: what the method of this name gives.
            dataflow_id: likewise.
            node_config: likewise.
            is_restart: likewise.
            restart_count: likewise.
            service_responses: for each output, the answers to the requests sent on it. Each comes
                as an input of the output's name.
        """
        self._events = deque(
            dict(item)
            if isinstance(item, dict)
            else {
                "type": "INPUT",
                "id": item[0],
                "value": item[1],
                "metadata": {**(metadata or {})},
            }
            for item in inputs
        )
        if not any(event.get("type") == "STOP" for event in self._events):
            self._events.append({"type": "STOP", "id": "ALL_INPUTS_CLOSED"})
        self._dataflow_descriptor = dataflow_descriptor or {}
        self._dataflow_id = dataflow_id or ""
        self._node_config = node_config or {}
        self._is_restart = is_restart
        self._restart_count = restart_count
        self._answers = {
            output_id: deque(answers) for output_id, answers in (service_responses or {}).items()
        }
        self.outputs: dict[str, list[Any]] = {}
        self.logs: list[dict[str, Any]] = []
        self.service_requests: list[dict[str, Any]] = []
        self.service_responses_sent: list[dict[str, Any]] = []

    def next(self, timeout: float | None = None) -> dict[str, Any] | None:
        """Return the next event, or None when there is none left; never waits."""
        return self._events.popleft() if self._events else None

    def __iter__(self) -> MockNode:
        return self

    def __next__(self) -> dict[str, Any]:
        event = self.next()
        if event is None:
            raise StopIteration
        return event

    def try_recv(self) -> dict[str, Any] | None:
        """Return the next event, or None when there is none left."""
        return self.next()

    def drain(self) -> list[dict[str, Any]]:
        """Return all events that are left."""
        events = list(self._events)
        self._events.clear()
        return events

    def is_empty(self) -> bool:
        """Return whether no event is left."""
        return not self._events

    async def recv_async(self, timeout: float | None = None) -> dict[str, Any] | None:
        """Return the next event, or None when there is none left; never waits."""
        return self.next()

    def send_output(
        self, output_id: str, data: Any, metadata: dict[str, Any] | None = None
    ) -> None:
        """Keep what is sent in `outputs`."""
        self.outputs.setdefault(output_id, []).append(data)

    def send_output_raw(
        self, output_id: str, data_length: int, metadata: dict[str, Any] | None = None
    ) -> NoReturn:
        """Refuse: there is no shared memory in which to write."""
        raise NotImplementedError(
            "send_output_raw needs a dataflow's shared memory, which a MockNode has none of; let "
            "the code under test call send_output"
        )

    def send_service_request(
        self, output_id: str, data: Any, metadata: dict[str, Any] | None = None
    ) -> str:
        """Keep a request in `service_requests`, and let its answer come, if one was prepared."""
        request_id = str(uuid.uuid4())
        self.service_requests.append(
            {
                "output_id": output_id,
                "data": data,
                "metadata": dict(metadata or {}),
                "request_id": request_id,
            }
        )
        answers = self._answers.get(output_id)
        if answers:
            self._insert_before_stop(
                {
                    "type": "INPUT",
                    "id": output_id,
                    "value": answers.popleft(),
                    "metadata": {"request_id": request_id},
                }
            )
        return request_id

    def send_service_response(self, output_id: str, data: Any, metadata: dict[str, Any]) -> None:
        """Keep an answer in `service_responses_sent`."""
        self.service_responses_sent.append(
            {
                "output_id": output_id,
                "data": data,
                "metadata": dict(metadata),
                "request_id": metadata.get("request_id"),
            }
        )

    def log(
        self,
        level: str,
        message: str,
        target: str | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> None:
        """Keep a log line in `logs`."""
        line = {"level": level, "message": message, "target": target, "fields": {**(fields or {})}}
        self.logs.append(line)

    def log_error(self, message: str) -> None:
        """Keep a log line of level error."""
        self.log("error", message)

    def log_warn(self, message: str) -> None:
        """Keep a log line of level warn."""
        self.log("warn", message)

    def log_info(self, message: str) -> None:
        """Keep a log line of level info."""
        self.log("info", message)

    def log_debug(self, message: str) -> None:
        """Keep a log line of level debug."""
        self.log("debug", message)

    def log_trace(self, message: str) -> None:
        """Keep a log line of level trace."""
        self.log("trace", message)

    def dataflow_descriptor(self) -> dict[str, Any]:
        """Return what the test prepared."""
        return dict(self._dataflow_descriptor)

    def dataflow_id(self) -> str:
        """Return what the test prepared."""
        return self._dataflow_id

    def node_config(self) -> dict[str, Any]:
        """Return what the test prepared."""
        return dict(self._node_config)

    def is_restart(self) -> bool:
        """Return what the test prepared."""
        return self._is_restart

    def restart_count(self) -> int:
        """Return what the test prepared."""
        return self._restart_count

    def timestamp(self) -> datetime:
        """Return the time of day, in UTC."""
        return datetime.now(timezone.utc)

    def merge_external_events(self, subscription: Any) -> NoReturn:
        """Refuse: a test gives its events itself."""
        raise NotImplementedError(
            "merge_external_events: a MockNode has no topics of ROS 2; give it their messages as "
            "events"
        )

    def _insert_before_stop(self, event: dict[str, Any]) -> None:
        # A loop that ends at STOP must still see it.
        types = [pending.get("type") for pending in self._events]
        self._events.insert(types.index("STOP") if "STOP" in types else len(types), event)
