"""Flows that play recordings, and write them."""

from __future__ import annotations

import json

import numpy as np

from tests.harness.flow import Flow

LATE_READER = """
    import time
    from dora_rt import Node
    node = Node()
    time.sleep(1.5)  # its model loads
    origins = [event.origin_ns for event in node]
    import json
    with open("origins.json", "w") as file:
        json.dump(origins, file)
"""


def test_recording_begins_when_its_slowest_reader_is_ready(flow: Flow):
    flow.write("reader.py", LATE_READER)
    flow.write(
        "flow.yml",
        """
        nodes:
          - id: webcam
            module: dora_rt.nodes.webcam
            args: --source test://scene?frames=20&fps=20&width=160&height=120
            outputs: [image]
          - id: reader
            path: reader.py
            inputs: {image: {source: webcam/image, queue_policy: block}}
        """,
    )

    done = flow.run()

    assert done.exit_code == 0, done.out
    steps_ms = np.diff(json.loads((flow.folder / "origins.json").read_text())) / 1e6
    assert len(steps_ms) == 19
    # In a burst the first ones were less than a millisecond apart.
    assert steps_ms.sum() > 940, steps_ms


def test_secret_of_a_source_is_in_no_log_and_no_output(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - id: webcam
            module: dora_rt.nodes.webcam
            args: --source "rtsp://admin:SECR#ET2@127.0.0.1:9/stream"
            outputs: [image]
        """,
    )

    checked = flow.run("--check")
    done = flow.run("--stop-after", "2s")

    assert "rtsp://127.0.0.1:9/stream" in checked.out
    assert "camera rtsp://127.0.0.1:9/stream: cannot be opened" in done.out
    logs = [path.read_text() for path in flow.folder.rglob("*.log")]
    for text in (checked.out, checked.err, done.out, done.err, *logs):
        assert "SECR" not in text and "ET2" not in text
    # FFmpeg's own line for each attempt says nothing that the node does not say once.
    assert "Connection refused" not in done.out
