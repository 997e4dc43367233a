"""Start the http node: `python -m dora_rt.nodes.http`."""

import sys

from . import main

if __name__ == "__main__":
    sys.exit(main())
