"""The shape of a node that a loop needs, so that loops can be tested without a dataflow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol

from numpy.typing import DTypeLike, NDArray

from dora_rt.event import Event


class NodeLike(Protocol):
    """What `dora_rt.Node` and `dora_rt.testing.FakeNode` have in common."""

    def next(self, timeout: float | None = None) -> Event | None:
        """Wait for the next input; None at the end; TimeoutError after `timeout` seconds."""

    def try_next(self) -> Event | None:
        """Give an input that is already there, else None."""

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
        """Give an uninitialised array in shared memory; it is sent when the block ends.

        `metadata` is read at the end of the block, which may fill it.
        """

    def input_ids(self) -> tuple[str, ...]:
        """Name the inputs that the dataflow wires to this node."""

    def is_stopped(self) -> bool:
        """Tell whether the node was asked to end."""

    def stop_dataflow(self) -> None:
        """Ask the launcher to stop the whole dataflow."""
