"""A small dataflow of a camera and a sink, for what looks at running ones."""

from __future__ import annotations

from pathlib import Path

from tests.harness.flow import Flow

SOURCE = """
    import time
    import numpy as np
    from dora_rt import Node
    node = Node()
    boxes = np.array([[1, 1, 5, 4, 0.9, 0]], np.float32)
    for number, event in enumerate(node):
        picture = np.full((6, 8, 3), number % 200, np.uint8)
        now_ns = time.monotonic_ns()
        node.send_output("image", picture, {"number": number}, captured_ns=now_ns)
        node.send_output("text", f"number {number}".encode())
        node.send_output("numbers", np.array([number, np.nan, 1.5], np.float32))
        node.send_output("bbox", boxes, {"labels": ["toy"]}, captured_ns=now_ns)
"""
SINK = """
    from dora_rt import Node
    for event in Node():
        pass
"""
YAML = """
    nodes:
      - id: camera
        path: camera.py
        inputs: {tick: dora/timer/millis/10}
        outputs: [image, text, numbers, bbox]
      - id: sink
        path: sink.py
        inputs: {image: {source: camera/image, queue_policy: block}}
"""


def write_camera_flow(flow: Flow) -> Path:
    """Write the scripts and flow.yml, and return the path of that."""
    flow.write("camera.py", SOURCE)
    flow.write("sink.py", SINK)
    return flow.write("flow.yml", YAML)
