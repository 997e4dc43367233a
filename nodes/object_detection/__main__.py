"""Start the detection node: `python -m dora_rt.nodes.object_detection`."""

import sys

from . import main

if __name__ == "__main__":
    sys.exit(main())
