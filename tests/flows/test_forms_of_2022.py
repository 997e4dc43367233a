"""The three variants of files and programs that were in use between October 2022 and 2023."""

from __future__ import annotations

import pytest

from tests.harness.finished import Edge
from tests.harness.flow import Flow

WEBCAM = """
    #!/usr/bin/env python3
    import os
    import sys
    import time

    from dora import Node

    node = Node()
    print(node.id(), sys.argv[1:], os.environ.get("SPEED"))

    start = time.time()
    while time.time() - start < {seconds}:
        # Wait next dora_input
        node.next()
        node.send_output("image", b"jpeg bytes")
    time.sleep(0.1)
"""

DETECTION = """
    import numpy as np
    {status}

    class Operator:
        def __init__(self):
            self.model = lambda frame: np.array([[1, 2, 3, 4, 0.5, 0]], "float32")

        def on_input(self, dora_input: dict, send_output) -> DoraStatus:
            frame = np.frombuffer(dora_input["data"], dtype="uint8")
            results = self.model(frame)
            send_output("bbox", results.tobytes(), dora_input["metadata"])
            return DoraStatus.CONTINUE
"""

PLOT = """
    import numpy as np
    {status}

    class Operator:
        def __init__(self):
            self.image, self.boxes = None, 0

        def on_input(self, dora_input: dict, send_output) -> DoraStatus:
            if dora_input["id"] == "image":
                self.image = dora_input["data"]
            elif dora_input["id"] == "bbox" and self.image is not None:
                bboxs = np.frombuffer(dora_input["data"], dtype="float32")
                self.boxes += len(np.reshape(bboxs, (-1, 6)))
            return {answer}

        def {end}(self):
            print("boxes", self.boxes, self.image)
"""

OWN_STATUS = """
    from enum import Enum

    class DoraStatus(Enum):
        CONTINUE = 0
        STOP = 1
        STOP_ALL = 2
"""


def write(flow: Flow, custom: str, **choices: str) -> None:
    flow.write(
        "flow.yml",
        f"""
        communication:
          zenoh:
            prefix: /example-python-dataflow

        nodes:
          - id: webcam
            custom:
              {custom}
              inputs:
                tick: dora/timer/millis/50
              outputs:
                - image

          - id: object_detection
            operator:
              python: object_detection.py
              inputs:
                image: webcam/image
              outputs:
                - bbox

          - id: plot
            operator:
              python: plot.py
              inputs:
                image: webcam/image
                bbox: object_detection/op/bbox
        """,
    )
    choices = {"status": OWN_STATUS, "answer": "DoraStatus.CONTINUE", **choices}
    webcam = WEBCAM.replace("{seconds}", choices.pop("seconds", "0.5"))
    flow.write("webcam.py", webcam).chmod(0o755)
    for name, text in (("object_detection", DETECTION), ("plot", PLOT)):
        for key, value in choices.items():
            text = text.replace(f"{{{key}}}", value)
        flow.write(f"{name}.py", text)


@pytest.mark.parametrize(
    ("custom", "said"),
    [
        ("run: ./webcam.py --fast", "webcam ['--fast'] None"),
        (
            "source: ./webcam.py\n              args: --fast now\n              env: {SPEED: 3}",
            "webcam ['--fast', 'now'] 3",
        ),
    ],
    ids=["October 2022", "v0.1.0"],
)
def test_flow_of_2022_runs_and_every_box_is_plotted(flow: Flow, custom: str, said: str):
    write(flow, custom, end="drop_operator")

    done = flow.run()

    assert done.exit_code == 0, done.out + done.err
    assert done.lines("webcam") == [said]
    sent = done.edge("webcam/image", "plot/image").sent
    assert 5 <= sent <= 12
    assert done.edge("object_detection/bbox", "plot/bbox") == Edge(sent, sent, 0)
    assert done.lines("plot") == [f"boxes {sent} b'jpeg bytes'"]


def test_status_from_dora_and_a_destructor_as_in_v0_1_3(flow: Flow):
    write(flow, "source: ./webcam.py", status="from dora import DoraStatus", end="__del__")

    done = flow.run()

    assert done.exit_code == 0, done.out + done.err
    assert done.lines("plot")[0].endswith("b'jpeg bytes'")


def test_stop_all_of_one_operator_ends_the_whole_flow(flow: Flow):
    write(flow, "source: ./webcam.py", answer="DoraStatus.STOP_ALL", end="__del__")
    flow.write(
        "webcam.py",
        """
        from dora import Node

        node = Node()
        for input_id, value, metadata in node:
            node.send_output("image", b"jpeg bytes")
        """,
    )

    done = flow.run()

    assert done.exit_code == 0, done.out + done.err
    assert "plot asks to stop the dataflow" in done.out
    assert done.ending("webcam") == "stopped"


def test_webcam_of_2022_that_sends_after_the_stop_is_no_failure(flow: Flow):
    # It never looks whether next() gave None: in 2022 only the clock ended it.
    write(flow, "run: ./webcam.py", end="drop_operator", seconds="20")

    done = flow.run("--stop-after", "200ms")

    assert "sent after next() returned None because the dataflow is being stopped" in done.out
    assert done.ending("webcam") == "stopped (it sent after the stop)"
    assert done.exit_code == 0
