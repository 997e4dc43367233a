"""Start the camera node: `python -m dora_rt.nodes.webcam`."""

import sys

from . import main

if __name__ == "__main__":
    sys.exit(main())
