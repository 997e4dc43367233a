"""Show the pictures of a dataflow with boxes around the objects found in them."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

from dora_rt.errors import DoraRtError

from ..options import NodeParser, add_option, file_path, one_of, warn_unused, whole_number
from ..quiet_opencv import silence_opencv
from ..used_ports import wired
from .output import Output, can_open_window, choose_output, opencv_has_gui
from .saving import open_saver
from .screens import HiddenScreen, Screen, WebScreen, WindowScreen
from .viewer import BOXES_INPUT, FOUND_INPUTS, IMAGE_INPUT, Viewer, run

__all__ = ["main"]

logger = logging.getLogger(__name__)

_HOST, _PORT = "127.0.0.1", 8080
_SYSTEM_FONTS = "/usr/share/fonts"

_EPILOG = """\
inputs:
  image   H x W x 3 uint8 BGR, or the bytes of a JPEG or PNG file
  bbox    N x 6 float32 (x1, y1, x2, y2, confidence, class), `labels` in its metadata; optional
  masks, keypoints, oriented, classes     what object_detection finds beyond boxes; optional

Boxes are drawn on the picture they were found in, or the picture says that they are not here.
Without a display the picture is a web page, by default on this machine only; from elsewhere,
forward its port: ssh -L 8080:127.0.0.1:8080 robot

examples:
  --output web --port 0                      a web page at any free port
  --output file --save out/last.png          no screen, but the last picture as a file
  --save out/drive.mp4                       all that is shown, as a video
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the plot node until the dataflow or its user ends it; return the exit status."""
    options = parse_options(argv, os.environ)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    silence_opencv(os.environ)
    from dora_rt import Node

    try:
        with wired(Node(), needs=[IMAGE_INPUT], reads=FOUND_INPUTS) as node:
            savers = [] if options.save is None else [open_saver(options.save)]
            with closing(open_screen(options)) as screen:
                expects = [name for name in FOUND_INPUTS if name in node.input_ids()]
                has_boxes = BOXES_INPUT in expects
                others = [name for name in expects if name != BOXES_INPUT]
                viewer = Viewer(screen, savers, expects_boxes=has_boxes, expects=others)
                try:
                    run(node, viewer, screen)
                finally:
                    paths = [saver.close() for saver in savers]
            for line in viewer.summary():
                logger.info("%s", line)
            for path in paths:
                if path is not None:
                    # Whole: the node runs in the folder of the dataflow file, its reader elsewhere.
                    logger.info("saved: %s", path.absolute())
    except DoraRtError as error:
        logger.error("%s", error)
        return 1
    return 0


def open_screen(options: argparse.Namespace) -> Screen:
    """Open the screen that the options ask for, or the nearest one there is, and log which.

    Raises:
        WebServerError: the web page cannot be served.
    """
    choice = choose_output(
        Output(options.output),
        os.environ,
        has_gui=opencv_has_gui(),
        can_open_window=can_open_window,
    )
    if choice.output is not Output.WEB:
        why = f"no page is shown (--output {choice.output.value})"
        warn_unused(options, {"host": _HOST, "port": _PORT}, why)
    match choice.output:
        case Output.WINDOW:
            # pip's OpenCV points Qt to a folder of fonts that it does not ship, and Qt complains.
            if not Path(os.environ.get("QT_QPA_FONTDIR", "")).is_dir():
                os.environ["QT_QPA_FONTDIR"] = _SYSTEM_FONTS
            return WindowScreen()
        case Output.WEB:
            screen = WebScreen.open(options.host, options.port)
            why = f" ({choice.reason})" if choice.reason else ""
            logger.info("open %s to watch%s", screen.url, why)
            return screen
        case _:
            return HiddenScreen()


def parse_options(argv: Sequence[str] | None, environ: Mapping[str, str]) -> argparse.Namespace:
    """Read the options: from the command line, else `env:` of the file, else outside."""
    parser = NodeParser("plot", __doc__, _EPILOG)
    output = one_of(*(output.value for output in Output))
    text = "auto, window, web, file (only --save) or none; auto is a window if there is a display"
    add_option(parser, environ, "--output", output, "auto", text)
    text = "address of the web page; 0.0.0.0 shows it to the whole network"
    add_option(parser, environ, "--host", str, _HOST, text, from_outside=False)
    text = "port of the web page; the next free one if it is taken, any if 0"
    port = whole_number(0, 65535)
    add_option(parser, environ, "--port", port, _PORT, text, from_outside=False)
    text = "file for the last picture (.png, .jpg), or for a video of all (.mp4, .avi)"
    add_option(parser, environ, "--save", file_path, None, text)
    options = parser.parse_args(argv)
    if options.output == Output.FILE.value and options.save is None:
        parser.error("--output file needs --save PATH, such as --save out/last.png")
    return options
