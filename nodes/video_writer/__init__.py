"""Write the pictures of a dataflow as a video, each at its own time."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from dora_rt.errors import DoraRtError

from ..options import NodeParser, add_option, file_path, number, one_of, whole_number
from ..quiet_opencv import silence_opencv
from ..used_ports import wired
from ..video_output import CODECS, VIDEO_SUFFIXES
from .loop import IMAGE_INPUT, run
from .parts import Parts

__all__ = ["main", "parse_options"]

logger = logging.getLogger(__name__)

_EPILOG = """\
inputs:
  image   H x W x 3 uint8 BGR, or the bytes of a JPEG or PNG file

The pictures have their times by when they were taken, so the video lasts as long as they did. An
MP4 (H.264 where this OpenCV can write it, else MPEG-4) has the time of each; an AVI (Motion JPEG)
has a steady rate, with pictures repeated and left out. Both can be read while they are written, and
if the robot is switched off. A file that is there already is never replaced: the next one is
drive-2.mp4.

examples:
  --save out/drive.mp4
  --save out/%Y-%m-%d_%H-%M-%S.mp4 --split-minutes 10 --keep 6    the last hour
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the node until its inputs end; return the exit status."""
    options = parse_options(argv, os.environ)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    silence_opencv(os.environ)
    from dora_rt import Node

    parts = Parts(options.save, options.codec, options.split_minutes, options.keep)
    try:
        with wired(Node(), needs=[IMAGE_INPUT]) as node:
            try:
                run(node, parts)
            finally:
                parts.close()
    except DoraRtError as error:
        logger.error("%s", error)
        return 1
    return 0


def parse_options(argv: Sequence[str] | None, environ: Mapping[str, str]) -> argparse.Namespace:
    """Read the options: from the command line, else `env:` of the file, else outside."""
    parser = NodeParser("video_writer", __doc__, _EPILOG)
    text = "the video (.mp4 or .avi); %%Y, %%m, %%d, %%H, %%M, %%S in its name are the local time"
    default = Path("video.mp4")
    add_option(parser, environ, "--save", file_path, default, text.replace("%%", "%"))
    text = "of an MP4: auto, h264 or mpeg4; auto is H.264 where this OpenCV can write it"
    add_option(parser, environ, "--codec", one_of(*CODECS), "auto", text)
    text = "begin a new file each so many minutes; 0: never"
    add_option(parser, environ, "--split-minutes", number(0, 1e6), 0.0, text)
    text = "how many files to keep; the oldest one of this run goes when there are more. 0: all"
    add_option(parser, environ, "--keep", whole_number(0, 1_000_000), 0, text)
    options = parser.parse_args(argv)
    if options.save.suffix.lower() not in VIDEO_SUFFIXES:
        expected = " or ".join(VIDEO_SUFFIXES)
        parser.error(f"--save {options.save}: expected a name that ends in {expected}")
    if options.keep and not options.split_minutes:
        parser.error("--keep needs --split-minutes, such as --split-minutes 10")
    return options
