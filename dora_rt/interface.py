"""The shape of a node that a loop needs, so that loops can be tested without a dataflow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import DTypeLike, NDArray

from dora_rt.event import Change, Event, Request
from dora_rt.node_parameters import REQUIRED

if TYPE_CHECKING:
    from dora_rt.node.goals import Goal


class NodeLike(Protocol):
    """What `dora_rt.Node` and `dora_rt.testing.FakeNode` have in common; `Node` describes it."""

    def id(self) -> str:
        """Return the node's id."""

    def input_ids(self) -> tuple[str, ...]:
        """Return the names of the inputs."""

    def output_ids(self) -> tuple[str, ...]:
        """Return the names of the outputs."""

    def parameter(self, name: str, default: Any = REQUIRED) -> Any:
        """Return the present value of a parameter; UnknownParameterError without one."""

    def parameters(self) -> dict[str, Any]:
        """Return the present values of all parameters."""

    def now(self) -> int:
        """Return the time of the dataflow in nanoseconds."""

    def is_stopped(self) -> bool:
        """Return whether the loop must end."""

    def next(self, timeout: float | None = None) -> Event | None:
        """Wait for the next event; None at the end; TimeoutError after `timeout` seconds."""

    def next_event(self, timeout: float | None = None) -> Event | Change | None:
        """Wait for the next event, or for something else that happens to an input or the node."""

    def try_next(self) -> Event | None:
        """Return an event that is already there, else None."""

    def __iter__(self) -> Iterator[Event]: ...

    def send_output(
        self,
        output_id: str,
        data: Any,
        metadata: dict[str, Any] | None = None,
        *,
        captured_ns: int | None = None,
        timeout: float | None = None,
    ) -> None:
        """Send bytes or an array."""

    def loan(
        self,
        output_id: str,
        shape: int | tuple[int, ...],
        dtype: DTypeLike = "uint8",
        metadata: dict[str, Any] | None = None,
        *,
        captured_ns: int | None = None,
        timeout: float | None = None,
    ) -> AbstractContextManager[NDArray[Any]]:
        """Prepare an array in shared memory to write in place; it is sent when the block ends."""

    def call(
        self,
        name: str,
        data: Any = b"",
        metadata: dict[str, Any] | None = None,
        *,
        timeout: float | None = None,
    ) -> Event:
        """Ask another node, and wait for its answer."""

    async def call_async(
        self,
        name: str,
        data: Any = b"",
        metadata: dict[str, Any] | None = None,
        *,
        timeout: float | None = None,
    ) -> Event:
        """Do what `call` does, and let other tasks of asyncio go on meanwhile."""

    def serve(self, service: str, function: Callable[[Request], Any]) -> None:
        """Let a function answer the requests of a service, with what it returns."""

    def reply(self, event: Event, data: Any = b"", metadata: dict[str, Any] | None = None) -> None:
        """Answer a request, now or later; the answer goes to its client only."""

    def refuse(self, event: Event, why: str) -> None:
        """Answer a request with an error: a CallRefused for its client, with this sentence."""

    def send_goal(
        self,
        name: str,
        data: Any = b"",
        metadata: dict[str, Any] | None = None,
        *,
        timeout: float | None = None,
    ) -> Goal:
        """Give another node a goal that takes its time; returns as soon as it is sent."""

    def feedback(
        self, event: Event, data: Any = b"", metadata: dict[str, Any] | None = None
    ) -> None:
        """Tell the client of a goal how far it is; a client that is slow gets the newest 32."""

    def finish(
        self,
        event: Event,
        data: Any = b"",
        status: str = "succeeded",
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Send the result of a goal to its client."""

    def is_cancelled(self, event: Event) -> bool:
        """Return whether the client of a goal gave it up or has ended, or this node must stop."""

    def stop_dataflow(self) -> None:
        """Ask the launcher to stop the whole dataflow."""

    def close(self) -> None:
        """Send and receive no more."""
