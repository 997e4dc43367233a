"""Recordings of one dataflow on two machines, and a replay on one of them: real launchers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from dora_rt.nodes.replay.recording import Recording

from tests.harness.isolated_flow import IsolatedFlow
from tests.harness.ports import free_port
from tests.harness.verbs import verb

pytestmark = pytest.mark.programs

CAMERA = """
    import os
    from dora_rt import Node
    node = Node()
    for number, event in enumerate(node):
        node.send_output("image", b"%d" % number, {"number": number})
        node.send_output("private", b"p%d" % number)
        if number == 29:
            break
"""
DOUBLER = """
    from dora_rt import Node
    node = Node()
    for event in node:
        node.send_output("twice", event.value * 2)
"""
SINK = """
    import sys
    from pathlib import Path
    from dora_rt import Node
    values = [event.value.decode() for event in Node()]
    Path(sys.argv[1]).write_text(" ".join(values))
"""
IMAGES = " ".join(str(number) for number in range(30))
TWICE = " ".join(2 * str(number) for number in range(30))


def write(flow: IsolatedFlow) -> None:
    text = f"""
        machines:
          robot: {{listen: "127.0.0.1:{free_port()}"}}
          laptop: {{}}
        nodes:
          - {{id: camera, machine: robot, path: camera.py, outputs: [image, private],
             inputs: {{tick: dora/timer/millis/10}}}}
          - {{id: motor, machine: robot, path: sink.py, args: moved,
             inputs: {{twice: {{source: doubler/twice, queue_policy: block}}}}}}
          - {{id: doubler, machine: laptop, path: doubler.py, outputs: [twice],
             inputs: {{image: {{source: camera/image, queue_policy: block}}}}}}
          - {{id: sink, machine: laptop, path: sink.py, args: seen,
             inputs: {{image: {{source: camera/image, queue_policy: block}}}}}}
    """
    flow.write("flow.yml", text)
    flow.write("camera.py", CAMERA)
    flow.write("doubler.py", DOUBLER)
    flow.write("sink.py", SINK)


def begin(flow: IsolatedFlow, *words: str) -> subprocess.Popen[str]:
    return flow.start(command=[sys.executable, "-u", "-m", "dora_rt.cli", *words])


def end(*launchers: subprocess.Popen[str]) -> list[str]:
    outs = [launcher.communicate(timeout=30)[0] for launcher in launchers]
    assert [launcher.returncode for launcher in launchers] == [0] * len(launchers), outs
    return outs


def file_of(flow: IsolatedFlow, name: str) -> Path:
    return flow.folder / name


def counts(recording: Path) -> dict[str, int]:
    return dict(Recording.open(recording).samples)


def test_each_machine_records_what_it_has_and_a_replay_on_one_is_like_the_source(
    isolated: IsolatedFlow,
) -> None:
    write(isolated)
    flow = str(file_of(isolated, "flow.yml"))
    robot, laptop = file_of(isolated, "robot.mcap"), file_of(isolated, "laptop.mcap")

    end(
        begin(isolated, "record", flow, "--machine", "robot", "-o", str(robot)),
        begin(isolated, "record", flow, "--machine", "laptop", "-o", str(laptop)),
    )

    assert counts(robot) == {"camera/image": 30, "camera/private": 30, "doubler/twice": 30}
    assert counts(laptop) == {"camera/image": 30, "doubler/twice": 30}
    assert file_of(isolated, "seen").read_text() == IMAGES

    for name in ("seen", "moved"):
        file_of(isolated, name).unlink()
    outs = end(
        begin(isolated, "replay", str(laptop), flow, "--machine", "robot"),
        isolated.start("--machine", "laptop"),
    )

    assert "camera is replayed from" in outs[0]
    assert file_of(isolated, "seen").read_text() == IMAGES
    assert file_of(isolated, "moved").read_text() == TWICE

    # A node that reads from another machine: what crosses stays as the file says.
    file_of(isolated, "moved").unlink()
    outs = end(
        begin(isolated, "replay", str(laptop), "--nodes", "doubler", "--machine", "laptop"),
        isolated.start("--machine", "robot"),
    )

    assert "doubler is replayed from" in outs[0]
    assert file_of(isolated, "moved").read_text() == TWICE
    there = verb("replay", str(laptop), "--machine", "laptop")
    assert there.exit_code == 2
    assert "nothing of a source on machine laptop was recorded" in there.err


def test_machine_is_refused_for_a_run() -> None:
    told = verb("record", "9c08", "--machine", "robot")

    assert told.exit_code == 2
    assert "a run is recorded on the machine that it runs on" in told.err
