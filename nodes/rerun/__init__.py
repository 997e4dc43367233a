"""Show pictures, boxes and numbers in the viewer Rerun, or write them into an .rrd file."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Mapping, Sequence

from dora_rt.errors import DoraRtError

from ..options import (
    NodeParser,
    add_option,
    add_switch,
    file_path,
    number,
    warn_unused,
    whole_number,
)
from ..used_ports import wired
from .feed import Feed
from .loop import run
from .stream import Stream, Target, memory_nbytes, open_stream

__all__ = ["main"]

logger = logging.getLogger(__name__)

_EPILOG = """\
inputs:
  image        H x W x 3 uint8 BGR, or the bytes of a JPEG or PNG file
  bbox         N x 6 float32 (x1, y1, x2, y2, confidence, class), `labels` in its metadata
  any other    up to 16 numbers become curves, text becomes a log

All are optional. Give `any other` inputs `queue_policy: latest`. No node ever waits for the viewer:
what it is too slow for is left out, and counted at the end.

examples:
  (no option)                                a viewer if there is a display, else a web page
  --save out/drive.rrd                       a file, for `rerun out/drive.rrd`
  --connect rerun+http://laptop:9876/proxy   a viewer that runs elsewhere, now or later
  --serve-web                                a web page, on http://127.0.0.1:9090
"""
_PORT = 9090
_VIEWER = "rerun+http://127.0.0.1:9876/proxy"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the node until its inputs end; return the exit status."""
    options = parse_options(argv, os.environ)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    from dora_rt import Node

    try:
        with wired(Node(), reads=None, needs_any=True) as node:
            stream = _open(options, os.environ)
            feed = Feed(stream, rate_hz=options.rate, quality=options.quality)
            run(node, feed, expects_boxes="bbox" in node.input_ids())
            is_done = feed.close()
            logger.info("%s", feed.summary())
    except DoraRtError as error:
        logger.error("%s", error)
        return 1
    if not is_done:
        # The SDK would wait for its viewer at the end of the process, for ever.
        logger.warning("the viewer has not taken all that it was sent")
        logging.shutdown()
        os._exit(0)
    return 0


def parse_options(argv: Sequence[str] | None, environ: Mapping[str, str]) -> argparse.Namespace:
    """Read the options: from the command line, else `env:` of the file, else outside."""
    parser = NodeParser("rerun", __doc__, _EPILOG)
    add_option(parser, environ, "--save", file_path, None, "write into this .rrd file")
    add_option(parser, environ, "--connect", str, None, f"send to this viewer, such as {_VIEWER}")
    add_switch(parser, environ, "--serve-web", "show a web page", from_outside=False)
    add_switch(parser, environ, "--spawn", "start the viewer here")
    text = "port of the web page; the data are served on the port above it"
    port = whole_number(1, 65534)
    add_option(parser, environ, "--port", port, _PORT, text, from_outside=False)
    text = "pictures a second at most, and samples of each other input"
    add_option(parser, environ, "--rate", number(0.01, 1000), 10.0, text)
    text = "quality of the JPEG files that pictures are sent as"
    add_option(parser, environ, "--quality", whole_number(1, 100), 75, text)
    text = "memory for what waits for the viewer: the oldest, or what comes then, is left out"
    add_option(parser, environ, "--memory-limit", memory_nbytes, memory_nbytes("512MB"), text)
    options = parser.parse_args(argv)
    chosen = [options.save, options.connect, options.serve_web or None, options.spawn or None]
    if sum(one is not None for one in chosen) > 1:
        parser.error("choose one of --save, --connect, --serve-web and --spawn")
    return options


def _open(options: argparse.Namespace, environ: Mapping[str, str]) -> Stream:
    has_display = bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"))
    if options.save is not None:
        target, address = Target.FILE, str(options.save)
    elif options.connect is not None:
        target, address = Target.VIEWER, options.connect
    elif options.spawn or (has_display and not options.serve_web):
        target, address = Target.SPAWNED, ""
    else:
        target, address = Target.WEB, ""
    if target is not Target.WEB:
        warn_unused(options, {"port": _PORT}, "no web page is shown")
    return open_stream(target, address, port=options.port, memory_nbytes=options.memory_limit)
