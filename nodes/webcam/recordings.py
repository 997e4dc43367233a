"""Sources at a steady rate: what they share, and the synthetic scene."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .frame import Frame, Image
from .pacing import Pacer
from .scene import Scene, SceneOptions, scene_metadata


class Recording:
    """Frames that are there already, given at a steady rate until `_seek` finds no more."""

    def __init__(
        self,
        fps: float,
        *,
        clock: Callable[[], int] = time.monotonic_ns,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._clock = clock
        self._pacer = Pacer(fps, clock, sleep)
        self._own_fps = fps
        self._is_finished = False

    @property
    def is_finished(self) -> bool:
        """Whether the last frame was given."""
        return self._is_finished

    @contextmanager
    def frame(self, timeout_s: float, *, newest: bool) -> Iterator[Frame | None]:
        """Wait until the next frame is due; None after `timeout_s`, or at the end.

        Raises:
            SourceError: the file cannot be read.
        """
        number = None
        if not self._is_finished:
            number = self._pacer.wait_due(timeout_s, newest=newest and self._may_skip())
        if number is not None and not self._seek(number):
            self._is_finished = True
        yield None if number is None or self._is_finished else self._make_frame(number)

    def set_fps(self, fps: float | None) -> None:
        """Go on at another rate; None: at the one at which it began."""
        self._pacer.set_fps(self._own_fps if fps is None else fps)

    def close(self) -> None:
        """Close the file, if there is one."""

    def _may_skip(self) -> bool:
        return True

    def _seek(self, number: int) -> bool:
        """Go to frame `number`, which is never before the present one; False behind the end."""
        raise NotImplementedError

    def _make_frame(self, number: int) -> Frame:
        raise NotImplementedError


class SceneSource(Recording):
    """The synthetic scene, which knows the true boxes of every frame."""

    def __init__(
        self,
        options: SceneOptions,
        fps: float | None = None,
        *,
        clock: Callable[[], int] = time.monotonic_ns,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(options.fps if fps is None else fps, clock=clock, sleep=sleep)
        self._options = options
        self._scene = Scene(options.width, options.height, options.seed, options.objects)

    def _seek(self, number: int) -> bool:
        return self._options.frames is None or number < self._options.frames

    def _make_frame(self, number: int) -> Frame:
        metadata: dict[str, Any] = {}

        def draw(out: Image) -> None:
            # The boxes are known once it is drawn, which happens in the receiver's memory.
            boxes = self._scene.render(number, out)
            metadata.update(scene_metadata(self._options.seed, number, boxes))

        return Frame(
            number=number,
            # A camera's frame is stamped when it is there, not when its exposure began.
            captured_ns=self._clock(),
            shape=(self._options.height, self._options.width, 3),
            fill=draw,
            metadata=metadata,
        )
