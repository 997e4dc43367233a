"""Be the camera of a dataflow: a device, stream, file or synthetic scene as output `image`."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing

from dora_rt.errors import DoraRtError

from ..options import (
    NodeParser,
    add_option,
    add_switch,
    number,
    one_of,
    warn_unused,
    whole_number,
    with_home,
)
from ..quiet_opencv import silence_opencv
from ..used_ports import wired
from .capture import CameraFormat
from .scene import SCENE_URL
from .sending import OUTPUT, Encoding, FrameSender, run
from .sources import EXPECTED, open_source, parse_source

__all__ = ["main"]

logger = logging.getLogger(__name__)

_JPEG_QUALITY = 90
_EPILOG = """\
The output `image` is H x W x 3 uint8 BGR, or with --encoding jpeg the bytes of a JPEG file; its
metadata has encoding, width, height and frame. If the dataflow wires any input to this node, such
as `tick: dora/timer/millis/33`, each event of it sends the newest frame; without inputs every new
frame is sent as it comes. A camera that goes away is waited for.

examples:
  --source auto                              the first camera that works, else the scene
  --source 0 --width 1280 --height 720 --fourcc MJPG
  --source rtsp://user:secret@192.168.1.20/stream
  --source http://192.168.1.20/snapshot.jpg --fps 2    a picture, fetched twice a second
  --source drive.mp4 --loop                  a video at its own pace, again and again
  --source pictures/ --fps 2                 a folder of pictures, two each second
  --source "test://scene?seed=3&frames=300"  a synthetic scene, with its truth as metadata
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the camera node until its source or the dataflow ends; return the exit status."""
    options = parse_options(argv, os.environ)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    # It reports each attempt to reopen a camera; this node reports once.
    silence_opencv(os.environ)
    from dora_rt import Node

    if options.encoding == Encoding.RAW.value:
        warn_unused(options, {"jpeg_quality": _JPEG_QUALITY}, "it is for --encoding jpeg")
    try:
        source = parse_source(options.source, options.fallback)
        wanted = CameraFormat(options.width, options.height, options.fps, options.fourcc)
        with (
            # Any input is a beat.
            wired(Node(), reads=None, sends=[OUTPUT]) as node,
            closing(open_source(source, wanted, loop=options.loop)) as frames,
        ):
            sender = FrameSender(node, Encoding(options.encoding), options.jpeg_quality)
            run(node, frames, sender, options.fps)
            logger.info("%s", sender.summary())
    except DoraRtError as error:
        logger.error("%s", error)
        return 1
    return 0


def parse_options(argv: Sequence[str] | None, environ: Mapping[str, str]) -> argparse.Namespace:
    """Read the options: from the command line, else `env:` of the file, else outside."""
    parser = NodeParser("webcam", __doc__, _EPILOG)
    size = whole_number(16, 16384)
    add_option(parser, environ, "--source", with_home, "auto", EXPECTED)
    text = "the scene that `auto` shows where there is no camera"
    add_option(parser, environ, "--fallback", with_home, SCENE_URL, text)
    text = "width to ask a camera for, in pixels; all else is resized to it"
    add_option(parser, environ, "--width", size, None, text)
    text = "height to ask a camera for, in pixels; all else is resized to it"
    add_option(parser, environ, "--height", size, None, text)
    text = (
        "rate to ask a camera for, or to play a file at instead of its own pace, or to fetch a "
        "picture at; 0 plays a file as fast as possible"
    )
    add_option(parser, environ, "--fps", number(0, 1000), None, text)
    text = "codec to ask a camera for, four letters such as MJPG or YUYV"
    add_option(parser, environ, "--fourcc", _fourcc, None, text)
    encoding = one_of(*(encoding.value for encoding in Encoding))
    add_option(parser, environ, "--encoding", encoding, "raw", "raw or jpeg")
    add_option(parser, environ, "--jpeg-quality", whole_number(1, 100), _JPEG_QUALITY, "1 to 100")
    add_switch(parser, environ, "--loop", "begin a recording again at its end")
    return parser.parse_args(argv)


def _fourcc(text: str) -> str:
    if len(text) != 4 or not text.isascii():
        raise argparse.ArgumentTypeError(f"'{text}' is not four letters, such as MJPG or YUYV")
    return text
