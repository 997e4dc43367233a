"""Exchange lines, numbers and JSON with a microcontroller over a serial port."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial

from dora_rt.errors import DoraRtError

from ..options import NodeParser, add_option, add_switch, one_of, whole_number, with_home
from ..used_ports import WiringError
from .connection import Connection
from .line_buffer import LineBuffer
from .loop import run
from .serial_port import AUTO, PortSettings, SerialPort, import_pyserial

__all__ = ["main", "parse_options"]

logger = logging.getLogger(__name__)

_EPILOG = """\
outputs, of which the dataflow file declares those that it needs:
  line         each line, as the bytes of its text
  json         each line that is JSON, as the bytes of it
  values       the numbers of a line that has nothing else, such as `0.1,9.8,0.3`, as float64
  any other    the field of that name, of an object such as {"accel": [0.1, 9.8, 0.3]} or of a line
               such as `x:0.5,y:1`: numbers as a float64 array, text as bytes, the rest as JSON
inputs, of any name: bytes are written as a line, and arrays as --write says.

A device that is unplugged is waited for. Lines that are no text, or are too long, are left out and
counted. /dev/ttyUSB0 may be /dev/ttyUSB1 the next time; the names in /dev/serial/by-id stay.

examples:
  (no option)                                the only device that is plugged in by USB
  --port /dev/serial/by-id/usb-Arduino_Uno-if00 --baud 115200
  --port socket://192.168.1.30:4000          a port that another machine serves
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the node until its inputs or the dataflow end; return the exit status."""
    options = parse_options(argv, os.environ)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    from dora_rt import Node

    settings = PortSettings(options.port, options.baud, resets=not options.without_reset)
    try:
        import_pyserial()
        with Node() as node:
            if not (node.input_ids() or node.output_ids()):
                raise WiringError(
                    f"node '{node.id()}' has neither inputs nor outputs, and so nothing to do; in "
                    "the dataflow file write at this node: outputs: [line]"
                )
            lines = LineBuffer(options.max_line)
            run(node, Connection(partial(SerialPort.open, settings), lines), options.write)
    except DoraRtError as error:
        logger.error("%s", error)
        return 1
    return 0


def parse_options(argv: Sequence[str] | None, environ: Mapping[str, str]) -> argparse.Namespace:
    """Read the options: from the command line, else `env:` of the file, else outside."""
    parser = NodeParser("serial", __doc__, _EPILOG)
    text = "path of the port, an address of pyserial, or auto: the only one plugged in by USB"
    add_option(parser, environ, "--port", with_home, AUTO, text)
    baud = whole_number(50, 20_000_000)
    add_option(parser, environ, "--baud", baud, 115200, "speed in bits a second, as the device has")
    text = "bytes that a line may have; a longer one is left out"
    add_option(parser, environ, "--max-line", whole_number(16, 1 << 24), 65536, text)
    text = 'how arrays are written: json, such as {"twist": [0.5, 0]}, csv, or raw, their bytes'
    add_option(parser, environ, "--write", one_of("json", "csv", "raw"), "json", text)
    text = "leave DTR and RTS off, by which opening the port starts an Arduino anew"
    add_switch(parser, environ, "--without-reset", text)
    return parser.parse_args(argv)
