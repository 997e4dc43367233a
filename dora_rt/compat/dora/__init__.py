"""What programs of 2022 import: dora-launch puts this folder on the path of its nodes."""

from dora_rt import DoraStatus, Node

__all__ = ["DoraStatus", "Node"]
