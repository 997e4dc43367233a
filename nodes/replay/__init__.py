"""Send the samples of a recorded node again, at the same pace."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from dora_rt.errors import DoraRtError

from ..options import file_path
from .loop import Pace, run, run_clock
from .recording import Recording
from .ros_topics import parse_topic

__all__ = ["Recording", "main", "parse_options"]

logger = logging.getLogger(__name__)

_EPILOG = """\
The outputs of the node are those of the recorded node with the same id, or of --node. With a timer
as input it begins at the timer's first tick, which is when all nodes of the flow are ready; several
replay nodes then begin at the same moment:

  - id: camera
    module: dora_rt.nodes.replay
    args: drive.mcap --rate 0.5
    inputs: {start: dora/timer/secs/3600}
    outputs: [image]
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the replay node to the end of the recording; return the exit status."""
    options = parse_options(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    from dora_rt import Node

    try:
        recording = Recording.open(options.file, dict(options.topic))
        with Node() as node:
            pace = Pace(
                options.rate,
                options.start,
                options.end,
                loops=options.loop,
                is_clock=options.has_clock or options.clock is not None,
            )
            if options.clock is not None:
                run_clock(node, recording, options.clock, pace)
                return 0
            recorded = options.node or node.id()
            outputs = [output for output in node.output_ids() if output not in options.silent]
            sources = {f"{recorded}/{output}": output for output in outputs}
            latched = {f"{recorded}/{output}" for output in node.latched_outputs()}
            run(node, recording, sources, pace, latched=latched & sources.keys())
    except DoraRtError as error:
        logger.error("%s", error)
        return 1
    return 0


def parse_options(
    argv: Sequence[str] | None, prog: str = "python -m dora_rt.nodes.replay"
) -> argparse.Namespace:
    """Read the command line of the program `prog`."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=file_path, metavar="FILE", help="the recording (.mcap)")
    parser.add_argument("--node", metavar="ID", help="the recorded node [default: this node's id]")
    parser.add_argument(
        "--silent",
        action="append",
        default=[],
        metavar="OUTPUT",
        help="an output that sends nothing, because it was not recorded; may be repeated",
    )
    parser.add_argument(
        "--topic",
        type=_topic,
        action="append",
        default=[],
        metavar="NODE/OUTPUT=TOPIC",
        help="of a bag of ROS 2: the topic that an output was, if it has another name; may be "
        "repeated",
    )
    _add_pace_options(parser)
    _add_clock_options(parser)
    options = parser.parse_args(argv)
    if not options.rate and (options.has_clock or options.clock is not None):
        parser.error("a clock needs a pace: --rate above 0")
    return options


def _add_clock_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of nodes in a dataflow whose clock is the time of the recording."""
    parser.add_argument(
        "--clock",
        metavar="OUTPUT",
        help="send the time of the recording on this output, and nothing else",
    )
    parser.add_argument(
        "--has-clock",
        action="store_true",
        help="another node sends the time of the recording, as `clock:` of the dataflow: begin "
        "with it, and give each sample the `clock_ns` of its capture",
    )


def _add_pace_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what part is replayed, and how fast."""
    parser.add_argument(
        "--rate",
        type=_rate,
        default=1.0,
        metavar="FACTOR",
        help="how fast: 2 is twice as fast as it was; 0 is as fast as the readers with "
        "`queue_policy: block` take it (default 1)",
    )
    parser.add_argument("--loop", action="store_true", help="begin again at the end")
    parser.add_argument(
        "--start",
        type=_seconds,
        default=0.0,
        metavar="SECONDS",
        help="begin so long after the beginning of the recording",
    )
    parser.add_argument(
        "--end",
        type=_seconds,
        metavar="SECONDS",
        help="end so long after the beginning of the recording",
    )


def _topic(text: str) -> tuple[str, str]:
    try:
        return parse_topic(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _rate(text: str) -> float:
    return _number(text, "a factor from 0 to 1000", 1000)


def _seconds(text: str) -> float:
    return _number(text, "a number of seconds from 0", 1e9)


def _number(text: str, what: str, most: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value <= most:
        raise argparse.ArgumentTypeError(f"{text!r} is not {what}")
    return value
