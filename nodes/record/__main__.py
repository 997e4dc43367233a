"""Start the record node: `python -m dora_rt.nodes.record`."""

import sys

from . import main

if __name__ == "__main__":
    sys.exit(main())
