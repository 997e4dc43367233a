"""Start the tracker node: `python -m dora_rt.nodes.tracker`."""

import sys

from . import main

if __name__ == "__main__":
    sys.exit(main())
