"""What programs for dora import: dora-launch puts this folder on the path of its nodes.

Nothing is installed under the name `dora`. Elsewhere, `from dora_rt.compat.dora import Node`.
"""

from __future__ import annotations

import functools
from typing import Any

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
from ._run import build, run, start_runtime

_ROS2_NAMES = [
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
]
__all__ = [
    "DoraStatus",
    "Node",
    "SampleBuffer",
    "SampleHandler",
    "__version__",
    "build",
    "run",
    "start_runtime",
]
__all__ += _ROS2_NAMES


@functools.cache
def __getattr__(name: str) -> Any:
    if name not in _ROS2_NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Large: only programs that use it load it.
    from . import _ros2

    return getattr(_ros2, name)
