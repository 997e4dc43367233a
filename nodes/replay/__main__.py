"""Start the replay node: `python -m dora_rt.nodes.replay`."""

import sys

from . import main

if __name__ == "__main__":
    sys.exit(main())
