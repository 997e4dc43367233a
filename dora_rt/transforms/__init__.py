"""Places of a robot's parts in space: a tree of frames, with the time at which each was where.

The meaning of names, times and directions is that of ROS 2's tf2, so that programs and people can
move between the two. Rotations are quaternions `x, y, z, w`; lengths are metres; times are
nanoseconds of one clock, as `event.origin_ns`. Only numpy is needed.
"""

from dora_rt.transforms.frame_transforms import FrameTransform, decode, encode
from dora_rt.transforms.frame_tree import TransformTree
from dora_rt.transforms.rigid_transform import Transform

__all__ = ["FrameTransform", "Transform", "TransformTree", "decode", "encode"]
