"""The loop of the plot node: from received pictures and boxes to the screen."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence

import numpy as np

from dora_rt.detections import FINDINGS, Detections, NoBoxesError, put_together
from dora_rt.errors import CorruptSampleError
from dora_rt.event import Event
from dora_rt.interface import NodeLike
from dora_rt.picture import NoPictureError, picture_of
from dora_rt.picture_matcher import PictureMatcher, View, received_finding, received_picture

from ..odd_samples import OddSamples
from .drawing import draw_found, draw_status
from .saving import Saver
from .screens import Screen
from .statistics import Statistics

IMAGE_INPUT = "image"
BOXES_INPUT = "bbox"
FOUND_INPUTS = (BOXES_INPUT, *FINDINGS)
SYNC_INPUT = "sync"

_ODD = (NoPictureError, NoBoxesError, CorruptSampleError)
_LACKS_BOXES = "no boxes of this picture"
# So many boxes without their picture, and none with it, are no chance.
_MANY_UNMATCHED = 10


class Viewer:
    """Match, draw, show, save and count what comes in.

    Args:
        screen: where it is shown.
        savers: where it is saved.
        expects_boxes: whether the dataflow wires boxes to this node.
        expects: the inputs of FINDINGS that it wires to it.
        clock: nanoseconds of the clock that events are stamped with.
        name_of: returns the name of an input for the user.
    """

    def __init__(
        self,
        screen: Screen,
        savers: Sequence[Saver],
        *,
        expects_boxes: bool,
        expects: Collection[str] = (),
        clock: Callable[[], int] = time.monotonic_ns,
        name_of: Callable[[str], str] = "input '{}'".format,
    ) -> None:
        self._screen = screen
        self._savers = savers
        self._clock = clock
        expected = [*([BOXES_INPUT] if expects_boxes else []), *expects]
        self._matcher: PictureMatcher[Event, Detections] = PictureMatcher(expected)
        self._name_of = name_of
        self._odd = OddSamples(name_of)
        self._unmatched = 0
        self.statistics = Statistics(clock)

    def take(self, event: Event) -> bool:
        """Take one event of any input; False if the user wants to end."""
        # The moment that the launcher's counters call the age of this sample.
        received_ns = self._clock()
        if event.id == SYNC_INPUT and IMAGE_INPUT in event.value:
            return self._show_matched(event, received_ns)
        try:
            view = self._match(event, received_ns)
        except _ODD as error:
            self._odd.add(event.id, error)
            return True
        return True if view is None else self._show(view, received_ns)

    def show_remaining(self) -> None:
        """Show the last picture if none was shown yet, because its boxes never came."""
        view = self._matcher.take_last()
        if view is not None:
            self._show(view, self._clock())

    def summary(self) -> list[str]:
        """Return what was shown, in a few lines."""
        self.statistics.unmatched = self._unmatched + self._matcher.unmatched
        return [*self.statistics.summary(), *self._odd.summary()]

    def _match(self, event: Event, now_ns: int) -> View[Event, Detections] | None:
        match event.id:
            case "image":
                self.statistics.add_drops(event.dropped)
                return self._matcher.add_picture(received_picture(event), now_ns)
            case name if name in FOUND_INPUTS:
                self.statistics.add_drops(event.dropped)
                view = self._matcher.add_finding(name, received_finding(event), now_ns)
                if self._matcher.unmatched >= _MANY_UNMATCHED and not self._matcher.matched:
                    self._odd.tell_once(
                        f"{self._name_of(name)}: no boxes have the time of a picture that "
                        "is here: send them in answer to their picture, or with "
                        "captured_ns=event.origin_ns of it"
                    )
                return view
            case other:
                self._odd.tell_once(
                    f"input '{other}' is not shown; plot has the inputs '{IMAGE_INPUT}', "
                    + ", ".join(f"'{name}'" for name in FOUND_INPUTS)
                )
                return None

    def _show_matched(self, event: Event, received_ns: int) -> bool:
        """Show a picture and what the dataflow file lets come together with it, by `sync:`."""
        self._unmatched += event.dropped
        picture = received_picture(event[IMAGE_INPUT])
        found: dict[str, Detections] = {}
        hint = ""
        for name in FOUND_INPUTS:
            if name not in event.value:
                continue
            try:
                finding = received_finding(event[name])
            except _ODD as error:
                self._odd.add(name, error)
                continue
            found[name] = finding.content
            # The file may allow for a difference: then both are not of the same picture.
            if later_ms := (finding.origin_ns - picture.origin_ns) / 1e6:
                when = "later" if later_ms > 0 else "earlier"
                hint = f"boxes of {abs(later_ms):.0f} ms {when}"
        return self._show(View(picture, found, lacks_findings=not found), received_ns, hint)

    def _show(self, view: View[Event, Detections], received_ns: int, hint: str = "") -> bool:
        """Show a picture; False if the user wants to end."""
        try:
            event = view.picture.pixels
            image = picture_of(event.value, event.metadata)
        except _ODD as error:
            self._odd.add(IMAGE_INPUT, error)
            return True
        canvas = self._screen.canvas(image.shape)
        # A received picture is shared with all its readers: drawing goes into a copy.
        np.copyto(canvas, image)
        found = self._found_on(view, canvas.shape)
        if found is not None:
            draw_found(canvas, found)
        lacks_boxes = found is None and (view.lacks_findings or bool(view.findings))
        status = self.statistics.add_view(
            received_ns, view.picture.origin_ns, found, canvas.shape, lacks_boxes=lacks_boxes
        )
        hint = _LACKS_BOXES if lacks_boxes else hint
        draw_status(canvas, status.line() + (f"   ({hint})" if hint else ""))
        for saver in self._savers:
            saver.add(canvas, view.picture.origin_ns)
        return self._screen.show(canvas, status)

    def _found_on(self, view: View[Event, Detections], shape: tuple[int, ...]) -> Detections | None:
        """Return all that was found on a picture; None if there is nothing for its size."""
        parts = []
        for name, part in view.findings.items():
            if part.are_of(shape[1], shape[0]):
                parts.append(part)
                continue
            width, height = part.size or (0, 0)
            if part.masks is not None:
                height, width = part.masks.shape
            what = "boxes" if name == BOXES_INPUT else name
            self._odd.tell_once(
                f"{self._name_of(name)}: {what} of a picture of {width} x {height} pixels are "
                f"not drawn on one of {shape[1]} x {shape[0]}: wire '{IMAGE_INPUT}' to the output "
                "that the detector reads"
            )
        return put_together(parts) if parts else None


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
