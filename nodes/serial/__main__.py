"""Start the serial node: `python -m dora_rt.nodes.serial`."""

import sys

from . import main

if __name__ == "__main__":
    sys.exit(main())
