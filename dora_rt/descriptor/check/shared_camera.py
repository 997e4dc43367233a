"""Notice two nodes that open the same camera."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from dora_rt.descriptor.tree.model import Node
from dora_rt.descriptor.tree.problems import Problems, quote


def note_shared_cameras(nodes: Sequence[Node], problems: Problems) -> None:
    """Note each camera that more than one node opens: only the first of them will get it."""
    first_of: dict[str, str] = {}
    for node in nodes:
        device = _device(node)
        if device is None or node.program is None:
            continue
        first = first_of.setdefault(device, node.id)
        if first != node.id:
            problems.note(
                node.program.place,
                f"nodes {quote(first)} and {quote(node.id)} both open {device}, but a camera "
                f"serves one program at a time: let the readers of {quote(node.id)} read "
                f"{quote(first)}",
            )


def _device(node: Node) -> str | None:
    """Return the camera that a known camera node opens by its arguments."""
    program = node.program
    if program is None:
        return None
    env = dict(node.env)
    source = None
    if program.module == "dora_rt.nodes.webcam":
        source = _option(program.args, "--source") or env.get("SOURCE")
    elif program.path == "opencv-video-capture":
        source = env.get("CAPTURE_PATH")
    if source is None:
        return None
    if source.isascii() and source.isdigit():
        return f"/dev/video{int(source)}" if len(source) < 4 else None
    return source if source.startswith("/dev/") else None


def _option(args: Sequence[str], flag: str) -> str | None:
    found = None
    for arg, following in zip_longest(args, args[1:]):
        if arg == flag:
            found = following
        elif arg.startswith(f"{flag}="):
            found = arg.removeprefix(f"{flag}=")
    return found
