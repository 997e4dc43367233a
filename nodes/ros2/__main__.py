"""Start the ROS 2 node: `python -m dora_rt.nodes.ros2`."""

import sys

from . import main

if __name__ == "__main__":
    sys.exit(main())
