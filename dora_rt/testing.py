"""A node without a dataflow, for tests of node loops: inputs from a list, outputs into a list."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dora_rt.event import Event


@dataclass(frozen=True, slots=True)
class Sent:
    """One sample that the loop under test sent."""

    output_id: str
    value: Any
    metadata: dict[str, Any]
    captured_ns: int | None


class FakeNode:
    """Give `events` to a loop and keep what it sends in `sent`; the stream ends after the last."""

    def __init__(
        self, events: Iterable[Event] = (), *, input_ids: tuple[str, ...] | None = None
    ) -> None:
        self._events = deque(events)
        self._input_ids = input_ids
        self.stopped = False
        self.sent: list[Sent] = []
        self.dataflow_stopped = False

    def next(self, timeout: float | None = None) -> Event | None:
        """Give the next prepared event, or None when there is none left."""
        return self._events.popleft() if self._events else None

    def try_next(self) -> Event | None:
        """Give the next prepared event, or None when there is none left."""
        return self.next()

    def __iter__(self) -> Iterator[Event]:
        while (event := self.next()) is not None:
            yield event

    def send_output(
        self,
        output_id: str,
        data: Any,
        metadata: dict[str, Any] | None = None,
        *,
        captured_ns: int | None = None,
        timeout: float | None = None,
    ) -> None:
        """Keep a copy of the sample in `sent`."""
        value = data.copy() if isinstance(data, np.ndarray) else bytes(data)
        self.sent.append(Sent(output_id, value, dict(metadata or {}), captured_ns))

    @contextmanager
    def loan(
        self,
        output_id: str,
        shape: int | tuple[int, ...],
        dtype: DTypeLike = "uint8",
        metadata: dict[str, Any] | None = None,
        *,
        captured_ns: int | None = None,
        timeout: float | None = None,
    ) -> Iterator[NDArray[Any]]:
        """Give an array to fill; it is in `sent` after the block, unless the block raised."""
        array = np.empty(shape, dtype)
        yield array
        self.sent.append(Sent(output_id, array, dict(metadata or {}), captured_ns))

    def input_ids(self) -> tuple[str, ...]:
        """Name the inputs given at construction, else those of the prepared events."""
        if self._input_ids is not None:
            return self._input_ids
        return tuple(dict.fromkeys(event.id for event in self._events))

    def is_stopped(self) -> bool:
        """Tell whether the test set `stopped`, or the loop asked for the end."""
        return self.stopped or self.dataflow_stopped

    def stop_dataflow(self) -> None:
        """Remember that the loop asked for the end."""
        self.dataflow_stopped = True
