"""Follow objects from picture to picture: boxes come in, and go out with an id for each object.

The method is ByteTrack (Zhang et al., ECCV 2022): a Kalman filter expects each object, boxes are
assigned to objects at the least sum of costs, the faint ones after the certain ones.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, Sequence

from dora_rt.errors import DoraRtError

from ..options import NodeParser, add_option, add_switch, number
from ..used_ports import wired
from .loop import BOXES_INPUT, TRACKS_OUTPUT, run
from .tracks import Tracker, TrackerOptions

__all__ = ["main", "parse_options"]

logger = logging.getLogger(__name__)

_EPILOG = """\
input:
  bbox      N x 6 float32 (x1, y1, x2, y2, confidence, class), as object_detection sends them
output:
  tracks    those boxes that are of an object, in the same form; `ids` in its metadata has the id of
            each, and `labels` and all other metadata of `bbox` are there too. plot shows them, if
            its input `bbox` is wired to tracks.

An object gets its id when it is seen for the second time. Let the detector send faint boxes as
well (object_detection: --confidence 0.1): they keep the id of an object that is partly hidden.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tracker node until its inputs end; return the exit status."""
    options = parse_options(argv, os.environ)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    from dora_rt import Node

    try:
        with wired(Node(), needs=[BOXES_INPUT], sends=[TRACKS_OUTPUT]) as node:
            run(node, Tracker(options))
    except DoraRtError as error:
        logger.error("%s", error)
        return 1
    return 0


def parse_options(argv: Sequence[str] | None, environ: Mapping[str, str]) -> TrackerOptions:
    """Read the options: from the command line, else `env:` of the file, else outside."""
    parser = NodeParser("tracker", __doc__, _EPILOG)
    default = TrackerOptions()
    fraction = number(0, 1)
    text = "confidence from which on a box is certain, and may begin a new object"
    add_option(parser, environ, "--high", fraction, default.high, text)
    text = "confidence from which on a fainter box may continue an object"
    add_option(parser, environ, "--low", fraction, default.low, text)
    text = "how unlike (1 - overlap) a box may be to where its object is expected; more follows "
    text += "faster objects, and confuses more"
    add_option(parser, environ, "--match", fraction, default.match, text)
    text = "seconds for which an object that is not seen is remembered"
    add_option(parser, environ, "--lost", number(0, 3600), default.lost_s, text)
    text = "let an object change its class, for detectors that waver between car and truck"
    add_switch(parser, environ, "--across-classes", text)
    options = parser.parse_args(argv)
    if options.low > options.high:
        parser.error(f"--low {options.low:g} is above --high {options.high:g}")
    return TrackerOptions(
        options.high, options.low, options.match, options.lost, options.across_classes
    )
