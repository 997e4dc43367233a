"""What programs for dora import: dora-launch puts this folder on the path of its nodes.

Nothing is installed under the name `dora`. Elsewhere, `from dora_rt.compat.dora import Node`.
"""

from __future__ import annotations

try:
    from dora_rt.event import DoraStatus
except ImportError as error:
    raise ImportError(
        "dora-launch started this program with an interpreter that has no dora_rt (or lacks what "
        f"it needs: {error}); install dora_rt there"
    ) from error
from dora_rt import __version__

from ._node import Node
from ._raw import SampleBuffer, SampleHandler
from ._ros2 import (
    Ros2ActionClient,
    Ros2ActionServer,
    Ros2Context,
    Ros2Durability,
    Ros2Liveliness,
    Ros2Node,
    Ros2NodeOptions,
    Ros2Publisher,
    Ros2QosPolicies,
    Ros2ServiceClient,
    Ros2ServiceServer,
    Ros2Subscription,
    Ros2Topic,
    Ros2Transport,
)
from ._run import build, run, start_runtime

__all__ = [
    "DoraStatus",
    "Node",
    "Ros2ActionClient",
    "Ros2ActionServer",
    "Ros2Context",
    "Ros2Durability",
    "Ros2Liveliness",
    "Ros2Node",
    "Ros2NodeOptions",
    "Ros2Publisher",
    "Ros2QosPolicies",
    "Ros2ServiceClient",
    "Ros2ServiceServer",
    "Ros2Subscription",
    "Ros2Topic",
    "Ros2Transport",
    "SampleBuffer",
    "SampleHandler",
    "__version__",
    "build",
    "run",
    "start_runtime",
]
