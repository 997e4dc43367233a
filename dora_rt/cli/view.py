"""`dora-rt view`: shows the pictures of an output, in a file, a web page or a window."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

from dora_rt.cli.verb import Verb, exit_codes_help
from dora_rt.exit_codes import EXIT_FAILED, EXIT_OK, EXIT_USAGE
from dora_rt.units import read_port

if TYPE_CHECKING:
    from dora_rt.event import Event
    from dora_rt.live.attach import Watch

_DESCRIPTION = """\
Show the pictures of an output as they come: in a window if there is a display, else as a web
page; or keep one in a file. No node waits for it or notices it."""

_EXIT_CODES = exit_codes_help(
    {EXIT_OK: "well", EXIT_FAILED: "there was no picture", EXIT_USAGE: "no such output"}
)

_EPILOG = f"""\
examples:
  dora-rt view camera/image                        a window or a web page, until Ctrl-C
  dora-rt view camera/image --boxes detector/bbox  with boxes around what was found
  dora-rt view camera/image --save now.png         one picture into a file
  dora-rt view camera/image --output web --port 0  a web page at any free port

{_EXIT_CODES}"""

_PAUSE_S = 0.002
_MOST_ODD = 3  # samples that are no picture, until an output counts as one that has none


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", metavar="[RUN/]NODE/OUTPUT", help="the output with the pictures")
    parser.add_argument(
        "--boxes", metavar="[RUN/]NODE/OUTPUT", help="an output with boxes to draw into them"
    )
    parser.add_argument(
        "--save", type=_picture_path, metavar="FILE", help="keep one picture in FILE, and end"
    )
    parser.add_argument(
        "--output", choices=("auto", "window", "web"), default="auto", help="where to show them"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address of the web page")
    parser.add_argument("--port", type=read_port, default=8080, help="port of the web page; 0: any")


def _picture_path(text: str) -> Path:
    path = Path(text)
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no picture; expected .png or .jpg (dora-rt record keeps all of them)"
        )
    return path


def _run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    # Here: no other verb pays for numpy and OpenCV.
    from dora_rt.live.attach import attach

    with ExitStack() as stack:
        watches = {"image": stack.enter_context(attach(options.image))}
        if options.boxes is not None:
            watches["bbox"] = stack.enter_context(attach(options.boxes))
        live = _Live(watches)
        has_seen = _show(options, live) if options.save is None else _save(options.save, live)
    if not has_seen:
        print(f"dora-rt: there was no picture in {options.image}", file=sys.stderr)
    return EXIT_OK if has_seen else EXIT_FAILED


def _show(options: argparse.Namespace, live: _Live) -> bool:
    from dora_rt.nodes.plot import open_screen
    from dora_rt.nodes.plot.viewer import Viewer, run

    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    with closing(open_screen(options)) as screen:
        has_boxes = options.boxes is not None
        viewer = Viewer(screen, (), expects_boxes=has_boxes, name_of=live.name_of)
        run(live, viewer, screen)
    return bool(viewer.statistics.frames)


def _save(path: Path, live: _Live) -> bool:
    """Save the first picture, or the first one whose boxes came; return whether there was one."""
    from dora_rt.detections import Detections, NoBoxesError
    from dora_rt.errors import CorruptSampleError
    from dora_rt.nodes.plot.drawing import draw_boxes
    from dora_rt.nodes.plot.saving import open_saver
    from dora_rt.picture import NoPictureError, picture_of
    from dora_rt.picture_matcher import PictureMatcher, received_finding, received_picture

    saver = open_saver(path)
    has_boxes = "bbox" in live.watches
    matcher: PictureMatcher[Event, Detections] = PictureMatcher(["bbox"] if has_boxes else [])
    odd = {"image": 0, "bbox": 0}
    while (event := live.next()) is not None:
        now_ns = time.monotonic_ns()
        try:
            if event.id == "image":
                view = matcher.add_picture(received_picture(event), now_ns)
            else:
                view = matcher.add_finding("bbox", received_finding(event), now_ns)
            if view is None:
                continue
            pixels = view.picture.pixels
            image = picture_of(pixels.value, pixels.metadata).copy()
        except (NoPictureError, NoBoxesError, CorruptSampleError) as error:
            # A picture that waited for its boxes is decoded when these come.
            input_id = "image" if isinstance(error, NoPictureError) else event.id
            odd[input_id] += 1
            if odd[input_id] == 1:
                print(f"dora-rt: {live.name_of(input_id)}: {error}", file=sys.stderr)
            if odd["image"] == _MOST_ODD:
                return False
            continue
        found = view.findings.get("bbox")
        if found is not None and found.are_of(image.shape[1], image.shape[0]):
            draw_boxes(image, found.boxes, found.labels, found.ids)
        elif has_boxes:
            print(f"no boxes of this picture have come from {live.watches['bbox'].output}")
        saver.add(image, view.picture.origin_ns)
        print(f"saved: {(saver.close() or path).absolute()}")
        return True
    return False


class _Live:
    """The samples of the watches, in the form of a node, for the loop of the plot node."""

    def __init__(self, watches: Mapping[str, Watch]) -> None:
        self.watches = watches
        self._is_over = False

    def name_of(self, input_id: str) -> str:
        """Return the output that the user has named."""
        watch = self.watches.get(input_id)
        return input_id if watch is None else f"output '{watch.output}'"

    def next(self, timeout: float | None = None) -> Event | None:
        """Wait for a picture or boxes; None when the run has ended or the view was closed."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._is_over and not all(one.has_ended for one in self.watches.values()):
            for input_id, watch in self.watches.items():
                event = watch.take()
                if event is not None:
                    event.id = input_id
                    return event
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError
            time.sleep(_PAUSE_S)
        return None

    def stop_dataflow(self) -> None:
        """End the view, and not the dataflow."""
        self._is_over = True


VERB = Verb(_DESCRIPTION, _EPILOG, _add_arguments, _run)
