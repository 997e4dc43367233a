"""Bad inputs 26, 41 and 43: types that do not fit, and what dora-rt is asked that is not there."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from dora_rt.cli.dora_rt import VERBS
from dora_rt.launcher.node_output.log_files import kept_logs_folder
from tests.descriptor.bad_inputs import numbered, refusal_lines
from tests.harness.flow import Flow
from tests.harness.verbs import started_run, verb_apart

pytestmark = pytest.mark.programs

TYPED = """\
nodes:
- {id: camera, path: a.py, outputs: [image], output_types: {image: SENT}}
- {id: plot, path: b.py, inputs: {bbox: camera/image}, input_types: {bbox: EXPECTED}}
"""


@pytest.mark.parametrize(
    ("sent", "expected", "message"),
    numbered(
        26,
        (
            "std/media/v1/Image",
            "std/vision/v1/BoundingBox",
            "4:76: input 'bbox' of node 'plot' expects std/vision/v1/BoundingBox, but "
            "camera/image sends std/media/v1/Image: it has no field 'x'; change one of them, or "
            "say in 'type_rules' that it fits",
        ),
        (
            "std/media/v1/Imag",
            "std/media/v1/Image",
            "3:68: output 'image' of node 'camera': there is no type 'std/media/v1/Imag'; did you "
            "mean 'std/media/v1/Image'?",
        ),
    ),
)
def test_output_of_one_type_into_an_input_of_another(sent: str, expected: str, message: str):
    text = TYPED.replace("SENT", sent).replace("EXPECTED", expected)

    assert refusal_lines(f"strict_types: true\n{text}") == [message]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Give the name of a run, and its file."""
    flow = Flow(tmp_path_factory.mktemp("run"))
    tick = "inputs: {tick: dora/timer/millis/20}, outputs: [out]"
    flow.write("flow.yml", f"nodes: [{{id: camera, path: camera.py, {tick}}}]")
    flow.write(
        "camera.py",
        "from dora_rt import Node\nnode = Node()\n"
        "for event in node: node.send_output('out', b'x')\n",
    )
    launcher = flow.start()
    yield started_run(launcher.pid), flow.folder / "flow.yml"
    launcher.send_signal(signal.SIGINT)
    launcher.communicate(timeout=30)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        *numbered(
            41,
            ("stpo", "there is no verb 'stpo'; did you mean 'stop'? (dora-rt --help)"),
            (
                "frobnicate",
                f"there is no verb 'frobnicate'; expected one of: {', '.join(VERBS)} "
                "(dora-rt --help)",
            ),
        ),
        *numbered(
            43,
            (
                "stop nosuch",
                "no run has a node 'nosuch', and no run is called 'nosuch'; there are:\n{runs}",
            ),
            ("stop nosuch --run {run}", "run {run} has no node 'nosuch'; it has: camera"),
            ("stop --run nosuch", "no run is called 'nosuch'; there are:\n{runs}"),
            (
                "restart nosuch",
                "no run has a node 'nosuch', and no run is called 'nosuch'; there are:\n{runs}",
            ),
            ("logs nosuch", "run {run} has no node 'nosuch'; it has: camera"),
            (
                "logs --run nosuch",
                "no run is called 'nosuch'; there are:\n{runs}\nlogs of runs in which a node "
                "failed: {logs}",
            ),
            ("hz nosuch/image", "run {run} has no 'nosuch/image'; it has: camera/out"),
        ),
    ],
)
def test_verb_that_is_asked_for_what_is_not_there(run: tuple[str, Path], words: str, message: str):
    name, file = run

    done = verb_apart(*words.format(run=name).split())

    logs = kept_logs_folder(os.environ)
    expected = message.format(run=name, runs=f"  {name}  {file}", logs=logs)
    assert (done.exit_code, done.out) == (2, "")
    assert done.err == f"dora-rt: {expected}\n"
