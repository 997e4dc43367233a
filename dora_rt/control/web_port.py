"""Reads the port of a web page from the command line."""

from __future__ import annotations

import argparse

_LAST = 65535


def web_port(text: str) -> int:
    """Give a port, 0 for any, as `type=` of an option.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    if text.isascii() and text.isdigit() and len(text) <= len(str(_LAST)) and int(text) <= _LAST:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a port: 0 to {_LAST}")
