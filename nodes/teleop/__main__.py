"""Start the teleop node: `python -m dora_rt.nodes.teleop`."""

import sys

from . import main

if __name__ == "__main__":
    sys.exit(main())
