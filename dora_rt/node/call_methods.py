"""The methods of `Node` for calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dora_rt.event import Event, Request
from dora_rt.node.calls import Calls
from dora_rt.node.goals import Goal


class CallMethods:
    """What a node with `calls:` or `serves:` in the dataflow file has beside samples."""

    _calls: Calls

    def call(
        self,
        name: str,
        data: Any = b"",
        metadata: dict[str, Any] | None = None,
        *,
        timeout: float | None = None,
    ) -> Event:
        """Ask another node, and wait for its answer.

        Other inputs keep what comes meanwhile, by their queue policies, and `next` gives it
        afterwards. What this node is asked itself reaches the functions of `serve` meanwhile.

        Args:
            name: a name from `calls:` of this node.
            data: as for `send_output`.
            metadata: as for `send_output`.
            timeout: seconds to wait at most, 0 or more; None waits as long as the server lives.

        Returns:
            The answer.

        Raises:
            TimeoutError: no answer came in time; one that comes later is dropped.
            ServerGone: the server has ended, or the dataflow is being stopped.
            ServerRestarted: the server was started again before its answer came.
            CallRefused: the server refused, its function failed, or it waits for this node itself.
            UnknownServiceError: the dataflow file has no such name in `calls:`.
            UnsupportedValueError, NodeClosedError: as for `send_output`.
        """
        return self._calls.call(name, data, metadata, timeout)

    async def call_async(
        self,
        name: str,
        data: Any = b"",
        metadata: dict[str, Any] | None = None,
        *,
        timeout: float | None = None,
    ) -> Event:
        """Do what `call` does, and let other tasks of asyncio go on meanwhile.

        Any number of calls may wait. The function of `serve` may run in another thread.
        """
        return await self._calls.call_async(name, data, metadata, timeout)

    def serve(self, service: str, function: Callable[[Request], Any]) -> None:
        """Let a function answer the requests of a service, with what it returns.

        It runs inside `next`, and inside `call` while that waits, so that nodes may call each
        other. What it raises is logged, and is a CallRefused for the client.

        Args:
            service: a name from `serves:` of this node, of a call and no goal.
            function: gets the request, and returns what `reply` takes.

        Raises:
            UnknownServiceError: the dataflow file has no such name in `serves:`.
        """
        self._calls.serve(service, function)

    def reply(self, event: Event, data: Any = b"", metadata: dict[str, Any] | None = None) -> None:
        """Answer a request, now or later; the answer goes to its client only.

        Args:
            event: the `Request`.
            data: as for `send_output`.
            metadata: as for `send_output`.

        Raises:
            NotARequestError: the event is no request, or was answered before.
            UnsupportedValueError, NodeClosedError, SentAfterStopError: as for `send_output`.
        """
        self._calls.reply(event, data, metadata)

    def refuse(self, event: Event, why: str) -> None:
        """Answer a request with an error: a CallRefused for its client, with this sentence.

        Raises:
            NotARequestError: the event is no request, or was answered before.
            NodeClosedError, SentAfterStopError: as for `send_output`.
        """
        self._calls.refuse(event, why)

    def send_goal(
        self,
        name: str,
        data: Any = b"",
        metadata: dict[str, Any] | None = None,
        *,
        timeout: float | None = None,
    ) -> Goal:
        """Give another node a goal that takes its time; returns as soon as it is sent.

        Its `Feedback` and its `Result` come from `next`, or from a loop over the goal. A server
        that ends, or is started again, ends its goals with status "aborted".

        Args:
            name: a name from `calls:` of this node, of a goal.
            data: as for `send_output`.
            metadata: as for `send_output`.
            timeout: seconds to wait at most until the server has room for it.

        Raises:
            TimeoutError: the server had no room in time.
            ServerGone: the server has ended, or the dataflow is being stopped.
            UnknownServiceError: the dataflow file has no such goal in `calls:`.
            UnsupportedValueError, NodeClosedError: as for `send_output`.
        """
        return self._calls.goals.give(name, data, metadata, timeout)

    def feedback(
        self, event: Event, data: Any = b"", metadata: dict[str, Any] | None = None
    ) -> None:
        """Tell the client of a goal how far it is; a client that is slow gets the newest 32.

        Args:
            event: the `GoalRequest`.
            data: as for `send_output`.
            metadata: as for `send_output`.

        Raises:
            NotARequestError: the event is no goal, or has its result already.
            UnsupportedValueError, NodeClosedError, SentAfterStopError: as for `send_output`.
        """
        self._calls.goals.feedback(event, data, metadata)

    def finish(
        self,
        event: Event,
        data: Any = b"",
        status: str = "succeeded",
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Send the result of a goal to its client.

        Args:
            event: the `GoalRequest`.
            data: as for `send_output`.
            status: "succeeded", "aborted" or "canceled".
            metadata: as for `send_output`.

        Raises:
            NotARequestError: the event is no goal, or has its result already.
            ValueError: there is no such status.
            UnsupportedValueError, NodeClosedError, SentAfterStopError: as for `send_output`.
        """
        self._calls.goals.finish(event, data, status, metadata)

    def is_cancelled(self, event: Event) -> bool:
        """Return whether the client of a goal gave it up or has ended, or this node must stop.

        Raises:
            NotARequestError: the event is no goal, or has its result already.
        """
        return self._calls.goals.is_cancelled(event)
