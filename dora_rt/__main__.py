"""The command `dora-launch`, which is `python -m dora_rt` too."""

import sys
from typing import NoReturn

from dora_rt.exit_codes import EXIT_INTERRUPTED
from dora_rt.interrupt import ended_by_ctrl_c


def main() -> NoReturn:
    """Run the command, and exit with its code."""
    try:
        with ended_by_ctrl_c():
            from dora_rt.cli.dora_launch import main as run
        run()
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


if __name__ == "__main__":
    main()
