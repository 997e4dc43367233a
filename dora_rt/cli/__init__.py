"""The commands `dora-launch` and `dora-rt`; here the entry point of the second."""

import sys
from collections.abc import Sequence
from typing import NoReturn

from dora_rt.exit_codes import EXIT_INTERRUPTED
from dora_rt.interrupt import ended_by_ctrl_c


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command, and exit with its code."""
    try:
        with ended_by_ctrl_c():
            from dora_rt.cli.dora_rt import main as run
        run(arguments)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
