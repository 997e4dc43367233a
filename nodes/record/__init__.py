"""Record what comes in into an MCAP file, which can be replayed, and looked at with Foxglove."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dora_rt.errors import DoraRtError

from ..options import NodeParser, file_path, one_of
from ..recorded import RecordingError
from ..used_ports import wired
from .loop import run
from .recorder import Compression, PictureForm, Recorder, check_path

__all__ = ["check_path", "default_path", "main", "open_recorder"]

logger = logging.getLogger(__name__)

_EPILOG = """\
Each input is recorded whole, under the name of the output that it reads: values, metadata, times.
Beside it, for Foxglove: NODE/OUTPUT/picture for pictures, and NODE/OUTPUT/boxes for boxes (N x 6,
`labels` in the metadata). Give the inputs long queues, but not `block`, which would slow the flow.

examples:
  --file out/drive.mcap                 a file that does not exist yet
  --pictures none                       less work: only what a replay needs
  --compression zstd                    more work, and a smaller file
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the record node until its inputs end; return the exit status."""
    options = parse_options(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    from dora_rt import Node

    try:
        with wired(Node(), reads=None, needs_any=True) as node:
            run(node, node.input_sources(), lambda: open_recorder(options, os.environ))
    except DoraRtError as error:
        logger.error("%s", error)
        return 1
    return 0


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = NodeParser("record", __doc__, _EPILOG)
    parser.add_argument(
        "--file", type=file_path, metavar="FILE", help="the .mcap file [default: the time, .mcap]"
    )
    _add_file_options(parser)
    # Of the dataflow that `dora-rt record` runs, as text for the file.
    parser.add_argument("--dataflow", default="", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def _add_file_options(parser: argparse.ArgumentParser) -> None:
    """Add the options about the file's contents."""
    parser.add_argument(
        "--pictures",
        type=one_of(*(form.value for form in PictureForm)),
        default=PictureForm.JPEG.value,
        metavar="FORM",
        help="how Foxglove gets pictures: jpeg (default), raw, or none; a replay always gets them "
        "as they were",
    )
    parser.add_argument(
        "--compression",
        type=one_of(*(kind.value for kind in Compression)),
        default=Compression.NONE.value,
        metavar="KIND",
        help="of the file: none (default), lz4 or zstd: smaller, and more work",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a file that exists")
    parser.add_argument(
        "--ros2",
        action="store_true",
        help="write a bag of ROS 2 instead: messages that ros2 bag play and Foxglove read",
    )
    parser.add_argument(
        "--topic",
        action="append",
        default=[],
        metavar="NODE/OUTPUT=TOPIC:TYPE",
        help="with --ros2: which message an output is, where it cannot be guessed",
    )


def open_recorder(options: argparse.Namespace, environ: Mapping[str, str]) -> Recorder:
    """Open the file that the options ask for.

    Raises:
        RecordingError: it exists, or cannot be written.
        ExtraMissingError: the extra `record` is not installed.
    """
    types = _bag_types(options.topic) if options.ros2 else None
    kind = Recorder if types is None else _bag_recorder()
    recorder: Any = kind.open(
        default_path() if options.file is None else options.file,
        pictures=PictureForm(options.pictures),
        compression=Compression(options.compression),
        overwrites=options.overwrite,
        about={"dataflow": options.dataflow} if options.dataflow else {},
    )
    if types is not None:
        recorder.types = types
    opened: Recorder = recorder
    return opened


def _bag_recorder() -> Any:
    # numpy and the types of ROS are not for those who only record.
    from .ros_bag import BagRecorder

    return BagRecorder


def _bag_types(topics: Sequence[str]) -> Any:
    from ..ros2.bag_messages import BagTypes

    try:
        return BagTypes(" ".join(topics))
    except argparse.ArgumentTypeError as error:
        raise RecordingError(f"--topic: {error}") from error


def default_path() -> Path:
    """Name a file by the time."""
    return Path(time.strftime("%Y-%m-%d_%H-%M-%S.mcap"))
