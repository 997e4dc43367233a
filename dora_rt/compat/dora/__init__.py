"""`from dora import Node` in the nodes that dora-launch starts: it puts this folder on their path."""

from dora_rt import DoraStatus, Node

__all__ = ["DoraStatus", "Node"]
