"""Start the plot node: `python -m dora_rt.nodes.plot`."""

import sys

from . import main

if __name__ == "__main__":
    sys.exit(main())
