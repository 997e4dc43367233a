"""`dora-launch`, which is `python -m dora_rt` too: first what takes long, and then the command."""

import os
import sys
from typing import NoReturn

from dora_rt.interrupt import EXIT_INTERRUPTED, ended_by_ctrl_c


def main() -> NoReturn:
    """Run the command, and exit with its code."""
    with ended_by_ctrl_c():
        from dora_rt.launcher.processes import early_start
    try:
        with ended_by_ctrl_c():
            early_start.begin(sys.argv[1:], os.environ)
            # Not before: it imports for as long as the fork server.
            from dora_rt.cli.dora_launch import main as run
        run()
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    finally:
        early_start.dismiss()


if __name__ == "__main__":
    main()
