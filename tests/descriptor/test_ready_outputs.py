"""A ready node of which the file declares no outputs has those that it sends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from dora_rt.nodes.http.loop import ANSWER_OUTPUT
from dora_rt.nodes.object_detection.loop import BBOX_OUTPUT, OTHER_OUTPUTS
from dora_rt.nodes.tracker.loop import TRACKS_OUTPUT
from dora_rt.nodes.transform.loop import IMAGE_OUTPUT
from dora_rt.nodes.webcam.sending import OUTPUT

from dora_rt.descriptor.check.ready_outputs import READY_OUTPUTS
from dora_rt.descriptor.tree.model import Descriptor
from tests.harness.flow import Flow

Parse = Callable[[str], Descriptor]
NODES = Path(__file__).parents[2] / "nodes"
SILENT = {"plot", "record", "rerun", "video_writer"}


def outputs(descriptor: Descriptor) -> dict[str, list[str]]:
    return {node.id: [output.id for output in node.outputs] for node in descriptor.nodes}


def test_table_is_what_the_nodes_send():
    assert READY_OUTPUTS["webcam"] == (OUTPUT,)
    assert READY_OUTPUTS["object_detection"] == (BBOX_OUTPUT, *OTHER_OUTPUTS)
    assert READY_OUTPUTS["tracker"] == (TRACKS_OUTPUT,)
    assert READY_OUTPUTS["transform"] == (IMAGE_OUTPUT,)
    assert READY_OUTPUTS["http"] == (ANSWER_OUTPUT,)


def test_every_ready_node_is_in_the_table_or_sends_nothing():
    names = {path.parent.name for path in NODES.glob("*/__main__.py")}

    assert names - READY_OUTPUTS.keys() == SILENT


def test_outputs_are_those_that_somebody_reads(parse: Parse):
    found = parse(
        """
        nodes:
          - {id: webcam, module: dora_rt.nodes.webcam}
          - {id: detector, module: dora_rt.nodes.object_detection, inputs: {image: webcam/image}}
          - {id: other, module: dora_rt.nodes.object_detection, inputs: {image: webcam/image}}
          - {id: device, module: dora_rt.nodes.serial}
          - id: plot
            operator:
              python: plot.py
              inputs: {boxes: detector/bbox, masks: detector/masks, speed: device/wheel/speed}
        """
    )

    assert outputs(found) == {
        "webcam": ["image"],
        "detector": ["bbox", "masks"],
        "other": ["bbox"],
        "device": ["wheel/speed"],
        "plot": [],
    }


def test_outputs_that_the_file_declares_are_those(parse: Parse):
    found = parse(
        "nodes: [{id: detector, module: dora_rt.nodes.object_detection, outputs: [masks]}]"
    )

    assert outputs(found) == {"detector": ["masks"]}


@pytest.mark.parametrize(
    ("node", "hint"),
    [
        ("module: dora_rt.nodes.webcam", "it has: image"),
        ("module: my.webcam", "it declares none: add 'outputs: [imgae]' to it"),
        ("module: dora_rt.nodes.plot", "it declares none: add 'outputs: [imgae]' to it"),
    ],
)
def test_output_that_is_none_is_told(refusal: Callable[[str], list[str]], node: str, hint: str):
    (told,) = refusal(
        f"nodes: [{{id: a, {node}}}, {{id: b, path: b.py, inputs: {{image: a/imgae}}}}]"
    )

    assert told.endswith(f"but output 'imgae' of node 'a' does not exist; {hint}")


@pytest.mark.programs
def test_flow_of_ready_nodes_needs_no_outputs(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: webcam, module: dora_rt.nodes.webcam, args: [--source, "test://scene?frames=3"]}
          - id: plot
            module: dora_rt.nodes.plot
            args: --output none
            inputs: {image: webcam/image}
        """,
    )

    done = flow.run()

    assert done.exit_code == 0, done.out
    assert done.edge("webcam/image", "plot/image").sent == 3
