"""Drive a robot by hand: by the keys of a terminal, a gamepad, and buttons on a web page."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing

from dora_rt.errors import DoraRtError

from ..options import NodeParser, add_option, number, whole_number, with_home
from ..used_ports import wired
from .drive_server import HOLD_S, DriverSeat, DriveServer
from .gamepad import AUTO, Gamepad, Layout
from .loop import TWIST_OUTPUT, Speeds, TwistSender, run
from .pilot import DEVICES, Pilot
from .terminal_keys import HELP, Keyboard, TerminalError

__all__ = ["main", "parse_options"]

logger = logging.getLogger(__name__)

_EPILOG = f"""\
output:
  twist    6 float64, --rate times a second all the time: vx, vy, vz in m/s and wx, wy, wz in
           rad/s; x is forward, y to the left, z up, as in ROS. All are 0 while nobody drives.
           Metadata: `device`, which drives (gamepad, page, keyboard, or empty), and `is_driving`.

The dead man's rule: the robot moves only while somebody holds on. A key or button that is let go, a
page that is closed, hidden or cut off, a gamepad that is unplugged: each is a stop.

  keyboard   {HELP}
             needs `stdin: terminal` at the node, or --terminal PATH
  gamepad    hold the enabling button (the left shoulder), and move the sticks
  page       hold a button, or a key, on the page whose address is printed

examples:
  --devices page --host 0.0.0.0              drive from a phone in the same network
  --linear 0.3 --angular 0.8                 the greatest speeds
  --axes 1,0,2 --enable-button 6             another gamepad; `jstest` shows its numbers
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the teleop node until the dataflow ends; return the exit status."""
    options = parse_options(argv, os.environ)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    from dora_rt import Node

    try:
        with ExitStack() as stack:
            node = stack.enter_context(wired(Node(), reads=None, sends=[TWIST_OUTPUT]))
            pilot = Pilot()
            _open_devices(stack, options, pilot)
            speeds = Speeds(options.linear, options.angular)
            run(node, TwistSender(node, pilot, speeds, options.rate))
    except DoraRtError as error:
        logger.error("%s", error)
        return 1
    return 0


def _open_devices(stack: ExitStack, options: argparse.Namespace, pilot: Pilot) -> None:
    """Open the devices that were asked for; without being asked, those that are there.

    Raises:
        TerminalError: there is no terminal, and the keyboard was asked for.
        DriveServerError: the page cannot be served.
    """
    wanted = options.devices or DEVICES
    if "keyboard" in wanted:
        try:
            stack.enter_context(closing(Keyboard.open(options.terminal, pilot, options.hold)))
            logger.info("keyboard: %s", HELP)
        except TerminalError as error:
            if options.devices or options.terminal:
                raise
            logger.info("no keyboard: %s", error)
    if "gamepad" in wanted:
        forward, side, turn = options.axes
        layout = Layout(forward, side, turn, options.enable_button, options.dead_zone)
        stack.enter_context(closing(Gamepad(options.gamepad, layout, pilot)))
    if "page" in wanted:
        server = DriveServer.open(options.host, options.port, DriverSeat(pilot, options.page_hold))
        stack.enter_context(closing(server))
        logger.info("open %s to drive", server.url)
        if options.host in ("0.0.0.0", "::"):
            logger.info("elsewhere with the name of this machine in the place of 127.0.0.1")


def parse_options(argv: Sequence[str] | None, environ: Mapping[str, str]) -> argparse.Namespace:
    """Read the options: from the command line, else `env:` of the file, else outside."""
    parser = NodeParser("teleop", __doc__, _EPILOG)
    text = "some of keyboard, gamepad and page, with commas; default: those that are there"
    add_option(parser, environ, "--devices", _devices, None, text, from_outside=False)
    add_option(parser, environ, "--linear", number(0, 100), 0.5, "greatest speed, m/s")
    add_option(parser, environ, "--angular", number(0, 100), 1.0, "greatest turn, rad/s")
    add_option(parser, environ, "--rate", number(1, 1000), 20.0, "twists a second")
    text = "path of the terminal whose keys drive; else the standard input, if it is one"
    add_option(parser, environ, "--terminal", with_home, None, text)
    text = "seconds for which a key holds before it is repeated"
    add_option(parser, environ, "--hold", number(0.05, 2), 0.7, text)
    text = "seconds after which a page that says nothing more is lost, as in a bad radio network"
    add_option(parser, environ, "--page-hold", number(0.1, 5), HOLD_S, text)
    text = "path of the gamepad, such as /dev/input/js1, or auto: the first one"
    add_option(parser, environ, "--gamepad", with_home, AUTO, text)
    text = "axes of the gamepad: forward, side, turn"
    add_option(parser, environ, "--axes", _axes, (1, 0, 3), text)
    text = "button of the gamepad that must be held"
    add_option(parser, environ, "--enable-button", whole_number(0, 255), 4, text)
    text = "part of an axis that counts as nothing"
    add_option(parser, environ, "--dead-zone", number(0, 0.9), 0.1, text)
    text = "address of the page; 0.0.0.0 lets the whole network drive that has its address"
    add_option(parser, environ, "--host", str, "127.0.0.1", text, from_outside=False)
    text = "port of the page; the next free one if it is taken, any if 0"
    port = whole_number(0, 65535)
    add_option(parser, environ, "--port", port, 8090, text, from_outside=False)
    return parser.parse_args(argv)


def _devices(text: str) -> tuple[str, ...]:
    found = tuple(word.strip().lower() for word in text.split(",") if word.strip())
    unknown = [word for word in found if word not in DEVICES]
    if unknown or not found:
        raise argparse.ArgumentTypeError(f"'{text}' is not some of {', '.join(sorted(DEVICES))}")
    return found


def _axes(text: str) -> tuple[int, int, int]:
    parts = text.split(",")
    if len(parts) != 3 or not all(
        part.strip().isascii() and part.strip().isdigit() for part in parts
    ):
        raise argparse.ArgumentTypeError(f"'{text}' is not three numbers of axes, such as 1,0,3")
    forward, side, turn = map(int, parts)
    return forward, side, turn
