"""Start the node: `python -m dora_rt.nodes.transform`."""

import sys

from . import main

if __name__ == "__main__":
    sys.exit(main())
