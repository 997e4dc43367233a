"""Start the rerun node: `python -m dora_rt.nodes.rerun`."""

import sys

from . import main

if __name__ == "__main__":
    sys.exit(main())
