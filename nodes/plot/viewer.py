"""The loop of the plot node: from received pictures and boxes to the screen."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

import numpy as np

from dora_rt.errors import CorruptSampleError
from dora_rt.event import Event
from dora_rt.interface import NodeLike

from .drawing import draw_boxes, draw_status
from .matching import Matcher, Picture, View
from .received import InputError, decode, read_detections
from .saving import Saver
from .screens import Screen
from .statistics import Statistics

logger = logging.getLogger(__name__)

IMAGE_INPUT = "image"
BOXES_INPUT = "bbox"


class Viewer:
    """Match, draw, show, save and count what comes in.

    Args:
        screen: where it is shown.
        savers: where it is saved.
        expects_boxes: whether the dataflow wires boxes to this node.
        clock: nanoseconds of the clock that events are stamped with.
    """

    def __init__(
        self,
        screen: Screen,
        savers: Sequence[Saver],
        *,
        expects_boxes: bool,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._screen = screen
        self._savers = savers
        self._clock = clock
        self._matcher: Matcher[Event] = Matcher(expects_boxes=expects_boxes)
        self._told: set[str] = set()
        self.statistics = Statistics(clock)

    def take(self, event: Event) -> bool:
        """Take one event of any input; False if the user wants to end."""
        self.statistics.add_drops(event.dropped)
        try:
            view = self._match(event)
            return True if view is None else self._show(view)
        except (InputError, CorruptSampleError) as error:
            self._tell_once(str(error))
            return True

    def show_remaining(self) -> None:
        """Show the last picture if none was shown yet, because its boxes never came."""
        view = self._matcher.take_last()
        if view is None or self.statistics.frames > 0:
            return
        try:
            self._show(view)
        except (InputError, CorruptSampleError) as error:
            self._tell_once(str(error))

    def _match(self, event: Event) -> View[Event] | None:
        match event.id:
            case "image":
                return self._matcher.add_picture(Picture(event.origin_ns, event), self._clock())
            case "bbox":
                return self._matcher.add_detections(read_detections(event), self._clock())
            case "sync" if {IMAGE_INPUT, BOXES_INPUT} <= event.value.keys():
                # The dataflow file lets them come together.
                picture = event[IMAGE_INPUT]
                return View(Picture(event.origin_ns, picture), read_detections(event[BOXES_INPUT]))
            case other:
                self._tell_once(
                    f"input '{other}' is not shown; plot has the inputs "
                    f"'{IMAGE_INPUT}' and '{BOXES_INPUT}'"
                )
                return None

    def _show(self, view: View[Event]) -> bool:
        image = decode(view.picture.pixels)
        canvas = self._screen.canvas(image.shape)
        # A received picture is shared with all its readers: drawing goes into a copy.
        np.copyto(canvas, image)
        if view.detections is not None:
            draw_boxes(canvas, view.detections.boxes, view.detections.labels)
        status = self.statistics.add_view(view.picture.origin_ns, view.detections, canvas.shape)
        hint = "" if view.is_exact else "   (boxes of an earlier picture)"
        draw_status(canvas, status.line() + hint)
        for saver in self._savers:
            saver.add(canvas, view.picture.origin_ns)
        return self._screen.show(canvas, status)

    def _tell_once(self, text: str) -> None:
        """Warn, but not once a frame."""
        if text not in self._told and len(self._told) < 20:
            self._told.add(text)
            logger.warning("%s", text)


def run(node: NodeLike, viewer: Viewer, screen: Screen) -> None:
    """Show what comes in until the dataflow ends, or the user ends it at the screen."""
    while True:
        try:
            event = node.next(timeout=screen.attention_s)
        except TimeoutError:
            wants_more = screen.attend()
        else:
            if event is None:
                break
            wants_more = viewer.take(event)
        if not wants_more:
            node.stop_dataflow()
            break
    viewer.show_remaining()
