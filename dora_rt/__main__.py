"""`dora-launch`, which is `python -m dora_rt` too: first what takes long, and then the command."""

import os
import sys
from typing import NoReturn

from dora_rt.launcher.processes import early_start


def main() -> NoReturn:
    """Run the command, and exit with its code."""
    early_start.begin(sys.argv[1:], os.environ)
    try:
        # Not before: it imports for as long as the fork server.
        from dora_rt.cli.dora_launch import main as run

        run()
    finally:
        early_start.dismiss()


if __name__ == "__main__":
    main()
