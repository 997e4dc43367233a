"""The names of the 80 COCO classes."""

from dora_rt.nodes.object_detection.coco import COCO_LABELS as LABELS

__all__ = ["LABELS"]
