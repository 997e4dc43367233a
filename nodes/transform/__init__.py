"""Change the pictures of a dataflow: undistort, rotate, flip, crop, resize, other colours."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Mapping, Sequence

from dora_rt.errors import DoraRtError

from ..options import NodeParser, add_option, add_switch, file_path, number, one_of, whole_number
from ..used_ports import wired
from .calibration import read_calibration
from .loop import ENCODINGS, IMAGE_INPUT, IMAGE_OUTPUT, run
from .steps import Crop, Steps, parse_crop

__all__ = ["main", "parse_options"]

logger = logging.getLogger(__name__)

_EPILOG = """\
inputs:
  image   H x W x 3 uint8 BGR, or the bytes of a JPEG or PNG file
outputs:
  image   the picture, with the time and the metadata of the one that came, of another size

What is asked for is done in this order: undistort, rotate, flip, crop, resize, encode. True boxes
of the synthetic scene are left out where they would no longer be right.

examples:
  --width 640                                      smaller, with the same proportions
  --width 640 --height 640 --letterbox             a square, with bars
  --crop 10%,0,80%,100% --rotate 90
  --undistort camera.yaml                          a calibration of ROS or OpenCV
  --encoding jpeg --jpeg-quality 80
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the node until its inputs end; return the exit status."""
    options = parse_options(argv, os.environ)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    from dora_rt import Node

    try:
        calibration = None if options.undistort is None else read_calibration(options.undistort)
        steps = Steps(
            calibration,
            options.alpha,
            int(options.rotate),
            options.flip,
            options.crop,
            (options.width, options.height),
            keeps_proportions=options.letterbox,
        )
        with wired(Node(), needs=[IMAGE_INPUT], sends=[IMAGE_OUTPUT]) as node:
            run(node, steps, options.encoding, options.jpeg_quality)
    except DoraRtError as error:
        logger.error("%s", error)
        return 1
    return 0


def parse_options(argv: Sequence[str] | None, environ: Mapping[str, str]) -> argparse.Namespace:
    """Read the options: from the command line, else `env:` of the file, else outside."""
    parser = NodeParser("transform", __doc__, _EPILOG)
    text = (
        "YAML file with the camera matrix and distortion, as ROS (camera_info) or OpenCV write it"
    )
    add_option(parser, environ, "--undistort", file_path, None, text)
    text = "of undistorted pictures: 0 has no black corners, 1 has all that the camera saw"
    add_option(parser, environ, "--alpha", number(0, 1), 0.0, text)
    text = "clockwise: 0, 90, 180 or 270"
    add_option(parser, environ, "--rotate", one_of("0", "90", "180", "270"), "0", text)
    text = "none, horizontal (as a mirror), vertical or both"
    flips = one_of("none", "horizontal", "vertical", "both")
    add_option(parser, environ, "--flip", flips, "none", text)
    text = "LEFT,TOP,WIDTH,HEIGHT in pixels, or each in percent (25%)"
    add_option(parser, environ, "--crop", _crop, None, text)
    pixels = whole_number(1, 16384)
    text = "in pixels; with one of both, the proportions stay"
    add_option(parser, environ, "--width", pixels, None, text)
    add_option(parser, environ, "--height", pixels, None, text)
    text = "with --width and --height: keep the proportions, and put bars where they do not fit"
    add_switch(parser, environ, "--letterbox", text)
    text = f"colours: {', '.join(ENCODINGS)}"
    add_option(parser, environ, "--encoding", one_of(*ENCODINGS), "bgr8", text)
    add_option(parser, environ, "--jpeg-quality", whole_number(1, 100), 90, "1 to 100")
    options = parser.parse_args(argv)
    if options.letterbox and (options.width is None or options.height is None):
        parser.error("--letterbox needs --width and --height")
    return options


def _crop(text: str) -> Crop:
    try:
        return parse_crop(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
