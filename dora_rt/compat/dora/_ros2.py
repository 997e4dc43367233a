"""The names of dora's bridge to ROS 2, which there is none of here."""

from __future__ import annotations

from typing import Any


class _NotHere:
    """Refuse, whatever it is that is made."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        raise NotImplementedError(
            f"dora.{type(self).__name__}: dora_rt has no bridge to ROS 2; write a node that "
            "imports rclpy and passes on what it receives with send_output"
        )


class Ros2ActionClient(_NotHere):
    """Not here."""


class Ros2ActionServer(_NotHere):
    """Not here."""


class Ros2Context(_NotHere):
    """Not here."""


class Ros2Durability(_NotHere):
    """Not here."""


class Ros2Liveliness(_NotHere):
    """Not here."""


class Ros2Node(_NotHere):
    """Not here."""


class Ros2NodeOptions(_NotHere):
    """Not here."""


class Ros2Publisher(_NotHere):
    """Not here."""


class Ros2QosPolicies(_NotHere):
    """Not here."""


class Ros2ServiceClient(_NotHere):
    """Not here."""


class Ros2ServiceServer(_NotHere):
    """Not here."""


class Ros2Subscription(_NotHere):
    """Not here."""


class Ros2Topic(_NotHere):
    """Not here."""


class Ros2Transport(_NotHere):
    """Not here."""
