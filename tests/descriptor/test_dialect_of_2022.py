from __future__ import annotations

from collections.abc import Callable

from dora_rt.descriptor.tree.model import Descriptor, Output, OutputSource, Place, TimerSource
from dora_rt.node_config import QueuePolicy

Parse = Callable[[str], Descriptor]

# examples/python-dataflow/dataflow.yml of dora at 44a7c16c21, October 2022, byte for byte.
SEED = """\
communication:
  zenoh:
    prefix: /example-python-dataflow

nodes:
  - id: webcam
    custom:
      run: ./webcam.py
      inputs:
        tick: dora/timer/millis/100
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
        bbox: object_detection/bbox
"""  # noqa: W293


def test_custom_node_of_the_seed_is_a_program_with_a_timer(parse: Parse) -> None:
    webcam = parse(SEED).nodes[0]

    assert webcam.id == "webcam"
    assert webcam.program is not None
    assert (webcam.program.path, webcam.program.args) == ("./webcam.py", ())
    assert webcam.program.place == Place("flow.yml", 8, 12)
    assert webcam.inputs[0].id == "tick"
    assert webcam.inputs[0].source == TimerSource(100_000_000)
    assert webcam.outputs == (Output("image", Place("flow.yml", 12, 11)),)
    assert webcam.operators == ()


def test_operators_of_the_seed_read_the_webcam_and_each_other(parse: Parse) -> None:
    _, detection, plot = parse(SEED).nodes

    assert detection.program is None
    assert [operator.path for operator in detection.operators] == ["object_detection.py"]
    assert [operator.path for operator in plot.operators] == ["plot.py"]
    image, bbox = plot.operators[0].inputs
    assert image.source == OutputSource("webcam", "image")
    assert bbox.source == OutputSource("object_detection", "bbox")
    assert (image.queue_size, image.queue_policy) == (10, QueuePolicy.DROP_OLDEST)
    assert (image.max_held, image.slot_nbytes) == (4, None)
    assert bbox.place == Place("flow.yml", 27, 15)


def test_communication_is_accepted_with_a_note(parse: Parse) -> None:
    notes = parse(SEED).notes

    assert notes == (
        "flow.yml:1:1: 'communication' is not needed, "
        "nodes always exchange samples through shared memory: ignored",
    )


def test_run_is_split_on_white_space_and_keeps_its_quotes(parse: Parse) -> None:
    node = parse("nodes: [{id: a, custom: {run: \"./a.py  --title 'x y'\"}}]").nodes[0]

    assert node.program is not None
    assert node.program.path == "./a.py"
    assert node.program.args == ("--title", "'x", "y'")


def test_source_with_args_env_and_build_is_the_form_of_0_1_3(parse: Parse) -> None:
    descriptor = parse(
        """\
        nodes:
          - id: a
            name: A camera
            description: Sends frames.
            env: {WIDTH: 640, DEVICE: 0}
            custom:
              source: a.py
              args: --title "x y"
              env: {DEVICE: 1, CI: true}
              working_directory: there
              build: make
        """
    )

    node = descriptor.nodes[0]
    assert node.program is not None
    assert (node.program.path, node.program.args) == ("a.py", ("--title", "x y"))
    assert dict(node.env) == {"WIDTH": "640", "DEVICE": "1", "CI": "true"}
    assert [(build.label, build.text) for build in descriptor.builds] == [("a", "make")]
    assert (node.name, node.description) == ("A camera", "Sends frames.")
    assert descriptor.notes == (
        "flow.yml:10:7: 'working_directory' is ignored, as in dora of 2022: nodes run in the "
        "folder of the dataflow file, or in what 'working_dir' beside 'id' says",
    )


def test_operators_of_a_list_are_read_by_node_operator_output(parse: Parse) -> None:
    node = parse(
        """\
        nodes:
          - id: rt
            operators:
              - {id: detect, python: detect.py, outputs: [bbox]}
              - {id: plot, python: plot.py, inputs: {bbox: rt/detect/bbox}}
        """
    ).nodes[0]

    assert [operator.id for operator in node.operators] == ["detect", "plot"]
    assert node.operators[1].inputs[0].source == OutputSource("rt", "bbox", "detect")


def test_single_operator_answers_to_its_id_and_to_op_if_it_has_none(parse: Parse) -> None:
    nodes = parse(
        """\
        nodes:
          - {id: a, operator: {python: a.py, outputs: [x]}}
          - {id: b, operator: {id: detect, python: b.py, outputs: [x]}}
          - {id: c, path: c.py, inputs: {i: a/op/x, j: a/x, k: b/detect/x, l: b/x}}
        """
    ).nodes

    assert nodes[1].operators[0].id is None
    assert [each.source for each in nodes[2].inputs] == [
        OutputSource("a", "x"),
        OutputSource("a", "x"),
        OutputSource("b", "x"),
        OutputSource("b", "x"),
    ]
